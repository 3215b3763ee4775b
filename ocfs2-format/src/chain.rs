//! Chain allocators: the chain list of an allocator's dinode and its group descriptors.
//!
//! Source: on-disk reference, sections 11 and 12.

use zerocopy::little_endian as le;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::blockcheck::BlockCheck;
use crate::error::{Corrupt, Structure, Violation};
use crate::extent::{ExtentList, ExtentListHeader, check_identity};
use crate::geometry::Geometry;
use crate::prim::{BlockNo, InodeNo};
use crate::signature::Signature;

/// One chain of groups (`ocfs2_chain_rec`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ChainRec {
    /// Clear bits in the groups of the chain.
    pub c_free: le::U32,
    /// Bits in the groups of the chain.
    pub c_total: le::U32,
    /// Block of the first group's descriptor.
    pub c_blkno: le::U64,
}
const _: () = assert!(size_of::<ChainRec>() == 16);

/// The chains of an allocator (`ocfs2_chain_list`), with as many records as the dinode has bytes for.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ChainList {
    /// Clusters per group.
    pub cl_cpg: le::U16,
    /// Bits per cluster.
    pub cl_bpc: le::U16,
    /// Chains that the list has room for.
    pub cl_count: le::U16,
    /// Chains in use.
    pub cl_next_free_rec: le::U16,
    /// Reserved.
    pub cl_reserved1: le::U64,
    /// The chains.
    pub cl_recs: [ChainRec],
}

impl ChainList {
    const HEADER: usize = 16;

    /// The list at the start of `bytes`, with as many whole records as fit. `None` for fewer than 16 bytes.
    pub fn view(bytes: &[u8]) -> Option<&Self> {
        let records = bytes.len().checked_sub(Self::HEADER)? / size_of::<ChainRec>();
        Self::ref_from_bytes(bytes.get(..Self::HEADER + records * size_of::<ChainRec>())?).ok()
    }

    /// As [`view`](Self::view), to be changed.
    pub fn view_mut(bytes: &mut [u8]) -> Option<&mut Self> {
        let records = bytes.len().checked_sub(Self::HEADER)? / size_of::<ChainRec>();
        Self::mut_from_bytes(bytes.get_mut(..Self::HEADER + records * size_of::<ChainRec>())?).ok()
    }

    /// The chains in use: never more than are there, whatever the header claims.
    pub fn chains(&self) -> &[ChainRec] {
        let used = usize::from(self.cl_next_free_rec.get()).min(self.cl_recs.len());
        &self.cl_recs[..used]
    }

    /// Checks the header.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, geometry: &Geometry) -> Result<(), Corrupt> {
        let fail = |violation| Err(Corrupt::new(Structure::ChainList, violation));
        let expected = geometry.chains_per_dinode();
        let count = self.cl_count.get();
        if count != expected {
            return fail(Violation::Unexpected {
                field: "cl_count",
                found: count.into(),
                expected: expected.into(),
            });
        }
        let used = self.cl_next_free_rec.get();
        if used > count {
            return fail(Violation::TooLarge {
                field: "cl_next_free_rec",
                found: used.into(),
                limit: count.into(),
            });
        }
        for (field, value) in [("cl_cpg", self.cl_cpg.get()), ("cl_bpc", self.cl_bpc.get())] {
            if value == 0 {
                return fail(Violation::Invalid {
                    field,
                    found: 0,
                    why: "a group has clusters and a cluster has bits",
                });
            }
        }
        Ok(())
    }
}

