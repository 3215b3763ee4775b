//! Locks of a volume that only this process has mounted: threads exclude each other, and nobody else exists.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use ocfs2_format::LockId;

use super::{Grant, Level, LockError, Locks};

/// Reader-writer locks by name. A lock exists while somebody holds it or waits for it. Writers do not starve: whoever comes
/// after a waiting writer waits too.
#[derive(Debug, Default)]
pub(crate) struct LocalLocks {
    shards: [Shard; Self::SHARDS],
    hash: RandomState,
}

#[derive(Debug, Default)]
struct Shard {
    held: Mutex<HashMap<LockId, Held>>,
    released: Condvar,
}

/// One lock.
#[derive(Debug, Default)]
struct Held {
    sharers: u32,
    exclusive: bool,
    /// Who waits to have it alone.
    waiting: u32,
    /// Who waits at all.
    sleepers: u32,
}

impl Held {
    fn is_free_for(&self, level: Level) -> bool {
        match level {
            Level::Shared | Level::Joint => !self.exclusive && self.waiting == 0,
            Level::Exclusive => !self.exclusive && self.sharers == 0,
        }
    }

    fn take(&mut self, level: Level) {
        match level {
            Level::Shared | Level::Joint => self.sharers += 1,
            Level::Exclusive => self.exclusive = true,
        }
    }

    fn is_unused(&self) -> bool {
        self.sharers == 0 && !self.exclusive && self.sleepers == 0
    }
}

impl LocalLocks {
    const SHARDS: usize = 16;

    pub(crate) fn new() -> LocalLocks {
        LocalLocks::default()
    }

    fn shard(&self, id: LockId) -> &Shard {
        &self.shards[self.hash.hash_one(id) as usize % Self::SHARDS]
    }
}

impl Shard {
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
        let alone = u32::from(level == Level::Exclusive);
        lock.waiting += alone;
        lock.sleepers += 1;
        loop {
            held = shard.released.wait(held).unwrap_or_else(PoisonError::into_inner);
            let lock = held.entry(id).or_default();
            if lock.is_free_for(level) {
                lock.waiting -= alone;
                lock.sleepers -= 1;
                lock.take(level);
                return Ok(Grant::Unchanged);
            }
        }
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
            Level::Shared | Level::Joint => lock.get_mut().sharers -= 1,
            Level::Exclusive => lock.get_mut().exclusive = false,
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
                .is_none_or(|lock| lock.waiting == 0)
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
}
