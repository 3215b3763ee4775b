//! Tags of a descriptor block: where the blocks behind it belong.
//!
//! Source: on-disk reference, section 26.3 (Log layout).

use bitflags::bitflags;
use zerocopy::big_endian as be;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BlockType, ChecksumVersion, Format, Header, Sequence};
use crate::prim::BlockNo;

bitflags! {
    /// Flags of a tag.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TagFlags: u32 {
        /// The image began with the magic number, which was zeroed.
        const ESCAPED = 1;
        /// No UUID follows: the one of the tag before holds on.
        const SAME_UUID = 2;
        /// The block was deleted by this transaction; never written.
        const DELETED = 4;
        /// The last tag of its descriptor block.
        const LAST = 8;
        const _ = !0;
    }
}

/// A tag as stored, but for checksums of version 3 (`journal_block_tag_s`).
///
/// Journals with 32-bit block numbers leave the last field out; checksums of version 2 add two unused bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BlockTag {
    /// Block number in the file system, low half.
    pub t_blocknr: be::U32,
    /// Low half of the CRC-32C of sequence and image with checksums of version 2, else 0.
    pub t_checksum: be::U16,
    /// [`TagFlags`].
    pub t_flags: be::U16,
    /// Block number, high half, in journals with 64-bit block numbers.
    pub t_blocknr_high: be::U32,
}
const _: () = assert!(size_of::<BlockTag>() == 12);

/// A tag as stored with checksums of version 3 (`journal_block_tag3_s`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BlockTag3 {
    /// Block number in the file system, low half.
    pub t_blocknr: be::U32,
    /// [`TagFlags`].
    pub t_flags: be::U32,
    /// Block number, high half, in journals with 64-bit block numbers.
    pub t_blocknr_high: be::U32,
    /// CRC-32C of sequence and image.
    pub t_checksum: be::U32,
}
const _: () = assert!(size_of::<BlockTag3>() == 16);

/// What a tag says, whichever way it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// Where the image belongs.
    pub block: BlockNo,
    /// Its flags.
    pub flags: TagFlags,
    /// Checksum of sequence and image: 32 bits of version 3, the low 16 of version 2, else 0.
    pub checksum: u32,
}

/// The tags of one descriptor block, in the order of the images that follow it.
///
/// Ends after the tag marked as last, or where the block has no room for another, as the kernel driver does.
#[derive(Clone, Debug)]
pub struct Tags<'a> {
    format: Format,
    rest: &'a [u8],
}

/// Why [`DescriptorWriter::push`] does not take a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagRefused {
    /// The descriptor block is full; the next one takes the tag.
    #[error("descriptor block is full")]
    Full,
    /// The block number needs more than the 32 bits that this journal has for it.
    #[error("block {0} needs a journal with 64-bit block numbers")]
    BlockTooFar(BlockNo),
}

/// Fills a descriptor block.
#[derive(Debug)]
pub struct DescriptorWriter<'a> {
    format: Format,
    block: &'a mut [u8],
    used: usize,
    last: Option<(usize, Tag)>,
}

impl Format {
    /// Bytes of a tag, without the UUID that may follow it.
    #[must_use]
    pub fn tag_bytes(&self) -> usize {
        let narrow = match self.checksum {
            ChecksumVersion::None | ChecksumVersion::V1 => 8,
            ChecksumVersion::V2 => 10,
            ChecksumVersion::V3 => return size_of::<BlockTag3>(),
        };
        if self.wide { narrow + 4 } else { narrow }
    }

    /// Tags that a descriptor block has room for.
    #[must_use]
    pub fn tags_per_descriptor(&self) -> u32 {
        let around = size_of::<Header>() + UUID_BYTES + self.tail_bytes();
        self.block_size.saturating_sub(around as u32) / self.tag_bytes() as u32
    }

