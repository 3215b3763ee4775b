//! Open files of a mounted file system, as `std::fs::File` is one.

use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use ocfs2_format::FileKind;

use super::data::{AllocateMode, ExtentInfo, ReadAhead};
use super::{FileSystem, InodeUse};
use crate::error::{Error, Result};
use crate::inode::Inode;

/// How to open a file: `std::fs::OpenOptions` for a volume.
#[derive(Clone, Copy, Debug)]
pub struct OpenHow {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) append: bool,
    pub(super) truncate: bool,
    pub(super) create: bool,
    pub(super) create_new: bool,
    pub(super) mode: u32,
}

impl Default for OpenHow {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenHow {
    /// Nothing chosen yet: neither reading nor writing, and a file that is not there is not made. A file that is made can
    /// be read by all and written by its owner.
    pub fn new() -> OpenHow {
        OpenHow {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            mode: 0o644,
        }
    }

    /// For reading.
    pub fn read(&mut self, on: bool) -> &mut Self {
        self.read = on;
        self
    }

    /// For writing.
    pub fn write(&mut self, on: bool) -> &mut Self {
        self.write = on;
        self
    }

    /// For writing at the end, wherever that is at each write.
    pub fn append(&mut self, on: bool) -> &mut Self {
        self.append = on;
        self
    }

    /// Cut off what the file holds.
    pub fn truncate(&mut self, on: bool) -> &mut Self {
        self.truncate = on;
        self
    }

    /// Make the file if it is not there.
    pub fn create(&mut self, on: bool) -> &mut Self {
        self.create = on;
        self
    }

    /// Make the file, and fail if it is there.
    pub fn create_new(&mut self, on: bool) -> &mut Self {
        self.create_new = on;
        self
    }

    /// Permission bits of a file that is made.
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    fn writes(&self) -> bool {
        self.write || self.append
    }

    /// Fails for combinations that make no sense, as `std::fs` does.
    pub(super) fn check(&self) -> Result<()> {
        let why = if !self.read && !self.writes() {
            "neither reading nor writing was asked for"
        } else if (self.create || self.create_new) && !self.writes() {
            "a file is made for writing only"
        } else if self.truncate && !self.write {
            "a file is truncated for writing only"
        } else if self.truncate && self.append {
            "a file that is appended to is not truncated"
        } else {
            return Ok(());
        };
        Err(Error::InvalidArgument { why })
    }
}

/// An open regular file. It stays, though all its names are removed, until it is closed.
///
/// [`Read`], [`Write`] and [`Seek`] share a position; [`read_at`](Self::read_at) and [`write_at`](Self::write_at) have none,
/// and can be used from many threads.
#[derive(Debug)]
pub struct OpenFile {
    fs: FileSystem,
    inode: InodeUse,
    how: OpenHow,
    position: u64,
    ahead: ReadAhead,
}

impl OpenFile {
    pub(super) fn open(fs: &FileSystem, inode: &Inode, how: &OpenHow) -> Result<OpenFile> {
        if inode.kind() != FileKind::Regular {
            return Err(Error::WrongKind {
                inode: inode.number(),
                wanted: "regular file",
            });
        }
        let file = OpenFile {
            fs: fs.clone(),
            inode: fs.use_inode(inode)?,
            how: *how,
            position: 0,
            ahead: ReadAhead::default(),
        };
        if how.truncate {
            file.set_len(0)?;
        }
        Ok(file)
    }

    /// The inode's use that keeps the file, for calls of the inode layer.
    pub fn inode_use(&self) -> &InodeUse {
        &self.inode
    }

    /// The inode as it is now.
    ///
    /// # Errors
    /// As [`FileSystem::inode`].
    pub fn metadata(&self) -> Result<Inode> {
        self.fs.inode(self.inode.inode())
    }

