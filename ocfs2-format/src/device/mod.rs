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
use std::sync::Arc;

mod error;

pub use error::{IoError, IoErrorKind, IoOp};

/// Sizes of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevGeometry {
    /// Smallest addressable unit in bytes, a power of two of at least 512.
    pub block_size: u32,
    /// Length in bytes, a multiple of `block_size`.
    pub len: u64,
    /// Memory and offset alignment in bytes that avoids a bounce copy; 1 where any will do.
    pub dma_alignment: u32,
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

    /// The whole device as memory, where it is mapped: lets readers skip a copy.
    fn as_slice(&self) -> Option<&[u8]> {
        None
    }
}

impl<D: BlockDevice + ?Sized> BlockDevice for Arc<D> {
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
    fn as_slice(&self) -> Option<&[u8]> {
        (**self).as_slice()
    }
}
