//! Editing extent trees: of files and directories, of attribute values and buckets, of directory indexes, of refcounts.
//!
//! Every edit leaves the tree as the format wants it: all leaves full but the rightmost, interior records that tile what
//! they cover, the last-leaf pointer and the cluster counter of the root right. An edit reads and changes the leaf that it
//! is about, and all leaves to the right of it when the number of records changes; at the right end of the tree, where
//! files grow and shrink, that is one path.
//!
//! Source: on-disk reference, section 10.

mod cost;
mod edit;
mod path;
mod root;
mod rotate;
#[cfg(test)]
mod tests;

use std::ops::{Add, AddAssign};

use ocfs2_format::{BlockNo, ExtentFlags, Geometry, InodeNo};

use super::{LockSet, Txn};
use crate::error::{Error, Result};
use crate::extent_tree::{Extent, ExtentTree, Lookup, TreeKind};
use crate::meta::Blocks;
use edit::Editor;
use path::Reader;

/// What holds the root of the extents of an attribute's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The attributes in an inode's own block.
    Dinode(BlockNo),
    /// The block of attributes of an inode.
    XattrBlock(BlockNo),
    /// A bucket: its first block.
    Bucket(BlockNo),
}

/// Which tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// The contents of a file or directory.
    Data(InodeNo),
    /// Leaves of a directory index.
    DirIndex {
        /// The index's root block.
        block: BlockNo,
        /// The directory.
        dir: InodeNo,
    },
    /// Buckets of attributes.
    XattrIndex {
        /// The block of attributes that has become a root.
        block: BlockNo,
        /// The inode.
        inode: InodeNo,
    },
    /// Leaves of a refcount tree.
    Refcount {
        /// The tree's root block.
        block: BlockNo,
        /// An inode attached to it.
        inode: InodeNo,
    },
    /// The value of an attribute.
    XattrValue {
        /// Where the value's root is.
        holder: Holder,
        /// Bytes from the start of the holder to the value's root (`ocfs2_xattr_value_root`).
        offset: usize,
        /// The inode.
        inode: InodeNo,
    },
}

/// What changes of a tree may take, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Metadata blocks that may have to be allocated.
    pub(crate) blocks: u32,
    /// Blocks that may be changed: those of the tree, and those of the allocators of extent blocks that are freed. What
    /// allocating takes comes on top.
    pub(crate) credits: u32,
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            blocks: self.blocks.saturating_add(other.blocks),
            credits: self.credits.saturating_add(other.credits),
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        *self = *self + other;
    }
}

/// Puts an extent where nothing is. It is merged with its neighbours where the kind of tree allows; the root's cluster
/// counter includes it.
///
/// # Errors
/// [`Error::Corrupt`] when something is there; [`Error::TooLarge`], [`Error::NoSpace`], the journal's.
pub(crate) fn insert(txn: &mut Txn<'_>, root: Root, extent: Extent) -> Result<()> {
    if extent.clusters == 0 {
        return Ok(());
    }
    if root.kind() == TreeKind::Data && extent.end() > u32::MAX.into() {
        return Err(Error::TooLarge { what: "the file" });
    }
    let mut editor = Editor { txn, root };
    let mut window = editor.gather(extent.cpos, extent.end())?;
    let at = window.extents.partition_point(|old| old.cpos < extent.cpos);
    let overlaps = match root.kind() {
        TreeKind::Data => {
            at > 0 && window.extents[at - 1].end() > extent.cpos.into()
                || window
                    .extents
                    .get(at)
                    .is_some_and(|next| u64::from(next.cpos) < extent.end())
        }
        TreeKind::Hash => window.extents.get(at).is_some_and(|next| next.cpos == extent.cpos),
    };
    if overlaps {
        return Err(root.broken("an extent is to be inserted where there is one"));
    }
    window.extents.splice(at..at, parts(editor.txn, extent));
    if !window.is_cramped {
        merge(editor.txn, root, &mut window.extents, extent.cpos, extent.end());
    }
    editor.scatter(window)
}

