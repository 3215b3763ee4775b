//! Formatting that is cut short, by power or by the device, leaves nothing that passes for a volume.

use std::sync::Arc;

use ocfs2_format::device::{BlockDevice, Crash, Durability, Fault, Faulty, IoOp, MemDevice, Op, Recording};
use ocfs2_fs::mkfs::{self, MkfsError, MkfsOptions, MountMode, Plan, Progress, Step};
use ocfs2_fs::{OpenOptions, SurveyOptions, Volume};

/// Large enough for a copy of the superblock.
const LEN: u64 = 1200 << 20;

fn options(block_size: u32, features: &str) -> MkfsOptions {
    let mut options = MkfsOptions::default();
    options.block_size = Some(block_size);
    options.cluster_size = Some(64 << 10);
    options.journal_size = Some(4 << 20);
    options.slots = Some(2);
    options.mount = MountMode::Local;
    options.uuid = Some([7; 16]);
    options.features.parse_list(features).expect("features that exist");
    options
}

/// Both forms of directories, with and without check codes, on a device that is discarded first or zeroed in parts.
fn variants() -> Vec<MkfsOptions> {
    let mut variants = vec![options(4096, ""), options(512, "metaecc,noinline-data,usrquota")];
    let mut kept = options(1024, "noindexed-dirs,metaecc");
    kept.discard = false;
    variants.push(kept);
    variants
}

fn format(device: &dyn BlockDevice, options: &MkfsOptions) -> Result<(), MkfsError> {
    let plan = Plan::new(device.geometry().len, options).expect("possible wishes");
    mkfs::format(device, &plan, &mut |_| {}).map(drop)
}

/// A device with the remains of something in its first MiB and around the place of the superblock's copy.
fn used_device() -> MemDevice {
    let device = MemDevice::new(LEN);
    for start in [0, 1 << 30] {
        device
            .write(start, &vec![0xa5; 1 << 20], Durability::Cached)
            .expect("memory");
    }
    device
}

/// What a device can be opened as: by its superblock, and by the copy.
fn opened(device: &MemDevice) -> [Option<Volume>; 2] {
    [None, Some(1)].map(|backup_superblock| {
        let mut options = OpenOptions::default();
        options.backup_superblock = backup_superblock;
        Volume::open(Arc::new(device.snapshot()), &options).ok()
    })
}

fn assert_whole(volume: &Volume, when: &str) {
    volume.survey(&SurveyOptions::default(), &mut |finding| panic!("{when}: {finding}"));
    assert_eq!(volume.superblock().s_uuid, [7; 16], "{when}");
}

fn assert_nothing(device: &MemDevice, when: &str) {
    let [primary, copy] = opened(device);
    assert!(primary.is_none() && copy.is_none(), "{when}: there is a volume");
}

#[test]
fn superblock_is_written_last_and_its_copies_before_it_each_behind_a_flush() {
    for options in variants() {
        let device = Recording::new(used_device());
        format(&device, &options).expect("memory does not fail");
        let ops = device.take();
        let [
            ..,
            Op::Flush,
            Op::Write { offset: copy, .. },
            Op::Flush,
            Op::Write {
                offset: first, data, ..
            },
            Op::Flush,
        ] = &ops[..]
        else {
            panic!("the last operations are {:?}", &ops[ops.len().saturating_sub(5)..]);
        };
        let block_size = u64::from(options.block_size.expect("it was chosen"));
        assert_eq!((*copy, *first), (1 << 30, 0), "block size {block_size}");
        assert_eq!(data.len() as u64, 3 * block_size);
        let earlier = &ops[..ops.len() - 3];
        for op in earlier {
            if let Op::Write { offset, .. } = op {
                assert!(
                    *offset >= 3 * block_size,
                    "block size {block_size}: written at {offset}"
                );
            }
        }
    }
}

#[test]
fn nothing_is_found_before_everything_is_written() {
    for options in variants() {
        let recording = Recording::new(used_device());
        format(&recording, &options).expect("memory does not fail");
        let ops = recording.take();
        let device = used_device();
        // The superblock's copy, a flush, the superblock, a flush.
        let complete = ops.len() - 4;
        for (index, op) in ops.iter().enumerate() {
            let when = format!("after {op:?}, {index} of {}", ops.len());
            op.apply(&device).expect("memory does not fail");
            match opened(&device) {
                [None, None] if index < complete => {}
                [None, Some(copy)] if index >= complete && index < complete + 2 => assert_whole(&copy, &when),
                [Some(primary), Some(copy)] if index >= complete + 2 => {
                    assert_whole(&primary, &when);
                    assert_whole(&copy, &when);
                }
                found => panic!("{when}: {found:?}"),
            }
        }
    }
}

