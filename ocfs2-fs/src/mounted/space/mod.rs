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

mod bits;
mod chain;
mod clusters;
mod flight;
mod grow;
mod reserve;
mod resv;
mod stats;
mod suballoc;
#[cfg(test)]
mod tests;
mod truncate_log;
mod window;

use std::collections::{HashMap, HashSet};
use std::ops::{Add, AddAssign};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ocfs2_format::{BlockNo, ClusterNo, Corrupt, Dinode, InodeNo, LockId, SlotNum, Structure, SystemFile, Violation};

pub(super) use reserve::Grant as SpaceGrant;
pub use stats::FsStats;

use self::clusters::Search;
use self::flight::Flights;
use self::resv::Reservations;
use self::suballoc::Deferred;
use super::locks::{Grant, LockError};
use super::{Core, Level, LockSet, Txn};
use crate::error::{Error, Result};
use crate::meta::{BlockBuf, Blocks, Locality};

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

/// What is remembered of the allocators between operations. All of it is about how to search, and can be wrong: what is
/// allocated is on disk and in transactions only. But for the flights: who forgets those lets others write there too.
#[derive(Debug, Default)]
pub(crate) struct SpaceState {
    reservations: Reservations,
    flights: Flights,
    /// Bit of the window where there was room last.
    room_at: u16,
    /// The group that each allocator last gave from.
    last_groups: HashMap<InodeNo, BlockNo>,
    /// There was no room for a window, and nothing has been freed since.
    window_is_off: bool,
    /// There was no room for a group of these suballocators, and nothing has been freed since.
    cannot_grow: HashSet<InodeNo>,
    /// No group of a suballocator is empty.
    no_empty_groups: bool,
    /// Blocks that are free as far as the file system goes, but not in their allocators yet.
    deferred: Vec<Deferred>,
}

/// Nothing in the state can be left half-changed.
fn lock(state: &Mutex<SpaceState>) -> MutexGuard<'_, SpaceState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The block of an allocator's dinode, which the caller checks: once, where `Inode` would twice.
fn read_dinode(meta: &dyn Blocks, inode: InodeNo) -> Result<BlockBuf> {
    meta.verified(
        inode.block(),
        Structure::Dinode,
        Dinode::CHECK_OFFSET,
        Locality::Clustered,
    )
}

/// A transaction's side of allocation: the locks that it works under.
#[derive(Debug)]
pub(super) struct TxnSpace<'t> {
    core: &'t Core,
    grant: &'t SpaceGrant,
    /// Allocators that were locked in the middle of the transaction because nobody else had them.
    extra: Vec<LockId>,
    deferred: Vec<Deferred>,
}

impl<'t> TxnSpace<'t> {
    pub(super) fn new(core: &'t Core, grant: &'t SpaceGrant) -> TxnSpace<'t> {
        TxnSpace {
            core,
            grant,
            extra: Vec::new(),
            deferred: Vec::new(),
        }
    }

    /// The transaction was committed.
    pub(super) fn committed(mut self) {
        if !self.deferred.is_empty() {
            lock(&self.core.space).deferred.append(&mut self.deferred);
        }
    }
}

impl Drop for TxnSpace<'_> {
    fn drop(&mut self) {
        for id in self.extra.drain(..) {
            self.core.locks.unlock(id, Level::Exclusive);
        }
    }
}