/// As [`insert`], for many extents that are next to each other in the tree, sorted: the leaves are read and changed once.
///
/// # Errors
/// As [`insert`].
pub(crate) fn insert_all(txn: &mut Txn<'_>, root: Root, extents: &[Extent]) -> Result<()> {
    let (Some(first), Some(last)) = (extents.first(), extents.last()) else {
        return Ok(());
    };
    if last.end() > u32::MAX.into() {
        return Err(Error::TooLarge { what: "the file" });
    }
    let mut editor = Editor { txn, root };
    let mut window = editor.gather(first.cpos, last.end())?;
    let from = window.extents.partition_point(|old| old.cpos < first.cpos);
    let to = window.extents.partition_point(|old| u64::from(old.cpos) < last.end());
    let overlaps = from != to
        || from > 0 && window.extents[from - 1].end() > first.cpos.into()
        || extents.windows(2).any(|pair| pair[0].end() > pair[1].cpos.into());
    if overlaps || root.kind() != TreeKind::Data {
        return Err(root.broken("an extent is to be inserted where there is one"));
    }
    let new: Vec<Extent> = extents.iter().flat_map(|extent| parts(editor.txn, *extent)).collect();
    window.extents.splice(from..from, new);
    if !window.is_cramped {
        merge(editor.txn, root, &mut window.extents, first.cpos, last.end());
    }
    editor.scatter(window)
}

/// Takes out what lies in `clusters` logical clusters from `cpos`, and returns it in pieces, from left to right, for the
/// caller to free. Extent blocks that are no longer needed are freed here.
///
/// In trees with hashes or the like as keys (`DxRoot`, `XattrIndex`, `Refcount`), takes out the one record that begins at
/// `cpos` and has `clusters` clusters.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(crate) fn remove(txn: &mut Txn<'_>, root: Root, cpos: u32, clusters: u32) -> Result<Vec<Extent>> {
    if clusters == 0 {
        return Ok(Vec::new());
    }
    let end = u64::from(cpos) + u64::from(clusters);
    let mut editor = Editor { txn, root };
    let mut window = editor.gather(cpos, end)?;
    let removed = match root.kind() {
        TreeKind::Data => carve(editor.txn, &mut window.extents, cpos, end),
        TreeKind::Hash => {
            let index = window.extents.partition_point(|old| old.cpos < cpos);
            match window.extents.get(index) {
                Some(old) if old.cpos == cpos && old.clusters == clusters => vec![window.extents.remove(index)],
                _ => return Err(root.broken("a record that is to be removed is not there")),
            }
        }
    };
    if removed.is_empty() {
        return Ok(removed);
    }
    editor.scatter(window)?;
    Ok(removed)
}

/// Gives what is mapped already other flags or another place: `new` is what holds from now on, sorted by logical cluster,
/// and all of it must be mapped. Records are split where `new` covers part of them, and merged where they have become
/// alike. Returns what was there, cut to the same ranges.
///
/// In trees with hashes or the like as keys, a record takes the place of the one with the same key, whatever their
/// lengths.
///
/// # Errors
/// [`Error::Corrupt`] when part of it is not mapped; [`Error::NoSpace`], the journal's.
pub(crate) fn replace(txn: &mut Txn<'_>, root: Root, new: &[Extent]) -> Result<Vec<Extent>> {
    let (Some(first), Some(last)) = (new.first(), new.last()) else {
        return Ok(Vec::new());
    };
    let (lo, hi) = (first.cpos, last.end());
    let mut editor = Editor { txn, root };
    let mut window = editor.gather(lo, hi)?;
    let mut replaced = Vec::new();
    for extent in new {
        let old = match root.kind() {
            TreeKind::Data => carve(editor.txn, &mut window.extents, extent.cpos, extent.end()),
            TreeKind::Hash => {
                let index = window.extents.partition_point(|old| old.cpos < extent.cpos);
                match window.extents.get(index) {
                    Some(old) if old.cpos == extent.cpos => vec![window.extents.remove(index)],
                    _ => Vec::new(),
                }
            }
        };
        let covered: u64 = old.iter().map(|old| u64::from(old.clusters)).sum();
        if old.is_empty() || root.kind() == TreeKind::Data && covered != u64::from(extent.clusters) {
            return Err(root.broken("an extent is to be replaced where there is none"));
        }
        replaced.extend(old);
        let at = window.extents.partition_point(|old| old.cpos < extent.cpos);
        window.extents.splice(at..at, parts(editor.txn, *extent));
    }
    if !window.is_cramped {
        merge(editor.txn, root, &mut window.extents, lo, hi);
    }
    editor.scatter(window)?;
    Ok(replaced)
}

