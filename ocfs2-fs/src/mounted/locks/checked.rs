//! Locks that write down under which of them every block was looked at or changed: for tests, which compare that with what
//! the cluster reference demands.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use ocfs2_format::{BlockNo, LockId, LockKind};

use super::{Grant, Level, LocalLocks, LockError, Locks};

/// The locks that a thread held, and whether each let it make changes. Only those that protect metadata.
pub type HeldLocks = Arc<[(LockId, bool)]>;

/// A block of metadata was looked at, or changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Touch {
    /// The block.
    pub block: BlockNo,
    /// How often the block had been made or given up before, since the mount: its owner may be another one each time.
    pub life: u32,
    /// Whether it was changed.
    pub change: bool,
    /// The locks that the thread held.
    pub locks: HeldLocks,
}

/// What was touched in the course of a mount, each combination of block and locks once.
#[derive(Clone, Debug, Default)]
pub struct TouchLog {
    /// What was touched.
    pub touches: HashSet<Touch>,
    /// How often blocks were made or given up in all. Other blocks had the same owner all the time.
    pub lives: HashMap<BlockNo, u32>,
}

/// Who is shown the log at the end of the mount.
pub type TouchJudge = Box<dyn FnOnce(&TouchLog) + Send>;

/// [`LocalLocks`] that keep a log.
pub(crate) struct CheckedLocks {
    inner: LocalLocks,
    notes: Mutex<Notes>,
}

struct Notes {
    held: HashMap<ThreadId, Held>,
    log: TouchLog,
    judge: Option<TouchJudge>,
}

/// What a thread holds, in order, and the same to be shared by what it touches.
#[derive(Default)]
struct Held {
    locks: Vec<(LockId, Level)>,
    shared: Option<HeldLocks>,
}

impl Held {
    fn shared(&mut self) -> HeldLocks {
        let Held { locks, shared } = self;
        shared
            .get_or_insert_with(|| locks.iter().map(|&(id, level)| (id, level != Level::Shared)).collect())
            .clone()
    }
}

fn protects_metadata(id: LockId) -> bool {
    matches!(id.kind(), LockKind::Meta | LockKind::Refcount)
}

impl CheckedLocks {
    /// Locks whose log is shown to `judge` when the mount ends in order.
    pub(crate) fn new(judge: TouchJudge) -> CheckedLocks {
        CheckedLocks {
            inner: LocalLocks::new(),
            notes: Mutex::new(Notes {
                held: HashMap::new(),
                log: TouchLog::default(),
                judge: Some(judge),
            }),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn granted(&self, id: LockId, level: Level) {
        if !protects_metadata(id) {
            return;
        }
        let mut notes = self.notes();
        let held = notes.held.entry(thread::current().id()).or_default();
        held.locks.push((id, level));
        held.shared = None;
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
        if protects_metadata(id) {
            let mut notes = self.notes();
            let held = notes.held.entry(thread::current().id()).or_default();
            if let Some(index) = held.locks.iter().rposition(|held| *held == (id, level)) {
                held.locks.remove(index);
                held.shared = None;
            }
        }
        self.inner.unlock(id, level);
    }

    fn touched(&self, block: BlockNo, change: bool) {
        let mut notes = self.notes();
        let locks = notes.held.entry(thread::current().id()).or_default().shared();
        let life = notes.log.lives.get(&block).copied().unwrap_or(0);
        notes.log.touches.insert(Touch {
            block,
            life,
            change,
            locks,
        });
    }

    fn changed_hands(&self, at: BlockNo, blocks: u32) {
        let mut notes = self.notes();
        for block in (at.0..).take(blocks as usize).map(BlockNo) {
            *notes.log.lives.entry(block).or_default() += 1;
        }
    }

    fn ended(&self) {
        let mut notes = self.notes();
        let log = std::mem::take(&mut notes.log);
        let judge = notes.judge.take();
        drop(notes);
        if let Some(judge) = judge {
            judge(&log);
        }
    }
}

impl fmt::Debug for CheckedLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedLocks").finish_non_exhaustive()
    }
}
