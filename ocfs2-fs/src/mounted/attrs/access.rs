//! Who may do what, for those who act for somebody: adapters and daemons.
//!
//! Source: POSIX 1003.1e draft 17; Linux 6.1 kernel behaviour.

use ocfs2_format::{FileKind, InodeAttr};

use super::set::{SetAttributes, SetTime};
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::xattr::{Acl, AclTag};

/// For whom something is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Permissions and ownership do not bind the caller.
    pub privileged: bool,
}

impl Caller {
    /// One whom nothing binds.
    pub fn root() -> Caller {
        Caller {
            privileged: true,
            ..Caller::default()
        }
    }

    /// Whether the caller is in a group.
    pub fn is_in(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    fn owns(&self, inode: &Inode) -> bool {
        self.privileged || self.uid == inode.uid()
    }
}

/// Bit of [`FileSystem::check_access`](crate::FileSystem::check_access) for reading.
pub const MAY_READ: u32 = 4;
/// Bit of [`FileSystem::check_access`](crate::FileSystem::check_access) for writing.
pub const MAY_WRITE: u32 = 2;
/// Bit of [`FileSystem::check_access`](crate::FileSystem::check_access) for executing a file, and for going through a directory.
pub const MAY_EXECUTE: u32 = 1;

/// Whether an inode's mode, ACL and attributes let a caller do what `mask` names ([`MAY_READ`] and the others).
///
/// # Errors
/// [`Error::AccessDenied`]; [`Error::NotPermitted`] for writing to what nobody may change.
pub(crate) fn may(inode: &Inode, acl: Option<&Acl>, caller: &Caller, mask: u32) -> Result<()> {
    let mask = mask & 7;
    if mask & MAY_WRITE != 0 && inode.attr().contains(InodeAttr::IMMUTABLE) {
        return Err(Error::NotPermitted {
            inode: inode.number(),
            why: "it is immutable",
        });
    }
    let allowed = if caller.privileged {
        let runs = inode.kind() == FileKind::Directory || inode.mode() & 0o111 != 0;
        mask & MAY_EXECUTE == 0 || runs
    } else {
        mask & !granted(inode, acl, caller, mask) == 0
    };
    if allowed { Ok(()) } else { Err(Error::AccessDenied) }
}

/// The permissions out of `mask` that a caller has.
fn granted(inode: &Inode, acl: Option<&Acl>, caller: &Caller, mask: u32) -> u32 {
    let mode = inode.mode();
    if caller.uid == inode.uid() {
        return mode >> 6 & 7;
    }
    let by_group = if caller.is_in(inode.gid()) {
        mode >> 3 & 7
    } else {
        mode & 7
    };
    // Without group bits, which are the mask then, no record grants anything.
    let Some(acl) = acl.filter(|_| mode & 0o070 != 0) else {
        return by_group;
    };
    let limit = mode >> 3 & 7;
    let perm = |perm: u16| u32::from(perm) & 7;
    let has = |wanted: AclTag| acl.entries.iter().find(|record| record.tag == wanted);
    if let Some(record) = has(AclTag::User(caller.uid)) {
        return perm(record.perm) & limit;
    }
    let mut is_member = false;
    for record in &acl.entries {
        let applies = match record.tag {
            AclTag::GroupObj => caller.is_in(inode.gid()),
            AclTag::Group(gid) => caller.is_in(gid),
            _ => false,
        };
        if applies {
            is_member = true;
            if mask & !perm(record.perm) == 0 {
                return perm(record.perm) & limit;
            }
        }
    }
    match has(AclTag::Other) {
        Some(other) if !is_member => perm(other.perm),
        _ => 0,
    }
}

/// Whether a caller may change attributes so, and what remains of the change: bits of the mode that the caller may not set
/// are left out.
///
/// # Errors
/// [`Error::NotPermitted`], [`Error::AccessDenied`].
pub(super) fn may_change(
    inode: &Inode,
    acl: Option<&Acl>,
    caller: &Caller,
    change: &SetAttributes,
) -> Result<SetAttributes> {
    let mut change = *change;
    if caller.privileged {
        return Ok(change);
    }
    let refuse = |why| {
        Err(Error::NotPermitted {
            inode: inode.number(),
            why,
        })
    };
    let owns = caller.owns(inode);
    if change.uid.is_some_and(|uid| !owns || uid != inode.uid()) {
        return refuse("only the privileged give files away");
    }
    if change
        .gid
        .is_some_and(|gid| !owns || (gid != inode.gid() && !caller.is_in(gid)))
    {
        return refuse("only owners give files to groups, and only to their own");
    }
    if let Some(mode) = &mut change.mode {
        if !owns {
            return refuse("only the owner changes the mode");
        }
        if !caller.is_in(change.gid.unwrap_or(inode.gid())) {
            *mode &= !0o2000;
        }
    }
    let times = [change.atime, change.mtime];
    let sets = |time: &Option<SetTime>| matches!(time, Some(SetTime::At(_)));
    if !owns && times.iter().any(sets) {
        return refuse("only the owner sets times");
    }
    if !owns && times.iter().any(Option::is_some) {
        may(inode, acl, caller, MAY_WRITE)?;
    }
    Ok(change)
}
