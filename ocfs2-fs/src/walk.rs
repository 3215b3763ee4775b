//! Walking a whole tree.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ocfs2_format::{Corrupt, FileKind, InodeNo, Structure, Violation};

use crate::error::Error;
use crate::inode::Inode;
use crate::volume::{Entries, Volume};

/// One object met by a walk.
#[derive(Clone, Debug)]
pub struct WalkEntry {
    /// The path, beginning with the one the walk was started with.
    pub path: PathBuf,
    /// Steps below the start.
    pub depth: usize,
    /// The inode.
    pub inode: Inode,
}

/// Something that a walk could not read, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", .path.display())]
pub struct WalkError {
    /// The object or directory that could not be read.
    pub path: PathBuf,
    /// Why.
    pub error: Error,
}

/// A depth-first walk. See [`Volume::walk`].
///
/// Holds one directory block for each level, and the number of every directory met: a directory that is met again, which
/// a sound volume does not have, is reported and not entered. So is one that lies deeper than a path can name.
#[derive(Debug)]
pub struct Walk {
    volume: Volume,
    start: Option<(PathBuf, Inode)>,
    stack: Vec<Level>,
    seen: HashSet<InodeNo>,
}

#[derive(Debug)]
struct Level {
    path: PathBuf,
    dir: InodeNo,
    entries: Entries,
}

/// Levels that a walk goes down: more than a path of `PATH_MAX` bytes has components.
const MAX_DEPTH: usize = 2048;

impl Walk {
    pub(crate) fn new(volume: Volume, path: PathBuf, inode: Inode) -> Walk {
        Walk {
            volume,
            start: Some((path, inode)),
            stack: Vec::new(),
            seen: HashSet::new(),
        }
    }

    /// Leaves the directory whose entries are being yielded; after a directory itself was yielded, skips its contents.
    pub fn skip_directory(&mut self) {
        self.stack.pop();
    }

    fn visit(&mut self, path: PathBuf, inode: Inode) -> Result<WalkEntry, WalkError> {
        let depth = self.stack.len();
        if inode.kind() == FileKind::Directory {
            let (field, found) = ("inode", inode.number().0);
            let violation = if !self.seen.insert(inode.number()) {
                Some(Violation::Loop { field, found })
            } else if depth >= MAX_DEPTH {
                let why = "the directory lies deeper than a path can name";
                Some(Violation::Invalid { field, found, why })
            } else {
                None
            };
            if let Some(violation) = violation {
                let mut corrupt = Corrupt::new(Structure::DirBlock, violation);
                if let Some(parent) = self.stack.last() {
                    corrupt = corrupt.in_inode(parent.dir);
                }
                let error = corrupt.into();
                return Err(WalkError { path, error });
            }
            match self.volume.entries(&inode) {
                Ok(entries) => self.stack.push(Level {
                    path: path.clone(),
                    dir: inode.number(),
                    entries,
                }),
                Err(error) => return Err(WalkError { path, error }),
            }
        }
        Ok(WalkEntry { path, depth, inode })
    }

    fn step(&mut self) -> Option<Result<WalkEntry, WalkError>> {
        loop {
            let level = self.stack.last_mut()?;
            let entry = match level.entries.next() {
                None => {
                    self.stack.pop();
                    continue;
                }
                Some(Err(error)) => {
                    return Some(Err(WalkError {
                        path: level.path.clone(),
                        error,
                    }));
                }
                Some(Ok(entry)) => entry,
            };
            if entry.is_dot() {
                continue;
            }
            let path = level.path.join(Path::new(OsStr::from_bytes(entry.name())));
            return Some(match self.volume.inode(entry.inode()) {
                Ok(inode) => self.visit(path, inode),
                Err(error) => Err(WalkError { path, error }),
            });
        }
    }
}

impl Iterator for Walk {
    type Item = Result<WalkEntry, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.start.take() {
            Some((path, inode)) => Some(self.visit(path, inode)),
            None => self.step(),
        }
    }
}
