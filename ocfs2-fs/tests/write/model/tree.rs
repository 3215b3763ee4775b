//! The model: a tree in memory.

use std::collections::BTreeMap;

/// Number of a node; never used again.
pub(crate) type NodeId = usize;

/// A file, directory or anything else.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Those of chattr(1).
    pub(crate) flags: u32,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Names that lead here.
    pub(crate) names: u32,
    /// Handles.
    pub(crate) opens: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(Vec<u8>),
    Dir(BTreeMap<Vec<u8>, NodeId>),
    Symlink(Vec<u8>),
    /// Type bits of the mode, and the device.
    Special(u32, Option<(u32, u32)>),
}

impl Node {
    pub(crate) fn new(kind: Kind, mode: u32) -> Node {
        Node {
            kind,
            mode,
            uid: 0,
            gid: 0,
            flags: 0,
            xattrs: BTreeMap::new(),
            names: 1,
            opens: 0,
        }
    }

    pub(crate) fn dir(&self) -> Option<&BTreeMap<Vec<u8>, NodeId>> {
        match &self.kind {
            Kind::Dir(names) => Some(names),
            _ => None,
        }
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.dir().is_some()
    }
}

/// All nodes, by number; the root is 0.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    next: NodeId,
    /// Path of the root in the volume.
    pub(crate) root: Vec<u8>,
}

/// Where a name is: its directory, the name, and what it leads to.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) path: Vec<u8>,
    pub(crate) dir: NodeId,
    pub(crate) name: Vec<u8>,
    pub(crate) node: NodeId,
}

/// A [`Place`] on the way of a walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'w, 't> {
    /// Path of the directory.
    pub(crate) above: &'w [u8],
    dir: NodeId,
    name: &'t [u8],
    pub(crate) node: NodeId,
}

impl Spot<'_, '_> {
    pub(crate) fn path(&self) -> Vec<u8> {
        [self.above, b"/", self.name].concat()
    }

    fn place(&self) -> Place {
        Place {
            path: self.path(),
            dir: self.dir,
            name: self.name.to_vec(),
            node: self.node,
        }
    }
}

impl Tree {
    /// An empty tree below a directory of the volume.
    pub(crate) fn below(path: &str) -> Tree {
        let root = Node::new(Kind::Dir(BTreeMap::new()), 0o755);
        Tree {
            nodes: BTreeMap::from([(0, root)]),
            next: 1,
            root: path.as_bytes().to_vec(),
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[&id]
    }

    /// The `n`-th of the places whose nodes are wanted, counted round and round.
    pub(crate) fn pick(&self, n: usize, want: &dyn Fn(&Node) -> bool) -> Option<Place> {
        let mut count = 0;
        self.walk(&mut |spot| count += usize::from(want(self.node(spot.node))));
        let mut left = n.checked_rem(count)?;
        let mut found = None;
        self.walk(&mut |spot| {
            if want(self.node(spot.node)) {
                if left == 0 && found.is_none() {
                    found = Some(spot.place());
                }
                left = left.saturating_sub(1);
            }
        });
        found
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("the node is there")
    }

    /// Every name below the root, in a fixed order, parents before children.
    pub(crate) fn places(&self) -> Vec<Place> {
        let mut found = Vec::new();
        self.walk(&mut |spot| found.push(spot.place()));
        found
    }

    /// As [`places`](Self::places), without a copy of each name and path.
    pub(crate) fn walk<'t>(&'t self, visit: &mut dyn FnMut(Spot<'_, 't>)) {
        let mut todo = vec![(0, self.root.clone())];
        while let Some((dir, at)) = todo.pop() {
            for (name, &node) in self.node(dir).dir().expect("only directories are listed") {
                let spot = Spot {
                    above: &at,
                    dir,
                    name,
                    node,
                };
                if self.node(node).is_dir() {
                    todo.push((node, spot.path()));
                }
                visit(spot);
            }
        }
    }

    pub(crate) fn names_mut(&mut self, dir: NodeId) -> &mut BTreeMap<Vec<u8>, NodeId> {
        match &mut self.node_mut(dir).kind {
            Kind::Dir(names) => names,
            other => panic!("{other:?} is no directory"),
        }
    }

    pub(crate) fn add(&mut self, dir: NodeId, name: &[u8], node: Node) -> NodeId {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        self.names_mut(dir).insert(name.to_vec(), id);
        id
    }

    pub(crate) fn link(&mut self, dir: NodeId, name: &[u8], node: NodeId) {
        self.names_mut(dir).insert(name.to_vec(), node);
        self.node_mut(node).names += 1;
    }

    pub(crate) fn unlink(&mut self, dir: NodeId, name: &[u8]) {
        let node = self.names_mut(dir).remove(name).expect("the name is there");
        self.node_mut(node).names -= 1;
        self.drop_if_unused(node);
    }

    pub(crate) fn drop_if_unused(&mut self, node: NodeId) {
        let Node { names: 0, opens: 0, .. } = self.node(node) else {
            return;
        };
        self.nodes.remove(&node);
    }

    /// Whether a directory is at or above a node.
    pub(crate) fn is_above(&self, above: NodeId, below: NodeId) -> bool {
        let mut todo = vec![above];
        while let Some(id) = todo.pop() {
            if id == below {
                return true;
            }
            todo.extend(self.node(id).dir().into_iter().flat_map(BTreeMap::values).copied());
        }
        false
    }
}
