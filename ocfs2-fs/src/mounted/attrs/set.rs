//! Modes, owners, times, and the flags of chattr.
//!
//! Source: on-disk reference, sections 1.5 and 9; Linux 6.1 kernel behaviour.

use ocfs2_format::{Dinode, FileKind, InodeAttr, XattrNamespace};

use super::acl::{self, AclKind};
use super::store::Change;
use crate::error::{Error, Result};
use crate::inode::{Inode, Timestamp};
use crate::meta::Blocks;

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// That of the operation.
    Now,
    /// This one.
    At(Timestamp),
}

impl SetTime {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            SetTime::Now => now,
            SetTime::At(time) => time,
        }
    }
}

/// Attributes to change; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// Permission bits, with set-user-ID, set-group-ID and sticky bit; bits of the file type are ignored.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Time of the last access.
    pub atime: Option<SetTime>,
    /// Time of the last change of the contents.
    pub mtime: Option<SetTime>,
}

/// Flags of `i_attr` that can be set: those that chattr(1) sets on any file system.
pub(super) const SETTABLE: InodeAttr = InodeAttr::from_bits_retain(0x0003_80FF);

/// Fails if flags of the inode forbid the change to everybody.
///
/// # Errors
/// [`Error::NotPermitted`].
pub(super) fn require_changeable(inode: &Inode, change: &SetAttributes) -> Result<()> {
    let attr = inode.attr();
    let sets_time = |time: &Option<SetTime>| matches!(time, Some(SetTime::At(_)));
    let only_touches = change.mode.is_none()
        && change.uid.is_none()
        && change.gid.is_none()
        && ![change.atime, change.mtime].iter().any(sets_time);
    if attr.contains(InodeAttr::APPEND) && only_touches && !attr.contains(InodeAttr::IMMUTABLE) {
        return Ok(());
    }
    require_writable(inode)
}

/// Fails for an inode whose attributes nobody may change.
///
/// # Errors
/// [`Error::NotPermitted`].
pub(super) fn require_writable(inode: &Inode) -> Result<()> {
    let why = if inode.attr().contains(InodeAttr::IMMUTABLE) {
        "it is immutable"
    } else if inode.attr().contains(InodeAttr::APPEND) {
        "it is append-only"
    } else {
        return Ok(());
    };
    Err(Error::NotPermitted {
        inode: inode.number(),
        why,
    })
}

/// A change of attributes, with all that it brings about.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    change: SetAttributes,
    mode: u32,
    /// New value of the access ACL.
    acl: Option<Vec<u8>>,
    drop_capability: bool,
}

impl Plan {
    /// Works out a change. With `use_acls`, the access ACL follows the mode.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(super) fn new(meta: &dyn Blocks, inode: &Inode, change: &SetAttributes, use_acls: bool) -> Result<Plan> {
        const SUID: u32 = 0o4000;
        const SGID: u32 = 0o2000;
        let mut mode = inode.mode();
        let changes_owner = change.uid.is_some() || change.gid.is_some();
        let drops = changes_owner && inode.kind() != FileKind::Directory;
        if drops {
            mode &= !SUID;
            // Without the execute bit of the group this bit means mandatory locking.
            if mode & 0o010 != 0 {
                mode &= !SGID;
            }
        }
        let mut acl = None;
        if let Some(new) = change.mode {
            mode = mode & !0o7777 | new & 0o7777;
            if use_acls
                && inode.kind() != FileKind::Symlink
                && let Some(mut changed) = acl::read(meta, inode, AclKind::Access)?
            {
                acl::set_mode(&mut changed, mode);
                acl = Some(acl::to_disk(&changed));
            }
        }
        Ok(Plan {
            change: *change,
            mode,
            acl,
            drop_capability: drops,
        })
    }

    /// The changes of extended attributes that go with it.
    pub(super) fn xattrs(&self) -> Vec<Change<'_>> {
        let acl = self.acl.as_deref().map(|value| Change {
            namespace: XattrNamespace::PosixAclAccess,
            name: &[],
            value: Some(value),
        });
        let capability = self.drop_capability.then_some(Change {
            namespace: XattrNamespace::Security,
            name: b"capability",
            value: None,
        });
        acl.into_iter().chain(capability).collect()
    }

    /// Puts the changes into the dinode.
    pub(super) fn edit(&self, dinode: &mut Dinode, now: Timestamp) {
        // Type and permissions have 16 bits.
        dinode.i_mode.set(self.mode as u16);
        if let Some(uid) = self.change.uid {
            dinode.i_uid.set(uid);
        }
        if let Some(gid) = self.change.gid {
            dinode.i_gid.set(gid);
        }
        if let Some(time) = self.change.atime {
            let time = time.at(now);
            dinode.i_atime.set(time.secs as u64);
            dinode.i_atime_nsec.set(time.nanos);
        }
        if let Some(time) = self.change.mtime {
            let time = time.at(now);
            dinode.i_mtime.set(time.secs as u64);
            dinode.i_mtime_nsec.set(time.nanos);
        }
        set_ctime(dinode, now);
    }
}

/// Notes a change of the inode.
pub(super) fn set_ctime(dinode: &mut Dinode, now: Timestamp) {
    dinode.i_ctime.set(now.secs as u64);
    dinode.i_ctime_nsec.set(now.nanos);
}

/// The flags that an inode has after `wanted` were set.
pub(super) fn new_attr(inode: &Inode, wanted: InodeAttr) -> InodeAttr {
    let mut wanted = wanted & SETTABLE;
    if inode.kind() != FileKind::Directory {
        wanted.remove(InodeAttr::DIRSYNC);
    }
    wanted | inode.attr().difference(SETTABLE)
}
