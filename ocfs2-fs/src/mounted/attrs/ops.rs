//! The operations.
//!
//! Source: on-disk reference, sections 9, 22, 23 and 37; cluster reference, section 6.4.

use ocfs2_format::{FileKind, InodeAttr, InodeNo, XattrNamespace};

use super::access::{self, Caller};
use super::acl::{self, AclKind};
use super::set::{self, Plan, SetAttributes};
use super::store::{self, Change, ChangeCost};
use super::value;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::mounted::{Charge, Core, FileSystem, Level, LockSet, refcount};
use crate::xattr::Acl;

/// What [`FileSystem::set_xattr`] does about an attribute of that name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XattrMode {
    /// The attribute is made, or gets the new value.
    #[default]
    Set,
    /// It must not be there yet (`XATTR_CREATE`).
    Create,
    /// It must be there (`XATTR_REPLACE`).
    Replace,
}

/// Longest full name of an attribute (`XATTR_NAME_MAX`).
const MAX_NAME: usize = 255;

/// Splits a full name, and refuses those that nobody can have or that the mount leaves out.
fn split<'n>(core: &Core, name: &'n [u8]) -> Result<(XattrNamespace, &'n [u8])> {
    if name.len() > MAX_NAME {
        return Err(Error::TooLarge {
            what: "the name of an attribute",
        });
    }
    let unknown = || Error::UnknownXattr {
        name: name.escape_ascii().to_string(),
    };
    let (namespace, rest) = XattrNamespace::split(name).ok_or_else(unknown)?;
    let is_on = match namespace {
        XattrNamespace::User => core.options.user_xattr,
        XattrNamespace::PosixAclAccess | XattrNamespace::PosixAclDefault => core.options.acl,
        XattrNamespace::Trusted | XattrNamespace::Security => true,
    };
    if !is_on {
        return Err(unknown());
    }
    if rest.is_empty() && AclKind::of(namespace).is_none() {
        return Err(Error::InvalidArgument {
            why: "an attribute without a name behind its prefix",
        });
    }
    if rest.contains(&0) {
        return Err(Error::InvalidArgument {
            why: "an attribute with a NUL in its name",
        });
    }
    Ok((namespace, rest))
}

fn missing(inode: InodeNo, name: &[u8]) -> Error {
    Error::NoSuchXattr {
        inode,
        name: name.escape_ascii().to_string(),
    }
}

/// Takes an inode's lock to change its attributes, and that of its refcount tree if it has one. System files are refused.
fn lock_to_change(locks: &mut LockSet<'_>, number: InodeNo) -> Result<Inode> {
    let core = locks.core();
    if core.system.contains(number) || number == core.superblock().system_dir() {
        return Err(Error::NotPermitted {
            inode: number,
            why: "it is a system file",
        });
    }
    let inode = locks.inode(number, Level::Exclusive)?;
    if inode.refcount_root().is_some() {
        refcount::lock(locks, &inode, Level::Exclusive)?;
    }
    Ok(inode)
}

/// Changes attributes and the dinode in one transaction.
pub(super) fn change(
    locks: &mut LockSet<'_>,
    inode: InodeNo,
    changes: &[Change<'_>],
    edit: impl FnOnce(&mut ocfs2_format::Dinode, crate::inode::Timestamp),
) -> Result<()> {
    let mut cost = ChangeCost {
        credits: 1,
        ..ChangeCost::default()
    };
    for change in changes {
        cost += store::prepare(locks, inode, change)?;
    }
    let credits = locks.reserve(cost.need)?.saturating_add(cost.credits);
    let mut txn = locks.begin(credits)?;
    for change in changes {
        store::apply(&mut txn, inode, change)?;
    }
    let now = txn.now();
    edit(txn.dinode(inode)?, now);
    txn.commit()?;
    Ok(())
}

/// Takes away what lets a program do more than its user may, as a change of its size does. Writing does not, in the kernel
/// either. The caller holds the inode's lock alone.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(crate) fn drop_capability(locks: &mut LockSet<'_>, inode: &Inode) -> Result<()> {
    let core = locks.core();
    let (namespace, name) = (XattrNamespace::Security, b"capability".as_slice());
    if store::find(core, inode, namespace, name)?.is_none() {
        return Ok(());
    }
    refcount::lock(locks, inode, Level::Exclusive)?;
    let gone = Change {
        namespace,
        name,
        value: None,
    };
    change(locks, inode.number(), &[gone], set::set_ctime)
}

