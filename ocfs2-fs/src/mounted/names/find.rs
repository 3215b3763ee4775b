//! Looking names up, listing directories, link targets.

use ocfs2_format::InodeNo;

use crate::dir::DirEntry;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::mounted::FileSystem;

/// A part of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirPage {
    /// Names in directory order, `.` and `..` among them.
    pub entries: Vec<DirEntry>,
    /// Where to go on; `None` at the end of the directory. To go on behind one of the entries instead, use its
    /// [`next_position`](DirEntry::next_position).
    pub next: Option<u64>,
}

impl FileSystem {
    /// An inode as it is now.
    ///
    /// # Errors
    /// [`Error::Stale`] when the inode has been deleted, [`Error::Corrupt`].
    pub fn inode(&self, _number: InodeNo) -> Result<Inode> {
        Err(Error::ReadOnly)
    }

    /// The inode behind a name in a directory; `None` if the directory has no such name. `.` and `..` are names too.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when `dir` is no directory, [`Error::Corrupt`].
    pub fn lookup(&self, _dir: InodeNo, _name: &[u8]) -> Result<Option<Inode>> {
        Err(Error::ReadOnly)
    }

    /// The names of a directory from a position on: one directory block's worth of them, or more. 0 is the start.
    ///
    /// A position is a byte offset in the directory. It stays good whatever happens to the directory: a name that is there
    /// all the time is returned once, by whoever goes on from [`DirPage::next`] until the end.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when `dir` is no directory, [`Error::Corrupt`].
    pub fn read_dir_at(&self, _dir: InodeNo, _position: u64) -> Result<DirPage> {
        Err(Error::ReadOnly)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when the inode is no symbolic link, [`Error::Corrupt`].
    pub fn link_target(&self, _link: InodeNo) -> Result<Vec<u8>> {
        Err(Error::ReadOnly)
    }
}
