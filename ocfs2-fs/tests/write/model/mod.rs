//! Random operations on a mounted file system and on a model of one, compared as they go.
//!
//! `OCFS2_MODEL_OPS` and `OCFS2_SEED` choose how many operations and which; a failure prints the seed and the shortest
//! list of operations found that still fails.

pub(crate) mod apply;
mod attrs;
pub(crate) mod compare;
pub(crate) mod ops;
pub(crate) mod outline;
mod tree;

use std::panic::{self, AssertUnwindSafe};

use ocfs2_fs::MountOptions;

use crate::bed::{Bed, SHAPES, Shape, seed};
use apply::World;
use ops::{Op, random_ops};

/// Operations between two looks of fsck.ocfs2.
const CHECK_EVERY: usize = 10_000;
/// Operations between two comparisons with the model.
const COMPARE_EVERY: usize = 500;

fn ops_wanted(default: usize) -> usize {
    let text = std::env::var("OCFS2_MODEL_OPS").ok();
    text.map_or(default, |text| text.parse().expect("OCFS2_MODEL_OPS is a number"))
}

/// Does the operations, comparing often, and after each from the `closely`th on; panics where the file system is not as
/// the model. `done` counts them.
fn run(shape: Shape, ops: &[Op], closely: usize, done: &mut usize) {
    let bed = Bed::new(shape);
    let mut world = World::new(bed, MountOptions::default());
    for (count, op) in ops.iter().enumerate() {
        *done = count + 1;
        world.apply(op);
        if count >= closely || count % COMPARE_EVERY == COMPARE_EVERY - 1 {
            world.compare_mounted();
        }
        if count % CHECK_EVERY == CHECK_EVERY - 1 {
            world.check();
        }
    }
    world.finish();
}

/// How many of the operations are done by the time that one is seen to fail.
fn fails(shape: Shape, ops: &[Op], closely: usize) -> Option<usize> {
    let mut done = 0;
    let run = AssertUnwindSafe(|| run(shape, ops, closely, &mut done));
    panic::catch_unwind(run).is_err().then_some(done)
}

/// Leaves out what the failure does not need: halves, quarters, down to single operations; and what comes after it.
fn shrink(shape: Shape, mut ops: Vec<Op>) -> Vec<Op> {
    let mut chunk = ops.len().div_ceil(2);
    while chunk > 0 {
        let mut start = 0;
        while start < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(start..(start + chunk).min(ops.len()));
            if let Some(done) = fails(shape, &fewer, usize::MAX) {
                fewer.truncate(done);
                ops = fewer;
            } else {
                start += chunk;
            }
        }
        chunk /= 2;
    }
    ops
}

#[track_caller]
fn check(shape: Shape, count: usize) {
    let seed = seed();
    let mut ops = random_ops(seed, count);
    if let Some(done) = fails(shape, &ops, usize::MAX) {
        ops.truncate(done);
        let done = fails(shape, &ops, done.saturating_sub(COMPARE_EVERY));
        ops.truncate(done.expect("the failure happens every time"));
        eprintln!(
            "{shape:?}, OCFS2_SEED={seed}, operation {}: {:?}",
            ops.len(),
            ops.last()
        );
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let fewer = shrink(shape, ops);
        panic::set_hook(hook);
        eprintln!(
            "{shape:?}, OCFS2_SEED={seed} OCFS2_MODEL_OPS={count}; {} operations fail:\n{fewer:#?}",
            fewer.len()
        );
        run(shape, &fewer, 0, &mut 0);
        panic!("the failure does not happen every time");
    }
}

#[test]
fn random_operations_leave_what_the_model_says() {
    for &shape in SHAPES {
        check(shape, ops_wanted(1500));
    }
}

#[test]
fn on_a_volume_that_runs_full_an_operation_happens_or_leaves_no_trace() {
    for block in [512, 4096] {
        let shape = Shape {
            mib: 24,
            block,
            features: "metaecc",
            slots: 1,
            ..Shape::default()
        };
        check(shape, ops_wanted(1500));
    }
}
