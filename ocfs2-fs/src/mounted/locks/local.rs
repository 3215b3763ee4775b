//! Locks of a volume that only this process has mounted: threads exclude each other, and nobody else exists.

use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use ocfs2_format::LockId;

use super::{Grant, Level, LockError, Locks};

/// Reader-writer locks by name. A lock exists while somebody holds it or waits for it. Writers do not starve: whoever comes
/// after a waiting writer waits too.
///
/// The order in which operations take their locks follows the tree of directories. Where a damaged volume has circles in
/// that tree, threads could wait for each other for ever: the one that would close the circle is refused.
#[derive(Debug, Default)]
pub(crate) struct LocalLocks {
    shards: [Shard; Self::SHARDS],
    /// What each thread waits for. Locked before shards.
    waits: Mutex<HashMap<ThreadKey, (LockId, Level)>>,
}

#[derive(Debug, Default)]
struct Shard {
    held: Mutex<HashMap<LockId, Held>>,
    released: Condvar,
}

/// One lock.
#[derive(Debug, Default)]
struct Held {
    sharers: Sharers,
    exclusive: Option<ThreadKey>,
    /// Who waits to have it alone.
    waiting: Vec<ThreadKey>,
    /// Who waits at all.
    sleepers: u32,
}

/// Number of a thread; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ThreadKey(u64);

impl ThreadKey {
    fn current() -> ThreadKey {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        thread_local!(static KEY: ThreadKey = ThreadKey(NEXT.fetch_add(1, Ordering::Relaxed)));
        KEY.with(|key| *key)
    }
}

/// The threads that share a lock: mostly one.
#[derive(Debug, Default)]
struct Sharers {
    one: Option<ThreadKey>,
    more: Vec<ThreadKey>,
}

impl Sharers {
    fn is_empty(&self) -> bool {
        self.one.is_none() && self.more.is_empty()
    }

    fn add(&mut self, thread: ThreadKey) {
        match self.one {
            None => self.one = Some(thread),
            Some(_) => self.more.push(thread),
        }
    }

    /// Takes out a thread, or any where the lock was given to another one.
    fn remove(&mut self, thread: ThreadKey) {
        match self.more.iter().rposition(|sharer| *sharer == thread) {
            Some(index) => drop(self.more.swap_remove(index)),
            None if self.one == Some(thread) || self.more.is_empty() => self.one = None,
            None => drop(self.more.pop()),
        }
    }

    fn iter(&self) -> impl Iterator<Item = ThreadKey> {
        self.one.into_iter().chain(self.more.iter().copied())
    }
}

impl Held {
    fn is_free_for(&self, level: Level) -> bool {
        match level {
            Level::Shared | Level::Joint => self.exclusive.is_none() && self.waiting.is_empty(),
            Level::Exclusive => self.exclusive.is_none() && self.sharers.is_empty(),
        }
    }

    fn take(&mut self, level: Level) {
        let thread = ThreadKey::current();
        match level {
            Level::Shared | Level::Joint => self.sharers.add(thread),
            Level::Exclusive => self.exclusive = Some(thread),
        }
    }

    /// Notes that the thread waits, or that it does so no longer.
    fn set_waiting(&mut self, level: Level, waits: bool) {
        let thread = ThreadKey::current();
        match waits {
            true => self.sleepers += 1,
            false => self.sleepers -= 1,
        }
        if level == Level::Exclusive {
            match waits {
                true => self.waiting.push(thread),
                false => self.waiting.retain(|waiting| *waiting != thread),
            }
        }
    }

    fn is_unused(&self) -> bool {
        self.sharers.is_empty() && self.exclusive.is_none() && self.sleepers == 0
    }

    /// For whom somebody waits who wants the lock at this level.
    fn in_the_way_of(&self, level: Level) -> Vec<ThreadKey> {
        let mut threads: Vec<_> = self.exclusive.into_iter().collect();
        match level {
            Level::Shared | Level::Joint => threads.extend(&self.waiting),
            Level::Exclusive => threads.extend(self.sharers.iter()),
        }
        threads
    }
}

impl LocalLocks {
    const SHARDS: usize = 16;

    pub(crate) fn new() -> LocalLocks {
        LocalLocks::default()
    }

    fn shard(&self, id: LockId) -> &Shard {
        // Inodes that are used together are neighbours.
        &self.shards[id.block().0 as usize % Self::SHARDS]
    }

    fn waits(&self) -> MutexGuard<'_, HashMap<ThreadKey, (LockId, Level)>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the thread is going to wait for, unless somebody there waits for the thread.
    fn begin_waiting(&self, id: LockId, level: Level) -> Result<(), LockError> {
        let thread = ThreadKey::current();
        let mut waits = self.waits();
        let mut seen = HashSet::new();
        let mut todo = vec![(id, level)];
        while let Some((id, level)) = todo.pop() {
            let ahead = self.shard(id).held().get(&id).map(|lock| lock.in_the_way_of(level));
            for other in ahead.unwrap_or_default() {
                if other == thread {
                    return Err(LockError::Circle);
                }
                if seen.insert(other) {
                    todo.extend(waits.get(&other));
                }
            }
        }
        waits.insert(thread, (id, level));
        Ok(())
    }
}

impl Shard {
    /// Looks again and again for a moment: most locks are held for less time than it takes to sleep and to be woken.
    fn is_taken_soon(&self, id: LockId, level: Level) -> bool {
        const LOOKS: u32 = 16;
        const PAUSES: u32 = 30;
        for _ in 0..LOOKS {
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
            let mut held = self.held();
            let lock = held.entry(id).or_default();
            if lock.is_free_for(level) {
                lock.take(level);
                return true;
            }
        }
        false
    }

