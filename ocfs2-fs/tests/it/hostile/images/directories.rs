//! Directories and their indexes.

use ocfs2_format::{Dinode, DirTrailer, DxFlags, DxLeaf, DxRoot, Structure};

use super::{Case, case};
use crate::hostile::forge::{Forge, is_block_dir, is_inline, is_user, put};
use ocfs2_format::FileKind;

const DIRS: &[&str] = &["dirs-4k", "kinds-1k-8k-metaecc"];
const INDEXED: &[&str] = &["dirs-4k", "dirs-512-metaecc"];
const OLDEST: &[&str] = &["kinds-max-compat"];

fn inline_root(root: &DxRoot) -> bool {
    root.flags().contains(DxFlags::INLINE)
}

fn tree_root(root: &DxRoot) -> bool {
    !inline_root(root)
}

fn filled(leaf: &DxLeaf) -> bool {
    leaf.entries().entries().len() > 1
}

fn dx_root(f: &Forge<'_>, suits: fn(&DxRoot) -> bool, change: impl FnOnce(&mut DxRoot)) -> u64 {
    f.edit(Structure::DxRoot, suits, change)
}

fn dx_leaf(f: &Forge<'_>, change: impl FnOnce(&mut DxLeaf)) -> u64 {
    f.edit(Structure::DxLeaf, filled, change)
}

/// Changes the first block of some directory: its entries begin with `.` at 0 and `..` at 16.
fn first_block(f: &Forge<'_>, change: impl FnOnce(&mut [u8])) -> u64 {
    f.edit::<[u8]>(
        Structure::DirBlock,
        |bytes| bytes[12] == b'.' && bytes[28..30] == *b"..",
        change,
    )
}

/// The same for a directory with something in it: its third entry is at the offset given to `change`.
fn third_entry(f: &Forge<'_>, change: impl FnOnce(&mut [u8], usize)) -> u64 {
    let suits = |bytes: &[u8]| bytes[12] == b'.' && bytes[16 + 8] == 16 && bytes[16 + 9] == 0 && bytes[32 + 10] > 1;
    f.edit::<[u8]>(Structure::DirBlock, suits, |bytes| change(bytes, 32))
}

fn trailer(f: &Forge<'_>, change: impl FnOnce(&mut DirTrailer)) -> u64 {
    f.edit_bytes(Structure::DirBlock, |bytes| {
        change(DirTrailer::of_block_mut(bytes).expect("a block is longer"));
    })
}

fn inline_dir(dinode: &Dinode) -> bool {
    is_user(dinode, FileKind::Directory) && is_inline(dinode)
}

const DIRENTS: &str = "CVE-2024-41015 dirent bounds";
const COUNTS: &str = "CVE-2026-89492 dx counts";

