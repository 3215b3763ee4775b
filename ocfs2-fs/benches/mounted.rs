//! How fast a mounted file system works in this process: beside the kernel driver in user-mode Linux, beside ext4 through
//! fuse2fs, both on the same host, and beside plain reads and writes of the image.
//!
//! `cargo bench -p ocfs2-fs --bench mounted`; images lie in the temporary directory, or in `OCFS2_BENCH_DIR`.
//! `OCFS2_BENCH_FILES` changes the number of small files, 200 000 of which make a full run, `OCFS2_BENCH_MIB` the size of
//! the large one, 1024. Large files and the raw image take turns `OCFS2_BENCH_ROUNDS` times, 3, of which the best counts:
//! what the disk does meanwhile is not what is compared.
//!
//! The same program runs on every side: through this crate, on files of the host, and, called again inside of it, in
//! user-mode Linux.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ocfs2_format::device::{FileDevice, FileOptions};
use ocfs2_fs::mkfs::{self, MkfsOptions, MountMode, Plan};
use ocfs2_fs::{FileSystem, MountOptions, OpenFile, OpenHow};
use ocfs2_testkit::{require_kernel, require_tool};

/// Directories that the small files are spread over.
const DIRS: usize = 200;
/// Bytes of a small file.
const SMALL: usize = 100;
/// Bytes written and read at once.
const PIECES: [(&str, usize); 3] = [("4 KiB", 4 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)];
/// Pieces at random places.
const RANDOM: usize = 10_000;
/// Calls of fsync.
const SYNCS: usize = 200;
/// How this program is told that it is called inside user-mode Linux.
const INSIDE: &str = "--work-in";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How much there is to do.
#[derive(Clone, Copy, Debug)]
struct Load {
    files: usize,
    large: usize,
    random: usize,
    syncs: usize,
}

/// What one side does in a second, by what it is. Printed in the order of [`rows`].
type Rates = BTreeMap<String, f64>;

/// Something to do with a volume.
type Work = fn(&Path, Load) -> Result<Rates>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    // Other callers, such as `cargo test --all-targets`, only want to know that it runs.
    let is_bench = args.iter().any(|arg| arg == "--bench");
    let from_env = |name: &str, default: usize| -> Result<usize> {
        Ok(std::env::var(name).map_or(Ok(default), |text| text.parse())?)
    };
    let load = match is_bench || args.iter().any(|arg| arg == INSIDE) {
        true => Load {
            files: from_env("OCFS2_BENCH_FILES", 200_000)?,
            large: from_env("OCFS2_BENCH_MIB", 1024)? << 20,
            random: RANDOM,
            syncs: SYNCS,
        },
        false => Load {
            files: 1000,
            large: 8 << 20,
            random: 100,
            syncs: 10,
        },
    };
    if let Some(at) = args.iter().position(|arg| arg == INSIDE) {
        let dir = args.get(at + 1).ok_or("no directory to work in")?;
        let drop_caches = || Ok(fs::write("/proc/sys/vm/drop_caches", "3")?);
        for (what, rate) in work_on_files(Path::new(dir), load, &drop_caches)? {
            println!("RATE {what}={rate}");
        }
        return Ok(());
    }
    let dir = tempfile::tempdir_in(std::env::var_os("OCFS2_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into))?;
    let size = 3 * load.large as u64 + load.files as u64 * 8192 + (1 << 30);
    let image = dir.path().join("volume");

    make(&image, size)?;
    let mut ours = small_files(&image, load)?;
    let mut raw = Rates::new();
    for _ in 0..if is_bench {
        from_env("OCFS2_BENCH_ROUNDS", 3)?
    } else {
        1
    } {
        for (rates, work) in [(&mut raw, raw_image as Work), (&mut ours, large_files)] {
            fs::remove_file(&image)?;
            make(&image, size)?;
            keep_best(rates, work(&image, load)?);
        }
    }
    fs::remove_file(&image)?;
    let ext4 = match is_bench {
        true => ext4(dir.path(), size, load)?,
        false => None,
    };
    let kernel = match is_bench {
        true => {
            make(&image, size)?;
            kernel(&image, load)?
        }
        false => None,
    };
    fs::remove_file(&image).ok();

    let Load { files, large, .. } = load;
    println!(
        "{files} files of {SMALL} bytes in {DIRS} directories; a file of {} MiB",
        large >> 20
    );
    println!(
        "{:32}{:>10}{:>10}{:>8}{:>10}{:>8}{:>10}{:>8}",
        "", "here", "raw image", "ratio", "kernel", "ratio", "fuse2fs", "ratio"
    );
    for what in rows() {
        let here = ours.get(&what).copied().unwrap_or_default();
        print!("{what:32}{here:>10.0}");
        for side in [Some(&raw), kernel.as_ref(), ext4.as_ref()] {
            match side.and_then(|rates| rates.get(&what)) {
                Some(there) => print!("{there:>10.0}{:>8.2}", here / there),
                None => print!("{:>18}", "-"),
            }
        }
        println!();
    }
    threads(&image, if is_bench { 20_000 } else { 200 })
}

/// What is measured, in order.
fn rows() -> Vec<String> {
    let mut rows: Vec<String> = ["creates/s", "walked/s", "deletes/s"].map(String::from).into();
    for kind in ["write", "read"] {
        rows.extend(PIECES.map(|(piece, _)| format!("{kind} {piece}, MiB/s")));
    }
    for kind in ["random write", "random read"] {
        rows.extend(PIECES[..2].iter().map(|(piece, _)| format!("{kind} {piece}, MiB/s")));
    }
    rows.push("append 4 KiB and fsync/s".to_owned());
    rows
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

fn mount(image: &Path) -> Result<FileSystem> {
    let device = FileDevice::open(image, &FileOptions::default().writable(true))?;
    Ok(FileSystem::mount(Arc::new(device), &MountOptions::default())?)
}

fn timed(rates: &mut Rates, what: &str, count: f64, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    work()?;
    rates.insert(what.to_owned(), count / start.elapsed().as_secs_f64());
    Ok(())
}

/// A file that is open for reading and writing.
trait Large {
    fn write(&self, at: u64, bytes: &[u8]) -> Result<()>;
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()>;
    fn sync(&self) -> Result<()>;
}

impl Large for File {
    fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.write_all_at(bytes, at)?)
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        Ok(self.read_exact_at(bytes, at)?)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.sync_all()?)
    }
}

