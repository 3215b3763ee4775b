//! Moving and exchanging names.

use std::collections::HashSet;

use ocfs2_format::{Corrupt, FileKind, InodeNo, Structure, Violation};

use super::remove::{drop_name, drop_name_budget};
use super::{
    Budget, RenameMode, add_links, changed, check_name, check_removal, check_subdirs, is_dot, lock_dir, named,
};
use crate::dir;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::mounted::{Core, FileSystem, Level, LockSet, Txn, dirs, inodes};

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
struct Name<'n> {
    dir: InodeNo,
    name: &'n [u8],
}

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
        old_dir: InodeNo,
        old_name: &[u8],
        new_dir: InodeNo,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<()> {
        let core = &*self.core;
        check_name(old_name)?;
        check_name(new_name)?;
        core.begin_change()?;
        if is_dot(old_name) || is_dot(new_name) {
            let why = "`.` and `..` stay where they are";
            return Err(Error::InvalidArgument { why });
        }
        let (old, new) = (
            Name {
                dir: old_dir,
                name: old_name,
            },
            Name {
                dir: new_dir,
                name: new_name,
            },
        );
        let mut locks = LockSet::new(core);
        let (old_chain, new_chain) = if old_dir == new_dir {
            (Vec::new(), Vec::new())
        } else {
            // No directory gets another parent while this is held, so what is found out about ancestors stays true.
            locks.rename()?;
            (ancestors(core, old_dir)?, ancestors(core, new_dir)?)
        };
        let first = if old_chain.contains(&new_dir) || (!new_chain.contains(&old_dir) && new_dir < old_dir) {
            new_dir
        } else {
            old_dir
        };
        lock_dir(&mut locks, first)?;
        let old_parent = lock_dir(&mut locks, old_dir)?;
        let new_parent = lock_dir(&mut locks, new_dir)?;

        let source = dir::lookup(core, &old_parent, old_name)?.ok_or_else(|| Error::NotFound(named(old_name)))?;
        let source = source.inode();
        let target = dir::lookup(core, &new_parent, new_name)?.map(|entry| entry.inode());
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(Error::Exists(named(new_name))),
            (RenameMode::Exchange, None) => return Err(Error::NotFound(named(new_name))),
            (_, Some(target)) if target == source => return Ok(()),
            _ => {}
        }
        let into_itself = "a directory cannot be moved into itself";
        if new_chain.contains(&source) {
            return Err(Error::InvalidArgument { why: into_itself });
        }
        if target.is_some_and(|target| old_chain.contains(&target)) {
            return Err(match mode {
                RenameMode::Exchange => Error::InvalidArgument { why: into_itself },
                _ => Error::NotEmpty(named(new_name)),
            });
        }
        if let Some(target) = target {
            locks.take(core.meta_lock(source.min(target)), Level::Exclusive)?;
        }
        let source = locks.inode(source, Level::Exclusive)?;
        let target = target.map(|target| locks.inode(target, Level::Exclusive)).transpose()?;
        check_removal(&old_parent, &source)?;
        if let Some(target) = &target {
            check_removal(&new_parent, target)?;
        }
        let moved = Move {
            old,
            new,
            source,
            old_parent,
            new_parent,
        };
        match target {
            Some(target) if mode == RenameMode::Exchange => moved.exchange(&mut locks, &target),
            target => {
                let orphan = moved.replace(&mut locks, target.as_ref())?;
                drop(locks);
                if let Some(orphan) = orphan {
                    inodes::lost_last_name(core, orphan);
                }
                Ok(())
            }
        }
    }
}

/// A rename whose locks have been taken but for those that its kind decides.
struct Move<'n> {
    old: Name<'n>,
    new: Name<'n>,
    source: Inode,
    old_parent: Inode,
    new_parent: Inode,
}

/// Credits for the `..` of a directory that moves: its first block.
const DOT_DOT_CREDITS: u32 = 1;

