//! Local quota files: what a node that crashed had not added to the global file.
//!
//! Source: on-disk reference, sections 30.2 and 30.3.

use ocfs2_format::quota::{LocalChunk, LocalEntry, LocalFlags, LocalHead, QuotaGeometry, QuotaKind};
use ocfs2_format::{BlockNo, Corrupt, SlotNum, Structure, SystemFile, Violation};
use zerocopy::FromBytes;

use super::file::place;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::{Core, Level, LockSet, Txn};

/// One entry in use of a local file.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// Block of the chunk's header, on the device.
    chunk: BlockNo,
    /// Which of the chunk's entries.
    index: u32,
    entry: LocalEntry,
}

/// Adds everything in a slot's local file to the global one, entry by entry, and marks the file as clean. An interruption
/// leaves what has not been added for the next time.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::NoSpace`], the journal's.
pub(super) fn recover(core: &Core, kind: QuotaKind, slot: SlotNum) -> Result<()> {
    let file = match kind {
        QuotaKind::User => SystemFile::LocalUserQuota,
        QuotaKind::Group => SystemFile::LocalGroupQuota,
    };
    let mut locks = LockSet::new(core);
    let inode = locks.system_file(file, slot, Level::Exclusive)?;
    let Some(pending) = read(core, &inode, kind).map_err(|error| error.in_inode(inode.number()))? else {
        return Ok(());
    };
    for one in pending {
        // Ids have 32 bits; what has more was never an id.
        let Ok(id) = u32::try_from(one.entry.dqb_id.get()) else {
            let mut txn = locks.begin(1)?;
            release(&mut txn, &one)?;
            txn.commit()?;
            continue;
        };
        let global = locks.quota_of(kind, id)?;
        let mut txn = locks.begin(2)?;
        let Some(at) = global.find(&txn, id)? else {
            return Err(global.missing(id));
        };
        let mut entry = global.entry(&txn, at)?;
        let space = entry.dqb_curspace.get();
        let inodes = entry.dqb_curinodes.get();
        entry
            .dqb_curspace
            .set(space.saturating_add_signed(one.entry.dqb_spacemod.get()));
        entry
            .dqb_curinodes
            .set(inodes.saturating_add_signed(one.entry.dqb_inodemod.get()));
        let users = entry.dqb_use_count.get();
        entry.dqb_use_count.set(users.saturating_sub(1));
        global.set_entry(&mut txn, at, &entry)?;
        release(&mut txn, &one)?;
        txn.commit()?;
    }
    let mut txn = locks.begin(1)?;
    let at = place(core, &inode, 0)?;
    let bytes = txn.edit_tail(at, Structure::QuotaBlock)?;
    if let Ok((head, _)) = LocalHead::mut_from_prefix(bytes) {
        let flags = LocalFlags::from_bits_retain(head.info.dqi_flags.get());
        head.info.dqi_flags.set((flags | LocalFlags::CLEAN).bits());
    }
    txn.commit()?;
    Ok(())
}

/// The entries in use; `None` of a file that is clean.
fn read(core: &Core, inode: &Inode, kind: QuotaKind) -> Result<Option<Vec<Pending>>> {
    let geometry = QuotaGeometry::new(core.geometry());
    let short = || {
        let violation = Violation::Rule("a quota block is longer than what it begins with");
        Error::from(Corrupt::new(Structure::QuotaBlock, violation))
    };
    let first = core.verified_tail(place(core, inode, 0)?, Structure::QuotaBlock)?;
    let head = *LocalHead::of_block(&first).ok_or_else(short)?;
    head.check(kind, &geometry, inode.size() >> core.geometry().block_size_bits)?;
    if head.flags().contains(LocalFlags::CLEAN) {
        return Ok(None);
    }
    let mut pending = Vec::new();
    for number in 0..head.info.dqi_chunks.get() {
        let chunk = place(core, inode, geometry.chunk_block(number))?;
        let block = core.verified_tail(chunk, Structure::QuotaBlock)?;
        let header = geometry.chunk(&block).ok_or_else(short)?;
        let entries = head.chunk_entry_blocks(&geometry, number) * geometry.entries_per_block();
        for index in header.used(entries) {
            let at = geometry.local_entry(number, index);
            let block = core.verified_tail(place(core, inode, at.block)?, Structure::QuotaBlock)?;
            let bytes = block.get(at.offset..).ok_or_else(short)?;
            let (entry, _) = LocalEntry::read_from_prefix(bytes).map_err(|_| short())?;
            pending.push(Pending { chunk, index, entry });
        }
    }
    Ok(Some(pending))
}

/// Frees an entry of a local file.
fn release(txn: &mut Txn<'_>, one: &Pending) -> Result<()> {
    let check_offset = QuotaGeometry::new(txn.geometry()).check_offset();
    let bytes = txn.edit_tail(one.chunk, Structure::QuotaBlock)?;
    if let Ok(chunk) = LocalChunk::mut_from_bytes(&mut bytes[..check_offset])
        && let Some(byte) = chunk.dqc_bitmap.get_mut(one.index as usize / 8)
    {
        *byte &= !(1 << (one.index % 8));
        chunk.dqc_free.set(chunk.dqc_free.get().saturating_add(1));
    }
    Ok(())
}
