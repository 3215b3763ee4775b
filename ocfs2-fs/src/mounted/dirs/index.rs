//! The index of a directory: from the hash of a name to the block that holds it.
//!
//! Source: on-disk reference, section 18.

use ocfs2_format::device::{BlockDevice, Durability};
use ocfs2_format::{
    BlockCheck, BlockNo, CharSign, Corrupt, DxEntry, DxEntryList, DxFlags, DxHash, DxLeaf, DxRoot, ExtentFlags,
    Geometry, Signature, Structure, Violation,
};
use zerocopy::FromZeros;

use super::charge;
use crate::dir::{dx_leaf_block, dx_tree, find_entry, read_dir_block, read_dx_leaf, read_dx_root};
use crate::error::{Error, Result};
use crate::extent_tree::{Extent, Lookup};
use crate::inode::Inode;
use crate::meta::{Blocks, view, view_mut};
use crate::mounted::space::Need;
use crate::mounted::tree::{self, Root};
use crate::mounted::{Core, LockSet, Txn};

/// Where an index entry is, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The leaf; `None` in the root.
    leaf: Option<BlockNo>,
    /// In the list.
    position: usize,
    /// The directory block that the entry points to.
    pub(super) dir_block: BlockNo,
}

/// The cluster of leaves that a hash belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LeafCluster {
    /// The record that it is part of.
    extent: Extent,
    /// Which of its clusters it is.
    index: u32,
    /// Smallest major hash in it.
    first_hash: u32,
    /// First leaf.
    first: BlockNo,
    /// The leaf of the hash.
    leaf: BlockNo,
}

fn hash_of(meta: &dyn Blocks, name: &[u8], sign: CharSign) -> DxHash {
    DxHash::of(name, &meta.geometry().dx_seed, sign)
}

fn is_inline(root: &DxRoot) -> bool {
    root.flags().contains(DxFlags::INLINE)
}

