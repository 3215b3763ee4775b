//! Committed transactions whose blocks have not all reached their home.
//!
//! Of each block only the newest committed image is kept: that is what a checkpoint writes home. Older images of it are
//! still in the log, and replay would write them, one after the other; so a block is listed until the last transaction
//! that holds it has left the log.
//!
//! Source: on-disk reference, sections 26.3 to 26.5.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use ocfs2_format::BlockNo;
use ocfs2_format::jbd2::Sequence;

use crate::sync::Arc;
use crate::txn::{Tid, Transaction};

/// A block with images in the log.
#[derive(Clone, Debug)]
struct LoggedBlock {
    /// The last transaction that has an image of it.
    tid: Tid,
    /// That image; `None` if the block has been freed since, so that nobody wants it at home.
    image: Option<Arc<[u8]>>,
}

/// Where a transaction is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence: Sequence,
    pub(crate) start: u32,
    pub(crate) blocks: u32,
}

/// What the log holds.
#[derive(Debug, Default)]
pub(crate) struct Logged {
    blocks: BTreeMap<BlockNo, LoggedBlock>,
    transactions: VecDeque<(Tid, Place)>,
}

impl Logged {
    /// Whether a transaction up to this one is in the log.
    pub(crate) fn reaches_back_to(&self, tid: Tid) -> bool {
        self.transactions.front().is_some_and(|&(first, _)| first <= tid)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// Images in memory.
    pub(crate) fn images(&self) -> usize {
        self.blocks.values().filter(|block| block.image.is_some()).count()
    }

    /// The newest image of a block; `Some(None)` if it was freed.
    pub(crate) fn image(&self, block: BlockNo) -> Option<Option<&Arc<[u8]>>> {
        self.blocks.get(&block).map(|block| block.image.as_ref())
    }

    /// Whether the log has an image of one of these blocks.
    pub(crate) fn holds(&self, blocks: Range<BlockNo>) -> bool {
        self.blocks.range(blocks).next().is_some()
    }

    /// Which of these blocks the log has images of.
    pub(crate) fn held(&self, blocks: Range<BlockNo>) -> Vec<BlockNo> {
        self.blocks.range(blocks).map(|(&block, _)| block).collect()
    }

    /// Takes a transaction that is durable now, with its images as they are in the log. `is_writing` tells whether images
    /// are on their way home.
    pub(crate) fn add(
        &mut self,
        transaction: &Transaction,
        images: Vec<(BlockNo, Arc<[u8]>)>,
        place: Place,
        is_writing: bool,
    ) {
        let tid = transaction.tid;
        self.forget(transaction, is_writing);
        for (block, image) in images {
            let image = Some(image);
            self.blocks.insert(block, LoggedBlock { tid, image });
        }
        self.transactions.push_back((tid, place));
    }

    /// Takes note of blocks that this transaction freed.
    pub(crate) fn forget(&mut self, transaction: &Transaction, is_writing: bool) {
        for block in &transaction.forgotten {
            let Some(logged) = self.blocks.get_mut(block) else {
                continue;
            };
            logged.image = None;
            // Replay leaves a revoked block alone. But an image of it, not necessarily the newest, may be on its way home:
            // then the block stays listed until a later checkpoint.
            if transaction.revokes.contains(block) && !is_writing {
                self.blocks.remove(block);
            }
        }
    }

    /// What has to be written home before the log can do without the transactions up to this one, by block.
    pub(crate) fn images_through(&self, tid: Tid) -> Vec<(BlockNo, Arc<[u8]>)> {
        self.blocks
            .iter()
            .filter(|(_, logged)| logged.tid <= tid)
            .filter_map(|(&block, logged)| Some((block, logged.image.clone()?)))
            .collect()
    }

    /// Where the first transaction after this one is.
    pub(crate) fn place_after(&self, tid: Tid) -> Option<Place> {
        let after = self.transactions.partition_point(|&(logged, _)| logged <= tid);
        self.transactions.get(after).map(|&(_, place)| place)
    }

    /// Drops the transactions up to this one; returns how many blocks of the log they took.
    pub(crate) fn retire(&mut self, through: Tid) -> u32 {
        self.blocks.retain(|_, logged| logged.tid > through);
        let count = self.transactions.partition_point(|&(tid, _)| tid <= through);
        self.transactions.drain(..count).map(|(_, place)| place.blocks).sum()
    }
}
