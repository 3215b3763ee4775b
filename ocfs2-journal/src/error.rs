//! Why a journal cannot be used.

use ocfs2_format::Corrupt;
use ocfs2_format::device::IoError;

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
}

impl JournalError {
    /// The `errno` that a caller of a system call would have seen.
    pub fn errno(&self) -> i32 {
        const EINVAL: i32 = 22;
        const EUCLEAN: i32 = 117;
        match self {
            JournalError::Io(error) => error.errno(),
            JournalError::Corrupt(_) => EUCLEAN,
            JournalError::Unsupported { .. } => EINVAL,
        }
    }
}
