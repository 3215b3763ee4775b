//! The system directory and the system files that describe the volume's state.
//!
//! Source: on-disk reference, sections 1.7, 26.6, 27 and 28.

use std::collections::{BTreeMap, HashSet};

use ocfs2_format::{
    Contents, Corrupt, HeartbeatBlock, InodeNo, JournalFlags, NodeNum, SlotMap, SlotNum, Structure, SystemFile,
    Violation,
};

use crate::dir::{DirReader, data_tree};
use crate::error::{Error, Result};
use crate::extent_tree::Extent;
use crate::file::read_bytes;
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::volume::{OpenOptions, Volume};

/// Where each system file is.
#[derive(Clone, Debug)]
pub(crate) struct SystemFiles {
    files: BTreeMap<(SystemFile, SlotNum), InodeNo>,
    inodes: HashSet<InodeNo>,
}

impl SystemFiles {
    pub(crate) fn open(meta: &dyn Blocks, dir: InodeNo, options: &OpenOptions) -> Result<SystemFiles> {
        let mut found = SystemFiles {
            files: BTreeMap::new(),
            inodes: HashSet::new(),
        };
        match found.read(meta, dir) {
            Err(error) if !options.lenient => Err(error),
            // Those found before the damage are kept.
            _ => Ok(found),
        }
    }

    fn read(&mut self, meta: &dyn Blocks, dir: InodeNo) -> Result<()> {
        let inode = Inode::read(meta, dir)?;
        let mut reader = DirReader::new(inode)?;
        while let Some(batch) = reader.next_batch(meta) {
            for entry in batch? {
                if let Some((file, slot)) = SystemFile::parse(entry.name()) {
                    self.inodes.insert(entry.inode());
                    self.files
                        .entry((file, slot.unwrap_or_default()))
                        .or_insert(entry.inode());
                }
            }
        }
        Ok(())
    }

    /// Every system file and its inode; each slot's its own.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SystemFile, InodeNo)> + '_ {
        self.files.iter().map(|((file, _), inode)| (*file, *inode))
    }

    /// Whether an inode is one of the system files.
    pub(crate) fn contains(&self, inode: InodeNo) -> bool {
        self.inodes.contains(&inode)
    }

    pub(crate) fn find(&self, file: SystemFile, slot: SlotNum) -> Result<InodeNo> {
        let slot = if file.per_slot() { slot } else { SlotNum::default() };
        self.files
            .get(&(file, slot))
            .copied()
            .ok_or_else(|| Error::NoSuchSystemFile(file.name(slot)))
    }
}

/// One node's heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The node.
    pub node: NodeNum,
    /// `hb_seq`: changes with every beat.
    pub seq: u64,
    /// `hb_generation`: changes with every start; 0 after a clean stop.
    pub generation: u64,
    /// `hb_cksum` as stored.
    pub checksum: u32,
    /// `hb_dead_ms`: after so long without a beat the node counts as dead.
    pub dead_ms: u32,
    /// Whether the sector's checksum is right.
    pub intact: bool,
}

/// The state of a slot's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalInfo {
    /// The slot.
    pub slot: SlotNum,
    /// The journal's inode.
    pub inode: InodeNo,
    /// The slot is mounted, or was not unmounted cleanly.
    pub dirty: bool,
    /// Counts recoveries of the journal.
    pub recovery_generation: u32,
    /// Bytes.
    pub size: u64,
}

impl Volume {
    /// The slots of the volume.
    pub fn slots(&self) -> impl Iterator<Item = SlotNum> + use<> {
        (0..self.geometry().max_slots).map(SlotNum)
    }

