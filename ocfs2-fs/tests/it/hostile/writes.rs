//! Everything that can be done to a mounted volume, done to one that is damaged, by two users at once.

use std::sync::Arc;
use std::thread;

use fastrand::Rng;
use ocfs2_format::{FileKind, InodeAttr, InodeNo};
use ocfs2_fs::{
    Acl, AclKind, AclRecord, AclTag, AllocateMode, DeviceNumber, FileSystem, Inode, MountOptions, NewInode, RenameMode,
    Result, SetAttributes, SetTime, Timestamp, XattrMode,
};

use super::base::Base;
use super::mutate;

/// Operations of each user.
const OPS: usize = 40;

/// Objects that a user knows at most.
const KNOWN: usize = 200;

/// Mounts a damaged volume, does things to it, unmounts it, and does so again.
pub(crate) fn write_everywhere(base: &Base, seed: u64) {
    let copy = mutate::damaged(base, seed);
    let device = Arc::new(copy.device.snapshot());
    let mut options = MountOptions::default();
    options.commit_interval = None;
    options.no_cluster = true;
    options.cache_bytes = 4 << 20;
    for round in 0..2 {
        let Ok(fs) = FileSystem::mount(device.clone(), &options) else {
            return;
        };
        thread::scope(|scope| {
            for user in 0..2 {
                let fs = &fs;
                let user = User::new(fs, seed ^ round << 40 ^ user << 48);
                scope.spawn(move || user.work());
            }
        });
        drop(fs.unmount());
    }
}

/// Somebody who does things at random, to objects whose names and directories are known.
struct User<'f> {
    fs: &'f FileSystem,
    rng: Rng,
    known: Vec<(InodeNo, Vec<u8>)>,
}

