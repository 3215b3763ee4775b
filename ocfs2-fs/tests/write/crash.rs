//! Power cuts: after any prefix of the device's writes, with any choice of what the device's cache kept, the volume is
//! recovered to what it was after one of the operations, and not before the last one that was made durable.
//!
//! `OCFS2_CRASH_POINTS` says how many points are tried, over all workloads: 20000 for a long run, with `OCFS2_SEED=random`.

use std::sync::Arc;

use fastrand::Rng;
use ocfs2_format::device::{Crash, MemDevice, Op as DeviceOp, Recording};
use ocfs2_fs::{FileSystem, MountOptions};
use ocfs2_testkit::require_tool;

use crate::bed::{Bed, SHAPES, Shape, seed};
use crate::model::apply::{ROOT, World};
use crate::model::compare::{outline, outline_of_model};
use crate::model::ops::{Op, random_ops};

/// Operations of one workload.
const OPS: usize = 60;

/// Of how many recovered volumes one is shown to fsck.ocfs2, and of how many it recovers one itself.
const CHECK_ONE_IN: usize = 8;
const RECOVER_ONE_IN: usize = 40;

/// A workload that has been run: what the device was told, and what the volume held on the way.
struct Story {
    before: Arc<MemDevice>,
    log: Vec<DeviceOp>,
    states: Vec<State>,
    ops: Vec<Op>,
}

/// What the volume held after an operation.
struct State {
    outline: Vec<String>,
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
    let fs = FileSystem::mount(device.clone(), &options()).expect("the volume can be mounted");
    let mut world = World::on(fs, bed, options(), ROOT);
    let mut ops = random_ops(seed, OPS);
    ops.retain(is_atomic);
    let mut states = Vec::new();
    let mut note = |world: &World, durable| {
        states.push(State {
            outline: outline_of_model(&world.tree),
            log_len: device.ops().len(),
            durable,
        });
    };
    note(&world, false);
    for op in &ops {
        world.apply(op);
        note(&world, matches!(op, Op::Sync));
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

    fn judge(&self, shape: Shape, len: usize, seed: u64, check: bool, recover: bool) {
        let device = self.cut(len, seed);
        let raw = Bed {
            device: Arc::new(device.snapshot()),
        };
        let at = || {
            format!(
                "{shape:?}, cut behind {len} of {} device operations, seed {seed}",
                self.log.len()
            )
        };
        let fs = match FileSystem::mount(device.clone(), &options()) {
            Ok(fs) => fs,
            Err(error) => panic!("{}: {error}", at()),
        };
        let found = outline(&fs, ROOT);
        // The first state that a crash here may have lost, and the last that it can show: an operation may have committed
        // before it returned.
        let done = self.states.partition_point(|state| state.log_len <= len);
        let oldest = self.states[..done].iter().rposition(|state| state.durable).unwrap_or(0);
        let newest = done.min(self.states.len() - 1);
        let candidates = &self.states[oldest..=newest];
        if !candidates.iter().any(|state| state.outline == found) {
            let near = &candidates[candidates.len() - 1].outline;
            let missing: Vec<_> = near.iter().filter(|line| !found.contains(line)).collect();
            let extra: Vec<_> = found.iter().filter(|line| !near.contains(line)).collect();
            panic!(
                "{}: nothing between operations {oldest} and {newest} ({:?})\nmissing {missing:#?}\nextra {extra:#?}",
                at(),
                self.ops[oldest.min(self.ops.len() - 1)..newest.min(self.ops.len())]
                    .iter()
                    .collect::<Vec<_>>()
            );
        }
        fs.unmount().expect("the volume can be unmounted");
        if check {
            Bed { device }.assert_clean_but_for_preallocation();
        }
        if recover {
            raw.assert_recoverable();
        }
    }
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
    std::thread::scope(|scope| {
        for (index, &shape) in SHAPES.iter().enumerate() {
            // As small as they can be: every point copies the volume.
            let shape = Shape {
                mib: shape.mib.min(if shape.cluster > 65536 { 256 } else { 40 }),
                ..shape
            };
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed ^ index as u64);
                let mut left = per_shape;
                while left > 0 {
                    let story = tell(shape, rng.u64(..));
                    // The first device operations are those of the mount.
                    for point in 0..left.min(100) {
                        let len = rng.usize(0..=story.log.len());
                        let check = |one_in| check && point % one_in == 0;
                        story.judge(shape, len, rng.u64(..), check(CHECK_ONE_IN), check(RECOVER_ONE_IN));
                    }
                    left -= left.min(100);
                }
            });
        }
    });
}
