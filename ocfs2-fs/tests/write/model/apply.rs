//! Doing one operation, on the file system and in the model.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_format::FileKind;
use ocfs2_fs::{
    AllocateMode, DeviceNumber, Error, FileSystem, MountOptions, NewInode, OpenFile, OpenHow, RenameMode, Result,
};

use super::compare;
use super::ops::Op;
use super::tree::{Kind, Node, NodeId, Place, Tree};
use crate::bed::Bed;

/// The directory that a model stands for.
pub(crate) const ROOT: &str = "/model";

/// A mounted file system, and what it should hold.
pub(crate) struct World {
    bed: Bed,
    fs: Option<FileSystem>,
    options: MountOptions,
    pub(crate) tree: Tree,
    open: Vec<(NodeId, OpenFile)>,
}

/// Where a name is to be made.
pub(super) struct NewPlace {
    pub(super) path: Vec<u8>,
    pub(super) dir: NodeId,
    pub(super) name: Vec<u8>,
}

pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(if bytes.is_empty() { b"/" } else { bytes }))
}

/// What a failure means, to compare it with what should have failed.
fn errno<T>(result: &Result<T>) -> i32 {
    result.as_ref().err().map_or(0, Error::errno)
}

const ENOSPC: i32 = 28;
const EXDEV_LIKE_INVALID: i32 = 22;
pub(super) const EEXIST: i32 = 17;
const EISDIR: i32 = 21;
const ENOTDIR: i32 = 20;
const ENOTEMPTY: i32 = 39;

impl World {
    pub(super) fn new(bed: Bed, options: MountOptions) -> World {
        let fs = bed.mount_with(&options);
        // Beside what mkfs made, which fsck.ocfs2 wants to stay.
        fs.create_dir(ROOT).expect("a directory can be made");
        World::on(fs, bed, options, ROOT)
    }

    /// A world in a file system that is mounted already, below a directory that holds nothing.
    pub(crate) fn on(fs: FileSystem, bed: Bed, options: MountOptions, root: &str) -> World {
        World {
            fs: Some(fs),
            bed,
            options,
            tree: Tree::below(root),
            open: Vec::new(),
        }
    }

    pub(crate) fn fs(&self) -> &FileSystem {
        self.fs.as_ref().expect("the volume is mounted between operations")
    }

    pub(super) fn pick(&self, n: u32, want: impl Fn(&Node) -> bool) -> Option<Place> {
        self.tree.pick(n as usize, &want)
    }

    pub(super) fn pick_file(&self, n: u32) -> Option<Place> {
        self.pick(n, |node| matches!(node.kind, Kind::File(_)))
    }

    /// A place for a new name, which may be taken.
    pub(super) fn place(&self, n: u32, name: u32) -> NewPlace {
        // Four directories deep at most, one in five names in the root.
        let mut dirs: Vec<(Vec<u8>, NodeId)> = Vec::new();
        self.tree.walk(&mut |spot| {
            if self.tree.node(spot.node).is_dir() && spot.above.iter().filter(|&&b| b == b'/').count() < 4 {
                dirs.push((spot.path(), spot.node));
            }
        });
        dirs.push((self.tree.root.clone(), 0));
        let root = dirs.len() - 1;
        let at = if n.is_multiple_of(5) {
            root
        } else {
            n as usize % dirs.len()
        };
        let (above, dir) = dirs.swap_remove(at);
        let name = match name % 8 {
            0 => [b"long-".as_slice(), &vec![b'x'; 150 + name as usize % 100]].concat(),
            1 => format!("\u{e9}t\u{e9}-{}", name % 40).into_bytes(),
            _ => format!("n{}", name % 60).into_bytes(),
        };
        NewPlace {
            path: [above.as_slice(), b"/", &name].concat(),
            dir,
            name,
        }
    }

    pub(super) fn taken(&self, at: &NewPlace) -> Option<NodeId> {
        self.tree
            .node(at.dir)
            .dir()
            .and_then(|names| names.get(&at.name))
            .copied()
    }

