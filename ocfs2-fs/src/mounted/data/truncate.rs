//! Sizes: zeros on the way up, and on the way down clusters given back from right to left, each step consistent.
//!
//! Source: on-disk reference, sections 10.7, 19.3, 19.4 and 37.

use ocfs2_format::{Contents, Dinode, DynFeatures, ExtentFlags, FileKind, InodeNo};
use ocfs2_journal::JournalError;

use super::map::{Map, clusters_of};
use super::place::{self, MAX_RECORD, STEP};
use super::{FileId, device, inline, map, max_size, require_changeable, times};
use crate::error::{Error, Result};
use crate::extent_tree::Extent;
use crate::inode::{Inode, Timestamp};
use crate::meta::Blocks;
use crate::mounted::tree::{self, Intent, Root};
use crate::mounted::{Charge, Core, Level, LockSet, Need, Txn, attrs, refcount};

/// Records that one step of a removal takes out, where the truncate log has room for as many.
const RECORDS: u32 = 256;

/// Clusters that one step of the removal of a directory takes out: each of their blocks has to be forgotten.
const FORGOTTEN_CLUSTERS: u32 = 1024;

/// Records that one step of growing a dense file inserts at most.
const PIECES: u32 = 8;

/// Makes a file as long as this.
///
/// # Errors
/// As [`FileSystem::set_len`](crate::FileSystem::set_len).
pub(crate) fn set_len(core: &Core, file: FileId, len: u64) -> Result<()> {
    core.begin_change()?;
    let mut locks = LockSet::new(core);
    let inode = file.lock(&mut locks, Level::Exclusive)?;
    require_changeable(&inode)?;
    if len > max_size(core.geometry()) {
        return Err(Error::TooLarge { what: "the file" });
    }
    attrs::drop_capability(&mut locks, &inode)?;
    truncate(&mut locks, file.inode, len)
}

/// Makes the contents of an inode as long as this. The caller holds its locks exclusively and may hold others that come
/// before those of allocators; the set is left as it was but for the allocators. Runs transactions of its own.
///
/// Also for the contents of directories and symbolic links that are being deleted, with a `len` of 0.
///
/// A file whose records fit into one transaction has its old size and contents or its new ones after a crash. Of a longer
/// one, the size is the first to change.
///
/// # Errors
/// [`Error::NoSpace`] on the way up and where a shared cluster has to be copied, [`Error::Corrupt`], the journal's.
pub(crate) fn truncate(locks: &mut LockSet<'_>, number: InodeNo, len: u64) -> Result<()> {
    let inode = locks.core().read_inode(number)?;
    let size = inode.size();
    match inode.contents() {
        Contents::Inline(data) if inode.kind() == FileKind::Regular => {
            if len <= data.len() as u64 {
                return inline::zero(locks, &inode, len, size, len);
            }
            inline::convert(locks, number)?;
        }
        Contents::Extents(_) => {}
        // In the dinode, and gone with it.
        _ => return Ok(()),
    }
    if len > size {
        let grown = prepare_gap(locks, number, len).and_then(|()| set_size(locks, number, len));
        if grown.is_err() {
            inline::restore(locks, &inode);
        }
        return grown;
    }
    shrink(locks, &inode, len)
}

/// Makes sure that everything from the size of a file to `end` reads as zeros once the size is beyond it. On volumes whose
/// files have no holes that allocates it, and the size grows on the way.
///
/// # Errors
/// As [`truncate`]; then the file is as it was.
pub(crate) fn prepare_gap(locks: &mut LockSet<'_>, number: InodeNo, end: u64) -> Result<()> {
    let core = locks.core();
    let inode = core.read_inode(number)?;
    let size = inode.size();
    zero_written(locks, number, size, end)?;
    if core.geometry().features.sparse() {
        return Ok(());
    }
    let clusters = inode.clusters();
    let grown = grow_dense(locks, number, end);
    if grown.is_err() {
        // What was added is given back; the first failure is the one to be told.
        let _ = release(locks, number, clusters, u32::MAX - clusters, &mut |dinode, _| {
            dinode.i_size.set(size);
        });
    }
    grown
}

/// Makes the part of a range that is allocated and written zeros: copies what is shared before.
///
/// # Errors
/// As [`truncate`].
pub(super) fn zero_written(locks: &mut LockSet<'_>, number: InodeNo, start: u64, end: u64) -> Result<()> {
    let core = locks.core();
    let geometry = *core.geometry();
    if start >= end {
        return Ok(());
    }
    let (mut cpos, to) = clusters_of(&geometry, start, end);
    while cpos < to {
        let inode = core.read_inode(number)?;
        let run = Map::new(core, &inode)?.run_at(cpos)?.cut(cpos, to, &geometry);
        if run.is_written() {
            if run.is_shared() {
                // The next round finds what became of it.
                let clusters = (run.end - run.cpos).min(STEP.div_ceil(geometry.cluster_size())) as u32;
                refcount::make_writable(locks, number, cpos as u32, clusters)?;
                continue;
            }
            let from = start.max(run.cpos << geometry.cluster_size_bits);
            let until = end.min(run.end << geometry.cluster_size_bits);
            if let Some(at) = run.device_offset(from, &geometry) {
                device::zero(core.device().as_ref(), at..at + (until - from))?;
            }
        }
        cpos = run.end;
    }
    Ok(())
}

