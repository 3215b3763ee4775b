//! Preallocation, holes and zeros.
//!
//! Source: on-disk reference, sections 19.5, 19.6 and 24.4; Linux 6.1 kernel behaviour.

use std::ops::Range;

use ocfs2_format::{ExtentFlags, InodeNo};

use super::map::{Map, Place, Run, clusters_of};
use super::place::{self, MAX_RECORD, STEP};
use super::truncate::{self, release, zero_written};
use super::{FileId, inline, map, max_size, require_changeable, times};
use crate::error::{Error, Result};
use crate::extent_tree::Extent;
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::tree::{self, Intent, Root};
use crate::mounted::{Charge, Core, Level, LockSet, Need, refcount};

/// How [`FileSystem::allocate`](crate::FileSystem::allocate) changes a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllocateMode {
    /// Everything is allocated, and the file reaches to the end of the range at least.
    Extend,
    /// Everything is allocated; the size stays.
    KeepSize,
    /// Whole clusters are given back; everything reads as zeros; the size stays.
    PunchHole,
    /// Everything is allocated and reads as zeros, and the file reaches to the end of the range at least.
    ZeroRange,
    /// As `ZeroRange`; the size stays.
    ZeroRangeKeepSize,
    /// Everything is allocated and nothing shared with other files: writing there needs no space. The size stays.
    Unshare,
}

impl AllocateMode {
    /// The mode that fallocate(2) means by these flags; `None` for those that nobody can do on this file system, such as
    /// collapsing or inserting a range.
    pub fn from_flags(flags: u32) -> Option<AllocateMode> {
        const KEEP_SIZE: u32 = 0x01;
        const PUNCH_HOLE: u32 = 0x02;
        const ZERO_RANGE: u32 = 0x10;
        const UNSHARE_RANGE: u32 = 0x40;
        const PUNCH: u32 = PUNCH_HOLE | KEEP_SIZE;
        const ZERO_KEEP: u32 = ZERO_RANGE | KEEP_SIZE;
        const UNSHARE_KEEP: u32 = UNSHARE_RANGE | KEEP_SIZE;
        match flags {
            0 => Some(AllocateMode::Extend),
            KEEP_SIZE => Some(AllocateMode::KeepSize),
            PUNCH => Some(AllocateMode::PunchHole),
            ZERO_RANGE => Some(AllocateMode::ZeroRange),
            ZERO_KEEP => Some(AllocateMode::ZeroRangeKeepSize),
            UNSHARE_RANGE | UNSHARE_KEEP => Some(AllocateMode::Unshare),
            _ => None,
        }
    }

    fn extends(self) -> bool {
        matches!(self, AllocateMode::Extend | AllocateMode::ZeroRange)
    }

    fn zeroes(self) -> bool {
        matches!(
            self,
            AllocateMode::PunchHole | AllocateMode::ZeroRange | AllocateMode::ZeroRangeKeepSize
        )
    }
}

/// Changes the allocation of a range.
///
/// # Errors
/// As [`FileSystem::allocate`](crate::FileSystem::allocate).
pub(crate) fn allocate(core: &Core, file: FileId, range: Range<u64>, mode: AllocateMode) -> Result<()> {
    core.require_writable()?;
    let features = core.geometry().features;
    if range.is_empty() {
        return Err(Error::InvalidArgument {
            why: "the range is empty",
        });
    }
    if mode == AllocateMode::PunchHole {
        if !features.sparse() {
            return Err(Error::NoFeature { feature: "sparse" });
        }
    } else if !features.unwritten() {
        return Err(Error::NoFeature { feature: "unwritten" });
    }
    let limit = max_size(core.geometry());
    if range.end > limit && mode != AllocateMode::PunchHole {
        return Err(Error::TooLarge { what: "the file" });
    }
    let mut locks = LockSet::new(core);
    let inode = file.lock(&mut locks, Level::Exclusive)?;
    require_changeable(&inode)?;
    let size = if mode.extends() {
        inode.size().max(range.end)
    } else {
        inode.size()
    };
    if inline::is_inline(&inode) {
        let is_inside = range.end <= inline::capacity(&inode, core.geometry());
        if is_inside || mode == AllocateMode::PunchHole {
            let zeroes = if mode.zeroes() { range } else { 0..0 };
            return inline::zero(&mut locks, &inode, zeroes.start, zeroes.end, size);
        }
        inline::convert(&mut locks, file.inode)?;
    }
    let allocated = allocate_extents(&mut locks, &inode, range.start..range.end.min(limit), size, mode);
    if allocated.is_err() {
        inline::restore(&mut locks, &inode);
    }
    allocated
}

