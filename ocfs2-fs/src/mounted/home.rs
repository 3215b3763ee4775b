//! The device as the journal and the few unjournaled writers see it: what they write is forgotten by the metadata cache.

use std::ops::Range;
use std::sync::Arc;

use ocfs2_format::device::{BlockDevice, DevGeometry, DevTraits, Durability, IoError};

use crate::meta::{Blocks, Meta};

/// Writes through to the device and makes the cache of metadata forget what it had of the range.
#[derive(Debug)]
pub(crate) struct HomeDevice {
    meta: Arc<Meta>,
}

impl HomeDevice {
    pub(crate) fn new(meta: Arc<Meta>) -> HomeDevice {
        HomeDevice { meta }
    }

    fn inner(&self) -> &dyn BlockDevice {
        self.meta.device().as_ref()
    }
}

impl BlockDevice for HomeDevice {
    fn geometry(&self) -> DevGeometry {
        self.inner().geometry()
    }

    fn traits(&self) -> DevTraits {
        self.inner().traits()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.inner().read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], how: Durability) -> Result<(), IoError> {
        let written = self.inner().write(offset, buf, how);
        self.meta.invalidate_bytes(offset..offset + buf.len() as u64);
        written
    }

    fn flush(&self) -> Result<(), IoError> {
        self.inner().flush()
    }

    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        let done = self.inner().discard(range.clone());
        self.meta.invalidate_bytes(range);
        done
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        let done = self.inner().write_zeroes(range.clone());
        self.meta.invalidate_bytes(range);
        done
    }
}
