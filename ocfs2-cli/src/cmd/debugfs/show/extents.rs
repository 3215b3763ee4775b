//! Extent lists and extent blocks.

use std::io::{self, Write};

use ocfs2_format::{ExtentBlock, ExtentFlags, ExtentList, Geometry};
use ocfs2_fs::inspect::Raw;
use serde_json::{Value, json};

use super::{check, check_json, words};

/// Words of `e_flags`.
const FLAGS: &[(u32, &str)] = &[
    (ExtentFlags::UNWRITTEN.bits() as u32, "Unwritten"),
    (ExtentFlags::REFCOUNTED.bits() as u32, "Refcounted"),
];

/// A list with its records.
pub(in super::super) fn list(out: &mut dyn Write, list: &ExtentList) -> io::Result<()> {
    writeln!(
        out,
        "\tTree Depth: {}   Count: {}   Next Free Rec: {}",
        list.l_tree_depth, list.l_count, list.l_next_free_rec
    )?;
    if list.l_next_free_rec.get() == 0 {
        return Ok(());
    }
    let depth = list.l_tree_depth.get();
    if depth > 0 {
        writeln!(out, "\t## {:<11}   {:<12}   Block#", "Offset", "Clusters")?;
    } else {
        writeln!(
            out,
            "\t## {:<11}   {:<12}   {:<13}   Flags",
            "Offset", "Clusters", "Block#"
        )?;
    }
    for (index, rec) in list.records().iter().enumerate() {
        let (cpos, clusters, blkno) = (rec.e_cpos.get(), rec.clusters(depth), rec.e_blkno.get());
        if depth > 0 {
            writeln!(out, "\t{index:<2} {cpos:<11}   {clusters:<12}   {blkno}")?;
        } else {
            let flags = rec.e_flags;
            let words = words(flags.into(), FLAGS);
            writeln!(
                out,
                "\t{index:<2} {cpos:<11}   {clusters:<12}   {blkno:<13}   {flags:#x} {}",
                words.trim_end()
            )?;
        }
    }
    Ok(())
}

/// A list in JSON.
pub(in super::super) fn list_json(list: &ExtentList) -> Value {
    let depth = list.l_tree_depth.get();
    let records = list.records().iter().map(|rec| {
        if depth > 0 {
            json!({ "e_cpos": rec.e_cpos.get(), "e_int_clusters": rec.int_clusters(), "e_blkno": rec.e_blkno.get() })
        } else {
            json!({
                "e_cpos": rec.e_cpos.get(),
                "e_leaf_clusters": rec.e_leaf_clusters.get(),
                "e_blkno": rec.e_blkno.get(),
                "e_flags": rec.e_flags,
            })
        }
    });
    json!({
        "l_tree_depth": depth,
        "l_count": list.l_count.get(),
        "l_next_free_rec": list.l_next_free_rec.get(),
        "l_recs": records.collect::<Vec<_>>(),
    })
}

/// An extent block with its records.
pub(in super::super) fn block(out: &mut dyn Write, block: &Raw<ExtentBlock>, geometry: &Geometry) -> io::Result<()> {
    write!(
        out,
        "\tSubAlloc Bit: {}   SubAlloc Slot: {}",
        block.h_suballoc_bit, block.h_suballoc_slot
    )?;
    suballoc_group(out, block.h_suballoc_loc.get())?;
    writeln!(
        out,
        "\tBlknum: {}   Next Leaf: {}",
        block.h_blkno, block.h_next_leaf_blk
    )?;
    check(out, &block.h_check, block.check_state(geometry))?;
    list(out, block.list())
}

/// An extent block in JSON.
pub(in super::super) fn block_json(block: &Raw<ExtentBlock>, geometry: &Geometry) -> Value {
    json!({
        "h_blkno": block.h_blkno.get(),
        "h_fs_generation": block.h_fs_generation.get(),
        "h_suballoc_slot": block.h_suballoc_slot.get(),
        "h_suballoc_bit": block.h_suballoc_bit.get(),
        "h_suballoc_loc": block.h_suballoc_loc.get(),
        "h_next_leaf_blk": block.h_next_leaf_blk.get(),
        "h_check": check_json(&block.h_check, block.check_state(geometry)),
        "h_list": list_json(block.list()),
    })
}

/// The end of a line about a suballocator's bit: the group, where the block names one.
pub(in super::super) fn suballoc_group(out: &mut dyn Write, group: u64) -> io::Result<()> {
    if group != 0 {
        write!(out, "   SubAlloc Group: {group}")?;
    }
    writeln!(out)
}
