//! Directory indexes: root, leaves and their entries.
//!
//! Source: on-disk reference, section 18.

use bitflags::bitflags;
use zerocopy::little_endian as le;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::blockcheck::BlockCheck;
use crate::dinode::suballoc_group;
use crate::error::{Corrupt, Structure, Violation};
use crate::extent::{ExtentList, check_identity};
use crate::geometry::Geometry;
use crate::prim::BlockNo;
use crate::signature::Signature;

bitflags! {
    /// `dr_flags`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct DxFlags: u8 {
        /// The entries are in the root; there are no leaves.
        const INLINE = 0x01;
        const _ = !0;
    }
}

/// One index entry (`ocfs2_dx_entry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DxEntry {
    /// Major hash of the name.
    pub dx_major_hash: le::U32,
    /// Minor hash of the name.
    pub dx_minor_hash: le::U32,
    /// Physical block of the directory that holds the entry.
    pub dx_dirent_blk: le::U64,
}
const _: () = assert!(size_of::<DxEntry>() == 16);

/// Index entries, unsorted (`ocfs2_dx_entry_list`), with as many as the block has bytes for.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DxEntryList {
    /// Reserved.
    pub de_reserved: le::U32,
    /// Entries that there is room for.
    pub de_count: le::U16,
    /// Entries in use.
    pub de_num_used: le::U16,
    /// The entries.
    pub de_entries: [DxEntry],
}

impl DxEntryList {
    const HEADER: usize = 8;

    /// The list at the start of `bytes`, with as many whole entries as fit. `None` for fewer than 8 bytes.
    pub fn view(bytes: &[u8]) -> Option<&Self> {
        let entries = bytes.len().checked_sub(Self::HEADER)? / size_of::<DxEntry>();
        Self::ref_from_bytes(bytes.get(..Self::HEADER + entries * size_of::<DxEntry>())?).ok()
    }

    /// As [`view`](Self::view), to be changed.
    pub fn view_mut(bytes: &mut [u8]) -> Option<&mut Self> {
        let entries = bytes.len().checked_sub(Self::HEADER)? / size_of::<DxEntry>();
        Self::mut_from_bytes(bytes.get_mut(..Self::HEADER + entries * size_of::<DxEntry>())?).ok()
    }

    /// The entries in use: never more than are there, whatever the header claims.
    pub fn entries(&self) -> &[DxEntry] {
        let used = usize::from(self.de_num_used.get()).min(self.de_entries.len());
        &self.de_entries[..used]
    }

    fn check(&self, structure: Structure, capacity: u16) -> Result<(), Corrupt> {
        let fail = |violation| Err(Corrupt::new(structure, violation));
        let (count, used) = (self.de_count.get(), self.de_num_used.get());
        if count != capacity {
            return fail(Violation::Unexpected {
                field: "de_count",
                found: count.into(),
                expected: capacity.into(),
            });
        }
        if used > count {
            return fail(Violation::TooLarge {
                field: "de_num_used",
                found: used.into(),
                limit: count.into(),
            });
        }
        Ok(())
    }
}

/// Root of a directory index (`ocfs2_dx_root_block`); the view spans the whole block.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DxRoot {
    /// `DXDIR01`.
    pub dr_signature: Signature,
    /// CRC and error-correcting code, with the metaecc feature.
    pub dr_check: BlockCheck,
    /// Slot of the extent_alloc that owns the block.
    pub dr_suballoc_slot: le::U16,
    /// Bit of the block in its group.
    pub dr_suballoc_bit: le::U16,
    /// Generation of the file system.
    pub dr_fs_generation: le::U32,
    /// This block's number.
    pub dr_blkno: le::U64,
    /// Block of the rightmost leaf of the extent tree, 0 at depth 0.
    pub dr_last_eb_blk: le::U64,
    /// Clusters of index leaves.
    pub dr_clusters: le::U32,
    /// [`DxFlags`].
    pub dr_flags: u8,
    /// Reserved.
    pub dr_reserved0: u8,
    /// Reserved.
    pub dr_reserved1: le::U16,
    /// The directory.
    pub dr_dir_blkno: le::U64,
    /// Entries in the index, `.` and `..` included.
    pub dr_num_entries: le::U32,
    /// Reserved.
    pub dr_reserved2: le::U32,
    /// First directory block with a hole, 0 for none.
    pub dr_free_blk: le::U64,
    /// Block of the owning group, or 0: then the group is `dr_blkno - dr_suballoc_bit`.
    pub dr_suballoc_loc: le::U64,
    /// Reserved.
    pub dr_reserved3: [le::U64; 14],
    /// Entries ([`entries`](Self::entries)) or extents of leaves ([`list`](Self::list)), 16 bytes of it.
    pub dr_body: [u8; 16],
    /// The rest of the block.
    pub dr_tail: [u8],
}

