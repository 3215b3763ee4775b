//! Contents of files: what is written is read back, here and by others, and what cannot be done changes nothing.

use std::io::{IoSlice, IoSliceMut, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ocfs2_format::device::{Counting, Fault, Faulty, IoOp};
use ocfs2_format::{DynFeatures, ExtentFlags, InodeAttr, InodeNo};
use ocfs2_fs::{AllocateMode, Error, ExtentPlace, FileSystem, InodeUse, MountOptions, NewInode, OpenHow};

use crate::bed::{Bed, SHAPES, Shape};

/// A new empty file in the root directory.
pub(crate) fn new_file(fs: &FileSystem, name: &str) -> InodeUse {
    let inode = fs
        .create_file(fs.root(), name.as_bytes(), &NewInode::with_mode(0o644))
        .expect("the file can be made");
    fs.use_inode(&inode).expect("the file is there")
}

/// Bytes that differ from place to place and from seed to seed.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

pub(crate) fn read_all(fs: &FileSystem, file: &InodeUse) -> Vec<u8> {
    let size = fs.inode(file.inode()).unwrap().size();
    // One more than there is: the file ends where it says.
    let mut bytes = vec![0xAA; size as usize + 1];
    let read = fs.read_at(file, 0, &mut bytes).unwrap();
    assert_eq!(read as u64, size);
    bytes.truncate(read);
    bytes
}

/// The contents as code reads them that has nothing to do with what wrote them.
pub(crate) fn read_offline(bed: &Bed, inode: InodeNo) -> Vec<u8> {
    let volume = bed.volume();
    let file = volume.open_inode(volume.inode(inode).unwrap()).unwrap();
    let mut bytes = vec![0; file.size() as usize];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

fn write_all(fs: &FileSystem, file: &InodeUse, offset: u64, bytes: &[u8]) {
    assert_eq!(fs.write_at(file, offset, bytes).unwrap(), bytes.len());
}

fn small() -> Shape {
    Shape::default()
}

#[test]
fn what_is_written_is_read_back_by_everybody() {
    for &shape in SHAPES {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let mut files = Vec::new();
        for len in [0, 1, 300, 4096, 5000, 70_000, 3 << 20] {
            let file = new_file(&fs, &format!("f{len}"));
            let bytes = pattern(len as u64, len);
            write_all(&fs, &file, 0, &bytes);
            assert!(read_all(&fs, &file) == bytes, "{len} bytes on {shape:?}");
            files.push((file.inode(), bytes));
        }
        fs.unmount().unwrap();
        for (inode, bytes) in files {
            assert!(read_offline(&bed, inode) == bytes, "{} bytes on {shape:?}", bytes.len());
        }
        bed.assert_clean();
    }
}

#[test]
fn a_write_far_behind_the_end_leaves_a_hole_that_reads_as_zeros() {
    for &shape in SHAPES {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let file = new_file(&fs, "hole");
        let far = 10 * u64::from(shape.cluster) + 77;
        write_all(&fs, &file, 0, b"head");
        write_all(&fs, &file, far, b"tail");
        let mut expected = vec![0; far as usize];
        expected[..4].copy_from_slice(b"head");
        expected.extend(b"tail");
        assert!(read_all(&fs, &file) == expected, "{shape:?}");
        let clusters = fs.inode(file.inode()).unwrap().clusters();
        let dense = shape.features.contains("nosparse");
        assert_eq!(clusters, if dense { 11 } else { 2 }, "{shape:?}");
        let inode = file.inode();
        fs.unmount().unwrap();
        assert!(read_offline(&bed, inode) == expected);
        bed.assert_clean();
    }
}

#[test]
fn small_files_live_in_their_inode_until_they_outgrow_it() {
    let bed = Bed::new(small());
    let fs = bed.mount();
    let file = new_file(&fs, "small");
    let is_inline = |fs: &FileSystem| {
        let inode = fs.inode(file.inode()).unwrap();
        inode.dyn_features().contains(DynFeatures::INLINE_DATA)
    };
    let bytes = pattern(1, 4000);
    write_all(&fs, &file, 0, &bytes[..100]);
    assert!(is_inline(&fs));
    assert_eq!(fs.inode(file.inode()).unwrap().clusters(), 0);
    write_all(&fs, &file, 100, &bytes[100..3000]);
    assert!(is_inline(&fs));
    fs.set_len(&file, 50).unwrap();
    fs.set_len(&file, 200).unwrap();
    let mut expected = bytes[..50].to_vec();
    expected.resize(200, 0);
    assert_eq!(read_all(&fs, &file), expected, "what was cut off does not come back");
    write_all(&fs, &file, 200, &bytes);
    expected.extend(&bytes);
    assert!(!is_inline(&fs));
    assert_eq!(read_all(&fs, &file), expected);
    // Once extended by truncation, a file never becomes inline.
    let other = new_file(&fs, "extended");
    fs.set_len(&other, 10).unwrap();
    write_all(&fs, &other, 0, b"x");
    let inode = fs.inode(other.inode()).unwrap();
    assert!(!inode.dyn_features().contains(DynFeatures::INLINE_DATA));
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn vectored_writes_and_reads_are_one_operation() {
    let bed = Bed::new(small());
    let fs = bed.mount();
    let file = new_file(&fs, "vectored");
    let bytes = pattern(7, 200_000);
    let bufs = [
        IoSlice::new(&bytes[..1]),
        IoSlice::new(&bytes[1..513]),
        IoSlice::new(&[]),
        IoSlice::new(&bytes[513..150_000]),
        IoSlice::new(&bytes[150_000..]),
    ];
    assert_eq!(fs.write_vectored_at(&file, 13, &bufs).unwrap(), bytes.len());
    let (mut one, mut two, mut three) = (vec![0; 13], vec![0; 99_999], vec![0; 200_000]);
    let mut into = [
        IoSliceMut::new(&mut one),
        IoSliceMut::new(&mut two),
        IoSliceMut::new(&mut three),
    ];
    assert_eq!(fs.read_vectored_at(&file, 0, &mut into).unwrap(), bytes.len() + 13);
    assert_eq!(one, [0; 13]);
    assert!(two == bytes[..99_999]);
    assert!(three[..100_001] == bytes[99_999..]);
}

#[test]
fn truncation_gives_clusters_back_and_zeros_what_is_behind_the_end() {
    for &shape in SHAPES {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let file = new_file(&fs, "cut");
        let bytes = pattern(3, 5 * shape.cluster as usize + 100);
        write_all(&fs, &file, 0, &bytes);
        let cut = 2 * u64::from(shape.cluster) + 700;
        fs.set_len(&file, cut).unwrap();
        assert_eq!(fs.inode(file.inode()).unwrap().clusters(), 3);
        fs.set_len(&file, cut + 5000).unwrap();
        let mut expected = bytes[..cut as usize].to_vec();
        expected.resize(cut as usize + 5000, 0);
        assert!(read_all(&fs, &file) == expected, "{shape:?}");
        fs.set_len(&file, 0).unwrap();
        assert_eq!(fs.inode(file.inode()).unwrap().clusters(), 0);
        fs.unmount().unwrap();
        bed.assert_clean();
    }
}

#[test]
fn appends_of_many_threads_do_not_overlap() {
    let bed = Bed::new(small());
    let fs = bed.mount();
    let file = new_file(&fs, "log");
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let (fs, file) = (&fs, &file);
            scope.spawn(move || {
                for _ in 0..50 {
                    let record = vec![thread + 1; 100 + 37 * usize::from(thread)];
                    assert_eq!(fs.append(file, &record).unwrap().1, record.len());
                }
            });
        }
    });
    let bytes = read_all(&fs, &file);
    let mut counts = [0; 4];
    let mut at = 0;
    while at < bytes.len() {
        let thread = usize::from(bytes[at] - 1);
        let len = 100 + 37 * thread;
        assert!(
            bytes[at..at + len].iter().all(|&byte| byte == bytes[at]),
            "records stay whole"
        );
        counts[thread] += 1;
        at += len;
    }
    assert_eq!(counts, [50; 4]);
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn writes_to_different_ranges_of_a_file_run_in_parallel() {
    let bed = Bed::new(small());
    let fs = bed.mount();
    let file = new_file(&fs, "ranges");
    let len = 256 << 10;
    write_all(&fs, &file, 0, &vec![0; 4 * len]);
    std::thread::scope(|scope| {
        for part in 0..4usize {
            let (fs, file) = (&fs, &file);
            scope.spawn(move || {
                for round in 0..20u64 {
                    let bytes = pattern(round * 4 + part as u64, len);
                    write_all(fs, file, (part * len) as u64, &bytes);
                }
            });
        }
    });
    let bytes = read_all(&fs, &file);
    for part in 0..4 {
        assert!(bytes[part * len..(part + 1) * len] == pattern(19 * 4 + part as u64, len));
    }
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn preallocated_clusters_read_as_zeros_and_become_data_where_written() {
    for &shape in SHAPES.iter().filter(|shape| !shape.features.contains("nosparse")) {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let file = new_file(&fs, "pre");
        let cluster = u64::from(shape.cluster);
        fs.allocate(&file, 0..8 * cluster, AllocateMode::Extend).unwrap();
        assert_eq!(fs.inode(file.inode()).unwrap().size(), 8 * cluster);
        assert_eq!(fs.inode(file.inode()).unwrap().clusters(), 8);
        assert_eq!(fs.seek_data(&file, 0).unwrap(), None);
        write_all(&fs, &file, 3 * cluster + 5, b"middle");
        assert_eq!(fs.seek_data(&file, 0).unwrap(), Some(3 * cluster));
        assert_eq!(fs.seek_hole(&file, 3 * cluster).unwrap(), Some(4 * cluster));
        let mut expected = vec![0; 8 * cluster as usize];
        expected[3 * cluster as usize + 5..][..6].copy_from_slice(b"middle");
        assert!(read_all(&fs, &file) == expected, "{shape:?}");
        let extents = fs.extents(&file, 0..u64::MAX, 10).unwrap();
        let unwritten: Vec<bool> = extents
            .iter()
            .map(|extent| matches!(extent.place, ExtentPlace::Clusters { unwritten: true, .. }))
            .collect();
        assert_eq!(unwritten, [true, false, true], "{shape:?}");
        assert!(extents[2].last);
        let inode = file.inode();
        fs.unmount().unwrap();
        let volume = bed.volume();
        let records = volume.extents(&volume.inode(inode).unwrap()).unwrap();
        assert_eq!(records.len(), 3);
        assert_eq!(records[1].clusters, 1);
        assert_eq!(records[1].flags, ExtentFlags::empty());
        bed.assert_clean();
    }
}

#[test]
fn punching_frees_whole_clusters_and_zeros_the_rest() {
    for &shape in SHAPES.iter().filter(|shape| !shape.features.contains("nosparse")) {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let file = new_file(&fs, "punched");
        let cluster = shape.cluster as usize;
        let mut bytes = pattern(11, 6 * cluster);
        write_all(&fs, &file, 0, &bytes);
        let hole = cluster / 2..4 * cluster + 100;
        fs.allocate(&file, hole.start as u64..hole.end as u64, AllocateMode::PunchHole)
            .unwrap();
        bytes[hole].fill(0);
        assert!(read_all(&fs, &file) == bytes, "{shape:?}");
        assert_eq!(fs.inode(file.inode()).unwrap().clusters(), 3);
        fs.unmount().unwrap();
        bed.assert_clean();
    }
}

#[test]
fn zeroed_ranges_stay_allocated() {
    let bed = Bed::new(small());
    let fs = bed.mount();
    let file = new_file(&fs, "zeroed");
    let mut bytes = pattern(11, 40_000);
    write_all(&fs, &file, 0, &bytes);
    fs.allocate(&file, 5000..60_000, AllocateMode::ZeroRange).unwrap();
    bytes.resize(60_000, 0);
    bytes[5000..].fill(0);
    assert_eq!(read_all(&fs, &file), bytes);
    assert_eq!(fs.inode(file.inode()).unwrap().clusters(), 15);
    assert_eq!(fs.seek_hole(&file, 0).unwrap(), Some(8192));
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn what_the_volume_cannot_have_is_refused() {
    let bed = Bed::new(Shape {
        features: "nosparse,nounwritten,noinline-data,norefcount",
        ..small()
    });
    let fs = bed.mount();
    let file = new_file(&fs, "dense");
    for mode in [AllocateMode::Extend, AllocateMode::PunchHole, AllocateMode::ZeroRange] {
        let refused = fs.allocate(&file, 0..4096, mode);
        assert!(matches!(refused, Err(Error::NoFeature { .. })), "{refused:?}");
    }
    assert_eq!(AllocateMode::from_flags(0x08), None, "collapse");
    assert_eq!(AllocateMode::from_flags(0x20), None, "insert");
}

#[test]
fn files_end_where_32_bits_of_clusters_end() {
    let bed = Bed::new(small());
    let fs = bed.mount();
    let file = new_file(&fs, "huge");
    let limit = u64::from(u32::MAX) * 4096;
    fs.set_len(&file, limit).unwrap();
    assert!(matches!(fs.set_len(&file, limit + 1), Err(Error::TooLarge { .. })));
    assert!(matches!(fs.write_at(&file, limit, b"x"), Err(Error::TooLarge { .. })));
    assert_eq!(fs.write_at(&file, limit - 3, b"fourteen bytes").unwrap(), 3);
    let mut end = [0; 8];
    assert_eq!(fs.read_at(&file, limit - 4, &mut end).unwrap(), 4);
    assert_eq!(&end[..4], b"\0fou");
    fs.set_len(&file, 0).unwrap();
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn contents_stay_in_the_dinode_when_there_is_no_room_to_grow_out_of_it() {
    let shape = SHAPES[0];
    let bed = Bed::new(shape);
    let fs = bed.mount();
    let file = new_file(&fs, "file");
    fs.write_at(&file, 0, b"short").unwrap();
    let filler = new_file(&fs, "filler");
    while fs.append(&filler, &vec![0x55; 1 << 20]).is_ok() {}
    // One cluster is left: enough to move out, and not enough for more.
    let len = fs.inode(filler.inode()).unwrap().size();
    fs.set_len(&filler, len - u64::from(shape.cluster)).unwrap();
    fs.sync().unwrap();
    let before = fs.inode(file.inode()).unwrap();
    let free = fs.statfs().unwrap().free_blocks;
    let failures = [
        fs.write_at(&file, 1_000_000, b"far").map(drop),
        fs.allocate(&file, 0..1_000_000, AllocateMode::Extend),
    ];
    assert!(matches!(failures, [Err(Error::NoSpace), Err(Error::NoSpace)]));
    let after = fs.inode(file.inode()).unwrap();
    assert_eq!(after.as_bytes(), before.as_bytes());
    fs.sync().unwrap();
    assert_eq!(fs.statfs().unwrap().free_blocks, free);
    drop((file, filler));
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn a_full_volume_takes_what_fits_and_a_failed_write_leaves_nothing() {
    for &shape in &[small(), SHAPES[1], SHAPES[4]] {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let file = new_file(&fs, "filler");
        let chunk = vec![0x55; 1 << 20];
        let mut len = 0;
        loop {
            match fs.append(&file, &chunk) {
                Ok((at, written)) => {
                    assert_eq!(at, len);
                    len += written as u64;
                }
                Err(Error::NoSpace) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let before = fs.inode(file.inode()).unwrap();
        assert_eq!(before.size(), len);
        assert!(matches!(fs.append(&file, &[1]), Err(Error::NoSpace)) || len % u64::from(shape.cluster) != 0);
        let refused = fs.allocate(&file, 0..len + (1 << 30), AllocateMode::Extend);
        assert!(matches!(refused, Err(Error::NoSpace)), "{refused:?}");
        let after = fs.inode(file.inode()).unwrap();
        assert_eq!(after.clusters(), before.clusters());
        assert_eq!(after.size(), before.size());
        // Everything is given back, and can be had again.
        fs.set_len(&file, 0).unwrap();
        fs.sync().unwrap();
        let mut again = 0;
        while let Ok((_, written)) = fs.append(&file, &chunk) {
            again += written as u64;
        }
        assert_eq!(again, len);
        fs.unmount().unwrap();
        bed.assert_clean();
    }
}

/// A file with as many pieces at its end as it takes for the next ones to wait, and what it holds.
fn trickled(fs: &FileSystem, name: &str, pieces: usize) -> (InodeUse, Vec<u8>) {
    let file = new_file(fs, name);
    let bytes = pattern(3, 1000 * (10 + pieces));
    write_all(fs, &file, 0, &bytes[..10_000]);
    for (piece, part) in bytes[10_000..].chunks(1000).enumerate() {
        let at = (10_000 + piece * 1000) as u64;
        match piece % 2 {
            0 => assert_eq!(fs.append(&file, part).unwrap(), (at, 1000)),
            _ => write_all(fs, &file, at, part),
        }
    }
    (file, bytes)
}

#[test]
fn small_appends_reach_the_device_in_large_pieces() {
    let bed = Bed::new(small());
    let device = Arc::new(Counting::new(bed.device.clone()));
    let mut options = MountOptions::default();
    options.commit_interval = None;
    let fs = crate::bed::mount_on(device.clone(), &options).unwrap();
    let before = device.counts().writes;
    let (file, bytes) = trickled(&fs, "log", 3000);
    fs.flush(&file).unwrap();
    let writes = device.counts().writes - before;
    assert!(writes < 60, "{writes} writes of 3000 pieces");
    assert!(read_all(&fs, &file) == bytes);
    drop(file);
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn small_appends_are_seen_by_whoever_looks() {
    let looks: [fn(&FileSystem, &InodeUse) -> u64; 6] = [
        |fs, file| fs.inode(file.inode()).unwrap().size(),
        |fs, file| read_all(fs, file).len() as u64,
        |fs, file| fs.seek_hole(file, 0).unwrap().unwrap(),
        |fs, file| {
            fs.metadata("/log")
                .unwrap()
                .size()
                .max(fs.inode(file.inode()).unwrap().size())
        },
        |fs, file| {
            let end = fs
                .extents(file, 0..u64::MAX, 99)
                .unwrap()
                .last()
                .map(|last| last.logical + last.len);
            fs.inode(file.inode()).unwrap().size() * u64::from(end >= Some(40_000))
        },
        |fs, file| fs.append(file, &[1; 100_000]).unwrap().0,
    ];
    for look in looks {
        let bed = Bed::new(small());
        let fs = bed.mount();
        let (file, bytes) = trickled(&fs, "log", 30);
        assert_eq!(look(&fs, &file), bytes.len() as u64);
        let free = fs.statfs().unwrap().free_blocks;
        fs.set_len(&file, 0).unwrap();
        assert!(fs.statfs().unwrap().free_blocks > free);
        drop(file);
        fs.unmount().unwrap();
        bed.assert_clean();
    }
}

#[test]
fn small_appends_are_durable_before_whatever_is_done_after_them() {
    let bed = Bed::new(small());
    let fs = bed.mount();
    let (file, bytes) = trickled(&fs, "log", 30);
    fs.create_dir("/after").unwrap();
    fs.sync().unwrap();
    let recovered = Bed {
        device: Arc::new(bed.device.snapshot()),
    };
    drop((file, fs));
    let fs = recovered.mount();
    assert!(fs.metadata("/after").is_ok());
    assert!(fs.read("/log").unwrap() == bytes);
    fs.unmount().unwrap();
    recovered.assert_clean();
}

#[test]
fn small_appends_that_cannot_be_written_are_told_of_by_the_next_call_for_the_file() {
    let bed = Bed::new(small());
    let device = Arc::new(Faulty::new(bed.device.clone()));
    let mut options = MountOptions::default();
    options.commit_interval = None;
    let fs = FileSystem::mount(device.clone(), &options).unwrap();
    let (file, _) = trickled(&fs, "log", 30);
    device.fail_nth(IoOp::Write, 0, Fault::Error);
    fs.append(&file, b"waits").unwrap();
    let told = fs.flush(&file);
    assert!(matches!(told, Err(Error::Io(_))), "{told:?}");
}

#[test]
fn small_appends_of_many_threads_are_seen_in_order_whatever_goes_on_beside_them() {
    const PIECES: usize = 2000;
    let bed = Bed::new(small());
    let fs = bed.mount();
    let bytes = pattern(11, PIECES * 700);
    let done = AtomicBool::new(false);
    let (fs_ref, bytes_ref, done_ref) = (&fs, &bytes, &done);
    let look = |path: &str| {
        let Ok(seen) = fs_ref.read(path) else { return };
        assert!(bytes_ref.starts_with(&seen), "{path}: {} bytes", seen.len());
    };
    let beside = |job: u32, round: u32| match job {
        0 => look(&format!("/log-{}", round % 2)),
        1 => {
            fs_ref.create_dir("/dir").unwrap();
            // Takes the lock of the file under that of a directory.
            let _ = fs_ref.hard_link(format!("/log-{}", round % 2), "/dir/link");
            fs_ref.remove_dir_all("/dir").unwrap();
        }
        _ => {
            fs_ref.sync().unwrap();
            fs_ref.statfs().unwrap();
        }
    };
    std::thread::scope(|scope| {
        for job in 0..3 {
            scope.spawn(move || {
                for round in 0.. {
                    if done_ref.load(Ordering::Relaxed) {
                        break;
                    }
                    beside(job, round);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let writers = [0, 1].map(|writer| {
            scope.spawn(move || {
                let file = new_file(fs_ref, &format!("log-{writer}"));
                for part in bytes_ref.chunks(700) {
                    assert_eq!(fs_ref.append(&file, part).unwrap().1, part.len());
                }
            })
        });
        let ended = writers.map(|writer| writer.join());
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    for writer in 0..2 {
        assert!(fs.read(format!("/log-{writer}")).unwrap() == bytes);
    }
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn reading_in_small_pieces_shows_every_change_at_once() {
    let bed = Bed::new(small());
    let fs = bed.mount();
    let mut expected = pattern(8, 300_000);
    fs.write("/file", &expected).unwrap();
    let reader = fs.open("/file", OpenHow::new().read(true)).unwrap();
    let writer = fs.open("/file", OpenHow::new().write(true)).unwrap();
    let mut rng = fastrand::Rng::with_seed(8);
    for round in 0..200u64 {
        let mut at = 0;
        let stop = rng.u64(..expected.len() as u64 + 1);
        while at < stop {
            let mut buf = vec![0; rng.usize(1..9000)];
            let read = reader.read_at(at, &mut buf).unwrap();
            assert_eq!(read, buf.len().min(expected.len() - at as usize));
            assert!(
                buf[..read] == expected[at as usize..][..read],
                "round {round}, byte {at}"
            );
            at += read as u64;
            if rng.u32(0..20) == 0 {
                let (place, len) = (rng.usize(..expected.len()), rng.usize(1..20_000));
                let end = (place + len).min(expected.len());
                match rng.u32(0..4) {
                    0 => {
                        expected[place..end].fill(0);
                        writer.punch_hole(place as u64..end as u64).unwrap();
                    }
                    1 => {
                        expected.truncate(place.max(1));
                        expected.resize(300_000, 0);
                        writer.set_len(place.max(1) as u64).unwrap();
                        writer.set_len(300_000).unwrap();
                    }
                    _ => {
                        expected[place..end].fill(round as u8);
                        writer.write_at(place as u64, &vec![round as u8; end - place]).unwrap();
                    }
                }
            }
        }
    }
    drop((reader, writer));
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn small_reads_in_a_row_take_few_from_the_device() {
    let bed = Bed::new(small());
    let device = Arc::new(Counting::new(bed.device.clone()));
    let fs = crate::bed::mount_on(device.clone(), &MountOptions::default()).unwrap();
    let bytes = pattern(5, 1 << 20);
    fs.write("/file", &bytes).unwrap();
    let mut file = fs.open("/file", OpenHow::new().read(true)).unwrap();
    let before = device.counts().reads;
    let mut piece = [0; 512];
    for expected in bytes.chunks(512) {
        file.read_exact(&mut piece).unwrap();
        assert!(piece == expected);
    }
    let reads = device.counts().reads - before;
    assert!(reads < 20, "{reads} reads of 2048 pieces");
    drop(file);
    fs.unmount().unwrap();
}

#[test]
fn immutable_and_append_only_files_are_not_overwritten() {
    let bed = Bed::new(small());
    let fs = bed.mount();
    let file = new_file(&fs, "fixed");
    write_all(&fs, &file, 0, b"contents");
    for flag in [InodeAttr::IMMUTABLE, InodeAttr::APPEND] {
        fs.set_flags(file.inode(), flag).unwrap();
        let refused = [
            fs.write_at(&file, 0, b"x").map(drop),
            fs.set_len(&file, 0),
            fs.allocate(&file, 0..100, AllocateMode::PunchHole),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(Error::NotPermitted { .. })), "{refused:?}");
        }
        let appended = fs.append(&file, b"more");
        assert_eq!(appended.is_ok(), flag == InodeAttr::APPEND);
    }
    assert_eq!(read_all(&fs, &file), b"contentsmore");
}

#[test]
fn reading_updates_the_access_time_once_per_change() {
    let bed = Bed::new(small());
    let fs = bed.mount();
    let file = new_file(&fs, "read");
    write_all(&fs, &file, 0, b"contents");
    let atime = || fs.inode(file.inode()).unwrap().atime();
    let before = atime();
    fs.read_at(&file, 0, &mut [0; 4]).unwrap();
    let read = atime();
    assert!(read > before);
    fs.read_at(&file, 0, &mut [0; 4]).unwrap();
    assert_eq!(atime(), read);
    write_all(&fs, &file, 0, b"changed");
    fs.read_at(&file, 0, &mut [0; 4]).unwrap();
    assert!(atime() > read);
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn writing_takes_set_user_id_away() {
    let bed = Bed::new(small());
    let fs = bed.mount();
    let inode = fs
        .create_file(fs.root(), b"suid", &NewInode::with_mode(0o6755))
        .unwrap();
    let file = fs.use_inode(&inode).unwrap();
    assert_eq!(fs.inode(file.inode()).unwrap().mode() & 0o7777, 0o6755);
    write_all(&fs, &file, 0, b"x");
    assert_eq!(fs.inode(file.inode()).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn set_user_id_stays_when_those_who_may_set_it_change_the_contents() {
    let bed = Bed::new(small());
    let all = bed.mount();
    let inode = all
        .create_file(all.root(), b"suid", &NewInode::with_mode(0o6755))
        .unwrap();
    let file = all.use_inode(&inode).unwrap();
    let mode = || all.inode(file.inode()).unwrap().mode() & 0o7777;
    let fs = all.keeping_privileges();
    let bytes = pattern(3, 1 << 16);
    write_all(&fs, &file, 0, b"inline");
    write_all(&fs, &file, 0, &bytes);
    // In place, when the times are due and when they are not.
    write_all(&fs, &file, 0, &bytes);
    write_all(&fs, &file, 0, &bytes);
    fs.append(&file, b"end").unwrap();
    fs.allocate(&file, 0..4096, AllocateMode::PunchHole).unwrap();
    fs.allocate(&file, 0..1 << 18, AllocateMode::Extend).unwrap();
    fs.set_len(&file, 1 << 19).unwrap();
    fs.set_len(&file, 5).unwrap();
    assert_eq!(mode(), 0o6755);
    all.set_len(&file, 4).unwrap();
    assert_eq!(mode(), 0o755);
}

#[test]
fn what_was_synced_survives_a_crash() {
    for &shape in SHAPES {
        let bed = Bed::new(shape);
        let mut options = MountOptions::default();
        // Nothing but what the test asks for makes anything durable.
        options.commit_interval = None;
        let fs = bed.mount_with(&options);
        let file = new_file(&fs, "synced");
        let bytes = pattern(5, 300_000);
        write_all(&fs, &file, 0, &bytes);
        fs.sync_inode(&file).unwrap();
        let crashed = bed.snapshot();
        drop(fs);
        let fs = crashed.mount();
        fs.unmount().unwrap();
        assert!(read_offline(&crashed, file.inode()) == bytes, "{shape:?}");
        crashed.assert_clean();
    }
}

#[test]
fn files_in_thousands_of_pieces_are_written_punched_and_cut_in_bounded_steps() {
    for shape in [SHAPES[1], SHAPES[5]] {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let file = new_file(&fs, "pieces");
        let cluster = u64::from(shape.cluster);
        let pieces = 2000;
        // From both ends to the middle: records are appended, put in front, and put in between.
        let order = (0..pieces / 2).flat_map(|n| [n, pieces - 1 - n]);
        for n in order {
            write_all(&fs, &file, 2 * n * cluster + 100, &n.to_le_bytes());
        }
        assert_eq!(u64::from(fs.inode(file.inode()).unwrap().clusters()), pieces);
        let holds = |n: u64| {
            let mut bytes = [0xFF; 8];
            fs.read_at(&file, 2 * n * cluster + 100, &mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        };
        assert!((0..pieces).all(|n| holds(n) == n));
        fs.allocate(&file, 500 * cluster..1501 * cluster, AllocateMode::PunchHole)
            .unwrap();
        assert!((0..pieces).all(|n| holds(n) == if (250..=750).contains(&n) { 0 } else { n }));
        fs.allocate(&file, 600 * cluster..700 * cluster, AllocateMode::Extend)
            .unwrap();
        fs.set_len(&file, 3000 * cluster + 102).unwrap();
        assert_eq!(u64::from(fs.inode(file.inode()).unwrap().clusters()), 1501 - 501 + 100);
        let inode = file.inode();
        fs.sync().unwrap();
        let crashed = bed.snapshot();
        let fs_again = crashed.mount();
        fs_again.unmount().unwrap();
        crashed.assert_clean();
        fs.set_len(&file, 0).unwrap();
        assert_eq!(fs.inode(inode).unwrap().clusters(), 0);
        fs.unmount().unwrap();
        bed.assert_clean();
    }
}

#[test]
fn many_threads_write_read_and_cut_files_of_their_own() {
    let bed = Bed::new(small());
    let fs = bed.mount();
    let files: Vec<_> = (0..4).map(|n| new_file(&fs, &format!("own-{n}"))).collect();
    std::thread::scope(|scope| {
        for (n, file) in files.iter().enumerate() {
            let fs = &fs;
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(n as u64);
                let mut model: Vec<u8> = Vec::new();
                for seed in 0..60 {
                    let offset = rng.usize(0..300_000);
                    if rng.u8(0..4) == 0 {
                        fs.set_len(file, offset as u64).unwrap();
                        model.resize(offset, 0);
                    } else {
                        let bytes = pattern(seed, rng.usize(1..50_000));
                        write_all(fs, file, offset as u64, &bytes);
                        model.resize(model.len().max(offset + bytes.len()), 0);
                        model[offset..offset + bytes.len()].copy_from_slice(&bytes);
                    }
                    if seed % 7 == 0 {
                        fs.sync_inode_data(file).unwrap();
                    }
                    assert!(read_all(fs, file) == model);
                }
            });
        }
    });
    drop(files);
    fs.unmount().unwrap();
    bed.assert_clean();
}
