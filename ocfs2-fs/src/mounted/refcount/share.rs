//! Sharing clusters: whole files, ranges, and values of attributes.
//!
//! Source: on-disk reference, sections 22.5, 24.2 and 24.3.

use ocfs2_format::{BlockNo, ClusterNo, Contents, DynFeatures, ExtentFlags, InodeNo};

use super::counts::Counts;
use super::{lock, release};
use crate::error::{Error, Result};
use crate::extent_tree::{Extent, Lookup};
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::space::Need;
use crate::mounted::tree::{self, Cost, Intent, Ready, Root};
use crate::mounted::{Charge, Core, Level, LockSet, Txn, attrs};

/// Extents that are shared in one transaction at most.
const BATCH: u32 = 128;

/// Credits for a new tree and two inodes that are attached to it.
const ATTACH_CREDITS: u32 = 3;

/// Attaches two inodes to one refcount tree, which is made if neither has one. `None` if they are attached to different
/// trees.
pub(super) fn attach(locks: &mut LockSet<'_>, source: InodeNo, target: InodeNo) -> Result<Option<Counts>> {
    let core = locks.core();
    let inodes = (core.read_inode(source)?, core.read_inode(target)?);
    let roots = (inodes.0.refcount_root(), inodes.1.refcount_root());
    let counts = |root| Counts { root, inode: source };
    let known = match roots {
        (Some(one), Some(other)) if one != other => return Ok(None),
        (Some(root), _) => {
            lock(locks, &inodes.0, Level::Exclusive)?;
            Some(counts(root))
        }
        (None, Some(root)) => {
            lock(locks, &inodes.1, Level::Exclusive)?;
            Some(counts(root))
        }
        (None, None) => None,
    };
    if roots.0.is_some() && roots.1.is_some() {
        return Ok(known);
    }
    let need = Need {
        blocks: u32::from(known.is_none()),
        ..Need::default()
    };
    let credits = locks.reserve(need)?;
    let mut txn = locks.begin(credits + ATTACH_CREDITS)?;
    let mut is_new = false;
    let tree = match known {
        Some(tree) => tree,
        None => {
            is_new = true;
            Counts::create(&mut txn, source)?
        }
    };
    for (inode, root) in [(source, roots.0), (target, roots.1)] {
        if root.is_some() {
            continue;
        }
        // A new tree counts its first inode already.
        if !std::mem::take(&mut is_new) {
            tree.attach(&mut txn)?;
        }
        let dinode = txn.dinode(inode)?;
        let dynamic = dinode.dyn_features() | DynFeatures::HAS_REFCOUNT;
        dinode.i_dyn_features.set(dynamic.bits());
        dinode.i_refcount_loc.set(tree.root.0);
    }
    txn.commit()?;
    if known.is_none() {
        // Nobody else has heard of the tree yet. The locks of allocators come behind its lock.
        locks.reserve(Need::default())?;
        lock(locks, &core.read_inode(source)?, Level::Exclusive)?;
    }
    Ok(Some(tree))
}

/// Shares extents of one file with another, a transaction for each step.
pub(super) struct Share<'c> {
    pub(super) core: &'c Core,
    pub(super) counts: Counts,
    pub(super) source: InodeNo,
    pub(super) target: InodeNo,
    /// How much further to the right everything goes in the target, in clusters.
    pub(super) shift: i64,
    /// The target becomes this long, as far as it has been shared. In bytes.
    pub(super) len: u64,
}

/// Logical clusters of the source that one transaction is about.
#[derive(Debug)]
struct Part {
    from: u64,
    to: u64,
    /// What the source has there.
    extents: Vec<Extent>,
    /// In how many pieces the target gives up what it has in their place.
    pieces: u32,
}

