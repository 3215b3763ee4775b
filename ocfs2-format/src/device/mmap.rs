//! A file mapped into memory, for reading image files that nobody writes.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};

use super::file::{FileOptions, open_file, opening};
use super::{BlockDevice, Coherence, DevGeometry, DevTraits, DiscardEffect, Durability, IoError, IoErrorKind, IoOp};

/// A read-only mapping of a file or block device: [`as_slice`](BlockDevice::as_slice) gives all of it without a copy.
///
/// Only for files that nobody changes meanwhile. A mapping has no I/O errors: a bad sector, or a file that became
/// shorter, ends the process with `SIGBUS`; use [`FileDevice`](super::FileDevice) where that may happen.
#[derive(Debug)]
pub struct MmapDevice {
    map: Mmap,
    len: u64,
}

impl MmapDevice {
    /// Maps an existing file or block device. A rest of it that is no whole block of 512 bytes is left off.
    ///
    /// # Errors
    /// As [`FileDevice::open`](super::FileDevice::open), and the system's error where the address space has no room.
    pub fn open(path: impl AsRef<Path>) -> Result<MmapDevice, IoError> {
        open_file(path.as_ref(), &FileOptions::new())
            .and_then(MmapDevice::map)
            .map_err(opening)
    }

    fn map(file: File) -> Result<MmapDevice, IoErrorKind> {
        let len = (&file).seek(SeekFrom::End(0)).map_err(IoErrorKind::Device)?;
        let len = len - len % u64::from(BLOCK_SIZE);
        let mapped = usize::try_from(len).map_err(|_| IoErrorKind::Device(std::io::ErrorKind::FileTooLarge.into()))?;
        #[expect(unsafe_code, reason = "a mapping is unsafe because others may change the file")]
        // SAFETY: the mapping is read-only, and its bytes have no invalid values. That nobody changes the file while it
        // is mapped cannot be enforced; it is the documented condition of using this device.
        let map = unsafe { MmapOptions::new().len(mapped).map(&file) }.map_err(IoErrorKind::Device)?;
        Ok(MmapDevice { map, len })
    }

    fn refuse(&self, op: IoOp, range: Range<u64>) -> Result<(), IoError> {
        self.geometry().check_range(op, &range)?;
        Err(IoError::new(
            op,
            range.start,
            range.end - range.start,
            IoErrorKind::ReadOnly,
        ))
    }
}

impl BlockDevice for MmapDevice {
    fn geometry(&self) -> DevGeometry {
        DevGeometry {
            block_size: BLOCK_SIZE,
            len: self.len,
            dma_alignment: 1,
        }
    }

    fn traits(&self) -> DevTraits {
        DevTraits {
            coherence: Coherence::PageCache,
            discard: DiscardEffect::Ignored,
            read_only: true,
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.geometry().check(IoOp::Read, offset, buf.len() as u64)?;
        // In range, so both fit the address space: the mapping is in it.
        let start = offset as usize;
        buf.copy_from_slice(&self.map[start..start + buf.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], _how: Durability) -> Result<(), IoError> {
        let len = buf.len() as u64;
        self.geometry().check(IoOp::Write, offset, len)?;
        self.refuse(IoOp::Write, offset..offset + len)
    }

    fn flush(&self) -> Result<(), IoError> {
        Ok(())
    }

    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        self.refuse(IoOp::Discard, range)
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        self.refuse(IoOp::WriteZeroes, range)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(&self.map)
    }
}

const BLOCK_SIZE: u32 = 512;
