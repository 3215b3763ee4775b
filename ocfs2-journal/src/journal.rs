//! An open journal that is written to.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use ocfs2_format::device::{AlignedBuf, BlockDevice, IoError};
use ocfs2_format::jbd2::{Incompat, Ring};
use ocfs2_format::{BlockNo, Geometry};

use crate::commit::LogIo;
use crate::io::{BlockBatch, offset_of, read_bytes};
use crate::space::{Costs, Space};
use crate::state::{Newest, State};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, lock, thread};
use crate::tail::Tail;
use crate::txn::{Handle, Tid};
use crate::worker::Worker;
use crate::{JournalError, Log, LogMap};

/// How a journal works.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// A thread commits what is older than this, and makes room in the log before it is full. Without it that is left to
    /// whoever asks for durability, or for room.
    pub commit_interval: Option<Duration>,
}

impl Default for JournalOptions {
    fn default() -> JournalOptions {
        JournalOptions {
            commit_interval: Some(Duration::from_secs(5)),
        }
    }
}

/// How much of the log is in use, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogUsage {
    /// Blocks of the ring.
    pub blocks: u32,
    /// Transactions that are in the log, or being written to it.
    pub logged: u32,
    /// What the running transaction would take.
    pub running: u32,
    /// What is set aside for open handles.
    pub reserved: u32,
    /// Blocks whose newest committed image is kept in memory until it is home.
    pub images: usize,
}

/// A journal that is written to: the only way for metadata to reach a mounted volume.
///
/// # Life cycle
///
/// The journal's inode belongs to the caller. Before [`open`](Self::open), the log has to be
/// [replayed](Log::replay) if the inode is dirty, or [discarded](Log::discard) if it is not; then the inode is marked as
/// dirty, durably, before the first handle begins: without the mark, nobody would replay what this journal leaves in a
/// crash. [`close`](Self::close) leaves an empty log; the mark may be cleared after it, durably, and not before.
///
/// A journal that is dropped without `close` leaves what a crash would leave.
///
/// # Where the newest version of a block is
///
/// 1. In an open handle, which nobody else sees: [`Handle::newest`].
/// 2. In the journal, until it has been written home: [`newest`](Self::newest).
/// 3. At home: on the device, or in a cache that the caller keeps.
///
/// The journal writes blocks home through the device it was opened with, and only then lets go of them. So a cache that
/// is part of that device, and that an intervening write makes discard what it is just reading, is never behind.
///
/// # Freed blocks
///
/// Two things keep a block that was metadata from holding file data, which goes straight to its home: replay after a crash
/// would write its earlier images over the data, and without the transaction that freed it, it still is what it was. So:
///
/// - whoever frees a block of metadata calls [`Handle::forget`] in the handle that frees it, and gives it to file data only
///   when [`may_reuse`](Self::may_reuse) says so; [`make_reusable`](Self::make_reusable) makes that happen;
/// - clusters that held file data may hold other data when [`is_durable`](Self::is_durable) says so of the transaction
///   that freed them. [`newest_durable`](Self::newest_durable) shows a bitmap as it would be after a crash;
/// - a block of metadata may become another block of metadata at once.
///
/// # Errors
///
/// The first error of the device aborts the journal: nothing more is written but a note in its superblock, and all calls
/// that would have to rely on it return [`JournalError::Aborted`] with that first cause. What was durable stays so.
///
/// Flushes go through the journal ([`sync`](Self::sync)): an operating system reports a failed write-back to one caller
/// only, and the journal has to know.
pub struct Journal {
    shared: Arc<Shared>,
    worker: Mutex<Option<Worker>>,
}

/// What handles, the thread and the journal itself share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dev: Arc<dyn BlockDevice>,
    pub(crate) map: LogMap,
    pub(crate) geometry: Geometry,
    pub(crate) ring: Ring,
    pub(crate) costs: Costs,
    /// The log may have revoke blocks.
    pub(crate) has_revokes: bool,
    state: Mutex<State>,
    /// Told whenever someone may go on who waits for a transaction, a checkpoint or for room.
    pub(crate) changed: Condvar,
    /// Told when the thread may have something to do.
    pub(crate) wanted: Condvar,
    /// Used by the one who commits.
    pub(crate) log_io: Mutex<LogIo>,
    /// Used by the one who writes blocks home.
    pub(crate) home_io: Mutex<AlignedBuf>,
    pub(crate) tail: Mutex<Tail>,
    /// One at a time makes things durable, so that nobody succeeds with that after another has failed.
    forcing: Mutex<()>,
}

