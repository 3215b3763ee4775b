//! A device that fails: nothing more is written, the cause is kept, and what is on the device can be recovered.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use ocfs2_format::device::{Fault, Faulty, IoOp};
use ocfs2_fs::{Error, FileSystem, MountOptions, OpenHow};

use crate::bed::{Bed, Shape, mount_on};

/// A workload with some of everything, that ends at the first error.
fn work(fs: &FileSystem) -> Result<(), Error> {
    for round in 0..6 {
        let dir = format!("/dir-{round}");
        fs.create_dir(&dir)?;
        for n in 0..5 {
            fs.write(format!("{dir}/file-{n}"), vec![n as u8; 3000 * n])?;
        }
        fs.symlink("target", format!("{dir}/link"))?;
        fs.rename(format!("{dir}/file-1"), format!("{dir}/renamed"))?;
        fs.hard_link(format!("{dir}/file-2"), format!("{dir}/hard"))?;
        let file = fs.open(format!("{dir}/file-3"), OpenHow::new().read(true).write(true))?;
        file.punch_hole(0..4096)?;
        file.set_len(100)?;
        file.sync_all()?;
        fs.remove_file(format!("{dir}/file-4"))?;
        fs.sync()?;
        if round % 2 == 1 {
            fs.remove_dir_all(&dir)?;
        }
    }
    Ok(())
}

fn options() -> MountOptions {
    let mut options = MountOptions::default();
    options.commit_interval = None;
    options
}

/// Runs the workload on a device that fails at the operation with `before` more of its kind before it. `false` if it never
/// came to that.
fn run(shape: Shape, op: IoOp, before: u64, fault: Fault) -> bool {
    let bed = Bed::new(shape);
    let device = Arc::new(Faulty::new(bed.device.clone()));
    let fs = mount_on(device.clone(), &options()).expect("the device still works");
    device.fail_nth(op, before, fault);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| work(&fs)));
    let outcome = outcome.unwrap_or_else(|_| panic!("{shape:?}: a panic at {op:?} {before}"));
    if device.injected().is_empty() {
        outcome.expect("nothing failed");
        device.heal();
        fs.unmount().expect("nothing failed");
        return false;
    }
    let error = outcome.expect_err("the failure is told");
    assert!(
        matches!(error, Error::Io(_) | Error::Journal(_)),
        "{op:?} {before}: {error} says nothing of the device"
    );
    // Data that could not be written does not end the journal; metadata does.
    if matches!(error, Error::Journal(_)) {
        let later = fs.create_dir("/later").expect_err("nothing is written any more");
        assert!(matches!(later, Error::Journal(_)), "{later}");
        let first = std::error::Error::source(&later).map(ToString::to_string);
        assert!(first.is_some(), "the cause is kept");
    }
    drop(fs);
    let fs = bed.mount();
    fs.write("/after", b"works again").expect("the volume can be written");
    assert_eq!(fs.read("/after").expect("the file can be read"), b"works again");
    fs.unmount().expect("the volume can be unmounted");
    true
}

fn every(shape: Shape, op: IoOp, step: u64, fault: Fault) {
    let mut before = 0;
    while run(shape, op, before, fault) {
        before += step;
    }
    assert!(before > 10, "the workload is long enough");
}

#[test]
fn a_write_that_fails_leaves_a_volume_that_recovers() {
    every(Shape::default(), IoOp::Write, 1, Fault::Error);
    let shape = Shape {
        block: 512,
        features: "metaecc",
        ..Shape::default()
    };
    every(shape, IoOp::Write, 3, Fault::Torn { blocks: 1 });
}

#[test]
fn a_flush_that_fails_leaves_a_volume_that_recovers() {
    every(Shape::default(), IoOp::Flush, 1, Fault::Error);
}
