//! Moving room through the leaves of large trees, in transactions of bounded size.
//!
//! All leaves but the last are full, so a record more or less in one of them moves a record through each leaf to its
//! right. Where these are more than a transaction can change, the record moves in steps: between two of them one leaf has
//! an empty record at its head, which the format allows.
//!
//! Source: on-disk reference, sections 10.3 and 10.5 to 10.7.

use super::edit::Editor;
use super::path::{Node, Path, Reader};
use super::{Root, split};
use crate::error::Result;
use crate::mounted::LockSet;
use crate::mounted::space::Need;

/// Leaves that one transaction moves a record through.
const STEP: u32 = 24;

/// Makes room for one record at a key: in the leaf in whose range it lies, or in the next one if it comes after all that
/// the first has, whose last record would be the one to move on.
pub(super) fn make_room(locks: &mut LockSet<'_>, root: Root, key: u32) -> Result<()> {
    let core = locks.core();
    let reader = Reader { meta: core, root };
    let mut target = reader.descend(key)?;
    if target.steps.is_empty() || reader.has_room(target.leaf)? {
        return Ok(());
    }
    if reader.extents(target.leaf)?.last().is_some_and(|last| last.cpos <= key)
        && let Some(next) = reader.next(&target)?
    {
        target = next;
        if reader.has_room(target.leaf)? {
            return Ok(());
        }
    }
    // The nearest leaf to the right that has room, if any has.
    let mut from = None;
    let mut at = target.clone();
    while let Some(next) = reader.next(&at)? {
        if reader.has_room(next.leaf)? {
            from = Some(reader.first_key(next.leaf)?);
            break;
        }
        at = next;
    }
    loop {
        let depth = u32::from(reader.depth()?);
        let need = Need {
            blocks: if from.is_none() { depth + 2 } else { 0 },
            ..Need::default()
        };
        let credits = locks.reserve(need)?;
        let mut txn = locks.begin(credits + need.blocks + credits_of_step(root, depth))?;
        let mut editor = Editor { txn: &mut txn, root };
        let mut right = match from {
            Some(key) => editor.reader().descend(key)?,
            None => editor.append_leaf()?,
        };
        let mut is_there = false;
        for _ in 0..STEP {
            let Some(left) = editor.reader().previous(&right)? else {
                return Err(root.broken("a leaf has moved while room was made"));
            };
            editor.move_last(&left, &right)?;
            is_there = left.leaf == target.leaf;
            right = left;
            if is_there {
                break;
            }
        }
        from = Some(editor.reader().first_key(right.leaf)?);
        txn.commit()?;
        if is_there {
            return Ok(());
        }
    }
}

/// Fills what empty records there are from the leaf of a key on, so that all leaves are full again.
pub(super) fn settle(locks: &mut LockSet<'_>, root: Root, key: u32) -> Result<()> {
    let core = locks.core();
    let reader = Reader { meta: core, root };
    let mut holes = Vec::new();
    let mut at = Some(reader.descend(key)?);
    while let Some(path) = at {
        if reader.has_hole(path.leaf)? {
            holes.push(reader.first_key(path.leaf)?);
        }
        at = reader.next(&path)?;
    }
    // From right to left: what moves to the left must not come from a leaf that lacks a record already.
    for mut key in holes.into_iter().rev() {
        loop {
            let depth = u32::from(reader.depth()?);
            let credits = locks.reserve(Need::default())?;
            // A leaf that has become empty goes, with the lists above it.
            let freed = 3 * (depth + 1);
            let mut txn = locks.begin(credits + freed + credits_of_step(root, depth))?;
            let mut editor = Editor { txn: &mut txn, root };
            let mut left = editor.reader().descend(key)?;
            let mut is_done = false;
            for _ in 0..STEP {
                match editor.pull_first(&left)? {
                    Some(next) => left = next,
                    None => {
                        is_done = true;
                        break;
                    }
                }
            }
            key = editor.reader().first_key(left.leaf)?;
            txn.commit()?;
            if is_done {
                break;
            }
        }
    }
    Ok(())
}

