//! The sector in which a node of an o2cb cluster shows that it is alive.
//!
//! Node `n` writes sector `n` of the region every two seconds; its peers read all sectors and watch for changes.
//!
//! Source: on-disk reference, section 28 (Heartbeat region).

use std::mem::offset_of;

use zerocopy::little_endian as le;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a node writes at the start of its sector (`o2hb_disk_heartbeat_block`). The rest of the sector is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct HeartbeatBlock {
    /// Changes with every beat: the wall clock in seconds.
    pub hb_seq: le::U64,
    /// Number of the node.
    pub hb_node: u8,
    /// Padding.
    pub hb_pad1: [u8; 3],
    /// CRC-32 of the sector with this field zero: reflected polynomial 0xEDB88320, initial value 0, no inversion.
    pub hb_cksum: le::U32,
    /// Random number of this run of the node's heartbeat; 0 in the last beat of a clean stop.
    pub hb_generation: le::U64,
    /// Milliseconds after which the node counts as dead.
    pub hb_dead_ms: le::U32,
    /// Padding at the end of the C structure.
    pub hb_padding_end: [u8; 4],
}
const _: () = assert!(size_of::<HeartbeatBlock>() == 32 && offset_of!(HeartbeatBlock, hb_cksum) == 12);

impl HeartbeatBlock {
    /// Most nodes that a region has sectors for (`O2NM_MAX_NODES`).
    pub const MAX_NODES: u8 = 255;

    /// The heartbeat at the start of a sector, whether or not its checksum is right; `None` for a short sector.
    #[must_use]
    pub fn of_sector(sector: &[u8]) -> Option<&HeartbeatBlock> {
        HeartbeatBlock::ref_from_prefix(sector).ok().map(|(block, _)| block)
    }

    /// The `hb_cksum` that belongs to a sector.
    ///
    /// Without initial value, a sector of zeros, which no node has written, has the right checksum too.
    ///
    /// # Panics
    /// If the sector is shorter than a heartbeat.
    #[must_use]
    pub fn checksum(sector: &[u8]) -> u32 {
        // The crate inverts at both ends: starting from the common CRC's "all ones" makes the initial value zero.
        let mut hasher = crc32fast::Hasher::new_with_initial(!0);
        hasher.update(&sector[..CHECKSUM]);
        hasher.update(&[0; 4]);
        hasher.update(&sector[CHECKSUM + 4..]);
        !hasher.finalize()
    }

    /// Whether the checksum of a sector is right.
    #[must_use]
    pub fn is_intact(sector: &[u8]) -> bool {
        HeartbeatBlock::of_sector(sector).is_some_and(|block| block.hb_cksum.get() == HeartbeatBlock::checksum(sector))
    }

    /// Writes its checksum into a finished sector.
    ///
    /// # Panics
    /// If the sector is shorter than a heartbeat.
    pub fn seal(sector: &mut [u8]) {
        let checksum = HeartbeatBlock::checksum(sector);
        sector[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Fills a sector with a node's beat, checksum included.
    ///
    /// # Panics
    /// If the sector is shorter than a heartbeat.
    pub fn write(node: u8, seq: u64, generation: u64, dead_ms: u32, sector: &mut [u8]) {
        let block = HeartbeatBlock {
            hb_seq: seq.into(),
            hb_node: node,
            hb_pad1: [0; 3],
            hb_cksum: le::U32::ZERO,
            hb_generation: generation.into(),
            hb_dead_ms: dead_ms.into(),
            hb_padding_end: [0; 4],
        };
        let (start, rest) = sector.split_at_mut(size_of::<HeartbeatBlock>());
        start.copy_from_slice(block.as_bytes());
        rest.fill(0);
        HeartbeatBlock::seal(sector);
    }
}

const CHECKSUM: usize = offset_of!(HeartbeatBlock, hb_cksum);

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, bit by bit.
    fn slow_crc(sector: &[u8]) -> u32 {
        sector.iter().fold(0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }
            })
        })
    }

    #[test]
    fn checksum_has_no_initial_value_and_no_inversion() {
        let mut sector: Vec<u8> = (0..512).map(|i| (i * 7) as u8).collect();
        let checksum = HeartbeatBlock::checksum(&sector);
        sector[12..16].fill(0);
        assert_eq!(checksum, slow_crc(&sector));
    }

    #[test]
    fn written_beat_is_intact_and_little_endian() {
        let mut sector = [0xEE; 512];
        HeartbeatBlock::write(3, 0x0102, 0x0A0B, 62000, &mut sector);
        assert!(HeartbeatBlock::is_intact(&sector));
        assert_eq!(sector[..12], [2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(
            sector[16..32],
            [0x0B, 0x0A, 0, 0, 0, 0, 0, 0, 0x30, 0xF2, 0, 0, 0, 0, 0, 0]
        );
        assert!(sector[32..].iter().all(|&b| b == 0));
    }

    #[test]
    fn beat_of_the_kernel_has_the_checksum_we_compute() {
        let mut sector = [0xEE; 512];
        HeartbeatBlock::write(3, 0x6B02_350E, 0xC2FB_F3E0_5186_3516, 62000, &mut sector);
        assert_eq!(sector[12..16], [0x18, 0xE4, 0xAF, 0x12]);
    }

    #[test]
    fn every_changed_byte_of_a_sector_is_noticed() {
        let mut sector = [0; 512];
        HeartbeatBlock::write(3, 1234, 5678, 62000, &mut sector);
        for at in 0..512 {
            sector[at] ^= 0x10;
            assert!(!HeartbeatBlock::is_intact(&sector), "byte {at}");
            sector[at] ^= 0x10;
        }
    }

    #[test]
    fn sector_that_no_node_wrote_is_intact() {
        assert!(HeartbeatBlock::is_intact(&[0; 512]));
        assert!(!HeartbeatBlock::is_intact(&[0; 31]));
    }
}
