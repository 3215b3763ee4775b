//! Reading and writing a large file, done and measured by fio(1).

use std::path::Path;
use std::process::Command;

use crate::Result;

/// How a large file is accessed.
pub(crate) struct Access {
    pub(crate) kind: Kind,
    /// Bytes at a time.
    pub(crate) piece: u64,
    pub(crate) depth: Depth,
}

/// fio's `rw`.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Read,
    Write,
    RandomRead,
    RandomWrite,
}

/// How many accesses are under way at a time.
#[derive(Clone, Copy)]
pub(crate) enum Depth {
    /// One: each waits for the one before, as most programs do.
    One,
    /// As many as a program has threads.
    Threads(u32),
    /// As databases do it that keep a device busy: asynchronous, past the page cache of the mount.
    Direct(u32),
}

impl Access {
    /// Does so many accesses to a file of so many MiB. Returns how many there were in a second; whatever was written is
    /// durable by then.
    ///
    /// # Errors
    /// fio's.
    pub(crate) fn run(&self, file: &Path, mib: u64, count: u64) -> Result<f64> {
        let (rw, direction) = match self.kind {
            Kind::Read => ("read", "read"),
            Kind::Write => ("write", "write"),
            Kind::RandomRead => ("randread", "read"),
            Kind::RandomWrite => ("randwrite", "write"),
        };
        let (engine, is_direct, jobs, depth) = match self.depth {
            Depth::One => ("psync", 0, 1, 1),
            Depth::Threads(count) => ("psync", 0, count, 1),
            Depth::Direct(count) => ("libaio", 1, 1, count),
        };
        let bytes_of_job = count / u64::from(jobs) * self.piece;
        let output = Command::new("fio")
            .args(["--name=access", "--thread", "--group_reporting", "--output-format=json"])
            // The same places for everybody; nothing is allocated ahead.
            .args(["--randrepeat=1", "--fallocate=none", "--end_fsync=1"])
            .args([format!("--rw={rw}"), format!("--bs={}", self.piece)])
            .args([format!("--size={mib}m"), format!("--io_size={bytes_of_job}")])
            .args([format!("--ioengine={engine}"), format!("--direct={is_direct}")])
            .args([format!("--numjobs={jobs}"), format!("--iodepth={depth}")])
            .arg("--filename")
            .arg(file)
            .output()?;
        if !output.status.success() {
            return Err(format!("fio: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
        }
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let number = |name| report["jobs"][0][direction][name].as_f64();
        match (number("total_ios"), number("runtime")) {
            (Some(count), Some(ms)) if ms > 0.0 => Ok(count / ms * 1000.0),
            _ => Err("fio reports nothing".into()),
        }
    }
}