/// The same in a file whose contents are not inline, or not any longer. `inode` is as it was before, `size` what the file
/// gets.
fn allocate_extents(
    locks: &mut LockSet<'_>,
    inode: &Inode,
    range: Range<u64>,
    size: u64,
    mode: AllocateMode,
) -> Result<()> {
    let core = locks.core();
    let number = inode.number();
    let (start, end) = (range.start, range.end);
    match mode {
        AllocateMode::PunchHole => return punch(locks, number, start, end),
        AllocateMode::ZeroRange | AllocateMode::ZeroRangeKeepSize => unwrite(locks, number, start, end)?,
        AllocateMode::Extend | AllocateMode::KeepSize | AllocateMode::Unshare => {}
    }
    if size > inode.size() {
        zero_written(locks, number, inode.size(), size)?;
    }
    let (from, to) = clusters_of(core.geometry(), start, end);
    fill_holes(locks, inode, from, to, size)?;
    if mode == AllocateMode::Unshare {
        unshare(locks, number, from, to)?;
    }
    Ok(())
}

/// Clusters that lie in a range as a whole, and whether there are any.
fn whole_clusters(core: &Core, start: u64, end: u64) -> Range<u64> {
    let cluster = core.geometry().cluster_size();
    start.div_ceil(cluster)..end / cluster
}

/// Makes the clusters at both ends of a range, which it covers in part, zeros where it covers them.
fn zero_ends(locks: &mut LockSet<'_>, number: InodeNo, start: u64, end: u64) -> Result<()> {
    let core = locks.core();
    let bits = core.geometry().cluster_size_bits;
    let whole = whole_clusters(core, start, end);
    if whole.start > whole.end {
        return zero_written(locks, number, start, end);
    }
    zero_written(locks, number, start, whole.start << bits)?;
    zero_written(locks, number, whole.end << bits, end)
}

fn punch(locks: &mut LockSet<'_>, number: InodeNo, start: u64, end: u64) -> Result<()> {
    zero_ends(locks, number, start, end)?;
    let whole = whole_clusters(locks.core(), start, end);
    let clusters = whole.end.saturating_sub(whole.start);
    let privileges = locks.privileges;
    // Both are bounded by the largest size of a file.
    release(
        locks,
        number,
        whole.start as u32,
        clusters as u32,
        &mut |dinode, now| {
            times::modified(dinode, now, privileges);
        },
    )
}

/// Makes everything in a range that is allocated read as zeros: whole clusters by marking them as not written.
fn unwrite(locks: &mut LockSet<'_>, number: InodeNo, start: u64, end: u64) -> Result<()> {
    zero_ends(locks, number, start, end)?;
    let core = locks.core();
    let geometry = *core.geometry();
    let whole = whole_clusters(core, start, end);
    let mut cpos = whole.start;
    while cpos < whole.end {
        let inode = core.read_inode(number)?;
        let run = Map::new(core, &inode)?.run_at(cpos)?.cut(cpos, whole.end, &geometry);
        if run.is_shared() {
            // Others need what is there; this file gets something new instead.
            let clusters = (run.end - run.cpos) as u32;
            release(locks, number, run.cpos as u32, clusters, &mut |_, _| {})?;
        } else if run.is_written() {
            mark_unwritten(locks, &inode, run)?;
        }
        cpos = run.end;
    }
    Ok(())
}

fn mark_unwritten(locks: &mut LockSet<'_>, inode: &Inode, run: Run) -> Result<()> {
    let Some(extent) = run.extent() else {
        return Ok(());
    };
    let number = inode.number();
    let root = Root::Data(number);
    let ready = tree::ready(locks, root, extent.cpos, extent.clusters, Intent::Change)?;
    let reserved = locks.reserve(Need {
        blocks: ready.cost.blocks,
        ..Need::default()
    })?;
    let mut txn = locks.begin(ready.cost.credits + reserved)?;
    ready.begin(&mut txn);
    let unwritten = Extent {
        flags: extent.flags | ExtentFlags::UNWRITTEN,
        ..extent
    };
    tree::replace(&mut txn, root, &[unwritten])?;
    txn.commit()?;
    ready.end(locks)
}

