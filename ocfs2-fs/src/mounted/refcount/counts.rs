//! A refcount tree: a root block with records, or with leaves that have them.
//!
//! Source: on-disk reference, sections 24.1, 24.2 and 24.5.

use ocfs2_format::{
    BlockNo, ClusterNo, Corrupt, ExtentFlags, InodeNo, RefcountBlock, RefcountFlags, Signature, SlotNum, Structure,
    Violation,
};
use zerocopy::{FromZeros, IntoBytes};

use super::records::{self, Run};
use crate::error::{Error, Result};
use crate::extent_tree::Extent;
use crate::meta::{BlockBuf, Blocks, Locality, view};
use crate::mounted::Txn;
use crate::mounted::tree::{self, Cost, Root};

/// A refcount tree, by its root block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) root: BlockNo,
    /// An inode attached to it, for messages.
    pub(super) inode: InodeNo,
}

/// A block with records, and what clusters they may be about.
#[derive(Clone, Copy, Debug)]
struct Leaf {
    block: BlockNo,
    from: u64,
    to: u64,
}

/// Clusters of a tree's range of keys: 32 bits of them.
const ALL: u64 = 1 << 32;

impl Counts {
    fn tree(self) -> Root {
        Root::Refcount {
            block: self.root,
            inode: self.inode,
        }
    }

    fn read(self, meta: &dyn Blocks, at: BlockNo) -> Result<BlockBuf> {
        let block = meta.verified(
            at,
            Structure::RefcountBlock,
            RefcountBlock::CHECK_OFFSET,
            Locality::Clustered,
        )?;
        view::<RefcountBlock>(&block)
            .check(at, meta.geometry())
            .map_err(|corrupt| corrupt.in_inode(self.inode))?;
        Ok(block)
    }

    /// The generation that names the tree's lock.
    pub(super) fn generation(self, meta: &dyn Blocks) -> Result<u32> {
        let block = self.read(meta, self.root)?;
        Ok(view::<RefcountBlock>(&block).rf_generation.get())
    }

    fn corrupt(self, at: BlockNo, rule: &'static str) -> Error {
        Corrupt::new(Structure::RefcountBlock, Violation::Rule(rule))
            .at_block(at)
            .in_inode(self.inode)
            .into()
    }

    /// The block that has, or would have, the record of a cluster.
    fn leaf(self, meta: &dyn Blocks, cluster: u32) -> Result<Leaf> {
        let root = self.read(meta, self.root)?;
        if !view::<RefcountBlock>(&root).flags().contains(RefcountFlags::TREE) {
            let (from, to) = (0, ALL);
            return Ok(Leaf {
                block: self.root,
                from,
                to,
            });
        }
        let found = tree::covering(meta, self.tree(), cluster)?;
        let (extent, to) = found.ok_or_else(|| self.corrupt(self.root, "a refcount tree has no leaves"))?;
        let block = self.read(meta, extent.blkno)?;
        let leaf = view::<RefcountBlock>(&block);
        if !leaf.flags().contains(RefcountFlags::LEAF) || leaf.rf_parent.get() != self.root.0 {
            return Err(self.corrupt(extent.blkno, "a leaf of a refcount tree belongs elsewhere"));
        }
        Ok(Leaf {
            block: extent.blkno,
            from: extent.cpos.into(),
            to,
        })
    }

    /// How often a cluster is referenced, and how many clusters from it on are so too, as far as one block tells.
    pub(super) fn count(self, meta: &dyn Blocks, cluster: u32) -> Result<(u32, u32)> {
        let leaf = self.leaf(meta, cluster)?;
        let block = self.read(meta, leaf.block)?;
        let runs = records::read(view::<RefcountBlock>(&block).records());
        let (count, until) = records::count_at(&runs, cluster.into(), leaf.to);
        Ok((count, (until - u64::from(cluster)).min(u32::MAX.into()) as u32))
    }

