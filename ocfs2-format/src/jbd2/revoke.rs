//! Revoke blocks: blocks whose images in earlier transactions must not be replayed.
//!
//! OCFS2 writes none, but a journal with them is legal and has to be obeyed.
//!
//! Source: on-disk reference, section 26.3 (Log layout).

use zerocopy::big_endian as be;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BlockType, Format, Header, Sequence, TagRefused};
use crate::error::{Corrupt, Structure, Violation};
use crate::prim::BlockNo;

/// Start of a revoke block (`jbd2_journal_revoke_header_s`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RevokeHeader {
    /// Magic, type and sequence.
    pub r_header: Header,
    /// Bytes in use, this header included.
    pub r_count: be::U32,
}
const _: () = assert!(size_of::<RevokeHeader>() == 16);

/// The block numbers in one revoke block.
#[derive(Clone, Debug)]
pub struct Revoked<'a> {
    wide: bool,
    rest: &'a [u8],
}

/// Fills a revoke block.
#[derive(Debug)]
pub struct RevokeWriter<'a> {
    format: Format,
    block: &'a mut [u8],
    used: usize,
}

impl Format {
    /// The block numbers in a revoke block.
    ///
    /// # Errors
    /// If the block says that it uses more bytes than it has.
    pub fn revoked<'a>(&self, block: &'a [u8]) -> Result<Revoked<'a>, Corrupt> {
        let corrupt = |violation| Corrupt::new(Structure::Journal, violation);
        let Ok((header, _)) = RevokeHeader::ref_from_prefix(block) else {
            let (found, needed) = (block.len() as u64, size_of::<RevokeHeader>() as u64);
            return Err(corrupt(Violation::Truncated { found, needed }));
        };
        let used = header.r_count.get();
        let limit = block.len().saturating_sub(self.tail_bytes());
        let Some(in_use) = block.get(..used as usize).filter(|in_use| in_use.len() <= limit) else {
            let (found, limit) = (used.into(), limit as u64);
            return Err(corrupt(Violation::TooLarge {
                field: "r_count",
                found,
                limit,
            })
            .in_bytes(12..16));
        };
        // A count below the header's own size means no block numbers to the kernel driver, so it does here.
        let rest = in_use.get(size_of::<RevokeHeader>()..).unwrap_or_default();
        Ok(Revoked { wide: self.wide, rest })
    }

    /// Block numbers that a revoke block has room for.
    #[must_use]
    pub fn revokes_per_block(&self) -> u32 {
        let around = size_of::<RevokeHeader>() + self.tail_bytes();
        self.block_size.saturating_sub(around as u32) / self.revoke_bytes() as u32
    }

    fn revoke_bytes(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }
}

impl Iterator for Revoked<'_> {
    type Item = BlockNo;

    fn next(&mut self) -> Option<BlockNo> {
        if self.wide {
            let (block, rest) = be::U64::read_from_prefix(self.rest).ok()?;
            self.rest = rest;
            Some(BlockNo(block.get()))
        } else {
            let (block, rest) = be::U32::read_from_prefix(self.rest).ok()?;
            self.rest = rest;
            Some(BlockNo(block.get().into()))
        }
    }
}

impl<'a> RevokeWriter<'a> {
    /// Starts a revoke block of a transaction; `block` is overwritten.
    ///
    /// # Panics
    /// If `block` is shorter than a header.
    #[must_use]
    pub fn new(format: Format, sequence: Sequence, block: &'a mut [u8]) -> Self {
        block.fill(0);
        let used = size_of::<RevokeHeader>();
        let header = RevokeHeader {
            r_header: Header::new(BlockType::REVOKE, sequence),
            r_count: (used as u32).into(),
        };
        block[..used].copy_from_slice(header.as_bytes());
        RevokeWriter { format, block, used }
    }

    /// Adds a block number.
    ///
    /// # Errors
    /// [`TagRefused::Full`] and [`TagRefused::BlockTooFar`]; nothing is written then.
    pub fn push(&mut self, block: BlockNo) -> Result<(), TagRefused> {
        let end = self.used + self.format.revoke_bytes();
        if end + self.format.tail_bytes() > self.block.len() {
            return Err(TagRefused::Full);
        }
        let into = &mut self.block[self.used..end];
        if self.format.wide {
            into.copy_from_slice(&block.0.to_be_bytes());
        } else {
            let narrow = u32::try_from(block.0).map_err(|_| TagRefused::BlockTooFar(block))?;
            into.copy_from_slice(&narrow.to_be_bytes());
        }
        self.used = end;
        Ok(())
    }

    /// Notes how much is in use and adds the block's checksum where the journal has one.
    pub fn finish(self) {
        if let Ok((header, _)) = RevokeHeader::mut_from_prefix(self.block) {
            header.r_count.set(self.used as u32);
        }
        self.format.seal(self.block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jbd2::ChecksumVersion;

    #[test]
    fn revoked_blocks_are_read_back_until_the_block_is_full() {
        for (wide, checksum, capacity) in [
            (false, ChecksumVersion::None, (512 - 16) / 4),
            (true, ChecksumVersion::None, (512 - 16) / 8),
            (true, ChecksumVersion::V3, (512 - 16 - 4) / 8),
        ] {
            let format = Format {
                block_size: 512,
                wide,
                checksum,
                seed: 1,
            };
            let mut block = [0xEE; 512];
            let mut writer = RevokeWriter::new(format, Sequence(5), &mut block);
            let mut count = 0u64;
            while writer.push(BlockNo(count * 3)).is_ok() {
                count += 1;
            }
            writer.finish();
            assert_eq!((count, u64::from(format.revokes_per_block())), (capacity, capacity));
            assert!(format.is_intact(&block));
            assert!(format.revoked(&block).unwrap().eq((0..count).map(|n| BlockNo(n * 3))));
        }
    }

    #[test]
    fn count_beyond_the_block_is_corrupt() {
        let mut block = [0; 512];
        let format = Format {
            block_size: 512,
            wide: false,
            checksum: ChecksumVersion::V2,
            seed: 1,
        };
        RevokeWriter::new(format, Sequence(5), &mut block).finish();
        for (count, legal) in [(508, true), (509, false), (u32::MAX, false), (3, true)] {
            block[12..16].copy_from_slice(&count.to_be_bytes());
            assert_eq!(format.revoked(&block).is_ok(), legal, "{count}");
        }
    }
}
