//! Surveying one inode: its contents by kind.

use std::ops::RangeInclusive;

use ocfs2_format::quota::QuotaGeometry;
use ocfs2_format::{
    BlockNo, Contents, Corrupt, Dinode, ExtentBlock, ExtentFlags, FileKind, InodeFlags, InodeNo, Structure, Violation,
};
use roaring::RoaringBitmap;

use super::{MAX_BROKEN, Survey};
use crate::extent_tree::{Extent, ExtentTree, Extents, TreeKind};
use crate::file::read_bytes;
use crate::inode::Inode;
use crate::meta::{Blocks, view};

/// Bytes of data read at once.
const DATA_STEP: u64 = 1 << 20;

impl Survey<'_> {
    /// Visits an inode by number, once.
    pub(super) fn inode_at(&mut self, number: InodeNo) -> Option<Inode> {
        match self.volume.inode(number) {
            Ok(inode) => {
                self.inode(&inode);
                Some(inode)
            }
            Err(error) => {
                // What lies outside the volume is not worth remembering.
                if !self.geometry().contains(number.block()) || self.inodes.insert(number.0) {
                    self.note(error, number);
                }
                None
            }
        }
    }

    /// Visits an inode, once. The entries of a directory are left for later.
    fn inode(&mut self, inode: &Inode) {
        let number = inode.number();
        if !self.inodes.insert(number.0) {
            return;
        }
        self.report.inodes += 1;
        self.claim(number.block(), Structure::Dinode, Dinode::CHECK_OFFSET, number);
        self.xattrs(inode);
        self.refcount_tree(inode);
        if inode.kind() == FileKind::Directory {
            self.directories.insert(number.0);
            return;
        }
        match inode.contents() {
            Contents::Extents(_) => self.file(inode),
            Contents::Chains(_) => self.allocator(inode),
            // The rest was judged with the dinode.
            _ => {}
        }
        if inode.kind() == FileKind::Symlink
            && let Err(error) = self.volume.link_target(inode)
        {
            self.note(error, number);
        }
    }

    /// The extents of anything but a directory, and its data.
    fn file(&mut self, inode: &Inode) {
        let system = inode.flags().contains(InodeFlags::SYSTEM);
        let wanted = inode.kind() == FileKind::Regular && !system && self.options.data_bytes > 0;
        let quota = system && inode.flags().contains(InodeFlags::QUOTA);
        let clusters_of_size = self.geometry().clusters_for_bytes(inode.size());
        self.data_extents(inode, &mut |survey, extent| {
            if quota {
                survey.quota_blocks(inode, extent);
            }
            if wanted && !extent.flags.contains(ExtentFlags::UNWRITTEN) && u64::from(extent.cpos) < clusters_of_size {
                survey.data(inode, extent);
            } else {
                survey.claim_clusters(inode.number(), extent);
            }
        });
    }

    /// Visits the blocks in use of a quota file's extent: they end with a check field, whatever is in them.
    fn quota_blocks(&mut self, inode: &Inode, extent: &Extent) {
        let geometry = *self.geometry();
        let first = geometry.clusters_to_blocks(extent.cpos);
        let blocks = geometry.clusters_to_blocks(extent.clusters);
        let used = (inode.size() >> geometry.block_size_bits)
            .saturating_sub(first)
            .min(blocks);
        let check = QuotaGeometry::new(&geometry).check_offset();
        let mut broken = 0;
        for index in 0..self.blocks_on_device(extent.blkno, used, inode) {
            let at = BlockNo(extent.blkno.0 + index);
            if broken < MAX_BROKEN
                && self.claim(at, Structure::QuotaBlock, check, inode.number())
                && let Err(error) = self.volume.meta().verified_tail(at, Structure::QuotaBlock)
            {
                broken += 1;
                self.note(error, inode.number());
            }
        }
    }

    /// Visits the extents of an inode and judges the tree as a whole.
    pub(super) fn data_extents(&mut self, inode: &Inode, visit: &mut dyn FnMut(&mut Self, &Extent)) {
        let Contents::Extents(root) = inode.contents() else {
            return;
        };
        let dinode = inode.dinode();
        let volume = self.volume;
        let tree = ExtentTree {
            meta: volume.meta(),
            root,
            kind: TreeKind::Data,
            owner: inode.number(),
        };
        let totals = TreeTotals {
            structure: Structure::Dinode,
            at: inode.number().block(),
            clusters: Some(("i_clusters", dinode.i_clusters.get())),
            last_leaf: ("i_last_eb_blk", dinode.i_last_eb_blk.get()),
        };
        self.tree(&tree, &totals, &mut |survey, extent| {
            survey.report.extents += 1;
            visit(survey, extent);
        });
    }

    /// Visits the extents of a tree, then compares what its root says of the whole with what was there.
    pub(super) fn tree(
        &mut self,
        tree: &ExtentTree<'_>,
        totals: &TreeTotals,
        visit: &mut dyn FnMut(&mut Self, &Extent),
    ) {
        let mut extents = tree.extents();
        let mut clusters = 0u64;
        let mut leaves = Leaves::default();
        let mut sound = true;
        while let Some(extent) = self.next_extent(&mut extents, tree, &mut leaves, &mut sound) {
            clusters += u64::from(extent.clusters);
            visit(self, &extent);
        }
        if !sound {
            return;
        }
        let last_leaf = leaves.last.map_or(0, |leaf| leaf.0);
        let counted = totals
            .clusters
            .map(|(field, found)| (field, u64::from(found), clusters));
        let expected = counted
            .into_iter()
            .chain([(totals.last_leaf.0, totals.last_leaf.1, last_leaf)]);
        for (field, found, expected) in expected {
            if found != expected {
                let violation = Violation::Unexpected { field, found, expected };
                self.note_at(totals.structure, totals.at, tree.owner, violation);
            }
        }
        if let Some(last) = leaves.last {
            self.expect_next_leaf(tree, last, 0);
        }
    }

    fn next_extent(
        &mut self,
        extents: &mut Extents<'_>,
        tree: &ExtentTree<'_>,
        leaves: &mut Leaves,
        sound: &mut bool,
    ) -> Option<Extent> {
        loop {
            let next = extents.next_with(&mut |at, depth| {
                let fresh = self.claim(at, Structure::ExtentBlock, ExtentBlock::CHECK_OFFSET, tree.owner);
                *sound &= fresh;
                if fresh
                    && depth == 0
                    && let Some(before) = leaves.last.replace(at).filter(|_| *sound)
                {
                    self.expect_next_leaf(tree, before, at.0);
                }
                fresh
            });
            match next? {
                Ok(extent) => return Some(extent),
                Err(error) => {
                    *sound = false;
                    self.note(error, tree.owner);
                }
            }
        }
    }

    /// A leaf leads to the next one; writers append along that chain.
    fn expect_next_leaf(&mut self, tree: &ExtentTree<'_>, leaf: BlockNo, expected: u64) {
        let Ok(block) = tree.meta.extent_block(leaf, 0) else {
            return;
        };
        let found = view::<ExtentBlock>(&block).h_next_leaf_blk.get();
        if found != expected {
            let field = "h_next_leaf_blk";
            let violation = Violation::Unexpected { field, found, expected };
            self.note_at(Structure::ExtentBlock, leaf, tree.owner, violation);
        }
    }

    /// Takes the clusters of an extent for their owner and returns those that nothing owned before. Clusters that are not
    /// marked as shared have one owner.
    pub(super) fn claim_clusters(&mut self, owner: InodeNo, extent: &Extent) -> Fresh {
        let Some(range) = self.clusters_of(extent) else {
            return Fresh::None;
        };
        let known = self.clusters.range_cardinality(range.clone());
        if known > 0 && !extent.flags.contains(ExtentFlags::REFCOUNTED) {
            let violation = Violation::Claimed { found: extent.blkno.0 };
            self.note(Corrupt::new(Structure::ExtentList, violation), owner);
        }
        if known == u64::from(extent.clusters) {
            return Fresh::None;
        }
        let fresh = if known == 0 {
            Fresh::All(range.clone())
        } else {
            let mut some = RoaringBitmap::new();
            some.insert_range(range.clone());
            Fresh::Some(some - &self.clusters)
        };
        self.clusters.insert_range(range);
        fresh
    }

    fn clusters_of(&self, extent: &Extent) -> Option<RangeInclusive<u32>> {
        let first = self.geometry().block_to_cluster(extent.blkno)?.0;
        Some(first..=first.checked_add(extent.clusters.checked_sub(1)?)?)
    }

    /// Reads the data of an extent, as far as it was not read before and the device has it.
    pub(super) fn data(&mut self, inode: &Inode, extent: &Extent) {
        let geometry = *self.geometry();
        let blocks = geometry.clusters_to_blocks(extent.clusters);
        let there = self.blocks_on_device(extent.blkno, blocks, inode);
        let end_of_device = (extent.blkno.0 + there) << geometry.block_size_bits;
        let mut buf = Vec::new();
        for run in self.claim_clusters(inode.number(), extent).runs() {
            let start = u64::from(*run.start()) << geometry.cluster_size_bits;
            let end = ((u64::from(*run.end()) + 1) << geometry.cluster_size_bits).min(end_of_device);
            let mut at = start;
            while at < end {
                let left = self.options.data_bytes.saturating_sub(self.report.data_bytes);
                let len = DATA_STEP.min(end - at).min(left);
                if len == 0 {
                    return;
                }
                buf.resize(len as usize, 0);
                if let Err(error) = read_bytes(self.volume.device().as_ref(), at, &mut buf) {
                    self.note(error, inode.number());
                }
                self.report.data_bytes += len;
                at += len;
            }
        }
    }
}

/// The clusters of an extent that nothing owned before.
pub(super) enum Fresh {
    None,
    All(RangeInclusive<u32>),
    Some(RoaringBitmap),
}

impl Fresh {
    pub(super) fn len(&self) -> u64 {
        match self {
            Fresh::None => 0,
            Fresh::All(range) => u64::from(range.end() - range.start()) + 1,
            Fresh::Some(set) => set.len(),
        }
    }

    fn runs(self) -> Vec<RangeInclusive<u32>> {
        match self {
            Fresh::None => Vec::new(),
            Fresh::All(range) => vec![range],
            Fresh::Some(set) => {
                let mut numbers = set.iter();
                std::iter::from_fn(|| numbers.next_range()).collect()
            }
        }
    }
}

/// What the root of a tree says of the tree as a whole: field names and values.
pub(super) struct TreeTotals {
    pub(super) structure: Structure,
    pub(super) at: BlockNo,
    /// `None` where the field is known to be unreliable.
    pub(super) clusters: Option<(&'static str, u32)>,
    pub(super) last_leaf: (&'static str, u64),
}

#[derive(Default)]
struct Leaves {
    last: Option<BlockNo>,
}
