//! Making room before a transaction begins.
//!
//! Allocators are locked in one order by everybody: inode_alloc, extent_alloc, local alloc, truncate log, global bitmap;
//! and of the inode_allocs and of the extent_allocs one each. So whoever finds an allocator empty gives back all of them
//! before the next slot's is tried.
//!
//! Source: cluster reference, section 6.5; on-disk reference, sections 13 to 15.

use ocfs2_format::{ClusterNo, Corrupt, InodeNo, LockId, SlotNum, Structure, SystemFile, Violation};

use super::chain::Allocator;
use super::truncate_log::Log;
use super::window::Window;
use super::{Need, lock};
use crate::error::{Error, Result};
use crate::meta::Blocks;
use crate::mounted::{Core, Level, LockSet, Txn};

/// What [`LockSet::reserve`] has got.
#[derive(Debug, Default)]
pub(crate) struct Grant {
    /// Locks that it has taken, and gives back when it is called again.
    locks: Vec<LockId>,
    /// Bits of suballocators that the transaction counts on.
    promised: Vec<(InodeNo, u32)>,
    /// Whose inode_alloc inodes come from.
    pub(super) inode_slot: Option<SlotNum>,
    /// Whose extent_alloc blocks come from.
    pub(super) block_slot: Option<SlotNum>,
    /// The global bitmap is locked.
    pub(super) bitmap: bool,
    /// Clusters come from the bitmap rather than the window.
    pub(super) prefer_bitmap: bool,
}

impl Grant {
    pub(super) fn has(&self, id: LockId) -> bool {
        self.locks.contains(&id)
    }

    /// Free bits that an allocator has to keep.
    pub(super) fn promised(&self, allocator: InodeNo) -> u32 {
        let bits = self.promised.iter().filter(|(inode, _)| *inode == allocator);
        bits.map(|(_, bits)| *bits).sum()
    }
}

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Short {
    Inodes,
    Blocks,
    Clusters,
    /// The global bitmap, while others are in the air.
    Ground,
}

/// Ways to find more free clusters, the cheap ones first.
#[derive(Clone, Copy, Debug)]
enum Step {
    FlushTruncateLog,
    Commit,
    CloseWindow,
    Checkpoint,
    ReturnGroups,
}

