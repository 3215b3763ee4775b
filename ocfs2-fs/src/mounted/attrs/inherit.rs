//! Attributes that an inode is born with: its mode, the ACLs that its parent hands down, security labels.
//!
//! Source: on-disk reference, section 23; Linux 6.1 kernel behaviour.

use ocfs2_format::{FileKind, InodeNo, XattrNamespace};

use super::acl::{self, AclKind};
use super::store::{self, Change};
use super::value;
use crate::error::Result;
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::space::Need;
use crate::mounted::{Core, Txn};
use crate::xattr::Acl;

/// What an inode is born with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inherited {
    /// Type and permission bits for `i_mode`.
    pub(crate) mode: u32,
    /// The ACL, where it says more than the mode.
    pub(crate) access: Option<Acl>,
    /// The ACL that a directory hands down in turn.
    pub(crate) default: Option<Acl>,
    /// Attributes of the `security` name space: name without prefix, value.
    pub(crate) labels: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Inherited {
    /// What [`apply_inherited`] may take, to be added to what the creation takes: allocations, and credits beside those
    /// that [`LockSet::reserve`](crate::mounted::LockSet::reserve) returns.
    pub(crate) fn cost(&self, core: &Core) -> (Need, u32) {
        let geometry = core.geometry();
        let (mut need, mut credits) = (Need::default(), 0);
        for (_, _, value) in self.attributes() {
            need += value::need(geometry, value.len());
        }
        if need != Need::default() || !self.attributes().is_empty() {
            // A block of attributes, which small blocks may be too small for.
            need.blocks += 1;
            need.clusters += u32::from(!self.labels.is_empty());
            credits += 2 + geometry.blocks_per_xattr_bucket();
        }
        (need, credits)
    }

    fn attributes(&self) -> Vec<(XattrNamespace, &[u8], Vec<u8>)> {
        let acls = [(AclKind::Access, &self.access), (AclKind::Default, &self.default)];
        let acls = acls
            .into_iter()
            .filter_map(|(kind, acl)| Some((kind.namespace(), &[][..], acl::to_disk(acl.as_ref()?))));
        let labels = self
            .labels
            .iter()
            .map(|(name, value)| (XattrNamespace::Security, name.as_slice(), value.clone()));
        acls.chain(labels).collect()
    }
}

/// What an inode gets that is made in `parent` with a mode, type bits included. `umask` is left out of the mode unless the
/// parent hands down an ACL. The caller holds the parent's lock.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Io`](crate::Error::Io).
pub(crate) fn inherit(core: &Core, parent: &Inode, mode: u32, umask: u32) -> Result<Inherited> {
    // The mode holds 16 bits.
    let kind = FileKind::from_mode(mode as u16);
    let mut inherited = Inherited {
        mode,
        ..Inherited::default()
    };
    if kind == Some(FileKind::Symlink) {
        return Ok(inherited);
    }
    let handed_down = match core.options.acl && core.geometry().features.xattr() {
        true => acl::read(core, parent, AclKind::Default)?,
        false => None,
    };
    let Some(handed_down) = handed_down else {
        inherited.mode = mode & !(umask & 0o777);
        return Ok(inherited);
    };
    (inherited.access, inherited.mode) = acl::at_create(&handed_down, mode);
    if kind == Some(FileKind::Directory) {
        inherited.default = Some(handed_down);
    }
    Ok(inherited)
}

/// Stores what an inode is born with, but for its mode, which the caller puts in the dinode: the last thing done to the
/// new inode in the transaction that makes it, after its contents (a link target, the first entries of an inline
/// directory) are in place.
///
/// # Errors
/// [`Error::NoSpace`](crate::Error::NoSpace), the journal's.
pub(crate) fn apply_inherited(txn: &mut Txn<'_>, inode: InodeNo, inherited: &Inherited) -> Result<()> {
    for (namespace, name, value) in inherited.attributes() {
        let change = Change {
            namespace,
            name,
            value: Some(&value),
        };
        store::make_tree_if_full(txn, inode, &change)?;
        store::apply(txn, inode, &change)?;
    }
    Ok(())
}
