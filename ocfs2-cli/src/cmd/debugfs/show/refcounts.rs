//! Blocks of refcount trees.

use std::io::{self, Write};

use ocfs2_format::{Geometry, RefcountBlock, RefcountFlags, RefcountList};
use ocfs2_fs::inspect::Raw;
use serde_json::{Value, json};

use super::{check, check_json, extents, set};

/// A block without its records.
pub(in super::super) fn header(out: &mut dyn Write, block: &Raw<RefcountBlock>, geometry: &Geometry) -> io::Result<()> {
    write!(
        out,
        "\tSubAlloc Bit: {}   SubAlloc Slot: {}",
        block.rf_suballoc_bit, block.rf_suballoc_slot
    )?;
    extents::suballoc_group(out, block.rf_suballoc_loc.get())?;
    let generation = block.rf_fs_generation.get();
    writeln!(out, "\tFS Generation: {generation} ({generation:#x})")?;
    writeln!(out, "\tBlknum: {}   Parent: {}", block.rf_blkno, block.rf_parent)?;
    writeln!(
        out,
        "\tCpos: {}   Last Leaf block: {}",
        block.rf_cpos, block.rf_last_eb_blk
    )?;
    writeln!(
        out,
        "\tReftree Count: {}   Ref clusters: {}",
        block.rf_count, block.rf_clusters
    )?;
    let names = [(RefcountFlags::LEAF, "Leaf"), (RefcountFlags::TREE, "Tree")];
    let words = names.into_iter().filter(|(flag, _)| block.flags().contains(*flag));
    let words: Vec<_> = words.map(|(_, name)| name).collect();
    writeln!(out, "\tFlags: {:#x} {}", block.rf_flags.get(), words.join(" "))?;
    check(out, &block.rf_check, block.check_state(geometry))
}

/// A list of records.
pub(in super::super) fn records(out: &mut dyn Write, list: &RefcountList) -> io::Result<()> {
    writeln!(out, "\tRefcount records: {}   Used: {}", list.rl_count, list.rl_used)?;
    writeln!(
        out,
        "\t### {:<20}   {:<12}   {:<12}",
        "Physical cpos", "Clusters", "Reference count"
    )?;
    for (index, rec) in list.records().iter().enumerate() {
        writeln!(
            out,
            "\t{index:<3} {:<20}   {:<12}   {}",
            rec.r_cpos.get(),
            rec.r_clusters.get(),
            rec.r_refcount
        )?;
    }
    Ok(())
}

/// A block in JSON, with its records or extents.
pub(in super::super) fn json(block: &Raw<RefcountBlock>, geometry: &Geometry) -> Value {
    let mut object = json!({
        "rf_blkno": block.rf_blkno.get(),
        "rf_suballoc_slot": block.rf_suballoc_slot.get(),
        "rf_suballoc_bit": block.rf_suballoc_bit.get(),
        "rf_suballoc_loc": block.rf_suballoc_loc.get(),
        "rf_fs_generation": block.rf_fs_generation.get(),
        "rf_parent": block.rf_parent.get(),
        "rf_cpos": block.rf_cpos.get(),
        "rf_last_eb_blk": block.rf_last_eb_blk.get(),
        "rf_count": block.rf_count.get(),
        "rf_clusters": block.rf_clusters.get(),
        "rf_flags": block.rf_flags.get(),
        "rf_check": check_json(&block.rf_check, block.check_state(geometry)),
    });
    if block.flags().contains(RefcountFlags::TREE) {
        set(&mut object, "rf_list", extents::list_json(block.list()));
    } else {
        let list = block.records();
        let records = list.records().iter().map(|rec| {
            json!({
                "r_cpos": rec.r_cpos.get(),
                "r_clusters": rec.r_clusters.get(),
                "r_refcount": rec.r_refcount.get(),
            })
        });
        let value = json!({
            "rl_count": list.rl_count.get(),
            "rl_used": list.rl_used.get(),
            "rl_recs": records.collect::<Vec<_>>(),
        });
        set(&mut object, "rf_records", value);
    }
    object
}
