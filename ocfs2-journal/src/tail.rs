//! The superblock of the log: where it starts.
//!
//! Source: on-disk reference, sections 26.2 and 26.4.

use ocfs2_format::device::{Durability, IoError};
use ocfs2_format::jbd2::{Sequence, Superblock};

use crate::JournalError;
use crate::journal::Shared;
use crate::log::write_superblock;
use crate::sync::lock;

/// The superblock as it was written last.
#[derive(Debug)]
pub(crate) struct Tail {
    superblock: Superblock,
    /// It says where a log of ours starts.
    started: bool,
}

impl Tail {
    /// The superblock as it was found.
    pub(crate) fn new(superblock: Superblock) -> Tail {
        Tail {
            superblock,
            started: false,
        }
    }
}

impl Shared {
    /// Lets the log start at its first transaction, which is about to be written. The flush before that one's commit
    /// block makes it durable.
    pub(crate) fn start_log(&self, start: u32, sequence: Sequence) -> Result<(), IoError> {
        if lock(&self.tail).started {
            return Ok(());
        }
        self.write_tail(start, sequence, Durability::Cached)
    }

    /// Lets the log start here. Durable when this returns: the blocks before are overwritten next.
    pub(crate) fn move_tail(&self, start: u32, sequence: Sequence) -> Result<(), JournalError> {
        self.force(|| self.write_tail(start, sequence, Durability::ForceUnitAccess))
    }

    /// Marks the log as empty.
    pub(crate) fn mark_empty(&self, next: Sequence) -> Result<(), JournalError> {
        self.move_tail(0, next)
    }

    /// Leaves word of an error, for the one who opens the journal next.
    pub(crate) fn record_errno(&self, errno: i32) -> Result<(), IoError> {
        self.rewrite(Durability::ForceUnitAccess, |superblock| superblock.s_errno.set(errno))
    }

    fn write_tail(&self, start: u32, sequence: Sequence, how: Durability) -> Result<(), IoError> {
        self.rewrite(how, |superblock| {
            superblock.s_start.set(start);
            superblock.s_sequence.set(sequence.0);
            // Whoever opened the journal has seen what was there.
            superblock.s_errno.set(0);
        })?;
        lock(&self.tail).started = true;
        Ok(())
    }

    /// Changes the superblock. After a failed write, what it was before is still true: nothing is reused before the new
    /// one is durable.
    fn rewrite(&self, how: Durability, change: impl FnOnce(&mut Superblock)) -> Result<(), IoError> {
        let mut tail = lock(&self.tail);
        let mut superblock = tail.superblock;
        change(&mut superblock);
        superblock.seal();
        write_superblock(&self.dev, &self.map, self.geometry.block_size_bits, &superblock, how)?;
        tail.superblock = superblock;
        Ok(())
    }
}