impl LockSet<'_> {
    /// Takes the locks of the allocators and makes sure that everything in `need` can be had and every free be noted.
    /// Returns the credits that this may take of the transaction. It is the last lock taken before
    /// [`begin`](Self::begin); a later call gives back what an earlier one has taken.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Lock`], [`Error::Corrupt`], the journal's.
    pub(crate) fn reserve(&mut self, need: Need) -> Result<u32> {
        self.core().require_writable()?;
        self.release_allocators();
        if !lock(&self.core().space).deferred.is_empty() {
            self.free_deferred()?;
        }
        let core = self.core();
        let (own, slots) = (core.slot.0, core.geometry().max_slots.max(1));
        // This slot's allocators, then those of the slots behind it, around.
        let slot = |index: u16| SlotNum(((u32::from(own) + u32::from(index)) % u32::from(slots)) as u16);
        let (mut inode_index, mut block_index) = (0, 0);
        let mut grounded = None;
        loop {
            let short = match self.try_reserve(need, slot(inode_index), slot(block_index))? {
                Ok(credits) => return Ok(credits),
                Err(short) => short,
            };
            self.release_allocators();
            match short {
                Short::Inodes if inode_index + 1 < slots => inode_index += 1,
                Short::Blocks if block_index + 1 < slots => block_index += 1,
                Short::Ground if grounded.is_none() => grounded = Some(core.ground()),
                _ => return Err(Error::NoSpace),
            }
        }
    }

    /// Gives back what [`reserve`](Self::reserve) has taken.
    pub(crate) fn release_allocators(&mut self) {
        while let Some(id) = self.space.locks.pop() {
            self.release(id);
        }
        self.space = Grant::default();
    }

    /// Locks an allocator.
    pub(super) fn lock_space(&mut self, inode: InodeNo) -> Result<()> {
        let id = self.core().meta_lock(inode);
        if !self.holds(id) {
            self.take(id, Level::Exclusive)?;
            self.space.locks.push(id);
        }
        Ok(())
    }

    /// Gives back one of the allocators before the others.
    fn unlock_space(&mut self, inode: InodeNo) {
        let id = self.core().meta_lock(inode);
        self.space.locks.retain(|&held| held != id);
        self.release(id);
    }

    /// Locks the global bitmap, and what comes before it: the window, then the truncate log. `false` if others are in the air, who want the window as it is.
    fn lock_bitmap(&mut self) -> Result<bool> {
        let core = self.core();
        self.lock_space(core.local_alloc_inode()?)?;
        if !lock(&core.space).flights.is_empty() {
            return Ok(false);
        }
        self.lock_space(core.truncate_log_inode()?)?;
        self.lock_space(core.bitmap_inode()?)?;
        self.space.bitmap = true;
        Ok(true)
    }

    fn try_reserve(
        &mut self,
        need: Need,
        inode_slot: SlotNum,
        block_slot: SlotNum,
    ) -> Result<std::result::Result<u32, Short>> {
        let core = self.core();
        let mut credits = 0;
        let mut growing = Vec::new();
        let wanted = [
            (
                SystemFile::InodeAlloc,
                inode_slot,
                need.inodes,
                need.inodes > 0,
                Short::Inodes,
            ),
            // Frees of clusters come with those of extent blocks.
            (
                SystemFile::ExtentAlloc,
                block_slot,
                need.blocks,
                need.blocks > 0 || need.frees > 0,
                Short::Blocks,
            ),
        ];
        for (file, slot, wanted, is_used, short) in wanted {
            if !is_used {
                continue;
            }
            let inode = core.system.find(file, slot)?;
            self.lock_space(inode)?;
            self.space.promised.push((inode, wanted));
            let allocator = Allocator::read(core, inode)?;
            if allocator.free() >= wanted {
                credits += allocator.credits(wanted);
                continue;
            }
            if slot != core.slot {
                return Ok(Err(short));
            }
            growing.push((file, inode, wanted, short));
        }
        self.space.inode_slot = (need.inodes > 0).then_some(inode_slot);
        self.space.block_slot = (need.blocks > 0).then_some(block_slot);
        for (file, inode, wanted, short) in growing {
            if !self.lock_bitmap()? {
                return Ok(Err(Short::Ground));
            }
            while Allocator::read(core, inode)?.free() < wanted {
                let clusters = Allocator::read(core, inode)?.parent.clusters_per_group;
                let is_hopeless = lock(&core.space).cannot_grow.contains(&inode);
                if is_hopeless || !self.with_room(clusters.into(), |locks| locks.grow(file))? {
                    lock(&core.space).cannot_grow.insert(inode);
                    return Ok(Err(short));
                }
            }
            credits += Allocator::read(core, inode)?.credits(wanted);
        }
        if need.clusters > 0 {
            if let Err(short) = self.reserve_clusters(need.clusters)? {
                return Ok(Err(short));
            }
            credits += self.cluster_credits(need.clusters);
        }
        if need.frees > 0 {
            match self.reserve_frees(need.frees)? {
                Ok(more) => credits += more,
                Err(short) => return Ok(Err(short)),
            }
        }
        Ok(Ok(credits))
    }

    /// Makes sure that clusters can be had, in whatever pieces.
    fn reserve_clusters(&mut self, clusters: u32) -> Result<std::result::Result<(), Short>> {
        let core = self.core();
        let inode = core.local_alloc_inode()?;
        self.lock_space(inode)?;
        {
            let mut state = lock(&core.space);
            let window = Window::read(core, inode)?.without(&state.flights);
            if clusters <= u32::from(window.total) / 2
                && let Some(at) = window.find_run(clusters, state.room_at)
            {
                state.room_at = at;
                return Ok(Ok(()));
            }
        }
        if !self.lock_bitmap()? {
            return Ok(Err(Short::Ground));
        }
        if clusters <= core.window_clusters() / 2 && self.move_window()? {
            let window = Window::read(core, inode)?;
            if window.free() >= clusters {
                return Ok(Ok(()));
            }
        }
        let window = Window::read(core, inode)?;
        self.space.prefer_bitmap = clusters > window.free();
        let has_room = self.with_room(clusters, |locks| {
            let core = locks.core();
            let in_window = Window::read(core, core.local_alloc_inode()?)?.free();
            core.has_clusters(clusters.saturating_sub(in_window))
        })?;
        Ok(if has_room { Ok(()) } else { Err(Short::Clusters) })
    }

    fn cluster_credits(&self, clusters: u32) -> u32 {
        /// Groups that the clusters of one operation come from: more than that and the transaction is extended.
        const GROUPS: u32 = 16;
        let groups = clusters.min(GROUPS).min(self.core().geometry().cluster_groups());
        // The window; the bitmap and its groups.
        1 + if self.space.bitmap { 1 + groups } else { 0 }
    }

    /// Makes sure that so many runs can be noted in the truncate log.
    fn reserve_frees(&mut self, frees: u32) -> Result<std::result::Result<u32, Short>> {
        let core = self.core();
        let inode = core.truncate_log_inode()?;
        self.lock_space(inode)?;
        let log = Log::read(core, inode)?;
        if log.room() >= frees {
            return Ok(Ok(1));
        }
        if !self.holds(core.meta_lock(core.local_alloc_inode()?)) {
            // The window comes before the log.
            self.unlock_space(inode);
        }
        if !self.lock_bitmap()? {
            return Ok(Err(Short::Ground));
        }
        self.flush_truncate_log(core.slot)?;
        // Runs that the whole log has no room for go to the bitmap at once.
        let over = frees.saturating_sub(log.count.into());
        Ok(Ok(1 + if over > 0 { 1 + over } else { 0 }))
    }

    /// Tries something, and tries again after each step that may have made room for it. The global bitmap is locked.
    fn with_room(&mut self, clusters: u32, mut attempt: impl FnMut(&mut Self) -> Result<bool>) -> Result<bool> {
        const STEPS: [Step; 5] = [
            Step::FlushTruncateLog,
            Step::Commit,
            Step::CloseWindow,
            Step::Checkpoint,
            Step::ReturnGroups,
        ];
        if attempt(self)? {
            return Ok(true);
        }
        let core = self.core();
        for step in STEPS {
            let has_no_groups = lock(&core.space).no_empty_groups;
            if has_no_groups && self.potential()? < clusters.into() {
                return Ok(false);
            }
            let try_again = match step {
                Step::FlushTruncateLog => {
                    self.flush_truncate_log(core.slot)?;
                    false
                }
                Step::Commit => {
                    core.journal()?.commit()?;
                    true
                }
                Step::CloseWindow => {
                    let had = Window::read(core, core.local_alloc_inode()?)?.free() > 0;
                    self.close_window()?;
                    had
                }
                Step::Checkpoint => {
                    core.journal()?.checkpoint()?;
                    true
                }
                Step::ReturnGroups => {
                    let any = self.return_empty_groups()?;
                    if any {
                        core.journal()?.checkpoint()?;
                    }
                    any
                }
            };
            if try_again && attempt(self)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Clusters that are free, or will be when what waits is done.
    fn potential(&self) -> Result<u64> {
        let core = self.core();
        let bitmap = Allocator::read(core, core.bitmap_inode()?)?;
        let window = Window::read(core, core.local_alloc_inode()?)?;
        let log = Log::read(core, core.truncate_log_inode()?)?;
        Ok(u64::from(bitmap.free()) + u64::from(window.free()) + log.clusters())
    }
}

impl Core {
    /// Gives the window back and flushes the truncate log: before the journal is closed.
    ///
    /// # Errors
    /// [`Error::Corrupt`], the journal's.
    pub(crate) fn release_space(&self) -> Result<()> {
        let mut locks = LockSet::new(self);
        locks.free_deferred()?;
        let _grounded = self.ground();
        locks.lock_bitmap()?;
        locks.flush_truncate_log(self.slot)?;
        locks.close_window()
    }

    /// Gives what was freed back to the global bitmap, where it can be allocated again once that is durable.
    ///
    /// # Errors
    /// [`Error::Corrupt`], the journal's.
    pub(crate) fn flush_frees(&self) -> Result<()> {
        let mut locks = LockSet::new(self);
        locks.free_deferred()?;
        locks.lock_space(self.truncate_log_inode()?)?;
        locks.lock_space(self.bitmap_inode()?)?;
        locks.flush_truncate_log(self.slot)
    }

    /// Fails if this slot has a window of the global bitmap that no crash explains: nobody knows what is in use of it.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(crate) fn require_no_window(&self) -> Result<()> {
        let inode = self.local_alloc_inode()?;
        let mut locks = LockSet::new(self);
        locks.take(self.meta_lock(inode), Level::Shared)?;
        let window = Window::read(self, inode)?;
        if (window.start, window.total, window.used) == (ClusterNo(0), 0, 0) {
            return Ok(());
        }
        let why = "the local alloc has a window, and the journal of its slot is clean";
        let corrupt = Corrupt::new(Structure::LocalAlloc, Violation::Rule(why));
        Err(corrupt.at_block(inode.block()).in_inode(inode).into())
    }

    /// Takes back what a crashed slot had in its local alloc and truncate log: after its journal was replayed, and before
    /// its journal's mark is cleared, durably.
    ///
    /// # Errors
    /// [`Error::Corrupt`], the journal's.
    pub(crate) fn recover_slot_space(&self, slot: SlotNum) -> Result<()> {
        let mut locks = LockSet::new(self);
        locks.lock_space(self.system.find(SystemFile::LocalAlloc, slot)?)?;
        locks.lock_space(self.system.find(SystemFile::TruncateLog, slot)?)?;
        locks.lock_space(self.bitmap_inode()?)?;
        let window = Window::read(self, self.system.find(SystemFile::LocalAlloc, slot)?)?;
        if window.total > 0 {
            let mut txn = locks.begin(Txn::MOVE_WINDOW_CREDITS)?;
            txn.return_window(slot)?;
            txn.commit()?;
        }
        locks.flush_truncate_log(slot)
    }
}
