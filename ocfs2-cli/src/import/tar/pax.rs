//! Extended headers: records of a length, a key and a value that may be any bytes.

use anyhow::{Context, bail};
use base64::Engine;
use ocfs2_fs::{Acl, AclRecord, AclTag, Timestamp};
use std::collections::{BTreeMap, VecDeque};

use crate::text::People;

use super::MAX_PIECES;

/// Records by key; of several with one key the last counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Pieces of a sparse file in version 0.0, whose keys come again for each.
    pieces: Vec<u64>,
}

/// Keys that may count for many entries.
const PLAIN: [&[u8]; 7] = [b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"atime"];

/// Prefixes under which archives keep extended attributes, by what they put in front of the name and whether the value is
/// encoded.
const XATTRS: [(&[u8], bool); 2] = [(b"SCHILY.xattr.", false), (b"LIBARCHIVE.xattr.", true)];

/// Keys of ACLs, and the attributes that hold them.
const ACLS: [(&[u8], &[u8]); 2] = [
    (b"SCHILY.acl.access", b"system.posix_acl_access"),
    (b"SCHILY.acl.default", b"system.posix_acl_default"),
];

impl Records {
    /// Adds the records of a header.
    ///
    /// # Errors
    /// They are not as they should be.
    pub(super) fn add(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        const DAMAGED: &str = "the archive is damaged: an extended header makes no sense";
        while !bytes.is_empty() {
            let blank = bytes.iter().position(|&byte| byte == b' ').context(DAMAGED)?;
            let digits = std::str::from_utf8(&bytes[..blank]).ok();
            let len: usize = digits.and_then(|digits| digits.parse().ok()).context(DAMAGED)?;
            let record = bytes.get(blank + 1..len).context(DAMAGED)?;
            let record = record.strip_suffix(b"\n").context(DAMAGED)?;
            let equals = record.iter().position(|&byte| byte == b'=').context(DAMAGED)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.pieces.push(number(value)?),
                // An empty value takes a record back.
                _ if value.is_empty() && PLAIN.contains(&key) => {
                    self.values.remove(key);
                }
                _ => {
                    self.values.insert(key.to_vec(), value.to_vec());
                }
            }
            bytes = &bytes[len..];
        }
        Ok(())
    }

    /// Drops what cannot count for more than one entry.
    pub(super) fn keep_plain(&mut self) {
        self.values.retain(|key, _| PLAIN.contains(&key.as_slice()));
        self.pieces.clear();
    }

    /// Adds records that go before these.
    pub(super) fn extend(&mut self, other: Records) {
        self.values.extend(other.values);
        self.pieces = other.pieces;
    }

    pub(super) fn text(&self, key: &str) -> Option<Vec<u8>> {
        self.values.get(key.as_bytes()).cloned()
    }

    pub(super) fn number(&self, key: &str) -> Option<anyhow::Result<u64>> {
        let value = self.values.get(key.as_bytes())?;
        Some(number(value).with_context(|| format!("the record {key}")))
    }

    /// A time: seconds, perhaps negative, with a fraction.
    pub(super) fn time(&self, key: &str) -> Option<anyhow::Result<Timestamp>> {
        let value = self.values.get(key.as_bytes())?;
        Some(time(value).with_context(|| format!("the record {key}")))
    }

    /// The pieces of a sparse file in versions 0.0 and 0.1.
    pub(super) fn sparse_pieces(&self) -> anyhow::Result<Option<VecDeque<(u64, u64)>>> {
        let numbers = match self.values.get(b"GNU.sparse.map".as_slice()) {
            Some(map) => {
                let numbers = map.split(|&byte| byte == b',').filter(|text| !text.is_empty());
                numbers.map(number).collect::<Result<_, _>>()?
            }
            None if self.pieces.is_empty() => return Ok(None),
            None => self.pieces.clone(),
        };
        let (pairs, rest) = numbers.as_chunks::<2>();
        if !rest.is_empty() || pairs.len() > MAX_PIECES {
            bail!("the pieces of a sparse file make no sense");
        }
        Ok(Some(pairs.iter().map(|&[offset, len]| (offset, len)).collect()))
    }

    /// Full names and values of the extended attributes, ACLs among them, in order.
    pub(super) fn xattrs(&self) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut xattrs = BTreeMap::new();
        // Some archives have both forms of an attribute; the first is exact.
        for (prefix, is_encoded) in XATTRS.iter().rev() {
            for (key, value) in &self.values {
                let Some(name) = key.strip_prefix(*prefix) else {
                    continue;
                };
                let value = match is_encoded {
                    false => value.clone(),
                    true => match base64::engine::general_purpose::STANDARD_NO_PAD.decode(unpadded(value)) {
                        Ok(value) => value,
                        Err(_) => bail!("an extended attribute makes no sense"),
                    },
                };
                xattrs.insert(name.to_vec(), value);
            }
        }
        if let Some(label) = self.values.get(b"RHT.security.selinux".as_slice()) {
            xattrs.entry(b"security.selinux".to_vec()).or_insert(label.clone());
        }
        for (key, name) in ACLS {
            if let Some(text) = self.values.get(key) {
                xattrs.insert(name.to_vec(), acl(text)?.to_posix_xattr());
            }
        }
        Ok(xattrs.into_iter().collect())
    }
}

