//! A mounted directory, against ext4 through fuse2fs and against a FUSE file system that only passes requests on to a
//! directory: what others do, and what FUSE itself costs.
//!
//!     cargo bench -p ocfs2-cli --bench mount
//!
//! `FILES` (20000), `BIG_MIB` (1024) and `RANDOM` (20000 accesses of 4 KiB) change how much is done, `ROUNDS` (5) how often;
//! of the rounds, in which the file systems take turns, the middle one counts: what it costs to wake a thread changes manyfold
//! from minute to minute on some machines. Images and directories are in `BENCH_DIR`, else in memory (`/dev/shm`), where no
//! disk drowns what is measured. What is read is read from a fresh mount. Large files are read and written by fio(1).
//!
//! Where one access waits for the one before, FUSE itself is most of what is measured, as the passthrough shows.

mod content;
mod contestant;
mod names;
mod passthrough;

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ocfs2_testkit::require_tool;

use content::{Access, Depth, Kind};
use contestant::Contestant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How much is done.
struct Work {
    files: u64,
    big_mib: u64,
    random: u64,
}

impl Work {
    /// How often a large file is accessed: everywhere in turn, or here and there.
    fn accesses(&self, access: &Access) -> u64 {
        match access.kind {
            Kind::Read | Kind::Write => (self.big_mib << 20) / access.piece,
            Kind::RandomRead | Kind::RandomWrite => self.random,
        }
    }
}

/// What is done on a fresh mount. Each step finds what those before have left.
struct Step {
    /// What it is called in the report; `None` if it only prepares the next.
    name: Option<&'static str>,
    task: Task,
}

enum Task {
    Content(Access),
    Names { threads: u64, job: names::Job },
}

const STEPS: [Step; 16] = [
    content("write, 1 MiB at a time", Kind::Write, 1 << 20, Depth::One),
    content("read, 1 MiB at a time", Kind::Read, 1 << 20, Depth::One),
    content("random reads, 16 on the way", Kind::RandomRead, 4096, Depth::Direct(16)),
    content("random writes, 16", Kind::RandomWrite, 4096, Depth::Direct(16)),
    content("random reads, 4 threads", Kind::RandomRead, 4096, Depth::Threads(4)),
    content("random writes, 4 threads", Kind::RandomWrite, 4096, Depth::Threads(4)),
    content("random reads, one by one", Kind::RandomRead, 4096, Depth::One),
    content("random writes, one by one", Kind::RandomWrite, 4096, Depth::One),
    names("creates of 1 KiB files", 1, names::create),
    names("listing and stat", 1, names::list),
    names("deletes", 1, names::remove),
    names("creates, 4 threads", 4, names::create),
    names("listing and stat, 4", 4, names::list),
    names("deletes, 4 threads", 4, names::remove),
    Step {
        name: None,
        task: Task::Names {
            threads: 1,
            job: names::create,
        },
    },
    names("deletes of unseen files", 1, names::remove_unseen),
];

const fn content(name: &'static str, kind: Kind, piece: u64, depth: Depth) -> Step {
    Step {
        name: Some(name),
        task: Task::Content(Access { kind, piece, depth }),
    }
}

const fn names(name: &'static str, threads: u64, job: names::Job) -> Step {
    Step {
        name: Some(name),
        task: Task::Names { threads, job },
    }
}

/// How often a second each step did what it does.
type Rates = [f64; STEPS.len()];

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
    if require_tool("fio").is_none() {
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
            rounds.push(measure(*contestant, place.path(), &work)?);
        }
    }
    let rates: Vec<Rates> = rounds.iter().map(|rounds| middle(rounds)).collect();
    report(&contestants, &rates);
    Ok(())
}

/// For each step, the rate of the middle round.
fn middle(rounds: &[Rates]) -> Rates {
    std::array::from_fn(|step| {
        let mut rates: Vec<f64> = rounds.iter().map(|rates| rates[step]).collect();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    })
}

/// One round.
fn measure(contestant: Contestant, place: &Path, work: &Work) -> Result<Rates> {
    let (store, dir) = (place.join("store"), place.join("mounted"));
    fs::create_dir_all(&dir)?;
    contestant.format(&store, work.big_mib + work.files / 64 + 1024)?;
    let mut rates = [0.0; STEPS.len()];
    for (step, rate) in STEPS.iter().zip(&mut rates) {
        let mounted = contestant.mount(&store, &dir)?;
        let done = match &step.task {
            Task::Content(access) => access.run(&dir.join("big"), work.big_mib, work.accesses(access)),
            Task::Names { threads, job } => names::run(&dir, work.files, *threads, *job),
        };
        mounted.end()?;
        *rate = done?;
    }
    Ok(rates)
}

/// A line for each step that has a name: rates, and ours in relation to the others'.
fn report(contestants: &[Contestant], rates: &[Rates]) {
    print!("{:<28}", "per second");
    for contestant in contestants {
        print!(" {:>11}", contestant.name());
    }
    for contestant in &contestants[1..] {
        print!(" {:>14}", format!("of {}", contestant.name()));
    }
    println!();
    for (number, step) in STEPS.iter().enumerate() {
        let Some(name) = step.name else { continue };
        print!("{name:<28}");
        for rates in rates {
            print!(" {:>11.0}", rates[number]);
        }
        for others in &rates[1..] {
            print!(" {:>13.2}×", rates[0][number] / others[number]);
        }
        println!();
    }
}
