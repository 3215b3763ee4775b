//! Directory indexes.

use std::io::{self, Write};

use ocfs2_format::{DxEntryList, DxFlags, DxLeaf, DxRoot, Geometry, SlotNum};
use ocfs2_fs::inspect::Raw;
use serde_json::{Value, json};

use super::{check, check_json, extents, set};

/// The root of an index, without what is in it.
pub(in super::super) fn root(out: &mut dyn Write, root: &Raw<DxRoot>, geometry: &Geometry) -> io::Result<()> {
    let generation = root.dr_fs_generation.get();
    writeln!(
        out,
        "\tDir Index Root: {}   FS Generation: {generation} ({generation:#x})",
        root.dr_blkno
    )?;
    writeln!(
        out,
        "\tClusters: {}   Last Extblk: {}   Dir Inode: {}",
        root.dr_clusters, root.dr_last_eb_blk, root.dr_dir_blkno
    )?;
    let slot = match SlotNum(root.dr_suballoc_slot.get()) {
        SlotNum::INVALID => "Global".to_owned(),
        slot => slot.to_string(),
    };
    write!(
        out,
        "\tSub Alloc Slot: {slot}   Sub Alloc Bit: {}",
        root.dr_suballoc_bit
    )?;
    extents::suballoc_group(out, root.dr_suballoc_loc.get())?;
    let inline = if root.flags().contains(DxFlags::INLINE) {
        "Inline "
    } else {
        ""
    };
    writeln!(out, "\tFlags: ({:#x}) {inline}", root.dr_flags)?;
    writeln!(out, "\tTotal Entry Count: {}", root.dr_num_entries)?;
    check(out, &root.dr_check, root.check_state(geometry))?;
    if root.flags().contains(DxFlags::INLINE) {
        counts(out, root.entries())?;
    }
    Ok(())
}

/// The root of an index in JSON, with the entries or extents in it.
pub(in super::super) fn root_json(root: &Raw<DxRoot>, geometry: &Geometry) -> Value {
    let mut object = json!({
        "dr_blkno": root.dr_blkno.get(),
        "dr_fs_generation": root.dr_fs_generation.get(),
        "dr_clusters": root.dr_clusters.get(),
        "dr_last_eb_blk": root.dr_last_eb_blk.get(),
        "dr_dir_blkno": root.dr_dir_blkno.get(),
        "dr_suballoc_slot": root.dr_suballoc_slot.get(),
        "dr_suballoc_bit": root.dr_suballoc_bit.get(),
        "dr_suballoc_loc": root.dr_suballoc_loc.get(),
        "dr_flags": root.dr_flags,
        "dr_num_entries": root.dr_num_entries.get(),
        "dr_free_blk": root.dr_free_blk.get(),
        "dr_check": check_json(&root.dr_check, root.check_state(geometry)),
    });
    if root.flags().contains(DxFlags::INLINE) {
        set(&mut object, "dr_entries", entries_json(root.entries()));
    } else {
        set(&mut object, "dr_list", extents::list_json(root.list()));
    }
    object
}

/// A leaf with its entries.
pub(in super::super) fn leaf(out: &mut dyn Write, leaf: &Raw<DxLeaf>, geometry: &Geometry) -> io::Result<()> {
    let generation = leaf.dl_fs_generation.get();
    writeln!(
        out,
        "\tDir Index Leaf: {}  FS Generation: {generation} ({generation:#x})",
        leaf.dl_blkno
    )?;
    check(out, &leaf.dl_check, leaf.check_state(geometry))?;
    entries(out, leaf.entries())
}

/// A leaf in JSON.
pub(in super::super) fn leaf_json(leaf: &Raw<DxLeaf>, geometry: &Geometry) -> Value {
    json!({
        "dl_blkno": leaf.dl_blkno.get(),
        "dl_fs_generation": leaf.dl_fs_generation.get(),
        "dl_check": check_json(&leaf.dl_check, leaf.check_state(geometry)),
        "dl_list": entries_json(leaf.entries()),
    })
}

/// A list of index entries.
pub(in super::super) fn entries(out: &mut dyn Write, list: &DxEntryList) -> io::Result<()> {
    counts(out, list)?;
    writeln!(out, "\t## {:<11}         {:<13}", "Hash (Major Minor)", "Dir Block#")?;
    for (index, entry) in list.entries().iter().enumerate() {
        writeln!(
            out,
            "\t {index:<2} ({:#010x} {:#010x})    {:<13}",
            entry.dx_major_hash.get(),
            entry.dx_minor_hash.get(),
            entry.dx_dirent_blk
        )?;
    }
    Ok(())
}

fn counts(out: &mut dyn Write, list: &DxEntryList) -> io::Result<()> {
    writeln!(out, "\tCount: {}  Num Used: {}", list.de_count, list.de_num_used)
}

fn entries_json(list: &DxEntryList) -> Value {
    let entries = list.entries().iter().map(|entry| {
        json!({
            "dx_major_hash": entry.dx_major_hash.get(),
            "dx_minor_hash": entry.dx_minor_hash.get(),
            "dx_dirent_blk": entry.dx_dirent_blk.get(),
        })
    });
    json!({
        "de_count": list.de_count.get(),
        "de_num_used": list.de_num_used.get(),
        "de_entries": entries.collect::<Vec<_>>(),
    })
}
