//! A mounted volume as a directory of this machine: the FUSE side of `ocfs2 mount`.
//!
//! ```text
//! mod       starting, serving and ending a session
//! mount     mount(2) and umount(2), or fusermount3 for those who may not
//! adapter   a method for each request of the kernel: unpack, call the file system, reply
//! shared    what all of them work with, and what takes more than one call
//! inodes    which inodes the kernel knows, and how often it asked for them
//! attr      attributes and times, from the library's form to the protocol's and back
//! ioctl     what can be asked of an open file beyond that
//! caller    who asks
//! room      waiting for room that is about to be there
//! lookout   looking for the next request before going to sleep
//! errno     the one table of error numbers
//! ```
//!
//! There is no logic of a file system here: requests become calls of [`FileSystem`]'s inode layer. The kernel checks
//! permissions (`default_permissions`), keeps names, attributes and contents for as long as it likes (nobody else changes
//! the volume), and keeps file locks.
//!
//! Life of a session: [`start`] mounts, and the kernel's first request is answered; [`Session::run`] serves until somebody
//! unmounts (`umount`, `fusermount3 -u`, an [`Unmounter`]), then ends all uses of inodes and the mount of the volume.
//! Messages about damage go through the [`log`] crate; whoever starts a session sets a logger up.
//!
//! Source: Linux's `include/uapi/linux/fuse.h` and kernel behaviour.

mod adapter;
mod attr;
mod caller;
mod errno;
mod inodes;
mod ioctl;
mod lookout;
mod mount;
mod room;
mod shared;

use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use fuser::SessionACL;
use ocfs2_fs::FileSystem;

use adapter::Adapter;
use shared::Shared;

/// How the volume appears as a directory.
#[derive(Clone, Debug)]
pub(crate) struct SessionOptions {
    /// What `/proc/mounts` names as the source: the image or device.
    pub(crate) source: String,
    /// Let other users than the one who mounts look inside. Only root may, unless `/etc/fuse.conf` says otherwise.
    pub(crate) allow_other: bool,
    /// Have the kernel check permissions by owner and mode. Without it whoever may look inside may do everything.
    pub(crate) default_permissions: bool,
    /// Have the kernel mind POSIX ACLs, too; permissions are checked then in any case. To go with
    /// [`MountOptions::acl`](ocfs2_fs::MountOptions::acl).
    pub(crate) acl: bool,
    /// No changes. To go with [`MountOptions::read_only`](ocfs2_fs::MountOptions::read_only).
    pub(crate) read_only: bool,
    /// Device files open nothing. Always so for those who are not root.
    pub(crate) nodev: bool,
    /// Set-user-ID bits mean nothing. Always so for those who are not root.
    pub(crate) nosuid: bool,
    /// Nothing can be executed.
    pub(crate) noexec: bool,
    /// What is written is durable when write(2) returns, and what is made, removed or renamed when that returns.
    pub(crate) sync: bool,
    /// The second half of [`sync`](Self::sync).
    pub(crate) dirsync: bool,
    /// Threads that serve requests; `None` chooses by the machine.
    pub(crate) threads: Option<usize>,
    /// Let the kernel gather small writes and send them later. A full volume or a quota is noticed late then, when the file
    /// is closed or synced, and `SEEK_HOLE` does not see what was not sent yet.
    pub(crate) writeback: bool,
}

/// A volume that appears as a directory. See [`start`].
#[derive(Debug)]
pub(crate) struct Session {
    session: fuser::Session<Adapter>,
    shared: Arc<Shared>,
    unmounter: Unmounter,
}

/// Lets a mounted volume appear as the directory `dir`. Requests wait until [`Session::run`].
///
/// # Errors
/// Those of mount(2) and of `/dev/fuse`; `fusermount3`'s complaint for users who may not mount. The volume stays mounted
/// in this process until the last clone of `fs` unmounts it.
pub(crate) fn start(fs: FileSystem, dir: &Path, options: &SessionOptions) -> io::Result<Session> {
    let dir = dir.canonicalize()?;
    let threads = options.threads.unwrap_or_else(default_threads).max(1);
    let shared = Arc::new(Shared::new(fs, options, threads));
    let adapter = Adapter::new(shared.clone());
    let mut config = fuser::Config::default();
    config.n_threads = Some(threads);
    config.clone_fd = true;
    let unmounter = Unmounter { dir: dir.clone() };
    let fuse = match mount::as_root(&dir, options)? {
        Some(fuse) => fuse,
        None => mount::by_helper(&dir, options)?,
    };
    // The kernel keeps others out: requests that come from itself have any user.
    let session =
        fuser::Session::from_fd(adapter, fuse, SessionACL::All, config).inspect_err(|_| drop(unmounter.unmount()))?;
    mount::read_ahead(&dir, adapter::MAX_TRANSFER);
    shared.set_notifier(session.notifier());
    shared.lookout.open(&session)?;
    Ok(Session {
        session,
        shared,
        unmounter,
    })
}

impl Session {
    /// Serves the directory until it is unmounted, then unmounts the volume, which makes it clean.
    ///
    /// # Errors
    /// The connection's to the kernel, and those of [`FileSystem::unmount`]. Then the next mount recovers the volume.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let served = match self.session.run() {
            // ENODEV is the end; but a thread that has just taken a request (the end of a file's use, say) when the kernel
            // hangs up is told this.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
            served => served,
        };
        let unmounted = self.shared.end();
        served?;
        Ok(unmounted?)
    }

    /// Ends the session from another thread.
    pub(crate) fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }
}

/// Takes a session's directory away from another thread than the one that [runs](Session::run) it, which ends the run.
#[derive(Clone, Debug)]
pub(crate) struct Unmounter {
    dir: PathBuf,
}

impl Unmounter {
    /// For a directory whose session is not of this process, or has crashed.
    pub(crate) fn of(dir: &Path) -> Self {
        Unmounter { dir: dir.to_owned() }
    }

    /// Unmounts lazily: the directory is empty at once for everybody who comes, and the session ends when the last open
    /// file is closed and the last process has left.
    ///
    /// # Errors
    /// Those of umount(2), or that fusermount3 refused.
    pub(crate) fn unmount(&self) -> io::Result<()> {
        mount::unmount(&self.dir)
    }
}

/// Threads for requests where nobody says how many: as many as can work at a time, and one to go on while another waits for
/// the disk. With twice as many, requests of one program go round from thread to thread, and creates and deletes take twice
/// as long (two processors, `benches/mount`).
fn default_threads() -> usize {
    let processors = available_parallelism().map_or(1, NonZero::get);
    processors.clamp(2, 16)
}