    /// Compares how an operation ended with how it should have. `true` if it was done.
    #[track_caller]
    pub(super) fn agree<T>(&self, op: &Op, result: &Result<T>, expected: i32) -> bool {
        let found = errno(result);
        // A volume that runs full is not modelled; that nothing has changed then is.
        if found == ENOSPC && expected == 0 {
            return false;
        }
        let why = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert_eq!(found, expected, "{op:?}: {why}");
        found == 0
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        match *op {
            Op::Create { a, name, mode } => {
                let at = self.place(a, name);
                let mut how = OpenHow::new();
                let result = self
                    .fs()
                    .open(path(&at.path), how.write(true).create_new(true).mode(mode));
                let expected = if self.taken(&at).is_some() { EEXIST } else { 0 };
                if self.agree(op, &result, expected) {
                    self.tree.add(at.dir, &at.name, Node::new(Kind::File(Vec::new()), mode));
                }
            }
            Op::Mkdir { a, name, mode } => {
                let at = self.place(a, name);
                let result = self
                    .fs()
                    .parent(path(&at.path))
                    .and_then(|(dir, name)| self.fs().make_dir(dir, &name, &NewInode::with_mode(mode & 0o1777)));
                let expected = if self.taken(&at).is_some() { EEXIST } else { 0 };
                if self.agree(op, &result, expected) {
                    let node = Node::new(Kind::Dir(Default::default()), mode & 0o1777);
                    self.tree.add(at.dir, &at.name, node);
                }
            }
            Op::Symlink { a, name, len } => {
                let at = self.place(a, name);
                let target = vec![b'a' + (len % 26) as u8; len];
                let result = self.fs().symlink(path(&target), path(&at.path));
                let expected = if self.taken(&at).is_some() { EEXIST } else { 0 };
                if self.agree(op, &result, expected) {
                    self.tree.add(at.dir, &at.name, Node::new(Kind::Symlink(target), 0o777));
                }
            }
            Op::Mknod { a, name, which } => self.mknod(op, a, name, which),
            Op::Link { a, b, name } => {
                let Some(from) = self.pick(a, |node| !node.is_dir()) else {
                    return;
                };
                let at = self.place(b, name);
                let result = self.fs().hard_link(path(&from.path), path(&at.path));
                let expected = if self.taken(&at).is_some() { EEXIST } else { 0 };
                if self.agree(op, &result, expected) {
                    self.tree.link(at.dir, &at.name, from.node);
                }
            }
            Op::Remove { a } => {
                let Some(place) = self.pick(a, |_| true) else { return };
                let (result, expected) = match self.tree.node(place.node).dir() {
                    Some(names) => {
                        let expected = if names.is_empty() { 0 } else { ENOTEMPTY };
                        (self.fs().remove_dir(path(&place.path)), expected)
                    }
                    None => (self.fs().remove_file(path(&place.path)), 0),
                };
                if self.agree(op, &result, expected) {
                    self.tree.unlink(place.dir, &place.name);
                }
            }
            Op::Rename { a, b, name, mode } => self.rename(op, a, b, name, mode),
            Op::Write { a, offset, len, fill } => {
                let Some(place) = self.pick_file(a) else { return };
                let bytes = vec![fill; len];
                let result = self
                    .fs()
                    .open(path(&place.path), OpenHow::new().write(true))
                    .and_then(|file| file.write_at(offset, &bytes));
                if self.agree(op, &result, 0) {
                    let written = result.unwrap_or_default();
                    self.write_model(place.node, offset, &bytes[..written]);
                }
            }
            Op::Append { a, len, fill } => {
                let Some(place) = self.pick_file(a) else { return };
                let bytes = vec![fill; len];
                let result = self
                    .fs()
                    .open(path(&place.path), OpenHow::new().append(true))
                    .and_then(|file| file.write_at(0, &bytes));
                if self.agree(op, &result, 0) {
                    let written = result.unwrap_or_default();
                    let size = self.contents(place.node).len() as u64;
                    self.write_model(place.node, size, &bytes[..written]);
                }
            }
            Op::SetLen { a, len } => {
                let Some(place) = self.pick_file(a) else { return };
                let file = self.fs().open(path(&place.path), OpenHow::new().write(true));
                let result = file.and_then(|file| file.set_len(len));
                if self.agree(op, &result, 0) {
                    self.contents_mut(place.node).resize(len as usize, 0);
                }
            }
            Op::Punch { a, offset, len } => self.allocate(op, a, offset, len, AllocateMode::PunchHole),
            Op::Zero {
                a,
                offset,
                len,
                keep_size,
            } => {
                let mode = if keep_size {
                    AllocateMode::ZeroRangeKeepSize
                } else {
                    AllocateMode::ZeroRange
                };
                self.allocate(op, a, offset, len, mode);
            }
            Op::Unshare { a, offset, len } => self.allocate(op, a, offset, len, AllocateMode::Unshare),
            Op::Allocate {
                a,
                offset,
                len,
                keep_size,
            } => {
                let mode = if keep_size {
                    AllocateMode::KeepSize
                } else {
                    AllocateMode::Extend
                };
                self.allocate(op, a, offset, len, mode);
            }
            Op::SetMode { a, mode } => self.set_mode(op, a, mode),
            Op::SetOwner { a, uid, gid } => self.set_owner(op, a, uid, gid),
            Op::SetXattr { a, name, len, fill } => self.set_xattr(op, a, name, len, fill),
            Op::RemoveXattr { a, name } => self.remove_xattr(op, a, name),
            Op::SetAcl { a, mode, users } => self.set_acl(op, a, mode, users),
            Op::SetFlags { a, flags } => self.set_flags(op, a, flags),
            Op::Reflink { a, b, name } => self.reflink(op, a, b, name),
            Op::CopyRange { a, b, from, to, len } => self.copy_range(op, (a, from), (b, to), len),
            Op::Open { a } => {
                let Some(place) = self.pick_file(a) else { return };
                let mut how = OpenHow::new();
                let file = self.fs().open(path(&place.path), how.read(true).write(true));
                self.open.push((place.node, file.expect("a file can be opened")));
                self.tree.node_mut(place.node).opens += 1;
            }
            Op::WriteOpen { a, offset, len, fill } => {
                if self.open.is_empty() {
                    return;
                }
                let (node, file) = &self.open[a as usize % self.open.len()];
                let bytes = vec![fill; len];
                let (node, result) = (*node, file.write_at(offset, &bytes));
                if self.agree(op, &result, 0) {
                    let written = result.unwrap_or_default();
                    self.write_model(node, offset, &bytes[..written]);
                }
            }
            Op::AppendOpen { len, fill } => {
                let Some((node, file)) = self.open.last() else { return };
                let bytes = vec![fill; len];
                let (node, result) = (*node, self.fs().append(file.inode_use(), &bytes));
                if self.agree(op, &result, 0) {
                    let (at, written) = result.unwrap_or_default();
                    assert_eq!(at, self.contents(node).len() as u64, "{op:?}");
                    self.write_model(node, at, &bytes[..written]);
                }
            }
            Op::Close { a } => {
                if self.open.is_empty() {
                    return;
                }
                let (node, file) = self.open.swap_remove(a as usize % self.open.len());
                compare::contents(&file, self.contents(node), "an open file");
                file.close().expect("a file can be closed");
                self.closed(node);
            }
            Op::SyncFile { a } => {
                let Some(place) = self.pick_file(a) else {
                    return self.apply(&Op::Sync);
                };
                let file = self.fs().open(path(&place.path), OpenHow::new().read(true));
                let synced = file.and_then(|file| file.sync_all());
                self.agree(op, &synced, 0);
            }
            Op::Sync => self.fs().sync().expect("the volume can be synchronised"),
            Op::Remount => {
                self.close_all();
                let fs = self.fs.take().expect("mounted");
                fs.unmount().expect("the volume can be unmounted");
                self.fs = Some(self.bed.mount_with(&self.options));
            }
            Op::Crash => {
                self.fs().sync().expect("the volume can be synchronised");
                self.bed = self.bed.snapshot();
                // The handles of before write to the old device.
                for (node, _) in std::mem::take(&mut self.open) {
                    self.closed(node);
                }
                self.fs = None;
                self.fs = Some(self.bed.mount_with(&self.options));
            }
        }
    }

