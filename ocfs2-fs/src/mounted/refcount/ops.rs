//! Copying ranges of files by sharing their clusters, where the format can.
//!
//! Source: on-disk reference, sections 19.3 and 24; cluster reference, section 6.5.

use std::ops::Range;

use ocfs2_format::InodeNo;

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
        let mut at = from_at;
        // An error that comes later is told when somebody goes on from there.
        let so_far = |at: u64, error| if at > from_at { Ok(at - from_at) } else { Err(error) };
        let cluster = self.core.geometry().cluster_size();
        let first = from_at.next_multiple_of(cluster);
        if self.can_share(from, from_at, to, to_at) && first + cluster <= end {
            at += self.copy_bytes(from, at..first, to, to_at)?;
            if at < first {
                return Ok(at - from_at);
            }
            match self.share(from, at, to, to_at + (at - from_at), end - at) {
                Ok(Some(shared)) => at = shared.end,
                // There may be room for the bytes.
                Ok(None) | Err(Error::NoSpace | Error::QuotaExceeded) => {}
                Err(error) => return so_far(at, error),
            }
        }
        match self.copy_bytes(from, at..end, to, to_at + (at - from_at)) {
            Ok(copied) => Ok(at + copied - from_at),
            Err(error) => so_far(at, error),
        }
    }

    /// Whether the format and the two places let clusters be shared.
    fn can_share(&self, from: &InodeUse, from_at: u64, to: &InodeUse, to_at: u64) -> bool {
        let geometry = self.core.geometry();
        let cluster = geometry.cluster_size();
        let is_possible = geometry.features.refcount() && geometry.features.sparse();
        is_possible && from.inode() != to.inode() && from_at % cluster == to_at % cluster
    }

    /// Shares what can be shared of a range, or the first part of that when something goes wrong on the way. Returns which
    /// part of the range the target has then; it is as long as it has to be for that.
    pub(crate) fn share(
        &self,
        from: &InodeUse,
        from_at: u64,
        to: &InodeUse,
        to_at: u64,
        len: u64,
    ) -> Result<Option<Range<u64>>> {
        let core = &*self.core;
        let cluster = core.geometry().cluster_size();
        if !self.can_share(from, from_at, to, to_at) || len < cluster {
            return Ok(None);
        }
        core.begin_change()?;
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
        if first >= last || data::is_inline(&source) {
            return Ok(None);
        }
        if to_end > data::max_size(core.geometry()) {
            return Err(Error::TooLarge { what: "the file" });
        }
        let shared = share_clusters(
            &mut locks,
            (from.inode(), first),
            (&target, first - from_at + to_at),
            last,
            to_end,
        );
        let shared = match shared {
            Ok(0) => None,
            Ok(bytes) => Some(first..last.min(first + bytes).min(end)),
            Err(error) => {
                data::restore_inline(&mut locks, &target);
                return Err(error);
            }
        };
        if let Some(range) = &shared {
            let mut txn = locks.begin(1)?;
            let now = txn.now();
            let dinode = txn.dinode(to.inode())?;
            let len = range.end - from_at + to_at;
            if dinode.i_size.get() < len {
                dinode.i_size.set(len);
            }
            data::modified(dinode, now, self.privileges);
            txn.commit()?;
        }
        Ok(shared)
    }

    /// Copies bytes until something goes wrong. Returns how many.
    fn copy_bytes(&self, from: &InodeUse, range: Range<u64>, to: &InodeUse, to_at: u64) -> Result<u64> {
        let len = range.end.saturating_sub(range.start);
        let mut buffer = vec![0; len.min(STEP) as usize];
        let mut copied = 0;
        while copied < len {
            let part = (len - copied).min(STEP) as usize;
            let read = self.read_at(from, range.start + copied, &mut buffer[..part])?;
            let written = match self.write_at(to, to_at + copied, &buffer[..read]) {
                Ok(written) => written as u64,
                Err(_) if copied > 0 => break,
                Err(error) => return Err(error),
            };
            copied += written;
            if written == 0 {
                break;
            }
        }
        Ok(copied)
    }
}

/// Shares whole clusters up to `last` of the source with the target, which may have its contents inline. Returns how many
/// bytes of them the target has then.
fn share_clusters(
    locks: &mut LockSet<'_>,
    (source, first): (InodeNo, u64),
    (target, goal): (&Inode, u64),
    last: u64,
    to_end: u64,
) -> Result<u64> {
    let core = locks.core();
    let cluster = core.geometry().cluster_size();
    data::leave_inline(locks, target.number())?;
    data::prepare_gap(locks, target.number(), goal)?;
    let cpos = |at: u64| u32::try_from(at / cluster).map_err(|_| Error::TooLarge { what: "the file" });
    let (start, goal) = (cpos(first)?, cpos(goal)?);
    let clusters = cpos(last)? - start;
    // Locks of refcount trees come before those of allocators.
    locks.reserve(crate::mounted::Need::default())?;
    let shared = share_range(locks, (source, start), (target.number(), goal), clusters, to_end)?;
    Ok(u64::from(shared) * cluster)
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
