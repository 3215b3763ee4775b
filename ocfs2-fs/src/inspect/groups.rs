//! Chains of allocation groups as they are.

use std::collections::HashSet;

use ocfs2_format::{BlockNo, Corrupt, GroupDesc, Structure, Violation};

use super::{Inspector, Raw};
use crate::error::Result;

/// The groups of a chain. See [`Inspector::group_chain`].
#[derive(Debug)]
pub struct GroupChain {
    inspector: Inspector,
    next: Option<BlockNo>,
    seen: HashSet<BlockNo>,
}

impl Inspector {
    /// The groups from the one at `first` to the end of its chain. The first that cannot be read, or that was met before,
    /// ends the chain with an error.
    pub fn group_chain(&self, first: BlockNo) -> GroupChain {
        GroupChain {
            inspector: self.clone(),
            next: (first.0 != 0).then_some(first),
            seen: HashSet::new(),
        }
    }
}

impl Iterator for GroupChain {
    type Item = Result<Raw<GroupDesc>>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.next.take()?;
        if !self.seen.insert(at) {
            let violation = Violation::Loop {
                field: "bg_next_group",
                found: at.0,
            };
            return Some(Err(Corrupt::new(Structure::GroupDesc, violation).into()));
        }
        let group = self.inspector.read::<GroupDesc>(at);
        if let Ok(group) = &group {
            let next = group.bg_next_group.get();
            self.next = (next != 0).then_some(BlockNo(next));
        }
        Some(group)
    }
}

/// Runs of clear bits in a group: first bit and length, from the lowest. Bits that the block has no room for are in none.
pub fn clear_runs(group: &GroupDesc) -> impl Iterator<Item = (u16, u16)> + '_ {
    let bitmap = group.bitmap();
    let room = u16::try_from(bitmap.len() * 8).unwrap_or(u16::MAX);
    crate::alloc::free_runs(bitmap, group.bg_bits.get().min(room))
}
