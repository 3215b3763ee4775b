//! Commands about the contents of files.

use std::io::Write;
use std::str::from_utf8;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ocfs2_format::{Dinode, FileKind};
use ocfs2_fs::inspect::Raw;
use serde_json::json;

use super::failure::{Failure, Outcome, failed, text};
use super::out::Out;
use super::session::{Open, Session, number};
use super::show::inode::Arm;

/// Bytes moved at a time: whole blocks, and a multiple of 3, so that the pieces' base64 texts add up.
const PIECE: usize = 3 << 18;

/// `cat FILESPEC`.
pub(super) fn cat(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    let number = open.filespec(words.first().ok_or(Failure::Usage)?)?;
    let doing = format_args!("while reading file for inode {number}");
    let dinode = open.read_dinode(number)?;
    if dinode.kind() != Some(FileKind::Regular) {
        return Err(Failure::new("Not a regular file"));
    }
    let volume = open.inspector.volume();
    let file = volume.inode(number).and_then(|inode| volume.open_inode(inode));
    let file = file.map_err(|error| failed(&error, doing))?;
    // 2^32 clusters are the most that a file can have; a size beyond them would be zeros without end.
    if file.size() > 1 << (32 + u32::from(open.geometry().cluster_size_bits)) {
        let size = file.size();
        return Err(Failure::Text(format!("The size of {size} bytes is impossible {doing}")));
    }
    out.begin_text(
        json!({ "inode": number.0, "size": file.size(), "encoding": "base64" }),
        "data",
    )?;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let len = file.read_at(at, &mut piece).map_err(|error| failed(&error, doing))?;
        if len == 0 {
            return Ok(());
        }
        at += len as u64;
        if out.is_json() {
            out.contents(STANDARD.encode(&piece[..len]).as_bytes())?;
        } else {
            out.contents(&piece[..len])?;
        }
    }
}

/// `bmap FILESPEC LOGICAL-BLOCK`.
pub(super) fn bmap(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let [word, index, ..] = words else {
        return Err(Failure::Usage);
    };
    let open = session.volume()?;
    let dinode = open.dinode(word)?;
    let index = from_utf8(index)
        .ok()
        .and_then(number)
        .ok_or_else(|| Failure::Text(format!("Invalid block number - {}", String::from_utf8_lossy(index))))?;
    let physical = map(open, &dinode, index)?;
    if out.is_json() {
        out.document(json!({ "inode": dinode.i_blkno.get(), "logical": index, "physical": physical }))?;
        return Ok(());
    }
    Ok(writeln!(out, "\t{}", physical.unwrap_or(0))?)
}

/// The physical block of a logical one; `None` in a hole, behind the end, and where contents are not in blocks.
fn map(open: &Open, dinode: &Raw<Dinode>, index: u64) -> Result<Option<u64>, Failure> {
    // A block just behind a size of whole blocks still counts, as it does in the reference.
    let last = dinode.i_size.get() >> open.geometry().block_size_bits;
    if Arm::of(dinode) != Arm::Extents || index > last {
        return Ok(None);
    }
    let number = dinode.block().number();
    let mapped = open.inspector.map_block(dinode, index);
    let mapped = mapped.map_err(|error| failed(&error, format_args!("while mapping inode {number}")))?;
    Ok(mapped.map(|(block, _)| block.0))
}

/// `frag FILESPEC`.
pub(super) fn frag(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    let dinode = open.dinode(words.first().ok_or(Failure::Usage)?)?;
    let mut extents = 0u32;
    if Arm::of(&dinode) == Arm::Extents {
        for rec in open.inspector.leaf_records(dinode.extent_list()) {
            match rec {
                Ok(_) => extents = extents.saturating_add(1),
                Err(error) => session.problem(out, "frag", text(&error)),
            }
        }
    }
    let clusters = dinode.i_clusters.get();
    let percent = if clusters > 1 {
        f64::from(extents) * 100.0 / f64::from(clusters)
    } else {
        0.0
    };
    // A file in pieces of a megabyte each scores 100.
    const MEGABYTE: f64 = 1_048_576.0;
    let score = percent * MEGABYTE / (1u64 << open.geometry().cluster_size_bits) as f64;
    let number = dinode.i_blkno.get();
    if out.is_json() {
        out.document(json!({
            "inode": number,
            "clusters": clusters,
            "extents": extents,
            "percent_fragmented": percent,
            "score": score,
        }))?;
        return Ok(());
    }
    writeln!(
        out,
        "Inode: {number}\t% fragmented: {percent:.2}\tclusters: {clusters}\textents: {extents}\tscore: {score:.0}"
    )?;
    Ok(())
}
