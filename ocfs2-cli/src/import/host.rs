//! Files of this machine as a source.

use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ocfs2_format::FileKind;
use ocfs2_fs::{DeviceNumber, Timestamp};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use crate::transfer::{Effort, Options};

use super::walk::Tree;
use super::{ACLS, Attributes, Object, What};

/// A tree of this machine's files.
#[derive(Debug)]
pub(crate) struct HostTree {
    options: Options,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    size: u64,
    /// End of what was read.
    at: u64,
    /// End of the data that `at` is in.
    data_end: u64,
}

/// What finds an object again: its path, and whether a symbolic link there is followed.
#[derive(Clone, Debug)]
pub(crate) struct HostKey {
    path: PathBuf,
    follow: bool,
}

impl HostTree {
    /// Files, of which as much is read as the options want to keep.
    pub(crate) fn new(options: Options) -> Self {
        Self { options, open: None }
    }

    /// What finds a source that the user named.
    pub(crate) fn key(&self, path: &Path, follow: bool) -> HostKey {
        HostKey {
            path: path.to_owned(),
            follow: follow || self.options.follow,
        }
    }
}

/// Access and modification time as inodes store them.
pub(crate) fn times_of(stat: &Stat) -> [Timestamp; 2] {
    // The kernel's fractions are below a second.
    [
        Timestamp {
            secs: stat.st_atime,
            nanos: stat.st_atime_nsec as u32,
        },
        Timestamp {
            secs: stat.st_mtime,
            nanos: stat.st_mtime_nsec as u32,
        },
    ]
}

fn named<T, E: Into<io::Error>>(path: &Path, result: Result<T, E>) -> anyhow::Result<T> {
    result
        .map_err(Into::into)
        .with_context(|| crate::text::printable(path.as_os_str().as_bytes()).into_owned())
}

impl HostKey {
    fn stat(&self) -> anyhow::Result<Stat> {
        named(
            &self.path,
            match self.follow {
                true => rustix::fs::stat(&self.path),
                false => rustix::fs::lstat(&self.path),
            },
        )
    }

    /// The extended attributes that are wanted.
    fn xattrs(&self, wants_acls: bool, effort: Effort) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        if !wants_acls && effort == Effort::None {
            return Ok(Vec::new());
        }
        let list = |buf: &mut [u8]| match self.follow {
            true => rustix::fs::listxattr(&self.path, buf),
            false => rustix::fs::llistxattr(&self.path, buf),
        };
        let names = match grown(list) {
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => return Ok(Vec::new()),
            names => names?,
        };
        let mut xattrs = Vec::new();
        for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            let is_wanted = match ACLS.contains(&name) {
                true => wants_acls,
                false => effort != Effort::None,
            };
            if !is_wanted {
                continue;
            }
            let get = |buf: &mut [u8]| match self.follow {
                true => rustix::fs::getxattr(&self.path, name, buf),
                false => rustix::fs::lgetxattr(&self.path, name, buf),
            };
            match grown(get) {
                Ok(value) => xattrs.push((name.to_vec(), value)),
                // Such as a security label that only some may read.
                Err(error) if effort == Effort::Must => return Err(error),
                Err(_) => {}
            }
        }
        xattrs.sort_unstable();
        Ok(xattrs)
    }
}

