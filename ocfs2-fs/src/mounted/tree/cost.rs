//! What changes of a tree may take.

use super::path::Reader;
use super::{Cost, Root};
use crate::error::Result;
use crate::meta::Blocks;

/// Credits that freeing one extent block takes at most: its group and its allocator.
const CREDITS_PER_FREED_BLOCK: u32 = 2;

pub(super) fn cost_from(meta: &dyn Blocks, root: Root, cpos: u32, changes: u32) -> Result<Cost> {
    let reader = Reader { meta, root };
    let depth = u32::from(reader.depth()?);
    let (leaves, parents) = leaves_from(&reader, cpos)?;
    let room = u32::from(meta.geometry().extents_per_block()).max(1);
    // A change adds two records at most.
    let new_leaves = changes.saturating_mul(2).div_ceil(room);
    let blocks = new_leaves.saturating_mul(2).saturating_add(depth + 2);
    let freed = if depth == 0 { 0 } else { changes / room + 1 + depth };
    // One more leaf to the left, and the ways to the first two leaves.
    let tree = leaves
        .saturating_add(parents)
        .saturating_add(parents / 8)
        .saturating_add(2 * depth + 2);
    let credits = root
        .credits(meta)
        .saturating_add(tree)
        .saturating_add(blocks)
        .saturating_add(freed.saturating_mul(CREDITS_PER_FREED_BLOCK));
    Ok(Cost { blocks, credits })
}

/// What one change takes for which there is room already.
pub(super) fn prepared(meta: &dyn Blocks, root: Root, depth: u32) -> Cost {
    Cost {
        blocks: 0,
        // The leaf and its neighbours, and the lists above them.
        credits: root.credits(meta) + 3 + 3 * depth,
    }
}

/// Leaves from that of `cpos` to the end, and the lists right above them.
fn leaves_from(reader: &Reader<'_>, cpos: u32) -> Result<(u32, u32)> {
    let mut path = reader.descend(cpos)?;
    let (mut leaves, mut parents) = (0u32, 0u32);
    let mut start = None;
    while let Some(step) = path.steps.last_mut() {
        leaves = leaves.saturating_add((step.len - step.index) as u32);
        parents = parents.saturating_add(1);
        // Keys that only grow keep a damaged tree from being walked for ever.
        let first = reader.record(step)?.e_cpos.get();
        if start.is_some_and(|start| first <= start) {
            return Err(reader.root.broken("keys of an extent tree do not grow"));
        }
        start = Some(first);
        step.index = step.len - 1;
        match reader.next(&path)? {
            Some(next) => path = next,
            None => break,
        }
    }
    Ok((leaves, parents))
}

/// See [`super::last_part`].
pub(super) fn last_part(
    meta: &dyn Blocks,
    root: Root,
    cpos: u32,
    clusters: u32,
    records: u32,
) -> Result<Option<(u32, u32)>> {
    let reader = Reader { meta, root };
    let end = u64::from(cpos) + u64::from(clusters);
    if clusters == 0 {
        return Ok(None);
    }
    let mut path = Some(reader.descend((end - 1) as u32)?);
    let mut found: Option<u32> = None;
    let mut left = records.max(1);
    let mut right_of: Option<u32> = None;
    while let Some(at) = path {
        let extents = reader.extents(at.leaf)?;
        if extents.is_empty() && !at.steps.is_empty() {
            return Err(root.broken("a leaf of an extent tree is empty"));
        }
        if let (Some(key), Some(last)) = (right_of, extents.last())
            && last.cpos >= key
        {
            return Err(root.broken("keys of an extent tree do not grow"));
        }
        for extent in extents.iter().rev() {
            if u64::from(extent.cpos) >= end {
                continue;
            }
            if extent.end() <= u64::from(cpos) || left == 0 {
                return Ok(found.map(|start| part(start, end)));
            }
            found = Some(extent.cpos.max(cpos));
            left -= 1;
        }
        right_of = extents.first().map(|first| first.cpos).or(right_of);
        path = reader.previous(&at)?;
    }
    Ok(found.map(|start| part(start, end)))
}

fn part(start: u32, end: u64) -> (u32, u32) {
    (start, (end - u64::from(start)) as u32)
}
