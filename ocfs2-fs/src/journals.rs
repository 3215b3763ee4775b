//! Replaying dirty journals in memory: reads see what the volume will be after recovery, and nothing is written.
//!
//! Source: on-disk reference, sections 26.5 and 26.6.

use std::sync::Arc;

use ocfs2_format::device::BlockDevice;
use ocfs2_format::{InodeNo, SlotNum};
use ocfs2_journal::{Log, LogMap, LogRun, Overlay, Redirects};

use crate::dir::data_tree;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::system::{SystemFiles, journal_info};
use crate::volume::Volume;

/// A dirty journal that was replayed in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalReplay {
    /// The slot whose journal it is.
    pub slot: SlotNum,
    /// Committed transactions found in it.
    pub transactions: u32,
    /// Blocks that now read as the journal has them.
    pub blocks: u64,
}

/// What replaying all dirty journals gives.
pub(crate) struct Replayed {
    /// The device with the journals laid over it; `None` when no block changes.
    pub(crate) device: Option<Arc<dyn BlockDevice>>,
    /// One for each dirty journal.
    pub(crate) replays: Vec<JournalReplay>,
}

/// Lays every dirty journal over the device. Blocks of one journal are never in another: a node has to write a block
/// home before it gives up the lock on it, so the order of slots does not matter.
pub(crate) fn replay_in_memory(meta: &dyn Blocks, system: &SystemFiles) -> Result<Replayed> {
    let geometry = meta.geometry();
    let mut all = Redirects::default();
    let mut replays = Vec::new();
    for slot in (0..geometry.max_slots).map(SlotNum) {
        let info = journal_info(meta, system, slot)?;
        if !info.dirty {
            continue;
        }
        let map = log_map(meta, info.inode)?;
        let failed = |error| Error::of_journal(info.inode, error);
        let log = Log::open(meta.device().as_ref(), map, geometry).map_err(failed)?;
        let recovery = log.scan().map_err(failed)?;
        recovery
            .check(geometry)
            .map_err(|corrupt| corrupt.in_inode(info.inode))?;
        let blocks = recovery.redirects().len() as u64;
        replays.push(JournalReplay {
            slot,
            transactions: recovery.transactions(),
            blocks,
        });
        all.merge(recovery.redirects());
    }
    let device: Option<Arc<dyn BlockDevice>> = if all.is_empty() {
        None
    } else {
        Some(Arc::new(Overlay::new(
            meta.device().clone(),
            geometry.block_size_bits,
            all,
        )))
    };
    Ok(Replayed { device, replays })
}

/// Where the blocks of a journal are.
pub(crate) fn log_map(meta: &dyn Blocks, journal: InodeNo) -> Result<LogMap> {
    let geometry = meta.geometry();
    let inode = Inode::read(meta, journal)?;
    let mut runs = Vec::new();
    for extent in data_tree(meta, &inode)?.extents() {
        let extent = extent?;
        runs.push(LogRun {
            start: u64::from(extent.cpos) << geometry.cluster_bits_over_block(),
            at: extent.blkno,
            blocks: geometry.clusters_to_blocks(extent.clusters),
        });
    }
    LogMap::new(runs, geometry).map_err(|corrupt| corrupt.in_inode(journal).into())
}

impl Volume {
    /// Where the blocks of a slot's journal are, for [`Log::open`] and [`LogDump`](ocfs2_journal::LogDump).
    ///
    /// # Errors
    /// [`Error::NoSuchSystemFile`], [`Error::Corrupt`].
    pub fn journal_map(&self, slot: SlotNum) -> Result<LogMap> {
        let info = journal_info(self.meta(), self.system(), slot)?;
        log_map(self.meta(), info.inode)
    }
}
