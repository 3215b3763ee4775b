//! Sharing clusters between files: refcount trees, copy on write, reflink.
//!
//! Locks: an inode's refcount tree is locked after the inode and before any allocator ([`lock`]). Whoever changes the
//! mapping or the contents of clusters that are flagged `REFCOUNTED` holds it exclusively.
//!
//! Source: on-disk reference, sections 22.5 and 24; cluster reference, section 6.4.

mod counts;
mod cow;
mod ops;
mod records;
mod share;

use ocfs2_format::{
    BlockNo, ClusterNo, Corrupt, DynFeatures, ExtentFlags, FileKind, InodeAttr, InodeFlags, InodeNo, Structure,
    Violation,
};

use super::tree::{self, Cost, Root};
use super::{Core, Level, LockSet, Txn, attrs};
use crate::error::{Error, Result};
use crate::extent_tree::{Extent, Lookup};
use crate::inode::Inode;
use crate::meta::Blocks;
use counts::Counts;

/// Takes the lock of the tree that the inode is attached to, if it is to one. The inode's metadata lock is held, no
/// allocator is locked yet.
///
/// # Errors
/// [`Error::Lock`], [`Error::Corrupt`].
pub(crate) fn lock(locks: &mut LockSet<'_>, inode: &Inode, level: Level) -> Result<()> {
    let Some(counts) = counts_of(inode) else {
        return Ok(());
    };
    let generation = counts.generation(locks.core())?;
    locks.refcount_tree(counts.root, generation, level)
}

/// The tree that an inode is attached to.
fn counts_of(inode: &Inode) -> Option<Counts> {
    inode.refcount_root().map(|root| Counts {
        root,
        inode: inode.number(),
    })
}

/// As [`tree::last_part`], for files that may share clusters: `records` bounds the calls of
/// [`Txn::free_clusters`] and the changes of reference counts too.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn last_part(
    meta: &dyn Blocks,
    inode: &Inode,
    cpos: u32,
    clusters: u32,
    records: u32,
) -> Result<Option<(u32, u32)>> {
    let root = Root::Data(inode.number());
    let Some((start, part)) = tree::last_part(meta, root, cpos, clusters, records)? else {
        return Ok(None);
    };
    let end = u64::from(start) + u64::from(part);
    if counts_of(inode).is_none() {
        return Ok(Some((start, part)));
    }
    let starts = runs(meta, inode, start.into(), end, usize::MAX)?;
    let first = starts.len().saturating_sub(records.max(1) as usize);
    let start = starts.get(first).map_or(start, |&start| start as u32);
    Ok(Some((start, (end - u64::from(start)) as u32)))
}

/// As [`last_part`], from left to right: where the first part of a range ends, and how many records it has.
///
/// # Errors
/// [`Error::Corrupt`].
fn first_part(meta: &dyn Blocks, inode: &Inode, from: u64, to: u64, records: u32) -> Result<(u64, u32)> {
    let records = records.max(1);
    let starts = runs(meta, inode, from, to, records as usize + 1)?;
    Ok(match starts.get(records as usize) {
        Some(&next) => (next, records),
        None => (to, starts.len() as u32),
    })
}

/// Where the first `max` runs of clusters begin that one record maps and that are referenced equally often.
fn runs(meta: &dyn Blocks, inode: &Inode, from: u64, to: u64, max: usize) -> Result<Vec<u64>> {
    let root = Root::Data(inode.number());
    let mut starts = Vec::new();
    let mut at = from;
    while at < to && starts.len() < max {
        let extent = match tree::lookup(meta, root, at as u32)? {
            Lookup::Gap { next } => {
                at = next;
                continue;
            }
            Lookup::Extent(extent) => extent,
        };
        starts.push(at);
        let stop = extent.end().min(to);
        let counts = counts_of(inode).filter(|_| extent.flags.contains(ExtentFlags::REFCOUNTED));
        let Some(counts) = counts else {
            at = stop;
            continue;
        };
        let skipped = (at - u64::from(extent.cpos)) as u32;
        let geometry = meta.geometry();
        let block = BlockNo(extent.blkno.0 + geometry.clusters_to_blocks(skipped));
        let cluster = geometry
            .block_to_cluster(block)
            .ok_or_else(|| root.broken("an extent lies outside the volume"))?;
        let (_, alike) = counts.count(meta, cluster.0)?;
        at = stop.min(at + u64::from(alike.max(1)));
    }
    Ok(starts)
}

