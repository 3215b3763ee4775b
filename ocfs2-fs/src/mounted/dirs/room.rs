//! Where a new entry fits, and the free list of an indexed directory.
//!
//! The free list links the blocks that have room, newest first. A directory of many names whose blocks each have a little
//! room left has a long list, and walking it for every new name would take longer and longer. So for directories that were
//! walked in vain, it is remembered how much room no block behind the head of the list has. That is a hint: forgotten, it
//! costs a walk; wrong, a block more than needed.
//!
//! Source: on-disk reference, sections 17.2, 17.5 and 18.5.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ocfs2_format::{BlockNo, Contents, Corrupt, DirEntryHeader, DirTrailer, DxRoot, InodeNo, Structure, Violation};

use super::{area, area_len, grow, index};
use crate::dir::{DirBlocks, read_dir_block, read_dx_root};
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::meta::{Blocks, view};
use crate::mounted::space::Need;
use crate::mounted::{Core, Txn};

/// Where a new entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Into the dinode, behind or instead of the entry at the offset.
    Inline {
        /// In the inline area.
        offset: usize,
    },
    /// Into a block.
    Block {
        /// The block.
        at: BlockNo,
        /// Of the entry with the room.
        offset: usize,
        /// The block before it in the free list.
        before: Option<BlockNo>,
    },
    /// The directory has to leave the dinode first.
    Convert,
    /// A further block is needed.
    Grow,
}

/// What is remembered of directories' free lists: every block of the list but its head has less room than this.
#[derive(Debug, Default)]
pub(crate) struct RoomHints(Mutex<HashMap<InodeNo, u16>>);

impl RoomHints {
    /// Directories that are remembered at once.
    const MAX: usize = 4096;

    fn hints(&self) -> MutexGuard<'_, HashMap<InodeNo, u16>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_in_vain(&self, dir: InodeNo, len: usize) -> bool {
        self.hints().get(&dir).is_some_and(|&limit| len >= limit.into())
    }

    /// The list has been walked for `len` bytes in vain.
    fn walked(&self, dir: InodeNo, len: usize) {
        let mut hints = self.hints();
        if hints.len() >= Self::MAX {
            hints.clear();
        }
        // A record of a name has less than 300 bytes.
        let len = len as u16;
        hints
            .entry(dir)
            .and_modify(|limit| *limit = len.min(*limit))
            .or_insert(len);
    }

    /// The directory is deleted.
    pub(crate) fn forget(&self, dir: InodeNo) {
        self.hints().remove(&dir);
    }

    /// A block with this much room is, or may be, behind the head of the list.
    pub(super) fn raise(&self, dir: InodeNo, room: u16) {
        if let Some(limit) = self.hints().get_mut(&dir) {
            *limit = (*limit).max(room + 1);
        }
    }
}

/// Finds room for `len` bytes.
pub(super) fn find(meta: &dyn Blocks, core: &Core, dir: &Inode, len: usize) -> Result<Room> {
    if let Contents::Inline(area) = dir.contents() {
        let offset = area::find_hole(area, len).map_err(|corrupt| corrupt.in_inode(dir.number()))?;
        return Ok(offset.map_or(Room::Convert, |offset| Room::Inline { offset }));
    }
    match dir.dx_root() {
        Some(root) => in_free_list(meta, core, dir, root, len),
        None => in_blocks(meta, dir, len),
    }
}

fn in_blocks(meta: &dyn Blocks, dir: &Inode, len: usize) -> Result<Room> {
    for block in DirBlocks::new(meta, dir) {
        let block = block?;
        let hole = area::find_hole(&block.bytes[..block.area], len);
        if let Some(offset) = hole.map_err(|corrupt| corrupt.at_block(block.at).in_inode(dir.number()))? {
            let (at, before) = (block.at, None);
            return Ok(Room::Block { at, offset, before });
        }
    }
    Ok(Room::Grow)
}

fn in_free_list(meta: &dyn Blocks, core: &Core, dir: &Inode, root: BlockNo, len: usize) -> Result<Room> {
    let root = read_dx_root(meta, dir.number(), root)?;
    let mut next = view::<DxRoot>(&root).dr_free_blk.get();
    let mut before = None;
    let mut left = meta.geometry().blocks_for_bytes(dir.size());
    while next != 0 {
        let at = BlockNo(next);
        if left == 0 {
            return Err(cycle(dir, at));
        }
        left -= 1;
        let block = read_dir_block(meta, dir, at, 0)?;
        let trailer = trailer(&block.bytes);
        if usize::from(trailer.db_free_rec_len.get()) >= len {
            let hole = area::find_hole(&block.bytes[..block.area], len);
            if let Some(offset) = hole.map_err(|corrupt| corrupt.at_block(at).in_inode(dir.number()))? {
                return Ok(Room::Block { at, offset, before });
            }
        }
        if before.is_none() && core.room_hints.is_in_vain(dir.number(), len) {
            return Ok(Room::Grow);
        }
        before = Some(at);
        next = trailer.db_free_next.get();
    }
    Ok(Room::Grow)
}

