//! Making, listing and removing directories full of small files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use crate::Result;

const FILES_PER_DIR: u64 = 100;

/// What is done with a directory that is to have, or has, so many files.
pub(crate) type Job = fn(&Path, u64) -> io::Result<()>;

/// Does something in every directory, in `threads` at once, until there are so many files. Returns how many files a second.
///
/// # Errors
/// The first that a job had.
pub(crate) fn run(dir: &Path, files: u64, threads: u64, job: Job) -> Result<f64> {
    let start = Instant::now();
    let in_dir = |number: u64| {
        let count = (files - number * FILES_PER_DIR).min(FILES_PER_DIR);
        job(&dir.join(format!("d{number:04}")), count)
    };
    let in_some = |worker| {
        (worker..files.div_ceil(FILES_PER_DIR))
            .step_by(threads as usize)
            .try_for_each(in_dir)
    };
    let done: io::Result<()> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| scope.spawn(move || in_some(worker)))
            .collect();
        let panicked = |_| Err(io::Error::other("a thread panicked"));
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(panicked))
    });
    done?;
    Ok(files as f64 / start.elapsed().as_secs_f64())
}

pub(crate) fn create(dir: &Path, files: u64) -> io::Result<()> {
    fs::create_dir(dir)?;
    (0..files).try_for_each(|number| fs::write(file(dir, number), [1; 1024]))
}

/// As `ls -l` does.
pub(crate) fn list(dir: &Path, files: u64) -> io::Result<()> {
    let mut found = 0;
    for entry in fs::read_dir(dir)? {
        found += u64::from(entry?.metadata()?.len() == 1024);
    }
    match found == files {
        true => Ok(()),
        false => Err(io::Error::other(format!("{found} files are in {}", dir.display()))),
    }
}

/// As `rm -r` does.
pub(crate) fn remove(dir: &Path, _files: u64) -> io::Result<()> {
    fs::remove_dir_all(dir)
}

/// Without looking into the directory, so that the kernel has to ask for each name first.
pub(crate) fn remove_unseen(dir: &Path, files: u64) -> io::Result<()> {
    (0..files).try_for_each(|number| fs::remove_file(file(dir, number)))?;
    fs::remove_dir(dir)
}

fn file(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("file-{number:02}"))
}
