//! The superblock of a journal: its first 1024 bytes, which span two blocks where blocks have 512.
//!
//! Source: on-disk reference, sections 26.2 and 26.4.

use bitflags::bitflags;
use zerocopy::big_endian as be;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BlockType, ChecksumVersion, Format, Header, MAGIC, MIN_BLOCKS, Sequence};
use crate::error::{Corrupt, Structure, Violation};

bitflags! {
    /// `s_feature_compat`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Compat: u32 {
        /// Checksums of version 1, in commit blocks.
        const CHECKSUM = 0x1;
        const _ = !0;
    }
}

bitflags! {
    /// `s_feature_incompat`. OCFS2 itself only ever sets [`BIT64`](Self::BIT64).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Incompat: u32 {
        /// There may be revoke blocks.
        const REVOKE = 0x01;
        /// Block numbers have 64 bits.
        const BIT64 = 0x02;
        /// Commit blocks may reach the disk before what they commit.
        const ASYNC_COMMIT = 0x04;
        /// Checksums of version 2.
        const CSUM_V2 = 0x08;
        /// Checksums of version 3.
        const CSUM_V3 = 0x10;
        /// The end of the journal holds fast commits, which OCFS2 has no use for.
        const FAST_COMMIT = 0x20;
        const _ = !0;
    }
}

impl Incompat {
    /// The features that the kernel driver knows.
    pub const KNOWN: Incompat = Incompat::from_bits_retain(0x3F);
}

/// The superblock as stored (`journal_superblock_s`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Superblock {
    /// Magic, type 3 or 4, sequence 0.
    pub s_header: Header,
    /// Block size in bytes.
    pub s_blocksize: be::U32,
    /// Blocks of the journal, the superblock included.
    pub s_maxlen: be::U32,
    /// First block of the log: 1, or 2 with blocks of 512 bytes.
    pub s_first: be::U32,
    /// [`Sequence`] of the transaction at `s_start`; the next to use if the log is empty.
    pub s_sequence: be::U32,
    /// Block at which recovery starts; 0 if the log is empty.
    pub s_start: be::U32,
    /// Error (a negated errno) for which the journal was aborted, or 0.
    pub s_errno: be::I32,
    /// [`Compat`], in version 2.
    pub s_feature_compat: be::U32,
    /// [`Incompat`], in version 2.
    pub s_feature_incompat: be::U32,
    /// No bits are known, in version 2.
    pub s_feature_ro_compat: be::U32,
    /// UUID of the volume at format time.
    pub s_uuid: [u8; 16],
    /// File systems that share the journal: 1.
    pub s_nr_users: be::U32,
    /// Block of a dynamic copy of the superblock; unused.
    pub s_dynsuper: be::U32,
    /// Limit of blocks per transaction; unused.
    pub s_max_transaction: be::U32,
    /// Limit of data blocks per transaction; unused.
    pub s_max_trans_data: be::U32,
    /// Kind of checksums of version 2 and 3: 4 (CRC-32C).
    pub s_checksum_type: u8,
    /// Padding.
    pub s_padding2: [u8; 3],
    /// Blocks at the end of the journal for fast commits, with [`Incompat::FAST_COMMIT`]; 0 means 256.
    pub s_num_fc_blks: be::U32,
    /// Padding.
    pub s_padding: [be::U32; 41],
    /// CRC-32C of the superblock with this field zero, with checksums of version 2 and 3.
    pub s_checksum: be::U32,
    /// UUIDs of the file systems that share the journal; unused.
    pub s_users: [u8; 768],
}
const _: () = assert!(size_of::<Superblock>() == 1024);

/// A journal whose superblock has been checked.
///
/// Source: on-disk reference, sections 26.2 to 26.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ring {
    /// How its control blocks are written.
    pub format: Format,
    /// First block of the ring.
    pub first: u32,
    /// Block behind the last one of the ring.
    pub end: u32,
    /// Block at which recovery starts; `None` if the log is empty.
    pub start: Option<u32>,
    /// Transaction expected at `start`, or the next to use.
    pub sequence: Sequence,
    /// Error for which the journal was aborted, or 0.
    pub errno: i32,
}

