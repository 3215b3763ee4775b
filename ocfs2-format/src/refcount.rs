//! Refcount blocks: how many files share a run of clusters.
//!
//! Source: on-disk reference, section 24.

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
    /// `rf_flags`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RefcountFlags: u32 {
        /// A leaf of a tree.
        const LEAF = 0x1;
        /// A root with leaves below it.
        const TREE = 0x2;
        const _ = !0;
    }
}

/// How often a run of clusters is referenced (`ocfs2_refcount_rec`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RefcountRec {
    /// First physical cluster.
    pub r_cpos: le::U64,
    /// Clusters.
    pub r_clusters: le::U32,
    /// Extent records that reference each of them, 1 at least.
    pub r_refcount: le::U32,
}
const _: () = assert!(size_of::<RefcountRec>() == 16);

/// Refcount records, sorted by cluster (`ocfs2_refcount_list`), with as many as the block has bytes for.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RefcountList {
    /// Records that there is room for.
    pub rl_count: le::U16,
    /// Records in use.
    pub rl_used: le::U16,
    /// Reserved.
    pub rl_reserved2: le::U32,
    /// Reserved.
    pub rl_reserved1: le::U64,
    /// The records.
    pub rl_recs: [RefcountRec],
}

impl RefcountList {
    const HEADER: usize = 16;

    /// The list at the start of `bytes`, with as many whole records as fit. `None` for fewer than 16 bytes.
    pub fn view(bytes: &[u8]) -> Option<&Self> {
        let records = bytes.len().checked_sub(Self::HEADER)? / size_of::<RefcountRec>();
        Self::ref_from_bytes(bytes.get(..Self::HEADER + records * size_of::<RefcountRec>())?).ok()
    }

    /// As [`view`](Self::view), to be changed.
    pub fn view_mut(bytes: &mut [u8]) -> Option<&mut Self> {
        let records = bytes.len().checked_sub(Self::HEADER)? / size_of::<RefcountRec>();
        Self::mut_from_bytes(bytes.get_mut(..Self::HEADER + records * size_of::<RefcountRec>())?).ok()
    }

    /// The records in use: never more than are there, whatever the header claims.
    pub fn records(&self) -> &[RefcountRec] {
        let used = usize::from(self.rl_used.get()).min(self.rl_recs.len());
        &self.rl_recs[..used]
    }
}

/// Root or leaf of a refcount tree (`ocfs2_refcount_block`); the view spans the whole block.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RefcountBlock {
    /// `REFCNT1`.
    pub rf_signature: Signature,
    /// Slot of the extent_alloc that owns the block.
    pub rf_suballoc_slot: le::U16,
    /// Bit of the block in its group.
    pub rf_suballoc_bit: le::U16,
    /// Generation of the file system.
    pub rf_fs_generation: le::U32,
    /// This block's number.
    pub rf_blkno: le::U64,
    /// Root block of a leaf; 0 in a root.
    pub rf_parent: le::U64,
    /// CRC and error-correcting code, with the metaecc feature.
    pub rf_check: BlockCheck,
    /// Last leaf extent block of the root's tree, 0 at depth 0.
    pub rf_last_eb_blk: le::U64,
    /// Root: inodes attached to the tree.
    pub rf_count: le::U32,
    /// [`RefcountFlags`].
    pub rf_flags: le::U32,
    /// Root with TREE: leaf blocks.
    pub rf_clusters: le::U32,
    /// Leaf: low 32 bits of the first physical cluster that it covers.
    pub rf_cpos: le::U32,
    /// Generation of the tree, in the byte order of the machine that wrote it.
    pub rf_generation: le::U32,
    /// Reserved.
    pub rf_reserved0: le::U32,
    /// Block of the owning group, or 0: then the group is `rf_blkno - rf_suballoc_bit`.
    pub rf_suballoc_loc: le::U64,
    /// Reserved.
    pub rf_reserved1: [le::U64; 6],
    /// Records ([`records`](Self::records)) or, in a root with TREE, leaves ([`list`](Self::list)): 16 bytes of it.
    pub rf_body: [u8; 16],
    /// The rest of the block.
    pub rf_tail: [u8],
}

