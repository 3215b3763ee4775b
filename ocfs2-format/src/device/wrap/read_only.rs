//! A device that refuses writes.

use std::ops::Range;

use crate::device::{BlockDevice, DevGeometry, DevTraits, DiscardEffect, Durability, IoError, IoErrorKind, IoOp};

/// Refuses writing, zeroing and discarding with [`IoErrorKind::ReadOnly`]; nothing but reads reaches the inner device.
#[derive(Debug)]
pub struct ReadOnly<D> {
    inner: D,
}

impl<D: BlockDevice> ReadOnly<D> {
    /// `inner`, for reading.
    pub fn new(inner: D) -> ReadOnly<D> {
        ReadOnly { inner }
    }

    /// The device inside.
    pub fn into_inner(self) -> D {
        self.inner
    }

    fn refuse(&self, op: IoOp, offset: u64, len: u64) -> Result<(), IoError> {
        Err(IoError::new(op, offset, len, IoErrorKind::ReadOnly))
    }
}

impl<D: BlockDevice> BlockDevice for ReadOnly<D> {
    fn geometry(&self) -> DevGeometry {
        self.inner.geometry()
    }

    fn traits(&self) -> DevTraits {
        DevTraits {
            read_only: true,
            discard: DiscardEffect::Ignored,
            ..self.inner.traits()
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.inner.read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], _how: Durability) -> Result<(), IoError> {
        self.geometry().check(IoOp::Write, offset, buf.len() as u64)?;
        self.refuse(IoOp::Write, offset, buf.len() as u64)
    }

    fn flush(&self) -> Result<(), IoError> {
        Ok(())
    }

    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        self.geometry().check_range(IoOp::Discard, &range)?;
        self.refuse(IoOp::Discard, range.start, range.end - range.start)
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        self.geometry().check_range(IoOp::WriteZeroes, &range)?;
        self.refuse(IoOp::WriteZeroes, range.start, range.end - range.start)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        self.inner.as_slice()
    }
}
