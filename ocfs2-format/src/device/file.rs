//! A regular file or block device of this host, through the page cache or around it.
//!
//! Source: Linux system call behaviour (open, statx, fallocate, lseek, pwritev2, the block device ioctls).

mod ioctl;
mod probe;
mod sparse;

use std::fs::{File, FileType, Metadata};
use std::io::{self, IoSlice, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::buf::{AlignedBuf, is_aligned};
use super::{BlockDevice, Coherence, DevGeometry, DevTraits, DiscardEffect, Durability, IoError, IoErrorKind, IoOp};

/// How to open a [`FileDevice`]: for reading through the page cache, unless told otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileOptions {
    writable: bool,
    direct: bool,
    exclusive: bool,
}

impl FileOptions {
    /// Reading, through the page cache, shared with everyone.
    pub fn new() -> FileOptions {
        FileOptions::default()
    }

    /// Allows writing.
    #[must_use]
    pub fn writable(mut self, on: bool) -> FileOptions {
        self.writable = on;
        self
    }

    /// Goes around the page cache (`O_DIRECT`), as storage that other nodes write needs.
    #[must_use]
    pub fn direct(mut self, on: bool) -> FileOptions {
        self.direct = on;
        self
    }

    /// Refuses to open what another program uses: a mounted or exclusively opened block device, or a file that another
    /// exclusive opener holds. Lasts as long as the device; on files it binds only programs that ask too (`flock`).
    #[must_use]
    pub fn exclusive(mut self, on: bool) -> FileOptions {
        self.exclusive = on;
        self
    }
}

/// A regular file or block device.
///
/// A block is the sector of a block device, what direct I/O needs of a file, and else 512 bytes. A rest of a file that
/// is no whole block is not used. The length is the one at opening; [`set_len`](Self::set_len) changes it.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    storage: Storage,
    options: FileOptions,
    geometry: DevGeometry,
    discard: DiscardEffect,
    /// Whether writing is faster into space that was asked for before.
    reserves: bool,
}

impl FileDevice {
    /// Opens an existing file or block device.
    ///
    /// # Errors
    /// `NotStorage` for anything but a regular file or block device, `InUse` where exclusive use was asked for,
    /// `NoDirectIo`, otherwise the system's own error.
    pub fn open(path: impl AsRef<Path>, options: &FileOptions) -> Result<FileDevice, IoError> {
        open_file(path.as_ref(), options)
            .and_then(|file| FileDevice::from_file(file, options))
            .map_err(opening)
    }

    /// Makes a new sparse file of `len` zeros and opens it.
    ///
    /// # Errors
    /// The system's error, `EEXIST` among them: an existing file is never touched. As [`open`](Self::open) otherwise.
    pub fn create(path: impl AsRef<Path>, len: u64, options: &FileOptions) -> Result<FileDevice, IoError> {
        let path = path.as_ref();
        File::create_new(path)
            .and_then(|file| file.set_len(len))
            .map_err(IoErrorKind::Device)
            .map_err(opening)?;
        FileDevice::open(path, options)
    }

    /// Whether this is a block device and not a file.
    pub fn is_block_device(&self) -> bool {
        self.storage == Storage::BlockDevice
    }

    /// Makes a file longer, with zeros, or shorter. A rest that is no whole block is not used.
    ///
    /// # Errors
    /// `ReadOnly`, and the system's error, `EINVAL` for a block device among them.
    pub fn set_len(&mut self, len: u64) -> Result<(), IoError> {
        let failed = |kind| IoError::new(IoOp::Resize, 0, len, kind);
        if !self.options.writable {
            return Err(failed(IoErrorKind::ReadOnly));
        }
        self.file
            .set_len(len)
            .map_err(|source| failed(IoErrorKind::Device(source)))?;
        self.geometry.len = whole_blocks(len, self.geometry.block_size);
        Ok(())
    }

