//! Looking out for the next request before going to sleep.
//!
//! A program that works with files sends one request after the other, each some microseconds after the answer to the last.
//! To be woken takes a thread longer than most answers do, above all in a virtual machine, whose idle processors go back
//! to their host. So who has answered looks for a moment whether the next request comes. Whatever else wants to run goes
//! first, and where nothing comes, looks become rare.
//!
//! One thread looks at a time. The kernel wakes any thread that sleeps on the connection when a request comes, needlessly
//! if somebody looks; so others who have answered meanwhile and see no request step aside, until there are more requests than
//! one, or none has been answered for a moment. Of those aside, one watches for that.

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

/// How long threads stay aside while nothing is answered. A request waits up to twice as long when the thread that looked
/// for it is held up by the one before.
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
    aside: Aside,
}

/// Threads that stay away from the connection. Woken without a reason they do no harm: they sleep there then.
#[derive(Debug, Default)]
struct Aside {
    /// All of them.
    count: AtomicU32,
    /// Whether one of them watches.
    is_watched: Mutex<bool>,
    watch: Condvar,
    others: Condvar,
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
        let others = self.aside.count.load(Ordering::Relaxed);
        if others > 0 && self.fuse.get().is_some_and(has_request) {
            self.aside.call_one(others);
        }
        Answering(self)
    }

    fn answered(&self) {
        let Some(fuse) = self.fuse.get() else { return };
        self.answers.fetch_add(1, Ordering::Relaxed);
        if self.is_taken.swap(true, Ordering::Acquire) {
            // What waits although somebody looks is work for two.
            if !has_request(fuse) {
                self.aside.stay(&self.answers);
            }
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
}

impl Aside {
    /// Lets one of `count` threads go. The one that watches goes last.
    fn call_one(&self, count: u32) {
        match count {
            1 => self.watch.notify_one(),
            _ => self.others.notify_one(),
        }
    }

    /// Returns when the thread is called, or when the number of answers does not grow.
    fn stay(&self, answers: &AtomicU32) {
        let mut is_watched = self.is_watched.lock().unwrap_or_else(PoisonError::into_inner);
        self.count.fetch_add(1, Ordering::Relaxed);
        if *is_watched {
            drop(self.others.wait(is_watched));
        } else {
            *is_watched = true;
            loop {
                let before = answers.load(Ordering::Relaxed);
                let (guard, waited) = self
                    .watch
                    .wait_timeout(is_watched, ASIDE)
                    .unwrap_or_else(PoisonError::into_inner);
                is_watched = guard;
                if !waited.timed_out() || answers.load(Ordering::Relaxed) == before {
                    break;
                }
            }
            *is_watched = false;
            // Nobody is to stay without a watch.
            self.others.notify_all();
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn threads_aside_come_back_when_nothing_is_answered() {
        let (aside, answers) = (Aside::default(), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| aside.stay(&answers));
            }
        });
        assert_eq!(aside.count.into_inner(), 0);
        assert!(!aside.is_watched.into_inner().unwrap());
    }

    #[test]
    fn a_look_ends_when_there_is_a_request_or_patience_is_at_its_end() {
        let (reader, writer) = io::pipe().unwrap();
        let lookout = Lookout::default();
        lookout.fuse.set(reader.into()).unwrap();
        for _ in 0..3 {
            drop(lookout.answering());
        }
        assert_eq!(lookout.failures.load(Ordering::Relaxed), 3);
        rustix::io::write(&writer, b"request").unwrap();
        drop(lookout.answering());
        assert_eq!(lookout.failures.load(Ordering::Relaxed), 0);
        assert_eq!(lookout.answers.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn looks_that_see_nothing_become_rare() {
        let (reader, _writer) = io::pipe().unwrap();
        let lookout = Lookout::default();
        lookout.fuse.set(reader.into()).unwrap();
        let start = Instant::now();
        let count = 2000;
        let mut looks = 0;
        for _ in 0..count {
            looks += u32::from(lookout.rest.load(Ordering::Relaxed) == 0);
            drop(lookout.answering());
        }
        assert!(
            looks < FORGIVEN + 2 * RAREST + count / 60,
            "{looks} looks in {:?}",
            start.elapsed()
        );
    }
}