/// Calls with a larger buffer until the result fits.
fn grown(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Vec<u8>> {
    // Linux has no longer lists or values.
    const MOST: usize = 64 << 10;
    for len in [256, MOST + 1] {
        let mut buf = vec![0; len];
        match call(&mut buf) {
            Ok(read) => {
                buf.truncate(read);
                return Ok(buf);
            }
            Err(Errno::RANGE) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::RANGE.into())
}

impl Tree for HostTree {
    type Key = HostKey;

    fn object(&mut self, key: &HostKey) -> anyhow::Result<Object> {
        let stat = key.stat()?;
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => What::File(stat.st_size.try_into().unwrap_or(0)),
            FileType::Directory => What::Directory,
            FileType::Symlink => {
                let text = named(&key.path, std::fs::read_link(&key.path))?;
                What::Symlink(text.into_os_string().into_vec())
            }
            other => {
                let kind = match other {
                    FileType::CharacterDevice => FileKind::CharDevice,
                    FileType::BlockDevice => FileKind::BlockDevice,
                    FileType::Fifo => FileKind::Fifo,
                    FileType::Socket => FileKind::Socket,
                    _ => anyhow::bail!("{}: a file of an unknown type", key.path.display()),
                };
                let device = DeviceNumber {
                    major: rustix::fs::major(stat.st_rdev),
                    minor: rustix::fs::minor(stat.st_rdev),
                };
                What::Node(kind, device)
            }
        };
        let preserve = &self.options.preserve;
        let xattrs = named(&key.path, key.xattrs(preserve.mode, preserve.xattr))?;
        Ok(Object {
            path: Vec::new(),
            label: key.path.as_os_str().as_bytes().to_vec(),
            identity: (stat.st_nlink > 1 && what != What::Directory).then_some((stat.st_dev, stat.st_ino)),
            what,
            attributes: Attributes {
                mode: stat.st_mode & 0o7777,
                uid: stat.st_uid,
                gid: stat.st_gid,
                times: times_of(&stat),
                xattrs,
            },
            own: None,
        })
    }

    fn directory_id(&mut self, key: &HostKey) -> anyhow::Result<(u64, u64)> {
        let stat = key.stat()?;
        Ok((stat.st_dev, stat.st_ino))
    }

    fn children(&mut self, key: &HostKey) -> anyhow::Result<Vec<(Vec<u8>, HostKey)>> {
        let mut children = Vec::new();
        for entry in named(&key.path, std::fs::read_dir(&key.path))? {
            let name = named(&key.path, entry)?.file_name();
            let child = HostKey {
                path: key.path.join(&name),
                follow: self.options.follow,
            };
            children.push((name.into_vec(), child));
        }
        Ok(children)
    }

    fn open(&mut self, key: &HostKey) -> anyhow::Result<()> {
        // What was a regular file a moment ago may be a pipe by now, and must not be waited for.
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        if !key.follow {
            flags |= OFlags::NOFOLLOW;
        }
        let file = File::from(named(&key.path, rustix::fs::open(&key.path, flags, Mode::empty()))?);
        let found = named(&key.path, file.metadata())?;
        if !found.is_file() {
            anyhow::bail!("{}: it changes meanwhile", key.path.display());
        }
        self.open = Some(Open {
            path: key.path.clone(),
            file,
            size: found.len(),
            at: 0,
            data_end: 0,
        });
        Ok(())
    }

    fn data_bytes(&mut self) -> anyhow::Result<u64> {
        match self.open.take() {
            None => Ok(0),
            Some(mut open) => {
                let bytes = open.data_bytes();
                named(&open.path, bytes)
            }
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> anyhow::Result<Option<(u64, usize)>> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let piece = open.next(buf);
        let piece = named(&open.path, piece)?;
        if piece.is_none() {
            self.open = None;
        }
        Ok(piece)
    }
}

impl Open {
    /// Goes to the next stretch of data behind `at`. `false` if only a hole follows.
    fn seek(&mut self) -> io::Result<bool> {
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(self.at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        self.at = start;
        self.data_end = rustix::fs::seek(&self.file, SeekFrom::Hole(start))?.min(self.size);
        Ok(self.data_end > start)
    }

    fn data_bytes(&mut self) -> io::Result<u64> {
        let mut bytes = 0;
        while self.seek()? {
            bytes += self.data_end - self.at;
            self.at = self.data_end;
        }
        Ok(bytes)
    }

    /// The next piece of data, without the holes before it.
    fn next(&mut self, buf: &mut [u8]) -> io::Result<Option<(u64, usize)>> {
        if self.at >= self.data_end && !self.seek()? {
            return Ok(None);
        }
        let left = self.data_end.saturating_sub(self.at).min(buf.len() as u64);
        // No more than the buffer has room for.
        let read = self.file.read_at(&mut buf[..left as usize], self.at)?;
        if read == 0 {
            return Ok(None);
        }
        let at = self.at;
        self.at += read as u64;
        Ok(Some((at, read)))
    }
}
