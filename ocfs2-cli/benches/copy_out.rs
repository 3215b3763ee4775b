//! Copying out of a volume, against cp(1) on the host's own file system; reading a large file, against the raw image.
//!
//!     cargo bench -p ocfs2-cli --bench copy_out
//!
//! The volume is made by mkfs.ocfs2 and filled by the real kernel, which takes a few minutes; it is kept in the target
//! directory for the next run. `TREE_FILES` (200000) and `BIG_MIB` (4096) make it smaller. The trees on the host are in
//! `COPY_DIR`, else beside the volume: in memory (`/dev/shm`) the disk does not drown what is measured. Ratios are of one
//! run, the programs taking turns, the best of three rounds each.

use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocfs2_format::device::{FileDevice, FileOptions};
use ocfs2_fs::{OpenOptions, SegmentSource, Volume};
use ocfs2_testkit::tools::reference;
use ocfs2_testkit::{require_kernel, require_tool};

fn main() -> Result<(), Box<dyn Error>> {
    if require_tool("mkfs.ocfs2").is_none() || require_kernel().is_none() {
        return Ok(());
    }
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (files, big_mib) = (number("TREE_FILES", 200_000), number("BIG_MIB", 4096));
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("copy-out-{files}-{big_mib}"));
    let image = dir.join("volume.img");
    if !dir.join("ready").exists() {
        prepare(&dir, &image, files, big_mib)?;
    }
    println!("{:<34} {:>10} {:>10} {:>8}", "", "ours", "reference", "ratio");

    // The host's copy is made by the first run of ours, so both sources hold the same bytes.
    let ocfs2 = Path::new(env!("CARGO_BIN_EXE_ocfs2"));
    let source = format!("{}:/tree", image.display());
    let trees = tempfile::tempdir_in(std::env::var_os("COPY_DIR").map_or(dir, PathBuf::from))?;
    let (host, target) = (trees.path().join("host"), trees.path().join("out"));
    run(Command::new(ocfs2).args(["cp", "-r", &source]).arg(&host))?;
    let host = host.to_str().ok_or("the target directory has a name in UTF-8")?;
    let timed_copy = |program: &Path, arguments: &[&str]| -> Result<Duration, Box<dyn Error>> {
        // What earlier copies left to be written is not this one's.
        rustix::fs::sync();
        let start = Instant::now();
        run(Command::new(program).args(arguments).arg(&target))?;
        let time = start.elapsed();
        fs::remove_dir_all(&target)?;
        Ok(time)
    };
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        ours = ours.min(timed_copy(ocfs2, &["cp", "-r", &source])?);
        theirs = theirs.min(timed_copy(Path::new("cp"), &["-r", host])?);
    }
    drop(trees);
    report(&format!("cp -r of {files} files"), ours, theirs);

    let (ours, theirs) = read_big(&image)?;
    report(&format!("read {big_mib} MiB, 1 MiB at a time"), ours, theirs);
    Ok(())
}

fn prepare(dir: &Path, image: &Path, files: u64, big_mib: u64) -> Result<(), Box<dyn Error>> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir)?;
    println!("making a volume with {files} files and one of {big_mib} MiB (once) …");
    File::create(image)?.set_len((big_mib + files / 64 + 2048) << 20)?;
    reference("mkfs.ocfs2")
        .args(["-x", "-q", "-F", "-M", "local", "-L", "bench"])
        .arg(image)
        .run()
        .ok();
    let script = format!(
        r#"set -e
mount -t ocfs2 /dev/ubda /mnt/a
python3 - <<'PY'
import os
root = "/mnt/a/tree"
os.mkdir(root)
body = (b"The quick brown fox jumps over the lazy dog. " * 400)
for number in range({files}):
    folder = f"{{root}}/{{number // 1000:04}}"
    if number % 1000 == 0:
        os.mkdir(folder)
    with open(f"{{folder}}/file-{{number:06}}", "wb") as file:
        file.write(body[: (number * 977) % len(body)])
block = os.urandom(1 << 20)
with open("/mnt/a/big", "wb") as file:
    for _ in range({big_mib}):
        file.write(block)
PY
umount /mnt/a
"#
    );
    let kernel = require_kernel().ok_or("the kernel was there before")?;
    kernel
        .memory_mib(1024)
        .timeout(Duration::from_secs(3600))
        .disk(image)
        .script(script)
        .run()?
        .ok();
    fs::write(dir.join("ready"), "")?;
    Ok(())
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

/// The same bytes through the volume and straight from the image.
fn read_big(image: &Path) -> Result<(Duration, Duration), Box<dyn Error>> {
    let volume = Volume::open(
        Arc::new(FileDevice::open(image, &FileOptions::default())?),
        &OpenOptions::default(),
    )?;
    let file = volume.open_file("/big")?;
    let raw = File::open(image)?;
    let segments = file.segments().collect::<Result<Vec<_>, _>>()?;
    let mut buf = vec![0; 1 << 20];
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        let start = Instant::now();
        let mut at = 0;
        while at < file.size() {
            at += file.read_at(at, &mut buf)? as u64;
            black_box(&buf);
        }
        ours = ours.min(start.elapsed());

        let start = Instant::now();
        for segment in &segments {
            let SegmentSource::Device { offset, .. } = segment.source else {
                continue;
            };
            let mut done = 0;
            while done < segment.len {
                let part = (segment.len - done).min(buf.len() as u64);
                raw.read_exact_at(&mut buf[..part as usize], offset + done)?;
                black_box(&buf);
                done += part;
            }
        }
        theirs = theirs.min(start.elapsed());
    }
    Ok((ours, theirs))
}

fn report(what: &str, ours: Duration, theirs: Duration) {
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!(
        "{what:<34} {:>9.2}s {:>9.2}s {ratio:>7.2}×",
        ours.as_secs_f64(),
        theirs.as_secs_f64()
    );
}
