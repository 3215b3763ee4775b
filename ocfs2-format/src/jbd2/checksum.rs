//! Checksums of a journal's blocks. OCFS2 never sets a feature that needs them; foreign journals may.
//!
//! Source: on-disk reference, section 26.3 (Journal checksums).

use std::mem::offset_of;

use zerocopy::IntoBytes;

use super::{BlockTail, ChecksumVersion, CommitHeader, Format, Sequence, Superblock, Tag};

/// Running checksum of one transaction (version 1): every descriptor block and the images behind it, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V1Checksum(u32);

impl V1Checksum {
    /// The checksum of a transaction without blocks.
    #[must_use]
    pub fn new() -> Self {
        V1Checksum(!0)
    }

    /// Adds the next block of the transaction.
    pub fn update(&mut self, block: &[u8]) {
        self.0 = block.iter().fold(self.0, |crc, &byte| {
            let [top, ..] = crc.to_be_bytes();
            crc << 8 ^ V1_TABLE[usize::from(top ^ byte)]
        });
    }

    /// The checksum of the blocks so far.
    #[must_use]
    pub fn value(self) -> u32 {
        self.0
    }

    /// Whether the commit block agrees. One without checksum does.
    #[must_use]
    pub fn agrees_with(self, commit: &CommitHeader) -> bool {
        let stored = (commit.h_chksum_type, commit.h_chksum_size, commit.h_chksum[0].get());
        stored == (CHKSUM_TYPE_CRC32, CHKSUM_SIZE, self.0) || stored == (0, 0, 0)
    }

    /// Stores the checksum in the transaction's commit block.
    pub fn store(self, commit: &mut CommitHeader) {
        commit.h_chksum_type = CHKSUM_TYPE_CRC32;
        commit.h_chksum_size = CHKSUM_SIZE;
        commit.h_chksum[0].set(self.0);
    }
}

impl Default for V1Checksum {
    fn default() -> Self {
        V1Checksum::new()
    }
}

impl Format {
    /// Where checksums of version 2 and 3 begin in a journal with this UUID.
    #[must_use]
    pub fn seed_of(uuid: &[u8; 16]) -> u32 {
        crc32c(!0, uuid)
    }

    /// Adds its checksum to a finished descriptor or revoke block, where the journal has one.
    pub fn seal(&self, block: &mut [u8]) {
        if let Some((at, checksum)) = self.tail_checksum(block) {
            block[at..].copy_from_slice(&checksum.to_be_bytes());
        }
    }

    /// Whether the checksum of a descriptor or revoke block is right, or the journal has none.
    #[must_use]
    pub fn is_intact(&self, block: &[u8]) -> bool {
        self.tail_checksum(block)
            .is_none_or(|(at, checksum)| block.get(at..) == Some(&checksum.to_be_bytes()))
    }

    /// Adds its checksum to a finished commit block, where the journal has checksums of version 2 or 3.
    pub fn seal_commit(&self, block: &mut [u8]) {
        if let Some(checksum) = self.commit_checksum(block) {
            block[COMMIT_CHECKSUM..COMMIT_CHECKSUM + 4].copy_from_slice(&checksum.to_be_bytes());
        }
    }

    /// Whether the checksum of a commit block is right, or the journal has none of version 2 or 3.
    #[must_use]
    pub fn is_commit_intact(&self, block: &[u8]) -> bool {
        self.commit_checksum(block).is_none_or(|checksum| {
            CommitHeader::of_block(block).is_some_and(|header| header.h_chksum[0].get() == checksum)
        })
    }

    /// Checksum that the tag of an image gets; `image` is as stored in the log. 0 where tags have none.
    #[must_use]
    pub fn tag_checksum(&self, sequence: Sequence, image: &[u8]) -> u32 {
        let checksum = || crc32c(crc32c(self.seed, &sequence.0.to_be_bytes()), image);
        match self.checksum {
            ChecksumVersion::None | ChecksumVersion::V1 => 0,
            ChecksumVersion::V2 => checksum() & 0xFFFF,
            ChecksumVersion::V3 => checksum(),
        }
    }

    /// Whether an image, as stored in the log, is the one its tag was written for; true where tags have no checksum.
    #[must_use]
    pub fn is_image_intact(&self, tag: &Tag, sequence: Sequence, image: &[u8]) -> bool {
        match self.checksum {
            ChecksumVersion::None | ChecksumVersion::V1 => true,
            ChecksumVersion::V2 | ChecksumVersion::V3 => self.tag_checksum(sequence, image) == tag.checksum,
        }
    }

