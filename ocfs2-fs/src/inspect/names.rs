//! Finding the names of inodes.

use std::collections::{HashSet, VecDeque};

use ocfs2_format::{Corrupt, Dinode, FileKind, InodeNo, Structure, Violation};

use super::Inspector;
use super::dirs::{RawDir, RawDirEntry};
use super::raw::Raw;
use crate::error::Result;

/// Directories inside each other that are entered. No path has as many.
const MAX_DEPTH: usize = 4096;

/// The names of inodes. See [`Inspector::names`].
#[derive(Debug)]
pub struct Names {
    inspector: Inspector,
    wanted: HashSet<InodeNo>,
    /// Directories where a walk is still to begin, with their paths.
    starts: VecDeque<(InodeNo, &'static [u8])>,
    /// What was found before the walk began.
    ready: VecDeque<(InodeNo, Vec<u8>)>,
    levels: Vec<Level>,
    path: Vec<u8>,
    seen: HashSet<InodeNo>,
}

#[derive(Debug)]
struct Level {
    entries: RawDir,
    /// Length of the path that leads here.
    path_len: usize,
}

impl Inspector {
    /// Every name of the wanted inodes: the two directories where the walk begins, then what is in the system directory, then
    /// what is below the root, directories with a slash behind them. Each directory is entered once. What cannot be read is
    /// an error in its place, and the walk goes on behind it.
    pub fn names(&self, wanted: HashSet<InodeNo>) -> Names {
        let (root, system) = (self.volume().root(), self.volume().system_dir());
        let starts: [(InodeNo, &'static [u8]); 2] = [(root, b"/"), (system, b"//")];
        let ready = starts.iter().filter(|(inode, _)| wanted.contains(inode));
        Names {
            inspector: self.clone(),
            ready: ready.map(|(inode, path)| (*inode, path.to_vec())).collect(),
            starts: starts.into_iter().rev().collect(),
            wanted,
            levels: Vec::new(),
            path: Vec::new(),
            seen: HashSet::new(),
        }
    }
}

impl Names {
    /// Enters a directory whose path, with its slash, is in `self.path`.
    fn enter(&mut self, number: InodeNo, dir: &Raw<Dinode>) -> Result<()> {
        if !self.seen.insert(number) {
            let violation = Violation::Loop {
                field: "inode",
                found: number.0,
            };
            return Err(Corrupt::new(Structure::DirBlock, violation).into());
        }
        if self.levels.len() >= MAX_DEPTH {
            let violation = Violation::Rule("directories lie deeper than any path reaches");
            return Err(Corrupt::new(Structure::DirBlock, violation).in_inode(number).into());
        }
        self.levels.push(Level {
            entries: self.inspector.read_dir(dir)?,
            path_len: self.path.len(),
        });
        Ok(())
    }

    fn visit(&mut self, entry: &RawDirEntry) -> Option<Result<(InodeNo, Vec<u8>)>> {
        let number = entry.inode()?;
        if entry.name == b"." || entry.name == b".." {
            return None;
        }
        self.path.extend_from_slice(&entry.name);
        // A type that is missing or wrong is no reason to miss what is below.
        let dir = match FileKind::from_dirent(entry.header.file_type) {
            Some(FileKind::Directory) | None => match self.inspector.dinode(number) {
                Ok(dinode) => Some(dinode).filter(|dinode| dinode.kind() == Some(FileKind::Directory)),
                Err(error) if !self.wanted.contains(&number) => return Some(Err(error)),
                Err(_) => None,
            },
            Some(_) => None,
        };
        let mut found = None;
        if let Some(dir) = dir {
            self.path.push(b'/');
            found = self.enter(number, &dir).err().map(Err);
        }
        if self.wanted.contains(&number) {
            found = Some(Ok((number, self.path.clone())));
        }
        found
    }
}

impl Iterator for Names {
    type Item = Result<(InodeNo, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(found) = self.ready.pop_front() {
            return Some(Ok(found));
        }
        loop {
            let Some(level) = self.levels.last_mut() else {
                let (number, path) = self.starts.pop_front()?;
                self.path = path.to_vec();
                let entered = self.inspector.dinode(number).and_then(|dir| self.enter(number, &dir));
                if let Err(error) = entered {
                    return Some(Err(error));
                }
                continue;
            };
            self.path.truncate(level.path_len);
            let found = match level.entries.next() {
                None => {
                    self.levels.pop();
                    None
                }
                Some(Ok(entry)) => self.visit(&entry),
                Some(Err(error)) => Some(Err(error)),
            };
            if found.is_some() {
                return found;
            }
        }
    }
}
