//! From paths to inodes, through directories as they are.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use ocfs2_format::{Dinode, FileKind, InodeNo};

use super::{Inspector, Raw};
use crate::error::{Error, Result};
use crate::path::{MAX_LINKS, components};

impl Inspector {
    /// Finds a name in a directory without its index.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when `dir` is no directory. Damage is an error only when the name is not found elsewhere.
    pub fn lookup(&self, dir: &Raw<Dinode>, name: &[u8]) -> Result<Option<InodeNo>> {
        let mut damage = None;
        for entry in self.read_dir(dir)? {
            match entry {
                Ok(entry) if entry.name == name => {
                    if let Some(inode) = entry.inode() {
                        return Ok(Some(inode));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    damage.get_or_insert(error);
                }
            }
        }
        damage.map_or(Ok(None), Err)
    }

    /// The inode that `path` leads to from the directory `start`. Links on the way are followed, `root` being where
    /// absolute ones begin; a link in the last place is followed if the path ends with a slash.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::SymlinkLoop`], or what keeps a directory on the way from being
    /// read.
    pub fn resolve(&self, start: InodeNo, root: InodeNo, path: &[u8]) -> Result<InodeNo> {
        let whole = || PathBuf::from(OsStr::from_bytes(path));
        let must_be_dir = path.ends_with(b"/");
        let mut todo = components(path);
        let mut current = start;
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b"." {
                continue;
            }
            let dir = self.dinode(current)?;
            let child = match self.lookup(&dir, &name) {
                Ok(Some(child)) => child,
                Ok(None) => return Err(Error::NotFound(whole())),
                Err(Error::WrongKind { .. }) => return Err(Error::NotADirectory(whole())),
                Err(error) => return Err(error),
            };
            if todo.is_empty() && !must_be_dir {
                return Ok(child);
            }
            if self.dinode(child)?.kind() == Some(FileKind::Symlink) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::SymlinkLoop(whole()));
                }
                let target = self.volume.link_target(&self.volume.inode(child)?)?;
                if target.starts_with(b"/") {
                    current = root;
                }
                todo.extend(components(&target));
                continue;
            }
            current = child;
        }
        if must_be_dir && self.dinode(current)?.kind() != Some(FileKind::Directory) {
            return Err(Error::NotADirectory(whole()));
        }
        Ok(current)
    }
}
