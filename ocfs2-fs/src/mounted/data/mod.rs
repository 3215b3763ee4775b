//! Contents of regular files: reading, writing, sizes, allocation.
//!
//! ```text
//! ops       FileSystem's methods
//! ahead     reading more than was asked for
//! read      mapping, then bytes straight into the caller's buffer
//! write     overwriting in place, or growing in steps of one transaction each
//! place     one step: clusters for a range, data on them, records
//! inline    contents in the dinode, and their way out
//! truncate  sizes: zeros on the way up, transactions from right to left on the way down
//! fallocate preallocation, holes, zeros
//! delayed   small pieces at the end of a file, which wait for each other
//! map       what of a file lies where
//! device    bytes on the device: any alignment, zeros around them
//! times     atime, mtime, ctime, suid and sgid
//! sync      durability
//! ```
//!
//! Data never passes through the metadata cache or the journal. It is on the device before the transaction that shows it
//! commits, and the journal makes it durable with that.
//!
//! Source: on-disk reference, sections 9, 19, 20 and 24.4; cluster reference, sections 6.4 to 6.7.

mod ahead;
mod delayed;
mod device;
mod fallocate;
mod inline;
mod map;
mod ops;
mod place;
mod read;
mod sync;
mod times;
mod truncate;
mod write;

use ocfs2_format::{FileKind, Generation, Geometry, InodeAttr, InodeNo};

pub use fallocate::AllocateMode;
pub use map::{ExtentInfo, ExtentPlace};

pub(crate) use ahead::{Changes, ReadAhead};
pub(crate) use delayed::Delayed;
pub(crate) use inline::{convert as leave_inline, is_inline, restore as restore_inline};
pub(crate) use times::{Privileges, accessed, modified};
pub(crate) use truncate::{prepare_gap, truncate};

use super::{InodeUse, Level, LockSet};
use crate::error::{Error, Result};
use crate::inode::Inode;

/// An inode for as long as it lives: its number may be given to another one after that. And who asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub(crate) inode: InodeNo,
    pub(crate) generation: Generation,
    /// Of whoever changes the file.
    pub(crate) privileges: Privileges,
}

impl FileId {
    /// Takes both locks of the file, as reads, writes and truncates do, and reads its inode.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::WrongKind`] for anything but a regular file, [`Error::Lock`], [`Error::Corrupt`].
    pub(crate) fn lock(self, locks: &mut LockSet<'_>, level: Level) -> Result<Inode> {
        locks.privileges = self.privileges;
        locks.read_write(self.inode, self.generation, level)?;
        let inode = locks.inode(self.inode, level)?;
        if inode.generation() != self.generation {
            return Err(Error::Stale(self.inode));
        }
        require_regular(&inode)?;
        Ok(inode)
    }
}

impl From<&InodeUse> for FileId {
    fn from(used: &InodeUse) -> FileId {
        FileId {
            inode: used.inode(),
            generation: used.generation(),
            privileges: Privileges::default(),
        }
    }
}

/// Fails unless the inode is a regular file.
pub(crate) fn require_regular(inode: &Inode) -> Result<()> {
    match inode.kind() {
        FileKind::Regular => Ok(()),
        FileKind::Directory => Err(Error::IsADirectory(format!("inode {}", inode.number()).into())),
        _ => Err(Error::WrongKind {
            inode: inode.number(),
            wanted: "regular file",
        }),
    }
}

/// Fails for files that may not be changed, or only at their end.
pub(crate) fn require_changeable(inode: &Inode) -> Result<()> {
    if inode.attr().contains(InodeAttr::IMMUTABLE) {
        return Err(immutable(inode));
    }
    if inode.attr().contains(InodeAttr::APPEND) {
        return Err(Error::NotPermitted {
            inode: inode.number(),
            why: "the file may only grow at its end",
        });
    }
    Ok(())
}

fn immutable(inode: &Inode) -> Error {
    Error::NotPermitted {
        inode: inode.number(),
        why: "the file is immutable",
    }
}

/// The largest size that a file of the volume can have, in bytes: logical clusters have 32 bits.
pub(crate) fn max_size(geometry: &Geometry) -> u64 {
    u64::from(u32::MAX) << geometry.cluster_size_bits
}
