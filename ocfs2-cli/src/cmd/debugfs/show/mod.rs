//! The structures of a volume as text, line for line as debugfs.ocfs2 1.8.7 prints them, and as JSON.
//!
//! JSON objects have the on-disk names of the fields as keys.

pub(super) mod dirs;
pub(super) mod extents;
pub(super) mod groups;
pub(super) mod index;
pub(super) mod inode;
pub(super) mod refcounts;
pub(super) mod superblock;
pub(super) mod xattrs;

use std::io::{self, Write};

use ocfs2_format::BlockCheck;
use ocfs2_fs::Timestamp;
use ocfs2_fs::inspect::CheckState;
use serde_json::{Map, Value, json};

use crate::text::{Clock, People, hex};

/// What this machine adds to the bytes: its time zone and the names of its users.
#[derive(Debug, Default)]
pub(super) struct Local {
    people: People,
    clock: Clock,
}

impl Local {
    /// Name of a user.
    pub(super) fn user(&self, uid: u32) -> String {
        self.people.user(uid).unwrap_or_else(unknown)
    }

    /// Name of a group.
    pub(super) fn group(&self, gid: u32) -> String {
        self.people.group(gid).unwrap_or_else(unknown)
    }

    /// A time by a strftime(3) pattern; seconds alone when they are beyond the calendar.
    pub(super) fn time(&self, seconds: u64, pattern: &str) -> String {
        let secs = seconds.cast_signed();
        self.clock.format(Timestamp { secs, nanos: 0 }, pattern)
    }

    /// A time as ctime(3) writes it.
    pub(super) fn ctime(&self, seconds: u64) -> String {
        self.time(seconds, "%a %b %e %H:%M:%S %Y")
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The words of the bits that have one, with a blank behind each.
pub(super) fn words(bits: u32, names: &[(u32, &str)]) -> String {
    let set = names.iter().filter(|(bit, _)| bits & bit != 0);
    set.flat_map(|(_, name)| [*name, " "]).collect()
}

/// A check field, and what it should be where it is wrong.
pub(super) fn check(out: &mut dyn Write, stored: &BlockCheck, state: CheckState) -> io::Result<()> {
    writeln!(
        out,
        "\tCRC32: {:08x}   ECC: {:04x}",
        stored.bc_crc32e.get(),
        stored.bc_ecc.get()
    )?;
    if let CheckState::Bad { computed } = state {
        writeln!(
            out,
            "\t**FAILED CHECKSUM** Computed CRC32: {:08x}   ECC: {:04x}",
            computed.bc_crc32e.get(),
            computed.bc_ecc.get()
        )?;
    }
    Ok(())
}

/// A check field in JSON.
pub(super) fn check_json(stored: &BlockCheck, state: CheckState) -> Value {
    let mut check = json!({ "crc32": stored.bc_crc32e.get(), "ecc": stored.bc_ecc.get() });
    match state {
        CheckState::Absent => {}
        CheckState::Good => set(&mut check, "good", true),
        CheckState::Bad { computed } => {
            set(&mut check, "good", false);
            set(
                &mut check,
                "computed",
                json!({ "crc32": computed.bc_crc32e.get(), "ecc": computed.bc_ecc.get() }),
            );
        }
    }
    check
}

/// A string of bytes in JSON: as text under `key`, and in hexadecimal under `<key>_hex` when it is not UTF-8.
pub(super) fn set_text(object: &mut Value, key: &str, bytes: &[u8]) {
    set(object, key, String::from_utf8_lossy(bytes));
    if std::str::from_utf8(bytes).is_err() {
        set(object, &format!("{key}_hex"), hex(bytes));
    }
}

/// Sets a key of a JSON object.
pub(super) fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Value::Object(object) = object {
        object.insert(key.to_owned(), value.into());
    }
}

/// A JSON object with one more key in front.
pub(super) fn prepend(key: &str, value: impl Into<Value>, rest: Value) -> Value {
    let mut object = Map::new();
    object.insert(key.to_owned(), value.into());
    if let Value::Object(rest) = rest {
        object.extend(rest);
    }
    Value::Object(object)
}
