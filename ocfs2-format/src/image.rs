//! Packed metadata images, as `o2image` makes them: the metadata blocks of a volume, one behind the other.
//!
//! ```text
//! block 0    block 1 ...                          block 1 + hdr_imgblkcnt
//! header   | stored blocks, in ascending order  | bitmap: which blocks of the volume are stored
//! ```
//!
//! Source: on-disk reference, section 33 (Metadata images).

use zerocopy::little_endian as le;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Corrupt, Structure, Violation};

/// Header of a packed metadata image (`ocfs2_image_hdr`), padded with zeros to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ImageHeader {
    /// [`MAGIC`](Self::MAGIC).
    pub hdr_magic: le::U32,
    /// Time at which the image was made, seconds since 1970.
    pub hdr_timestamp: le::U32,
    /// `OCFS2 IMAGE` and a NUL; the bytes behind it are unspecified.
    pub hdr_magic_desc: [u8; 16],
    /// Version of the image format: 1.
    pub hdr_version: le::U64,
    /// Blocks of the volume.
    pub hdr_fsblkcnt: le::U64,
    /// Block size of the volume in bytes, and the unit of the image.
    pub hdr_fsblksz: le::U64,
    /// Blocks stored in the image, without header and bitmap.
    pub hdr_imgblkcnt: le::U64,
    /// Bytes of one piece of the bitmap: 4096. The bitmap is rounded up to whole pieces.
    pub hdr_bmpblksz: le::U64,
    /// Backup superblocks stored in the image, 0..=6.
    pub hdr_superblkcnt: le::U64,
    /// Their blocks in the image, the header being block 0; unspecified beyond `hdr_superblkcnt`.
    pub hdr_superblocks: [le::U64; 6],
}
const _: () = assert!(size_of::<ImageHeader>() == 120);

impl ImageHeader {
    /// `hdr_magic` of a packed image.
    pub const MAGIC: u32 = 0x72A3_D45F;
    /// The only `hdr_version`.
    pub const VERSION: u64 = 1;
    /// Start of `hdr_magic_desc`.
    pub const DESCRIPTION: &[u8; 12] = b"OCFS2 IMAGE\0";
    /// `hdr_bmpblksz`.
    pub const BITMAP_BLOCK_SIZE: u64 = 4096;

    /// Whether these are the first bytes of a packed image.
    #[must_use]
    pub fn is_packed_image(bytes: &[u8]) -> bool {
        bytes.starts_with(&Self::MAGIC.to_le_bytes())
    }

    /// The header of an image with `stored` of the `blocks` blocks of a volume.
    #[must_use]
    pub fn new(timestamp: u32, block_size: u32, blocks: u64, stored: u64) -> ImageHeader {
        let mut header = ImageHeader::new_zeroed();
        header.hdr_magic.set(Self::MAGIC);
        header.hdr_timestamp.set(timestamp);
        header.hdr_magic_desc[..Self::DESCRIPTION.len()].copy_from_slice(Self::DESCRIPTION);
        header.hdr_version.set(Self::VERSION);
        header.hdr_fsblkcnt.set(blocks);
        header.hdr_fsblksz.set(block_size.into());
        header.hdr_imgblkcnt.set(stored);
        header.hdr_bmpblksz.set(Self::BITMAP_BLOCK_SIZE);
        header
    }

