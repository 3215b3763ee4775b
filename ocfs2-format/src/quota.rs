//! Quota files: the global one with limits and usage, and one per slot with what a node has not yet added to it.
//!
//! A global file is a radix tree over the 32-bit id, its leaves shared by several ids:
//!
//! ```text
//! block 0            block 1           ...               leaf
//! GlobalHead    root: numbers -> numbers -> ... ->  LeafHeader, entries
//! ```
//!
//! A local file is a list of entries with a bitmap per chunk: head, then chunk header and entry blocks, repeated. Every
//! block of either ends with a check field, live with the metaecc feature and reserved without.
//!
//! Source: on-disk reference, section 30 (Quota files).

use bitflags::bitflags;
use zerocopy::little_endian as le;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::blockcheck::BlockCheck;
use crate::error::{Corrupt, Structure, Violation};
use crate::geometry::Geometry;

/// Whose usage a quota file limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaKind {
    /// Users, with the usrquota feature.
    User,
    /// Groups, with the grpquota feature.
    Group,
}

impl QuotaKind {
    /// `dqh_magic` of a global file.
    #[must_use]
    pub fn global_magic(self) -> u32 {
        match self {
            QuotaKind::User => 0x0CF5_2470,
            QuotaKind::Group => 0x0CF5_2471,
        }
    }

    /// `dqh_magic` of a local file.
    #[must_use]
    pub fn local_magic(self) -> u32 {
        match self {
            QuotaKind::User => 0x0CF5_24C0,
            QuotaKind::Group => 0x0CF5_24C1,
        }
    }
}

/// First bytes of a quota file (`ocfs2_disk_dqheader`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FileHeader {
    /// [`QuotaKind::global_magic`] or [`QuotaKind::local_magic`].
    pub dqh_magic: le::U32,
    /// Version of the format: 0.
    pub dqh_version: le::U32,
}
const _: () = assert!(size_of::<FileHeader>() == 8);

/// State of a global file (`ocfs2_global_disk_dqinfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GlobalInfo {
    /// Seconds that a soft limit of space may be exceeded.
    pub dqi_bgrace: le::U32,
    /// Seconds that a soft limit of inodes may be exceeded.
    pub dqi_igrace: le::U32,
    /// Milliseconds between two syncs of the local files.
    pub dqi_syncms: le::U32,
    /// Blocks of the file.
    pub dqi_blocks: le::U32,
    /// First block of the list of empty blocks, 0 for none.
    pub dqi_free_blk: le::U32,
    /// First block of the list of leaves with room for an entry, 0 for none.
    pub dqi_free_entry: le::U32,
}
const _: () = assert!(size_of::<GlobalInfo>() == 24);

/// Start of block 0 of a global file. The bytes behind it are unspecified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GlobalHead {
    /// Magic and version.
    pub header: FileHeader,
    /// State of the file.
    pub info: GlobalInfo,
}
const _: () = assert!(size_of::<GlobalHead>() == 32);

/// Limits and usage of one id (`ocfs2_global_disk_dqblk`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GlobalEntry {
    /// User or group id.
    pub dqb_id: le::U32,
    /// Nodes that have a local entry for the id.
    pub dqb_use_count: le::U32,
    /// Hard limit of inodes, 0 for none.
    pub dqb_ihardlimit: le::U64,
    /// Soft limit of inodes, 0 for none.
    pub dqb_isoftlimit: le::U64,
    /// Inodes in use.
    pub dqb_curinodes: le::U64,
    /// Hard limit of space in bytes, 0 for none.
    pub dqb_bhardlimit: le::U64,
    /// Soft limit of space in bytes, 0 for none.
    pub dqb_bsoftlimit: le::U64,
    /// Space in use, in bytes.
    pub dqb_curspace: le::U64,
    /// When the grace time for space ends, seconds since 1970; 0 if it does not run.
    pub dqb_btime: le::U64,
    /// When the grace time for inodes ends, seconds since 1970; 0 if it does not run.
    pub dqb_itime: le::U64,
    /// Padding.
    pub dqb_pad1: le::U64,
    /// Padding.
    pub dqb_pad2: le::U64,
}
const _: () = assert!(size_of::<GlobalEntry>() == 88);

impl GlobalEntry {
    /// Whether the place is free. An entry of zeros is, so that there is no entry for id 0 without limits or usage.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.as_bytes().iter().all(|&byte| byte == 0)
    }
}

