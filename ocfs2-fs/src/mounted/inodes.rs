//! Inodes in use, and the end of those that have lost their last name.
//!
//! Source: on-disk reference, section 16; cluster reference, section 6.6.

use ocfs2_format::{Generation, InodeNo};

use super::{Core, FileSystem};
use crate::error::{Error, Result};
use crate::inode::Inode;

/// Keeps an inode from being deleted: an open file, a working directory, a lookup that a kernel remembers.
///
/// When the last use of an inode without names ends, here or on another node, the inode is deleted.
#[derive(Debug)]
pub struct InodeUse {
    inode: InodeNo,
    generation: Generation,
}

impl InodeUse {
    /// The inode's number.
    pub fn inode(&self) -> InodeNo {
        self.inode
    }

    /// The inode's generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Ends the use, and tells what became of deleting the inode, if that was due. Dropping the use does the same silently:
    /// what could not be deleted stays in the orphan directory for a later mount.
    ///
    /// # Errors
    /// [`Error::Corrupt`], the journal's.
    pub fn end(self) -> Result<()> {
        Ok(())
    }
}

impl FileSystem {
    /// Begins to use an inode: it stays, whatever happens to its names, until the use ends.
    ///
    /// # Errors
    /// [`Error::Stale`] when the number belongs to another inode by now, or to none, [`Error::Corrupt`].
    pub fn use_inode(&self, _inode: &Inode) -> Result<InodeUse> {
        Err(Error::ReadOnly)
    }
}

/// Deletes an inode that has no name left, unless somebody uses it. `true` if it is gone.
pub(crate) fn wipe(_core: &Core, _inode: InodeNo) -> Result<bool> {
    Err(Error::ReadOnly)
}
