//! What a volume holds, in a form that is quick to compare: as the model has it, as a mounted file system shows it, as the
//! kernel reports it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_format::FileKind;
use ocfs2_fs::FileSystem;
use ocfs2_testkit::facts::{self, Facts};
use sha2::{Digest, Sha256};

use super::attrs::all_xattrs;
use super::tree::{Kind, Node, Tree};

/// What is below a directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    /// One line for each object: everything but the contents of files, which is in the journal when it changes.
    pub(crate) lines: Vec<String>,
    /// Hash of each file's contents, by path.
    pub(crate) contents: BTreeMap<String, Hash>,
}

type Hash = [u8; 32];

/// An object.
struct Object<'a> {
    path: &'a [u8],
    mode: u32,
    links: u32,
    owner: (u32, u32),
    /// Nothing for directories.
    size: u64,
    /// Nothing for what lsattr(1) cannot be asked about.
    flags: u32,
    target: Option<&'a [u8]>,
    device: Option<(u32, u32)>,
    /// Names, and hashes of values.
    xattrs: Vec<(&'a [u8], Hash)>,
}

impl Object<'_> {
    fn line(&self) -> String {
        let short = |hash: &Hash| {
            hash.iter()
                .take(4)
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let xattrs: Vec<_> = self
            .xattrs
            .iter()
            .map(|(name, value)| format!("{}={}", name.escape_ascii(), short(value)))
            .collect();
        let target = self.target.map(|target| short(&hash(target))).unwrap_or_default();
        format!(
            "{} {:o} {} {:?} {} {:x} {target} {:?} {}",
            self.path.escape_ascii(),
            self.mode,
            self.links,
            self.owner,
            self.size,
            self.flags,
            self.device,
            xattrs.join(",")
        )
    }
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

impl Outline {
    fn new(mut lines: Vec<String>, contents: BTreeMap<String, Hash>) -> Outline {
        lines.sort_unstable();
        Outline { lines, contents }
    }

    /// What a mounted file system shows below a directory.
    pub(crate) fn of_mounted(fs: &FileSystem, root: &str) -> Outline {
        let (mut lines, mut contents) = (Vec::new(), BTreeMap::new());
        let mut todo = vec![root.as_bytes().to_vec()];
        while let Some(at) = todo.pop() {
            let path = Path::new(OsStr::from_bytes(&at));
            let inode = fs.symlink_metadata(path).expect("an inode can be read");
            let kind = inode.kind();
            let xattrs = all_xattrs(fs, path);
            let target = (kind == FileKind::Symlink).then(|| fs.read_link(path).expect("a link can be read"));
            let object = Object {
                path: &at,
                mode: inode.mode(),
                links: inode.links(),
                owner: (inode.uid(), inode.gid()),
                size: if kind == FileKind::Directory { 0 } else { inode.size() },
                flags: match kind {
                    FileKind::Regular | FileKind::Directory => inode.attr().bits(),
                    _ => 0,
                },
                target: target.as_ref().map(|target| target.as_os_str().as_bytes()),
                device: inode.device_number().map(|device| (device.major, device.minor)),
                xattrs: xattrs
                    .iter()
                    .map(|(name, value)| (name.as_slice(), hash(value)))
                    .collect(),
            };
            lines.push(object.line());
            match kind {
                FileKind::Regular => {
                    let bytes = fs.read(path).expect("a file can be read");
                    contents.insert(at.escape_ascii().to_string(), hash(&bytes));
                }
                FileKind::Directory => {
                    for entry in fs.read_dir(path).expect("a directory can be listed") {
                        let entry = entry.expect("every entry can be read");
                        todo.push([at.as_slice(), b"/", entry.name()].concat());
                    }
                }
                _ => {}
            }
        }
        Outline::new(lines, contents)
    }

    /// What the model says should be there.
    pub(crate) fn of_model(tree: &Tree) -> Outline {
        let (mut lines, mut contents) = (Vec::new(), BTreeMap::new());
        let places = tree.places().into_iter().map(|place| (place.path, place.node));
        for (path, id) in std::iter::once((tree.root.clone(), 0)).chain(places) {
            let node: &Node = tree.node(id);
            let (bits, links, size) = match &node.kind {
                Kind::File(bytes) => {
                    contents.insert(path.escape_ascii().to_string(), hash(bytes));
                    (0o100_000, node.names, bytes.len() as u64)
                }
                Kind::Dir(names) => {
                    let dirs = names.values().filter(|&&child| tree.node(child).is_dir()).count();
                    (0o040_000, 2 + dirs as u32, 0)
                }
                Kind::Symlink(target) => (0o120_000, node.names, target.len() as u64),
                Kind::Special(bits, _) => (*bits, node.names, 0),
            };
            let object = Object {
                path: &path,
                mode: bits | node.mode,
                links,
                owner: (node.uid, node.gid),
                size,
                flags: node.flags,
                target: match &node.kind {
                    Kind::Symlink(target) => Some(target),
                    _ => None,
                },
                device: match node.kind {
                    Kind::Special(_, device) => device,
                    _ => None,
                },
                xattrs: node
                    .xattrs
                    .iter()
                    .map(|(name, value)| (name.as_slice(), hash(value)))
                    .collect(),
            };
            lines.push(object.line());
        }
        Outline::new(lines, contents)
    }

    /// What the kernel reported below a directory.
    pub(crate) fn of_kernel(facts: &Facts, root: &str) -> Outline {
        let (mut lines, mut contents) = (Vec::new(), BTreeMap::new());
        for fact in &facts.objects {
            let path = [b"/", fact.path.0.as_slice()].concat();
            let is_below = path
                .strip_prefix(root.as_bytes())
                .is_some_and(|rest| rest.first().is_none_or(|&b| b == b'/'));
            if !is_below {
                continue;
            }
            let bits = match fact.kind {
                facts::Kind::File => 0o100_000,
                facts::Kind::Dir => 0o040_000,
                facts::Kind::Symlink => 0o120_000,
                facts::Kind::Char => 0o020_000,
                facts::Kind::Block => 0o060_000,
                facts::Kind::Fifo => 0o010_000,
                facts::Kind::Socket => 0o140_000,
            };
            let given = |bytes: &facts::Bytes| Hash::try_from(bytes.0.as_slice()).expect("a hash has 32 bytes");
            let mut xattrs: Vec<_> = fact
                .xattrs
                .iter()
                .map(|xattr| {
                    let value = xattr.value.as_ref().map(|value| hash(&value.0));
                    let value = value
                        .or(xattr.sha256.as_ref().map(given))
                        .expect("one of the two is there");
                    (xattr.name.0.as_slice(), value)
                })
                .collect();
            xattrs.sort_unstable();
            let object = Object {
                path: &path,
                mode: bits | u32::from(fact.mode),
                links: fact.nlink,
                owner: (fact.uid, fact.gid),
                size: if fact.kind == facts::Kind::Dir { 0 } else { fact.size },
                flags: fact.flags,
                target: fact.target.as_ref().map(|target| target.0.as_slice()),
                device: fact.rdev,
                xattrs,
            };
            lines.push(object.line());
            if let Some(sha256) = &fact.sha256 {
                contents.insert(path.escape_ascii().to_string(), given(sha256));
            }
        }
        Outline::new(lines, contents)
    }
}

/// Compares what a crash left with the states that the volume went through, from the one that was durable to the last that
/// may have been.
///
/// Names and attributes must be those of one of the states. Contents are written in place and may be newer than that, but
/// only where a later operation changed them.
///
/// # Errors
/// What is wrong, for people.
pub(crate) fn find_state(states: &[&Outline], found: &Outline) -> Result<(), String> {
    let mut contents_wrong = None;
    for (index, state) in states.iter().enumerate() {
        if state.lines != found.lines {
            continue;
        }
        let wrong = found.contents.iter().find(|(path, hash)| {
            let is_settled = states[index..]
                .iter()
                .all(|later| later.contents.get(*path) == state.contents.get(*path));
            is_settled && state.contents.get(*path) != Some(hash)
        });
        match wrong {
            None => return Ok(()),
            Some((path, _)) => contents_wrong = Some(path),
        }
    }
    if let Some(path) = contents_wrong {
        return Err(format!("the contents of {path} are not what was written"));
    }
    let near = states.last().map(|state| state.lines.as_slice()).unwrap_or_default();
    let missing: Vec<_> = near.iter().filter(|line| !found.lines.contains(line)).collect();
    let extra: Vec<_> = found.lines.iter().filter(|line| !near.contains(line)).collect();
    Err(format!("no state it was in\nmissing {missing:#?}\nextra {extra:#?}"))
}
