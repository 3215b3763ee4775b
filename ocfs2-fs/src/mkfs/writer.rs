//! Blocks on their way to the device: neighbours go there together.

use std::collections::BTreeMap;

use ocfs2_format::device::{AlignedBuf, BlockDevice, Durability};
use ocfs2_format::{BlockCheck, BlockNo, Geometry};

use super::blocks::Block;
use super::error::MkfsError;

/// Collects blocks and writes runs of them.
pub(super) struct Writer<'a> {
    device: &'a dyn BlockDevice,
    block_size_bits: u8,
    metaecc: bool,
    staged: BTreeMap<u64, Vec<u8>>,
    staged_bytes: usize,
    buffer: AlignedBuf,
    bytes_written: u64,
    writes: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(device: &'a dyn BlockDevice, geometry: &Geometry) -> Writer<'a> {
        Writer {
            device,
            block_size_bits: geometry.block_size_bits,
            metaecc: geometry.features.metaecc(),
            staged: BTreeMap::new(),
            staged_bytes: 0,
            buffer: AlignedBuf::for_device(device.geometry(), LONGEST_WRITE),
            bytes_written: 0,
            writes: 0,
        }
    }

    /// Bytes written so far.
    pub(super) fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Writes so far.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// Takes blocks to be written, and sets their check fields.
    pub(super) fn stage(&mut self, blocks: impl IntoIterator<Item = Block>) -> Result<(), MkfsError> {
        for mut block in blocks {
            if let (true, Some(offset)) = (self.metaecc, block.check_offset) {
                BlockCheck::set(&mut block.bytes, offset);
            }
            self.staged_bytes += block.bytes.len();
            self.staged.insert(block.at.0 << self.block_size_bits, block.bytes);
            if self.staged_bytes >= MOST_STAGED {
                self.write_staged()?;
            }
        }
        Ok(())
    }

    /// Writes what has been collected.
    pub(super) fn write_staged(&mut self) -> Result<(), MkfsError> {
        self.staged_bytes = 0;
        let (mut start, mut len) = (0, 0);
        for (offset, bytes) in std::mem::take(&mut self.staged) {
            let mut offset = offset;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                if start + len as u64 != offset || len == self.buffer.len() {
                    self.write(start, len)?;
                    (start, len) = (offset, 0);
                }
                let (now, later) = rest.split_at(rest.len().min(self.buffer.len() - len));
                self.buffer[len..len + now.len()].copy_from_slice(now);
                len += now.len();
                offset += now.len() as u64;
                rest = later;
            }
        }
        self.write(start, len)
    }

    /// Writes one block that `fill` makes and places; nothing may be collected at the time.
    pub(super) fn write_with(
        &mut self,
        block_size: usize,
        check_offset: Option<usize>,
        fill: impl FnOnce(&mut [u8]) -> BlockNo,
    ) -> Result<(), MkfsError> {
        let block = &mut self.buffer[..block_size];
        let at = fill(block);
        if let Some(offset) = check_offset {
            BlockCheck::set(block, offset);
        }
        self.write(at.0 << self.block_size_bits, block_size)
    }

    /// Writes the first `len` bytes of the buffer.
    fn write(&mut self, offset: u64, len: usize) -> Result<(), MkfsError> {
        if len > 0 {
            self.device.allocate(offset..offset + len as u64)?;
            self.device.write(offset, &self.buffer[..len], Durability::Cached)?;
            self.bytes_written += len as u64;
            self.writes += 1;
        }
        Ok(())
    }
}

/// Largest write in bytes.
const LONGEST_WRITE: usize = 1 << 20;

/// Bytes that are collected at most.
const MOST_STAGED: usize = 4 << 20;
