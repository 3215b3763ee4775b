//! Inodes and extent trees.

use ocfs2_format::{Dinode, DynFeatures, ExtentBlock, ExtentRec, FileKind, InodeFlags, Structure};
use zerocopy::FromBytes;

use super::{Case, KINDS, case};
use crate::hostile::forge::{Forge, is_block_dir, is_deep, is_fast_symlink, is_file, is_inline, is_system, is_user};

const OLDEST: &[&str] = &["kinds-max-compat"];
const TREES: &[&str] = &["extents-512", "refcount-512-metaecc"];

fn inline_file(dinode: &Dinode) -> bool {
    is_user(dinode, FileKind::Regular) && is_inline(dinode)
}

fn any_file(dinode: &Dinode) -> bool {
    is_user(dinode, FileKind::Regular)
}

fn shallow(dinode: &Dinode) -> bool {
    is_file(dinode) && dinode.extent_list().l_tree_depth.get() == 0 && !has_refcount(dinode)
}

fn two_extents(dinode: &Dinode) -> bool {
    shallow(dinode) && dinode.extent_list().records().len() >= 2
}

fn has_refcount(dinode: &Dinode) -> bool {
    dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT)
}

fn max_slots(forge: &Forge<'_>) -> u16 {
    forge.base.geometry.max_slots
}

fn set_dyn(dinode: &mut Dinode, features: DynFeatures) {
    let all = dinode.dyn_features() | features;
    dinode.i_dyn_features.set(all.bits());
}

fn set_flags(dinode: &mut Dinode, flags: InodeFlags) {
    let all = dinode.flags() | flags;
    dinode.i_flags.set(all.bits());
}

/// Changes the first record of a file's root list.
fn first_record(forge: &Forge<'_>, suits: fn(&Dinode) -> bool, change: impl FnOnce(&mut ExtentRec)) -> u64 {
    forge.inode(suits, |d| change(&mut d.extent_list_mut().l_recs[0]))
}

fn leaf(block: &ExtentBlock) -> bool {
    block.list().l_tree_depth.get() == 0 && block.list().records().len() >= 2
}

fn inner(block: &ExtentBlock) -> bool {
    block.list().l_tree_depth.get() > 0
}

fn extent_block(forge: &Forge<'_>, suits: fn(&ExtentBlock) -> bool, change: impl FnOnce(&mut ExtentBlock)) -> u64 {
    forge.edit(Structure::ExtentBlock, suits, change)
}