impl Share<'_> {
    /// Shares the first part of what the source has in `from..to` with the target, in place of what that has there.
    /// Returns where the rest begins.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::QuotaExceeded`], [`Error::Corrupt`], the journal's; then nothing was shared.
    pub(super) fn step(&self, locks: &mut LockSet<'_>, from: u64, to: u64) -> Result<u64> {
        let limit = self.core.journal()?.max_credits() / 2;
        let mut records = BATCH;
        loop {
            let part = self.part(from, to, records)?;
            if part.extents.is_empty() && part.pieces == 0 {
                return Ok(part.to);
            }
            let cost = self.cost(&part)?;
            if cost.credits <= limit {
                return self.exchange(locks, part, cost, None);
            }
            if records == 1 {
                return self.exchange_one(locks, part);
            }
            records /= 2;
        }
    }

    /// The first part of a range, with so many records in either file.
    fn part(&self, from: u64, to: u64, records: u32) -> Result<Part> {
        let mut extents = Vec::new();
        let mut at = from;
        while at < to && extents.len() < records as usize {
            match tree::lookup(self.core, Root::Data(self.source), at as u32)? {
                Lookup::Gap { next } => at = next,
                Lookup::Extent(extent) => {
                    let end = extent.end().min(to);
                    extents.push(cut(self.core, extent, at, end));
                    at = end;
                }
            }
        }
        let to = at.min(to);
        let target = self.core.read_inode(self.target)?;
        let goal = u64::from(self.moved(from)?);
        let (end, pieces) = super::first_part(self.core, &target, goal, goal + (to - from), records)?;
        let mut part = Part {
            from,
            to,
            extents,
            pieces,
        };
        part.end_at(self.core, from + (end - goal));
        Ok(part)
    }

    fn cost(&self, part: &Part) -> Result<Cost> {
        let records = part.extents.len() as u32;
        let target = self.core.read_inode(self.target)?;
        let source = tree::cost_ends(self.core, Root::Data(self.source), &part.extents)?;
        let goal = self.moved(part.from)?;
        let tree = tree::cost_from(self.core, Root::Data(self.target), goal, records + part.pieces)?;
        Ok(source + tree + self.counts_cost(&target, records, part.pieces)?)
    }

    /// What the reference counts take.
    fn counts_cost(&self, target: &Inode, shared: u32, released: u32) -> Result<Cost> {
        Ok(self.counts.cost(self.core, shared)? + super::release_cost(self.core, target, released)?)
    }

    /// Shares a part between trees that are so large that records cannot be moved through all of them at once: cut short so
    /// that it is about one record of each.
    fn exchange_one(&self, locks: &mut LockSet<'_>, mut part: Part) -> Result<u64> {
        let (source, target) = (Root::Data(self.source), Root::Data(self.target));
        match part.extents.first() {
            Some(first) if u64::from(first.cpos) > part.from => part.end_at(self.core, first.cpos.into()),
            Some(first) => part.end_at(self.core, first.end()),
            None => {}
        }
        let goal = self.moved(part.from)?;
        let (end, intent) = match tree::lookup(self.core, target, goal)? {
            Lookup::Gap { next } => (next, Intent::Insert),
            Lookup::Extent(extent) => (extent.end(), Intent::Change),
        };
        part.end_at(self.core, part.from + (end - u64::from(goal)));
        part.pieces = u32::from(intent == Intent::Change);
        let mut cost = Cost::default();
        match part.extents.first() {
            // A record of its own, or with room to become one.
            Some(extent) => cost += tree::ready(locks, source, extent.cpos, extent.clusters, Intent::Change)?.cost,
            None if intent == Intent::Insert => return Ok(part.to),
            None => {}
        }
        let clusters = u32::try_from(part.to - part.from).unwrap_or(u32::MAX);
        let ready = tree::ready(locks, target, goal, clusters, intent)?;
        cost += ready.cost;
        cost += self.counts_cost(&self.core.read_inode(self.target)?, 1, 1)?;
        self.exchange(locks, part, cost, Some(ready))
    }

    /// Takes out what the target has in place of a part, and shares that. Returns where it ends.
    fn exchange(&self, locks: &mut LockSet<'_>, part: Part, cost: Cost, ready: Option<Ready>) -> Result<u64> {
        let geometry = *self.core.geometry();
        let root = Root::Data(self.target);
        let owner = self.core.read_inode(self.target)?;
        let goal = self.moved(part.from)?;
        let mut shared = Vec::with_capacity(part.extents.len());
        for extent in &part.extents {
            shared.push(Extent {
                cpos: self.moved(extent.cpos.into())?,
                flags: extent.flags | ExtentFlags::REFCOUNTED,
                ..*extent
            });
        }
        let need = Need {
            blocks: cost.blocks,
            frees: part.pieces,
            ..Need::default()
        };
        // The dinode may get a new size.
        let mut credits = 1 + cost.credits;
        credits += locks.quota(owner.uid(), owner.gid())?;
        credits += locks.reserve(need)?;
        let mut txn = locks.begin(credits)?;
        if let Some(ready) = ready {
            ready.begin(&mut txn);
        }
        let clusters = u32::try_from(part.to - part.from).unwrap_or(u32::MAX);
        let gone = match (part.pieces, shared.is_empty()) {
            (0, _) => Vec::new(),
            // In one change, if there is room for no more.
            (_, false) if ready.is_some() => tree::replace(&mut txn, root, &shared)?,
            _ => tree::remove(&mut txn, root, goal, clusters)?,
        };
        release(&mut txn, self.target, &gone)?;
        share_all(&mut txn, self.counts, Root::Data(self.source), &part.extents)?;
        if ready.is_none() || part.pieces == 0 {
            tree::insert_all(&mut txn, root, &shared)?;
        }
        let clusters = |extents: &[Extent]| extents.iter().map(|extent| i64::from(extent.clusters)).sum::<i64>();
        let bytes = (clusters(&shared) - clusters(&gone)) << geometry.cluster_size_bits;
        txn.charge(owner.uid(), owner.gid(), Charge { bytes, inodes: 0 })?;
        let end = (u64::from(goal) + (part.to - part.from)) << geometry.cluster_size_bits;
        if owner.size() < end.min(self.len) {
            txn.dinode(self.target)?.i_size.set(end.min(self.len));
        }
        txn.commit()?;
        if let Some(ready) = ready {
            ready.end(locks)?;
        }
        Ok(part.to)
    }

    /// Where a cluster goes in the target.
    fn moved(&self, cpos: u64) -> Result<u32> {
        let moved = cpos
            .checked_add_signed(self.shift)
            .and_then(|at| u32::try_from(at).ok());
        moved.ok_or(Error::TooLarge { what: "the file" })
    }
}

