//! The one error type of all block devices.

use std::fmt;
use std::io;

/// A failed device operation: what was asked, where, and why it failed.
#[derive(Debug, thiserror::Error)]
pub struct IoError {
    /// The operation that failed.
    pub op: IoOp,
    /// First byte of the request; 0 where the operation has no place.
    pub offset: u64,
    /// Length of the request in bytes; 0 where the operation has none.
    pub len: u64,
    /// Why it failed.
    pub kind: IoErrorKind,
}

impl IoError {
    /// An error for a request.
    pub fn new(op: IoOp, offset: u64, len: u64, kind: IoErrorKind) -> Self {
        IoError { op, offset, len, kind }
    }

    /// The `errno` that a caller of a system call would have seen.
    pub fn errno(&self) -> i32 {
        const EIO: i32 = 5;
        const ENOTBLK: i32 = 15;
        const EBUSY: i32 = 16;
        const EINVAL: i32 = 22;
        const EROFS: i32 = 30;
        match &self.kind {
            IoErrorKind::OutOfRange { .. } => EIO,
            IoErrorKind::InvalidRequest { .. } | IoErrorKind::NoDirectIo => EINVAL,
            IoErrorKind::ReadOnly => EROFS,
            IoErrorKind::NotStorage { .. } => ENOTBLK,
            IoErrorKind::InUse => EBUSY,
            IoErrorKind::Device(source) => source.raw_os_error().unwrap_or(EIO),
        }
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.op {
            IoOp::Open | IoOp::Flush => write!(f, "{}: {}", self.op, self.kind),
            IoOp::Resize => write!(f, "{} to {} bytes: {}", self.op, self.len, self.kind),
            _ => write!(
                f,
                "{} of {} bytes at byte {}: {}",
                self.op, self.len, self.offset, self.kind
            ),
        }
    }
}

/// For adapters to [`std::io`]: keeps the cause's kind, or the closest one.
impl From<IoError> for io::Error {
    fn from(error: IoError) -> io::Error {
        let kind = match &error.kind {
            IoErrorKind::OutOfRange { .. } => io::ErrorKind::UnexpectedEof,
            IoErrorKind::InvalidRequest { .. } | IoErrorKind::NotStorage { .. } => io::ErrorKind::InvalidInput,
            IoErrorKind::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            IoErrorKind::InUse => io::ErrorKind::ResourceBusy,
            IoErrorKind::NoDirectIo => io::ErrorKind::Unsupported,
            IoErrorKind::Device(source) => source.kind(),
        };
        io::Error::new(kind, error)
    }
}

/// A device operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoOp {
    /// Opening the device, or asking for its size.
    Open,
    /// [`BlockDevice::read`](super::BlockDevice::read).
    Read,
    /// [`BlockDevice::write`](super::BlockDevice::write).
    Write,
    /// [`BlockDevice::flush`](super::BlockDevice::flush).
    Flush,
    /// [`BlockDevice::discard`](super::BlockDevice::discard).
    Discard,
    /// [`BlockDevice::write_zeroes`](super::BlockDevice::write_zeroes).
    WriteZeroes,
    /// [`BlockDevice::allocate`](super::BlockDevice::allocate).
    Allocate,
    /// [`FileDevice::set_len`](super::FileDevice::set_len).
    Resize,
}

impl fmt::Display for IoOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IoOp::Open => "open",
            IoOp::Read => "read",
            IoOp::Write => "write",
            IoOp::Flush => "flush",
            IoOp::Discard => "discard",
            IoOp::WriteZeroes => "zeroing",
            IoOp::Allocate => "allocation",
            IoOp::Resize => "resize",
        })
    }
}

/// Why a device operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IoErrorKind {
    /// The request reaches beyond the device.
    #[error("beyond the end of the device ({device_len} bytes)")]
    OutOfRange {
        /// Length of the device in bytes.
        device_len: u64,
    },
    /// Offset or length is not whole blocks, or a range ends before it starts: a bug of the caller.
    #[error("not whole blocks of the device ({block_size} bytes)")]
    InvalidRequest {
        /// The device's block size in bytes.
        block_size: u32,
    },
    /// A write to a device opened for reading.
    #[error("the device is open for reading only")]
    ReadOnly,
    /// The path names something that cannot hold a volume.
    #[error("{what}, not a regular file or a block device")]
    NotStorage {
        /// What it is instead, with its article: `a directory`.
        what: &'static str,
    },
    /// Asked for exclusive use, but another program has the device open, locked or mounted.
    #[error("in use by another program")]
    InUse,
    /// The file system that holds the file has no direct I/O.
    #[error("direct I/O is not supported here")]
    NoDirectIo,
    /// The operating system or the hardware said no.
    #[error("{0}")]
    Device(io::Error),
}