pub(super) const CASES: &[Case] = &[
    case(
        DIRENTS,
        "entry of length 0",
        DIRS,
        Structure::DirBlock,
        "rec_len",
        |f| third_entry(f, |bytes, at| put(bytes, at + 8, [0, 0])),
    ),
    case(
        DIRENTS,
        "entry shorter than its header",
        DIRS,
        Structure::DirBlock,
        "rec_len",
        |f| third_entry(f, |bytes, at| put(bytes, at + 8, [8, 0])),
    ),
    case(
        DIRENTS,
        "entry of an odd length",
        DIRS,
        Structure::DirBlock,
        "rec_len",
        |f| third_entry(f, |bytes, at| put(bytes, at + 8, [bytes[at + 8] + 2, bytes[at + 9]])),
    ),
    case(
        DIRENTS,
        "entry beyond the end of its block",
        DIRS,
        Structure::DirBlock,
        "rec_len",
        |f| third_entry(f, |bytes, at| put(bytes, at + 8, 0xFFFC_u16.to_le_bytes())),
    ),
    case(
        DIRENTS,
        "entry over the trailer",
        &["kinds-1k-8k-metaecc"],
        Structure::DirBlock,
        "rec_len",
        |f| {
            third_entry(f, |bytes, at| {
                put(bytes, at + 8, ((bytes.len() - at) as u16).to_le_bytes())
            })
        },
    ),
    case(
        DIRENTS,
        "entry that leaves too little behind it",
        DIRS,
        Structure::DirBlock,
        "end of the area",
        |f| {
            third_entry(f, |bytes, at| {
                let trailer = DirTrailer::SIZE;
                put(bytes, at + 8, ((bytes.len() - trailer - at - 8) as u16).to_le_bytes());
            })
        },
    ),
    case(
        DIRENTS,
        "name beyond the end of its entry",
        DIRS,
        Structure::DirBlock,
        "rec_len",
        |f| first_block(f, |bytes| bytes[10] = 255),
    ),
    case(
        DIRENTS,
        "inline entry beyond the end of the area",
        DIRS,
        Structure::DirBlock,
        "rec_len",
        |f| {
            f.inode(inline_dir, |d| {
                put(&mut d.inline_data_mut().id_data, 8, 0xFFF0_u16.to_le_bytes())
            })
        },
    ),
    case(
        "",
        "name without letters",
        DIRS,
        Structure::DirBlock,
        "illegal name",
        |f| third_entry(f, |bytes, at| bytes[at + 10] = 0),
    ),
    case(
        "",
        "name with a slash",
        DIRS,
        Structure::DirBlock,
        "illegal name",
        |f| third_entry(f, |bytes, at| bytes[at + 12] = b'/'),
    ),
    case("", "name with a NUL", DIRS, Structure::DirBlock, "illegal name", |f| {
        third_entry(f, |bytes, at| bytes[at + 12] = 0)
    }),
    case(
        "",
        "entry outside the volume",
        DIRS,
        Structure::Dinode,
        "points to block",
        |f| {
            third_entry(f, |bytes, at| put(bytes, at, u64::MAX.to_le_bytes()));
            u64::MAX
        },
    ),
    case(
        "",
        "entry of another type than its inode",
        DIRS,
        Structure::DirBlock,
        "file_type",
        |f| third_entry(f, |bytes, at| bytes[at + 11] = 5),
    ),
    case(
        "",
        "directory that does not begin with itself",
        DIRS,
        Structure::DirBlock,
        "first two entries",
        |f| first_block(f, |bytes| bytes[12] = b'x'),
    ),
    case(
        "",
        "dot that leads elsewhere",
        DIRS,
        Structure::DirBlock,
        "leads to another inode",
        |f| first_block(f, |bytes| put(bytes, 0, [9, 0, 0, 0, 0, 0, 0, 0])),
    ),
    case("", "directory in itself", DIRS, Structure::DirBlock, "a loop", |f| {
        let mut dir = 0;
        third_entry(f, |bytes, at| {
            let itself: [u8; 8] = bytes[..8].try_into().expect("8 bytes");
            dir = u64::from_le_bytes(itself);
            put(bytes, at, itself);
            bytes[at + 11] = 2;
        });
        dir
    }),
    case(
        "directory i_size",
        "directory larger than its extents",
        DIRS,
        Structure::Dinode,
        "i_size",
        |f| f.inode(is_block_dir, |d| d.i_size.set(1 << 30)),
    ),
    case(
        "directory i_size",
        "directory larger than its extents, without index",
        OLDEST,
        Structure::Dinode,
        "i_size",
        |f| f.inode(is_block_dir, |d| d.i_size.set(1 << 30)),
    ),
    case(
        "CVE-2026-89490 directory position",
        "directory whose positions have more than 32 bits",
        DIRS,
        Structure::Dinode,
        "i_size",
        |f| f.inode(is_block_dir, |d| d.i_size.set(0x1_0000_0000_0000)),
    ),
    case(
        "",
        "trailer with another signature",
        INDEXED,
        Structure::DirTrailer,
        "signature",
        |f| trailer(f, |t| t.db_signature.0[0] = 0),
    ),
    case(
        "",
        "trailer of another block",
        INDEXED,
        Structure::DirTrailer,
        "says it is block",
        |f| trailer(f, |t| t.db_blkno.set(4)),
    ),
    case(
        "",
        "trailer of another directory",
        INDEXED,
        Structure::DirTrailer,
        "db_parent_dinode",
        |f| trailer(f, |t| t.db_parent_dinode.set(4)),
    ),
    case(
        "",
        "free block outside the volume",
        INDEXED,
        Structure::DirTrailer,
        "db_free_next",
        |f| trailer(f, |t| t.db_free_next.set(1 << 60)),
    ),
    case(
        "",
        "free list that is a loop",
        INDEXED,
        Structure::DirTrailer,
        "a loop",
        |f| {
            let root = f.find(Structure::DxRoot, |root: &DxRoot| root.dr_free_blk.get() != 0);
            let (mut free, mut dir) = (0, 0);
            f.edit_block::<DxRoot>(&root, |root| {
                (free, dir) = (root.dr_free_blk.get(), root.dr_dir_blkno.get())
            });
            let mut blocks = f.base.blocks.iter().filter(|block| block.block.0 == free);
            f.edit_block::<[u8]>(blocks.next().expect("a block of the directory"), |bytes| {
                let trailer = DirTrailer::of_block_mut(bytes).expect("a block is longer");
                trailer.db_free_next.set(free);
            });
            dir
        },
    ),
    case(
        COUNTS,
        "index root with another room",
        DIRS,
        Structure::DxRoot,
        "de_count",
        |f| dx_root(f, inline_root, |root| root.entries_mut().de_count.set(u16::MAX)),
    ),
    case(
        COUNTS,
        "index root with more entries than room",
        DIRS,
        Structure::DxRoot,
        "de_num_used",
        |f| dx_root(f, inline_root, |root| root.entries_mut().de_num_used.set(u16::MAX)),
    ),
    case(
        COUNTS,
        "index leaf with another room",
        INDEXED,
        Structure::DxLeaf,
        "de_count",
        |f| dx_leaf(f, |leaf| leaf.entries_mut().de_count.set(u16::MAX)),
    ),
    case(
        COUNTS,
        "index leaf without room",
        INDEXED,
        Structure::DxLeaf,
        "de_count",
        |f| dx_leaf(f, |leaf| leaf.entries_mut().de_count.set(0)),
    ),
    case(
        COUNTS,
        "index leaf with more entries than room",
        INDEXED,
        Structure::DxLeaf,
        "de_num_used",
        |f| dx_leaf(f, |leaf| leaf.entries_mut().de_num_used.set(u16::MAX)),
    ),
    case(
        "dx root list",
        "index root with another room for leaves",
        INDEXED,
        Structure::DxRoot,
        "l_count",
        |f| dx_root(f, tree_root, |root| root.list_mut().l_count.set(u16::MAX)),
    ),
    case(
        "dx root list",
        "index root with more leaves than room",
        INDEXED,
        Structure::DxRoot,
        "l_next_free_rec",
        |f| dx_root(f, tree_root, |root| root.list_mut().l_next_free_rec.set(u16::MAX)),
    ),
    case(
        "dx root list",
        "index deeper than any path",
        INDEXED,
        Structure::DxRoot,
        "l_tree_depth",
        |f| dx_root(f, tree_root, |root| root.list_mut().l_tree_depth.set(u16::MAX)),
    ),
    case(
        "",
        "index root with another signature",
        INDEXED,
        Structure::DxRoot,
        "signature",
        |f| dx_root(f, |_| true, |root| root.dr_signature.0[0] = b'd'),
    ),
    case(
        "",
        "index root of another block",
        INDEXED,
        Structure::DxRoot,
        "says it is block",
        |f| dx_root(f, |_| true, |root| root.dr_blkno.set(0)),
    ),
    case(
        "",
        "index of another directory",
        INDEXED,
        Structure::DxRoot,
        "dr_dir_blkno",
        |f| dx_root(f, |_| true, |root| root.dr_dir_blkno.set(1 << 40)),
    ),
    case(
        "",
        "index that counts other entries",
        INDEXED,
        Structure::DxRoot,
        "dr_num_entries",
        |f| dx_root(f, |_| true, |root| root.dr_num_entries.set(2)),
    ),
    case(
        "",
        "index root outside the volume",
        INDEXED,
        Structure::DxRoot,
        "points to block",
        |f| {
            f.inode(is_block_dir, |d| d.i_dx_root.set(u64::MAX));
            u64::MAX
        },
    ),
    case(
        "",
        "index leaf with another signature",
        INDEXED,
        Structure::DxLeaf,
        "signature",
        |f| dx_leaf(f, |leaf| leaf.dl_signature.0[3] = 0),
    ),
    case(
        "",
        "index leaf of another block",
        INDEXED,
        Structure::DxLeaf,
        "says it is block",
        |f| dx_leaf(f, |leaf| leaf.dl_blkno.set(3)),
    ),
    case(
        "",
        "index leaf of another file system",
        INDEXED,
        Structure::DxLeaf,
        "generation",
        |f| dx_leaf(f, |leaf| leaf.dl_fs_generation.set(1)),
    ),
    case(
        "",
        "index entry in the wrong leaf",
        &["dirs-512-metaecc"],
        Structure::DxLeaf,
        "dx_major_hash",
        |f| {
            dx_leaf(f, |leaf| {
                let list = leaf.entries_mut();
                for entry in &mut list.de_entries[..2] {
                    entry.dx_minor_hash.set(!entry.dx_minor_hash.get());
                    entry.dx_major_hash.set(!entry.dx_major_hash.get());
                }
            })
        },
    ),
    case(
        "",
        "index entry that leads outside the volume",
        INDEXED,
        Structure::DxRoot,
        "for no name",
        |f| {
            dx_leaf(f, |leaf| leaf.entries_mut().de_entries[0].dx_dirent_blk.set(u64::MAX));
            let dir = f.find(Structure::DxRoot, tree_root);
            let mut number = 0;
            f.edit_block::<DxRoot>(&dir, |root| number = root.dr_dir_blkno.get());
            number
        },
    ),
];
