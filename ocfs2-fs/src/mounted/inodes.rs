//! Inodes in use, and the end of those that have lost their last name.
//!
//! Everything that uses an inode holds its open lock shared; whoever deletes it needs that lock alone and does not wait for
//! it. So the last user, on whatever node, is the one that deletes.
//!
//! Source: on-disk reference, section 16; cluster reference, section 6.6.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ocfs2_format::{BlockNo, FileKind, Generation, InodeFlags, InodeNo, LockId, LockKind, SlotNum, SystemFile};

use super::{Charge, Core, FileSystem, Level, LockSet, Need, SubBlock, attrs, data, dirs, orphans, refcount};
use crate::error::{Error, Result};
use crate::inode::Inode;

/// Keeps an inode from being deleted: an open file, a working directory, a lookup that a kernel remembers.
///
/// When the last use of an inode without names ends, here or on another node, the inode is deleted.
#[derive(Debug)]
pub struct InodeUse {
    core: Arc<Core>,
    inode: InodeNo,
    generation: Generation,
    ended: bool,
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
    pub fn end(mut self) -> Result<()> {
        self.give_back()
    }

    fn give_back(&mut self) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        self.core.locks.unlock(open_lock(self.inode), Level::Shared);
        if self.core.nameless.contains(self.inode) {
            wipe(&self.core, self.inode)?;
        }
        Ok(())
    }
}

impl Drop for InodeUse {
    fn drop(&mut self) {
        // Nobody is left to be told; the orphan directory remembers the inode.
        let _ = self.give_back();
    }
}

impl FileSystem {
    /// Begins to use an inode: it stays, whatever happens to its names, until the use ends.
    ///
    /// # Errors
    /// [`Error::Stale`] when the number belongs to another inode by now, or to none, [`Error::Corrupt`].
    pub fn use_inode(&self, inode: &Inode) -> Result<InodeUse> {
        let number = inode.number();
        self.core.locks.lock(open_lock(number), Level::Shared)?;
        let used = InodeUse {
            core: self.core.clone(),
            inode: number,
            generation: inode.generation(),
            ended: false,
        };
        // From here on it cannot be deleted; was it before?
        let now = LockSet::new(&self.core).inode(number, Level::Shared)?;
        if now.generation() != inode.generation() {
            return Err(Error::Stale(number));
        }
        Ok(used)
    }

    /// Inodes that have lost their last name and are not deleted yet: somebody uses them, or is just deleting them. What
    /// they hold is free afterwards.
    pub fn nameless(&self) -> Vec<InodeNo> {
        self.core.nameless.set().iter().copied().collect()
    }
}

/// Inodes that have lost their last name and may still be in use: whoever ends a use of one of them tries to delete it.
#[derive(Debug, Default)]
pub(crate) struct Nameless(Mutex<HashSet<InodeNo>>);

impl Nameless {
    fn set(&self) -> MutexGuard<'_, HashSet<InodeNo>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contains(&self, inode: InodeNo) -> bool {
        self.set().contains(&inode)
    }
}

/// The lock that users of an inode share.
fn open_lock(inode: InodeNo) -> LockId {
    LockId::Block {
        kind: LockKind::Open,
        block: inode.block(),
        generation: Generation(0),
    }
}

/// Deletes an inode that has just lost its last name, or leaves that to its last user.
pub(crate) fn lost_last_name(core: &Core, inode: InodeNo) {
    core.nameless.set().insert(inode);
    // The name is gone in any case. What cannot be deleted now stays in the orphan directory for a later mount.
    let _ = wipe(core, inode);
}

/// Deletes an inode that has no name left, unless somebody uses it. `true` if it is gone.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(crate) fn wipe(core: &Core, number: InodeNo) -> Result<bool> {
    let mut locks = LockSet::new(core);
    let deletion = LockId::Block {
        kind: LockKind::NfsSync,
        block: BlockNo(0),
        generation: Generation(0),
    };
    locks.take(deletion, Level::Shared)?;
    let inode = match locks.inode(number, Level::Exclusive) {
        Err(Error::Stale(_)) => {
            core.nameless.set().remove(&number);
            return Ok(false);
        }
        read => read?,
    };
    if !is_orphan(&inode) {
        core.nameless.set().remove(&number);
        return Ok(false);
    }
    if !locks.try_take(open_lock(number), Level::Exclusive)? {
        return Ok(false);
    }
    if inode.clusters() > 0 {
        data::truncate(&mut locks, number, 0)?;
    }
    dirs::free_index(&mut locks, &inode)?;
    attrs::remove_all(&mut locks, number)?;
    // The orphan directory comes before them.
    locks.release_late();
    free(&mut locks, number)?;
    core.nameless.set().remove(&number);
    core.forget_reservation(number);
    core.room_hints.forget(number);
    Ok(true)
}

/// Whether an inode is only waiting to be deleted.
fn is_orphan(inode: &Inode) -> bool {
    let flags = inode.flags();
    inode.links() == 0
        && inode.dinode().i_dtime.get() == 0
        && flags.contains(InodeFlags::ORPHANED)
        && !flags.intersects(InodeFlags::DIO_ORPHANED | InodeFlags::SYSTEM)
}

/// Frees an inode that holds nothing any more, and takes it out of its orphan directory.
fn free(locks: &mut LockSet<'_>, number: InodeNo) -> Result<()> {
    let core = locks.core();
    let inode = core.read_inode(number)?;
    let mut credits = dirs::REMOVE_CREDITS + 1;
    if inode.refcount_root().is_some() {
        refcount::lock(locks, &inode, Level::Exclusive)?;
        credits += refcount::DETACH_CREDITS;
    }
    let slot = SlotNum(inode.dinode().i_orphaned_slot.get());
    let orphan_dir = locks.system_file(SystemFile::OrphanDir, slot, Level::Exclusive)?;
    credits += locks.quota(inode.uid(), inode.gid())?;
    credits += locks.inode_alloc(SlotNum(inode.dinode().i_suballoc_slot.get()))?;
    credits += locks.reserve(Need::default())?;

    let mut txn = locks.begin(credits)?;
    if inode.refcount_root().is_some() {
        refcount::detach(&mut txn, number)?;
    }
    let is_dir = inode.kind() == FileKind::Directory;
    orphans::remove(&mut txn, orphan_dir.number(), &orphans::name_of(number), is_dir)?;
    let now = txn.now();
    let dinode = txn.dinode(number)?;
    let mut flags = dinode.flags();
    flags.remove(InodeFlags::VALID | InodeFlags::ORPHANED);
    dinode.i_flags.set(flags.bits());
    dinode.i_dtime.set(now.secs as u64);
    let at = SubBlock::of_dinode(dinode);
    txn.free_inode(at)?;
    let charge = Charge { bytes: 0, inodes: -1 };
    txn.charge(inode.uid(), inode.gid(), charge)?;
    txn.commit()?;
    Ok(())
}
