//! Reading: extents are mapped, then bytes move from the device into the caller's buffers in runs as long as the extents
//! allow.

use std::io::IoSliceMut;

use ocfs2_format::Contents;

use super::map::Map;
use super::{FileId, times};
use crate::error::Result;
use crate::file::read_bytes;
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::{Core, Level, LockSet};

/// Reads at `offset` into one buffer after the other. Returns fewer bytes than there is room for only at the end of the
/// file.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale), [`Error::WrongKind`](crate::Error::WrongKind),
/// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Io`](crate::Error::Io); nothing says how much of the buffers was
/// filled then.
pub(crate) fn read_at(core: &Core, file: FileId, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
    let mut locks = LockSet::new(core);
    // Other nodes may be writing around their caches, which only the read-write lock tells.
    let inode = file.lock(&mut locks, Level::Shared)?;
    let mut done = 0;
    for buf in bufs {
        let part = read_locked(core, &inode, offset.saturating_add(done as u64), buf)?;
        done += part;
        if part < buf.len() {
            break;
        }
    }
    drop(locks);
    if done > 0 {
        times::accessed(core, &inode);
    }
    Ok(done)
}

/// Reads at `offset` from an inode whose lock the caller holds.
///
/// # Errors
/// As [`read_at`].
fn read_locked(meta: &dyn Blocks, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<usize> {
    let left = inode.size().saturating_sub(offset);
    let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
    let buf = &mut buf[..len];
    if let Contents::Inline(data) = inode.contents() {
        if len > 0 {
            // A checked dinode keeps i_size within the area.
            buf.copy_from_slice(&data[offset as usize..offset as usize + len]);
        }
        return Ok(len);
    }
    let geometry = meta.geometry();
    let map = Map::new(meta, inode)?;
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let run = map.run_at(at >> geometry.cluster_size_bits)?;
        let until = run.end.saturating_mul(geometry.cluster_size());
        let part = usize::try_from(until - at).unwrap_or(usize::MAX).min(len - done);
        let target = &mut buf[done..done + part];
        match run.device_offset(at, geometry) {
            Some(from) if run.is_written() => read_bytes(meta.device().as_ref(), from, target)?,
            _ => target.fill(0),
        }
        done += part;
    }
    Ok(len)
}
