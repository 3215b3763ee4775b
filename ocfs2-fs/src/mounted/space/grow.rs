//! Groups of suballocators: new ones from the global bitmap, and empty ones back to it.
//!
//! Source: on-disk reference, sections 12 and 13.

use ocfs2_format::{
    BlockNo, ChainRec, ClusterNo, ExtentFlags, ExtentRec, GroupDesc, InodeNo, Signature, SlotNum, SystemFile,
};

use zerocopy::FromZeros;

use super::chain::{Allocator, Group};
use super::clusters::Search;
use super::window::Window;
use super::{ClusterRun, bits, lock};
use crate::error::Result;
use crate::meta::Blocks;
use crate::mounted::{Core, Level, LockSet, Txn};

impl Core {
    /// The block before which all blocks of an allocator's groups have to lie.
    fn group_limit(&self, file: SystemFile) -> Option<BlockNo> {
        // Programs of 32 bits know inodes by 32-bit numbers.
        (file == SystemFile::InodeAlloc && !self.options.inode64).then_some(BlockNo(1 << 32))
    }
}

impl LockSet<'_> {
    /// Adds a group to an allocator of this slot. `false` if there is no room for one. The allocator, the local alloc and
    /// the global bitmap are locked.
    pub(super) fn grow(&mut self, file: SystemFile) -> Result<bool> {
        let core = self.core();
        let geometry = *core.geometry();
        let inode = core.system.find(file, core.slot)?;
        let allocator = Allocator::read(core, inode)?;
        let clusters = allocator.parent.clusters_per_group;
        let bits = u32::from(clusters) * u32::from(allocator.parent.bits_per_cluster);
        if bits > u32::from(geometry.suballoc_bitmap_bytes()) * 8 {
            return Ok(false);
        }
        let pieces = u32::from(geometry.extents_per_group()).min(geometry.cluster_groups());
        // The new group, its allocator, the window or the bitmap with the groups of all pieces.
        let credits = (pieces + 4).min(core.journal()?.max_credits());
        let mut txn = self.begin(credits)?;
        let Some(runs) = txn.clusters_of_group(file, inode, clusters.into())? else {
            return Ok(false);
        };
        let group = txn.add_group(&allocator, &runs)?;
        txn.commit()?;
        lock(&core.space).last_groups.insert(inode, group);
        Ok(true)
    }

    /// Gives the clusters of empty groups back to the global bitmap, in all slots. `true` if there were any. The global
    /// bitmap is locked; allocators that somebody else uses are left alone.
    pub(super) fn return_empty_groups(&mut self) -> Result<bool> {
        let core = self.core();
        if std::mem::replace(&mut lock(&core.space).no_empty_groups, true) {
            return Ok(false);
        }
        let mut any = false;
        for file in [SystemFile::ExtentAlloc, SystemFile::InodeAlloc] {
            for slot in (0..core.geometry().max_slots).map(SlotNum) {
                let inode = core.system.find(file, slot)?;
                let id = core.meta_lock(inode);
                let is_ours = self.holds(id);
                if !is_ours && !self.try_take(id, Level::Exclusive)? {
                    lock(&core.space).no_empty_groups = false;
                    continue;
                }
                any |= self.return_empty_groups_of(inode)?;
                if !is_ours {
                    self.release(id);
                }
            }
        }
        Ok(any)
    }

    fn return_empty_groups_of(&mut self, inode: InodeNo) -> Result<bool> {
        let core = self.core();
        let mut any = false;
        let mut chain = 0;
        loop {
            let allocator = Allocator::read(core, inode)?;
            // The last group of all is kept, and what the operation at hand counts on.
            let bits = u32::from(allocator.parent.clusters_per_group) * u32::from(allocator.parent.bits_per_cluster);
            if usize::from(chain) >= allocator.chains.len()
                || allocator.clusters <= allocator.parent.clusters_per_group.into()
                || allocator.free() < self.space.promised(inode).saturating_add(bits)
            {
                return Ok(any);
            }
            match empty_group(core, &allocator, chain)? {
                Some((previous, group)) => {
                    let pieces = pieces(core, &allocator, &group);
                    // The group before it or those of another chain, the allocator, the bitmap with the groups of all
                    // pieces.
                    let credits = (pieces.len() + Txn::MOST_MOVED + 4) as u32;
                    let credits = credits.min(core.journal()?.max_credits());
                    let mut txn = self.begin(credits)?;
                    if !txn.drop_group(&allocator, chain, previous, &group)? {
                        chain += 1;
                        continue;
                    }
                    for piece in pieces {
                        txn.return_clusters(piece.start, piece.clusters)?;
                    }
                    txn.commit()?;
                    lock(&core.space).last_groups.remove(&inode);
                    any = true;
                }
                None => chain += 1,
            }
        }
    }
}

