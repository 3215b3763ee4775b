//! A guest kernel that has been started.

use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::{Kernel, KernelError, Link, Output};

/// A guest kernel at work. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    streams: Arc<Streams>,
    readers: Vec<JoinHandle<()>>,
    mark: String,
    limit: Duration,
    deadline: Instant,
    dir: Option<tempfile::TempDir>,
    _permit: Arc<Permit>,
}

impl Running {
    /// Starts guests that need each other: all at once, so that nobody waits for one while holding another.
    pub(super) fn start(kernels: &[Kernel]) -> Result<Vec<Self>, KernelError> {
        let permit = Arc::new(Permit::take(kernels.len()));
        kernels
            .iter()
            .map(|kernel| Self::boot(kernel, Arc::clone(&permit)))
            .collect()
    }

    fn boot(kernel: &Kernel, permit: Arc<Permit>) -> Result<Self, KernelError> {
        let mark = format!("o2t{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = prepare(kernel, &mark).map_err(KernelError::Start)?;
        let mut child = command(kernel, &mark, dir.path())
            .and_then(|mut command| command.spawn())
            .map_err(KernelError::Start)?;

        let streams = Arc::new(Streams::default());
        let readers = [
            child
                .stdout
                .take()
                .map(|pipe| streams.read(pipe, |bytes| &mut bytes.console)),
            child
                .stderr
                .take()
                .map(|pipe| streams.read(pipe, |bytes| &mut bytes.script)),
        ];
        Ok(Self {
            child,
            streams,
            readers: readers.into_iter().flatten().collect(),
            mark,
            limit: kernel.timeout,
            deadline: Instant::now() + kernel.timeout,
            dir: Some(dir),
            _permit: permit,
        })
    }

    /// Waits until `reached` accepts what the script has written so far; false when the script ended first.
    pub fn wait_until(&mut self, mut reached: impl FnMut(&str) -> bool) -> Result<bool, KernelError> {
        let mut bytes = self.streams.lock();
        loop {
            let seen = Transcript::parse(&bytes.script, &self.mark);
            if reached(&seen.stdout) {
                return Ok(true);
            }
            if seen.status.is_some() {
                return Ok(false);
            }
            if bytes.ended == self.readers.len() {
                return Err(KernelError::Died {
                    stdout: seen.or_everything(&bytes.script),
                    console: text(&bytes.console),
                });
            }
            let Some(left) = self.deadline.checked_duration_since(Instant::now()) else {
                let (stdout, console) = (seen.or_everything(&bytes.script), text(&bytes.console));
                return Err(KernelError::TimedOut {
                    limit: self.limit,
                    stdout,
                    console,
                });
            };
            bytes = self
                .streams
                .changed
                .wait_timeout(bytes, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for the end of the script and of the kernel.
    pub fn wait(mut self) -> Result<Output, KernelError> {
        self.wait_until(|_| false)?;
        // The script is done and its volumes are unmounted and synced: what is left is the kernel's own end.
        self.wait_for_end_of_streams(SHUTDOWN);
        Ok(self.finish())
    }

    /// Kills the kernel at once. Writes the disks have received stay, all others are lost.
    pub fn power_cut(self) -> Output {
        self.finish()
    }

    fn finish(mut self) -> Output {
        self.kill();
        let bytes = self.streams.lock();
        let seen = Transcript::parse(&bytes.script, &self.mark);
        Output {
            status: seen.status.unwrap_or(Output::POWER_CUT),
            stdout: seen.stdout,
            console: text(&bytes.console),
            dir: self
                .dir
                .take()
                .expect("only finish takes it, and it consumes the value"),
        }
    }

    /// User-mode Linux is many processes: the kernel, its disk threads, one per address space of the guest. They form one
    /// group, and all hold our pipes, so when the pipes end nobody is left who could still write to a disk.
    fn kill(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
        if self.wait_for_end_of_streams(SHUTDOWN) {
            for reader in self.readers.drain(..) {
                let _ = reader.join();
            }
        }
    }

    fn wait_for_end_of_streams(&self, limit: Duration) -> bool {
        let ended = |bytes: &mut Bytes| bytes.ended < self.readers.len();
        let (_bytes, wait) = self
            .streams
            .changed
            .wait_timeout_while(self.streams.lock(), limit, ended)
            .unwrap_or_else(PoisonError::into_inner);
        !wait.timed_out()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the guest has written, filled by one thread for each pipe.
#[derive(Debug, Default)]
struct Streams {
    bytes: Mutex<Bytes>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Bytes {
    script: Vec<u8>,
    console: Vec<u8>,
    ended: usize,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, Bytes> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<R: Read + Send + 'static>(
        self: &Arc<Self>,
        mut pipe: R,
        which: fn(&mut Bytes) -> &mut Vec<u8>,
    ) -> JoinHandle<()> {
        let streams = Arc::clone(self);
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let length = match pipe.read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Ok(0) | Err(_) => break,
                    Ok(length) => length,
                };
                which(&mut streams.lock()).extend_from_slice(&buffer[..length]);
                streams.changed.notify_all();
            }
            streams.lock().ended += 1;
            streams.changed.notify_all();
        })
    }
}

/// The part of a stream between the marks that the guest's first process sets.
#[derive(Debug, PartialEq, Eq)]
struct Transcript {
    stdout: String,
    status: Option<i32>,
}

impl Transcript {
    fn parse(stream: &[u8], mark: &str) -> Self {
        let begin = format!("@@BEGIN-{mark}\n");
        let end = format!("\n@@END-{mark} ");
        let Some(start) = find(stream, begin.as_bytes()) else {
            return Self {
                stdout: String::new(),
                status: None,
            };
        };
        let body = stream.get(start + begin.len()..).unwrap_or_default();
        let Some(stop) = find(body, end.as_bytes()) else {
            return Self {
                stdout: text(body),
                status: None,
            };
        };
        let number = text(body.get(stop + end.len()..).unwrap_or_default());
        let status = number.split_once('\n').and_then(|(number, _)| number.parse().ok());
        Self {
            stdout: text(body.get(..stop).unwrap_or_default()),
            status,
        }
    }

    /// Before the first mark there are messages of user-mode Linux itself, which explain why it did not start.
    fn or_everything(self, stream: &[u8]) -> String {
        if self.stdout.is_empty() {
            text(stream)
        } else {
            self.stdout
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Lays out the directory the guest starts from.
fn prepare(kernel: &Kernel, mark: &str) -> io::Result<tempfile::TempDir> {
    let dir = tempfile::Builder::new().prefix("ocfs2-uml.").tempdir()?;
    let path = dir.path();
    for sub in ["out", "kit", "uml", "lib"] {
        std::fs::create_dir(path.join(sub))?;
    }
    // modprobe looks for its modules in lib/modules below the directory it is given.
    std::os::unix::fs::symlink(&kernel.install.modules, path.join("lib/modules"))?;
    for (name, content) in super::KIT {
        std::fs::write(path.join("kit").join(name), content)?;
    }
    for (name, content) in &kernel.files {
        std::fs::write(path.join("kit").join(name), content)?;
    }
    let limit = kernel.timeout.as_secs().saturating_add(30);
    std::fs::write(
        path.join("settings"),
        format!("MARK={mark}\nLIMIT={limit}\nMODULES='{MODULES}'\n"),
    )?;
    std::fs::write(path.join("fstab"), FSTAB)?;
    std::fs::write(path.join("script"), &kernel.script)?;
    std::fs::write(path.join("init"), INIT)?;
    std::fs::set_permissions(path.join("init"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(dir)
}

fn command(kernel: &Kernel, mark: &str, dir: &Path) -> io::Result<Command> {
    let mut command = Command::new(&kernel.install.linux);
    command
        .arg(format!("mem={}M", kernel.memory_mib))
        .args(["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet"])
        .args(["con=null", "con0=null,fd:1", "con1=null,fd:2"])
        .arg(format!("init={}", dir.join("init").display()))
        .arg(format!("umid={mark}"))
        .arg(format!("uml_dir={}", dir.join("uml").display()));
    for (path, letter) in kernel.disks.iter().zip('a'..='p') {
        // c: shared with others, so neither locked nor refused when locked.
        command.arg(format!("ubd{letter}c={}", std::fs::canonicalize(path)?.display()));
    }
    if kernel.disks.len() > 16 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a guest has at most 16 disks",
        ));
    }
    if let Some(Link { local, remote }) = kernel.link {
        command.arg(format!(
            "vec0:transport=l2tpv3,udp=1,src=127.0.0.1,dst=127.0.0.1,srcport={local},dstport={remote},\
             rx_session={local:#x},tx_session={remote:#x}"
        ));
    }
    // The guest's memory is a file. Containers often have a tiny /dev/shm, where it would die half-way.
    let shm = rustix::fs::statvfs("/dev/shm").map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    if shm < u64::from(kernel.memory_mib) * 2 * 1024 * 1024 {
        command.env("TMPDIR", dir);
    }
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// Leave to run guests: each is busy, and the machines that run tests have few processors.
#[derive(Debug)]
struct Permit(usize);

impl Permit {
    /// Waits for leave to run `guests` at a time. More than the limit may run when they belong together and nothing else runs.
    fn take(guests: usize) -> Self {
        let count = guests.min(LIMIT);
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        while *free < count {
            free = FREED.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= count;
        Self(count)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
        FREED.notify_all();
    }
}

const LIMIT: usize = 2;
static FREE: Mutex<usize> = Mutex::new(LIMIT);
static FREED: Condvar = Condvar::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// From the end of the script, or from the kill, to the end of the last process.
const SHUTDOWN: Duration = Duration::from_secs(5);

const MODULES: &str = "quota_v2 ocfs2 ocfs2_stack_o2cb ocfs2_dlmfs";
const INIT: &str = include_str!("../guest/init");
const FSTAB: &str = include_str!("../guest/fstab");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_what_stands_between_the_marks() {
        let parse = |stream: &str| Transcript::parse(stream.as_bytes(), "m");
        let expected = |stdout: &str, status| Transcript {
            stdout: stdout.to_owned(),
            status,
        };
        assert_eq!(parse("noise\n@@BEGIN-m\na\nb\n@@END-m 0\n"), expected("a\nb", Some(0)));
        assert_eq!(parse("@@BEGIN-m\na\n\n@@END-m 3\nlate"), expected("a\n", Some(3)));
        assert_eq!(
            parse("@@BEGIN-m\na\n@@END-other 3\n"),
            expected("a\n@@END-other 3\n", None)
        );
        assert_eq!(
            parse("@@BEGIN-m\na\n@@END-m 1"),
            expected("a", None),
            "the number may still grow"
        );
        assert_eq!(parse("noise"), expected("", None));
    }
}