impl Large for OpenFile {
    fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        assert_eq!(self.write_at(at, bytes)?, bytes.len());
        Ok(())
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        assert_eq!(self.read_at(at, bytes)?, bytes.len());
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(self.sync_all()?)
    }
}

/// Writes and reads files as large as the load says. `open` makes a new one, or opens one again and forgets what it can of
/// its contents.
fn work_on_large<L: Large>(rates: &mut Rates, load: Load, open: &dyn Fn(&str) -> Result<L>) -> Result<()> {
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let mut buf = vec![7; 1 << 20];
    for (name, piece) in PIECES {
        // Small pieces need not be as many.
        let total = if piece < 64 << 10 { load.large / 4 } else { load.large };
        let file = open(name)?;
        timed(rates, &format!("write {name}, MiB/s"), mib(total), || {
            (0..total as u64)
                .step_by(piece)
                .try_for_each(|at| file.write(at, &buf[..piece]))?;
            file.sync()
        })?;
        drop(file);
        let file = open(name)?;
        timed(rates, &format!("read {name}, MiB/s"), mib(total), || {
            let mut pieces = (0..total as u64).step_by(piece);
            pieces.try_for_each(|at| file.read(at, &mut buf[..piece]))
        })?;
    }
    for (name, piece) in &PIECES[..2] {
        let mut chance = fastrand::Rng::with_seed(7);
        let places: Vec<u64> = (0..load.random)
            .map(|_| (chance.usize(..load.large / piece) * piece) as u64)
            .collect();
        let total = mib(load.random * piece);
        let file = open("1 MiB")?;
        timed(rates, &format!("random read {name}, MiB/s"), total, || {
            places.iter().try_for_each(|&at| file.read(at, &mut buf[..*piece]))
        })?;
        timed(rates, &format!("random write {name}, MiB/s"), total, || {
            places.iter().try_for_each(|&at| file.write(at, &buf[..*piece]))?;
            file.sync()
        })?;
    }
    let file = open("log")?;
    timed(rates, "append 4 KiB and fsync/s", load.syncs as f64, || {
        (0..load.syncs as u64).try_for_each(|n| {
            file.write(n * 4096, &buf[..4096])?;
            file.sync()
        })
    })
}

fn keep_best(best: &mut Rates, rates: Rates) {
    for (what, rate) in rates {
        let best = best.entry(what).or_default();
        *best = best.max(rate);
    }
}

