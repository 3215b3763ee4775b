//! New inodes, and further links to old ones.

use ocfs2_format::{FileKind, InodeNo};

use super::NewInode;
use crate::error::{Error, Result};
use crate::inode::{DeviceNumber, Inode};
use crate::mounted::FileSystem;

impl FileSystem {
    /// Makes an empty regular file.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::NameTooLong`], [`Error::BadName`], [`Error::NotFound`] in a removed directory,
    /// [`Error::NoSpace`], [`Error::QuotaExceeded`], [`Error::NotPermitted`] in an immutable directory,
    /// [`Error::ReadOnly`], [`Error::Corrupt`], the journal's. Then nothing has changed.
    pub fn create_file(&self, _dir: InodeNo, _name: &[u8], _new: &NewInode) -> Result<Inode> {
        Err(Error::ReadOnly)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As [`create_file`](Self::create_file); [`Error::TooManyLinks`] when the parent has too many subdirectories.
    pub fn make_dir(&self, _dir: InodeNo, _name: &[u8], _new: &NewInode) -> Result<Inode> {
        Err(Error::ReadOnly)
    }

    /// Makes a symbolic link to a target of 1 to 4095 bytes.
    ///
    /// # Errors
    /// As [`create_file`](Self::create_file); [`Error::NameTooLong`] also for the target, [`Error::InvalidArgument`] for a
    /// target that is empty or has a NUL in it.
    pub fn make_symlink(&self, _dir: InodeNo, _name: &[u8], _target: &[u8], _new: &NewInode) -> Result<Inode> {
        Err(Error::ReadOnly)
    }

    /// Makes a device file, pipe, socket or regular file. `device` matters for devices only.
    ///
    /// # Errors
    /// As [`create_file`](Self::create_file); [`Error::InvalidArgument`] for a directory, a symbolic link or a device
    /// number that the format cannot hold.
    pub fn make_node(
        &self,
        _dir: InodeNo,
        _name: &[u8],
        _kind: FileKind,
        _device: DeviceNumber,
        _new: &NewInode,
    ) -> Result<Inode> {
        Err(Error::ReadOnly)
    }

    /// Gives an inode a further name. Returns the inode with its new link count.
    ///
    /// # Errors
    /// As [`create_file`](Self::create_file); [`Error::NotPermitted`] for a directory and for an inode that is immutable or
    /// append-only, [`Error::NotFound`] for one that has no name any more, [`Error::TooManyLinks`].
    pub fn link(&self, _inode: InodeNo, _dir: InodeNo, _name: &[u8]) -> Result<Inode> {
        Err(Error::ReadOnly)
    }
}
