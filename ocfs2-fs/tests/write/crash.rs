//! Power cuts: after any prefix of the device's writes, with any choice of what the device's cache kept, the volume is
//! recovered to what it was after one of the operations, and not before the last one that was made durable.
//!
//! fsck.ocfs2 recovers some of them, and the kernel, which must find the same.
//!
//! `OCFS2_CRASH_POINTS` says how many points are tried, over all workloads: 20000 for a long run, with `OCFS2_SEED=random`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use ocfs2_format::device::{Crash, MemDevice, Op as DeviceOp, Recording};
use ocfs2_fs::{FileSystem, MountOptions};
use ocfs2_testkit::tools::fsck;
use ocfs2_testkit::{facts, live, require_kernel, require_tool};

use crate::bed::{Bed, SHAPES, Shape, mount_on, seed};
use crate::model::apply::{ROOT, World};
use crate::model::ops::{Op, random_ops};
use crate::model::outline::{Outline, find_state};

/// Operations of one workload.
const OPS: usize = 60;

/// Of how many recovered volumes one is shown to fsck.ocfs2, of how many it recovers one itself, and of how many the kernel.
const CHECK_ONE_IN: usize = 8;
const RECOVER_ONE_IN: usize = 40;
const KERNEL_ONE_IN: usize = 250;

/// Volumes that one boot of the kernel recovers.
const DISKS: usize = 8;

/// A workload that has been run: what the device was told, and what the volume held on the way.
struct Story {
    before: Arc<MemDevice>,
    log: Vec<DeviceOp>,
    states: Vec<State>,
    ops: Vec<Op>,
}

/// What the volume held after an operation.
struct State {
    outline: Arc<Outline>,
    /// Device operations when the operation had ended.
    log_len: usize,
    /// Whether the operation made everything before it durable.
    durable: bool,
}

fn options() -> MountOptions {
    let mut options = MountOptions::default();
    // No thread writes at moments of its own.
    options.commit_interval = None;
    options
}

/// Operations that are one transaction each.
fn is_atomic(op: &Op) -> bool {
    match op {
        Op::Write { offset, len, .. } | Op::WriteOpen { offset, len, .. } => *len < 100_000 && *offset < 100_000,
        Op::Append { len, .. } => *len < 100_000,
        Op::CopyRange { to, len, .. } => *len < 100_000 && *to < 100_000,
        Op::Remount | Op::Crash => false,
        _ => true,
    }
}

fn tell(shape: Shape, seed: u64) -> Story {
    let bed = Bed::new(shape);
    let fs = bed.mount();
    fs.create_dir(ROOT).expect("a directory can be made");
    fs.unmount().expect("the volume can be unmounted");
    let before = Arc::new(bed.device.snapshot());
    let device = Arc::new(Recording::new(bed.device.clone()));
    let fs = mount_on(device.clone(), &options()).expect("the volume can be mounted");
    let mut world = World::on(fs, bed, options(), ROOT);
    let mut ops = random_ops(seed, OPS);
    ops.retain(is_atomic);
    let mut states = Vec::new();
    let mut note = |world: &World, durable| {
        states.push(State {
            outline: Arc::new(Outline::of_model(&world.tree)),
            log_len: device.ops().len(),
            durable,
        });
    };
    note(&world, false);
    for op in &ops {
        world.apply(op);
        note(&world, matches!(op, Op::Sync | Op::SyncFile { .. }));
    }
    let log = device.take();
    // What is left when the power goes is what the log holds.
    drop(world);
    Story {
        before,
        log,
        states,
        ops,
    }
}

impl Story {
    /// The device after a power cut behind `len` operations.
    fn cut(&self, len: usize, seed: u64) -> Arc<MemDevice> {
        let device = Crash::new(self.before.snapshot());
        for op in &self.log[..len] {
            op.apply(&device).expect("memory can be written");
        }
        device.power_cut(seed).expect("memory can be written");
        Arc::new(device.into_inner())
    }

    /// The states that a power cut behind `len` operations may leave, and the numbers of the first and the last.
    fn candidates(&self, len: usize) -> (Vec<Arc<Outline>>, usize, usize) {
        // The first state that a crash here may have lost, and the last that it can show: an operation may have committed
        // before it returned.
        let done = self.states.partition_point(|state| state.log_len <= len);
        let oldest = self.states[..done].iter().rposition(|state| state.durable).unwrap_or(0);
        let newest = done.min(self.states.len() - 1);
        let states = self.states[oldest..=newest].iter().map(|state| state.outline.clone());
        (states.collect(), oldest, newest)
    }

    fn judge(&self, shape: Shape, len: usize, seed: u64, judges: &Judges<'_>) {
        let device = self.cut(len, seed);
        let raw = Bed {
            device: Arc::new(device.snapshot()),
        };
        let (states, oldest, newest) = self.candidates(len);
        let at = format!(
            "{shape:?}, cut behind {len} of {} device operations, seed {seed}, between operations {oldest} and {newest} \
             ({:?})",
            self.log.len(),
            &self.ops[oldest.min(self.ops.len() - 1)..newest.min(self.ops.len())]
        );
        // Not looked at for locks: that would cost more than all the rest.
        let fs = match FileSystem::mount(device.clone(), &options()) {
            Ok(fs) => fs,
            Err(error) => panic!("{at}: {error}"),
        };
        let found = Outline::of_mounted(&fs, ROOT);
        find_state(&states.iter().map(Arc::as_ref).collect::<Vec<_>>(), &found)
            .unwrap_or_else(|why| panic!("{at}: {why}"));
        fs.unmount().expect("the volume can be unmounted");
        if judges.check {
            Bed { device }.assert_clean_but_for_preallocation();
        }
        if judges.recover {
            raw.assert_recoverable();
        }
        if let Some(queue) = judges.kernel {
            queue.add(&raw, states, at);
        }
    }
}

