//! Part of a device as a device: a partition, or a volume inside a larger file.

use std::ops::Range;

use super::{BlockDevice, DevGeometry, DevTraits, Durability, IoError, IoOp};

/// The bytes of a range of another device. Nothing outside the range can be reached; errors give offsets inside it.
#[derive(Debug)]
pub struct RangeDevice<D> {
    inner: D,
    start: u64,
    len: u64,
}

impl<D: BlockDevice> RangeDevice<D> {
    /// The bytes in `range` of `inner`, which must be whole blocks of it.
    ///
    /// # Errors
    /// `InvalidRequest` when the range is not whole blocks, `OutOfRange` when it reaches beyond `inner`.
    pub fn new(inner: D, range: Range<u64>) -> Result<RangeDevice<D>, IoError> {
        inner.geometry().check_range(IoOp::Open, &range)?;
        Ok(RangeDevice {
            inner,
            start: range.start,
            len: range.end - range.start,
        })
    }

    /// The device around the range.
    pub fn into_inner(self) -> D {
        self.inner
    }

    /// An error of the inner device, at the place our caller asked for.
    fn relocate(&self, mut error: IoError) -> IoError {
        error.offset = error.offset.saturating_sub(self.start);
        error
    }

    fn shift(&self, op: IoOp, range: &Range<u64>) -> Result<Range<u64>, IoError> {
        self.geometry().check_range(op, range)?;
        Ok(self.start + range.start..self.start + range.end)
    }
}

impl<D: BlockDevice> BlockDevice for RangeDevice<D> {
    fn geometry(&self) -> DevGeometry {
        DevGeometry {
            len: self.len,
            ..self.inner.geometry()
        }
    }

    fn traits(&self) -> DevTraits {
        self.inner.traits()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.geometry().check(IoOp::Read, offset, buf.len() as u64)?;
        self.inner.read(self.start + offset, buf).map_err(|e| self.relocate(e))
    }

    fn write(&self, offset: u64, buf: &[u8], how: Durability) -> Result<(), IoError> {
        self.geometry().check(IoOp::Write, offset, buf.len() as u64)?;
        self.inner
            .write(self.start + offset, buf, how)
            .map_err(|e| self.relocate(e))
    }

    fn flush(&self) -> Result<(), IoError> {
        self.inner.flush()
    }

    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        let range = self.shift(IoOp::Discard, &range)?;
        self.inner.discard(range).map_err(|e| self.relocate(e))
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        let range = self.shift(IoOp::WriteZeroes, &range)?;
        self.inner.write_zeroes(range).map_err(|e| self.relocate(e))
    }

    fn allocate(&self, range: Range<u64>) -> Result<(), IoError> {
        let range = self.shift(IoOp::Allocate, &range)?;
        self.inner.allocate(range).map_err(|e| self.relocate(e))
    }

    fn as_slice(&self) -> Option<&[u8]> {
        let (start, len) = (usize::try_from(self.start).ok()?, usize::try_from(self.len).ok()?);
        self.inner.as_slice()?.get(start..)?.get(..len)
    }
}
