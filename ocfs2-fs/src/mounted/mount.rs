//! Mounting and unmounting: slots, journals, recovery.
//!
//! Source: on-disk reference, sections 26.6, 27 and 34; cluster reference, sections 8.2 and 8.3.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use ocfs2_format::device::{BlockDevice, Durability};
use ocfs2_format::{BlockCheck, Dinode, ExtendedSlot, Geometry, JournalFlags, NodeNum, SlotMap, SlotNum, SystemFile};
use ocfs2_journal::{Journal, JournalOptions, Log};
use zerocopy::IntoBytes;

use super::locks::LocalLocks;
use super::{Core, FileSystem, HomeDevice, MountOptions};
use crate::error::{Error, Result};
use crate::extent_tree::Extent;
use crate::file::{byte_offset, read_bytes, write_bytes};
use crate::inode::Inode;
use crate::journals::log_map;
use crate::meta::{Blocks, Meta};
use crate::superblock;
use crate::system::{SystemFiles, journal_info};
use crate::volume::OpenOptions;

/// Node number of a volume that is mounted without a cluster.
const LOCAL_NODE: NodeNum = NodeNum(0);

impl FileSystem {
    /// Mounts the volume on a device for reading and writing: takes a slot, recovers what crashed nodes left, and begins a
    /// journal.
    ///
    /// # Errors
    /// Those of [`Volume::open`](crate::Volume::open), [`Error::Unsupported`] for features that cannot be written,
    /// [`Error::NoSlot`].
    pub fn mount(device: Arc<dyn BlockDevice>, options: &MountOptions) -> Result<FileSystem> {
        let superblock = superblock::find_primary(device.as_ref())?;
        let geometry = superblock.geometry;
        geometry.features.check_writable()?;
        let open = OpenOptions {
            cache_bytes: options.cache_bytes,
            ..OpenOptions::default()
        };
        let home = Arc::new(Meta::new(device, geometry, &open));
        let home_device = Arc::new(HomeDevice::new(home.clone()));
        let mount = Mount {
            home: &home,
            device: &home_device,
            system: SystemFiles::open(home.as_ref(), superblock.dinode().super_block().system_dir(), &open)?,
        };
        let slot = mount.take_slot(options.preferred_slot)?;
        let recovered = mount.recover_journals()?;
        let journal = mount.open_journal(slot, options)?;
        let system = mount.system;
        let core = Core {
            home,
            home_device,
            journal,
            locks: Arc::new(LocalLocks::new()),
            system,
            options: options.clone(),
            slot,
            superblock,
            next_generation: AtomicU32::new(getrandom::u32().unwrap_or(1)),
        };
        let _ = recovered;
        Ok(FileSystem { core: Arc::new(core) })
    }

    /// Makes everything durable that has been done so far.
    ///
    /// # Errors
    /// The journal's.
    pub fn sync(&self) -> Result<()> {
        Ok(self.core.journal.sync()?)
    }

    /// Ends the mount: everything is written home, and the volume is clean. Other clones cannot write from here on.
    ///
    /// # Errors
    /// The journal's. What was durable stays so, and the next mount recovers it.
    pub fn unmount(self) -> Result<()> {
        let core = &self.core;
        core.journal.close()?;
        let mount = Mount {
            home: &core.home,
            device: &core.home_device,
            system: core.system.clone(),
        };
        mount.set_dirty(core.slot, false, false)?;
        mount.write_slot(core.slot, None)?;
        Ok(core.home_device.flush()?)
    }
}

/// The unjournaled writes of mount and unmount.
struct Mount<'m> {
    home: &'m Arc<Meta>,
    device: &'m Arc<HomeDevice>,
    system: SystemFiles,
}

