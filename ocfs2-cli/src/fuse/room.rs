//! Room that is about to be there.
//!
//! The kernel tells of the end of a file's use when it has returned to the program that closed or removed the file, and a
//! thread of its own here listens. So a program that removes a file, or closes one that has no name any more, and then
//! writes or asks for free space, can be earlier than the news. In a file system of the kernel it cannot: there, room is
//! there when close(2) and unlink(2) return. So whoever would be refused waits for the news, and tries again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ocfs2_format::{Generation, InodeNo};
use ocfs2_fs::{Error, FileSystem};

use super::inodes::Inodes;

/// How long to wait for the end of files that nobody has open: it is certain, but the machine may have much to do.
const FOR_CLOSED: Duration = Duration::from_secs(1);

/// How long to wait for files that are open, in case they have just been closed. A full volume with a file that is open and
/// has no name says this late that it is full.
const FOR_OPEN: Duration = Duration::from_millis(50);

/// Between two looks.
const STEP: Duration = Duration::from_micros(200);

/// Lets threads wait for room, as long as one is left that listens to the kernel.
#[derive(Debug)]
pub(super) struct Room {
    waiting: AtomicUsize,
    most: usize,
    /// What was waited for in vain.
    lasting: Mutex<HashSet<Nameless>>,
}

/// An inode without a name: an open file, or one of whose end the news must be on its way, or something that no open file
/// keeps (a removed directory that a program works in).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Nameless {
    inode: InodeNo,
    /// Generation, and whether it is open; nothing once the kernel has forgotten it.
    state: Option<(Generation, bool)>,
}

impl Nameless {
    fn is_open(self) -> bool {
        matches!(self.state, Some((_, true)))
    }

    fn patience(self) -> Duration {
        match self.is_open() {
            true => FOR_OPEN,
            false => FOR_CLOSED,
        }
    }
}

impl Room {
    /// For a session of so many threads.
    pub(super) fn new(threads: usize) -> Room {
        Room {
            waiting: AtomicUsize::new(0),
            most: threads.saturating_sub(1),
            lasting: Mutex::default(),
        }
    }

    /// Does something that takes room; once more when there was none and some may have come free meanwhile.
    pub(super) fn find<T>(
        &self,
        fs: &FileSystem,
        inodes: &Inodes,
        mut take: impl FnMut() -> ocfs2_fs::Result<T>,
    ) -> ocfs2_fs::Result<T> {
        match take() {
            Err(Error::NoSpace | Error::QuotaExceeded) => {
                // What stays open for long can have been closed just now.
                self.lasting().retain(|nameless| !nameless.is_open());
                self.settle(fs, inodes);
                take()
            }
            taken => taken,
        }
    }

    /// Waits until files that may have been closed are deleted if they have no name.
    pub(super) fn settle(&self, fs: &FileSystem, inodes: &Inodes) {
        let start = Instant::now();
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.most {
            while self.is_due(fs, inodes, start.elapsed()) {
                thread::sleep(STEP);
            }
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether to wait any longer. Notes what was waited for in vain.
    fn is_due(&self, fs: &FileSystem, inodes: &Inodes, waited: Duration) -> bool {
        let nameless: HashSet<_> = fs
            .nameless()
            .into_iter()
            .map(|inode| Nameless {
                inode,
                state: inodes.state(inode),
            })
            .collect();
        let mut lasting = self.lasting();
        let is_due = |one: &Nameless| waited < one.patience() && !lasting.contains(one);
        if nameless.iter().any(is_due) {
            return true;
        }
        *lasting = nameless;
        false
    }

    fn lasting(&self) -> MutexGuard<'_, HashSet<Nameless>> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
