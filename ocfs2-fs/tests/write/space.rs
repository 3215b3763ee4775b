//! Space as files see it: extents of files that grow together, full volumes, and what is free afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ocfs2_format::InodeNo;
use ocfs2_format::device::{BlockDevice, Durability};
use ocfs2_fs::{Error, ExtentInfo, ExtentPlace, FileSystem, MountOptions, OpenHow};

use crate::bed::{Bed, SHAPES, Shape, mount_on};

fn extents(fs: &FileSystem, path: &str) -> usize {
    let file = fs.open(path, OpenHow::new().read(true)).unwrap();
    let extents = file.extents(0..u64::MAX, usize::MAX).unwrap();
    let physical = |extent: &ExtentInfo| match extent.place {
        ExtentPlace::Clusters { physical, .. } => physical,
        other => panic!("{other:?}"),
    };
    // Those that follow each other on the disk are one, as filefrag counts.
    let breaks = extents
        .iter()
        .zip(extents.iter().skip(1))
        .filter(|(one, other)| physical(one) + one.len != physical(other));
    breaks.count() + 1
}

#[test]
fn four_files_that_grow_in_turn_have_seven_extents_at_most() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let names: Vec<String> = (0..4).map(|file| format!("/file-{file}")).collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| fs.open(name, OpenHow::new().write(true).create(true)).unwrap())
        .collect();
    for turn in 0..100 {
        for file in &files {
            assert_eq!(file.write_at(turn * 4096, &[turn as u8; 4096]).unwrap(), 4096);
        }
    }
    drop(files);
    for name in &names {
        let found = extents(&fs, name);
        assert!(found <= 7, "{name} has {found} extents");
    }
    fs.unmount().unwrap();
    bed.assert_clean();
}

