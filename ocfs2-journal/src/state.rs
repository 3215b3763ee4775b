//! What all users of a journal share, under one lock that nobody holds while the device works.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::time::Instant;

use foldhash::HashMap;
use ocfs2_format::BlockNo;
use ocfs2_format::jbd2::Sequence;

use crate::JournalError;
use crate::logged::{Logged, Place};
use crate::space::Space;
use crate::sync::Arc;
use crate::txn::{Tid, Transaction, Version};

/// Number of a handle, or of someone who waits to become one.
pub(crate) type HandleId = u64;

#[derive(Debug)]
pub(crate) struct State {
    /// What handles merge into.
    pub(crate) running: Transaction,
    /// What is being written to the log.
    pub(crate) committing: Option<Arc<Committing>>,
    /// What is in the log.
    pub(crate) logged: Logged,
    pub(crate) space: Space,
    /// The last transaction that a crash cannot undo.
    pub(crate) durable: Tid,
    /// Blocks up to this transaction are being written home.
    pub(crate) checkpointing: Option<Tid>,
    /// Which handle is changing a block.
    pub(crate) staged: HashMap<BlockNo, HandleId>,
    /// Open handles.
    pub(crate) handles: u32,
    /// Who waits for room in the log, in turn.
    pub(crate) queue: VecDeque<HandleId>,
    pub(crate) aborted: Option<Arc<JournalError>>,
    pub(crate) closed: bool,
    /// The journal's own thread has to end.
    pub(crate) stopping: bool,
    /// It sleeps until it is told to do something, and looks at no clock.
    pub(crate) idle: bool,
    next_id: HandleId,
    next_sequence: Sequence,
}

/// A transaction on its way to the log.
#[derive(Debug)]
pub(crate) struct Committing {
    pub(crate) transaction: Transaction,
    pub(crate) place: Place,
}

/// Where the newest version of a block is.
#[derive(Debug)]
pub(crate) enum Newest {
    Image(Arc<[u8]>),
    /// Nowhere: the block was freed.
    Freed,
    Home,
}

impl State {
    /// An empty log whose first transaction gets this number.
    pub(crate) fn new(space: Space, sequence: Sequence) -> State {
        State {
            running: Transaction::new(Tid(1)),
            committing: None,
            logged: Logged::default(),
            space,
            durable: Tid(0),
            checkpointing: None,
            staged: HashMap::default(),
            handles: 0,
            queue: VecDeque::new(),
            aborted: None,
            closed: false,
            stopping: false,
            idle: false,
            next_id: 0,
            next_sequence: sequence,
        }
    }

    /// Fails once the journal has been aborted.
    pub(crate) fn alive(&self) -> Result<(), JournalError> {
        match &self.aborted {
            Some(cause) => Err(JournalError::Aborted(cause.clone())),
            None => Ok(()),
        }
    }

    /// Fails once nothing may be changed any more.
    pub(crate) fn open(&self) -> Result<(), JournalError> {
        self.alive()?;
        if self.closed {
            return Err(JournalError::Closed);
        }
        Ok(())
    }

    pub(crate) fn new_id(&mut self) -> HandleId {
        self.next_id += 1;
        self.next_id
    }

    /// Promises blocks of the log to a handle.
    pub(crate) fn reserve(&mut self, blocks: u32) -> bool {
        !self.has_forgotten_too_much() && self.space.reserve(blocks, self.running_cost())
    }

    /// The running transaction remembers more freed blocks than the log has: nothing else bounds their number.
    pub(crate) fn has_forgotten_too_much(&self) -> bool {
        self.running.forgotten.len() > self.space.ring.blocks() as usize
    }

    /// Blocks of the log that the running transaction would take now.
    pub(crate) fn running_cost(&self) -> u32 {
        self.running.cost(&self.space.costs)
    }

    pub(crate) fn newest(&self, block: BlockNo) -> Newest {
        let committing = self.committing.as_ref().map(|committing| &committing.transaction);
        for transaction in [Some(&self.running), committing].into_iter().flatten() {
            if let Some(version) = transaction.blocks.get(&block) {
                return Newest::Image(version.image.clone());
            }
            if transaction.forgotten.contains(&block) {
                return Newest::Freed;
            }
        }
        match self.logged.image(block) {
            Some(Some(image)) => Newest::Image(image.clone()),
            Some(None) => Newest::Freed,
            None => Newest::Home,
        }
    }

    /// Whether replay of the log as it is would write the block, or replay of what is being written to it.
    pub(crate) fn has_earlier_image(&self, block: BlockNo) -> bool {
        let committing = self.committing.as_ref().map(|committing| &committing.transaction);
        committing.is_some_and(|transaction| transaction.blocks.contains_key(&block))
            || self.logged.image(block).is_some()
    }

