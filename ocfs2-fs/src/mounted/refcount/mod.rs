//! Sharing clusters between files: refcount trees, copy on write, reflink.
//!
//! Locks: an inode's refcount tree is locked after the inode and before any allocator ([`lock`]). Whoever changes the
//! mapping or the contents of clusters that are flagged `REFCOUNTED` holds it exclusively.
//!
//! Source: on-disk reference, sections 22.5 and 24; cluster reference, section 6.4.

use ocfs2_format::InodeNo;

use super::tree::{Cost, Root};
use super::{Level, LockSet, Txn};
use crate::error::{Error, Result};
use crate::extent_tree::Extent;
use crate::inode::Inode;
use crate::meta::Blocks;

/// Takes the lock of the tree that the inode is attached to, if it is to one. The inode's metadata lock is held, no
/// allocator is locked yet.
///
/// # Errors
/// [`Error::Lock`], [`Error::Corrupt`].
pub(crate) fn lock(_locks: &mut LockSet<'_>, _inode: &Inode, _level: Level) -> Result<()> {
    Err(Error::NoFeature { feature: "refcount" })
}

/// What [`release`] of so many pieces may take, on top of a truncate-log record for each.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn release_cost(_meta: &dyn Blocks, _inode: &Inode, _pieces: u32) -> Result<Cost> {
    Err(Error::NoFeature { feature: "refcount" })
}

/// Gives up what [`tree::remove`](super::tree::remove) returned, or [`tree::replace`](super::tree::replace): what other
/// files share loses one reference, everything else is freed. Works for extents with and without `REFCOUNTED`; with it,
/// the tree must be [locked](lock) exclusively.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(crate) fn release(_txn: &mut Txn<'_>, _inode: InodeNo, _pieces: &[Extent]) -> Result<()> {
    Err(Error::NoFeature { feature: "refcount" })
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
pub(crate) fn make_writable(_locks: &mut LockSet<'_>, _inode: InodeNo, _cpos: u32, _clusters: u32) -> Result<()> {
    Err(Error::NoFeature { feature: "refcount" })
}

/// As [`make_writable`], for all of the value of an attribute.
///
/// # Errors
/// As [`make_writable`].
pub(crate) fn make_value_writable(_locks: &mut LockSet<'_>, _inode: InodeNo, _value: Root) -> Result<()> {
    Err(Error::NoFeature { feature: "refcount" })
}

/// What [`detach`] may take.
pub(crate) const DETACH_CREDITS: u32 = 4;

/// Detaches an inode from its refcount tree: it has no shared cluster left, neither data nor attribute values. The tree
/// goes when the last inode does. Does nothing for an inode without one.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(crate) fn detach(_txn: &mut Txn<'_>, _inode: InodeNo) -> Result<()> {
    Err(Error::NoFeature { feature: "refcount" })
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
