//! A real Linux kernel with its own OCFS2 driver, as an ordinary process: user-mode Linux.
//!
//! Source: Debian's packages `user-mode-linux` and `kmod`; Linux 6.1 kernel behaviour.
//!
//! [`Kernel`] describes a machine: its memory, its disks and the bash script it runs. The machine's root file system is
//! the host's own (hostfs), so every program of the host can be called; disks appear as `/dev/ubda`, `/dev/ubdb`, ... in the
//! order given; the modules ocfs2, o2cb and dlmfs are loaded and `/mnt/a` and `/mnt/b` are empty directories to mount on.
//! `$OUT` is a directory of the host for results ([`Output::out`]). `$KIT` holds the files given by [`Kernel::file`], and
//! Python scripts: `facts.py`, the collector ([`collector_script`]); `objects.py`, which makes objects of every kind;
//! `populate.py`, which fills a volume from a seed; `cluster.sh`, which brings up an O2CB cluster.
//! Whoever runs the tests owns what the script can reach: a script must write under `/mnt`, `/run` and `$OUT` only.
//!
//! Killing the process is a power cut: [`Kernel::run_until`], or [`Kernel::spawn`] and [`Running::power_cut`].

mod install;
mod running;

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use install::Install;
pub use install::Missing;
pub use running::Running;

/// Description of one guest kernel and of the script it runs.
#[derive(Clone, Debug)]
pub struct Kernel {
    install: Install,
    memory_mib: u32,
    timeout: Duration,
    disks: Vec<PathBuf>,
    link: Option<Link>,
    files: Vec<(String, Vec<u8>)>,
    script: String,
}

/// One end of a wire between two guests: datagrams between two local ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Port of this end.
    pub local: u16,
    /// Port of the other end.
    pub remote: u16,
}

impl Link {
    /// Both ends of a new wire.
    pub fn pair() -> std::io::Result<(Self, Self)> {
        let sockets = (
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
        );
        let (local, remote) = (sockets.0.local_addr()?.port(), sockets.1.local_addr()?.port());
        Ok((
            Self { local, remote },
            Self {
                local: remote,
                remote: local,
            },
        ))
    }
}