    /// Whether any transaction has an image of the block that a revoke record could be needed for.
    pub(crate) fn may_have_image(&self, block: BlockNo) -> bool {
        self.running.blocks.contains_key(&block) || self.has_earlier_image(block)
    }

    /// Whether the journal has nothing to do with any of these blocks any more.
    pub(crate) fn has_let_go_of(&self, blocks: &Range<BlockNo>) -> bool {
        let committing = self.committing.as_ref().map(|committing| &committing.transaction);
        let in_transaction = |transaction: &Transaction| {
            transaction.blocks.range(blocks.clone()).next().is_some()
                || transaction.forgotten.range(blocks.clone()).next().is_some()
        };
        !self.logged.holds(blocks.clone())
            && ![Some(&self.running), committing]
                .into_iter()
                .flatten()
                .any(in_transaction)
    }

    /// The blocks of the range that the journal still has something to do with.
    pub(crate) fn held(&self, blocks: &Range<BlockNo>) -> Vec<BlockNo> {
        let mut held = self.logged.held(blocks.clone());
        let committing = self.committing.as_ref().map(|committing| &committing.transaction);
        for transaction in [Some(&self.running), committing].into_iter().flatten() {
            held.extend(transaction.blocks.range(blocks.clone()).map(|(&block, _)| block));
            held.extend(transaction.forgotten.range(blocks.clone()));
        }
        held
    }

    /// Adds a block to the running transaction.
    pub(crate) fn add(&mut self, block: BlockNo, version: Version) {
        let running = &mut self.running;
        if !running.forgotten.is_empty() {
            running.forgotten.remove(&block);
            running.revokes.remove(&block);
        }
        running.blocks.insert(block, version);
    }

    /// Takes a block out of the running transaction, and notes that it was freed.
    pub(crate) fn forget(&mut self, block: BlockNo, may_revoke: bool) {
        let revoke = may_revoke && self.has_earlier_image(block);
        let running = &mut self.running;
        running.blocks.remove(&block);
        running.forgotten.insert(block);
        if revoke {
            running.revokes.insert(block);
        }
    }

    /// Ends the running transaction and starts the next one. `None` if there is nothing to write for it: it is durable
    /// then, as everything before it is.
    pub(crate) fn rotate(&mut self) -> Option<Arc<Committing>> {
        let next = Transaction::new(self.running.tid.next());
        let transaction = mem::replace(&mut self.running, next);
        let blocks = transaction.cost(&self.space.costs);
        if blocks == 0 {
            self.logged.forget(&transaction, self.checkpointing.is_some());
            self.durable = transaction.tid;
            return None;
        }
        let place = Place {
            sequence: self.next_sequence,
            start: self.space.take(blocks),
            blocks,
        };
        self.next_sequence = self.next_sequence.next();
        let committing = Arc::new(Committing { transaction, place });
        self.committing = Some(committing.clone());
        Some(committing)
    }

    /// The transaction being written is durable; these are its images as written.
    pub(crate) fn committed(&mut self, images: Vec<(BlockNo, Arc<[u8]>)>) {
        if let Some(committing) = self.committing.take() {
            let Committing { transaction, place } = &*committing;
            self.logged
                .add(transaction, images, *place, self.checkpointing.is_some());
            self.durable = transaction.tid;
        }
    }

    /// Where the log starts once it does without the transactions up to this one, and with which sequence.
    pub(crate) fn tail_after(&self, tid: Tid) -> (u32, Sequence) {
        let committing = self.committing.as_ref().map(|committing| committing.place);
        match self.logged.place_after(tid).or(committing) {
            Some(place) => (place.start, place.sequence),
            None => (self.space.head(), self.next_sequence),
        }
    }

    /// The running transaction should be committed for its size.
    pub(crate) fn is_large(&self) -> bool {
        self.running_cost() >= self.space.ring.blocks() / 4 || self.has_forgotten_too_much()
    }

    /// The log should be checkpointed before it is full.
    pub(crate) fn is_filling_up(&self) -> bool {
        self.space.used() >= self.space.ring.blocks() / 2
    }

    /// Number of the transaction that comes next in the log.
    pub(crate) fn next_sequence(&self) -> Sequence {
        self.next_sequence
    }

    /// Notes that the running transaction has something in it. Whether the journal's thread has to be told.
    pub(crate) fn start_clock(&mut self) -> bool {
        self.running.since.get_or_insert_with(Instant::now);
        self.idle || self.is_large()
    }
}
