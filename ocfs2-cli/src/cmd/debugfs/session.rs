//! What lasts from one command to the next: the open volume and the place in it.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocfs2_format::device::{self, BlockDevice, FileOptions};
use ocfs2_format::{BlockNo, Dinode, Geometry, InodeNo, LockId};
use ocfs2_fs::inspect::{Inspector, Raw};
use ocfs2_fs::{Error, OpenOptions, PackedImage, Volume};

use super::failure::{Failure, failed, text};
use super::show::Local;
use crate::ui::complain;

/// A session with the user.
pub(super) struct Session {
    /// Time zone and names of this machine.
    pub(super) local: Local,
    /// Partition of the devices to be opened.
    pub(super) partition: Option<u32>,
    open: Option<Open>,
    failed: Cell<bool>,
}

/// An open volume.
pub(super) struct Open {
    /// The device's name as it was given.
    pub(super) device: PathBuf,
    /// The volume.
    pub(super) inspector: Inspector,
    /// Where paths with a slash begin.
    pub(super) root: InodeNo,
    /// Where all others begin.
    pub(super) cwd: InodeNo,
}

/// How to open a device.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenHow {
    /// Backup superblock to use.
    pub(super) backup: Option<u32>,
    /// The file is a packed image made by o2image.
    pub(super) packed: bool,
}

impl Session {
    pub(super) fn new(partition: Option<u32>) -> Self {
        Self {
            local: Local::default(),
            partition,
            open: None,
            failed: Cell::new(false),
        }
    }

    /// True when a command failed, or told of damage.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Tells the user what `command` could not do.
    pub(super) fn problem(&self, out: &mut dyn Write, command: &str, problem: impl Display) {
        self.failed.set(true);
        // Keeps the order of results and complaints where both go to the same place; the next write meets any error again.
        let _ = out.flush();
        complain(command, problem);
    }

    /// Opens a device, closing the one that is open.
    pub(super) fn open(&mut self, path: &Path, how: OpenHow) -> Result<(), Failure> {
        self.open = None;
        let inspector = self.inspector_of(path, how)?;
        self.open = Some(Open {
            device: path.to_owned(),
            root: inspector.volume().root(),
            cwd: inspector.volume().root(),
            inspector,
        });
        Ok(())
    }

    fn inspector_of(&self, path: &Path, how: OpenHow) -> Result<Inspector, Failure> {
        let doing = format_args!("while opening context for device {}", path.display());
        let mut device = device::open(path, &FileOptions::new(), self.partition).map_err(|error| {
            let missing = std::fs::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
            if missing {
                Failure::Text(format!("Device name specified was not found {doing}"))
            } else {
                Failure::Text(format!("I/O error on channel ({error}) {doing}"))
            }
        })?;
        if how.packed {
            let image = PackedImage::open(device).map_err(|error| failed(&error, doing))?;
            device = Arc::new(image) as Arc<dyn BlockDevice>;
        }
        let mut options = OpenOptions::default();
        options.backup_superblock = how.backup;
        options.replay_journals = false;
        options.lenient = true;
        let volume = Volume::open(device, &options).map_err(|error| failed(&error, doing))?;
        Ok(volume.inspect())
    }

    /// Closes the device.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// The open volume, if there is one.
    pub(super) fn opened(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// The open volume.
    pub(super) fn volume(&self) -> Result<&Open, Failure> {
        self.open.as_ref().ok_or_else(|| Failure::new("No device open"))
    }

    /// The open volume, to change the place in it.
    pub(super) fn volume_mut(&mut self) -> Result<&mut Open, Failure> {
        self.open.as_mut().ok_or_else(|| Failure::new("No device open"))
    }
}

impl Open {
    /// Sizes and features.
    pub(super) fn geometry(&self) -> &Geometry {
        self.inspector.geometry()
    }

    /// The inode that a word names: a path, `<inode>`, `<lockname>` or `//system-file`.
    pub(super) fn filespec(&self, word: &[u8]) -> Result<InodeNo, Failure> {
        self.lookup(word).map_err(|error| {
            let word = OsStr::from_bytes(word);
            Failure::Text(format!("{} '{}'", text(&error), word.display()))
        })
    }

    fn lookup(&self, word: &[u8]) -> ocfs2_fs::Result<InodeNo> {
        if let Some(number) = bracketed(word) {
            return Ok(number.inode());
        }
        let (start, path) = if let Some(path) = word.strip_prefix(b"//") {
            (self.inspector.volume().system_dir(), path)
        } else if word.starts_with(b"/") {
            (self.root, word)
        } else {
            (self.cwd, word)
        };
        if path.is_empty() && !word.starts_with(b"/") {
            return Err(Error::NotFound(PathBuf::new()));
        }
        self.inspector.resolve(start, self.root, path)
    }

    /// The inode that a word names, read.
    pub(super) fn dinode(&self, word: &[u8]) -> Result<Raw<Dinode>, Failure> {
        self.read_dinode(self.filespec(word)?)
    }

    /// An inode, read.
    pub(super) fn read_dinode(&self, number: InodeNo) -> Result<Raw<Dinode>, Failure> {
        self.inspector
            .dinode(number)
            .map_err(|error| failed(&error, format_args!("while reading inode {number}")))
    }
}

/// The block that `<number>` or `<lockname>` names.
pub(super) fn bracketed(word: &[u8]) -> Option<BlockNo> {
    let inner = std::str::from_utf8(word.strip_prefix(b"<")?.strip_suffix(b">")?).ok()?;
    match number(inner) {
        Some(number) => Some(BlockNo(number)),
        None => inner.parse::<LockId>().ok().map(|lock| lock.block()),
    }
}

/// A number: decimal, `0x` hexadecimal or `0` octal.
pub(super) fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => match text.strip_prefix('0') {
            Some(digits) if !digits.is_empty() => (digits, 8),
            _ => (text, 10),
        },
    };
    let sound = digits.chars().all(|digit| digit.is_digit(radix));
    sound.then(|| u64::from_str_radix(digits, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_in_c() {
        for (text, value) in [("17", 17), ("0x11", 17), ("0X11", 17), ("021", 17), ("0", 0)] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for text in ["", "0x", "08", "-5", "+5", "5 ", "1x", "18446744073709551616"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn brackets_hold_numbers_or_lock_names() {
        assert_eq!(bracketed(b"<17>"), Some(BlockNo(17)));
        assert_eq!(bracketed(b"<M000000000000000000001100000000>"), Some(BlockNo(17)));
        assert_eq!(bracketed(b"<N000000000000123400007a77>"), Some(BlockNo(0x7a77)));
        for word in [b"17".as_slice(), b"<17", b"17>", b"<>", b"<x>", b"<\xff>", b"<17>x"] {
            assert_eq!(bracketed(word), None);
        }
    }
}
