//! Contents of files in a mounted directory.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;
use std::thread;

use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom as Seeking, fallocate, seek};
use rustix::io::Errno;

use super::bed::Bed;

/// Bytes that tell one place from another.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(0x1405_7B7E_F767_814F);
        bytes.extend_from_slice(&(state >> 11).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn open(path: &Path) -> File {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .unwrap()
}

#[test]
fn pieces_of_all_sizes_read_back_after_a_remount() {
    for options in [&[][..], &["-o", "writeback_cache"]] {
        let Some(mut bed) = Bed::with(&[], options) else { return };
        let mut model = vec![0; 5 << 20];
        let file = open(&bed.path("file"));
        let mut seed = 0;
        for len in [1, 100, 511, 4096, 65_537, 1 << 20, (1 << 20) + 13] {
            for at in [0, 1, 4095, 70_000, 1 << 20, (3 << 20) - 7] {
                seed += 1;
                let bytes = pattern(seed, len);
                file.write_all_at(&bytes, at as u64).unwrap();
                model[at..at + len].copy_from_slice(&bytes);
            }
        }
        let size = file.metadata().unwrap().len() as usize;
        assert_eq!(size, (3 << 20) - 7 + (1 << 20) + 13);
        model.truncate(size);
        assert!(fs::read(bed.path("file")).unwrap() == model);
        drop(file);
        bed.remount();
        assert!(fs::read(bed.path("file")).unwrap() == model, "{options:?}");
        let mut end = [0; 10];
        assert_eq!(open(&bed.path("file")).read_at(&mut end, size as u64 - 3).unwrap(), 3);
        bed.end();
    }
}

#[test]
fn direct_reads_and_writes_see_what_cached_ones_do() {
    const O_DIRECT: i32 = 0o40000;
    let Some(bed) = Bed::new() else { return };
    let cached = open(&bed.path("file"));
    let direct = File::options()
        .read(true)
        .write(true)
        .custom_flags(O_DIRECT)
        .open(bed.path("file"))
        .unwrap();
    let bytes = pattern(1, 3 << 20);
    cached.write_all_at(&bytes, 0).unwrap();
    let mut read = vec![0; 3 << 20];
    direct.read_exact_at(&mut read, 0).unwrap();
    assert!(read == bytes);
    let bytes = pattern(2, 2 << 20);
    direct.write_all_at(&bytes, 1 << 20).unwrap();
    cached.read_exact_at(&mut read[..2 << 20], 1 << 20).unwrap();
    assert!(read[..2 << 20] == bytes);
    drop((cached, direct));
    bed.end();
}

#[test]
fn a_program_is_not_truncated_while_it_runs() {
    let Some(bed) = Bed::new() else { return };
    let path = bed.path("program");
    // Another program writes it: what this process has open for writing, a child of another test may hold open, too.
    assert!(
        Command::new("cp")
            .arg("/bin/sleep")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let len = fs::metadata(&path).unwrap().len();
    let mut running = Command::new(&path).arg("100").spawn().unwrap();
    for access in [OFlags::RDONLY, OFlags::WRONLY, OFlags::RDWR] {
        let opened = rustix::fs::open(&path, access | OFlags::TRUNC, Mode::empty());
        assert_eq!(opened.err(), Some(Errno::TXTBSY), "{access:?}");
    }
    assert_eq!(fs::metadata(&path).unwrap().len(), len);
    assert!(running.try_wait().unwrap().is_none());
    running.kill().unwrap();
    running.wait().unwrap();
    drop(File::create(&path).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    bed.end();
}

#[test]
fn appending_threads_lose_nothing() {
    let Some(bed) = Bed::new() else { return };
    thread::scope(|scope| {
        for worker in 0..4_u8 {
            let mut file = File::options().append(true).create(true).open(bed.path("log")).unwrap();
            scope.spawn(move || {
                for line in 0..100_u8 {
                    file.write_all(&[b'a' + worker, line, worker, b'\n']).unwrap();
                }
            });
        }
    });
    let log = fs::read(bed.path("log")).unwrap();
    assert_eq!(log.len(), 1600);
    let mut next = [0; 4];
    for line in log.chunks_exact(4) {
        let worker = usize::from(line[2]);
        assert_eq!(line, [b'a' + line[2], next[worker], line[2], b'\n']);
        next[worker] += 1;
    }
    bed.end();
}

#[test]
fn sizes_change_and_cut_contents_stay_cut() {
    let Some(bed) = Bed::new() else { return };
    let path = bed.path("file");
    let file = open(&path);
    file.write_all_at(&pattern(1, 10_000), 0).unwrap();
    file.set_len(5000).unwrap();
    file.set_len(20_000).unwrap();
    let mut read = vec![1; 20_000];
    file.read_exact_at(&mut read, 0).unwrap();
    assert!(read[..5000] == pattern(1, 5000)[..] && read[5000..].iter().all(|&byte| byte == 0));
    // Opening cuts, and other handles see it.
    fs::write(&path, b"short").unwrap();
    assert_eq!(file.metadata().unwrap().len(), 5);
    let mut all = Vec::new();
    (&file).read_to_end(&mut all).unwrap();
    assert_eq!(all, b"short");
    let refused = file.set_len(1 << 60).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(27), "{refused}");
    drop(file);
    bed.end();
}

#[test]
fn allocation_is_changed_as_fallocate_says() {
    const EOPNOTSUPP: i32 = 95;
    let Some(mut bed) = Bed::new() else { return };
    let file = open(&bed.path("file"));
    let len = 4 << 20;
    let mut model = pattern(1, len);
    file.write_all_at(&model, 0).unwrap();
    let full = file.metadata().unwrap().blocks();
    fallocate(
        &file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        1 << 20,
        1 << 20,
    )
    .unwrap();
    model[1 << 20..2 << 20].fill(0);
    assert_eq!(file.metadata().unwrap().blocks(), full - (1 << 20) / 512);
    fallocate(&file, FallocateFlags::ZERO_RANGE, 100, 70_000).unwrap();
    model[100..70_100].fill(0);
    let mut read = vec![1; len];
    file.read_exact_at(&mut read, 0).unwrap();
    assert!(read == model);
    fallocate(&file, FallocateFlags::KEEP_SIZE, len as u64, 1 << 20).unwrap();
    assert_eq!(file.metadata().unwrap().len(), len as u64);
    fallocate(&file, FallocateFlags::empty(), len as u64, 1 << 20).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 5 << 20);
    assert_eq!(file.metadata().unwrap().blocks(), full);
    let refused = fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096).unwrap_err();
    assert_eq!(refused.raw_os_error(), EOPNOTSUPP);
    // Where the data and the holes are.
    let ask = |from| seek(&file, from).map_err(|error| error.raw_os_error());
    assert_eq!(ask(Seeking::Data(1 << 20)), Ok(2 << 20));
    assert_eq!(ask(Seeking::Hole(2 << 20)), Ok(4 << 20));
    assert_eq!(ask(Seeking::Data(4 << 20)), Err(6));
    assert_eq!(ask(Seeking::Hole(6 << 20)), Err(6));
    drop(file);
    bed.remount();
    model.resize(5 << 20, 0);
    assert!(fs::read(bed.path("file")).unwrap() == model);
    bed.end();
}