/// Whoever freed with a full truncate log had it locked, and waited for the window of somebody who waited for the log.
#[test]
fn those_who_free_allocate_and_count_at_the_same_time_do_not_wait_for_each_other_forever() {
    // Small blocks, so that the truncate log is soon full.
    let bed = Bed::new(Shape {
        block: 512,
        cluster: 4096,
        ..Shape::default()
    });
    let fs = bed.mount();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    fs.statfs().unwrap();
                }
            });
        }
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let fs = &fs;
                scope.spawn(move || {
                    let name = format!("/sparse-{writer}");
                    let file = fs.open(name, OpenHow::new().write(true).create(true)).unwrap();
                    for _ in 0..10 {
                        for piece in 0..60 {
                            file.write_at(piece * 8192, &[1; 4096]).unwrap();
                        }
                        // From the end, as runs that follow each other share a record.
                        for piece in (0..60).rev() {
                            file.punch_hole(piece * 8192..piece * 8192 + 4096).unwrap();
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    fs.unmount().unwrap();
    bed.assert_clean();
}

/// Writes files until nothing fits any more. Returns how many.
fn fill(fs: &FileSystem, dir: &str, size: usize) -> u32 {
    let bytes = vec![7; size];
    for index in 0.. {
        match fs.write(format!("{dir}/{index}"), &bytes) {
            Ok(()) => {}
            Err(Error::NoSpace) => return index,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("a volume is finite")
}

#[test]
fn a_full_volume_is_full_to_the_last_cluster_and_empty_when_all_is_removed() {
    for &shape in SHAPES {
        let shape = Shape {
            mib: if shape.cluster > 1 << 16 { 96 } else { 24 },
            ..shape
        };
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let cluster = u64::from(fs.statfs().unwrap().cluster_size);
        let free = |fs: &FileSystem| {
            let stats = fs.statfs().unwrap();
            stats.free_blocks * u64::from(stats.block_size)
        };
        fs.create_dir("/full").unwrap();
        fs.write("/full/0", b"the directory and the file have what they need")
            .unwrap();
        let last = fs.open("/last", OpenHow::new().write(true).create(true)).unwrap();
        fill(&fs, "/full", 3 << 20);
        fill(&fs, "/full", cluster as usize * 2);
        // One file takes the rest, cluster by cluster.
        let mut len = 0;
        while free(&fs) >= cluster {
            let written = last.write_at(len, &vec![9; cluster as usize]);
            assert_eq!(
                written.unwrap() as u64,
                cluster,
                "{shape:?}: {} bytes are free",
                free(&fs)
            );
            len += cluster;
        }
        let refused = last.write_at(len, &[1; 4096]);
        assert!(matches!(refused, Err(Error::NoSpace)), "{refused:?}");
        assert_eq!(last.metadata().unwrap().size(), len);
        drop(last);
        let mut bytes = fs.read("/last").unwrap();
        bytes.retain(|&byte| byte != 9);
        assert!(bytes.is_empty());
        fs.remove_dir_all("/full").unwrap();
        fs.remove_file("/last").unwrap();
        assert!(free(&fs) > 4 << 20);
        fs.unmount().unwrap();
        bed.assert_clean();
    }
}

#[test]
fn a_name_that_cannot_be_made_on_a_full_volume_leaves_no_trace() {
    let bed = Bed::new(Shape {
        mib: 24,
        slots: 1,
        ..Shape::default()
    });
    let fs = bed.mount();
    fs.create_dir("/full").unwrap();
    fill(&fs, "/full", 1 << 20);
    fill(&fs, "/full", 4096);
    // Inodes have room in their own groups for a while.
    let mut names = 0;
    loop {
        let made = fs.symlink(
            "target",
            format!("/full/a rather long name that fills directory blocks soon, {names}"),
        );
        match made {
            Ok(_) => names += 1,
            Err(Error::NoSpace) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let before = (fs.read_dir("/full").unwrap().count(), fs.statfs().unwrap());
    assert!(
        fs.create_dir("/full/one more directory with a name that is as long as the others")
            .is_err()
    );
    assert_eq!((fs.read_dir("/full").unwrap().count(), fs.statfs().unwrap()), before);
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn space_comes_back_however_often_it_is_used() {
    let bed = Bed::new(Shape {
        mib: 32,
        slots: 1,
        ..Shape::default()
    });
    let fs = bed.mount();
    for round in 0..30u8 {
        let bytes = vec![round; 9 << 20];
        fs.write("/file", &bytes).unwrap();
        assert!(fs.read("/file").unwrap() == bytes);
        fs.remove_file("/file").unwrap();
    }
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn a_window_that_no_crash_explains_is_refused() {
    let bed = Bed::new(Shape::default());
    let volume = bed.volume();
    let inode = volume
        .system_file(ocfs2_format::SystemFile::LocalAlloc, ocfs2_format::SlotNum(0))
        .unwrap();
    let InodeNo(block) = inode;
    let mut bytes = vec![0; 4096];
    bed.device.read(block * 4096, &mut bytes).unwrap();
    // la_bm_off.
    bytes[0xC0] = 9;
    bed.device.write(block * 4096, &bytes, Durability::Cached).unwrap();
    let mounted = mount_on(bed.device.clone(), &MountOptions::default());
    assert!(matches!(mounted, Err(Error::Corrupt(_))), "{mounted:?}");
}

#[test]
fn writers_at_the_same_time_fill_a_volume_to_its_last_cluster() {
    const WRITERS: u8 = 4;
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let path = |writer: u8| format!("/writer-{writer}");
    let sizes: Vec<u64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (fs, path) = (&fs, path(writer));
                scope.spawn(move || {
                    let file = fs.open(path, OpenHow::new().write(true).create(true)).unwrap();
                    let mut size = 0;
                    // Some of them large enough to be written before they are allocated.
                    for len in [300_000, 4096, 70_000, 1 << 20].into_iter().cycle() {
                        match file.write_at(size, &vec![writer + 1; len]) {
                            Ok(written) => size += written as u64,
                            Err(Error::NoSpace) => return size,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    unreachable!("a volume is finite")
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(fs.statfs().unwrap().free_blocks, 0);
    for (writer, size) in (0..WRITERS).zip(sizes) {
        let bytes = fs.read(path(writer)).unwrap();
        assert_eq!(bytes.len() as u64, size);
        assert!(bytes.iter().all(|&byte| byte == writer + 1), "writer {writer}");
    }
    fs.remove_file(path(0)).unwrap();
    fs.write("/again", vec![9; 2 << 20]).unwrap();
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn what_was_freed_can_be_allocated_again_without_anybody_asking() {
    let waiting = |interval: Option<Duration>| {
        let bed = Bed::new(Shape::default());
        let mut options = MountOptions::default();
        options.commit_interval = interval;
        let fs = bed.mount_with(&options);
        fs.write("/file", vec![7; 8 << 20]).unwrap();
        fs.remove_file("/file").unwrap();
        let waiting = || {
            fs.sync().unwrap();
            bed.snapshot().volume().space().unwrap().truncate_log
        };
        let start = Instant::now();
        while interval.is_some() && waiting() > 0 && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let left = waiting();
        fs.unmount().unwrap();
        bed.assert_clean();
        left
    };
    assert_eq!(waiting(Some(Duration::from_millis(20))), 0);
    assert!(waiting(None) > 0);
}