impl Journal {
    /// Opens the journal in the file that `map` describes, on the volume's own device, for writing. Nothing is written
    /// before the first transaction.
    ///
    /// # Errors
    /// [`JournalError::NotReplayed`] if the log is not empty, those of [`Log::open`] and [`Log::scan`], `Corrupt` if the
    /// log is damaged, and [`JournalError::TooSmall`].
    pub fn open(
        dev: Arc<dyn BlockDevice>,
        map: LogMap,
        geometry: Geometry,
        options: &JournalOptions,
    ) -> Result<Journal, JournalError> {
        let log = Log::open(&dev, map, &geometry)?;
        let recovery = log.scan()?;
        recovery.check(&geometry)?;
        if recovery.transactions() != 0 {
            let transactions = recovery.transactions();
            return Err(JournalError::NotReplayed { transactions });
        }
        let Log {
            map, superblock, ring, ..
        } = log;
        let space = Space::new(ring);
        if space.max_credits() == 0 {
            return Err(JournalError::TooSmall { blocks: ring.blocks() });
        }
        // One more than necessary: the log may hold blocks of a transaction with the next number that was cut short.
        let sequence = recovery.next().next();
        let shared = Arc::new(Shared {
            map,
            geometry,
            ring,
            costs: space.costs,
            has_revokes: superblock.incompat().contains(Incompat::REVOKE),
            state: Mutex::new(State::new(space, sequence)),
            changed: Condvar::new(),
            wanted: Condvar::new(),
            log_io: Mutex::new(LogIo::new(BlockBatch::buffer(&dev))),
            home_io: Mutex::new(BlockBatch::buffer(&dev)),
            tail: Mutex::new(Tail::new(superblock)),
            forcing: Mutex::new(()),
            dev,
        });
        let worker = match options.commit_interval {
            Some(interval) => Some(Worker::start(shared.clone(), interval).map_err(JournalError::Thread)?),
            None => None,
        };
        Ok(Journal {
            shared,
            worker: Mutex::new(worker),
        })
    }

