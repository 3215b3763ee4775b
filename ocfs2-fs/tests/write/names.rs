//! Random operations on names, compared with a model as they go, and with what another reader and fsck.ocfs2 find after.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use ocfs2_format::device::{BlockDevice, Durability};
use ocfs2_format::{FileKind, InodeAttr, InodeNo, SlotNum};
use ocfs2_fs::{DeviceNumber, Error, FileSystem, NewInode, RenameMode, Volume};
use proptest::prelude::*;

use crate::bed::{Bed, SHAPES, Shape};
use crate::dirs::{assert_consistent, long_name};

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const EINVAL: i32 = 22;
const ENOTEMPTY: i32 = 39;

/// What becomes of a name. Directories are picked among those that are there; inodes likewise.
#[derive(Clone, Debug)]
enum Op {
    Make {
        dir: usize,
        name: usize,
        kind: u8,
    },
    Link {
        target: (usize, usize),
        dir: usize,
        name: usize,
    },
    Unlink {
        dir: usize,
        name: usize,
    },
    Rmdir {
        dir: usize,
        name: usize,
    },
    Rename {
        from: (usize, usize),
        to: (usize, usize),
        mode: u8,
    },
}

/// Few enough names to collide, of all lengths.
const NAMES: usize = 24;

fn op() -> impl Strategy<Value = Op> {
    let at = || (0..100usize, 0..NAMES);
    prop_oneof![
        6 => (at(), 0..8u8).prop_map(|((dir, name), kind)| Op::Make { dir, name, kind }),
        2 => (at(), at()).prop_map(|(target, (dir, name))| Op::Link { target, dir, name }),
        2 => at().prop_map(|(dir, name)| Op::Unlink { dir, name }),
        2 => at().prop_map(|(dir, name)| Op::Rmdir { dir, name }),
        5 => (at(), at(), 0..5u8).prop_map(|(from, to, mode)| Op::Rename { from, to, mode }),
    ]
}

/// An inode of the model.
#[derive(Clone, Debug)]
struct Node {
    inode: InodeNo,
    kind: FileKind,
    links: u32,
    parent: usize,
    entries: BTreeMap<Vec<u8>, usize>,
    target: Vec<u8>,
}

struct Model {
    nodes: BTreeMap<usize, Node>,
    next: usize,
}

type Outcome = Result<(), i32>;

impl Model {
    fn new(fs: &FileSystem) -> Model {
        let mut model = Model {
            nodes: BTreeMap::new(),
            next: 0,
        };
        let root = model.insert(fs.root(), FileKind::Directory, 0, b"");
        let lost_found = fs.lookup(fs.root(), b"lost+found").unwrap().unwrap();
        let id = model.insert(lost_found.number(), FileKind::Directory, root, b"");
        model.node(root).entries.insert(b"lost+found".to_vec(), id);
        model.node(root).links += 1;
        model
    }

    fn insert(&mut self, inode: InodeNo, kind: FileKind, parent: usize, target: &[u8]) -> usize {
        let id = self.next;
        self.next += 1;
        let node = Node {
            inode,
            kind,
            links: if kind == FileKind::Directory { 2 } else { 1 },
            parent,
            entries: BTreeMap::new(),
            target: target.to_vec(),
        };
        self.nodes.insert(id, node);
        id
    }

    fn node(&mut self, id: usize) -> &mut Node {
        self.nodes.get_mut(&id).expect("ids lead to nodes")
    }

    fn is_dir(&self, id: usize) -> bool {
        self.nodes[&id].kind == FileKind::Directory
    }

    /// The n-th directory, modulo how many there are.
    fn dir(&self, n: usize) -> usize {
        let dirs: Vec<usize> = self.nodes.keys().copied().filter(|&id| self.is_dir(id)).collect();
        dirs[n % dirs.len()]
    }

    fn is_inside(&self, mut id: usize, ancestor: usize) -> bool {
        while id != ancestor && id != 0 {
            id = self.nodes[&id].parent;
        }
        id == ancestor
    }

    fn find(&self, dir: usize, name: &[u8]) -> Option<usize> {
        self.nodes[&dir].entries.get(name).copied()
    }

