//! What the inode layer offers for the contents of files.

use std::io::{IoSlice, IoSliceMut};
use std::ops::Range;

use super::device::Payload;
use super::fallocate::AllocateMode;
use super::map::{ExtentInfo, Wanted};
use super::{FileId, fallocate, map, read, sync, truncate, write};
use crate::error::Result;
use crate::inode::Inode;
use crate::mounted::{Core, FileSystem, InodeUse, Level, LockSet};

impl FileSystem {
    /// Reads a file at `offset`. Returns fewer bytes than `buf` has room for only at the end of the file.
    ///
    /// # Errors
    /// [`Error::WrongKind`](crate::Error::WrongKind) and [`Error::IsADirectory`](crate::Error::IsADirectory) for anything
    /// but a regular file, [`Error::Stale`](crate::Error::Stale), [`Error::Corrupt`](crate::Error::Corrupt),
    /// [`Error::Io`](crate::Error::Io).
    pub fn read_at(&self, file: &InodeUse, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.read_vectored_at(file, offset, &mut [IoSliceMut::new(buf)])
    }

    /// As [`read_at`](Self::read_at), into one buffer after the other. No write happens in between.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn read_vectored_at(&self, file: &InodeUse, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
        read::read_at(&self.core, self.file(file), offset, bufs)
    }

    /// Writes to a file at `offset`, and makes it longer if need be. Returns how many bytes were written: fewer than asked
    /// for only where space, a quota or the largest size of a file ended the write.
    ///
    /// The bytes survive a crash after [`sync_inode`](Self::sync_inode).
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at), [`Error::NoSpace`](crate::Error::NoSpace),
    /// [`Error::QuotaExceeded`](crate::Error::QuotaExceeded), [`Error::TooLarge`](crate::Error::TooLarge) when not even one
    /// byte could be written, [`Error::NotPermitted`](crate::Error::NotPermitted) for immutable files and for append-only
    /// ones, [`Error::ReadOnly`](crate::Error::ReadOnly), the journal's.
    pub fn write_at(&self, file: &InodeUse, offset: u64, bytes: &[u8]) -> Result<usize> {
        self.write_vectored_at(file, offset, &[IoSlice::new(bytes)])
    }

    /// As [`write_at`](Self::write_at), from one buffer after the other.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn write_vectored_at(&self, file: &InodeUse, offset: u64, bufs: &[IoSlice<'_>]) -> Result<usize> {
        write::write_at(&self.core, self.file(file), offset, &Payload::new(bufs))
    }

    /// Writes to the end of a file, wherever that is by then: nobody else's write comes in between (`O_APPEND`). Returns
    /// where the bytes went, and how many.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at), but append-only files are what this is for.
    pub fn append(&self, file: &InodeUse, bytes: &[u8]) -> Result<(u64, usize)> {
        self.append_vectored(file, &[IoSlice::new(bytes)])
    }

    /// As [`append`](Self::append), from one buffer after the other.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_vectored(&self, file: &InodeUse, bufs: &[IoSlice<'_>]) -> Result<(u64, usize)> {
        write::append(&self.core, self.file(file), &Payload::new(bufs))
    }

    /// Makes a file as long as this: cuts off what is behind it, or lets zeros follow.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn set_len(&self, file: &InodeUse, len: u64) -> Result<()> {
        truncate::set_len(&self.core, self.file(file), len)
    }

    /// Changes the allocation of a range of a file, as fallocate(2) does.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at), [`Error::NoFeature`](crate::Error::NoFeature) where the volume cannot have
    /// unwritten extents or holes, [`Error::InvalidArgument`](crate::Error::InvalidArgument) for an empty range.
    pub fn allocate(&self, file: &InodeUse, range: Range<u64>, mode: AllocateMode) -> Result<()> {
        fallocate::allocate(&self.core, self.file(file), range, mode)
    }

    /// The first byte at or behind `offset` that is data (`SEEK_DATA`); `None` if only holes follow. What is allocated
    /// and not written counts as a hole.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn seek_data(&self, file: &InodeUse, offset: u64) -> Result<Option<u64>> {
        self.with_shared(file, |inode| map::seek(self.core.as_ref(), inode, offset, Wanted::Data))
    }

    /// The first byte at or behind `offset` that lies in a hole (`SEEK_HOLE`), or the end of the file; `None` if `offset`
    /// is at that end or behind it.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn seek_hole(&self, file: &InodeUse, offset: u64) -> Result<Option<u64>> {
        self.with_shared(file, |inode| map::seek(self.core.as_ref(), inode, offset, Wanted::Hole))
    }

    /// The allocated stretches of a file that touch `range`, at most `limit` of them, in order. They may reach beyond the
    /// range, and beyond the end of the file.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn extents(&self, file: &InodeUse, range: Range<u64>, limit: usize) -> Result<Vec<ExtentInfo>> {
        self.with_shared(file, |inode| {
            map::extents(self.core.as_ref(), inode, range.start, range.end, limit)
        })
    }

    /// Makes everything durable that has been written to a file, and everything that reading it back takes (`fsync`).
    ///
    /// # Errors
    /// The journal's; those of writes that waited for others, as [`flush`](Self::flush) tells them.
    pub fn sync_inode(&self, file: &InodeUse) -> Result<()> {
        self.with_settled(file, sync::sync_all)
    }

    /// As [`sync_inode`](Self::sync_inode), but times need not be durable (`fdatasync`).
    ///
    /// # Errors
    /// The journal's.
    pub fn sync_inode_data(&self, file: &InodeUse) -> Result<()> {
        self.with_settled(file, |core| sync::sync_data(core, self.file(file)))
    }

    /// Writes out what may wait in memory of the small pieces that were appended to a file last, and tells what became of
    /// that. Nothing is durable by that. Changes of other files, reads of this one and time have the same effect.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn flush(&self, file: &InodeUse) -> Result<()> {
        self.core.settled(Some(file.inode()))
    }

    fn with_settled(&self, file: &InodeUse, sync: impl FnOnce(&Core) -> Result<()>) -> Result<()> {
        let settled = self.flush(file);
        sync(&self.core)?;
        settled
    }

    /// A file, for whom it is used.
    fn file(&self, used: &InodeUse) -> FileId {
        FileId {
            privileges: self.privileges,
            ..used.into()
        }
    }

    fn with_shared<T>(&self, file: &InodeUse, ask: impl FnOnce(&Inode) -> Result<T>) -> Result<T> {
        let mut locks = LockSet::new(&self.core);
        let inode = self.file(file).lock(&mut locks, Level::Shared)?;
        ask(&inode)
    }
}
