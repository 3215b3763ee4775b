//! Handles: changes of one operation, kept apart from everybody else's until they are complete.

use std::collections::BTreeMap;
use std::mem;

use ocfs2_format::{BlockCheck, BlockNo};

use super::{CheckAt, Tid, Version};
use crate::JournalError;
use crate::journal::Shared;
use crate::state::{HandleId, Newest, State};
use crate::sync::{Arc, MutexGuard, wait};

/// An operation that changes blocks.
///
/// The handle works on private copies. [`commit`](Self::commit) makes all of them visible at once and lets them reach the
/// disk together; dropping the handle undoes everything, so that `?` is safe anywhere.
///
/// Nobody else may be changing a block that the handle changes, from the first `modify` until the end of the handle: that
/// is what the caller's locks are for, and [`JournalError::Conflict`] tells where they fail.
///
/// A handle never waits for anything, so the caller may hold it while it works, but not while it waits for a second one:
/// the log may be full of what waits.
#[derive(Debug)]
pub struct Handle<'j> {
    shared: &'j Shared,
    id: HandleId,
    credits: u32,
    /// Credits that have been spent.
    used: u32,
    /// Blocks of the log that are set aside.
    reserved: u32,
    staged: BTreeMap<BlockNo, Staged>,
    forgotten: BTreeMap<BlockNo, Revoke>,
}

/// What a handle has of one block, or of several under one check field.
#[derive(Debug)]
struct Staged {
    /// Shared with nobody once it has been changed.
    image: Arc<[u8]>,
    check: Option<CheckAt>,
}

/// Whether the log may be told to leave out earlier images of a block; that takes a credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Revoke {
    Paid,
    No,
}

