//! The life of a mount, in the process that serves it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use log::{debug, error, info, warn};
use ocfs2_format::device::BlockDevice;
use ocfs2_fs::{Detected, Error, FileSystem, MountOptions};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::failure::Failure;
use super::farewell::Farewell;
use super::source::{self, Use};
use crate::exit::Exit;
use crate::fuse::{self, SessionOptions, Unmounter};
use crate::mounts;
use crate::text::printable;

/// How long a user looks at a silent terminal before it says what it waits for.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// What to mount, and how.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Image file or device, as the system calls it.
    pub(crate) source: PathBuf,
    /// The partition in it.
    pub(crate) partition: Option<u32>,
    /// Who else may use it.
    pub(crate) how: Use,
    /// About the volume.
    pub(crate) volume: MountOptions,
}

/// A volume that is mounted in this process, and nowhere to be seen yet.
#[derive(Debug)]
pub(crate) struct Volume {
    fs: FileSystem,
    label: String,
    uuid: String,
}

/// A mount that works, for those who wait for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mounted {
    /// What is mounted.
    pub(crate) source: String,
    /// Where.
    pub(crate) directory: String,
    /// Type, as the mount table has it.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Options, as the mount table has them.
    pub(crate) options: Vec<String>,
    /// The volume's label.
    pub(crate) label: String,
    /// The volume's UUID.
    pub(crate) uuid: String,
    /// The process that serves it.
    pub(crate) pid: u32,
}

impl fmt::Display for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            directory,
            kind,
            options,
            ..
        } = self;
        write!(f, "{source} on {directory} type {kind} ({})", options.join(","))
    }
}

impl Job {
    /// Opens the volume, recovers what crashed nodes have left, and takes a slot.
    ///
    /// # Errors
    /// [`Failure`]s.
    pub(crate) fn mount(&self) -> anyhow::Result<Volume> {
        let named = || self.source.display();
        let waits = || info!("{}: waiting for another program to let go of it", named());
        let device = source::open(&self.source, self.partition, self.how, waits)?;
        let detected = Detected::on(device.as_ref()).map_err(|error| self.failed(&error))?;
        let superblock = detected.superblock();
        let (label, uuid) = (printable(superblock.label()).into_owned(), superblock.uuid_text());
        let clustered = !detected.geometry().features.local();
        if clustered && self.how != Use::Alone {
            info!(
                "{}: made for a cluster: what other nodes change from here on may not be seen",
                named()
            );
        }
        let fs = self.watched(device, clustered)?;
        Ok(Volume { fs, label, uuid })
    }

    /// Mounts the volume, and says so where that takes its time.
    fn watched(&self, device: Arc<dyn BlockDevice>, clustered: bool) -> Result<FileSystem, Failure> {
        let (done, waits) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                if waits.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
                    let what = match clustered && self.how == Use::Alone {
                        true => "watching the heartbeats of its cluster for a sign of life",
                        false => "recovering what was not written to its place",
                    };
                    info!("{}: {what}", self.source.display());
                }
            });
            let mounted = FileSystem::mount(device, &self.volume).map_err(|error| self.failed(&error));
            drop(done);
            mounted
        })
    }

    fn failed(&self, error: &Error) -> Failure {
        let source = self.source.display();
        match error {
            Error::Busy { why } => Failure::mount(format_args!("{source}: {why}")),
            other => Failure::mount(format_args!("{source}: {other}")),
        }
    }
}

impl Volume {
    /// Ends the mount, and leaves the volume clean.
    ///
    /// # Errors
    /// The library's. The next mount recovers the volume.
    pub(crate) fn unmount(self) -> anyhow::Result<()> {
        Ok(self.fs.unmount()?)
    }

    /// The volume's label and UUID.
    pub(crate) fn names(&self) -> (&str, &str) {
        (&self.label, &self.uuid)
    }