/// What a guest kernel left behind.
#[derive(Debug)]
pub struct Output {
    /// Exit status of the script; [`POWER_CUT`](Self::POWER_CUT) when the kernel was killed before the script's end.
    pub status: i32,
    /// What the script wrote to its standard output and standard error, in order.
    pub stdout: String,
    /// What the kernel wrote to its console: warnings and worse.
    pub console: String,
    dir: tempfile::TempDir,
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The process could not be prepared or started.
    #[error("cannot start the guest kernel")]
    Start(#[source] std::io::Error),
    /// The script did not end in time; the kernel has been killed.
    #[error("the guest kernel did not finish within {limit:?}; script output:\n{stdout}\nconsole:\n{console}")]
    TimedOut {
        /// The limit that was set.
        limit: Duration,
        /// Script output so far.
        stdout: String,
        /// Kernel console so far.
        console: String,
    },
    /// The kernel ended before its script did: a panic, or it never got that far.
    #[error("the guest kernel ended before its script; script output:\n{stdout}\nconsole:\n{console}")]
    Died {
        /// Script output so far.
        stdout: String,
        /// Kernel console.
        console: String,
    },
}

impl Kernel {
    /// A machine with 256 MiB of memory, no disks, and two minutes of time.
    ///
    /// # Panics
    ///
    /// When user-mode Linux is not installed; tests use [`require_kernel`](crate::require_kernel).
    #[expect(
        clippy::new_without_default,
        reason = "a default value must not depend on what is installed"
    )]
    pub fn new() -> Self {
        match Self::installed() {
            Ok(kernel) => kernel,
            Err(missing) => panic!("{missing}"),
        }
    }

    /// The same, or what is missing on this machine.
    pub fn installed() -> Result<Self, Missing> {
        Ok(Self {
            install: Install::find()?,
            memory_mib: 256,
            timeout: Duration::from_secs(120),
            disks: Vec::new(),
            link: None,
            files: Vec::new(),
            script: String::new(),
        })
    }

    /// Release of the guest kernel, such as `6.1.176`.
    pub fn release(&self) -> &str {
        &self.install.release
    }

    /// Sets the guest's memory.
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Sets the time after which the guest is killed, from its start.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds the next disk: an image file or block device, shared and not locked.
    pub fn disk(mut self, path: impl AsRef<Path>) -> Self {
        self.disks.push(path.as_ref().to_path_buf());
        self
    }

    /// Adds a network card, `vec0`, whose other end is in another guest. No privilege is needed.
    pub fn link(mut self, end: Link) -> Self {
        self.link = Some(end);
        self
    }

    /// Puts a file into `$KIT`.
    pub fn file(mut self, name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.into(), content.into()));
        self
    }

    /// Sets the bash script.
    pub fn script(mut self, script: impl Into<String>) -> Self {
        self.script = script.into();
        self
    }

    /// Runs the script to its end.
    pub fn run(&self) -> Result<Output, KernelError> {
        self.spawn()?.wait()
    }

    /// Cuts the power as soon as `reached` accepts what the script has written so far; runs to the end if it never does.
    pub fn run_until(&self, reached: impl FnMut(&str) -> bool) -> Result<Output, KernelError> {
        let mut running = self.spawn()?;
        if running.wait_until(reached)? {
            Ok(running.power_cut())
        } else {
            running.wait()
        }
    }

    /// Starts the guest. At most two run at a time in this process; further calls wait here, so a thread that holds a guest
    /// must not start another: see [`spawn_together`](Self::spawn_together).
    pub fn spawn(&self) -> Result<Running, KernelError> {
        let mut running = Running::start(std::slice::from_ref(self))?;
        Ok(running.pop().expect("one was asked for"))
    }

    /// Starts guests that work together, such as the nodes of a cluster.
    pub fn spawn_together(kernels: &[Self]) -> Result<Vec<Running>, KernelError> {
        Running::start(kernels)
    }
}

/// The Python script that prints what the kernel says of every object below a mount point, for [`facts::parse`].
///
/// [`facts::parse`]: crate::facts::parse
pub fn collector_script() -> &'static str {
    FACTS
}

/// Names and contents of the files that every guest finds in `$KIT`: scripts that populate a volume and describe one, for a
/// volume that is mounted on this machine.
pub fn kit() -> &'static [(&'static str, &'static str)] {
    &KIT
}

/// Files that every guest finds in `$KIT`.
const KIT: [(&str, &str); 8] = [
    ("busy.py", include_str!("guest/busy.py")),
    ("interrupted.py", include_str!("guest/interrupted.py")),
    ("sharing.py", include_str!("guest/sharing.py")),
    ("attributes.py", include_str!("guest/attributes.py")),
    ("facts.py", FACTS),
    ("objects.py", include_str!("guest/objects.py")),
    ("populate.py", include_str!("guest/populate.py")),
    ("cluster.sh", include_str!("guest/cluster.sh")),
];
const FACTS: &str = include_str!("guest/facts.py");

impl Output {
    /// [`status`](Self::status) of a guest that was killed.
    pub const POWER_CUT: i32 = -1;

    /// Returns itself when the script succeeded.
    ///
    /// # Panics
    ///
    /// When it did not, showing its output and the console.
    #[track_caller]
    pub fn ok(self) -> Self {
        let Self {
            status,
            stdout,
            console,
            ..
        } = &self;
        assert!(
            *status == 0,
            "the script ended with status {status}\n{stdout}\nconsole:\n{console}"
        );
        self
    }

    /// Where the script's `$OUT` is, as long as this value lives.
    pub fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// Content of a file in `$OUT`.
    pub fn read(&self, name: &str) -> std::io::Result<Vec<u8>> {
        std::fs::read(self.out().join(name))
    }
}