impl<'j> Handle<'j> {
    pub(crate) fn begin(shared: &'j Shared, credits: u32) -> Result<Handle<'j>, JournalError> {
        let (id, reserved) = shared.admit(credits)?;
        Ok(Handle {
            shared,
            id,
            credits,
            used: 0,
            reserved,
            staged: BTreeMap::new(),
            forgotten: BTreeMap::new(),
        })
    }

    /// Blocks that can still be changed.
    pub fn credits_left(&self) -> u32 {
        self.credits - self.used
    }

    /// Asks for more credits. `false` if the log has no room for them right now: waiting for it with a handle open could
    /// take forever, so the caller commits what it has, if it is whole, and goes on with a new handle.
    ///
    /// # Errors
    /// [`JournalError::HandleTooLarge`], [`JournalError::Aborted`], [`JournalError::Closed`].
    pub fn try_extend(&mut self, credits: u32) -> Result<bool, JournalError> {
        let credits = self.credits.saturating_add(credits);
        let mut state = self.shared.lock();
        state.open()?;
        let wanted = self.shared.price(&state, credits)?;
        if !state.reserve(wanted - self.reserved) {
            return Ok(false);
        }
        (self.credits, self.reserved) = (credits, wanted);
        Ok(true)
    }

    /// The block as this handle sees it; `None` if that is what its home holds.
    pub fn newest(&self, block: BlockNo) -> Option<Arc<[u8]>> {
        if self.forgotten.contains_key(&block) {
            return None;
        }
        let Some((&first, staged)) = self.staged.range(..=block).next_back() else {
            return self.shared.newest(block);
        };
        let size = self.shared.geometry.block_size();
        match usize::try_from(block.0 - first.0)
            .ok()
            .and_then(|n| n.checked_mul(size))
        {
            Some(0) if staged.image.len() == size => Some(staged.image.clone()),
            Some(start) if start < staged.image.len() => staged.image.get(start..start + size).map(Arc::from),
            _ => self.shared.newest(block),
        }
    }

    /// The block as this handle sees it, from its home if need be, where it is taken as it is.
    ///
    /// # Errors
    /// `Io`.
    pub fn read(&self, block: BlockNo) -> Result<Arc<[u8]>, JournalError> {
        match self.newest(block) {
            Some(image) => Ok(image),
            None => self.shared.read_home(block, 1),
        }
    }

    /// A private copy of a block to change, or of several that lie under one check field. The first call for a block costs
    /// a credit for each, further ones return the same copy.
    ///
    /// Where the journal has no version of the block, it is read from its home, as it is.
    ///
    /// # Errors
    /// Those of [`modify_with`](Self::modify_with), and `Io`.
    ///
    /// # Panics
    /// If the check field lies outside what it covers.
    pub fn modify(&mut self, block: BlockNo, check: Option<CheckAt>) -> Result<&mut [u8], JournalError> {
        let shared = self.shared;
        self.modify_with(block, check, || shared.read_home(block, CheckAt::blocks_of(check)))
    }

    /// The same for a caller that knows what the home of the block holds, because it keeps a cache or verifies what it
    /// reads. `home` is called when nobody but this handle can change the block any more, and only if the journal has no
    /// version of it.
    ///
    /// # Errors
    /// [`JournalError::OutOfCredits`], [`JournalError::Conflict`], [`JournalError::Freed`],
    /// [`JournalError::NotJournaled`], [`JournalError::Aborted`], and what `home` returns. The handle is as it was before.
    ///
    /// # Panics
    /// If the check field lies outside what it covers, or `home` returns another number of bytes than these blocks have.
    pub fn modify_with<E>(
        &mut self,
        block: BlockNo,
        check: Option<CheckAt>,
        home: impl FnOnce() -> Result<Arc<[u8]>, E>,
    ) -> Result<&mut [u8], E>
    where
        E: From<JournalError>,
    {
        let blocks = CheckAt::blocks_of(check);
        if !self.has_staged(block, blocks)? {
            let newest = self.claim(block, blocks, false)?;
            let image = match self.assemble(newest, home) {
                Ok(image) => image,
                Err(error) => {
                    self.unclaim(block, blocks);
                    return Err(error);
                }
            };
            self.used += blocks;
            self.staged.insert(block, Staged { image, check });
        }
        Ok(self.staged_bytes(block, check))
    }

    /// A zeroed block to fill, or several under one check field, whatever was there before: a block that has just been
    /// allocated. Costs as much as [`modify`](Self::modify).
    ///
    /// # Errors
    /// As [`modify_with`](Self::modify_with), but a freed block is what this is for.
    ///
    /// # Panics
    /// If the check field lies outside what it covers.
    pub fn create(&mut self, block: BlockNo, check: Option<CheckAt>) -> Result<&mut [u8], JournalError> {
        let blocks = CheckAt::blocks_of(check);
        if !self.has_staged(block, blocks)? {
            self.claim(block, blocks, true)?;
            for block in self.run(block, blocks) {
                self.unforget(block);
            }
            self.used += blocks;
        }
        let image = vec![0; self.shared.geometry.block_size() * blocks as usize].into();
        self.staged.insert(block, Staged { image, check });
        Ok(self.staged_bytes(block, check))
    }

    /// Blocks of metadata that this handle frees: what it or anybody changed in them need not reach the disk.
    ///
    /// They cannot be modified from now on, but created again, by this handle or a later one. For file data they may be
    /// used when [`Journal::may_reuse`](crate::Journal::may_reuse) says so.
    ///
    /// Costs nothing; where the log has the revoke feature, credits that are left are spent on revoke records.
    ///
    /// # Errors
    /// [`JournalError::Conflict`] if another handle is changing one of the blocks, or this handle is changing one together
    /// with others that are not freed; [`JournalError::NotJournaled`], [`JournalError::Aborted`]. Nothing is freed then.
    pub fn forget(&mut self, block: BlockNo, blocks: u32) -> Result<(), JournalError> {
        let end = BlockNo(block.0.saturating_add(blocks.into()));
        self.check_place(block, blocks)?;
        let size = self.shared.geometry.block_size() as u64;
        let inside = |(&first, staged): (&BlockNo, &Staged)| {
            first >= block && first.0 + staged.image.len() as u64 / size <= end.0
        };
        let before = self
            .staged
            .range(..block)
            .next_back()
            .filter(|(first, staged)| first.0 + staged.image.len() as u64 / size > block.0);
        if before.is_some() || !self.staged.range(block..end).all(inside) {
            return Err(JournalError::Conflict { block });
        }

        let shared = self.shared;
        let mut state = shared.lock();
        state.alive()?;
        let is_other = |other: Option<&HandleId>| other.is_some_and(|&other| other != self.id);
        if let Some(block) = self.run(block, blocks).find(|block| is_other(state.staged.get(block))) {
            return Err(JournalError::Conflict { block });
        }
        for block in self.run(block, blocks) {
            state.staged.insert(block, self.id);
            if let Some(staged) = self.staged.remove(&block) {
                self.used -= CheckAt::blocks_of(staged.check);
            }
        }
        for block in self.run(block, blocks) {
            let revoke = if shared.has_revokes && self.used < self.credits && state.may_have_image(block) {
                self.used += 1;
                Revoke::Paid
            } else {
                Revoke::No
            };
            if self.forgotten.insert(block, revoke) == Some(Revoke::Paid) {
                self.used -= 1;
            }
        }
        Ok(())
    }

    /// Merges everything into the running transaction, and returns which one that is. Nothing of it is durable before
    /// that transaction is; file data that was written before this call is durable as soon as it is.
    ///
    /// A handle that changed nothing belongs to no transaction; the number returned is that of one that is durable.
    ///
    /// # Errors
    /// [`JournalError::Aborted`]; nothing is changed then.
    pub fn commit(mut self) -> Result<Tid, JournalError> {
        let size = self.shared.geometry.block_size();
        let mut versions = Vec::with_capacity(self.used as usize);
        for (first, Staged { image, check }) in mem::take(&mut self.staged) {
            if image.len() == size {
                versions.push((first, Version { image, check, index: 0 }));
                continue;
            }
            for (index, part) in (0..).zip(image.chunks(size)) {
                let version = Version {
                    image: part.into(),
                    check,
                    index,
                };
                versions.push((BlockNo(first.0 + u64::from(index)), version));
            }
        }
        let shared = self.shared;
        let mut state = shared.lock();
        for (block, _) in &versions {
            state.staged.remove(block);
        }
        state.alive()?;
        if versions.is_empty() && self.forgotten.is_empty() {
            return Ok(state.durable);
        }
        for (&block, &revoke) in &self.forgotten {
            state.forget(block, revoke == Revoke::Paid);
        }
        for (block, version) in versions {
            state.add(block, version);
        }
        let tid = state.running.tid;
        if state.start_clock() {
            shared.wanted.notify_one();
        }
        Ok(tid)
    }

    /// Whether exactly these blocks have been staged together.
    fn has_staged(&self, block: BlockNo, blocks: u32) -> Result<bool, JournalError> {
        let end = BlockNo(block.0.saturating_add(blocks.into()));
        let Some((&first, staged)) = self.staged.range(..end).next_back() else {
            return Ok(false);
        };
        let size = self.shared.geometry.block_size() as u64;
        let staged_blocks = staged.image.len() as u64 / size;
        if first == block && staged_blocks == u64::from(blocks) {
            Ok(true)
        } else if first.0 + staged_blocks <= block.0 {
            Ok(false)
        } else {
            Err(JournalError::Conflict { block })
        }
    }

    /// Makes sure that nobody else changes these blocks, and finds their newest versions.
    fn claim(&self, block: BlockNo, blocks: u32, is_new: bool) -> Result<Vec<Newest>, JournalError> {
        self.check_place(block, blocks)?;
        if !is_new && let Some(block) = self.run(block, blocks).find(|block| self.forgotten.contains_key(block)) {
            return Err(JournalError::Freed { block });
        }
        // What was paid for a revoke record pays for the block that takes its place.
        let is_paid = |block: &BlockNo| self.forgotten.get(block) == Some(&Revoke::Paid);
        let paid = self.run(block, blocks).filter(is_paid).count() as u32;
        if self.used - paid + blocks > self.credits {
            let credits = self.credits;
            return Err(JournalError::OutOfCredits { block, credits });
        }
        let mut state = self.shared.lock();
        state.alive()?;
        let mut newest = Vec::with_capacity(blocks as usize);
        for block in self.run(block, blocks) {
            if state.staged.get(&block).is_some_and(|&other| other != self.id) {
                return Err(JournalError::Conflict { block });
            }
            newest.push(match state.newest(block) {
                Newest::Freed if !is_new => return Err(JournalError::Freed { block }),
                found => found,
            });
        }
        for block in self.run(block, blocks) {
            state.staged.insert(block, self.id);
        }
        Ok(newest)
    }

    fn unclaim(&self, block: BlockNo, blocks: u32) {
        let mut state = self.shared.lock();
        for block in self.run(block, blocks) {
            state.staged.remove(&block);
        }
    }

    /// What a private copy starts from.
    fn assemble<E>(&self, newest: Vec<Newest>, home: impl FnOnce() -> Result<Arc<[u8]>, E>) -> Result<Arc<[u8]>, E> {
        let size = self.shared.geometry.block_size();
        if let [Newest::Image(image)] = newest.as_slice() {
            return Ok(image.clone());
        }
        let mut bytes: Arc<[u8]> = if newest.iter().all(|newest| matches!(newest, Newest::Image(_))) {
            vec![0; newest.len() * size].into()
        } else {
            home()?
        };
        assert!(
            bytes.len() == newest.len() * size,
            "{} bytes of home are no {} blocks",
            bytes.len(),
            newest.len()
        );
        if newest.iter().any(|newest| matches!(newest, Newest::Image(_))) {
            for (part, newest) in Arc::make_mut(&mut bytes).chunks_mut(size).zip(&newest) {
                if let Newest::Image(image) = newest {
                    part.copy_from_slice(image);
                }
            }
        }
        Ok(bytes)
    }

    fn staged_bytes(&mut self, block: BlockNo, check: Option<CheckAt>) -> &mut [u8] {
        // Reached only behind `has_staged` or an insertion of this very block.
        let staged = self.staged.get_mut(&block).expect("the block has been staged");
        staged.check = check;
        let fits = |check: CheckAt| check.offset() + size_of::<BlockCheck>() <= staged.image.len();
        assert!(check.is_none_or(fits), "{check:?} lies outside its block");
        Arc::make_mut(&mut staged.image)
    }

    fn unforget(&mut self, block: BlockNo) {
        if self.forgotten.remove(&block) == Some(Revoke::Paid) {
            self.used -= 1;
        }
    }

    fn check_place(&self, block: BlockNo, blocks: u32) -> Result<(), JournalError> {
        // Of blocks that lie inside the volume, however many, none has a number that is too large to count on from.
        self.shared.check_place(block)?;
        self.run(block, blocks)
            .try_for_each(|block| self.shared.check_place(block))
    }

    fn run(&self, block: BlockNo, blocks: u32) -> impl Iterator<Item = BlockNo> + use<> {
        (block.0..block.0.saturating_add(blocks.into())).map(BlockNo)
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        let size = self.shared.geometry.block_size();
        let mut state = self.shared.lock();
        for (first, staged) in &self.staged {
            for block in self.run(*first, (staged.image.len() / size) as u32) {
                state.staged.remove(&block);
            }
        }
        for block in self.forgotten.keys() {
            state.staged.remove(block);
        }
        state.space.unreserve(self.reserved);
        state.handles -= 1;
        // Whoever waits for room in the log.
        if !state.queue.is_empty() {
            self.shared.changed.notify_all();
        }
    }
}

impl Shared {
    /// What a handle with so many credits has to set aside.
    fn price(&self, state: &State, credits: u32) -> Result<u32, JournalError> {
        let limit = state.space.max_credits();
        if credits > limit {
            let asked = credits;
            return Err(JournalError::HandleTooLarge { asked, limit });
        }
        Ok(self.costs.transaction(credits, 0))
    }