/// Start of a leaf of a global file, and of its empty blocks (`qt_disk_dqdbheader`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LeafHeader {
    /// Next block of the list that the block is on, 0 for none.
    pub dqdh_next_free: le::U32,
    /// Previous leaf of the list of leaves with room, 0 for none.
    pub dqdh_prev_free: le::U32,
    /// Entries in use.
    pub dqdh_entries: le::U16,
    /// Padding.
    pub dqdh_pad1: le::U16,
    /// Padding.
    pub dqdh_pad2: le::U32,
}
const _: () = assert!(size_of::<LeafHeader>() == 16);

bitflags! {
    /// `dqi_flags` of a local file.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct LocalFlags: u32 {
        /// Nothing is left to be added to the global file.
        const CLEAN = 0x1;
        const _ = !0;
    }
}

/// State of a local file (`ocfs2_local_disk_dqinfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LocalInfo {
    /// [`LocalFlags`].
    pub dqi_flags: le::U32,
    /// Chunks of the file.
    pub dqi_chunks: le::U32,
    /// Blocks of the file.
    pub dqi_blocks: le::U32,
}
const _: () = assert!(size_of::<LocalInfo>() == 12);

/// Start of block 0 of a local file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LocalHead {
    /// Magic and version.
    pub header: FileHeader,
    /// State of the file.
    pub info: LocalInfo,
}
const _: () = assert!(size_of::<LocalHead>() == 20);

/// Header block of a chunk of a local file (`ocfs2_local_disk_chunk`).
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LocalChunk {
    /// Free entries in the entry blocks that the chunk has.
    pub dqc_free: le::U32,
    /// One bit per entry, 1 for used.
    pub dqc_bitmap: [u8],
}

/// Changes that a node has made to the usage of one id (`ocfs2_local_disk_dqblk`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LocalEntry {
    /// User or group id.
    pub dqb_id: le::U64,
    /// Bytes to be added to the space in use.
    pub dqb_spacemod: le::I64,
    /// Inodes to be added to those in use.
    pub dqb_inodemod: le::I64,
}
const _: () = assert!(size_of::<LocalEntry>() == 24);

/// End of every block of a quota file (`ocfs2_disk_dqtrailer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Trailer {
    /// CRC and error-correcting code, with the metaecc feature.
    pub dq_check: BlockCheck,
}
const _: () = assert!(size_of::<Trailer>() == 8);

/// Sizes and places in the quota files of a volume, which follow from its block size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuotaGeometry {
    usable: u32,
}

/// Where an entry of a local file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryPlace {
    /// Block of the file.
    pub block: u64,
    /// Byte in that block.
    pub offset: usize,
}

impl QuotaGeometry {
    /// Block of a global file that holds the root of its tree.
    pub const ROOT_BLOCK: u32 = 1;
    /// Version of the format.
    pub const VERSION: u32 = 0;

    /// The geometry of the quota files of a volume.
    #[must_use]
    pub fn new(geometry: &Geometry) -> QuotaGeometry {
        QuotaGeometry::for_block_size(1 << geometry.block_size_bits)
    }

    /// The geometry of quota files with this block size, which is 512 at least.
    #[must_use]
    pub fn for_block_size(block_size: u32) -> QuotaGeometry {
        QuotaGeometry {
            usable: block_size.max(512) - size_of::<Trailer>() as u32,
        }
    }

    /// Bytes of a block in front of its trailer: where the check field is.
    #[must_use]
    pub fn check_offset(&self) -> usize {
        self.usable as usize
    }

    /// Numbers in a block of a global file's tree.
    #[must_use]
    pub fn fanout(&self) -> u32 {
        self.usable / 4
    }

    /// Levels of a global file's tree, its leaves not counted: as many as 32 bits of id need.
    #[must_use]
    pub fn depth(&self) -> u32 {
        (1..)
            .find(|&depth| u64::from(self.fanout()).pow(depth) > u64::from(u32::MAX))
            .unwrap_or(1)
    }

    /// Which number of a tree block leads to an id; the root is level 0.
    #[must_use]
    pub fn tree_index(&self, level: u32, id: u32) -> usize {
        let below = self.depth().saturating_sub(1).saturating_sub(level);
        let ids_per_number = u64::from(self.fanout()).pow(below);
        (u64::from(id) / ids_per_number % u64::from(self.fanout())) as usize
    }