/// A group descriptor (`ocfs2_group_desc`); the view spans the whole block.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GroupDesc {
    /// `GROUP01`.
    pub bg_signature: Signature,
    /// Bytes of bitmap in this descriptor.
    pub bg_size: le::U16,
    /// Bits in use of that bitmap.
    pub bg_bits: le::U16,
    /// Clear bits among them.
    pub bg_free_bits_count: le::U16,
    /// Index of the chain that the group is in.
    pub bg_chain: le::U16,
    /// Generation of the file system.
    pub bg_generation: le::U32,
    /// Reserved.
    pub bg_reserved1: le::U32,
    /// Next group of the chain, 0 at its end.
    pub bg_next_group: le::U64,
    /// The allocator's inode.
    pub bg_parent_dinode: le::U64,
    /// This block's number.
    pub bg_blkno: le::U64,
    /// CRC and error-correcting code, with the metaecc feature.
    pub bg_check: BlockCheck,
    /// Reserved.
    pub bg_reserved2: le::U64,
    /// The first 256 bytes of bitmap, all there are with the discontig-bg feature.
    pub bg_bitmap_filler: [u8; 256],
    /// Header of the list of the group's extents, with the discontig-bg feature; bitmap otherwise.
    pub bg_list: ExtentListHeader,
    /// The rest of the block: records of that list, or bitmap.
    pub bg_tail: [u8],
}

impl GroupDesc {
    /// Offset of the check field in the block.
    pub const CHECK_OFFSET: usize = 0x30;
    /// Offset of the bitmap in the block.
    pub const BITMAP_OFFSET: usize = 0x40;
    const LIST_OFFSET: usize = 0x140;

    /// The bitmap: `bg_size` bytes, or as many as the block has. Bit n is bit n % 8 of byte n / 8; 1 means in use.
    pub fn bitmap(&self) -> &[u8] {
        let room = &self.as_bytes()[Self::BITMAP_OFFSET..];
        &room[..usize::from(self.bg_size.get()).min(room.len())]
    }

    /// The bitmap, to be changed.
    pub fn bitmap_mut(&mut self) -> &mut [u8] {
        let size = usize::from(self.bg_size.get());
        let room = &mut self.as_mut_bytes()[Self::BITMAP_OFFSET..];
        let size = size.min(room.len());
        &mut room[..size]
    }

    /// The extents of a discontiguous group; `None` for a contiguous one.
    pub fn extents(&self) -> Option<&ExtentList> {
        if Self::BITMAP_OFFSET + usize::from(self.bg_size.get()) != Self::LIST_OFFSET {
            return None;
        }
        let list = ExtentList::view(&self.as_bytes()[Self::LIST_OFFSET..])?;
        (list.l_next_free_rec.get() != 0).then_some(list)
    }

    /// The list area of the descriptor, to be changed.
    pub fn list_mut(&mut self) -> &mut ExtentList {
        ExtentList::view_mut(&mut self.as_mut_bytes()[Self::LIST_OFFSET..])
            .expect("the view includes the list's header")
    }

    /// The block of bit `bit` of a suballocator group, `None` when no extent of the group covers it.
    pub fn block_of_bit(&self, bit: u16, bits_per_cluster: u16) -> Option<BlockNo> {
        if bit >= self.bg_bits.get() {
            return None;
        }
        let Some(list) = self.extents() else {
            return self.bg_blkno.get().checked_add(bit.into()).map(BlockNo);
        };
        let per_cluster = u32::from(bits_per_cluster);
        let cluster = u32::from(bit).checked_div(per_cluster)?;
        let rec = list.records().iter().find(|rec| {
            let offset = cluster.checked_sub(rec.e_cpos.get());
            offset.is_some_and(|offset| offset < u32::from(rec.e_leaf_clusters.get()))
        })?;
        let first_bit = u64::from(rec.e_cpos.get()).checked_mul(per_cluster.into())?;
        rec.e_blkno
            .get()
            .checked_add(u64::from(bit).checked_sub(first_bit)?)
            .map(BlockNo)
    }