    /// One name less.
    fn drop_name(&mut self, id: usize) {
        let is_dir = self.is_dir(id);
        let node = self.node(id);
        node.links -= 1;
        if is_dir {
            let parent = node.parent;
            self.node(parent).links -= 1;
        }
        if is_dir || self.nodes[&id].links == 0 {
            self.nodes.remove(&id);
        }
    }

    fn remove(&mut self, dir: usize, name: &[u8], rmdir: bool) -> Outcome {
        let id = self.find(dir, name).ok_or(ENOENT)?;
        match (self.is_dir(id), rmdir) {
            (true, false) => return Err(EISDIR),
            (false, true) => return Err(ENOTDIR),
            (true, true) if !self.nodes[&id].entries.is_empty() => return Err(ENOTEMPTY),
            _ => {}
        }
        self.node(dir).entries.remove(name);
        self.drop_name(id);
        Ok(())
    }

    fn set_parent(&mut self, id: usize, parent: usize) {
        if self.is_dir(id) {
            let old = std::mem::replace(&mut self.node(id).parent, parent);
            self.node(old).links -= 1;
            self.node(parent).links += 1;
        }
    }

    fn rename(&mut self, from: (usize, &[u8]), to: (usize, &[u8]), mode: RenameMode) -> Outcome {
        let source = self.find(from.0, from.1).ok_or(ENOENT)?;
        let target = self.find(to.0, to.1);
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(EEXIST),
            (RenameMode::Exchange, None) => return Err(ENOENT),
            (_, Some(target)) if target == source => return Ok(()),
            _ => {}
        }
        if self.is_dir(source) && self.is_inside(to.0, source) {
            return Err(EINVAL);
        }
        if let Some(target) = target {
            if self.is_dir(target) && self.is_inside(from.0, target) {
                return Err(if mode == RenameMode::Exchange {
                    EINVAL
                } else {
                    ENOTEMPTY
                });
            }
            if mode == RenameMode::Exchange {
                self.node(from.0).entries.insert(from.1.to_vec(), target);
                self.node(to.0).entries.insert(to.1.to_vec(), source);
                self.set_parent(source, to.0);
                self.set_parent(target, from.0);
                return Ok(());
            }
            match (self.is_dir(source), self.is_dir(target)) {
                (true, false) => return Err(ENOTDIR),
                (false, true) => return Err(EISDIR),
                (true, true) if !self.nodes[&target].entries.is_empty() => return Err(ENOTEMPTY),
                _ => {}
            }
            self.node(to.0).entries.remove(to.1);
            self.drop_name(target);
        }
        self.node(from.0).entries.remove(from.1);
        self.node(to.0).entries.insert(to.1.to_vec(), source);
        self.set_parent(source, to.0);
        Ok(())
    }
}

/// Does the same to both, and compares what they say.
fn apply(fs: &FileSystem, model: &mut Model, op: &Op) {
    let number = |model: &Model, id: usize| model.nodes[&id].inode;
    let (done, expected): (Result<(), Error>, Outcome) = match *op {
        Op::Make { dir, name, kind } => {
            let (dir, name) = (model.dir(dir), long_name(name));
            let (done, kind, target) = make(fs, number(model, dir), &name, kind);
            let expected = match model.find(dir, &name) {
                Some(_) => Err(EEXIST),
                None => Ok(()),
            };
            if let (Ok(inode), Ok(())) = (&done, expected) {
                let id = model.insert(*inode, kind, dir, &target);
                model.node(dir).entries.insert(name, id);
                model.node(dir).links += u32::from(kind == FileKind::Directory);
            }
            (done.map(drop), expected)
        }
        Op::Link { target, dir, name } => {
            let (from, old) = (model.dir(target.0), long_name(target.1));
            let (dir, name) = (model.dir(dir), long_name(name));
            let Some(target) = model.find(from, &old) else { return };
            let done = fs.link(number(model, target), number(model, dir), &name).map(drop);
            let expected = match model.find(dir, &name) {
                Some(_) => Err(EEXIST),
                None if model.is_dir(target) => Err(EPERM),
                None => Ok(()),
            };
            if expected.is_ok() {
                model.node(dir).entries.insert(name, target);
                model.node(target).links += 1;
            }
            (done, expected)
        }
        Op::Unlink { dir, name } => {
            let (dir, name) = (model.dir(dir), long_name(name));
            (fs.unlink(number(model, dir), &name), model.remove(dir, &name, false))
        }
        Op::Rmdir { dir, name } => {
            let (dir, name) = (model.dir(dir), long_name(name));
            (fs.rmdir(number(model, dir), &name), model.remove(dir, &name, true))
        }
        Op::Rename { from, to, mode } => {
            let (from, old) = (model.dir(from.0), long_name(from.1));
            let (to, new) = (model.dir(to.0), long_name(to.1));
            let mode = match mode {
                0 => RenameMode::NoReplace,
                1 => RenameMode::Exchange,
                _ => RenameMode::Replace,
            };
            (
                fs.rename_at(number(model, from), &old, number(model, to), &new, mode),
                model.rename((from, &old), (to, &new), mode),
            )
        }
    };
    assert_eq!(
        done.as_ref().map(|_| ()).map_err(Error::errno),
        expected,
        "{op:?}: {done:?}"
    );
}

