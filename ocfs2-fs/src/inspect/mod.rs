//! Looking at a volume as it is, damaged or not: for debuggers, not for readers.
//!
//! An [`Inspector`] reads blocks as the device holds them. It verifies no check code and asks of a block only that it
//! carries the signature of what it is taken for; every count in it is used as far as the block reaches, and no further.
//! What it follows from block to block it follows once: walks end on every volume, and report loops.
//!
//! Open the volume with [`OpenOptions::lenient`](crate::OpenOptions::lenient), and usually without
//! [`replay_journals`](crate::OpenOptions::replay_journals).
//!
//! Source: on-disk reference, sections 1.1, 8, 10, 11, 17, 18, 22 and 24.

mod dirs;
mod groups;
mod names;
mod owners;
mod raw;
mod resolve;
mod tree;
mod xattrs;

use ocfs2_format::{BlockNo, Dinode, Geometry, InodeNo, SlotNum, SystemFile};

pub use dirs::{RawDir, RawDirBlock, RawDirBlocks, RawDirEntries, RawDirEntry};
pub use groups::{GroupChain, clear_runs};
pub use names::Names;
pub use owners::BlockUse;
pub use raw::{BlockStructure, CheckState, Raw, RawBlock};
pub use tree::{LeafRecords, TreeBlocks};
pub use xattrs::{RawBucket, RawBuckets, RawXattrs};

use crate::error::Result;
use crate::volume::Volume;

/// Reads structures of a volume without judging them. See the [module](self).
#[derive(Clone, Debug)]
pub struct Inspector {
    volume: Volume,
}

impl Volume {
    /// A view of the volume for debuggers.
    pub fn inspect(&self) -> Inspector {
        Inspector { volume: self.clone() }
    }
}

impl Inspector {
    /// The volume.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Sizes and features.
    pub fn geometry(&self) -> &Geometry {
        self.volume.geometry()
    }

    /// The superblock's dinode.
    pub fn superblock(&self) -> Raw<Dinode> {
        Raw::of_bytes(Geometry::SUPER_BLOCK, self.volume.superblock_block())
    }

    /// A block, whatever it holds.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) with [`OutsideVolume`](ocfs2_format::Violation::OutsideVolume) for a
    /// block number that the volume does not have, [`Error::Io`](crate::Error::Io).
    pub fn block(&self, at: BlockNo) -> Result<RawBlock> {
        RawBlock::read(self.volume.meta(), at)
    }

    /// A block that carries the signature of `T`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) when it carries another, or as [`block`](Self::block).
    pub fn read<T: BlockStructure + ?Sized>(&self, at: BlockNo) -> Result<Raw<T>> {
        Raw::read(self.volume.meta(), at)
    }

    /// An inode.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn dinode(&self, number: InodeNo) -> Result<Raw<Dinode>> {
        self.read(number.block())
    }

    /// The inode of a system file.
    ///
    /// # Errors
    /// [`Error::NoSuchSystemFile`](crate::Error::NoSuchSystemFile), or as [`read`](Self::read).
    pub fn system_file(&self, file: SystemFile, slot: SlotNum) -> Result<Raw<Dinode>> {
        self.dinode(self.volume.system_file(file, slot)?)
    }
}