    /// The numbers in a block of a global file's tree: of blocks one level down, 0 for none.
    #[must_use]
    pub fn tree_numbers<'a>(&self, block: &'a [u8]) -> &'a [le::U32] {
        let whole = self.fanout() as usize * 4;
        block
            .get(..whole)
            .and_then(|bytes| <[le::U32]>::ref_from_bytes(bytes).ok())
            .unwrap_or_default()
    }

    /// Entries in a leaf of a global file.
    #[must_use]
    pub fn entries_per_leaf(&self) -> u16 {
        ((self.usable as usize - size_of::<LeafHeader>()) / size_of::<GlobalEntry>()) as u16
    }

    /// A leaf of a global file: its header and every place for an entry. `None` for less than a block.
    #[must_use]
    pub fn leaf<'a>(&self, block: &'a [u8]) -> Option<(&'a LeafHeader, &'a [GlobalEntry])> {
        let (header, rest) = LeafHeader::ref_from_prefix(block).ok()?;
        let (entries, _) = <[GlobalEntry]>::ref_from_prefix_with_elems(rest, self.entries_per_leaf().into()).ok()?;
        Some((header, entries))
    }

    /// Entries in a block of a local file.
    #[must_use]
    pub fn entries_per_block(&self) -> u32 {
        self.usable / size_of::<LocalEntry>() as u32
    }

    /// Entry blocks that a full chunk of a local file has behind its header block.
    #[must_use]
    pub fn blocks_per_chunk(&self) -> u32 {
        8 * (self.usable - size_of::<le::U32>() as u32) / self.entries_per_block()
    }

    /// Entries in a full chunk of a local file.
    #[must_use]
    pub fn entries_per_chunk(&self) -> u32 {
        self.blocks_per_chunk() * self.entries_per_block()
    }

    /// The header block of a chunk.
    #[must_use]
    pub fn chunk_block(&self, chunk: u32) -> u64 {
        1 + u64::from(chunk) * u64::from(self.blocks_per_chunk() + 1)
    }

    /// Where an entry of a chunk is.
    #[must_use]
    pub fn local_entry(&self, chunk: u32, entry: u32) -> EntryPlace {
        let per_block = self.entries_per_block();
        EntryPlace {
            block: self.chunk_block(chunk) + 1 + u64::from(entry / per_block),
            offset: (entry % per_block) as usize * size_of::<LocalEntry>(),
        }
    }

    /// The header of a chunk, from its block. `None` for less than a block.
    #[must_use]
    pub fn chunk<'a>(&self, block: &'a [u8]) -> Option<&'a LocalChunk> {
        LocalChunk::ref_from_bytes(block.get(..self.check_offset())?).ok()
    }
}

impl FileHeader {
    /// The header of a new file with the given magic.
    #[must_use]
    pub fn new(magic: u32) -> FileHeader {
        FileHeader {
            dqh_magic: magic.into(),
            dqh_version: QuotaGeometry::VERSION.into(),
        }
    }

    fn check(&self, magic: u32) -> Result<(), Corrupt> {
        expect("dqh_magic", self.dqh_magic.get(), magic)?;
        expect("dqh_version", self.dqh_version.get(), QuotaGeometry::VERSION)
    }
}

impl GlobalHead {
    /// The head at the start of block 0, whatever it holds; `None` for too few bytes.
    #[must_use]
    pub fn of_block(block: &[u8]) -> Option<&GlobalHead> {
        GlobalHead::ref_from_prefix(block).ok().map(|(head, _)| head)
    }

    /// Checks the head against the number of blocks that the file's size makes.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, kind: QuotaKind, file_blocks: u64) -> Result<(), Corrupt> {
        self.header.check(kind.global_magic())?;
        let blocks = self.info.dqi_blocks.get();
        limit("dqi_blocks", blocks, file_blocks)?;
        if blocks <= QuotaGeometry::ROOT_BLOCK {
            return fail(Violation::Invalid {
                field: "dqi_blocks",
                found: blocks.into(),
                why: "the tree has no root",
            });
        }
        limit("dqi_free_blk", self.info.dqi_free_blk.get(), u64::from(blocks) - 1)?;
        limit("dqi_free_entry", self.info.dqi_free_entry.get(), u64::from(blocks) - 1)
    }
}

