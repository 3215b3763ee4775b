//! From paths to inodes.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use ocfs2_format::FileKind;

use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::volume::Volume;

/// Symbolic links followed on the way to one inode, as the kernel limits them.
pub(crate) const MAX_LINKS: u32 = 40;

/// What paths are resolved in: a volume, or a mounted file system.
pub(crate) trait Namespace {
    /// The root directory.
    fn root_inode(&self) -> Result<Inode>;

    /// The inode behind a name; `None` when the directory has no such name.
    fn child(&self, dir: &Inode, name: &[u8]) -> Result<Option<Inode>>;

    /// The target of a symbolic link.
    fn target(&self, link: &Inode) -> Result<Vec<u8>>;
}

impl Namespace for Volume {
    fn root_inode(&self) -> Result<Inode> {
        self.inode(self.root())
    }

    fn child(&self, dir: &Inode, name: &[u8]) -> Result<Option<Inode>> {
        match self.lookup(dir, name)? {
            Some(entry) => self.inode(entry.inode()).map(Some),
            None => Ok(None),
        }
    }

    fn target(&self, link: &Inode) -> Result<Vec<u8>> {
        self.link_target(link)
    }
}

/// Resolves a path from the root directory. An absolute link target begins at the volume's own root.
pub(crate) fn resolve(names: &dyn Namespace, path: &Path, follow_last: bool) -> Result<Inode> {
    let mut current = names.root_inode()?;
    // Components still to be walked, the next one last.
    let mut todo = components(path.as_os_str().as_bytes());
    let must_be_dir = path.as_os_str().as_bytes().ends_with(b"/");
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if current.kind() != FileKind::Directory {
            return Err(Error::NotADirectory(path.to_owned()));
        }
        if name == b"." {
            continue;
        }
        // `..` is an entry like any other; in the root it leads to the root.
        let Some(child) = names.child(&current, &name)? else {
            return Err(Error::NotFound(path.to_owned()));
        };
        let last = todo.is_empty() && !must_be_dir;
        if child.kind() == FileKind::Symlink && (follow_last || !last) {
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::SymlinkLoop(path.to_owned()));
            }
            let target = names.target(&child)?;
            if target.starts_with(b"/") {
                current = names.root_inode()?;
            }
            todo.extend(components(&target));
            continue;
        }
        current = child;
    }
    if must_be_dir && current.kind() != FileKind::Directory {
        return Err(Error::NotADirectory(path.to_owned()));
    }
    Ok(current)
}

/// The components of a path, last first.
pub(crate) fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}

/// A path from a volume's bytes.
pub(crate) fn from_bytes(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}