#[test]
fn copies_share_clusters_where_the_volume_can() {
    let Some(mut bed) = Bed::with(&["--fs-features=refcount"], &[]) else {
        return;
    };
    let bytes = pattern(1, 16 << 20);
    fs::write(bed.path("from"), &bytes).unwrap();
    let free = || rustix::fs::statvfs(bed.dir()).unwrap().f_bfree;
    let before = free();
    let (from, to) = (open(&bed.path("from")), open(&bed.path("to")));
    let mut copied = 0;
    while copied < bytes.len() {
        let more = rustix::fs::copy_file_range(&from, None, &to, None, bytes.len() - copied).unwrap();
        assert_ne!(more, 0);
        copied += more;
    }
    // A tree of counts, not sixteen megabytes.
    assert!(before - free() < 256, "{} blocks", before - free());
    to.write_all_at(b"mine", 5 << 20).unwrap();
    drop((from, to));
    let mut copy = bytes.clone();
    copy[5 << 20..][..4].copy_from_slice(b"mine");
    bed.remount();
    assert!(fs::read(bed.path("from")).unwrap() == bytes);
    assert!(fs::read(bed.path("to")).unwrap() == copy);
    bed.end();
}

#[test]
fn a_full_volume_says_so_and_has_room_again() {
    let Some(bed) = Bed::new() else { return };
    let block = vec![1; 1 << 20];
    let fill = |name: &str| {
        let mut file = File::create(bed.path(name)).unwrap();
        loop {
            match file.write_all(&block) {
                Ok(()) => {}
                Err(error) => return (error.raw_os_error(), file.metadata().unwrap().len()),
            }
        }
    };
    let (error, first) = fill("first");
    assert_eq!(error, Some(28));
    fs::remove_file(bed.path("first")).unwrap();
    let (error, second) = fill("second");
    assert_eq!(error, Some(28));
    assert!(second > first / 2, "{second} of {first}");
    bed.end();
}

