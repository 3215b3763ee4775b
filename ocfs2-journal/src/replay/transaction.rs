//! Transactions on their way from the log to what replay will write.
//!
//! A transaction counts only once its commit block is found, and what it revokes takes back its own copies too. So copies
//! and the places of revoke blocks are kept until then; a revoke block is read a second time rather than its numbers kept,
//! of which a hostile journal can have a hundred times more than blocks.

use std::collections::HashMap;

use ocfs2_format::jbd2::Sequence;
use ocfs2_format::{BlockNo, Geometry};

use super::{Damage, DamageKind};
use crate::{LogCopy, LogMap, Redirects};

/// A copy of a block that a descriptor announced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) home: BlockNo,
    pub(super) at: BlockNo,
    pub(super) escaped: bool,
    /// It has the checksum of its tag, or none is known.
    pub(super) intact: bool,
}

/// What has been read of a transaction whose commit block has not been reached.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) copies: Vec<Copy>,
    /// Journal blocks with revoke records.
    pub(super) revokes: Vec<u32>,
    /// The first of them that claims too many.
    pub(super) bad_revoke: Option<u32>,
    /// A descriptor or revoke block failed its checksum.
    pub(super) is_suspect: bool,
}

/// What all committed transactions so far amount to.
#[derive(Debug, Default)]
pub(super) struct Committed {
    copies: HashMap<BlockNo, LogCopy>,
    damage: HashMap<BlockNo, Damage>,
    pub(super) transactions: u32,
    pub(super) revoked: u64,
}

impl Committed {
    /// Takes the copies of the next committed transaction.
    pub(super) fn add(&mut self, sequence: Sequence, copies: &[Copy], map: &LogMap, geometry: &Geometry) {
        for &Copy {
            home,
            at,
            escaped,
            intact,
        } in copies
        {
            let kind = if !geometry.contains(home) {
                DamageKind::OutsideVolume
            } else if home <= Geometry::SUPER_BLOCK {
                DamageKind::LeadingArea
            } else if map.holds(home) {
                DamageKind::InJournal
            } else if !intact {
                DamageKind::Checksum
            } else {
                self.copies.insert(home, LogCopy { at, escaped });
                continue;
            };
            self.damage.insert(
                home,
                Damage {
                    home,
                    at,
                    sequence,
                    kind,
                },
            );
        }
        self.transactions += 1;
    }

    /// Forgets every copy of a block so far: the transaction that was added last revokes it.
    pub(super) fn revoke(&mut self, home: BlockNo) {
        let copy = self.copies.remove(&home).is_some();
        // Hardly any log has damage, and a hostile one can have a great many revoke records.
        let damage = !self.damage.is_empty() && self.damage.remove(&home).is_some();
        self.revoked += u64::from(copy || damage);
    }

    /// Whether a revoke record can change anything.
    pub(super) fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.damage.is_empty()
    }

    /// The newest copy of each block, and the copies that cannot be used, by block.
    pub(super) fn finish(self) -> (Redirects, Vec<Damage>) {
        let mut damage: Vec<_> = self.damage.into_values().collect();
        damage.sort_unstable_by_key(|damage| damage.home);
        (self.copies.into_iter().collect(), damage)
    }
}
