//! What ACLs mean for modes, and modes for ACLs.
//!
//! Source: on-disk reference, section 23; POSIX 1003.1e draft 17; Linux 6.1 kernel behaviour.

use ocfs2_format::{AclEntry, XattrNamespace};
use zerocopy::IntoBytes;

use super::store;
use super::value;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::xattr::{Acl, AclRecord, AclTag};

/// Which of the two ACLs of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AclKind {
    /// Who may do what.
    Access,
    /// What a directory hands down to what is made in it.
    Default,
}

impl AclKind {
    pub(super) fn namespace(self) -> XattrNamespace {
        match self {
            AclKind::Access => XattrNamespace::PosixAclAccess,
            AclKind::Default => XattrNamespace::PosixAclDefault,
        }
    }

    pub(super) fn of(namespace: XattrNamespace) -> Option<AclKind> {
        match namespace {
            XattrNamespace::PosixAclAccess => Some(AclKind::Access),
            XattrNamespace::PosixAclDefault => Some(AclKind::Default),
            _ => None,
        }
    }
}

/// The ACL that an inode has.
///
/// # Errors
/// [`Error::Corrupt`].
pub(super) fn read(meta: &dyn Blocks, inode: &Inode, kind: AclKind) -> Result<Option<Acl>> {
    let Some(found) = store::find(meta, inode, kind.namespace(), &[])? else {
        return Ok(None);
    };
    let bytes = value::read(meta, inode.number(), &found.pair)?;
    let acl = Acl::parse(&bytes).map_err(|corrupt| corrupt.in_inode(inode.number()))?;
    Ok(Some(acl))
}

/// The value that is stored.
pub(super) fn to_disk(acl: &Acl) -> Vec<u8> {
    let entries = acl.entries.iter().map(|record| {
        let (tag, id) = record.tag.parts();
        AclEntry {
            e_tag: tag.into(),
            e_perm: record.perm.into(),
            e_id: id.into(),
        }
    });
    entries.flat_map(|entry| entry.as_bytes().to_vec()).collect()
}

/// Parses the form that setxattr(2) takes. `None` for an ACL without records, which takes the ACL away.
///
/// # Errors
/// [`Error::InvalidArgument`].
pub(super) fn from_posix_xattr(value: &[u8]) -> Result<Option<Acl>> {
    const VERSION: [u8; 4] = 2u32.to_le_bytes();
    let invalid = |why| Err(Error::InvalidArgument { why });
    if value.is_empty() {
        return Ok(None);
    }
    let Some(records) = value.strip_prefix(&VERSION) else {
        return invalid("an ACL of another version than 2");
    };
    let Ok(acl) = Acl::parse(records) else {
        return invalid("an ACL with part of a record");
    };
    if acl.entries.is_empty() {
        return Ok(None);
    }
    check(&acl)?;
    Ok(Some(acl))
}

/// Fails unless the records are those of an ACL, in order.
///
/// # Errors
/// [`Error::InvalidArgument`].
pub(super) fn check(acl: &Acl) -> Result<()> {
    let invalid = |why| Err(Error::InvalidArgument { why });
    if acl.entries.iter().any(|record| record.perm & !7 != 0) {
        return invalid("an ACL with permissions other than rwx");
    }
    let rank = |tag: AclTag| match tag {
        AclTag::UserObj => Some(0),
        AclTag::User(_) => Some(1),
        AclTag::GroupObj => Some(2),
        AclTag::Group(_) => Some(3),
        AclTag::Mask => Some(4),
        AclTag::Other => Some(5),
        AclTag::Unknown(_) => None,
    };
    let mut counts = [0_usize; 6];
    let mut last = 0;
    for record in &acl.entries {
        let Some(rank) = rank(record.tag) else {
            return invalid("an ACL with a tag that has no meaning");
        };
        if rank < last {
            return invalid("an ACL whose records are not in order");
        }
        last = rank;
        counts[rank] += 1;
        if let AclTag::User(u32::MAX) | AclTag::Group(u32::MAX) = record.tag {
            return invalid("an ACL for nobody");
        }
    }
    if counts[0] != 1 || counts[2] != 1 || counts[5] != 1 || counts[4] > 1 {
        return invalid("an ACL without an owner, a group or others, or with two of them");
    }
    if counts[1] + counts[3] > 0 && counts[4] == 0 {
        return invalid("an ACL with users or groups but without a mask");
    }
    Ok(())
}

