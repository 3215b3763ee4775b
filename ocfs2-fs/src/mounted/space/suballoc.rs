//! Suballocators: blocks for inodes and for other metadata.
//!
//! A block goes back to the allocator of the slot that it came from. Where that is not locked and cannot be at once, the
//! block is given back later, as the kernel driver does: a crash before that leaves it taken, and a check of the volume
//! frees it.
//!
//! Source: on-disk reference, sections 8.2, 12 and 13.

use ocfs2_format::{BlockNo, Corrupt, InodeNo, SlotNum, Structure, SystemFile, Violation};

use super::chain::{Allocator, Group};
use super::{SubBlock, bits, lock};
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::{Level, LockSet, Txn};

/// A block to be given back when its allocator can be locked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deferred {
    pub(super) file: SystemFile,
    pub(super) at: SubBlock,
}

impl Txn<'_> {
    pub(super) fn alloc_sub(&mut self, file: SystemFile, slot: SlotNum, near: Option<BlockNo>) -> Result<SubBlock> {
        let core = self.core();
        let inode = core.system.find(file, slot)?;
        let allocator = Allocator::read(self, inode)?;
        if allocator.free() == 0 {
            return Err(Error::NoSpace);
        }
        let hint = lock(&core.space).last_groups.get(&inode).copied();
        for at in [near, hint].into_iter().flatten() {
            // Whatever is wrong with a block that only a hint led to, the chains tell.
            match allocator.group(self, at, None) {
                Ok(group) if group.free() > 0 => return self.take_block(&allocator, slot, &group),
                _ => {}
            }
        }
        for chain in allocator.by_room() {
            let mut full: Option<BlockNo> = None;
            let mut found = None;
            for group in allocator.walk(self, chain) {
                let group = group?;
                if group.free() > 0 {
                    found = Some(group);
                    break;
                }
                full = Some(group.at);
            }
            let Some(group) = found else {
                continue;
            };
            if let Some(previous) = full {
                self.relink(inode, previous, group.at)?;
            }
            return self.take_block(&allocator, slot, &group);
        }
        let violation = Violation::Rule("no group has the free bits that the allocator counts");
        Err(allocator.corrupt(Structure::ChainList, violation, inode.block()))
    }

    fn take_block(&mut self, allocator: &Allocator, slot: SlotNum, group: &Group) -> Result<SubBlock> {
        let desc = group.desc();
        let bit = bits::first_clear(desc.bitmap(), group.bits(), 1);
        let block = bit.and_then(|bit| Some((bit, desc.block_of_bit(bit, allocator.parent.bits_per_cluster)?)));
        let usable = block.filter(|&(_, block)| self.core().geometry().contains_run(block, 1));
        let Some((bit, block)) = usable else {
            let violation = Violation::Rule("a free bit of the group stands for no block");
            return Err(allocator.corrupt(Structure::GroupDesc, violation, group.at));
        };
        let loc = desc.extents().map_or(0, |_| group.at.0);
        self.take_bits(allocator.inode, group.at, (bit, 1))?;
        lock(&self.core().space).last_groups.insert(allocator.inode, group.at);
        Ok(SubBlock { block, slot, bit, loc })
    }

    /// Clears the bit of a block. The allocator is locked.
    pub(super) fn free_sub(&mut self, file: SystemFile, at: SubBlock) -> Result<()> {
        let core = self.core();
        let inode = core.system.find(file, at.slot)?;
        let allocator = Allocator::read(self, inode)?;
        let corrupt = |why| Corrupt::new(Structure::GroupDesc, Violation::Rule(why)).at_block(at.block);
        let group = match at.loc {
            0 => at.block.0.checked_sub(at.bit.into()),
            loc => Some(loc),
        };
        let group = group.ok_or_else(|| corrupt("the block lies before the group that it names"))?;
        let group = allocator.group(self, BlockNo(group), None)?;
        let block = group.desc().block_of_bit(at.bit, allocator.parent.bits_per_cluster);
        if at.bit == 0 || block != Some(at.block) {
            return Err(corrupt("the bit that the block names is not its own").into());
        }
        self.return_bits(inode, group.at, (at.bit, 1))?;
        if group.free() + 2 >= group.bits() {
            lock(&core.space).no_empty_groups = false;
        }
        Ok(())
    }

    /// As [`free_sub`](Self::free_sub), for an allocator that may not be locked: then it is tried to, and if that fails,
    /// or credits are short, the block is given back later.
    pub(super) fn free_sub_or_defer(&mut self, file: SystemFile, at: SubBlock) -> Result<()> {
        let inode = self.core().system.find(file, at.slot)?;
        // The group, and the allocator. The caller's credits are for what the caller knows of.
        if self.lock_allocator(inode)? && self.try_extend(2)? {
            self.free_sub(file, at)
        } else {
            self.space.deferred.push(Deferred { file, at });
            Ok(())
        }
    }

    /// The group of a directory's own inode, to put its files next to it.
    pub(super) fn group_of(&self, parent: InodeNo, slot: SlotNum) -> Option<BlockNo> {
        let inode = Inode::read(self, parent).ok()?;
        let dinode = inode.dinode();
        (dinode.i_suballoc_slot.get() == slot.0)
            .then(|| dinode.suballoc_group())
            .flatten()
    }
}

impl LockSet<'_> {
    /// Gives back the blocks whose allocators could not be locked when they were freed. No allocator is locked.
    pub(super) fn free_deferred(&mut self) -> Result<()> {
        /// Blocks that one transaction gives back.
        const BATCH: usize = 16;
        let core = self.core();
        let mut deferred = std::mem::take(&mut lock(&core.space).deferred);
        deferred.sort_by_key(|entry| (entry.file, entry.at.slot));
        let same = |a: &Deferred, b: &Deferred| (a.file, a.at.slot) == (b.file, b.at.slot);
        for part in deferred.chunk_by(same) {
            let Some(first) = part.first() else { continue };
            let inode = core.system.find(first.file, first.at.slot)?;
            let lock = core.meta_lock(inode);
            self.take(lock, Level::Exclusive)?;
            for batch in part.chunks(BATCH) {
                // As many groups, and the allocator.
                let mut txn = self.begin(batch.len() as u32 + 1)?;
                for entry in batch {
                    txn.free_sub(entry.file, entry.at)?;
                }
                txn.commit()?;
            }
            self.release(lock);
        }
        Ok(())
    }
}
