//! Block devices: where a volume's bytes live.
//!
//! A device is blocking, positioned and shared: every method takes `&self`, and the crates above use it as
//! `Arc<dyn BlockDevice>`. Concurrent calls to overlapping ranges have no order; a caller that needs order waits for
//! completion, and flushes when it needs durability.
//!
//! Offsets and lengths are bytes and must be multiples of [`DevGeometry::block_size`]. The device refuses anything else
//! ([`IoErrorKind::InvalidRequest`]) and everything beyond its end ([`IoErrorKind::OutOfRange`]); it never panics or wraps.
//! Any memory alignment is accepted: devices that need aligned memory bounce.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

mod buf;
pub mod conformance;
mod cursor;
mod error;
mod file;
mod mem;
mod mmap;
pub mod partition;
mod range;
mod wrap;

pub use buf::AlignedBuf;
pub use cursor::IoCursor;
pub use error::{IoError, IoErrorKind, IoOp};
pub use file::{FileDevice, FileOptions};
pub use mem::MemDevice;
pub use mmap::MmapDevice;
use partition::PartitionError;
pub use range::RangeDevice;
pub use wrap::{Counting, Counts, Crash, Fault, FaultRates, Faulty, Op, ReadOnly, Recording};

/// Sizes of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevGeometry {
    /// Smallest addressable unit in bytes, a power of two of at least 512.
    pub block_size: u32,
    /// Length in bytes, a multiple of `block_size`.
    pub len: u64,
    /// Memory alignment in bytes that avoids a bounce copy, a power of two; 1 where any will do.
    pub dma_alignment: u32,
}

impl DevGeometry {
    /// Whether `len` bytes at `offset` are whole blocks inside the device: the check every device makes first.
    ///
    /// # Errors
    /// `InvalidRequest` or `OutOfRange`, as an error of `op`.
    pub fn check(&self, op: IoOp, offset: u64, len: u64) -> Result<(), IoError> {
        let block_size = u64::from(self.block_size);
        let kind = if !offset.is_multiple_of(block_size) || !len.is_multiple_of(block_size) {
            IoErrorKind::InvalidRequest {
                block_size: self.block_size,
            }
        } else if offset.checked_add(len).is_none_or(|end| end > self.len) {
            IoErrorKind::OutOfRange { device_len: self.len }
        } else {
            return Ok(());
        };
        Err(IoError::new(op, offset, len, kind))
    }

    /// [`check`](Self::check) for a range of bytes. An empty range is whole blocks, a reversed one is not.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_range(&self, op: IoOp, range: &Range<u64>) -> Result<(), IoError> {
        match range.end.checked_sub(range.start) {
            Some(len) => self.check(op, range.start, len),
            None => Err(IoError::new(
                op,
                range.start,
                0,
                IoErrorKind::InvalidRequest {
                    block_size: self.block_size,
                },
            )),
        }
    }
}

/// What other openers of the same storage see of our reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coherence {
    /// Reads and writes reach the storage itself (`O_DIRECT`).
    Direct,
    /// Reads and writes go through this host's page cache.
    PageCache,
    /// Nobody else can reach the bytes (memory, or a private mapping).
    Private,
}

/// What a range reads back as after [`BlockDevice::discard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardEffect {
    /// Zeros.
    Zeroes,
    /// Old bytes, zeros, or anything else.
    Undefined,
    /// The device cannot discard; the call does nothing.
    Ignored,
}

/// Properties of a device that do not change while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevTraits {
    /// Who else sees our bytes.
    pub coherence: Coherence,
    /// What a discarded range reads as.
    pub discard: DiscardEffect,
    /// Writes are refused with [`IoErrorKind::ReadOnly`].
    pub read_only: bool,
}

/// How far a write must get before the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Into the device or a cache in front of it; durable after the next [`BlockDevice::flush`].
    Cached,
    /// Onto stable storage.
    ForceUnitAccess,
}

/// Storage addressed by byte ranges of whole blocks.
pub trait BlockDevice: Send + Sync + fmt::Debug {
    /// Block size, length and preferred alignment.
    fn geometry(&self) -> DevGeometry;

    /// Coherence, discard behaviour and whether writes are refused.
    fn traits(&self) -> DevTraits;

    /// Fills `buf` with the bytes at `offset`.
    ///
    /// # Errors
    /// `InvalidRequest` when offset or length is not whole blocks, `OutOfRange` beyond the end, otherwise the
    /// device's own error.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError>;

    /// Writes `buf` at `offset`.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `ReadOnly`.
    fn write(&self, offset: u64, buf: &[u8], how: Durability) -> Result<(), IoError>;

    /// Makes every write that completed before this call durable.
    ///
    /// # Errors
    /// The device's own error; after one, nothing written since the last successful flush may be trusted.
    fn flush(&self) -> Result<(), IoError>;

    /// Tells the device that the bytes in `range` are not needed. See [`DevTraits::discard`] for what they read as.
    ///
    /// # Errors
    /// As [`write`](Self::write). A device that cannot discard succeeds and does nothing.
    fn discard(&self, range: Range<u64>) -> Result<(), IoError>;

    /// Makes `range` read as zeros, by hole punching, zero-range or discard where the device can, else by writing.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError>;

    /// Gets storage for `range`, which is about to be written, where a device hands it out piece by piece: small writes
    /// far apart into the holes of a file are several times faster so. What the range reads as does not change.
    ///
    /// # Errors
    /// As [`write`](Self::write). A device that has all its storage succeeds and does nothing.
    fn allocate(&self, range: Range<u64>) -> Result<(), IoError> {
        self.geometry().check_range(IoOp::Allocate, &range)?;
        if self.traits().read_only {
            let len = range.end.saturating_sub(range.start);
            return Err(IoError::new(IoOp::Allocate, range.start, len, IoErrorKind::ReadOnly));
        }
        Ok(())
    }

    /// The whole device as memory, where it is mapped: lets readers skip a copy.
    fn as_slice(&self) -> Option<&[u8]> {
        None
    }
}

/// A pointer to a device is the device.
macro_rules! forward_through {
    ($($pointer:ty),*) => {$(
        impl<D: BlockDevice + ?Sized> BlockDevice for $pointer {
            fn geometry(&self) -> DevGeometry {
                (**self).geometry()
            }
            fn traits(&self) -> DevTraits {
                (**self).traits()
            }
            fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
                (**self).read(offset, buf)
            }
            fn write(&self, offset: u64, buf: &[u8], how: Durability) -> Result<(), IoError> {
                (**self).write(offset, buf, how)
            }
            fn flush(&self) -> Result<(), IoError> {
                (**self).flush()
            }
            fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
                (**self).discard(range)
            }
            fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
                (**self).write_zeroes(range)
            }
            fn allocate(&self, range: Range<u64>) -> Result<(), IoError> {
                (**self).allocate(range)
            }
            fn as_slice(&self) -> Option<&[u8]> {
                (**self).as_slice()
            }
        }
    )*};
}

forward_through!(&D, Box<D>, Arc<D>);

/// Opens a file or block device, or one partition inside it.
///
/// # Errors
/// What [`FileDevice::open`] and [`partition::open_partition`] report.
pub fn open(
    path: impl AsRef<Path>,
    options: &FileOptions,
    partition: Option<u32>,
) -> Result<Arc<dyn BlockDevice>, PartitionError> {
    let whole = FileDevice::open(path, options)?;
    Ok(match partition {
        None => Arc::new(whole),
        Some(number) => Arc::new(partition::open_partition(whole, number)?),
    })
}