/// The first group of a chain that has nothing but itself in it, and the group before it.
fn empty_group(core: &Core, allocator: &Allocator, chain: u16) -> Result<Option<(Option<BlockNo>, Group)>> {
    let mut previous = None;
    for group in allocator.walk(core, chain) {
        let group = group?;
        if group.free() + 1 == group.bits() {
            return Ok(Some((previous, group)));
        }
        previous = Some(group.at);
    }
    Ok(None)
}

/// The clusters of a group.
fn pieces(core: &Core, allocator: &Allocator, group: &Group) -> Vec<ClusterRun> {
    let geometry = core.geometry();
    // A group that was read lies in the volume.
    let cluster = |block: BlockNo| geometry.block_to_cluster(block).unwrap_or_default();
    match group.desc().extents() {
        None => vec![ClusterRun {
            start: cluster(group.at),
            clusters: allocator.parent.clusters_per_group.into(),
        }],
        Some(list) => list
            .records()
            .iter()
            .map(|rec| ClusterRun {
                start: cluster(rec.blkno()),
                clusters: rec.e_leaf_clusters.get().into(),
            })
            .collect(),
    }
}

impl Txn<'_> {
    /// Takes the clusters of a new group: in one run if that can be, in pieces where the volume allows it. `None`, and the
    /// transaction is of no more use, if there are not enough.
    fn clusters_of_group(
        &mut self,
        file: SystemFile,
        allocator: InodeNo,
        clusters: u32,
    ) -> Result<Option<Vec<ClusterRun>>> {
        let core = self.core();
        let geometry = *core.geometry();
        let below = core.group_limit(file);
        let window = Window::read(self, core.local_alloc_inode()?)?;
        let end = geometry.cluster_to_block(ClusterNo(window.start.0 + u32::from(window.total)));
        let is_below = below.is_none_or(|below| end <= below);
        if is_below
            && clusters <= u32::from(window.total) / 2
            && let Some(run) = self.alloc_from_window(allocator, None, clusters, clusters)?
        {
            return Ok(Some(vec![run]));
        }
        let mut search = Search {
            goal: None,
            min: clusters,
            max: clusters,
            below,
            thorough: true,
        };
        if let Some(found) = core.find_clusters(self, &search)? {
            return Ok(Some(vec![self.take_found(&found)?]));
        }
        if !geometry.features.discontig_bg() {
            return Ok(None);
        }
        let mut runs: Vec<ClusterRun> = Vec::new();
        let mut left = clusters;
        search.min = 1;
        while left > 0 && runs.len() < usize::from(geometry.extents_per_group()) {
            search.max = left;
            let Some(found) = core.find_clusters(self, &search)? else {
                break;
            };
            // The new group, its allocator and the next group of the bitmap have to fit still.
            if self.credits_left() < 4 && !self.try_extend(4)? {
                break;
            }
            let run = self.take_found(&found)?;
            left -= run.clusters;
            runs.push(run);
        }
        Ok((left == 0).then_some(runs))
    }

    /// Writes the descriptor of a new group and links it to an allocator.
    fn add_group(&mut self, allocator: &Allocator, runs: &[ClusterRun]) -> Result<BlockNo> {
        let geometry = *self.core().geometry();
        let block_of = |run: &ClusterRun| geometry.cluster_to_block(run.start);
        let at = runs.first().map(block_of).unwrap_or_default();
        let clusters = allocator.parent.clusters_per_group;
        // Compared with the bits of a bitmap before.
        let bits = clusters * allocator.parent.bits_per_cluster;

        let dinode = self.dinode(allocator.inode)?;
        let list = dinode.chain_list_mut();
        let used = list.cl_next_free_rec.get();
        let chain = if used < list.cl_count.get() {
            used
        } else {
            let smallest = (0..used)
                .zip(list.chains())
                .min_by_key(|(_, chain)| chain.c_total.get());
            smallest.map_or(0, |(index, _)| index)
        };
        let mut next = 0;
        if let Some(record) = list.cl_recs.get_mut(usize::from(chain)) {
            if chain == used {
                *record = ChainRec::new_zeroed();
            }
            next = record.c_blkno.get();
            record.c_blkno.set(at.0);
            record.c_total.set(record.c_total.get().saturating_add(bits.into()));
            record
                .c_free
                .set(record.c_free.get().saturating_add(u32::from(bits) - 1));
        }
        if chain == used {
            list.cl_next_free_rec.set(used + 1);
        }
        let counts = dinode.bitmap_mut();
        counts.i_total.set(counts.i_total.get().saturating_add(bits.into()));
        counts.i_used.set(counts.i_used.get().saturating_add(1));
        let all = dinode.i_clusters.get().saturating_add(clusters.into());
        dinode.i_clusters.set(all);
        dinode.i_size.set(geometry.clusters_to_bytes(all));

        let desc = self.create::<GroupDesc>(at)?;
        desc.bg_signature = Signature::GROUP_DESC;
        desc.bg_size.set(geometry.suballoc_bitmap_bytes());
        desc.bg_bits.set(bits);
        desc.bg_free_bits_count.set(bits - 1);
        desc.bg_chain.set(chain);
        desc.bg_generation.set(geometry.generation.0);
        desc.bg_next_group.set(next);
        desc.bg_parent_dinode.set(allocator.inode.0);
        desc.bg_blkno.set(at.0);
        bits::mark(desc.bitmap_mut(), 0);
        if runs.len() > 1 {
            let list = desc.list_mut();
            list.init(geometry.extents_per_group());
            let mut cpos = 0;
            for run in runs {
                // Not longer than the group, whose clusters have 16 bits.
                let len = run.clusters as u16;
                list.push(ExtentRec::leaf(cpos, len, block_of(run), ExtentFlags::empty()));
                cpos += run.clusters;
            }
        }
        Ok(at)
    }

    /// Groups whose chain is renumbered so that another group can go.
    const MOST_MOVED: usize = 16;

    /// Takes an empty group out of its chain. `false`, with nothing changed, if that would leave a gap among the chains
    /// that costs too much to close.
    fn drop_group(
        &mut self,
        allocator: &Allocator,
        chain: u16,
        previous: Option<BlockNo>,
        group: &Group,
    ) -> Result<bool> {
        let geometry = *self.core().geometry();
        let (bits, free, next) = (group.bits(), group.free(), group.desc().bg_next_group.get());
        let last_chain = allocator.parent.chains.saturating_sub(1);
        let leaves_none = previous.is_none() && next == 0;
        let mut moved = Vec::new();
        if leaves_none && chain != last_chain {
            // Chains are numbered without gaps: the last one takes the place of this one.
            for other in allocator.walk(self, last_chain) {
                moved.push(other?.at);
                if moved.len() > Self::MOST_MOVED {
                    return Ok(false);
                }
            }
        }
        for at in moved {
            self.edit::<GroupDesc>(at)?.bg_chain.set(chain);
        }
        if let Some(previous) = previous {
            self.edit::<GroupDesc>(previous)?.bg_next_group.set(next);
        }
        let dinode = self.dinode(allocator.inode)?;
        let list = dinode.chain_list_mut();
        if let Some(record) = list.cl_recs.get_mut(usize::from(chain)) {
            record.c_total.set(record.c_total.get().saturating_sub(bits.into()));
            record.c_free.set(record.c_free.get().saturating_sub(free.into()));
            if previous.is_none() {
                record.c_blkno.set(next);
            }
        }
        if leaves_none {
            let last = list.cl_recs.get(usize::from(last_chain)).copied();
            if let (Some(record), Some(last)) = (list.cl_recs.get_mut(usize::from(chain)), last) {
                *record = last;
            }
            if let Some(record) = list.cl_recs.get_mut(usize::from(last_chain)) {
                *record = ChainRec::new_zeroed();
            }
            list.cl_next_free_rec.set(last_chain);
        }
        let counts = dinode.bitmap_mut();
        counts.i_total.set(counts.i_total.get().saturating_sub(bits.into()));
        counts.i_used.set(counts.i_used.get().saturating_sub(1));
        let all = dinode
            .i_clusters
            .get()
            .saturating_sub(allocator.parent.clusters_per_group.into());
        dinode.i_clusters.set(all);
        dinode.i_size.set(geometry.clusters_to_bytes(all));
        self.forget(group.at, 1)?;
        Ok(true)
    }
}
