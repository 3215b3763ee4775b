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
    core.begin_change()?;
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
    if mode == AllocateMode::PunchHole {
        return punch(locks, number, start, end);
    }
    // What needs space comes before what cannot be undone.
    if mode.zeroes() {
        own_ends(locks, number, start, end)?;
    }
    if size > inode.size() {
        zero_written(locks, number, inode.size(), size)?;
    }
    let (from, to) = clusters_of(core.geometry(), start, end);
    let mut added = Vec::new();
    let done = fill_holes(locks, number, (from, to), size, &mut added).and_then(|()| match mode {
        AllocateMode::Unshare => unshare(locks, number, from, to),
        _ if mode.zeroes() => unwrite(locks, number, start, end),
        _ => Ok(()),
    });
    if done.is_err() {
        for (cpos, clusters) in added.into_iter().rev() {
            // The first failure is the one to be told.
            let _ = release(locks, number, cpos, clusters, &mut |dinode, _| {
                dinode.i_size.set(inode.size());
            });
        }
        return done;
    }
    if added.is_empty() || core.read_inode(number)?.size() != size {
        truncate::set_size(locks, number, size)?;
    }
    Ok(())
}

/// Clusters that lie in a range as a whole, and whether there are any.
fn whole_clusters(core: &Core, start: u64, end: u64) -> Range<u64> {
    let cluster = core.geometry().cluster_size();
    start.div_ceil(cluster)..end / cluster
}

/// The parts of the clusters at both ends of a range that it does not cover as a whole; or all of a range within one.
fn ends(core: &Core, start: u64, end: u64) -> [Range<u64>; 2] {
    let bits = core.geometry().cluster_size_bits;
    let whole = whole_clusters(core, start, end);
    if whole.start > whole.end {
        return [start..end, end..end];
    }
    [start..whole.start << bits, whole.end << bits..end]
}

/// Copies what is shared at the ends of a range, so that they can be zeroed in place.
fn own_ends(locks: &mut LockSet<'_>, number: InodeNo, start: u64, end: u64) -> Result<()> {
    for part in ends(locks.core(), start, end) {
        let (from, to) = clusters_of(locks.core().geometry(), part.start, part.end);
        if from < to && !part.is_empty() {
            unshare(locks, number, from, to)?;
        }
    }
    Ok(())
}

fn zero_ends(locks: &mut LockSet<'_>, number: InodeNo, start: u64, end: u64) -> Result<()> {
    ends(locks.core(), start, end)
        .into_iter()
        .try_for_each(|part| zero_written(locks, number, part.start, part.end))
}

fn punch(locks: &mut LockSet<'_>, number: InodeNo, start: u64, end: u64) -> Result<()> {
    own_ends(locks, number, start, end)?;
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
    )?;
    zero_ends(locks, number, start, end)
}

/// Makes everything in a range, which is allocated, read as zeros: whole clusters by marking them as not written.
fn unwrite(locks: &mut LockSet<'_>, number: InodeNo, start: u64, end: u64) -> Result<()> {
    let core = locks.core();
    let geometry = *core.geometry();
    let whole = whole_clusters(core, start, end);
    let clusters = whole.end.saturating_sub(whole.start);
    // Others need what is there; this file gets something new instead. Where space may end on the way, it gets copies, so
    // that nothing has changed then. Both numbers are bounded by the largest size of a file.
    if locks.has_room(clusters + geometry.clusters_for_bytes(STEP))? {
        refcount::renew(locks, number, whole.start as u32, clusters as u32)?;
    } else {
        refcount::make_writable(locks, number, whole.start as u32, clusters as u32)?;
    }
    let mut cpos = whole.start;
    while cpos < whole.end {
        let inode = core.read_inode(number)?;
        let run = Map::new(core, &inode)?.run_at(cpos)?.cut(cpos, whole.end, &geometry);
        cpos = run.end;
        if !run.is_written() {
            continue;
        }
        match mark_unwritten(locks, &inode, run) {
            Err(Error::NoSpace) => {
                // No block for one more record: zeros do as well.
                let bits = geometry.cluster_size_bits;
                zero_written(locks, number, run.cpos << bits, run.end << bits)?;
            }
            marked => marked?,
        }
    }
    zero_ends(locks, number, start, end)
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

/// Allocates what is not allocated of a range of clusters, as unwritten extents, over which the file grows up to `size`.
/// Whatever becomes of it, `added` is what was allocated.
fn fill_holes(
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
