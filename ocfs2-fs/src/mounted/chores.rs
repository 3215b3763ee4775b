//! Work that nobody waits for: what is freed goes from the truncate log back to the global bitmap a little later, and
//! bytes that wait for more of them are written out.
//!
//! A thread of its own, on mounts that commit in the background. Without it that is left to whoever finds the log full,
//! needs the space, or unmounts.
//!
//! Source: on-disk reference, section 15; Linux 6.1 kernel behaviour for the delay.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Core;
use crate::error::Result;

/// How long freed clusters wait for more of them.
const DELAY: Duration = Duration::from_secs(2);

/// What there is to do, and who does it.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// When something is to be done.
    due: Option<Instant>,
    /// `None` while there is no thread.
    delay: Option<Duration>,
    stopping: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chores {
    /// Starts the thread, which keeps nobody from dropping the core.
    pub(super) fn start(&self, core: Weak<Core>, commit_interval: Duration) -> std::io::Result<()> {
        self.shared.state().delay = Some(commit_interval.min(DELAY));
        let shared = self.shared.clone();
        let thread = thread::Builder::new()
            .name("ocfs2-chores".to_owned())
            .spawn(move || run(&shared, &core))?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// There is something to do.
    pub(super) fn add(&self) {
        let mut state = self.shared.state();
        if let (None, Some(delay)) = (state.due, state.delay) {
            state.due = Some(Instant::now() + delay);
            self.shared.changed.notify_one();
        }
    }

    /// Ends the thread, and waits for it.
    pub(super) fn stop(&self) {
        {
            let mut state = self.shared.state();
            state.stopping = true;
            state.delay = None;
        }
        self.shared.changed.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The thread itself drops the core when all others have done so meanwhile.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // If it panicked, the journal is aborted, and everybody learns why.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, core: &Weak<Core>) {
    let mut state = shared.state();
    while !state.stopping {
        let left = state.due.map(|due| due.saturating_duration_since(Instant::now()));
        state = match left {
            None => shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(Duration::ZERO) => {
                state.due = None;
                drop(state);
                let Some(core) = core.upgrade() else { return };
                core.settle();
                // A failure is on record in the journal. What is damaged will be met by whoever needs it.
                let _: Result<()> = core.flush_frees();
                drop(core);
                shared.state()
            }
            Some(left) => {
                let waited = shared.changed.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}