/// Makes a record begin at a key if one lies across it.
pub(super) fn split_at(locks: &mut LockSet<'_>, root: Root, key: u32) -> Result<()> {
    let core = locks.core();
    match super::lookup(core, root, key)? {
        crate::extent_tree::Lookup::Extent(extent) if extent.cpos < key => {}
        _ => return Ok(()),
    }
    make_room(locks, root, key)?;
    let depth = u32::from(Reader { meta: core, root }.depth()?);
    let credits = locks.reserve(Need::default())?;
    let mut txn = locks.begin(credits + super::cost::prepared(core, root, depth).credits)?;
    txn.set_tree_prepared(root);
    split(&mut txn, root, key)?;
    txn.commit()?;
    Ok(())
}

/// Credits of [`STEP`] moves: each changes one leaf more and the lists above it.
fn credits_of_step(root: Root, depth: u32) -> u32 {
    // A root that takes several blocks is one of buckets.
    let root = if matches!(root, Root::XattrValue { .. }) { 8 } else { 1 };
    root + (STEP + 1) * 2 + 2 * depth
}

impl Reader<'_> {
    /// Whether a record more fits into a leaf.
    fn has_room(&self, leaf: Node) -> Result<bool> {
        Ok(self.extents(leaf)?.len() < self.capacity(leaf)?)
    }

    /// Whether a leaf has an empty record at its head.
    fn has_hole(&self, leaf: Node) -> Result<bool> {
        self.with(leaf, |list| {
            let first = list.records().first();
            Ok(first.is_some_and(|rec| rec.e_leaf_clusters.get() == 0))
        })
    }

    fn first_key(&self, leaf: Node) -> Result<u32> {
        let first = self.extents(leaf)?.first().map(|first| first.cpos);
        first.ok_or_else(|| self.root.broken("a leaf of an extent tree is empty"))
    }
}

impl Editor<'_, '_> {
    /// Moves the last record of a full leaf to the next one, which has room. The full one gets an empty record.
    fn move_last(&mut self, left: &Path, right: &Path) -> Result<()> {
        let mut kept = self.reader().extents(left.leaf)?;
        let mut grown = self.reader().extents(right.leaf)?;
        let Some(moved) = kept.pop().filter(|_| !kept.is_empty()) else {
            return Err(self.root.broken("a leaf of an extent tree is empty"));
        };
        let was_empty = grown.is_empty();
        grown.insert(0, moved);
        self.write_leaf(right.leaf, grown.into_iter(), false)?;
        self.write_leaf(left.leaf, kept.into_iter(), true)?;
        self.set_boundary(left, right, moved.cpos)?;
        if was_empty {
            self.fix_right_edge(right)?;
        }
        Ok(())
    }

    /// Moves the first record of the next leaf to the end of one that has an empty record, which fills it. Returns the
    /// next leaf if that has the empty record now.
    fn pull_first(&mut self, left: &Path) -> Result<Option<Path>> {
        let mut grown = self.reader().extents(left.leaf)?;
        let Some(right) = self.reader().next(left)? else {
            self.write_leaf(left.leaf, grown.into_iter(), false)?;
            return Ok(None);
        };
        let mut kept = self.reader().extents(right.leaf)?;
        if kept.is_empty() {
            return Err(self.root.broken("a leaf of an extent tree is empty"));
        }
        grown.push(kept.remove(0));
        self.write_leaf(left.leaf, grown.into_iter(), false)?;
        let Some(first) = kept.first().copied() else {
            self.cut_after(Some(left.clone()))?;
            return Ok(None);
        };
        let is_last = self.reader().next(&right)?.is_none();
        self.write_leaf(right.leaf, kept.into_iter(), !is_last)?;
        self.set_boundary(left, &right, first.cpos)?;
        Ok((!is_last).then_some(right))
    }
}
