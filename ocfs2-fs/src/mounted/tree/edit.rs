//! Rewriting the leaves of an extent tree from one leaf on, and what follows from it for the blocks above.
//!
//! Source: on-disk reference, sections 10.3 and 10.5 to 10.7.

use std::collections::VecDeque;

use ocfs2_format::{BlockNo, ExtentBlock, ExtentFlags, ExtentList, ExtentRec, Geometry, Signature};
use zerocopy::FromZeros;

use super::path::{Node, Path, Reader, same_leaf};
use super::{Root, Txn};
use crate::error::{Error, Result};
use crate::extent_tree::Extent;
use crate::meta::{Blocks, view};

/// Extents of neighbouring leaves, to be edited.
#[derive(Debug)]
pub(super) struct Window {
    /// The first of the leaves.
    start: Path,
    /// All extents of the leaves.
    pub(super) extents: Vec<Extent>,
    /// The leaf after the last of them.
    source: Option<Path>,
    /// Clusters of the extents when they were read.
    clusters: i64,
    /// The transaction cannot change all that is to the right of the window: it does with the room that was
    /// [prepared](super::prepare).
    pub(super) is_cramped: bool,
}

/// Changes a tree in a transaction.
#[derive(Debug)]
pub(super) struct Editor<'e, 't> {
    pub(super) txn: &'e mut Txn<'t>,
    pub(super) root: Root,
}

