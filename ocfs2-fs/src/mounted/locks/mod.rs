//! Cluster locks: who may read or change what.
//!
//! Every operation takes the locks that a node of a cluster takes, through [`Locks`], whether the volume is mounted by one
//! node or by many. An operation collects them in a [`LockSet`] and begins its transaction from that, so that no lock can
//! be taken inside a transaction: waiting for another node with a transaction open would deadlock, since that node may be
//! waiting for what the transaction holds to be written home.
//!
//! Source: cluster reference, sections 6.1, 6.4 and 6.5.

mod checked;
mod local;
mod set;

use std::fmt;

use ocfs2_format::{BlockNo, LockId};

pub(crate) use checked::CheckedLocks;
pub use checked::{HeldLocks, Touch, TouchJudge, TouchLog};
pub(crate) use local::LocalLocks;
pub(crate) use set::LockSet;

/// How much a lock allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Reading, together with other readers (PR).
    Shared,
    /// Changing without other nodes (EX), but together with readers and others of this kind in this process: writes to
    /// parts of a file that are there already.
    Joint,
    /// Changing, alone (EX).
    Exclusive,
}

/// What taking a lock tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Nobody else can have changed what the lock protects since this process last held it.
    Unchanged,
    /// Another node may have changed it: what is cached has to be read again.
    Refresh,
}

/// A failure to get a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else holds it, and the caller did not want to wait.
    #[error("the lock is held elsewhere")]
    Busy,
    /// Operations would wait for each other in a circle, which they do only where a damaged volume has one.
    #[error("the volume is damaged: inodes contain each other")]
    Circle,
    /// The node has left the cluster.
    #[error("this node has lost its place in the cluster")]
    Evicted,
}

/// A manager of cluster locks. Locks belong to operations: two operations of one process exclude each other as two nodes
/// do.
pub(crate) trait Locks: fmt::Debug + Send + Sync {
    /// Takes a lock, and waits for it if need be.
    ///
    /// # Errors
    /// [`LockError`].
    fn lock(&self, id: LockId, level: Level) -> Result<Grant, LockError>;

    /// Takes a lock if nobody has to be waited for.
    ///
    /// # Errors
    /// [`LockError::Busy`].
    fn try_lock(&self, id: LockId, level: Level) -> Result<Grant, LockError>;

    /// Gives back a lock that was taken at this level.
    fn unlock(&self, id: LockId, level: Level);

    /// Told of every block of metadata that is looked at or changed, for managers that compare that with the locks held.
    fn touched(&self, _at: BlockNo, _change: bool) {}

    /// Told of blocks that are given to a new owner or taken from the old one.
    fn changed_hands(&self, _at: BlockNo, _blocks: u32) {}

    /// Told when the mount has ended in order and everything is written home.
    fn ended(&self) {}
}