/// What a change is about to do, for [`prepare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Insert one extent.
    Insert,
    /// Replace or remove the one record, or part of it, that a range is about.
    Change,
}

/// Gets a large tree ready for one change of `clusters` logical clusters from `cpos`, for which the transaction is so small
/// that it cannot move records through all leaves to the right: when [`cost_from`] asks for more credits than
/// [`begin`](LockSet::begin) gives even for one change. Runs transactions of its own, each of which leaves the tree sound.
/// Returns what the change may take now. It has to come next, in a transaction that was
/// [told so](Txn::set_tree_prepared), and be followed by [`settle`].
///
/// # Errors
/// [`Error::NoSpace`], [`Error::Corrupt`], the journal's.
pub(crate) fn prepare(locks: &mut LockSet<'_>, root: Root, cpos: u32, clusters: u32, intent: Intent) -> Result<Cost> {
    match intent {
        Intent::Insert => rotate::make_room(locks, root, cpos)?,
        Intent::Change => {
            rotate::split_at(locks, root, cpos)?;
            if let Some(end) = cpos.checked_add(clusters) {
                rotate::split_at(locks, root, end)?;
            }
            // Taking out a record makes room; there must be none yet.
            rotate::settle(locks, root, cpos)?;
        }
    }
    let core = locks.core();
    let depth = Reader { meta: core, root }.depth()?;
    Ok(cost::prepared(core, root, depth.into()))
}

/// What a change is ready to take. See [`ready`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Ready {
    pub(crate) cost: Cost,
    root: Root,
    cpos: u32,
    is_prepared: bool,
}

/// Gets ready for one change of `clusters` logical clusters from `cpos`: in most trees by asking what it costs, in very
/// large ones by [preparing](prepare) it.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn ready(locks: &mut LockSet<'_>, root: Root, cpos: u32, clusters: u32, intent: Intent) -> Result<Ready> {
    let core = locks.core();
    let mut cost = cost_from(core, root, cpos, 3)?;
    // Larger transactions are possible, but keep everybody else waiting for room in the log.
    let is_prepared = cost.credits > core.journal()?.max_credits() / 4;
    if is_prepared {
        cost = prepare(locks, root, cpos, clusters, intent)?;
    }
    Ok(Ready {
        cost,
        root,
        cpos,
        is_prepared,
    })
}

impl Ready {
    /// Tells the transaction that will make the change.
    pub(crate) fn begin(self, txn: &mut Txn<'_>) {
        if self.is_prepared {
            txn.set_tree_prepared(self.root);
        }
    }

    /// Whether the change must leave it at one record.
    pub(crate) fn is_prepared(self) -> bool {
        self.is_prepared
    }

    /// Ends the change, after its transaction was committed.
    ///
    /// # Errors
    /// As [`settle`].
    pub(crate) fn end(self, locks: &mut LockSet<'_>) -> Result<()> {
        match self.is_prepared {
            true => settle(locks, self.root, self.cpos),
            false => Ok(()),
        }
    }
}

/// Makes all leaves full again after a change at `cpos` that was [prepared](prepare). Runs transactions of its own.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn settle(locks: &mut LockSet<'_>, root: Root, cpos: u32) -> Result<()> {
    rotate::settle(locks, root, cpos)
}

/// Makes a record begin at a key that lies within one. The two are not joined again before the tree is changed there.
fn split(txn: &mut Txn<'_>, root: Root, key: u32) -> Result<()> {
    let mut editor = Editor { txn, root };
    let mut window = editor.gather(key, u64::from(key) + 1)?;
    let index = window.extents.partition_point(|extent| extent.end() <= key.into());
    let Some(whole) = window.extents.get_mut(index).filter(|extent| extent.cpos < key) else {
        return Ok(());
    };
    let right = behind(editor.txn.geometry(), *whole, key - whole.cpos);
    whole.clusters = key - whole.cpos;
    window.extents.insert(index + 1, right);
    editor.scatter(window)
}