    /// Which node sits in which slot, according to the slot map.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the slot map's file is too short or damaged.
    pub fn slot_map(&self) -> Result<SlotMap> {
        let geometry = self.geometry();
        let inode = self.inode(self.system_file(SystemFile::SlotMap, SlotNum::default())?)?;
        let extended = geometry.features.extended_slot_map();
        let needed = SlotMap::bytes_for(geometry.max_slots, extended);
        if inode.size() < needed as u64 {
            let violation = Violation::Truncated {
                found: inode.size(),
                needed: needed as u64,
            };
            return Err(Corrupt::new(Structure::SlotMap, violation)
                .in_inode(inode.number())
                .into());
        }
        let mut bytes = vec![0; needed];
        self.open_inode(inode)?.read_at(0, &mut bytes)?;
        Ok(SlotMap::parse(&bytes, geometry.max_slots, extended))
    }

    /// The heartbeat of every node that has one, from one read of the region. Two reads a few seconds apart tell the
    /// living from the dead: a living node's `seq` moves.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the region is not one extent long enough for 255 nodes.
    pub fn heartbeats(&self) -> Result<Vec<Heartbeat>> {
        heartbeats(self.meta(), self.system())
    }

    /// The state of every slot's journal.
    ///
    /// # Errors
    /// [`Error::NoSuchSystemFile`] or [`Error::Corrupt`] when one is missing or damaged.
    pub fn journals(&self) -> Result<Vec<JournalInfo>> {
        self.slots()
            .map(|slot| journal_info(self.meta(), self.system(), slot))
            .collect()
    }
}

pub(crate) fn journal_info(meta: &dyn Blocks, system: &SystemFiles, slot: SlotNum) -> Result<JournalInfo> {
    let inode = Inode::read(meta, system.find(SystemFile::Journal, slot)?)?;
    let Contents::Extents(_) = inode.contents() else {
        let violation = Violation::Rule("a journal is a file with extents");
        return Err(Corrupt::new(Structure::Journal, violation)
            .in_inode(inode.number())
            .into());
    };
    let state = inode.dinode().journal();
    Ok(JournalInfo {
        slot,
        inode: inode.number(),
        dirty: JournalFlags::from_bits_retain(state.ij_flags.get()).contains(JournalFlags::DIRTY),
        recovery_generation: state.ij_recovery_generation.get(),
        size: inode.size(),
    })
}

/// See [`Volume::heartbeats`].
pub(crate) fn heartbeats(meta: &dyn Blocks, system: &SystemFiles) -> Result<Vec<Heartbeat>> {
    let inode = Inode::read(meta, system.find(SystemFile::Heartbeat, SlotNum::default())?)?;
    let fail = |violation| {
        Err(Corrupt::new(Structure::Heartbeat, violation)
            .in_inode(inode.number())
            .into())
    };
    let extents: Vec<Extent> = data_tree(meta, &inode)?.extents().collect::<Result<_>>()?;
    let [extent] = extents.as_slice() else {
        return fail(Violation::Rule("the region is one extent"));
    };
    let geometry = meta.geometry();
    let sector = meta.device().geometry().block_size.max(512) as usize;
    let needed = usize::from(HeartbeatBlock::MAX_NODES) * sector;
    let found = geometry.clusters_to_bytes(extent.clusters);
    if found < needed as u64 {
        return fail(Violation::Truncated {
            found,
            needed: needed as u64,
        });
    }
    let mut bytes = vec![0; needed];
    read_bytes(
        meta.device().as_ref(),
        extent.blkno.0 << geometry.block_size_bits,
        &mut bytes,
    )?;
    let beats = (0u32..).zip(bytes.chunks_exact(sector)).filter_map(|(node, sector)| {
        let block = HeartbeatBlock::of_sector(sector)?;
        (block.hb_seq.get() != 0).then(|| Heartbeat {
            node: NodeNum(node),
            seq: block.hb_seq.get(),
            generation: block.hb_generation.get(),
            checksum: block.hb_cksum.get(),
            dead_ms: block.hb_dead_ms.get(),
            intact: HeartbeatBlock::is_intact(sector),
        })
    });
    Ok(beats.collect())
}