pub(super) const CASES: &[Case] = &[
    case(
        "CVE-2026-43076 inline i_size > id_count",
        "inline file longer than its area",
        KINDS,
        Structure::Dinode,
        "i_size",
        |f| {
            f.inode(inline_file, |d| {
                let count = d.inline_data().id_count.get();
                d.i_size.set(u64::from(count) + 1);
            })
        },
    ),
    case(
        "CVE-2026-43076 inline i_size > id_count",
        "inline directory longer than its area",
        KINDS,
        Structure::Dinode,
        "i_size",
        |f| {
            f.inode(
                |d| is_user(d, FileKind::Directory) && is_inline(d),
                |d| d.i_size.set(1 << 20),
            )
        },
    ),
    case(
        "CVE-2026-43075 inline id_count",
        "inline area larger than the block",
        KINDS,
        Structure::Dinode,
        "id_count",
        |f| f.inode(inline_file, |d| d.inline_data_mut().id_count.set(u16::MAX)),
    ),
    case(
        "CVE-2024-50218 inline i_size of 64 bits",
        "inline size that is negative as a signed number",
        KINDS,
        Structure::Dinode,
        "i_size",
        |f| f.inode(inline_file, |d| d.i_size.set(u64::MAX)),
    ),
    case(
        "",
        "inline file with clusters",
        KINDS,
        Structure::Dinode,
        "i_clusters",
        |f| f.inode(inline_file, |d| d.i_clusters.set(1)),
    ),
    case(
        "",
        "inline data without the feature",
        OLDEST,
        Structure::Dinode,
        "i_dyn_features",
        |f| f.inode(any_file, |d| set_dyn(d, DynFeatures::INLINE_DATA)),
    ),
    case(
        "CVE-2026-72160 i_mode",
        "mode without a type",
        KINDS,
        Structure::Dinode,
        "i_mode",
        |f| f.inode(any_file, |d| d.i_mode.set(0o644)),
    ),
    case(
        "CVE-2026-72160 i_mode",
        "mode with a type that there is not",
        KINDS,
        Structure::Dinode,
        "i_mode",
        |f| f.inode(any_file, |d| d.i_mode.set(0o170_755)),
    ),
    case(
        "i_rdev of a file",
        "device number of a file",
        KINDS,
        Structure::Dinode,
        "i_rdev",
        |f| f.inode(any_file, |d| d.id1 = [5, 1, 0, 0, 0, 0, 0, 0]),
    ),
    case(
        "size without clusters",
        "directory with a size and no clusters",
        &["dirs-4k", "kinds-1k-8k-metaecc"],
        Structure::Dinode,
        "i_size",
        |f| f.inode(is_block_dir, |d| d.i_clusters.set(0)),
    ),
    case(
        "size without clusters",
        "file with a size and no clusters where there are no holes",
        OLDEST,
        Structure::Dinode,
        "i_size",
        |f| f.inode(is_file, |d| d.i_clusters.set(0)),
    ),
    case(
        "CVE-2026-74350 fast symlink",
        "fast symlink longer than the inode",
        KINDS,
        Structure::Dinode,
        "i_size",
        |f| f.inode(is_fast_symlink, |d| d.i_size.set(4096)),
    ),
    case(
        "CVE-2026-74350 fast symlink",
        "fast symlink without NUL at its size",
        KINDS,
        Structure::Dinode,
        "i_size",
        |f| f.inode(is_fast_symlink, |d| d.i_size.set(d.i_size.get() - 1)),
    ),
    case(
        "CVE-2026-74350 fast symlink",
        "fast symlink with a NUL inside",
        KINDS,
        Structure::Dinode,
        "i_size",
        |f| f.inode(is_fast_symlink, |d| d.id2[0] = 0),
    ),
    case(
        "CVE-2026-90205 i_orphaned_slot",
        "orphan of a slot that there is not",
        KINDS,
        Structure::Dinode,
        "i_orphaned_slot",
        |f| {
            let slot = max_slots(f);
            f.inode(any_file, |d| {
                set_flags(d, InodeFlags::ORPHANED);
                d.i_orphaned_slot.set(slot);
            })
        },
    ),
    case(
        "CVE-2026-90204 i_dio_orphaned_slot",
        "direct write of a slot that there is not",
        KINDS,
        Structure::Dinode,
        "i_dio_orphaned_slot",
        |f| {
            let slot = max_slots(f);
            f.inode(any_file, |d| {
                set_flags(d, InodeFlags::DIO_ORPHANED);
                d.i_dio_orphaned_slot.set(slot);
            })
        },
    ),
    case(
        "i_suballoc_slot",
        "inode of an allocator that there is not",
        KINDS,
        Structure::Dinode,
        "i_suballoc_slot",
        |f| {
            let slot = max_slots(f);
            f.inode(any_file, |d| d.i_suballoc_slot.set(slot))
        },
    ),
    case(
        "",
        "inode with another signature",
        KINDS,
        Structure::Dinode,
        "signature",
        |f| f.inode(any_file, |d| d.i_signature.0[0] = b'X'),
    ),
    case(
        "",
        "inode of another block",
        KINDS,
        Structure::Dinode,
        "says it is block",
        |f| f.inode(any_file, |d| d.i_blkno.set(d.i_blkno.get() + 1)),
    ),
    case(
        "",
        "inode of another file system",
        KINDS,
        Structure::Dinode,
        "generation",
        |f| f.inode(any_file, |d| d.i_fs_generation.set(!d.i_fs_generation.get())),
    ),
    case(
        "",
        "name of a deleted inode",
        KINDS,
        Structure::Dinode,
        "i_flags",
        |f| f.inode(any_file, |d| d.i_flags.set(0)),
    ),
    case(
        "",
        "file larger than any file",
        KINDS,
        Structure::Dinode,
        "i_size",
        |f| f.inode(is_file, |d| d.i_size.set(1 << 63)),
    ),
    case(
        "superblock flag",
        "system inode that says it is the superblock",
        KINDS,
        Structure::Dinode,
        "i_flags",
        |f| {
            f.inode(
                |d| is_system(d) && d.kind() == Some(FileKind::Regular),
                |d| set_flags(d, InodeFlags::SUPER_BLOCK),
            )
        },
    ),
    case(
        "refcount without location",
        "attached to a refcount tree at block 0",
        KINDS,
        Structure::Dinode,
        "i_refcount_loc",
        |f| f.inode(has_refcount, |d| d.i_refcount_loc.set(0)),
    ),
    case(
        "refcount without feature",
        "attached to a refcount tree on a volume without them",
        OLDEST,
        Structure::Dinode,
        "i_dyn_features",
        |f| {
            f.inode(any_file, |d| {
                set_dyn(d, DynFeatures::HAS_REFCOUNT);
                d.i_refcount_loc.set(100);
            })
        },
    ),
    case(
        "CVE-2025-22079 l_tree_depth",
        "tree deeper than any path",
        KINDS,
        Structure::Dinode,
        "l_tree_depth",
        |f| f.inode(is_file, |d| d.extent_list_mut().l_tree_depth.set(5)),
    ),
    case(
        "CVE-2025-22079 l_tree_depth",
        "leaf that claims to be deeper than its parent",
        TREES,
        Structure::ExtentBlock,
        "l_tree_depth",
        |f| extent_block(f, leaf, |b| b.list_mut().l_tree_depth.set(1)),
    ),
    case(
        "l_count = 0",
        "list without room and with records",
        KINDS,
        Structure::Dinode,
        "l_count",
        |f| f.inode(is_file, |d| d.extent_list_mut().l_count.set(0)),
    ),
    case(
        "l_count = 0",
        "extent block without room",
        TREES,
        Structure::ExtentBlock,
        "l_count",
        |f| extent_block(f, leaf, |b| b.list_mut().l_count.set(0)),
    ),
    case(
        "l_count, l_next_free_rec",
        "list with more room than the inode",
        KINDS,
        Structure::Dinode,
        "l_count",
        |f| f.inode(is_file, |d| d.extent_list_mut().l_count.set(u16::MAX)),
    ),
    case(
        "l_count, l_next_free_rec",
        "list with more records than room",
        KINDS,
        Structure::Dinode,
        "l_next_free_rec",
        |f| {
            f.inode(is_file, |d| {
                let list = d.extent_list_mut();
                list.l_next_free_rec.set(list.l_count.get() + 1);
            })
        },
    ),
    case(
        "l_count, l_next_free_rec",
        "extent block with more room than the block",
        TREES,
        Structure::ExtentBlock,
        "l_count",
        |f| extent_block(f, leaf, |b| b.list_mut().l_count.set(u16::MAX)),
    ),
    case(
        "l_count, l_next_free_rec",
        "extent block with more records than room",
        TREES,
        Structure::ExtentBlock,
        "l_next_free_rec",
        |f| extent_block(f, leaf, |b| b.list_mut().l_next_free_rec.set(u16::MAX)),
    ),
    case(
        "CVE-2026-72162 rightmost record -1",
        "root of a tree without records",
        TREES,
        Structure::Dinode,
        "l_next_free_rec",
        |f| f.inode(is_deep, |d| d.extent_list_mut().l_next_free_rec.set(0)),
    ),
    case(
        "CVE-2026-72162 rightmost record -1",
        "inner block of a tree without records",
        &["extents-512"],
        Structure::ExtentBlock,
        "l_next_free_rec",
        |f| extent_block(f, inner, |b| b.list_mut().l_next_free_rec.set(0)),
    ),
    case(
        "",
        "extent block with another signature",
        TREES,
        Structure::ExtentBlock,
        "signature",
        |f| extent_block(f, leaf, |b| b.h_signature.0[6] = b'2'),
    ),
    case(
        "",
        "extent block of another block",
        TREES,
        Structure::ExtentBlock,
        "says it is block",
        |f| extent_block(f, leaf, |b| b.h_blkno.set(7)),
    ),
    case(
        "",
        "extent block of another file system",
        TREES,
        Structure::ExtentBlock,
        "generation",
        |f| extent_block(f, leaf, |b| b.h_fs_generation.set(0)),
    ),
    case(
        "",
        "last leaf that leads on",
        TREES,
        Structure::ExtentBlock,
        "h_next_leaf_blk",
        |f| {
            extent_block(
                f,
                |b| leaf(b) && b.h_next_leaf_blk.get() == 0,
                |b| b.h_next_leaf_blk.set(100),
            )
        },
    ),
    case(
        "",
        "root that names another last leaf",
        TREES,
        Structure::Dinode,
        "i_last_eb_blk",
        |f| f.inode(is_deep, |d| d.i_last_eb_blk.set(0)),
    ),
    case(
        "",
        "inode that counts other clusters",
        KINDS,
        Structure::Dinode,
        "i_clusters",
        |f| f.inode(shallow, |d| d.i_clusters.set(d.i_clusters.get() + 1)),
    ),
    case(
        "",
        "child outside the volume",
        TREES,
        Structure::ExtentBlock,
        "points to block",
        |f| {
            first_record(f, is_deep, |rec| rec.e_blkno.set(u64::MAX));
            u64::MAX
        },
    ),
    case(
        "",
        "child that is the inode itself",
        TREES,
        Structure::ExtentBlock,
        "belongs to something else",
        |f| {
            let block = f.find(Structure::Dinode, is_deep);
            f.edit_block::<Dinode>(&block, |d| d.extent_list_mut().l_recs[0].e_blkno.set(block.block.0))
        },
    ),
    case(
        "",
        "extent outside the volume",
        KINDS,
        Structure::ExtentList,
        "e_blkno",
        |f| {
            let far = f.base.geometry.blocks();
            first_record(f, shallow, |rec| rec.e_blkno.set(far))
        },
    ),
    case(
        "",
        "extent that ends outside the volume",
        KINDS,
        Structure::ExtentList,
        "e_blkno",
        |f| {
            let last = f.base.geometry.blocks() - u64::from(f.base.geometry.blocks_per_cluster());
            first_record(f, shallow, |rec| {
                rec.e_blkno.set(last);
                rec.e_leaf_clusters.set(2);
            })
        },
    ),
    case(
        "",
        "extent that wraps around",
        KINDS,
        Structure::ExtentList,
        "e_blkno",
        |f| {
            let per_cluster = u64::from(f.base.geometry.blocks_per_cluster());
            first_record(f, shallow, |rec| rec.e_blkno.set(u64::MAX / per_cluster * per_cluster))
        },
    ),
    case(
        "",
        "extent over the superblock",
        KINDS,
        Structure::ExtentList,
        "e_blkno",
        |f| first_record(f, shallow, |rec| rec.e_blkno.set(0)),
    ),
    case(
        "",
        "extent that begins inside a cluster",
        &["kinds-1k-8k-metaecc"],
        Structure::ExtentList,
        "e_blkno",
        |f| first_record(f, shallow, |rec| rec.e_blkno.set(rec.e_blkno.get() + 1)),
    ),
    case(
        "",
        "extent with a flag that there is not",
        KINDS,
        Structure::ExtentList,
        "e_flags",
        |f| first_record(f, shallow, |rec| rec.e_flags = 0x80),
    ),
    case(
        "",
        "extents that overlap",
        KINDS,
        Structure::ExtentList,
        "does not follow",
        |f| first_record(f, two_extents, |rec| rec.e_leaf_clusters.set(u16::MAX)),
    ),
    case(
        "",
        "extents in the wrong order",
        KINDS,
        Structure::ExtentList,
        "does not follow",
        |f| first_record(f, two_extents, |rec| rec.e_cpos.set(u32::MAX)),
    ),
    case(
        "",
        "extent whose end has more than 32 bits",
        KINDS,
        Structure::ExtentList,
        "does not follow",
        |f| {
            f.inode(shallow, |d| {
                let list = d.extent_list_mut();
                list.l_next_free_rec.set(1);
                list.l_recs[0].e_cpos.set(u32::MAX);
                list.l_recs[0].e_leaf_clusters.set(2);
            })
        },
    ),
    case(
        "",
        "clusters of two owners",
        KINDS,
        Structure::ExtentList,
        "belongs to something else",
        |f| {
            let mut files = f.base.blocks.iter().filter(|block| {
                let bytes = f.copy.read(block);
                block.structure == Structure::Dinode && shallow(Dinode::ref_from_bytes(&bytes).expect("a block"))
            });
            let (Some(first), Some(second)) = (files.next(), files.next()) else {
                panic!("two files")
            };
            let mut shared = 0;
            f.edit_block::<Dinode>(first, |d| shared = d.extent_list().l_recs[0].e_blkno.get());
            f.edit_block::<Dinode>(second, |d| {
                let rec = &mut d.extent_list_mut().l_recs[0];
                rec.e_blkno.set(shared);
                rec.e_leaf_clusters.set(1);
            });
            shared
        },
    ),
];
