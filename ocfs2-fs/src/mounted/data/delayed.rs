//! Delayed allocation: bytes appended to a file in small pieces wait in memory, until there are enough of them for one
//! large write and one transaction.
//!
//! ```text
//! append, append, append  ->  waiting bytes  ->  settled: one write to the device, one transaction
//! ```
//!
//! Nobody can tell but by the speed. Bytes of one file wait at a time. They are settled before the file's locks are
//! granted to anybody, before any other change of the volume begins, and before anything is made durable; so operations
//! reach the journal in the order in which they were done. Bytes wait only where they are sure to find room: without
//! quotas, and with more free space than the operations that have begun before may take. A failure, which is the
//! device's then, is told to the next caller who writes to the file or makes it durable.
//!
//! Whoever settles takes the locks of the file. It holds no locks, or those that come before them; the lock of the waiting
//! bytes is held meanwhile, and is never waited for with a lock in hand that settling needs: bytes begin to wait under the
//! exclusive locks of their file, and whoever gets one of those later and finds bytes waiting gives it back first.

use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ocfs2_format::{InodeAttr, InodeNo, LockId, LockKind};

use super::device::Payload;
use super::{FileId, inline, max_size, write};
use crate::error::{Error, Result};
use crate::inode::Timestamp;
use crate::meta::Blocks;
use crate::mounted::{Core, Level, LockSet};

/// Bytes that wait at most.
const CAPACITY: usize = 1 << 20;

/// Pieces from this size on are worth a transaction of their own.
const SMALL: u64 = 64 << 10;

/// Appends in a row, with nothing else changed in between, after which the next ones wait.
const STREAK: u32 = 4;

/// Bytes that have to be free for others to wait: operations that have begun already may take some before.
const AMPLE: u64 = 8 << 20;

/// The bytes that wait.
#[derive(Debug, Default)]
pub(crate) struct Delayed {
    /// The inode whose bytes wait, or may; 0 if there is none. Changed under `state`.
    inode: AtomicU64,
    /// Whether there is anything in `state` that a change of something else ends.
    is_active: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Option<Waiting>,
    /// The last file that was appended to in a small piece, where that ended, and how many such appends came in a row.
    streak: Option<(FileId, u64, u32)>,
    /// What became of bytes that could not be written.
    failure: Option<(InodeNo, Error)>,
}

#[derive(Debug)]
struct Waiting {
    file: FileId,
    /// The size of the file without the bytes.
    start: u64,
    bytes: Vec<u8>,
    /// Of the last append.
    time: Timestamp,
}

impl Waiting {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Delayed {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether bytes may wait that whoever takes this lock must not miss.
    pub(in crate::mounted) fn concerns(&self, id: LockId) -> bool {
        let inode = self.inode.load(Ordering::Acquire);
        inode != 0
            && matches!(id, LockId::Block { kind: LockKind::Meta | LockKind::ReadWrite, block, .. } if block.0 == inode)
    }

    fn set_waiting(&self, state: &mut State, waiting: Option<Waiting>) {
        let inode = waiting.as_ref().map_or(0, |waiting| waiting.file.inode.0);
        state.waiting = waiting;
        self.inode.store(inode, Ordering::Release);
    }
}

/// Lets bytes wait that are written at `offset`, or at the end of the file. `None` if they have to be written now, else
/// where they will be.
pub(super) fn append(core: &Core, file: FileId, offset: Option<u64>, payload: &Payload<'_>) -> Option<u64> {
    let delayed = &core.delayed;
    if delayed.inode.load(Ordering::Acquire) != file.inode.0 || payload.len() >= SMALL {
        return None;
    }
    let mut state = delayed.state();
    let is_next = |waiting: &Waiting| waiting.file == file && offset.is_none_or(|offset| offset == waiting.end());
    let is_full = |waiting: &Waiting| waiting.bytes.len() + payload.len() as usize > CAPACITY;
    if is_full(state.waiting.as_ref().filter(|waiting| is_next(waiting))?) {
        write_out(core, &mut state, Then::WaitAgain);
    }
    let waiting = state.waiting.as_mut()?;
    let at = waiting.end();
    if at + payload.len() > max_size(core.geometry()) {
        return None;
    }
    payload.append_to(&mut waiting.bytes);
    waiting.time = core.now();
    Some(at)
}

/// Notes that a small piece was appended, whose locks the caller still holds: the next ones may wait.
pub(super) fn appended(locks: &mut LockSet<'_>, file: FileId, offset: u64, written: u64) {
    let core = locks.core();
    let delayed = &core.delayed;
    if written >= SMALL {
        return;
    }
    // Whoever has it may be settling, and wait for a lock that is held here: then this piece does not count.
    let Ok(mut state) = delayed.state.try_lock() else {
        return;
    };
    let end = offset + written;
    let length = match state.streak {
        Some((last, at, length)) if last == file && at == offset => length + 1,
        _ => 1,
    };
    state.streak = Some((file, end, length));
    delayed.is_active.store(true, Ordering::Release);
    // Whatever is wrong with the file, the next append will meet it.
    if length >= STREAK && state.waiting.is_none() && may_wait(locks, file, end).unwrap_or(false) {
        let waiting = Waiting {
            file,
            start: end,
            bytes: Vec::new(),
            time: core.now(),
        };
        delayed.set_waiting(&mut state, Some(waiting));
        core.chores.add();
    }
}

/// Whether bytes behind `end` of a file, whose locks the caller holds, are sure to find room.
fn may_wait(locks: &mut LockSet<'_>, file: FileId, end: u64) -> Result<bool> {
    let core = locks.core();
    let inode = core.read_inode(file.inode)?;
    let is_sure = inode.size() == end
        && !inline::is_inline(&inode)
        && !inode.attr().contains(InodeAttr::SYNC)
        && !core.counts_any_quota();
    Ok(is_sure && locks.has_room(core.geometry().clusters_for_bytes(AMPLE))?)
}

/// What becomes of further appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    WaitAgain,
    Write,
}

