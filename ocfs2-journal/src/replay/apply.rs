//! Writing copies home.
//!
//! Source: on-disk reference, sections 26.4 and 26.5; Linux 6.1 kernel behaviour for the sequence left behind.

use ocfs2_format::device::Durability;
use ocfs2_format::jbd2;

use super::Recovery;
use crate::io::{BlockBatch, offset_of, read_bytes};
use crate::log::write_superblock;
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
        let mut buffer = BlockBatch::buffer(self.dev);
        let mut batch = BlockBatch::new(self.dev, self.geometry.block_size_bits, &mut buffer);
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

    /// Discards the log: marks it as empty and makes that durable, whatever is in it.
    ///
    /// That is what becomes of a log whose inode is not dirty: what it holds is at home, or nobody wants it there.
    /// `recovery` must be what [`scan`](Self::scan) found in this journal.
    ///
    /// # Errors
    /// `Io` if the device fails.
    pub fn discard(self, recovery: &Recovery) -> Result<(), JournalError> {
        self.mark_empty(recovery)
    }

    fn mark_empty(&self, recovery: &Recovery) -> Result<(), JournalError> {
        let mut superblock = self.superblock;
        superblock.s_start.set(0);
        // Blocks of a transaction that was never committed may still be in the log, with the number that comes next.
        superblock.s_sequence.set(recovery.next().next().0);
        superblock.seal();
        write_superblock(
            self.dev,
            &self.map,
            self.geometry.block_size_bits,
            &superblock,
            Durability::Cached,
        )?;
        Ok(self.dev.flush()?)
    }
}
