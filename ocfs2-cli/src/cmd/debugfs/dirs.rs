//! Commands about directories.

use ocfs2_format::{Dinode, FileKind};
use ocfs2_fs::inspect::Raw;
use serde_json::json;

use super::failure::{Failure, Outcome, failed, text};
use super::out::Out;
use super::session::{Open, Session};
use super::show::dirs as show;

/// `cd FILESPEC`.
pub(super) fn cd(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let dir = directory(session.volume()?, words.first().ok_or(Failure::Usage)?)?;
    let number = dir.block().number().inode();
    session.volume_mut()?.cwd = number;
    if out.is_json() {
        out.document(json!({ "inode": number.0 }))?;
    }
    Ok(())
}

/// `chroot FILESPEC`.
pub(super) fn chroot(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let dir = directory(session.volume()?, words.first().ok_or(Failure::Usage)?)?;
    let number = dir.block().number().inode();
    session.volume_mut()?.root = number;
    if out.is_json() {
        out.document(json!({ "inode": number.0 }))?;
    }
    Ok(())
}

/// The directory that a word names.
pub(super) fn directory(open: &Open, word: &[u8]) -> Result<Raw<Dinode>, Failure> {
    let number = open.filespec(word)?;
    let doing = format_args!("while checking directory at block {number}");
    let dinode = open.inspector.dinode(number).map_err(|error| failed(&error, doing))?;
    if dinode.kind() != Some(FileKind::Directory) {
        return Err(Failure::Text(format!("OCFS2 inode is not a directory {doing}")));
    }
    Ok(dinode)
}

/// `ls [-l] [FILESPEC]`.
pub(super) fn ls(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    let long = words.first() == Some(&b"-l".as_slice());
    let dir = match words.get(usize::from(long)) {
        Some(word) => directory(open, word)?,
        None => open.read_dinode(open.cwd)?,
    };
    out.begin_list(json!({ "inode": dir.block().number().0 }), "entries")?;
    list(session, &dir, long, out)
}

/// The entries of a directory, those not in use left out.
pub(super) fn list(session: &Session, dir: &Raw<Dinode>, long: bool, out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    let number = dir.block().number();
    let entries = open.inspector.read_dir(dir);
    for entry in entries.map_err(|error| failed(&error, format_args!("while iterating directory at block {number}")))? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                session.problem(out, "ls", text(&error));
                continue;
            }
        };
        let Some(inode) = entry.inode() else { continue };
        if !long {
            if out.is_json() {
                out.item(&show::entry_json(&entry))?;
            } else {
                show::entry(out, &entry)?;
            }
            continue;
        }
        match open.read_dinode(inode) {
            Ok(dinode) if out.is_json() => out.item(&show::long_entry_json(&entry, &dinode))?,
            Ok(dinode) => show::long_entry(out, &entry, &dinode, &session.local)?,
            Err(Failure::Text(problem)) => {
                session.problem(out, "ls", problem);
                if out.is_json() {
                    out.item(&show::entry_json(&entry))?;
                }
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}
