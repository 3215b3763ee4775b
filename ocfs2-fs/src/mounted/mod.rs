//! A mounted file system: everything that POSIX and OCFS2 can do to a volume.
//!
//! ```text
//! operation -> LockSet (cluster locks) -> Txn (typed blocks) -> journal -> device
//! ```
//!
//! An operation takes its cluster locks, begins a transaction from them, edits typed blocks and commits. Until then nobody
//! sees any of it; an error anywhere on the way undoes all.

mod attrs;
#[cfg(test)]
#[path = "../../tests/write/bed.rs"]
#[allow(
    dead_code,
    clippy::field_reassign_with_default,
    reason = "shared with tests outside the crate, which use all of it and cannot write these structs out"
)]
mod bed;
mod chores;
mod data;
mod dirs;
mod handle;
mod home;
mod inodes;
mod locks;
mod mount;
mod names;
mod node_state;
mod options;
mod orphans;
mod paths;
mod quota;
mod refcount;
mod space;
mod tree;
mod txn;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use ocfs2_format::{
    BlockNo, Dinode, Generation, Geometry, InodeFlags, InodeNo, LockId, LockKind, Signature, SlotNum, Structure,
    SuperBlock,
};
use ocfs2_journal::Journal;

pub use attrs::{AclKind, Caller, MAY_EXECUTE, MAY_READ, MAY_WRITE, SetAttributes, SetTime, XattrMode};
pub use data::{AllocateMode, ExtentInfo, ExtentPlace};
pub use handle::{OpenFile, OpenHow};
pub use inodes::InodeUse;
pub use locks::{HeldLocks, LockError, Touch, TouchJudge, TouchLog};
pub use names::{DirPage, NewInode, RenameMode};
pub use options::{Atime, DataMode, MountOptions, OnError, OptionError};
pub use paths::DirStream;
pub use quota::{QuotaLimits, QuotaUsage};

pub(crate) use chores::Chores;
pub(crate) use home::HomeDevice;
pub(crate) use locks::{Level, LockSet, Locks};
pub(crate) use quota::Charge;
pub use space::FsStats;
pub(crate) use space::{ClusterRun, Need, SpaceState, SubBlock};
pub(crate) use txn::Txn;

use crate::error::{Error, Result};
use crate::inode::{Inode, Timestamp};
use crate::meta::{Blocks, Locality, Meta, view};
use crate::superblock::FoundSuper;
use crate::system::SystemFiles;

/// A volume that is mounted for reading and writing.
///
/// Cheap to clone and safe to use from many threads.
#[derive(Clone, Debug)]
pub struct FileSystem {
    core: Arc<Core>,
    /// Of those for whom this handle is used.
    privileges: data::Privileges,
}

/// What everything in a mounted file system shares.
pub(crate) struct Core {
    /// What is at home on the device.
    home: Arc<Meta>,
    /// Writes that bypass the journal, and the journal's own, go through this.
    home_device: Arc<HomeDevice>,
    /// `None` on a file system that is mounted read-only.
    journal: Option<Journal>,
    pub(crate) locks: Arc<dyn Locks>,
    pub(crate) system: SystemFiles,
    pub(crate) options: MountOptions,
    /// The slot that this node sits in.
    pub(crate) slot: SlotNum,
    superblock: FoundSuper,
    /// Where new names of directories have been looked for in vain.
    room_hints: dirs::RoomHints,
    /// Inodes that have lost their last name while they were in use.
    nameless: inodes::Nameless,
    /// Generation of the next inode to be made.
    next_generation: AtomicU32,
    space: Mutex<SpaceState>,
    /// Told when nobody writes to clusters of the window any more that are not allocated yet.
    landed: Condvar,
    chores: Chores,
    delayed: data::Delayed,
    changes: data::Changes,
}

impl Core {
    /// The time, as inodes store it.
    pub(crate) fn now(&self) -> Timestamp {
        if let Some(time) = self.options.fixed_time {
            return time;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp {
            secs: since.as_secs() as i64,
            nanos: since.subsec_nanos(),
        }
    }

    /// The superblock as it was at mount.
    pub(crate) fn superblock(&self) -> &SuperBlock {
        self.superblock.dinode().super_block()
    }

    /// The device for writes that no journal takes part in.
    pub(crate) fn home_device(&self) -> &Arc<HomeDevice> {
        &self.home_device
    }

    /// The journal.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] when the file system is mounted so.
    pub(crate) fn journal(&self) -> Result<&Journal> {
        self.journal.as_ref().ok_or(Error::ReadOnly)
    }

    /// A generation for a new inode.
    pub(crate) fn new_generation(&self) -> Generation {
        Generation(self.next_generation.fetch_add(1, Ordering::Relaxed))
    }

    /// Reads an inode: as the newest transaction left it.
    ///
    /// # Errors
    /// [`Error::Stale`] when the inode has been deleted, [`Error::Corrupt`].
    pub(crate) fn read_inode(&self, number: InodeNo) -> Result<Inode> {
        Inode::read(self, number).map_err(|error| match self.is_deleted(number) {
            Ok(true) => Error::Stale(number),
            _ => error,
        })
    }

    /// Whether a block is an inode that was deleted.
    fn is_deleted(&self, number: InodeNo) -> Result<bool> {
        let at = number.block();
        let block = self.verified(at, Structure::Dinode, Dinode::CHECK_OFFSET, Locality::Clustered)?;
        let dinode = view::<Dinode>(&block);
        Ok(dinode.i_signature == Signature::INODE
            && dinode.inode() == number
            && !dinode.flags().contains(InodeFlags::VALID))
    }

    /// The lock of an inode's metadata and contents.
    pub(crate) fn meta_lock(&self, number: InodeNo) -> LockId {
        let is_system = number == self.superblock().root()
            || number == self.superblock().system_dir()
            || self.system.contains(number);
        let generation = if is_system {
            self.geometry().generation
        } else {
            Generation(0)
        };
        LockId::Block {
            kind: LockKind::Meta,
            block: number.block(),
            generation,
        }
    }

    /// Fails when nothing may be written: mounted read-only, or turned so by a failure.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], or the failure that ended the journal.
    pub(crate) fn require_writable(&self) -> Result<()> {
        match self.journal()?.aborted() {
            None => Ok(()),
            Some(cause) => Err(ocfs2_journal::JournalError::Aborted(cause).into()),
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.chores.stop();
    }
}

impl Blocks for Core {
    fn home(&self) -> &Meta {
        &self.home
    }

    fn newest(&self, at: BlockNo) -> Option<Arc<[u8]>> {
        self.locks.touched(at, false);
        self.journal.as_ref()?.newest(at)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("slot", &self.slot)
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

impl FileSystem {
    fn new(core: Core) -> FileSystem {
        FileSystem {
            core: Arc::new(core),
            privileges: data::Privileges::default(),
        }
    }

    /// The same file system for somebody who may set set-user-ID and set-group-ID on any file (`CAP_FSETID`): changes of
    /// contents leave these bits as they are. Everybody else's take them away.
    #[must_use]
    pub fn keeping_privileges(&self) -> FileSystem {
        FileSystem {
            privileges: data::Privileges::Keep,
            ..self.clone()
        }
    }

    /// Sizes and features.
    pub fn geometry(&self) -> &Geometry {
        self.core.geometry()
    }

    /// The slot that this mount sits in.
    pub fn slot(&self) -> SlotNum {
        self.core.slot
    }

    /// The root directory.
    pub fn root(&self) -> InodeNo {
        self.core.superblock().root()
    }
}
