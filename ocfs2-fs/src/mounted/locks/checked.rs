//! Locks that write down under which of them every block was looked at or changed: for tests, which compare that with what
//! the cluster reference demands.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use ocfs2_format::{BlockNo, LockId};

use super::{Grant, Level, LocalLocks, LockError, Locks};

/// A block of metadata was looked at, or changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Touch {
    /// The block.
    pub block: BlockNo,
    /// Whether it was changed.
    pub change: bool,
    /// The locks that the thread held, and whether each let it make changes.
    pub locks: Arc<[(LockId, bool)]>,
}

/// What was touched since it was last asked.
#[derive(Clone, Default)]
pub struct TouchLog(Arc<Mutex<Log>>);

#[derive(Default)]
struct Log {
    held: HashMap<ThreadId, Vec<(LockId, Level)>>,
    touches: HashSet<Touch>,
}

impl TouchLog {
    /// Everything touched since the last call, each combination of block and locks once.
    pub fn take(&self) -> HashSet<Touch> {
        std::mem::take(&mut self.log().touches)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TouchLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TouchLog").finish_non_exhaustive()
    }
}

/// [`LocalLocks`] that keep a log.
#[derive(Debug, Default)]
pub(crate) struct CheckedLocks {
    inner: LocalLocks,
    log: TouchLog,
}

impl CheckedLocks {
    /// What will be touched under these locks.
    pub(crate) fn log(&self) -> TouchLog {
        self.log.clone()
    }

    fn granted(&self, id: LockId, level: Level) {
        self.log
            .log()
            .held
            .entry(thread::current().id())
            .or_default()
            .push((id, level));
    }
}

impl Locks for CheckedLocks {
    fn lock(&self, id: LockId, level: Level) -> Result<Grant, LockError> {
        let grant = self.inner.lock(id, level)?;
        self.granted(id, level);
        Ok(grant)
    }

    fn try_lock(&self, id: LockId, level: Level) -> Result<Grant, LockError> {
        let grant = self.inner.try_lock(id, level)?;
        self.granted(id, level);
        Ok(grant)
    }

    fn unlock(&self, id: LockId, level: Level) {
        let mut log = self.log.log();
        let held = log.held.entry(thread::current().id()).or_default();
        if let Some(index) = held.iter().rposition(|held| *held == (id, level)) {
            held.remove(index);
        }
        drop(log);
        self.inner.unlock(id, level);
    }

    fn touched(&self, block: BlockNo, change: bool) {
        let mut log = self.log.log();
        let held = log.held.get(&thread::current().id()).map_or(&[][..], Vec::as_slice);
        let locks = held.iter().map(|&(id, level)| (id, level != Level::Shared)).collect();
        log.touches.insert(Touch { block, change, locks });
    }
}
