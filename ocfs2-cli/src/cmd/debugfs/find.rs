//! Commands that search the volume: names of inodes, uses of blocks.

use std::collections::HashSet;
use std::io::Write;
use std::str::from_utf8;

use ocfs2_format::{BlockNo, Generation, InodeFlags, InodeNo, LockId, LockKind};
use ocfs2_fs::inspect::BlockUse;
use serde_json::{Value, json};

use super::failure::{Failure, Outcome, text};
use super::out::Out;
use super::session::{Session, bracketed, number};
use super::show::{set, set_text};

/// `locate <INODE> ...`, `ncheck <INODE> ...`.
pub(super) fn locate(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let wanted: Option<HashSet<InodeNo>> = words.iter().map(|word| Some(bracketed(word)?.inode())).collect();
    let wanted = wanted.filter(|wanted| !wanted.is_empty()).ok_or(Failure::Usage)?;
    names(session, wanted, false, out)
}

/// `findpath <INODE>`.
pub(super) fn findpath(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let [word] = words else { return Err(Failure::Usage) };
    let wanted = bracketed(word).ok_or(Failure::Usage)?.inode();
    names(session, HashSet::from([wanted]), true, out)
}

fn names(session: &Session, wanted: HashSet<InodeNo>, first_only: bool, out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    let blocks = open.geometry().blocks();
    if let Some(far) = wanted.iter().find(|inode| inode.0 >= blocks) {
        return Err(Failure::Text(format!("Invalid block number - {far}")));
    }
    out.begin_list(json!({}), "names")?;
    for found in open.inspector.names(wanted) {
        match found {
            Ok((inode, path)) => {
                if out.is_json() {
                    let mut object = json!({ "inode": inode.0 });
                    set_text(&mut object, "path", &path);
                    out.item(&object)?;
                } else {
                    write!(out, "\t{inode}\t")?;
                    out.write_all(&path)?;
                    writeln!(out)?;
                }
                if first_only {
                    break;
                }
            }
            Err(error) => session.problem(out, "locate", text(&error)),
        }
    }
    Ok(())
}

/// `icheck BLOCK ...`.
pub(super) fn icheck(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    if words.is_empty() {
        return Err(Failure::Usage);
    }
    let open = session.volume()?;
    let blocks = open.geometry().blocks();
    let mut wanted = Vec::new();
    for word in words {
        let number = from_utf8(word).ok().and_then(number).filter(|number| *number < blocks);
        let number =
            number.ok_or_else(|| Failure::Text(format!("Invalid block number - {}", String::from_utf8_lossy(word))))?;
        wanted.push(BlockNo(number));
    }
    let mut damage = Vec::new();
    let uses = open.inspector.block_uses(&wanted, |error| damage.push(text(&error)));
    let uses = wanted
        .iter()
        .map(|block| (*block, uses.get(block).copied().unwrap_or(BlockUse::Unknown)));
    if out.is_json() {
        let list = uses.map(|(block, usage)| use_json(block, usage));
        out.document(json!({ "blocks": list.collect::<Value>() }))?;
    } else {
        writeln!(out, "\t{:<15}   {:<15}   {:<15}", "Block#", "Inode", "Block Offset")?;
        for (block, usage) in uses {
            let (inode, offset) = use_text(usage);
            writeln!(out, "\t{:<15}   {inode:<15}   {offset:<15}", block.0)?;
        }
    }
    // What is damaged matters only where something was not found.
    damage.dedup();
    for problem in damage.iter().take(MAX_DAMAGE) {
        session.problem(out, "icheck", problem);
    }
    if let Some(more) = damage.len().checked_sub(MAX_DAMAGE).filter(|more| *more > 0) {
        session.problem(out, "icheck", format_args!("{more} more blocks could not be read"));
    }
    Ok(())
}

/// Complaints of one search that are worth reading.
const MAX_DAMAGE: usize = 20;

/// A use as the two columns of the table: inode and offset.
fn use_text(usage: BlockUse) -> (String, String) {
    let inode = match usage {
        // The superblock is the inode in block 2.
        BlockUse::SuperblockArea => InodeNo(2),
        BlockUse::Inode(inode)
        | BlockUse::Metadata(inode, _)
        | BlockUse::LocalAlloc(inode)
        | BlockUse::TruncateLog(inode) => inode,
        BlockUse::Contents(inode, offset) => return (inode.to_string(), offset.to_string()),
        BlockUse::Free => return ("Unused".to_owned(), String::new()),
        _ => return ("Unknown".to_owned(), String::new()),
    };
    (inode.to_string(), String::new())
}

fn use_json(block: BlockNo, usage: BlockUse) -> Value {
    let (word, inode) = match usage {
        BlockUse::SuperblockArea => ("superblock", None),
        BlockUse::Inode(inode) => ("inode", Some(inode)),
        BlockUse::Contents(inode, _) => ("contents", Some(inode)),
        BlockUse::Metadata(inode, _) => ("metadata", Some(inode)),
        BlockUse::LocalAlloc(inode) => ("local alloc", Some(inode)),
        BlockUse::TruncateLog(inode) => ("truncate log", Some(inode)),
        BlockUse::Free => ("free", None),
        _ => ("unknown", None),
    };
    let mut object = json!({ "block": block.0, "use": word });
    if let Some(inode) = inode {
        set(&mut object, "inode", inode.0);
    }
    match usage {
        BlockUse::Contents(_, offset) => set(&mut object, "offset", offset),
        BlockUse::Metadata(_, structure) => set(&mut object, "structure", structure.to_string()),
        _ => {}
    }
    object
}

/// `encode FILESPEC`.
pub(super) fn encode(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    let dinode = open.dinode(words.first().ok_or(Failure::Usage)?)?;
    // The drivers put no generation into the names of ordinary inodes, and the volume's into those of system inodes.
    let generation = match dinode.flags().contains(InodeFlags::SYSTEM) {
        true => dinode.i_fs_generation.get(),
        false => 0,
    };
    let lock = LockId::Block {
        kind: LockKind::Meta,
        block: BlockNo(dinode.i_blkno.get()),
        generation: Generation(generation),
    };
    if out.is_json() {
        out.document(json!({ "inode": dinode.i_blkno.get(), "lock": lock.to_string() }))?;
        return Ok(());
    }
    Ok(writeln!(out, "\t{lock} ")?)
}

/// `decode <LOCKNAME> ...`.
pub(super) fn decode(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    if words.is_empty() {
        return Err(Failure::Usage);
    }
    let blocks: Option<Vec<_>> = words.iter().map(|word| bracketed(word)).collect();
    let blocks = blocks.ok_or(Failure::Usage)?;
    if let Ok(open) = session.volume() {
        let limit = open.geometry().blocks();
        if let Some(far) = blocks.iter().find(|block| block.0 >= limit) {
            return Err(Failure::Text(format!("Invalid block number - {far}")));
        }
    }
    let pairs = words.iter().zip(blocks);
    if out.is_json() {
        let list = pairs.map(|(word, block)| {
            let mut object = json!({ "block": block.0 });
            set_text(&mut object, "name", word);
            object
        });
        out.document(json!({ "locks": list.collect::<Value>() }))?;
        return Ok(());
    }
    for (word, block) in pairs {
        out.write_all(b"\t")?;
        out.write_all(word)?;
        writeln!(out, "\t{block}")?;
    }
    Ok(())
}