/// Writes out what waits.
fn write_out(core: &Core, state: &mut State, then: Then) {
    let Some(waiting) = state.waiting.take() else {
        return;
    };
    let Waiting {
        file,
        start,
        mut bytes,
        time,
    } = waiting;
    let mut locks = LockSet::settling(core, time);
    let written = write_locked(&mut locks, file, start, &bytes);
    let goes_on = then == Then::WaitAgain
        && written.is_ok()
        && may_wait(&mut locks, file, start + bytes.len() as u64).unwrap_or(false);
    if let Err(error) = written {
        state.failure = Some((file.inode, error));
    }
    let next = goes_on.then(|| {
        let start = start + bytes.len() as u64;
        bytes.clear();
        Waiting {
            file,
            start,
            bytes,
            time,
        }
    });
    // Before the locks are given back.
    core.delayed.set_waiting(state, next);
}

fn write_locked(locks: &mut LockSet<'_>, file: FileId, start: u64, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let inode = file.lock(locks, Level::Exclusive)?;
    let bufs = [IoSlice::new(bytes)];
    let written = write::write_locked(locks, &inode, start, &Payload::new(&bufs))?;
    match written == bytes.len() {
        true => Ok(()),
        false => Err(Error::NoSpace),
    }
}

impl Core {
    /// What an operation that changes something begins with, before it takes a lock.
    ///
    /// # Errors
    /// As [`require_writable`](Self::require_writable).
    pub(crate) fn begin_change(&self) -> Result<()> {
        self.require_writable()?;
        self.settle();
        Ok(())
    }

    /// Writes out the bytes that wait, and lets none wait for now. No lock is held that does not come before those of a
    /// file.
    pub(crate) fn settle(&self) {
        if !self.delayed.is_active.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.delayed.state();
        write_out(self, &mut state, Then::Write);
        state.streak = None;
        let has_failed = state.failure.is_some();
        self.delayed.is_active.store(has_failed, Ordering::Release);
    }

    /// As [`settle`](Self::settle), where the change is a write to this file: a row of appends goes on.
    ///
    /// # Errors
    /// As [`settled`](Self::settled).
    pub(super) fn settle_others(&self, file: FileId) -> Result<()> {
        if !self.delayed.is_active.load(Ordering::Acquire) {
            return Ok(());
        }
        let goes_on = {
            let state = self.delayed.state();
            let is_row = matches!(state.streak, Some((last, ..)) if last == file);
            is_row && state.waiting.is_none() && state.failure.is_none()
        };
        if goes_on {
            Ok(())
        } else {
            self.settled(Some(file.inode))
        }
    }

    /// [Settles](Self::settle), and fails if bytes of this inode, or of any, have waited and could not be written: once.
    ///
    /// # Errors
    /// What went wrong.
    pub(crate) fn settled(&self, inode: Option<InodeNo>) -> Result<()> {
        self.settle();
        if !self.delayed.is_active.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut state = self.delayed.state();
        let concerns = |failed: InodeNo| inode.is_none_or(|inode| inode == failed);
        match state.failure.take_if(|(failed, _)| concerns(*failed)) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}
