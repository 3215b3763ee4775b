//! A mounted volume as a source: another one, or the one that is copied to.

use ocfs2_format::{DynFeatures, FileKind};
use ocfs2_fs::{DeviceNumber, FileSystem, Inode, InodeUse, Timestamp};

use crate::edit::tree::names;
use crate::target::Target;
use crate::transfer::{Effort, Options};

use super::walk::Tree;
use super::{ACLS, Attributes, Object, What};

/// A tree of a mounted volume.
#[derive(Debug)]
pub(crate) struct MountedTree {
    fs: FileSystem,
    options: Options,
    /// The volume is the one that is copied to.
    is_own: bool,
    /// Tells the volume from other sources.
    volume: u64,
    open: Option<Open>,
}

/// What finds an object again.
#[derive(Clone, Debug)]
pub(crate) struct MountedKey {
    target: Target,
    follow: bool,
}

#[derive(Debug)]
struct Open {
    target: Target,
    file: InodeUse,
    size: u64,
    at: u64,
    data_end: u64,
}

impl MountedTree {
    /// Files of a volume, of which as much is read as the options want to keep.
    pub(crate) fn new(fs: FileSystem, options: Options, is_own: bool, volume: u64) -> Self {
        Self {
            fs,
            options,
            is_own,
            volume,
            open: None,
        }
    }

    /// What finds a source that the user named.
    pub(crate) fn key(&self, target: &Target, follow: bool) -> MountedKey {
        MountedKey {
            target: target.clone(),
            follow: follow || self.options.follow,
        }
    }

    fn inode(&self, key: &MountedKey) -> anyhow::Result<Inode> {
        key.target.find_in(&self.fs, key.follow)
    }

    fn xattrs(&self, inode: &Inode) -> ocfs2_fs::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let preserve = &self.options.preserve;
        let is_wanted = |name: &[u8]| match ACLS.contains(&name) {
            true => preserve.mode,
            false => preserve.xattr != Effort::None,
        };
        let mut xattrs = Vec::new();
        if (preserve.mode || preserve.xattr != Effort::None) && inode.dyn_features().contains(DynFeatures::HAS_XATTR) {
            for name in self.fs.xattr_names(inode.number())? {
                if is_wanted(&name) {
                    let value = self.fs.xattr(inode.number(), &name)?;
                    xattrs.push((name, value));
                }
            }
        }
        xattrs.sort_unstable();
        Ok(xattrs)
    }
}

/// A time with a fraction below a second, whatever the volume says.
fn sound(time: Timestamp) -> Timestamp {
    Timestamp {
        nanos: if time.nanos < 1_000_000_000 { time.nanos } else { 0 },
        ..time
    }
}

impl Tree for MountedTree {
    type Key = MountedKey;

    fn object(&mut self, key: &MountedKey) -> anyhow::Result<Object> {
        let inode = self.inode(key)?;
        let failed = |error| key.target.failed(error);
        let what = match inode.kind() {
            FileKind::Regular => What::File(inode.size()),
            FileKind::Directory => What::Directory,
            FileKind::Symlink => What::Symlink(self.fs.link_target(inode.number()).map_err(failed)?),
            kind => {
                let none = DeviceNumber { major: 0, minor: 0 };
                What::Node(kind, inode.device_number().unwrap_or(none))
            }
        };
        let is_linked = inode.links() > 1 && what != What::Directory;
        Ok(Object {
            path: Vec::new(),
            label: key.target.to_bytes(),
            what,
            attributes: Attributes {
                mode: inode.mode() & 0o7777,
                uid: inode.uid(),
                gid: inode.gid(),
                times: [sound(inode.atime()), sound(inode.mtime())],
                xattrs: self.xattrs(&inode).map_err(failed)?,
            },
            identity: is_linked.then_some((self.volume, inode.number().0)),
            own: self.is_own.then_some(inode.number()),
        })
    }

    fn directory_id(&mut self, key: &MountedKey) -> anyhow::Result<(u64, u64)> {
        Ok((0, self.inode(key)?.number().0))
    }

    fn children(&mut self, key: &MountedKey) -> anyhow::Result<Vec<(Vec<u8>, MountedKey)>> {
        let dir = self.inode(key)?;
        let names = names(&self.fs, dir.number()).map_err(|error| key.target.failed(error))?;
        let child = |name: Vec<u8>| {
            let target = key.target.join(&name);
            let follow = self.options.follow;
            (name, MountedKey { target, follow })
        };
        Ok(names.into_iter().map(child).collect())
    }

    fn open(&mut self, key: &MountedKey) -> anyhow::Result<()> {
        let inode = self.inode(key)?;
        let file = self.fs.use_inode(&inode).map_err(|error| key.target.failed(error))?;
        self.open = Some(Open {
            target: key.target.clone(),
            file,
            size: inode.size(),
            at: 0,
            data_end: 0,
        });
        Ok(())
    }

    fn data_bytes(&mut self) -> anyhow::Result<u64> {
        match self.open.take() {
            None => Ok(0),
            Some(mut open) => {
                let bytes = open.data_bytes(&self.fs);
                bytes.map_err(|error| open.target.failed(error))
            }
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> anyhow::Result<Option<(u64, usize)>> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let piece = open.next(&self.fs, buf).map_err(|error| open.target.failed(error))?;
        if piece.is_none() {
            self.open = None;
        }
        Ok(piece)
    }
}

impl Open {
    /// Goes to the next stretch of data behind `at`. `false` if only a hole follows.
    fn seek(&mut self, fs: &FileSystem) -> ocfs2_fs::Result<bool> {
        let Some(start) = fs.seek_data(&self.file, self.at)? else {
            return Ok(false);
        };
        self.at = start;
        self.data_end = fs.seek_hole(&self.file, start)?.unwrap_or(self.size);
        Ok(self.data_end > start)
    }

    fn data_bytes(&mut self, fs: &FileSystem) -> ocfs2_fs::Result<u64> {
        let mut bytes = 0;
        while self.seek(fs)? {
            bytes += self.data_end - self.at;
            self.at = self.data_end;
        }
        Ok(bytes)
    }

    /// The next piece of data, without the holes before it.
    fn next(&mut self, fs: &FileSystem, buf: &mut [u8]) -> ocfs2_fs::Result<Option<(u64, usize)>> {
        if self.at >= self.data_end && !self.seek(fs)? {
            return Ok(None);
        }
        let left = self.data_end.saturating_sub(self.at).min(buf.len() as u64);
        // No more than the buffer has room for.
        let read = fs.read_at(&self.file, self.at, &mut buf[..left as usize])?;
        if read == 0 {
            return Ok(None);
        }
        let at = self.at;
        self.at += read as u64;
        Ok(Some((at, read)))
    }
}