impl Ring {
    /// The block that follows `block` on the ring.
    #[must_use]
    pub fn next(&self, block: u32) -> u32 {
        match block.checked_add(1) {
            Some(next) if next < self.end => next,
            _ => self.first,
        }
    }

    /// The block `count` blocks behind `block` on the ring.
    #[must_use]
    pub fn advance(&self, block: u32, count: u32) -> u32 {
        // The first block read may lie before the ring, where nothing returns to: new journals with blocks of 512 bytes.
        let at = u64::from(block) + u64::from(count);
        match at.checked_sub(self.end.into()) {
            None => at as u32,
            Some(past) => self.first + (past % u64::from(self.blocks())) as u32,
        }
    }

    /// Blocks of the ring, at least one.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.end - self.first
    }
}

impl Superblock {
    /// The superblock of a new journal of `blocks` blocks, as mkfs writes it.
    #[must_use]
    pub fn new(block_size: u32, blocks: u32, uuid: [u8; 16], wide: bool) -> Superblock {
        let mut superblock = Superblock::new_zeroed();
        superblock.s_header = Header::new(BlockType::SUPERBLOCK_V2, Sequence(0));
        superblock.s_blocksize.set(block_size);
        superblock.s_maxlen.set(blocks);
        superblock.s_first.set(first_block(block_size));
        superblock.s_sequence.set(1);
        superblock.s_start.set(1);
        superblock
            .s_feature_incompat
            .set(if wide { Incompat::BIT64.bits() } else { 0 });
        superblock.s_uuid = uuid;
        superblock.s_nr_users.set(1);
        superblock
    }

    /// Compatible features; none in version 1, which has no words for them.
    #[must_use]
    pub fn compat(&self) -> Compat {
        Compat::from_bits_retain(if self.has_features() {
            self.s_feature_compat.get()
        } else {
            0
        })
    }

    /// Incompatible features; none in version 1, which has no words for them.
    #[must_use]
    pub fn incompat(&self) -> Incompat {
        Incompat::from_bits_retain(if self.has_features() {
            self.s_feature_incompat.get()
        } else {
            0
        })
    }

    /// Read-only compatible features, of which none are known; none in version 1.
    #[must_use]
    pub fn ro_compat(&self) -> u32 {
        if self.has_features() {
            self.s_feature_ro_compat.get()
        } else {
            0
        }
    }

    /// Recomputes `s_checksum` if the journal has one, as the last step before the superblock is written.
    pub fn seal(&mut self) {
        if self.incompat().intersects(Incompat::CSUM_V2 | Incompat::CSUM_V3) {
            self.s_checksum.set(self.checksum());
        }
    }

