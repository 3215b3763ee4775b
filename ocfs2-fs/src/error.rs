//! Everything that can go wrong above the format.

use std::path::PathBuf;

use ocfs2_format::device::IoError;
use ocfs2_format::{Corrupt, InodeNo, SuperBlockError, Unsupported};
use ocfs2_journal::JournalError;

use crate::mounted::LockError;

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
    /// The journal failed, or was used wrongly.
    #[error(transparent)]
    Journal(JournalError),
    /// A cluster lock could not be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file system is mounted read-only.
    #[error("the file system is mounted read-only")]
    ReadOnly,
    /// Every slot is taken: as many nodes as the volume was made for have it mounted.
    #[error("all {slots} slots of the volume are taken")]
    NoSlot {
        /// Slots of the volume.
        slots: u16,
    },
    /// The volume, or a directory, is full.
    #[error("no space left")]
    NoSpace,
    /// A quota is used up.
    #[error("disk quota exceeded")]
    QuotaExceeded,
    /// The inode was deleted by somebody else.
    #[error("inode {0} has been deleted")]
    Stale(InodeNo),
    /// The name is taken.
    #[error("{}: file exists", .0.display())]
    Exists(PathBuf),
    /// The directory has entries.
    #[error("{}: directory not empty", .0.display())]
    NotEmpty(PathBuf),
    /// A name that no entry can have: empty, with a slash or a NUL in it.
    #[error("{}: not a name", .0.display())]
    BadName(PathBuf),
    /// A name longer than 255 bytes, or a link target or path that is too long.
    #[error("{}: name too long", .0.display())]
    NameTooLong(PathBuf),
    /// The inode has as many links as the format allows.
    #[error("inode {0}: too many links")]
    TooManyLinks(InodeNo),
    /// Larger than a file, an attribute or the like can be.
    #[error("{what} is too large")]
    TooLarge {
        /// What.
        what: &'static str,
    },
    /// The inode's attributes, or what it is, forbid this to everybody.
    #[error("inode {inode}: operation not permitted: {why}")]
    NotPermitted {
        /// The inode.
        inode: InodeNo,
        /// What forbids it.
        why: &'static str,
    },
    /// The caller's identity does not allow this.
    #[error("permission denied")]
    AccessDenied,
    /// The request makes no sense.
    #[error("invalid argument: {why}")]
    InvalidArgument {
        /// Why not.
        why: &'static str,
    },
    /// The volume was made without a feature that this needs.
    #[error("the volume has no {feature} feature")]
    NoFeature {
        /// The feature, as mkfs spells it.
        feature: &'static str,
    },
    /// The volume, or something in it, is being used elsewhere.
    #[error("in use: {why}")]
    Busy {
        /// By whom, as far as known.
        why: String,
    },
    /// No extended attribute can have that name here: its prefix stands for no name space, or for one that the mount
    /// leaves out.
    #[error("no attribute can be called {name}")]
    UnknownXattr {
        /// The attribute's full name.
        name: String,
    },
    /// The extended attribute exists already.
    #[error("inode {inode} has an attribute {name} already")]
    XattrExists {
        /// The inode.
        inode: InodeNo,
        /// The attribute's full name.
        name: String,
    },
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
    /// What was to be made is there.
    Exists,
    /// No room, or no more allowed.
    NoSpace,
    /// Not allowed.
    Denied,
    /// In use elsewhere.
    Busy,
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
            Error::NotADirectory(_)
            | Error::IsADirectory(_)
            | Error::WrongKind { .. }
            | Error::SymlinkLoop(_)
            | Error::NotEmpty(_)
            | Error::BadName(_)
            | Error::NameTooLong(_)
            | Error::TooManyLinks(_)
            | Error::TooLarge { .. }
            | Error::InvalidArgument { .. } => ErrorKind::Invalid,
            Error::Journal(error) => match error {
                JournalError::Corrupt(_) | JournalError::NotReplayed { .. } => ErrorKind::Corrupt,
                _ => ErrorKind::Io,
            },
            Error::Lock(LockError::Circle) => ErrorKind::Corrupt,
            Error::Lock(_) | Error::NoSlot { .. } | Error::Busy { .. } => ErrorKind::Busy,
            Error::ReadOnly | Error::NotPermitted { .. } | Error::AccessDenied => ErrorKind::Denied,
            Error::NoSpace | Error::QuotaExceeded => ErrorKind::NoSpace,
            Error::Stale(_) => ErrorKind::NotFound,
            Error::Exists(_) | Error::XattrExists { .. } => ErrorKind::Exists,
            Error::NoFeature { .. } | Error::UnknownXattr { .. } => ErrorKind::Unsupported,
        }
    }

    /// The `errno` that the kernel driver would have given.
    pub fn errno(&self) -> i32 {
        const EPERM: i32 = 1;
        const ENOENT: i32 = 2;
        const EIO: i32 = 5;
        const EAGAIN: i32 = 11;
        const EACCES: i32 = 13;
        const EBUSY: i32 = 16;
        const EEXIST: i32 = 17;
        const EFBIG: i32 = 27;
        const ENOSPC: i32 = 28;
        const EMLINK: i32 = 31;
        const ENAMETOOLONG: i32 = 36;
        const ENOTEMPTY: i32 = 39;
        const EOPNOTSUPP: i32 = 95;
        const ESTALE: i32 = 116;
        const EDQUOT: i32 = 122;
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
            Error::Journal(error) => error.errno(),
            Error::Lock(LockError::Busy) => EAGAIN,
            // As for everything else that is damaged.
            Error::Lock(LockError::Circle) => EROFS,
            Error::Lock(_) => EIO,
            Error::ReadOnly => EROFS,
            Error::NoSlot { .. } | Error::Busy { .. } => EBUSY,
            Error::NoSpace => ENOSPC,
            Error::QuotaExceeded => EDQUOT,
            Error::Stale(_) => ESTALE,
            Error::Exists(_) | Error::XattrExists { .. } => EEXIST,
            Error::NotEmpty(_) => ENOTEMPTY,
            Error::BadName(_) | Error::InvalidArgument { .. } => EINVAL,
            Error::NameTooLong(_) => ENAMETOOLONG,
            Error::TooManyLinks(_) => EMLINK,
            Error::TooLarge { .. } => EFBIG,
            Error::NotPermitted { .. } => EPERM,
            Error::AccessDenied => EACCES,
            Error::NoFeature { .. } | Error::UnknownXattr { .. } => EOPNOTSUPP,
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

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Io(error) => Error::Io(error),
            JournalError::Corrupt(corrupt) => Error::Corrupt(corrupt),
            other => Error::Journal(other),
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
            ErrorKind::Exists => std::io::ErrorKind::AlreadyExists,
            ErrorKind::NoSpace => std::io::ErrorKind::StorageFull,
            ErrorKind::Denied => std::io::ErrorKind::PermissionDenied,
            ErrorKind::Busy => std::io::ErrorKind::ResourceBusy,
        };
        std::io::Error::new(kind, error)
    }
}