impl Move<'_> {
    fn is_across(&self) -> bool {
        self.old.dir != self.new.dir
    }

    /// Moves the name, over `target` if that is there. Returns the target if that was its last name.
    fn replace(&self, locks: &mut LockSet<'_>, target: Option<&Inode>) -> Result<Option<InodeNo>> {
        let core = locks.core();
        let is_dir = is_dir(&self.source);
        match target {
            Some(target) if is_dir && !self::is_dir(target) => {
                return Err(Error::NotADirectory(named(self.new.name)));
            }
            Some(target) if !is_dir && self::is_dir(target) => return Err(Error::IsADirectory(named(self.new.name))),
            Some(target) if is_dir && !dirs::is_empty(core, target)? => {
                return Err(Error::NotEmpty(named(self.new.name)));
            }
            None if is_dir && self.is_across() => check_subdirs(core, &self.new_parent)?,
            _ => {}
        }
        locks.forget_name(self.old.dir, self.source.number())?;
        let mut budget = Budget {
            credits: dirs::REMOVE_CREDITS + 1 + DOT_DOT_CREDITS,
            ..Budget::default()
        };
        match target {
            None => budget.add_name(locks, &self.new_parent, self.new.name)?,
            Some(target) => {
                locks.forget_name(self.new.dir, target.number())?;
                budget.credits += dirs::REPLACE_CREDITS;
                drop_name_budget(locks, &mut budget, target)?;
            }
        }
        let mut txn = budget.begin(locks)?;
        let (number, kind) = (self.source.number(), self.source.kind());
        match target {
            None => dirs::add(&mut txn, self.new.dir, self.new.name, number, kind)?,
            Some(_) => drop(dirs::replace(&mut txn, self.new.dir, self.new.name, number, kind)?),
        }
        dirs::remove(&mut txn, self.old.dir, self.old.name)?;
        if is_dir {
            self.new_parent_of(&mut txn, number, self.old.dir, self.new.dir)?;
        }
        changed(&mut txn, number)?;
        let mut orphan = None;
        if let Some(target) = target {
            if self::is_dir(target) {
                add_links(&mut txn, self.new.dir, -1)?;
            }
            if drop_name(&mut txn, target)? {
                orphan = Some(target.number());
            }
        }
        txn.commit()?;
        Ok(orphan)
    }

    /// Lets the two names change places.
    fn exchange(&self, locks: &mut LockSet<'_>, target: &Inode) -> Result<()> {
        let core = locks.core();
        if self.is_across() {
            match (is_dir(&self.source), is_dir(target)) {
                (true, false) => check_subdirs(core, &self.new_parent)?,
                (false, true) => check_subdirs(core, &self.old_parent)?,
                _ => {}
            }
        }
        locks.forget_name(self.old.dir, self.source.number())?;
        locks.forget_name(self.new.dir, target.number())?;
        let budget = Budget {
            credits: 2 * (dirs::REPLACE_CREDITS + 1 + DOT_DOT_CREDITS),
            ..Budget::default()
        };
        let mut txn = budget.begin(locks)?;
        for (name, from, inode) in [(self.new, self.old, &self.source), (self.old, self.new, target)] {
            dirs::replace(&mut txn, name.dir, name.name, inode.number(), inode.kind())?;
            if is_dir(inode) {
                self.new_parent_of(&mut txn, inode.number(), from.dir, name.dir)?;
            }
            changed(&mut txn, inode.number())?;
        }
        txn.commit()?;
        Ok(())
    }

    /// A directory has moved to another parent.
    fn new_parent_of(&self, txn: &mut Txn<'_>, inode: InodeNo, from: InodeNo, to: InodeNo) -> Result<()> {
        if from == to {
            return Ok(());
        }
        dirs::replace(txn, inode, b"..", to, FileKind::Directory)?;
        add_links(txn, from, -1)?;
        add_links(txn, to, 1)
    }
}

fn is_dir(inode: &Inode) -> bool {
    inode.kind() == FileKind::Directory
}

/// A directory, its parent, and so on to the root. The caller holds the lock of renames.
fn ancestors(core: &Core, dir: InodeNo) -> Result<Vec<InodeNo>> {
    let root = core.superblock().root();
    let mut chain = vec![dir];
    let mut seen = HashSet::from([dir]);
    let mut current = dir;
    while current != root {
        // One at a time: children come after parents.
        let mut locks = LockSet::new(core);
        let inode = locks.inode(current, Level::Shared)?;
        if inode.links() == 0 {
            return Err(Error::NotFound(format!("inode {current}").into()));
        }
        let parent = dir::lookup(core, &inode, b"..")?.map(|entry| entry.inode());
        match parent {
            Some(parent) if seen.insert(parent) => current = parent,
            _ => {
                let violation = Violation::Rule("the parents of a directory do not lead to the root");
                return Err(Corrupt::new(Structure::DirBlock, violation).in_inode(current).into());
            }
        }
        chain.push(current);
    }
    Ok(chain)
}
