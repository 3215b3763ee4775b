//! Ways from the root of an extent tree to its leaves, and from leaf to leaf.
//!
//! Source: on-disk reference, sections 10.3 and 10.4.

use ocfs2_format::{BlockNo, Corrupt, ExtentBlock, ExtentList, ExtentRec, Structure, Violation};

use super::Root;
use crate::error::{Error, Result};
use crate::extent_tree::{Extent, check_extent};
use crate::meta::{Blocks, view};

/// A list of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// That in the root.
    Root,
    /// That of an extent block.
    Block {
        at: BlockNo,
        /// Levels below it.
        depth: u16,
    },
}

/// One interior list on the way to a leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) node: Node,
    /// The record that the way follows.
    pub(super) index: usize,
    /// Records in the list.
    pub(super) len: usize,
}

/// The way to a leaf.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// The interior lists, the root's first; none in a tree without extent blocks.
    pub(super) steps: Vec<Step>,
    pub(super) leaf: Node,
}

impl Path {
    fn same_leaf(&self, other: &Path) -> bool {
        self.leaf == other.leaf
    }
}

/// Whether two optional paths lead to the same leaf.
pub(super) fn same_leaf(one: Option<&Path>, other: Option<&Path>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.same_leaf(other),
        (None, None) => true,
        _ => false,
    }
}

/// Which record to follow on the way down.
#[derive(Clone, Copy)]
enum Follow {
    Key(u32),
    First,
    Last,
}

/// Reads a tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'m> {
    pub(super) meta: &'m dyn Blocks,
    pub(super) root: Root,
}

impl Reader<'_> {
    /// Looks at a list.
    pub(super) fn with<R>(&self, node: Node, f: impl FnOnce(&ExtentList) -> Result<R>) -> Result<R> {
        match node {
            Node::Root => self.root.read(self.meta, |list, _| f(list)),
            Node::Block { at, depth } => {
                let block = self
                    .meta
                    .extent_block(at, depth)
                    .map_err(|error| error.in_inode(self.root.inode()))?;
                f(view::<ExtentBlock>(&block).list())
            }
        }
    }

    /// Levels below the root.
    pub(super) fn depth(&self) -> Result<u16> {
        self.with(Node::Root, |list| Ok(list.l_tree_depth.get()))
    }

    /// Records that a list has room for.
    pub(super) fn capacity(&self, node: Node) -> Result<usize> {
        self.with(node, |list| Ok(usize::from(list.l_count.get())))
    }

    /// The record of an interior list that a path follows.
    pub(super) fn record(&self, step: &Step) -> Result<ExtentRec> {
        self.with(step.node, |list| {
            let rec = list.records().get(step.index).copied();
            rec.ok_or_else(|| self.root.broken("an interior list has lost a record"))
        })
    }

    /// The way to the leaf in whose range a key lies.
    pub(super) fn descend(&self, key: u32) -> Result<Path> {
        self.down(Vec::new(), Node::Root, Follow::Key(key))
    }

    /// The way to the last leaf.
    pub(super) fn rightmost(&self) -> Result<Path> {
        self.down(Vec::new(), Node::Root, Follow::Last)
    }

    /// The way to the leaf after that of `path`.
    pub(super) fn next(&self, path: &Path) -> Result<Option<Path>> {
        let Some(level) = path.steps.iter().rposition(|step| step.index + 1 < step.len) else {
            return Ok(None);
        };
        self.beside(path, level, path.steps[level].index + 1, Follow::First)
            .map(Some)
    }

    /// The way to the leaf before that of `path`.
    pub(super) fn previous(&self, path: &Path) -> Result<Option<Path>> {
        let Some(level) = path.steps.iter().rposition(|step| step.index > 0) else {
            return Ok(None);
        };
        self.beside(path, level, path.steps[level].index - 1, Follow::Last)
            .map(Some)
    }

    fn beside(&self, path: &Path, level: usize, index: usize, follow: Follow) -> Result<Path> {
        let mut steps = path.steps[..=level].to_vec();
        let step = &mut steps[level];
        step.index = index;
        let step = *step;
        let child = self.child(&step)?;
        self.down(steps, child, follow)
    }

    /// The list below a step.
    pub(super) fn child(&self, step: &Step) -> Result<Node> {
        let depth = match step.node {
            Node::Root => self.depth()?,
            Node::Block { depth, .. } => depth,
        };
        let below = depth
            .checked_sub(1)
            .ok_or_else(|| self.root.broken("a leaf has no children"))?;
        Ok(Node::Block {
            at: self.record(step)?.blkno(),
            depth: below,
        })
    }

    fn down(&self, mut steps: Vec<Step>, mut node: Node, follow: Follow) -> Result<Path> {
        loop {
            if matches!(node, Node::Block { depth: 0, .. }) {
                return Ok(Path { steps, leaf: node });
            }
            let found = self.with(node, |list| {
                let depth = list.l_tree_depth.get();
                let records = list.records();
                let index = match follow {
                    Follow::First => 0,
                    Follow::Last => records.len().saturating_sub(1),
                    Follow::Key(key) => records.partition_point(|rec| rec.e_cpos.get() <= key).saturating_sub(1),
                };
                Ok((depth, index, records.len(), records.get(index).map(ExtentRec::blkno)))
            })?;
            let (depth, index, len, child) = found;
            // A depth of 0 is that of a root with extents: depths of extent blocks are known before they are read.
            let (Some(at), Some(below)) = (child, depth.checked_sub(1)) else {
                return Ok(Path { steps, leaf: node });
            };
            steps.push(Step { node, index, len });
            node = Node::Block { at, depth: below };
        }
    }

    /// The extents of a leaf, without an empty record at its head, in order and without overlap.
    pub(super) fn extents(&self, leaf: Node) -> Result<Vec<Extent>> {
        self.with(leaf, |list| {
            let mut extents: Vec<Extent> = Vec::with_capacity(list.records().len() + 2);
            for (index, rec) in list.records().iter().enumerate() {
                if rec.e_leaf_clusters.get() == 0 {
                    if index > 0 {
                        return Err(self.root.broken("an empty record stands at the head of a leaf only"));
                    }
                    continue;
                }
                let extent = Extent {
                    cpos: rec.e_cpos.get(),
                    clusters: rec.e_leaf_clusters.get().into(),
                    blkno: rec.blkno(),
                    flags: rec.flags(),
                };
                check_extent(&extent, self.root.kind(), self.meta.geometry())
                    .map_err(|corrupt| Error::from(self.place(corrupt, leaf)))?;
                if let Some(last) = extents.last() {
                    self.check_order(last, &extent, index as u32, leaf)?;
                }
                extents.push(extent);
            }
            Ok(extents)
        })
    }

    /// Fails unless `right` may follow `left`.
    pub(super) fn check_order(&self, left: &Extent, right: &Extent, index: u32, leaf: Node) -> Result<()> {
        let previous = match self.root.kind() {
            crate::extent_tree::TreeKind::Data => left.end(),
            crate::extent_tree::TreeKind::Hash => u64::from(left.cpos) + 1,
        };
        if u64::from(right.cpos) >= previous {
            return Ok(());
        }
        let violation = Violation::Order {
            field: "e_cpos",
            index,
            found: right.cpos.into(),
            previous,
        };
        Err(self.place(Corrupt::new(Structure::ExtentList, violation), leaf).into())
    }

    fn place(&self, corrupt: Corrupt, node: Node) -> Corrupt {
        let at = match node {
            Node::Root => self.root.block(),
            Node::Block { at, .. } => at,
        };
        corrupt.at_block(at).in_inode(self.root.inode())
    }
}