    /// What changing the counts of so many runs may take.
    pub(super) fn cost(self, meta: &dyn Blocks, runs: u32) -> Result<Cost> {
        let root = self.read(meta, self.root)?;
        let root = view::<RefcountBlock>(&root);
        let capacity = u32::from(meta.geometry().recs_per_refcount_block()).max(2);
        let is_tree = root.flags().contains(RefcountFlags::TREE);
        let leaves = if is_tree { root.rf_clusters.get() } else { 0 };
        let ends = runs.saturating_mul(2);
        let touched = ends.min(leaves.saturating_add(1));
        // A leaf that is divided has room for half its records, and each end of a run adds one.
        let divided = ends.min(touched.saturating_add(ends / (capacity / 2)).saturating_add(1));
        let mut cost = if is_tree {
            tree::cost(meta, self.tree(), divided)?
        } else {
            Cost {
                blocks: 2 + ends / capacity,
                credits: 4,
            }
        };
        cost.blocks = cost.blocks.saturating_add(divided).saturating_add(1);
        // A leaf that has become empty takes changes of its group and its allocator.
        cost.credits = cost
            .credits
            .saturating_add(2)
            .saturating_add(touched.saturating_mul(3))
            .saturating_add(divided);
        Ok(cost)
    }

    /// Changes the counts of a run of clusters, where 0 stands for no record. `change` is given each count there is, and
    /// returns the new one or `None` for one that cannot be. Returns what lost its last reference.
    pub(super) fn change(
        self,
        txn: &mut Txn<'_>,
        start: ClusterNo,
        clusters: u32,
        change: &dyn Fn(u32) -> Option<u32>,
    ) -> Result<Vec<Run>> {
        /// What one more leaf may take: its own block, a new one, the lists above and allocators.
        const CREDITS_PER_LEAF: u32 = 12;
        let mut at = u64::from(start.0);
        let end = at + u64::from(clusters);
        let mut freed = Vec::new();
        while at < end {
            let key =
                u32::try_from(at).map_err(|_| self.corrupt(self.root, "clusters beyond what a volume can have"))?;
            let leaf = self.leaf(txn, key)?;
            let stop = end.min(leaf.to);
            if stop <= at {
                return Err(self.corrupt(leaf.block, "leaves of a refcount tree are out of order"));
            }
            let block = self.read(txn, leaf.block)?;
            let mut runs = records::read(view::<RefcountBlock>(&block).records());
            drop(block);
            let gone = records::change(&mut runs, at, stop, change);
            freed.extend(gone.ok_or_else(|| self.corrupt(leaf.block, "a reference count is not what it should be"))?);
            if at > u64::from(start.0) && txn.credits_left() < CREDITS_PER_LEAF {
                // Without room in the log it may do as it is.
                txn.try_extend(CREDITS_PER_LEAF)?;
            }
            self.store(txn, leaf, &runs)?;
            at = stop;
        }
        Ok(freed)
    }

    /// Makes these the records of a leaf's range.
    fn store(self, txn: &mut Txn<'_>, mut leaf: Leaf, runs: &[Run]) -> Result<()> {
        let capacity = txn.geometry().recs_per_refcount_block();
        let room = usize::from(capacity).max(1);
        if leaf.block == self.root && runs.len() > room {
            leaf = self.grow(txn)?;
        }
        if leaf.block == self.root {
            records::write(txn.edit::<RefcountBlock>(self.root)?.records_mut(), runs, capacity);
            return Ok(());
        }
        let Some(first) = runs.first() else {
            return self.drop_leaf(txn, leaf);
        };
        if first.start < leaf.from {
            let key = first.start as u32;
            let record = tree::remove(txn, self.tree(), leaf.from as u32, 1)?;
            for record in record {
                tree::insert(txn, self.tree(), Extent { cpos: key, ..record })?;
            }
            txn.edit::<RefcountBlock>(leaf.block)?.rf_cpos.set(key);
        }
        // Halves, if it is too much for one block, so that both have room for more.
        let parts = runs.len().div_ceil(room);
        let mut parts = runs.chunks(runs.len().div_ceil(parts));
        let own = parts.next().unwrap_or_default();
        records::write(txn.edit::<RefcountBlock>(leaf.block)?.records_mut(), own, capacity);
        for part in parts {
            let cpos = part.first().map_or(0, |run| run.start as u32);
            let at = self.new_leaf(txn, cpos, part)?;
            let extent = leaf_extent(cpos, at);
            tree::insert(txn, self.tree(), extent)?;
        }
        Ok(())
    }

    /// A new block with records, not yet in the tree.
    fn new_leaf(self, txn: &mut Txn<'_>, cpos: u32, runs: &[Run]) -> Result<BlockNo> {
        let generation = self.generation(txn)?;
        let (at, block) = new_block(txn, generation)?;
        block.rf_parent.set(self.root.0);
        block.rf_flags.set(RefcountFlags::LEAF.bits());
        block.rf_cpos.set(cpos);
        let capacity = txn.geometry().recs_per_refcount_block();
        records::write(txn.edit::<RefcountBlock>(at)?.records_mut(), runs, capacity);
        Ok(at)
    }

