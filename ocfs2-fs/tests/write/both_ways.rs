//! The same volume written by us and by the kernel in turns: each finds what the other left.
//!
//! `OCFS2_TURNS=5` lets each write five times.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ocfs2_format::FileKind;
use ocfs2_format::device::{FileDevice, FileOptions};
use ocfs2_fs::{Error, FileSystem, MountOptions, OpenHow, OpenOptions, Result, Volume};
use ocfs2_testkit::facts::{self, Fact, Facts};
use ocfs2_testkit::tools::fsck;
use ocfs2_testkit::{live, require_kernel, require_tool};

use crate::bed::{Bed, SHAPES, Shape, mount_on, seed};
use crate::model::apply::World;
use crate::model::ops::random_ops;
use crate::observe;

/// Turns that each side takes: `OCFS2_TURNS`.
fn turns() -> u32 {
    let text = std::env::var("OCFS2_TURNS").ok();
    text.map_or(2, |text| text.parse().expect("OCFS2_TURNS is a number"))
}

fn device(image: &Path) -> Arc<FileDevice> {
    let options = FileOptions::default().writable(true);
    Arc::new(FileDevice::open(image, &options).expect("the image opens"))
}

/// What the kernel says of each volume, after a script of its own for each. One boot serves all.
fn kernel_facts(images: &[PathBuf], before: impl Fn(usize) -> String) -> Vec<Facts> {
    let mut kernel = require_kernel()
        .expect("asked for above")
        .timeout(Duration::from_secs(600));
    let mut script = String::new();
    for (index, image) in images.iter().enumerate() {
        let disk = format!("/dev/ubd{}", char::from(b'a' + index as u8));
        let whole = format!("{}\n{}\n", before(index), live::facts_script());
        script += &whole
            .replace("/dev/ubda", &disk)
            .replace(live::FACTS, &facts_name(index));
        kernel = kernel.disk(image);
    }
    let output = kernel.script(script).run().expect("the kernel finishes").ok();
    let facts = (0..images.len()).map(|index| {
        let lines = output.read(&facts_name(index)).expect("the script wrote them");
        facts::parse(&String::from_utf8(lines).expect("JSON is text")).expect("the collector writes facts")
    });
    facts.collect()
}

fn facts_name(index: usize) -> String {
    format!("facts-{index}.jsonl")
}

fn our_turn(image: &Path, turn: u32, seed: u64, ops: usize) {
    let options = MountOptions::default();
    let fs = mount_on(device(image), &options).expect("the volume can be mounted");
    let dir = format!("/ours-{turn}");
    fs.create_dir(&dir).expect("a directory can be made");
    // A model of what is below our own directory.
    let nowhere = Bed::new(Shape::default());
    let mut world = World::on(fs, nowhere, options, &dir);
    for op in random_ops(seed, ops).iter().filter(|op| op.stays_mounted()) {
        world.apply(op);
    }
    let fs = world.leave();
    if turn > 0 {
        meddle(&fs, Path::new(&format!("/kernel-{}", turn - 1)), seed);
    }
    fs.unmount().expect("the volume can be unmounted");
}

/// Changes, removes and renames some of what the kernel made.
fn meddle(fs: &FileSystem, dir: &Path, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        let entries: Vec<_> = fs.read_dir(&dir).expect("a directory can be listed").collect();
        for entry in entries {
            let entry = entry.expect("every entry can be read");
            let path = dir.join(OsStr::from_bytes(entry.name()));
            if entry.kind() == Some(FileKind::Directory) {
                todo.push(path);
                continue;
            }
            match change(fs, &path, &mut rng) {
                // The kernel made some files immutable.
                Ok(()) | Err(Error::NotPermitted { .. }) => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }
}

fn change(fs: &FileSystem, path: &Path, rng: &mut fastrand::Rng) -> Result<()> {
    let is_file = fs.symlink_metadata(path)?.kind() == FileKind::Regular;
    match rng.u32(0..6) {
        0 => fs.remove_file(path),
        1 => fs.rename(path, path.with_file_name(format!("renamed-{}", rng.u64(..)))),
        2 if is_file => {
            let file = fs.open(path, OpenHow::new().append(true))?;
            let bytes = vec![b'+'; rng.usize(1..20_000)];
            file.write_at(0, &bytes).map(drop)
        }
        3 if is_file => {
            let file = fs.open(path, OpenHow::new().write(true))?;
            let size = file.metadata()?.size();
            file.set_len(rng.u64(0..=size))
        }
        _ => Ok(()),
    }
}

#[test]
fn a_volume_written_in_turns_is_what_both_sides_say_it_is() {
    if require_tool("fsck.ocfs2").is_none() || require_kernel().is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let seed = seed();
    let images: Vec<_> = (0..SHAPES.len())
        .map(|index| dir.path().join(format!("volume-{index}")))
        .collect();
    for (&shape, image) in SHAPES.iter().zip(&images) {
        // As sparse files, they cost nothing but what is written to them.
        let mib = if shape.cluster > 65536 { 3000 } else { 800 };
        Bed::new(Shape { mib, ..shape }).save(image);
    }
    for turn in 0..turns() {
        let seed = seed ^ u64::from(turn) << 8;
        for (index, image) in images.iter().enumerate() {
            our_turn(image, turn, seed ^ index as u64, 150);
            assert_clean(image);
        }
        // The kernel says what it finds.
        let ours: Vec<_> = images.iter().map(|image| read(image)).collect();
        for (ours, found) in ours.into_iter().zip(kernel_facts(&images, |_| String::new())) {
            observe::assert_same(ours, &found);
        }
        // Then it writes.
        let found = kernel_facts(&images, |index| {
            format!(
                "set -e\nmount -t ocfs2 /dev/ubda /mnt/a\nmkdir /mnt/a/kernel-{turn}\n\
                 python3 \"$KIT/populate.py\" /mnt/a/kernel-{turn} {} 120\n\
                 find /mnt/a/ours-{turn} -type f | sort | head -20 | while read -r f; do echo more >>\"$f\"; done\n\
                 find /mnt/a/ours-{turn} -type f | sort | tail -10 | while read -r f; do rm \"$f\"; done\n\
                 umount /mnt/a\n",
                seed ^ index as u64
            )
        });
        for (image, found) in images.iter().zip(found) {
            assert_clean(image);
            observe::assert_same(read(image), &found);
        }
    }
}

/// Asserts that fsck.ocfs2 finds nothing but what it says of any volume that the kernel has shared inline files or
/// preallocated space on.
#[track_caller]
fn assert_clean(image: &Path) {
    let mut report = fsck(image);
    report
        .problems
        .retain(|problem| !["INLINE_DATA_COUNT_INVALID", "INODE_SPARSE_SIZE"].contains(&problem.as_str()));
    assert!(report.finished && report.problems.is_empty(), "{}", report.output);
}

fn read(image: &Path) -> Vec<Fact> {
    let volume = Volume::open(device(image), &OpenOptions::default()).expect("the volume can be opened");
    observe::observe(&volume)
}
