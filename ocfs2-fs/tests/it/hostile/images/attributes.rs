//! Extended attributes and refcount trees.

use ocfs2_format::{
    Dinode, DynFeatures, RefcountBlock, RefcountFlags, Structure, XattrArea, XattrBlock, XattrBlockFlags, XattrEntry,
};

use super::{Case, KINDS, case};
use crate::hostile::forge::{Forge, is_system, put};

const XATTRS: &[&str] = &["xattr-4k", "xattr-1k-metaecc"];
/// With values in clusters of their own.
const OUTSIDE: &[&str] = &["kinds-2k-32k", "xattr-1k-metaecc"];
const REFCOUNTS: &[&str] = &["refcount-4k", "refcount-512-metaecc"];

/// Offset of the attribute header in its block.
const IN_BLOCK: usize = 0x30;
/// Offset of the first entry behind a header, and its size.
const ENTRIES: usize = 16;
const ENTRY: usize = size_of::<XattrEntry>();

fn has_inline(dinode: &Dinode) -> bool {
    dinode.dyn_features().contains(DynFeatures::INLINE_XATTR)
}

fn plain(block: &XattrBlock) -> bool {
    !block.flags().contains(XattrBlockFlags::INDEXED) && entries(Structure::XattrBlock, block.area()).len() > 1
}

fn indexed(block: &XattrBlock) -> bool {
    block.flags().contains(XattrBlockFlags::INDEXED)
}

fn entries(structure: Structure, area: &[u8]) -> &[XattrEntry] {
    XattrArea::parse(structure, area).map_or(&[], |area| area.entries())
}

/// Changes an attribute block from its header on.
fn block_area(f: &Forge<'_>, change: impl FnOnce(&mut [u8])) -> u64 {
    let block = f.find(Structure::XattrBlock, plain);
    f.edit_block::<[u8]>(&block, |bytes| change(&mut bytes[IN_BLOCK..]))
}

/// Changes the first bucket of a run.
fn bucket(f: &Forge<'_>, change: impl FnOnce(&mut [u8])) -> u64 {
    let first = |bytes: &[u8]| bytes[6] != 0 && entries(Structure::XattrBucket, bytes).len() > 1;
    f.edit::<[u8]>(Structure::XattrBucket, first, change)
}

/// Changes the attributes at the end of an inode, from their header on.
fn inline_area(f: &Forge<'_>, change: impl FnOnce(&mut [u8])) -> u64 {
    let block = f.find(Structure::Dinode, has_inline);
    f.edit_block::<[u8]>(&block, |bytes| {
        let start = bytes.len() - 256;
        change(&mut bytes[start..]);
    })
}

/// Changes the root of a value that has clusters of its own, in a bucket: 48 bytes from its `xr_clusters` on.
fn outside_value(f: &Forge<'_>, change: impl FnOnce(&mut [u8])) -> u64 {
    let outside = |entry: &XattrEntry| !entry.is_local();
    let suits = |bytes: &[u8]| entries(Structure::XattrBucket, bytes).iter().any(outside);
    f.edit::<[u8]>(Structure::XattrBucket, suits, |bytes| {
        let list = entries(Structure::XattrBucket, bytes);
        let entry = *list.iter().find(|entry| outside(entry)).expect("it was found before");
        let name = usize::from(entry.xe_name_len).next_multiple_of(4);
        let start = usize::from(entry.xe_name_offset.get()) + name;
        change(&mut bytes[start..start + 48]);
    })
}

fn tree(block: &RefcountBlock) -> bool {
    block.flags().contains(RefcountFlags::TREE)
}

fn leaf(block: &RefcountBlock) -> bool {
    block.flags().contains(RefcountFlags::LEAF)
}

fn with_records(block: &RefcountBlock) -> bool {
    !tree(block) && block.records().records().len() > 1
}

/// Changes a refcount block from its list on: counts first, records from byte 16.
fn refcounts(f: &Forge<'_>, suits: fn(&RefcountBlock) -> bool, change: impl FnOnce(&mut [u8])) -> u64 {
    let block = f.find(Structure::RefcountBlock, suits);
    f.edit_block::<[u8]>(&block, |bytes| change(&mut bytes[0x80..]))
}

