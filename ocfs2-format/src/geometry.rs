//! Sizes of a volume, and every conversion between bytes, blocks and clusters.
//!
//! Source: on-disk reference, sections 0, 1.2, 1.3 and 6.

use std::ops::Range;

use crate::features::Features;
use crate::prim::{BlockNo, ClusterNo, Generation};

/// What has to be known of a volume to judge any block of it: taken from a checked superblock, or chosen by mkfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// log2 of the block size in bytes, 9..=12.
    pub block_size_bits: u8,
    /// log2 of the cluster size in bytes, 12..=20.
    pub cluster_size_bits: u8,
    /// Clusters in the volume.
    pub clusters: u32,
    /// Feature words.
    pub features: Features,
    /// Generation that every metadata block must carry.
    pub generation: Generation,
    /// Node slots, 1..=255 (0 on a heartbeat device).
    pub max_slots: u16,
    /// Bytes that attributes take in the body of an inode that has some; 0 without the xattr feature.
    pub xattr_inline_size: u16,
    /// Seed of the attribute name hash.
    pub uuid_hash: u32,
    /// Seeds of the directory name hash.
    pub dx_seed: [u32; 3],
}

impl Geometry {
    /// Largest number of clusters in a volume.
    pub const MAX_CLUSTERS: u32 = u32::MAX;
    /// Block number of the superblock.
    pub const SUPER_BLOCK: BlockNo = BlockNo(2);
    /// Bytes of an xattr bucket, whatever the block size.
    pub const XATTR_BUCKET_SIZE: usize = 4096;
    /// Bytes of a suballocator group's bitmap with the discontig-bg feature.
    pub const DISCONTIG_BITMAP_BYTES: u16 = 256;
    /// Levels below the root that an extent tree can have at most.
    pub const MAX_TREE_DEPTH: u16 = 4;

    /// Block size in bytes.
    pub fn block_size(&self) -> usize {
        1 << self.block_size_bits
    }

