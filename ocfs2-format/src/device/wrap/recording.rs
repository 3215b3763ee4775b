//! A device that writes down what is done to it.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::lock;
use crate::device::{BlockDevice, DevGeometry, DevTraits, Durability, IoError};

/// One operation that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// Bytes read; only from a device made by [`Recording::with_reads`].
    Read {
        /// First byte.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Bytes written.
    Write {
        /// First byte.
        offset: u64,
        /// What was written.
        data: Arc<[u8]>,
        /// How far it had to get.
        how: Durability,
    },
    /// A range turned into zeros.
    Zero(Range<u64>),
    /// A range given up.
    Discard(Range<u64>),
    /// Everything before made durable.
    Flush,
}

impl Op {
    /// Does the operation again, on another device. A read does nothing.
    ///
    /// # Errors
    /// The device's error.
    pub fn apply(&self, device: &dyn BlockDevice) -> Result<(), IoError> {
        match self {
            Op::Read { .. } => Ok(()),
            Op::Write { offset, data, how } => device.write(*offset, data, *how),
            Op::Zero(range) => device.write_zeroes(range.clone()),
            Op::Discard(range) => device.discard(range.clone()),
            Op::Flush => device.flush(),
        }
    }
}

/// Keeps a log of the operations that succeed, with their data, for tests of ordering and of what a crash leaves.
///
/// Changes reach the inner device one at a time, in the order of the log: the log applied to a copy of the device as it
/// was gives the device as it is. With reads in the log, the inner device is not offered as memory.
#[derive(Debug)]
pub struct Recording<D> {
    inner: D,
    log: Mutex<Vec<Op>>,
    reads: bool,
}

impl<D: BlockDevice> Recording<D> {
    /// Records everything but reads.
    pub fn new(inner: D) -> Recording<D> {
        Recording {
            inner,
            log: Mutex::default(),
            reads: false,
        }
    }

    /// Records everything.
    pub fn with_reads(inner: D) -> Recording<D> {
        Recording {
            inner,
            log: Mutex::default(),
            reads: true,
        }
    }

    /// A copy of the log. Cheap: the data is shared.
    pub fn ops(&self) -> Vec<Op> {
        lock(&self.log).clone()
    }

    /// The log, which starts again empty.
    pub fn take(&self) -> Vec<Op> {
        std::mem::take(&mut lock(&self.log))
    }

    /// The device inside.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// The device inside.
    pub fn into_inner(self) -> D {
        self.inner
    }

    /// Holds the log while `run` works, so that the log is in the order of effect.
    fn record(&self, op: impl FnOnce() -> Op, run: impl FnOnce(&D) -> Result<(), IoError>) -> Result<(), IoError> {
        let mut log = lock(&self.log);
        run(&self.inner)?;
        log.push(op());
        Ok(())
    }
}

impl<D: BlockDevice> BlockDevice for Recording<D> {
    fn geometry(&self) -> DevGeometry {
        self.inner.geometry()
    }

    fn traits(&self) -> DevTraits {
        self.inner.traits()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        if !self.reads {
            return self.inner.read(offset, buf);
        }
        let len = buf.len() as u64;
        self.record(|| Op::Read { offset, len }, |inner| inner.read(offset, buf))
    }

    fn write(&self, offset: u64, buf: &[u8], how: Durability) -> Result<(), IoError> {
        self.record(
            || Op::Write {
                offset,
                data: buf.into(),
                how,
            },
            |inner| inner.write(offset, buf, how),
        )
    }

    fn flush(&self) -> Result<(), IoError> {
        self.record(|| Op::Flush, D::flush)
    }

    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        self.record(|| Op::Discard(range.clone()), |inner| inner.discard(range.clone()))
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        self.record(|| Op::Zero(range.clone()), |inner| inner.write_zeroes(range.clone()))
    }

    fn as_slice(&self) -> Option<&[u8]> {
        if self.reads { None } else { self.inner.as_slice() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemDevice;

    #[test]
    fn the_log_applied_to_a_copy_gives_the_device() {
        let before = MemDevice::from_vec(vec![9; 8192]);
        let device = Recording::new(before.snapshot());
        device.write(512, &[1; 1024], Durability::Cached).unwrap();
        device.write_zeroes(1024..2048).unwrap();
        device.flush().unwrap();
        device.write(8192, &[1; 512], Durability::Cached).unwrap_err();
        device.write(0, &[2; 512], Durability::ForceUnitAccess).unwrap();
        device.discard(4096..8192).unwrap();
        device.read(0, &mut [0; 512]).unwrap();

        let ops = device.take();
        assert_eq!(
            ops.len(),
            5,
            "neither the failed write nor the read is in the log: {ops:?}"
        );
        assert_eq!(ops[2], Op::Flush);
        for op in &ops {
            op.apply(&before).unwrap();
        }
        assert_eq!(before.to_vec(), device.inner().to_vec());
        assert!(device.ops().is_empty());
    }

    #[test]
    fn reads_are_recorded_where_asked_for() {
        let device = Recording::with_reads(MemDevice::new(8192));
        device.read(1024, &mut [0; 512]).unwrap();
        assert_eq!(device.ops(), [Op::Read { offset: 1024, len: 512 }]);
    }
}