impl Part {
    /// Makes it end no later than this.
    fn end_at(&mut self, meta: &dyn Blocks, end: u64) {
        if end >= self.to {
            return;
        }
        self.to = end;
        self.extents.retain(|extent| u64::from(extent.cpos) < end);
        if let Some(last) = self.extents.last_mut() {
            *last = cut(meta, *last, last.cpos.into(), last.end().min(end));
        }
    }
}

/// Flags extents as shared that are next to each other in a tree, and counts one more reference to their clusters than
/// there are. All but the first and the last are whole records.
fn share_all(txn: &mut Txn<'_>, counts: Counts, root: Root, extents: &[Extent]) -> Result<()> {
    let geometry = *txn.geometry();
    // Clusters next to each other on the device are counted at once.
    let mut runs: Vec<(ClusterNo, u32, bool)> = Vec::new();
    for extent in extents {
        let outside = || root.broken("an extent lies outside the volume");
        let start = geometry.block_to_cluster(extent.blkno).ok_or_else(outside)?;
        let is_shared = extent.flags.contains(ExtentFlags::REFCOUNTED);
        match runs.last_mut() {
            Some((first, clusters, shared)) if *shared == is_shared && first.0 + *clusters == start.0 => {
                *clusters += extent.clusters;
            }
            _ => runs.push((start, extent.clusters, is_shared)),
        }
    }
    for (start, clusters, is_shared) in runs {
        let more = move |count: u32| match is_shared {
            true => count.checked_add(1).filter(|_| count > 0),
            false => (count == 0).then_some(2),
        };
        counts.change(txn, start, clusters, &more)?;
    }
    let mut whole: Option<(u32, u64)> = None;
    for (index, extent) in extents.iter().enumerate() {
        let is_end = index == 0 || index + 1 == extents.len();
        if is_end && tree::lookup(txn, root, extent.cpos)? != Lookup::Extent(*extent) {
            if !extent.flags.contains(ExtentFlags::REFCOUNTED) {
                let flags = extent.flags | ExtentFlags::REFCOUNTED;
                tree::replace(txn, root, &[Extent { flags, ..*extent }])?;
            }
            continue;
        }
        let (from, _) = whole.unwrap_or((extent.cpos, 0));
        whole = Some((from, extent.end()));
    }
    if let Some((from, end)) = whole {
        let clusters = (end - u64::from(from)) as u32;
        tree::add_flags(txn, root, from, clusters, ExtentFlags::REFCOUNTED)?;
    }
    Ok(())
}

