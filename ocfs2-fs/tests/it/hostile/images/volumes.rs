//! The superblock, system files and allocators.

use ocfs2_format::{ChainList, Dinode, GroupDesc, InodeFlags, Structure, SuperBlock, SystemFile};

use super::{Case, KINDS, case};
use crate::hostile::forge::{Forge, is_block_dir, put};

const CRASHED: &[&str] = &["crash-4k", "crash-512-metaecc"];
const QUOTAS: &[&str] = &["quota-4k", "quota-1k-metaecc"];
const PIECES: &[&str] = &["discontig-4k", "discontig-512-metaecc"];

fn superblock(f: &Forge<'_>, change: impl FnOnce(&mut SuperBlock)) -> u64 {
    f.edit::<Dinode>(Structure::Superblock, |_| true, |d| change(d.super_block_mut()))
}

/// Changes the first group of the first allocator of inodes of slot 0.
fn group(f: &Forge<'_>, change: impl FnOnce(&mut GroupDesc)) -> u64 {
    let parent = f.number_of(SystemFile::InodeAlloc).0;
    f.edit(
        Structure::GroupDesc,
        |g: &GroupDesc| g.bg_parent_dinode.get() == parent,
        change,
    )
}

fn chains(f: &Forge<'_>, file: SystemFile, change: impl FnOnce(&mut ChainList)) -> u64 {
    f.system_file(file, |d| change(d.chain_list_mut()))
}

/// Changes the extents of a group in pieces: list header first, records from byte 16.
fn pieces(f: &Forge<'_>, change: impl FnOnce(&mut [u8])) -> u64 {
    let block = f.find(Structure::GroupDesc, |g: &GroupDesc| g.extents().is_some());
    f.edit_block::<[u8]>(&block, |bytes| change(&mut bytes[0x140..]))
}

fn journal(f: &Forge<'_>, change: impl FnOnce(&mut [u8])) -> u64 {
    f.contents_of(SystemFile::Journal, 1024, change)
}

/// Changes the first blocks of the users' quota file.
fn quota_block(f: &Forge<'_>, index: u64, change: impl FnOnce(&mut [u8])) -> u64 {
    let number = f.number_of(SystemFile::UserQuota);
    let inode = f.volume.inode(number).expect("it was sound");
    let first = f.volume.extents(&inode).expect("they were sound")[0].blkno.0;
    let mut blocks = f.base.blocks.iter().filter(|block| block.block.0 == first + index);
    f.edit_block::<[u8]>(blocks.next().expect("a block of the file"), change);
    number.0
}

const FIELDS: &str = "superblock fields";
const BITS: &str = "CVE-2026-63796 bg_size, bg_bits";