    /// Checks the superblock against the block size of its volume and the blocks of the file that holds it.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, block_size: u32, file_blocks: u64) -> Result<Ring, Corrupt> {
        let version = self.s_header.block_type();
        if self.s_header.h_magic.get() != MAGIC {
            return unexpected("h_magic", self.s_header.h_magic.get(), MAGIC);
        }
        if !matches!(version, BlockType::SUPERBLOCK_V1 | BlockType::SUPERBLOCK_V2) {
            return invalid("h_blocktype", version.0, "a journal superblock has type 3 or 4");
        }
        if self.s_blocksize.get() != block_size {
            return unexpected("s_blocksize", self.s_blocksize.get(), block_size);
        }
        let (maxlen, first) = (self.s_maxlen.get(), self.s_first.get());
        if u64::from(maxlen) > file_blocks {
            return fail(Violation::TooLarge {
                field: "s_maxlen",
                found: maxlen.into(),
                limit: file_blocks,
            });
        }
        if first == 0 || first >= maxlen {
            return invalid(
                "s_first",
                first,
                "the log starts behind the superblock and before s_maxlen",
            );
        }
        let checksum = self.check_features()?;
        let end = self.log_end();
        let start = self.s_start.get();
        // A new journal of 512-byte blocks starts at block 1, which is still superblock: an empty log in all but name.
        if start >= end {
            return fail(Violation::TooLarge {
                field: "s_start",
                found: start.into(),
                limit: u64::from(end) - 1,
            });
        }
        let format = Format {
            block_size,
            wide: self.incompat().contains(Incompat::BIT64),
            checksum,
            seed: Format::seed_of(&self.s_uuid),
        };
        Ok(Ring {
            format,
            first,
            end,
            start: (start != 0).then_some(start),
            sequence: Sequence(self.s_sequence.get()),
            errno: self.s_errno.get(),
        })
    }

    fn has_features(&self) -> bool {
        self.s_header.block_type() == BlockType::SUPERBLOCK_V2
    }

    fn check_features(&self) -> Result<ChecksumVersion, Corrupt> {
        let (compat, incompat) = (self.compat(), self.incompat());
        if !Incompat::KNOWN.contains(incompat) {
            return invalid("s_feature_incompat", incompat.bits(), "unknown features");
        }
        if self.ro_compat() != 0 {
            return invalid("s_feature_ro_compat", self.ro_compat(), "unknown features");
        }
        let v1 = compat.contains(Compat::CHECKSUM);
        let version = match (
            incompat.contains(Incompat::CSUM_V2),
            incompat.contains(Incompat::CSUM_V3),
        ) {
            (true, true) => return invalid("s_feature_incompat", incompat.bits(), "checksums of versions 2 and 3"),
            (true, false) | (false, true) if v1 => {
                return invalid(
                    "s_feature_compat",
                    compat.bits(),
                    "checksums of version 1 beside a later one",
                );
            }
            (true, false) => ChecksumVersion::V2,
            (false, true) => ChecksumVersion::V3,
            (false, false) if v1 => return Ok(ChecksumVersion::V1),
            (false, false) => return Ok(ChecksumVersion::None),
        };
        if self.s_checksum_type != CHECKSUM_CRC32C {
            return unexpected("s_checksum_type", self.s_checksum_type.into(), CHECKSUM_CRC32C.into());
        }
        let (stored, computed) = (self.s_checksum.get(), self.checksum());
        if stored != computed {
            return unexpected("s_checksum", stored, computed);
        }
        Ok(version)
    }

    /// Where the ring ends: fast commits take the end of the journal if that leaves enough of it.
    fn log_end(&self) -> u32 {
        let maxlen = self.s_maxlen.get();
        if !self.incompat().contains(Incompat::FAST_COMMIT) {
            return maxlen;
        }
        let fast = match self.s_num_fc_blks.get() {
            0 => DEFAULT_FAST_COMMIT_BLOCKS,
            blocks => blocks,
        };
        match maxlen.checked_sub(fast) {
            Some(end) if end >= MIN_BLOCKS && end > self.s_first.get() => end,
            _ => maxlen,
        }
    }
}

fn first_block(block_size: u32) -> u32 {
    (size_of::<Superblock>() as u32).div_ceil(block_size).max(1)
}

fn fail<T>(violation: Violation) -> Result<T, Corrupt> {
    Err(Corrupt::new(Structure::Journal, violation))
}

fn unexpected<T>(field: &'static str, found: u32, expected: u32) -> Result<T, Corrupt> {
    fail(Violation::Unexpected {
        field,
        found: found.into(),
        expected: expected.into(),
    })
}

fn invalid<T>(field: &'static str, found: u32, why: &'static str) -> Result<T, Corrupt> {
    fail(Violation::Invalid {
        field,
        found: found.into(),
        why,
    })
}

