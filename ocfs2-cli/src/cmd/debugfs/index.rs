//! Commands about directory indexes and the blocks of directories.

use std::collections::HashSet;
use std::io::Write;

use ocfs2_format::{BlockNo, Corrupt, Dinode, DxFlags, DxLeaf, DxRoot, DynFeatures, InodeNo, Structure, Violation};
use ocfs2_fs::Error;
use ocfs2_fs::inspect::Raw;
use serde_json::{Value, json};

use super::alloc::block_operand;
use super::dirs::directory;
use super::failure::{Failure, Outcome, failed, text};
use super::out::Out;
use super::session::{Open, Session};
use super::show::{dirs, extents, index, set};

/// `dirblocks FILESPEC`.
pub(super) fn dirblocks(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    let dir = directory(open, words.first().ok_or(Failure::Usage)?)?;
    let number = dir.block().number();
    if dir.dyn_features().contains(DynFeatures::INLINE_DATA) {
        let problem = "Inode type does not contain extents while iterating directory at block";
        return Err(Failure::Text(format!("{problem} {number}")));
    }
    out.begin_list(json!({ "inode": number.0 }), "blocks")?;
    for block in open.inspector.dir_blocks(&dir) {
        let block = match block {
            Ok(block) => block,
            Err(error) => {
                session.problem(out, "dirblocks", text(&error));
                continue;
            }
        };
        let trailer = block
            .trailer()
            .map(|trailer| (trailer, block.check_state(&open.inspector)));
        let at = block.block().number();
        let mut damage = Vec::new();
        let entries = block.entries().filter_map(|entry| match entry {
            Ok(entry) => Some(entry),
            Err(corrupt) => {
                damage.push(corrupt.at_block(at).to_string());
                None
            }
        });
        if out.is_json() {
            let mut object = json!({ "block": at.0, "offset": block.offset() });
            if let Some((trailer, state)) = trailer {
                set(&mut object, "trailer", dirs::trailer_json(trailer, state));
            }
            set(
                &mut object,
                "entries",
                entries.map(|entry| dirs::entry_json(&entry)).collect::<Value>(),
            );
            out.item(&object)?;
        } else {
            writeln!(out, "\tDirblock: {at}")?;
            if let Some((trailer, state)) = trailer {
                dirs::trailer(out, trailer, state)?;
            }
            writeln!(out, "\tEntries:")?;
            for entry in entries {
                dirs::entry(out, &entry)?;
            }
        }
        for problem in damage {
            session.problem(out, "dirblocks", problem);
        }
    }
    Ok(())
}

/// What is said of an inode without an index.
const NOT_INDEXED: &str = "is not indexed";

/// The inode of a directory with an index, and the index.
fn indexed(open: &Open, word: &[u8]) -> Result<(Raw<Dinode>, Raw<DxRoot>), Failure> {
    let dinode = open.dinode(word)?;
    if !dinode.dyn_features().contains(DynFeatures::INDEXED_DIR) {
        let number = dinode.block().number();
        return Err(Failure::Text(format!("Inode {number} {NOT_INDEXED}")));
    }
    let root = read_root(open, BlockNo(dinode.i_dx_root.get()))?;
    Ok((dinode, root))
}

fn read_root(open: &Open, at: BlockNo) -> Result<Raw<DxRoot>, Failure> {
    let root = open.inspector.read::<DxRoot>(at);
    root.map_err(|error| failed(&error, format_args!("while reading dx dir root block {at}")))
}

/// `dx_root <BLOCK>`.
pub(super) fn dx_root(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let at = block_operand(session, words)?;
    let open = session.volume()?;
    let root = read_root(open, at)?;
    if out.is_json() {
        out.document(index::root_json(&root, open.geometry()))?;
        return Ok(());
    }
    index::root(out, &root, open.geometry())?;
    if !root.flags().contains(DxFlags::INLINE) {
        extents::list(out, root.list())?;
    }
    Ok(())
}

/// `dx_leaf <BLOCK>`.
pub(super) fn dx_leaf(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let at = block_operand(session, words)?;
    let open = session.volume()?;
    let leaf = open.inspector.read::<DxLeaf>(at);
    let leaf = leaf.map_err(|error| failed(&error, format_args!("while reading dx dir leaf block {at}")))?;
    if out.is_json() {
        out.document(index::leaf_json(&leaf, open.geometry()))?;
        return Ok(());
    }
    Ok(index::leaf(out, &leaf, open.geometry())?)
}

/// `dx_dump FILESPEC`.
pub(super) fn dx_dump(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    let geometry = open.geometry();
    let (_, root) = indexed(open, words.first().ok_or(Failure::Usage)?)?;
    out.begin_list(json!({ "root": index::root_json(&root, geometry) }), "leaves")?;
    if !out.is_json() {
        index::root(out, &root, geometry)?;
    }
    if root.flags().contains(DxFlags::INLINE) {
        if !out.is_json() {
            index::entries(out, root.entries())?;
        }
        return Ok(());
    }
    let mut seen = HashSet::new();
    for rec in open.inspector.leaf_records(root.list()) {
        let rec = match rec {
            Ok(rec) => rec,
            Err(error) => {
                session.problem(out, "dx_dump", text(&error));
                continue;
            }
        };
        for skip in 0..geometry.clusters_to_blocks(rec.e_leaf_clusters.get().into()) {
            let at = BlockNo(rec.blkno().0.saturating_add(skip));
            let leaf = if seen.insert(at) {
                open.inspector.read::<DxLeaf>(at)
            } else {
                Err(met_again("e_blkno", at, Structure::DxLeaf))
            };
            match leaf {
                Ok(leaf) if out.is_json() => out.item(&index::leaf_json(&leaf, geometry))?,
                Ok(leaf) => index::leaf(out, &leaf, geometry)?,
                Err(error) => {
                    session.problem(out, "dx_dump", text(&error));
                    break;
                }
            }
        }
    }
    Ok(())
}

/// `dx_space FILESPEC`.
pub(super) fn dx_space(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    let (dir, root) = match indexed(open, words.first().ok_or(Failure::Usage)?) {
        // Scripts find this one among the results.
        Err(Failure::Text(problem)) if problem.ends_with(NOT_INDEXED) && !out.is_json() => {
            writeln!(out, "{problem}")?;
            return Ok(());
        }
        found => found?,
    };
    let number: InodeNo = dir.block().number().inode();
    out.begin_list(json!({ "inode": number.0 }), "trailers")?;
    let mut seen = HashSet::new();
    let mut next = BlockNo(root.dr_free_blk.get());
    while next.0 != 0 {
        let doing = format_args!("while reading dirblock {next} on inode {number}");
        if !seen.insert(next) {
            return Err(failed(&met_again("db_free_next", next, Structure::DirTrailer), doing));
        }
        let block = open
            .inspector
            .dir_block(&dir, next)
            .map_err(|error| failed(&error, doing))?;
        // A directory with an index has trailers.
        let Some(trailer) = block.trailer() else { break };
        let state = block.check_state(&open.inspector);
        if out.is_json() {
            out.item(&dirs::trailer_json(trailer, state))?;
        } else {
            dirs::trailer(out, trailer, state)?;
        }
        next = BlockNo(trailer.db_free_next.get());
    }
    Ok(())
}

fn met_again(field: &'static str, at: BlockNo, structure: Structure) -> Error {
    Corrupt::new(structure, Violation::Loop { field, found: at.0 }).into()
}