/// Who else recovers a volume or looks at it.
struct Judges<'q> {
    check: bool,
    recover: bool,
    kernel: Option<&'q KernelQueue>,
}

/// Volumes that crashed, for the kernel to recover.
struct KernelQueue {
    dir: tempfile::TempDir,
    cases: Mutex<Vec<Case>>,
}

/// One of them, and what it may hold.
struct Case {
    image: PathBuf,
    states: Vec<Arc<Outline>>,
    at: String,
}

impl KernelQueue {
    fn new() -> KernelQueue {
        KernelQueue {
            dir: tempfile::tempdir().expect("a temporary folder"),
            cases: Mutex::default(),
        }
    }

    fn add(&self, bed: &Bed, states: Vec<Arc<Outline>>, at: String) {
        let mut cases = self.cases.lock().expect("nobody panics in here");
        let image = self.dir.path().join(format!("volume-{}", cases.len()));
        bed.save(&image);
        cases.push(Case { image, states, at });
    }

    /// Lets the kernel recover all and say what it finds, then fsck.ocfs2 look for what is left to mend.
    fn judge(self) {
        let cases = self.cases.into_inner().expect("nobody panicked in there");
        for batch in cases.chunks(DISKS) {
            let mut kernel = require_kernel()
                .expect("asked for above")
                .timeout(Duration::from_secs(300));
            let mut script = "set -e\n".to_owned();
            for (index, case) in batch.iter().enumerate() {
                let disk = format!("/dev/ubd{}", char::from(b'a' + index as u8));
                let recover = format!("echo volume {index}\nmount -t ocfs2 {disk} /mnt/a\nsync\numount /mnt/a\n");
                let facts = live::facts_script().replace("/dev/ubda", &disk);
                script += &(recover + &facts.replace(live::FACTS, &facts_name(index)) + "\n");
                kernel = kernel.disk(&case.image);
            }
            let output = kernel.script(script).run().expect("the kernel finishes");
            let ats: Vec<_> = batch.iter().map(|case| &case.at).collect();
            assert_eq!(output.status, 0, "{}\n{}\n{ats:#?}", output.stdout, output.console);
            for (index, case) in batch.iter().enumerate() {
                let lines = output.read(&facts_name(index)).expect("the script wrote them");
                let facts = facts::parse(&String::from_utf8(lines).expect("JSON is text")).expect("they are facts");
                let states: Vec<_> = case.states.iter().map(Arc::as_ref).collect();
                let found = find_state(&states, &Outline::of_kernel(&facts, ROOT));
                found.unwrap_or_else(|why| panic!("as the kernel recovers {}: {why}", case.at));
                let mut report = fsck(&case.image);
                report.problems.retain(|problem| problem != "INODE_SPARSE_SIZE");
                assert!(
                    report.finished && report.problems.is_empty(),
                    "as the kernel recovers {}: {}",
                    case.at,
                    report.output
                );
            }
        }
    }
}

fn facts_name(index: usize) -> String {
    format!("facts-{index}.jsonl")
}

fn points_wanted() -> usize {
    let text = std::env::var("OCFS2_CRASH_POINTS").ok();
    text.map_or(2000, |text| text.parse().expect("OCFS2_CRASH_POINTS is a number"))
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_volume_as_it_was_after_an_operation() {
    let per_shape = points_wanted().div_ceil(SHAPES.len());
    let seed = seed();
    let check = require_tool("fsck.ocfs2").is_some();
    let kernel = (check && require_kernel().is_some()).then(KernelQueue::new);
    std::thread::scope(|scope| {
        for (index, &shape) in SHAPES.iter().enumerate() {
            let kernel = kernel.as_ref();
            // As small as they can be, since every point copies the volume: the kernel wants a journal of 4 MiB.
            let smallest = match (shape.block, shape.cluster) {
                (512, _) => 160,
                (_, 1_048_576) => 256,
                _ => 40,
            };
            let shape = Shape { mib: smallest, ..shape };
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed ^ index as u64);
                let mut point = 0;
                while point < per_shape {
                    let story = tell(shape, rng.u64(..));
                    for _ in 0..100.min(per_shape - point) {
                        // The first device operations are those of the mount.
                        let len = rng.usize(0..=story.log.len());
                        let is_one_in = |one_in| check && point % one_in == 0;
                        let judges = Judges {
                            check: is_one_in(CHECK_ONE_IN),
                            recover: is_one_in(RECOVER_ONE_IN),
                            kernel: kernel.filter(|_| is_one_in(KERNEL_ONE_IN)),
                        };
                        story.judge(shape, len, rng.u64(..), &judges);
                        point += 1;
                    }
                }
            });
        }
    });
    if let Some(queue) = kernel {
        queue.judge();
    }
}
