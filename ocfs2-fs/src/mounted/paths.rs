//! The path layer of a mounted file system: `std::fs` for a volume.
//!
//! Paths begin at the root of the volume, with or without a slash; absolute targets of symbolic links do too. New files
//! belong to root and have the permissions that `std::fs` would give them without a umask; whoever wants it otherwise uses
//! the inode layer or changes them afterwards. Nothing here judges permissions: the caller may do everything that the
//! volume's own attributes allow.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use ocfs2_format::{FileKind, InodeNo};

use super::handle::{OpenFile, OpenHow};
use super::names::{NewInode, RenameMode};
use super::{DirPage, FileSystem};
use crate::dir::DirEntry;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::path::{self, Namespace};

/// Permissions of new directories.
const DIR_MODE: u32 = 0o755;

impl Namespace for FileSystem {
    fn root_inode(&self) -> Result<Inode> {
        self.inode(self.root())
    }

    fn child(&self, dir: &Inode, name: &[u8]) -> Result<Option<Inode>> {
        self.lookup(dir.number(), name)
    }

    fn target(&self, link: &Inode) -> Result<Vec<u8>> {
        self.link_target(link.number())
    }
}

impl FileSystem {
    /// The inode that a path leads to, symbolic links followed.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::SymlinkLoop`], [`Error::Corrupt`].
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Inode> {
        path::resolve(self, path.as_ref(), true)
    }

    /// As [`metadata`](Self::metadata), without following a symbolic link in the last place.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata).
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> Result<Inode> {
        path::resolve(self, path.as_ref(), false)
    }

    /// Whether a path leads somewhere.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata), but for the absence itself.
    pub fn exists(&self, path: impl AsRef<Path>) -> Result<bool> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(Error::NotFound(_) | Error::NotADirectory(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The entries of a directory, without `.` and `..`. What is added or removed meanwhile may be seen or not; everything
    /// else is seen once.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata).
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<DirStream> {
        let path = path.as_ref();
        let dir = self.metadata(path)?;
        if dir.kind() != FileKind::Directory {
            return Err(Error::NotADirectory(path.to_owned()));
        }
        Ok(DirStream {
            fs: self.clone(),
            dir: dir.number(),
            page: Vec::new().into_iter(),
            next: Some(0),
        })
    }

    /// Opens a file.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata), [`Error::IsADirectory`], [`Error::Exists`], [`Error::WrongKind`] for devices and
    /// the like, [`Error::NoSpace`].
    pub fn open(&self, path: impl AsRef<Path>, how: &OpenHow) -> Result<OpenFile> {
        let path = path.as_ref();
        how.check()?;
        let make = || {
            let (dir, name) = self.parent(path)?;
            at(path, self.create_file(dir, &name, &NewInode::with_mode(how.mode)))
        };
        let inode = if how.create_new {
            // A symbolic link in its place is something that is there.
            make()?
        } else {
            match self.metadata(path) {
                Err(Error::NotFound(_)) if how.create => match make() {
                    // Somebody was faster, or the name is a symbolic link that leads nowhere.
                    Err(Error::Exists(_)) => self.metadata(path)?,
                    made => made?,
                },
                found => found?,
            }
        };
        if inode.kind() == FileKind::Directory {
            return Err(Error::IsADirectory(path.to_owned()));
        }
        at(path, OpenFile::open(self, &inode, how))
    }

    /// The whole contents of a file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        self.open(path, OpenHow::new().read(true))?.contents()
    }

    /// Makes a file hold exactly these bytes, and makes the file if need be.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn write(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
        let how = *OpenHow::new().write(true).create(true).truncate(true);
        let file = self.open(path, &how)?;
        let bytes = bytes.as_ref();
        let mut done = 0;
        while done < bytes.len() {
            done += file.write_at(done as u64, &bytes[done..])?;
        }
        file.close()
    }