    /// Checks everything but the check field, and that the free count agrees with the bitmap.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, at: BlockNo, geometry: &Geometry, parent: &GroupParent) -> Result<(), Corrupt> {
        let structure = Structure::GroupDesc;
        let fail = |violation| Err(Corrupt::new(structure, violation).at_block(at));
        self.bg_signature
            .require(Signature::GROUP_DESC, structure)
            .map_err(|c| c.at_block(at))?;
        check_identity(structure, at, self.bg_blkno.get(), self.bg_generation.get(), geometry)?;
        if self.bg_parent_dinode.get() != parent.inode.0 {
            return fail(Violation::Unexpected {
                field: "bg_parent_dinode",
                found: self.bg_parent_dinode.get(),
                expected: parent.inode.0,
            });
        }
        let size_limit = geometry.group_bitmap_bytes();
        let size = self.bg_size.get();
        if size > size_limit {
            return fail(Violation::TooLarge {
                field: "bg_size",
                found: size.into(),
                limit: size_limit.into(),
            });
        }
        let bits_limit =
            (u64::from(size) * 8).min(u64::from(parent.clusters_per_group) * u64::from(parent.bits_per_cluster));
        let bits = self.bg_bits.get();
        if u64::from(bits) > bits_limit {
            return fail(Violation::TooLarge {
                field: "bg_bits",
                found: bits.into(),
                limit: bits_limit,
            });
        }
        let free = self.bg_free_bits_count.get();
        if free > bits {
            return fail(Violation::TooLarge {
                field: "bg_free_bits_count",
                found: free.into(),
                limit: bits.into(),
            });
        }
        if self.bg_chain.get() >= parent.chains {
            return fail(Violation::TooLarge {
                field: "bg_chain",
                found: self.bg_chain.get().into(),
                limit: parent.chains.saturating_sub(1).into(),
            });
        }
        let next = self.bg_next_group.get();
        if next != 0 && !geometry.contains(BlockNo(next)) {
            return fail(Violation::OutsideVolume {
                field: "bg_next_group",
                found: next,
                blocks: geometry.blocks(),
            });
        }
        if let Some(list) = self.extents() {
            list.check_header(geometry.extents_per_group(), Some(0))
                .map_err(|corrupt| Corrupt { structure, ..corrupt }.at_block(at))?;
        }
        let used = count_ones(self.bitmap(), bits);
        let computed = u64::from(bits) - u64::from(used);
        if computed != u64::from(free) {
            return fail(Violation::Unexpected {
                field: "bg_free_bits_count",
                found: free.into(),
                expected: computed,
            });
        }
        Ok(())
    }
}

/// What a group must agree with: its allocator.
#[derive(Clone, Copy, Debug)]
pub struct GroupParent {
    /// The allocator's inode.
    pub inode: InodeNo,
    /// `cl_cpg`.
    pub clusters_per_group: u16,
    /// `cl_bpc`.
    pub bits_per_cluster: u16,
    /// `cl_next_free_rec`.
    pub chains: u16,
}

/// Set bits among the first `bits` of a bitmap; bits beyond its end count as clear.
pub fn count_ones(bitmap: &[u8], bits: u16) -> u32 {
    let whole = usize::from(bits / 8).min(bitmap.len());
    let (words, bytes) = bitmap[..whole].as_chunks::<8>();
    let mut ones: u32 = words.iter().map(|word| u64::from_le_bytes(*word).count_ones()).sum();
    ones += bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
    if let (Some(last), 1..) = (bitmap.get(usize::from(bits / 8)), bits % 8) {
        ones += (last & ((1 << (bits % 8)) - 1)).count_ones();
    }
    ones
}

/// Whether bit `bit` of a bitmap is set; bits beyond its end are clear.
pub fn test_bit(bitmap: &[u8], bit: usize) -> bool {
    bitmap.get(bit / 8).is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
}

/// Sets bit `bit` of a bitmap; returns whether it was set before.
///
/// # Panics
/// When the bit lies beyond the bitmap.
pub fn set_bit(bitmap: &mut [u8], bit: usize) -> bool {
    let byte = &mut bitmap[bit / 8];
    let before = *byte & (1 << (bit % 8)) != 0;
    *byte |= 1 << (bit % 8);
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_beyond_the_last_bit_do_not_count() {
        assert_eq!(count_ones(&[0xFF, 0xFF], 11), 11);
        assert_eq!(count_ones(&[0xFF], 16), 8);
        assert_eq!(count_ones(&[0xFF, 0x0F], 16), 12);
    }
}
