//! Locks and threads, in one place: a scheduler that decides who runs next can stand in for those of std.

pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
pub(crate) use std::thread;

use std::sync::PoisonError;
use std::time::Duration;

/// The lock, also after a panic elsewhere: whoever panics while the device is half written aborts the journal.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets go of the lock until told that something has changed.
pub(crate) fn wait<'m, T>(told: &Condvar, guard: MutexGuard<'m, T>) -> MutexGuard<'m, T> {
    told.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// The same, but not for longer than `limit`.
pub(crate) fn wait_timeout<'m, T>(told: &Condvar, guard: MutexGuard<'m, T>, limit: Duration) -> MutexGuard<'m, T> {
    told.wait_timeout(guard, limit)
        .unwrap_or_else(PoisonError::into_inner)
        .0
}
