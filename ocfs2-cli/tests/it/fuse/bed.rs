//! A volume that appears as a directory, through the binary.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ocfs2_testkit::tools;
use tempfile::TempDir;

use crate::run::{self, PROGRAM};

/// How long a mount may take to appear and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A volume in a file, and the directory that it appears as.
pub(crate) struct Bed {
    // Before the folder with the directory goes.
    served: Option<Child>,
    folder: TempDir,
}

/// Whether directories can be served here. Says so if not, and fails where they have to be.
pub(crate) fn can_mount() -> bool {
    let why = match File::options().read(true).write(true).open("/dev/fuse") {
        Ok(_) if rustix::process::geteuid().is_root() => return true,
        Ok(_) => "not root".to_owned(),
        Err(error) => format!("/dev/fuse: {error}"),
    };
    ocfs2_testkit::skip(&format!("cannot mount: {why}"));
    false
}

impl Bed {
    /// A mounted volume of 256 MiB; `None` where nothing can be mounted.
    pub(crate) fn new() -> Option<Bed> {
        Self::with(&[], &[])
    }

    /// As [`new`](Self::new), with options of `ocfs2 mkfs` and `ocfs2 mount`.
    pub(crate) fn with(mkfs: &[&str], mount: &[&str]) -> Option<Bed> {
        Self::of_size(256 << 20, mkfs, mount)
    }

    /// As [`with`](Self::with), of so many bytes.
    pub(crate) fn of_size(bytes: u64, mkfs: &[&str], mount: &[&str]) -> Option<Bed> {
        if !can_mount() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a directory");
        let mut bed = Bed { served: None, folder };
        let image = File::create(bed.image()).expect("an image");
        image.set_len(bytes).expect("an image of that size");
        drop(image);
        fs::create_dir(bed.dir()).expect("a place to mount");
        let base = ["mkfs", "-q", "-M", "local", "-N", "2", "--yes"].map(str::to_owned);
        let options = mkfs.iter().map(|&option| option.to_owned());
        let image = bed.image().display().to_string();
        run::ocfs2(base.into_iter().chain(options).chain([image])).ok();
        bed.mount(mount);
        Some(bed)
    }

    /// The folder that both are in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The image file.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// The directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("dir")
    }

    /// A path in the directory.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir().join(path)
    }

    /// Mounts what [`unmount`](Self::unmount) left.
    pub(crate) fn mount(&mut self, options: &[&str]) {
        assert!(self.served.is_none(), "mounted already");
        let child = Command::new(PROGRAM)
            .args(["mount", "--foreground"])
            .args(options)
            .args([self.image(), self.dir()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let child = self.served.insert(child);
        let outside = fs::metadata(self.folder.path()).expect("a folder").dev();
        let dir = self.folder.path().join("dir");
        let since = Instant::now();
        while fs::metadata(&dir).expect("the directory answers").dev() == outside {
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "the mount ended: {ended:?}");
            assert!(since.elapsed() < PATIENCE, "no mount appeared");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Unmounts, and waits until the volume is clean.
    pub(crate) fn unmount(&mut self) {
        let since = Instant::now();
        loop {
            let unmounted = Command::new("umount").arg(self.dir()).output().expect("umount starts");
            if unmounted.status.success() {
                break;
            }
            // Another test may be between fork and exec, and until then its child has every file open that is open here.
            assert!(since.elapsed() < PATIENCE, "{unmounted:?}");
            thread::sleep(Duration::from_millis(10));
        }
        let status = self.served.take().expect("mounted").wait().expect("a child");
        assert!(status.success(), "{status}");
    }

    /// Kills the process that serves the directory.
    pub(crate) fn crash(&mut self) {
        let mut child = self.served.take().expect("mounted");
        child.kill().expect("a child");
        child.wait().expect("a child");
        let _ = rustix::mount::unmount(self.dir(), rustix::mount::UnmountFlags::DETACH);
    }

    /// Unmounts and mounts again.
    pub(crate) fn remount(&mut self) {
        self.unmount();
        self.mount(&[]);
    }

    /// Unmounts, and has the reference judge what is left.
    pub(crate) fn end(mut self) {
        self.unmount();
        tools::fsck_clean(self.image());
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(mut child) = self.served.take() {
            let _ = rustix::mount::unmount(self.dir(), rustix::mount::UnmountFlags::DETACH);
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Runs a shell script as a user without any rights, with `$1` the path. Returns its status.
pub(crate) fn as_nobody(script: &str, path: &Path) -> i32 {
    let status = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
        .args(["sh", "-c", script, "sh"])
        .arg(path)
        .stderr(Stdio::null())
        .status()
        .expect("setpriv starts");
    status.code().unwrap_or(-1)
}
