//! Comparing a whole volume with the model.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_format::FileKind;
use ocfs2_fs::{DirEntry, FileSystem, Inode, OpenFile, Volume};

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
        Volume::xattrs(self, path)
            .expect("attributes can be read")
            .into_iter()
            .collect()
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

/// One line for each object of a mounted file system below a directory: everything but contents and values.
pub(crate) fn outline(fs: &FileSystem, root: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![root.as_bytes().to_vec()];
    while let Some(at) = todo.pop() {
        let path = Path::new(OsStr::from_bytes(&at));
        let inode = fs.symlink_metadata(path).expect("an inode can be read");
        let xattrs: Vec<_> = View::xattrs(fs, path)
            .into_iter()
            .map(|(name, value)| (name, value.len()))
            .collect();
        lines.push(line(
            &at,
            inode.mode(),
            inode.links(),
            inode.uid(),
            inode.gid(),
            size_of(&inode),
            &xattrs,
        ));
        if inode.kind() == FileKind::Directory {
            let prefix = if at == b"/" { Vec::new() } else { at.clone() };
            todo.extend(
                fs.names(path)
                    .iter()
                    .map(|name| [prefix.as_slice(), b"/", name].concat()),
            );
        }
    }
    lines.sort_unstable();
    lines
}

/// The same, as the model has it.
pub(crate) fn outline_of_model(tree: &Tree) -> Vec<String> {
    let root = (tree.root.clone(), 0);
    let places = tree.places().into_iter().map(|place| (place.path, place.node));
    let mut lines: Vec<_> = std::iter::once(root)
        .chain(places)
        .map(|(path, id)| {
            let node = tree.node(id);
            let (bits, links, size) = match &node.kind {
                Kind::File(bytes) => (0o100_000, node.names, bytes.len() as u64),
                Kind::Dir(names) => {
                    let dirs = names.values().filter(|&&child| tree.node(child).is_dir()).count();
                    (0o040_000, 2 + dirs as u32, 0)
                }
                Kind::Symlink(target) => (0o120_000, node.names, target.len() as u64),
                Kind::Special(bits, _) => (*bits, node.names, 0),
            };
            let xattrs: Vec<_> = node
                .xattrs
                .iter()
                .map(|(name, value)| (name.clone(), value.len()))
                .collect();
            line(&path, bits | node.mode, links, node.uid, node.gid, size, &xattrs)
        })
        .collect();
    lines.sort_unstable();
    lines
}

fn size_of(inode: &Inode) -> u64 {
    match inode.kind() {
        FileKind::Directory => 0,
        _ => inode.size(),
    }
}

fn line(path: &[u8], mode: u32, links: u32, uid: u32, gid: u32, size: u64, xattrs: &[(Vec<u8>, usize)]) -> String {
    let xattrs: Vec<_> = xattrs
        .iter()
        .map(|(name, len)| format!("{}:{len}", name.escape_ascii()))
        .collect();
    format!(
        "{} {mode:o} {links} {uid}:{gid} {size} {}",
        path.escape_ascii(),
        xattrs.join(",")
    )
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
