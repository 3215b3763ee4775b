//! Why a journal cannot be used.

use ocfs2_format::device::IoError;
use ocfs2_format::{BlockNo, Corrupt};

use crate::sync::Arc;

/// A failed operation on a journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The device failed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The journal breaks a rule of the format.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The journal uses features that nobody has told us about.
    #[error("journal with unknown {word} feature bits {bits:#x}")]
    Unsupported {
        /// Which feature word: `incompatible` or `read-only compatible`.
        word: &'static str,
        /// The bits without a meaning known here.
        bits: u32,
    },
    /// The log still holds what has not reached its home.
    #[error(
        "the log holds {transactions} committed transactions: replay it if the journal's inode is dirty, else discard it"
    )]
    NotReplayed {
        /// Committed transactions in the log.
        transactions: u32,
    },
    /// The ring is too small for a transaction.
    #[error("a log of {blocks} blocks is too small to write to")]
    TooSmall {
        /// Blocks of the ring.
        blocks: u32,
    },
    /// The journal has stopped for good: writing to it failed, or a thread died in the middle of it.
    #[error("the journal was aborted")]
    Aborted(#[source] Arc<JournalError>),
    /// A thread panicked while it wrote to the journal.
    #[error("a thread panicked while it wrote to the journal")]
    Panicked,
    /// The journal's thread could not be started.
    #[error("the journal's thread cannot be started: {0}")]
    Thread(std::io::Error),
    /// The journal has been closed.
    #[error("the journal is closed")]
    Closed,
    /// The journal cannot be closed now.
    #[error("the journal has {handles} open handles")]
    Busy {
        /// How many handles are open.
        handles: u32,
    },
    /// A handle with more credits than a journal of this size gives.
    #[error("a handle of {asked} credits is too large for this journal, which gives {limit}")]
    HandleTooLarge {
        /// Credits asked for.
        asked: u32,
        /// The most that there are.
        limit: u32,
    },
    /// A handle has staged as many blocks as it said it would, and now another: a bug of the caller.
    #[error("block {block} needs more than the {credits} credits of its handle")]
    OutOfCredits {
        /// The block.
        block: BlockNo,
        /// Credits of the handle.
        credits: u32,
    },
    /// Two handles change the same block, or one changes it both alone and together with others: a bug in the caller's
    /// locking.
    #[error("block {block} is being changed by another handle, or as part of other blocks")]
    Conflict {
        /// The block.
        block: BlockNo,
    },
    /// A block is changed that was freed and not created again: a bug of the caller.
    #[error("block {block} is free and cannot be changed")]
    Freed {
        /// The block.
        block: BlockNo,
    },
    /// No journal may hold this block.
    #[error("block {block} cannot be journaled: {why}")]
    NotJournaled {
        /// The block.
        block: BlockNo,
        /// What keeps it out.
        why: &'static str,
    },
}

impl JournalError {
    /// The `errno` that a caller of a system call would have seen. An aborted journal keeps that of its first error.
    pub fn errno(&self) -> i32 {
        const EIO: i32 = 5;
        const EBUSY: i32 = 16;
        const EINVAL: i32 = 22;
        const ESHUTDOWN: i32 = 108;
        const EUCLEAN: i32 = 117;
        match self {
            JournalError::Io(error) => error.errno(),
            JournalError::Aborted(cause) => cause.errno(),
            JournalError::Thread(error) => error.raw_os_error().unwrap_or(EIO),
            JournalError::Panicked => EIO,
            JournalError::Corrupt(_) | JournalError::NotReplayed { .. } | JournalError::NotJournaled { .. } => EUCLEAN,
            JournalError::Closed => ESHUTDOWN,
            JournalError::Busy { .. } => EBUSY,
            JournalError::Unsupported { .. }
            | JournalError::TooSmall { .. }
            | JournalError::HandleTooLarge { .. }
            | JournalError::OutOfCredits { .. }
            | JournalError::Conflict { .. }
            | JournalError::Freed { .. } => EINVAL,
        }
    }
}