    /// Moves the root's records to a first leaf.
    fn grow(self, txn: &mut Txn<'_>) -> Result<Leaf> {
        let block = self.read(txn, self.root)?;
        let runs = records::read(view::<RefcountBlock>(&block).records());
        drop(block);
        let at = self.new_leaf(txn, 0, &runs)?;
        let capacity = txn.geometry().recs_per_refcount_block();
        let root = txn.edit::<RefcountBlock>(self.root)?;
        root.rf_flags.set(RefcountFlags::TREE.bits());
        root.rf_clusters.set(0);
        root.rf_last_eb_blk.set(0);
        root.list_mut().init(capacity);
        tree::insert(txn, self.tree(), leaf_extent(0, at))?;
        Ok(Leaf {
            block: at,
            from: 0,
            to: ALL,
        })
    }

    /// Takes a leaf without records out of the tree; without leaves, the root has records again.
    fn drop_leaf(self, txn: &mut Txn<'_>, leaf: Leaf) -> Result<()> {
        tree::remove(txn, self.tree(), leaf.from as u32, 1)?;
        self.free(txn, leaf.block)?;
        let capacity = txn.geometry().recs_per_refcount_block();
        let root = txn.edit::<RefcountBlock>(self.root)?;
        if root.rf_clusters.get() == 0 {
            root.rf_flags.set(0);
            root.rf_last_eb_blk.set(0);
            root.list_mut().as_mut_bytes().zero();
            root.records_mut().rl_count.set(capacity);
        }
        Ok(())
    }

    fn free(self, txn: &mut Txn<'_>, at: BlockNo) -> Result<()> {
        let block = self.read(txn, at)?;
        let header = view::<RefcountBlock>(&block);
        let (slot, bit) = (SlotNum(header.rf_suballoc_slot.get()), header.rf_suballoc_bit.get());
        let loc = header.rf_suballoc_loc.get();
        drop(block);
        txn.free_block(at, slot, bit, loc)
    }

    /// A tree without records, with one inode attached that does not know it yet.
    pub(super) fn create(txn: &mut Txn<'_>, inode: InodeNo) -> Result<Counts> {
        let generation = txn.core().new_generation().0;
        let capacity = txn.geometry().recs_per_refcount_block();
        let (root, block) = new_block(txn, generation)?;
        block.rf_count.set(1);
        block.records_mut().rl_count.set(capacity);
        Ok(Counts { root, inode })
    }

    /// Counts one more inode.
    pub(super) fn attach(self, txn: &mut Txn<'_>) -> Result<()> {
        let too_many = self.corrupt(self.root, "a refcount tree has more inodes than can be counted");
        let root = txn.edit::<RefcountBlock>(self.root)?;
        let count = root.rf_count.get().checked_add(1).ok_or(too_many)?;
        root.rf_count.set(count);
        Ok(())
    }

    /// Counts one inode less; without inodes the tree goes.
    pub(super) fn detach(self, txn: &mut Txn<'_>) -> Result<()> {
        let broken = self.corrupt(self.root, "a refcount tree has lost count of its inodes");
        let left_over = self.corrupt(self.root, "a refcount tree counts references of no inode");
        let root = txn.edit::<RefcountBlock>(self.root)?;
        let count = root.rf_count.get().checked_sub(1).ok_or(broken)?;
        root.rf_count.set(count);
        if count > 0 {
            return Ok(());
        }
        if root.flags().contains(RefcountFlags::TREE) || !root.records().records().is_empty() {
            return Err(left_over);
        }
        self.free(txn, self.root)
    }
}

fn leaf_extent(cpos: u32, at: BlockNo) -> Extent {
    Extent {
        cpos,
        clusters: 1,
        blkno: at,
        flags: ExtentFlags::empty(),
    }
}

fn new_block<'x>(txn: &'x mut Txn<'_>, generation: u32) -> Result<(BlockNo, &'x mut RefcountBlock)> {
    let place = txn.alloc_block()?;
    let fs_generation = txn.geometry().generation.0;
    let block = txn.create::<RefcountBlock>(place.block)?;
    block.rf_signature = Signature::REFCOUNT_BLOCK;
    block.rf_suballoc_slot.set(place.slot.0);
    block.rf_suballoc_bit.set(place.bit);
    block.rf_suballoc_loc.set(place.loc);
    block.rf_fs_generation.set(fs_generation);
    block.rf_blkno.set(place.block.0);
    block.rf_generation.set(generation);
    Ok((place.block, block))
}
