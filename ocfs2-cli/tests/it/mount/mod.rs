//! Volumes as directories of this machine: `ocfs2 mount`, `ocfs2 umount`, and the names that mount(8) calls.

mod both_ways;
mod ends;
mod kill;
mod life;
mod options;
mod recovery;
mod sources;
mod users;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ocfs2_testkit::{fsck_clean, require_fuse, require_tool};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::run::{PROGRAM, Said, ocfs2};

/// How long a test waits for what should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A volume in an image file, and a directory to mount it on.
pub(crate) struct Bed {
    dir: TempDir,
}

impl Bed {
    /// A volume made with these options of mkfs; `None` after saying aloud what is missing here.
    pub(crate) fn new(options: &[&str]) -> Option<Bed> {
        if !require_fuse() || require_tool("fsck.ocfs2").is_none() {
            return None;
        }
        let bed = Bed {
            dir: tempfile::tempdir().expect("a directory"),
        };
        fs::create_dir(bed.point()).expect("a directory");
        let image = File::create(bed.image()).expect("a file");
        image.set_len(256 << 20).expect("a sparse file");
        let words = ["mkfs", "-q", "-L", "bed"].iter().chain(options).map(OsStr::new);
        let made = ocfs2(words.chain([bed.image().as_os_str()]));
        assert_eq!(made.status, 0, "{made:?}");
        Some(bed)
    }

    /// A volume for one node.
    pub(crate) fn local() -> Option<Bed> {
        Bed::new(&["-M", "local"])
    }

    /// The folder of everything.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The image file.
    pub(crate) fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// The directory to mount on.
    pub(crate) fn point(&self) -> PathBuf {
        self.dir.path().join("point")
    }

    /// A path on the mounted volume.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.point().join(name)
    }

    /// `ocfs2 mount OPTIONS IMAGE POINT`.
    pub(crate) fn try_mount(&self, options: &[&str]) -> Said {
        let words = ["mount"].iter().chain(options).map(OsStr::new);
        ocfs2(words.chain([self.image().as_os_str(), self.point().as_os_str()]))
    }

    /// The same, which must work. Returns the process that serves.
    pub(crate) fn mount(&self, options: &[&str]) -> Pid {
        let said = self.try_mount(&[&["--json"], options].concat());
        assert_eq!(said.status, 0, "{said:?}");
        let document: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON");
        let pid = document["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        Pid::from_raw(pid.expect("a process")).expect("a process")
    }

    /// `ocfs2 umount POINT`, which must work, and leave a clean volume.
    pub(crate) fn umount(&self) {
        let text = umount([self.point().as_os_str()]).ok();
        assert_eq!(text, "");
        self.assert_clean();
    }

    /// Fails unless nothing is left to be done to the volume.
    pub(crate) fn assert_clean(&self) {
        fsck_clean(self.image());
        let listed = ocfs2(["mounted", "-f", "--json", self.image().to_str().expect("UTF-8")]).ok();
        let document: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        assert_eq!(
            document["volumes"][0]["nodes"]["mounted"],
            serde_json::json!([]),
            "{document}"
        );
    }

    /// Whether something is mounted on the directory.
    pub(crate) fn is_mounted(&self) -> bool {
        self.mount_line().is_some()
    }

    /// What the mount table says of the directory.
    pub(crate) fn mount_line(&self) -> Option<String> {
        let table = fs::read_to_string("/proc/self/mounts").expect("a mount table");
        let point = self.point();
        let mut lines = table.lines().filter(|line| line.split(' ').nth(1) == point.to_str());
        lines.next_back().map(str::to_owned)
    }

    /// `ocfs2 mount --foreground OPTIONS IMAGE POINT`, mounted.
    pub(crate) fn serve(&self, options: &[&str]) -> Served {
        let log = self.dir.path().join("log");
        let mut child = Command::new(PROGRAM)
            .args(["mount", "--foreground"])
            .args(options)
            .args([self.image(), self.point()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a file"))
            .spawn()
            .expect("the program starts");
        until("the volume is mounted", || {
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "{}", fs::read_to_string(&log).unwrap_or_default());
            self.is_mounted()
        });
        Served { child, log }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // A test that failed leaves it mounted.
        if self.is_mounted() {
            let _ = ocfs2(["umount".as_ref(), "--lazy".as_ref(), self.point().as_os_str()]);
        }
    }
}

/// A mount in the foreground.
pub(crate) struct Served {
    child: Child,
    log: PathBuf,
}

impl Served {
    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process is there");
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        until("the mount ends", || {
            ended = self.child.try_wait().expect("a child");
            ended.is_some()
        });
        ended.expect("just seen")
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// What it has said on stderr so far.
    pub(crate) fn said(&self) -> String {
        let mut text = String::new();
        File::open(&self.log)
            .and_then(|mut log| log.read_to_string(&mut text))
            .expect("a log");
        text
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `ocfs2 umount ARGS`, when nothing is open: another test may be between fork and exec, and until then its child has a copy
/// of every file that is open here, or was a moment ago.
pub(crate) fn umount<'a>(args: impl IntoIterator<Item = &'a OsStr> + Clone) -> Said {
    let give_up = Instant::now() + SOON;
    loop {
        let said = ocfs2([OsStr::new("umount")].into_iter().chain(args.clone()));
        if !said.stderr.contains("something on it is open") || Instant::now() > give_up {
            return said;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `reached`.
pub(crate) fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let give_up = Instant::now() + SOON;
    while !reached() {
        assert!(Instant::now() < give_up, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Kills a process as a crash would, and waits until it is gone.
pub(crate) fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).expect("the process is there");
    until("the process is gone", || !runs(pid));
}

/// Whether a process runs, zombies aside.
pub(crate) fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // The name in parentheses may hold anything.
    stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.starts_with(" Z")))
}
