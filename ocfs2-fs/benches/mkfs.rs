//! Making large volumes in sparse files, against mkfs.ocfs2.
//!
//!     cargo bench -p ocfs2-fs --bench mkfs
//!
//! Both run as a process of their own, taking turns, and both times include making everything durable (`fsync`). The
//! files are in `MKFS_DIR`: memory by default (`/dev/shm`), where nothing but the two programs is measured. `ROUNDS` (5)
//! is how often; times are medians. Ends with a failure when a ratio or the memory is not what it should be.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ocfs2_format::device::{BlockDevice, FileDevice, FileOptions};
use ocfs2_fs::mkfs::{self, MkfsOptions, Plan};
use ocfs2_testkit::require_tool;
use ocfs2_testkit::tools::Tool;

/// A volume, and how many times faster than the reference it has to be made.
struct Case {
    name: &'static str,
    len: u64,
    slots: Option<u16>,
    cluster_size: Option<u32>,
    required: f64,
}

const CASES: [Case; 2] = [
    Case {
        name: "1 TiB, 8 slots",
        len: 1 << 40,
        slots: Some(8),
        cluster_size: None,
        required: 20.0,
    },
    Case {
        name: "10 TiB, clusters of 4 KiB",
        len: 10 << 40,
        slots: None,
        cluster_size: Some(4096),
        required: 30.0,
    },
];

/// Most memory that making a volume may take.
const MEMORY_KIB: u64 = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(MAKE) {
        let (path, index) = (arguments.next(), arguments.next());
        let case = index.and_then(|index| CASES.get(index.parse::<usize>().ok()?));
        let (Some(path), Some(case)) = (path, case) else {
            return Err("make FILE CASE".into());
        };
        return make(Path::new(&path), case);
    }
    let Some(reference) = require_tool("mkfs.ocfs2") else {
        return Ok(());
    };
    let rounds = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let dir = tempfile::tempdir_in(directory())?;
    println!(
        "{:<28} {:>9} {:>11} {:>9} {:>9}",
        "", "ours", "mkfs.ocfs2", "ratio", "memory"
    );
    let mut missed = Vec::new();
    for (index, case) in CASES.iter().enumerate() {
        let (mut ours, mut theirs, mut memory_kib) = (Vec::new(), Vec::new(), 0);
        for _ in 0..rounds {
            let image = dir.path().join("ours.img");
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(MAKE).arg(&image).arg(index.to_string());
            let (time, output) = timed(&image, case.len, || Ok(command.stderr(Stdio::inherit()).output()?))?;
            ours.push(time);
            memory_kib = memory_kib.max(String::from_utf8(output.stdout)?.trim().parse()?);

            let image = dir.path().join("theirs.img");
            let tool = case.reference(&reference, &image);
            theirs.push(timed(&image, case.len, || Ok(tool.run().ok()))?.0);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        println!(
            "{:<28} {:>8.3}s {:>10.3}s {ratio:>8.1}× {:>5.1} MiB",
            case.name,
            ours.as_secs_f64(),
            theirs.as_secs_f64(),
            memory_kib as f64 / 1024.0
        );
        if ratio < case.required {
            missed.push(format!("{}: not {} times faster", case.name, case.required));
        }
        if memory_kib > MEMORY_KIB {
            missed.push(format!("{}: more than {MEMORY_KIB} KiB of memory", case.name));
        }
    }
    match missed.is_empty() {
        true => Ok(()),
        false => Err(missed.join("; ").into()),
    }
}

impl Case {
    fn reference(&self, mkfs: &Tool, image: &Path) -> Tool {
        let slots = self.slots.map(|slots| format!("-N{slots}"));
        let cluster_size = self.cluster_size.map(|bytes| format!("-C{bytes}"));
        let options = slots.into_iter().chain(cluster_size);
        mkfs.clone().args(["-x", "-q", "-F"]).args(options).arg(image)
    }
}

/// What the child process does: makes the volume and says how much memory that took, in KiB.
fn make(path: &Path, case: &Case) -> Result<(), Box<dyn Error>> {
    let device = FileDevice::open(path, &FileOptions::new().writable(true))?;
    let mut options = MkfsOptions::default();
    options.slots = case.slots;
    options.cluster_size = case.cluster_size;
    let plan = Plan::new(device.geometry().len, &options)?;
    mkfs::format(&device, &plan, &mut |_| {})?;
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|value| value.trim().strip_suffix(" kB"));
    println!("{}", peak.ok_or("the system does not tell how much memory was used")?);
    Ok(())
}

/// How long `work` takes on a new sparse file until its bytes are durable. The file is removed after that.
fn timed<T>(
    image: &Path,
    len: u64,
    work: impl FnOnce() -> Result<T, Box<dyn Error>>,
) -> Result<(Duration, T), Box<dyn Error>> {
    File::create_new(image)?.set_len(len)?;
    rustix::fs::sync();
    let start = Instant::now();
    let result = work()?;
    File::open(image)?.sync_all()?;
    let time = start.elapsed();
    fs::remove_file(image)?;
    Ok((time, result))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn directory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    match std::env::var_os("MKFS_DIR") {
        Some(dir) => dir.into(),
        None if memory.is_dir() => memory,
        None => std::env::temp_dir(),
    }
}

/// First argument of a child process.
const MAKE: &str = "make";
