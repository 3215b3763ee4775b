//! New directories, the way out of the dinode, further blocks.
//!
//! Source: on-disk reference, sections 17.3, 17.4 and 18.8.

use ocfs2_format::{
    BlockNo, ClusterNo, Contents, Corrupt, DirEntries, DirTrailer, DxRoot, DynFeatures, ExtentFlags, ExtentRec,
    InodeNo, Signature, Structure, Violation,
};
use zerocopy::IntoBytes;

use super::{area, area_len, charge, has_trailer, index, room};
use crate::dir::data_tree;
use crate::error::{Error, Result};
use crate::extent_tree::{Extent, Lookup};
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::space::{Need, SubBlock};
use crate::mounted::tree::{self, Root};
use crate::mounted::{Core, Txn};

/// What [`init`] may take.
pub(crate) fn init_need(core: &Core) -> (Need, u32) {
    let features = core.geometry().features;
    if features.inline_data() {
        return (Need::default(), 0);
    }
    let need = Need {
        clusters: 1,
        blocks: u32::from(features.indexed_dirs()),
        ..Need::default()
    };
    (need, 2)
}

/// Gives a new directory, whose dinode is filled but for its contents, its first two entries.
///
/// # Errors
/// [`Error::NoSpace`](crate::Error::NoSpace), [`Error::QuotaExceeded`](crate::Error::QuotaExceeded), the journal's.
pub(crate) fn init(txn: &mut Txn<'_>, dir: InodeNo, parent: InodeNo) -> Result<()> {
    let geometry = *txn.geometry();
    if geometry.features.inline_data() {
        let count = geometry.max_inline_data(false);
        let dinode = txn.dinode(dir)?;
        set_feature(dinode, DynFeatures::INLINE_DATA, true);
        dinode.i_size.set(count.into());
        let inline = dinode.inline_data_mut();
        inline.id_count.set(count);
        area::write_dots(&mut inline.id_data[..count.into()], dir, parent);
        return Ok(());
    }
    let run = txn.alloc_clusters(dir, None, 1, 1)?;
    let at = geometry.cluster_to_block(run.start);
    let dinode = txn.dinode(dir)?;
    if geometry.features.indexed_dirs() {
        // The index itself follows when the entries are there.
        set_feature(dinode, DynFeatures::INDEXED_DIR, true);
    }
    dinode.i_size.set(geometry.block_size() as u64);
    dinode.i_clusters.set(1);
    let list = dinode.extent_list_mut();
    list.init(geometry.extents_per_dinode(false));
    list.push(ExtentRec::leaf(0, 1, at, ExtentFlags::empty()));
    let inode = Inode::read(txn, dir)?;
    charge(txn, &inode, 1)?;
    let len = area_len(txn, &inode);
    let trailer = has_trailer(txn, &inode).then(|| DirTrailer::for_block(at, dir));
    let block = txn.create_tail(at)?;
    area::write_dots(&mut block[..len], dir, parent);
    put_trailer(block, trailer);
    if geometry.features.indexed_dirs() {
        add_index(txn, &inode, at)?;
    }
    Ok(())
}

/// What [`leave_dinode`] may take, and adding a name of `len` bytes after it.
pub(super) fn leave_dinode_need(core: &Core, dir: &Inode, len: usize) -> Result<(Need, u32)> {
    let geometry = core.geometry();
    let Contents::Inline(area) = dir.contents() else {
        return Err(not_inline(dir));
    };
    let mut names = 0;
    let mut used = 0;
    for entry in DirEntries::new(area) {
        let entry = entry.map_err(|corrupt| corrupt.in_inode(dir.number()))?;
        names += usize::from(entry.inode().is_some());
        used = entry.offset + usize::from(entry.header.rec_len.get()) - entry.hole();
    }
    let mut need = Need {
        clusters: 1,
        ..Need::default()
    };
    // The dinode and the first block.
    let mut credits = 2;
    let trailer = geometry.has_dir_trailer(geometry.features.indexed_dirs());
    let room = geometry.block_size() - if trailer { DirTrailer::SIZE } else { 0 };
    if used + len > room {
        // A second block, in a second cluster if clusters are single blocks.
        need.clusters += u32::from(geometry.blocks_per_cluster() == 1);
        credits += 1;
    }
    if geometry.features.indexed_dirs() {
        need.blocks = 1;
        credits += 1;
        if names >= usize::from(geometry.dx_entries_per_root()) {
            need.clusters += 1;
            credits += index::spread_credits(core)?;
        }
    }
    Ok((need, credits))
}

