//! A device that reads as if its journals had been replayed.

use std::ops::Range;

use ocfs2_format::device::{
    BlockDevice, DevGeometry, DevTraits, DiscardEffect, Durability, IoError, IoErrorKind, IoOp,
};
use ocfs2_format::{BlockNo, jbd2};

use crate::io::{offset_of, read_bytes};
use crate::{LogCopy, Redirects};

/// Reads blocks that have a newer copy in a journal from there, everything else from the inner device. Refuses writes.
#[derive(Debug)]
pub struct Overlay<D> {
    inner: D,
    block_size_bits: u8,
    redirects: Redirects,
}

impl<D: BlockDevice> Overlay<D> {
    /// `inner` with the volume's block size, seen through what replay would write; several journals are
    /// [merged](Redirects::merge) in the order of their replay.
    pub fn new(inner: D, block_size_bits: u8, redirects: Redirects) -> Overlay<D> {
        Overlay {
            inner,
            block_size_bits,
            redirects,
        }
    }

    /// The device inside.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// The device inside.
    pub fn into_inner(self) -> D {
        self.inner
    }

    /// Which blocks are read from a journal.
    pub fn redirects(&self) -> &Redirects {
        &self.redirects
    }

    /// Reads a part of one block from its copy; `from` is the part's first byte in the block.
    fn read_copy(&self, copy: LogCopy, from: u64, part: &mut [u8]) -> Result<(), IoError> {
        let offset = offset_of(copy.at, self.block_size_bits, &self.inner)?;
        read_bytes(&self.inner, offset + from, part)?;
        if copy.escaped && from == 0 {
            jbd2::unescape(part);
        }
        Ok(())
    }

    fn refuse(&self, op: IoOp, offset: u64, len: u64) -> Result<(), IoError> {
        self.geometry().check(op, offset, len)?;
        Err(IoError::new(op, offset, len, IoErrorKind::ReadOnly))
    }

    fn refuse_range(&self, op: IoOp, range: &Range<u64>) -> Result<(), IoError> {
        self.geometry().check_range(op, range)?;
        self.refuse(op, range.start, range.end - range.start)
    }
}

impl<D: BlockDevice> BlockDevice for Overlay<D> {
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
        let geometry = self.inner.geometry();
        geometry.check(IoOp::Read, offset, buf.len() as u64)?;
        let (bits, end) = (self.block_size_bits, offset + buf.len() as u64);
        let copies = self
            .redirects
            .range(BlockNo(offset >> bits), BlockNo(end.div_ceil(1 << bits)));
        if copies.is_empty() {
            return self.inner.read(offset, buf);
        }
        // Where a block of the device holds several of the volume, what lies between two copies cannot be read alone.
        let piecewise = 1 << bits >= geometry.block_size;
        if !piecewise {
            self.inner.read(offset, buf)?;
        }
        let mut rest = buf;
        let mut at = offset;
        for &(home, copy) in copies {
            let start = home.0 << bits;
            let part = start.max(offset)..(start + (1 << bits)).min(end);
            let (gap, after) = rest.split_at_mut((part.start - at) as usize);
            let (part_buf, after) = after.split_at_mut((part.end - part.start) as usize);
            if piecewise && !gap.is_empty() {
                self.inner.read(at, gap)?;
            }
            self.read_copy(copy, part.start - start, part_buf)?;
            (rest, at) = (after, part.end);
        }
        if piecewise && !rest.is_empty() {
            self.inner.read(at, rest)?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], _how: Durability) -> Result<(), IoError> {
        self.refuse(IoOp::Write, offset, buf.len() as u64)
    }

    fn flush(&self) -> Result<(), IoError> {
        Ok(())
    }

    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        self.refuse_range(IoOp::Discard, &range)
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        self.refuse_range(IoOp::WriteZeroes, &range)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        if self.redirects.is_empty() {
            self.inner.as_slice()
        } else {
            None
        }
    }
}
