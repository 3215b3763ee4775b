//! Everything that can go wrong above the format.

use std::path::PathBuf;

use ocfs2_format::device::IoError;
use ocfs2_format::{Corrupt, InodeNo, SuperBlockError, Unsupported};
use ocfs2_journal::JournalError;

/// A failed operation on a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device said no.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A structure on disk breaks a rule of the format.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The volume needs something that this library does not know.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A journal uses features that this library does not know.
    #[error("journal of inode {inode}: unknown {word} feature bits {bits:#x}")]
    JournalFeatures {
        /// The journal's inode.
        inode: InodeNo,
        /// Which feature word.
        word: &'static str,
        /// The unknown bits.
        bits: u32,
    },
    /// No superblock was found: not an OCFS2 volume, or its superblock is gone.
    #[error("bad magic number in superblock: no ocfs2 volume found{}", if *.backups { "; a backup superblock may still be there" } else { "" })]
    NotOcfs2 {
        /// Whether the device is long enough to hold backup superblocks.
        backups: bool,
    },
    /// The volume has no backup superblock of that number.
    #[error("there is no backup superblock {number} (1 to {available} exist)")]
    NoSuchBackup {
        /// The number asked for, from 1.
        number: u32,
        /// How many the device has room for.
        available: u32,
    },
    /// No such file or directory.
    #[error("{}: no such file or directory", .0.display())]
    NotFound(PathBuf),
    /// A path leads through something that is no directory.
    #[error("{}: not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// A directory where a file is needed.
    #[error("{}: is a directory", .0.display())]
    IsADirectory(PathBuf),
    /// Not a regular file, directory or symlink, where one is needed.
    #[error("inode {inode}: not a {wanted}")]
    WrongKind {
        /// The inode.
        inode: InodeNo,
        /// What was needed.
        wanted: &'static str,
    },
    /// Too many symbolic links on the way.
    #[error("{}: too many levels of symbolic links", .0.display())]
    SymlinkLoop(PathBuf),
    /// The inode has no such extended attribute.
    #[error("inode {inode} has no attribute {name}")]
    NoSuchXattr {
        /// The inode.
        inode: InodeNo,
        /// The attribute's full name.
        name: String,
    },
    /// The volume has no such system file.
    #[error("the volume has no system file {0}")]
    NoSuchSystemFile(String),
}

/// What kind of failure an [`Error`] is, to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The device said no.
    Io,
    /// The volume is damaged.
    Corrupt,
    /// The volume needs something unknown here.
    Unsupported,
    /// What was asked for is not there.
    NotFound,
    /// The request does not fit the object.
    Invalid,
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Io(_) => ErrorKind::Io,
            Error::Corrupt(_) => ErrorKind::Corrupt,
            Error::Unsupported(_) | Error::NotOcfs2 { .. } | Error::JournalFeatures { .. } => ErrorKind::Unsupported,
            Error::NoSuchBackup { .. }
            | Error::NotFound(_)
            | Error::NoSuchXattr { .. }
            | Error::NoSuchSystemFile(_) => ErrorKind::NotFound,
            Error::NotADirectory(_) | Error::IsADirectory(_) | Error::WrongKind { .. } | Error::SymlinkLoop(_) => {
                ErrorKind::Invalid
            }
        }
    }

    /// The `errno` that the kernel driver would have given.
    pub fn errno(&self) -> i32 {
        const ENOENT: i32 = 2;
        const ENOTDIR: i32 = 20;
        const EISDIR: i32 = 21;
        const EINVAL: i32 = 22;
        const EROFS: i32 = 30;
        const ELOOP: i32 = 40;
        const ENODATA: i32 = 61;
        match self {
            Error::Io(error) => error.errno(),
            Error::Corrupt(_) => EROFS,
            Error::Unsupported(_)
            | Error::NotOcfs2 { .. }
            | Error::JournalFeatures { .. }
            | Error::WrongKind { .. } => EINVAL,
            Error::NoSuchBackup { .. } | Error::NotFound(_) | Error::NoSuchSystemFile(_) => ENOENT,
            Error::NotADirectory(_) => ENOTDIR,
            Error::IsADirectory(_) => EISDIR,
            Error::SymlinkLoop(_) => ELOOP,
            Error::NoSuchXattr { .. } => ENODATA,
        }
    }

    /// A failed operation on the journal in an inode.
    pub(crate) fn of_journal(inode: InodeNo, error: JournalError) -> Self {
        match error {
            JournalError::Io(error) => Error::Io(error),
            JournalError::Corrupt(corrupt) => Error::Corrupt(corrupt.in_inode(inode)),
            JournalError::Unsupported { word, bits } => Error::JournalFeatures { inode, word, bits },
            // The journal crate may learn new reasons; they all mean that the log cannot be read.
            _ => Error::JournalFeatures {
                inode,
                word: "unrecognised",
                bits: 0,
            },
        }
    }

    /// Adds the inode to a corruption that does not name one yet.
    #[must_use]
    pub(crate) fn in_inode(self, inode: InodeNo) -> Self {
        match self {
            Error::Corrupt(corrupt) => Error::Corrupt(corrupt.in_inode(inode)),
            other => other,
        }
    }
}

impl From<SuperBlockError> for Error {
    fn from(error: SuperBlockError) -> Self {
        match error {
            SuperBlockError::Corrupt(corrupt) => Error::Corrupt(corrupt),
            SuperBlockError::Unsupported(unsupported) => Error::Unsupported(unsupported),
            // The format crate may learn new reasons; they all mean that the volume cannot be opened.
            _ => Error::NotOcfs2 { backups: false },
        }
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::NotFound => std::io::ErrorKind::NotFound,
            ErrorKind::Corrupt => std::io::ErrorKind::InvalidData,
            ErrorKind::Invalid => std::io::ErrorKind::InvalidInput,
            ErrorKind::Unsupported => std::io::ErrorKind::Unsupported,
            ErrorKind::Io => std::io::ErrorKind::Other,
        };
        std::io::Error::new(kind, error)
    }
}