/// Allocates zeros up to `end` on a volume whose files have no holes.
fn grow_dense(locks: &mut LockSet<'_>, number: InodeNo, end: u64) -> Result<()> {
    let core = locks.core();
    let geometry = *core.geometry();
    let wanted = geometry.clusters_for_bytes(end);
    loop {
        let inode = core.read_inode(number)?;
        let have = u64::from(inode.clusters());
        if have >= wanted {
            return Ok(());
        }
        let step = (wanted - have).min(STEP.div_ceil(geometry.cluster_size())) as u32;
        let from = inode.clusters();
        let cost = tree::cost_from(core, Root::Data(number), from, PIECES)?;
        let mut credits = cost.credits + 1;
        credits += locks.quota(inode.uid(), inode.gid())?;
        credits += locks.reserve(Need {
            clusters: step,
            blocks: cost.blocks,
            ..Need::default()
        })?;
        let mut goal = map::goal(core, &inode, from.into())?;
        let mut txn = locks.begin(credits)?;
        let mut added = 0;
        for _ in 0..PIECES {
            if added == step {
                break;
            }
            let max = MAX_RECORD.min(step - added);
            let extent = place::allocate(&mut txn, number, &mut goal, from + added, max, ExtentFlags::empty())?;
            let at = extent.blkno.0 << geometry.block_size_bits;
            core.device()
                .write_zeroes(at..at + geometry.clusters_to_bytes(extent.clusters))?;
            added += extent.clusters;
        }
        let bytes = geometry.clusters_to_bytes(added) as i64;
        txn.charge(inode.uid(), inode.gid(), Charge { bytes, inodes: 0 })?;
        // A dense file is as long as it has clusters, whatever happens next.
        let size = end.min(geometry.clusters_to_bytes(from + added));
        let dinode = txn.dinode(number)?;
        if dinode.i_size.get() < size {
            dinode.i_size.set(size);
        }
        txn.commit()?;
    }
}

/// Sets the size and the times of a change.
pub(super) fn set_size(locks: &mut LockSet<'_>, number: InodeNo, len: u64) -> Result<()> {
    let mut txn = locks.begin(1)?;
    let (now, privileges) = (txn.now(), txn.privileges());
    let dinode = txn.dinode(number)?;
    dinode.i_size.set(len);
    times::modified(dinode, now, privileges);
    txn.commit()?;
    Ok(())
}

fn shrink(locks: &mut LockSet<'_>, inode: &Inode, len: u64) -> Result<()> {
    let core = locks.core();
    let geometry = core.geometry();
    let number = inode.number();
    let first = len.div_ceil(geometry.cluster_size());
    let is_file = inode.kind() == FileKind::Regular;
    if is_file && len < inode.size() {
        // The bytes behind the end in its cluster: whoever makes the file longer again may count on zeros.
        zero_written(locks, number, len, first << geometry.cluster_size_bits)?;
    }
    // No size is beyond what 32 bits can count.
    let first = first as u32;
    let privileges = locks.privileges;
    release(locks, number, first, u32::MAX - first, &mut |dinode, now| {
        dinode.i_size.set(len);
        if is_file {
            times::modified(dinode, now, privileges);
        }
    })?;
    if first == 0 {
        detach(locks, number)?;
    }
    Ok(())
}

/// Lets go of the refcount tree of a file without clusters. Attributes may still share some: then it stays.
fn detach(locks: &mut LockSet<'_>, number: InodeNo) -> Result<()> {
    let inode = locks.core().read_inode(number)?;
    let features = inode.dyn_features();
    if !features.contains(DynFeatures::HAS_REFCOUNT)
        || features.contains(DynFeatures::HAS_XATTR)
        || inode.clusters() != 0
    {
        return Ok(());
    }
    refcount::lock(locks, &inode, Level::Exclusive)?;
    let credits = locks.reserve(Need::default())?;
    let mut txn = locks.begin(credits + refcount::DETACH_CREDITS)?;
    refcount::detach(&mut txn, number)?;
    txn.commit()?;
    Ok(())
}

