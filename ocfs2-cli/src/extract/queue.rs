//! Work for a few threads that make more work while they do it.

use std::sync::{Condvar, Mutex, MutexGuard};

/// Work to do, the newest first: what was begun is finished before more is begun.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: Vec<T>,
    /// Items taken whose work is not done: more may come of it.
    active: usize,
}

impl<T> Queue<T> {
    /// A queue with one item.
    pub(super) fn new(first: T) -> Self {
        Self {
            state: Mutex::new(State {
                items: vec![first],
                active: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Adds work.
    pub(super) fn push(&self, item: T) {
        self.lock().items.push(item);
        self.changed.notify_one();
    }

    /// Works until nothing is left and nothing more can come. Called by every thread.
    pub(super) fn work(&self, mut step: impl FnMut(T)) {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop() {
                state.active += 1;
                drop(state);
                step(item);
                state = self.lock();
                state.active -= 1;
            } else if state.active > 0 {
                state = self.changed.wait(state).unwrap_or_else(|poison| poison.into_inner());
            } else {
                self.changed.notify_all();
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic of one thread leaves the list whole.
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Queue;

    #[test]
    fn all_work_is_done_once_by_however_many_threads() {
        let queue = Queue::new(12u32);
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    queue.work(|depth| {
                        done.fetch_add(1, Ordering::Relaxed);
                        for _ in 0..2 {
                            if depth > 0 {
                                queue.push(depth - 1);
                            }
                        }
                    });
                });
            }
        });
        assert_eq!(done.into_inner(), (1 << 13) - 1);
    }
}