/// What [`release`] of so many pieces may take, on top of a truncate-log record for each.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn release_cost(meta: &dyn Blocks, inode: &Inode, pieces: u32) -> Result<Cost> {
    counts_of(inode).map_or(Ok(Cost::default()), |counts| counts.cost(meta, pieces))
}

/// Gives up what [`tree::remove`](super::tree::remove) returned, or [`tree::replace`](super::tree::replace): what other
/// files share loses one reference, everything else is freed. Works for extents with and without `REFCOUNTED`; with it,
/// the tree must be [locked](lock) exclusively.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(crate) fn release(txn: &mut Txn<'_>, inode: InodeNo, pieces: &[Extent]) -> Result<()> {
    let geometry = *txn.geometry();
    for piece in pieces {
        let outside = || broken(inode, "an extent lies outside the volume");
        let start = geometry.block_to_cluster(piece.blkno).ok_or_else(outside)?;
        if !piece.flags.contains(ExtentFlags::REFCOUNTED) {
            txn.free_clusters(start, piece.clusters)?;
            continue;
        }
        let counts = counts_of(&Inode::read(txn, inode)?);
        let counts = counts.ok_or_else(|| broken(inode, "an inode without a refcount tree shares clusters"))?;
        let mut freed = counts.change(txn, start, piece.clusters, &|count| count.checked_sub(1))?;
        // Counted apart so far, and one run all the same.
        freed.dedup_by(|right, left| {
            let is_one = left.end() == right.start;
            if is_one {
                left.clusters += right.clusters;
            }
            is_one
        });
        for run in freed {
            // The tree has 32 bits for a cluster, or the change would have failed.
            txn.free_clusters(ClusterNo(run.start as u32), run.clusters)?;
        }
    }
    Ok(())
}

fn broken(inode: InodeNo, rule: &'static str) -> Error {
    Corrupt::new(Structure::Dinode, Violation::Rule(rule))
        .at_block(inode.block())
        .in_inode(inode)
        .into()
}

/// Makes sure that nothing in `clusters` logical clusters of a file from `cpos` is shared, before its contents or its
/// mapping changes: afterwards no extent there is `REFCOUNTED`. Holes and extents that are not shared stay as they are.
/// Contents stay the same.
///
/// Runs transactions of its own, each of which leaves the volume consistent. Takes the tree's lock and those of the
/// allocators; the caller holds the inode's exclusively and has no transaction open. An inode that was read before has to
/// be read again.
///
/// # Errors
/// [`Error::NoSpace`], [`Error::Corrupt`], the journal's.
pub(crate) fn make_writable(locks: &mut LockSet<'_>, inode: InodeNo, cpos: u32, clusters: u32) -> Result<()> {
    cow::make_writable(locks, inode, Root::Data(inode), (cpos, clusters), cow::Contents::Kept)
}

/// As [`make_writable`], but what was shared is not copied: it is allocated, unwritten, and reads as zeros afterwards.
///
/// # Errors
/// As [`make_writable`].
pub(crate) fn renew(locks: &mut LockSet<'_>, inode: InodeNo, cpos: u32, clusters: u32) -> Result<()> {
    cow::make_writable(
        locks,
        inode,
        Root::Data(inode),
        (cpos, clusters),
        cow::Contents::Dropped,
    )
}

/// What [`detach`] may take.
pub(crate) const DETACH_CREDITS: u32 = 4;

/// Detaches an inode from its refcount tree: it has no shared cluster left, neither data nor attribute values. The tree
/// goes when the last inode does. Does nothing for an inode without one.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(crate) fn detach(txn: &mut Txn<'_>, inode: InodeNo) -> Result<()> {
    let Some(counts) = counts_of(&Inode::read(txn, inode)?) else {
        return Ok(());
    };
    counts.detach(txn)?;
    let dinode = txn.dinode(inode)?;
    let dynamic = dinode.dyn_features().difference(DynFeatures::HAS_REFCOUNT);
    dinode.i_dyn_features.set(dynamic.bits());
    dinode.i_refcount_loc.set(0);
    Ok(())
}

