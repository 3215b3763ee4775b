//! What the kernel reported from a mounted volume: the answer a reader of the same bytes must give.
//!
//! Source: Linux 6.1 kernel behaviour, through the collector of [`collector_script`](crate::kernel::collector_script).

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer};

/// Everything reported from one volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// What statfs(2) said.
    pub volume: Option<VolumeFact>,
    /// Every user and group with a quota record.
    pub quotas: Vec<QuotaFact>,
    /// Every object. The children of a directory follow each other in the order the kernel lists them.
    pub objects: Vec<Fact>,
}

/// The answer of statfs(2).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct VolumeFact {
    /// Preferred transfer size.
    pub bsize: u64,
    /// Unit of `blocks` and `bfree`.
    pub frsize: u64,
    /// Size of the volume.
    pub blocks: u64,
    /// Free space.
    pub bfree: u64,
    /// Inodes there could be.
    pub files: u64,
    /// Inodes still free.
    pub ffree: u64,
    /// Longest name.
    pub namemax: u64,
}

/// Limits and usage of one user or group; all space in bytes.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct QuotaFact {
    /// `user` or `group`.
    pub kind: String,
    /// Numeric id.
    pub id: u32,
    /// Space in use.
    pub space: u64,
    /// Inodes in use.
    pub inodes: u64,
    /// Space that can't be exceeded, 0 for none.
    pub space_hard: u64,
    /// Space that may be exceeded for a while, 0 for none.
    pub space_soft: u64,
    /// Inodes that can't be exceeded, 0 for none.
    pub inodes_hard: u64,
    /// Inodes that may be exceeded for a while, 0 for none.
    pub inodes_soft: u64,
    /// When the grace time of space ends, in seconds since 1970.
    pub space_expires: u64,
    /// When the grace time of inodes ends, in seconds since 1970.
    pub inodes_expire: u64,
}

/// One object.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// Path from the root, without a leading slash; empty for the root itself.
    pub path: Bytes,
    /// What it is.
    pub kind: Kind,
    /// Inode number.
    pub ino: u64,
    /// Permission bits, with set-id and sticky bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Link count.
    pub nlink: u32,
    /// Size in bytes.
    pub size: u64,
    /// Space in use in units of 512 bytes.
    pub blocks: u64,
    /// Last access: seconds since 1970 and nanoseconds.
    pub atime: (i64, u32),
    /// Last change of the content.
    pub mtime: (i64, u32),
    /// Last change of the inode.
    pub ctime: (i64, u32),
    /// Major and minor number of a device.
    pub rdev: Option<(u32, u32)>,
    /// Target of a symbolic link.
    pub target: Option<Bytes>,
    /// Extended attributes, access lists included, in the order the kernel lists them.
    #[serde(default)]
    pub xattrs: Vec<XattrFact>,
    /// Attributes as lsattr(1) reads them (`FS_*_FL`).
    #[serde(default)]
    pub flags: u32,
    /// Start and end of every range with data, by `SEEK_DATA` and `SEEK_HOLE`; files only.
    pub data: Option<Vec<(u64, u64)>>,
    /// Extents by FIEMAP; files only.
    pub extents: Option<Vec<ExtentFact>>,
    /// SHA-256 of the whole content; files of up to 8 MiB.
    pub sha256: Option<Bytes>,
    /// SHA-256 of the data ranges one after another; larger files.
    pub data_sha256: Option<Bytes>,
}

/// Kind of an object.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    File,
    Dir,
    Symlink,
    Char,
    Block,
    Fifo,
    Socket,
}

/// One extended attribute.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct XattrFact {
    /// Full name with its prefix. Access lists are in the form of getxattr(2), which differs from the one on disk.
    pub name: Bytes,
    /// Length of the value.
    pub size: u64,
    /// The value, when it has no more than 1024 bytes.
    pub value: Option<Bytes>,
    /// SHA-256 of a longer value.
    pub sha256: Option<Bytes>,
}

/// One extent in bytes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(from = "(u64, u64, u64, u32)")]
pub struct ExtentFact {
    /// Offset in the file.
    pub logical: u64,
    /// Offset in the volume.
    pub physical: u64,
    /// Length.
    pub length: u64,
    /// `FIEMAP_EXTENT_*` flags.
    pub flags: u32,
}

impl ExtentFact {
    /// Allocated, but reads as zeros.
    pub const UNWRITTEN: u32 = 0x800;
    /// The content is in the inode.
    pub const INLINE: u32 = 0x200;
    /// Shared with other files.
    pub const SHARED: u32 = 0x2000;
}

impl From<(u64, u64, u64, u32)> for ExtentFact {
    fn from((logical, physical, length, flags): (u64, u64, u64, u32)) -> Self {
        Self {
            logical,
            physical,
            length,
            flags,
        }
    }
}

/// Bytes that were written in hexadecimal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let pair = |pair: &[u8]| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(pair).collect();
        bytes
            .map(Self)
            .ok_or_else(|| de::Error::custom("not pairs of hexadecimal digits"))
    }
}

/// Why a line could not be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is no fact")]
pub struct FactError {
    line: usize,
    source: serde_json::Error,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Volume { volume: VolumeFact },
    Quota { quota: QuotaFact },
    Object(Box<Fact>),
}

/// Reads the collector's output.
pub fn parse(lines: &str) -> Result<Facts, FactError> {
    let mut facts = Facts::default();
    for (index, line) in lines.lines().enumerate() {
        match serde_json::from_str(line).map_err(|source| FactError {
            line: index + 1,
            source,
        })? {
            Line::Volume { volume } => facts.volume = Some(volume),
            Line::Quota { quota } => facts.quotas.push(quota),
            Line::Object(object) => facts.objects.push(*object),
        }
    }
    Ok(facts)
}

impl Facts {
    /// The object of a path, given without a leading slash.
    pub fn object(&self, path: impl AsRef<[u8]>) -> Option<&Fact> {
        self.objects.iter().find(|object| object.path.0 == path.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"path":"642fff","kind":"file","ino":7,"mode":420,"uid":1,"gid":2,"nlink":1,"size":3,"blocks":8,
        "atime":[-5,0],"mtime":[1,999999999],"ctime":[2,3],"data":[[0,3]],"extents":[[0,4096,4096,1]],"sha256":"ab",
        "xattrs":[{"name":"757365722e78","size":1,"value":"79"}]}"#;

    #[test]
    fn an_object_keeps_every_byte_of_its_name() {
        let facts = parse(&FILE.replace('\n', " ")).expect("it is one object");
        let file = facts.object(b"d/\xff").expect("the name it was given");
        assert_eq!(
            (file.kind, file.ino, file.atime, file.flags),
            (Kind::File, 7, (-5, 0), 0)
        );
        assert_eq!(
            file.extents.as_deref(),
            Some(
                &[ExtentFact {
                    logical: 0,
                    physical: 4096,
                    length: 4096,
                    flags: 1
                }][..]
            )
        );
        assert_eq!(file.xattrs[0].name.0, b"user.x");
    }

    #[test]
    fn a_line_that_is_no_fact_is_named_by_its_number() {
        let error = parse(
            "{\"volume\":{\"bsize\":1,\"frsize\":1,\"blocks\":1,\"bfree\":1,\"files\":1,\"ffree\":1,\"namemax\":1}}\n{}",
        );
        assert_eq!(
            error.expect_err("the second line is empty").to_string(),
            "line 2 is no fact"
        );
        assert!(parse(&FILE.replace('\n', " ").replace("642fff", "642ff")).is_err());
    }
}