fn unshare(locks: &mut LockSet<'_>, number: InodeNo, from: u64, to: u64) -> Result<()> {
    let core = locks.core();
    let step = STEP.div_ceil(core.geometry().cluster_size());
    let mut cpos = from;
    while cpos < to {
        let inode = core.read_inode(number)?;
        let run = Map::new(core, &inode)?
            .run_at(cpos)?
            .cut(cpos, to.min(cpos + step), core.geometry());
        if run.is_shared() {
            refcount::make_writable(locks, number, cpos as u32, (run.end - run.cpos) as u32)?;
        }
        cpos = run.end;
    }
    Ok(())
}

/// Allocates what is not allocated of a range of clusters, as unwritten extents, and makes the file as long as `size`. If
/// not all of it can be had, none is, and the size stays.
fn fill_holes(locks: &mut LockSet<'_>, inode: &Inode, from: u64, to: u64, size: u64) -> Result<()> {
    let number = inode.number();
    let mut added = Vec::new();
    let filled = try_fill_holes(locks, number, (from, to), size, &mut added);
    if filled.is_err() {
        for (cpos, clusters) in added.into_iter().rev() {
            // The first failure is the one to be told.
            let _ = release(locks, number, cpos, clusters, &mut |dinode, _| {
                dinode.i_size.set(inode.size());
            });
        }
    }
    filled
}

fn try_fill_holes(
    locks: &mut LockSet<'_>,
    number: InodeNo,
    (from, to): (u64, u64),
    size: u64,
    added: &mut Vec<(u32, u32)>,
) -> Result<()> {
    let core = locks.core();
    let geometry = *core.geometry();
    let mut cpos = from;
    while cpos < to {
        let inode = core.read_inode(number)?;
        let run = Map::new(core, &inode)?.run_at(cpos)?.cut(cpos, to, &geometry);
        if run.place != Place::Hole {
            cpos = run.end;
            continue;
        }
        let wanted = (run.end - run.cpos).min(MAX_RECORD.into()) as u32;
        let got = add_unwritten(locks, &inode, cpos as u32, wanted, size)?;
        added.push((cpos as u32, got));
        cpos += u64::from(got);
    }
    if added.is_empty() || core.read_inode(number)?.size() != size {
        truncate::set_size(locks, number, size)?;
    }
    Ok(())
}

/// Records that one transaction of a preallocation inserts at most.
const PIECES: u32 = 16;

/// Puts unwritten clusters into a hole, and lets the file grow over them up to `size`: after a crash, no clusters are
/// behind the end that nobody wanted there. Returns how many clusters, which may be fewer than wanted where free space is
/// in pieces.
fn add_unwritten(locks: &mut LockSet<'_>, inode: &Inode, cpos: u32, wanted: u32, size: u64) -> Result<u32> {
    let core = locks.core();
    let number = inode.number();
    let root = Root::Data(number);
    let mut cost = tree::cost_from(core, root, cpos, PIECES)?;
    let mut pieces = PIECES;
    let mut ready = None;
    if cost.credits > core.journal()?.max_credits() / 4 {
        pieces = 1;
        cost = ready
            .insert(tree::ready(locks, root, cpos, wanted, Intent::Insert)?)
            .cost;
    }
    let mut goal = map::goal(core, inode, cpos.into())?;
    let mut credits = cost.credits + 1 + locks.quota(inode.uid(), inode.gid())?;
    credits += locks.reserve(Need {
        clusters: wanted,
        blocks: cost.blocks,
        ..Need::default()
    })?;
    let mut txn = locks.begin(credits)?;
    if let Some(ready) = ready {
        ready.begin(&mut txn);
    }
    let mut got = 0;
    for _ in 0..pieces {
        if got == wanted {
            break;
        }
        let max = wanted - got;
        let extent = place::allocate(&mut txn, number, &mut goal, cpos + got, max, ExtentFlags::UNWRITTEN)?;
        got += extent.clusters;
    }
    let bytes = core.geometry().clusters_to_bytes(got) as i64;
    txn.charge(inode.uid(), inode.gid(), Charge { bytes, inodes: 0 })?;
    let (now, privileges) = (txn.now(), txn.privileges());
    let reached = size.min(core.geometry().clusters_to_bytes(cpos + got));
    let dinode = txn.dinode(number)?;
    if dinode.i_size.get() < reached {
        dinode.i_size.set(reached);
    }
    times::modified(dinode, now, privileges);
    txn.commit()?;
    if let Some(ready) = ready {
        ready.end(locks)?;
    }
    Ok(got)
}
