//! Changing directories: entries, blocks, trailers and free lists.
//!
//! ```text
//! mod     entries in and out
//! area    the bytes that entries tile
//! grow    new directories, the way out of the dinode, further blocks
//! index   from hashes of names to blocks
//! room    where a new entry fits, and what is remembered about that
//! ```
//!
//! The caller holds the directory's lock alone, and has looked the name up.
//!
//! Source: on-disk reference, sections 17 and 18.

mod area;
mod grow;
mod index;
mod room;

use ocfs2_format::{
    BlockNo, Contents, Corrupt, DirEntryHeader, DirTrailer, DynFeatures, FileKind, InodeFlags, InodeNo, Structure,
    Violation,
};

use super::space::Need;
use super::{Charge, Core, Txn};
use crate::dir::{DirBlock, DirBlocks, DirEntry, read_dir_block, read_dx_root, require_dir};
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::meta::{Blocks, view};

pub(crate) use grow::{init, init_need};
pub(crate) use index::free_index;
pub(crate) use room::RoomHints;

use area::Slot;
use index::Place;
use room::Room;

/// Blocks that [`remove`] may change: the dinode, the entry's block, the index's root and a leaf.
pub(crate) const REMOVE_CREDITS: u32 = 4;

/// Blocks that [`replace`] may change: the dinode and the entry's block.
pub(crate) const REPLACE_CREDITS: u32 = 2;

/// Where a name is.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// `None` in the dinode.
    block: Option<BlockNo>,
    slot: Slot,
    /// In a directory with an index, not in the dinode.
    place: Option<Place>,
}

/// What adding a name may take: what it allocates, and the blocks it changes besides.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::Io`].
pub(crate) fn need(core: &Core, dir: &Inode, name: &[u8]) -> Result<(Need, u32)> {
    require_dir(dir)?;
    room::need(core, dir, name)
}

/// Adds a name that the directory does not have.
///
/// # Errors
/// [`Error::NoSpace`] also when the index cannot tell more names apart, [`Error::QuotaExceeded`], [`Error::Corrupt`], the
/// journal's.
pub(crate) fn add(txn: &mut Txn<'_>, dir: InodeNo, name: &[u8], target: InodeNo, kind: FileKind) -> Result<()> {
    let mut inode = Inode::read(txn, dir)?;
    require_dir(&inode)?;
    let len = DirEntryHeader::rec_len_for(name.len());
    let mut room = room::find(txn, txn.core(), &inode, len)?;
    // At most: out of the dinode, one block more, found.
    for _ in 0..2 {
        match room {
            Room::Convert => grow::leave_dinode(txn, &inode)?,
            Room::Grow => grow::add_block(txn, &inode)?,
            _ => break,
        }
        inode = Inode::read(txn, dir)?;
        room = room::find(txn, txn.core(), &inode, len)?;
    }
    match room {
        Room::Inline { offset } => {
            area::insert(inline_area(txn, dir)?, offset, name, target, kind);
        }
        Room::Block { at, offset, before } => {
            let area = area_len(txn, &inode);
            area::insert(
                &mut txn.edit_tail(at, Structure::DirBlock)?[..area],
                offset,
                name,
                target,
                kind,
            );
            if let Some(root) = inode.dx_root() {
                room::shrunk(txn, &inode, root, at, before)?;
                index::insert(txn, &inode, root, name, at)?;
            }
        }
        Room::Convert | Room::Grow => {
            let violation = Violation::Rule("a new directory block has no room for a name");
            return Err(Corrupt::new(Structure::DirBlock, violation).in_inode(dir).into());
        }
    }
    touch(txn, dir)
}

/// Removes a name. Returns what it stood for.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Corrupt`], the journal's.
pub(crate) fn remove(txn: &mut Txn<'_>, dir: InodeNo, name: &[u8]) -> Result<DirEntry> {
    let inode = Inode::read(txn, dir)?;
    let found = find(txn, &inode, name)?;
    match found.block {
        None => area::remove(inline_area(txn, dir)?, &found.slot),
        Some(at) => {
            let area = area_len(txn, &inode);
            area::remove(&mut txn.edit_tail(at, Structure::DirBlock)?[..area], &found.slot);
            if let (Some(root), Some(place)) = (inode.dx_root(), &found.place) {
                index::remove(txn, &inode, root, place)?;
                room::grown(txn, &inode, root, at)?;
            }
        }
    }
    touch(txn, dir)?;
    Ok(entry(name, &found.slot))
}

