//! Moving a file's contents: what is stored is written, what is a hole stays one.

use std::io;
use std::os::fd::BorrowedFd;

use ocfs2_fs::{File, SegmentSource};

/// Bytes moved at once.
pub(super) const STEP: usize = 1 << 20;

/// Why contents could not be moved.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The volume did not give them.
    #[error("at byte {offset}: {error}")]
    Read {
        /// Where in the file.
        offset: u64,
        /// Why.
        error: ocfs2_fs::Error,
    },
    /// The destination did not take them.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Copies a file into an empty one. `buf` has [`STEP`] bytes. Returns the bytes written.
pub(super) fn copy(file: &File, out: BorrowedFd<'_>, buf: &mut [u8]) -> Result<u64, Failure> {
    let size = file.size();
    let mut written = 0;
    let mut end = 0;
    for segment in file.segments() {
        let segment = segment.map_err(|error| Failure::Read { offset: end, error })?;
        if matches!(segment.source, SegmentSource::Hole | SegmentSource::Unwritten { .. }) {
            continue;
        }
        end = segment.start;
        let segment_end = segment.start.saturating_add(segment.len).min(size);
        while end < segment_end {
            let len = usize::try_from(segment_end - end).unwrap_or(usize::MAX).min(buf.len());
            let read = file
                .read_at(end, &mut buf[..len])
                .map_err(|error| Failure::Read { offset: end, error })?;
            if read == 0 {
                break;
            }
            write_at(out, &buf[..read], end)?;
            end += read as u64;
            written += read as u64;
        }
    }
    if end < size {
        rustix::fs::ftruncate(out, size).map_err(io::Error::from)?;
    }
    Ok(written)
}

fn write_at(out: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(out, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