pub(super) const CASES: &[Case] = &[
    case(
        BITS,
        "bitmap larger than its block",
        KINDS,
        Structure::GroupDesc,
        "bg_size",
        |f| group(f, |g| g.bg_size.set(u16::MAX)),
    ),
    case(
        BITS,
        "bitmap where the list of pieces is",
        KINDS,
        Structure::GroupDesc,
        "bg_size",
        |f| {
            let room = f.base.geometry.group_bitmap_bytes();
            group(f, |g| g.bg_size.set(room))
        },
    ),
    case(
        BITS,
        "more bits than bitmap",
        KINDS,
        Structure::GroupDesc,
        "bg_bits",
        |f| group(f, |g| g.bg_bits.set(u16::MAX)),
    ),
    case(
        "CVE-2026-53040 bg_bits in a scan",
        "more bits than a group of the bitmap has",
        KINDS,
        Structure::GroupDesc,
        "bg_bits",
        |f| {
            let parent = f.number_of(SystemFile::GlobalBitmap).0;
            f.edit(
                Structure::GroupDesc,
                |g: &GroupDesc| g.bg_parent_dinode.get() == parent,
                |g| g.bg_bits.set(u16::MAX),
            )
        },
    ),
    case(
        "CVE-2026-53039 group added",
        "group of another allocator",
        KINDS,
        Structure::GroupDesc,
        "bg_parent_dinode",
        |f| group(f, |g| g.bg_parent_dinode.set(5)),
    ),
    case(
        "CVE-2026-53039 group added",
        "group of a chain that there is not",
        KINDS,
        Structure::GroupDesc,
        "bg_chain",
        |f| group(f, |g| g.bg_chain.set(u16::MAX)),
    ),
    case(
        "CVE-2026-53039 group added",
        "group of another file system",
        KINDS,
        Structure::GroupDesc,
        "generation",
        |f| group(f, |g| g.bg_generation.set(0)),
    ),
    case(
        "",
        "group with another signature",
        KINDS,
        Structure::GroupDesc,
        "signature",
        |f| group(f, |g| g.bg_signature.0[0] = 0),
    ),
    case(
        "",
        "group of another block",
        KINDS,
        Structure::GroupDesc,
        "says it is block",
        |f| group(f, |g| g.bg_blkno.set(1)),
    ),
    case(
        "",
        "more free bits than bits",
        KINDS,
        Structure::GroupDesc,
        "bg_free_bits_count",
        |f| group(f, |g| g.bg_free_bits_count.set(u16::MAX)),
    ),
    case(
        "",
        "other free bits than the bitmap has",
        KINDS,
        Structure::GroupDesc,
        "bg_free_bits_count",
        |f| group(f, |g| g.bg_free_bits_count.set(g.bg_free_bits_count.get() - 1)),
    ),
    case(
        "",
        "next group outside the volume",
        KINDS,
        Structure::GroupDesc,
        "bg_next_group",
        |f| group(f, |g| g.bg_next_group.set(u64::MAX)),
    ),
    case("", "chain that is a loop", KINDS, Structure::GroupDesc, "a loop", |f| {
        group(f, |g| g.bg_next_group.set(g.bg_blkno.get()));
        f.number_of(SystemFile::InodeAlloc).0
    }),
    case(
        "",
        "pieces with more room than the block",
        PIECES,
        Structure::GroupDesc,
        "l_count",
        |f| pieces(f, |list| put(list, 2, u16::MAX.to_le_bytes())),
    ),
    case(
        "",
        "more pieces than room",
        PIECES,
        Structure::GroupDesc,
        "l_next_free_rec",
        |f| pieces(f, |list| put(list, 4, u16::MAX.to_le_bytes())),
    ),
    case(
        "",
        "pieces in a tree",
        PIECES,
        Structure::GroupDesc,
        "l_tree_depth",
        |f| pieces(f, |list| put(list, 0, 1_u16.to_le_bytes())),
    ),
    case(
        "CVE-2026-31596 allocator dinode",
        "bitmap that is no allocator",
        KINDS,
        Structure::Dinode,
        "i_flags",
        |f| {
            f.system_file(SystemFile::GlobalBitmap, |d| {
                let flags = d.flags() - InodeFlags::CHAIN;
                d.i_flags.set(flags.bits());
                d.extent_list_mut().init(1);
            })
        },
    ),
    case(
        "CVE-2026-31596 allocator dinode",
        "bitmap of another file system",
        KINDS,
        Structure::Dinode,
        "generation",
        |f| f.system_file(SystemFile::GlobalBitmap, |d| d.i_fs_generation.set(0)),
    ),
    case(
        "chain list counts",
        "more room for chains than the inode",
        KINDS,
        Structure::Dinode,
        "cl_count",
        |f| chains(f, SystemFile::GlobalBitmap, |list| list.cl_count.set(u16::MAX)),
    ),
    case(
        "chain list counts",
        "more chains than room",
        KINDS,
        Structure::Dinode,
        "cl_next_free_rec",
        |f| chains(f, SystemFile::InodeAlloc, |list| list.cl_next_free_rec.set(u16::MAX)),
    ),
    case(
        "chain list counts",
        "groups without clusters",
        KINDS,
        Structure::Dinode,
        "cl_cpg",
        |f| chains(f, SystemFile::InodeAlloc, |list| list.cl_cpg.set(0)),
    ),
    case(
        "chain list counts",
        "clusters without bits",
        KINDS,
        Structure::Dinode,
        "cl_bpc",
        |f| chains(f, SystemFile::GlobalBitmap, |list| list.cl_bpc.set(0)),
    ),
    case(
        "i_used > i_total",
        "more bits in use than there are",
        KINDS,
        Structure::Dinode,
        "i_used",
        |f| f.system_file(SystemFile::GlobalBitmap, |d| d.bitmap_mut().i_used.set(u32::MAX)),
    ),
    case(
        "CVE-2025-68771 chains to search",
        "bits without chains",
        KINDS,
        Structure::ChainList,
        "i_total",
        |f| chains(f, SystemFile::InodeAlloc, |list| list.cl_next_free_rec.set(0)),
    ),
    case(
        "CVE-2025-68771 chains to search",
        "chain with other free bits",
        KINDS,
        Structure::ChainList,
        "c_free",
        |f| chains(f, SystemFile::InodeAlloc, |list| list.cl_recs[0].c_free.set(u32::MAX)),
    ),
    case(
        "",
        "chain outside the volume",
        KINDS,
        Structure::GroupDesc,
        "points to block",
        |f| {
            chains(f, SystemFile::InodeAlloc, |list| list.cl_recs[0].c_blkno.set(1 << 44));
            1 << 44
        },
    ),
    case(
        "slot map below the superblock",
        "slot map in the leading area",
        KINDS,
        Structure::ExtentList,
        "e_blkno",
        |f| f.system_file(SystemFile::SlotMap, |d| d.extent_list_mut().l_recs[0].e_blkno.set(0)),
    ),
    case(
        "",
        "slot map too short for its slots",
        KINDS,
        Structure::SlotMap,
        "bytes are there",
        |f| f.system_file(SystemFile::SlotMap, |d| d.i_size.set(1)),
    ),
    case(
        "",
        "heartbeat region in no extent",
        KINDS,
        Structure::Heartbeat,
        "one extent",
        |f| f.system_file(SystemFile::Heartbeat, |d| d.extent_list_mut().l_next_free_rec.set(0)),
    ),
    case(
        "superblock strings",
        "cluster stack without a name",
        &["empty-clusterinfo"],
        Structure::Superblock,
        "cluster stack",
        |f| superblock(f, |sb| sb.s_cluster_info.ci_stack = [0; 4]),
    ),
    case(
        FIELDS,
        "block size of one bit",
        KINDS,
        Structure::Superblock,
        "s_blocksize_bits",
        |f| superblock(f, |sb| sb.s_blocksize_bits.set(0)),
    ),
    case(
        FIELDS,
        "block size beyond any shift",
        KINDS,
        Structure::Superblock,
        "s_blocksize_bits",
        |f| superblock(f, |sb| sb.s_blocksize_bits.set(u32::MAX)),
    ),
    case(
        FIELDS,
        "cluster size beyond any shift",
        KINDS,
        Structure::Superblock,
        "s_clustersize_bits",
        |f| superblock(f, |sb| sb.s_clustersize_bits.set(64)),
    ),
    case(
        FIELDS,
        "cluster size below the smallest",
        KINDS,
        Structure::Superblock,
        "s_clustersize_bits",
        |f| superblock(f, |sb| sb.s_clustersize_bits.set(11)),
    ),
    case(
        FIELDS,
        "root directory at block 0",
        KINDS,
        Structure::Superblock,
        "s_root_blkno",
        |f| superblock(f, |sb| sb.s_root_blkno.set(0)),
    ),
    case(
        FIELDS,
        "system directory at block 0",
        KINDS,
        Structure::Superblock,
        "s_system_dir_blkno",
        |f| superblock(f, |sb| sb.s_system_dir_blkno.set(0)),
    ),
    case(
        FIELDS,
        "system directory outside the volume",
        KINDS,
        Structure::Superblock,
        "s_system_dir_blkno",
        |f| superblock(f, |sb| sb.s_system_dir_blkno.set(u64::MAX)),
    ),
    case(
        FIELDS,
        "first group in the superblock",
        KINDS,
        Structure::Superblock,
        "s_first_cluster_group",
        |f| superblock(f, |sb| sb.s_first_cluster_group.set(2)),
    ),
    case(FIELDS, "no slots", KINDS, Structure::Superblock, "s_max_slots", |f| {
        superblock(f, |sb| sb.s_max_slots.set(0))
    }),
    case(
        FIELDS,
        "more slots than nodes",
        KINDS,
        Structure::Superblock,
        "s_max_slots",
        |f| superblock(f, |sb| sb.s_max_slots.set(256)),
    ),
    case(
        FIELDS,
        "features that nobody knows",
        KINDS,
        Structure::Superblock,
        "incompatible feature bits",
        |f| {
            superblock(f, |sb| {
                let known = sb.s_feature_incompat.get();
                sb.s_feature_incompat.set(known | 0x4000_0000);
            })
        },
    ),
    case(
        FIELDS,
        "another revision",
        KINDS,
        Structure::Superblock,
        "revision",
        |f| superblock(f, |sb| sb.s_minor_rev_level.set(91)),
    ),
    case(
        FIELDS,
        "attributes larger than an inode",
        KINDS,
        Structure::Superblock,
        "s_xattr_inline_size",
        |f| superblock(f, |sb| sb.s_xattr_inline_size.set(u16::MAX)),
    ),
    case(
        FIELDS,
        "volume without clusters",
        KINDS,
        Structure::Superblock,
        "i_clusters",
        |f| f.edit::<Dinode>(Structure::Superblock, |_| true, |d| d.i_clusters.set(0)),
    ),
    case(
        FIELDS,
        "superblock of another block",
        KINDS,
        Structure::Superblock,
        "says it is block",
        |f| f.edit::<Dinode>(Structure::Superblock, |_| true, |d| d.i_blkno.set(3)),
    ),
    case(
        "",
        "superblock of another file system than its blocks",
        KINDS,
        Structure::Dinode,
        "generation",
        |f| {
            f.edit::<Dinode>(Structure::Superblock, |_| true, |d| d.i_fs_generation.set(0));
            f.volume.system_dir().0
        },
    ),
    case(
        "journal",
        "journal whose inode is a device",
        KINDS,
        Structure::Dinode,
        "i_mode",
        |f| f.system_file(SystemFile::Journal, |d| d.i_mode.set(0)),
    ),
    case(
        "journal",
        "journal whose data is in its inode",
        KINDS,
        Structure::Journal,
        "file with extents",
        |f| {
            f.system_file(SystemFile::Journal, |d| {
                d.i_dyn_features.set(1);
                d.i_clusters.set(0);
                d.i_size.set(0);
                d.inline_data_mut().id_count.set(8);
            })
        },
    ),
    case(
        "journal",
        "journal without blocks",
        CRASHED,
        Structure::Journal,
        "missing",
        |f| {
            f.system_file(SystemFile::Journal, |d| {
                d.extent_list_mut().l_next_free_rec.set(0);
                d.extent_list_mut().l_tree_depth.set(0);
            })
        },
    ),
    case(
        "journal",
        "journal without magic number",
        CRASHED,
        Structure::Journal,
        "h_magic",
        |f| journal(f, |bytes| bytes[0] = 0),
    ),
    case(
        "journal",
        "journal of other blocks",
        CRASHED,
        Structure::Journal,
        "s_blocksize",
        |f| journal(f, |bytes| put(bytes, 0x0C, 8192_u32.to_be_bytes())),
    ),
    case(
        "journal",
        "journal longer than its file",
        CRASHED,
        Structure::Journal,
        "s_maxlen",
        |f| journal(f, |bytes| put(bytes, 0x10, u32::MAX.to_be_bytes())),
    ),
    case(
        "journal",
        "log that begins at 0",
        CRASHED,
        Structure::Journal,
        "s_first",
        |f| journal(f, |bytes| put(bytes, 0x14, 0_u32.to_be_bytes())),
    ),
    case(
        "journal",
        "log that starts behind its end",
        CRASHED,
        Structure::Journal,
        "s_start",
        |f| journal(f, |bytes| put(bytes, 0x1C, u32::MAX.to_be_bytes())),
    ),
    case(
        "quota and local alloc",
        "quota file with another magic number",
        QUOTAS,
        Structure::QuotaBlock,
        "dqh_magic",
        |f| quota_block(f, 0, |bytes| bytes[0] = 0),
    ),
    case(
        "quota and local alloc",
        "quota file with more blocks than it has",
        QUOTAS,
        Structure::QuotaBlock,
        "dqi_blocks",
        |f| quota_block(f, 0, |bytes| put(bytes, 0x14, u32::MAX.to_le_bytes())),
    ),
    case(
        "quota and local alloc",
        "quota tree that leads behind its file",
        QUOTAS,
        Structure::QuotaBlock,
        "quota block number",
        |f| quota_block(f, 1, |bytes| put(bytes, 0, u32::MAX.to_le_bytes())),
    ),
    case(
        "quota and local alloc",
        "local alloc that counts other bits",
        KINDS,
        Structure::Dinode,
        "i_used",
        |f| {
            f.system_file(SystemFile::LocalAlloc, |d| {
                d.bitmap_mut().i_total.set(64);
                d.bitmap_mut().i_used.set(1);
            })
        },
    ),
    case(
        "quota and local alloc",
        "local alloc larger than its inode",
        KINDS,
        Structure::Dinode,
        "la_size",
        |f| f.system_file(SystemFile::LocalAlloc, |d| d.local_alloc_mut().la_size.set(u16::MAX)),
    ),
    case(
        "",
        "local alloc with more bits than bitmap",
        KINDS,
        Structure::Dinode,
        "i_total",
        |f| f.system_file(SystemFile::LocalAlloc, |d| d.bitmap_mut().i_total.set(u32::MAX)),
    ),
    case(
        "",
        "local alloc outside the volume",
        KINDS,
        Structure::Dinode,
        "la_bm_off",
        |f| {
            f.system_file(SystemFile::LocalAlloc, |d| {
                d.bitmap_mut().i_total.set(8);
                d.local_alloc_mut().la_bm_off.set(u32::MAX);
            })
        },
    ),
    case(
        "",
        "window of a slot that was given up",
        KINDS,
        Structure::LocalAlloc,
        "not given back",
        |f| f.system_file(SystemFile::LocalAlloc, |d| d.local_alloc_mut().la_bm_off.set(1)),
    ),
    case(
        "",
        "truncate log larger than its inode",
        KINDS,
        Structure::Dinode,
        "tl_count",
        |f| f.system_file(SystemFile::TruncateLog, |d| d.truncate_log_mut().tl_count.set(u16::MAX)),
    ),
    case(
        "",
        "truncate log without room",
        KINDS,
        Structure::Dinode,
        "tl_count",
        |f| f.system_file(SystemFile::TruncateLog, |d| d.truncate_log_mut().tl_count.set(0)),
    ),
    case(
        "",
        "truncate log with more records than room",
        KINDS,
        Structure::Dinode,
        "tl_used",
        |f| f.system_file(SystemFile::TruncateLog, |d| d.truncate_log_mut().tl_used.set(u16::MAX)),
    ),
    case(
        "",
        "truncated clusters outside the volume",
        KINDS,
        Structure::Dinode,
        "t_start",
        |f| {
            f.system_file(SystemFile::TruncateLog, |d| {
                let log = d.truncate_log_mut();
                log.tl_used.set(1);
                log.tl_recs[0].t_start.set(u32::MAX);
                log.tl_recs[0].t_clusters.set(u32::MAX);
            })
        },
    ),
    case(
        "",
        "missing system file",
        &["kinds-max-compat"],
        Structure::SystemDir,
        "missing",
        |f| {
            let dir = f.volume.system_dir();
            let inode = f.volume.inode(dir).expect("it was sound");
            let first = f.volume.extents(&inode).expect("they were sound")[0].blkno;
            let mut blocks = f.base.blocks.iter().filter(|block| block.block == first);
            f.edit_block::<[u8]>(blocks.next().expect("a block of the directory"), |bytes| {
                let name = b"truncate_log:0000";
                let at = bytes
                    .windows(name.len())
                    .position(|window| window == name)
                    .expect("its name");
                bytes[at] = b'T';
            });
            dir.0
        },
    ),
    case(
        "",
        "broken copy of the superblock",
        &["empty-backup-super"],
        Structure::Superblock,
        "s_max_slots",
        |f| {
            let mut copies = f
                .base
                .blocks
                .iter()
                .filter(|block| block.structure == Structure::Superblock);
            let copy = copies.nth(1).expect("a backup");
            f.edit_block::<Dinode>(copy, |d| d.super_block_mut().s_max_slots.set(0))
        },
    ),
    case(
        "",
        "root directory that is a file",
        KINDS,
        Structure::Superblock,
        "s_root_blkno",
        |f| {
            f.inode(
                |d| !is_block_dir(d) && d.inode() == f.volume.root(),
                |d| d.i_mode.set(0o100_644),
            );
            2
        },
    ),
];