    /// The tags of a descriptor block.
    #[must_use]
    pub fn tags<'a>(&self, block: &'a [u8]) -> Tags<'a> {
        let end = block.len().saturating_sub(self.tail_bytes());
        Tags {
            format: *self,
            rest: block.get(size_of::<Header>()..end).unwrap_or_default(),
        }
    }

    fn read_tag(&self, bytes: &[u8]) -> Option<Tag> {
        let (low, high, flags, checksum) = if self.checksum == ChecksumVersion::V3 {
            let tag = BlockTag3::read_from_bytes(bytes).ok()?;
            (
                tag.t_blocknr,
                tag.t_blocknr_high,
                tag.t_flags.get(),
                tag.t_checksum.get(),
            )
        } else {
            let mut padded = [0; size_of::<BlockTag>()];
            let stored = bytes.len().min(padded.len());
            padded.get_mut(..stored)?.copy_from_slice(bytes.get(..stored)?);
            let tag = BlockTag::read_from_bytes(&padded).ok()?;
            (
                tag.t_blocknr,
                tag.t_blocknr_high,
                tag.t_flags.get().into(),
                tag.t_checksum.get().into(),
            )
        };
        let high = if self.wide { u64::from(high.get()) << 32 } else { 0 };
        Some(Tag {
            block: BlockNo(high | u64::from(low.get())),
            flags: TagFlags::from_bits_retain(flags),
            checksum,
        })
    }

    /// Stores as much of the tag as `into`, which has [`tag_bytes`](Self::tag_bytes) bytes, has fields for.
    fn write_tag(&self, tag: &Tag, into: &mut [u8]) {
        let low = (tag.block.0 as u32).into();
        let high = ((tag.block.0 >> 32) as u32).into();
        into.fill(0);
        if self.checksum == ChecksumVersion::V3 {
            let stored = BlockTag3 {
                t_blocknr: low,
                t_flags: tag.flags.bits().into(),
                t_blocknr_high: if self.wide { high } else { be::U32::ZERO },
                t_checksum: tag.checksum.into(),
            };
            into.copy_from_slice(stored.as_bytes());
        } else {
            let stored = BlockTag {
                t_blocknr: low,
                t_checksum: (tag.checksum as u16).into(),
                t_flags: (tag.flags.bits() as u16).into(),
                t_blocknr_high: high,
            };
            let fields = if self.wide { 12 } else { 8 };
            into[..fields].copy_from_slice(&stored.as_bytes()[..fields]);
        }
    }
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        let (bytes, rest) = self.rest.split_at_checked(self.format.tag_bytes())?;
        let tag = self.format.read_tag(bytes)?;
        let skipped = if tag.flags.contains(TagFlags::SAME_UUID) {
            0
        } else {
            UUID_BYTES
        };
        self.rest = rest.get(skipped..).unwrap_or_default();
        if tag.flags.contains(TagFlags::LAST) {
            self.rest = &[];
        }
        Some(tag)
    }
}

impl<'a> DescriptorWriter<'a> {
    /// Starts a descriptor block of a transaction; `block` is overwritten.
    ///
    /// # Panics
    /// If `block` is shorter than a header.
    #[must_use]
    pub fn new(format: Format, sequence: Sequence, block: &'a mut [u8]) -> Self {
        block.fill(0);
        let used = size_of::<Header>();
        block[..used].copy_from_slice(Header::new(BlockType::DESCRIPTOR, sequence).as_bytes());
        DescriptorWriter {
            format,
            block,
            used,
            last: None,
        }
    }

    /// Adds the tag of the next image. The flags that say how tags follow one another are set here.
    ///
    /// # Errors
    /// [`TagRefused::Full`] and [`TagRefused::BlockTooFar`]; nothing is written then.
    pub fn push(&mut self, block: BlockNo, escaped: bool, checksum: u32) -> Result<(), TagRefused> {
        if !self.format.wide && block.0 > u64::from(u32::MAX) {
            return Err(TagRefused::BlockTooFar(block));
        }
        let tag_bytes = self.format.tag_bytes();
        let room = self.block.len().saturating_sub(self.used + self.format.tail_bytes());
        // Only the first tag is followed by a UUID, which nobody reads and the kernel driver leaves zero.
        let (same_uuid, uuid_bytes) = match self.last {
            None => (TagFlags::empty(), UUID_BYTES),
            Some(_) => (TagFlags::SAME_UUID, 0),
        };
        if room < tag_bytes + uuid_bytes {
            return Err(TagRefused::Full);
        }
        let escaped = if escaped { TagFlags::ESCAPED } else { TagFlags::empty() };
        let tag = Tag {
            block,
            flags: same_uuid | escaped,
            checksum,
        };
        self.format.write_tag(&tag, &mut self.block[self.used..][..tag_bytes]);
        self.last = Some((self.used, tag));
        self.used += tag_bytes + uuid_bytes;
        Ok(())
    }

    /// Marks the last tag and adds the block's checksum where the journal has one.
    pub fn finish(self) {
        if let Some((offset, mut tag)) = self.last {
            tag.flags |= TagFlags::LAST;
            self.format
                .write_tag(&tag, &mut self.block[offset..][..self.format.tag_bytes()]);
        }
        self.format.seal(self.block);
    }
}