/// The permission bits of a mode that an ACL means, and whether they say all that it does.
pub(super) fn equivalent_mode(acl: &Acl) -> (u32, bool) {
    let (mut mode, mut is_equivalent) = (0, true);
    let mut group = 0;
    let mut mask = None;
    for AclRecord { tag, perm } in &acl.entries {
        let perm = u32::from(perm & 7);
        match tag {
            AclTag::UserObj => mode |= perm << 6,
            AclTag::GroupObj => group = perm,
            AclTag::Other => mode |= perm,
            AclTag::Mask => {
                mask = Some(perm);
                is_equivalent = false;
            }
            AclTag::User(_) | AclTag::Group(_) | AclTag::Unknown(_) => is_equivalent = false,
        }
    }
    (mode | mask.unwrap_or(group) << 3, is_equivalent)
}

/// What chmod does to an ACL: owner, others, and the mask (or the group, without one) get the bits of the mode.
pub(super) fn set_mode(acl: &mut Acl, mode: u32) {
    let has_mask = acl.entries.iter().any(|record| record.tag == AclTag::Mask);
    for record in &mut acl.entries {
        let shift = match record.tag {
            AclTag::UserObj => 6,
            AclTag::GroupObj if !has_mask => 3,
            AclTag::Mask => 3,
            AclTag::Other => 0,
            _ => continue,
        };
        record.perm = (mode >> shift & 7) as u16;
    }
}

/// What an inode gets that is made with `mode` where this ACL is handed down: its ACL, if that says more than its mode,
/// and the permission bits of that.
pub(super) fn at_create(default: &Acl, mode: u32) -> (Option<Acl>, u32) {
    let mut acl = default.clone();
    let has_mask = acl.entries.iter().any(|record| record.tag == AclTag::Mask);
    let mut mode = mode;
    for record in &mut acl.entries {
        let shift = match record.tag {
            AclTag::UserObj => 6,
            AclTag::GroupObj if !has_mask => 3,
            AclTag::Mask => 3,
            AclTag::Other => 0,
            _ => continue,
        };
        record.perm &= (mode >> shift & 7) as u16;
        mode &= !(7 << shift) | u32::from(record.perm) << shift;
    }
    let (_, is_equivalent) = equivalent_mode(&acl);
    ((!is_equivalent).then_some(acl), mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(records: &[(AclTag, u16)]) -> Acl {
        let entries = records.iter().map(|&(tag, perm)| AclRecord { tag, perm });
        Acl {
            entries: entries.collect(),
        }
    }

    fn rich() -> Acl {
        acl(&[
            (AclTag::UserObj, 7),
            (AclTag::User(1000), 5),
            (AclTag::GroupObj, 7),
            (AclTag::Mask, 6),
            (AclTag::Other, 4),
        ])
    }

    #[test]
    fn the_group_bits_of_the_mode_are_the_mask_where_there_is_one() {
        assert_eq!(equivalent_mode(&rich()), (0o764, false));
        let plain = acl(&[(AclTag::UserObj, 6), (AclTag::GroupObj, 4), (AclTag::Other, 0)]);
        assert_eq!(equivalent_mode(&plain), (0o640, true));
    }

    #[test]
    fn chmod_changes_the_mask_and_leaves_the_group_alone() {
        let mut changed = rich();
        set_mode(&mut changed, 0o510);
        assert_eq!(equivalent_mode(&changed), (0o510, false));
        assert_eq!(changed.entries[2].perm, 7);
    }

    #[test]
    fn what_is_handed_down_is_limited_by_the_mode_of_the_creation() {
        let (inherited, mode) = at_create(&rich(), 0o100_640);
        assert_eq!(mode, 0o100_640);
        assert_eq!(equivalent_mode(&inherited.unwrap()), (0o640, false));
        let plain = acl(&[(AclTag::UserObj, 6), (AclTag::GroupObj, 4), (AclTag::Other, 0)]);
        assert_eq!(at_create(&plain, 0o777), (None, 0o640));
    }

    #[test]
    fn what_setxattr_takes_is_stored_without_its_version() {
        let value = rich().to_posix_xattr();
        let parsed = from_posix_xattr(&value).unwrap().unwrap();
        assert_eq!(parsed, rich());
        assert_eq!(to_disk(&parsed), value[4..]);
        assert_eq!(from_posix_xattr(&2u32.to_le_bytes()).unwrap(), None);
    }

    #[test]
    fn acls_that_are_none_are_refused() {
        for records in [
            &[(AclTag::UserObj, 7), (AclTag::GroupObj, 7)][..],
            &[(AclTag::UserObj, 8), (AclTag::GroupObj, 7), (AclTag::Other, 7)],
            &[(AclTag::GroupObj, 7), (AclTag::UserObj, 7), (AclTag::Other, 7)],
            &[
                (AclTag::UserObj, 7),
                (AclTag::User(1), 7),
                (AclTag::GroupObj, 7),
                (AclTag::Other, 7),
            ],
            &[(AclTag::UserObj, 7), (AclTag::Unknown(64), 7), (AclTag::Other, 7)],
        ] {
            assert!(check(&acl(records)).is_err(), "{records:?}");
        }
    }
}