/// Adds flags to all extents in `clusters` logical clusters from `cpos`: whole extents. Changes nothing but these records,
/// and so neither splits nor joins any: it costs a credit for each leaf that has some of them. Returns how many records
/// were changed.
///
/// # Errors
/// [`Error::Corrupt`] when a record lies partly outside; the journal's.
pub(crate) fn add_flags(txn: &mut Txn<'_>, root: Root, cpos: u32, clusters: u32, flags: ExtentFlags) -> Result<u32> {
    let end = u64::from(cpos) + u64::from(clusters);
    let mut editor = Editor { txn, root };
    let mut changed = 0;
    let mut path = Some(editor.reader().descend(cpos)?);
    while let Some(at) = path {
        let extents = editor.reader().extents(at.leaf)?;
        let inside = extents
            .iter()
            .filter(|extent| extent.end() > cpos.into() && u64::from(extent.cpos) < end);
        for extent in inside {
            if extent.cpos < cpos || extent.end() > end {
                return Err(root.broken("part of an extent is to be flagged"));
            }
            if !extent.flags.contains(flags) {
                editor.set_flags(at.leaf, extent.cpos, extent.flags | flags)?;
                changed += 1;
            }
        }
        if extents.last().is_none_or(|last| last.end() >= end) {
            break;
        }
        path = editor.reader().next(&at)?;
    }
    Ok(changed)
}

/// The record of a tree of hashes or the like in whose range a key lies, and where the next record begins (2^32 for
/// nowhere); the first one also for keys before it. `None` for an empty tree.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn covering(meta: &dyn Blocks, root: Root, key: u32) -> Result<Option<(Extent, u64)>> {
    let reader = Reader { meta, root };
    let path = reader.descend(key)?;
    let extents = reader.extents(path.leaf)?;
    let index = extents.partition_point(|extent| extent.cpos <= key).saturating_sub(1);
    let Some(&found) = extents.get(index) else {
        return Ok(None);
    };
    let next = match extents.get(index + 1) {
        Some(next) => Some(next.cpos),
        None => match reader.next(&path)? {
            Some(path) => reader.extents(path.leaf)?.first().map(|first| first.cpos),
            None => None,
        },
    };
    Ok(Some((found, next.map_or(1 << 32, u64::from))))
}

/// What `changes` changes anywhere in the tree may take. A change is one record inserted, one range replaced, or one
/// record (or part of one) removed.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn cost(meta: &dyn Blocks, root: Root, changes: u32) -> Result<Cost> {
    cost_from(meta, root, 0, changes)
}

/// As [`cost`], for changes at `cpos` or to the right of it: much less where that is near the end of the tree.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn cost_from(meta: &dyn Blocks, root: Root, cpos: u32, changes: u32) -> Result<Cost> {
    cost::cost_from(meta, root, cpos, changes)
}

/// What a [removal](remove) of so many records takes. Blocks only if one of them falls in two: others can always be
/// removed, however full the volume is.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn cost_of_removal(
    meta: &dyn Blocks,
    root: Root,
    (cpos, clusters): (u32, u32),
    records: u32,
) -> Result<Cost> {
    let blocks = removal_blocks(meta, root, (cpos, clusters))?;
    Ok(Cost {
        blocks,
        ..cost_from(meta, root, cpos, records)?
    })
}

fn removal_blocks(meta: &dyn Blocks, root: Root, (cpos, clusters): (u32, u32)) -> Result<u32> {
    let end = u64::from(cpos) + u64::from(clusters);
    match lookup(meta, root, cpos)? {
        Lookup::Extent(extent) if extent.cpos < cpos && extent.end() > end => {
            Ok(cost_from(meta, root, cpos, 1)?.blocks)
        }
        _ => Ok(0),
    }
}

