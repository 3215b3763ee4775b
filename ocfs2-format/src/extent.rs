//! Extent records, extent lists and extent blocks.
//!
//! Source: on-disk reference, section 10.

use bitflags::bitflags;
use zerocopy::little_endian as le;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::blockcheck::BlockCheck;
use crate::error::{Corrupt, Structure, Violation};
use crate::geometry::Geometry;
use crate::prim::{BlockNo, Generation};
use crate::signature::Signature;

bitflags! {
    /// `e_flags` of a leaf record.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ExtentFlags: u8 {
        /// Allocated, and reads as zeros.
        const UNWRITTEN = 0x01;
        /// Shared with other files through the refcount tree.
        const REFCOUNTED = 0x02;
        const _ = !0;
    }
}

/// One record of an extent list (`ocfs2_extent_rec`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtentRec {
    /// First logical cluster, or first hash, that the record covers.
    pub e_cpos: le::U32,
    /// Leaf: clusters of the extent, low 16 bits first. Interior: the low half of `e_int_clusters`.
    pub e_leaf_clusters: le::U16,
    /// Leaf: reserved. Interior: part of `e_int_clusters`.
    pub e_reserved1: u8,
    /// Leaf: [`ExtentFlags`]. Interior: the high byte of `e_int_clusters`.
    pub e_flags: u8,
    /// Leaf: first physical block. Interior: block of the child extent block.
    pub e_blkno: le::U64,
}
const _: () = assert!(size_of::<ExtentRec>() == 16);

impl ExtentRec {
    /// A leaf record.
    pub fn leaf(cpos: u32, clusters: u16, blkno: BlockNo, flags: ExtentFlags) -> Self {
        ExtentRec {
            e_cpos: cpos.into(),
            e_leaf_clusters: clusters.into(),
            e_reserved1: 0,
            e_flags: flags.bits(),
            e_blkno: blkno.0.into(),
        }
    }

    /// An interior record: `child` covers `clusters` logical clusters from `cpos`.
    pub fn interior(cpos: u32, clusters: u32, child: BlockNo) -> Self {
        let mut rec = Self::leaf(cpos, 0, child, ExtentFlags::empty());
        rec.set_int_clusters(clusters);
        rec
    }

    /// Logical clusters that an interior record covers (`e_int_clusters`).
    pub fn int_clusters(&self) -> u32 {
        let [a, b] = self.e_leaf_clusters.to_bytes();
        u32::from_le_bytes([a, b, self.e_reserved1, self.e_flags])
    }

    /// Sets `e_int_clusters`.
    pub fn set_int_clusters(&mut self, clusters: u32) {
        let [a, b, c, d] = clusters.to_le_bytes();
        self.e_leaf_clusters = le::U16::from_bytes([a, b]);
        self.e_reserved1 = c;
        self.e_flags = d;
    }

    /// Clusters that the record covers, in a list of the given depth.
    pub fn clusters(&self, tree_depth: u16) -> u32 {
        if tree_depth == 0 {
            u32::from(self.e_leaf_clusters.get())
        } else {
            self.int_clusters()
        }
    }

    /// Flags of a leaf record.
    pub fn flags(&self) -> ExtentFlags {
        ExtentFlags::from_bits_retain(self.e_flags)
    }

    /// First physical block, or the child's block.
    pub fn blkno(&self) -> BlockNo {
        BlockNo(self.e_blkno.get())
    }
}

/// The header of an extent list, for structures that hold one at a fixed place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtentListHeader {
    /// Levels below this list; 0 means its records are extents.
    pub l_tree_depth: le::U16,
    /// Records that the list has room for.
    pub l_count: le::U16,
    /// Records in use.
    pub l_next_free_rec: le::U16,
    /// Reserved.
    pub l_reserved1: le::U16,
    /// Reserved.
    pub l_reserved2: le::U64,
}
const _: () = assert!(size_of::<ExtentListHeader>() == 16);

/// An extent list and the records behind it (`ocfs2_extent_list`).
///
/// The view spans all the bytes that the enclosing structure has for records, which may be more or fewer than
/// `l_count` claims.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtentList {
    /// Levels below this list; 0 means its records are extents.
    pub l_tree_depth: le::U16,
    /// Records that the list has room for.
    pub l_count: le::U16,
    /// Records in use.
    pub l_next_free_rec: le::U16,
    /// Reserved.
    pub l_reserved1: le::U16,
    /// Reserved.
    pub l_reserved2: le::U64,
    /// The records.
    pub l_recs: [ExtentRec],
}

impl ExtentList {
    /// The list at the start of `bytes`, with as many whole records as fit. `None` for fewer than 16 bytes.
    pub fn view(bytes: &[u8]) -> Option<&Self> {
        let whole = list_bytes(bytes.len())?;
        Self::ref_from_bytes(bytes.get(..whole)?).ok()
    }

    /// As [`view`](Self::view), to be changed.
    pub fn view_mut(bytes: &mut [u8]) -> Option<&mut Self> {
        let whole = list_bytes(bytes.len())?;
        Self::mut_from_bytes(bytes.get_mut(..whole)?).ok()
    }

    /// The records in use: never more than are there, whatever the header claims.
    pub fn records(&self) -> &[ExtentRec] {
        let used = usize::from(self.l_next_free_rec.get()).min(self.l_recs.len());
        &self.l_recs[..used]
    }

    /// Makes this an empty list with room for `count` records.
    pub fn init(&mut self, count: u16) {
        self.as_mut_bytes().fill(0);
        self.l_count.set(count);
    }

