//! Durability.

use super::FileId;
use crate::error::Result;
use crate::mounted::Core;

/// Makes everything durable that has been written to a file so far.
///
/// # Errors
/// The journal's.
pub(crate) fn sync_all(core: &Core, _file: FileId) -> Result<()> {
    // The file's changes may be in any transaction up to the running one, and so may be those of the directories and
    // allocators that they depend on: a commit takes them all.
    Ok(core.journal()?.sync()?)
}

/// Makes the contents of a file durable, and what reading them takes.
///
/// # Errors
/// The journal's.
pub(crate) fn sync_data(core: &Core, file: FileId) -> Result<()> {
    sync_all(core, file)
}