/// What giving other flags to these extents may take, which are next to each other in the tree and sorted: all are whole
/// records but perhaps the first and the last. [`add_flags`] does for the whole ones, [`replace`] for the others.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn cost_ends(meta: &dyn Blocks, root: Root, extents: &[Extent]) -> Result<Cost> {
    let mut cost = Cost {
        blocks: 0,
        // A leaf for each, if they are small.
        credits: root.credits(meta) + extents.len() as u32,
    };
    let ends = [extents.first(), extents.last()];
    for extent in ends.into_iter().flatten() {
        if lookup(meta, root, extent.cpos)? != Lookup::Extent(*extent) {
            let split = cost_from(meta, root, extent.cpos, 2)?;
            cost.blocks += split.blocks;
            cost.credits += split.credits;
        }
    }
    Ok(cost)
}

/// The last part of `clusters` logical clusters from `cpos` that has at most `records` records in it: what one
/// transaction of a removal, which goes from right to left, can take out. `None` when nothing is mapped there.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn last_part(
    meta: &dyn Blocks,
    root: Root,
    cpos: u32,
    clusters: u32,
    records: u32,
) -> Result<Option<(u32, u32)>> {
    cost::last_part(meta, root, cpos, clusters, records)
}

/// The extent that covers a key, or where the next one begins.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn lookup(meta: &dyn Blocks, root: Root, key: u32) -> Result<Lookup> {
    root.read(meta, |list, _| {
        let tree = ExtentTree {
            meta,
            root: list,
            kind: root.kind(),
            owner: root.inode(),
        };
        tree.lookup(key)
    })
}

/// The last extent of a tree.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn last(meta: &dyn Blocks, root: Root) -> Result<Option<Extent>> {
    let reader = Reader { meta, root };
    Ok(reader.extents(reader.rightmost()?.leaf)?.last().copied())
}

/// An extent as records can have it: a record counts clusters with 16 bits.
fn parts(meta: &dyn Blocks, extent: Extent) -> impl Iterator<Item = Extent> {
    let geometry = *meta.geometry();
    let step = u32::from(u16::MAX);
    (0..extent.clusters)
        .step_by(u16::MAX.into())
        .map(move |skipped| Extent {
            clusters: step.min(extent.clusters - skipped),
            ..behind(&geometry, extent, skipped)
        })
}

/// An extent without its first clusters.
fn behind(geometry: &Geometry, extent: Extent, skipped: u32) -> Extent {
    Extent {
        cpos: extent.cpos.wrapping_add(skipped),
        clusters: extent.clusters - skipped,
        blkno: BlockNo(extent.blkno.0 + geometry.clusters_to_blocks(skipped)),
        flags: extent.flags,
    }
}

/// Cuts a range out of extents, and returns what was in it.
fn carve(meta: &dyn Blocks, extents: &mut Vec<Extent>, lo: u32, hi: u64) -> Vec<Extent> {
    let geometry = *meta.geometry();
    let first = extents.partition_point(|extent| extent.end() <= lo.into());
    let after = extents.partition_point(|extent| u64::from(extent.cpos) < hi);
    if first >= after {
        return Vec::new();
    }
    let mut inside: Vec<Extent> = extents[first..after].to_vec();
    let mut outside = Vec::new();
    if let Some(head) = inside.first_mut()
        && head.cpos < lo
    {
        let kept = lo - head.cpos;
        outside.push(Extent {
            clusters: kept,
            ..*head
        });
        *head = behind(&geometry, *head, kept);
    }
    if let Some(tail) = inside.last_mut()
        && tail.end() > hi
    {
        let kept = (hi - u64::from(tail.cpos)) as u32;
        outside.push(behind(&geometry, *tail, kept));
        tail.clusters = kept;
    }
    extents.splice(first..after, outside);
    inside
}

/// Joins neighbours at and between two keys where they can be one record.
fn merge(meta: &dyn Blocks, root: Root, extents: &mut Vec<Extent>, lo: u32, hi: u64) {
    let mut index = extents.partition_point(|extent| extent.cpos < lo).saturating_sub(1);
    while let (Some(left), Some(right)) = (extents.get(index), extents.get(index + 1)) {
        if u64::from(right.cpos) > hi {
            break;
        }
        if root.can_merge(left, right, meta) {
            let clusters = right.clusters;
            extents[index].clusters += clusters;
            extents.remove(index + 1);
        } else {
            index += 1;
        }
    }
}
