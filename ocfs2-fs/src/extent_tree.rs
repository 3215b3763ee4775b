//! Reading extent trees: of files and directories, of attribute values and buckets, of directory indexes, of refcounts.
//!
//! A tree from disk is hostile: its depth strictly decreases from the root, its keys strictly increase from left to right
//! and stay inside the span their parent gives them. With both enforced, a walk visits no block twice and ends.
//!
//! Source: on-disk reference, section 10.

use ocfs2_format::{
    BlockNo, Corrupt, ExtentBlock, ExtentFlags, ExtentList, ExtentRec, Geometry, InodeNo, Structure, Violation,
};

use crate::error::Result;
use crate::meta::{BlockBuf, Blocks, view};

/// What the keys of a tree are, which decides how its records may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TreeKind {
    /// Logical clusters: records do not overlap, and cluster n of a record is n clusters into its blocks.
    Data,
    /// Hashes, or low halves of physical clusters: a record covers all keys up to the next record.
    Hash,
}

/// A run of clusters that a leaf record describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First logical cluster, or first hash.
    pub cpos: u32,
    /// Clusters.
    pub clusters: u32,
    /// First physical block.
    pub blkno: BlockNo,
    /// Unwritten, shared.
    pub flags: ExtentFlags,
}

impl Extent {
    /// First logical cluster behind the run.
    pub fn end(&self) -> u64 {
        u64::from(self.cpos) + u64::from(self.clusters)
    }
}

/// An extent tree: the root's list and the way to its blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtentTree<'a> {
    pub(crate) meta: &'a dyn Blocks,
    pub(crate) root: &'a ExtentList,
    pub(crate) kind: TreeKind,
    /// For messages.
    pub(crate) owner: InodeNo,
}

impl<'a> ExtentTree<'a> {
    /// The extent that covers `key`, or where the next one begins.
    pub(crate) fn lookup(&self, key: u32) -> Result<Lookup> {
        let mut span = Span::ALL;
        let mut block: Option<BlockBuf> = None;
        loop {
            let list = match &block {
                Some(block) => view::<ExtentBlock>(block).list(),
                None => self.root,
            };
            let depth = list.l_tree_depth.get();
            let records = list.records();
            // The last record that begins at or before the key. Records are sorted, which `check_record` holds for the
            // chosen one and its neighbour: a lookup in an unsorted list may miss, and never leaves the volume.
            let after = records.partition_point(|rec| rec.e_cpos.get() <= key || is_empty(rec, depth));
            let next_start = records.get(after).map_or(span.end, |rec| rec.e_cpos.get().into());
            let chosen = match after.checked_sub(1).and_then(|index| records.get(index)) {
                Some(rec) if !is_empty(rec, depth) => rec,
                _ => return Ok(Lookup::Gap { next: next_start }),
            };
            let child_span = Span {
                start: chosen.e_cpos.get().into(),
                end: next_start,
            };
            self.check_record(chosen, depth, after - 1, span, next_start)
                .map_err(|c| self.place(c, &block))?;
            if depth == 0 {
                let extent = to_extent(chosen);
                if self.kind == TreeKind::Data && extent.end() <= u64::from(key) {
                    return Ok(Lookup::Gap { next: next_start });
                }
                return Ok(Lookup::Extent(extent));
            }
            span = child_span;
            block = Some(
                self.meta
                    .extent_block(chosen.blkno(), depth - 1)
                    .map_err(|e| e.in_inode(self.owner))?,
            );
        }
    }

    /// Every extent of the tree, from left to right. The first broken block or record ends the walk with an error.
    pub(crate) fn extents(&self) -> Extents<'a> {
        Extents {
            tree: *self,
            path: Vec::new(),
            started: false,
            end: 0,
            failed: false,
        }
    }

    fn check_record(
        &self,
        rec: &ExtentRec,
        depth: u16,
        index: usize,
        span: Span,
        next_start: u64,
    ) -> std::result::Result<(), Corrupt> {
        let geometry = self.meta.geometry();
        let start = u64::from(rec.e_cpos.get());
        let fail = |violation| Err(Corrupt::new(Structure::ExtentList, violation));
        if start < span.start || start >= span.end {
            let (field, index) = ("e_cpos", index as u32);
            return fail(Violation::Order {
                field,
                index,
                found: start,
                previous: span.start,
            });
        }
        if next_start <= start {
            let (field, index) = ("e_cpos", index as u32 + 1);
            return fail(Violation::Order {
                field,
                index,
                found: next_start,
                previous: start,
            });
        }
        if depth > 0 {
            return Ok(());
        }
        let extent = to_extent(rec);
        if self.kind == TreeKind::Data && extent.end() > next_start {
            let (field, index) = ("e_cpos", index as u32 + 1);
            return fail(Violation::Order {
                field,
                index,
                found: next_start,
                previous: extent.end(),
            });
        }
        check_extent(&extent, self.kind, geometry)
    }

    fn place(&self, corrupt: Corrupt, block: &Option<BlockBuf>) -> Corrupt {
        let at = match block {
            Some(block) => BlockNo(view::<ExtentBlock>(block).h_blkno.get()),
            None => self.owner.block(),
        };
        corrupt.at_block(at).in_inode(self.owner)
    }
}