    fn closed(&mut self, node: NodeId) {
        self.tree.node_mut(node).opens -= 1;
        self.tree.drop_if_unused(node);
    }

    fn close_all(&mut self) {
        for (node, file) in std::mem::take(&mut self.open) {
            file.close().expect("a file can be closed");
            self.closed(node);
        }
    }

    fn contents(&self, node: NodeId) -> &[u8] {
        match &self.tree.node(node).kind {
            Kind::File(bytes) => bytes,
            other => panic!("{other:?} is no file"),
        }
    }

    fn contents_mut(&mut self, node: NodeId) -> &mut Vec<u8> {
        match &mut self.tree.node_mut(node).kind {
            Kind::File(bytes) => bytes,
            other => panic!("{other:?} is no file"),
        }
    }

    fn write_model(&mut self, node: NodeId, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let contents = self.contents_mut(node);
        let end = offset as usize + bytes.len();
        if contents.len() < end {
            contents.resize(end, 0);
        }
        contents[offset as usize..end].copy_from_slice(bytes);
    }

    fn mknod(&mut self, op: &Op, a: u32, name: u32, which: u32) {
        let at = self.place(a, name);
        let (kind, device) = match which % 4 {
            0 => (FileKind::Fifo, None),
            1 => (FileKind::Socket, None),
            2 => (FileKind::CharDevice, Some((which % 500, which % 70_000))),
            _ => (FileKind::BlockDevice, Some((8, which % 300))),
        };
        let (major, minor) = device.unwrap_or_default();
        let number = DeviceNumber { major, minor };
        let result = self.fs().parent(path(&at.path)).and_then(|(dir, name)| {
            self.fs()
                .make_node(dir, &name, kind, number, &NewInode::with_mode(0o600))
        });
        let expected = if self.taken(&at).is_some() { EEXIST } else { 0 };
        if self.agree(op, &result, expected) {
            let node = Node::new(Kind::Special(kind.mode_bits().into(), device), 0o600);
            self.tree.add(at.dir, &at.name, node);
        }
    }

