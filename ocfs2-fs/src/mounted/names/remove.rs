//! Removing names.

use ocfs2_format::{FileKind, InodeNo};

use super::{Budget, add_links, changed, check_name, check_removal, lock_dir, named};
use crate::dir;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::mounted::{FileSystem, Level, LockSet, Txn, dirs, inodes, orphans};

impl FileSystem {
    /// Removes a name of anything but a directory. With its last name, the inode is deleted: at once, or when nobody
    /// [uses](Self::use_inode) it any more.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::IsADirectory`], [`Error::NotPermitted`] when the directory or the inode is immutable
    /// or append-only, [`Error::NoSpace`] when the orphan directory cannot grow, [`Error::ReadOnly`], [`Error::Corrupt`],
    /// the journal's. Then nothing has changed.
    pub fn unlink(&self, dir: InodeNo, name: &[u8]) -> Result<()> {
        check_name(name)?;
        if super::is_dot(name) {
            return Err(Error::IsADirectory(named(name)));
        }
        self.remove_name(dir, name, false)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// As [`unlink`](Self::unlink); [`Error::NotADirectory`], [`Error::NotEmpty`], [`Error::InvalidArgument`] for `.`.
    pub fn rmdir(&self, dir: InodeNo, name: &[u8]) -> Result<()> {
        check_name(name)?;
        if name == b"." {
            let why = "a directory is not removed by its own name for itself";
            return Err(Error::InvalidArgument { why });
        }
        if name == b".." {
            return Err(Error::NotEmpty(named(name)));
        }
        self.remove_name(dir, name, true)
    }

    fn remove_name(&self, dir: InodeNo, name: &[u8], is_dir: bool) -> Result<()> {
        let core = &*self.core;
        core.begin_change()?;
        let mut locks = LockSet::new(core);
        let parent = lock_dir(&mut locks, dir)?;
        let entry = dir::lookup(core, &parent, name)?.ok_or_else(|| Error::NotFound(named(name)))?;
        let inode = locks.inode(entry.inode(), Level::Exclusive)?;
        match (inode.kind() == FileKind::Directory, is_dir) {
            (true, false) => return Err(Error::IsADirectory(named(name))),
            (false, true) => return Err(Error::NotADirectory(named(name))),
            _ => {}
        }
        check_removal(&parent, &inode)?;
        if is_dir && !dirs::is_empty(core, &inode)? {
            return Err(Error::NotEmpty(named(name)));
        }
        locks.forget_name(dir, inode.number())?;
        let mut budget = Budget {
            credits: dirs::REMOVE_CREDITS,
            ..Budget::default()
        };
        drop_name_budget(&mut locks, &mut budget, &inode)?;
        let mut txn = budget.begin(&mut locks)?;
        dirs::remove(&mut txn, dir, name)?;
        if is_dir {
            add_links(&mut txn, dir, -1)?;
        }
        let is_last = drop_name(&mut txn, &inode)?;
        txn.commit()?;
        drop(locks);
        if is_last {
            inodes::lost_last_name(core, inode.number());
        }
        Ok(())
    }
}

/// Whether an inode has lost its last name when it loses one.
fn loses_last(inode: &Inode) -> bool {
    inode.kind() == FileKind::Directory || inode.links() <= 1
}

/// What [`drop_name`] may take, with the lock that it needs.
pub(super) fn drop_name_budget(locks: &mut LockSet<'_>, budget: &mut Budget, inode: &Inode) -> Result<()> {
    budget.credits += 1;
    if loses_last(inode) {
        let orphan_dir = orphans::lock_own(locks)?;
        budget.add_name(locks, &orphan_dir, &orphans::name_of(inode.number()))?;
    }
    Ok(())
}

/// Counts one name less of an inode. `true` if it was the last, so that the inode is an orphan now.
pub(super) fn drop_name(txn: &mut Txn<'_>, inode: &Inode) -> Result<bool> {
    let number = inode.number();
    changed(txn, number)?;
    if !loses_last(inode) {
        add_links(txn, number, -1)?;
        return Ok(false);
    }
    txn.dinode(number)?.set_links(0);
    orphans::add(txn, inode)?;
    Ok(true)
}
