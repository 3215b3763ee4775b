//! Reading and writing that no alignment of the device stands in the way of.

use ocfs2_format::BlockNo;
use ocfs2_format::device::{AlignedBuf, BlockDevice, Durability, IoError, IoErrorKind, IoOp};

use crate::{JournalError, LogMap};

/// Reads bytes that need not be whole blocks of the device.
pub(crate) fn read_bytes(dev: &dyn BlockDevice, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
    let Some(cover) = Cover::of(dev, offset, buf.len()) else {
        return dev.read(offset, buf);
    };
    let mut bounce = AlignedBuf::for_device(dev.geometry(), cover.len);
    dev.read(cover.start, &mut bounce)?;
    if let Some(wanted) = bounce.get(cover.head..cover.head + buf.len()) {
        buf.copy_from_slice(wanted);
    }
    Ok(())
}

/// Writes bytes that need not be whole blocks of the device; what shares a block with them is read and written back.
pub(crate) fn write_bytes(dev: &dyn BlockDevice, offset: u64, buf: &[u8], how: Durability) -> Result<(), IoError> {
    let Some(cover) = Cover::of(dev, offset, buf.len()) else {
        return dev.write(offset, buf, how);
    };
    let mut bounce = AlignedBuf::for_device(dev.geometry(), cover.len);
    dev.read(cover.start, &mut bounce)?;
    if let Some(changed) = bounce.get_mut(cover.head..cover.head + buf.len()) {
        changed.copy_from_slice(buf);
    }
    dev.write(cover.start, &bounce, how)
}

/// Byte offset of a block; an error of the device where there is none.
pub(crate) fn offset_of(block: BlockNo, block_size_bits: u8, dev: &dyn BlockDevice) -> Result<u64, IoError> {
    block.0.checked_mul(1 << block_size_bits).ok_or_else(|| {
        let kind = IoErrorKind::OutOfRange {
            device_len: dev.geometry().len,
        };
        IoError::new(IoOp::Read, u64::MAX, 1 << block_size_bits, kind)
    })
}

/// The whole device blocks around a range of bytes that is none.
struct Cover {
    start: u64,
    head: usize,
    len: usize,
}

impl Cover {
    fn of(dev: &dyn BlockDevice, offset: u64, len: usize) -> Option<Cover> {
        let block_size = dev.geometry().block_size as usize;
        let head = (offset % block_size as u64) as usize;
        if head == 0 && len.is_multiple_of(block_size) {
            return None;
        }
        Some(Cover {
            start: offset - head as u64,
            head,
            len: (head + len).next_multiple_of(block_size),
        })
    }
}

/// Collects blocks and writes those that lie side by side at once.
#[derive(Debug)]
pub(crate) struct BlockBatch<'a> {
    dev: &'a dyn BlockDevice,
    block_size_bits: u8,
    buf: &'a mut AlignedBuf,
    start: BlockNo,
    /// Bytes of `buf` in use.
    used: usize,
}

impl<'a> BlockBatch<'a> {
    /// Room for as many blocks as a batch should have.
    pub(crate) fn buffer(dev: &dyn BlockDevice) -> AlignedBuf {
        AlignedBuf::for_device(dev.geometry(), MAX_WRITE)
    }

    /// An empty batch.
    pub(crate) fn new(dev: &'a dyn BlockDevice, block_size_bits: u8, buf: &'a mut AlignedBuf) -> BlockBatch<'a> {
        BlockBatch {
            dev,
            block_size_bits,
            buf,
            start: BlockNo(0),
            used: 0,
        }
    }

    /// Room for the image of a block, behind the others if it follows them, else alone after they are written. What is
    /// in there is left from earlier.
    pub(crate) fn room_for(&mut self, block: BlockNo) -> Result<&mut [u8], IoError> {
        let size = 1 << self.block_size_bits;
        let follows = self.start.checked_add((self.used >> self.block_size_bits) as u64) == Some(block);
        if self.used + size > self.buf.len() || !follows {
            self.write()?;
            self.start = block;
        }
        let at = self.used;
        self.used += size;
        Ok(&mut self.buf[at..at + size])
    }

    /// Writes what has been collected.
    pub(crate) fn write(&mut self) -> Result<(), IoError> {
        if self.used != 0 {
            let offset = offset_of(self.start, self.block_size_bits, self.dev)?;
            write_bytes(self.dev, offset, &self.buf[..self.used], Durability::Cached)?;
            self.used = 0;
        }
        Ok(())
    }
}

/// Reads the blocks of a journal, mostly ahead, in pieces that grow as long as they are used.
#[derive(Debug)]
pub(crate) struct LogReader<'a> {
    dev: &'a dyn BlockDevice,
    map: &'a LogMap,
    block_size_bits: u8,
    /// Behind the last block worth reading ahead.
    end: u64,
    buf: AlignedBuf,
    /// What is in `buf`.
    first: u64,
    blocks: u64,
    /// Blocks to read next.
    ahead: u64,
}

impl<'a> LogReader<'a> {
    /// A reader of the blocks before `end`.
    pub(crate) fn new(dev: &'a dyn BlockDevice, map: &'a LogMap, block_size_bits: u8, end: u64) -> LogReader<'a> {
        LogReader {
            dev,
            map,
            block_size_bits,
            end: end.min(map.blocks()),
            buf: AlignedBuf::for_device(dev.geometry(), MAX_READ),
            first: 0,
            blocks: 0,
            ahead: (MIN_READ >> block_size_bits) as u64,
        }
    }

    /// Block `n` of the journal.
    pub(crate) fn block(&mut self, n: u32) -> Result<&[u8], JournalError> {
        let wanted = u64::from(n);
        if wanted < self.first || wanted - self.first >= self.blocks {
            self.fill(n)?;
        }
        let size = 1 << self.block_size_bits;
        let start = (wanted - self.first) as usize * size;
        Ok(&self.buf[start..start + size])
    }

    fn fill(&mut self, n: u32) -> Result<(), JournalError> {
        let size = 1usize << self.block_size_bits;
        let wanted = u64::from(n);
        let gap = wanted.checked_sub(self.first + self.blocks);
        self.ahead = match gap {
            Some(gap) if gap <= self.ahead && self.blocks != 0 => (self.ahead * 2).min((MAX_READ / size) as u64),
            _ => (MIN_READ / size) as u64,
        };
        let (at, run) = match self.map.rest_of_run(n) {
            Some(place) if wanted < self.end => place,
            _ => {
                let kind = IoErrorKind::OutOfRange {
                    device_len: self.map.blocks() << self.block_size_bits,
                };
                return Err(IoError::new(IoOp::Read, wanted << self.block_size_bits, size as u64, kind).into());
            }
        };
        let blocks = self.ahead.min(run).min(self.end - wanted);
        let offset = offset_of(at, self.block_size_bits, self.dev)?;
        self.blocks = 0;
        read_bytes(self.dev, offset, &mut self.buf[..blocks as usize * size])?;
        (self.first, self.blocks) = (wanted, blocks);
        Ok(())
    }
}

/// Bytes read where nothing says that the neighbours are wanted too.
const MIN_READ: usize = 64 << 10;
/// Most bytes read at once.
const MAX_READ: usize = 1 << 20;
/// Bytes that are worth collecting for one write.
const MAX_WRITE: usize = 1 << 20;
