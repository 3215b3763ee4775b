//! A mounted directory, against ext4 through fuse2fs and against a FUSE file system that only passes requests on to a
//! directory: what others do, and what FUSE itself costs.
//!
//!     cargo bench -p ocfs2-cli --bench mount
//!
//! `FILES` (20000), `BIG_MIB` (1024) and `RANDOM` (20000 accesses of 4 KiB) change how much is done, `ROUNDS` (5) how often;
//! of the rounds, in which the file systems take turns, the middle one counts: what it costs to wake a thread changes manyfold
//! from minute to minute on some machines. Images and directories are in `BENCH_DIR`, else in memory (`/dev/shm`), where no
//! disk drowns what is measured. What is read is read from a fresh mount.

mod passthrough;

use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ocfs2_testkit::require_tool;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How much is done.
struct Work {
    files: u64,
    big_mib: u64,
    random: u64,
}

impl Work {
    const FILES_PER_DIR: u64 = 100;

    fn dirs(&self) -> u64 {
        self.files.div_ceil(Self::FILES_PER_DIR)
    }

    /// How many files a directory has.
    fn files_of(&self, dir: u64) -> u64 {
        (self.files - dir * Self::FILES_PER_DIR).min(Self::FILES_PER_DIR)
    }
}

/// What is measured, in the order in which it is done.
const MEASURED: [&str; 12] = [
    "write, 1 MiB at a time",
    "read, 1 MiB at a time",
    "random reads of 4 KiB",
    "random writes of 4 KiB",
    "random reads, 4 at once",
    "random writes, 4",
    "creates of 1 KiB files",
    "listing and stat",
    "deletes",
    "creates, 4 at once",
    "listing and stat, 4",
    "deletes, 4 at once",
];

/// How long each took.
type Times = [Duration; MEASURED.len()];

/// Threads that work side by side.
const THREADS: u64 = 4;

/// One way to have a mounted directory.
enum Contestant {
    Ours,
    Fuse2fs,
    Passthrough,
}

impl Contestant {
    /// Makes an empty file system.
    fn format(&self, store: &Path, mib: u64) -> Result<()> {
        let _ = fs::remove_file(store);
        let _ = fs::remove_dir_all(store);
        match self {
            Self::Passthrough => fs::create_dir(store)?,
            Self::Ours => {
                File::create(store)?.set_len(mib << 20)?;
                run(Command::new(env!("CARGO_BIN_EXE_ocfs2"))
                    .args(["mkfs", "-q", "-M", "local"])
                    .arg(store))?;
            }
            Self::Fuse2fs => {
                File::create(store)?.set_len(mib << 20)?;
                run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(store))?;
            }
        }
        Ok(())
    }

    fn mount(&self, store: &Path, dir: &Path) -> Result<Mounted> {
        let mut command = match self {
            Self::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_ocfs2"));
                command.args(["mount", "--foreground"]).arg(store).arg(dir);
                command
            }
            Self::Fuse2fs => {
                let mut command = Command::new("fuse2fs");
                // As ours and the passthrough: for everybody, with permissions checked by the kernel.
                command
                    .args(["-f", "-o", "allow_other,default_permissions"])
                    .arg(store)
                    .arg(dir);
                command
            }
            Self::Passthrough => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("passthrough").arg(store).arg(dir);
                command
            }
        };
        let before = device(dir)?;
        let mut server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let end = Instant::now() + Duration::from_secs(20);
        while device(dir)? == before {
            if server.try_wait()?.is_some() || Instant::now() > end {
                let _ = server.kill();
                return Err(format!("{command:?} does not mount").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Mounted {
            server,
            dir: dir.to_owned(),
        })
    }
}

/// The number of the file system that a directory is in.
fn device(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(dir)?.dev())
}

struct Mounted {
    server: Child,
    dir: PathBuf,
}

