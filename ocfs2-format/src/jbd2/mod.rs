//! JBD2: what the blocks of a journal hold.
//!
//! Everything the journal itself writes is big-endian; the block images between its control blocks keep the byte order of
//! what they are copies of.
//!
//! ```text
//! block 0      s_first ................................................................ s_maxlen - 1
//! superblock | descriptor, images ... | revoke | commit || descriptor, images ... | commit || (stale blocks)
//!              '------ transaction, sequence n ---------''--- transaction, sequence n+1 --'
//! ```
//!
//! Source: on-disk reference, section 26 (Journals).

mod checksum;
mod revoke;
mod superblock;
mod tag;

use std::fmt;

use zerocopy::big_endian as be;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use checksum::V1Checksum;
pub use revoke::{RevokeHeader, RevokeWriter, Revoked};
pub use superblock::{Compat, Incompat, Ring, Superblock};
pub use tag::{BlockTag, BlockTag3, DescriptorWriter, Tag, TagFlags, TagRefused, Tags};

/// First word of every control block (`JBD2_MAGIC_NUMBER`).
pub const MAGIC: u32 = 0xC03B_3998;

/// Fewest blocks that a journal may have (`JBD2_MIN_JOURNAL_BLOCKS`).
pub const MIN_BLOCKS: u32 = 1024;

/// Kind of a control block (`h_blocktype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockType(pub u32);

impl BlockType {
    /// Tags that say where the blocks behind it belong.
    pub const DESCRIPTOR: BlockType = BlockType(1);
    /// The end of a transaction; without it the transaction never happened.
    pub const COMMIT: BlockType = BlockType(2);
    /// Superblock without feature words.
    pub const SUPERBLOCK_V1: BlockType = BlockType(3);
    /// Superblock with feature words.
    pub const SUPERBLOCK_V2: BlockType = BlockType(4);
    /// Blocks whose earlier images must not be replayed.
    pub const REVOKE: BlockType = BlockType(5);
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            BlockType::DESCRIPTOR => f.write_str("descriptor"),
            BlockType::COMMIT => f.write_str("commit"),
            BlockType::SUPERBLOCK_V1 => f.write_str("superblock, version 1"),
            BlockType::SUPERBLOCK_V2 => f.write_str("superblock, version 2"),
            BlockType::REVOKE => f.write_str("revoke"),
            BlockType(other) => write!(f, "unknown type {other}"),
        }
    }
}

/// Number of a transaction. It wraps, so that numbers are only "before" or "after" one another.
///
/// Source: on-disk reference, section 26.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sequence(pub u32);

impl Sequence {
    /// The number that follows.
    #[must_use]
    pub fn next(self) -> Sequence {
        Sequence(self.0.wrapping_add(1))
    }

    /// Whether this transaction came later than `other`, given that less than 2^31 lie between them.
    #[must_use]
    pub fn is_after(self, other: Sequence) -> bool {
        self.distance_from(other) > 0
    }

    /// How many transactions this one came after `other`; negative if it came before.
    #[must_use]
    pub fn distance_from(self, other: Sequence) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Start of every control block (`journal_header_s`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub h_magic: be::U32,
    /// [`BlockType`].
    pub h_blocktype: be::U32,
    /// [`Sequence`] of the transaction.
    pub h_sequence: be::U32,
}
const _: () = assert!(size_of::<Header>() == 12);

impl Header {
    /// The start of a control block.
    #[must_use]
    pub fn new(block_type: BlockType, sequence: Sequence) -> Header {
        Header {
            h_magic: MAGIC.into(),
            h_blocktype: block_type.0.into(),
            h_sequence: sequence.0.into(),
        }
    }

    /// The header of `block` if it is a control block: one that begins with the magic number.
    #[must_use]
    pub fn of_block(block: &[u8]) -> Option<&Header> {
        let (header, _) = Header::ref_from_prefix(block).ok()?;
        (header.h_magic.get() == MAGIC).then_some(header)
    }

    /// Kind of the block.
    #[must_use]
    pub fn block_type(&self) -> BlockType {
        BlockType(self.h_blocktype.get())
    }

    /// Transaction of the block.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        Sequence(self.h_sequence.get())
    }
}

/// Start of a commit block (`commit_header`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CommitHeader {
    /// [`MAGIC`].
    pub h_magic: be::U32,
    /// [`BlockType::COMMIT`].
    pub h_blocktype: be::U32,
    /// [`Sequence`] of the transaction.
    pub h_sequence: be::U32,
    /// 1 (CRC-32) when a checksum of version 1 follows, else 0.
    pub h_chksum_type: u8,
    /// Bytes of the version 1 checksum: 4, else 0.
    pub h_chksum_size: u8,
    /// Padding.
    pub h_padding: [u8; 2],
    /// Word 0: checksum of the transaction (version 1) or of this block (versions 2 and 3). The others are unused.
    pub h_chksum: [be::U32; 8],
    /// Time of the commit, seconds since 1970.
    pub h_commit_sec: be::U64,
    /// Nanoseconds of that second.
    pub h_commit_nsec: be::U32,
    /// Padding at the end of the C structure.
    pub h_padding_end: [u8; 4],
}
const _: () = assert!(size_of::<CommitHeader>() == 64);

