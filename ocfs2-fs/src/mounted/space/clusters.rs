//! The global bitmap: which clusters may be taken, and where.
//!
//! A clear bit is not enough. What freed the cluster has to be durable, or a crash brings back a file whose data has been
//! overwritten since; and the log may have no image of its blocks, or replay overwrites the data. So a search looks at the
//! bitmap of every state that a crash may leave.
//!
//! Source: on-disk reference, sections 6.2, 11.1 and 14.

use ocfs2_format::{
    BlockNo, ClusterNo, Corrupt, Dinode, GroupDesc, InodeNo, Structure, SystemFile, Violation, test_bit,
};

use super::bits::{self, BitRun};
use super::chain::{Allocator, Group};
use super::{ClusterRun, lock};
use crate::error::Result;
use crate::meta::{Blocks, Locality, view};
use crate::mounted::{Core, Txn};

/// What to look for in the global bitmap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// Where it should begin.
    pub(super) goal: Option<ClusterNo>,
    /// Fewer are of no use.
    pub(super) min: u32,
    /// More are not wanted.
    pub(super) max: u32,
    /// All blocks have to lie before this one.
    pub(super) below: Option<BlockNo>,
    /// Look everywhere before settling for fewer than `max`.
    pub(super) thorough: bool,
}

/// A run of clusters that may be taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    group: BlockNo,
    run: BitRun,
    start: ClusterNo,
}

impl Found {
    pub(super) fn clusters(&self) -> u32 {
        self.run.1.into()
    }
}

impl Core {
    /// Clusters of whose multiples one should be the first of `wanted` clusters: long runs are read and written in large
    /// pieces, which the host's page cache, stripes of disks and flash memory like to begin where they do.
    pub(super) fn alignment(&self, wanted: u32) -> u16 {
        const BYTES: u32 = 64 << 10;
        // Clusters have 4 KiB at least.
        let clusters = (BYTES >> self.geometry().cluster_size_bits).max(1) as u16;
        if wanted >= clusters.into() { clusters } else { 1 }
    }

    pub(super) fn bitmap_inode(&self) -> Result<InodeNo> {
        self.system.find(SystemFile::GlobalBitmap, self.slot)
    }

    /// First cluster of a group of the global bitmap, and how many of its bits stand for clusters of the volume.
    fn group_clusters(&self, bitmap: &Allocator, group: &Group) -> Result<(u32, u16)> {
        let geometry = self.geometry();
        let per_group = geometry.clusters_per_group();
        let index = geometry.block_to_cluster(group.at).map(|cluster| cluster.0 / per_group);
        match index.filter(|&index| geometry.cluster_group_block(index) == group.at) {
            Some(index) => {
                let range = geometry.group_clusters(index);
                let bits = range.end.saturating_sub(range.start).min(group.bits().into());
                // Both fit: a cluster number, and at most `bg_bits`.
                Ok((range.start as u32, bits as u16))
            }
            None => {
                let violation = Violation::Rule("a group of the global bitmap lies where no such group can be");
                Err(bitmap.corrupt(Structure::GroupDesc, violation, group.at))
            }
        }
    }

    /// The bitmap of a group, with those bits set too that must not be taken yet.
    pub(super) fn busy_bits(
        &self,
        meta: &dyn Blocks,
        bitmap: &Allocator,
        group: &Group,
    ) -> Result<(u32, u16, Vec<u8>)> {
        let (base, bits) = self.group_clusters(bitmap, group)?;
        let mut busy = group.desc().bitmap().to_vec();
        if self.journal()?.newest(group.at).is_some() || meta.newest(group.at).is_some() {
            self.add_undurable(group.at, base, bits, &mut busy)?;
        }
        Ok((base, bits, busy))
    }