    /// Starts an operation that changes at most `credits` blocks. Waits while the log has no room for as many, and makes
    /// room.
    ///
    /// # Errors
    /// [`JournalError::HandleTooLarge`], [`JournalError::Aborted`], [`JournalError::Closed`].
    pub fn begin(&self, credits: u32) -> Result<Handle<'_>, JournalError> {
        Handle::begin(&self.shared, credits)
    }

    /// The most credits that a handle can have.
    pub fn max_credits(&self) -> u32 {
        self.shared.lock().space.max_credits()
    }

    /// The newest version of a block, durable or not; `None` if that is what its home holds. The check field in it may be
    /// an old one.
    pub fn newest(&self, block: BlockNo) -> Option<Arc<[u8]>> {
        self.shared.newest(block)
    }

    /// The block as a crash now would leave it after replay; `None` if that is what its home holds.
    pub fn newest_durable(&self, block: BlockNo) -> Option<Arc<[u8]>> {
        self.shared.lock().logged.image(block).flatten().cloned()
    }

    /// Blocks as a crash may leave them after replay, now or later: as they are durably, as the transaction on its way to
    /// the log has them, if there is one, and as the running one does. `None` stands for what the home of a block holds.
    pub fn after_crash<const N: usize>(&self, blocks: [BlockNo; N]) -> Vec<[Option<Arc<[u8]>>; N]> {
        let state = self.shared.lock();
        let mut versions = vec![blocks.map(|block| state.logged.image(block).flatten().cloned())];
        let committing = state.committing.as_ref().map(|committing| &committing.transaction);
        for transaction in [committing, Some(&state.running)].into_iter().flatten() {
            let mut next = versions[versions.len() - 1].clone();
            let mut differs = false;
            for (image, block) in next.iter_mut().zip(blocks) {
                if let Some(version) = transaction.blocks.get(&block) {
                    *image = Some(version.image.clone());
                    differs = true;
                }
            }
            if differs {
                versions.push(next);
            }
        }
        versions
    }

    /// Those of these blocks, all of which are free, that [may not be reused](Self::may_reuse) yet.
    pub fn held(&self, blocks: Range<BlockNo>) -> Vec<BlockNo> {
        self.shared.lock().held(&blocks)
    }

    /// Whether file data may be written to these blocks, all of which are free: no transaction that is in the log or on
    /// its way there holds them, and what freed them is durable.
    pub fn may_reuse(&self, blocks: Range<BlockNo>) -> bool {
        blocks.is_empty() || self.shared.lock().has_let_go_of(&blocks)
    }

    /// Commits and checkpoints until these blocks, all of which are free, [may be reused](Self::may_reuse). Without the
    /// revoke feature, which logs of OCFS2 do not have, that writes home everything in the log: ask for many at once.
    ///
    /// # Errors
    /// [`JournalError::Aborted`].
    pub fn make_reusable(&self, blocks: Range<BlockNo>) -> Result<(), JournalError> {
        if !self.may_reuse(blocks.clone()) {
            self.commit()?;
        }
        if !self.may_reuse(blocks) {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Whether no crash can undo this transaction.
    pub fn is_durable(&self, tid: Tid) -> bool {
        self.shared.lock().durable >= tid
    }

    /// Whether everything that this transaction and those before it hold is home, where other nodes find it.
    pub fn is_checkpointed(&self, tid: Tid) -> bool {
        let state = self.shared.lock();
        state.durable >= tid && !state.logged.reaches_back_to(tid)
    }

    /// Makes a transaction and those before it durable.
    ///
    /// # Errors
    /// [`JournalError::Aborted`], unless it was durable before that.
    pub fn commit_and_wait(&self, tid: Tid) -> Result<(), JournalError> {
        self.shared.commit(tid)
    }

    /// Makes everything durable that has been merged so far. Returns the transaction it was in.
    ///
    /// # Errors
    /// [`JournalError::Aborted`].
    pub fn commit(&self) -> Result<Tid, JournalError> {
        let tid = {
            let state = self.shared.lock();
            if state.running.is_empty() && state.committing.is_none() {
                state.alive()?;
                return Ok(state.durable);
            }
            state.running.tid
        };
        self.shared.commit(tid)?;
        Ok(tid)
    }

    /// Makes everything durable that has been merged so far, and all data written to the device so far.
    ///
    /// # Errors
    /// [`JournalError::Aborted`].
    pub fn sync(&self) -> Result<(), JournalError> {
        let state = self.shared.lock();
        let (tid, is_empty) = (state.running.tid, state.running.is_empty());
        drop(state);
        self.shared.commit(tid)?;
        if is_empty {
            // No transaction was written that began after the data.
            self.shared.flush()?;
        }
        Ok(())
    }

    /// Makes all data durable that has been written to the device so far, and nothing that has been merged.
    ///
    /// # Errors
    /// [`JournalError::Aborted`].
    pub fn flush(&self) -> Result<(), JournalError> {
        self.shared.flush()
    }

    /// Writes home what this transaction and those before it hold, and makes that durable: before another node gets to
    /// see the blocks.
    ///
    /// # Errors
    /// [`JournalError::Aborted`].
    pub fn checkpoint_through(&self, tid: Tid) -> Result<(), JournalError> {
        self.shared.commit(tid)?;
        self.shared.checkpoint(tid)
    }

    /// Writes home everything that has been merged so far, and makes that durable.
    ///
    /// # Errors
    /// [`JournalError::Aborted`].
    pub fn checkpoint(&self) -> Result<(), JournalError> {
        let tid = self.commit()?;
        self.shared.checkpoint(tid)
    }

    /// How much of the log is in use.
    pub fn usage(&self) -> LogUsage {
        let state = self.shared.lock();
        LogUsage {
            blocks: state.space.ring.blocks(),
            logged: state.space.used(),
            running: state.running_cost(),
            reserved: state.space.reserved(),
            images: state.logged.images(),
        }
    }

    /// Why the journal was aborted, if it was.
    pub fn aborted(&self) -> Option<Arc<JournalError>> {
        self.shared.lock().aborted.clone()
    }

    /// Writes everything home and leaves an empty log. No handle can begin from here on.
    ///
    /// # Errors
    /// [`JournalError::Busy`] while handles are open; the journal stays open. [`JournalError::Closed`] if it is closed
    /// already. [`JournalError::Aborted`]; the log is to be replayed then.
    pub fn close(&self) -> Result<(), JournalError> {
        {
            let mut state = self.shared.lock();
            state.open()?;
            if state.handles != 0 {
                let handles = state.handles;
                return Err(JournalError::Busy { handles });
            }
            state.closed = true;
            self.shared.changed.notify_all();
        }
        self.stop_worker();
        self.checkpoint()?;
        let next = self.shared.lock().next_sequence();
        self.shared.mark_empty(next)?;
        self.shared.flush()
    }

    fn stop_worker(&self) {
        if let Some(worker) = lock(&self.worker).take() {
            worker.stop(&self.shared);
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("dev", &self.shared.dev)
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop_worker();
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn newest(&self, block: BlockNo) -> Option<Arc<[u8]>> {
        match self.lock().newest(block) {
            Newest::Image(image) => Some(image),
            Newest::Freed | Newest::Home => None,
        }
    }

    /// Reads blocks from their home.
    pub(crate) fn read_home(&self, block: BlockNo, blocks: u32) -> Result<Arc<[u8]>, JournalError> {
        let mut bytes: Arc<[u8]> = vec![0; self.geometry.block_size() * blocks as usize].into();
        let offset = offset_of(block, self.geometry.block_size_bits, &self.dev)?;
        read_bytes(&self.dev, offset, Arc::make_mut(&mut bytes))?;
        Ok(bytes)
    }

    /// Whether replay would take an image of this block.
    pub(crate) fn check_place(&self, block: BlockNo) -> Result<(), JournalError> {
        let why = if !self.geometry.contains(block) {
            "it lies outside the volume"
        } else if block <= Geometry::SUPER_BLOCK {
            "no journal holds the superblock or what is before it"
        } else if self.map.holds(block) {
            "it belongs to the journal itself"
        } else if !self.ring.format.wide && block.0 > u64::from(u32::MAX) {
            "the journal has 32-bit block numbers"
        } else {
            return Ok(());
        };
        Err(JournalError::NotJournaled { block, why })
    }

    /// Where a block of the log is.
    pub(crate) fn log_block(&self, n: u32) -> BlockNo {
        // The ring ends where the superblock says, which was checked against the file that the map describes.
        self.map.block(n).expect("the ring lies inside the journal file")
    }

    /// Makes durable what has been written.
    pub(crate) fn flush(&self) -> Result<(), JournalError> {
        self.force(|| self.dev.flush())
    }

    /// Flushes, or forces a write. A failure is reported once, to whoever asks next, and may be of somebody else's write:
    /// so nobody may ask between a failure and the end of the journal.
    pub(crate) fn force(&self, run: impl FnOnce() -> Result<(), IoError>) -> Result<(), JournalError> {
        let _one = lock(&self.forcing);
        self.lock().alive()?;
        run().map_err(|error| self.abort(error.into()))
    }

    /// Ends all writing. Returns what the caller tells: the first cause there was.
    pub(crate) fn abort(&self, cause: JournalError) -> JournalError {
        let cause = match self.stop(cause) {
            Ok(cause) => cause,
            Err(earlier) => return earlier,
        };
        // The note is for whoever looks at the volume next. It changes nothing about what replay does, so that failing to
        // write it is no second error.
        let _: Result<(), IoError> = self.record_errno(-cause.errno());
        JournalError::Aborted(cause)
    }

    /// Lets all calls fail from here on. An error if they already did.
    fn stop(&self, cause: JournalError) -> Result<Arc<JournalError>, JournalError> {
        let mut state = self.lock();
        state.alive()?;
        let cause = Arc::new(cause);
        state.aborted = Some(cause.clone());
        self.changed.notify_all();
        self.wanted.notify_all();
        Ok(cause)
    }

    /// Aborts the journal if the thread unwinds before the value is dropped: others would wait forever for what it was
    /// doing.
    pub(crate) fn abort_if_unwinding(&self) -> Unwinding<'_> {
        Unwinding(self)
    }
}

/// See [`Shared::abort_if_unwinding`].
pub(crate) struct Unwinding<'s>(&'s Shared);

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.stop(JournalError::Panicked);
        }
    }
}