impl FileSystem {
    /// Changes mode, owner, group and times, as somebody whom nothing but the inode's flags binds. A new owner or group
    /// takes the set-user-ID and set-group-ID bits and capabilities away from what is no directory; an ACL follows the
    /// mode.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] for an immutable or append-only inode, [`Error::QuotaExceeded`] of the new owner,
    /// [`Error::ReadOnly`], [`Error::Stale`], [`Error::Corrupt`], the journal's. Then nothing has changed.
    pub fn set_attributes(&self, inode: InodeNo, change: &SetAttributes) -> Result<Inode> {
        self.set_attributes_as(inode, change, &Caller::root())
    }

    /// As [`set_attributes`](Self::set_attributes), if `caller` may.
    ///
    /// # Errors
    /// Those, and [`Error::NotPermitted`], [`Error::AccessDenied`].
    pub fn set_attributes_as(&self, number: InodeNo, wanted: &SetAttributes, caller: &Caller) -> Result<Inode> {
        let core = &*self.core;
        core.begin_change()?;
        let mut locks = LockSet::new(core);
        let inode = lock_to_change(&mut locks, number)?;
        set::require_changeable(&inode, wanted)?;
        let acl = match core.options.acl && !caller.privileged {
            true => acl::read(core, &inode, AclKind::Access)?,
            false => None,
        };
        let wanted = access::may_change(&inode, acl.as_ref(), caller, wanted)?;
        let plan = Plan::new(core, &inode, &wanted, core.options.acl)?;
        let old = (inode.uid(), inode.gid());
        let new = (wanted.uid.unwrap_or(old.0), wanted.gid.unwrap_or(old.1));
        let changes = plan.xattrs();
        let mut cost = ChangeCost {
            credits: 1,
            ..ChangeCost::default()
        };
        if old != new {
            cost.credits += locks.quota_transfer(old, new)?;
        }
        for change in &changes {
            cost += store::prepare(&mut locks, number, change)?;
        }
        let credits = locks.reserve(cost.need)?.saturating_add(cost.credits);
        let mut txn = locks.begin(credits)?;
        if old != new {
            let bytes = core.geometry().clusters_to_bytes(inode.clusters());
            let charge = Charge {
                // A volume has fewer bytes than 2^63.
                bytes: bytes as i64,
                inodes: 1,
            };
            txn.transfer(old, new, charge)?;
        }
        for change in &changes {
            store::apply(&mut txn, number, change)?;
        }
        let now = txn.now();
        plan.edit(txn.dinode(number)?, now);
        txn.commit()?;
        core.read_inode(number)
    }

    /// Sets the flags of chattr(1). Those that no user can set keep their values.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] for a system file, [`Error::ReadOnly`], [`Error::Stale`], [`Error::Corrupt`], the
    /// journal's.
    pub fn set_flags(&self, number: InodeNo, flags: InodeAttr) -> Result<()> {
        let core = &*self.core;
        core.begin_change()?;
        let mut locks = LockSet::new(core);
        let inode = lock_to_change(&mut locks, number)?;
        let new = set::new_attr(&inode, flags);
        let mut txn = locks.begin(1)?;
        let now = txn.now();
        let dinode = txn.dinode(number)?;
        dinode.i_attr.set(new.bits());
        set::set_ctime(dinode, now);
        txn.commit()?;
        Ok(())
    }