    /// Adds the bits of clusters that a crash would bring back.
    fn add_undurable(&self, group: BlockNo, base: u32, bits: u16, busy: &mut [u8]) -> Result<()> {
        let window = self.local_alloc_inode()?.block();
        for [group_image, window_image] in self.journal()?.after_crash([group, window]) {
            let group_image = self.image_or_home(group, group_image, Structure::GroupDesc, GroupDesc::CHECK_OFFSET)?;
            let window_image = self.image_or_home(window, window_image, Structure::Dinode, Dinode::CHECK_OFFSET)?;
            let (then, dinode) = (view::<GroupDesc>(&group_image), view::<Dinode>(&window_image));
            let local = dinode.local_alloc();
            let start = u64::from(local.la_bm_off.get());
            let window = start..start + u64::from(dinode.bitmap().i_total.get());
            for (index, &used) in then.bitmap().iter().enumerate() {
                let newly_free = used & !busy.get(index).copied().unwrap_or(0xFF);
                if newly_free == 0 {
                    continue;
                }
                for bit in (index * 8..index * 8 + 8).filter(|&bit| bit < bits.into()) {
                    // What a window has and nobody has taken from it is set in the bitmap and free all the same.
                    let cluster = u64::from(base) + bit as u64;
                    let is_unused =
                        window.contains(&cluster) && !test_bit(&local.la_bitmap, (cluster - window.start) as usize);
                    if newly_free & (1 << (bit % 8)) != 0 && !is_unused {
                        bits::mark(busy, bit);
                    }
                }
            }
        }
        Ok(())
    }

    fn image_or_home(
        &self,
        at: BlockNo,
        image: Option<std::sync::Arc<[u8]>>,
        structure: Structure,
        check_offset: usize,
    ) -> Result<std::sync::Arc<[u8]>> {
        match image {
            Some(image) => Ok(image),
            None => {
                let home = self.home();
                Ok(home
                    .verified(at, structure, check_offset, Locality::Scattered)?
                    .into_shared())
            }
        }
    }

    /// Adds the bits of clusters whose blocks the log holds.
    fn add_held(&self, base: u32, bits: u16, busy: &mut [u8]) -> Result<()> {
        let geometry = self.geometry();
        let first = geometry.cluster_to_block(ClusterNo(base));
        let end = BlockNo(first.0 + geometry.clusters_to_blocks(bits.into()));
        for block in self.journal()?.held(first..end) {
            bits::mark(
                busy,
                ((block.0 - first.0) >> geometry.cluster_bits_over_block()) as usize,
            );
        }
        Ok(())
    }

    /// The best run of one group, if it has any.
    fn search_group(
        &self,
        meta: &dyn Blocks,
        bitmap: &Allocator,
        group: &Group,
        search: &Search,
    ) -> Result<Option<Found>> {
        if u32::from(group.free()) < search.min.max(1) {
            return Ok(None);
        }
        let geometry = self.geometry();
        let (base, mut bits, mut busy) = self.busy_bits(meta, bitmap, group)?;
        if let Some(below) = search.below {
            let last = below.0 >> geometry.cluster_bits_over_block();
            bits = u64::from(bits).min(last.saturating_sub(base.into())) as u16;
        }
        let goal = search.goal.and_then(|goal| goal.0.checked_sub(base));
        let goal = goal.and_then(|goal| u16::try_from(goal).ok());
        let max = u16::try_from(search.max).unwrap_or(u16::MAX);
        let Ok(min) = u16::try_from(search.min) else {
            return Ok(None);
        };
        for with_held in [false, true] {
            if with_held {
                self.add_held(base, bits, &mut busy)?;
            }
            let run = match bits::choose(&busy, bits, goal, min, max) {
                Some(run) if Some(run.0) == goal => run,
                Some(run) => bits::aligned(&busy, bits, run, base, self.alignment(search.max)),
                None => return Ok(None),
            };
            let start = ClusterNo(base + u32::from(run.0));
            let first = geometry.cluster_to_block(start);
            let blocks = first..BlockNo(first.0 + geometry.clusters_to_blocks(run.1.into()));
            if with_held || self.journal()?.may_reuse(blocks) {
                let group = group.at;
                return Ok(Some(Found { group, run, start }));
            }
        }
        Ok(None)
    }