    fn from_file(file: File, options: &FileOptions) -> Result<FileDevice, IoErrorKind> {
        let metadata = file.metadata().map_err(IoErrorKind::Device)?;
        let storage = Storage::of(&metadata)?;
        if options.exclusive && storage == Storage::File {
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
                Errno::WOULDBLOCK => IoErrorKind::InUse,
                other => IoErrorKind::Device(other.into()),
            })?;
        }
        // Only seeking tells the length of a block device; both kinds may be asked that way.
        let len = (&file).seek(SeekFrom::End(0)).map_err(IoErrorKind::Device)?;
        let sector = match storage {
            Storage::File => 512,
            Storage::BlockDevice => probe::sector_size(&file)?,
        };
        let (block_size, dma_alignment) = match options.direct {
            false => (sector, 1),
            true => {
                let alignment = probe::direct_alignment(&file, storage, len)?;
                (sector.max(alignment.offset), alignment.memory)
            }
        };
        let discard = match storage {
            Storage::File if options.writable && sparse::can_punch(&file, len) => DiscardEffect::Zeroes,
            Storage::File => DiscardEffect::Ignored,
            Storage::BlockDevice => DiscardEffect::Undefined,
        };
        let geometry = DevGeometry {
            block_size,
            len: whole_blocks(len, block_size),
            dma_alignment,
        };
        let reserves = storage == Storage::File && options.writable && !sparse::is_in_memory(&file);
        Ok(FileDevice {
            file,
            storage,
            options: *options,
            geometry,
            discard,
            reserves,
        })
    }

    fn check_write(&self, op: IoOp, range: &Range<u64>) -> Result<(), IoError> {
        self.geometry.check_range(op, range)?;
        if !self.options.writable {
            return Err(IoError::new(
                op,
                range.start,
                range.end - range.start,
                IoErrorKind::ReadOnly,
            ));
        }
        Ok(())
    }

    /// The buffer to bounce `bytes` through, where their address does not suit direct I/O.
    fn bounce(&self, bytes: &[u8]) -> Option<AlignedBuf> {
        let alignment = self.geometry.dma_alignment as usize;
        (!is_aligned(bytes, alignment)).then(|| AlignedBuf::new(bytes.len().min(CHUNK), alignment))
    }

    fn read_bytes(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let Some(mut bounce) = self.bounce(buf) else {
            return self.file.read_exact_at(buf, offset);
        };
        let mut at = offset;
        for piece in buf.chunks_mut(CHUNK) {
            let bounce = &mut bounce[..piece.len()];
            self.file.read_exact_at(bounce, at)?;
            piece.copy_from_slice(bounce);
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn write_bytes(&self, offset: u64, buf: &[u8], how: Durability) -> io::Result<()> {
        let Some(mut bounce) = self.bounce(buf) else {
            return self.write_aligned(offset, buf, how);
        };
        let mut at = offset;
        for piece in buf.chunks(CHUNK) {
            let bounce = &mut bounce[..piece.len()];
            bounce.copy_from_slice(piece);
            self.write_aligned(at, bounce, how)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn write_aligned(&self, offset: u64, buf: &[u8], how: Durability) -> io::Result<()> {
        if how == Durability::Cached {
            return self.file.write_all_at(buf, offset);
        }
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            match rustix::io::pwritev2(&self.file, &[IoSlice::new(rest)], at, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    rest = &rest[written..];
                }
                Err(Errno::INTR) => {}
                Err(Errno::NOSYS | Errno::OPNOTSUPP) => {
                    self.file.write_all_at(rest, at)?;
                    return self.file.sync_data();
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn zero_bytes(&self, range: Range<u64>) -> io::Result<()> {
        if sparse::punch(&self.file, &range)? || sparse::zero_range(&self.file, &range)? {
            return Ok(());
        }
        let alignment = (self.geometry.dma_alignment as usize).max(self.geometry.block_size as usize);
        sparse::write_zeros(&self.file, range, self.geometry.block_size, alignment)
    }
}

impl BlockDevice for FileDevice {
    fn geometry(&self) -> DevGeometry {
        self.geometry
    }

    fn traits(&self) -> DevTraits {
        DevTraits {
            coherence: if self.options.direct {
                Coherence::Direct
            } else {
                Coherence::PageCache
            },
            discard: self.discard,
            read_only: !self.options.writable,
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        let len = buf.len() as u64;
        self.geometry.check(IoOp::Read, offset, len)?;
        self.read_bytes(offset, buf)
            .map_err(|e| IoError::new(IoOp::Read, offset, len, IoErrorKind::Device(e)))
    }

    fn write(&self, offset: u64, buf: &[u8], how: Durability) -> Result<(), IoError> {
        let len = buf.len() as u64;
        self.geometry.check(IoOp::Write, offset, len)?;
        self.check_write(IoOp::Write, &(offset..offset + len))?;
        self.write_bytes(offset, buf, how)
            .map_err(|e| IoError::new(IoOp::Write, offset, len, IoErrorKind::Device(e)))
    }

    fn flush(&self) -> Result<(), IoError> {
        if !self.options.writable {
            return Ok(());
        }
        self.file
            .sync_data()
            .map_err(|e| IoError::new(IoOp::Flush, 0, 0, IoErrorKind::Device(e)))
    }

    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        self.check_write(IoOp::Discard, &range)?;
        let (start, len) = (range.start, range.end - range.start);
        if len == 0 || self.discard == DiscardEffect::Ignored {
            return Ok(());
        }
        match self.storage {
            Storage::BlockDevice => ioctl::discard(&self.file, &range),
            // Falls back to zeros where a hole is refused after all: that is what `traits` promised.
            Storage::File => self.zero_bytes(range),
        }
        .map_err(|e| IoError::new(IoOp::Discard, start, len, IoErrorKind::Device(e)))
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        self.check_write(IoOp::WriteZeroes, &range)?;
        let (start, len) = (range.start, range.end - range.start);
        if len == 0 {
            return Ok(());
        }
        self.zero_bytes(range)
            .map_err(|e| IoError::new(IoOp::WriteZeroes, start, len, IoErrorKind::Device(e)))
    }

    fn allocate(&self, range: Range<u64>) -> Result<(), IoError> {
        self.check_write(IoOp::Allocate, &range)?;
        let (start, len) = (range.start, range.end - range.start);
        if len == 0 || !self.reserves {
            return Ok(());
        }
        // Where it is not supported, writing gets the storage.
        sparse::reserve(&self.file, &range)
            .map(|_| ())
            .map_err(|e| IoError::new(IoOp::Allocate, start, len, IoErrorKind::Device(e)))
    }
}

/// What is behind the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storage {
    File,
    BlockDevice,
}

impl Storage {
    fn of(metadata: &Metadata) -> Result<Storage, IoErrorKind> {
        let kind = metadata.file_type();
        if kind.is_file() {
            Ok(Storage::File)
        } else if kind.is_block_device() {
            Ok(Storage::BlockDevice)
        } else {
            Err(IoErrorKind::NotStorage { what: name_of(kind) })
        }
    }
}

fn name_of(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() {
        "a character device"
    } else {
        "a special file"
    }
}

pub(super) fn open_file(path: &Path, options: &FileOptions) -> Result<File, IoErrorKind> {
    // Looked at before opening: opening a character device can have effects, a socket or directory gives a poor error.
    let storage = Storage::of(&path.metadata().map_err(IoErrorKind::Device)?)?;
    // NONBLOCK: does nothing to files and block devices, and keeps a pipe that has just taken their place from blocking.
    let mut flags = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    flags |= if options.writable { OFlags::RDWR } else { OFlags::RDONLY };
    flags.set(OFlags::DIRECT, options.direct);
    flags.set(OFlags::EXCL, options.exclusive && storage == Storage::BlockDevice);
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => Ok(File::from(fd)),
        Err(Errno::INVAL) if options.direct => Err(IoErrorKind::NoDirectIo),
        Err(Errno::BUSY) if options.exclusive => Err(IoErrorKind::InUse),
        Err(errno) => Err(IoErrorKind::Device(errno.into())),
    }
}

pub(super) fn opening(kind: IoErrorKind) -> IoError {
    IoError::new(IoOp::Open, 0, 0, kind)
}

fn whole_blocks(len: u64, block_size: u32) -> u64 {
    len - len % u64::from(block_size)
}

/// Largest transfer through a bounce buffer, in bytes; a multiple of every block size.
const CHUNK: usize = 1 << 20;