    /// Fails unless a caller may do what `mask` says: [`MAY_READ`](super::access::MAY_READ) and the others.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::NotPermitted`] for writing to what is immutable, [`Error::Stale`],
    /// [`Error::Corrupt`].
    pub fn check_access(&self, number: InodeNo, caller: &Caller, mask: u32) -> Result<()> {
        let core = &*self.core;
        let mut locks = LockSet::new(core);
        let inode = locks.inode(number, Level::Shared)?;
        let acl = match core.options.acl {
            true => acl::read(core, &inode, AclKind::Access)?,
            false => None,
        };
        access::may(&inode, acl.as_ref(), caller, mask)
    }

    /// The value of an extended attribute. ACLs have the form that getxattr(2) returns.
    ///
    /// # Errors
    /// [`Error::NoSuchXattr`], [`Error::UnknownXattr`] for a name with a prefix that is not there on this mount,
    /// [`Error::Stale`], [`Error::Corrupt`].
    pub fn xattr(&self, number: InodeNo, name: &[u8]) -> Result<Vec<u8>> {
        let core = &*self.core;
        let (namespace, rest) = split(core, name)?;
        let mut locks = LockSet::new(core);
        let inode = locks.inode(number, Level::Shared)?;
        if let Some(kind) = AclKind::of(namespace) {
            let acl = acl::read(core, &inode, kind)?.ok_or_else(|| missing(number, name))?;
            return Ok(acl.to_posix_xattr());
        }
        let found = store::find(core, &inode, namespace, rest)?.ok_or_else(|| missing(number, name))?;
        value::read(core, number, &found.pair)
    }

    /// The full names of all extended attributes that this mount shows.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::Corrupt`].
    pub fn xattr_names(&self, number: InodeNo) -> Result<Vec<Vec<u8>>> {
        let core = &*self.core;
        let mut locks = LockSet::new(core);
        let inode = locks.inode(number, Level::Shared)?;
        let all = crate::xattr::list(core, &inode)?;
        let names = all.iter().map(crate::xattr::XattrInfo::name);
        Ok(names.filter(|name| split(core, name).is_ok()).collect())
    }

    /// Sets an extended attribute. ACLs take the form of setxattr(2), and may change the mode.
    ///
    /// # Errors
    /// [`Error::XattrExists`], [`Error::NoSuchXattr`] with [`XattrMode::Replace`], [`Error::UnknownXattr`],
    /// [`Error::TooLarge`] for names over 255 and values over 65536 bytes, [`Error::NotPermitted`] for `user.` names on
    /// what is neither file nor directory, and for immutable and append-only inodes, [`Error::NoFeature`],
    /// [`Error::NoSpace`], also when too many names have one hash, [`Error::ReadOnly`], [`Error::Stale`],
    /// [`Error::Corrupt`], the journal's. Then nothing has changed.
    pub fn set_xattr(&self, number: InodeNo, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        self.set_xattr_as(number, name, value, mode, &Caller::root())
    }

