//! Surveying refcount trees: each once, whoever is attached to it.

use ocfs2_format::{BlockNo, InodeNo, RefcountBlock, RefcountFlags, Structure, Violation};

use super::Survey;
use super::inode::TreeTotals;
use crate::error::Result;
use crate::extent_tree::{ExtentTree, TreeKind};
use crate::inode::Inode;
use crate::meta::{BlockBuf, Blocks, Locality, view};

impl Survey<'_> {
    /// Visits the refcount tree that an inode is attached to, unless another one led there before.
    pub(super) fn refcount_tree(&mut self, inode: &Inode) {
        let Some(at) = inode.refcount_root() else { return };
        let owner = inode.number();
        if self.geometry().contains(at) && !self.refcount_roots.insert(at.0) {
            return;
        }
        let Some(block) = self.refcount_block(at, owner) else {
            return;
        };
        let root = view::<RefcountBlock>(&block);
        self.expect_field(at, owner, "rf_parent", root.rf_parent.get(), 0);
        if root.flags().contains(RefcountFlags::LEAF) {
            let found = root.rf_flags.get().into();
            let why = "a leaf is no root";
            let field = "rf_flags";
            self.note_at(
                Structure::RefcountBlock,
                at,
                owner,
                Violation::Invalid { field, found, why },
            );
        }
        if !root.flags().contains(RefcountFlags::TREE) {
            return;
        }
        let volume = self.volume;
        let tree = ExtentTree {
            meta: volume.meta(),
            root: root.list(),
            kind: TreeKind::Hash,
            owner,
        };
        let totals = TreeTotals {
            structure: Structure::RefcountBlock,
            at,
            clusters: Some(("rf_clusters", root.rf_clusters.get())),
            last_leaf: ("rf_last_eb_blk", root.rf_last_eb_blk.get()),
        };
        let mut end = 0;
        self.tree(&tree, &totals, &mut |survey, extent| {
            survey.refcount_leaf((at, root), extent.blkno, extent.cpos, owner, &mut end);
        });
    }

    fn refcount_leaf(
        &mut self,
        (root_at, root): (BlockNo, &RefcountBlock),
        at: BlockNo,
        cpos: u32,
        owner: InodeNo,
        end: &mut u64,
    ) {
        let Some(block) = self.refcount_block(at, owner) else {
            return;
        };
        let leaf = view::<RefcountBlock>(&block);
        if !leaf.flags().contains(RefcountFlags::LEAF) {
            let found = leaf.rf_flags.get().into();
            let why = "a leaf says that it is one";
            let field = "rf_flags";
            self.note_at(
                Structure::RefcountBlock,
                at,
                owner,
                Violation::Invalid { field, found, why },
            );
            return;
        }
        self.expect_field(at, owner, "rf_parent", leaf.rf_parent.get(), root_at.0);
        self.expect_field(at, owner, "rf_cpos", leaf.rf_cpos.get().into(), cpos.into());
        let (found, expected) = (leaf.rf_generation.get(), root.rf_generation.get());
        self.expect_field(at, owner, "rf_generation", found.into(), expected.into());
        // Keys are the low halves of cluster numbers, of which a volume has no more than 32 bits.
        for (index, rec) in (0..).zip(leaf.records().records()) {
            let start = rec.r_cpos.get();
            let lowest = (*end).max(cpos.into());
            if start < lowest {
                let violation = Violation::Order {
                    field: "r_cpos",
                    index,
                    found: start,
                    previous: lowest,
                };
                self.note_at(Structure::RefcountBlock, at, owner, violation);
            }
            *end = start.saturating_add(rec.r_clusters.get().into());
        }
    }

    fn refcount_block(&mut self, at: BlockNo, owner: InodeNo) -> Option<BlockBuf> {
        if !self.claim(at, Structure::RefcountBlock, RefcountBlock::CHECK_OFFSET, owner) {
            return None;
        }
        match self.read_refcount_block(at) {
            Ok(block) => Some(block),
            Err(error) => {
                self.note(error, owner);
                None
            }
        }
    }

    fn read_refcount_block(&self, at: BlockNo) -> Result<BlockBuf> {
        let meta = self.volume.meta();
        let block = meta.verified(
            at,
            Structure::RefcountBlock,
            RefcountBlock::CHECK_OFFSET,
            Locality::Clustered,
        )?;
        view::<RefcountBlock>(&block).check(at, meta.geometry())?;
        Ok(block)
    }

    fn expect_field(&mut self, at: BlockNo, owner: InodeNo, field: &'static str, found: u64, expected: u64) {
        if found != expected {
            let violation = Violation::Unexpected { field, found, expected };
            self.note_at(Structure::RefcountBlock, at, owner, violation);
        }
    }
}