fn make(fs: &FileSystem, dir: InodeNo, name: &[u8], kind: u8) -> (Result<InodeNo, Error>, FileKind, Vec<u8>) {
    let new = NewInode {
        uid: 1000,
        gid: 100,
        ..NewInode::with_mode(0o750)
    };
    let device = DeviceNumber { major: 5, minor: 300 };
    let (kind, target) = match kind {
        0 => (FileKind::CharDevice, Vec::new()),
        1 => (FileKind::Fifo, Vec::new()),
        2 => (FileKind::Symlink, b"../target".to_vec()),
        3 => (FileKind::Symlink, vec![b't'; 4095]),
        4 | 5 => (FileKind::Directory, Vec::new()),
        _ => (FileKind::Regular, Vec::new()),
    };
    let made = match kind {
        FileKind::Directory => fs.make_dir(dir, name, &new),
        FileKind::Symlink => fs.make_symlink(dir, name, &target, &new),
        FileKind::Regular => fs.create_file(dir, name, &new),
        kind => fs.make_node(dir, name, kind, device, &new),
    };
    (made.map(|inode| inode.number()), kind, target)
}

/// Compares the whole tree with the model.
fn compare(volume: &Volume, model: &Model) {
    for node in model.nodes.values() {
        let inode = volume.inode(node.inode).unwrap();
        assert_eq!(
            (inode.kind(), inode.links()),
            (node.kind, node.links),
            "inode {}",
            node.inode
        );
        match node.kind {
            FileKind::Directory => {
                let names: BTreeSet<Vec<u8>> = node.entries.keys().cloned().collect();
                assert_consistent(volume, node.inode, &names);
                for (name, id) in &node.entries {
                    let entry = volume.lookup(&inode, name).unwrap().unwrap();
                    let target = &model.nodes[id];
                    assert_eq!((entry.inode(), entry.kind()), (target.inode, Some(target.kind)));
                }
                let parent = volume.lookup(&inode, b"..").unwrap().unwrap();
                assert_eq!(parent.inode(), model.nodes[&node.parent].inode);
            }
            FileKind::Symlink => assert_eq!(volume.link_target(&inode).unwrap(), node.target),
            FileKind::CharDevice => assert_eq!(inode.device_number(), Some(DeviceNumber { major: 5, minor: 300 })),
            _ => assert_eq!(inode.size(), 0),
        }
    }
    for slot in 0..volume.geometry().max_slots {
        assert_eq!(volume.orphans(SlotNum(slot)).unwrap(), Vec::new());
    }
}

fn run(shape: Shape, ops: &[Op]) {
    let bed = Bed::new(shape);
    let fs = bed.mount();
    let mut model = Model::new(&fs);
    for op in ops {
        apply(&fs, &mut model, op);
    }
    fs.unmount().unwrap();
    compare(&bed.volume(), &model);
    bed.assert_clean();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn names_are_where_a_model_has_them(shape in 0..SHAPES.len(), ops in proptest::collection::vec(op(), 50..400)) {
        run(SHAPES[shape], &ops);
    }
}

