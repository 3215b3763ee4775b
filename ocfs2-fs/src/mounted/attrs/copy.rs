//! Giving an inode the attributes of another.
//!
//! Source: on-disk reference, section 22.5.

use ocfs2_format::{InodeNo, XattrNamespace};

use super::ops::change;
use super::store::{self, Change};
use crate::error::Result;
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::tree::Root;
use crate::mounted::{Core, LockSet};
use crate::xattr;

/// Copies all attributes of an inode to one that has none of these names; without `security`, all but ACLs and security
/// labels. The caller holds both inodes' locks.
///
/// # Errors
/// [`Error::NoSpace`](crate::Error::NoSpace), [`Error::Corrupt`](crate::Error::Corrupt), the journal's.
pub(crate) fn copy_all(locks: &mut LockSet<'_>, source: InodeNo, target: InodeNo, security: bool) -> Result<()> {
    let core = locks.core();
    for info in xattr::list(core, &core.read_inode(source)?)? {
        let is_security = matches!(
            info.namespace(),
            XattrNamespace::Security | XattrNamespace::PosixAclAccess | XattrNamespace::PosixAclDefault
        );
        if is_security && !security {
            continue;
        }
        let value = xattr::value(core, source, &info)?;
        let wanted = Change {
            namespace: info.namespace(),
            name: info.stored_name(),
            value: Some(&value),
        };
        change(locks, target, &[wanted], |_, _| {})?;
    }
    Ok(())
}

/// The attributes of an inode whose values lie in clusters of their own, by name space and name without prefix.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt).
pub(crate) fn outside_values(core: &Core, inode: &Inode) -> Result<Vec<(XattrNamespace, Vec<u8>)>> {
    let all = xattr::list(core, inode)?;
    let outside = all.iter().filter(|info| !info.is_local());
    Ok(outside
        .map(|info| (info.namespace(), info.stored_name().to_vec()))
        .collect())
}

/// The tree of the value of an attribute, if it lies in clusters of its own.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt).
pub(crate) fn value_root(
    meta: &dyn Blocks,
    inode: &Inode,
    namespace: XattrNamespace,
    name: &[u8],
) -> Result<Option<Root>> {
    let Some(found) = store::find(meta, inode, namespace, name)? else {
        return Ok(None);
    };
    Ok(found.value_root(inode, meta.geometry()))
}
