//! The program that serves a mount is killed while several writers work: what they made durable is there after the next
//! mount, and of the rest a beginning, in the order in which it was done.
//!
//! `OCFS2_KILLS=200` kills so often; `OCFS2_SEED` chooses other chances.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::mount::{Bed, kill};

/// Writers at work at the same time.
const WRITERS: u64 = 4;

/// Names that a writer has to choose from.
const NAMES: u32 = 12;

/// A file, as far as a writer knows: which text it holds, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    text: u64,
    len: usize,
}

/// What a directory holds.
type Files = BTreeMap<String, Content>;

/// What is found in a directory.
type Found = BTreeMap<String, Vec<u8>>;

/// Something that a writer does.
#[derive(Clone, Debug)]
enum Step {
    /// Makes a file of this text, empty, in the place of any other.
    Make(String, u64),
    /// Adds so many bytes of the file's text.
    Append(String, usize),
    Rename(String, String),
    Remove(String),
    /// Removes a file, while it is open and written to.
    RemoveOpen(String),
}

impl Step {
    fn random(rng: &mut fastrand::Rng, files: &Files) -> Step {
        let name = |rng: &mut fastrand::Rng| format!("file-{}", rng.u32(0..NAMES));
        let known = |rng: &mut fastrand::Rng| rng.choice(files.keys()).cloned();
        let Some(file) = known(rng) else {
            return Step::Make(name(rng), rng.u64(..));
        };
        match rng.u32(0..10) {
            0..=2 => Step::Make(name(rng), rng.u64(..)),
            3..=6 => Step::Append(file, *rng.choice(&[1, 100, 4096, 30_000, 300_000]).expect("not empty")),
            7 => Step::Rename(file, name(rng)),
            8 => Step::Remove(file),
            _ => Step::RemoveOpen(file),
        }
    }

    /// What the step makes of a directory.
    fn apply(&self, files: &mut Files) {
        match self {
            Step::Make(name, text) => drop(files.insert(name.clone(), Content { text: *text, len: 0 })),
            Step::Append(name, more) => {
                if let Some(file) = files.get_mut(name) {
                    file.len += more;
                }
            }
            Step::Rename(from, to) => {
                if let Some(file) = files.remove(from) {
                    files.insert(to.clone(), file);
                }
            }
            Step::Remove(name) | Step::RemoveOpen(name) => drop(files.remove(name)),
        }
    }

    fn run(&self, dir: &Path, files: &Files) -> io::Result<()> {
        match self {
            Step::Make(name, _) => File::create(dir.join(name)).map(drop),
            Step::Append(name, more) => {
                let content = files[name];
                let mut file = OpenOptions::new().append(true).open(dir.join(name))?;
                file.write_all(&text(content.text, content.len..content.len + more))
            }
            Step::Rename(from, to) => fs::rename(dir.join(from), dir.join(to)),
            Step::Remove(name) => fs::remove_file(dir.join(name)),
            Step::RemoveOpen(name) => {
                let mut file = OpenOptions::new().append(true).open(dir.join(name))?;
                fs::remove_file(dir.join(name))?;
                file.write_all(&[0; 10_000])
            }
        }
    }

    /// Whether the step may have been done in part, with `before` for what there was and `found` for what there is.
    fn may_have_begun(&self, before: &Files, found: &Found) -> bool {
        let Step::Append(name, more) = self else { return false };
        let (mut rest, mut others) = (before.clone(), found.clone());
        match (rest.remove(name), others.remove(name)) {
            (Some(old), Some(bytes)) => {
                let whole = old.len..=old.len + more;
                whole.contains(&bytes.len()) && bytes == text(old.text, 0..bytes.len()) && same(&rest, &others)
            }
            _ => false,
        }
    }
}

/// Bytes of a text that nobody else writes.
fn text(number: u64, range: std::ops::Range<usize>) -> Vec<u8> {
    let byte =
        |at: usize| (number.wrapping_add(at as u64 / 8).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (at % 8 * 8)) as u8;
    range.map(byte).collect()
}