fn refcount_block(f: &Forge<'_>, suits: fn(&RefcountBlock) -> bool, change: impl FnOnce(&mut RefcountBlock)) -> u64 {
    f.edit(Structure::RefcountBlock, suits, change)
}

const BOUNDS: &str = "CVE-2024-41016 xattr bounds";
const ENTRY_BOUNDS: &str = "CVE-2024-47670 xattr entry";
const COUNTS: &str = "CVE-2026-89493 refcount counts";

pub(super) const CASES: &[Case] = &[
    case(
        BOUNDS,
        "name behind the end of its block",
        XATTRS,
        Structure::XattrBlock,
        "xe_name_offset",
        |f| block_area(f, |area| put(area, ENTRIES + 4, 0xFFF0_u16.to_le_bytes())),
    ),
    case(
        BOUNDS,
        "name over the entries",
        XATTRS,
        Structure::XattrBlock,
        "xe_name_offset",
        |f| block_area(f, |area| put(area, ENTRIES + 4, 0_u16.to_le_bytes())),
    ),
    case(
        BOUNDS,
        "name that ends behind its bucket",
        XATTRS,
        Structure::XattrBucket,
        "xe_name_offset",
        |f| bucket(f, |area| put(area, ENTRIES + 4, 4092_u16.to_le_bytes())),
    ),
    case(
        BOUNDS,
        "value that ends behind its inode",
        XATTRS,
        Structure::XattrInline,
        "xe_name_offset",
        |f| {
            inline_area(f, |area| {
                put(area, ENTRIES + 4, 252_u16.to_le_bytes());
                put(area, ENTRIES + 8, 80_u64.to_le_bytes());
            })
        },
    ),
    case(
        ENTRY_BOUNDS,
        "local value that is too large",
        XATTRS,
        Structure::XattrBlock,
        "xe_value_size",
        |f| {
            block_area(f, |area| {
                area[ENTRIES + 7] |= XattrEntry::LOCAL;
                put(area, ENTRIES + 8, u64::MAX.to_le_bytes());
            })
        },
    ),
    case(
        ENTRY_BOUNDS,
        "outside value that is too small",
        XATTRS,
        Structure::XattrBucket,
        "xe_value_size",
        |f| {
            bucket(f, |area| {
                area[ENTRIES + 7] &= !XattrEntry::LOCAL;
                put(area, ENTRIES + 8, 1_u64.to_le_bytes());
            })
        },
    ),
    case(
        ENTRY_BOUNDS,
        "name space that there is not",
        XATTRS,
        Structure::XattrInline,
        "xe_type",
        |f| inline_area(f, |area| area[ENTRIES + 7] = 0xFF),
    ),
    case(
        "xattr count",
        "block with more entries than room",
        XATTRS,
        Structure::XattrBlock,
        "xh_count",
        |f| block_area(f, |area| put(area, 0, u16::MAX.to_le_bytes())),
    ),
    case(
        "xattr count",
        "bucket with more entries than room",
        XATTRS,
        Structure::XattrBucket,
        "xh_count",
        |f| bucket(f, |area| put(area, 0, 256_u16.to_le_bytes())),
    ),
    case(
        "xattr count",
        "inode with more entries than room",
        XATTRS,
        Structure::XattrInline,
        "xh_count",
        |f| inline_area(f, |area| put(area, 0, 16_u16.to_le_bytes())),
    ),
    case(
        "xattr count",
        "run with more buckets than clusters",
        XATTRS,
        Structure::XattrBucket,
        "xh_num_buckets",
        |f| bucket(f, |area| put(area, 6, u16::MAX.to_le_bytes())),
    ),
    case(
        "CVE-2026-53041 many names",
        "block full of entries for one name",
        XATTRS,
        Structure::XattrBlock,
        "overlap",
        |f| {
            block_area(f, |area| {
                let last = *entries(Structure::XattrBlock, area).last().expect("it has some");
                let lowest = entries(Structure::XattrBlock, area)
                    .iter()
                    .map(|entry| entry.xe_name_offset.get());
                let room = (usize::from(lowest.min().expect("it has some")) - ENTRIES) / ENTRY;
                for index in 0..room {
                    let at = ENTRIES + index * ENTRY;
                    area[at..at + ENTRY].copy_from_slice(zerocopy::IntoBytes::as_bytes(&last));
                }
                put(area, 0, (room as u16).to_le_bytes());
            })
        },
    ),
    case(
        "CVE-2024-49958 inline xattr size",
        "attributes that take the whole inode",
        XATTRS,
        Structure::Dinode,
        "i_xattr_inline_size",
        |f| f.inode(has_inline, |d| d.i_xattr_inline_size.set(u16::MAX)),
    ),
    case(
        "CVE-2024-49958 inline xattr size",
        "attributes without room for a header",
        XATTRS,
        Structure::Dinode,
        "i_xattr_inline_size",
        |f| f.inode(has_inline, |d| d.i_xattr_inline_size.set(8)),
    ),
    case(
        "CVE-2024-49958 inline xattr size",
        "list that reaches into the attributes",
        KINDS,
        Structure::Dinode,
        "l_count",
        |f| {
            let full = f.base.geometry.extents_per_dinode(false);
            f.inode(
                |d| has_inline(d) && !d.dyn_features().contains(DynFeatures::INLINE_DATA) && d.i_clusters.get() > 0,
                |d| d.extent_list_mut().l_count.set(full),
            )
        },
    ),
    case(
        "large xattr",
        "value larger than any",
        OUTSIDE,
        Structure::XattrValue,
        "bytes are there",
        |f| {
            let outside =
                |bytes: &[u8]| bytes[6] != 0 && entries(Structure::XattrBucket, bytes).iter().any(|e| !e.is_local());
            f.edit::<[u8]>(Structure::XattrBucket, outside, |bytes| {
                let list = entries(Structure::XattrBucket, bytes);
                let index = list.iter().position(|entry| !entry.is_local()).expect("it has one");
                put(bytes, ENTRIES + index * ENTRY + 8, u64::MAX.to_le_bytes());
            })
        },
    ),
    case(
        "large xattr",
        "value with fewer clusters than bytes",
        OUTSIDE,
        Structure::XattrValue,
        "bytes are there",
        |f| outside_value(f, |root| put(root, 20, 0_u16.to_le_bytes())),
    ),
    case(
        "",
        "value whose list has no room",
        OUTSIDE,
        Structure::ExtentList,
        "l_count",
        |f| outside_value(f, |root| put(root, 18, 0_u16.to_le_bytes())),
    ),
    case(
        "",
        "value whose list has more room than there is",
        OUTSIDE,
        Structure::ExtentList,
        "l_count",
        |f| outside_value(f, |root| put(root, 18, 2_u16.to_le_bytes())),
    ),
    case(
        "",
        "value deeper than any path",
        OUTSIDE,
        Structure::ExtentList,
        "l_tree_depth",
        |f| outside_value(f, |root| put(root, 16, 9_u16.to_le_bytes())),
    ),
    case(
        "",
        "value that counts other clusters",
        OUTSIDE,
        Structure::XattrValue,
        "xr_clusters",
        |f| outside_value(f, |root| put(root, 0, u32::MAX.to_le_bytes())),
    ),
    case(
        "",
        "name with another hash",
        XATTRS,
        Structure::XattrBlock,
        "xe_name_hash",
        |f| block_area(f, |area| put(area, ENTRIES, [1, 2, 3, 4])),
    ),
    case(
        "",
        "bucket out of order",
        XATTRS,
        Structure::XattrBucket,
        "does not follow",
        |f| bucket(f, |area| put(area, ENTRIES, u32::MAX.to_le_bytes())),
    ),
    case(
        "",
        "name across the end of a block",
        &["xattr-1k-metaecc"],
        Structure::XattrBucket,
        "cross",
        |f| bucket(f, |area| put(area, ENTRIES + 4, 3070_u16.to_le_bytes())),
    ),
    case(
        "",
        "attribute block with another signature",
        XATTRS,
        Structure::XattrBlock,
        "signature",
        |f| f.edit::<XattrBlock>(Structure::XattrBlock, plain, |block| block.xb_signature.0[0] = 0),
    ),
    case(
        "",
        "attribute block of another block",
        XATTRS,
        Structure::XattrBlock,
        "says it is block",
        |f| f.edit::<XattrBlock>(Structure::XattrBlock, plain, |block| block.xb_blkno.set(1)),
    ),
    case(
        "",
        "attribute block outside the volume",
        XATTRS,
        Structure::XattrBlock,
        "points to block",
        |f| {
            f.inode(
                |d| !is_system(d) && d.i_xattr_loc.get() != 0,
                |d| d.i_xattr_loc.set(1 << 50),
            );
            1 << 50
        },
    ),
    case(
        "",
        "tree of buckets with more records than room",
        XATTRS,
        Structure::XattrBlock,
        "l_next_free_rec",
        |f| {
            let block = f.find(Structure::XattrBlock, indexed);
            f.edit_block::<[u8]>(&block, |bytes| put(bytes, 0x44, u16::MAX.to_le_bytes()))
        },
    ),
    case(
        "",
        "tree of buckets that counts other clusters",
        XATTRS,
        Structure::XattrBlock,
        "xt_clusters",
        |f| {
            let block = f.find(Structure::XattrBlock, indexed);
            f.edit_block::<[u8]>(&block, |bytes| put(bytes, IN_BLOCK, 0_u32.to_le_bytes()))
        },
    ),
    case(
        COUNTS,
        "more records than room",
        REFCOUNTS,
        Structure::RefcountBlock,
        "rl_used",
        |f| refcounts(f, with_records, |list| put(list, 2, u16::MAX.to_le_bytes())),
    ),
    case(
        COUNTS,
        "more room than the block",
        REFCOUNTS,
        Structure::RefcountBlock,
        "rl_count",
        |f| refcounts(f, with_records, |list| put(list, 0, u16::MAX.to_le_bytes())),
    ),
    case(
        COUNTS,
        "root with more leaves than room",
        REFCOUNTS,
        Structure::RefcountBlock,
        "l_next_free_rec",
        |f| refcounts(f, tree, |list| put(list, 4, u16::MAX.to_le_bytes())),
    ),
    case(
        "CVE-2026-80638 refcount extent",
        "record without clusters",
        REFCOUNTS,
        Structure::RefcountBlock,
        "without",
        |f| refcounts(f, with_records, |list| put(list, 16 + 8, 0_u32.to_le_bytes())),
    ),
    case(
        "CVE-2026-80638 refcount extent",
        "record outside the volume",
        REFCOUNTS,
        Structure::RefcountBlock,
        "r_cpos",
        |f| refcounts(f, with_records, |list| put(list, 16, (1_u64 << 63).to_le_bytes())),
    ),
    case(
        "CVE-2026-80638 refcount extent",
        "records that overlap",
        REFCOUNTS,
        Structure::RefcountBlock,
        "does not follow",
        |f| {
            refcounts(f, with_records, |list| {
                let first: [u8; 8] = list[16..24].try_into().expect("8 bytes");
                put(list, 32, first);
            })
        },
    ),
    case(
        "",
        "refcount block with another signature",
        REFCOUNTS,
        Structure::RefcountBlock,
        "signature",
        |f| refcount_block(f, |_| true, |block| block.rf_signature.0[1] = 0),
    ),
    case(
        "",
        "refcount block of another block",
        REFCOUNTS,
        Structure::RefcountBlock,
        "says it is block",
        |f| refcount_block(f, |_| true, |block| block.rf_blkno.set(u64::MAX)),
    ),
    case(
        "",
        "leaf of another root",
        REFCOUNTS,
        Structure::RefcountBlock,
        "rf_parent",
        |f| refcount_block(f, leaf, |block| block.rf_parent.set(9)),
    ),
    case(
        "",
        "leaf that covers other clusters",
        REFCOUNTS,
        Structure::RefcountBlock,
        "rf_cpos",
        |f| refcount_block(f, leaf, |block| block.rf_cpos.set(u32::MAX)),
    ),
    case(
        "",
        "block that is root and leaf",
        REFCOUNTS,
        Structure::RefcountBlock,
        "rf_flags",
        |f| refcount_block(f, tree, |block| block.rf_flags.set(3)),
    ),
    case(
        "",
        "root that counts other leaves",
        REFCOUNTS,
        Structure::RefcountBlock,
        "rf_clusters",
        |f| refcount_block(f, tree, |block| block.rf_clusters.set(0)),
    ),
];
