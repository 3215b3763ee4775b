//! Numbers with a unit. Functions pass these; conversions between them go through `Geometry`.
//!
//! Source: on-disk reference, section 0 (Conventions).

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$name> for $inner {
            fn from(number: $name) -> $inner {
                number.0
            }
        }
    };
}

number! {
    /// An absolute block number, counted from the start of the device in file-system blocks.
    BlockNo(u64)
}
number! {
    /// An absolute cluster number, counted from the start of the device.
    ClusterNo(u32)
}
number! {
    /// An inode number: the block that holds the dinode.
    InodeNo(u64)
}
number! {
    /// The file-system generation: a random number chosen at format time and copied into every metadata block.
    Generation(u32)
}
number! {
    /// A node slot, `0..s_max_slots`. Not a node number: a node may sit in any slot.
    SlotNum(u16)
}
number! {
    /// A cluster node number as `cluster.conf` gives it.
    NodeNum(u32)
}

impl SlotNum {
    /// The 16-bit value that means "no slot" (`OCFS2_INVALID_SLOT`).
    pub const INVALID: SlotNum = SlotNum(0xFFFF);
}

impl InodeNo {
    /// The block that holds this inode.
    pub const fn block(self) -> BlockNo {
        BlockNo(self.0)
    }
}

impl BlockNo {
    /// The inode stored in this block, if it is a dinode.
    pub const fn inode(self) -> InodeNo {
        InodeNo(self.0)
    }

    /// The block `n` further on, or `None` past 2^64.
    pub fn checked_add(self, n: u64) -> Option<BlockNo> {
        self.0.checked_add(n).map(BlockNo)
    }
}
