//! What copying out of a volume and copying into one have in common: what to keep, what to do about names that are taken,
//! what is told and counted meanwhile.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use rustix::fs;

/// Directories inside each other. Nothing deeper has a path: 4096 bytes hold no more names.
pub(crate) const MAX_DEPTH: usize = 2048;

/// How to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Copy directories too.
    pub(crate) recursive: bool,
    /// Copy what symbolic links below the sources point to, instead of the links.
    pub(crate) follow: bool,
    /// What to keep besides contents.
    pub(crate) preserve: Preserve,
    /// What to do with names that are taken.
    pub(crate) clobber: Clobber,
    /// Report every object that is copied.
    pub(crate) verbose: bool,
}

/// What to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preserve {
    /// Permission bits and access control lists.
    pub(crate) mode: bool,
    /// User and group.
    pub(crate) ownership: bool,
    /// Times of last access and last change.
    pub(crate) timestamps: bool,
    /// Hard links between files that are copied.
    pub(crate) links: bool,
    /// Extended attributes.
    pub(crate) xattr: Effort,
}

/// How much a failure to keep something matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Not wanted.
    #[default]
    None,
    /// Where the caller may and the destination can.
    Try,
    /// A failure is a problem.
    Must,
}

/// What to do about a name that is taken already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Clobber {
    /// Write into an existing regular file; refuse links and special files in its place.
    #[default]
    Overwrite,
    /// As `Overwrite`, but remove what cannot be written into.
    Force,
    /// Leave it as it is.
    Keep,
}

/// What tells a file of the host from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file that a path leads to.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&fs::stat(path)?))
    }
}

impl From<&fs::Stat> for FileId {
    fn from(stat: &fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// What the caller is told meanwhile.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something was copied: the source, and the path it has now.
    Copied(Vec<u8>, Vec<u8>),
    /// Something was not copied, or not all of it.
    Problem(String),
    /// Time has passed.
    Tick,
}

/// How much was copied.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Regular files.
    pub(crate) files: AtomicU64,
    /// Directories, those that were there already included.
    pub(crate) directories: AtomicU64,
    /// Symbolic links.
    pub(crate) symlinks: AtomicU64,
    /// Devices, pipes and sockets.
    pub(crate) specials: AtomicU64,
    /// Names of files that had been copied under another name.
    pub(crate) hard_links: AtomicU64,
    /// Bytes of contents.
    pub(crate) bytes: AtomicU64,
    /// Objects whose owner could not be kept because the caller is not root.
    pub(crate) owners_lost: AtomicU64,
    /// Objects whose extended attributes the destination did not take.
    pub(crate) xattrs_lost: AtomicU64,
}
