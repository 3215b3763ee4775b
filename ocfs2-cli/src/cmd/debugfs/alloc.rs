//! Commands about allocation groups and extent blocks.

use std::io::Write;

use ocfs2_format::{BlockNo, ExtentBlock, GroupDesc, SlotNum, SystemFile};
use ocfs2_fs::inspect::{Raw, clear_runs};
use serde_json::{Value, json};

use super::failure::{Failure, Outcome, failed, text};
use super::out::Out;
use super::session::{Session, bracketed};
use super::show::{extents, groups, set};

/// The one operand of a command that takes a block.
pub(super) fn block_operand(session: &Session, words: &[&[u8]]) -> Result<BlockNo, Failure> {
    let block = words.first().and_then(|word| bracketed(word)).ok_or(Failure::Usage)?;
    let blocks = session.volume()?.geometry().blocks();
    if block.0 >= blocks {
        return Err(Failure::Text(format!("Invalid block number - {block}")));
    }
    Ok(block)
}

/// `group <BLOCK>`.
pub(super) fn group(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let first = block_operand(session, words)?;
    out.begin_list(json!({}), "groups")?;
    each_group(session, first, out, |index, group, out| {
        let geometry = *session.volume()?.geometry();
        if out.is_json() {
            return Ok(out.item(&groups::group_json(group, &geometry))?);
        }
        if index == 0 {
            groups::chain_header(out, group, &geometry)?;
        }
        Ok(groups::group(out, index, group)?)
    })
}

/// `grpextents <BLOCK>`.
pub(super) fn grpextents(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let first = block_operand(session, words)?;
    out.begin_list(json!({}), "groups")?;
    each_group(session, first, out, |_, group, out| free_extents(session, group, out))
}

/// `gd_free_bits`: the free extents of every group of the global bitmap.
pub(super) fn gd_free_bits(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    match words {
        [] => {}
        [b"-s", ..] => {
            return Err(Failure::new(
                "-s would write to the volume, which this program never does",
            ));
        }
        _ => return Err(Failure::Usage),
    }
    let open = session.volume()?;
    let bitmap = open.inspector.system_file(SystemFile::GlobalBitmap, SlotNum::default());
    let bitmap = bitmap.map_err(|error| failed(&error, "while looking up global bitmap"))?;
    out.begin_list(json!({}), "groups")?;
    for rec in bitmap.chain_list().chains() {
        if !out.is_json() {
            writeln!(out, "Chain rec list: {}", rec.c_blkno)?;
        }
        each_group(session, BlockNo(rec.c_blkno.get()), out, |_, group, out| {
            free_extents(session, group, out)
        })?;
    }
    Ok(())
}

/// Visits the groups of a chain from `first` on.
fn each_group(
    session: &Session,
    first: BlockNo,
    out: &mut Out<'_>,
    mut visit: impl FnMut(usize, &Raw<GroupDesc>, &mut Out<'_>) -> Outcome,
) -> Outcome {
    let open = session.volume()?;
    for (index, group) in open.inspector.group_chain(first).enumerate() {
        match group {
            Ok(group) => visit(index, &group, out)?,
            Err(error) if index == 0 => {
                let doing = format_args!("while reading block group descriptor {first}");
                return Err(failed(&error, doing));
            }
            Err(error) => session.problem(out, "group", text(&error)),
        }
    }
    Ok(())
}

/// Extents on a line of text.
const PER_LINE: usize = 3;

fn free_extents(session: &Session, group: &Raw<GroupDesc>, out: &mut Out<'_>) -> Outcome {
    if out.is_json() {
        let geometry = session.volume()?.geometry();
        let runs = clear_runs(group).map(|(start, len)| json!({ "start": start, "length": len }));
        let mut object = groups::group_json(group, geometry);
        set(&mut object, "free_extents", runs.collect::<Value>());
        return Ok(out.item(&object)?);
    }
    let (total, free) = (
        u32::from(group.bg_bits.get()),
        u32::from(group.bg_free_bits_count.get()),
    );
    let used = total.wrapping_sub(free);
    writeln!(
        out,
        "\tGroup# {}   Total: {total}   Used: {used}   Free: {free}",
        group.bg_blkno
    )?;
    let (mut count, mut longest, mut sum) = (0usize, 0, 0u32);
    for (start, len) in clear_runs(group) {
        if count == 0 {
            let cell = format!("{:<3}   {:<6}   {:<6}", "###", "Start", "Length");
            writeln!(out, "\t{cell}    {cell}    {cell}")?;
        }
        let before = if count.is_multiple_of(PER_LINE) { "\t" } else { "" };
        count += 1;
        let after = if count.is_multiple_of(PER_LINE) { "\n" } else { "    " };
        write!(out, "{before}{count:<3}   {start:<6}   {len:<6}{after}")?;
        longest = longest.max(len);
        sum += u32::from(len);
    }
    if !count.is_multiple_of(PER_LINE) {
        writeln!(out)?;
    }
    let average = (sum as usize).checked_div(count).unwrap_or(0);
    writeln!(
        out,
        "\tFree Extent Count: {count}   Longest: {longest}   Average: {average}\n"
    )?;
    Ok(())
}

/// `extent <BLOCK>`.
pub(super) fn extent(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let at = block_operand(session, words)?;
    let open = session.volume()?;
    let block = open.inspector.read::<ExtentBlock>(at);
    let block = block.map_err(|error| failed(&error, format_args!("while reading extent block {at}")))?;
    if out.is_json() {
        out.document(extents::block_json(&block, open.geometry()))?;
        return Ok(());
    }
    Ok(extents::block(out, &block, open.geometry())?)
}