impl DxRoot {
    /// Offset of the check field in the block.
    pub const CHECK_OFFSET: usize = 8;
    const BODY_OFFSET: usize = 0xC0;

    /// `dr_flags`.
    pub fn flags(&self) -> DxFlags {
        DxFlags::from_bits_retain(self.dr_flags)
    }

    /// The extents of the leaves, whatever the flags say.
    pub fn list(&self) -> &ExtentList {
        ExtentList::view(&self.as_bytes()[Self::BODY_OFFSET..]).expect("the view includes the list's header")
    }

    /// The extents of the leaves, to be changed.
    pub fn list_mut(&mut self) -> &mut ExtentList {
        ExtentList::view_mut(&mut self.as_mut_bytes()[Self::BODY_OFFSET..])
            .expect("the view includes the list's header")
    }

    /// The entries of an inline index, whatever the flags say.
    pub fn entries(&self) -> &DxEntryList {
        DxEntryList::view(&self.as_bytes()[Self::BODY_OFFSET..]).expect("the view includes the list's header")
    }

    /// The entries of an inline index, to be changed.
    pub fn entries_mut(&mut self) -> &mut DxEntryList {
        DxEntryList::view_mut(&mut self.as_mut_bytes()[Self::BODY_OFFSET..])
            .expect("the view includes the list's header")
    }

    /// Block of the group that owns the block's bit.
    pub fn suballoc_group(&self) -> Option<BlockNo> {
        suballoc_group(
            self.dr_suballoc_loc.get(),
            self.dr_blkno.get(),
            self.dr_suballoc_bit.get(),
        )
    }

    /// Checks everything but the check field and the records.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, at: BlockNo, geometry: &Geometry) -> Result<(), Corrupt> {
        let structure = Structure::DxRoot;
        self.dr_signature
            .require(Signature::DX_ROOT, structure)
            .map_err(|c| c.at_block(at))?;
        check_identity(
            structure,
            at,
            self.dr_blkno.get(),
            self.dr_fs_generation.get(),
            geometry,
        )?;
        let body = if self.flags().contains(DxFlags::INLINE) {
            self.entries().check(structure, geometry.dx_entries_per_root())
        } else {
            let (count, capacity) = (self.list().l_count.get(), geometry.extents_per_dx_root());
            if count != capacity {
                let (found, expected) = (count.into(), capacity.into());
                Err(Corrupt::new(
                    structure,
                    Violation::Unexpected {
                        field: "l_count",
                        found,
                        expected,
                    },
                ))
            } else {
                self.list().check_header(capacity, None)
            }
        };
        body.map_err(|corrupt| Corrupt { structure, ..corrupt }.at_block(at))
    }
}

/// Leaf of a directory index (`ocfs2_dx_leaf`); the view spans the whole block.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DxLeaf {
    /// `DXLEAF1`.
    pub dl_signature: Signature,
    /// CRC and error-correcting code, with the metaecc feature.
    pub dl_check: BlockCheck,
    /// This block's number.
    pub dl_blkno: le::U64,
    /// Generation of the file system.
    pub dl_fs_generation: le::U32,
    /// Reserved.
    pub dl_reserved0: le::U32,
    /// Reserved.
    pub dl_reserved1: le::U64,
    /// Header of the entry list; see [`entries`](Self::entries).
    pub dl_list: [u8; 8],
    /// The entries' bytes.
    pub dl_tail: [u8],
}

impl DxLeaf {
    /// Offset of the check field in the block.
    pub const CHECK_OFFSET: usize = 8;
    const LIST_OFFSET: usize = 0x28;

    /// The entries of the leaf.
    pub fn entries(&self) -> &DxEntryList {
        DxEntryList::view(&self.as_bytes()[Self::LIST_OFFSET..]).expect("the view includes the list's header")
    }

    /// The entries of the leaf, to be changed.
    pub fn entries_mut(&mut self) -> &mut DxEntryList {
        DxEntryList::view_mut(&mut self.as_mut_bytes()[Self::LIST_OFFSET..])
            .expect("the view includes the list's header")
    }

    /// Checks everything but the check field.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, at: BlockNo, geometry: &Geometry) -> Result<(), Corrupt> {
        let structure = Structure::DxLeaf;
        self.dl_signature
            .require(Signature::DX_LEAF, structure)
            .map_err(|c| c.at_block(at))?;
        check_identity(
            structure,
            at,
            self.dl_blkno.get(),
            self.dl_fs_generation.get(),
            geometry,
        )?;
        self.entries()
            .check(structure, geometry.dx_entries_per_leaf())
            .map_err(|corrupt| corrupt.at_block(at))
    }
}
