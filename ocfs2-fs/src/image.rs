//! Packed metadata images, as a device to open the volume in them from.
//!
//! Source: on-disk reference, section 33 (Metadata images).

use std::io;
use std::ops::Range;
use std::sync::Arc;

use ocfs2_format::device::{BlockDevice, DevGeometry, DevTraits, Durability, IoError, IoErrorKind, IoOp};
use ocfs2_format::{Corrupt, ImageHeader, Structure, Violation};
use zerocopy::FromBytes;

use crate::error::{Error, Result};
use crate::file::read_bytes;

/// The volume in a packed image (`o2image`): its metadata blocks. Blocks that are not in the image, such as those of file
/// data, cannot be read.
///
/// The bitmap stays in the image; of each of its pieces of 4096 bytes, only the number of stored blocks before it is kept
/// in memory.
#[derive(Debug)]
pub struct PackedImage {
    image: Arc<dyn BlockDevice>,
    block_size: u32,
    blocks: u64,
    bitmap_offset: u64,
    /// Stored blocks before each piece of the bitmap.
    ranks: Vec<u64>,
}

/// Bytes of a piece of the bitmap.
const PIECE: usize = ImageHeader::BITMAP_BLOCK_SIZE as usize;

impl PackedImage {
    /// The volume in the image on a device.
    ///
    /// # Errors
    /// [`Error::NotOcfs2`] when the device holds no packed image, [`Error::Corrupt`] when it holds a damaged one.
    pub fn open(image: Arc<dyn BlockDevice>) -> Result<PackedImage> {
        let len = image.geometry().len;
        let mut start = [0; 512];
        if len < start.len() as u64 {
            return Err(Error::NotOcfs2 { backups: false });
        }
        read_bytes(image.as_ref(), 0, &mut start)?;
        if !ImageHeader::is_packed_image(&start) {
            return Err(Error::NotOcfs2 { backups: false });
        }
        let (header, _) = ImageHeader::read_from_prefix(&start).expect("a header is shorter than 512 bytes");
        header.check(len)?;
        // Both are part of the image, which a checked header keeps within the device.
        let bitmap_offset = header.bitmap_offset().unwrap_or(len);
        let pieces = header.bitmap_bytes().unwrap_or(0) / PIECE as u64;
        let mut ranks = Vec::new();
        let mut stored = 0;
        let mut piece = vec![0; PIECE];
        for index in 0..pieces {
            ranks.push(stored);
            read_bytes(image.as_ref(), bitmap_offset + index * PIECE as u64, &mut piece)?;
            stored += piece.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
        }
        if stored > header.hdr_imgblkcnt.get() {
            let violation = Violation::TooLarge {
                field: "blocks in the bitmap",
                found: stored,
                limit: header.hdr_imgblkcnt.get(),
            };
            return Err(Corrupt::new(Structure::Image, violation).into());
        }
        Ok(PackedImage {
            image,
            // Checked: 512 to 4096.
            block_size: header.hdr_fsblksz.get() as u32,
            blocks: header.hdr_fsblkcnt.get(),
            bitmap_offset,
            ranks,
        })
    }

    /// Byte offset of a block in the image; `None` when it is not stored.
    fn find(&self, block: u64) -> std::result::Result<Option<u64>, IoError> {
        let bits = PIECE as u64 * 8;
        let Some(&before) = usize::try_from(block / bits)
            .ok()
            .and_then(|index| self.ranks.get(index))
        else {
            return Ok(None);
        };
        let mut piece = vec![0; PIECE];
        read_bytes(
            self.image.as_ref(),
            self.bitmap_offset + block / bits * PIECE as u64,
            &mut piece,
        )?;
        let bit = (block % bits) as usize;
        let (whole, byte) = (&piece[..bit / 8], piece[bit / 8]);
        if byte & (1 << (bit % 8)) == 0 {
            return Ok(None);
        }
        let below = byte & ((1 << (bit % 8)) - 1);
        let ones: u32 = whole.iter().map(|byte| byte.count_ones()).sum();
        let rank = before + u64::from(ones) + u64::from(below.count_ones());
        // The header takes the first block.
        Ok(Some((rank + 1) * u64::from(self.block_size)))
    }

    fn read_only(op: IoOp, offset: u64, len: u64) -> IoError {
        IoError::new(op, offset, len, IoErrorKind::ReadOnly)
    }
}

impl BlockDevice for PackedImage {
    fn geometry(&self) -> DevGeometry {
        DevGeometry {
            block_size: self.block_size,
            len: self.blocks.saturating_mul(self.block_size.into()),
            dma_alignment: 1,
        }
    }

    fn traits(&self) -> DevTraits {
        DevTraits {
            read_only: true,
            ..self.image.traits()
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> std::result::Result<(), IoError> {
        self.geometry().check(IoOp::Read, offset, buf.len() as u64)?;
        let block_size = u64::from(self.block_size);
        for (index, part) in (0u64..).zip(buf.chunks_mut(self.block_size as usize)) {
            let at = offset + index * block_size;
            match self.find(at / block_size)? {
                Some(stored) => read_bytes(self.image.as_ref(), stored, part)?,
                None => {
                    let reason = io::Error::other("the block is not in the image");
                    return Err(IoError::new(IoOp::Read, at, block_size, IoErrorKind::Device(reason)));
                }
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], _: Durability) -> std::result::Result<(), IoError> {
        Err(Self::read_only(IoOp::Write, offset, buf.len() as u64))
    }

    fn flush(&self) -> std::result::Result<(), IoError> {
        Ok(())
    }

    fn discard(&self, range: Range<u64>) -> std::result::Result<(), IoError> {
        Err(Self::read_only(
            IoOp::Discard,
            range.start,
            range.end.saturating_sub(range.start),
        ))
    }

    fn write_zeroes(&self, range: Range<u64>) -> std::result::Result<(), IoError> {
        Err(Self::read_only(
            IoOp::WriteZeroes,
            range.start,
            range.end.saturating_sub(range.start),
        ))
    }
}
