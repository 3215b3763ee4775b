//! The one error type of all block devices.

use std::fmt;
use std::io;

/// A failed device operation: what was asked, where, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("{op} of {len} bytes at byte {offset}: {kind}")]
pub struct IoError {
    /// The operation that failed.
    pub op: IoOp,
    /// First byte of the request.
    pub offset: u64,
    /// Length of the request in bytes.
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
        const EINVAL: i32 = 22;
        const EROFS: i32 = 30;
        match &self.kind {
            IoErrorKind::OutOfRange { .. } => EIO,
            IoErrorKind::InvalidRequest { .. } => EINVAL,
            IoErrorKind::ReadOnly => EROFS,
            IoErrorKind::Device(source) => source.raw_os_error().unwrap_or(EIO),
        }
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
    /// Offset or length is not a multiple of the device's block size: a bug of the caller.
    #[error("not a multiple of the device's block size ({block_size} bytes)")]
    InvalidRequest {
        /// The device's block size in bytes.
        block_size: u32,
    },
    /// A write to a device opened for reading.
    #[error("the device is open for reading only")]
    ReadOnly,
    /// The operating system or the hardware said no.
    #[error("{0}")]
    Device(io::Error),
}