    /// As [`set_xattr`](Self::set_xattr), for somebody whose right to do so has been checked: an access ACL takes the
    /// set-group-ID bit away unless `caller` is privileged or in the inode's group.
    ///
    /// # Errors
    /// As [`set_xattr`](Self::set_xattr).
    pub fn set_xattr_as(
        &self,
        number: InodeNo,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        caller: &Caller,
    ) -> Result<()> {
        let (namespace, _) = split(&self.core, name)?;
        if value.len() > value::MAX_VALUE {
            return Err(Error::TooLarge {
                what: "the value of an attribute",
            });
        }
        match AclKind::of(namespace) {
            Some(kind) => self.change_acl(number, kind, acl::from_posix_xattr(value)?.as_ref(), caller),
            None => self.change_xattr(number, name, Some(value), mode),
        }
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// As [`set_xattr`](Self::set_xattr).
    pub fn remove_xattr(&self, number: InodeNo, name: &[u8]) -> Result<()> {
        let (namespace, _) = split(&self.core, name)?;
        match AclKind::of(namespace) {
            Some(kind) => self.change_acl(number, kind, None, &Caller::root()),
            None => self.change_xattr(number, name, None, XattrMode::Replace),
        }
    }

    fn change_xattr(&self, number: InodeNo, name: &[u8], value: Option<&[u8]>, mode: XattrMode) -> Result<()> {
        let core = &*self.core;
        require_feature(core)?;
        let (namespace, rest) = split(core, name)?;
        let mut locks = LockSet::new(core);
        let inode = lock_to_change(&mut locks, number)?;
        set::require_writable(&inode)?;
        let holds_user_attributes = matches!(inode.kind(), FileKind::Regular | FileKind::Directory);
        if namespace == XattrNamespace::User && !holds_user_attributes {
            return Err(Error::NotPermitted {
                inode: number,
                why: "only files and directories have attributes of users",
            });
        }
        if mode != XattrMode::Set {
            let is_there = store::find(core, &inode, namespace, rest)?.is_some();
            match mode {
                XattrMode::Create if is_there => {
                    return Err(Error::XattrExists {
                        inode: number,
                        name: name.escape_ascii().to_string(),
                    });
                }
                XattrMode::Replace if !is_there => return Err(missing(number, name)),
                _ => {}
            }
        }
        let wanted = Change {
            namespace,
            name: rest,
            value,
        };
        change(&mut locks, number, &[wanted], set::set_ctime)
    }

    /// An ACL of an inode; `None` where the mode says all, and for a directory that hands none down.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::Corrupt`].
    pub fn acl(&self, number: InodeNo, kind: AclKind) -> Result<Option<Acl>> {
        let mut locks = LockSet::new(&self.core);
        let inode = locks.inode(number, Level::Shared)?;
        acl::read(&*self.core, &inode, kind)
    }

    /// Sets or removes an ACL. The permission bits of the mode follow an access ACL; one that says no more than they do is
    /// not stored.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the records are not those of an ACL, [`Error::NotPermitted`] for a default ACL on
    /// what is no directory and for ACLs on symbolic links, and those of [`set_xattr`](Self::set_xattr).
    pub fn set_acl(&self, number: InodeNo, kind: AclKind, acl: Option<&Acl>) -> Result<()> {
        if let Some(acl) = acl {
            acl::check(acl)?;
        }
        self.change_acl(number, kind, acl.filter(|acl| !acl.entries.is_empty()), &Caller::root())
    }

    fn change_acl(&self, number: InodeNo, kind: AclKind, new: Option<&Acl>, caller: &Caller) -> Result<()> {
        let core = &*self.core;
        require_feature(core)?;
        let mut locks = LockSet::new(core);
        let inode = lock_to_change(&mut locks, number)?;
        set::require_writable(&inode)?;
        let refuse = |why| Err(Error::NotPermitted { inode: number, why });
        if inode.kind() == FileKind::Symlink {
            return refuse("symbolic links have no ACL");
        }
        if kind == AclKind::Default && inode.kind() != FileKind::Directory {
            return match new {
                None => Ok(()),
                Some(_) => refuse("only directories hand down an ACL"),
            };
        }
        let mut permissions = None;
        let mut stored = new.map(acl::to_disk);
        if let (AclKind::Access, Some(acl)) = (kind, new) {
            let (mode, says_all) = acl::equivalent_mode(acl);
            permissions = Some(mode);
            stored = stored.filter(|_| !says_all);
        }
        let wanted = Change {
            namespace: kind.namespace(),
            name: &[],
            value: stored.as_deref(),
        };
        let keeps_group_id = caller.privileged || caller.is_in(inode.gid());
        change(&mut locks, number, &[wanted], |dinode, now| {
            if let Some(permissions) = permissions {
                let kept = if keeps_group_id { 0o7000 } else { 0o5000 };
                // Permissions have nine bits.
                let mode = dinode.i_mode.get() & (0o17_0000 | kept) | permissions as u16;
                dinode.i_mode.set(mode);
            }
            set::set_ctime(dinode, now);
        })
    }
}

fn require_feature(core: &Core) -> Result<()> {
    core.begin_change()?;
    if core.geometry().features.xattr() {
        return Ok(());
    }
    Err(Error::NoFeature { feature: "xattr" })
}