fn not_inline(dir: &Inode) -> Error {
    let violation = Violation::Rule("the entries are not in the dinode");
    Corrupt::new(Structure::Dinode, violation).in_inode(dir.number()).into()
}

/// Moves the entries of a directory from its dinode to a first block, and indexes them where the volume has indexes.
pub(super) fn leave_dinode(txn: &mut Txn<'_>, dir: &Inode) -> Result<()> {
    let geometry = *txn.geometry();
    let Contents::Inline(entries) = dir.contents() else {
        return Err(not_inline(dir));
    };
    let run = txn.alloc_clusters(dir.number(), None, 1, 1)?;
    let at = geometry.cluster_to_block(run.start);
    charge(txn, dir, 1)?;

    let dinode = txn.dinode(dir.number())?;
    let with_xattr = dir.dyn_features().contains(DynFeatures::INLINE_XATTR);
    let count = geometry.extents_per_dinode(with_xattr);
    // The list's room and its bytes end where attributes begin.
    let bytes = usize::from(geometry.max_inline_data(with_xattr)) + 8;
    dinode.as_mut_bytes()[ocfs2_format::Dinode::ID2_OFFSET..][..bytes].fill(0);
    let list = dinode.extent_list_mut();
    list.l_count.set(count);
    list.push(ExtentRec::leaf(0, 1, at, ExtentFlags::empty()));
    set_feature(dinode, DynFeatures::INLINE_DATA, false);
    if geometry.features.indexed_dirs() {
        set_feature(dinode, DynFeatures::INDEXED_DIR, true);
    }
    dinode.i_clusters.set(1);
    dinode.i_last_eb_blk.set(0);
    dinode.i_size.set(geometry.block_size() as u64);

    let inode = Inode::read(txn, dir.number())?;
    let len = area_len(txn, &inode);
    let trailer = has_trailer(txn, &inode).then(|| DirTrailer::for_block(at, dir.number()));
    let block = txn.create_tail(at)?;
    area::copy_extended(entries, &mut block[..len]).map_err(|corrupt| corrupt.in_inode(dir.number()))?;
    put_trailer(block, trailer);
    if geometry.features.indexed_dirs() {
        add_index(txn, &inode, at)?;
    }
    Ok(())
}

/// Makes the index of a directory that has one block.
fn add_index(txn: &mut Txn<'_>, dir: &Inode, block: BlockNo) -> Result<()> {
    let SubBlock {
        block: at,
        slot,
        bit,
        loc,
    } = txn.alloc_block()?;
    let generation = txn.geometry().generation.0;
    let capacity = txn.geometry().dx_entries_per_root();
    let root = txn.create::<DxRoot>(at)?;
    root.dr_signature = Signature::DX_ROOT;
    root.dr_suballoc_slot.set(slot.0);
    root.dr_suballoc_bit.set(bit);
    root.dr_suballoc_loc.set(loc);
    root.dr_fs_generation.set(generation);
    root.dr_blkno.set(at.0);
    root.dr_dir_blkno.set(dir.number().0);
    root.dr_flags = ocfs2_format::DxFlags::INLINE.bits();
    root.entries_mut().de_count.set(capacity);
    txn.dinode(dir.number())?.i_dx_root.set(at.0);
    room::grown(txn, dir, at, block)?;

    let len = area_len(txn, dir);
    let bytes = txn.edit_tail(block, Structure::DirBlock)?[..len].to_vec();
    for entry in DirEntries::new(&bytes) {
        let entry = entry.map_err(|corrupt| corrupt.at_block(block).in_inode(dir.number()))?;
        if entry.inode().is_some() {
            index::insert(txn, dir, at, entry.name, block)?;
        }
    }
    Ok(())
}