/// Copies contents that are inline.
pub(super) fn copy_inline(locks: &mut LockSet<'_>, source: &Inode, target: InodeNo) -> Result<()> {
    let size = usize::try_from(source.size()).unwrap_or(usize::MAX);
    let Contents::Inline(bytes) = source.contents() else {
        return Ok(());
    };
    let bytes = bytes.get(..size).unwrap_or(bytes);
    let mut txn = locks.begin(1)?;
    let geometry = *txn.geometry();
    let dinode = txn.dinode(target)?;
    let dynamic = dinode.dyn_features() | DynFeatures::INLINE_DATA;
    let capacity = geometry.max_inline_data(dynamic.contains(DynFeatures::INLINE_XATTR));
    let inline = dinode.inline_data_mut();
    let Some(area) = inline.id_data.get_mut(..usize::from(capacity)) else {
        return Err(Error::TooLarge { what: "inline data" });
    };
    area.fill(0);
    let Some(room) = area.get_mut(..bytes.len()) else {
        return Err(Error::TooLarge { what: "inline data" });
    };
    room.copy_from_slice(bytes);
    inline.id_count.set(capacity);
    inline.id_reserved0.set(0);
    inline.id_reserved1.set(0);
    dinode.i_dyn_features.set(dynamic.bits());
    dinode.i_size.set(bytes.len() as u64);
    txn.commit()?;
    Ok(())
}

/// Makes the values of the target's attributes that lie in clusters of their own share those of the source's.
pub(super) fn values(locks: &mut LockSet<'_>, counts: Counts, source: InodeNo, target: InodeNo) -> Result<()> {
    let core = locks.core();
    let names = attrs::outside_values(core, &core.read_inode(target)?)?;
    for (namespace, name) in names {
        // Trees of attributes move when they grow, so each value is looked up when its turn has come.
        let from = attrs::value_root(core, &core.read_inode(source)?, namespace, &name)?;
        let to = attrs::value_root(core, &core.read_inode(target)?, namespace, &name)?;
        let (Some(from), Some(to)) = (from, to) else { continue };
        let mut extents = Vec::new();
        let mut at = 0;
        while let Lookup::Extent(extent) = tree::lookup(core, from, at)? {
            extents.push(extent);
            at = match u32::try_from(extent.end()) {
                Ok(end) => end,
                Err(_) => break,
            };
        }
        let pieces = extents.len() as u32;
        let costs = [
            tree::cost(core, from, pieces)?,
            tree::cost(core, to, 2 * pieces)?,
            counts.cost(core, pieces)?,
        ];
        let need = Need {
            blocks: costs.iter().map(|cost| cost.blocks).sum(),
            // The copy may lie in more pieces than what it is a copy of.
            frees: at,
            ..Need::default()
        };
        let credits = locks.reserve(need)?;
        let mut txn = locks.begin(credits + costs.iter().map(|cost| cost.credits).sum::<u32>())?;
        share_all(&mut txn, counts, from, &extents)?;
        let shared: Vec<Extent> = extents
            .iter()
            .map(|extent| Extent {
                flags: extent.flags | ExtentFlags::REFCOUNTED,
                ..*extent
            })
            .collect();
        let copies = tree::replace(&mut txn, to, &shared)?;
        release(&mut txn, target, &copies)?;
        txn.commit()?;
    }
    Ok(())
}

/// Part of an extent.
fn cut(meta: &dyn Blocks, extent: Extent, from: u64, to: u64) -> Extent {
    // Both lie in the extent, whose keys have 32 bits.
    let skipped = (from - u64::from(extent.cpos)) as u32;
    Extent {
        cpos: from as u32,
        clusters: (to - from) as u32,
        blkno: BlockNo(extent.blkno.0 + meta.geometry().clusters_to_blocks(skipped)),
        flags: extent.flags,
    }
}
