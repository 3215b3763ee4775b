//! Directory entries and trailers.

use std::io::{self, Write};

use ocfs2_format::{Dinode, DirTrailer};
use ocfs2_fs::inspect::{CheckState, RawDirEntry};
use serde_json::{Value, json};

use super::{Local, check, check_json, set, set_text};
use crate::text::permission_bits;

/// An entry as a line.
pub(in super::super) fn entry(out: &mut dyn Write, entry: &RawDirEntry) -> io::Result<()> {
    let header = &entry.header;
    write!(
        out,
        "\t{:<15} {:<4} {:<4} {:<2} ",
        header.inode, header.rec_len, header.name_len, header.file_type
    )?;
    out.write_all(&entry.name)?;
    writeln!(out)
}

/// An entry in JSON.
pub(in super::super) fn entry_json(entry: &RawDirEntry) -> Value {
    let header = &entry.header;
    let mut object = json!({
        "position": entry.position,
        "inode": header.inode.get(),
        "rec_len": header.rec_len.get(),
        "name_len": header.name_len,
        "file_type": header.file_type,
    });
    set_text(&mut object, "name", &entry.name);
    object
}

/// An entry and its inode as a line.
pub(in super::super) fn long_entry(
    out: &mut dyn Write,
    entry: &RawDirEntry,
    dinode: &Dinode,
    local: &Local,
) -> io::Result<()> {
    write!(
        out,
        "\t{:<15} {:>10} {:>3} {:>5} {:>5} {:>15} {} ",
        entry.header.inode,
        mode(dinode.i_mode.get()),
        dinode.links(),
        dinode.i_uid,
        dinode.i_gid,
        dinode.i_size,
        local.time(dinode.i_mtime.get(), "%e-%b-%Y %H:%M"),
    )?;
    out.write_all(&entry.name)?;
    writeln!(out)
}

/// An entry and its inode in JSON.
pub(in super::super) fn long_entry_json(entry: &RawDirEntry, dinode: &Dinode) -> Value {
    let mut object = entry_json(entry);
    for (key, value) in [
        ("i_mode", u64::from(dinode.i_mode.get())),
        ("links", dinode.links().into()),
        ("i_uid", dinode.i_uid.get().into()),
        ("i_gid", dinode.i_gid.get().into()),
        ("i_size", dinode.i_size.get()),
    ] {
        set(&mut object, key, value);
    }
    set(&mut object, "i_mtime", dinode.i_mtime.get().cast_signed());
    object
}

/// A trailer.
pub(in super::super) fn trailer(out: &mut dyn Write, trailer: &DirTrailer, state: CheckState) -> io::Result<()> {
    writeln!(
        out,
        "\tTrailer Block: {}   Inode: {}   Len: {}",
        trailer.db_blkno, trailer.db_parent_dinode, trailer.db_compat_rec_len
    )?;
    writeln!(
        out,
        "\tLargest Hole: {}   Next Block: {}",
        trailer.db_free_rec_len, trailer.db_free_next
    )?;
    check(out, &trailer.db_check, state)
}

/// A trailer in JSON.
pub(in super::super) fn trailer_json(trailer: &DirTrailer, state: CheckState) -> Value {
    json!({
        "db_blkno": trailer.db_blkno.get(),
        "db_parent_dinode": trailer.db_parent_dinode.get(),
        "db_compat_rec_len": trailer.db_compat_rec_len.get(),
        "db_free_rec_len": trailer.db_free_rec_len.get(),
        "db_free_next": trailer.db_free_next.get(),
        "db_check": check_json(&trailer.db_check, state),
    })
}

/// Type and permissions as ten characters. The letter of a fifo is `f`, as scripts have come to expect.
fn mode(mode: u16) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o020_000 => 'c',
        0o060_000 => 'b',
        0o010_000 => 'f',
        0o120_000 => 'l',
        0o140_000 => 's',
        _ => '-',
    };
    format!("{kind}{}", permission_bits(mode.into()))
}
