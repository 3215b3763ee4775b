//! Copying ranges of files by sharing their clusters, where the format can.
//!
//! Source: on-disk reference, sections 19.3 and 24; cluster reference, section 6.5.

use std::ops::Range;

use super::share_range;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::{FileSystem, InodeUse, Level, LockSet, data};

/// Bytes that are copied at once where clusters cannot be shared.
const STEP: u64 = 1 << 20;

impl FileSystem {
    /// Copies a range of a file into another, or to another place of the same, as copy_file_range(2) does: whole clusters
    /// become shared where both places lie alike in their clusters, everything else is read and written. Returns how many
    /// bytes were copied: fewer than `len` at the end of `from`, and where space or a quota ended the copy.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at) and [`write_at`](Self::write_at); [`Error::InvalidArgument`] for ranges of one file
    /// that overlap.
    pub fn copy_range(&self, from: &InodeUse, from_at: u64, to: &InodeUse, to_at: u64, len: u64) -> Result<u64> {
        let size = self.inode(from.inode())?.size();
        let len = len.min(size.saturating_sub(from_at));
        let to_end = to_at.checked_add(len).ok_or(Error::TooLarge { what: "the file" })?;
        if from.inode() == to.inode() && from_at < to_end && to_at < from_at + len {
            let why = "the ranges to copy between overlap";
            return Err(Error::InvalidArgument { why });
        }
        let end = from_at + len;
        let shared = self.share(from, from_at, to, to_at, len)?.unwrap_or(end..end);
        for part in [from_at..shared.start, shared.end..end] {
            let copied = self.copy_bytes(from, part.clone(), to, to_at + (part.start - from_at))?;
            if copied < part.end - part.start {
                return Ok(part.start - from_at + copied);
            }
        }
        Ok(len)
    }

    /// Shares what can be shared of a range. Returns which part of it was; the target is as long as it has to be for all of
    /// the range then.
    pub(crate) fn share(
        &self,
        from: &InodeUse,
        from_at: u64,
        to: &InodeUse,
        to_at: u64,
        len: u64,
    ) -> Result<Option<Range<u64>>> {
        let core = &*self.core;
        let geometry = *core.geometry();
        let cluster = geometry.cluster_size();
        let is_possible = geometry.features.refcount() && geometry.features.sparse();
        if !is_possible || from.inode() == to.inode() || from_at % cluster != to_at % cluster || len < cluster {
            return Ok(None);
        }
        core.require_writable()?;
        let mut locks = LockSet::new(core);
        locks.privileges = self.privileges;
        let (source, target) = lock_both(&mut locks, from, to)?;
        data::require_changeable(&target)?;
        let end = from_at.saturating_add(len).min(source.size());
        let to_end = to_at + end.saturating_sub(from_at);
        // The last cluster of a file can be shared when it becomes the last of the other.
        let is_last = end == source.size() && to_end >= target.size();
        let first = from_at.next_multiple_of(cluster);
        let last = match is_last {
            true => end.next_multiple_of(cluster),
            false => end / cluster * cluster,
        };
        if first >= last {
            return Ok(None);
        }
        if to_end > target.size() {
            data::truncate(&mut locks, to.inode(), to_end)?;
        }
        let cpos = |at: u64| u32::try_from(at / cluster).map_err(|_| Error::TooLarge { what: "the file" });
        let (start, goal) = (cpos(first)?, cpos(first - from_at + to_at)?);
        let clusters = cpos(last)? - start;
        // Locks of refcount trees come before those of allocators.
        locks.reserve(crate::mounted::Need::default())?;
        if share_range(&mut locks, (from.inode(), start), (to.inode(), goal), clusters)? == 0 {
            return Ok(None);
        }
        let mut txn = locks.begin(1)?;
        let now = txn.now();
        data::modified(txn.dinode(to.inode())?, now, self.privileges);
        txn.commit()?;
        Ok(Some(first..last.min(end)))
    }

    fn copy_bytes(&self, from: &InodeUse, range: Range<u64>, to: &InodeUse, to_at: u64) -> Result<u64> {
        let len = range.end.saturating_sub(range.start);
        let mut buffer = vec![0; len.min(STEP) as usize];
        let mut copied = 0;
        while copied < len {
            let part = (len - copied).min(STEP) as usize;
            let read = self.read_at(from, range.start + copied, &mut buffer[..part])?;
            let written = self.write_at(to, to_at + copied, &buffer[..read])?;
            copied += written as u64;
            if written == 0 {
                break;
            }
        }
        Ok(copied)
    }
}

/// Takes all locks of two files, each kind in the order of inode numbers.
fn lock_both(locks: &mut LockSet<'_>, from: &InodeUse, to: &InodeUse) -> Result<(Inode, Inode)> {
    let mut files = [from, to];
    files.sort_by_key(|file| file.inode());
    for file in files {
        locks.read_write(file.inode(), file.generation(), Level::Exclusive)?;
    }
    for file in files {
        let inode = locks.inode(file.inode(), Level::Exclusive)?;
        if inode.generation() != file.generation() {
            return Err(Error::Stale(file.inode()));
        }
        data::require_regular(&inode)?;
    }
    let core = locks.core();
    Ok((core.read_inode(from.inode())?, core.read_inode(to.inode())?))
}