#[test]
fn power_cut_leaves_the_whole_volume_or_none() {
    for options in variants() {
        let recording = Recording::new(used_device());
        format(&recording, &options).expect("memory does not fail");
        let device = Crash::new(used_device());
        for (index, op) in recording.take().iter().enumerate() {
            op.apply(&device).expect("memory does not fail");
            for seed in 0..4 {
                let left = device.after_power_cut(seed).expect("memory does not fail");
                for volume in opened(&left).iter().flatten() {
                    assert_whole(volume, &format!("power cut {seed} at operation {index}"));
                }
            }
        }
    }
}

#[test]
fn older_volume_is_gone_as_soon_as_anything_has_changed() {
    let mut older = options(2048, "metaecc");
    older.uuid = Some([3; 16]);
    let before = MemDevice::new(LEN);
    format(&before, &older).expect("memory does not fail");
    for options in variants() {
        let recording = Recording::new(before.snapshot());
        format(&recording, &options).expect("memory does not fail");
        let device = before.snapshot();
        for op in recording.take() {
            op.apply(&device).expect("memory does not fail");
            if let [Some(volume), _] = opened(&device) {
                assert_whole(&volume, &format!("after {op:?}"));
            }
        }
    }
}

#[test]
fn failing_device_is_reported_and_holds_no_volume() {
    let ops = [IoOp::Write, IoOp::WriteZeroes, IoOp::Flush];
    for options in variants() {
        for op in ops {
            let mut failures = 0;
            for fault in [Fault::Error, Fault::Torn { blocks: 1 }] {
                for nth in 0.. {
                    let device = Faulty::new(used_device());
                    device.fail_nth(op, nth, fault);
                    let outcome = format(&device, &options);
                    if device.injected().is_empty() {
                        outcome.expect("nothing failed");
                        break;
                    }
                    failures += 1;
                    assert!(matches!(outcome, Err(MkfsError::Io(_))), "{op} {nth}: {outcome:?}");
                    assert_nothing(device.inner(), &format!("{op} {nth}, {fault:?}"));
                }
            }
            let discarded = options.discard && op == IoOp::WriteZeroes;
            assert!(failures >= 6 || discarded, "{op}: only {failures} faults were met");
        }
    }
}

#[test]
fn device_that_fails_for_good_holds_no_volume() {
    for options in variants() {
        let plan = Plan::new(LEN, &options).expect("possible wishes");
        for &step in Step::of(&plan) {
            for moment in [Progress::Begin(step), Progress::Done(step)] {
                let device = Faulty::new(used_device());
                let outcome = mkfs::format(&device, &plan, &mut |now| {
                    if now == moment {
                        device.fail_range(IoOp::Write, 0..LEN, Fault::Error);
                        device.fail_range(IoOp::WriteZeroes, 0..LEN, Fault::Error);
                    }
                });
                assert!(matches!(outcome, Err(MkfsError::Io(_))), "{moment:?}: {outcome:?}");
                assert_nothing(device.inner(), &format!("{moment:?}"));
            }
        }
    }
}

#[test]
fn device_that_cannot_discard_is_cleared_by_other_means() {
    for options in variants() {
        let device = Faulty::new(used_device());
        device.fail_nth(IoOp::Discard, 0, Fault::Error);
        format(&device, &options).expect("a discard is not needed");
        for volume in opened(device.inner()) {
            assert_whole(&volume.expect("a volume"), "after a failed discard");
        }
    }
}

#[test]
fn seed_gives_the_same_bytes_whatever_the_device_held() {
    const LEN: u64 = 96 << 20;
    let made = |seed, fill: u8, discard| {
        let mut options = options(2048, "metaecc,usrquota,grpquota");
        (options.uuid, options.seed, options.discard) = (None, Some(seed), discard);
        let device = MemDevice::from_vec(vec![fill; LEN as usize]);
        format(&device, &options).expect("memory does not fail");
        device.to_vec()
    };
    let first = made(1, 0, true);
    assert!(
        first == made(1, 0xa5, true),
        "other bytes on a device that was not empty"
    );
    assert!(first == made(1, 0x5a, false), "other bytes without discard");
    assert!(first != made(2, 0, true), "another seed makes another volume");
}
