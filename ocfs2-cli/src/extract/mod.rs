//! Copying out of a volume into the host's file system.
//!
//! A few threads share the work, a directory or a batch of files at a time, inodes in the order of the disk. Everything
//! happens below directories that are held open ([`place`]), so nothing an image contains reaches outside its destination.
//! Damage and refusals end a file or a directory, not the whole.

mod attrs;
mod data;
mod dir;
mod place;
mod queue;
mod tree;

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ocfs2_format::InodeNo;
use ocfs2_fs::{Inode, Volume};
use rustix::fs::Mode;

use crate::target::{Target, join};
use crate::transfer::{Counters, Event, FileId, Options};

use self::attrs::Lost;
use self::queue::Queue;
use self::tree::{Item, Tree, Work};

/// How often the caller hears of progress when nothing else happens.
const TICK: Duration = Duration::from_millis(100);

/// Something to copy.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its volume.
    pub(crate) volume: Volume,
    /// Where it is in it.
    pub(crate) target: Target,
    /// What it is.
    pub(crate) inode: Inode,
}

/// What threads send to the one that waits for them.
#[derive(Debug)]
enum Message {
    Event(Event),
    /// A thread has ended.
    Ended,
}

/// Copies sources into one destination.
#[derive(Debug)]
pub(crate) struct Copier {
    job: Arc<Job>,
    messages: mpsc::Receiver<Message>,
    /// Images of the sources so far. Inodes of different images are different.
    sources: Vec<PathBuf>,
}

impl Copier {
    /// Copies below the directory `base`, whose path is shown as `label`. Never writes into the `images`.
    pub(crate) fn new(base: OwnedFd, label: PathBuf, images: Vec<FileId>, options: Options) -> Self {
        let (sender, messages) = mpsc::channel();
        let umask = rustix::process::umask(Mode::empty());
        rustix::process::umask(umask);
        raise_file_limit();
        let job = Job {
            options,
            base,
            label,
            images,
            umask,
            messages: sender,
            stop: AtomicBool::new(false),
            counters: Counters::default(),
            copied: Mutex::new(HashMap::new()),
        };
        Self {
            job: Arc::new(job),
            messages,
            sources: Vec::new(),
        }
    }

    /// How much was copied so far.
    pub(crate) fn counters(&self) -> &Counters {
        &self.job.counters
    }

    /// Copies a source to `name` in the destination directory; with `None` the contents of the source, a directory, into
    /// the destination directory itself. `tell` hears what happens; an error of it ends the copying and is returned.
    pub(crate) fn copy(
        &mut self,
        source: Source,
        name: Option<&[u8]>,
        mut tell: impl FnMut(Event, &Counters) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let known = self.sources.iter().position(|image| *image == source.target.image);
        let image = known.unwrap_or_else(|| {
            self.sources.push(source.target.image.clone());
            self.sources.len() - 1
        });
        let tree = Tree {
            job: self.job.clone(),
            volume: source.volume,
            target: source.target,
            top: name.map(<[u8]>::to_vec),
            image,
            seen: Mutex::new(HashSet::new()),
        };
        let queue = Queue::new(Item {
            dir: None,
            work: Work::Top(Box::new(source.inode)),
        });
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(4));
        let mut outcome = Ok(());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let _ended = Ended(&self.job);
                    let mut buf = vec![0; data::STEP];
                    queue.work(|item| tree.process(item, &queue, &mut buf));
                });
            }
            let mut running = threads;
            while running > 0 {
                let event = match self.messages.recv_timeout(TICK) {
                    Ok(Message::Event(event)) => event,
                    Ok(Message::Ended) => {
                        running -= 1;
                        continue;
                    }
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Event::Tick,
                };
                if outcome.is_ok() {
                    outcome = tell(event, &self.job.counters);
                    self.job.stop.store(outcome.is_err(), Ordering::Relaxed);
                }
            }
        });
        outcome
    }
}

/// Says that a thread has ended, however it did.
struct Ended<'a>(&'a Job);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.send(Message::Ended);
    }
}

/// Directories are held open on the way down; the usual limit is for programs that open few files.
fn raise_file_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    // Without it, deep trees end with a clear error.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
}

/// What all threads and all sources share.
#[derive(Debug)]
struct Job {
    options: Options,
    base: OwnedFd,
    label: PathBuf,
    images: Vec<FileId>,
    umask: Mode,
    messages: Sender<Message>,
    stop: AtomicBool,
    counters: Counters,
    /// Files with several names, by image and inode: where the first of them is now, below the base.
    copied: Mutex<HashMap<(usize, InodeNo), Vec<u8>>>,
}

impl Job {
    fn send(&self, message: Message) {
        // The receiver lives longer than the threads.
        let _ = self.messages.send(message);
    }

    fn problem(&self, text: String) {
        self.send(Message::Event(Event::Problem(text)));
    }

    /// The path of names below the destination directory, as the user would write it.
    fn destination(&self, names: Vec<&[u8]>) -> Vec<u8> {
        let label = self.label.as_os_str().as_encoded_bytes();
        let parts = std::iter::once(label).chain(names).filter(|name| !name.is_empty());
        parts
            .map(<[u8]>::to_vec)
            .reduce(|path, name| join(&path, &name))
            .unwrap_or_default()
    }

    /// Counts and reports what was not kept of the object at `path`.
    fn report_lost(&self, lost: &Lost, path: impl FnOnce() -> String) {
        self.counters
            .owners_lost
            .fetch_add(lost.owner.into(), Ordering::Relaxed);
        self.counters
            .xattrs_lost
            .fetch_add(lost.xattr.into(), Ordering::Relaxed);
        if !lost.failures.is_empty() {
            let path = path();
            for (what, error) in &lost.failures {
                self.problem(format!("{path}: {what}: {error}"));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}
