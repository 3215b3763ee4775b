//! Commands about single inodes.

use std::io::Write;

use ocfs2_format::{BlockNo, ChainRec, Dinode};
use ocfs2_fs::inspect::Raw;
use serde_json::Value;

use super::failure::{Failure, Outcome, text};
use super::out::Out;
use super::session::Session;
use super::show::inode::Arm;
use super::show::{extents, groups, inode, set};

/// `stat [-t|-T] FILESPEC`.
pub(super) fn stat(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let (traverse, word) = match words {
        [b"-t", word, ..] => (true, word),
        [b"-T", word, ..] => (false, word),
        [word, ..] => (true, word),
        [] => return Err(Failure::Usage),
    };
    let open = session.volume()?;
    let dinode = open.dinode(word)?;
    if out.is_json() {
        let body = json(session, &dinode, traverse, out);
        out.document(body)?;
        return Ok(());
    }
    show(session, &dinode, traverse, out)
}

/// An inode as text; `traverse` with all its extents or groups.
pub(super) fn show(session: &Session, dinode: &Raw<Dinode>, traverse: bool, out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    let geometry = open.geometry();
    inode::fields(out, dinode, geometry, &session.local)?;
    if !traverse {
        return Ok(());
    }
    inode::contents(out, dinode)?;
    match Arm::of(dinode) {
        Arm::Extents => {
            for block in open.inspector.tree_blocks(dinode.extent_list()) {
                match block {
                    Ok(block) => extents::block(out, &block, geometry)?,
                    Err(error) => session.problem(out, "stat", text(&error)),
                }
            }
        }
        Arm::Chains => {
            for rec in chains(dinode) {
                let mut index = 0;
                for group in open.inspector.group_chain(BlockNo(rec.c_blkno.get())) {
                    match group {
                        Ok(group) => {
                            if index == 0 {
                                writeln!(out)?;
                                groups::chain_header(out, &group, geometry)?;
                            }
                            groups::group(out, index, &group)?;
                            index += 1;
                        }
                        Err(error) => session.problem(out, "stat", text(&error)),
                    }
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// An inode in JSON; `traverse` with all its extents or groups.
pub(super) fn json(session: &Session, dinode: &Raw<Dinode>, traverse: bool, out: &mut Out<'_>) -> Value {
    let Ok(open) = session.volume() else { return Value::Null };
    let geometry = open.geometry();
    let mut body = inode::json(dinode, geometry, &session.local);
    if !traverse {
        return body;
    }
    let mut damage = Vec::new();
    match Arm::of(dinode) {
        Arm::Extents => {
            let blocks = open.inspector.tree_blocks(dinode.extent_list());
            let blocks = blocks.filter_map(|block| block.map_err(|error| damage.push(text(&error))).ok());
            let blocks: Vec<_> = blocks.map(|block| extents::block_json(&block, geometry)).collect();
            set(&mut body, "extent_blocks", blocks);
        }
        Arm::Chains => {
            let mut list = Vec::new();
            for rec in chains(dinode) {
                let groups = open.inspector.group_chain(BlockNo(rec.c_blkno.get()));
                let groups = groups.filter_map(|group| group.map_err(|error| damage.push(text(&error))).ok());
                list.push(
                    groups
                        .map(|group| groups::group_json(&group, geometry))
                        .collect::<Value>(),
                );
            }
            set(&mut body, "chains", list);
        }
        _ => {}
    }
    for problem in &damage {
        session.problem(out, "stat", problem);
    }
    set(&mut body, "damage", damage);
    body
}

fn chains(dinode: &Dinode) -> &[ChainRec] {
    dinode.chain_list().chains()
}