    /// Cluster size in bytes.
    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_size_bits
    }

    /// Blocks in a cluster.
    pub fn blocks_per_cluster(&self) -> u32 {
        1 << self.cluster_bits_over_block()
    }

    /// log2 of the blocks in a cluster.
    pub fn cluster_bits_over_block(&self) -> u8 {
        self.cluster_size_bits.saturating_sub(self.block_size_bits)
    }

    /// Blocks in the volume.
    pub fn blocks(&self) -> u64 {
        u64::from(self.clusters) << self.cluster_bits_over_block()
    }

    /// Bytes in the volume.
    pub fn bytes(&self) -> u64 {
        u64::from(self.clusters) << self.cluster_size_bits
    }

    /// Byte offset of a block on the device, or `None` past 2^64.
    pub fn block_offset(&self, block: BlockNo) -> Option<u64> {
        block.0.checked_mul(1 << self.block_size_bits)
    }

    /// Whether a block lies in the volume.
    pub fn contains(&self, block: BlockNo) -> bool {
        block.0 < self.blocks()
    }

    /// Whether `len` blocks from `first` lie in the volume behind the superblock.
    pub fn contains_run(&self, first: BlockNo, len: u64) -> bool {
        first > Self::SUPER_BLOCK && first.0.checked_add(len).is_some_and(|end| end <= self.blocks())
    }

    /// First block of a cluster.
    pub fn cluster_to_block(&self, cluster: ClusterNo) -> BlockNo {
        BlockNo(u64::from(cluster.0) << self.cluster_bits_over_block())
    }

    /// Cluster that holds a block; `None` for a block beyond the largest possible volume.
    pub fn block_to_cluster(&self, block: BlockNo) -> Option<ClusterNo> {
        u32::try_from(block.0 >> self.cluster_bits_over_block())
            .ok()
            .map(ClusterNo)
    }

    /// Blocks of a run of clusters.
    pub fn clusters_to_blocks(&self, clusters: u32) -> u64 {
        u64::from(clusters) << self.cluster_bits_over_block()
    }

    /// Bytes of a run of clusters.
    pub fn clusters_to_bytes(&self, clusters: u32) -> u64 {
        u64::from(clusters) << self.cluster_size_bits
    }

    /// Clusters that `bytes` bytes need.
    pub fn clusters_for_bytes(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.cluster_size())
    }

    /// Blocks that `bytes` bytes need.
    pub fn blocks_for_bytes(&self, bytes: u64) -> u64 {
        bytes.div_ceil(1 << self.block_size_bits)
    }

    /// Clusters that a full group of the global bitmap covers (`cl_cpg` of the bitmap).
    pub fn clusters_per_group(&self) -> u32 {
        8 * (1 << self.block_size_bits) - 8 * 0x40
    }

    /// Number of groups of the global bitmap.
    pub fn cluster_groups(&self) -> u32 {
        self.clusters.div_ceil(self.clusters_per_group())
    }

    /// Clusters that group `index` of the global bitmap covers.
    pub fn group_clusters(&self, index: u32) -> Range<u64> {
        let per_group = u64::from(self.clusters_per_group());
        let start = u64::from(index) * per_group;
        start..(start + per_group).min(u64::from(self.clusters))
    }

    /// First block of the first cluster boundary behind the superblock: the descriptor of cluster group 0
    /// (`s_first_cluster_group`).
    pub fn first_cluster_group(&self) -> BlockNo {
        let first_cluster = 3u64.div_ceil(u64::from(self.blocks_per_cluster()));
        BlockNo(first_cluster << self.cluster_bits_over_block())
    }

    /// Block of the descriptor of group `index` of the global bitmap.
    pub fn cluster_group_block(&self, index: u32) -> BlockNo {
        if index == 0 {
            return self.first_cluster_group();
        }
        let first_cluster = u64::from(index) * u64::from(self.clusters_per_group());
        BlockNo(first_cluster << self.cluster_bits_over_block())
    }

    /// Extent records that fit in a dinode; `with_inline_xattr` when attributes take the end of the block.
    pub fn extents_per_dinode(&self, with_inline_xattr: bool) -> u16 {
        self.capacity(0xD0 + self.inline_xattr_bytes(with_inline_xattr), 16)
    }

    /// Bytes of data that fit in a dinode.
    pub fn max_inline_data(&self, with_inline_xattr: bool) -> u16 {
        self.capacity(0xC8 + self.inline_xattr_bytes(with_inline_xattr), 1)
    }

    /// Bytes of a fast symlink's target, its NUL included.
    pub fn fast_symlink_bytes(&self) -> u16 {
        self.capacity(0xC0, 1)
    }

    /// Extent records that fit in an extent block.
    pub fn extents_per_block(&self) -> u16 {
        self.capacity(0x40, 16)
    }

    /// Extent records that fit in the list of a discontiguous group.
    pub fn extents_per_group(&self) -> u16 {
        self.capacity(0x150, 16)
    }

    /// Extent records that fit in a directory index root.
    pub fn extents_per_dx_root(&self) -> u16 {
        self.capacity(0xD0, 16)
    }

    /// Index entries that fit in a directory index root.
    pub fn dx_entries_per_root(&self) -> u16 {
        self.capacity(0xC8, 16)
    }

    /// Index entries that fit in a directory index leaf.
    pub fn dx_entries_per_leaf(&self) -> u16 {
        self.capacity(0x30, 16)
    }

    /// Extent records that fit in the root of an attribute index tree.
    pub fn extents_per_xattr_block(&self) -> u16 {
        self.capacity(0x50, 16)
    }

    /// Records of either kind that fit in a refcount block.
    pub fn recs_per_refcount_block(&self) -> u16 {
        self.capacity(0x90, 16)
    }

    /// Chain records that fit in an allocator's dinode.
    pub fn chains_per_dinode(&self) -> u16 {
        self.capacity(0xD0, 16)
    }

    /// Records that fit in a truncate log.
    pub fn truncate_log_recs(&self) -> u16 {
        self.capacity(0xC8, 8)
    }

    /// Bytes of bitmap that fit in a local alloc (`la_size`).
    pub fn local_alloc_bytes(&self) -> u16 {
        self.capacity(0xD0, 1)
    }

    /// Bytes of bitmap that fit in the descriptor of a cluster group.
    pub fn group_bitmap_bytes(&self) -> u16 {
        self.capacity(0x40, 1)
    }

    /// Bytes of bitmap of a suballocator group.
    pub fn suballoc_bitmap_bytes(&self) -> u16 {
        if self.features.discontig_bg() {
            Self::DISCONTIG_BITMAP_BYTES
        } else {
            self.group_bitmap_bytes()
        }
    }

    /// Blocks of an xattr bucket.
    pub fn blocks_per_xattr_bucket(&self) -> u32 {
        (Self::XATTR_BUCKET_SIZE >> self.block_size_bits) as u32
    }

    /// Largest hard link count.
    pub fn link_max(&self) -> u32 {
        if self.features.indexed_dirs() {
            i32::MAX as u32
        } else {
            32000
        }
    }

    /// Whether blocks of a directory that is not inline end with a trailer; `indexed` when the directory has an index.
    pub fn has_dir_trailer(&self, indexed: bool) -> bool {
        self.features.metaecc() || indexed
    }

    fn inline_xattr_bytes(&self, present: bool) -> usize {
        if present {
            usize::from(self.xattr_inline_size)
        } else {
            0
        }
    }

    /// Records of `size` bytes behind a header of `header` bytes. Fits in 16 bits: a block has 4096 bytes at most.
    fn capacity(&self, header: usize, size: usize) -> u16 {
        (self.block_size().saturating_sub(header) / size) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(block_size_bits: u8, cluster_size_bits: u8, clusters: u32) -> Geometry {
        Geometry {
            block_size_bits,
            cluster_size_bits,
            clusters,
            features: Features::DEFAULT,
            generation: Generation(1),
            max_slots: 1,
            xattr_inline_size: 256,
            uuid_hash: 0,
            dx_seed: [0; 3],
        }
    }

    #[test]
    fn first_cluster_group_follows_the_superblock_at_the_next_cluster() {
        for (block_bits, cluster_bits, block) in [
            (9, 12, 8),
            (10, 12, 4),
            (11, 12, 4),
            (12, 12, 3),
            (12, 14, 4),
            (12, 20, 256),
            (9, 20, 2048),
        ] {
            assert_eq!(
                geometry(block_bits, cluster_bits, 100_000).first_cluster_group(),
                BlockNo(block)
            );
        }
    }

    #[test]
    fn capacities_equal_the_reference_table() {
        let g = geometry(12, 12, 1000);
        assert_eq!((g.extents_per_dinode(false), g.extents_per_dinode(true)), (243, 227));
        assert_eq!((g.max_inline_data(false), g.max_inline_data(true)), (3896, 3640));
        assert_eq!(g.extents_per_block(), 252);
        assert_eq!(g.extents_per_group(), 235);
        assert_eq!((g.dx_entries_per_root(), g.dx_entries_per_leaf()), (243, 253));
        assert_eq!(g.recs_per_refcount_block(), 247);
        assert_eq!(g.truncate_log_recs(), 487);
        assert_eq!(g.clusters_per_group(), 32256);
        let g = geometry(9, 12, 1000);
        assert_eq!(
            (
                g.extents_per_dinode(false),
                g.extents_per_block(),
                g.clusters_per_group()
            ),
            (19, 28, 3584)
        );
    }

    #[test]
    fn last_group_covers_what_is_left() {
        let g = geometry(12, 12, 32257);
        assert_eq!(g.cluster_groups(), 2);
        assert_eq!(g.group_clusters(1), 32256..32257);
        assert_eq!(g.cluster_group_block(1), BlockNo(32256));
    }
}
