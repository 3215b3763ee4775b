//! Operations on attributes: modes, owners, extended attributes, sharing.

use std::collections::BTreeMap;
use std::path::Path;

use ocfs2_fs::FileSystem;

use super::apply::World;
use super::ops::Op;

impl World {
    pub(super) fn set_mode(&mut self, _op: &Op, _a: u32, _mode: u32) {}
    pub(super) fn set_owner(&mut self, _op: &Op, _a: u32, _uid: u32, _gid: u32) {}
    pub(super) fn set_xattr(&mut self, _op: &Op, _a: u32, _name: u32, _len: usize, _fill: u8) {}
    pub(super) fn remove_xattr(&mut self, _op: &Op, _a: u32, _name: u32) {}
    pub(super) fn reflink(&mut self, _op: &Op, _a: u32, _b: u32, _name: u32) {}
}

pub(super) fn all_xattrs(_fs: &FileSystem, _path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    BTreeMap::new()
}