const UUID_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn format(wide: bool, checksum: ChecksumVersion) -> Format {
        Format {
            block_size: 512,
            wide,
            checksum,
            seed: 0x1234_5678,
        }
    }

    const VERSIONS: [ChecksumVersion; 4] = [
        ChecksumVersion::None,
        ChecksumVersion::V1,
        ChecksumVersion::V2,
        ChecksumVersion::V3,
    ];

    #[test]
    fn tags_have_the_documented_sizes() {
        let sizes = |wide| VERSIONS.map(|version| format(wide, version).tag_bytes());
        assert_eq!(sizes(false), [8, 8, 10, 16]);
        assert_eq!(sizes(true), [12, 12, 14, 16]);
    }

    #[test]
    fn descriptor_of_the_kernel_driver_is_read() {
        // Two tags, 32-bit: block 0x11 with a UUID behind it, escaped block 0x22, marked as last.
        let mut block = [0xEE; 512];
        block[..12].copy_from_slice(Header::new(BlockType::DESCRIPTOR, Sequence(2)).as_bytes());
        block[12..36].copy_from_slice(&[
            0, 0, 0, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]);
        block[36..44].copy_from_slice(&[0, 0, 0, 0x22, 0, 0, 0, 0xB]);
        let tags: Vec<Tag> = format(false, ChecksumVersion::None).tags(&block).collect();
        assert_eq!(
            tags,
            [
                Tag {
                    block: BlockNo(0x11),
                    flags: TagFlags::empty(),
                    checksum: 0
                },
                Tag {
                    block: BlockNo(0x22),
                    flags: TagFlags::ESCAPED | TagFlags::SAME_UUID | TagFlags::LAST,
                    checksum: 0
                },
            ]
        );
    }

    #[test]
    fn written_tags_are_read_back_until_the_block_is_full() {
        for version in VERSIONS {
            for wide in [false, true] {
                let format = format(wide, version);
                let mut block = [0xEE; 512];
                let mut writer = DescriptorWriter::new(format, Sequence(9), &mut block);
                let base = if wide { 0x5_0000_0000 } else { 0 };
                let checksum = |n: u64| match version {
                    ChecksumVersion::None | ChecksumVersion::V1 => 0,
                    ChecksumVersion::V2 => n as u32,
                    ChecksumVersion::V3 => 0xABCD_0000 | n as u32,
                };
                let mut count = 0;
                while writer
                    .push(BlockNo(base + count), count % 3 == 0, checksum(count))
                    .is_ok()
                {
                    count += 1;
                }
                writer.finish();
                let room = 512 - 12 - 16 - format.tail_bytes();
                assert_eq!(count as usize, room / format.tag_bytes());
                assert_eq!(count, u64::from(format.tags_per_descriptor()));
                let tags: Vec<Tag> = format.tags(&block).collect();
                assert_eq!(tags.len() as u64, count);
                for (tag, n) in tags.iter().zip(0..) {
                    assert_eq!((tag.block, tag.checksum), (BlockNo(base + n), checksum(n)));
                    assert_eq!(tag.flags.contains(TagFlags::ESCAPED), n % 3 == 0);
                    assert_eq!(tag.flags.contains(TagFlags::SAME_UUID), n != 0);
                    assert_eq!(tag.flags.contains(TagFlags::LAST), n == count - 1);
                }
                assert!(format.is_intact(&block));
            }
        }
    }

    #[test]
    fn block_beyond_32_bits_is_refused_by_a_narrow_journal() {
        let mut block = [0; 512];
        let far = BlockNo(1 << 32);
        let mut writer = DescriptorWriter::new(format(false, ChecksumVersion::None), Sequence(1), &mut block);
        assert_eq!(writer.push(far, false, 0), Err(TagRefused::BlockTooFar(far)));
        assert_eq!(writer.push(BlockNo(u64::from(u32::MAX)), false, 0), Ok(()));
    }

    #[test]
    fn tags_without_an_end_stop_with_the_block() {
        let block = [0xFB; 512 - 16];
        let format = format(false, ChecksumVersion::None);
        // 0xFB has all flags but "escaped"; without "last" the tags go on to the end.
        let mut endless = block;
        for tag in endless[12..].chunks_mut(8) {
            tag.fill(0x02);
        }
        assert_eq!(format.tags(&block).count(), 1);
        assert_eq!(format.tags(&endless).count(), (512 - 16 - 12) / 8);
        assert_eq!(format.tags(&block[..5]).count(), 0);
    }
}
