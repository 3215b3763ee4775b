//! The thread that commits and checkpoints on its own.

use std::time::{Duration, Instant};

use crate::journal::Shared;
use crate::state::State;
use crate::sync::{Arc, thread, wait, wait_timeout};
use crate::txn::Tid;

/// The thread of an open journal.
#[derive(Debug)]
pub(crate) struct Worker {
    thread: thread::JoinHandle<()>,
}

/// What there is to do.
enum Duty {
    Commit(Tid),
    Checkpoint(Tid),
    Nothing(Option<Duration>),
}

impl Worker {
    /// Starts the thread; it commits what is older than `interval`.
    pub(crate) fn start(shared: Arc<Shared>, interval: Duration) -> std::io::Result<Worker> {
        let thread = thread::Builder::new()
            .name("ocfs2-journal".to_owned())
            .spawn(move || run(&shared, interval))?;
        Ok(Worker { thread })
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(self, shared: &Shared) {
        shared.lock().stopping = true;
        shared.wanted.notify_all();
        // If it panicked, it has aborted the journal.
        let _ = self.thread.join();
    }
}

fn run(shared: &Shared, interval: Duration) {
    let mut state = shared.lock();
    while !state.stopping && state.aborted.is_none() {
        let duty = duty(&state, interval);
        // A failure is on record in the state, which ends the loop.
        state = match duty {
            Duty::Commit(tid) => {
                drop(state);
                let _ = shared.commit(tid);
                shared.lock()
            }
            Duty::Checkpoint(tid) => {
                drop(state);
                let _ = shared.checkpoint(tid);
                shared.lock()
            }
            Duty::Nothing(None) => {
                state.idle = true;
                let mut state = wait(&shared.wanted, state);
                state.idle = false;
                state
            }
            Duty::Nothing(Some(limit)) => wait_timeout(&shared.wanted, state, limit),
        };
    }
}

fn duty(state: &State, interval: Duration) -> Duty {
    let since = state.running.since;
    let left = since.map(|since| (since + interval).saturating_duration_since(Instant::now()));
    if state.is_large() || left == Some(Duration::ZERO) {
        return Duty::Commit(state.running.tid);
    }
    if state.is_filling_up() && !state.logged.is_empty() {
        return Duty::Checkpoint(state.durable);
    }
    Duty::Nothing(left)
}
