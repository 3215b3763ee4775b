//! Power cuts between data and metadata: no file shows what was on the disk before it.

use std::sync::Arc;

use ocfs2_format::device::{Crash, Op, Recording};
use ocfs2_fs::{AllocateMode, FileSystem, InodeUse, MountOptions};

use crate::bed::{Bed, SHAPES, Shape, mount_on};
use crate::data::{new_file, read_all};

/// What is on the disk from a file that was deleted, and in no other.
const STALE: u8 = 0xEE;

/// What the test's files have at an offset: never zero, never [`STALE`].
fn byte_at(offset: u64) -> u8 {
    (offset % 97) as u8 + 1
}

fn bytes_at(offset: u64, len: u64) -> Vec<u8> {
    (offset..offset + len).map(byte_at).collect()
}

fn write(fs: &FileSystem, file: &InodeUse, offset: u64, len: u64) {
    assert_eq!(fs.write_at(file, offset, &bytes_at(offset, len)).unwrap(), len as usize);
}

/// Mounts without a thread that writes at moments of its own.
fn options() -> MountOptions {
    let mut options = MountOptions::default();
    options.commit_interval = None;
    options
}

/// Fills most of the volume and deletes that again, durably.
fn soil(bed: &Bed) {
    let fs = bed.mount();
    let file = new_file(&fs, "stale");
    let chunk = vec![STALE; 1 << 20];
    while let Ok((_, 1..)) = fs.append(&file, &chunk) {}
    drop(file);
    fs.unlink(fs.root(), b"stale").unwrap();
    fs.unmount().unwrap();
}

fn work(fs: &FileSystem, cluster: u64, dense: bool) {
    let small = new_file(fs, "small");
    write(fs, &small, 0, 100);
    let grown = new_file(fs, "grown");
    for round in 0..6 {
        fs.append(&grown, &bytes_at(round * (cluster / 2 + 100), cluster / 2 + 100))
            .unwrap();
    }
    write(fs, &small, 90, 5000);
    let sparse = new_file(fs, "sparse");
    write(fs, &sparse, 3 * cluster + 1000, 10);
    fs.sync().unwrap();
    write(fs, &sparse, cluster + 5, cluster);
    fs.set_len(&grown, cluster + 7).unwrap();
    fs.set_len(&grown, 5 * cluster).unwrap();
    if !dense {
        let pre = new_file(fs, "pre");
        fs.allocate(&pre, 0..6 * cluster, AllocateMode::Extend).unwrap();
        write(fs, &pre, 2 * cluster + 9, 30);
        fs.sync().unwrap();
        fs.allocate(&sparse, 100..2 * cluster, AllocateMode::PunchHole).unwrap();
        write(fs, &pre, cluster - 5, 10);
    }
    write(fs, &sparse, 6 * cluster, 2 * cluster + 1);
    fs.sync().unwrap();
}

#[test]
fn a_power_cut_between_data_and_metadata_shows_no_stale_bytes() {
    let shapes = [SHAPES[0], SHAPES[1], SHAPES[3], SHAPES[7]];
    let mut rng = fastrand::Rng::with_seed(1);
    for shape in shapes {
        let shape = Shape {
            mib: shape.mib.min(40),
            ..shape
        };
        let bed = Bed::new(shape);
        soil(&bed);
        let before = bed.device.snapshot();
        let device = Arc::new(Recording::new(bed.device.clone()));
        let fs = mount_on(device.clone(), &options()).unwrap();
        let dense = shape.features.contains("nosparse");
        work(&fs, shape.cluster.into(), dense);
        let log: Vec<Op> = device.take();
        drop(fs);
        for _ in 0..60 {
            let len = rng.usize(0..=log.len());
            let seed = rng.u64(..);
            let crashed = Crash::new(before.snapshot());
            for op in &log[..len] {
                op.apply(&crashed).unwrap();
            }
            crashed.power_cut(seed).unwrap();
            let device = Arc::new(crashed.into_inner());
            let fs = mount_on(device, &options()).unwrap();
            for name in ["small", "grown", "sparse", "pre"] {
                let Some(inode) = fs.lookup(fs.root(), name.as_bytes()).unwrap() else {
                    continue;
                };
                let file = fs.use_inode(&inode).unwrap();
                for (offset, byte) in (0..).zip(read_all(&fs, &file)) {
                    assert!(
                        byte == 0 || byte == byte_at(offset),
                        "{byte:#x} at {offset} of {name}, {shape:?}, cut behind {len} of {} with seed {seed}",
                        log.len()
                    );
                }
            }
            fs.unmount().unwrap();
        }
    }
}

#[test]
fn data_that_was_synced_survives_whatever_metadata_was_not() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount_with(&options());
    let file = new_file(&fs, "data");
    write(&fs, &file, 0, 100_000);
    fs.sync_inode(&file).unwrap();
    // Over what is there: only times change, which need not be durable.
    let other = vec![0x77; 4096];
    fs.write_at(&file, 8192, &other).unwrap();
    fs.sync_inode_data(&file).unwrap();
    // A new size has to be.
    write(&fs, &file, 100_000, 50_000);
    fs.sync_inode_data(&file).unwrap();
    let crashed = bed.snapshot();
    drop((file, fs));
    let fs = crashed.mount();
    let inode = fs.lookup(fs.root(), b"data").unwrap().unwrap();
    let bytes = read_all(&fs, &fs.use_inode(&inode).unwrap());
    let mut expected = bytes_at(0, 150_000);
    expected[8192..12288].copy_from_slice(&other);
    assert!(bytes == expected);
    fs.unmount().unwrap();
    crashed.assert_clean();
}
