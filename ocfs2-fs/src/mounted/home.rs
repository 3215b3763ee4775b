//! The device as the journal and the few unjournaled writers see it: the metadata cache keeps up with what they write.

use std::ops::Range;
use std::sync::Arc;

use ocfs2_format::device::{BlockDevice, DevGeometry, DevTraits, Durability, IoError};

use crate::meta::{Blocks, Meta};

/// Writes through to the device, and into the cache of metadata what that has of the range.
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
        let range = offset..offset.saturating_add(buf.len() as u64);
        self.meta
            .while_writing(range, Some(buf), || self.inner().write(offset, buf, how))
    }

    fn flush(&self) -> Result<(), IoError> {
        self.inner().flush()
    }

    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        self.meta
            .while_writing(range.clone(), None, || self.inner().discard(range))
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        self.meta
            .while_writing(range.clone(), None, || self.inner().write_zeroes(range))
    }
}
