//! How fast a journal takes transactions, beside what the same device does with plain writes.
//!
//! `cargo bench -p ocfs2-journal` measures in memory and in a file in the temporary directory, or in `OCFS2_BENCH_DIR`.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ocfs2_format::device::{BlockDevice, Durability, FileDevice, FileOptions, MemDevice};
use ocfs2_format::jbd2::Superblock;
use ocfs2_format::{BlockNo, Features, Geometry};
use ocfs2_journal::{CheckAt, Journal, JournalError, JournalOptions, LogMap, LogRun, fuzz};
use zerocopy::IntoBytes;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Other callers, such as `cargo test --all-targets`, only want to know that it runs.
    let scale = if std::env::args().any(|arg| arg == "--bench") {
        1
    } else {
        100
    };
    println!("{:44} {:>12} {:>12}", "", "memory", "file");
    let dir = std::env::var_os("OCFS2_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let columns: Vec<Vec<(&str, String)>> = vec![
        measure(&|| Ok(Arc::new(MemDevice::with_block_size(VOLUME, 4096))), scale)?,
        measure(&|| file(&dir), scale)?,
    ];
    for (memory, file) in columns[0].iter().zip(&columns[1]) {
        println!("{:44} {:>12} {:>12}", memory.0, memory.1, file.1);
    }
    Ok(())
}

type Make<'m> = &'m dyn Fn() -> Result<Arc<dyn BlockDevice>, Box<dyn std::error::Error>>;

/// A file whose blocks are all there, so that writing it does not allocate.
fn file(dir: &Path) -> Result<Arc<dyn BlockDevice>, Box<dyn std::error::Error>> {
    let file = tempfile::NamedTempFile::new_in(dir)?;
    file.as_file().set_len(VOLUME)?;
    let options = FileOptions::new().writable(true);
    let device = FileDevice::open(file.path(), &options)?;
    let piece = vec![1; PIECE];
    for at in (0..VOLUME).step_by(PIECE) {
        device.write(at, &piece, Durability::Cached)?;
    }
    device.flush()?;
    Ok(Arc::new(device))
}

fn measure(make: Make<'_>, scale: u64) -> Result<Vec<(&'static str, String)>, Box<dyn std::error::Error>> {
    let mut rows = Vec::new();
    let per_second = |count: u64, time: Duration| format!("{:.0}/s", count as f64 / time.as_secs_f64());
    let mib = |bytes: u64, time: Duration| format!("{:.0} MiB/s", bytes as f64 / time.as_secs_f64() / (1 << 20) as f64);

    let device = make()?;
    let total = (256 << 20) / scale / PIECE as u64 * PIECE as u64 + PIECE as u64;
    let piece = vec![7; PIECE];
    let start = Instant::now();
    for at in (0..total).step_by(PIECE) {
        device.write(at, &piece, Durability::Cached)?;
    }
    device.flush()?;
    rows.push(("device: writes of 1 MiB, one flush", mib(total, start.elapsed())));
    let syncs = 2000 / scale;
    let start = Instant::now();
    for n in 0..syncs {
        device.write(n % 1000 * 4096, &piece[..4096], Durability::Cached)?;
        device.flush()?;
    }
    rows.push((
        "device: writes of 4 KiB, each flushed",
        per_second(syncs, start.elapsed()),
    ));

    for (name, metaecc) in [
        ("journal: transactions of 12 MiB, to the log", false),
        ("the same with checks", true),
    ] {
        let journal = journal(make()?, metaecc, None)?;
        let rounds = 1 + 16 / scale;
        let (mut logged, mut home) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..rounds {
            let mut handle = journal.begin(LARGE)?;
            for n in 0..LARGE {
                handle
                    .create(BlockNo(HOMES + u64::from(n)), Some(CheckAt::block(0x80)))?
                    .fill(n as u8);
            }
            let tid = handle.commit()?;
            let start = Instant::now();
            journal.commit_and_wait(tid)?;
            logged += start.elapsed();
            let start = Instant::now();
            journal.checkpoint()?;
            home += start.elapsed();
        }
        let bytes = (rounds * u64::from(LARGE)) << 12;
        rows.push((name, mib(bytes, logged)));
        rows.push(("  and from there home", mib(bytes, home)));
    }

    let second = Some(Duration::from_secs(1));
    for (name, interval) in [
        ("journal: handles of 6 blocks, 5 of them hot", None),
        ("the same with a thread that commits", second),
    ] {
        let journal = journal(make()?, true, interval)?;
        let handles = 200_000 / scale;
        let start = Instant::now();
        for n in 0..handles {
            small(&journal, n)?.commit()?;
        }
        journal.commit()?;
        rows.push((name, per_second(handles, start.elapsed())));
    }

    let journal = journal(make()?, true, second)?;
    let start = Instant::now();
    for n in 0..syncs {
        let tid = small(&journal, n)?.commit()?;
        journal.commit_and_wait(tid)?;
    }
    rows.push((
        "journal: such handles, each waited for",
        per_second(syncs, start.elapsed()),
    ));
    let start = Instant::now();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let journal = &journal;
            scope.spawn(move || -> Result<(), JournalError> {
                for n in 0..syncs {
                    let mut handle = journal.begin(6)?;
                    for block in 0..6 {
                        let at = BlockNo(HOMES + (thread * 1000 + n % 100) * 6 + block);
                        handle.modify_with(at, Some(CheckAt::block(0x80)), || {
                            Ok::<_, JournalError>(vec![0; 4096].into())
                        })?;
                    }
                    let tid = handle.commit()?;
                    journal.commit_and_wait(tid)?;
                }
                Ok(())
            });
        }
    });
    rows.push(("  by 8 threads", per_second(THREADS * syncs, start.elapsed())));
    Ok(rows)
}

/// A handle as creating a small file has it.
fn small(journal: &Journal, n: u64) -> Result<ocfs2_journal::Handle<'_>, JournalError> {
    let mut handle = journal.begin(6)?;
    for block in 0..6 {
        let block = if block < 5 { block } else { block + n % 60_000 };
        let bytes = handle.modify_with(BlockNo(HOMES + block), Some(CheckAt::block(0x80)), || {
            Ok::<_, JournalError>(vec![0; 4096].into())
        })?;
        bytes[..8].copy_from_slice(&n.to_le_bytes());
    }
    Ok(handle)
}

fn journal(
    device: Arc<dyn BlockDevice>,
    metaecc: bool,
    commit_interval: Option<Duration>,
) -> Result<Journal, Box<dyn std::error::Error>> {
    let mut geometry: Geometry = fuzz::geometry(12, (VOLUME >> 12) as u32);
    if metaecc {
        geometry.features = Features::MAX_FEATURES;
    }
    let run = LogRun {
        start: 0,
        at: BlockNo(16),
        blocks: LOG,
    };
    let mut superblock = vec![0; 4096];
    superblock[..1024].copy_from_slice(Superblock::new(4096, LOG as u32, [7; 16], false).as_bytes());
    device.write(16 << 12, &superblock, Durability::ForceUnitAccess)?;
    let map = LogMap::new([run], &geometry)?;
    Ok(Journal::open(
        device,
        map,
        geometry,
        &JournalOptions { commit_interval },
    )?)
}

/// Bytes of the volume.
const VOLUME: u64 = 512 << 20;
/// Blocks of the journal: 64 MiB.
const LOG: u64 = 16_384;
/// Where the blocks are that are changed.
const HOMES: u64 = 32_768;
/// Blocks of a large handle.
const LARGE: u32 = 3072;
const THREADS: u64 = 8;
const PIECE: usize = 1 << 20;
