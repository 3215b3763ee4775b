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
use crate::mounted::tree::{self, Cost, Root};
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

/// Shares extents of one file with another.
pub(super) struct Share<'c> {
    pub(super) core: &'c Core,
    pub(super) counts: Counts,
    pub(super) source: InodeNo,
    pub(super) target: InodeNo,
}

impl Share<'_> {
    /// Shares what the source has in `from..to` with the target, which has nothing there; `shift` is how much further to
    /// the right it goes in the target. From left to right; every transaction shares some extents whole.
    pub(super) fn extents(&self, locks: &mut LockSet<'_>, from: u64, to: u64, shift: i64) -> Result<()> {
        let geometry = *self.core.geometry();
        let owner = self.core.read_inode(self.target)?;
        let limit = self.core.journal()?.max_credits() / 2;
        let mut at = from;
        loop {
            let mut batch = self.batch(at, to)?;
            let Some(first) = batch.first().copied() else {
                return Ok(());
            };
            let cost = loop {
                let cost = self.cost(&batch, moved(first.cpos, shift)?)?;
                if cost.credits <= limit || batch.len() == 1 {
                    break cost;
                }
                batch.truncate(batch.len() / 2);
            };
            let need = Need {
                blocks: cost.blocks,
                ..Need::default()
            };
            let charged = locks.quota(owner.uid(), owner.gid())?;
            let credits = locks.reserve(need)?;
            let mut txn = locks.begin(credits + charged + cost.credits)?;
            share_all(&mut txn, self.counts, Root::Data(self.source), &batch)?;
            let mut shared = Vec::with_capacity(batch.len());
            for extent in &batch {
                shared.push(Extent {
                    cpos: moved(extent.cpos, shift)?,
                    flags: extent.flags | ExtentFlags::REFCOUNTED,
                    ..*extent
                });
                at = extent.end();
            }
            tree::insert_all(&mut txn, Root::Data(self.target), &shared)?;
            let clusters: u64 = batch.iter().map(|extent| u64::from(extent.clusters)).sum();
            let charge = Charge {
                bytes: (clusters << geometry.cluster_size_bits) as i64,
                inodes: 0,
            };
            txn.charge(owner.uid(), owner.gid(), charge)?;
            txn.commit()?;
        }
    }

    /// Extents of the source from `at` on, cut to the range.
    fn batch(&self, mut at: u64, to: u64) -> Result<Vec<Extent>> {
        let mut batch = Vec::new();
        while at < to && batch.len() < BATCH as usize {
            match tree::lookup(self.core, Root::Data(self.source), at as u32)? {
                Lookup::Gap { next } => at = next,
                Lookup::Extent(extent) => {
                    let end = extent.end().min(to);
                    batch.push(cut(self.core, extent, at, end));
                    at = end;
                }
            }
        }
        Ok(batch)
    }

    fn cost(&self, batch: &[Extent], target_at: u32) -> Result<Cost> {
        let extents = batch.len() as u32;
        let source = tree::cost_ends(self.core, Root::Data(self.source), batch)?;
        let target = tree::cost_from(self.core, Root::Data(self.target), target_at, extents)?;
        let counts = self.counts.cost(self.core, extents)?;
        Ok(Cost {
            blocks: source.blocks + target.blocks + counts.blocks,
            credits: source.credits + target.credits + counts.credits,
        })
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

/// Takes out what a file has in a range, so that something else can take its place.
pub(super) fn clear(locks: &mut LockSet<'_>, number: InodeNo, from: u32, clusters: u32) -> Result<()> {
    /// Records that one transaction takes out.
    const STEP: u32 = 16;
    let core = locks.core();
    let geometry = *core.geometry();
    loop {
        let inode = core.read_inode(number)?;
        let Some((cpos, part)) = super::last_part(core, &inode, from, clusters, STEP)? else {
            return Ok(());
        };
        let tree = tree::cost_from(core, Root::Data(number), cpos, STEP)?;
        let counts = super::release_cost(core, &inode, STEP)?;
        let charged = locks.quota(inode.uid(), inode.gid())?;
        let credits = locks.reserve(Need {
            blocks: tree.blocks + counts.blocks,
            frees: STEP,
            ..Need::default()
        })?;
        let mut txn = locks.begin(credits + charged + tree.credits + counts.credits)?;
        let pieces = tree::remove(&mut txn, Root::Data(number), cpos, part)?;
        release(&mut txn, number, &pieces)?;
        let freed: u64 = pieces.iter().map(|piece| u64::from(piece.clusters)).sum();
        let charge = Charge {
            bytes: -((freed << geometry.cluster_size_bits) as i64),
            inodes: 0,
        };
        txn.charge(inode.uid(), inode.gid(), charge)?;
        txn.commit()?;
    }
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

fn moved(cpos: u32, shift: i64) -> Result<u32> {
    u32::try_from(i64::from(cpos) + shift).map_err(|_| Error::TooLarge { what: "the file" })
}