/// Finds the entry of a name that the directory has.
pub(super) fn find(meta: &dyn Blocks, dir: &Inode, root: BlockNo, name: &[u8]) -> Result<Option<Place>> {
    let root = read_dx_root(meta, dir.number(), root)?;
    let mut tried = None;
    for sign in CharSign::BOTH {
        let hash = hash_of(meta, name, sign);
        if tried == Some(hash) {
            break;
        }
        tried = Some(hash);
        if let Some(place) = find_hash(meta, dir, view(&root), hash, name)? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

fn find_hash(meta: &dyn Blocks, dir: &Inode, root: &DxRoot, hash: DxHash, name: &[u8]) -> Result<Option<Place>> {
    if is_inline(root) {
        return find_in_list(meta, dir, root.entries(), None, hash, name);
    }
    let at = leaf_cluster(meta, dir, root, hash)?.leaf;
    let leaf = read_dx_leaf(meta, dir.number(), at)?;
    find_in_list(meta, dir, view::<DxLeaf>(&leaf).entries(), Some(at), hash, name)
}

fn find_in_list(
    meta: &dyn Blocks,
    dir: &Inode,
    list: &DxEntryList,
    leaf: Option<BlockNo>,
    hash: DxHash,
    name: &[u8],
) -> Result<Option<Place>> {
    for (position, entry) in list.entries().iter().enumerate() {
        if (entry.dx_major_hash.get(), entry.dx_minor_hash.get()) != (hash.major, hash.minor) {
            continue;
        }
        let dir_block = BlockNo(entry.dx_dirent_blk.get());
        let block = read_dir_block(meta, dir, dir_block, 0)?;
        let area = &block.bytes[..block.area];
        if find_entry(area, 0, dir_block, dir.number(), name)?.is_some() {
            return Ok(Some(Place {
                leaf,
                position,
                dir_block,
            }));
        }
    }
    Ok(None)
}

fn leaf_cluster(meta: &dyn Blocks, dir: &Inode, root: &DxRoot, hash: DxHash) -> Result<LeafCluster> {
    let Lookup::Extent(extent) = dx_tree(meta, dir.number(), root).lookup(hash.major)? else {
        let violation = Violation::Rule("the index covers every hash from 0");
        return Err(Corrupt::new(Structure::DxRoot, violation).in_inode(dir.number()).into());
    };
    // Records may have merged, and a hash beyond their last cluster belongs to it. `clusters` is not 0 in a record.
    let cluster = (hash.major - extent.cpos).min(extent.clusters - 1);
    Ok(LeafCluster {
        extent,
        index: cluster,
        first_hash: extent.cpos + cluster,
        first: BlockNo(extent.blkno.0 + meta.geometry().clusters_to_blocks(cluster)),
        leaf: dx_leaf_block(meta, &extent, hash),
    })
}

fn is_full(list: &DxEntryList) -> bool {
    list.de_num_used.get() >= list.de_count.get()
}

/// What [`insert`] may take in a directory that has an index.
pub(super) fn insert_need(core: &Core, dir: &Inode, at: BlockNo, name: &[u8]) -> Result<(Need, u32)> {
    let block = read_dx_root(core, dir.number(), at)?;
    let root = view::<DxRoot>(&block);
    let per_cluster = core.geometry().blocks_per_cluster();
    let one_cluster = Need {
        clusters: 1,
        ..Need::default()
    };
    if is_inline(root) {
        return Ok(match is_full(root.entries()) {
            false => (Need::default(), 1),
            true => (one_cluster, 1 + spread_credits(core)?),
        });
    }
    let hash = hash_of(core, name, CharSign::default());
    let leaf = read_dx_leaf(core, dir.number(), leaf_cluster(core, dir, root, hash)?.leaf)?;
    if !is_full(view::<DxLeaf>(&leaf).entries()) {
        return Ok((Need::default(), 2));
    }
    let tree = Root::DirIndex {
        block: at,
        dir: dir.number(),
    };
    if are_large(core)? {
        // One record goes, and four come: what is left of it, and both halves.
        let cost = tree::cost(core, tree, 5)?;
        let need = Need {
            clusters: 2,
            blocks: cost.blocks,
            frees: 1,
            ..Need::default()
        };
        return Ok((need, 2 + cost.credits));
    }
    let cost = tree::cost(core, tree, 1)?;
    let need = Need {
        blocks: cost.blocks,
        ..one_cluster
    };
    Ok((need, 1 + 2 * per_cluster + cost.credits))
}

/// Whether a cluster has so many leaves that a transaction does not take those of two: then new leaves are written to the
/// device before the transaction that shows them, as file data is, and clusters are replaced rather than changed.
fn are_large(core: &Core) -> Result<bool> {
    Ok(2 * core.geometry().blocks_per_cluster() > core.journal()?.max_credits() / 4)
}

/// Blocks that moving the entries of a root to leaves may change, besides the root.
pub(super) fn spread_credits(core: &Core) -> Result<u32> {
    Ok(match are_large(core)? {
        // That of the entry which comes next.
        true => 1,
        false => core.geometry().blocks_per_cluster(),
    })
}

/// Adds an entry for a name in a block of the directory.
pub(super) fn insert(txn: &mut Txn<'_>, dir: &Inode, at: BlockNo, name: &[u8], dir_block: BlockNo) -> Result<()> {
    let hash = hash_of(txn, name, CharSign::default());
    let entry = DxEntry {
        dx_major_hash: hash.major.into(),
        dx_minor_hash: hash.minor.into(),
        dx_dirent_blk: dir_block.0.into(),
    };
    let root = txn.edit::<DxRoot>(at)?;
    root.dr_num_entries.set(root.dr_num_entries.get().saturating_add(1));
    if is_inline(root) {
        if push(root.entries_mut(), entry) {
            return Ok(());
        }
        spread(txn, dir, at)?;
    }
    let mut split_before = false;
    loop {
        let root = read_dx_root(txn, dir.number(), at)?;
        let cluster = leaf_cluster(txn, dir, view(&root), hash)?;
        drop(root);
        // A leaf from its home has been checked by nobody else.
        let leaf = read_dx_leaf(txn, dir.number(), cluster.leaf)?;
        let is_full = is_full(view::<DxLeaf>(&leaf).entries());
        drop(leaf);
        if !is_full && push(txn.edit::<DxLeaf>(cluster.leaf)?.entries_mut(), entry) {
            return Ok(());
        }
        if split_before {
            return Err(Error::NoSpace);
        }
        match are_large(txn.core())? {
            true => replace(txn, dir, at, &cluster, hash.major)?,
            false => split(txn, dir, at, &cluster, hash.major)?,
        }
        split_before = true;
    }
}

/// Appends an entry; `false` if there is no room.
fn push(list: &mut DxEntryList, entry: DxEntry) -> bool {
    let used = list.de_num_used.get();
    if used >= list.de_count.get() {
        return false;
    }
    match list.de_entries.get_mut(usize::from(used)) {
        Some(free) => *free = entry,
        None => return false,
    }
    list.de_num_used.set(used + 1);
    true
}

/// Moves the entries of an inline index to a first cluster of leaves.
fn spread(txn: &mut Txn<'_>, dir: &Inode, at: BlockNo) -> Result<()> {
    let geometry = *txn.geometry();
    let block = read_dx_root(txn, dir.number(), at)?;
    let entries = view::<DxRoot>(&block).entries().entries().to_vec();
    let is_large = are_large(txn.core())?;
    let first = match is_large {
        true => write_leaves(txn, dir, &entries)?,
        false => new_leaves(txn, dir)?,
    };

    let root = txn.edit::<DxRoot>(at)?;
    root.dr_flags &= !DxFlags::INLINE.bits();
    root.dr_body.fill(0);
    root.dr_tail.fill(0);
    root.dr_last_eb_blk.set(0);
    root.dr_clusters.set(0);
    root.list_mut().l_count.set(geometry.extents_per_dx_root());
    tree::insert(txn, dx(dir, at), leaf_extent(0, first))?;
    if is_large {
        return Ok(());
    }
    for entry in entries {
        let leaf = entry.dx_minor_hash.get() % geometry.blocks_per_cluster();
        let leaf = txn.edit::<DxLeaf>(BlockNo(first.0 + u64::from(leaf)))?;
        if !push(leaf.entries_mut(), entry) {
            return Err(Error::NoSpace);
        }
    }
    Ok(())
}

/// Makes room in a full leaf: the larger hashes of its cluster move to a new one.
fn split(txn: &mut Txn<'_>, dir: &Inode, at: BlockNo, old: &LeafCluster, major: u32) -> Result<()> {
    let geometry = *txn.geometry();
    let leaf = read_dx_leaf(txn, dir.number(), old.leaf)?;
    let from = split_hash(view::<DxLeaf>(&leaf).entries().entries(), old.first_hash, major).ok_or(Error::NoSpace)?;
    drop(leaf);
    let first = new_leaves(txn, dir)?;
    tree::insert(txn, dx(dir, at), leaf_extent(from, first))?;
    let moves = |entry: &DxEntry| entry.dx_major_hash.get() >= from;
    for index in 0..u64::from(geometry.blocks_per_cluster()) {
        let old_leaf = BlockNo(old.first.0 + index);
        let block = read_dx_leaf(txn, dir.number(), old_leaf)?;
        let entries = view::<DxLeaf>(&block).entries().entries();
        if !entries.iter().any(moves) {
            continue;
        }
        let entries = entries.to_vec();
        drop(block);
        let (moved, kept): (Vec<DxEntry>, Vec<DxEntry>) = entries.iter().partition(|entry| moves(entry));
        fill(txn.edit::<DxLeaf>(old_leaf)?.entries_mut(), &kept);
        fill(txn.edit::<DxLeaf>(BlockNo(first.0 + index))?.entries_mut(), &moved);
    }
    Ok(())
}

/// As [`split`], with two new clusters in place of the old one.
fn replace(txn: &mut Txn<'_>, dir: &Inode, at: BlockNo, old: &LeafCluster, major: u32) -> Result<()> {
    let geometry = *txn.geometry();
    let (mut kept, mut moved) = (Vec::new(), Vec::new());
    let mut from = None;
    for index in 0..u64::from(geometry.blocks_per_cluster()) {
        let leaf = read_dx_leaf(txn, dir.number(), BlockNo(old.first.0 + index))?;
        let entries = view::<DxLeaf>(&leaf).entries().entries();
        if old.first.0 + index == old.leaf.0 {
            from = split_hash(entries, old.first_hash, major);
        }
        kept.extend_from_slice(entries);
    }
    let from = from.ok_or(Error::NoSpace)?;
    kept.retain(|entry| {
        let moves = entry.dx_major_hash.get() >= from;
        if moves {
            moved.push(*entry);
        }
        !moves
    });
    let (left, right) = (write_leaves(txn, dir, &kept)?, write_leaves(txn, dir, &moved)?);
    let root = dx(dir, at);
    let record = old.extent;
    tree::remove(txn, root, record.cpos, record.clusters)?;
    let behind = old.index + 1;
    let parts = [
        Extent {
            clusters: old.index,
            ..record
        },
        leaf_extent(old.first_hash, left),
        Extent {
            cpos: record.cpos.saturating_add(behind),
            clusters: record.clusters - behind,
            blkno: BlockNo(record.blkno.0 + geometry.clusters_to_blocks(behind)),
            ..record
        },
        leaf_extent(from, right),
    ];
    for part in parts {
        tree::insert(txn, root, part)?;
    }
    txn.forget(old.first, geometry.blocks_per_cluster())?;
    let start = geometry.block_to_cluster(old.first);
    txn.free_clusters(start.ok_or_else(|| outside(dir, &record))?, 1)?;
    charge(txn, dir, -1)
}

/// Allocates a cluster and writes leaves with these entries to it, which belong there in whatever order.
fn write_leaves(txn: &mut Txn<'_>, dir: &Inode, entries: &[DxEntry]) -> Result<BlockNo> {
    let geometry = *txn.geometry();
    let run = txn.alloc_clusters(dir.number(), None, 1, 1)?;
    charge(txn, dir, 1)?;
    let first = geometry.cluster_to_block(run.start);
    let leaves = geometry.blocks_per_cluster();
    // A cluster has 1 MiB at most.
    let mut bytes = vec![0; geometry.cluster_size() as usize];
    let mut blocks: Vec<&mut [u8]> = bytes.chunks_mut(geometry.block_size()).collect();
    for (block, at) in blocks.iter_mut().zip(first.0..) {
        format_leaf(view_mut(block), BlockNo(at), &geometry);
    }
    for &entry in entries {
        let leaf = (entry.dx_minor_hash.get() % leaves) as usize;
        if !push(view_mut::<DxLeaf>(&mut *blocks[leaf]).entries_mut(), entry) {
            return Err(Error::NoSpace);
        }
    }
    if geometry.features.metaecc() {
        for block in blocks {
            BlockCheck::set(block, DxLeaf::CHECK_OFFSET);
        }
    }
    let core = txn.core();
    core.locks.changed_hands(first, leaves);
    let offset = first.0 << geometry.block_size_bits;
    core.home_device().write(offset, &bytes, Durability::Cached)?;
    Ok(first)
}

/// Makes an empty leaf of a block of zeros.
fn format_leaf(leaf: &mut DxLeaf, at: BlockNo, geometry: &Geometry) {
    leaf.dl_signature = Signature::DX_LEAF;
    leaf.dl_blkno.set(at.0);
    leaf.dl_fs_generation.set(geometry.generation.0);
    leaf.entries_mut().de_count.set(geometry.dx_entries_per_leaf());
}

/// The smallest major hash that leaves a full leaf of a cluster that begins at `first_hash`, so that there is room for
/// `major`. `None` if nothing can make room.
fn split_hash(entries: &[DxEntry], first_hash: u32, major: u32) -> Option<u32> {
    let mut hashes: Vec<u32> = entries.iter().map(|entry| entry.dx_major_hash.get()).collect();
    hashes.sort_unstable();
    let (&smallest, &largest) = (hashes.first()?, hashes.last()?);
    if smallest != largest {
        let upper = &hashes[hashes.len() / 2..];
        return upper.iter().copied().find(|&hash| hash > first_hash);
    }
    match smallest {
        same if same == major => None,
        same if same == first_hash => same.checked_add(1),
        same if same > major => Some(same),
        _ => Some(major),
    }
}

/// Makes these the entries of a list: no more than it had.
fn fill(list: &mut DxEntryList, entries: &[DxEntry]) {
    list.de_entries.zero();
    list.de_entries[..entries.len()].copy_from_slice(entries);
    // They came from a list of the same length.
    list.de_num_used.set(entries.len() as u16);
}

/// Allocates a cluster and makes empty leaves of it.
fn new_leaves(txn: &mut Txn<'_>, dir: &Inode) -> Result<BlockNo> {
    let geometry = *txn.geometry();
    let run = txn.alloc_clusters(dir.number(), None, 1, 1)?;
    charge(txn, dir, 1)?;
    let first = geometry.cluster_to_block(run.start);
    for index in 0..u64::from(geometry.blocks_per_cluster()) {
        let at = BlockNo(first.0 + index);
        format_leaf(txn.create::<DxLeaf>(at)?, at, &geometry);
    }
    Ok(first)
}

fn dx(dir: &Inode, block: BlockNo) -> Root {
    Root::DirIndex {
        block,
        dir: dir.number(),
    }
}

fn leaf_extent(first_hash: u32, blkno: BlockNo) -> Extent {
    Extent {
        cpos: first_hash,
        clusters: 1,
        blkno,
        flags: ExtentFlags::empty(),
    }
}

/// Removes the entry of a name in a block of the directory, after the name itself.
pub(super) fn remove(txn: &mut Txn<'_>, dir: &Inode, at: BlockNo, place: &Place) -> Result<()> {
    let root = txn.edit::<DxRoot>(at)?;
    root.dr_num_entries.set(root.dr_num_entries.get().saturating_sub(1));
    match place.leaf {
        None => take(root.entries_mut(), place.position),
        Some(leaf) => take(txn.edit::<DxLeaf>(leaf)?.entries_mut(), place.position),
    }
    .ok_or_else(|| {
        let violation = Violation::Rule("an index entry is gone");
        Corrupt::new(Structure::DxLeaf, violation).in_inode(dir.number()).into()
    })
}

/// Takes one entry out; those behind it move up.
fn take(list: &mut DxEntryList, position: usize) -> Option<()> {
    let used = list.entries().len();
    let entries = list.de_entries.get_mut(..used)?;
    if position >= used {
        return None;
    }
    entries.copy_within(position + 1.., position);
    entries[used - 1] = DxEntry::new_zeroed();
    // Not more than it was.
    list.de_num_used.set((used - 1) as u16);
    Some(())
}

fn outside(dir: &Inode, extent: &Extent) -> Error {
    let violation = Violation::OutsideVolume {
        field: "e_blkno",
        found: extent.blkno.0,
        blocks: u64::from(u32::MAX),
    };
    Corrupt::new(Structure::DxRoot, violation).in_inode(dir.number()).into()
}

/// Records of the index tree that one transaction takes out when a directory is deleted.
const RECORDS_PER_STEP: usize = 8;

/// Frees the index of a directory that is deleted, step by step. The caller holds the directory's lock alone.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(crate) fn free_index(locks: &mut LockSet<'_>, dir: &Inode) -> Result<()> {
    let core = locks.core();
    let Some(at) = dir.dx_root() else { return Ok(()) };
    let mut extents: Vec<Extent> = Vec::new();
    {
        let root = read_dx_root(core, dir.number(), at)?;
        let root = view::<DxRoot>(&root);
        if !is_inline(root) {
            for extent in dx_tree(core, dir.number(), root).extents() {
                extents.push(extent?);
            }
        }
    }
    while !extents.is_empty() {
        let step = extents.split_off(extents.len().saturating_sub(RECORDS_PER_STEP));
        // A few records at most.
        let count = step.len() as u32;
        let cost = tree::cost_from(core, dx(dir, at), step.first().map_or(0, |extent| extent.cpos), count)?;
        let quota = locks.quota(dir.uid(), dir.gid())?;
        let reserved = locks.reserve(Need {
            blocks: cost.blocks,
            frees: count,
            ..Need::default()
        })?;
        let mut txn = locks.begin(cost.credits + reserved + quota)?;
        for extent in step.iter().rev() {
            for piece in tree::remove(&mut txn, dx(dir, at), extent.cpos, extent.clusters)? {
                let blocks = core.geometry().clusters_to_blocks(piece.clusters);
                // A record has less than 2^16 clusters.
                txn.forget(piece.blkno, blocks as u32)?;
                let start = core.geometry().block_to_cluster(piece.blkno);
                let start = start.ok_or_else(|| outside(dir, &piece))?;
                txn.free_clusters(start, piece.clusters)?;
                charge(&mut txn, dir, -i64::from(piece.clusters))?;
            }
        }
        txn.commit()?;
    }
    let reserved = locks.reserve(Need::default())?;
    // The dinode, and the group and inode of the allocator of the root.
    let mut txn = locks.begin(1 + 1 + 2 + reserved)?;
    let (slot, bit, loc) = {
        let root = read_dx_root(&txn, dir.number(), at)?;
        let root = view::<DxRoot>(&root);
        (
            root.dr_suballoc_slot.get(),
            root.dr_suballoc_bit.get(),
            root.dr_suballoc_loc.get(),
        )
    };
    txn.free_block(at, ocfs2_format::SlotNum(slot), bit, loc)?;
    let dinode = txn.dinode(dir.number())?;
    let mut features = dinode.dyn_features();
    features.remove(ocfs2_format::DynFeatures::INDEXED_DIR);
    dinode.i_dyn_features.set(features.bits());
    dinode.i_dx_root.set(0);
    txn.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(hashes: &[u32]) -> Vec<DxEntry> {
        let entry = |&hash: &u32| DxEntry {
            dx_major_hash: hash.into(),
            ..DxEntry::new_zeroed()
        };
        hashes.iter().map(entry).collect()
    }

    #[test]
    fn a_leaf_splits_in_the_middle_of_its_hashes() {
        assert_eq!(split_hash(&entries(&[40, 10, 30, 20]), 0, 5), Some(30));
        assert_eq!(split_hash(&entries(&[7, 7, 7, 7, 9, 9]), 7, 7), Some(9));
    }

    #[test]
    fn a_leaf_of_one_hash_splits_beside_it() {
        assert_eq!(split_hash(&entries(&[9, 9]), 9, 12), Some(10));
        assert_eq!(split_hash(&entries(&[9, 9]), 3, 5), Some(9));
        assert_eq!(split_hash(&entries(&[9, 9]), 3, 12), Some(12));
        assert_eq!(split_hash(&entries(&[9, 9]), 3, 9), None);
    }
}
