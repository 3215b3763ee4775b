//! Preallocation, holes and zeros.

use std::ops::Range;

use super::FileId;
use crate::error::{Error, Result};
use crate::mounted::Core;

/// How [`FileSystem::allocate`](crate::FileSystem::allocate) changes a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocateMode {
    /// Everything is allocated, and the file reaches to the end of the range at least.
    Extend,
    /// Everything is allocated; the size stays.
    KeepSize,
    /// Whole clusters are given back; everything reads as zeros; the size stays.
    PunchHole,
    /// Everything is allocated and reads as zeros, and the file reaches to the end of the range at least.
    ZeroRange,
    /// As `ZeroRange`; the size stays.
    ZeroRangeKeepSize,
    /// Everything is allocated and nothing shared with other files: writing there needs no space.
    Unshare,
}

pub(crate) fn allocate(_core: &Core, _file: FileId, _range: Range<u64>, _mode: AllocateMode) -> Result<()> {
    Err(Error::ReadOnly)
}
