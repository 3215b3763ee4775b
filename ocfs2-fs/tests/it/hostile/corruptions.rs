//! Random corruptions of golden images, each read completely, or written to: nothing may panic, hang or eat memory.
//!
//! The work is done in child processes of the test, so that a stack overflow, a hang or a runaway allocation can be told
//! apart and named by its seed. `cargo test` makes a few thousand corruptions of the smaller images; for more, of all:
//!
//! ```text
//! OCFS2_CORRUPTIONS=200000 cargo test --release -p ocfs2-fs --test it -- corruptions --nocapture
//! ```
//!
//! `OCFS2_CORRUPTION_SEED` sets the first seed and `OCFS2_CORRUPTION_IMAGE` the only image: what is printed of a failure.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ocfs2_format::FileKind;
use ocfs2_fs::{SurveyOptions, Volume};
use ocfs2_testkit::golden::{self, Golden};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::base::Base;
use super::mutate;

/// Corruptions that every run of the test suite makes.
const QUICK: u64 = 2000;
/// The same for those that are written to.
const QUICK_WRITES: u64 = 500;
/// Bytes of the largest image that every run unpacks.
const QUICK_IMAGE: u64 = 128 << 20;
/// Longest time that one volume may keep a processor busy. On a machine that has other things to do, or when nothing goes on
/// at all, [`WAITS`] times as long may pass.
const PATIENCE: Duration = Duration::from_secs(10);
const WAITS: u32 = 12;
/// Memory that a child may have for all the golden images it works on, the reader included.
const MEMORY: u64 = 256 << 20;
/// Bytes of file data read from each volume.
const DATA: u64 = 256 << 10;

const COUNT: &str = "OCFS2_CORRUPTIONS";
const FIRST: &str = "OCFS2_CORRUPTION_SEED";
const IMAGE: &str = "OCFS2_CORRUPTION_IMAGE";
const WORKER: &str = "OCFS2_CORRUPTION_WORKER";

fn number(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// The images to be corrupted.
fn images() -> Vec<&'static Golden> {
    if let Ok(name) = env::var(IMAGE) {
        return vec![golden::named(&name)];
    }
    let all = env::var_os(COUNT).is_some();
    golden::all()
        .iter()
        .filter(|golden| all || golden.size <= QUICK_IMAGE)
        .collect()
}

#[test]
fn random_corruptions_are_read_without_panic_hang_or_memory() {
    in_bulk("hostile::corruptions::reader", QUICK, 1);
}

#[test]
fn random_corruptions_are_written_to_without_panic_hang_or_memory() {
    // Most of the time of those with volumes of clusters goes by watching heartbeats that do not move.
    let per_processor = if env::var_os(COUNT).is_some() { 48 } else { 8 };
    in_bulk("hostile::corruptions::writer", QUICK_WRITES, per_processor);
}

/// Shares the corruptions out to children that each run the test `worker`.
fn in_bulk(worker_test: &'static str, quick: u64, per_processor: u64) {
    let (first, count) = (number(FIRST, 1), number(COUNT, quick));
    let processors = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let workers = (processors * per_processor).min(count);
    let started = Instant::now();
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || supervise(worker_test, first, count, worker, workers)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic here"))
            .collect()
    });
    let failures: Vec<&str> = outcomes
        .iter()
        .flat_map(|outcome| &outcome.failures)
        .map(String::as_str)
        .collect();
    let done: u64 = outcomes.iter().map(|outcome| outcome.done).sum();
    eprintln!(
        "{done} corruptions of {} images in {:.1?}; slowest {} ms; peak memory {} MiB of a process",
        images().len(),
        started.elapsed(),
        outcomes.iter().map(|outcome| outcome.slowest_ms).max().unwrap_or(0),
        outcomes.iter().map(|outcome| outcome.peak_kib).max().unwrap_or(0) >> 10,
    );
    assert!(
        failures.is_empty(),
        "repeat with {IMAGE}=NAME {FIRST}=SEED {COUNT}=1\n{}",
        failures.join("\n")
    );
    assert_eq!(done, count);
}

/// What a worker has done.
#[derive(Default)]
struct Outcome {
    done: u64,
    slowest_ms: u64,
    peak_kib: u64,
    failures: Vec<String>,
}

/// Which seed a worker is at, and since when.
struct Progress {
    at: String,
    since: Instant,
}

/// Runs one worker to its end, or to the end of everybody's patience.
fn supervise(worker_test: &str, first: u64, count: u64, worker: u64, workers: u64) -> Outcome {
    let mut child = Command::new(env::current_exe().expect("a test has a path"))
        .args(["--exact", worker_test, "--ignored", "--nocapture", "--test-threads=1"])
        .env(WORKER, format!("{first} {count} {worker} {workers}"))
        // One arena for all threads: the limit is to hit the reader, not the allocator's reserves.
        .env("MALLOC_ARENA_MAX", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a test can start itself");
    let stdout = child.stdout.take().expect("it was piped");
    let mut stderr = child.stderr.take().expect("it was piped");
    let progress = Arc::new(Mutex::new(Progress {
        at: "the start".into(),
        since: Instant::now(),
    }));
    let errors = thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let watched = progress.clone();
    let watch = thread::spawn(move || watch(child, &watched));
    let mut outcome = Outcome::default();
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("seed", seed)) => {
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                *progress = Progress {
                    at: format!("seed {seed}"),
                    since: Instant::now(),
                };
            }
            Some(("failed", what)) => outcome.failures.push(what.into()),
            Some(("done", numbers)) => {
                let mut numbers = numbers.split(' ').map(|number| number.parse().expect("a number"));
                let mut next = || numbers.next().expect("three numbers");
                (outcome.done, outcome.slowest_ms, outcome.peak_kib) = (next(), next(), next());
            }
            _ => {}
        }
    }
    let ended = watch.join().expect("no panic here");
    let errors = errors.join().expect("no panic here");
    if let Some(why) = ended {
        let at = &progress.lock().unwrap_or_else(PoisonError::into_inner).at;
        outcome.failures.push(format!("{at}: {why}"));
    }
    if !outcome.failures.is_empty() {
        outcome.failures.push(errors);
    }
    outcome
}

