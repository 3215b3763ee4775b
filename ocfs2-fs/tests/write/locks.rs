//! Every volume that these tests mount keeps a log of what is touched under which locks, and [`lock_judge`] looks at it when
//! the volume is unmounted. Here: operations of every kind in one go, and the judge itself.
//!
//! [`lock_judge`]: crate::bed::lock_judge

use std::sync::{Arc, Mutex};

use ocfs2_format::LockKind;
use ocfs2_format::device::BlockDevice;
use ocfs2_fs::{FileSystem, MountOptions, TouchLog};

use crate::bed::lock_judge::{Owners, uncovered};
use crate::bed::{Bed, SHAPES, Shape, seed};
use crate::model::apply::{ROOT, World};
use crate::model::ops::random_ops;

#[test]
fn no_block_is_touched_without_its_lock() {
    for &shape in SHAPES {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        fs.create_dir(ROOT).expect("a directory can be made");
        let mut world = World::on(fs, bed.clone(), MountOptions::default(), ROOT);
        for op in random_ops(seed(), 1000).iter().filter(|op| op.stays_mounted()) {
            world.apply(op);
        }
        world.leave().unmount().expect("the volume can be unmounted");
    }
}

#[test]
fn the_judge_notices_when_a_lock_of_any_inode_is_missing() {
    let bed = Bed::new(Shape::default());
    let device: Arc<dyn BlockDevice> = bed.device.clone();
    bed.mount().unmount().expect("the volume can be unmounted");
    let before = Owners::of(&device).expect("the volume is sound");
    let seen: Arc<Mutex<TouchLog>> = Arc::default();
    let copy = seen.clone();
    let judge = Box::new(move |log: &TouchLog| *copy.lock().expect("nobody panics") = log.clone());
    let fs =
        FileSystem::mount_checked(device.clone(), &MountOptions::default(), judge).expect("the volume can be mounted");
    fs.create_dir("/dir").expect("a directory can be made");
    fs.write("/dir/file", vec![1; 100_000]).expect("a file can be written");
    fs.unmount().expect("the volume can be unmounted");

    let after = Owners::of(&device).expect("the volume is sound");
    let mut log = seen.lock().expect("nobody panics").clone();
    assert_eq!(uncovered(&log, &before, &after), [""; 0]);
    let held: Vec<_> = log
        .touches
        .iter()
        .flat_map(|touch| touch.locks.iter())
        .copied()
        .collect();
    let whole = log.touches.clone();
    for (missing, exclusive) in held {
        if missing.kind() != LockKind::Meta || !exclusive {
            continue;
        }
        log.touches = whole
            .clone()
            .into_iter()
            .map(|mut touch| {
                touch.locks = touch.locks.iter().filter(|(id, _)| *id != missing).copied().collect();
                touch
            })
            .collect();
        assert!(!uncovered(&log, &before, &after).is_empty(), "{missing:?} was needed");
    }
}
