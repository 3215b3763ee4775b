//! Transactions: sets of new blocks that reach the volume together or not at all.
//!
//! A [`Handle`] stages private copies. Committing the handle merges them into the running transaction; committing that
//! writes it to the log. A handle belongs to no transaction before it merges, so a commit never waits for open handles.
//!
//! Source: on-disk reference, sections 25.4, 26.3 and 37.

mod handle;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

use ocfs2_format::{BlockNo, Geometry};

pub use handle::Handle;

use crate::space::Costs;
use crate::sync::Arc;

/// A transaction of an open journal. They are numbered from 1, later ones are greater; the default is before them all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(pub(crate) u64);

impl Tid {
    /// The one that follows.
    pub(crate) fn next(self) -> Tid {
        Tid(self.0 + 1)
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a [check field](ocfs2_format::BlockCheck) is and what it covers.
///
/// The journal fills the field in when it freezes the block for the log, so whoever changes a block need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckAt {
    offset: u32,
    blocks: u32,
}

impl CheckAt {
    /// A check field at this byte of a block, which it covers.
    pub const fn block(offset: usize) -> CheckAt {
        CheckAt {
            offset: offset as u32,
            blocks: 1,
        }
    }

    /// The check field of an xattr bucket: 4096 bytes in as many blocks as that takes.
    pub fn xattr_bucket(geometry: &Geometry) -> CheckAt {
        CheckAt {
            offset: 8,
            blocks: geometry.blocks_per_xattr_bucket(),
        }
    }

    /// Blocks that are staged together.
    pub(crate) fn blocks_of(check: Option<CheckAt>) -> u32 {
        check.map_or(1, |check| check.blocks)
    }

    pub(crate) fn blocks(self) -> u32 {
        self.blocks
    }

    pub(crate) fn offset(self) -> usize {
        self.offset as usize
    }
}

/// A block in a transaction.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) image: Arc<[u8]>,
    pub(crate) check: Option<CheckAt>,
    /// Which of the blocks under the check field it is.
    pub(crate) index: u32,
}

/// A transaction that handles merge into, or that is on its way to the log.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) tid: Tid,
    pub(crate) blocks: BTreeMap<BlockNo, Version>,
    /// Blocks that were freed, and not made again since.
    pub(crate) forgotten: BTreeSet<BlockNo>,
    /// Those of them whose earlier images replay has to be told to leave out.
    pub(crate) revokes: BTreeSet<BlockNo>,
    /// When the first handle merged.
    pub(crate) since: Option<Instant>,
}

impl Transaction {
    pub(crate) fn new(tid: Tid) -> Transaction {
        Transaction {
            tid,
            blocks: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            revokes: BTreeSet::new(),
            since: None,
        }
    }

    /// Whether committing it would change anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.forgotten.is_empty()
    }

    /// Blocks of the log that it takes.
    pub(crate) fn cost(&self, costs: &Costs) -> u32 {
        // A transaction is bounded by the log, whose blocks have 32-bit numbers.
        costs.transaction(self.blocks.len() as u32, self.revokes.len() as u32)
    }
}