    fn rename(&mut self, op: &Op, a: u32, b: u32, name: u32, mode: u32) {
        let Some(from) = self.pick(a, |_| true) else { return };
        let mut to = self.place(b, name);
        let mode = match mode % 10 {
            0 => RenameMode::NoReplace,
            1 | 2 => RenameMode::Exchange,
            _ => RenameMode::Replace,
        };
        // Names that are taken are the interesting ones.
        if mode == RenameMode::Exchange
            && let Some(other) = self.pick(b, |_| true)
        {
            to = NewPlace {
                path: other.path,
                dir: other.dir,
                name: other.name,
            };
        }
        let target = self.taken(&to);
        let is_dir = |node: NodeId| self.tree.node(node).is_dir();
        let below = |above: NodeId, dir: NodeId| is_dir(above) && self.tree.is_above(above, dir);
        let same_name = from.dir == to.dir && from.name == to.name;
        let expected = match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => EEXIST,
            (RenameMode::Exchange, None) => 2,
            _ if below(from.node, to.dir) => EXDEV_LIKE_INVALID,
            (RenameMode::Exchange, Some(target)) if below(target, from.dir) => EXDEV_LIKE_INVALID,
            (RenameMode::Exchange, _) => 0,
            (_, Some(target)) if target == from.node => 0,
            // A directory on the way to what is moved is not empty, whatever is moved.
            (_, Some(target)) if below(target, from.dir) => ENOTEMPTY,
            (_, Some(target)) if is_dir(from.node) && !is_dir(target) => ENOTDIR,
            (_, Some(target)) if !is_dir(from.node) && is_dir(target) => EISDIR,
            (_, Some(target)) if self.tree.node(target).dir().is_some_and(|names| !names.is_empty()) => ENOTEMPTY,
            _ => 0,
        };
        let result = self.fs().rename_with(path(&from.path), path(&to.path), mode);
        if expected != 0 && below(from.node, to.dir) {
            // More than one thing is wrong; which is told first is no matter.
            assert_ne!(errno(&result), 0, "{op:?}");
            return;
        }
        if !self.agree(op, &result, expected) || same_name {
            return;
        }
        match (mode, target) {
            (RenameMode::Exchange, Some(target)) => {
                self.tree.names_mut(from.dir).insert(from.name, target);
                self.tree.names_mut(to.dir).insert(to.name, from.node);
            }
            // Two names of one inode: nothing happens.
            (_, Some(target)) if target == from.node => {}
            (_, target) => {
                if target.is_some() {
                    self.tree.unlink(to.dir, &to.name);
                }
                self.tree.names_mut(from.dir).remove(&from.name);
                self.tree.names_mut(to.dir).insert(to.name, from.node);
            }
        }
    }

    fn allocate(&mut self, op: &Op, a: u32, offset: u64, len: u64, mode: AllocateMode) {
        let Some(place) = self.pick_file(a) else { return };
        if len == 0 {
            return;
        }
        let file = self.fs().open(path(&place.path), OpenHow::new().write(true));
        let result = file.and_then(|file| file.allocate(offset..offset + len, mode));
        const EOPNOTSUPP: i32 = 95;
        if errno(&result) == EOPNOTSUPP || !self.agree(op, &result, 0) {
            return;
        }
        let contents = self.contents_mut(place.node);
        let end = (offset + len) as usize;
        let grows = matches!(mode, AllocateMode::Extend | AllocateMode::ZeroRange);
        if grows && contents.len() < end {
            contents.resize(end, 0);
        }
        let zeroes = matches!(
            mode,
            AllocateMode::PunchHole | AllocateMode::ZeroRange | AllocateMode::ZeroRangeKeepSize
        );
        if zeroes {
            let end = end.min(contents.len());
            let start = (offset as usize).min(end);
            contents[start..end].fill(0);
        }
    }

    fn copy_range(&mut self, op: &Op, (a, from): (u32, u64), (b, to): (u32, u64), len: u64) {
        let (Some(source), Some(target)) = (self.pick_file(a), self.pick_file(b)) else {
            return;
        };
        if source.node == target.node {
            return;
        }
        let open = |place: &Place| {
            let mut how = OpenHow::new();
            self.fs()
                .open(path(&place.path), how.read(true).write(true))
                .expect("a file can be opened")
        };
        let (source_file, target_file) = (open(&source), open(&target));
        let result = self
            .fs()
            .copy_range(source_file.inode_use(), from, target_file.inode_use(), to, len);
        if self.agree(op, &result, 0) {
            let copied = result.unwrap_or_default() as usize;
            let bytes = self.contents(source.node).get(from as usize..).unwrap_or_default();
            let bytes = bytes[..copied.min(bytes.len())].to_vec();
            assert_eq!(bytes.len(), copied, "{op:?}: no more than there is");
            self.write_model(target.node, to, &bytes);
        }
    }

    pub(super) fn compare_mounted(&self) {
        compare::mounted(self.fs(), &self.tree);
    }

    /// Lets an independent reader and fsck.ocfs2 look at the volume.
    pub(super) fn check(&mut self) {
        self.apply(&Op::Remount);
        let fs = self.fs.take().expect("mounted");
        fs.unmount().expect("the volume can be unmounted");
        compare::volume(&self.bed.volume(), &self.tree);
        self.bed.assert_clean_but_for_preallocation();
        self.fs = Some(self.bed.mount_with(&self.options));
    }

    /// Ends the work on the file system, which is returned mounted.
    pub(crate) fn leave(mut self) -> FileSystem {
        self.close_all();
        self.compare_mounted();
        self.fs.take().expect("mounted")
    }

    pub(super) fn finish(mut self) {
        self.compare_mounted();
        self.check();
    }
}
