//! The slot map: which cluster node sits in which slot.
//!
//! Source: on-disk reference, section 27.

use zerocopy::little_endian as le;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::prim::{NodeNum, SlotNum};

/// A record of the extended slot map (`ocfs2_extended_slot`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtendedSlot {
    /// 1 when a node sits in the slot.
    pub es_valid: u8,
    /// Reserved.
    pub es_reserved1: [u8; 3],
    /// The node's number; stale when `es_valid` is 0.
    pub es_node_num: le::U32,
}
const _: () = assert!(size_of::<ExtendedSlot>() == 8);

/// Record of the old slot map that means nobody.
pub const OLD_SLOT_EMPTY: u16 = 0xFFFF;

/// A slot map, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotMap {
    nodes: Vec<Option<NodeNum>>,
}

impl SlotMap {
    /// Bytes that the records of `slots` slots take.
    pub fn bytes_for(slots: u16, extended: bool) -> usize {
        usize::from(slots) * if extended { size_of::<ExtendedSlot>() } else { 2 }
    }

    /// Parses the contents of the slot map file; slots without a record are empty.
    pub fn parse(bytes: &[u8], slots: u16, extended: bool) -> SlotMap {
        let wanted = usize::from(slots);
        let mut nodes: Vec<Option<NodeNum>> = if extended {
            bytes
                .chunks_exact(size_of::<ExtendedSlot>())
                .take(wanted)
                .map(|record| {
                    let record = ExtendedSlot::ref_from_bytes(record).expect("chunks have the record's size");
                    (record.es_valid != 0).then(|| NodeNum(record.es_node_num.get()))
                })
                .collect()
        } else {
            bytes
                .chunks_exact(2)
                .take(wanted)
                .map(|record| u16::from_le_bytes([record[0], record[1]]))
                .map(|node| (node != OLD_SLOT_EMPTY).then_some(NodeNum(node.into())))
                .collect()
        };
        nodes.resize(wanted, None);
        SlotMap { nodes }
    }

    /// The slots that a node sits in, in order.
    pub fn used(&self) -> impl Iterator<Item = (SlotNum, NodeNum)> + '_ {
        (0u16..)
            .zip(&self.nodes)
            .filter_map(|(slot, node)| node.map(|node| (SlotNum(slot), node)))
    }

    /// The node in a slot.
    pub fn node(&self, slot: SlotNum) -> Option<NodeNum> {
        self.nodes.get(usize::from(slot.0)).copied().flatten()
    }

    /// Number of slots.
    pub fn slots(&self) -> u16 {
        self.nodes.len() as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_node_number_of_a_freed_slot_is_not_reported() {
        let bytes = [0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0];
        let map = SlotMap::parse(&bytes, 2, true);
        assert_eq!(map.used().collect::<Vec<_>>(), [(SlotNum(1), NodeNum(3))]);
    }

    #[test]
    fn old_records_have_two_bytes() {
        let map = SlotMap::parse(&[0xFF, 0xFF, 9, 0], 3, false);
        assert_eq!(map.used().collect::<Vec<_>>(), [(SlotNum(1), NodeNum(9))]);
        assert_eq!(map.slots(), 3);
    }
}
