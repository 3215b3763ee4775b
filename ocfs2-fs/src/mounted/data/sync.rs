//! Durability.
//!
//! Source: on-disk reference, section 19.8; Linux 6.1 kernel behaviour.

use std::sync::Arc;

use ocfs2_format::{BlockCheck, Contents, Dinode, Structure};
use zerocopy::{FromZeros, IntoBytes};

use super::FileId;
use crate::error::Result;
use crate::meta::{Blocks, Locality, view_mut};
use crate::mounted::{Core, Level, LockSet};

/// Makes everything durable that has been written to a file so far.
///
/// # Errors
/// The journal's.
pub(crate) fn sync_all(core: &Core) -> Result<()> {
    // The file's changes may be in any transaction up to the running one, and so may be those of the directories and
    // allocators that they depend on: a commit takes them all.
    core.sync()
}

/// Makes the contents of a file durable, and what reading them takes: not its times.
///
/// # Errors
/// The journal's.
pub(crate) fn sync_data(core: &Core, file: FileId) -> Result<()> {
    if core.journal().is_err() {
        return Ok(());
    }
    if has_new_times_only(core, file)? {
        return Ok(core.journal()?.flush()?);
    }
    sync_all(core)
}

/// Whether a crash now would leave the file as it is but for its times.
fn has_new_times_only(core: &Core, file: FileId) -> Result<bool> {
    let mut locks = LockSet::new(core);
    let inode = file.lock(&mut locks, Level::Shared)?;
    // Records below the root may have changed without any trace in the dinode.
    if matches!(inode.contents(), Contents::Extents(root) if root.l_tree_depth.get() > 0) {
        return Ok(false);
    }
    let block = file.inode.block();
    let durable: Arc<[u8]> = match core.journal()?.newest_durable(block) {
        Some(image) => image,
        None => core
            .home()
            .verified(block, Structure::Dinode, Dinode::CHECK_OFFSET, Locality::Clustered)?
            .into_shared(),
    };
    Ok(without_times(&durable) == without_times(inode.as_bytes()))
}

fn without_times(block: &[u8]) -> Vec<u8> {
    let mut block = block.to_vec();
    let dinode: &mut Dinode = view_mut(&mut block);
    for time in [&mut dinode.i_atime, &mut dinode.i_ctime, &mut dinode.i_mtime] {
        time.set(0);
    }
    for nanos in [
        &mut dinode.i_atime_nsec,
        &mut dinode.i_ctime_nsec,
        &mut dinode.i_mtime_nsec,
    ] {
        nanos.set(0);
    }
    // Up to date only on the device.
    dinode.as_mut_bytes()[Dinode::CHECK_OFFSET..][..size_of::<BlockCheck>()].zero();
    block
}