/// The rules for the physical side of an extent.
pub(crate) fn check_extent(extent: &Extent, kind: TreeKind, geometry: &Geometry) -> std::result::Result<(), Corrupt> {
    let fail = |violation| Err(Corrupt::new(Structure::ExtentList, violation));
    // Leaves of a refcount tree are single blocks; all other runs are whole clusters.
    let blocks = geometry.clusters_to_blocks(extent.clusters);
    let whole_clusters = kind == TreeKind::Data;
    if whole_clusters && !extent.blkno.0.is_multiple_of(geometry.blocks_per_cluster().into()) {
        let why = "an extent begins at a cluster";
        return fail(Violation::Invalid {
            field: "e_blkno",
            found: extent.blkno.0,
            why,
        });
    }
    let needed = if whole_clusters { blocks } else { 1 };
    if !geometry.contains_run(extent.blkno, needed) {
        let found = extent.blkno.0.saturating_add(needed - 1);
        return fail(Violation::OutsideVolume {
            field: "e_blkno",
            found,
            blocks: geometry.blocks(),
        });
    }
    let known = ExtentFlags::UNWRITTEN | ExtentFlags::REFCOUNTED;
    if !known.contains(extent.flags) {
        let found = extent.flags.bits().into();
        return fail(Violation::Invalid {
            field: "e_flags",
            found,
            why: "unknown extent flags",
        });
    }
    Ok(())
}

/// What a lookup finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The extent that covers the key.
    Extent(Extent),
    /// No extent does; the next one begins at `next` (2^32 for none).
    Gap { next: u64 },
}

/// The keys that a list may have.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    end: u64,
}

impl Span {
    const ALL: Span = Span { start: 0, end: 1 << 32 };
}

/// An empty record may stand at the head of a leaf while records are being rotated.
fn is_empty(rec: &ExtentRec, depth: u16) -> bool {
    depth == 0 && rec.e_leaf_clusters.get() == 0
}

fn to_extent(rec: &ExtentRec) -> Extent {
    Extent {
        cpos: rec.e_cpos.get(),
        clusters: rec.e_leaf_clusters.get().into(),
        blkno: rec.blkno(),
        flags: rec.flags(),
    }
}

/// Walks the extents of a tree. See [`ExtentTree::extents`].
#[derive(Debug)]
pub(crate) struct Extents<'a> {
    tree: ExtentTree<'a>,
    /// Extent blocks from below the root to the current one, and the next record of each.
    path: Vec<Level>,
    started: bool,
    /// First key that the next record may have.
    end: u64,
    failed: bool,
}

#[derive(Debug)]
struct Level {
    /// `None` for the root.
    block: Option<BlockBuf>,
    next: usize,
    span: Span,
}

impl Extents<'_> {
    /// As the iterator's `next`, for those who look at all of a tree, sound or not: an error leaves out what is broken and
    /// does not end the walk, and `enter` is asked before a block below the root is read, with its depth. A block that it
    /// refuses is left out with all that is below it.
    pub(crate) fn next_with(&mut self, enter: &mut dyn FnMut(BlockNo, u16) -> bool) -> Option<Result<Extent>> {
        self.step(enter).transpose()
    }

    fn step(&mut self, enter: &mut dyn FnMut(BlockNo, u16) -> bool) -> Result<Option<Extent>> {
        if !self.started {
            self.started = true;
            self.path.push(Level {
                block: None,
                next: 0,
                span: Span::ALL,
            });
        }
        while let Some(level) = self.path.last_mut() {
            let list = match &level.block {
                Some(block) => view::<ExtentBlock>(block).list(),
                None => self.tree.root,
            };
            let depth = list.l_tree_depth.get();
            let records = list.records();
            let index = level.next;
            let Some(rec) = records.get(index) else {
                self.path.pop();
                continue;
            };
            level.next += 1;
            if is_empty(rec, depth) {
                continue;
            }
            let next_start = records
                .get(index + 1)
                .map_or(level.span.end, |rec| rec.e_cpos.get().into());
            let mut checked = self.tree.check_record(rec, depth, index, level.span, next_start);
            let start = u64::from(rec.e_cpos.get());
            if checked.is_ok() && start < self.end {
                let (field, index) = ("e_cpos", index as u32);
                let violation = Violation::Order {
                    field,
                    index,
                    found: start,
                    previous: self.end,
                };
                checked = Err(Corrupt::new(Structure::ExtentList, violation));
            }
            if let Err(corrupt) = checked {
                return Err(self.tree.place(corrupt, &level.block).into());
            }
            if depth == 0 {
                let extent = to_extent(rec);
                self.end = match self.tree.kind {
                    TreeKind::Data => extent.end(),
                    TreeKind::Hash => start + 1,
                };
                return Ok(Some(extent));
            }
            let span = Span { start, end: next_start };
            if !enter(rec.blkno(), depth - 1) {
                continue;
            }
            let block = self
                .tree
                .meta
                .extent_block(rec.blkno(), depth - 1)
                .map_err(|e| e.in_inode(self.tree.owner))?;
            self.path.push(Level {
                block: Some(block),
                next: 0,
                span,
            });
        }
        Ok(None)
    }
}

impl Iterator for Extents<'_> {
    type Item = Result<Extent>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.step(&mut |_, _| true) {
            Ok(extent) => extent.map(Ok),
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
