//! Where the copies of the superblock are.
//!
//! Source: on-disk reference, section 4 (Backup superblocks).

use crate::geometry::Geometry;
use crate::prim::BlockNo;

/// Byte offsets of the copies: 1, 4, 16, 64 and 256 GiB and 1 TiB.
///
/// A copy exists where its block lies in the volume; whether it was written is told by the backup-super feature. The
/// tools number them from 1.
pub const BACKUP_OFFSETS: [u64; 6] = [1 << 30, 1 << 32, 1 << 34, 1 << 36, 1 << 38, 1 << 40];

/// The block of each backup superblock that a volume of `blocks` blocks has room for.
///
/// This form is for a reader that has lost the superblock; [`Geometry::backup_blocks`] for all others.
pub fn backup_blocks(block_size: usize, blocks: u64) -> impl Iterator<Item = BlockNo> {
    let block_size = (block_size as u64).max(1);
    BACKUP_OFFSETS
        .into_iter()
        .map(move |offset| BlockNo(offset / block_size))
        .take_while(move |block| block.0 < blocks)
}

impl Geometry {
    /// The block of each backup superblock that the volume has room for.
    pub fn backup_blocks(&self) -> impl Iterator<Item = BlockNo> + use<> {
        backup_blocks(self.block_size(), self.blocks())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_of_exactly_1_gib_has_no_backup() {
        let gib = |block_size: usize| (1u64 << 30) / block_size as u64;
        for block_size in [512, 1024, 2048, 4096] {
            assert_eq!(backup_blocks(block_size, gib(block_size)).count(), 0);
            assert!(backup_blocks(block_size, gib(block_size) + 1).eq([BlockNo(gib(block_size))]));
        }
    }

    #[test]
    fn large_volume_has_all_six() {
        let blocks: Vec<u64> = backup_blocks(4096, u64::MAX).map(|block| block.0).collect();
        assert_eq!(blocks, [1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28]);
    }
}