    /// The blocks of the image that hold backup superblocks: never more than there is room for.
    pub fn superblocks(&self) -> impl Iterator<Item = u64> + '_ {
        let count = usize::try_from(self.hdr_superblkcnt.get()).unwrap_or(usize::MAX);
        self.hdr_superblocks.iter().take(count).map(|block| block.get())
    }

    /// Byte offset of the bitmap in the image, or `None` past 2^64.
    #[must_use]
    pub fn bitmap_offset(&self) -> Option<u64> {
        self.hdr_imgblkcnt
            .get()
            .checked_add(1)?
            .checked_mul(self.hdr_fsblksz.get())
    }

    /// Bytes of the bitmap. Bit `n` stands for block `n` of the volume; bits beyond the volume have no meaning.
    #[must_use]
    pub fn bitmap_bytes(&self) -> Option<u64> {
        let piece = self.hdr_bmpblksz.get();
        let pieces = self.hdr_fsblkcnt.get().checked_div(piece.checked_mul(8)?)?;
        let rest = self.hdr_fsblkcnt.get() % (piece * 8);
        pieces.checked_add(u64::from(rest != 0))?.checked_mul(piece)
    }

    /// Checks the header against itself and the length of the image in bytes.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, image_bytes: u64) -> Result<(), Corrupt> {
        let fail = |violation| Err(Corrupt::new(Structure::Image, violation));
        let exact = [
            ("hdr_magic", u64::from(self.hdr_magic.get()), u64::from(Self::MAGIC)),
            ("hdr_version", self.hdr_version.get(), Self::VERSION),
            ("hdr_bmpblksz", self.hdr_bmpblksz.get(), Self::BITMAP_BLOCK_SIZE),
        ];
        if let Some((field, found, expected)) = exact.into_iter().find(|(_, found, expected)| found != expected) {
            return fail(Violation::Unexpected { field, found, expected });
        }
        let block_size = self.hdr_fsblksz.get();
        if !block_size.is_power_of_two() || !(512..=4096).contains(&block_size) {
            return fail(Violation::Invalid {
                field: "hdr_fsblksz",
                found: block_size,
                why: "no legal block size",
            });
        }
        let stored = self.hdr_imgblkcnt.get();
        let limits = [
            ("hdr_imgblkcnt", stored, self.hdr_fsblkcnt.get()),
            (
                "hdr_superblkcnt",
                self.hdr_superblkcnt.get(),
                self.hdr_superblocks.len() as u64,
            ),
        ];
        let superblocks = self.superblocks().map(|block| ("hdr_superblocks", block, stored));
        let mut limits = limits.into_iter().chain(superblocks);
        if let Some((field, found, limit)) = limits.find(|(_, found, limit)| found > limit) {
            return fail(Violation::TooLarge { field, found, limit });
        }
        match self
            .bitmap_offset()
            .zip(self.bitmap_bytes())
            .and_then(|(offset, bytes)| offset.checked_add(bytes))
        {
            Some(needed) if needed <= image_bytes => Ok(()),
            needed => fail(Violation::Truncated {
                found: image_bytes,
                needed: needed.unwrap_or(u64::MAX),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_of_o2image_is_accepted() {
        // A volume of 5 GiB with two backups; figures and file size as o2image 1.8.7 wrote them.
        let mut header = ImageHeader::new(0x6B02_2DC0, 4096, 0x14_0000, 0x5103);
        header.hdr_superblkcnt.set(2);
        header.hdr_superblocks[0].set(0x5102);
        header.hdr_superblocks[1].set(0x5103);
        header.hdr_superblocks[2].set(0x73BC_8CC8);
        assert_eq!(header.check(85_114_880), Ok(()));
        assert!(header.check(85_114_879).is_err());
        assert!(header.superblocks().eq([0x5102, 0x5103]));
        assert!(ImageHeader::is_packed_image(header.as_bytes()));
    }

    #[test]
    fn small_blocks_keep_large_bitmap_pieces() {
        let header = ImageHeader::new(0, 512, 409_600, 39_527);
        assert_eq!(header.bitmap_bytes(), Some(53_248));
        assert_eq!(header.check(20_291_584), Ok(()));
        assert!(header.check(20_291_583).is_err());
    }

    #[test]
    fn broken_fields_are_refused() {
        type Damage = fn(&mut ImageHeader);
        let cases: [(&str, Damage); 7] = [
            ("hdr_magic is", |h| h.hdr_magic.set(0)),
            ("hdr_version is", |h| h.hdr_version.set(2)),
            ("hdr_bmpblksz is", |h| h.hdr_bmpblksz.set(0)),
            ("hdr_fsblksz is", |h| h.hdr_fsblksz.set(0)),
            ("hdr_imgblkcnt is", |h| h.hdr_imgblkcnt.set(1001)),
            ("hdr_superblkcnt is", |h| h.hdr_superblkcnt.set(7)),
            ("bytes are there", |h| h.hdr_fsblkcnt.set(u64::MAX)),
        ];
        for (message, damage) in cases {
            let mut header = ImageHeader::new(0, 4096, 1000, 100);
            assert_eq!(header.check(1 << 20), Ok(()));
            damage(&mut header);
            let found = header.check(1 << 20).unwrap_err().to_string();
            assert!(found.contains(message), "{found}");
        }
    }
}
