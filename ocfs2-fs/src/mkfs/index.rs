//! Indexes of the directories of a new volume.
//!
//! Source: on-disk reference, section 18.

use ocfs2_format::{
    BlockNo, CharSign, ClusterNo, DxEntry, DxFlags, DxHash, DxLeaf, DxRoot, ExtentFlags, ExtentRec, Geometry,
    Signature, SlotNum,
};

use super::blocks::view;
use super::dirs::Entry;
use super::layout::{Directory, MetaBlock};

/// An index that does not fit in its root, or whose entries are known before its place.
#[derive(Clone, Debug)]
pub(super) struct IndexPlan {
    /// Entries of the root; empty when there are leaves.
    entries: Vec<DxEntry>,
    /// Clusters of leaves, ascending by the hashes that they begin with.
    pub(super) leaf_clusters: Vec<LeafCluster>,
}

/// A cluster of index leaves.
#[derive(Clone, Debug)]
pub(super) struct LeafCluster {
    /// Smallest major hash in it.
    first_hash: u32,
    /// Entries of each leaf.
    leaves: Vec<Vec<DxEntry>>,
    /// Where it is.
    pub(super) place: ClusterNo,
}

impl IndexPlan {
    /// The index of a directory with these entries in consecutive blocks from `first_block`.
    pub(super) fn new(geometry: &Geometry, blocks: &[Vec<Entry>], first_block: BlockNo) -> IndexPlan {
        let mut entries: Vec<DxEntry> = Vec::new();
        for (i, block) in (0..).zip(blocks) {
            for entry in block {
                let hash = DxHash::of(entry.name.as_bytes(), &geometry.dx_seed, CharSign::default());
                entries.push(DxEntry {
                    dx_major_hash: hash.major.into(),
                    dx_minor_hash: hash.minor.into(),
                    dx_dirent_blk: (first_block.0 + i).into(),
                });
            }
        }
        if entries.len() <= geometry.dx_entries_per_root().into() {
            return IndexPlan {
                entries,
                leaf_clusters: Vec::new(),
            };
        }
        entries.sort_by_key(|entry| (entry.dx_major_hash.get(), entry.dx_minor_hash.get()));
        let leaf_clusters = leaf_clusters(geometry, &entries);
        IndexPlan {
            entries: Vec::new(),
            leaf_clusters,
        }
    }

    fn num_entries(&self) -> usize {
        let in_leaves = self.leaf_clusters.iter().flat_map(|cluster| &cluster.leaves);
        self.entries.len() + in_leaves.map(Vec::len).sum::<usize>()
    }

    /// The root's block.
    pub(super) fn root(&self, geometry: &Geometry, directory: &Directory, place: MetaBlock, free_list: u64) -> Vec<u8> {
        let mut bytes = vec![0; geometry.block_size()];
        let root = view::<DxRoot>(&mut bytes);
        root.dr_signature = Signature::DX_ROOT;
        root.dr_suballoc_slot.set(SlotNum(0).0);
        root.dr_suballoc_bit.set(place.bit);
        root.dr_suballoc_loc.set(place.group.0);
        root.dr_fs_generation.set(geometry.generation.0);
        root.dr_blkno.set(place.block.0);
        root.dr_dir_blkno.set(directory.inode.0);
        // A directory of a new volume has some thousand entries at most.
        root.dr_num_entries.set(self.num_entries() as u32);
        root.dr_free_blk.set(free_list);
        if self.leaf_clusters.is_empty() {
            root.dr_flags = DxFlags::INLINE.bits();
            let list = root.entries_mut();
            list.de_count.set(geometry.dx_entries_per_root());
            list.de_num_used.set(self.entries.len() as u16);
            list.de_entries[..self.entries.len()].copy_from_slice(&self.entries);
        } else {
            root.dr_clusters.set(self.leaf_clusters.len() as u32);
            let list = root.list_mut();
            list.init(geometry.extents_per_dx_root());
            for cluster in &self.leaf_clusters {
                let block = geometry.cluster_to_block(cluster.place);
                list.push(ExtentRec::leaf(cluster.first_hash, 1, block, ExtentFlags::empty()));
            }
        }
        bytes
    }

    /// The blocks of the leaves.
    pub(super) fn leaves(&self, geometry: &Geometry) -> Vec<(BlockNo, Vec<u8>)> {
        let mut blocks = Vec::new();
        for cluster in &self.leaf_clusters {
            let first = geometry.cluster_to_block(cluster.place);
            for (i, entries) in (0..).zip(&cluster.leaves) {
                let at = BlockNo(first.0 + i);
                let mut bytes = vec![0; geometry.block_size()];
                let leaf = view::<DxLeaf>(&mut bytes);
                leaf.dl_signature = Signature::DX_LEAF;
                leaf.dl_blkno.set(at.0);
                leaf.dl_fs_generation.set(geometry.generation.0);
                let list = leaf.entries_mut();
                list.de_count.set(geometry.dx_entries_per_leaf());
                list.de_num_used.set(entries.len() as u16);
                list.de_entries[..entries.len()].copy_from_slice(entries);
                blocks.push((at, bytes));
            }
        }
        blocks
    }
}

/// Distributes entries, sorted by hash, over as few clusters of leaves as they fit in. Entries with the same major hash
/// stay together.
fn leaf_clusters(geometry: &Geometry, entries: &[DxEntry]) -> Vec<LeafCluster> {
    let leaves = geometry.blocks_per_cluster();
    let room = usize::from(geometry.dx_entries_per_leaf());
    let empty = |first_hash| LeafCluster {
        first_hash,
        leaves: vec![Vec::new(); leaves as usize],
        place: ClusterNo(0),
    };
    let mut clusters = vec![empty(0)];
    for same_major in entries.chunk_by(|a, b| a.dx_major_hash == b.dx_major_hash) {
        let leaf_of = |entry: &DxEntry| (entry.dx_minor_hash.get() % leaves) as usize;
        let fits = clusters.last().is_some_and(|cluster| {
            same_major
                .iter()
                .all(|entry| cluster.leaves[leaf_of(entry)].len() + same_major.len() <= room)
        });
        if !fits {
            clusters.push(empty(same_major[0].dx_major_hash.get()));
        }
        if let Some(cluster) = clusters.last_mut() {
            same_major
                .iter()
                .for_each(|entry| cluster.leaves[leaf_of(entry)].push(*entry));
        }
    }
    clusters
}