    fn tail_checksum(&self, block: &[u8]) -> Option<(usize, u32)> {
        let tail = self.tail_bytes();
        let at = block.len().checked_sub(tail).filter(|_| tail != 0)?;
        Some((
            at,
            crc32c(crc32c(self.seed, &block[..at]), &[0; size_of::<BlockTail>()]),
        ))
    }

    fn commit_checksum(&self, block: &[u8]) -> Option<u32> {
        if self.tail_bytes() == 0 {
            return None;
        }
        let (before, rest) = block.split_at_checked(COMMIT_CHECKSUM)?;
        let after = rest.get(4..)?;
        Some([before, &[0; 4], after].into_iter().fold(self.seed, crc32c))
    }
}

impl Superblock {
    /// The `s_checksum` that belongs to this superblock.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        let bytes = self.as_bytes();
        let at = offset_of!(Superblock, s_checksum);
        [&bytes[..at], &[0; 4], &bytes[at + 4..]].into_iter().fold(!0, crc32c)
    }
}

/// CRC-32C without the inversions of the common one, which the crate applies at both ends.
fn crc32c(start: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!start, bytes)
}

/// Byte-wise table of the CRC-32 whose polynomial is not reflected.
const V1_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

const CHKSUM_TYPE_CRC32: u8 = 1;
const CHKSUM_SIZE: u8 = 4;
/// `h_chksum[0]`.
const COMMIT_CHECKSUM: usize = offset_of!(CommitHeader, h_chksum);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jbd2::{BlockType, Header};

    fn format(checksum: ChecksumVersion) -> Format {
        Format {
            block_size: 512,
            wide: false,
            checksum,
            seed: Format::seed_of(&[7; 16]),
        }
    }

    #[test]
    fn crc32c_is_the_common_one_without_inversion() {
        assert_eq!(crc32c(!0, b"123456789"), !0xE306_9283);
    }

    #[test]
    fn version_1_is_the_mpeg_2_crc() {
        let mut checksum = V1Checksum::new();
        checksum.update(b"1234");
        checksum.update(b"56789");
        assert_eq!(checksum.value(), 0x0376_E6E7);
    }

    #[test]
    fn commit_block_without_version_1_checksum_agrees_with_any() {
        let mut commit = CommitHeader::new(Sequence(3), 0, 0);
        let mut checksum = V1Checksum::new();
        checksum.update(&[1, 2, 3]);
        assert!(checksum.agrees_with(&commit));
        checksum.store(&mut commit);
        assert!(checksum.agrees_with(&commit));
        assert!(!V1Checksum::new().agrees_with(&commit));
    }

    #[test]
    fn every_changed_byte_of_a_sealed_block_is_noticed() {
        for version in [ChecksumVersion::V2, ChecksumVersion::V3] {
            let format = format(version);
            let mut revoke = [0x5A; 512];
            revoke[..12].copy_from_slice(Header::new(BlockType::REVOKE, Sequence(3)).as_bytes());
            format.seal(&mut revoke);
            let mut commit = [0x5A; 512];
            commit[..64].copy_from_slice(CommitHeader::new(Sequence(3), 1, 2).as_bytes());
            format.seal_commit(&mut commit);
            assert!(format.is_intact(&revoke) && format.is_commit_intact(&commit));
            for at in 0..512 {
                revoke[at] ^= 1;
                commit[at] ^= 1;
                assert!(
                    !format.is_intact(&revoke) && !format.is_commit_intact(&commit),
                    "byte {at}"
                );
                revoke[at] ^= 1;
                commit[at] ^= 1;
            }
        }
    }

    #[test]
    fn journal_without_checksums_seals_nothing() {
        let format = format(ChecksumVersion::None);
        let mut block = [0x5A; 512];
        format.seal(&mut block);
        format.seal_commit(&mut block);
        assert_eq!(block, [0x5A; 512]);
        assert!(format.is_intact(&block) && format.is_commit_intact(&block));
    }

    #[test]
    fn image_is_tied_to_its_transaction() {
        for version in [ChecksumVersion::V2, ChecksumVersion::V3] {
            let format = format(version);
            let image = [9; 512];
            let checksum = format.tag_checksum(Sequence(4), &image);
            let tag = Tag {
                block: crate::BlockNo(1),
                flags: super::super::TagFlags::LAST,
                checksum,
            };
            assert!(format.is_image_intact(&tag, Sequence(4), &image));
            assert!(!format.is_image_intact(&tag, Sequence(5), &image));
        }
        assert_eq!(
            format(ChecksumVersion::V2).tag_checksum(Sequence(4), &[9; 512]) >> 16,
            0
        );
    }
}