    /// Lets the volume appear as `dir`, calls `ready` once it does, and serves until it is unmounted. Leaves it clean, or says
    /// why not and returns the status for that.
    ///
    /// # Errors
    /// [`Failure`]s, before `ready`, and that of `ready`.
    pub(crate) fn serve(
        self,
        dir: &Path,
        options: &SessionOptions,
        ready: impl FnOnce(&Mounted) -> anyhow::Result<()>,
    ) -> anyhow::Result<Exit> {
        // From here on a signal must not end the process: the volume is dirty.
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
            .map_err(|error| Failure::new(Exit::SYSTEM, format_args!("watching for signals: {error}")));
        let started = signals.map_err(anyhow::Error::from).and_then(|signals| {
            let session =
                fuse::start(self.fs.clone(), dir, options).map_err(|error| cannot_start(dir, options, &error))?;
            Ok((signals, session))
        });
        let (signals, session) = match started {
            Ok(started) => started,
            Err(error) => {
                // What went wrong first is what the user has to know.
                let _ = self.unmount();
                return Err(error);
            }
        };
        let unmounter = session.unmounter();
        detach_on_panic(dir);
        let mount = mounts::mount_at(dir).unwrap_or_default();
        let farewell = match &mount {
            Some(mount) => Farewell::of_mount(mount).unwrap_or_default(),
            None => Farewell::default(),
        };
        let mounted = self.describe(dir, options, mount);
        let last_word = LastWord {
            farewell,
            source: options.source.clone(),
        };
        let for_signals = Arc::new(Mutex::new(Some(self.fs)));
        let watcher = Watcher {
            dir: dir.to_owned(),
            unmounter: unmounter.clone(),
            fs: for_signals.clone(),
            last_word: last_word.clone(),
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || watcher.watch(signals))?;
        let mut told = Ok(());
        let served = thread::scope(|scope| {
            let serving = scope.spawn(move || session.run());
            told = ready(&mounted);
            if let Err(error) = &told {
                debug!("nobody waits for the mount any more: {error:#}");
                drop(unmounter.unmount());
            }
            serving.join()
        });
        let served = served.unwrap_or_else(|_| Err(anyhow!("a thread of the session panicked")));
        // With the last of its users the device is free for the next: before anybody hears that this is the end.
        drop(for_signals.lock().unwrap_or_else(PoisonError::into_inner).take());
        last_word.say(&served);
        told?;
        Ok(if served.is_ok() { Exit::OK } else { Exit::MOUNT })
    }

    /// What became of the wishes.
    fn describe(&self, dir: &Path, options: &SessionOptions, mount: Option<mounts::Mount>) -> Mounted {
        let words = mount.as_ref().map(|mount| {
            let all = mount.options.iter().flat_map(|list| list.split(','));
            let mut words: Vec<String> = Vec::new();
            for word in all {
                // Both halves begin with it.
                if !words.iter().any(|known| known == word) && !word.contains("_id=") {
                    words.push(word.to_owned());
                }
            }
            words
        });
        Mounted {
            source: options.source.clone(),
            directory: dir.display().to_string(),
            kind: mount.map_or_else(|| mounts::OUR_TYPE.to_owned(), |mount| mount.kind),
            options: words.unwrap_or_default(),
            label: self.label.clone(),
            uuid: self.uuid.clone(),
            pid: std::process::id(),
        }
    }
}

/// Tells those who wait, and the log, how a mount ended.
#[derive(Clone, Debug)]
struct LastWord {
    farewell: Farewell,
    source: String,
}

impl LastWord {
    fn say(&self, served: &anyhow::Result<()>) {
        match served {
            Ok(()) => info!("{}: unmounted", self.source),
            Err(error) => error!("{}: unmounted, but not clean: {error:#}", self.source),
        }
        self.farewell.say(served.as_ref().err());
    }
}

/// Unmounts when a signal says so.
#[derive(Debug)]
struct Watcher {
    dir: PathBuf,
    unmounter: Unmounter,
    fs: Arc<Mutex<Option<FileSystem>>>,
    last_word: LastWord,
}

impl Watcher {
    fn watch(self, mut signals: Signals) {
        let mut signals = signals.forever();
        if signals.next().is_none() {
            return;
        }
        let (dir, unmounter) = (self.dir.clone(), self.unmounter.clone());
        // Beside this thread: a disk that does not answer must not keep the second signal from being heard.
        let leaving = thread::Builder::new().name("leaving".to_owned()).spawn(move || {
            leave(&dir, &unmounter);
        });
        if let Err(error) = leaving {
            error!("unmounting: {error}");
        }
        if signals.next().is_none() {
            return;
        }
        let Some(fs) = self.fs.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        warn!("{}: not waiting for files that are open", self.dir.display());
        let ended = fs.unmount().map_err(anyhow::Error::from);
        self.last_word.say(&ended);
        let exit = if ended.is_ok() { Exit::OK } else { Exit::MOUNT };
        std::process::exit(exit.into());
    }
}

