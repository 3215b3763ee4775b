//! Operations on attributes: modes, owners, extended attributes, sharing.

use std::collections::BTreeMap;
use std::path::Path;

use ocfs2_format::InodeAttr;
use ocfs2_fs::{Acl, AclKind, AclRecord, AclTag, Error, FileSystem, Result, SetAttributes, XattrMode};

use super::apply::{EEXIST, World, path};
use super::ops::Op;
use super::tree::{Kind, Node, Place};

const ENODATA: i32 = 61;

/// The attribute that an access ACL is.
const ACL: &[u8] = b"system.posix_acl_access";

/// An access ACL that means these permission bits and names so many users.
fn acl(mode: u32, users: u32) -> Acl {
    let record = |tag, perm: u32| AclRecord {
        tag,
        perm: (perm & 7) as u16,
    };
    let mut entries = vec![record(AclTag::UserObj, mode >> 6)];
    entries.extend((0..users).map(|n| record(AclTag::User(1000 + n), 5)));
    entries.extend([
        record(AclTag::GroupObj, 5),
        record(AclTag::Mask, mode >> 3),
        record(AclTag::Other, mode),
    ]);
    Acl { entries }
}

impl World {
    fn set_attributes(&self, place: &Place, change: &SetAttributes) -> Result<()> {
        let inode = self.fs().symlink_metadata(path(&place.path))?;
        self.fs().set_attributes(inode.number(), change).map(drop)
    }

    pub(super) fn set_mode(&mut self, op: &Op, a: u32, mode: u32) {
        let Some(place) = self.pick(a, |node| !matches!(node.kind, Kind::Symlink(_))) else {
            return;
        };
        // Bits that a write takes away again are another test's.
        let mode = mode
            & if self.tree.node(place.node).is_dir() {
                0o1777
            } else {
                0o777
            };
        let change = SetAttributes {
            mode: Some(mode),
            ..SetAttributes::default()
        };
        let result = self.set_attributes(&place, &change);
        if self.agree(op, &result, 0) {
            let node = self.tree.node_mut(place.node);
            node.mode = mode;
            // The ACL follows.
            if let Some(value) = node.xattrs.get_mut(ACL) {
                let users = (value.len() - acl(0, 0).to_posix_xattr().len()) / 8;
                *value = acl(mode, users as u32).to_posix_xattr();
            }
        }
    }

    pub(super) fn set_acl(&mut self, op: &Op, a: u32, mode: u32, users: u32) {
        let Some(place) = self.pick(a, |node| matches!(node.kind, Kind::File(_) | Kind::Dir(_))) else {
            return;
        };
        let acl = acl(mode, users);
        let inode = self
            .fs()
            .symlink_metadata(path(&place.path))
            .expect("an inode can be read");
        let result = self.fs().set_acl(inode.number(), AclKind::Access, Some(&acl));
        if self.without_xattrs(&result) {
            return;
        }
        if self.agree(op, &result, 0) {
            let node = self.tree.node_mut(place.node);
            node.mode = node.mode & !0o777 | mode & 0o777;
            node.xattrs.insert(ACL.to_vec(), acl.to_posix_xattr());
        }
    }

    pub(super) fn set_flags(&mut self, op: &Op, a: u32, flags: u32) {
        let Some(place) = self.pick(a, |node| matches!(node.kind, Kind::File(_) | Kind::Dir(_))) else {
            return;
        };
        // Those that keep nobody from anything.
        let flags = InodeAttr::from_bits_retain(flags) & (InodeAttr::NODUMP | InodeAttr::NOATIME);
        let inode = self
            .fs()
            .symlink_metadata(path(&place.path))
            .expect("an inode can be read");
        let result = self.fs().set_flags(inode.number(), flags);
        if self.agree(op, &result, 0) {
            self.tree.node_mut(place.node).flags = flags.bits();
        }
    }

    pub(super) fn set_owner(&mut self, op: &Op, a: u32, uid: u32, gid: u32) {
        let Some(place) = self.pick(a, |_| true) else { return };
        let change = SetAttributes {
            uid: Some(uid),
            gid: Some(gid),
            ..SetAttributes::default()
        };
        let result = self.set_attributes(&place, &change);
        if self.agree(op, &result, 0) {
            let node = self.tree.node_mut(place.node);
            (node.uid, node.gid) = (uid, gid);
        }
    }

    fn pick_with_xattrs(&self, a: u32) -> Option<Place> {
        self.pick(a, |node: &Node| {
            matches!(node.kind, Kind::File(_) | Kind::Dir(_) | Kind::Symlink(_))
        })
    }

    pub(super) fn set_xattr(&mut self, op: &Op, a: u32, name: u32, len: usize, fill: u8) {
        let Some(place) = self.pick_with_xattrs(a) else { return };
        let name = format!("trusted.name-{}", name % 25).into_bytes();
        let value = vec![fill; len];
        let inode = self
            .fs()
            .symlink_metadata(path(&place.path))
            .expect("an inode can be read");
        let result = self.fs().set_xattr(inode.number(), &name, &value, XattrMode::Set);
        if self.without_xattrs(&result) {
            return;
        }
        if self.agree(op, &result, 0) {
            self.tree.node_mut(place.node).xattrs.insert(name, value);
        }
    }

    pub(super) fn remove_xattr(&mut self, op: &Op, a: u32, name: u32) {
        let Some(place) = self.pick_with_xattrs(a) else { return };
        let names = &self.tree.node(place.node).xattrs;
        // One that is there, mostly.
        let name = match names.keys().nth(name as usize % (names.len() + 1)) {
            Some(name) => name.clone(),
            None => b"trusted.missing".to_vec(),
        };
        let expected = if names.contains_key(&name) { 0 } else { ENODATA };
        let inode = self
            .fs()
            .symlink_metadata(path(&place.path))
            .expect("an inode can be read");
        let result = self.fs().remove_xattr(inode.number(), &name);
        if self.without_xattrs(&result) {
            return;
        }
        if self.agree(op, &result, expected) {
            self.tree.node_mut(place.node).xattrs.remove(&name);
        }
    }

    /// Volumes may be made without attributes.
    fn without_xattrs(&self, result: &Result<()>) -> bool {
        let refused = matches!(result, Err(Error::NoFeature { .. }));
        assert_eq!(
            refused,
            !self.fs().geometry().features.xattr(),
            "attributes and the feature go together"
        );
        refused
    }

    pub(super) fn reflink(&mut self, op: &Op, a: u32, b: u32, name: u32) {
        let Some(from) = self.pick_file(a) else { return };
        let at = self.place(b, name);
        let result = self.fs().reflink(path(&from.path), path(&at.path));
        if matches!(result, Err(Error::NoFeature { .. })) {
            assert!(!self.fs().geometry().features.refcount());
            return;
        }
        let expected = if self.taken(&at).is_some() { EEXIST } else { 0 };
        if self.agree(op, &result, expected) {
            let mut node = self.tree.node(from.node).clone();
            (node.names, node.opens) = (1, 0);
            self.tree.add(at.dir, &at.name, node);
        }
    }
}

pub(super) fn all_xattrs(fs: &FileSystem, path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    if !fs.geometry().features.xattr() {
        return BTreeMap::new();
    }
    let inode = fs.symlink_metadata(path).expect("an inode can be read").number();
    let names = fs.xattr_names(inode).expect("attributes can be listed");
    let pairs = names.into_iter().map(|name| {
        let value = fs.xattr(inode, &name).expect("an attribute can be read");
        (name, value)
    });
    pairs.collect()
}
