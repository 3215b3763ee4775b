//! Writing.

use super::FileId;
use super::device::Payload;
use crate::error::{Error, Result};
use crate::mounted::Core;

pub(crate) fn write_at(_core: &Core, _file: FileId, _offset: u64, _payload: &Payload<'_>) -> Result<usize> {
    Err(Error::ReadOnly)
}

pub(crate) fn append(_core: &Core, _file: FileId, _payload: &Payload<'_>) -> Result<(u64, usize)> {
    Err(Error::ReadOnly)
}