/// Removes what is mapped in `clusters` logical clusters from `first`, from right to left, and frees it. The first
/// transaction, which there is even if nothing is mapped, also changes the dinode.
///
/// # Errors
/// [`Error::NoSpace`] where records have to be split, [`Error::Corrupt`], the journal's.
pub(super) fn release(
    locks: &mut LockSet<'_>,
    number: InodeNo,
    first: u32,
    clusters: u32,
    change: &mut dyn FnMut(&mut Dinode, Timestamp),
) -> Result<()> {
    let core = locks.core();
    let room = u32::from(core.geometry().truncate_log_recs());
    let mut records = RECORDS.min(room / 2).max(1);
    let mut change = Some(change);
    loop {
        let inode = core.read_inode(number)?;
        refcount::lock(locks, &inode, Level::Exclusive)?;
        let part = last_part(core, &inode, first, clusters, records)?;
        let Some((cpos, part)) = part else {
            if let Some(change) = change.take() {
                let mut txn = locks.begin(1)?;
                let now = txn.now();
                change(txn.dinode(number)?, now);
                txn.commit()?;
            }
            return Ok(());
        };
        match release_part(locks, &inode, (cpos, part), records, &mut change) {
            Err(Error::Journal(JournalError::HandleTooLarge { .. })) if records > 1 => records /= 2,
            other => other?,
        }
    }
}

/// What one transaction of a removal can take out.
fn last_part(core: &Core, inode: &Inode, first: u32, clusters: u32, records: u32) -> Result<Option<(u32, u32)>> {
    let root = Root::Data(inode.number());
    let Some((cpos, part)) = refcount::last_part(core, inode, first, clusters, records)? else {
        return Ok(None);
    };
    if inode.kind() == FileKind::Regular {
        return Ok(Some((cpos, part)));
    }
    // Directories go as a whole, so the last extent is what is at the end of the range.
    let end = tree::last(core, root)?.map_or(0, |last| last.end());
    let start = end
        .saturating_sub(FORGOTTEN_CLUSTERS.into())
        .max(cpos.into())
        .min(u64::from(u32::MAX) - 1) as u32;
    Ok(Some((start, part - (start - cpos))))
}

type Change<'a> = Option<&'a mut dyn FnMut(&mut Dinode, Timestamp)>;

fn release_part(
    locks: &mut LockSet<'_>,
    inode: &Inode,
    (cpos, clusters): (u32, u32),
    records: u32,
    change: &mut Change<'_>,
) -> Result<()> {
    let core = locks.core();
    let number = inode.number();
    let root = Root::Data(number);
    let is_shared = inode.dyn_features().contains(DynFeatures::HAS_REFCOUNT);
    let mut ready = None;
    let mut cost = if records == 1 {
        ready
            .insert(tree::ready(locks, root, cpos, clusters, Intent::Change)?)
            .cost
    } else {
        tree::cost_of_removal(core, root, (cpos, clusters), records)?
    };
    if is_shared {
        let more = refcount::release_cost(core, inode, records)?;
        cost.blocks += more.blocks;
        cost.credits += more.credits;
    }
    let mut credits = cost.credits + 1;
    credits += locks.quota(inode.uid(), inode.gid())?;
    credits += locks.reserve(Need {
        blocks: cost.blocks,
        frees: records,
        ..Need::default()
    })?;
    let mut txn = locks.begin(credits)?;
    if let Some(ready) = ready {
        ready.begin(&mut txn);
    }
    let pieces = tree::remove(&mut txn, root, cpos, clusters)?;
    let freed: u64 = pieces.iter().map(|piece| u64::from(piece.clusters)).sum();
    let bytes = -((freed << core.geometry().cluster_size_bits) as i64);
    txn.charge(inode.uid(), inode.gid(), Charge { bytes, inodes: 0 })?;
    if inode.kind() != FileKind::Regular {
        forget(&mut txn, &pieces)?;
    }
    if is_shared {
        refcount::release(&mut txn, number, &pieces)?;
    } else {
        for piece in &pieces {
            free(&mut txn, piece)?;
        }
    }
    if let Some(change) = change.as_mut() {
        let now = txn.now();
        change(txn.dinode(number)?, now);
    }
    txn.commit()?;
    *change = None;
    match ready {
        Some(ready) => ready.end(locks),
        None => Ok(()),
    }
}

/// The blocks of directories and of targets of symbolic links went through the journal.
fn forget(txn: &mut Txn<'_>, pieces: &[Extent]) -> Result<()> {
    let geometry = *txn.geometry();
    for piece in pieces {
        // At most a few times what one record counts with 16 bits.
        let blocks = geometry.clusters_to_blocks(piece.clusters) as u32;
        txn.forget(piece.blkno, blocks)?;
    }
    Ok(())
}

/// Gives an extent back that has been taken out of a tree.
pub(super) fn free(txn: &mut Txn<'_>, piece: &Extent) -> Result<()> {
    match txn.geometry().block_to_cluster(piece.blkno) {
        Some(start) => txn.free_clusters(start, piece.clusters),
        // Extents that were read lie in the volume.
        None => Ok(()),
    }
}