/// Makes `target` share everything that `source` has: a new regular file, empty, without attributes, whose inode the
/// caller holds exclusively locked like that of `source`, and which nobody can open yet. With `preserve`, owner, mode,
/// times and all attributes become those of `source`; without, the caller has given the target its own and only the data
/// and the attributes that are not security labels or ACLs are shared.
///
/// Runs transactions of its own. If it fails, the caller removes the target as any other file.
///
/// # Errors
/// [`Error::NoFeature`] without the refcount feature, [`Error::NotPermitted`] for what is no regular file or may not be
/// changed, [`Error::NoSpace`], [`Error::Corrupt`], the journal's.
pub(crate) fn reflink(locks: &mut LockSet<'_>, source: InodeNo, target: InodeNo, preserve: bool) -> Result<()> {
    let core = locks.core();
    require_feature(core)?;
    let from = core.read_inode(source)?;
    if from.kind() != FileKind::Regular || from.flags().contains(InodeFlags::SYSTEM) {
        let wanted = "regular file";
        return Err(Error::WrongKind { inode: source, wanted });
    }
    if from.attr().intersects(InodeAttr::IMMUTABLE | InodeAttr::APPEND) {
        let why = "it may not be changed, as it would be by sharing its clusters";
        return Err(Error::NotPermitted { inode: source, why });
    }
    let Some(counts) = share::attach(locks, source, target)? else {
        let why = "the target shares clusters with other files already";
        return Err(Error::InvalidArgument { why });
    };
    if from.dyn_features().contains(DynFeatures::INLINE_DATA) {
        share::copy_inline(locks, &from, target)?;
    } else {
        let share = share::Share {
            core,
            counts,
            source,
            target,
            shift: 0,
            len: 0,
        };
        let mut at = 0;
        while at < 1 << 32 {
            at = share.step(locks, at, 1 << 32)?;
        }
    }
    if from.dyn_features().contains(DynFeatures::HAS_XATTR) {
        attrs::copy_all(locks, source, target, preserve)?;
        share::values(locks, counts, source, target)?;
    }
    let mut txn = locks.begin(1)?;
    let now = txn.now();
    let dinode = txn.dinode(target)?;
    dinode.i_size.set(from.size());
    dinode.i_attr.set(from.dinode().i_attr.get());
    dinode.i_ctime.set(now.secs as u64);
    dinode.i_ctime_nsec.set(now.nanos);
    if preserve {
        dinode.i_mode = from.dinode().i_mode;
        dinode.i_uid = from.dinode().i_uid;
        dinode.i_gid = from.dinode().i_gid;
        dinode.i_mtime = from.dinode().i_mtime;
        dinode.i_mtime_nsec = from.dinode().i_mtime_nsec;
    }
    txn.commit()?;
    Ok(())
}

fn require_feature(core: &Core) -> Result<()> {
    if core.geometry().features.refcount() {
        return Ok(());
    }
    Err(Error::NoFeature { feature: "refcount" })
}

/// Makes `target` share `clusters` whole logical clusters of `source`, in place of what it has there. Both inodes are
/// locked exclusively, and differ. Returns how many clusters, from the left, have what the source has: all; fewer when
/// something went wrong on the way; none where the two files are attached to different trees or one has its contents
/// inline, and then the caller copies. The target becomes `len` bytes long, as far as it got, and never shorter.
///
/// # Errors
/// As [`reflink`]; then the contents of the target are what they were.
pub(crate) fn share_range(
    locks: &mut LockSet<'_>,
    (source, from): (InodeNo, u32),
    (target, to): (InodeNo, u32),
    clusters: u32,
    len: u64,
) -> Result<u32> {
    let core = locks.core();
    require_feature(core)?;
    for inode in [source, target] {
        if core
            .read_inode(inode)?
            .dyn_features()
            .contains(DynFeatures::INLINE_DATA)
        {
            return Ok(0);
        }
    }
    if source == target {
        return Ok(0);
    }
    let Some(counts) = share::attach(locks, source, target)? else {
        return Ok(0);
    };
    let share = share::Share {
        core,
        counts,
        source,
        target,
        shift: i64::from(to) - i64::from(from),
        len,
    };
    let (start, end) = (u64::from(from), u64::from(from) + u64::from(clusters));
    let mut at = start;
    while at < end {
        match share.step(locks, at, end) {
            Ok(next) => at = next,
            Err(error) if at == start => return Err(error),
            // The next call will tell.
            Err(_) => break,
        }
    }
    // No more than `clusters`.
    Ok((at - start) as u32)
}
