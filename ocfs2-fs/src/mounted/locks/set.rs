//! The locks of one operation.

use ocfs2_format::{Generation, InodeNo, LockId, LockKind, SlotNum, SystemFile};

use super::{Grant, Level, LockError};
use crate::error::Result;
use crate::inode::{Inode, Timestamp};
use crate::mounted::data::Privileges;
use crate::mounted::space::SpaceGrant;
use crate::mounted::{Core, Txn};

/// The cluster locks that an operation holds, given back in reverse order when it ends.
///
/// Locks are taken in the order of the cluster reference, section 6.5: W before M of an inode, parents before children,
/// inodes before orphan directories, allocators last.
#[derive(Debug)]
pub(crate) struct LockSet<'c> {
    core: &'c Core,
    held: Vec<(LockId, Level)>,
    /// Of whoever the operation is for.
    pub(in crate::mounted) privileges: Privileges,
    /// Whether the operation writes out what others must not miss who take its locks, and as of when.
    settling: Option<Timestamp>,
    /// What the allocators have promised to the transaction that comes next.
    pub(in crate::mounted) space: SpaceGrant,
}

impl<'c> LockSet<'c> {
    pub(crate) fn new(core: &'c Core) -> LockSet<'c> {
        LockSet {
            core,
            held: Vec::new(),
            privileges: Privileges::default(),
            settling: None,
            space: SpaceGrant::default(),
        }
    }

    /// Of an operation that writes out delayed bytes, which were written at `time`.
    pub(crate) fn settling(core: &'c Core, time: Timestamp) -> LockSet<'c> {
        let mut locks = LockSet::new(core);
        locks.settling = Some(time);
        locks
    }

    /// The file system.
    pub(crate) fn core(&self) -> &'c Core {
        self.core
    }

    /// Takes a lock, unless this operation holds it already.
    ///
    /// # Errors
    /// [`Error::Lock`].
    pub(crate) fn take(&mut self, id: LockId, level: Level) -> Result<()> {
        if let Some((_, held)) = self.held.iter().find(|(held, _)| *held == id) {
            // On a damaged volume, one inode can have two parts in an operation. Upgrading could wait for somebody who waits
            // for the same.
            return match *held >= level {
                true => Ok(()),
                false => Err(LockError::Circle.into()),
            };
        }
        let grant = loop {
            let grant = self.core.locks.lock(id, level)?;
            if !self.misses(id) {
                break grant;
            }
            self.core.locks.unlock(id, level);
            self.core.settle();
        };
        self.held.push((id, level));
        if grant == Grant::Refresh {
            self.core.home.invalidate();
        }
        Ok(())
    }

    /// Takes a lock if nobody has to be waited for. `false` if somebody has it.
    ///
    /// # Errors
    /// [`Error::Lock`].
    pub(crate) fn try_take(&mut self, id: LockId, level: Level) -> Result<bool> {
        if self.held.iter().any(|(held, at)| *held == id && *at >= level) {
            return Ok(true);
        }
        match self.core.locks.try_lock(id, level) {
            Ok(_) if self.misses(id) => {
                self.core.locks.unlock(id, level);
                Ok(false)
            }
            Ok(grant) => {
                self.held.push((id, level));
                if grant == Grant::Refresh {
                    self.core.home.invalidate();
                }
                Ok(true)
            }
            Err(LockError::Busy) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there are bytes of the inode that have not been written out.
    fn misses(&self, id: LockId) -> bool {
        self.settling.is_none() && self.core.delayed.concerns(id)
    }

    /// Whether this operation holds a lock, at whatever level.
    pub(crate) fn holds(&self, id: LockId) -> bool {
        self.held.iter().any(|(held, _)| *held == id)
    }

    /// Gives back one lock before the operation ends.
    pub(crate) fn release(&mut self, id: LockId) {
        if let Some(index) = self.held.iter().position(|(held, _)| *held == id) {
            let (id, level) = self.held.remove(index);
            self.give_back(id, level);
        }
    }

    fn give_back(&self, id: LockId, level: Level) {
        if let LockId::Block {
            kind: LockKind::ReadWrite,
            block,
            ..
        } = id
            && level > Level::Shared
        {
            self.core.changes.add(InodeNo(block.0));
        }
        self.core.locks.unlock(id, level);
    }

    /// Takes the metadata lock of an inode and reads the inode under it.
    ///
    /// # Errors
    /// [`Error::Lock`], [`Error::Corrupt`], [`Error::Stale`] when the inode has been deleted.
    pub(crate) fn inode(&mut self, number: InodeNo, level: Level) -> Result<Inode> {
        self.take(self.core.meta_lock(number), level)?;
        self.core.read_inode(number)
    }

    /// Takes the read-write lock of an inode: before its metadata lock, for writes and truncates.
    ///
    /// # Errors
    /// [`Error::Lock`].
    pub(crate) fn read_write(&mut self, number: InodeNo, generation: Generation, level: Level) -> Result<()> {
        self.take(
            LockId::Block {
                kind: LockKind::ReadWrite,
                block: number.block(),
                generation,
            },
            level,
        )
    }

    /// Takes the lock of renames between directories.
    ///
    /// # Errors
    /// [`Error::Lock`].
    pub(crate) fn rename(&mut self) -> Result<()> {
        self.take(
            LockId::Block {
                kind: LockKind::Rename,
                block: ocfs2_format::BlockNo(0),
                generation: Generation(0),
            },
            Level::Exclusive,
        )
    }

    /// Makes every other node forget the name by which it knows an inode in a directory.
    ///
    /// # Errors
    /// [`Error::Lock`].
    pub(crate) fn forget_name(&mut self, parent: InodeNo, inode: InodeNo) -> Result<()> {
        let id = LockId::Dentry { parent, inode };
        self.take(id, Level::Exclusive)?;
        self.release(id);
        Ok(())
    }

    /// Takes the lock of a refcount tree.
    ///
    /// # Errors
    /// [`Error::Lock`].
    pub(crate) fn refcount_tree(
        &mut self,
        root: ocfs2_format::BlockNo,
        rf_generation: u32,
        level: Level,
    ) -> Result<()> {
        let id = LockId::Block {
            kind: LockKind::Refcount,
            block: root,
            generation: Generation(rf_generation),
        };
        if !self.holds(id) {
            self.release_late();
        }
        self.take(id, level)
    }

    /// Takes the metadata lock of a system file and reads its inode. Without a slot of its own, the slot does not matter.
    ///
    /// # Errors
    /// As [`inode`](Self::inode), [`Error::NoSuchSystemFile`].
    pub(crate) fn system_file(&mut self, file: SystemFile, slot: SlotNum, level: Level) -> Result<Inode> {
        let number = self.core.system.find(file, slot)?;
        self.inode(number, level)
    }

    /// Begins a transaction that changes at most `credits` blocks. No lock can be taken while it is open.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] when the file system is mounted so, the journal's.
    pub(crate) fn begin(&mut self, credits: u32) -> Result<Txn<'_>> {
        let handle = self.core.journal()?.begin(credits)?;
        let now = self.settling.unwrap_or_else(|| self.core.now());
        Ok(Txn::new(self.core, handle, &self.space, now, self.privileges))
    }
}

impl Drop for LockSet<'_> {
    fn drop(&mut self) {
        while let Some((id, level)) = self.held.pop() {
            self.give_back(id, level);
        }
    }
}