impl LockSet<'_> {
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
        let (min, max) = (min.max(1), max.max(1));
        let bitmap_first = self.space.grant.prefer_bitmap;
        for from_bitmap in [bitmap_first, !bitmap_first] {
            let run = if from_bitmap {
                self.alloc_from_bitmap(goal, min, max)?
            } else if self.lock_allocator(self.core().local_alloc_inode()?)? {
                self.alloc_from_window(owner, goal, min, max)?
            } else {
                None
            };
            if let Some(run) = run {
                return Ok(run);
            }
        }
        Err(Error::NoSpace)
    }

    fn alloc_from_bitmap(&mut self, goal: Option<ClusterNo>, min: u32, max: u32) -> Result<Option<ClusterRun>> {
        let core = self.core();
        // The bitmap and the group.
        if !self.lock_allocator(core.bitmap_inode()?)? || (self.credits_left() < 2 && !self.try_extend(2)?) {
            return Ok(None);
        }
        let search = Search {
            goal,
            min,
            max,
            below: None,
            thorough: false,
        };
        match core.find_clusters(self, &search)? {
            Some(found) => self.take_found(&found).map(Some),
            None => Ok(None),
        }
    }

    /// Makes sure that an allocator is locked: by [`LockSet::reserve`], or now if that takes no waiting.
    fn lock_allocator(&mut self, inode: InodeNo) -> Result<bool> {
        let id = self.core().meta_lock(inode);
        if self.space.grant.has(id) || self.space.extra.contains(&id) {
            return Ok(true);
        }
        match self.core().locks.try_lock(id, Level::Exclusive) {
            Ok(grant) => {
                self.space.extra.push(id);
                if grant == Grant::Refresh {
                    self.core().home().invalidate();
                }
                Ok(true)
            }
            Err(LockError::Busy) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Allocates a block of metadata. Its contents are undefined: [`create`](Self::create) it.
    ///
    /// # Errors
    /// As [`alloc_clusters`](Self::alloc_clusters).
    pub(crate) fn alloc_block(&mut self) -> Result<SubBlock> {
        let slot = self.space.grant.block_slot.ok_or(Error::NoSpace)?;
        self.alloc_sub(SystemFile::ExtentAlloc, slot, None)
    }

    /// Allocates the block of an inode, near that of its directory if possible.
    ///
    /// # Errors
    /// As [`alloc_clusters`](Self::alloc_clusters).
    pub(crate) fn alloc_inode(&mut self, parent: InodeNo) -> Result<SubBlock> {
        let slot = self.space.grant.inode_slot.ok_or(Error::NoSpace)?;
        let near = self.group_of(parent, slot);
        self.alloc_sub(SystemFile::InodeAlloc, slot, near)
    }

    /// Frees clusters: they can be allocated again when the transaction is durable and the truncate log was flushed.
    ///
    /// # Errors
    /// [`Error::Corrupt`], the journal's.
    pub(crate) fn free_clusters(&mut self, start: ClusterNo, clusters: u32) -> Result<()> {
        let core = self.core();
        let end = u64::from(start.0) + u64::from(clusters);
        if start.0 == 0 || end > u64::from(core.geometry().clusters) {
            let violation = Violation::Rule("clusters to be freed lie outside the volume");
            return Err(Corrupt::new(Structure::ExtentList, violation).into());
        }
        if clusters == 0 {
            return Ok(());
        }
        let log = core.truncate_log_inode()?;
        let unreserved = Error::Busy {
            why: "another operation has the truncate log, and this one has not reserved it".to_owned(),
        };
        if !self.lock_allocator(log)? {
            return Err(unreserved);
        }
        if self.log_free(start, clusters)? {
            return Ok(());
        }
        // More runs than were announced, or than the log has records.
        if !self.lock_allocator(core.bitmap_inode()?)? || (self.credits_left() < 2 && !self.try_extend(2)?) {
            return Err(unreserved);
        }
        self.retire_record(log)?;
        self.log_free(start, clusters)?;
        Ok(())
    }

    /// Frees a block of metadata, and [forgets](Self::forget) it.
    ///
    /// # Errors
    /// [`Error::Corrupt`], the journal's.
    pub(crate) fn free_block(&mut self, block: BlockNo, slot: SlotNum, bit: u16, loc: u64) -> Result<()> {
        self.forget(block, 1)?;
        let at = SubBlock { block, slot, bit, loc };
        self.free_sub_or_defer(SystemFile::ExtentAlloc, at)
    }

    /// Clears the bit of an inode under [`LockSet::inode_alloc`] of its slot. The caller marks the dinode as deleted in
    /// the same transaction.
    ///
    /// # Errors
    /// [`Error::Corrupt`], the journal's.
    pub(crate) fn free_inode(&mut self, at: SubBlock) -> Result<()> {
        self.free_sub(SystemFile::InodeAlloc, at)
    }
}

impl Core {
    /// Forgets what space is kept for an inode to grow into: when it is closed.
    pub(crate) fn forget_reservation(&self, owner: InodeNo) {
        lock(&self.space).reservations.forget(owner);
    }
}
