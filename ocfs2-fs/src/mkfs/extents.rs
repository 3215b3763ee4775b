//! Files made of clusters: their extents, and the blocks that hold the extents when the inode has no room.
//!
//! Source: on-disk reference, section 10.

use ocfs2_format::{ExtentBlock, ExtentFlags, ExtentList, ExtentRec, Geometry, Signature, SlotNum};

use super::layout::MetaBlock;
use super::space::Run;

/// The clusters of a file in order, and the blocks of its extent tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Extents {
    runs: Vec<Run>,
    /// Blocks that hold the records, where the inode can't.
    pub(super) leaf_blocks: Vec<MetaBlock>,
    /// Blocks between the inode and those, level by level from below.
    pub(super) interior_blocks: Vec<MetaBlock>,
}

impl Extents {
    /// Appends clusters.
    pub(super) fn push(&mut self, run: Run) {
        self.runs.push(run);
    }

    /// All runs of clusters in the order of the file.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Clusters of the file.
    pub(super) fn clusters(&self) -> u32 {
        self.runs.iter().map(|run| run.len).sum()
    }

    /// How many leaf blocks the tree has to have.
    pub(super) fn leaves_needed(&self, geometry: &Geometry) -> usize {
        match self.runs.len() {
            runs if runs <= usize::from(geometry.extents_per_dinode(false)) => 0,
            runs => runs.div_ceil(geometry.extents_per_block().into()),
        }
    }

    /// How many blocks the tree has to have between the inode and its leaves.
    pub(super) fn interior_needed(&self, geometry: &Geometry) -> usize {
        let mut needed = 0;
        let mut level = self.leaves_needed(geometry);
        while level > geometry.extents_per_dinode(false).into() {
            level = level.div_ceil(geometry.extents_per_block().into());
            needed += level;
        }
        needed
    }

    /// Block of the tree's rightmost leaf, 0 without one: `i_last_eb_blk`.
    pub(super) fn last_leaf(&self) -> u64 {
        self.leaf_blocks.last().map_or(0, |leaf| leaf.block.0)
    }

    /// Fills the list in the inode, and makes the blocks of the tree.
    pub(super) fn fill(&self, geometry: &Geometry, root: &mut ExtentList) -> Vec<(MetaBlock, Vec<u8>)> {
        let mut cpos = 0;
        let mut records = Vec::new();
        for run in &self.runs {
            // A run lies in one group, which has fewer than 2^16 clusters.
            let clusters = run.len as u16;
            let block = geometry.cluster_to_block(run.start);
            records.push(ExtentRec::leaf(cpos, clusters, block, ExtentFlags::empty()));
            cpos += run.len;
        }
        let mut blocks = Vec::new();
        let mut depth = 0;
        let (mut level, mut above) = (&self.leaf_blocks[..], &self.interior_blocks[..]);
        while records.len() > usize::from(geometry.extents_per_dinode(false)) {
            let per_block = usize::from(geometry.extents_per_block());
            let mut parents = Vec::new();
            for (chunk, (i, &place)) in records.chunks(per_block).zip(level.iter().enumerate()) {
                let next = level.get(i + 1).filter(|_| depth == 0).map_or(0, |next| next.block.0);
                blocks.push((place, extent_block(geometry, place, depth, next, chunk)));
                let covered = chunk.iter().map(|rec| rec.clusters(depth)).sum();
                let first = chunk.first().map_or(0, |rec| rec.e_cpos.get());
                parents.push(ExtentRec::interior(first, covered, place.block));
            }
            records = parents;
            depth += 1;
            (level, above) = above.split_at(records.len().div_ceil(per_block).min(above.len()));
        }
        root.init(geometry.extents_per_dinode(false));
        root.l_tree_depth.set(depth);
        records.into_iter().for_each(|rec| root.push(rec));
        blocks
    }
}

impl From<Run> for Extents {
    fn from(run: Run) -> Extents {
        Extents {
            runs: vec![run],
            ..Extents::default()
        }
    }
}

fn extent_block(geometry: &Geometry, place: MetaBlock, depth: u16, next_leaf: u64, records: &[ExtentRec]) -> Vec<u8> {
    let mut bytes = vec![0; geometry.block_size()];
    let block = super::blocks::view::<ExtentBlock>(&mut bytes);
    block.h_signature = Signature::EXTENT_BLOCK;
    block.h_suballoc_slot.set(SlotNum(0).0);
    block.h_suballoc_bit.set(place.bit);
    block.h_suballoc_loc.set(place.group.0);
    block.h_fs_generation.set(geometry.generation.0);
    block.h_blkno.set(place.block.0);
    block.h_next_leaf_blk.set(next_leaf);
    let list = block.list_mut();
    list.init(geometry.extents_per_block());
    list.l_tree_depth.set(depth);
    records.iter().for_each(|rec| list.push(*rec));
    bytes
}