    /// Appends a record; the caller has made sure of the room.
    ///
    /// # Panics
    /// When the list is full.
    pub fn push(&mut self, rec: ExtentRec) {
        let next = self.l_next_free_rec.get();
        assert!(next < self.l_count.get(), "extent list of {next} records is full");
        self.l_recs[usize::from(next)] = rec;
        self.l_next_free_rec.set(next + 1);
    }

    /// Checks the header against the room it has and the depth it must have.
    ///
    /// `capacity` is the number of records that the enclosing structure holds at most. `depth` is the only legal depth
    /// in an extent block; `None` in a tree root.
    ///
    /// # Errors
    /// The first rule that the header breaks.
    pub fn check_header(&self, capacity: u16, depth: Option<u16>) -> Result<(), Corrupt> {
        let fail = |violation| Err(Corrupt::new(Structure::ExtentList, violation));
        let (count, used) = (self.l_count.get(), self.l_next_free_rec.get());
        if count == 0 {
            return fail(Violation::Invalid {
                field: "l_count",
                found: 0,
                why: "a list has room for one record at least",
            });
        }
        let room = capacity.min(u16::try_from(self.l_recs.len()).unwrap_or(u16::MAX));
        if count > room {
            return fail(Violation::TooLarge {
                field: "l_count",
                found: count.into(),
                limit: room.into(),
            });
        }
        if used > count {
            return fail(Violation::TooLarge {
                field: "l_next_free_rec",
                found: used.into(),
                limit: count.into(),
            });
        }
        let found = self.l_tree_depth.get();
        match depth {
            Some(expected) if found != expected => fail(Violation::Unexpected {
                field: "l_tree_depth",
                found: found.into(),
                expected: expected.into(),
            }),
            None if found > Geometry::MAX_TREE_DEPTH => fail(Violation::TooLarge {
                field: "l_tree_depth",
                found: found.into(),
                limit: Geometry::MAX_TREE_DEPTH.into(),
            }),
            _ if found > 0 && used == 0 => fail(Violation::Invalid {
                field: "l_next_free_rec",
                found: 0,
                why: "an interior list is never empty",
            }),
            _ => Ok(()),
        }
    }
}

fn list_bytes(len: usize) -> Option<usize> {
    let header = size_of::<ExtentListHeader>();
    let records = len.checked_sub(header)? / size_of::<ExtentRec>();
    Some(header + records * size_of::<ExtentRec>())
}

/// A node of an extent tree that is not its root (`ocfs2_extent_block`); the view spans the whole block.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtentBlock {
    /// `EXBLK01`.
    pub h_signature: Signature,
    /// CRC and error-correcting code, with the metaecc feature.
    pub h_check: BlockCheck,
    /// Slot of the extent_alloc that owns the block.
    pub h_suballoc_slot: le::U16,
    /// Bit of the block in its group.
    pub h_suballoc_bit: le::U16,
    /// Generation of the file system.
    pub h_fs_generation: le::U32,
    /// This block's number.
    pub h_blkno: le::U64,
    /// Block of the owning group, or 0: then the group is `h_blkno - h_suballoc_bit`.
    pub h_suballoc_loc: le::U64,
    /// Next leaf to the right; 0 in the rightmost leaf and in interior blocks.
    pub h_next_leaf_blk: le::U64,
    /// Header of the list; see [`list`](Self::list).
    pub h_list: ExtentListHeader,
    /// The bytes behind the header.
    pub h_recs: [u8],
}

impl ExtentBlock {
    /// Offset of the check field in the block.
    pub const CHECK_OFFSET: usize = 8;
    const LIST_OFFSET: usize = 48;

    /// The list of the block.
    pub fn list(&self) -> &ExtentList {
        ExtentList::view(&self.as_bytes()[Self::LIST_OFFSET..]).expect("the view includes the list's header")
    }

    /// The list of the block, to be changed.
    pub fn list_mut(&mut self) -> &mut ExtentList {
        ExtentList::view_mut(&mut self.as_mut_bytes()[Self::LIST_OFFSET..])
            .expect("the view includes the list's header")
    }

    /// Checks everything but the check field and the records. `depth` is the depth its parent gives it.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, at: BlockNo, depth: Option<u16>, geometry: &Geometry) -> Result<(), Corrupt> {
        let structure = Structure::ExtentBlock;
        self.h_signature
            .require(Signature::EXTENT_BLOCK, structure)
            .map_err(|c| c.at_block(at))?;
        check_identity(structure, at, self.h_blkno.get(), self.h_fs_generation.get(), geometry)?;
        self.list()
            .check_header(geometry.extents_per_block(), depth)
            .map_err(|corrupt| Corrupt { structure, ..corrupt }.at_block(at))
    }

    /// Generation of the file system.
    pub fn generation(&self) -> Generation {
        Generation(self.h_fs_generation.get())
    }
}

/// The rule that every metadata block shares: it names its own place and its file system.
pub(crate) fn check_identity(
    structure: Structure,
    at: BlockNo,
    blkno: u64,
    generation: u32,
    geometry: &Geometry,
) -> Result<(), Corrupt> {
    let fail = |violation| Err(Corrupt::new(structure, violation).at_block(at));
    if blkno != at.0 {
        return fail(Violation::SelfBlock { found: blkno });
    }
    if generation != geometry.generation.0 {
        return fail(Violation::Generation {
            found: generation,
            expected: geometry.generation.0,
        });
    }
    Ok(())
}
