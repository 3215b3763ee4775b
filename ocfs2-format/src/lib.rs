//! The OCFS2 on-disk format: bytes in, typed views out.

mod blockcheck;
pub mod device;
mod hash;
mod prim;

pub use blockcheck::{BadChecksum, BlockCheck, Verdict};
pub use hash::{CharSign, DxHash, uuid_hash, xattr_name_hash};
pub use prim::{BlockNo, ClusterNo, Generation, InodeNo, NodeNum, SlotNum};