#[test]
fn what_is_immutable_or_append_only_keeps_its_names() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let root = fs.root();
    let new = NewInode::with_mode(0o755);
    let dir = fs.make_dir(root, b"d", &new).unwrap().number();
    let file = fs.create_file(dir, b"f", &new).unwrap().number();
    let other = fs.create_file(root, b"o", &new).unwrap().number();
    for (inode, attr) in [
        (dir, InodeAttr::APPEND),
        (file, InodeAttr::IMMUTABLE),
        (file, InodeAttr::APPEND),
    ] {
        fs.set_flags(inode, attr).unwrap();
        assert_eq!(fs.unlink(dir, b"f").unwrap_err().errno(), EPERM);
        let moved = fs.rename_at(dir, b"f", root, b"g", RenameMode::Replace);
        assert_eq!(moved.unwrap_err().errno(), EPERM);
        let replaced = fs.rename_at(root, b"o", dir, b"f", RenameMode::Replace);
        assert_eq!(replaced.unwrap_err().errno(), EPERM);
        let exchanged = fs.rename_at(root, b"o", dir, b"f", RenameMode::Exchange);
        assert_eq!(exchanged.unwrap_err().errno(), EPERM);
        if inode == file {
            assert_eq!(fs.link(file, root, b"g").unwrap_err().errno(), EPERM);
        } else {
            // Names may be appended.
            fs.link(other, dir, b"appended").unwrap();
        }
        fs.set_flags(inode, InodeAttr::empty()).unwrap();
    }
    fs.set_flags(dir, InodeAttr::IMMUTABLE).unwrap();
    assert_eq!(fs.create_file(dir, b"x", &new).unwrap_err().errno(), EPERM);
    assert_eq!(fs.link(other, dir, b"x").unwrap_err().errno(), EPERM);
    assert_eq!(fs.unlink(dir, b"f").unwrap_err().errno(), EPERM);
    fs.set_flags(dir, InodeAttr::empty()).unwrap();
    fs.unlink(dir, b"f").unwrap();
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn a_set_group_id_directory_hands_its_group_down() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let new = NewInode {
        uid: 7,
        gid: 100,
        ..NewInode::with_mode(0o2775)
    };
    let dir = fs.make_dir(fs.root(), b"d", &new).unwrap();
    assert_eq!((dir.mode(), dir.uid(), dir.gid()), (0o042_775, 7, 100));
    let new = NewInode {
        uid: 8,
        gid: 200,
        umask: 0o022,
        ..NewInode::with_mode(0o777)
    };
    let below = fs.make_dir(dir.number(), b"d", &new).unwrap();
    assert_eq!((below.mode(), below.uid(), below.gid()), (0o042_755, 8, 100));
    let file = fs.create_file(below.number(), b"f", &new).unwrap();
    assert_eq!((file.mode(), file.gid()), (0o100_755, 100));
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn names_that_no_entry_can_have_are_refused() {
    let bed = Bed::new(Shape::default());
    let fs = bed.mount();
    let root = fs.root();
    let new = NewInode::with_mode(0o644);
    for (name, errno) in [
        (&b""[..], EINVAL),
        (b"a/b", EINVAL),
        (b"a\0b", EINVAL),
        (&[b'x'; 256], 36),
        (b".", EEXIST),
        (b"..", EEXIST),
    ] {
        assert_eq!(fs.create_file(root, name, &new).unwrap_err().errno(), errno);
    }
    assert_eq!(fs.unlink(root, b".").unwrap_err().errno(), EISDIR);
    assert_eq!(fs.rmdir(root, b".").unwrap_err().errno(), EINVAL);
    assert_eq!(fs.rmdir(root, b"..").unwrap_err().errno(), ENOTEMPTY);
    let up = fs.lookup(root, b"..").unwrap().unwrap();
    assert_eq!(up.number(), root);
    let file = fs.create_file(root, b"f", &new).unwrap().number();
    assert!(matches!(fs.lookup(file, b"x"), Err(Error::WrongKind { .. })));
    assert!(matches!(fs.create_file(file, b"x", &new), Err(Error::WrongKind { .. })));
    // What belongs to the volume itself is nobody's to change.
    let system = bed.volume().system_dir();
    assert_eq!(fs.create_file(system, b"x", &new).unwrap_err().errno(), EPERM);
    assert_eq!(fs.unlink(system, b"global_bitmap").unwrap_err().errno(), EPERM);
    let bitmap = fs.lookup(system, b"global_bitmap").unwrap().unwrap().number();
    assert_eq!(fs.link(bitmap, root, b"x").unwrap_err().errno(), EPERM);
    fs.unmount().unwrap();
}