impl LeafHeader {
    /// Checks a leaf's header in a file of `blocks` blocks.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, geometry: &QuotaGeometry, blocks: u32) -> Result<(), Corrupt> {
        limit(
            "dqdh_entries",
            self.dqdh_entries.get().into(),
            geometry.entries_per_leaf().into(),
        )?;
        let last = u64::from(blocks).saturating_sub(1);
        limit("dqdh_next_free", self.dqdh_next_free.get(), last)?;
        limit("dqdh_prev_free", self.dqdh_prev_free.get(), last)
    }
}

impl LocalHead {
    /// The head at the start of block 0, whatever it holds; `None` for too few bytes.
    #[must_use]
    pub fn of_block(block: &[u8]) -> Option<&LocalHead> {
        LocalHead::ref_from_prefix(block).ok().map(|(head, _)| head)
    }

    /// Checks the head against the number of blocks that the file's size makes.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, kind: QuotaKind, geometry: &QuotaGeometry, file_blocks: u64) -> Result<(), Corrupt> {
        self.header.check(kind.local_magic())?;
        let (blocks, chunks) = (self.info.dqi_blocks.get(), self.info.dqi_chunks.get());
        limit("dqi_blocks", blocks, file_blocks)?;
        match chunks.checked_sub(1) {
            Some(last) if geometry.chunk_block(last) >= blocks.into() => fail(Violation::Invalid {
                field: "dqi_chunks",
                found: chunks.into(),
                why: "more than the file holds",
            }),
            _ => Ok(()),
        }
    }

    /// State of the file.
    #[must_use]
    pub fn flags(&self) -> LocalFlags {
        LocalFlags::from_bits_retain(self.info.dqi_flags.get())
    }

    /// Entry blocks that a chunk has; only the last one can have less than a full chunk.
    #[must_use]
    pub fn chunk_entry_blocks(&self, geometry: &QuotaGeometry, chunk: u32) -> u32 {
        let behind = u64::from(self.info.dqi_blocks.get()).saturating_sub(geometry.chunk_block(chunk) + 1);
        (behind as u32).min(geometry.blocks_per_chunk())
    }
}

impl LocalChunk {
    /// The entries that are in use, of the first `entries` of the chunk.
    pub fn used(&self, entries: u32) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.dqc_bitmap).flat_map(move |(byte, &bits)| {
            (0..8)
                .filter(move |bit| bits >> bit & 1 == 1)
                .map(move |bit| byte * 8 + bit)
                .filter(move |&e| e < entries)
        })
    }

    /// Checks that the count of free entries is that of a chunk with `entry_blocks` entry blocks.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self, geometry: &QuotaGeometry, entry_blocks: u32) -> Result<(), Corrupt> {
        let entries = entry_blocks.min(geometry.blocks_per_chunk()) * geometry.entries_per_block();
        let used = self.used(entries).count() as u32;
        expect("dqc_free", self.dqc_free.get(), entries - used)
    }
}

fn fail<T>(violation: Violation) -> Result<T, Corrupt> {
    Err(Corrupt::new(Structure::QuotaBlock, violation))
}

fn expect(field: &'static str, found: u32, expected: u32) -> Result<(), Corrupt> {
    if found == expected {
        return Ok(());
    }
    fail(Violation::Unexpected {
        field,
        found: found.into(),
        expected: expected.into(),
    })
}

