//! Comparing a whole volume with the model.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_format::FileKind;
use ocfs2_fs::{Acl, DirEntry, FileSystem, Inode, OpenFile, Volume};

use super::tree::{Kind, Node, NodeId, Tree};

/// What a mounted file system and a volume that is only read can both be asked.
trait View {
    fn names(&self, dir: &Path) -> Vec<Vec<u8>>;
    fn inode(&self, path: &Path) -> Inode;
    fn contents(&self, path: &Path) -> Vec<u8>;
    fn target(&self, path: &Path) -> Vec<u8>;
    fn xattrs(&self, path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>>;
}

impl View for FileSystem {
    fn names(&self, dir: &Path) -> Vec<Vec<u8>> {
        let entries = self.read_dir(dir).expect("a directory can be listed");
        entries
            .map(|entry| entry.expect("every entry can be read").name().to_vec())
            .collect()
    }

    fn inode(&self, path: &Path) -> Inode {
        self.symlink_metadata(path).expect("an inode can be read")
    }

    fn contents(&self, path: &Path) -> Vec<u8> {
        self.read(path).expect("a file can be read")
    }

    fn target(&self, path: &Path) -> Vec<u8> {
        let target = self.read_link(path).expect("a link can be read");
        target.as_os_str().as_bytes().to_vec()
    }

    fn xattrs(&self, path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
        super::attrs::all_xattrs(self, path)
    }
}

impl View for Volume {
    fn names(&self, dir: &Path) -> Vec<Vec<u8>> {
        let inode = self.metadata(dir).expect("a directory can be found");
        self.check_index(&inode).expect("the index is sound");
        let entries = self.read_dir(dir).expect("a directory can be listed");
        let names: Vec<_> = entries
            .map(|entry| entry.expect("every entry can be read").name().to_vec())
            .collect();
        for name in &names {
            let by_index = self.lookup(&inode, name).expect("a name can be looked up");
            let by_scan = self.lookup_linear(&inode, name).expect("a name can be looked up");
            let inode = |entry: Option<DirEntry>| entry.map(|entry| entry.inode());
            assert_eq!(inode(by_index), inode(by_scan), "{}", name.escape_ascii());
        }
        names
    }

    fn inode(&self, path: &Path) -> Inode {
        self.symlink_metadata(path).expect("an inode can be read")
    }

    fn contents(&self, path: &Path) -> Vec<u8> {
        self.read(path).expect("a file can be read")
    }

    fn target(&self, path: &Path) -> Vec<u8> {
        let target = self.read_link(path).expect("a link can be read");
        target.as_os_str().as_bytes().to_vec()
    }

    fn xattrs(&self, path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let pairs = Volume::xattrs(self, path).expect("attributes can be read");
        let pairs = pairs.into_iter().map(|(name, value)| {
            // The form on disk is another than that of getxattr(2).
            let value = match name.starts_with(b"system.posix_acl_") {
                true => Acl::parse(&value).expect("an ACL can be read").to_posix_xattr(),
                false => value,
            };
            (name, value)
        });
        pairs.collect()
    }
}

#[track_caller]
pub(super) fn mounted(fs: &FileSystem, tree: &Tree) {
    compare(fs, tree);
}

#[track_caller]
pub(super) fn volume(volume: &Volume, tree: &Tree) {
    compare(volume, tree);
}

/// Whether an open file holds these bytes.
#[track_caller]
pub(super) fn contents(file: &OpenFile, expected: &[u8], what: &str) {
    let mut found = vec![0; expected.len() + 1];
    let read = file.read_at(0, &mut found).expect("an open file can be read");
    same_bytes(&found[..read], expected, what);
}

fn compare(view: &dyn View, tree: &Tree) {
    // Contents of a file with many names are compared once.
    let mut numbers: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    let root = if tree.root.is_empty() {
        b"/".to_vec()
    } else {
        tree.root.clone()
    };
    let mut todo = vec![(root, 0)];
    while let Some((at, id)) = todo.pop() {
        let path = Path::new(OsStr::from_bytes(&at));
        let shown = path.display();
        let node = tree.node(id);
        let inode = view.inode(path);
        if let Some(&number) = numbers.get(&id) {
            assert_eq!(inode.number().0, number, "{shown}: one inode behind all its names");
            continue;
        }
        assert!(
            taken.insert(inode.number()),
            "{shown}: inode {} is that of something else",
            inode.number()
        );
        numbers.insert(id, inode.number().0);
        compare_node(view, path, tree, node, &inode);
        if let Some(names) = node.dir() {
            let mut found = view.names(path);
            found.sort_unstable();
            let expected: Vec<_> = names.keys().cloned().collect();
            assert_eq!(
                found
                    .iter()
                    .map(|name| name.escape_ascii().to_string())
                    .collect::<Vec<_>>(),
                expected
                    .iter()
                    .map(|name| name.escape_ascii().to_string())
                    .collect::<Vec<_>>(),
                "{shown}: names"
            );
            todo.extend(
                names
                    .iter()
                    .map(|(name, &child)| ([at.as_slice(), b"/", name].concat(), child)),
            );
        }
    }
}

fn compare_node(view: &dyn View, path: &Path, tree: &Tree, node: &Node, inode: &Inode) {
    let shown = path.display();
    let (kind, links, size) = match &node.kind {
        Kind::File(bytes) => (FileKind::Regular, node.names, Some(bytes.len())),
        Kind::Dir(names) => {
            let dirs = names.values().filter(|&&child| tree.node(child).is_dir()).count();
            (FileKind::Directory, 2 + dirs as u32, None)
        }
        Kind::Symlink(target) => (FileKind::Symlink, node.names, Some(target.len())),
        Kind::Special(bits, _) => (
            FileKind::from_mode(*bits as u16).expect("the model has the seven kinds"),
            node.names,
            Some(0),
        ),
    };
    assert_eq!(inode.kind(), kind, "{shown}: kind");
    assert_eq!(inode.links(), links, "{shown}: links");
    assert_eq!(inode.mode() & 0o7777, node.mode, "{shown}: mode");
    assert_eq!((inode.uid(), inode.gid()), (node.uid, node.gid), "{shown}: owner");
    if let Some(size) = size {
        assert_eq!(inode.size(), size as u64, "{shown}: size");
    }
    match &node.kind {
        Kind::File(bytes) => same_bytes(&view.contents(path), bytes, &shown.to_string()),
        Kind::Symlink(target) => assert_eq!(&view.target(path), target, "{shown}: target"),
        Kind::Special(_, device) => {
            let found = inode.device_number().map(|device| (device.major, device.minor));
            assert_eq!(found, *device, "{shown}: device");
        }
        Kind::Dir(_) => {}
    }
    if matches!(node.kind, Kind::File(_) | Kind::Dir(_)) {
        assert_eq!(inode.attr().bits(), node.flags, "{shown}: flags");
    }
    let xattrs = view.xattrs(path);
    assert_eq!(
        xattrs
            .iter()
            .map(|(name, value)| (name.escape_ascii().to_string(), value.len()))
            .collect::<Vec<_>>(),
        node.xattrs
            .iter()
            .map(|(name, value)| (name.escape_ascii().to_string(), value.len()))
            .collect::<Vec<_>>(),
        "{shown}: attributes"
    );
    assert!(xattrs == node.xattrs, "{shown}: values of attributes");
}

#[track_caller]
fn same_bytes(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        panic!(
            "{what}: byte {at} of {} is {:#x} and should be {:#x}",
            found.len(),
            found[at],
            expected[at]
        );
    }
}