/// Small files of a volume, through this crate.
fn small_files(image: &Path, load: Load) -> Result<Rates> {
    let volume = mount(image)?;
    let mut rates = Rates::new();
    let count = load.files as f64;
    timed(&mut rates, "creates/s", count, || {
        for dir in 0..DIRS {
            volume.create_dir(format!("/d{dir}"))?;
            for file in 0..load.files / DIRS {
                volume.write(format!("/d{dir}/f{file}"), [b'x'; SMALL])?;
            }
        }
        Ok(volume.sync()?)
    })?;
    timed(&mut rates, "walked/s", count, || {
        let mut seen = 0;
        for dir in 0..DIRS {
            for entry in volume.read_dir(format!("/d{dir}"))? {
                seen += usize::from(volume.inode(entry?.inode())?.size() == SMALL as u64);
            }
        }
        assert_eq!(seen, load.files / DIRS * DIRS, "every file is met");
        Ok(())
    })?;
    timed(&mut rates, "deletes/s", count, || {
        for dir in 0..DIRS {
            volume.remove_dir_all(format!("/d{dir}"))?;
        }
        Ok(volume.sync()?)
    })?;
    volume.unmount()?;
    Ok(rates)
}

/// Large files of a volume, through this crate.
fn large_files(image: &Path, load: Load) -> Result<Rates> {
    let volume = mount(image)?;
    let mut rates = Rates::new();
    work_on_large(&mut rates, load, &|name| {
        let mut how = OpenHow::new();
        Ok(volume.open(format!("/{name}"), how.read(true).write(true).create(true))?)
    })?;
    volume.unmount()?;
    Ok(rates)
}

/// The same through the host's system calls.
fn work_on_files(root: &Path, load: Load, drop_caches: &dyn Fn() -> Result<()>) -> Result<Rates> {
    let mut rates = Rates::new();
    let count = load.files as f64;
    timed(&mut rates, "creates/s", count, || {
        for dir in 0..DIRS {
            let dir = root.join(format!("d{dir}"));
            fs::create_dir(&dir)?;
            for file in 0..load.files / DIRS {
                fs::write(dir.join(format!("f{file}")), [b'x'; SMALL])?;
            }
        }
        sync_dir(root)
    })?;
    drop_caches()?;
    timed(&mut rates, "walked/s", count, || {
        for dir in 0..DIRS {
            for entry in fs::read_dir(root.join(format!("d{dir}")))? {
                assert_eq!(entry?.metadata()?.len(), SMALL as u64);
            }
        }
        Ok(())
    })?;
    timed(&mut rates, "deletes/s", count, || {
        for dir in 0..DIRS {
            fs::remove_dir_all(root.join(format!("d{dir}")))?;
        }
        sync_dir(root)
    })?;
    work_on_large(&mut rates, load, &|name| {
        drop_caches()?;
        open_large(&root.join(name))
    })?;
    Ok(rates)
}

fn open_large(path: &Path) -> Result<File> {
    let mut options = File::options();
    Ok(options.read(true).write(true).create(true).truncate(false).open(path)?)
}

fn sync_dir(root: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(File::open(root)?)?)
}

/// A part of an image, past whatever is there.
struct Part {
    image: File,
    start: u64,
}

impl Large for Part {
    fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        Large::write(&self.image, self.start + at, bytes)
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        Large::read(&self.image, self.start + at, bytes)
    }

    fn sync(&self) -> Result<()> {
        Large::sync(&self.image)
    }
}

/// Plain writes and reads of as many bytes of the image, which is no volume any more then.
fn raw_image(path: &Path, load: Load) -> Result<Rates> {
    /// Bytes of the image that are left alone: what mkfs has written there is in the page cache already.
    const METADATA: u64 = 300 << 20;
    let mut rates = Rates::new();
    let names: Vec<&str> = PIECES.iter().map(|(name, _)| *name).collect();
    work_on_large(&mut rates, load, &|name| {
        // Behind the others, the log.
        let index = names.iter().position(|other| *other == name).unwrap_or(names.len());
        Ok(Part {
            image: File::options().read(true).write(true).open(path)?,
            start: METADATA + (index * load.large) as u64,
        })
    })?;
    Ok(rates)
}

/// A program that serves a mount until that is taken away.
struct Served {
    program: Child,
    mount: PathBuf,
}

