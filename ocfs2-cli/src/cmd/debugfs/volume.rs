//! Commands about the device and the volume as a whole.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_format::{FileKind, InodeNo};
use ocfs2_fs::OpenOptions;
use serde_json::json;

use super::failure::{Failure, Outcome, failed, text};
use super::out::Out;
use super::session::{Open, OpenHow, Session, number};
use super::show::{inode, set, set_text, superblock};
use super::{cluster, dirs, inodes};

/// Backup superblocks that a volume can have.
const BACKUPS: u64 = 6;

/// `open DEVICE [-i] [-s N]`.
pub(super) fn open(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let mut how = OpenHow::default();
    let mut device = None;
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            b"-i" => how.packed = true,
            b"-s" => how.backup = Some(backup(words.next().ok_or(Failure::Usage)?)?),
            _ if device.is_none() => device = Some(word),
            _ => return Err(Failure::Usage),
        }
    }
    let device = Path::new(OsStr::from_bytes(device.ok_or(Failure::Usage)?));
    session.open(device, how)?;
    if out.is_json() {
        out.document(json!({ "device": device.to_string_lossy() }))?;
    }
    Ok(())
}

/// The number of a backup superblock.
pub(super) fn backup(word: &[u8]) -> Result<u32, Failure> {
    let number = std::str::from_utf8(word).ok().and_then(number);
    match number {
        // Checked to fit.
        Some(number @ 1..=BACKUPS) => Ok(number as u32),
        _ => Err(Failure::Text(format!(
            "Backup super block is outside of valid range (between 1 and {BACKUPS})"
        ))),
    }
}

/// `close`.
pub(super) fn close(session: &mut Session, _: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    session.close();
    if out.is_json() {
        out.document(json!({}))?;
    }
    Ok(())
}

/// `curdev`.
pub(super) fn curdev(session: &mut Session, _: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let device = session.opened().map(|open| open.device.as_path());
    if out.is_json() {
        out.document(json!({ "device": device.map(Path::to_string_lossy) }))?;
        return Ok(());
    }
    match device {
        Some(device) => out.write_all(device.as_os_str().as_bytes())?,
        None => out.write_all(b"No device")?,
    }
    Ok(writeln!(out)?)
}

/// `lcd [DIRECTORY]`.
pub(super) fn lcd(_: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    if let Some(word) = words.first() {
        let dir = Path::new(OsStr::from_bytes(word));
        std::env::set_current_dir(dir)
            .map_err(|error| Failure::Text(format!("{} '{}'", io_text(&error), dir.display())))?;
        if !out.is_json() {
            return Ok(());
        }
    }
    let dir = std::env::current_dir()
        .map_err(|error| Failure::Text(format!("{} while reading current working directory", io_text(&error))))?;
    if out.is_json() {
        out.document(json!({ "directory": dir.to_string_lossy() }))?;
        return Ok(());
    }
    out.write_all(dir.as_os_str().as_bytes())?;
    Ok(writeln!(out)?)
}

/// An error of this machine in words, without the number that Rust adds.
pub(super) fn io_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// `stats [-h] [-s N]`.
pub(super) fn stats(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    let mut header_only = false;
    let mut chosen = None;
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            b"-h" => header_only = true,
            b"-s" => chosen = Some(backup(words.next().ok_or(Failure::Usage)?)?),
            _ => return Err(Failure::Usage),
        }
    }
    let dinode = match chosen {
        None => open.inspector.superblock(),
        Some(number) => backup_of(open, number)?.superblock(),
    };
    let (geometry, local) = (open.geometry(), &session.local);
    if out.is_json() {
        let mut body = json!({ "super": superblock::fields_json(dinode.super_block()) });
        if !header_only {
            body = inode::json(&dinode, geometry, local);
        }
        out.document(body)?;
        return Ok(());
    }
    superblock::fields(out, dinode.super_block(), local)?;
    if !header_only {
        inode::fields(out, &dinode, geometry, local)?;
    }
    Ok(())
}

/// `stat_sysdir`.
pub(super) fn stat_sysdir(session: &mut Session, _: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    let geometry = open.geometry();
    let superblock = open.inspector.superblock();
    let mut head = json!({ "device": open.device.to_string_lossy() });
    set(
        &mut head,
        "superblock",
        inode::json(&superblock, geometry, &session.local),
    );
    out.begin_list(head, "files")?;
    if !out.is_json() {
        out.write_all(b"Device: ")?;
        out.write_all(open.device.as_os_str().as_bytes())?;
        writeln!(out, "\n  superblock")?;
        superblock::fields(out, superblock.super_block(), &session.local)?;
        inode::fields(out, &superblock, geometry, &session.local)?;
    }
    let number = open.inspector.volume().system_dir();
    let doing = format_args!("while iterating system directory at block {number}");
    let dir = open.inspector.dinode(number).map_err(|error| failed(&error, doing))?;
    system_file(session, b"", number, out)?;
    for entry in open.inspector.read_dir(&dir).map_err(|error| failed(&error, doing))? {
        match entry {
            Ok(entry) if entry.name == b"." || entry.name == b".." => {}
            Ok(entry) => {
                if let Some(number) = entry.inode() {
                    system_file(session, &entry.name, number, out)?;
                }
            }
            Err(error) => session.problem(out, "stat_sysdir", text(&error)),
        }
    }
    Ok(())
}

/// One system file with what it holds.
fn system_file(session: &Session, name: &[u8], number: InodeNo, out: &mut Out<'_>) -> Outcome {
    let open = session.volume()?;
    if !out.is_json() {
        out.write_all(b"\n  //")?;
        out.write_all(name)?;
        writeln!(out)?;
    }
    let dinode = match open.read_dinode(number) {
        Ok(dinode) => dinode,
        Err(Failure::Text(problem)) => {
            session.problem(out, "stat_sysdir", problem);
            return Ok(());
        }
        Err(other) => return Err(other),
    };
    if out.is_json() {
        let mut object = inodes::json(session, &dinode, true, out);
        set_text(&mut object, "name", name);
        out.item(&object)?;
        return Ok(());
    }
    inodes::show(session, &dinode, true, out)?;
    if dinode.kind() == Some(FileKind::Directory) {
        dirs::list(session, &dinode, true, out)?;
    }
    if name == b"slot_map" {
        cluster::slots(session, out)?;
    }
    Ok(())
}

/// The volume as one of its backup superblocks describes it.
fn backup_of(open: &Open, number: u32) -> Result<ocfs2_fs::inspect::Inspector, Failure> {
    let mut options = OpenOptions::default();
    options.backup_superblock = Some(number);
    options.replay_journals = false;
    options.lenient = true;
    let device = open.inspector.volume().device().clone();
    let volume =
        ocfs2_fs::Volume::open(device, &options).map_err(|error| failed(&error, "while reading backup superblock"))?;
    Ok(volume.inspect())
}