/// Time for which processors have worked for a process, in hundredths of a second.
fn cpu_time(child: &Child) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).ok()?;
    // Behind the name, which may contain anything, user and system time are the 12th and the 13th field.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (ticks()? + ticks()?)))
}

/// Waits for a worker's end; kills it when it takes too long over one volume. Says what was wrong with it.
fn watch(mut child: Child, progress: &Mutex<Progress>) -> Option<String> {
    let mut at = String::new();
    let mut worked = Duration::ZERO;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return (!status.success()).then(|| status.to_string());
        }
        let since = {
            let progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            if progress.at != at {
                at.clone_from(&progress.at);
                worked = cpu_time(&child).unwrap_or_default();
            }
            progress.since
        };
        // Unpacking the images takes its time.
        let patience = if at == "the start" { WAITS * PATIENCE } else { PATIENCE };
        let work = cpu_time(&child).unwrap_or_default().saturating_sub(worked);
        if work > patience || since.elapsed() > WAITS * patience {
            let _ = child.kill();
            let _ = child.wait();
            return Some(format!("no end after {work:?} of work, {:?} in all", since.elapsed()));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The child's side.
#[test]
#[ignore = "started by random_corruptions_are_read_without_panic_hang_or_memory"]
fn reader() {
    work(read_everything);
}

#[test]
#[ignore = "started by random_corruptions_are_written_to_without_panic_hang_or_memory"]
fn writer() {
    work(super::writes::write_everywhere);
}

fn work(body: fn(&Base, u64)) {
    let Ok(task) = env::var(WORKER) else { return };
    let task: Vec<u64> = task
        .split(' ')
        .map(|number| number.parse().expect("a number"))
        .collect();
    let &[first, count, worker, workers] = task.as_slice() else {
        panic!("four numbers")
    };
    let images = images();
    // Few images for each worker, which unpacks all that it needs; where there are more workers than images, they share.
    let shares = images.len() as u64 * (workers / images.len() as u64).max(1);
    let seeds = (first..first + count).filter(|seed| seed % shares % workers == worker);
    let base_of = |seed: u64| Base::of(images[(seed % images.len() as u64) as usize]);
    let mut needed: Vec<u64> = seeds.clone().take(images.len()).collect();
    needed.dedup();
    needed.into_iter().for_each(|seed| drop(base_of(seed)));
    let limit = Rlimit {
        current: Some(MEMORY),
        maximum: Some(MEMORY),
    };
    setrlimit(Resource::Data, limit).expect("a limit may be lowered");

    let mut out = std::io::stdout();
    let (mut done, mut slowest) = (0, Duration::ZERO);
    for seed in seeds {
        let base = base_of(seed);
        writeln!(out, "seed {seed} of {}", base.name).expect("somebody listens");
        let started = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| body(&base, seed))).is_err() {
            writeln!(out, "failed seed {seed} of {}: panic", base.name).expect("somebody listens");
        }
        slowest = slowest.max(started.elapsed());
        done += 1;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB")).unwrap_or("0");
    writeln!(out, "done {done} {} {peak}", slowest.as_millis()).expect("somebody listens");
}

/// Surveys a damaged volume, then copies out what a user could: everything a reader does.
fn read_everything(base: &Base, seed: u64) {
    let copy = mutate::damaged(base, seed);
    let Ok(volume) = copy.open() else { return };
    let mut options = SurveyOptions::default();
    options.data_bytes = DATA;
    volume.survey(&options, &mut |finding| drop(finding.to_string()));
    copy_out(&volume);
}

/// Walks the tree by path and reads what is there, as far as [`DATA`] goes.
fn copy_out(volume: &Volume) {
    let mut left = DATA;
    let mut buf = vec![0; 64 << 10];
    let Ok(walk) = volume.walk("/") else { return };
    for (index, entry) in walk.flatten().enumerate() {
        let inode = &entry.inode;
        match inode.kind() {
            FileKind::Regular => {
                // Paths are looked up name by name, which takes long in large directories.
                let file = match index {
                    0..64 => volume.open_file(&entry.path),
                    _ => volume.open_inode(inode.clone()),
                };
                let Ok(file) = file else { continue };
                for segment in file.segments().take(64).map_while(Result::ok) {
                    let len = buf.len().min(segment.len as usize).min(left as usize);
                    left -= file.read_at(segment.start, &mut buf[..len]).unwrap_or(0) as u64;
                }
            }
            FileKind::Directory => {
                let _ = volume.check_index(inode);
                for name in volume.entries(inode).into_iter().flatten().flatten().take(8) {
                    let _ = volume.lookup(inode, name.name());
                }
            }
            FileKind::Symlink => drop(volume.link_target(inode)),
            _ => {}
        }
        for xattr in volume.inode_xattrs(inode).unwrap_or_default() {
            let _ = volume.find_xattr(inode, xattr.namespace(), xattr.stored_name());
            if xattr.value_size() <= left {
                left -= volume.xattr_value(inode, &xattr).map_or(0, |value| value.len() as u64);
            }
        }
    }
}
