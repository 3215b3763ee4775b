//! Clusters that data is being written to before anything says that they are taken.
//!
//! ```text
//! take off: choose in the window, under its lock -> write data, under no allocator's lock -> land: one transaction
//! ```
//!
//! So writers of different files wait for each other's searches and commits, and not for each other's data. On disk the
//! clusters stay free until the transaction commits that shows them in the file: a crash, or an error, leaves no trace.
//! In memory nobody else gets them: they count as taken in the window, and the window stays as long as somebody is in the
//! air. Whoever needs the global bitmap, and may so move the window, waits until all have landed, and lets nobody take
//! off meanwhile.
//!
//! Who is in the air waits for no lock but those of allocators, which nobody holds who waits for landings; so all land.
//!
//! Source: on-disk reference, sections 14 and 24.4.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use ocfs2_format::{ClusterNo, InodeNo, SystemFile};

use super::chain::Allocator;
use super::resv::Request;
use super::window::Window;
use super::{ClusterRun, bits, lock};
use crate::error::Result;
use crate::mounted::{Core, LockSet, Txn};

/// All that are in the air.
#[derive(Debug, Default)]
pub(super) struct Flights {
    /// First cluster and how many.
    runs: BTreeMap<u32, u32>,
    /// Who waits until there are none.
    waiting: u32,
}

impl Flights {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether nobody may take off, because somebody waits until all have landed.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waiting > 0
    }

    /// Sets the bits of all that lie in a window. Returns how many were clear.
    pub(super) fn mark(&self, start: ClusterNo, total: u16, bitmap: &mut [u8]) -> u16 {
        let mut marked = 0;
        for (&first, &clusters) in &self.runs {
            for cluster in first..first.saturating_add(clusters) {
                let Some(bit) = cluster.checked_sub(start.0).filter(|&bit| bit < total.into()) else {
                    continue;
                };
                if !ocfs2_format::test_bit(bitmap, bit as usize) {
                    bits::mark(bitmap, bit as usize);
                    marked += 1;
                }
            }
        }
        marked
    }
}

/// Clusters that nobody else gets as long as this lives.
#[derive(Debug)]
pub(crate) struct Flight<'c> {
    core: &'c Core,
    runs: Vec<ClusterRun>,
}

impl Flight<'_> {
    pub(crate) fn runs(&self) -> &[ClusterRun] {
        &self.runs
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.core.space);
        for run in &self.runs {
            state.flights.runs.remove(&run.start.0);
        }
        if state.flights.is_empty() {
            self.core.landed.notify_all();
        }
    }
}

/// Lets nobody take off.
#[derive(Debug)]
pub(super) struct Grounding<'c>(&'c Core);

impl Drop for Grounding<'_> {
    fn drop(&mut self) {
        lock(&self.0.space).flights.waiting -= 1;
    }
}

impl Core {
    /// Waits until nobody is in the air. No allocator is locked.
    pub(super) fn ground(&self) -> Grounding<'_> {
        let mut state = lock(&self.space);
        state.flights.waiting += 1;
        while !state.flights.is_empty() {
            state = self.landed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Grounding(self)
    }
}

impl<'c> LockSet<'c> {
    /// Chooses so many clusters in the window, in so many runs at most, for data to be written to: after `goal` if that is
    /// free. `None` if they are better allocated otherwise, or not so many blocks of metadata are at hand for the landing.
    /// Gives back what [`reserve`](Self::reserve) has taken.
    ///
    /// # Errors
    /// [`Error::Lock`](crate::Error::Lock), [`Error::Corrupt`](crate::Error::Corrupt).
    pub(crate) fn take_off(
        &mut self,
        owner: InodeNo,
        goal: Option<ClusterNo>,
        (clusters, most_runs): (u32, usize),
        blocks: u32,
    ) -> Result<Option<Flight<'c>>> {
        let core = self.core();
        // Locks of quotas come before those of allocators, and are waited for.
        if core.counts_any_quota() {
            return Ok(None);
        }
        let flight = match self.prepare_landing(blocks)? {
            Some(_) => core.choose_flight(owner, goal, clusters, most_runs),
            None => Ok(None),
        };
        self.release_allocators();
        flight
    }

    /// Locks what it takes to land: for a transaction that calls [`Txn::land`], and allocates so many blocks of metadata.
    /// Returns the credits that this takes; `None` if there are not as many blocks at hand.
    ///
    /// # Errors
    /// As [`take_off`](Self::take_off).
    pub(crate) fn prepare_landing(&mut self, blocks: u32) -> Result<Option<u32>> {
        let core = self.core();
        self.release_allocators();
        let mut credits = 1;
        if blocks > 0 {
            let inode = core.system.find(SystemFile::ExtentAlloc, core.slot)?;
            self.lock_space(inode)?;
            let allocator = Allocator::read(core, inode)?;
            if allocator.free() < blocks {
                return Ok(None);
            }
            credits += allocator.credits(blocks);
            self.space.block_slot = Some(core.slot);
        }
        self.lock_space(core.local_alloc_inode()?)?;
        Ok(Some(credits))
    }
}

impl Core {
    fn choose_flight(
        &self,
        owner: InodeNo,
        goal: Option<ClusterNo>,
        clusters: u32,
        most_runs: usize,
    ) -> Result<Option<Flight<'_>>> {
        let window = Window::read(self, self.local_alloc_inode()?)?;
        let keep = self.kept_for(self, owner);
        let mut state = lock(&self.space);
        let window = window.without(&state.flights);
        if state.flights.is_waited_for() || clusters > u32::from(window.total) / 2 || clusters > window.free() {
            return Ok(None);
        }
        let mut busy = window.bitmap().to_vec();
        let mut goal = goal.and_then(|goal| window.bit(goal));
        let mut runs = Vec::new();
        let mut left = clusters;
        state.reservations.enter(window.start, window.total);
        while left > 0 {
            let request = Request {
                owner,
                goal,
                min: 1,
                // Not more than the window has.
                max: left as u16,
                keep,
                align: self.alignment(left),
            };
            if runs.len() == most_runs {
                return Ok(None);
            }
            let Some(run) = state.reservations.find(&busy, &request) else {
                return Ok(None);
            };
            bits::flip(&mut busy, run, true);
            goal = run.0.checked_add(run.1).filter(|&next| next < window.total);
            left -= u32::from(run.1);
            runs.push(ClusterRun {
                start: ClusterNo(window.start.0 + u32::from(run.0)),
                clusters: run.1.into(),
            });
        }
        for run in &runs {
            state.flights.runs.insert(run.start.0, run.clusters);
        }
        Ok(Some(Flight { core: self, runs }))
    }
}

impl Txn<'_> {
    /// Takes the clusters of a flight, which goes on until the transaction has been committed: the owner shows them in the
    /// same transaction. Under [`LockSet::prepare_landing`].
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt), the journal's.
    pub(crate) fn land(&mut self, flight: &Flight<'_>) -> Result<()> {
        let window = Window::read(self, self.core().local_alloc_inode()?)?;
        for run in &flight.runs {
            // The window is that of the take-off, and has 16-bit numbers.
            let first = window.bit(run.start).unwrap_or(u16::MAX);
            self.take_from_window((first, run.clusters as u16))?;
        }
        Ok(())
    }
}
