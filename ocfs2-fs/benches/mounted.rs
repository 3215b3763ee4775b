//! How fast a mounted file system works in this process, beside the kernel driver in user-mode Linux on the same host, and
//! beside plain reads and writes of the same file.
//!
//! `cargo bench -p ocfs2-fs --bench mounted`; images lie in the temporary directory, or in `OCFS2_BENCH_DIR`.
//! `OCFS2_BENCH_FILES` changes the number of small files, 200 000 of which make a full run.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocfs2_format::device::{BlockDevice, Durability, FileDevice, FileOptions};
use ocfs2_fs::mkfs::{self, MkfsOptions, MountMode, Plan};
use ocfs2_fs::{FileSystem, MountOptions, OpenHow};
use ocfs2_testkit::require_kernel;

/// Directories that the small files are spread over.
const DIRS: usize = 200;
/// Bytes of a small file.
const SMALL: usize = 100;
/// Bytes written and read at once.
const PIECE: usize = 1 << 20;
/// Calls of fsync.
const SYNCS: usize = 200;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What one side does in a second, or how long it takes.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    creates: f64,
    walk: f64,
    deletes: f64,
    write: f64,
    read: f64,
    syncs: f64,
}

fn main() -> Result<()> {
    // Other callers, such as `cargo test --all-targets`, only want to know that it runs.
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let files = match std::env::var("OCFS2_BENCH_FILES") {
        Ok(text) => text.parse()?,
        Err(_) if is_bench => 200_000,
        Err(_) => 1000,
    };
    let large: usize = if is_bench { 1 << 30 } else { 16 << 20 };
    let dir = tempfile::tempdir_in(std::env::var_os("OCFS2_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into))?;
    let size = 8 * large as u64 + files as u64 * 8192 + (1 << 30);

    let image = dir.path().join("ours.img");
    make(&image, size)?;
    let ours = ours(&image, files, large)?;
    std::fs::remove_file(&image)?;

    let raw_file = dir.path().join("raw.img");
    let (raw_write, raw_read) = raw(&raw_file, large)?;
    std::fs::remove_file(&raw_file)?;

    let kernel = match is_bench {
        true => {
            make(&image, size)?;
            kernel(&image, files, large)?
        }
        false => None,
    };

    println!(
        "{files} files of {SMALL} bytes in {DIRS} directories; one file of {} MiB",
        large >> 20
    );
    println!("{:24}{:>12}{:>12}{:>8}", "", "here", "kernel", "ratio");
    let theirs = kernel.unwrap_or_default();
    for (what, here, there) in [
        ("creates per second", ours.creates, theirs.creates),
        ("walked per second", ours.walk, theirs.walk),
        ("deletes per second", ours.deletes, theirs.deletes),
        ("write MiB/s", ours.write, theirs.write),
        ("read MiB/s", ours.read, theirs.read),
        ("fsyncs per second", ours.syncs, theirs.syncs),
    ] {
        println!("{what:24}{here:>12.0}{there:>12.0}{:>8.2}", here / there);
    }
    println!("{:24}{:>12}{:>12}{:>8}", "", "here", "raw file", "ratio");
    println!(
        "{:24}{:>12.0}{raw_write:>12.0}{:>8.2}",
        "write MiB/s",
        ours.write,
        ours.write / raw_write
    );
    println!(
        "{:24}{:>12.0}{raw_read:>12.0}{:>8.2}",
        "read MiB/s",
        ours.read,
        ours.read / raw_read
    );
    Ok(())
}

fn make(image: &Path, size: u64) -> Result<()> {
    let device = FileDevice::create(image, size, &FileOptions::default().writable(true))?;
    let mut options = MkfsOptions::default();
    options.mount = MountMode::Local;
    options.block_size = Some(4096);
    options.cluster_size = Some(4096);
    mkfs::format(&device, &Plan::new(size, &options)?, &mut |_| {})?;
    Ok(())
}

fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn ours(image: &Path, files: usize, large: usize) -> Result<Rates> {
    let device = FileDevice::open(image, &FileOptions::default().writable(true))?;
    let fs = FileSystem::mount(Arc::new(device), &MountOptions::default())?;
    let mut rates = Rates::default();

    let start = Instant::now();
    let bytes = [b'x'; SMALL];
    for dir in 0..DIRS {
        fs.create_dir(format!("/d{dir}"))?;
        for file in 0..files / DIRS {
            fs.write(format!("/d{dir}/f{file}"), bytes)?;
        }
    }
    fs.sync()?;
    rates.creates = per_second(files, start.elapsed());

    let start = Instant::now();
    let mut seen = 0;
    for dir in 0..DIRS {
        let path = format!("/d{dir}");
        for entry in fs.read_dir(&path)? {
            seen += usize::from(fs.inode(entry?.inode())?.size() == SMALL as u64);
        }
    }
    assert_eq!(seen, files / DIRS * DIRS, "every file is met");
    rates.walk = per_second(files, start.elapsed());

    let start = Instant::now();
    for dir in 0..DIRS {
        fs.remove_dir_all(format!("/d{dir}"))?;
    }
    fs.sync()?;
    rates.deletes = per_second(files, start.elapsed());

    let mut how = OpenHow::new();
    let file = fs.open("/large", how.read(true).write(true).create(true))?;
    let mut piece = vec![7; PIECE];
    let start = Instant::now();
    for offset in (0..large).step_by(PIECE) {
        file.write_at(offset as u64, &piece)?;
    }
    file.sync_all()?;
    rates.write = per_second(large >> 20, start.elapsed());
    let start = Instant::now();
    for offset in (0..large).step_by(PIECE) {
        file.read_at(offset as u64, &mut piece)?;
    }
    rates.read = per_second(large >> 20, start.elapsed());

    let start = Instant::now();
    for n in 0..SYNCS {
        file.write_at((n * 4096) as u64, &piece[..4096])?;
        file.sync_all()?;
    }
    rates.syncs = per_second(SYNCS, start.elapsed());
    file.close()?;
    fs.unmount()?;
    Ok(rates)
}

/// Plain writes and reads of as many bytes, in MiB per second.
fn raw(path: &Path, large: usize) -> Result<(f64, f64)> {
    let device = FileDevice::create(path, large as u64, &FileOptions::default().writable(true))?;
    let mut piece = vec![7; PIECE];
    let start = Instant::now();
    for offset in (0..large).step_by(PIECE) {
        device.write(offset as u64, &piece, Durability::Cached)?;
    }
    device.flush()?;
    let write = per_second(large >> 20, start.elapsed());
    let start = Instant::now();
    for offset in (0..large).step_by(PIECE) {
        device.read(offset as u64, &mut piece)?;
    }
    Ok((write, per_second(large >> 20, start.elapsed())))
}

/// The same work by a program inside the kernel's machine.
fn kernel(image: &Path, files: usize, large: usize) -> Result<Option<Rates>> {
    let Some(kernel) = require_kernel() else {
        return Ok(None);
    };
    let program = format!(
        r#"
import os, time
def timed(name, count, work):
    start = time.monotonic(); work(); print("RATE", name, count / (time.monotonic() - start), flush=True)
root, files, dirs, large = "/mnt/a", {files}, {DIRS}, {large}
def create():
    for d in range(dirs):
        os.mkdir(f"{{root}}/d{{d}}")
        for f in range(files // dirs):
            fd = os.open(f"{{root}}/d{{d}}/f{{f}}", os.O_WRONLY | os.O_CREAT); os.write(fd, b"x" * {SMALL}); os.close(fd)
    os.sync()
def walk():
    for d in range(dirs):
        for entry in os.scandir(f"{{root}}/d{{d}}"): entry.stat()
def delete():
    for d in range(dirs):
        for f in range(files // dirs): os.unlink(f"{{root}}/d{{d}}/f{{f}}")
        os.rmdir(f"{{root}}/d{{d}}")
    os.sync()
timed("creates", files, create)
open("/proc/sys/vm/drop_caches", "w").write("3")
timed("walk", files, walk)
timed("deletes", files, delete)
piece = b"\7" * {PIECE}
fd = os.open(root + "/large", os.O_RDWR | os.O_CREAT)
def write():
    for offset in range(0, large, {PIECE}): os.pwrite(fd, piece, offset)
    os.fsync(fd)
def read():
    for offset in range(0, large, {PIECE}): os.pread(fd, {PIECE}, offset)
def sync():
    for n in range({SYNCS}): os.pwrite(fd, piece[:4096], n * 4096); os.fsync(fd)
timed("write", large >> 20, write)
timed("read", large >> 20, read)
timed("syncs", {SYNCS}, sync)
"#
    );
    let output = kernel
        .memory_mib(2048)
        .timeout(Duration::from_secs(1800))
        .disk(image)
        .file("bench.py", program)
        .script("set -e\nmount -t ocfs2 /dev/ubda /mnt/a\npython3 \"$KIT/bench.py\"\numount /mnt/a\n")
        .run()?
        .ok();
    let rate = |name: &str| {
        let line = output
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(&format!("RATE {name} ")));
        line.and_then(|rate| rate.trim().parse().ok()).unwrap_or_default()
    };
    Ok(Some(Rates {
        creates: rate("creates"),
        walk: rate("walk"),
        deletes: rate("deletes"),
        write: rate("write"),
        read: rate("read"),
        syncs: rate("syncs"),
    }))
}
