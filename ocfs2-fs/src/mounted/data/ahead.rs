//! Reading ahead: whoever reads a file in small pieces, one behind the other, gets them from a larger one.
//!
//! What is kept is as new as any read: writers count the changes of a file's contents, and a copy from before the last one
//! is not used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

use ocfs2_format::InodeNo;

use crate::error::Result;
use crate::mounted::{FileSystem, InodeUse};

/// Bytes that are read at once.
const LEN: usize = 128 << 10;

/// Pieces from this size on are read as they are.
const SMALL: usize = 32 << 10;

/// Pieces in a row after which more than that is read.
const ROW: u32 = 2;

/// How long a copy is used. Access times are looked after when it is made.
const LIFE: Duration = Duration::from_secs(1);

/// How often the contents of files were changed. Files share counters: a change of one looks like a change of others.
#[derive(Debug)]
pub(crate) struct Changes([AtomicU64; Self::COUNTERS]);

impl Changes {
    const COUNTERS: usize = 256;

    fn counter(&self, inode: InodeNo) -> &AtomicU64 {
        &self.0[inode.0 as usize % Self::COUNTERS]
    }

    /// Counts a change, which is done; the lock that it took is still held.
    pub(in crate::mounted) fn add(&self, inode: InodeNo) {
        self.counter(inode).fetch_add(1, Ordering::Release);
    }

    fn get(&self, inode: InodeNo) -> u64 {
        self.counter(inode).load(Ordering::Acquire)
    }
}

impl Default for Changes {
    fn default() -> Self {
        Changes(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// What an open file has read ahead.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead(Mutex<Ahead>);

#[derive(Debug, Default)]
struct Ahead {
    /// Where the last piece ended, and how many came in a row.
    next: u64,
    row: u32,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    start: u64,
    bytes: Vec<u8>,
    /// Changes of the file before the bytes were read.
    changes: u64,
    made: Instant,
}

impl Kept {
    /// Copies what was read of this range. `None` if that is not all of it, or no longer what the file holds.
    fn serve(&self, offset: u64, buf: &mut [u8], changes: u64) -> Option<()> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(from..from.checked_add(buf.len())?)?;
        if self.changes != changes || self.made.elapsed() > LIFE {
            return None;
        }
        buf.copy_from_slice(bytes);
        Some(())
    }
}

impl ReadAhead {
    /// As [`FileSystem::read_at`].
    pub(in crate::mounted) fn read_at(
        &self,
        fs: &FileSystem,
        file: &InodeUse,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        let mut ahead = match self.0.try_lock() {
            Ok(ahead) if buf.len() < SMALL => ahead,
            Err(TryLockError::Poisoned(poisoned)) if buf.len() < SMALL => poisoned.into_inner(),
            // Several threads read at once: each for itself.
            _ => return fs.read_at(file, offset, buf),
        };
        let changes = fs.core.changes.get(file.inode());
        ahead.row = if offset == ahead.next { ahead.row + 1 } else { 0 };
        let kept = ahead.kept.as_ref();
        let read = if kept.and_then(|kept| kept.serve(offset, buf, changes)).is_some() {
            buf.len()
        } else if ahead.row >= ROW {
            ahead.fill(fs, file, offset, buf, changes)?
        } else {
            ahead.kept = None;
            fs.read_at(file, offset, buf)?
        };
        ahead.next = offset + read as u64;
        Ok(read)
    }
}

impl Ahead {
    /// Reads more than was asked for.
    fn fill(&mut self, fs: &FileSystem, file: &InodeUse, offset: u64, buf: &mut [u8], changes: u64) -> Result<usize> {
        let mut bytes = self.kept.take().map(|kept| kept.bytes).unwrap_or_default();
        bytes.resize(LEN, 0);
        let read = fs.read_at(file, offset, &mut bytes)?;
        bytes.truncate(read);
        let part = read.min(buf.len());
        buf[..part].copy_from_slice(&bytes[..part]);
        self.kept = Some(Kept {
            start: offset,
            bytes,
            changes,
            made: Instant::now(),
        });
        Ok(part)
    }
}
