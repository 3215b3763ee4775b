//! Removing names.

use ocfs2_format::InodeNo;

use crate::error::{Error, Result};
use crate::mounted::FileSystem;

impl FileSystem {
    /// Removes a name of anything but a directory. With its last name, the inode is deleted: at once, or when nobody
    /// [uses](Self::use_inode) it any more.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::IsADirectory`], [`Error::NotPermitted`] when the directory or the inode is immutable
    /// or append-only, [`Error::NoSpace`] when the orphan directory cannot grow, [`Error::ReadOnly`], [`Error::Corrupt`],
    /// the journal's. Then nothing has changed.
    pub fn unlink(&self, _dir: InodeNo, _name: &[u8]) -> Result<()> {
        Err(Error::ReadOnly)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// As [`unlink`](Self::unlink); [`Error::NotADirectory`], [`Error::NotEmpty`], [`Error::InvalidArgument`] for `.`.
    pub fn rmdir(&self, _dir: InodeNo, _name: &[u8]) -> Result<()> {
        Err(Error::ReadOnly)
    }
}