#[test]
fn without_indexes_a_file_has_32000_names_and_a_directory_as_many_links() {
    let bed = Bed::new(Shape {
        features: "noindexed-dirs,nometaecc",
        ..Shape::default()
    });
    let fs = bed.mount();
    let new = NewInode::with_mode(0o755);
    let file = fs.create_file(fs.root(), b"f", &new).unwrap();
    let dir = fs.make_dir(fs.root(), b"d", &new).unwrap();
    let root = fs.root();
    fs.unmount().unwrap();
    for inode in [&file, &dir] {
        // i_links_count, one short of the limit.
        let offset = inode.number().0 * 4096;
        let mut block = [0; 4096];
        bed.device.read(offset, &mut block).unwrap();
        block[0x2A..0x2C].copy_from_slice(&31_999u16.to_le_bytes());
        bed.device.write(offset, &block, Durability::Cached).unwrap();
    }
    let fs = bed.mount();
    assert_eq!(fs.link(file.number(), root, b"last").unwrap().links(), 32_000);
    assert!(matches!(
        fs.link(file.number(), root, b"one more"),
        Err(Error::TooManyLinks(_))
    ));
    fs.make_dir(dir.number(), b"last", &new).unwrap();
    assert!(matches!(
        fs.make_dir(dir.number(), b"one more", &new),
        Err(Error::TooManyLinks(_))
    ));
    fs.make_dir(root, b"x", &new).unwrap();
    let moved = fs.rename_at(root, b"x", dir.number(), b"x", RenameMode::Replace);
    assert!(matches!(moved, Err(Error::TooManyLinks(_))));
    fs.rename_at(root, b"x", dir.number(), b"last", RenameMode::Replace)
        .unwrap();
    fs.unmount().unwrap();
}

#[test]
fn threads_that_make_move_and_remove_names_leave_a_sound_volume() {
    let bed = Bed::new(Shape {
        features: "metaecc",
        ..Shape::default()
    });
    let fs = bed.mount();
    let new = NewInode::with_mode(0o755);
    let top: Vec<InodeNo> = (0..4u8)
        .map(|n| fs.make_dir(fs.root(), &[b'a' + n], &new).unwrap().number())
        .collect();
    thread::scope(|scope| {
        for seed in 0..4 {
            let (fs, top) = (&fs, &top);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut dirs = top.clone();
                for _ in 0..400 {
                    let name = |random: &mut fastrand::Rng| vec![b'n', random.u8(b'a'..b'g')];
                    let (dir, to) = (*random.choice(&dirs).unwrap(), *random.choice(&dirs).unwrap());
                    let (one, other) = (name(&mut random), name(&mut random));
                    let done = match random.u8(0..8) {
                        0 | 1 => fs.make_dir(dir, &one, &new).map(|made| dirs.push(made.number())),
                        2 => fs.create_file(dir, &one, &new).map(drop),
                        3 => fs.unlink(dir, &one),
                        4 => fs.rmdir(dir, &one),
                        5 => fs.rename_at(dir, &one, to, &other, RenameMode::Exchange),
                        _ => fs.rename_at(dir, &one, to, &other, RenameMode::Replace),
                    };
                    if let Err(error) = done {
                        let allowed = [ENOENT, EEXIST, ENOTDIR, EISDIR, EINVAL, ENOTEMPTY, 116];
                        assert!(allowed.contains(&error.errno()), "{error}");
                    }
                    dirs.retain(|&dir| fs.inode(dir).is_ok_and(|inode| inode.kind() == FileKind::Directory));
                }
            });
        }
    });
    fs.unmount().unwrap();
    bed.assert_clean();
}