/// Blocks of a directory that are in use: the size of the first one of some directories is short by its trailer.
fn blocks_in_use(meta: &dyn Blocks, dir: &Inode) -> u64 {
    meta.geometry().blocks_for_bytes(dir.size())
}

/// Whether a further block needs a further cluster.
fn is_full(meta: &dyn Blocks, dir: &Inode) -> bool {
    blocks_in_use(meta, dir) >= meta.geometry().clusters_to_blocks(dir.clusters())
}

/// What [`add_block`] may take.
pub(super) fn add_block_need(core: &Core, dir: &Inode) -> Result<(Need, u32)> {
    // The new block, and that a name is put into it at once costs nothing more.
    let (mut need, mut credits) = (Need::default(), 1);
    if is_full(core, dir) {
        let cost = tree::cost_from(core, Root::Data(dir.number()), dir.clusters(), 1)?;
        need.clusters = 1;
        need.blocks = cost.blocks;
        credits += cost.credits;
    }
    Ok((need, credits))
}

/// Adds an empty block to a directory.
pub(super) fn add_block(txn: &mut Txn<'_>, dir: &Inode) -> Result<()> {
    let geometry = *txn.geometry();
    let index = blocks_in_use(txn, dir);
    if is_full(txn, dir) {
        add_cluster(txn, dir)?;
    }
    let inode = Inode::read(txn, dir.number())?;
    let per_cluster = u64::from(geometry.blocks_per_cluster());
    // A directory has fewer than 2^32 clusters: `i_clusters` counts them.
    let cpos = (index / per_cluster) as u32;
    let Lookup::Extent(extent) = data_tree(txn, &inode)?.lookup(cpos)? else {
        let violation = Violation::Rule("a directory has no holes");
        return Err(Corrupt::new(Structure::DirBlock, violation)
            .in_inode(dir.number())
            .at_offset(index << geometry.block_size_bits)
            .into());
    };
    let at = BlockNo(extent.blkno.0 + (index - u64::from(extent.cpos) * per_cluster));
    let len = area_len(txn, &inode);
    let trailer = has_trailer(txn, &inode).then(|| DirTrailer::for_block(at, dir.number()));
    let block = txn.create_tail(at)?;
    area::clear(&mut block[..len]);
    put_trailer(block, trailer);
    txn.dinode(dir.number())?
        .i_size
        .set((index + 1) << geometry.block_size_bits);
    match inode.dx_root() {
        Some(root) => room::grown(txn, &inode, root, at),
        None => Ok(()),
    }
}

/// Adds a cluster at the end, behind the last one if that is free.
fn add_cluster(txn: &mut Txn<'_>, dir: &Inode) -> Result<()> {
    let geometry = *txn.geometry();
    let goal = last_cluster(txn, dir)?
        .and_then(|last| last.0.checked_add(1))
        .map(ClusterNo);
    let run = txn.alloc_clusters(dir.number(), goal, 1, 1)?;
    charge(txn, dir, 1)?;
    let extent = Extent {
        cpos: dir.clusters(),
        clusters: 1,
        blkno: geometry.cluster_to_block(run.start),
        flags: ExtentFlags::empty(),
    };
    tree::insert(txn, Root::Data(dir.number()), extent)
}

fn last_cluster(meta: &dyn Blocks, dir: &Inode) -> Result<Option<ClusterNo>> {
    let Some(last) = dir.clusters().checked_sub(1) else {
        return Ok(None);
    };
    let Lookup::Extent(extent) = data_tree(meta, dir)?.lookup(last)? else {
        return Ok(None);
    };
    let first = meta.geometry().block_to_cluster(extent.blkno);
    Ok(first
        .and_then(|first| first.0.checked_add(last - extent.cpos))
        .map(ClusterNo))
}

fn put_trailer(block: &mut [u8], trailer: Option<DirTrailer>) {
    if let Some(trailer) = trailer {
        let start = block.len() - DirTrailer::SIZE;
        block[start..].copy_from_slice(trailer.as_bytes());
    }
}

fn set_feature(dinode: &mut ocfs2_format::Dinode, feature: DynFeatures, on: bool) {
    let mut features = dinode.dyn_features();
    features.set(feature, on);
    dinode.i_dyn_features.set(features.bits());
}
