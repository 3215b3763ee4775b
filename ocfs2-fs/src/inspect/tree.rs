//! Extent trees as they are.

use std::collections::HashSet;

use ocfs2_format::{BlockNo, Corrupt, Dinode, ExtentBlock, ExtentList, ExtentRec, Structure, Violation};

use super::{Inspector, Raw};
use crate::error::Result;

/// The extent blocks below a root, each before the blocks below it. See [`Inspector::tree_blocks`].
#[derive(Debug)]
pub struct TreeBlocks {
    inspector: Inspector,
    /// Blocks still to be read, the next one last.
    todo: Vec<BlockNo>,
    seen: HashSet<BlockNo>,
}

impl Inspector {
    /// The extent blocks below `root`, depth first. What cannot be read is an error in its place, and the walk goes on
    /// behind it; a block that was met before is an error too.
    pub fn tree_blocks(&self, root: &ExtentList) -> TreeBlocks {
        let mut blocks = TreeBlocks {
            inspector: self.clone(),
            todo: Vec::new(),
            seen: HashSet::new(),
        };
        blocks.push_children(root);
        blocks
    }

    /// The leaf records of the tree below `root`, in the order in which they stand, empty ones left out.
    pub fn leaf_records(&self, root: &ExtentList) -> LeafRecords {
        LeafRecords {
            blocks: self.tree_blocks(root),
            ready: leaf_records(root).into_iter(),
        }
    }

    /// The block that holds logical block `index` of a file with an extent list, and the record that says so; `None` in
    /// a hole.
    ///
    /// # Errors
    /// The first damage met before the record is found.
    pub fn map_block(&self, dinode: &Raw<Dinode>, index: u64) -> Result<Option<(BlockNo, ExtentRec)>> {
        let shift = self.geometry().cluster_bits_over_block();
        for rec in self.leaf_records(dinode.extent_list()) {
            let rec = rec?;
            let first = u64::from(rec.e_cpos.get()) << shift;
            let len = u64::from(rec.e_leaf_clusters.get()) << shift;
            if let Some(skip) = index.checked_sub(first).filter(|skip| *skip < len) {
                return Ok(rec.blkno().checked_add(skip).map(|at| (at, rec)));
            }
        }
        Ok(None)
    }
}

impl TreeBlocks {
    fn push_children(&mut self, list: &ExtentList) {
        if list.l_tree_depth.get() > 0 {
            self.todo.extend(list.records().iter().rev().map(ExtentRec::blkno));
        }
    }
}

impl Iterator for TreeBlocks {
    type Item = Result<Raw<ExtentBlock>>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.todo.pop()?;
        if !self.seen.insert(at) {
            let violation = Violation::Loop {
                field: "e_blkno",
                found: at.0,
            };
            return Some(Err(Corrupt::new(Structure::ExtentBlock, violation).into()));
        }
        let block = self.inspector.read::<ExtentBlock>(at);
        if let Ok(block) = &block {
            self.push_children(block.list());
        }
        Some(block)
    }
}

/// The leaf records of a tree. See [`Inspector::leaf_records`].
#[derive(Debug)]
pub struct LeafRecords {
    blocks: TreeBlocks,
    ready: std::vec::IntoIter<ExtentRec>,
}

impl Iterator for LeafRecords {
    type Item = Result<ExtentRec>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(rec) = self.ready.next() {
                return Some(Ok(rec));
            }
            match self.blocks.next()? {
                Ok(block) => self.ready = leaf_records(block.list()).into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn leaf_records(list: &ExtentList) -> Vec<ExtentRec> {
    if list.l_tree_depth.get() > 0 {
        return Vec::new();
    }
    let used = list.records().iter().filter(|rec| rec.e_leaf_clusters.get() != 0);
    used.copied().collect()
}