/// Takes the directory away. The session ends when nobody has anything open in it.
fn leave(dir: &Path, unmounter: &Unmounter) {
    // Files that stay open shall at least not lose what was written so far.
    if let Ok(root) = File::open(dir) {
        let _ = rustix::fs::syncfs(&root);
    }
    match unmounter.unmount() {
        Ok(()) => {}
        Err(error) => return error!("unmounting {}: {error}", dir.display()),
    }
    thread::sleep(SILENCE);
    info!(
        "{}: waiting for files that are still open there; another signal ends without",
        dir.display()
    );
}

/// Leaves no directory behind that answers nobody when a thread panics: a request would wait for its reply forever. What
/// was durable is safe, as after a crash.
fn detach_on_panic(dir: &Path) {
    let dir = dir.to_owned();
    let inherited = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        inherited(panic);
        error!("a bug in this program ends the mount of {}: {panic}", dir.display());
        // Its own process, as unmounting may need answers from this one until that is gone.
        let _ = Command::new("/proc/self/exe")
            .args(["umount", "--lazy", "--no-wait", "--"])
            .arg(&dir)
            .spawn();
        std::process::abort();
    }));
}

/// Why a volume does not appear as a directory.
fn cannot_start(dir: &Path, options: &SessionOptions, error: &io::Error) -> Failure {
    let at = dir.display();
    let is_root = rustix::process::geteuid().is_root();
    if error.to_string().contains("user_allow_other") {
        return Failure::denied(format_args!(
            "{at}: allow_other is for root only, unless the administrator puts a line 'user_allow_other' into \
             /etc/fuse.conf"
        ));
    }
    let missing = error.kind() == io::ErrorKind::NotFound;
    if missing && !is_root {
        return Failure::new(
            Exit::SYSTEM,
            format_args!("{at}: fusermount3 is needed by users who are not root, and is not installed"),
        );
    }
    match error.raw_os_error() {
        Some(_) => Failure::io(format_args!("{at}: mounting {}", options.source), error),
        // In the words of fusermount3.
        None => Failure::denied(format_args!("{at}: {error}")),
    }
}

/// The directory to mount on, in the form in which the mount table has it. What is left of a mount that crashed there is
/// cleared away.
///
/// # Errors
/// When it is none.
pub(crate) fn mount_point(dir: &Path) -> Result<PathBuf, Failure> {
    let failed = |error: io::Error| Failure::io(format_args!("mount point {}", dir.display()), &error);
    // The system remembers the attributes of the directory itself for a while.
    match rustix::fs::statfs(dir) {
        Err(error) if is_dead(error) => {
            let dir = place_of(dir).map_err(failed)?;
            let dead = mounts::mount_at(&dir).map_err(failed)?;
            if !dead.is_some_and(|mount| mount.is_ours()) {
                return Err(failed(error.into()));
            }
            info!("{}: clearing away a mount whose program has crashed", dir.display());
            Unmounter::of(&dir).unmount().map_err(failed)?;
            mount_point(&dir)
        }
        Err(error) => Err(failed(error.into())),
        Ok(_) if !dir.is_dir() => Err(Failure::mount(format_args!(
            "mount point {}: not a directory",
            dir.display()
        ))),
        Ok(_) => fs::canonicalize(dir).map_err(failed),
    }
}

/// Whether the program behind a directory is gone.
fn is_dead(error: Errno) -> bool {
    matches!(error, Errno::NOTCONN | Errno::CONNABORTED)
}

/// The canonical name of a directory that need not answer.
pub(crate) fn place_of(dir: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(dir) {
        Err(error) if Errno::from_io_error(&error).is_some_and(is_dead) => {
            let absolute = std::path::absolute(dir)?;
            match (absolute.parent(), absolute.file_name()) {
                (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
                _ => Err(error),
            }
        }
        found => found,
    }
}

/// Fails where FUSE is not there, before anything has been done to the volume.
///
/// # Errors
/// What is missing.
pub(crate) fn require_fuse() -> Result<(), Failure> {
    match fs::metadata("/dev/fuse") {
        Ok(found) if found.file_type().is_char_device() => Ok(()),
        _ => Err(Failure::new(
            Exit::SYSTEM,
            "there is no /dev/fuse: the kernel's fuse module is not loaded, or this container may not use it",
        )),
    }
}