impl RefcountBlock {
    /// Offset of the check field in the block.
    pub const CHECK_OFFSET: usize = 0x20;
    const BODY_OFFSET: usize = 0x80;

    /// `rf_flags`.
    pub fn flags(&self) -> RefcountFlags {
        RefcountFlags::from_bits_retain(self.rf_flags.get())
    }

    /// The leaves of a root with TREE, whatever the flags say.
    pub fn list(&self) -> &ExtentList {
        ExtentList::view(&self.as_bytes()[Self::BODY_OFFSET..]).expect("the view includes the list's header")
    }

    /// The leaves of a root with TREE, to be changed.
    pub fn list_mut(&mut self) -> &mut ExtentList {
        ExtentList::view_mut(&mut self.as_mut_bytes()[Self::BODY_OFFSET..])
            .expect("the view includes the list's header")
    }

    /// The records, to be changed.
    pub fn records_mut(&mut self) -> &mut RefcountList {
        RefcountList::view_mut(&mut self.as_mut_bytes()[Self::BODY_OFFSET..])
            .expect("the view includes the list's header")
    }

    /// The records, whatever the flags say.
    pub fn records(&self) -> &RefcountList {
        RefcountList::view(&self.as_bytes()[Self::BODY_OFFSET..]).expect("the view includes the list's header")
    }

    /// Block of the group that owns the block's bit.
    pub fn suballoc_group(&self) -> Option<BlockNo> {
        suballoc_group(
            self.rf_suballoc_loc.get(),
            self.rf_blkno.get(),
            self.rf_suballoc_bit.get(),
        )
    }

    /// Checks everything but the check field, order and range of the records included.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, at: BlockNo, geometry: &Geometry) -> Result<(), Corrupt> {
        let structure = Structure::RefcountBlock;
        let fail = |violation| Err(Corrupt::new(structure, violation).at_block(at));
        self.rf_signature
            .require(Signature::REFCOUNT_BLOCK, structure)
            .map_err(|c| c.at_block(at))?;
        check_identity(
            structure,
            at,
            self.rf_blkno.get(),
            self.rf_fs_generation.get(),
            geometry,
        )?;
        let capacity = geometry.recs_per_refcount_block();
        if self.flags().contains(RefcountFlags::TREE) {
            if self.flags().contains(RefcountFlags::LEAF) {
                let found = self.rf_flags.get().into();
                return fail(Violation::Invalid {
                    field: "rf_flags",
                    found,
                    why: "a block is a root or a leaf",
                });
            }
            return self
                .list()
                .check_header(capacity, None)
                .map_err(|corrupt| Corrupt { structure, ..corrupt }.at_block(at));
        }
        let list = self.records();
        let (count, used) = (list.rl_count.get(), list.rl_used.get());
        if count != capacity {
            return fail(Violation::Unexpected {
                field: "rl_count",
                found: count.into(),
                expected: capacity.into(),
            });
        }
        if used > count {
            return fail(Violation::TooLarge {
                field: "rl_used",
                found: used.into(),
                limit: count.into(),
            });
        }
        let mut previous = 0u64;
        for (index, rec) in list.records().iter().enumerate() {
            let start = rec.r_cpos.get();
            if start < previous {
                return fail(Violation::Order {
                    field: "r_cpos",
                    index: index as u32,
                    found: start,
                    previous,
                });
            }
            let end = start.saturating_add(rec.r_clusters.get().into());
            if end > u64::from(geometry.clusters) {
                return fail(Violation::TooLarge {
                    field: "r_cpos",
                    found: end,
                    limit: geometry.clusters.into(),
                });
            }
            if rec.r_refcount.get() == 0 || rec.r_clusters.get() == 0 {
                return fail(Violation::Rule("a refcount record without clusters or references"));
            }
            previous = end;
        }
        Ok(())
    }
}
