//! What a node writes outside the journal: its slot, and the mark that says whether its journal is to be replayed.
//!
//! Source: on-disk reference, sections 26.6 and 27.

use std::sync::Arc;

use ocfs2_format::device::{BlockDevice, Durability};
use ocfs2_format::{
    BlockCheck, Dinode, ExtendedSlot, Geometry, JournalFlags, NodeNum, OLD_SLOT_EMPTY, SlotMap, SlotNum, SystemFile,
};
use ocfs2_journal::{Journal, JournalOptions, Log};
use zerocopy::IntoBytes;

use super::{HomeDevice, MountOptions};
use crate::dir::data_tree;
use crate::error::{Error, Result};
use crate::extent_tree::Extent;
use crate::file::{byte_offset, read_bytes, write_bytes};
use crate::inode::Inode;
use crate::journals::log_map;
use crate::meta::{Blocks, Meta, view_mut};
use crate::system::{SystemFiles, journal_info};

/// Slots and journals, before the file system is there and after it is gone.
pub(super) struct NodeState<'m> {
    pub(super) home: &'m Arc<Meta>,
    pub(super) device: &'m HomeDevice,
    pub(super) system: &'m SystemFiles,
}

impl NodeState<'_> {
    fn geometry(&self) -> &Geometry {
        self.home.geometry()
    }

    /// Takes the slot that carries our number already, the preferred one if it is free, or the first that is.
    pub(super) fn take_slot(&self, node: NodeNum, preferred: Option<SlotNum>) -> Result<SlotNum> {
        let (map, _) = self.slot_map()?;
        let own = map.used().find(|(_, sits)| *sits == node).map(|(slot, _)| slot);
        let is_free = |slot: &SlotNum| slot.0 < map.slots() && map.node(*slot).is_none();
        let slot = own
            .or(preferred.filter(is_free))
            .or((0..map.slots()).map(SlotNum).find(is_free))
            .ok_or(Error::NoSlot { slots: map.slots() })?;
        self.write_slot(slot, Some(node))?;
        Ok(slot)
    }

    /// The slot map, and where it lies.
    fn slot_map(&self) -> Result<(SlotMap, Vec<Extent>)> {
        let geometry = self.geometry();
        let inode = Inode::read(
            self.home.as_ref(),
            self.system.find(SystemFile::SlotMap, SlotNum::default())?,
        )?;
        let extents: Vec<Extent> = data_tree(self.home.as_ref(), &inode)?
            .extents()
            .collect::<Result<_>>()?;
        let extended = geometry.features.extended_slot_map();
        let mut bytes = vec![0; SlotMap::bytes_for(geometry.max_slots, extended)];
        let cluster = geometry.cluster_size() as usize;
        for (offset, part) in (0..).step_by(cluster).zip(bytes.chunks_mut(cluster)) {
            read_bytes(self.device, byte_offset(geometry, &extents, offset)?, part)?;
        }
        Ok((SlotMap::parse(&bytes, geometry.max_slots, extended), extents))
    }

    /// Writes one record of the slot map.
    pub(super) fn write_slot(&self, slot: SlotNum, node: Option<NodeNum>) -> Result<()> {
        let geometry = self.geometry();
        let (_, extents) = self.slot_map()?;
        let extended = geometry.features.extended_slot_map();
        let record_at = SlotMap::bytes_for(slot.0, extended);
        let offset = byte_offset(geometry, &extents, record_at as u64)?;
        let unit = u64::from(self.device.geometry().block_size).max(geometry.block_size() as u64);
        let start = offset / unit * unit;
        let mut block = vec![0; unit as usize];
        read_bytes(self.device, start, &mut block)?;
        let at = (offset - start) as usize;
        if extended {
            let record = ExtendedSlot {
                es_valid: node.is_some().into(),
                es_reserved1: [0; 3],
                es_node_num: node.unwrap_or_default().0.into(),
            };
            block[at..at + 8].copy_from_slice(record.as_bytes());
        } else {
            let record = node.map_or(OLD_SLOT_EMPTY, |node| node.0 as u16);
            block[at..at + 2].copy_from_slice(&record.to_le_bytes());
        }
        Ok(self.device.write(start, &block, Durability::ForceUnitAccess)?)
    }

    /// Replays every dirty journal. Returns the slots they belong to, whose journals stay dirty.
    pub(super) fn replay_journals(&self) -> Result<Vec<SlotNum>> {
        let mut replayed = Vec::new();
        for slot in (0..self.geometry().max_slots).map(SlotNum) {
            let info = journal_info(self.home.as_ref(), self.system, slot)?;
            if !info.dirty {
                continue;
            }
            let failed = |error| Error::of_journal(info.inode, error);
            let map = log_map(self.home.as_ref(), info.inode)?;
            let log = Log::open(self.device, map, self.geometry()).map_err(failed)?;
            let recovery = log.scan().map_err(failed)?;
            log.replay(&recovery).map_err(failed)?;
            replayed.push(slot);
        }
        Ok(replayed)
    }

    /// Opens a slot's journal, which has nothing to be replayed, and marks it as dirty.
    pub(super) fn open_journal(
        &self,
        slot: SlotNum,
        device: &Arc<HomeDevice>,
        options: &MountOptions,
    ) -> Result<Journal> {
        let info = journal_info(self.home.as_ref(), self.system, slot)?;
        let failed = |error| Error::of_journal(info.inode, error);
        let map = log_map(self.home.as_ref(), info.inode)?;
        let log = Log::open(self.device, map.clone(), self.geometry()).map_err(failed)?;
        let recovery = log.scan().map_err(failed)?;
        log.discard(&recovery).map_err(failed)?;
        let journal_options = JournalOptions {
            commit_interval: options.commit_interval,
        };
        let journal = Journal::open(device.clone(), map, *self.geometry(), &journal_options).map_err(failed)?;
        self.set_dirty(slot, true, false)?;
        self.device.flush()?;
        Ok(journal)
    }

    /// Sets or clears the mark that a slot's journal has to be replayed, and counts a recovery.
    pub(super) fn set_dirty(&self, slot: SlotNum, dirty: bool, recovered: bool) -> Result<()> {
        let geometry = self.geometry();
        let number = self.system.find(SystemFile::Journal, slot)?;
        let inode = Inode::read(self.home.as_ref(), number)?;
        let mut block = inode.as_bytes().to_vec();
        let dinode = view_mut::<Dinode>(&mut block);
        let state = dinode.journal_mut();
        let mut flags = JournalFlags::from_bits_retain(state.ij_flags.get());
        flags.set(JournalFlags::DIRTY, dirty);
        state.ij_flags.set(flags.bits());
        if recovered {
            let generation = state.ij_recovery_generation.get().wrapping_add(1);
            state.ij_recovery_generation.set(generation);
        }
        if geometry.features.metaecc() {
            BlockCheck::set(&mut block, Dinode::CHECK_OFFSET);
        }
        write_bytes(
            self.device,
            number.0 << geometry.block_size_bits,
            &block,
            Durability::ForceUnitAccess,
        )
    }
}