impl<'f> User<'f> {
    fn new(fs: &'f FileSystem, seed: u64) -> User<'f> {
        User {
            fs,
            rng: Rng::with_seed(seed),
            known: Vec::new(),
        }
    }

    fn work(mut self) {
        self.explore();
        for _ in 0..OPS {
            // What goes wrong is told by an error; whether that is the right one is another test's.
            if let Err(error) = self.operate() {
                let _ = (error.to_string(), error.errno());
            }
        }
    }

    /// Lists directories from the root on.
    fn explore(&mut self) {
        let mut todo = vec![self.fs.root()];
        for _ in 0..20 {
            let Some(dir) = todo.pop() else { return };
            let mut at = Some(0);
            while let Some(position) = at.filter(|_| self.known.len() < KNOWN) {
                let Ok(page) = self.fs.read_dir_at(dir, position) else {
                    break;
                };
                for entry in page.entries {
                    if entry.kind() == Some(FileKind::Directory) && entry.name() != b"." {
                        todo.push(entry.inode());
                    }
                    self.known.push((dir, entry.name().to_vec()));
                }
                at = page.next;
            }
        }
    }

    /// A name that is known: the directory that it is in, and itself.
    fn name(&mut self) -> (InodeNo, Vec<u8>) {
        match self.known.len() {
            0 => (self.fs.root(), b"nothing".to_vec()),
            count => self.known[self.rng.usize(..count)].clone(),
        }
    }

    /// A name that is new, most of the time.
    fn new_name(&mut self) -> (InodeNo, Vec<u8>) {
        let name = format!("new-{}", self.rng.u32(..30)).into_bytes();
        let dir = match self.inode() {
            Ok(inode) if inode.kind() == FileKind::Directory => inode.number(),
            _ => self.name().0,
        };
        self.known.push((dir, name.clone()));
        (dir, name)
    }

    fn inode(&mut self) -> Result<Inode> {
        let (dir, name) = self.name();
        let found = self.fs.lookup(dir, &name)?;
        match found {
            Some(inode) => Ok(inode),
            None => self.fs.inode(self.fs.root()),
        }
    }

    fn size(&mut self) -> u64 {
        match self.rng.u8(..8) {
            0 => self.rng.u64(..1 << 40),
            1..4 => self.rng.u64(..1 << 20),
            _ => self.rng.u64(..10_000),
        }
    }

    fn operate(&mut self) -> Result<()> {
        let fs = self.fs;
        let new = NewInode::with_mode(0o755);
        match self.rng.u8(..32) {
            0..2 => {
                let (dir, name) = self.new_name();
                fs.create_file(dir, &name, &new).map(drop)
            }
            2 => {
                let (dir, name) = self.new_name();
                fs.make_dir(dir, &name, &new).map(drop)
            }
            3 => {
                let (dir, name) = self.new_name();
                let target = vec![b't'; self.rng.usize(1..200)];
                fs.make_symlink(dir, &name, &target, &new).map(drop)
            }
            4 => {
                let (dir, name) = self.new_name();
                let device = DeviceNumber { major: 1, minor: 3 };
                fs.make_node(dir, &name, FileKind::CharDevice, device, &new).map(drop)
            }
            5 => {
                let inode = self.inode()?;
                let (dir, name) = self.new_name();
                fs.link(inode.number(), dir, &name).map(drop)
            }
            6..9 => {
                let (dir, name) = self.name();
                fs.unlink(dir, &name)
            }
            9 => {
                let (dir, name) = self.name();
                fs.rmdir(dir, &name)
            }
            10..13 => {
                let (old_dir, old) = self.name();
                let (new_dir, new) = if self.rng.bool() { self.name() } else { self.new_name() };
                let modes = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange];
                fs.rename_at(old_dir, &old, new_dir, &new, modes[self.rng.usize(..3)])
            }
            13..16 => {
                let file = fs.use_inode(&self.inode()?)?;
                let (offset, len) = (self.size(), self.rng.usize(..100_000));
                fs.write_at(&file, offset, &vec![1; len]).map(drop)
            }
            16 => {
                let file = fs.use_inode(&self.inode()?)?;
                fs.append(&file, b"the end").map(drop)
            }
            17 => {
                let file = fs.use_inode(&self.inode()?)?;
                fs.set_len(&file, self.size())
            }
            18 | 19 => {
                let file = fs.use_inode(&self.inode()?)?;
                let modes = [
                    AllocateMode::Extend,
                    AllocateMode::KeepSize,
                    AllocateMode::PunchHole,
                    AllocateMode::ZeroRange,
                    AllocateMode::ZeroRangeKeepSize,
                    AllocateMode::Unshare,
                ];
                let (offset, len) = (self.size(), self.rng.u64(1..1 << 20));
                fs.allocate(&file, offset..offset + len, modes[self.rng.usize(..modes.len())])
            }
            20 => {
                let file = fs.use_inode(&self.inode()?)?;
                let mut buf = vec![0; self.rng.usize(1..100_000)];
                fs.read_at(&file, self.size(), &mut buf)?;
                fs.extents(&file, 0..u64::MAX, 64)?;
                fs.seek_data(&file, self.size()).map(drop)
            }
            21 | 22 => {
                let name = format!("user.name-{}", self.rng.u8(..9));
                let len = self.rng.usize(..100) * if self.rng.bool() { 1 } else { 600 };
                let inode = self.inode()?.number();
                fs.set_xattr(inode, name.as_bytes(), &vec![7; len], XattrMode::Set)
            }
            23 => {
                let inode = self.inode()?.number();
                for name in fs.xattr_names(inode)? {
                    fs.xattr(inode, &name)?;
                    if self.rng.bool() {
                        fs.remove_xattr(inode, &name)?;
                    }
                }
                Ok(())
            }
            24 => {
                let tags = [
                    AclTag::UserObj,
                    AclTag::User(7),
                    AclTag::GroupObj,
                    AclTag::Mask,
                    AclTag::Other,
                ];
                let entries = tags.map(|tag| AclRecord { tag, perm: 5 }).to_vec();
                let kind = if self.rng.bool() {
                    AclKind::Access
                } else {
                    AclKind::Default
                };
                fs.set_acl(self.inode()?.number(), kind, Some(&Acl { entries }))
            }
            25 => {
                let change = SetAttributes {
                    mode: Some(0o640),
                    uid: Some(self.rng.u32(..3)),
                    gid: Some(self.rng.u32(..3)),
                    mtime: Some(SetTime::At(Timestamp { secs: 1, nanos: 2 })),
                    atime: Some(SetTime::Now),
                };
                fs.set_attributes(self.inode()?.number(), &change).map(drop)
            }
            26 => {
                let flags = InodeAttr::from_bits_retain(self.rng.u32(..)) & InodeAttr::NOATIME;
                fs.set_flags(self.inode()?.number(), flags)
            }
            27 => {
                let inode = self.inode()?.number();
                let (dir, name) = self.new_name();
                let preserve = self.rng.bool();
                fs.reflink_at(inode, dir, &name, &new, preserve).map(drop)
            }
            28 => {
                let (from, to) = (fs.use_inode(&self.inode()?)?, fs.use_inode(&self.inode()?)?);
                let (from_at, to_at) = (self.size() & !0xFFF, self.size() & !0xFFF);
                fs.copy_range(&from, from_at, &to, to_at, 1 << 20).map(drop)
            }
            29 => {
                let (dir, name) = self.name();
                let inode = fs.lookup(dir, &name)?;
                inode.map_or(Ok(()), |inode| fs.link_target(inode.number()).map(drop))
            }
            30 => fs.statfs().map(drop),
            _ => match self.rng.bool() {
                true => fs.sync(),
                false => fs.trim(0..u64::MAX, 0).map(drop),
            },
        }
    }
}
