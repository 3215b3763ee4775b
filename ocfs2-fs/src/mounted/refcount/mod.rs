//! Sharing clusters between files: refcount trees, copy on write, reflink.
//!
//! Locks: an inode's refcount tree is locked after the inode and before any allocator ([`lock`]). Whoever changes the
//! mapping or the contents of clusters that are flagged `REFCOUNTED` holds it exclusively.
//!
//! Source: on-disk reference, sections 22.5 and 24; cluster reference, section 6.4.

mod counts;
mod cow;
mod records;

use ocfs2_format::{ClusterNo, Corrupt, DynFeatures, ExtentFlags, InodeNo, Structure, Violation};

use super::tree::{Cost, Root};
use super::{Level, LockSet, Txn};
use crate::error::{Error, Result};
use crate::extent_tree::Extent;
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
        for run in counts.change(txn, start, piece.clusters, &|count| count.checked_sub(1))? {
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
    cow::make_writable(locks, inode, Root::Data(inode), cpos, clusters)
}

/// As [`make_writable`], for all of the value of an attribute.
///
/// # Errors
/// As [`make_writable`].
pub(crate) fn make_value_writable(locks: &mut LockSet<'_>, inode: InodeNo, value: Root) -> Result<()> {
    cow::make_writable(locks, inode, value, 0, u32::MAX)
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
pub(crate) fn reflink(_locks: &mut LockSet<'_>, _source: InodeNo, _target: InodeNo, _preserve: bool) -> Result<()> {
    Err(Error::NoFeature { feature: "refcount" })
}

/// Makes `target` share `clusters` whole logical clusters of `source`, in place of what it has there. Both inodes are
/// locked exclusively. Returns how many clusters were shared from the start: fewer than wanted, or none, where the two
/// are attached to different trees; the caller copies the rest. Does not change sizes or times.
///
/// # Errors
/// As [`reflink`].
pub(crate) fn share_range(
    _locks: &mut LockSet<'_>,
    _source: (InodeNo, u32),
    _target: (InodeNo, u32),
    _clusters: u32,
) -> Result<u32> {
    Err(Error::NoFeature { feature: "refcount" })
}