/// `s_checksum_type` of CRC-32C.
const CHECKSUM_CRC32C: u8 = 4;
const DEFAULT_FAST_COMMIT_BLOCKS: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock() -> Superblock {
        Superblock::new(4096, 1024, [7; 16], false)
    }

    #[test]
    fn new_superblock_has_the_documented_bytes() {
        let bytes = superblock();
        let bytes = bytes.as_bytes();
        let mut expected = vec![0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 4, 0, 0, 0, 0];
        for word in [4096, 1024, 1, 1, 1, 0, 0, 0, 0u32] {
            expected.extend(word.to_be_bytes());
        }
        expected.extend([7; 16]);
        expected.extend([0, 0, 0, 1]);
        expected.resize(1024, 0);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn new_superblock_is_accepted() {
        for (block_size, first) in [(512, 2), (1024, 1), (4096, 1)] {
            let superblock = Superblock::new(block_size, 8192, [7; 16], true);
            let log = superblock.check(block_size, 8192).unwrap();
            assert_eq!(
                (log.first, log.end, log.start, log.sequence),
                (first, 8192, Some(1), Sequence(1))
            );
            assert!(log.format.wide);
        }
    }

    #[test]
    fn broken_fields_are_refused_by_name() {
        type Damage = fn(&mut Superblock);
        let cases: [(&str, Damage); 12] = [
            ("h_magic", |s| s.s_header.h_magic.set(1)),
            ("h_blocktype", |s| s.s_header.h_blocktype.set(5)),
            ("s_blocksize", |s| s.s_blocksize.set(2048)),
            ("s_maxlen", |s| s.s_maxlen.set(1025)),
            ("s_first", |s| s.s_first.set(0)),
            ("s_first", |s| s.s_first.set(1024)),
            ("s_start", |s| s.s_start.set(1024)),
            ("s_feature_incompat", |s| s.s_feature_incompat.set(0x40)),
            ("s_feature_incompat", |s| s.s_feature_incompat.set(0x18)),
            ("s_feature_ro_compat", |s| s.s_feature_ro_compat.set(1)),
            ("s_checksum_type", |s| s.s_feature_incompat.set(0x10)),
            ("s_checksum ", |s| {
                s.s_feature_incompat.set(0x10);
                s.s_checksum_type = 4;
            }),
        ];
        for (field, damage) in cases {
            let mut superblock = superblock();
            damage(&mut superblock);
            let message = superblock.check(4096, 1024).unwrap_err().to_string();
            assert!(message.contains(&format!("{} is", field.trim())), "{message}");
        }
    }

    #[test]
    fn sealed_superblock_with_checksums_is_accepted() {
        for (bit, version) in [
            (Incompat::CSUM_V2, ChecksumVersion::V2),
            (Incompat::CSUM_V3, ChecksumVersion::V3),
        ] {
            let mut superblock = superblock();
            superblock.s_feature_incompat.set(bit.bits());
            superblock.s_checksum_type = CHECKSUM_CRC32C;
            superblock.seal();
            let log = superblock.check(4096, 1024).unwrap();
            assert_eq!(
                (log.format.checksum, log.format.seed),
                (version, Format::seed_of(&[7; 16]))
            );
            superblock.s_feature_compat.set(1);
            superblock.seal();
            assert!(superblock.check(4096, 1024).is_err());
        }
    }

    #[test]
    fn version_1_has_no_features() {
        let mut superblock = superblock();
        superblock.s_header.h_blocktype.set(3);
        superblock.s_feature_incompat.set(0xFFFF_FFFF);
        let log = superblock.check(4096, 1024).unwrap();
        assert_eq!((log.format.wide, log.format.checksum), (false, ChecksumVersion::None));
    }

    #[test]
    fn fast_commit_blocks_are_no_part_of_the_ring() {
        let mut superblock = Superblock::new(4096, 2000, [7; 16], false);
        superblock.s_feature_incompat.set(Incompat::FAST_COMMIT.bits());
        assert_eq!(superblock.check(4096, 2000).unwrap().end, 1744);
        superblock.s_num_fc_blks.set(100);
        assert_eq!(superblock.check(4096, 2000).unwrap().end, 1900);
        superblock.s_num_fc_blks.set(1999);
        assert_eq!(superblock.check(4096, 2000).unwrap().end, 2000);
    }

    #[test]
    fn ring_wraps_to_its_first_block() {
        let log = Superblock::new(512, 1024, [7; 16], false).check(512, 1024).unwrap();
        assert_eq!((log.next(1022), log.next(1023)), (1023, 2));
        assert_eq!(
            (
                log.advance(1023, 1),
                log.advance(2, 1022),
                log.advance(1000, 1022 * 5 + 1)
            ),
            (2, 2, 1001)
        );
        assert_eq!(
            (log.advance(1, 1), log.advance(1, 1022), log.advance(1, 1023)),
            (2, 1023, 2)
        );
    }
}
