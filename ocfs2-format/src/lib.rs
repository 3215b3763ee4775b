//! The OCFS2 on-disk format: bytes in, typed views out.
//!
//! Two layers. *Raw views* ([`Dinode`], [`ExtentBlock`], [`GroupDesc`], …) never fail beyond length, so odd bytes can
//! still be printed; their fields have the on-disk names and explicit byte order. *Checks* (`check(…)` with the volume's
//! [`Geometry`]) say whether a view can be trusted, and which rule it breaks ([`Corrupt`]) when not.
//!
//! Below both, [`device`] is where the bytes live.

pub mod device;
pub mod jbd2;
pub mod quota;

mod allocators;
mod backup;
mod blockcheck;
mod chain;
mod dinode;
mod dir;
mod dir_index;
mod error;
mod extent;
mod features;
mod geometry;
mod hash;
mod heartbeat;
mod image;
mod lock_id;
mod ocfs1;
mod prim;
mod refcount;
mod signature;
mod slot_map;
mod superblock;
mod system_file;
mod xattr;

pub use allocators::{LocalAlloc, TruncateLog, TruncateRec};
pub use backup::{BACKUP_OFFSETS, backup_blocks};
pub use blockcheck::{BadChecksum, BlockCheck, Verdict};
pub use chain::{ChainList, ChainRec, GroupDesc, GroupParent, count_ones, set_bit, test_bit};
pub use dinode::{
    BitmapCounts, Contents, Dinode, DynFeatures, FileKind, InlineData, InodeAttr, InodeFlags, JournalFlags,
    JournalState,
};
pub use dir::{DirEntries, DirEntry, DirEntryHeader, DirTrailer, write_dir_entry};
pub use dir_index::{DxEntry, DxEntryList, DxFlags, DxLeaf, DxRoot};
pub use error::{Corrupt, Location, Structure, Unsupported, Violation};
pub use extent::{ExtentBlock, ExtentFlags, ExtentList, ExtentListHeader, ExtentRec};
pub use features::{
    FEATURE_NAMES, FeatureCompat, FeatureIncompat, FeatureName, FeatureRoCompat, Features, TunefsFlags,
};
pub use geometry::Geometry;
pub use hash::{CharSign, DxHash, uuid_hash, xattr_name_hash};
pub use heartbeat::HeartbeatBlock;
pub use image::ImageHeader;
pub use lock_id::{BadLockName, LockId, LockKind};
pub use ocfs1::{LEADING_FILL, LEADING_TEXT, LEADING_TEXT_OFFSETS, fill_leading_area, is_ocfs1};
pub use prim::{BlockNo, ClusterNo, Generation, InodeNo, NodeNum, SlotNum};
pub use refcount::{RefcountBlock, RefcountFlags, RefcountList, RefcountRec};
pub use signature::Signature;
pub use slot_map::{ExtendedSlot, OLD_SLOT_EMPTY, SlotMap};
pub use superblock::{ClusterInfo, StackFlags, SuperBlock, SuperBlockError, check_superblock, claimed_geometry};
pub use system_file::SystemFile;
pub use xattr::{
    AclEntry, Xattr, XattrArea, XattrBlock, XattrBlockFlags, XattrDefValueRoot, XattrEntry, XattrHeader,
    XattrNamespace, XattrTreeRoot, XattrValue, XattrValueRoot,
};
