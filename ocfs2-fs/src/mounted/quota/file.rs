//! A global quota file: finding, changing and adding entries.
//!
//! Source: on-disk reference, section 30.1.

use ocfs2_format::quota::{GlobalEntry, GlobalHead, LeafHeader, QuotaGeometry, QuotaKind};
use ocfs2_format::{BlockNo, Corrupt, ExtentFlags, Geometry, InodeNo, Structure, Violation};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::Grace;
use crate::dir::data_tree;
use crate::error::{Error, Result};
use crate::extent_tree::{Extent, Lookup};
use crate::inode::Inode;
use crate::meta::{BlockBuf, Blocks};
use crate::mounted::space::Need;
use crate::mounted::tree::{self, Root};
use crate::mounted::{LockSet, Txn};

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Block of the device.
    block: BlockNo,
    /// Which of the leaf's entries.
    slot: usize,
}

/// The global file of users or groups.
#[derive(Clone, Copy, Debug)]
pub(super) struct GlobalFile {
    pub(super) inode: InodeNo,
    kind: QuotaKind,
    geometry: QuotaGeometry,
}

const ENTRY: usize = size_of::<GlobalEntry>();
const LEAF_HEADER: usize = size_of::<LeafHeader>();

/// A block of a quota file on the device.
///
/// # Errors
/// [`Error::Corrupt`] when the file does not reach as far.
pub(super) fn place(meta: &dyn Blocks, inode: &Inode, n: u64) -> Result<BlockNo> {
    let geometry = meta.geometry();
    let limit = inode.size() >> geometry.block_size_bits;
    let fail = |violation| {
        let corrupt = Corrupt::new(Structure::QuotaBlock, violation).in_inode(inode.number());
        Err(Error::Corrupt(corrupt))
    };
    if n >= limit {
        return fail(Violation::TooLarge {
            field: "quota block number",
            found: n,
            limit: limit.saturating_sub(1),
        });
    }
    let per_cluster = u64::from(geometry.blocks_per_cluster());
    let cpos = u32::try_from(n / per_cluster).unwrap_or(u32::MAX);
    match data_tree(meta, inode)?.lookup(cpos)? {
        Lookup::Extent(extent) => Ok(BlockNo(extent.blkno.0 + (n - u64::from(extent.cpos) * per_cluster))),
        Lookup::Gap { .. } => fail(Violation::Rule("a quota file has no holes")),
    }
}

impl GlobalFile {
    pub(super) fn new(kind: QuotaKind, inode: InodeNo, geometry: &Geometry) -> GlobalFile {
        GlobalFile {
            inode,
            kind,
            geometry: QuotaGeometry::new(geometry),
        }
    }

    fn corrupt(&self, violation: Violation) -> Error {
        let corrupt = Corrupt::new(Structure::QuotaBlock, violation);
        Error::Corrupt(corrupt.in_inode(self.inode))
    }

    /// An id that has to have an entry has none.
    pub(super) fn missing(&self, id: u32) -> Error {
        self.corrupt(Violation::Invalid {
            field: "quota id",
            found: id.into(),
            why: "it has no entry",
        })
    }

    fn place(&self, meta: &dyn Blocks, n: u32) -> Result<BlockNo> {
        place(meta, &Inode::read(meta, self.inode)?, n.into())
    }

    fn block(&self, meta: &dyn Blocks, n: u32) -> Result<BlockBuf> {
        meta.verified_tail(self.place(meta, n)?, Structure::QuotaBlock)
    }

    fn edit<'t>(&self, txn: &'t mut Txn<'_>, n: u32) -> Result<&'t mut [u8]> {
        let at = self.place(txn, n)?;
        txn.edit_tail(at, Structure::QuotaBlock)
    }

    fn head(&self, meta: &dyn Blocks) -> Result<GlobalHead> {
        let inode = Inode::read(meta, self.inode)?;
        let block = meta.verified_tail(place(meta, &inode, 0)?, Structure::QuotaBlock)?;
        let head = GlobalHead::of_block(&block).copied().ok_or_else(|| self.short())?;
        head.check(self.kind, inode.size() >> meta.geometry().block_size_bits)
            .map_err(|corrupt| corrupt.in_inode(self.inode))?;
        Ok(head)
    }

    fn set_head(&self, txn: &mut Txn<'_>, head: &GlobalHead) -> Result<()> {
        let bytes = self.edit(txn, 0)?;
        bytes[..size_of::<GlobalHead>()].copy_from_slice(head.as_bytes());
        Ok(())
    }

    fn short(&self) -> Error {
        self.corrupt(Violation::Rule("a quota block is longer than what it begins with"))
    }

    pub(super) fn grace(&self, meta: &dyn Blocks) -> Result<Grace> {
        let info = self.head(meta)?.info;
        Ok(Grace {
            space: info.dqi_bgrace.get(),
            inodes: info.dqi_igrace.get(),
        })
    }

    pub(super) fn set_grace(&self, txn: &mut Txn<'_>, grace: Grace) -> Result<()> {
        let mut head = self.head(txn)?;
        head.info.dqi_bgrace.set(grace.space);
        head.info.dqi_igrace.set(grace.inodes);
        self.set_head(txn, &head)
    }

