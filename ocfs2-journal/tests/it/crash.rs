//! Journals at work, and what power cuts leave of them.
//!
//! The random workloads are cut 12 000 times or so; `PROPTEST_CASES=15000` makes that 700 000 times, in a few minutes.

use ocfs2_format::jbd2::ChecksumVersion;
use proptest::prelude::*;

use crate::bed::{Action, Flavour, Run};

/// Something that happens to a journal.
#[derive(Clone, Debug)]
enum Step {
    Handle {
        actions: Vec<Action>,
        commit: bool,
    },
    Data(usize),
    FreeData(usize),
    Commit,
    Sync,
    Checkpoint,
    /// Checkpoints what was merged so many handles ago.
    CheckpointThrough(usize),
    MakeReusable(usize),
}

fn flavour() -> impl Strategy<Value = Flavour> {
    let checksum = prop_oneof![
        4 => Just(ChecksumVersion::None),
        1 => Just(ChecksumVersion::V1),
        1 => Just(ChecksumVersion::V2),
        1 => Just(ChecksumVersion::V3),
    ];
    let bits = prop_oneof![3 => Just(9u8), 1 => Just(12u8)];
    let sequence = prop_oneof![Just(1), Just(u32::MAX - 5), any::<u32>()];
    (
        bits,
        88u32..160,
        any::<bool>(),
        checksum,
        any::<bool>(),
        any::<bool>(),
        sequence,
    )
        .prop_map(|(bits, blocks, wide, checksum, revokes, metaecc, sequence)| Flavour {
            bits,
            blocks,
            wide,
            checksum,
            revokes,
            metaecc,
            sequence,
        })
}

fn action() -> impl Strategy<Value = Action> {
    let unit = || 1..UNITS;
    prop_oneof![
        4 => unit().prop_map(Action::Modify),
        1 => unit().prop_map(Action::Create),
        2 => unit().prop_map(Action::Forget),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (prop::collection::vec(action(), 0..5), prop::bool::weighted(0.8))
            .prop_map(|(actions, commit)| Step::Handle { actions, commit }),
        4 => (1..UNITS).prop_map(Step::Data),
        1 => (1..UNITS).prop_map(Step::FreeData),
        3 => Just(Step::Commit),
        1 => Just(Step::Sync),
        1 => Just(Step::Checkpoint),
        1 => (0usize..8).prop_map(Step::CheckpointThrough),
        1 => (1..UNITS).prop_map(Step::MakeReusable),
    ]
}

fn take(run: &mut Run, step: &Step) {
    match step {
        Step::Handle { actions, commit } => {
            // A handle that touches a bucket more than once would need more than small journals give.
            let mut actions = actions.clone();
            let mut buckets = 0;
            actions.retain(|action| {
                let is_bucket =
                    matches!(action, Action::Modify(n) | Action::Create(n) | Action::Forget(n) if *n == UNITS - 1);
                buckets += usize::from(is_bucket);
                !is_bucket || buckets == 1
            });
            run.handle(&actions, *commit);
        }
        Step::Data(unit) => {
            run.write_data(*unit);
        }
        Step::FreeData(unit) => run.free_data(*unit),
        Step::Commit => {
            run.journal.commit().unwrap();
        }
        Step::Sync => run.journal.sync().unwrap(),
        Step::Checkpoint => run.journal.checkpoint().unwrap(),
        Step::CheckpointThrough(back) => {
            let at = run.history.len().saturating_sub(1 + back);
            let tid = run.history[at].tid;
            run.journal.checkpoint_through(tid).unwrap();
            assert!(run.journal.is_checkpointed(tid));
        }
        Step::MakeReusable(unit) => {
            let range = run.bed.units[*unit].range();
            run.journal.make_reusable(range.clone()).unwrap();
            assert!(run.journal.may_reuse(range));
        }
    }
    run.look();
}

proptest! {
    #[test]
    fn every_power_cut_leaves_whole_transactions_and_all_that_was_durable(
        flavour in flavour(),
        first in prop::collection::vec(step(), 1..40),
        second in prop::collection::vec(step(), 1..12),
    ) {
        let bed = flavour.bed();
        assert_eq!(bed.units.len(), UNITS);
        let mut run = Run::start(&bed);
        for step in &first {
            take(&mut run, step);
        }
        run.cuts(1, 2, |ops, seed, left| {
            let at = bed.recover(&left, &run.history, run.durable_after(ops));
            // Life goes on, and ends again.
            if (ops as u64 + seed).is_multiple_of(23) {
                let mut next = Run::new(&bed, &left, run.history[at].contents.clone(), run.stamp());
                for step in &second {
                    take(&mut next, step);
                }
                next.cuts(5, 2, |ops, _, left| {
                    bed.recover(&left, &next.history, next.durable_after(ops));
                });
                next.close();
            }
        });
        run.close();
    }
}

#[test]
fn log_is_overwritten_only_behind_its_durable_start() {
    let bed = Flavour {
        blocks: 64,
        ..Flavour::PLAIN
    }
    .bed();
    let mut run = Run::start(&bed);
    // Each takes 11 of 62 blocks.
    for n in 0..20 {
        run.handle(&[1, 2, 3, 4, 5, 6, 7, 8].map(Action::Modify), true);
        run.journal.commit().unwrap();
        run.look();
        if n >= 4 {
            // The log holds five; the next one takes the place of the oldest.
            let oldest = run.history[n - 3].tid;
            run.journal.checkpoint_through(oldest).unwrap();
            assert_eq!(run.journal.usage().logged, 4 * 11);
        }
    }
    run.cuts(1, 40, |ops, _, left| {
        bed.recover(&left, &run.history, run.durable_after(ops));
    });
    run.close();
}

/// Units of a bed.
const UNITS: usize = 11;