    /// Finds clusters that may be taken. The global bitmap is locked.
    pub(super) fn find_clusters(&self, meta: &dyn Blocks, search: &Search) -> Result<Option<Found>> {
        /// Groups that have something, until the best of them is good enough.
        const ENOUGH: u32 = 8;
        let bitmap = Allocator::read(meta, self.bitmap_inode()?)?;
        if bitmap.free() < search.min.max(1) {
            return Ok(None);
        }
        let goal = search.goal.filter(|goal| goal.0 < self.geometry().clusters);
        let goal = goal.map(|goal| {
            let index = goal.0 / self.geometry().clusters_per_group();
            self.geometry().cluster_group_block(index)
        });
        let hint = lock(&self.space).last_groups.get(&bitmap.inode).copied();
        let mut tried: Vec<BlockNo> = Vec::new();
        let mut best: Option<Found> = None;
        let mut seen = 0;
        let is_better =
            |found: &Found, best: &Option<Found>| best.is_none_or(|best: Found| found.clusters() > best.clusters());
        for at in [goal, hint].into_iter().flatten() {
            if tried.contains(&at) {
                continue;
            }
            tried.push(at);
            let group = bitmap.group(meta, at, None)?;
            if let Some(found) = self.search_group(meta, &bitmap, &group, search)? {
                // Next to what is there already counts more than length.
                if found.clusters() >= search.max || (Some(found.start) == search.goal && !search.thorough) {
                    return Ok(Some(found));
                }
                if is_better(&found, &best) {
                    best = Some(found);
                }
            }
        }
        for chain in bitmap.by_room() {
            for group in bitmap.walk(meta, chain) {
                let group = group?;
                if tried.contains(&group.at) {
                    continue;
                }
                let Some(found) = self.search_group(meta, &bitmap, &group, search)? else {
                    continue;
                };
                if is_better(&found, &best) {
                    best = Some(found);
                }
                seen += 1;
                if found.clusters() >= search.max || (seen >= ENOUGH && !search.thorough) {
                    return Ok(best);
                }
            }
        }
        Ok(best)
    }

    /// Whether that many clusters may be taken, in pieces. The global bitmap is locked.
    pub(super) fn has_clusters(&self, wanted: u32) -> Result<bool> {
        let bitmap = Allocator::read(self, self.bitmap_inode()?)?;
        if bitmap.free() < wanted {
            return Ok(false);
        }
        let mut found = 0u32;
        for chain in bitmap.by_room() {
            for group in bitmap.walk(self, chain) {
                let group = group?;
                if group.free() == 0 {
                    continue;
                }
                let (base, bits, mut busy) = self.busy_bits(self, &bitmap, &group)?;
                self.add_held(base, bits, &mut busy)?;
                let clear = u32::from(bits) - ocfs2_format::count_ones(&busy, bits);
                found = found.saturating_add(clear);
                if found >= wanted {
                    return Ok(true);
                }
            }
        }
        Ok(found >= wanted)
    }
}

impl Txn<'_> {
    /// Takes what a search has found.
    pub(super) fn take_found(&mut self, found: &Found) -> Result<ClusterRun> {
        let bitmap = self.core().bitmap_inode()?;
        self.take_bits(bitmap, found.group, found.run)?;
        lock(&self.core().space).last_groups.insert(bitmap, found.group);
        Ok(ClusterRun {
            start: found.start,
            clusters: found.clusters(),
        })
    }

    /// Clears clusters in the global bitmap, which is locked.
    pub(super) fn return_clusters(&mut self, start: ClusterNo, clusters: u32) -> Result<()> {
        let core = self.core();
        let geometry = *core.geometry();
        let bitmap = core.bitmap_inode()?;
        let end = u64::from(start.0) + u64::from(clusters);
        let corrupt = |why| Corrupt::new(Structure::GroupDesc, Violation::Rule(why)).in_inode(bitmap);
        if end > u64::from(geometry.clusters) {
            return Err(corrupt("clusters to be freed lie outside the volume").into());
        }
        let per_group = geometry.clusters_per_group();
        let mut at = u64::from(start.0);
        while at < end {
            // Below the volume's end, which has 32 bits.
            let index = at as u32 / per_group;
            let range = geometry.group_clusters(index);
            let part = end.min(range.end) - at;
            let group = geometry.cluster_group_block(index);
            let own = geometry
                .block_to_cluster(group)
                .map_or(0, |cluster| u64::from(cluster.0));
            let is_fixed = if index == 0 { at <= own } else { at == own };
            if is_fixed {
                return Err(corrupt("the clusters of a group descriptor or the superblock cannot be freed").into());
            }
            Allocator::read(self, bitmap)?.group(self, group, None)?;
            // A group has at most 32 256 bits.
            self.return_bits(bitmap, group, ((at - range.start) as u16, part as u16))?;
            at += part;
        }
        let mut state = lock(&core.space);
        state.window_is_off = false;
        state.cannot_grow.clear();
        Ok(())
    }
}
