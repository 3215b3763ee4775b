//! How full the file system is, and trimming what is free.
//!
//! Source: on-disk reference, sections 6 and 11; cluster reference, section 6.4; Linux 6.1 kernel behaviour (FITRIM).

use std::ops::Range;

use ocfs2_format::device::BlockDevice;
use ocfs2_format::{BlockNo, Generation, LockId, LockKind, SlotNum};

use super::chain::Allocator;
use super::truncate_log::Log;
use super::window::Window;
use crate::alloc::free_runs;
use crate::error::{Error, Result};
use crate::meta::Blocks;
use crate::mounted::{FileSystem, Level, LockSet};

/// How full a file system is: what statfs(2) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FsStats {
    /// Bytes of a block.
    pub block_size: u32,
    /// Bytes of a cluster: what files grow by.
    pub cluster_size: u32,
    /// Blocks of the volume.
    pub blocks: u64,
    /// Blocks in clusters that nothing uses.
    pub free_blocks: u64,
    /// Objects that there could be, by the space they would take.
    pub files: u64,
    /// As many of them could still be made.
    pub free_files: u64,
    /// Bytes of the longest name.
    pub name_max: u32,
}

impl LockSet<'_> {
    /// Whether so many clusters are free, those in windows not counted. Gives back what [`reserve`](Self::reserve) has
    /// taken.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Lock`].
    pub(crate) fn has_room(&mut self, clusters: u64) -> Result<bool> {
        self.release_allocators();
        let inode = self.core().bitmap_inode()?;
        let id = self.core().meta_lock(inode);
        self.take(id, Level::Shared)?;
        let free = Allocator::read(self.core(), inode)?.free();
        self.release(id);
        Ok(u64::from(free) >= clusters)
    }
}

impl FileSystem {
    /// How full the file system is. What has been freed counts as free, even where a crash could still bring it back.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Lock`].
    pub fn statfs(&self) -> Result<FsStats> {
        let core = &*self.core;
        let geometry = core.geometry();
        core.settle();
        let mut locks = LockSet::new(core);
        let mut waiting = 0;
        // Without a slot there is nothing of our own.
        if core.slot != SlotNum::INVALID {
            let inode = core.local_alloc_inode()?;
            locks.take(core.meta_lock(inode), Level::Shared)?;
            waiting += u64::from(Window::read(core, inode)?.free());
            let inode = core.truncate_log_inode()?;
            locks.take(core.meta_lock(inode), Level::Shared)?;
            waiting += Log::read(core, inode)?.clusters();
        }
        let inode = core.bitmap_inode()?;
        locks.take(core.meta_lock(inode), Level::Shared)?;
        let bitmap = Allocator::read(core, inode)?;
        let free = (u64::from(bitmap.free()) + waiting).min(bitmap.total.into());
        Ok(FsStats {
            block_size: 1 << geometry.block_size_bits,
            cluster_size: 1 << geometry.cluster_size_bits,
            blocks: u64::from(bitmap.total) << geometry.cluster_bits_over_block(),
            free_blocks: free << geometry.cluster_bits_over_block(),
            files: bitmap.total.into(),
            free_files: free,
            name_max: 255,
        })
    }

    /// Tells the device which bytes of a range nothing uses: runs of at least `min_len` bytes of free clusters. Returns
    /// how many bytes that were.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a range that begins behind the end of the volume or has less than a cluster;
    /// [`Error::Corrupt`], [`Error::Lock`], the device's and the journal's.
    pub fn trim(&self, range: Range<u64>, min_len: u64) -> Result<u64> {
        let core = &*self.core;
        let geometry = *core.geometry();
        core.begin_change()?;
        let end = range.end.min(geometry.bytes());
        if end <= range.start || end - range.start < geometry.cluster_size() {
            let why = "the range to trim has no whole cluster of the volume";
            return Err(Error::InvalidArgument { why });
        }
        let first = range.start.div_ceil(geometry.cluster_size());
        let last = end >> geometry.cluster_size_bits;
        let min_clusters = geometry.clusters_for_bytes(min_len).max(1);

        let mut locks = LockSet::new(core);
        let turn = LockId::Block {
            kind: LockKind::Trim,
            block: BlockNo(0),
            generation: Generation(0),
        };
        locks.take(turn, Level::Exclusive)?;
        let bitmap = core.bitmap_inode()?;
        // What was freed a moment ago belongs to it, and what is only set aside.
        core.release_space()?;
        core.journal()?.commit()?;
        let mut trimmed = 0;
        for index in 0..geometry.cluster_groups() {
            let group_clusters = geometry.group_clusters(index);
            if group_clusters.end <= first || group_clusters.start >= last {
                continue;
            }
            // One group at a time: others want to allocate.
            let id = core.meta_lock(bitmap);
            locks.take(id, Level::Exclusive)?;
            let allocator = Allocator::read(core, bitmap)?;
            let group = allocator.group(core, geometry.cluster_group_block(index), None)?;
            let (base, bits, busy) = core.busy_bits(core, &allocator, &group)?;
            for (bit, len) in free_runs(&busy, bits) {
                let start = (u64::from(base) + u64::from(bit)).max(first);
                let end = (u64::from(base) + u64::from(bit) + u64::from(len)).min(last);
                if end <= start || end - start < min_clusters {
                    continue;
                }
                let bits = geometry.cluster_size_bits;
                core.home_device().discard(start << bits..end << bits)?;
                trimmed += (end - start) << bits;
            }
            locks.release(id);
        }
        Ok(trimmed)
    }
}
