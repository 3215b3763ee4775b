//! The truncate log: clusters that are freed wait here, and go back to the global bitmap many at a time.
//!
//! Source: on-disk reference, section 15.

use ocfs2_format::{ClusterNo, Contents, Dinode, InodeNo, SlotNum, SystemFile, TruncateRec};

use super::{lock, read_dinode};
use crate::error::{Error, Result};
use crate::meta::{Blocks, view};
use crate::mounted::{Core, LockSet, Txn};

/// What is in a truncate log.
#[derive(Clone, Debug)]
pub(super) struct Log {
    /// Records there is room for.
    pub(super) count: u16,
    pub(super) records: Vec<(ClusterNo, u32)>,
}

impl Log {
    pub(super) fn read(meta: &dyn Blocks, inode: InodeNo) -> Result<Log> {
        let block = read_dinode(meta, inode)?;
        let dinode = view::<Dinode>(&block);
        let Contents::TruncateLog(log) = dinode.check(inode.block(), meta.geometry())? else {
            return Err(Error::WrongKind {
                inode,
                wanted: "truncate log",
            });
        };
        Ok(Log {
            count: log.tl_count.get(),
            records: log
                .records()
                .iter()
                .map(|rec| (ClusterNo(rec.t_start.get()), rec.t_clusters.get()))
                .collect(),
        })
    }

    /// Records that can still be added.
    pub(super) fn room(&self) -> u32 {
        u32::from(self.count).saturating_sub(self.records.len() as u32)
    }

    /// Clusters that wait.
    pub(super) fn clusters(&self) -> u64 {
        let waiting = self.records.iter().filter(|(start, _)| start.0 != 0);
        waiting.map(|(_, clusters)| u64::from(*clusters)).sum()
    }
}

impl Core {
    pub(super) fn truncate_log_inode(&self) -> Result<InodeNo> {
        self.system.find(SystemFile::TruncateLog, self.slot)
    }
}

impl LockSet<'_> {
    /// Gives everything in a slot's truncate log back to the global bitmap. Both are locked.
    pub(super) fn flush_truncate_log(&mut self, slot: SlotNum) -> Result<()> {
        /// Records that one transaction retires: each may lie in a group of its own.
        const BATCH: u32 = 64;
        let core = self.core();
        let inode = core.system.find(SystemFile::TruncateLog, slot)?;
        let batch = BATCH.min(core.journal()?.max_credits().saturating_sub(2) / 2).max(1);
        loop {
            let left = Log::read(core, inode)?.records.len() as u32;
            if left == 0 {
                return Ok(());
            }
            let mut txn = self.begin(batch.min(left) * 2 + 2)?;
            for _ in 0..batch.min(left) {
                txn.retire_record(inode)?;
            }
            txn.commit()?;
        }
    }
}

impl Txn<'_> {
    /// Frees what the last record of a truncate log names, and drops the record.
    pub(super) fn retire_record(&mut self, inode: InodeNo) -> Result<()> {
        let log = Log::read(self, inode)?;
        let Some(&(start, clusters)) = log.records.last() else {
            return Ok(());
        };
        if start.0 != 0 && clusters != 0 {
            self.return_clusters(start, clusters)?;
        }
        // As many as were read, less one.
        let used = (log.records.len() - 1) as u16;
        self.dinode(inode)?.truncate_log_mut().tl_used.set(used);
        Ok(())
    }

    /// Adds a run to this slot's truncate log. `false` if it is full.
    pub(super) fn log_free(&mut self, start: ClusterNo, clusters: u32) -> Result<bool> {
        let inode = self.core().truncate_log_inode()?;
        let log = Log::read(self, inode)?;
        let end = |&(start, clusters): &(ClusterNo, u32)| u64::from(start.0) + u64::from(clusters);
        let merges = log
            .records
            .last()
            .is_some_and(|last| last.0.0 != 0 && end(last) == u64::from(start.0));
        let index = log.records.len() - usize::from(merges);
        if !merges && log.room() == 0 {
            return Ok(false);
        }
        lock(&self.core().space).cannot_grow.clear();
        self.core().chores.add();
        let on_disk = self.dinode(inode)?.truncate_log_mut();
        // At most `tl_count`.
        on_disk.tl_used.set(index as u16 + 1);
        if let Some(record) = on_disk.tl_recs.get_mut(index) {
            let merged = if merges { record.t_clusters.get() } else { 0 };
            let first = if merges { record.t_start.get() } else { start.0 };
            *record = TruncateRec {
                t_start: first.into(),
                t_clusters: (merged + clusters).into(),
            };
        }
        Ok(true)
    }
}
