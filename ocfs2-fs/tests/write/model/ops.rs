//! Operations, chosen by chance. They name their objects by numbers that are looked up in the model when they are done, so
//! that leaving some out keeps the rest meaningful.

use fastrand::Rng;

/// One operation. Numbers called `a` and `b` pick objects, `name` picks a name.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create {
        a: u32,
        name: u32,
        mode: u32,
    },
    Mkdir {
        a: u32,
        name: u32,
        mode: u32,
    },
    Symlink {
        a: u32,
        name: u32,
        len: usize,
    },
    Mknod {
        a: u32,
        name: u32,
        which: u32,
    },
    Link {
        a: u32,
        b: u32,
        name: u32,
    },
    Remove {
        a: u32,
    },
    Rename {
        a: u32,
        b: u32,
        name: u32,
        mode: u32,
    },
    Write {
        a: u32,
        offset: u64,
        len: usize,
        fill: u8,
    },
    Append {
        a: u32,
        len: usize,
        fill: u8,
    },
    /// To the file that was opened last.
    AppendOpen {
        len: usize,
        fill: u8,
    },
    SetLen {
        a: u32,
        len: u64,
    },
    Punch {
        a: u32,
        offset: u64,
        len: u64,
    },
    Zero {
        a: u32,
        offset: u64,
        len: u64,
        keep_size: bool,
    },
    Allocate {
        a: u32,
        offset: u64,
        len: u64,
        keep_size: bool,
    },
    SetMode {
        a: u32,
        mode: u32,
    },
    SetOwner {
        a: u32,
        uid: u32,
        gid: u32,
    },
    SetXattr {
        a: u32,
        name: u32,
        len: usize,
        fill: u8,
    },
    RemoveXattr {
        a: u32,
        name: u32,
    },
    SetAcl {
        a: u32,
        mode: u32,
        users: u32,
    },
    SetFlags {
        a: u32,
        flags: u32,
    },
    Reflink {
        a: u32,
        b: u32,
        name: u32,
    },
    CopyRange {
        a: u32,
        b: u32,
        from: u64,
        to: u64,
        len: u64,
    },
    Unshare {
        a: u32,
        offset: u64,
        len: u64,
    },
    Open {
        a: u32,
    },
    WriteOpen {
        a: u32,
        offset: u64,
        len: usize,
        fill: u8,
    },
    Close {
        a: u32,
    },
    Sync,
    /// fsync(2) of a file; of everything while there are no files.
    SyncFile {
        a: u32,
    },
    Remount,
    Crash,
}

impl Op {
    /// Whether the volume stays mounted through the operation.
    pub(crate) fn stays_mounted(&self) -> bool {
        !matches!(self, Op::Remount | Op::Crash)
    }
}

pub(crate) fn random_ops(seed: u64, count: usize) -> Vec<Op> {
    let mut rng = Rng::with_seed(seed);
    let mut ops = Vec::new();
    while ops.len() < count {
        match rng.u32(0..60) {
            0 => ops.extend(random_trickle(&mut rng)),
            _ => ops.push(random_op(&mut rng)),
        }
    }
    ops.truncate(count);
    ops
}

/// Small pieces at the end of one file, which nothing comes between.
fn random_trickle(rng: &mut Rng) -> Vec<Op> {
    let mut ops = vec![Op::Open { a: rng.u32(..) }];
    for _ in 0..rng.usize(2..30) {
        let most = if rng.bool() { 200 } else { 6000 };
        ops.push(Op::AppendOpen {
            len: rng.usize(1..most),
            fill: rng.u8(1..),
        });
    }
    if rng.bool() {
        ops.push(Op::Close { a: rng.u32(..) });
    }
    ops
}

/// Sizes around the borders of blocks and clusters, small more often than large.
fn size(rng: &mut Rng) -> u64 {
    match rng.u32(0..10) {
        0 => 0,
        1..=3 => rng.u64(1..200),
        4..=5 => rng.u64(1..5000),
        6 => 4096 * rng.u64(1..8),
        7 => (4096 * rng.u64(1..20)).saturating_add_signed(rng.i64(-2..3)),
        8 => rng.u64(1..70_000),
        _ => rng.u64(1..400_000),
    }
}

/// Places that lie alike in their clusters, half of the time.
fn place(rng: &mut Rng) -> u64 {
    if rng.bool() { rng.u64(0..4) << 16 } else { size(rng) }
}

fn random_op(rng: &mut Rng) -> Op {
    let (a, b, name) = (rng.u32(..), rng.u32(..), rng.u32(..));
    let (offset, fill) = (size(rng), rng.u8(1..));
    match rng.u32(0..107) {
        0..=15 => Op::Create {
            a,
            name,
            mode: rng.u32(0..0o1000),
        },
        16..=21 => Op::Mkdir {
            a,
            name,
            mode: rng.u32(0..0o2000),
        },
        22..=24 => Op::Symlink {
            a,
            name,
            len: 1 + rng.usize(0..60) * if name % 2 == 0 { 1 } else { 65 },
        },
        25 => Op::Mknod {
            a,
            name,
            which: rng.u32(..),
        },
        26..=29 => Op::Link { a, b, name },
        30..=39 => Op::Remove { a },
        40..=45 => Op::Rename {
            a,
            b,
            name,
            mode: rng.u32(..),
        },
        46..=58 => Op::Write {
            a,
            offset,
            len: size(rng) as usize,
            fill,
        },
        59..=61 => Op::Append {
            a,
            len: size(rng) as usize,
            fill,
        },
        62..=65 => Op::SetLen { a, len: size(rng) },
        66..=68 => Op::Punch {
            a,
            offset,
            len: size(rng),
        },
        69 => Op::Zero {
            a,
            offset,
            len: size(rng),
            keep_size: rng.bool(),
        },
        70..=72 => Op::Allocate {
            a,
            offset,
            len: size(rng),
            keep_size: rng.bool(),
        },
        73..=74 => Op::SetMode {
            a,
            mode: rng.u32(0..0o10000),
        },
        75 => Op::SetOwner {
            a,
            uid: rng.u32(0..5),
            gid: rng.u32(0..5),
        },
        76..=83 => Op::SetXattr {
            a,
            name,
            len: rng.usize(0..120) * if name % 4 == 0 { 150 } else { 1 },
            fill,
        },
        84..=86 => Op::RemoveXattr { a, name },
        87..=90 => Op::Reflink { a, b, name },
        91..=92 => Op::Open { a },
        93..=94 => Op::WriteOpen {
            a,
            offset,
            len: size(rng) as usize,
            fill,
        },
        95..=96 => Op::Close { a },
        97 => Op::Sync,
        98 => Op::Remount,
        99 => Op::Crash,
        100..=101 => Op::SetAcl {
            a,
            mode: rng.u32(0..0o1000),
            users: rng.u32(1..12),
        },
        102 => Op::SetFlags { a, flags: rng.u32(..) },
        103..=104 => Op::CopyRange {
            a,
            b,
            from: place(rng),
            to: place(rng),
            len: size(rng),
        },
        105 => Op::Unshare {
            a,
            offset,
            len: size(rng),
        },
        _ => Op::SyncFile { a },
    }
}