impl Drop for Served {
    fn drop(&mut self) {
        let unmounted = Command::new("fusermount3").arg("-u").arg(&self.mount).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            self.program.kill().ok();
        }
        self.program.wait().ok();
    }
}

/// ext4, by a program in user space as we are one.
fn ext4(dir: &Path, size: u64, load: Load) -> Result<Option<Rates>> {
    let (Some(_), Some(make), Some(_)) = (
        require_tool("fuse2fs"),
        require_tool("mkfs.ext4"),
        require_tool("fusermount3"),
    ) else {
        return Ok(None);
    };
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: fuse2fs, there is no /dev/fuse");
        return Ok(None);
    }
    let (image, mount) = (dir.join("ext4"), dir.join("mount"));
    File::create(&image)?.set_len(size)?;
    fs::create_dir(&mount)?;
    let inodes = (load.files + 10_000).to_string();
    make.args(["-q", "-F", "-N", &inodes]).arg(&image).run().ok();
    let program = Command::new("fuse2fs")
        .arg("-f")
        .args([&image, &mount])
        .stdout(Stdio::null())
        .spawn()?;
    let mut served = Served { program, mount };
    let outside = fs::metadata(dir)?.dev();
    while fs::metadata(&served.mount)?.dev() == outside {
        if served.program.try_wait()?.is_some() {
            println!("skipped: fuse2fs does not mount its image");
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
    let rates = work_on_files(&served.mount, load, &|| Ok(()))?;
    drop(served);
    fs::remove_file(&image)?;
    Ok(Some(rates))
}

/// The same work inside the kernel's machine.
fn kernel(image: &Path, load: Load) -> Result<Option<Rates>> {
    let Some(kernel) = require_kernel() else {
        return Ok(None);
    };
    let program = std::env::current_exe()?;
    let script = format!(
        "set -e\nmount -t ocfs2 /dev/ubda /mnt/a\n\
         OCFS2_BENCH_FILES={} OCFS2_BENCH_MIB={} '{}' {INSIDE} /mnt/a\numount /mnt/a\n",
        load.files,
        load.large >> 20,
        program.display()
    );
    let output = kernel
        .memory_mib(2048)
        .timeout(Duration::from_secs(3600))
        .disk(image)
        .script(script)
        .run()?
        .ok();
    let rates = output.stdout.lines().filter_map(|line| {
        let (what, rate) = line.strip_prefix("RATE ")?.rsplit_once('=')?;
        Some((what.to_owned(), rate.trim().parse().ok()?))
    });
    Ok(Some(rates.collect()))
}

/// Threads that make files at the same time, each in a directory of its own; and threads that write a file each.
fn threads(image: &Path, files: usize) -> Result<()> {
    println!("{:32}{:>10}{:>10}{:>8}", "threads", "files/s", "MiB/s", "ratios");
    let mut one = None;
    for count in [1, 2, 4] {
        make(image, 4 << 30)?;
        let volume = mount(image)?;
        let together = |work: &(dyn Fn(usize) -> ocfs2_fs::Result<()> + Sync)| -> Result<f64> {
            let start = Instant::now();
            thread::scope(|scope| {
                let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
                threads
                    .into_iter()
                    .try_for_each(|thread| thread.join().expect("a worker does not panic"))
            })?;
            Ok(start.elapsed().as_secs_f64())
        };
        let creating = together(&|number| {
            volume.create_dir(format!("/d{number}"))?;
            (0..files).try_for_each(|file| volume.write(format!("/d{number}/f{file}"), [b'x'; SMALL]))
        })?;
        let large = files * 8192;
        let piece = vec![7; 1 << 20];
        let writing = together(&|number| {
            let mut how = OpenHow::new();
            let file = volume.open(format!("/large{number}"), how.write(true).create(true))?;
            let mut pieces = (0..large as u64).step_by(piece.len());
            pieces.try_for_each(|at| file.write_at(at, &piece).map(drop))
        })?;
        volume.unmount()?;
        fs::remove_file(image)?;
        let rates = (
            (count * files) as f64 / creating,
            (count * large) as f64 / writing / f64::from(1 << 20),
        );
        let (creates, writes) = *one.get_or_insert(rates);
        println!(
            "{count:<32}{:>10.0}{:>10.0}{:>8.2}{:>8.2}",
            rates.0,
            rates.1,
            rates.0 / creates,
            rates.1 / writes
        );
    }
    Ok(())
}