fn unpadded(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|&byte| byte != b'=').map_or(0, |at| at + 1);
    &value[..end]
}

fn number(text: &[u8]) -> anyhow::Result<u64> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).context("not a number")
}

fn time(text: &[u8]) -> anyhow::Result<Timestamp> {
    let text = std::str::from_utf8(text).context("not a time")?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!("not a time");
    }
    let secs: i64 = whole.parse().context("not a time")?;
    let digits = fraction.get(..9).unwrap_or(fraction);
    let nanos: u32 = format!("{digits:0<9}").parse().context("not a time")?;
    // Inodes count fractions forward from the second before.
    Ok(match whole.starts_with('-') && nanos > 0 {
        true => Timestamp {
            secs: secs.saturating_sub(1),
            nanos: 1_000_000_000 - nanos,
        },
        false => Timestamp { secs, nanos },
    })
}

/// An ACL as text: `user::rwx,user:name:rw-:1000,…`.
fn acl(text: &[u8]) -> anyhow::Result<Acl> {
    let text = std::str::from_utf8(text).context("an access control list that is no text")?;
    let people = People::default();
    let mut entries = Vec::new();
    for record in text
        .split([',', '\n'])
        .map(str::trim)
        .filter(|record| !record.is_empty())
    {
        let parsed = acl_record(record, &people);
        entries.push(parsed.with_context(|| format!("the record '{record}' of an access control list"))?);
    }
    Ok(Acl { entries })
}

fn acl_record(record: &str, people: &People) -> anyhow::Result<AclRecord> {
    let mut fields = record.split(':');
    let (tag, who) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
    let permissions = fields.next().context("no permissions")?;
    let number = fields.next().and_then(|id| id.parse::<u32>().ok());
    let tag = match (tag, who) {
        ("user" | "u", "") => AclTag::UserObj,
        ("group" | "g", "") => AclTag::GroupObj,
        ("mask" | "m", _) => AclTag::Mask,
        ("other" | "o", _) => AclTag::Other,
        ("user" | "u", name) => AclTag::User(number.or_else(|| people.find_user(name)).context("no such user")?),
        ("group" | "g", name) => AclTag::Group(number.or_else(|| people.find_group(name)).context("no such group")?),
        _ => bail!("no such tag"),
    };
    let mut perm = 0;
    for letter in permissions.chars() {
        perm |= match letter {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => bail!("no such permission"),
        };
    }
    Ok(AclRecord { tag, perm })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_any_bytes_and_the_last_counts() {
        let mut records = Records::default();
        records
            .add(b"10 path=a\n23 SCHILY.xattr.u=\n=\0\xff\n10 path=b\n")
            .unwrap();
        assert_eq!(records.text("path").as_deref(), Some(b"b".as_slice()));
        assert_eq!(records.xattrs().unwrap(), [(b"u".to_vec(), b"\n=\0\xff".to_vec())]);
        for bad in [
            &b"path=a\n"[..],
            b"8 path=a\n",
            b"99 path=a\n",
            b"10 path=a ",
            b"5 x\n",
            b"0 x=\n",
            b"2 \n",
            b"18446744073709551615 a=b\n",
        ] {
            assert!(Records::default().add(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn times_before_1970_count_their_fraction_forward() {
        let time = |text: &str| time(text.as_bytes()).map(|time| (time.secs, time.nanos)).ok();
        assert_eq!(time("12.5"), Some((12, 500_000_000)));
        assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time("7.1234567899"), Some((7, 123_456_789)));
        assert_eq!(time("-0.5"), Some((-1, 500_000_000)));
        assert_eq!(time("1.x"), None);
    }

    #[test]
    fn acls_are_read_from_text_with_numbers_where_there_are_some() {
        let acl = acl(b"user::rwx,user:nobody-here:r--:1001,group::r-x,mask::rwx,other::---").unwrap();
        assert_eq!(acl.entries[1].tag, AclTag::User(1001));
        assert_eq!(acl.entries[1].perm, 4);
        assert_eq!(acl.entries.len(), 5);
        assert!(super::acl(b"user:no-such-user-here:rwx").is_err());
    }
}