/// Lets a name stand for another inode. Returns what it stood for.
///
/// # Errors
/// As [`remove`].
pub(crate) fn replace(
    txn: &mut Txn<'_>,
    dir: InodeNo,
    name: &[u8],
    target: InodeNo,
    kind: FileKind,
) -> Result<DirEntry> {
    let inode = Inode::read(txn, dir)?;
    let found = find(txn, &inode, name)?;
    match found.block {
        None => area::replace(inline_area(txn, dir)?, &found.slot, target, kind),
        Some(at) => area::replace(txn.edit_tail(at, Structure::DirBlock)?, &found.slot, target, kind),
    }
    // A directory that moves is not changed by having another parent.
    if name != b".." {
        touch(txn, dir)?;
    }
    Ok(entry(name, &found.slot))
}

/// Whether a directory has no names but `.` and `..`.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::Io`].
pub(crate) fn is_empty(meta: &dyn Blocks, dir: &Inode) -> Result<bool> {
    require_dir(dir)?;
    let place = |corrupt: Corrupt| Error::from(corrupt.in_inode(dir.number()));
    if let Contents::Inline(area) = dir.contents() {
        return area::is_empty(area).map_err(place);
    }
    if let Some(root) = dir.dx_root() {
        let root = read_dx_root(meta, dir.number(), root)?;
        if view::<ocfs2_format::DxRoot>(&root).dr_num_entries.get() > 2 {
            return Ok(false);
        }
    }
    for block in DirBlocks::new(meta, dir) {
        let block = block?;
        if !area::is_empty(&block.bytes[..block.area]).map_err(|corrupt| place(corrupt.at_block(block.at)))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Finds a name to change.
fn find(meta: &dyn Blocks, dir: &Inode, name: &[u8]) -> Result<Found> {
    require_dir(dir)?;
    let found = match (dir.contents(), dir.dx_root()) {
        (Contents::Inline(area), _) => area::find(area, name)
            .map_err(|corrupt| corrupt.in_inode(dir.number()))?
            .map(|slot| Found {
                block: None,
                slot,
                place: None,
            }),
        (_, Some(root)) => match index::find(meta, dir, root, name)? {
            Some(place) => {
                let block = read_dir_block(meta, dir, place.dir_block, 0)?;
                find_in(dir, &block, name, Some(place))?
            }
            None => None,
        },
        (_, None) => {
            let mut found = None;
            for block in DirBlocks::new(meta, dir) {
                found = find_in(dir, &block?, name, None)?;
                if found.is_some() {
                    break;
                }
            }
            found
        }
    };
    found.ok_or_else(|| Error::NotFound(crate::path::from_bytes(name.to_vec())))
}

fn find_in(dir: &Inode, block: &DirBlock, name: &[u8], place: Option<Place>) -> Result<Option<Found>> {
    let slot = area::find(&block.bytes[..block.area], name)
        .map_err(|corrupt| corrupt.at_block(block.at).in_inode(dir.number()))?;
    Ok(slot.map(|slot| Found {
        block: Some(block.at),
        slot,
        place,
    }))
}

fn entry(name: &[u8], slot: &Slot) -> DirEntry {
    DirEntry::new(name.to_vec(), slot.inode, slot.kind, slot.offset as u64)
}

/// The inline area of a directory, to change.
fn inline_area<'t>(txn: &'t mut Txn<'_>, dir: InodeNo) -> Result<&'t mut [u8]> {
    let inline = txn.dinode(dir)?.inline_data_mut();
    let count = usize::from(inline.id_count.get()).min(inline.id_data.len());
    Ok(&mut inline.id_data[..count])
}

/// Whether the blocks of a directory end with a trailer.
fn has_trailer(meta: &dyn Blocks, dir: &Inode) -> bool {
    let indexed = dir.dyn_features().contains(DynFeatures::INDEXED_DIR);
    meta.geometry().has_dir_trailer(indexed)
}

/// Bytes of a directory block that entries tile.
fn area_len(meta: &dyn Blocks, dir: &Inode) -> usize {
    let trailer = if has_trailer(meta, dir) { DirTrailer::SIZE } else { 0 };
    meta.geometry().block_size() - trailer
}

/// The directory has been changed.
fn touch(txn: &mut Txn<'_>, dir: InodeNo) -> Result<()> {
    let now = txn.now();
    let dinode = txn.dinode(dir)?;
    dinode.i_mtime.set(now.secs as u64);
    dinode.i_mtime_nsec.set(now.nanos);
    dinode.i_ctime.set(now.secs as u64);
    dinode.i_ctime_nsec.set(now.nanos);
    Ok(())
}

/// Charges a directory's owner for clusters, or gives them back. System directories are free.
fn charge(txn: &mut Txn<'_>, dir: &Inode, clusters: i64) -> Result<()> {
    if dir.flags().contains(InodeFlags::SYSTEM) {
        return Ok(());
    }
    let charge = Charge {
        bytes: clusters << txn.geometry().cluster_size_bits,
        inodes: 0,
    };
    txn.charge(dir.uid(), dir.gid(), charge)
}