    /// Waits for room in the log, and makes some where nobody else does. Returns the handle's number and what is set
    /// aside for it.
    fn admit(&self, credits: u32) -> Result<(HandleId, u32), JournalError> {
        let mut state = self.lock();
        let price = self.price(&state, credits)?;
        let id = state.new_id();
        state.queue.push_back(id);
        let admitted = loop {
            if let Err(error) = state.open() {
                break Err(error);
            }
            if state.queue.front() != Some(&id) {
                state = wait(&self.changed, state);
            } else if state.reserve(price) {
                break Ok((id, price));
            } else {
                state = self.make_room(state);
            }
        };
        state.queue.retain(|&waiting| waiting != id);
        if admitted.is_ok() {
            state.handles += 1;
        }
        if !state.queue.is_empty() {
            self.changed.notify_all();
        }
        admitted
    }

    /// Does the next thing that leads to free blocks in the log, or waits while others do.
    fn make_room<'s>(&'s self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        // A failure of either is on record in the state.
        if state.logged.is_empty() || state.has_forgotten_too_much() {
            if state.committing.is_none() && !state.running.is_empty() {
                let tid = state.running.tid;
                drop(state);
                let _ = self.commit(tid);
                return self.lock();
            }
        } else if state.checkpointing.is_none() {
            let tid = state.durable;
            drop(state);
            let _ = self.checkpoint(tid);
            return self.lock();
        }
        wait(&self.changed, state)
    }
}
