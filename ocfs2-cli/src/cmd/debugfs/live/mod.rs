//! Commands about the locks and connections of a mounted volume, from the kernel's debug file system or a copy of its files.
//!
//! Source: Linux 6.1 kernel behaviour (debugfs files of ocfs2, o2dlm and o2net).

mod dlm;
mod fs;
mod net;

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::failure::{Failure, Outcome};
use super::out::Out;
use super::session::Session;

/// Where the kernel's debug file system is.
const DEBUGFS: &str = "/sys/kernel/debug";

/// Its magic number.
const DEBUGFS_MAGIC: u32 = 0x6462_6720;

/// Longest line that is looked at. The kernel's are far shorter.
const MAX_LINE: u64 = 1 << 20;

/// The operands of the lock commands.
#[derive(Debug, Default)]
struct Wanted<'a> {
    /// `-f FILE`: a copy of the kernel's file.
    file: Option<&'a Path>,
    /// `-l`: show lock value blocks.
    values: bool,
    /// `-B`: busy locks only.
    busy: bool,
    /// Only these locks; all when empty.
    names: Vec<String>,
}

impl<'a> Wanted<'a> {
    fn parse(words: &[&'a [u8]]) -> Result<Self, Failure> {
        let mut wanted = Self::default();
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            match word {
                b"-l" => wanted.values = true,
                b"-B" => wanted.busy = true,
                b"-f" => {
                    let file = words.next().ok_or(Failure::Usage)?;
                    wanted.file = Some(Path::new(OsStr::from_bytes(file)));
                }
                _ if word.starts_with(b"-") => return Err(Failure::Usage),
                _ => {
                    let name = word
                        .strip_prefix(b"<")
                        .and_then(|word| word.strip_suffix(b">"))
                        .unwrap_or(word);
                    wanted.names.push(String::from_utf8_lossy(name).into_owned());
                }
            }
        }
        Ok(wanted)
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }
}

/// `dlm_locks [-f FILE] [-l] [LOCKNAME ...]`.
pub(super) fn dlm_locks(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let wanted = Wanted::parse(words)?;
    if wanted.busy {
        return Err(Failure::Usage);
    }
    dlm::show(locking_state(session, &wanted, "o2dlm")?, &wanted, out)
}

/// `fs_locks [-f FILE] [-l] [-B] [LOCKNAME ...]`.
pub(super) fn fs_locks(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let wanted = Wanted::parse(words)?;
    fs::show(locking_state(session, &wanted, "ocfs2")?, &wanted, out)
}

/// `net_stats [-f FILE] [INTERVAL [COUNT]]`.
pub(super) fn net_stats(_: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    net::show(words, out)
}

/// The file that describes the locks of the open volume, or the copy that the user has.
fn locking_state(session: &Session, wanted: &Wanted<'_>, layer: &str) -> Result<Lines, Failure> {
    if let Some(file) = wanted.file {
        return Lines::open(file).map_err(|_| Failure::Text(format!("Could not open file at \"{}\"", file.display())));
    }
    let uuid = session.volume()?.inspector.volume().superblock().uuid_text();
    let path: PathBuf = [
        debugfs()?,
        Path::new(layer),
        Path::new(&uuid),
        Path::new("locking_state"),
    ]
    .iter()
    .collect();
    Lines::open(&path).map_err(|error| {
        Failure::Text(format!(
            "Could not open debug state for \"{uuid}\" ({error}). Perhaps that OCFS2 file system is not mounted?"
        ))
    })
}

/// The debug file system, if it is mounted.
fn debugfs() -> Result<&'static Path, Failure> {
    let found = rustix::fs::statfs(DEBUGFS).is_ok_and(|fs| fs.f_type as u32 == DEBUGFS_MAGIC);
    if !found {
        let text = "Could not locate debugfs file system. Perhaps it is not mounted?";
        return Err(Failure::new(text));
    }
    Ok(Path::new(DEBUGFS))
}

/// The lines of a file, one at a time.
struct Lines {
    reader: BufReader<File>,
    number: usize,
}

impl Lines {
    fn open(path: &Path) -> std::io::Result<Self> {
        let reader = BufReader::new(File::open(path)?);
        Ok(Self { reader, number: 0 })
    }

    /// The next line without its end; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<String>, Failure> {
        self.number += 1;
        let mut line = Vec::new();
        let read = self.reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        if read.map_err(|error| Failure::Text(error.to_string()))? == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }

    /// A complaint about the line read last.
    fn bad(&self, why: impl fmt::Display) -> Failure {
        Failure::Text(format!("line {}: {why}", self.number))
    }
}

/// The fields of a line, one after the other.
struct Fields<'a> {
    rest: std::str::Split<'a, char>,
}

impl<'a> Fields<'a> {
    fn new(line: &'a str, separator: char) -> Self {
        Self {
            rest: line.split(separator),
        }
    }

    /// The next field as text.
    fn text(&mut self) -> Option<&'a str> {
        self.rest.next()
    }

    /// The next field as a number, in decimal or behind `0x`.
    fn number(&mut self) -> Option<i64> {
        let text = self.rest.next()?.trim();
        match text.strip_prefix("0x") {
            // Sign-extended bytes have eight digits.
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }

    /// The next field as a counter.
    fn count(&mut self) -> Option<u64> {
        self.rest.next()?.trim().parse().ok()
    }
}

/// A lock value block as lines of 16 bytes.
fn value_block(out: &mut dyn std::io::Write, bytes: &[u8]) -> std::io::Result<()> {
    for (index, line) in bytes.chunks(16).enumerate() {
        write!(out, "{}", if index == 0 { "Raw LVB:\t" } else { "\t\t" })?;
        for byte in line {
            write!(out, "{byte:02x} ")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
