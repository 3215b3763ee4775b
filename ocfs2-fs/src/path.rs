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

/// Resolves a path from the root directory. An absolute link target begins at the volume's own root.
pub(crate) fn resolve(volume: &Volume, path: &Path, follow_last: bool) -> Result<Inode> {
    let mut current = volume.inode(volume.root())?;
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
        let Some(entry) = volume.lookup(&current, &name)? else {
            return Err(Error::NotFound(path.to_owned()));
        };
        let child = volume.inode(entry.inode())?;
        let last = todo.is_empty() && !must_be_dir;
        if child.kind() == FileKind::Symlink && (follow_last || !last) {
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::SymlinkLoop(path.to_owned()));
            }
            let target = volume.link_target(&child)?;
            if target.starts_with(b"/") {
                current = volume.inode(volume.root())?;
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
