//! Writing copies home.
//!
//! Source: on-disk reference, sections 26.4 and 26.5; Linux 6.1 kernel behaviour for the sequence left behind.

use ocfs2_format::BlockNo;
use ocfs2_format::jbd2;
use zerocopy::IntoBytes;

use super::Recovery;
use crate::io::{offset_of, read_bytes, write_bytes};
use crate::{JournalError, Log};

impl Log<'_> {
    /// Replays the log: writes every copy home, makes that durable, then marks the log as empty and makes that durable.
    ///
    /// `recovery` must be what [`scan`](Self::scan) found in this journal. Interrupting and repeating a replay is
    /// harmless. The inode that holds the journal stays dirty: what else recovery has to do is not known here.
    ///
    /// # Errors
    /// `Corrupt` if the log is damaged ([`Recovery::check`]); nothing is written then. `Io` if the device fails.
    pub fn replay(self, recovery: &Recovery) -> Result<(), JournalError> {
        recovery.check(&self.geometry)?;
        let mut batch = Batch {
            log: &self,
            start: BlockNo(0),
            bytes: Vec::new(),
        };
        for (home, copy) in recovery.redirects().iter() {
            let image = batch.room_for(home)?;
            read_bytes(
                self.dev,
                offset_of(copy.at, self.geometry.block_size_bits, self.dev)?,
                image,
            )?;
            if copy.escaped {
                jbd2::unescape(image);
            }
        }
        batch.write()?;
        self.dev.flush()?;
        self.mark_empty(recovery)
    }

    fn mark_empty(&self, recovery: &Recovery) -> Result<(), JournalError> {
        let mut superblock = self.superblock;
        superblock.s_start.set(0);
        // Blocks of a transaction that was never committed may still be in the log, with the number that comes next.
        superblock.s_sequence.set(recovery.next().next().0);
        superblock.seal();
        // What has changed lies in the first of the two blocks that it may take.
        let bits = self.geometry.block_size_bits;
        if let (Some(block), Some(bytes)) = (self.map.block(0), superblock.as_bytes().chunks(1 << bits).next()) {
            write_bytes(self.dev, offset_of(block, bits, self.dev)?, bytes)?;
        }
        Ok(self.dev.flush()?)
    }
}

/// Blocks that lie side by side, to write at once.
struct Batch<'l> {
    log: &'l Log<'l>,
    start: BlockNo,
    bytes: Vec<u8>,
}

impl Batch<'_> {
    /// Room for the image of a block, behind the others if it follows them, else alone after they are written.
    fn room_for(&mut self, home: BlockNo) -> Result<&mut [u8], JournalError> {
        let bits = self.log.geometry.block_size_bits;
        let used = self.bytes.len();
        if used + (1 << bits) > MAX_WRITE || self.start.checked_add((used >> bits) as u64) != Some(home) {
            self.write()?;
            self.start = home;
        }
        let used = self.bytes.len();
        self.bytes.resize(used + (1 << bits), 0);
        Ok(&mut self.bytes[used..])
    }

    fn write(&mut self) -> Result<(), JournalError> {
        if !self.bytes.is_empty() {
            let offset = offset_of(self.start, self.log.geometry.block_size_bits, self.log.dev)?;
            write_bytes(self.log.dev, offset, &self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }
}

/// Most bytes written at once.
const MAX_WRITE: usize = 1 << 20;
