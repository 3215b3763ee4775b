//! Writing: over what is there, in parallel; or growing the file, alone and in steps of one transaction each.
//!
//! Source: on-disk reference, sections 9 and 19; cluster reference, section 6.5.

use ocfs2_format::{InodeAttr, InodeNo};

use super::device::{self, Payload};
use super::map::{Map, clusters_of};
use super::place::{self, Piece};
use super::{FileId, delayed, inline, max_size, require_changeable, times, truncate};
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::{Core, Level, LockSet};

/// Writes at `offset`. Returns how many bytes were written.
///
/// # Errors
/// As [`FileSystem::write_at`](crate::FileSystem::write_at).
pub(crate) fn write_at(core: &Core, file: FileId, offset: u64, payload: &Payload<'_>) -> Result<usize> {
    core.require_writable()?;
    if payload.len() == 0 {
        return Ok(0);
    }
    if delayed::append(core, file, Some(offset), payload).is_some() {
        return Ok(payload.len() as usize);
    }
    core.settle_others(file)?;
    if let Some(inode) = overwrite(core, file, offset, payload)? {
        sync_if_wanted(core, &inode)?;
        return Ok(payload.len() as usize);
    }
    let mut locks = LockSet::new(core);
    let inode = file.lock(&mut locks, Level::Exclusive)?;
    require_changeable(&inode)?;
    let written = write_locked(&mut locks, &inode, offset, payload)?;
    if offset == inode.size() {
        delayed::appended(&mut locks, file, offset, written as u64);
    }
    drop(locks);
    sync_if_wanted(core, &inode)?;
    Ok(written)
}

/// Writes to the end of a file. Returns where that was, and how many bytes were written.
///
/// # Errors
/// As [`FileSystem::append`](crate::FileSystem::append).
pub(crate) fn append(core: &Core, file: FileId, payload: &Payload<'_>) -> Result<(u64, usize)> {
    core.require_writable()?;
    if let Some(at) = delayed::append(core, file, None, payload) {
        return Ok((at, payload.len() as usize));
    }
    core.settle_others(file)?;
    let mut locks = LockSet::new(core);
    let inode = file.lock(&mut locks, Level::Exclusive)?;
    if inode.attr().contains(InodeAttr::IMMUTABLE) {
        return Err(super::immutable(&inode));
    }
    let offset = inode.size();
    if payload.len() == 0 {
        return Ok((offset, 0));
    }
    let written = write_locked(&mut locks, &inode, offset, payload)?;
    delayed::appended(&mut locks, file, offset, written as u64);
    drop(locks);
    sync_if_wanted(core, &inode)?;
    Ok((offset, written))
}

/// Writes over bytes that are there already, with whatever else goes on in other parts of the file. `None`, and nothing
/// written, when it takes more than that; else the inode as it was before.
fn overwrite(core: &Core, file: FileId, offset: u64, payload: &Payload<'_>) -> Result<Option<Inode>> {
    // The device's blocks at both ends must not hold bytes that somebody else is writing.
    let device = core.device().as_ref();
    let mask = u64::from(device.geometry().block_size) - 1;
    let Some(end) = offset.checked_add(payload.len()) else {
        return Ok(None);
    };
    if (offset | end) & mask != 0 {
        return Ok(None);
    }
    let mut locks = LockSet::new(core);
    let inode = file.lock(&mut locks, Level::Joint)?;
    require_changeable(&inode)?;
    if end > inode.size() || times::loses_privileges(&inode, file.privileges) || inline::is_inline(&inode) {
        return Ok(None);
    }
    let geometry = core.geometry();
    let (from, to) = clusters_of(geometry, offset, end);
    let map = Map::new(core, &inode)?;
    for run in map.runs(from, to) {
        if !run?.is_plain() {
            return Ok(None);
        }
    }
    for run in map.runs(from, to) {
        if let Some(transfer) = place::transfer(&run?, offset, 0, end, geometry) {
            device::overwrite(device, payload, transfer)?;
        }
    }
    drop(locks);
    if times::is_modification_due(&inode, core.now(), file.privileges) {
        times::set_modified(core, file)?;
    }
    Ok(Some(inode))
}

/// Writes to a file whose locks the caller holds alone.
pub(super) fn write_locked(
    locks: &mut LockSet<'_>,
    inode: &Inode,
    offset: u64,
    payload: &Payload<'_>,
) -> Result<usize> {
    let core = locks.core();
    let number = inode.number();
    let limit = max_size(core.geometry());
    if offset >= limit {
        return Err(Error::TooLarge { what: "the file" });
    }
    let len = payload.len().min(limit - offset);
    if inline::fits(core, inode, offset + len) {
        inline::write(locks, inode, offset, payload)?;
        return Ok(len as usize);
    }
    if inline::is_inline(inode) {
        inline::convert(locks, number)?;
    }
    let written = write_extents(locks, inode, offset, len, payload);
    if written.is_err() {
        inline::restore(locks, inode);
    }
    written
}

/// Writes to a file whose contents are not inline, or not any longer. `inode` is as it was before.
fn write_extents(
    locks: &mut LockSet<'_>,
    inode: &Inode,
    offset: u64,
    len: u64,
    payload: &Payload<'_>,
) -> Result<usize> {
    let core = locks.core();
    let (number, size) = (inode.number(), inode.size());
    if offset > size {
        truncate::prepare_gap(locks, number, offset)?;
    }
    match steps(locks, number, offset, len, payload) {
        Err(error) if offset > size && !core.geometry().features.sparse() => {
            // The gap was filled for nothing; the first failure is the one to be told.
            let _ = truncate(locks, number, size);
            Err(error)
        }
        written => written,
    }
}

/// Writes in steps, until all is written or something ends it.
fn steps(locks: &mut LockSet<'_>, number: InodeNo, offset: u64, len: u64, payload: &Payload<'_>) -> Result<usize> {
    let mut done = 0;
    while done < len {
        let piece = Piece {
            payload,
            at: done,
            offset: offset + done,
            len: len - done,
        };
        match place::step(locks, number, piece) {
            Ok(part) => done += part,
            // What has been written stays, as in every file system.
            Err(Error::NoSpace | Error::QuotaExceeded) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done as usize)
}

fn sync_if_wanted(core: &Core, inode: &Inode) -> Result<()> {
    if inode.attr().contains(InodeAttr::SYNC) {
        core.journal()?.sync()?;
    }
    Ok(())
}