impl Mount<'_> {
    fn geometry(&self) -> &Geometry {
        self.home.geometry()
    }

    /// Takes the slot that carries our number already, the preferred one if it is free, or the first that is.
    fn take_slot(&self, preferred: Option<SlotNum>) -> Result<SlotNum> {
        let (map, _) = self.slot_map()?;
        let own = map.used().find(|(_, node)| *node == LOCAL_NODE).map(|(slot, _)| slot);
        let is_free = |slot: &SlotNum| slot.0 < map.slots() && map.node(*slot).is_none();
        let slot = own
            .or(preferred.filter(is_free))
            .or((0..map.slots()).map(SlotNum).find(is_free))
            .ok_or(Error::NoSlot { slots: map.slots() })?;
        self.write_slot(slot, Some(LOCAL_NODE))?;
        Ok(slot)
    }

    /// The slot map, and where it lies.
    fn slot_map(&self) -> Result<(SlotMap, Vec<Extent>)> {
        let geometry = self.geometry();
        let inode = Inode::read(
            self.home.as_ref(),
            self.system.find(SystemFile::SlotMap, SlotNum::default())?,
        )?;
        let extents: Vec<Extent> = crate::dir::data_tree(self.home.as_ref(), &inode)?
            .extents()
            .collect::<Result<_>>()?;
        let extended = geometry.features.extended_slot_map();
        let mut bytes = vec![0; SlotMap::bytes_for(geometry.max_slots, extended)];
        let cluster = geometry.cluster_size() as usize;
        for (offset, part) in (0..).step_by(cluster).zip(bytes.chunks_mut(cluster)) {
            read_bytes(self.device.as_ref(), byte_offset(geometry, &extents, offset)?, part)?;
        }
        Ok((SlotMap::parse(&bytes, geometry.max_slots, extended), extents))
    }

    /// Writes one record of the slot map.
    fn write_slot(&self, slot: SlotNum, node: Option<NodeNum>) -> Result<()> {
        let geometry = self.geometry();
        let (_, extents) = self.slot_map()?;
        let extended = geometry.features.extended_slot_map();
        let record_at = SlotMap::bytes_for(slot.0, extended);
        let offset = byte_offset(geometry, &extents, record_at as u64)?;
        let unit = u64::from(self.device.geometry().block_size).max(geometry.block_size() as u64);
        let start = offset / unit * unit;
        let mut block = vec![0; unit as usize];
        read_bytes(self.device.as_ref(), start, &mut block)?;
        let at = (offset - start) as usize;
        if extended {
            let record = ExtendedSlot {
                es_valid: node.is_some().into(),
                es_reserved1: [0; 3],
                es_node_num: node.unwrap_or_default().0.into(),
            };
            block[at..at + 8].copy_from_slice(record.as_bytes());
        } else {
            let record = node.map_or(ocfs2_format::OLD_SLOT_EMPTY, |node| node.0 as u16);
            block[at..at + 2].copy_from_slice(&record.to_le_bytes());
        }
        Ok(self.device.write(start, &block, Durability::ForceUnitAccess)?)
    }

    /// Replays every dirty journal and marks it clean. Returns the slots they belong to.
    fn recover_journals(&self) -> Result<Vec<SlotNum>> {
        let mut recovered = Vec::new();
        for slot in (0..self.geometry().max_slots).map(SlotNum) {
            let info = journal_info(self.home.as_ref(), &self.system, slot)?;
            if !info.dirty {
                continue;
            }
            let failed = |error| Error::of_journal(info.inode, error);
            let map = log_map(self.home.as_ref(), info.inode)?;
            let log = Log::open(self.device.as_ref(), map, self.geometry()).map_err(failed)?;
            let recovery = log.scan().map_err(failed)?;
            log.replay(&recovery).map_err(failed)?;
            recovered.push(slot);
        }
        for &slot in &recovered {
            self.set_dirty(slot, false, true)?;
        }
        Ok(recovered)
    }

    fn open_journal(&self, slot: SlotNum, options: &MountOptions) -> Result<Journal> {
        let info = journal_info(self.home.as_ref(), &self.system, slot)?;
        let failed = |error| Error::of_journal(info.inode, error);
        let map = log_map(self.home.as_ref(), info.inode)?;
        let log = Log::open(self.device.as_ref(), map.clone(), self.geometry()).map_err(failed)?;
        let recovery = log.scan().map_err(failed)?;
        log.discard(&recovery).map_err(failed)?;
        let journal_options = JournalOptions {
            commit_interval: options.commit_interval,
        };
        let journal = Journal::open(self.device.clone(), map, *self.geometry(), &journal_options).map_err(failed)?;
        self.set_dirty(slot, true, false)?;
        self.device.flush()?;
        Ok(journal)
    }

    /// Sets or clears the mark that a slot's journal has to be replayed, and counts a recovery.
    fn set_dirty(&self, slot: SlotNum, dirty: bool, recovered: bool) -> Result<()> {
        let geometry = self.geometry();
        let number = self.system.find(SystemFile::Journal, slot)?;
        let inode = Inode::read(self.home.as_ref(), number)?;
        let mut block = inode.as_bytes().to_vec();
        let dinode = crate::meta::view_mut::<Dinode>(&mut block);
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
            self.device.as_ref(),
            number.0 << geometry.block_size_bits,
            &block,
            Durability::ForceUnitAccess,
        )
    }
}
