//! How fast files of a mounted volume are written and read, beside plain writes and reads of such a device.
//!
//! `cargo bench -p ocfs2-fs --bench data` uses a file in the temporary directory, or in `OCFS2_BENCH_DIR`. Each number is
//! the best of several rounds, in which device and volume take turns.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocfs2_format::device::{BlockDevice, Durability, FileDevice, FileOptions};
use ocfs2_fs::mkfs::{self, MkfsOptions, MountMode, Plan};
use ocfs2_fs::{FileSystem, InodeUse, MountOptions, NewInode};

type Failure = Box<dyn std::error::Error>;

/// Bytes of the volume.
const VOLUME: u64 = 640 << 20;

fn main() -> Result<(), Failure> {
    // Other callers, such as `cargo test --all-targets`, only want to know that it runs.
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let (total, rounds) = if is_bench { (256 << 20, 3) } else { (2 << 20, 1) };
    let dir = std::env::var_os("OCFS2_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    println!(
        "{:>10} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "piece", "plain write", "new file", "plain again", "overwrite", "plain read", "read"
    );
    for piece in [4 << 10, 64 << 10, 1 << 20] {
        let best = (0..rounds)
            .map(|_| measure(&dir, piece, total))
            .reduce(|best, next| Ok(best?.min(next?)))
            .ok_or("no rounds")??;
        print!("{:>10}", piece);
        for time in best.0 {
            let mib = total as f64 / time.as_secs_f64() / f64::from(1 << 20);
            print!(" {mib:>6.0} MiB/s");
        }
        println!();
    }
    Ok(())
}

/// Times of one round, in the order of the table.
struct Times([Duration; 6]);

impl Times {
    fn min(self, other: Times) -> Times {
        let mut times = self.0;
        for (mine, its) in times.iter_mut().zip(other.0) {
            *mine = its.min(*mine);
        }
        Times(times)
    }
}

fn measure(dir: &Path, piece: usize, total: u64) -> Result<Times, Failure> {
    let plain = device(dir, total)?;
    let device = device(dir, VOLUME)?;
    let mut options = MkfsOptions::default();
    options.mount = MountMode::Local;
    let plan = Plan::new(VOLUME, &options)?;
    mkfs::format(device.as_ref(), &plan, &mut |_| {})?;
    let fs = FileSystem::mount(device.clone(), &MountOptions::default())?;
    let mut buf = vec![7; piece];
    let write_plain = || pieces(total, piece, |at| Ok(plain.write(at, &buf, Durability::Cached)?));
    let file = new_file(&fs, b"measured")?;
    let write = || pieces(total, piece, |at| whole(fs.write_at(&file, at, &buf)?, piece));
    let written = [write_plain()?, write()?, write_plain()?, write()?];
    let plain_read = pieces(total, piece, |at| Ok(plain.read(at, &mut buf)?))?;
    let read = pieces(total, piece, |at| whole(fs.read_at(&file, at, &mut buf)?, piece))?;
    drop(file);
    fs.unmount()?;
    let [first, new, again, over] = written;
    Ok(Times([first, new, again, over, plain_read, read]))
}

/// A sparse file: what is written first gets its storage then, of the plain file as of the volume.
fn device(dir: &Path, len: u64) -> Result<Arc<FileDevice>, Failure> {
    let image = tempfile::NamedTempFile::new_in(dir)?;
    image.as_file().set_len(len)?;
    let device = FileDevice::open(image.path(), &FileOptions::new().writable(true))?;
    Ok(Arc::new(device))
}

fn new_file(fs: &FileSystem, name: &[u8]) -> Result<InodeUse, Failure> {
    let inode = fs.create_file(fs.root(), name, &NewInode::with_mode(0o644))?;
    Ok(fs.use_inode(&inode)?)
}

fn whole(done: usize, piece: usize) -> Result<(), Failure> {
    if done == piece {
        Ok(())
    } else {
        Err(format!("{done} bytes instead of {piece}").into())
    }
}

/// How long it takes to do something for every piece.
fn pieces(total: u64, piece: usize, mut each: impl FnMut(u64) -> Result<(), Failure>) -> Result<Duration, Failure> {
    let start = Instant::now();
    for at in (0..total).step_by(piece) {
        each(at)?;
    }
    Ok(start.elapsed())
}