/// What a writer has done.
#[derive(Debug)]
struct Diary {
    dir: PathBuf,
    /// What was there when it last saw something made durable.
    durable: Files,
    /// What it has tried since; the last of it may have failed.
    since: Vec<Step>,
}

impl Diary {
    /// Works until the mount is gone.
    fn write(point: &Path, number: u64, seed: u64) -> Diary {
        let mut rng = fastrand::Rng::with_seed(seed ^ number << 32);
        let mut diary = Diary {
            dir: point.join(format!("writer-{number}")),
            durable: Files::new(),
            since: Vec::new(),
        };
        let mut files = Files::new();
        loop {
            let step = Step::random(&mut rng, &files);
            diary.since.push(step.clone());
            if step.run(&diary.dir, &files).is_err() {
                return diary;
            }
            step.apply(&mut files);
            let synced = match (rng.u32(0..6), rng.choice(files.keys())) {
                (0, Some(name)) => File::open(diary.dir.join(name)).and_then(|file| file.sync_all()),
                (1, _) => File::open(&diary.dir).and_then(|dir| dir.sync_all()),
                _ => continue,
            };
            if synced.is_err() {
                return diary;
            }
            diary.durable = files.clone();
            diary.since.clear();
        }
    }

    /// Compares with what is on the volume after a crash.
    fn check(&self, round: u32) {
        let mut found = Found::new();
        for entry in fs::read_dir(&self.dir).expect("the directory was durable") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("UTF-8");
            found.insert(name, fs::read(entry.path()).expect("a file"));
        }
        let mut state = self.durable.clone();
        if same(&state, &found) {
            return;
        }
        for step in &self.since {
            if step.may_have_begun(&state, &found) {
                return;
            }
            step.apply(&mut state);
            if same(&state, &found) {
                return;
            }
        }
        let found: Vec<_> = found.iter().map(|(name, bytes)| (name, bytes.len())).collect();
        panic!("round {round}: found {found:?}\nwhich was never there since {self:?}");
    }
}

/// Whether files are what they are said to be.
fn same(files: &Files, found: &Found) -> bool {
    let is_there = |(name, file): (&String, &Content)| {
        let bytes = found.get(name);
        bytes.is_some_and(|bytes| bytes.len() == file.len && *bytes == text(file.text, 0..file.len))
    };
    files.len() == found.len() && files.iter().all(is_there)
}

fn number_of(name: &str, default: u64) -> u64 {
    match std::env::var(name).as_deref() {
        Ok("random") => fastrand::u64(..),
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => default,
    }
}

#[test]
fn what_was_durable_survives_the_death_of_the_server() {
    let Some(bed) = Bed::local() else { return };
    let kills = number_of("OCFS2_KILLS", 5) as u32;
    let seed = number_of("OCFS2_SEED", 0x0CF5_2B1B_5EED);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let began = Instant::now();
    for round in 0..kills {
        let pid = bed.mount(&["-o", "commit=1"]);
        let mut writers = Vec::new();
        for number in 0..WRITERS {
            let dir = bed.path(&format!("writer-{number}"));
            if dir.exists() {
                fs::remove_dir_all(&dir).expect("last round's files");
            }
            fs::create_dir(&dir).expect("a directory");
        }
        File::open(bed.point())
            .and_then(|root| root.sync_all())
            .expect("durable");
        let seed = rng.u64(..);
        for number in 0..WRITERS {
            let point = bed.point();
            writers.push(thread::spawn(move || Diary::write(&point, number, seed)));
        }
        thread::sleep(Duration::from_millis(rng.u64(20..1500)));
        kill(pid);
        let diaries: Vec<_> = writers
            .into_iter()
            .map(|writer| writer.join().expect("a diary"))
            .collect();
        let said = bed.try_mount(&[]);
        assert_eq!(said.status, 0, "round {round}: {said:?}");
        for diary in &diaries {
            diary.check(round);
        }
        bed.umount();
        if kills > 5 && round % 10 == 9 {
            println!("{} kills in {:?}", round + 1, began.elapsed());
        }
    }
}
