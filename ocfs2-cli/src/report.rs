//! What the JSON documents say about inodes, names and times, the same in every command.
//!
//! Numbers are raw: bytes, or units of 512 bytes where the field says so. Names and paths are strings; one that is not
//! UTF-8 has replacement characters in its string, and its bytes in hexadecimal beside it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use ocfs2_format::FileKind;
use ocfs2_fs::{Inode, Timestamp};
use serde::{Serialize, Serializer};

use crate::text::{People, hex, instant, permissions};

/// A path or name: a string, and its bytes where the string cannot hold them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PathReport {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

impl From<&[u8]> for PathReport {
    fn from(path: &[u8]) -> Self {
        match std::str::from_utf8(path) {
            Ok(text) => Self {
                path: text.to_owned(),
                path_hex: None,
            },
            Err(_) => Self {
                path: String::from_utf8_lossy(path).into_owned(),
                path_hex: Some(hex(path)),
            },
        }
    }
}

/// A point in time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct TimeReport {
    seconds: i64,
    nanoseconds: u32,
    /// RFC 3339; absent for times beyond year 9999.
    #[serde(skip_serializing_if = "Option::is_none")]
    utc: Option<jiff::Timestamp>,
}

impl From<Timestamp> for TimeReport {
    fn from(time: Timestamp) -> Self {
        Self {
            seconds: time.secs,
            nanoseconds: time.nanos,
            utc: instant(time),
        }
    }
}

/// An inode.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InodeReport {
    inode: u64,
    #[serde(rename = "type", serialize_with = "kind_word")]
    kind: FileKind,
    mode: u32,
    permissions: String,
    links: u32,
    uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    size: u64,
    /// Allocated space in units of 512 bytes.
    blocks: u64,
    accessed: TimeReport,
    modified: TimeReport,
    changed: TimeReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Device {
    major: u32,
    minor: u32,
}

impl InodeReport {
    /// What is known from the inode itself. `target` is that of a symbolic link.
    pub(crate) fn new(inode: &Inode, people: &People, target: Option<&[u8]>) -> Self {
        Self {
            inode: inode.number().0,
            kind: inode.kind(),
            mode: inode.mode(),
            permissions: permissions(inode.kind(), inode.mode()),
            links: inode.links(),
            uid: inode.uid(),
            user: people.user(inode.uid()),
            gid: inode.gid(),
            group: people.group(inode.gid()),
            size: inode.size(),
            blocks: inode.sectors(),
            accessed: inode.atime().into(),
            modified: inode.mtime().into(),
            changed: inode.ctime().into(),
            device: inode.device_number().map(|number| Device {
                major: number.major,
                minor: number.minor,
            }),
            target: target.map(|target| String::from_utf8_lossy(target).into_owned()),
        }
    }
}

impl InodeReport {
    /// As [`new`](Self::new), of a file on a mounted volume.
    pub(crate) fn of_host(
        found: &Metadata,
        kind: FileKind,
        [accessed, modified, changed]: [Timestamp; 3],
        people: &People,
        target: Option<&[u8]>,
    ) -> Self {
        Self {
            inode: found.ino(),
            kind,
            mode: found.mode(),
            permissions: permissions(kind, found.mode()),
            links: u32::try_from(found.nlink()).unwrap_or(u32::MAX),
            uid: found.uid(),
            user: people.user(found.uid()),
            gid: found.gid(),
            group: people.group(found.gid()),
            size: found.len(),
            blocks: found.blocks(),
            accessed: accessed.into(),
            modified: modified.into(),
            changed: changed.into(),
            device: kind.is_device().then(|| Device {
                major: rustix::fs::major(found.rdev()),
                minor: rustix::fs::minor(found.rdev()),
            }),
            target: target.map(|target| String::from_utf8_lossy(target).into_owned()),
        }
    }
}

/// The type of a file as one word.
pub(crate) fn kind_word<S: Serializer>(kind: &FileKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match kind {
        FileKind::Regular => "file",
        FileKind::Directory => "directory",
        FileKind::CharDevice => "char-device",
        FileKind::BlockDevice => "block-device",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::Symlink => "symlink",
    })
}
