//! The OCFS2 on-disk format: bytes in, typed views out.

pub mod device;
mod prim;

pub use prim::{BlockNo, ClusterNo, Generation, InodeNo, NodeNum, SlotNum};