    /// Reads at `offset`. Fewer bytes than asked for mean the end of the file.
    ///
    /// # Errors
    /// As [`FileSystem::read_at`], [`Error::AccessDenied`] if the file was not opened for reading.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if !self.how.read {
            return Err(Error::AccessDenied);
        }
        self.ahead.read_at(&self.fs, &self.inode, offset, buf)
    }

    /// Writes at `offset`; at the end if the file was opened for appending. Returns how many bytes were written.
    ///
    /// # Errors
    /// As [`FileSystem::write_at`], [`Error::AccessDenied`] if the file was not opened for writing.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        self.require_writing()?;
        if self.how.append {
            return Ok(self.fs.append(&self.inode, bytes)?.1);
        }
        self.fs.write_at(&self.inode, offset, bytes)
    }

    /// Makes the file as long as this.
    ///
    /// # Errors
    /// As [`FileSystem::set_len`], [`Error::AccessDenied`].
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.require_writing()?;
        self.fs.set_len(&self.inode, len)
    }

    /// Changes the allocation of a range, as fallocate(2) does.
    ///
    /// # Errors
    /// As [`FileSystem::allocate`], [`Error::AccessDenied`].
    pub fn allocate(&self, range: Range<u64>, mode: AllocateMode) -> Result<()> {
        self.require_writing()?;
        self.fs.allocate(&self.inode, range, mode)
    }

    /// Frees a range, which reads as zeros from then on.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn punch_hole(&self, range: Range<u64>) -> Result<()> {
        self.allocate(range, AllocateMode::PunchHole)
    }

    /// The allocated stretches that touch a range, at most `limit` of them.
    ///
    /// # Errors
    /// As [`FileSystem::extents`].
    pub fn extents(&self, range: Range<u64>, limit: usize) -> Result<Vec<ExtentInfo>> {
        self.fs.extents(&self.inode, range, limit)
    }

    /// Makes everything durable that has been written to the file.
    ///
    /// # Errors
    /// The journal's.
    pub fn sync_all(&self) -> Result<()> {
        self.fs.sync_inode(&self.inode)
    }

    /// As [`sync_all`](Self::sync_all), but times need not be durable.
    ///
    /// # Errors
    /// The journal's.
    pub fn sync_data(&self) -> Result<()> {
        self.fs.sync_inode_data(&self.inode)
    }

    /// Closes the file, and tells what became of deleting it, if it has no name left. Dropping it does the same silently.
    ///
    /// # Errors
    /// As [`InodeUse::end`] and [`FileSystem::flush`].
    pub fn close(self) -> Result<()> {
        let flushed = self.fs.flush(&self.inode);
        self.inode.end()?;
        flushed
    }

    /// All bytes of the file.
    pub(super) fn contents(&self) -> Result<Vec<u8>> {
        // Grown as bytes arrive: the size is not to be trusted with memory.
        const STEP: usize = 1 << 20;
        let mut contents = Vec::new();
        loop {
            let start = contents.len();
            contents.resize(start + STEP, 0);
            let read = self.read_at(start as u64, &mut contents[start..])?;
            contents.truncate(start + read);
            if read < STEP {
                return Ok(contents);
            }
        }
    }

    /// Copies what there is of this file into an empty one; holes stay holes. Returns the size.
    pub(super) fn copy_to(&self, target: &OpenFile) -> Result<u64> {
        const STEP: usize = 1 << 20;
        let size = self.metadata()?.size();
        if let Some(shared) = self.fs.share(&self.inode, 0, &target.inode, 0, size)?
            && shared == (0..size)
        {
            return Ok(size);
        }
        let mut buf = vec![0; STEP];
        let mut at = 0;
        while let Some(start) = self.fs.seek_data(&self.inode, at)? {
            let end = self.fs.seek_hole(&self.inode, start)?.unwrap_or(size);
            at = start;
            while at < end {
                let part = (end - at).min(STEP as u64) as usize;
                let read = self.read_at(at, &mut buf[..part])?;
                if read == 0 {
                    break;
                }
                let mut done = 0;
                while done < read {
                    done += target.write_at(at + done as u64, &buf[done..read])?;
                }
                at += read as u64;
            }
            at = at.max(end);
        }
        target.set_len(size)?;
        Ok(size)
    }

    fn require_writing(&self) -> Result<()> {
        if self.how.writes() {
            Ok(())
        } else {
            Err(Error::AccessDenied)
        }
    }
}

impl Read for OpenFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.read_at(self.position, buf)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Write for OpenFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.require_writing()?;
        if self.how.append {
            let (offset, written) = self.fs.append_vectored(&self.inode, bufs)?;
            self.position = offset + written as u64;
            return Ok(written);
        }
        let written = self.fs.write_vectored_at(&self.inode, self.position, bufs)?;
        self.position += written as u64;
        Ok(written)
    }

    /// As [`FileSystem::flush`]. [`sync_all`](OpenFile::sync_all) makes it durable.
    fn flush(&mut self) -> io::Result<()> {
        Ok(self.fs.flush(&self.inode)?)
    }
}

impl Seek for OpenFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.metadata()?.size().checked_add_signed(by),
        };
        self.position = position.ok_or(Error::InvalidArgument {
            why: "a position before the start of the file",
        })?;
        Ok(self.position)
    }
}