impl Mounted {
    /// Unmounts, and waits until everything is where it belongs.
    fn end(mut self) -> Result<()> {
        run(Command::new("umount").arg(&self.dir))?;
        self.server.wait()?;
        Ok(())
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("passthrough") {
        let mut path = || arguments.next().ok_or("a path is missing");
        let (backing, dir) = (path()?, path()?);
        return Ok(passthrough::serve(backing.as_ref(), dir.as_ref())?);
    }
    if File::options().read(true).write(true).open("/dev/fuse").is_err() {
        println!("skipped: /dev/fuse cannot be opened");
        return Ok(());
    }
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let work = Work {
        files: number("FILES", 20_000),
        big_mib: number("BIG_MIB", 1024),
        random: number("RANDOM", 20_000),
    };
    let mut contestants = vec![Contestant::Ours, Contestant::Passthrough];
    if require_tool("fuse2fs").is_some() && require_tool("mkfs.ext4").is_some() {
        contestants.push(Contestant::Fuse2fs);
    }
    let place = std::env::var_os("BENCH_DIR").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
    let place = tempfile::tempdir_in(place)?;
    let mut rounds = vec![Vec::new(); contestants.len()];
    for _ in 0..number("ROUNDS", 5).max(1) {
        for (contestant, rounds) in contestants.iter().zip(&mut rounds) {
            rounds.push(measure(contestant, place.path(), &work)?);
        }
    }
    let times: Vec<Times> = rounds.iter().map(|rounds| middle(rounds)).collect();
    report(&work, &times);
    Ok(())
}

/// For each that is measured, the time of the middle round.
fn middle(rounds: &[Times]) -> Times {
    std::array::from_fn(|row| {
        let mut times: Vec<Duration> = rounds.iter().map(|times| times[row]).collect();
        times.sort();
        times[times.len() / 2]
    })
}

fn measure(contestant: &Contestant, place: &Path, work: &Work) -> Result<Times> {
    let (store, dir) = (place.join("store"), place.join("mounted"));
    fs::create_dir_all(&dir)?;
    contestant.format(&store, work.big_mib + work.files / 64 + 1024)?;
    let big = dir.join("big");
    let timed = |job: &mut dyn FnMut() -> Result<()>| -> Result<Duration> {
        let mounted = contestant.mount(&store, &dir)?;
        let start = Instant::now();
        let done = job();
        let time = start.elapsed();
        mounted.end()?;
        done.map(|()| time)
    };
    let times = [
        timed(&mut || write_big(&big, work))?,
        timed(&mut || read_big(&big, work))?,
        timed(&mut || at_once(1, |worker| read_random(&big, work, worker, 1)))?,
        timed(&mut || at_once(1, |worker| write_random(&big, work, worker, 1)))?,
        timed(&mut || at_once(THREADS, |worker| read_random(&big, work, worker, THREADS)))?,
        timed(&mut || at_once(THREADS, |worker| write_random(&big, work, worker, THREADS)))?,
        timed(&mut || in_dirs(&dir, work, 1, create))?,
        timed(&mut || in_dirs(&dir, work, 1, list))?,
        timed(&mut || in_dirs(&dir, work, 1, delete))?,
        timed(&mut || in_dirs(&dir, work, THREADS, create))?,
        timed(&mut || in_dirs(&dir, work, THREADS, list))?,
        timed(&mut || in_dirs(&dir, work, THREADS, delete))?,
    ];
    Ok(times)
}

/// Does something in every directory, in several at once.
fn in_dirs(dir: &Path, work: &Work, threads: u64, job: fn(&Path, u64) -> std::io::Result<()>) -> Result<()> {
    at_once(threads, |worker| {
        (worker..work.dirs())
            .step_by(threads as usize)
            .try_for_each(|number| job(&dir.join(format!("d{number:04}")), work.files_of(number)))
    })
}

/// Has workers with these numbers work side by side.
fn at_once(workers: u64, work: impl Fn(u64) -> std::io::Result<()> + Sync) -> Result<()> {
    let work = &work;
    let done = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        let panicked = |_| Err(std::io::Error::other("a thread panicked"));
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(panicked))
    });
    Ok(done?)
}

fn create(dir: &Path, files: u64) -> std::io::Result<()> {
    fs::create_dir(dir)?;
    (0..files).try_for_each(|file| fs::write(dir.join(format!("file-{file:02}")), [1; 1024]))
}

fn list(dir: &Path, files: u64) -> std::io::Result<()> {
    let mut found = 0;
    for entry in fs::read_dir(dir)? {
        found += u64::from(entry?.metadata()?.len() == 1024);
    }
    match found == files {
        true => Ok(()),
        false => Err(std::io::Error::other(format!("{found} files are in {}", dir.display()))),
    }
}

fn delete(dir: &Path, files: u64) -> std::io::Result<()> {
    (0..files).try_for_each(|file| fs::remove_file(dir.join(format!("file-{file:02}"))))?;
    fs::remove_dir(dir)
}

fn write_big(path: &Path, work: &Work) -> Result<()> {
    let mut file = File::create(path)?;
    let block = vec![3; 1 << 20];
    for _ in 0..work.big_mib {
        file.write_all(&block)?;
    }
    Ok(file.sync_all()?)
}

fn read_big(path: &Path, work: &Work) -> Result<()> {
    let mut file = File::open(path)?;
    let mut block = vec![0; 1 << 20];
    for _ in 0..work.big_mib {
        file.read_exact(&mut block)?;
        black_box(&block);
    }
    Ok(())
}

/// One worker's part of the random reads.
fn read_random(path: &Path, work: &Work, worker: u64, workers: u64) -> std::io::Result<()> {
    let file = File::open(path)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)?;
    let mut block = [0; 4096];
    for offset in offsets(work).skip(worker as usize).step_by(workers as usize) {
        file.read_exact_at(&mut block, offset)?;
        black_box(&block);
    }
    Ok(())
}

/// One worker's part of the random writes.
fn write_random(path: &Path, work: &Work, worker: u64, workers: u64) -> std::io::Result<()> {
    let file = File::options().write(true).open(path)?;
    for offset in offsets(work).skip(worker as usize).step_by(workers as usize) {
        file.write_all_at(&[7; 4096], offset)?;
    }
    file.sync_all()
}

/// Where random accesses go: the same places for everybody.
fn offsets(work: &Work) -> impl Iterator<Item = u64> {
    let blocks = work.big_mib << 8;
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    (0..work.random).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % blocks) << 12
    })
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {status}").into()),
    }
}

fn report(work: &Work, times: &[Times]) {
    let names = ["ours", "passthrough", "fuse2fs"];
    print!("{:<24}", "per second");
    for name in &names[..times.len()] {
        print!(" {name:>14}");
    }
    for name in &names[1..times.len()] {
        print!(" {:>14}", format!("of {name}"));
    }
    println!();
    let amounts = [
        work.big_mib,
        work.big_mib,
        work.random,
        work.random,
        work.random,
        work.random,
        work.files,
        work.files,
        work.files,
        work.files,
        work.files,
        work.files,
    ];
    for (row, (what, amount)) in MEASURED.iter().zip(amounts).enumerate() {
        let rate = |times: &Times| amount as f64 / times[row].as_secs_f64();
        let unit = if row < 2 { "MiB" } else { "" };
        print!("{what:<24}");
        for times in times {
            print!(" {:>14}", format!("{:.0} {unit}", rate(times)).trim_end());
        }
        for others in &times[1..] {
            print!(" {:>13.2}×", rate(&times[0]) / rate(others));
        }
        println!();
    }
}