    fn held(&self) -> MutexGuard<'_, HashMap<LockId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Locks for LocalLocks {
    fn lock(&self, id: LockId, level: Level) -> Result<Grant, LockError> {
        let shard = self.shard(id);
        let mut held = shard.held();
        let lock = held.entry(id).or_default();
        if lock.is_free_for(level) {
            lock.take(level);
            return Ok(Grant::Unchanged);
        }
        drop(held);
        if shard.is_taken_soon(id, level) {
            return Ok(Grant::Unchanged);
        }
        // Before anybody can be kept waiting by us.
        self.begin_waiting(id, level)?;
        held = shard.held();
        held.entry(id).or_default().set_waiting(level, true);
        loop {
            let lock = held.entry(id).or_default();
            if lock.is_free_for(level) {
                lock.set_waiting(level, false);
                lock.take(level);
                break;
            }
            held = shard.released.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        drop(held);
        self.waits().remove(&ThreadKey::current());
        Ok(Grant::Unchanged)
    }

    fn try_lock(&self, id: LockId, level: Level) -> Result<Grant, LockError> {
        let mut held = self.shard(id).held();
        let lock = held.entry(id).or_default();
        if !lock.is_free_for(level) {
            return Err(LockError::Busy);
        }
        lock.take(level);
        Ok(Grant::Unchanged)
    }

    fn unlock(&self, id: LockId, level: Level) {
        let shard = self.shard(id);
        let mut held = shard.held();
        let Entry::Occupied(mut lock) = held.entry(id) else {
            return;
        };
        match level {
            Level::Shared | Level::Joint => lock.get_mut().sharers.remove(ThreadKey::current()),
            Level::Exclusive => lock.get_mut().exclusive = None,
        }
        // Waking is a system call, whether somebody sleeps or not.
        let is_awaited = lock.get().sleepers > 0;
        if lock.get().is_unused() {
            lock.remove();
        }
        drop(held);
        if is_awaited {
            shard.released.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Duration;

    use ocfs2_format::{BlockNo, Generation, LockKind};

    use super::*;

    fn id(block: u64) -> LockId {
        LockId::Block {
            kind: LockKind::Meta,
            block: BlockNo(block),
            generation: Generation(0),
        }
    }

    #[test]
    fn readers_share_a_lock_and_a_writer_has_it_alone() {
        let locks = LocalLocks::new();
        locks.lock(id(1), Level::Shared).unwrap();
        locks.lock(id(1), Level::Joint).unwrap();
        assert_eq!(locks.try_lock(id(1), Level::Exclusive), Err(LockError::Busy));
        locks.try_lock(id(2), Level::Exclusive).unwrap();
        locks.unlock(id(1), Level::Shared);
        locks.unlock(id(1), Level::Joint);
        locks.try_lock(id(1), Level::Exclusive).unwrap();
        assert_eq!(locks.try_lock(id(1), Level::Shared), Err(LockError::Busy));
    }

    #[test]
    fn locks_that_nobody_holds_take_no_memory() {
        let locks = LocalLocks::new();
        for block in 0..100 {
            locks.lock(id(block), Level::Exclusive).unwrap();
            locks.unlock(id(block), Level::Exclusive);
        }
        assert!(locks.shards.iter().all(|shard| shard.held().is_empty()));
    }

    #[test]
    fn writers_of_many_threads_never_meet() {
        let locks = LocalLocks::new();
        let inside = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        locks.lock(id(7), Level::Exclusive).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        locks.unlock(id(7), Level::Exclusive);
                    }
                });
            }
        });
    }

    #[test]
    fn a_waiting_writer_is_not_overtaken_by_new_readers() {
        let locks = LocalLocks::new();
        locks.lock(id(1), Level::Shared).unwrap();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                locks.lock(id(1), Level::Exclusive).unwrap();
                locks.unlock(id(1), Level::Exclusive);
            });
            while locks
                .shard(id(1))
                .held()
                .get(&id(1))
                .is_none_or(|lock| lock.waiting.is_empty())
            {
                thread::sleep(Duration::from_millis(1));
            }
            let reader = scope.spawn(|| {
                locks.lock(id(1), Level::Shared).unwrap();
                locks.unlock(id(1), Level::Shared);
            });
            thread::sleep(Duration::from_millis(5));
            assert!(!reader.is_finished());
            locks.unlock(id(1), Level::Shared);
            writer.join().unwrap();
            reader.join().unwrap();
        });
    }

    #[test]
    fn whoever_would_close_a_circle_of_waiting_threads_is_refused() {
        let locks = LocalLocks::new();
        locks.lock(id(1), Level::Exclusive).unwrap();
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                locks.lock(id(2), Level::Shared).unwrap();
                let waited = locks.lock(id(1), Level::Shared);
                locks.unlock(id(1), Level::Shared);
                locks.unlock(id(2), Level::Shared);
                waited
            });
            while locks.waits().is_empty() {
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(locks.lock(id(2), Level::Exclusive), Err(LockError::Circle));
            assert_eq!(locks.lock(id(1), Level::Shared), Err(LockError::Circle));
            // Nobody is in the way of a reader.
            locks.lock(id(2), Level::Shared).unwrap();
            locks.unlock(id(2), Level::Shared);
            locks.unlock(id(1), Level::Exclusive);
            other.join().unwrap().unwrap();
        });
        assert!(locks.waits().is_empty());
        assert!(locks.shards.iter().all(|shard| shard.held().is_empty()));
    }
}