fn limit(field: &'static str, found: u32, limit: u64) -> Result<(), Corrupt> {
    if u64::from(found) <= limit {
        return Ok(());
    }
    fail(Violation::TooLarge {
        field,
        found: found.into(),
        limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [u32; 4] = [512, 1024, 2048, 4096];

    fn geometry(block_size: u32) -> QuotaGeometry {
        QuotaGeometry::for_block_size(block_size)
    }

    #[test]
    fn capacities_equal_the_reference_table() {
        assert_eq!(SIZES.map(|size| geometry(size).entries_per_block()), [21, 42, 85, 170]);
        assert_eq!(SIZES.map(|size| geometry(size).entries_per_leaf()), [5, 11, 23, 46]);
        assert_eq!(SIZES.map(|size| geometry(size).fanout()), [126, 254, 510, 1022]);
        assert_eq!(SIZES.map(|size| geometry(size).depth()), [5, 5, 4, 4]);
    }

    #[test]
    fn tree_indexes_spell_the_id() {
        for size in SIZES {
            let geometry = geometry(size);
            for id in [0, 1, 1000, 65534, 0x8000_0001, u32::MAX] {
                let spelt = (0..geometry.depth()).fold(0u64, |value, level| {
                    value * u64::from(geometry.fanout()) + geometry.tree_index(level, id) as u64
                });
                assert_eq!(spelt, id.into());
            }
        }
    }

    #[test]
    fn chunks_follow_one_another_without_gap() {
        for size in SIZES {
            let geometry = geometry(size);
            assert!(geometry.entries_per_chunk() as usize <= 8 * (geometry.check_offset() - 4));
            assert_eq!(geometry.local_entry(0, 0), EntryPlace { block: 2, offset: 0 });
            let last = geometry.local_entry(0, geometry.entries_per_chunk() - 1);
            assert_eq!(last.block + 1, geometry.chunk_block(1));
            assert!(last.offset + size_of::<LocalEntry>() <= geometry.check_offset());
        }
        assert_eq!(geometry(4096).chunk_block(1), 194);
    }

    #[test]
    fn fresh_local_file_is_accepted() {
        let geometry = geometry(4096);
        let mut head = LocalHead {
            header: FileHeader::new(QuotaKind::Group.local_magic()),
            info: LocalInfo {
                dqi_flags: 1.into(),
                dqi_chunks: 1.into(),
                dqi_blocks: 2.into(),
            },
        };
        assert_eq!(head.check(QuotaKind::Group, &geometry, 2), Ok(()));
        assert_eq!(head.flags(), LocalFlags::CLEAN);
        assert_eq!(head.chunk_entry_blocks(&geometry, 0), 0);
        assert!(head.check(QuotaKind::User, &geometry, 2).is_err());
        assert!(head.check(QuotaKind::Group, &geometry, 1).is_err());
        head.info.dqi_chunks.set(2);
        assert!(head.check(QuotaKind::Group, &geometry, 2).is_err());
        head.info.dqi_chunks.set(u32::MAX);
        assert!(head.check(QuotaKind::Group, &geometry, 2).is_err());
        head.info.dqi_blocks.set(1000);
        assert_eq!(
            [0, 1, 5, 6].map(|chunk| head.chunk_entry_blocks(&geometry, chunk)),
            [192, 192, 33, 0]
        );
    }

    #[test]
    fn chunk_counts_its_free_entries() {
        let geometry = geometry(512);
        let mut block = [0; 512];
        block[4] = 0b0000_0101;
        block[6] = 0b0010_0000;
        block[0] = 21 - 2;
        let chunk = geometry.chunk(&block).unwrap();
        assert!(chunk.used(21).eq([0, 2]));
        assert!(chunk.used(42).eq([0, 2, 21]));
        assert_eq!(chunk.check(&geometry, 1), Ok(()));
        assert!(chunk.check(&geometry, 2).is_err());
        assert!(chunk.check(&geometry, 0).is_err());
    }

    #[test]
    fn global_head_points_into_the_file() {
        let head = |blocks: u32, free_blk: u32, free_entry: u32| GlobalHead {
            header: FileHeader::new(QuotaKind::User.global_magic()),
            info: GlobalInfo {
                dqi_bgrace: 604_800.into(),
                dqi_igrace: 604_800.into(),
                dqi_syncms: 10_000.into(),
                dqi_blocks: blocks.into(),
                dqi_free_blk: free_blk.into(),
                dqi_free_entry: free_entry.into(),
            },
        };
        assert_eq!(head(6, 0, 5).check(QuotaKind::User, 6), Ok(()));
        assert!(head(6, 0, 5).check(QuotaKind::Group, 6).is_err());
        for (blocks, free_blk, free_entry) in [(7, 0, 5), (6, 6, 5), (6, 0, 6), (1, 0, 0), (0, 0, 0)] {
            assert!(head(blocks, free_blk, free_entry).check(QuotaKind::User, 6).is_err());
        }
    }

    #[test]
    fn leaf_has_room_for_its_entries_only() {
        let geometry = geometry(1024);
        let mut block = [0; 1024];
        block[8] = 11;
        block[16] = 9;
        let (header, entries) = geometry.leaf(&block).unwrap();
        assert_eq!(header.check(&geometry, 6), Ok(()));
        assert_eq!((entries.len(), entries[0].dqb_id.get()), (11, 9));
        assert!(!entries[0].is_free() && entries[1].is_free());
        block[8] = 12;
        assert!(geometry.leaf(&block).unwrap().0.check(&geometry, 6).is_err());
        assert!(geometry.leaf(&block[..500]).is_none());
    }
}