#[test]
fn the_room_of_a_file_is_there_as_soon_as_it_is_closed_and_removed() {
    let Some(bed) = Bed::new() else { return };
    // Nobody has it open, and it has no name: it is waited for once, and then no more.
    fs::create_dir(bed.path("dir")).unwrap();
    let dir = File::open(bed.path("dir")).unwrap();
    fs::remove_dir(bed.path("dir")).unwrap();
    let free = || rustix::fs::statvfs(bed.path("")).unwrap().f_bavail;
    let whole = free();
    let most = whole / 4 * 3 * rustix::fs::statvfs(bed.path("")).unwrap().f_frsize;
    let path = bed.path("file");
    for turn in 0..40 {
        let file = File::create(&path).unwrap();
        fallocate(&file, FallocateFlags::empty(), 0, most).unwrap_or_else(|error| panic!("{turn}: {error}"));
        if turn % 2 == 0 {
            drop(file);
            fs::remove_file(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
            drop(file);
        }
        if turn % 4 == 0 {
            assert!(free() > whole / 10 * 9, "{turn}: {} of {whole}", free());
        }
    }
    drop(dir);
    bed.end();
}

#[test]
fn what_was_synced_survives_the_death_of_the_server() {
    let Some(mut bed) = Bed::new() else { return };
    let bytes = pattern(9, 300_000);
    fs::create_dir(bed.path("dir")).unwrap();
    let mut file = File::create(bed.path("dir/file")).unwrap();
    file.write_all(&bytes).unwrap();
    file.sync_all().unwrap();
    File::open(bed.path("dir")).unwrap().sync_all().unwrap();
    drop(fs::write(bed.path("unsynced"), b"maybe"));
    bed.crash();
    drop(file);
    bed.mount(&[]);
    assert!(fs::read(bed.path("dir/file")).unwrap() == bytes);
    bed.end();
}

#[test]
fn the_kernel_keeps_locks_of_files() {
    let Some(bed) = Bed::new() else { return };
    let (one, two) = (open(&bed.path("file")), open(&bed.path("file")));
    one.lock().unwrap();
    assert!(two.try_lock().is_err());
    one.unlock().unwrap();
    two.try_lock().unwrap();
    drop((one, two));
    bed.end();
}

#[test]
fn a_volume_mounted_read_only_is_read_and_not_changed() {
    let Some(mut bed) = Bed::new() else { return };
    fs::write(bed.path("file"), b"contents").unwrap();
    bed.unmount();
    let before = fs::read(bed.image()).unwrap();
    bed.mount(&["-o", "ro"]);
    assert_eq!(fs::read(bed.path("file")).unwrap(), b"contents");
    let refused = File::create(bed.path("new")).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
    File::open(bed.path("file")).unwrap().sync_all().unwrap();
    bed.unmount();
    assert!(fs::read(bed.image()).unwrap() == before);
}

#[test]
fn reading_moves_on_from_where_it_is() {
    let Some(bed) = Bed::new() else { return };
    let bytes = pattern(4, 200_000);
    fs::write(bed.path("file"), &bytes).unwrap();
    let mut file = open(&bed.path("file"));
    file.seek(SeekFrom::End(-10)).unwrap();
    let mut end = Vec::new();
    file.read_to_end(&mut end).unwrap();
    assert_eq!(end, bytes[bytes.len() - 10..]);
    drop(file);
    bed.end();
}
