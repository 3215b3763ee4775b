//! A device that counts.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::{BlockDevice, DevGeometry, DevTraits, Durability, IoError};

/// Counts the operations that succeed and their bytes, for tests that assert on what was touched.
///
/// The inner device is not offered as memory ([`as_slice`](BlockDevice::as_slice)), so that no read goes uncounted.
#[derive(Debug)]
pub struct Counting<D> {
    inner: D,
    reads: Tally,
    writes: Tally,
    zeroes: Tally,
    discards: Tally,
    flushes: AtomicU64,
}

/// What a [`Counting`] device has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of `read`.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Calls of `write`.
    pub writes: u64,
    /// Bytes written, zeroed ranges apart.
    pub written_bytes: u64,
    /// Calls of `write_zeroes`.
    pub zeroes: u64,
    /// Bytes zeroed.
    pub zeroed_bytes: u64,
    /// Calls of `discard`.
    pub discards: u64,
    /// Bytes discarded.
    pub discarded_bytes: u64,
    /// Calls of `flush`.
    pub flushes: u64,
}

impl<D: BlockDevice> Counting<D> {
    /// `inner`, with all counts at 0.
    pub fn new(inner: D) -> Counting<D> {
        Counting {
            inner,
            reads: Tally::default(),
            writes: Tally::default(),
            zeroes: Tally::default(),
            discards: Tally::default(),
            flushes: AtomicU64::new(0),
        }
    }

    /// The counts since the start or the last [`take`](Self::take).
    pub fn counts(&self) -> Counts {
        self.collect(|counter| counter.load(Ordering::Relaxed))
    }

    /// The counts, which start again at 0.
    pub fn take(&self) -> Counts {
        self.collect(|counter| counter.swap(0, Ordering::Relaxed))
    }

    /// The device inside.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// The device inside.
    pub fn into_inner(self) -> D {
        self.inner
    }

    fn collect(&self, get: impl Fn(&AtomicU64) -> u64) -> Counts {
        Counts {
            reads: get(&self.reads.calls),
            read_bytes: get(&self.reads.bytes),
            writes: get(&self.writes.calls),
            written_bytes: get(&self.writes.bytes),
            zeroes: get(&self.zeroes.calls),
            zeroed_bytes: get(&self.zeroes.bytes),
            discards: get(&self.discards.calls),
            discarded_bytes: get(&self.discards.bytes),
            flushes: get(&self.flushes),
        }
    }
}

/// Calls of one operation, and their bytes.
#[derive(Debug, Default)]
struct Tally {
    calls: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    fn add(&self, bytes: u64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl<D: BlockDevice> BlockDevice for Counting<D> {
    fn geometry(&self) -> DevGeometry {
        self.inner.geometry()
    }

    fn traits(&self) -> DevTraits {
        self.inner.traits()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.inner.read(offset, buf)?;
        self.reads.add(buf.len() as u64);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], how: Durability) -> Result<(), IoError> {
        self.inner.write(offset, buf, how)?;
        self.writes.add(buf.len() as u64);
        Ok(())
    }

    fn flush(&self) -> Result<(), IoError> {
        self.inner.flush()?;
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        let len = range.end.saturating_sub(range.start);
        self.inner.discard(range)?;
        self.discards.add(len);
        Ok(())
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        let len = range.end.saturating_sub(range.start);
        self.inner.write_zeroes(range)?;
        self.zeroes.add(len);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemDevice;

    #[test]
    fn successful_operations_and_their_bytes_are_counted() {
        let device = Counting::new(MemDevice::new(1 << 20));
        device.write(0, &[1; 1024], Durability::Cached).unwrap();
        device.read(0, &mut [0; 512]).unwrap();
        device.read(1 << 20, &mut [0; 512]).unwrap_err();
        device.write_zeroes(0..4096).unwrap();
        device.discard(0..512).unwrap();
        device.flush().unwrap();
        let want = Counts {
            reads: 1,
            read_bytes: 512,
            writes: 1,
            written_bytes: 1024,
            zeroes: 1,
            zeroed_bytes: 4096,
            discards: 1,
            discarded_bytes: 512,
            flushes: 1,
        };
        assert_eq!(device.take(), want);
        assert_eq!(device.counts(), Counts::default());
    }
}