    /// Where the entry of an id is.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(super) fn find(&self, meta: &dyn Blocks, id: u32) -> Result<Option<Entry>> {
        let mut number = QuotaGeometry::ROOT_BLOCK;
        for level in 0..self.geometry.depth() {
            let block = self.block(meta, number)?;
            number = self.number(&block, level, id)?;
            if number == 0 {
                return Ok(None);
            }
        }
        let at = self.place(meta, number)?;
        let block = meta.verified_tail(at, Structure::QuotaBlock)?;
        let (_, entries) = self.geometry.leaf(&block).ok_or_else(|| self.short())?;
        let slot = entries
            .iter()
            .position(|entry| entry.dqb_id.get() == id && !entry.is_free());
        Ok(slot.map(|slot| Entry { block: at, slot }))
    }

    fn number(&self, block: &[u8], level: u32, id: u32) -> Result<u32> {
        let numbers = self.geometry.tree_numbers(block);
        let number = numbers
            .get(self.geometry.tree_index(level, id))
            .ok_or_else(|| self.short())?;
        Ok(number.get())
    }

    /// An entry.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(super) fn entry(&self, meta: &dyn Blocks, at: Entry) -> Result<GlobalEntry> {
        let block = meta.verified_tail(at.block, Structure::QuotaBlock)?;
        let (_, entries) = self.geometry.leaf(&block).ok_or_else(|| self.short())?;
        entries.get(at.slot).copied().ok_or_else(|| self.short())
    }

    /// Changes an entry.
    ///
    /// # Errors
    /// [`Error::Corrupt`], the journal's.
    pub(super) fn set_entry(&self, txn: &mut Txn<'_>, at: Entry, entry: &GlobalEntry) -> Result<()> {
        let bytes = txn.edit_tail(at.block, Structure::QuotaBlock)?;
        let start = LEAF_HEADER + at.slot * ENTRY;
        bytes[start..start + ENTRY].copy_from_slice(entry.as_bytes());
        Ok(())
    }

    /// Adds an entry without limits and usage, in a transaction of its own. The file's locks are held, and no allocator's;
    /// none is afterwards.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Corrupt`], the journal's.
    pub(super) fn add(&self, locks: &mut LockSet<'_>, id: u32) -> Result<()> {
        let core = locks.core();
        let most = self.geometry.depth();
        let clusters = self.clusters_to_add(core, id)?;
        let mut need = Need::default();
        let mut credits = 2 * most + 4;
        if clusters > 0 {
            let tree = tree::cost(core, Root::Data(self.inode), clusters)?;
            need.clusters = clusters;
            need.blocks = tree.blocks;
            credits += tree.credits + locks.reserve(need)?;
        }
        let mut txn = locks.begin(credits)?;
        self.insert(&mut txn, id)?;
        txn.commit()?;
        locks.release_allocators();
        Ok(())
    }

    /// Clusters by which the file has to grow for an entry of this id.
    fn clusters_to_add(&self, meta: &dyn Blocks, id: u32) -> Result<u32> {
        let head = self.head(meta)?;
        let depth = self.geometry.depth();
        let mut wanted = u32::from(head.info.dqi_free_entry.get() == 0);
        let mut number = QuotaGeometry::ROOT_BLOCK;
        for level in 0..depth.saturating_sub(1) {
            number = self.number(&self.block(meta, number)?, level, id)?;
            if number == 0 {
                wanted += depth - 1 - level;
                break;
            }
        }
        let mut free = head.info.dqi_free_blk.get();
        while wanted > 0 && free != 0 {
            wanted -= 1;
            let block = self.block(meta, free)?;
            free = LeafHeader::read_from_prefix(&block).map_or(0, |(header, _)| header.dqdh_next_free.get());
        }
        let inode = Inode::read(meta, self.inode)?;
        let blocks = u64::from(head.info.dqi_blocks.get()) + u64::from(wanted);
        let bytes = blocks << meta.geometry().block_size_bits;
        let clusters = meta.geometry().clusters_for_bytes(bytes);
        let more = clusters.saturating_sub(inode.clusters().into());
        // No more than the blocks of a path.
        Ok(more as u32)
    }

    fn insert(&self, txn: &mut Txn<'_>, id: u32) -> Result<()> {
        let depth = self.geometry.depth();
        let mut number = QuotaGeometry::ROOT_BLOCK;
        for level in 0..depth {
            let block = self.block(txn, number)?;
            let mut next = self.number(&block, level, id)?;
            if level + 1 == depth {
                // The id may have had its entry in this leaf, or another with the same place in the tree.
                next = self.insert_in_leaf(txn, id)?;
            } else if next == 0 {
                next = self.new_block(txn)?;
            } else {
                number = next;
                continue;
            }
            let at = self.geometry.tree_index(level, id) * size_of::<u32>();
            self.edit(txn, number)?[at..at + 4].copy_from_slice(&next.to_le_bytes());
            number = next;
        }
        Ok(())
    }

    /// Puts a new entry into a leaf with room, and returns the leaf.
    fn insert_in_leaf(&self, txn: &mut Txn<'_>, id: u32) -> Result<u32> {
        let mut head = self.head(txn)?;
        let room = self.geometry.entries_per_leaf();
        let mut number = head.info.dqi_free_entry.get();
        if number == 0 {
            number = self.new_block(txn)?;
            head = self.head(txn)?;
            head.info.dqi_free_entry.set(number);
            self.set_head(txn, &head)?;
        }
        let block = self.block(txn, number)?;
        let (header, entries) = self.geometry.leaf(&block).ok_or_else(|| self.short())?;
        header
            .check(&self.geometry, head.info.dqi_blocks.get())
            .map_err(|corrupt| corrupt.in_inode(self.inode))?;
        let mut header = *header;
        let Some(slot) = entries.iter().position(GlobalEntry::is_free) else {
            return Err(self.corrupt(Violation::Rule("a leaf on the list of those with room has room")));
        };
        header.dqdh_entries.set(header.dqdh_entries.get().saturating_add(1));
        if header.dqdh_entries.get() >= room {
            let (next, previous) = (header.dqdh_next_free.get(), header.dqdh_prev_free.get());
            self.link_leaf(txn, previous, |leaf| leaf.dqdh_next_free.set(next))?;
            self.link_leaf(txn, next, |leaf| leaf.dqdh_prev_free.set(previous))?;
            header.dqdh_next_free.set(0);
            header.dqdh_prev_free.set(0);
            if previous == 0 {
                head.info.dqi_free_entry.set(next);
                self.set_head(txn, &head)?;
            }
        }
        let mut entry = GlobalEntry::new_zeroed();
        entry.dqb_id.set(id);
        if id == 0 {
            // All zeros would be a free place; an entry that a node is said to use is never taken for one.
            entry.dqb_use_count.set(1);
        }
        let bytes = self.edit(txn, number)?;
        bytes[..LEAF_HEADER].copy_from_slice(header.as_bytes());
        let start = LEAF_HEADER + slot * ENTRY;
        bytes[start..start + ENTRY].copy_from_slice(entry.as_bytes());
        Ok(number)
    }

    /// Changes the header of a leaf; 0 is none.
    fn link_leaf(&self, txn: &mut Txn<'_>, number: u32, change: impl FnOnce(&mut LeafHeader)) -> Result<()> {
        if number == 0 {
            return Ok(());
        }
        let bytes = self.edit(txn, number)?;
        match LeafHeader::mut_from_prefix(bytes) {
            Ok((header, _)) => change(header),
            Err(_) => return Err(self.short()),
        }
        Ok(())
    }

    /// A block of zeros: from the list of empty blocks, else at the end of the file.
    fn new_block(&self, txn: &mut Txn<'_>) -> Result<u32> {
        let mut head = self.head(txn)?;
        let free = head.info.dqi_free_blk.get();
        if free != 0 {
            let bytes = self.edit(txn, free)?;
            let next = LeafHeader::read_from_prefix(bytes).map_or(0, |(header, _)| header.dqdh_next_free.get());
            let usable = self.geometry.check_offset();
            bytes[..usable].fill(0);
            head.info.dqi_free_blk.set(next);
            self.set_head(txn, &head)?;
            return Ok(free);
        }
        let number = head.info.dqi_blocks.get();
        let Some(blocks) = number.checked_add(1) else {
            return Err(Error::NoSpace);
        };
        self.grow(txn, blocks)?;
        head.info.dqi_blocks.set(blocks);
        self.set_head(txn, &head)?;
        let at = self.place(txn, number)?;
        txn.create_tail(at)?;
        Ok(number)
    }

    /// Makes the file this long.
    fn grow(&self, txn: &mut Txn<'_>, blocks: u32) -> Result<()> {
        let geometry = *txn.geometry();
        let inode = Inode::read(txn, self.inode)?;
        let size = u64::from(blocks) << geometry.block_size_bits;
        if size > geometry.clusters_to_bytes(inode.clusters()) {
            let cpos = inode.clusters();
            let goal = last_cluster(txn, &inode)?;
            let run = txn.alloc_clusters(self.inode, goal, 1, 1)?;
            let extent = Extent {
                cpos,
                clusters: 1,
                blkno: geometry.cluster_to_block(run.start),
                flags: ExtentFlags::empty(),
            };
            tree::insert(txn, Root::Data(self.inode), extent)?;
        }
        let dinode = txn.dinode(self.inode)?;
        dinode.i_size.set(size);
        Ok(())
    }
}

/// The cluster behind the last one of a file.
fn last_cluster(meta: &dyn Blocks, inode: &Inode) -> Result<Option<ocfs2_format::ClusterNo>> {
    let Some(last) = inode.clusters().checked_sub(1) else {
        return Ok(None);
    };
    let geometry = meta.geometry();
    Ok(match data_tree(meta, inode)?.lookup(last)? {
        Lookup::Extent(extent) => {
            let end = extent.blkno.0 + geometry.clusters_to_blocks(extent.clusters);
            geometry.block_to_cluster(BlockNo(end))
        }
        Lookup::Gap { .. } => None,
    })
}