impl Editor<'_, '_> {
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            meta: self.txn,
            root: self.root,
        }
    }

    /// The extents in `lo..hi`, with one neighbour on each side if there are any: whole leaves of them.
    pub(super) fn gather(&self, lo: u32, hi: u64) -> Result<Window> {
        let reader = self.reader();
        let mut start = reader.descend(lo)?;
        let mut source = reader.next(&start)?;
        let mut extents = reader.extents(start.leaf)?;
        if extents.first().is_none_or(|first| first.cpos >= lo)
            && let Some(left) = reader.previous(&start)?
        {
            let right = std::mem::replace(&mut extents, reader.extents(left.leaf)?);
            self.append(&mut extents, right, start.leaf)?;
            start = left;
        }
        while extents
            .last()
            .is_none_or(|last| u64::from(last.cpos) < hi && last.end() <= hi)
        {
            let Some(path) = source else { break };
            let right = reader.extents(path.leaf)?;
            self.append(&mut extents, right, path.leaf)?;
            source = reader.next(&path)?;
        }
        Ok(Window {
            start,
            is_cramped: self.txn.is_tree_prepared(self.root),
            clusters: total(&extents),
            extents,
            source,
        })
    }

    /// Adds what was read from the next leaf. That a leaf is never empty and that keys only grow bounds every walk, even
    /// where a damaged tree leads back to a leaf that was there before.
    fn append(&self, extents: &mut Vec<Extent>, right: Vec<Extent>, leaf: Node) -> Result<()> {
        match (extents.last(), right.first()) {
            (Some(last), Some(first)) => self.reader().check_order(last, first, 0, leaf)?,
            (_, None) => return Err(self.root.broken("a leaf of an extent tree is empty")),
            (None, _) => {}
        }
        extents.extend(right);
        Ok(())
    }

    /// Writes the leaves from the window's first on so that they hold the window's extents and, after them, everything
    /// that was to the right of it; all of them full but the last one of the tree.
    pub(super) fn scatter(&mut self, window: Window) -> Result<()> {
        let Window {
            start: mut sink,
            extents,
            mut source,
            clusters,
            is_cramped,
        } = window;
        self.root.add_clusters(self.txn, total(&extents) - clusters)?;
        let mut last_read = extents.last().copied();
        let mut queue = VecDeque::from(extents);
        let mut previous = self.reader().previous(&sink)?;
        loop {
            if sink.steps.is_empty() && queue.len() > self.reader().capacity(sink.leaf)? {
                self.grow()?;
                sink = self.reader().rightmost()?;
            }
            let capacity = self.reader().capacity(sink.leaf)?;
            let stays = is_cramped && queue.len() + 1 == capacity;
            // What is written over has been read, however much there is in front of it.
            while ((queue.len() < capacity && !stays) || same_leaf(Some(&sink), source.as_ref()))
                && let Some(path) = source
            {
                let read = self.reader().extents(path.leaf)?;
                match (&last_read, read.first()) {
                    (Some(last), Some(first)) => self.reader().check_order(last, first, 0, path.leaf)?,
                    (_, None) => return Err(self.root.broken("a leaf of an extent tree is empty")),
                    (None, _) => {}
                }
                last_read = read.last().copied();
                queue.extend(read);
                source = self.reader().next(&path)?;
            }
            let Some(first) = queue.front().copied() else {
                return self.cut_after(previous);
            };
            let next = self.reader().next(&sink)?;
            let lacks_one = queue.len() + 1 == capacity && source.is_some();
            let count = queue.len().min(capacity);
            let with_hole = is_cramped && lacks_one && same_leaf(next.as_ref(), source.as_ref());
            self.write_leaf(sink.leaf, queue.drain(..count), with_hole)?;
            match &previous {
                Some(previous) => self.set_boundary(previous, &sink, first.cpos)?,
                None => self.lower_left_edge(&sink, first.cpos)?,
            }
            if queue.is_empty() && same_leaf(next.as_ref(), source.as_ref()) {
                return match source {
                    None => self.fix_right_edge(&sink),
                    Some(_) => Ok(()),
                };
            }
            match next {
                Some(next) => (previous, sink) = (Some(sink), next),
                None => {
                    sink = self.append_leaf()?;
                    previous = self.reader().previous(&sink)?;
                }
            }
        }
    }

    /// Changes a list.
    fn list_mut(&mut self, node: Node) -> Result<&mut ExtentList> {
        match node {
            Node::Root => self.root.list_mut(self.txn),
            Node::Block { at, .. } => Ok(self.txn.edit::<ExtentBlock>(at)?.list_mut()),
        }
    }

    /// Puts these extents into a leaf, and nothing else but, if so wanted, an empty record at its head. Leaves the block
    /// alone if that is what it holds.
    pub(super) fn write_leaf(
        &mut self,
        leaf: Node,
        extents: impl Iterator<Item = Extent>,
        with_hole: bool,
    ) -> Result<()> {
        let hole = with_hole.then(ExtentRec::new_zeroed);
        let records: Vec<ExtentRec> = hole.into_iter().chain(extents.map(to_record)).collect();
        if self.reader().with(leaf, |list| Ok(list.records() == records))? {
            return Ok(());
        }
        let list = self.list_mut(leaf)?;
        let used = list.records().len().max(records.len());
        let Some(slots) = list.l_recs.get_mut(..used) else {
            return Err(self.root.broken("a leaf has fewer records than room for them"));
        };
        let (filled, rest) = slots.split_at_mut(records.len());
        filled.copy_from_slice(&records);
        rest.fill(ExtentRec::new_zeroed());
        list.l_next_free_rec.set(records.len() as u16);
        Ok(())
    }

    /// Changes the flags of the record that begins at `cpos`.
    pub(super) fn set_flags(&mut self, leaf: Node, cpos: u32, flags: ExtentFlags) -> Result<()> {
        let broken = self.root.broken("a leaf has lost a record");
        let list = self.list_mut(leaf)?;
        let used = list.records().len();
        let mut records = list.l_recs.iter_mut().take(used);
        let rec = records.find(|rec| rec.e_cpos.get() == cpos && rec.e_leaf_clusters.get() > 0);
        rec.ok_or(broken)?.e_flags = flags.bits();
        Ok(())
    }

    /// Changes the span of an interior record. Leaves the block alone if it has that span.
    fn set_span(&mut self, node: Node, index: usize, cpos: u32, clusters: u32) -> Result<()> {
        let has_it = self.reader().with(node, |list| {
            let rec = list.records().get(index);
            Ok(rec.is_some_and(|rec| rec.e_cpos.get() == cpos && rec.int_clusters() == clusters))
        })?;
        if has_it {
            return Ok(());
        }
        let broken = self.root.broken("an interior list has lost a record");
        let rec = self.list_mut(node)?.l_recs.get_mut(index).ok_or(broken)?;
        rec.e_cpos.set(cpos);
        rec.set_int_clusters(clusters);
        Ok(())
    }

    /// Makes `cpos` the border between two neighbouring leaves, in all lists above them. Spans are 32 bits and wrap: a
    /// tree of hashes ends anywhere.
    pub(super) fn set_boundary(&mut self, left: &Path, right: &Path, cpos: u32) -> Result<()> {
        let fork = left
            .steps
            .iter()
            .zip(&right.steps)
            .position(|(left, right)| left.index != right.index);
        let Some(fork) = fork else {
            return Err(self.root.broken("two leaves of a tree are one"));
        };
        for step in &left.steps[fork..] {
            let start = self.reader().record(step)?.e_cpos.get();
            self.set_span(step.node, step.index, start, cpos.wrapping_sub(start))?;
        }
        for step in &right.steps[fork..] {
            self.move_start(step.node, step.index, cpos)?;
        }
        Ok(())
    }

    /// Changes where an interior record starts, and not where it ends.
    fn move_start(&mut self, node: Node, index: usize, cpos: u32) -> Result<()> {
        let step = super::path::Step { node, index, len: 0 };
        let rec = self.reader().record(&step)?;
        let end = rec.e_cpos.get().wrapping_add(rec.int_clusters());
        self.set_span(node, index, cpos, end.wrapping_sub(cpos))
    }

    /// Makes room at the left end of the tree for a first key. The left edge may begin before it.
    fn lower_left_edge(&mut self, leftmost: &Path, cpos: u32) -> Result<()> {
        for step in &leftmost.steps {
            if self.reader().record(step)?.e_cpos.get() > cpos {
                self.move_start(step.node, step.index, cpos)?;
            }
        }
        Ok(())
    }

    /// Makes all lists above the last leaf end where its last extent ends.
    pub(super) fn fix_right_edge(&mut self, rightmost: &Path) -> Result<()> {
        let end = self.leaf_end(rightmost.leaf)?;
        for step in &rightmost.steps {
            let start = self.reader().record(step)?.e_cpos.get();
            self.set_span(step.node, step.index, start, end.wrapping_sub(start))?;
        }
        Ok(())
    }

    fn leaf_end(&self, leaf: Node) -> Result<u32> {
        let extents = self.reader().extents(leaf)?;
        Ok(extents.last().map_or(0, |last| last.cpos.wrapping_add(last.clusters)))
    }

    /// A new extent block. Its list is empty.
    fn new_block(&mut self, depth: u16) -> Result<BlockNo> {
        let geometry = *self.txn.geometry();
        let place = self.txn.alloc_block()?;
        let block = self.txn.create::<ExtentBlock>(place.block)?;
        block.h_signature = Signature::EXTENT_BLOCK;
        block.h_suballoc_slot.set(place.slot.0);
        block.h_suballoc_bit.set(place.bit);
        block.h_suballoc_loc.set(place.loc);
        block.h_fs_generation.set(geometry.generation.0);
        block.h_blkno.set(place.block.0);
        let list = block.list_mut();
        list.init(geometry.extents_per_block());
        list.l_tree_depth.set(depth);
        Ok(place.block)
    }

    /// Puts a level between the root and what is below it.
    fn grow(&mut self) -> Result<()> {
        let (depth, count, records) = self.reader().with(Node::Root, |list| {
            Ok((list.l_tree_depth.get(), list.l_count.get(), list.records().to_vec()))
        })?;
        if depth >= Geometry::MAX_TREE_DEPTH {
            return Err(Error::TooLarge { what: "an extent tree" });
        }
        let end = records
            .last()
            .map_or(0, |last| last.e_cpos.get().wrapping_add(last.clusters(depth)));
        let at = self.new_block(depth)?;
        let list = self.txn.edit::<ExtentBlock>(at)?.list_mut();
        for &rec in records.iter().take(usize::from(list.l_count.get())) {
            list.push(rec);
        }
        let list = self.list_mut(Node::Root)?;
        clear(list, count);
        list.l_tree_depth.set(depth + 1);
        list.push(ExtentRec::interior(0, end, at));
        if depth == 0 {
            self.root.set_last_leaf(self.txn, at.0)?;
        }
        Ok(())
    }

    /// Adds an empty leaf at the right end, for the caller to fill.
    pub(super) fn append_leaf(&mut self) -> Result<Path> {
        let mut path = self.reader().rightmost()?;
        let level = loop {
            let mut room = None;
            for (level, step) in path.steps.iter().enumerate().rev() {
                if step.len < self.reader().capacity(step.node)? {
                    room = Some(level);
                    break;
                }
            }
            if let Some(level) = room {
                break level;
            }
            self.grow()?;
            path = self.reader().rightmost()?;
        };
        let end = self.leaf_end(path.leaf)?;
        // From the leaf up to the list that has room for what it all hangs on.
        let leaf = self.new_block(0)?;
        let mut child = leaf;
        for above in 1..path.steps.len() - level {
            let at = self.new_block(above as u16)?;
            let list = self.txn.edit::<ExtentBlock>(at)?.list_mut();
            list.push(ExtentRec::interior(end, 0, child));
            child = at;
        }
        self.list_mut(path.steps[level].node)?
            .push(ExtentRec::interior(end, 0, child));
        if let Node::Block { at, .. } = path.leaf {
            self.txn.edit::<ExtentBlock>(at)?.h_next_leaf_blk.set(leaf.0);
        }
        self.root.set_last_leaf(self.txn, leaf.0)?;
        self.reader().rightmost()
    }

    /// Frees everything to the right of a leaf, or all of the tree: what is there has become empty.
    pub(super) fn cut_after(&mut self, last: Option<Path>) -> Result<()> {
        let Some(last) = last else {
            let (depth, count, children) = self.reader().with(Node::Root, |list| {
                let children: Vec<BlockNo> = list.records().iter().map(ExtentRec::blkno).collect();
                Ok((list.l_tree_depth.get(), list.l_count.get(), children))
            })?;
            if let Some(below) = depth.checked_sub(1) {
                for child in children {
                    self.free_below(child, below)?;
                }
            }
            clear(self.list_mut(Node::Root)?, count);
            return self.root.set_last_leaf(self.txn, 0);
        };
        for (level, step) in last.steps.iter().enumerate() {
            let kept = step.index + 1;
            let dropped: Vec<BlockNo> = self.reader().with(step.node, |list| {
                let dropped = list.records().get(kept..).unwrap_or_default();
                Ok(dropped.iter().map(ExtentRec::blkno).collect())
            })?;
            if dropped.is_empty() {
                continue;
            }
            let below = (last.steps.len() - level - 1) as u16;
            for child in dropped {
                self.free_below(child, below)?;
            }
            let list = self.list_mut(step.node)?;
            let used = list.records().len();
            if let Some(rest) = list.l_recs.get_mut(kept..used) {
                rest.fill(ExtentRec::new_zeroed());
            }
            list.l_next_free_rec.set(kept as u16);
        }
        if let Node::Block { at, depth } = last.leaf {
            let is_last = {
                let block = self.txn.extent_block(at, depth)?;
                view::<ExtentBlock>(&block).h_next_leaf_blk.get() == 0
            };
            if !is_last {
                self.txn.edit::<ExtentBlock>(at)?.h_next_leaf_blk.set(0);
            }
            self.root.set_last_leaf(self.txn, at.0)?;
        }
        self.fix_right_edge(&last)
    }

    /// Frees an extent block and all below it.
    fn free_below(&mut self, at: BlockNo, depth: u16) -> Result<()> {
        let children: Vec<BlockNo> = if depth == 0 {
            Vec::new()
        } else {
            self.reader().with(Node::Block { at, depth }, |list| {
                Ok(list.records().iter().map(ExtentRec::blkno).collect())
            })?
        };
        for child in children {
            self.free_below(child, depth - 1)?;
        }
        let block = self
            .txn
            .extent_block(at, depth)
            .map_err(|error| error.in_inode(self.root.inode()))?;
        let header = view::<ExtentBlock>(&block);
        let (slot, bit, loc) = (header.h_suballoc_slot, header.h_suballoc_bit, header.h_suballoc_loc);
        self.txn
            .free_block(at, ocfs2_format::SlotNum(slot.get()), bit.get(), loc.get())
    }
}

/// Makes a list of `count` records an empty one of depth 0. What lies behind its records stays.
fn clear(list: &mut ExtentList, count: u16) {
    if let Some(slots) = list.l_recs.get_mut(..usize::from(count)) {
        slots.fill(ExtentRec::new_zeroed());
    }
    list.l_tree_depth.set(0);
    list.l_next_free_rec.set(0);
}

fn total(extents: &[Extent]) -> i64 {
    extents.iter().map(|extent| i64::from(extent.clusters)).sum()
}

/// The record of an extent, which has no more clusters than one can have.
fn to_record(extent: Extent) -> ExtentRec {
    ExtentRec::leaf(extent.cpos, extent.clusters as u16, extent.blkno, extent.flags)
}