fn cycle(dir: &Inode, at: BlockNo) -> Error {
    let violation = Violation::Rule("the free list has more blocks than the directory");
    Corrupt::new(Structure::DirTrailer, violation)
        .at_block(at)
        .in_inode(dir.number())
        .into()
}

fn trailer(block: &[u8]) -> &DirTrailer {
    DirTrailer::of_block(block).expect("a block is longer than a trailer")
}

/// The trailer of a block, to change.
pub(super) fn edit_trailer<'t>(txn: &'t mut Txn<'_>, at: BlockNo) -> Result<&'t mut DirTrailer> {
    let block = txn.edit_tail(at, Structure::DirBlock)?;
    Ok(DirTrailer::of_block_mut(block).expect("a block is longer than a trailer"))
}

/// What adding a name may take: what it allocates, and the blocks it changes besides.
pub(super) fn need(core: &Core, dir: &Inode, name: &[u8]) -> Result<(Need, u32)> {
    let len = DirEntryHeader::rec_len_for(name.len());
    let dinode = 1;
    let room = find(core, core, dir, len)?;
    let (mut need, mut credits) = match room {
        Room::Inline { .. } => return Ok((Need::default(), dinode)),
        Room::Convert => return grow::leave_dinode_need(core, dir, len),
        // The block, and the one before it in the free list.
        Room::Block { .. } => (Need::default(), dinode + 2),
        Room::Grow => {
            if dir.dx_root().is_some() && !core.room_hints.is_in_vain(dir.number(), len) {
                core.room_hints.walked(dir.number(), len);
            }
            let (need, credits) = grow::add_block_need(core, dir)?;
            (need, credits + dinode)
        }
    };
    if let Some(root) = dir.dx_root() {
        let (more, more_credits) = index::insert_need(core, dir, root, name)?;
        need += more;
        credits += more_credits;
    }
    Ok((need, credits))
}

/// A block has less room than before: notes how much, and takes it off the free list when that is nothing.
pub(super) fn shrunk(
    txn: &mut Txn<'_>,
    dir: &Inode,
    root: BlockNo,
    at: BlockNo,
    before: Option<BlockNo>,
) -> Result<()> {
    let hole = measure(txn, dir, at)?;
    let trailer = edit_trailer(txn, at)?;
    trailer.db_free_rec_len.set(hole);
    if hole > 0 {
        return Ok(());
    }
    let next = trailer.db_free_next.get();
    trailer.db_free_next.set(0);
    match before {
        Some(before) => edit_trailer(txn, before)?.db_free_next.set(next),
        None => txn.edit::<DxRoot>(root)?.dr_free_blk.set(next),
    }
    Ok(())
}

/// A block has more room than before: notes how much, and puts it on the free list when it had nothing.
pub(super) fn grown(txn: &mut Txn<'_>, dir: &Inode, root: BlockNo, at: BlockNo) -> Result<()> {
    let hole = measure(txn, dir, at)?;
    let trailer = edit_trailer(txn, at)?;
    let old = trailer.db_free_rec_len.get();
    trailer.db_free_rec_len.set(hole);
    if old > 0 {
        txn.core().room_hints.raise(dir.number(), hole);
    } else if hole > 0 {
        push(txn, dir, root, at)?;
    }
    Ok(())
}

/// Puts a block at the head of the free list.
pub(super) fn push(txn: &mut Txn<'_>, dir: &Inode, root: BlockNo, at: BlockNo) -> Result<()> {
    let index = txn.edit::<DxRoot>(root)?;
    let head = index.dr_free_blk.get();
    index.dr_free_blk.set(at.0);
    edit_trailer(txn, at)?.db_free_next.set(head);
    if head != 0 {
        let block = read_dir_block(txn, dir, BlockNo(head), 0)?;
        let room = trailer(&block.bytes).db_free_rec_len.get();
        txn.core().room_hints.raise(dir.number(), room);
    }
    Ok(())
}

fn measure(txn: &mut Txn<'_>, dir: &Inode, at: BlockNo) -> Result<u16> {
    let len = area_len(txn, dir);
    let block = txn.edit_tail(at, Structure::DirBlock)?;
    Ok(area::largest_hole(&block[..len]).map_err(|corrupt| corrupt.at_block(at).in_inode(dir.number()))?)
}