    /// Copies the contents and permissions of a file; shares its clusters where the volume can. Returns the bytes copied.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn copy(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<u64> {
        let source = self.open(from, OpenHow::new().read(true))?;
        let inode = source.metadata()?;
        let mut how = OpenHow::new();
        how.write(true).create(true).truncate(true).mode(inode.mode() & 0o7777);
        let target = self.open(to, &how)?;
        let copied = source.copy_to(&target)?;
        target.close()?;
        Ok(copied)
    }

    /// Makes a file that shares all clusters with another, and has its owner, mode, times and attributes. Returns what it
    /// shares: later writes to either change that one only.
    ///
    /// # Errors
    /// As [`reflink_at`](Self::reflink_at).
    pub fn reflink(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Inode> {
        let source = self.metadata(from)?.number();
        let to = to.as_ref();
        let (dir, name) = self.parent(to)?;
        at(
            to,
            self.reflink_at(source, dir, &name, &NewInode::with_mode(0o644), true),
        )
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// [`Error::Exists`], as [`metadata`](Self::metadata) for the parent, [`Error::NoSpace`].
    pub fn create_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        at(path, self.make_dir(dir, &name, &NewInode::with_mode(DIR_MODE))).map(drop)
    }

    /// Makes a directory and all that lead to it, as far as they are missing.
    ///
    /// # Errors
    /// As [`create_dir`](Self::create_dir), but for directories that are there.
    pub fn create_dir_all(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut made = PathBuf::from("/");
        for component in path.as_ref().components() {
            made.push(component);
            if !matches!(component, Component::Normal(_)) {
                continue;
            }
            match self.create_dir(&made) {
                Ok(()) => {}
                Err(Error::Exists(_)) if self.metadata(&made)?.kind() == FileKind::Directory => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::NotADirectory`], as [`metadata`](Self::metadata).
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        at(path, self.rmdir(dir, &name))
    }

    /// Removes a directory with everything in it. Symbolic links are removed, not followed.
    ///
    /// # Errors
    /// As [`remove_dir`](Self::remove_dir). What was removed before an error stays so.
    pub fn remove_dir_all(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        if self.symlink_metadata(path)?.kind() != FileKind::Directory {
            return Err(Error::NotADirectory(path.to_owned()));
        }
        // A stack of our own: directories may be nested deeper than a thread's stack allows.
        let mut todo = vec![(path.to_owned(), false)];
        while let Some((dir, is_empty)) = todo.pop() {
            if is_empty {
                self.remove_dir(&dir)?;
                continue;
            }
            todo.push((dir.clone(), true));
            for entry in self.read_dir(&dir)? {
                let entry = entry?;
                let below = dir.join(OsStr::from_bytes(entry.name()));
                if self.symlink_metadata(&below)?.kind() == FileKind::Directory {
                    todo.push((below, false));
                } else {
                    self.remove_file(&below)?;
                }
            }
        }
        Ok(())
    }

    /// Removes the name of a file. The file goes with its last name, or when it is no longer open.
    ///
    /// # Errors
    /// [`Error::IsADirectory`], as [`metadata`](Self::metadata).
    pub fn remove_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        at(path, self.unlink(dir, &name))
    }

    /// Gives a file or directory another name; what has that name is replaced.
    ///
    /// # Errors
    /// Those of rename(2), as [`metadata`](Self::metadata).
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        self.rename_with(from, to, RenameMode::Replace)
    }

    /// As [`rename`](Self::rename), with a choice of what becomes of a name that is taken.
    ///
    /// # Errors
    /// As [`rename`](Self::rename), [`Error::Exists`].
    pub fn rename_with(&self, from: impl AsRef<Path>, to: impl AsRef<Path>, mode: RenameMode) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        match self.rename_at(from_dir, &from_name, to_dir, &to_name, mode) {
            Err(Error::NotFound(_)) => Err(Error::NotFound(from.to_owned())),
            result => at(to, result),
        }
    }

    /// Gives a file a further name.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::TooManyLinks`], [`Error::NotPermitted`] for directories, as
    /// [`metadata`](Self::metadata).
    pub fn hard_link(&self, original: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
        let link = link.as_ref();
        let inode = self.symlink_metadata(original)?;
        let (dir, name) = self.parent(link)?;
        at(link, self.link(inode.number(), dir, &name)).map(drop)
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::NameTooLong`], as [`metadata`](Self::metadata) for the parent.
    pub fn symlink(&self, target: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
        let link = link.as_ref();
        let (dir, name) = self.parent(link)?;
        let target = target.as_ref().as_os_str().as_bytes();
        at(link, self.make_symlink(dir, &name, target, &NewInode::with_mode(0o777))).map(drop)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata), [`Error::WrongKind`].
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let link = self.symlink_metadata(path)?;
        Ok(path::from_bytes(self.link_target(link.number())?))
    }

    /// The directory in which the last name of a path is, or is to be, and that name.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata) for the directory; [`Error::BadName`] for a path that ends with `.`, `..` or
    /// nothing.
    pub fn parent(&self, path: impl AsRef<Path>) -> Result<(InodeNo, Vec<u8>)> {
        let path = path.as_ref();
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(Error::BadName(path.to_owned()));
        };
        let dir = self.metadata(path.parent().unwrap_or(Path::new("")))?;
        if dir.kind() != FileKind::Directory {
            return Err(Error::NotADirectory(path.to_owned()));
        }
        Ok((dir.number(), name.as_bytes().to_vec()))
    }
}

/// Names the whole path where the inode layer knew a name only.
fn at<T>(path: &Path, result: Result<T>) -> Result<T> {
    let path = || path.to_owned();
    result.map_err(|error| match error {
        Error::NotFound(_) | Error::Stale(_) => Error::NotFound(path()),
        Error::NotADirectory(_) => Error::NotADirectory(path()),
        Error::IsADirectory(_) => Error::IsADirectory(path()),
        Error::Exists(_) => Error::Exists(path()),
        Error::NotEmpty(_) => Error::NotEmpty(path()),
        Error::BadName(_) => Error::BadName(path()),
        Error::NameTooLong(_) => Error::NameTooLong(path()),
        other => other,
    })
}

/// The entries of a directory of a mounted file system. See [`FileSystem::read_dir`].
#[derive(Debug)]
pub struct DirStream {
    fs: FileSystem,
    dir: InodeNo,
    page: std::vec::IntoIter<DirEntry>,
    /// Where the next page begins.
    next: Option<u64>,
}

impl Iterator for DirStream {
    type Item = Result<DirEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.find(|entry| !entry.is_dot()) {
                return Some(Ok(entry));
            }
            match self.fs.read_dir_at(self.dir, self.next.take()?) {
                Ok(DirPage { entries, next }) => {
                    self.page = entries.into_iter();
                    self.next = next;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
