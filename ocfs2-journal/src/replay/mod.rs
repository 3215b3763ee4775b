//! What a log holds that has not reached its home.
//!
//! [`Log::scan`] reads the log once from its start and remembers where copies lie, not what is in them; so a journal costs
//! memory by its blocks and time by its control blocks, however large. [`Log::replay`] then writes the copies home.
//!
//! Source: on-disk reference, sections 26.3 to 26.5; Linux 6.1 kernel behaviour for damaged logs.

mod apply;
mod scan;
mod transaction;

use std::fmt;

use ocfs2_format::jbd2::{BlockType, Sequence};
use ocfs2_format::{BlockNo, Corrupt, Geometry, Structure, Violation};

use crate::Redirects;

/// What a scan of a log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    redirects: Redirects,
    damage: Vec<Damage>,
    first: Sequence,
    next: Sequence,
    transactions: u32,
    revoked: u64,
    end: End,
    end_block: Option<BlockNo>,
}

impl Recovery {
    /// The blocks to replay and where their copies lie.
    pub fn redirects(&self) -> &Redirects {
        &self.redirects
    }

    /// The same, to keep.
    pub fn into_redirects(self) -> Redirects {
        self.redirects
    }

    /// Committed transactions in the log.
    pub fn transactions(&self) -> u32 {
        self.transactions
    }

    /// The transaction at which the log starts, whether it was committed or not.
    pub fn first(&self) -> Sequence {
        self.first
    }

    /// The one that follows the last committed transaction.
    pub fn next(&self) -> Sequence {
        self.next
    }

    /// Blocks with a copy in the log that a later transaction, or the same, took back.
    pub fn revoked(&self) -> u64 {
        self.revoked
    }

    /// Why the log ended where it did.
    pub fn end(&self) -> End {
        self.end
    }

    /// Copies in committed transactions that are not among the [`redirects`](Self::redirects) because they cannot be
    /// trusted. An older intact copy of the same block is.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Whether everything that was committed can be replayed. The kernel driver refuses to mount a volume where not.
    ///
    /// # Errors
    /// The first thing that is wrong with the log.
    pub fn check(&self, geometry: &Geometry) -> Result<(), Corrupt> {
        if let Some(damage) = self.damage.first() {
            return Err(damage.corrupt(geometry));
        }
        match self.end.violation() {
            None => Ok(()),
            Some(violation) => {
                let corrupt = Corrupt::new(Structure::Journal, violation);
                Err(match self.end_block {
                    Some(block) => corrupt.at_block(block),
                    None => corrupt,
                })
            }
        }
    }
}

/// Why a log ended. Block numbers count from the start of the journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The superblock says that there is nothing in the log.
    Empty,
    /// The next block is no control block.
    NoMagic {
        /// That block.
        at: u32,
    },
    /// The next block belongs to another transaction: one from the ring's earlier rounds.
    OtherSequence {
        /// That block.
        at: u32,
        /// The transaction it belongs to.
        found: Sequence,
    },
    /// The next block is of a kind that a log does not have.
    UnknownType {
        /// That block.
        at: u32,
        /// Its kind.
        found: BlockType,
    },
    /// The log would run into its own start.
    FullCircle {
        /// The control block that leads there.
        at: u32,
    },
    /// Blocks that look like the next transaction but fail their checksum and are older: left from an earlier round.
    Stale {
        /// Its commit block.
        at: u32,
    },
    /// The last transaction fails its checksum, in a journal where the commit block may reach the disk first: it was
    /// never completed.
    Interrupted {
        /// Its commit block.
        at: u32,
    },
    /// A transaction fails the checksum in its commit block: **damage**.
    BadCommit {
        /// The commit block.
        at: u32,
    },
    /// A descriptor or revoke block of a committed transaction fails its checksum: **damage**.
    BadControl {
        /// The transaction's commit block.
        at: u32,
    },
    /// A revoke block of a committed transaction claims more bytes than it has: **damage**.
    BadRevoke {
        /// The revoke block.
        at: u32,
    },
}

impl End {
    /// Whether the log ends early because of damage, so that transactions may be lost.
    pub fn is_damage(self) -> bool {
        self.violation().is_some()
    }

    /// The journal block at which the log ended.
    pub fn at(self) -> Option<u32> {
        match self {
            End::Empty => None,
            End::NoMagic { at }
            | End::OtherSequence { at, .. }
            | End::UnknownType { at, .. }
            | End::FullCircle { at }
            | End::Stale { at }
            | End::Interrupted { at }
            | End::BadCommit { at }
            | End::BadControl { at }
            | End::BadRevoke { at } => Some(at),
        }
    }

    fn violation(self) -> Option<Violation> {
        match self {
            End::BadCommit { .. } => Some(Violation::Rule(
                "the transaction does not match the checksum in its commit block",
            )),
            End::BadControl { .. } => Some(Violation::Rule(
                "a descriptor or revoke block of the transaction fails its checksum",
            )),
            End::BadRevoke { .. } => Some(Violation::Rule("a revoke block of the transaction overflows")),
            _ => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Empty => f.write_str("the log is empty"),
            End::NoMagic { at } => write!(f, "no control block at journal block {at}"),
            End::OtherSequence { at, found } => write!(f, "journal block {at} belongs to transaction {found}"),
            End::UnknownType { at, found } => write!(f, "journal block {at} is of {found}"),
            End::FullCircle { at } => write!(f, "journal block {at} leads into the start of the log"),
            End::Stale { at } => write!(f, "the transaction committed at journal block {at} is an old one"),
            End::Interrupted { at } => write!(f, "the transaction committed at journal block {at} is incomplete"),
            End::BadCommit { at } => write!(f, "the transaction committed at journal block {at} fails its checksum"),
            End::BadControl { at } => {
                write!(
                    f,
                    "the transaction committed at journal block {at} has a control block that fails its checksum"
                )
            }
            End::BadRevoke { at } => write!(f, "the revoke block at journal block {at} overflows"),
        }
    }
}

/// A committed copy that must not be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// Where its tag wants it.
    pub home: BlockNo,
    /// Where on the device it lies.
    pub at: BlockNo,
    /// Its transaction.
    pub sequence: Sequence,
    /// What is wrong with it.
    pub kind: DamageKind,
}

/// What is wrong with a committed copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// It is not the block that its tag was written for.
    Checksum,
    /// Its home lies outside the volume.
    OutsideVolume,
    /// Its home is the superblock or before it, which no journal holds.
    LeadingArea,
    /// Its home is a block of this very journal.
    InJournal,
}

impl Damage {
    /// The same as an error.
    pub fn corrupt(&self, geometry: &Geometry) -> Corrupt {
        let found = self.home.0;
        let violation = match self.kind {
            DamageKind::Checksum => Violation::Rule("the copy of a block does not match the checksum in its tag"),
            DamageKind::OutsideVolume => Violation::OutsideVolume {
                field: "t_blocknr",
                found,
                blocks: geometry.blocks(),
            },
            DamageKind::LeadingArea => Violation::Invalid {
                field: "t_blocknr",
                found,
                why: "no journal holds the superblock or what is before it",
            },
            DamageKind::InJournal => Violation::Invalid {
                field: "t_blocknr",
                found,
                why: "the block belongs to the journal itself",
            },
        };
        Corrupt::new(Structure::Journal, violation).at_block(self.at)
    }
}