impl CommitHeader {
    /// The start of a commit block without checksum.
    #[must_use]
    pub fn new(sequence: Sequence, commit_sec: u64, commit_nsec: u32) -> CommitHeader {
        let Header {
            h_magic,
            h_blocktype,
            h_sequence,
        } = Header::new(BlockType::COMMIT, sequence);
        CommitHeader {
            h_magic,
            h_blocktype,
            h_sequence,
            h_chksum_type: 0,
            h_chksum_size: 0,
            h_padding: [0; 2],
            h_chksum: [be::U32::ZERO; 8],
            h_commit_sec: commit_sec.into(),
            h_commit_nsec: commit_nsec.into(),
            h_padding_end: [0; 4],
        }
    }

    /// The commit header at the start of `block`, if it is long enough.
    #[must_use]
    pub fn of_block(block: &[u8]) -> Option<&CommitHeader> {
        CommitHeader::ref_from_prefix(block).ok().map(|(header, _)| header)
    }
}

/// Last bytes of descriptor and revoke blocks with checksums of version 2 and 3 (`jbd2_journal_block_tail`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BlockTail {
    /// CRC-32C of the block with this field zero, seeded with the journal's UUID.
    pub t_checksum: be::U32,
}
const _: () = assert!(size_of::<BlockTail>() == 4);

/// Which checksums a journal has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChecksumVersion {
    /// None, as in all journals that OCFS2 itself writes.
    #[default]
    None,
    /// One CRC-32 per transaction, in its commit block.
    V1,
    /// CRC-32C per block; 16 bits of it in a tag.
    V2,
    /// CRC-32C per block; all of it in a tag.
    V3,
}

/// How a journal writes its control blocks: what its superblock's feature words amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    /// Bytes of a block, journal and file system alike.
    pub block_size: u32,
    /// Whether block numbers have 64 bits.
    pub wide: bool,
    /// Which checksums there are.
    pub checksum: ChecksumVersion,
    /// CRC-32C of the journal's UUID, where checksums of version 2 and 3 begin.
    pub seed: u32,
}

impl Format {
    /// The format of the journals that OCFS2 makes: no checksums, and 64-bit block numbers as asked.
    #[must_use]
    pub fn plain(block_size: u32, wide: bool) -> Format {
        Format {
            block_size,
            wide,
            checksum: ChecksumVersion::None,
            seed: 0,
        }
    }

    /// Bytes at the end of descriptor and revoke blocks that hold their checksum.
    fn tail_bytes(&self) -> usize {
        match self.checksum {
            ChecksumVersion::None | ChecksumVersion::V1 => 0,
            ChecksumVersion::V2 | ChecksumVersion::V3 => size_of::<BlockTail>(),
        }
    }
}

/// Prepares the image of a block for the log: an image that begins with [`MAGIC`] would pass for a control block, so
/// that its first word is zeroed. Returns whether it was, which its tag has to tell ([`TagFlags::ESCAPED`]).
pub fn escape(image: &mut [u8]) -> bool {
    match image.first_chunk_mut() {
        Some(word) if u32::from_be_bytes(*word) == MAGIC => {
            *word = [0; 4];
            true
        }
        _ => false,
    }
}

/// Restores an escaped image to what belongs into the file system.
pub fn unescape(image: &mut [u8]) {
    if let Some(word) = image.first_chunk_mut() {
        *word = MAGIC.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_compare_across_the_wrap() {
        let last = Sequence(u32::MAX);
        assert_eq!(last.next(), Sequence(0));
        assert!(last.next().is_after(last));
        assert!(!last.is_after(last.next()));
        assert!(!last.is_after(last));
        assert_eq!(Sequence(2).distance_from(Sequence(u32::MAX)), 3);
    }

    #[test]
    fn only_blocks_with_magic_are_control_blocks() {
        let header = Header::new(BlockType::REVOKE, Sequence(7));
        assert_eq!(Header::of_block(header.as_bytes()), Some(&header));
        assert_eq!(Header::of_block(&header.as_bytes()[..11]), None);
        assert_eq!(Header::of_block(&[0; 512]), None);
    }

    #[test]
    fn image_that_starts_with_magic_survives_escaping() {
        let original = [0xC0, 0x3B, 0x39, 0x98, 1, 2];
        let mut image = original;
        assert!(escape(&mut image));
        assert_eq!(image, [0, 0, 0, 0, 1, 2]);
        unescape(&mut image);
        assert_eq!(image, original);
        assert!(!escape(&mut [0, 0, 0, 0, 1, 2]));
        assert!(!escape(&mut [0xC0, 0x3B]));
    }
}
