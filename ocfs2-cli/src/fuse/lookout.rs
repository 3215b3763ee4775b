//! Looking out for the next request before going to sleep.
//!
//! A program that works with files sends one request after the other, each some microseconds after the answer to the last.
//! To be woken takes a thread longer than most answers do, above all in a virtual machine, whose idle processors go back
//! to their host. So who has answered looks for a moment whether the next request comes. Whatever else wants to run goes
//! first, and where nothing comes, looks become rare.
//!
//! One thread looks at a time. The kernel wakes any thread that sleeps on the connection when a request comes, needlessly
//! if somebody looks; so others who have answered meanwhile wait elsewhere, until there are more requests than one, or none
//! has been answered for a moment.

use std::io;
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{available_parallelism, yield_now};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a look takes at most. The next request comes this late where the program that sends it is asleep when its
/// answer comes. From 0 over 50 and 100 to 250 µs, random reads become three times as fast, creates and deletes twice (two
/// processors of a virtual machine, `benches/mount`).
const PATIENCE: Duration = Duration::from_micros(250);

/// Looks that may see nothing, one after the other, before there are fewer of them: that one request is late does not make
/// the next answers late, too.
const FORGIVEN: u32 = 8;

/// Of so many answers, as a power of two, one is followed by a look at least.
const RAREST: u32 = 6;

/// How long threads stay away from the connection while nothing is answered. A request waits up to twice as long when the
/// thread that looked for it is held up by the one before.
const ASIDE: Duration = Duration::from_millis(1);

/// Where the threads of a session look out.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// The connection to the kernel. Without one, nobody looks.
    fuse: OnceLock<OwnedFd>,
    is_taken: AtomicBool,
    /// Looks that saw nothing, since one did.
    failures: AtomicU32,
    /// Answers until the next look.
    rest: AtomicU32,
    answers: AtomicU32,
    /// Threads that stay away from the connection, in `return_to_work` with `aside`.
    waiting: AtomicU32,
    aside: Mutex<()>,
    return_to_work: Condvar,
}

impl Lookout {
    /// Lets threads look for requests of a connection, where there is a processor for the program that sends them, too.
    ///
    /// # Errors
    /// No more file descriptors.
    pub(super) fn open(&self, fuse: impl AsFd) -> io::Result<()> {
        if available_parallelism().is_ok_and(|processors| processors > NonZero::<usize>::MIN) {
            // Set once; a second one would be the same.
            let _ = self.fuse.set(fuse.as_fd().try_clone_to_owned()?);
        }
        Ok(())
    }

    /// To be kept while a request is answered: its end is the beginning of a look.
    pub(super) fn answering(&self) -> Answering<'_> {
        let others_wait = self.waiting.load(Ordering::Relaxed) > 0;
        if others_wait && self.fuse.get().is_some_and(has_request) {
            self.return_to_work.notify_one();
        }
        Answering(self)
    }

    fn answered(&self) {
        let Some(fuse) = self.fuse.get() else { return };
        self.answers.fetch_add(1, Ordering::Relaxed);
        if self.is_taken.swap(true, Ordering::Acquire) {
            self.step_aside();
            return;
        }
        match self.rest.load(Ordering::Relaxed) {
            0 => self.look(fuse),
            rest => self.rest.store(rest - 1, Ordering::Relaxed),
        }
        self.is_taken.store(false, Ordering::Release);
    }

    /// Returns when there is a request, or when it has taken too long.
    fn look(&self, fuse: &OwnedFd) {
        let start = Instant::now();
        while !has_request(fuse) {
            if start.elapsed() > PATIENCE {
                let failures = (self.failures.load(Ordering::Relaxed) + 1).min(FORGIVEN + RAREST);
                self.failures.store(failures, Ordering::Relaxed);
                let rest = (1 << failures.saturating_sub(FORGIVEN)) - 1;
                self.rest.store(rest, Ordering::Relaxed);
                return;
            }
            yield_now();
        }
        self.failures.store(0, Ordering::Relaxed);
    }

    fn step_aside(&self) {
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        loop {
            let before = self.answers.load(Ordering::Relaxed);
            let (still, waited) = self
                .return_to_work
                .wait_timeout(aside, ASIDE)
                .unwrap_or_else(PoisonError::into_inner);
            // Waking without a reason does no harm: the thread goes to sleep on the connection then.
            if !waited.timed_out() || self.answers.load(Ordering::Relaxed) == before {
                break;
            }
            aside = still;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a thread that reads from the connection would not sleep. Errors are for that thread to see.
fn has_request(fuse: &OwnedFd) -> bool {
    poll(&mut [PollFd::new(fuse, PollFlags::IN)], Some(&Timespec::default())) != Ok(0)
}

/// See [`Lookout::answering`].
pub(super) struct Answering<'a>(&'a Lookout);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.answered();
    }
}
