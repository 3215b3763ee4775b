//! Sizes.

use ocfs2_format::InodeNo;

use super::FileId;
use crate::error::{Error, Result};
use crate::mounted::{Core, LockSet};

/// Makes a file as long as this.
///
/// # Errors
/// As [`FileSystem::set_len`](crate::FileSystem::set_len).
pub(crate) fn set_len(_core: &Core, _file: FileId, _len: u64) -> Result<()> {
    Err(Error::ReadOnly)
}

/// Makes the contents of an inode as long as this. The caller holds its locks exclusively and may hold others that come
/// before those of allocators; the set is left as it was but for the allocators. Runs transactions of its own.
///
/// Also for the contents of directories and symbolic links that are being deleted, with a `len` of 0: then only their
/// clusters go, and nothing in the dinode is touched but its size, its records and its counters.
///
/// # Errors
/// [`Error::NoSpace`] on the way up, [`Error::Corrupt`], the journal's.
pub(crate) fn truncate(_locks: &mut LockSet<'_>, _inode: InodeNo, _len: u64) -> Result<()> {
    Err(Error::ReadOnly)
}
