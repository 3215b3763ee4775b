//! Group descriptors and their free bits.

use std::io::{self, Write};

use ocfs2_format::{Geometry, GroupDesc};
use ocfs2_fs::inspect::{Raw, clear_runs};
use serde_json::{Value, json};

use super::{check, check_json, set};
use crate::cmd::debugfs::show::extents;

/// What stands above the groups of a chain, from its first group.
pub(in super::super) fn chain_header(
    out: &mut dyn Write,
    first: &Raw<GroupDesc>,
    geometry: &Geometry,
) -> io::Result<()> {
    writeln!(
        out,
        "\tGroup Chain: {}   Parent Inode: {}  Generation: {}",
        first.bg_chain, first.bg_parent_dinode, first.bg_generation
    )?;
    check(out, &first.bg_check, first.check_state(geometry))?;
    writeln!(
        out,
        "\t##   {:<15}   {:<6}   {:<6}   {:<6}   {:<6}   {:<6}",
        "Block#", "Total", "Used", "Free", "Contig", "Size"
    )
}

/// One group of a chain as a line, and its extents where it is made of several.
pub(in super::super) fn group(out: &mut dyn Write, index: usize, group: &GroupDesc) -> io::Result<()> {
    let (total, free) = (
        u32::from(group.bg_bits.get()),
        u32::from(group.bg_free_bits_count.get()),
    );
    // As unsigned numbers of the reference are: a group that claims more free bits than it has shows.
    let used = total.wrapping_sub(free);
    let longest = clear_runs(group).map(|(_, len)| len).max().unwrap_or(0);
    writeln!(
        out,
        "\t{index:<2}   {:<15}   {total:<6}   {used:<6}   {free:<6}   {longest:<6}   {:<6}",
        group.bg_blkno, group.bg_size
    )?;
    match group.extents() {
        Some(list) => extents::list(out, list),
        None => Ok(()),
    }
}

/// A group in JSON.
pub(in super::super) fn group_json(group: &Raw<GroupDesc>, geometry: &Geometry) -> Value {
    let mut object = json!({
        "bg_blkno": group.bg_blkno.get(),
        "bg_size": group.bg_size.get(),
        "bg_bits": group.bg_bits.get(),
        "bg_free_bits_count": group.bg_free_bits_count.get(),
        "bg_chain": group.bg_chain.get(),
        "bg_generation": group.bg_generation.get(),
        "bg_next_group": group.bg_next_group.get(),
        "bg_parent_dinode": group.bg_parent_dinode.get(),
        "bg_check": check_json(&group.bg_check, group.check_state(geometry)),
        "longest_free": clear_runs(group).map(|(_, len)| len).max().unwrap_or(0),
    });
    if let Some(list) = group.extents() {
        set(&mut object, "bg_list", extents::list_json(list));
    }
    object
}
