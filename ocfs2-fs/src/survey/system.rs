//! Surveying what describes the volume itself: superblocks, system files, allocators.

use ocfs2_format::quota::QuotaKind;
use ocfs2_format::{
    BlockNo, Contents, Corrupt, Dinode, FeatureCompat, FeatureIncompat, GroupDesc, InodeNo, SlotNum, Structure,
    SystemFile, Violation, test_bit,
};
use ocfs2_journal::Log;

use super::Survey;
use crate::alloc::Group;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::superblock;
use crate::system::journal_info;

impl Survey<'_> {
    /// Judges the superblock's copies; the one that the volume was opened with is sound.
    pub(super) fn superblocks(&mut self) {
        let geometry = *self.geometry();
        let owner = InodeNo(ocfs2_format::Geometry::SUPER_BLOCK.0);
        self.claim(owner.block(), Structure::Superblock, Dinode::CHECK_OFFSET, owner);
        let stack = FeatureIncompat::USERSPACE_STACK | FeatureIncompat::CLUSTERINFO;
        let cluster = &self.volume.superblock().s_cluster_info;
        if geometry.features.incompat.intersects(stack) && cluster.stack().len() != cluster.ci_stack.len() {
            let violation = Violation::Name {
                why: "the cluster stack has a name of four characters",
            };
            self.note_at(Structure::Superblock, owner.block(), owner, violation);
        }
        if !geometry.features.compat.contains(FeatureCompat::BACKUP_SUPER) {
            return;
        }
        let device = self.volume.device().clone();
        for (number, at) in (1..).zip(geometry.backup_blocks()) {
            self.claim(at, Structure::Superblock, Dinode::CHECK_OFFSET, owner);
            match superblock::find_backup(device.as_ref(), number) {
                Ok(found) if found.geometry == geometry => {}
                Ok(_) => {
                    let violation = Violation::Rule("the copy describes another volume than the superblock");
                    self.note(Corrupt::new(Structure::Superblock, violation).at_block(at), None);
                }
                Err(error) => self.note(error, None),
            }
        }
    }

    /// Visits every system file in its own terms.
    pub(super) fn system_files(&mut self) {
        let geometry = *self.geometry();
        for file in SystemFile::all().filter(|file| file.exists_with(geometry.features)) {
            let heartbeat_device = geometry.features.heartbeat_device();
            let wanted = !heartbeat_device
                || matches!(
                    file,
                    SystemFile::GlobalInodeAlloc | SystemFile::Heartbeat | SystemFile::GlobalBitmap
                );
            if !wanted {
                continue;
            }
            let slots = if file.per_slot() { geometry.max_slots } else { 1 };
            for slot in (0..slots).map(SlotNum) {
                if let Some(inode) = self.system_file(file, slot)
                    && let Err(error) = self.contents_of(file, slot, &inode)
                {
                    self.note(error, inode.number());
                }
            }
        }
    }

    fn system_file(&mut self, file: SystemFile, slot: SlotNum) -> Option<Inode> {
        let number = match self.volume.system_file(file, slot) {
            Ok(number) => number,
            Err(_) => {
                let what = format!("the system file {}", file.name(slot));
                let violation = Violation::Missing { what };
                self.note(Corrupt::new(Structure::SystemDir, violation), self.volume.system_dir());
                return None;
            }
        };
        // Named by the system directory, so a broken one has been reported.
        let inode = self.volume.inode(number).ok()?;
        let (found, expected) = (inode.flags(), file.flags());
        if !found.contains(expected) {
            let violation = Violation::Unexpected {
                field: "i_flags",
                found: found.bits().into(),
                expected: expected.bits().into(),
            };
            self.note_at(Structure::Dinode, number.block(), number, violation);
            return None;
        }
        Some(inode)
    }

    fn contents_of(&mut self, file: SystemFile, slot: SlotNum, inode: &Inode) -> Result<()> {
        let volume = self.volume;
        match file {
            SystemFile::SlotMap => volume.slot_map().map(drop),
            SystemFile::Heartbeat => volume.heartbeats().map(drop),
            SystemFile::Journal => self.journal(inode, slot),
            SystemFile::LocalAlloc => self.local_alloc(slot, inode),
            SystemFile::InodeAlloc | SystemFile::ExtentAlloc => self.suballocator(inode),
            SystemFile::TruncateLog => volume.truncate_log(slot).map(drop),
            SystemFile::OrphanDir => volume.orphans(slot).map(drop),
            SystemFile::UserQuota => volume.global_quota(QuotaKind::User).map(drop),
            SystemFile::GroupQuota => volume.global_quota(QuotaKind::Group).map(drop),
            SystemFile::LocalUserQuota => volume.local_quota(QuotaKind::User, slot).map(drop),
            SystemFile::LocalGroupQuota => volume.local_quota(QuotaKind::Group, slot).map(drop),
            // Visited as inodes.
            _ => Ok(()),
        }
    }

    /// A slot that was given up cleanly has no window.
    fn local_alloc(&mut self, slot: SlotNum, inode: &Inode) -> Result<()> {
        let volume = self.volume;
        let info = volume.local_alloc(slot)?;
        let empty = info.start.0 == 0 && info.total == 0 && info.used == 0;
        if !empty && !journal_info(volume.meta(), volume.system(), slot)?.dirty {
            let violation = Violation::Rule("the slot's journal is clean, its window is not given back");
            self.note_at(Structure::LocalAlloc, inode.number().block(), inode.number(), violation);
        }
        Ok(())
    }

    /// With the discontig-bg feature, the extents of a group begin where a full-size bitmap would go on.
    fn suballocator(&mut self, inode: &Inode) -> Result<()> {
        let limit = self.geometry().suballoc_bitmap_bytes();
        // Broken groups were reported when the inode was visited.
        for group in self.volume.groups(inode)?.flatten() {
            let found = group.desc().bg_size.get();
            if found > limit {
                let (found, limit) = (found.into(), limit.into());
                let field = "bg_size";
                let violation = Violation::TooLarge { field, found, limit };
                self.note_at(Structure::GroupDesc, group.block(), inode.number(), violation);
            }
        }
        Ok(())
    }

    /// Scans a journal, dirty or not: nothing in it is taken for granted.
    fn journal(&mut self, inode: &Inode, slot: SlotNum) -> Result<()> {
        let failed = |error| Error::of_journal(inode.number(), error);
        let geometry = self.geometry();
        let map = self.volume.journal_map(slot)?;
        let log = Log::open(self.volume.device().as_ref(), map, geometry).map_err(failed)?;
        log.scan().map_err(failed)?.check(geometry)?;
        Ok(())
    }

    /// Visits the groups of an allocator and compares their counts with its chains and its dinode.
    pub(super) fn allocator(&mut self, inode: &Inode) {
        let number = inode.number();
        let (Contents::Chains(list), Ok(groups)) = (inode.contents(), self.volume.groups(inode)) else {
            return;
        };
        let mut chains = vec![(0u64, 0u64); list.chains().len()];
        let mut sound = true;
        for group in groups {
            let group = match group {
                Ok(group) => group,
                Err(error) => {
                    sound = false;
                    self.note(error, number);
                    continue;
                }
            };
            self.claim(group.block(), Structure::GroupDesc, GroupDesc::CHECK_OFFSET, number);
            let desc = group.desc();
            if let Some((total, free)) = chains.get_mut(usize::from(group.chain())) {
                *total += u64::from(desc.bg_bits.get());
                *free += u64::from(desc.bg_free_bits_count.get());
            }
        }
        if !sound {
            return;
        }
        let counts = inode.dinode().bitmap();
        let total: u64 = chains.iter().map(|chain| chain.0).sum();
        let free: u64 = chains.iter().map(|chain| chain.1).sum();
        let mut expected = vec![
            ("i_total", u64::from(counts.i_total.get()), total),
            ("i_used", counts.i_used.get().into(), total - free),
        ];
        for (rec, (total, free)) in list.chains().iter().zip(&chains) {
            expected.push(("c_total", rec.c_total.get().into(), *total));
            expected.push(("c_free", rec.c_free.get().into(), *free));
        }
        for (field, found, expected) in expected {
            if found != expected {
                let violation = Violation::Unexpected { field, found, expected };
                self.note_at(Structure::ChainList, number.block(), number, violation);
            }
        }
    }

    /// Visits the inodes in use that no directory led to.
    pub(super) fn allocated_inodes(&mut self) {
        let mut allocators = vec![(SystemFile::GlobalInodeAlloc, SlotNum::default())];
        allocators.extend(self.volume.slots().map(|slot| (SystemFile::InodeAlloc, slot)));
        for (file, slot) in allocators {
            // What is broken here has been reported when the allocator was visited.
            let inode = self
                .volume
                .system_file(file, slot)
                .and_then(|number| self.volume.inode(number));
            let Ok(inode) = inode else { continue };
            let Ok(groups) = self.volume.groups(&inode) else {
                continue;
            };
            let Ok(counts) = self.volume.allocator(&inode) else {
                continue;
            };
            for group in groups.flatten() {
                self.inodes_of(&group, counts.bits_per_cluster);
            }
        }
    }

    fn inodes_of(&mut self, group: &Group, bits_per_cluster: u16) {
        let desc = group.desc();
        for bit in 0..desc.bg_bits.get() {
            if !test_bit(desc.bitmap(), bit.into()) {
                continue;
            }
            let block = desc.block_of_bit(bit, bits_per_cluster);
            if let Some(at) = block.filter(|&at| at != group.block() && !self.inodes.contains(at.0)) {
                self.inode_at(BlockNo::inode(at));
            }
        }
    }
}
