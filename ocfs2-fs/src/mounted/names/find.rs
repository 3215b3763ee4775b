//! Looking names up, listing directories, link targets.

use ocfs2_format::InodeNo;

use super::check_name;
use crate::dir::{self, DirEntry, require_dir};
use crate::error::Result;
use crate::file::read_link;
use crate::inode::Inode;
use crate::mounted::{FileSystem, Level, LockSet, data};

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
    /// [`Error::Stale`](crate::Error::Stale) when the inode has been deleted, [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn inode(&self, number: InodeNo) -> Result<Inode> {
        LockSet::new(&self.core).inode(number, Level::Shared)
    }

    /// The inode behind a name in a directory; `None` if the directory has no such name. `.` and `..` are names too.
    ///
    /// # Errors
    /// [`Error::WrongKind`](crate::Error::WrongKind) when `dir` is no directory, [`Error::NameTooLong`](crate::Error::NameTooLong), [`Error::BadName`](crate::Error::BadName), [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn lookup(&self, dir: InodeNo, name: &[u8]) -> Result<Option<Inode>> {
        check_name(name)?;
        let core = &*self.core;
        let mut locks = LockSet::new(core);
        let parent = locks.inode(dir, Level::Shared)?;
        let Some(entry) = dir::lookup(core, &parent, name)? else {
            return Ok(None);
        };
        if entry.inode() == dir {
            return Ok(Some(parent));
        }
        if name == b".." {
            // Parents are locked before children, so the child is let go.
            drop(locks);
            return self.inode(entry.inode()).map(Some);
        }
        locks.inode(entry.inode(), Level::Shared).map(Some)
    }

    /// The names of a directory from a position on: one directory block's worth of them, or more. 0 is the start.
    ///
    /// A position is a byte offset in the directory. It stays good whatever happens to the directory: a name that is there
    /// all the time is returned once, by whoever goes on from [`DirPage::next`] until the end.
    ///
    /// # Errors
    /// [`Error::WrongKind`](crate::Error::WrongKind) when `dir` is no directory, [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn read_dir_at(&self, dir: InodeNo, position: u64) -> Result<DirPage> {
        let mut locks = LockSet::new(&self.core);
        let inode = locks.inode(dir, Level::Shared)?;
        require_dir(&inode)?;
        let (entries, next) = dir::entries_from(&*self.core, &inode, position)?;
        drop(locks);
        data::accessed(&self.core, &inode);
        Ok(DirPage { entries, next })
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::WrongKind`](crate::Error::WrongKind) when the inode is no symbolic link, [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn link_target(&self, link: InodeNo) -> Result<Vec<u8>> {
        let mut locks = LockSet::new(&self.core);
        let inode = locks.inode(link, Level::Shared)?;
        read_link(&*self.core, &inode)
    }
}
