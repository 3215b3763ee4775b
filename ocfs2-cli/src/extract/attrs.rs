//! What a copy keeps of its source besides contents: permissions, owners, times, attributes.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ocfs2_format::{DynFeatures, FileKind, XattrNamespace};
use ocfs2_fs::{Acl, Inode, Timestamp, Volume};
use rustix::fs::{self, AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::text::printable;
use crate::transfer::{Effort, Preserve};

use super::place;

/// What one object is to get.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    times: Option<[Timestamp; 2]>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    acls: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What was not kept.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// What should have been kept and could not be, and why.
    pub(super) failures: Vec<(Cow<'static, str>, io::Error)>,
    /// The caller may not give files away.
    pub(super) owner: bool,
    /// The destination took no extended attribute, or not from this caller.
    pub(super) xattr: bool,
}

impl Attributes {
    /// Reads what is to be kept of an inode.
    pub(super) fn read(volume: &Volume, inode: &Inode, preserve: &Preserve) -> ocfs2_fs::Result<Self> {
        let mut attributes = Self {
            mode: inode.mode() & 0o7777,
            uid: inode.uid(),
            gid: inode.gid(),
            times: preserve.timestamps.then(|| [inode.atime(), inode.mtime()]),
            ..Self::default()
        };
        let wanted = preserve.mode || preserve.xattr != Effort::None;
        if wanted && inode.dyn_features().contains(DynFeatures::HAS_XATTR) {
            for info in volume.inode_xattrs(inode)? {
                let is_acl = matches!(
                    info.namespace(),
                    XattrNamespace::PosixAclAccess | XattrNamespace::PosixAclDefault
                );
                if is_acl && preserve.mode {
                    let acl = Acl::parse(&volume.xattr_value(inode, &info)?)?;
                    attributes.acls.push((info.name(), acl.to_posix_xattr()));
                } else if !is_acl && preserve.xattr != Effort::None {
                    attributes.xattrs.push((info.name(), volume.xattr_value(inode, &info)?));
                }
            }
        }
        Ok(attributes)
    }

    /// Whether nothing has to be done but what making the object did already.
    pub(super) fn is_plain(preserve: &Preserve) -> bool {
        !(preserve.mode || preserve.ownership || preserve.timestamps) && preserve.xattr == Effort::None
    }

    /// Gives an open file or directory its attributes: the owner first, since a new owner takes privileges away; times
    /// last, since everything else changes them.
    pub(super) fn apply(&self, fd: BorrowedFd<'_>, preserve: &Preserve) -> Lost {
        self.apply_with(preserve, &Target::Open(fd))
    }

    /// As [`apply`](Self::apply), for something that cannot be opened: a link, a device, a pipe, a socket.
    pub(super) fn apply_at(&self, dir: BorrowedFd<'_>, name: &[u8], kind: FileKind, preserve: &Preserve) -> Lost {
        self.apply_with(
            preserve,
            &Target::Named {
                dir,
                name,
                link: kind == FileKind::Symlink,
            },
        )
    }

    /// One that fails does not keep the others from being tried.
    fn apply_with(&self, preserve: &Preserve, target: &Target<'_>) -> Lost {
        let mut lost = Lost::default();
        let mut mode = self.mode;
        if preserve.ownership
            && let Err(error) = target.set_owner(self.uid, self.gid)
        {
            // Somebody else's privileges are not for the caller.
            mode &= 0o777;
            if matches!(error.raw_os_error(), Some(EPERM | EINVAL)) && !rustix::process::geteuid().is_root() {
                lost.owner = true;
            } else {
                lost.failures.push(("keeping the owner".into(), error));
            }
        }
        for (name, value) in &self.xattrs {
            if let Err(error) = target.set_xattr(name, value) {
                if preserve.xattr == Effort::Try && matches!(error.raw_os_error(), Some(EPERM | EOPNOTSUPP)) {
                    lost.xattr = true;
                } else {
                    lost.failures
                        .push((format!("keeping the attribute {}", printable(name)).into(), error));
                }
            }
        }
        if preserve.mode {
            lost.failed("keeping the permissions", target.set_mode(mode));
            for (name, value) in &self.acls {
                lost.failed("keeping the access control list", target.set_xattr(name, value));
            }
        }
        if let Some(times) = &self.times {
            lost.failed("keeping the times", target.set_times(times));
        }
        lost
    }
}

impl Lost {
    fn failed(&mut self, what: &'static str, outcome: io::Result<()>) {
        self.failures.extend(outcome.err().map(|error| (what.into(), error)));
    }
}

const EPERM: i32 = Errno::PERM.raw_os_error();
const EINVAL: i32 = Errno::INVAL.raw_os_error();
const EOPNOTSUPP: i32 = Errno::OPNOTSUPP.raw_os_error();

/// What gets attributes.
enum Target<'a> {
    Open(BorrowedFd<'a>),
    Named {
        dir: BorrowedFd<'a>,
        name: &'a [u8],
        link: bool,
    },
}

impl Target<'_> {
    fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        let nobody = || io::Error::from(Errno::INVAL);
        // The number that stands for "leave it" owns nothing.
        let (uid, gid) = (
            Some(uid).filter(|&id| id != u32::MAX),
            Some(gid).filter(|&id| id != u32::MAX),
        );
        let (uid, gid) = (
            Some(Uid::from_raw(uid.ok_or_else(nobody)?)),
            Some(Gid::from_raw(gid.ok_or_else(nobody)?)),
        );
        match self {
            Self::Open(fd) => fs::fchown(fd, uid, gid)?,
            Self::Named { dir, name, .. } => fs::chownat(dir, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?,
        }
        Ok(())
    }

    fn set_mode(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => Ok(fs::fchmod(fd, mode)?),
            Self::Named { link: true, .. } => Ok(()),
            Self::Named { dir, name, .. } => place::set_mode(dir.as_fd(), name, mode),
        }
    }

    fn set_xattr(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match self {
            Self::Open(fd) => Ok(fs::fsetxattr(fd, key, value, XattrFlags::empty())?),
            Self::Named { dir, name, .. } => place::set_xattr(dir.as_fd(), name, key, value),
        }
    }

    fn set_times(&self, [atime, mtime]: &[Timestamp; 2]) -> io::Result<()> {
        let spec = |time: &Timestamp| Timespec {
            tv_sec: time.secs,
            // More is an order to the system call, such as "leave it", and no fraction.
            tv_nsec: if time.nanos < 1_000_000_000 {
                time.nanos.into()
            } else {
                0
            },
        };
        let times = Timestamps {
            last_access: spec(atime),
            last_modification: spec(mtime),
        };
        match self {
            Self::Open(fd) => fs::futimens(fd, &times)?,
            Self::Named { dir, name, .. } => fs::utimensat(dir, *name, &times, AtFlags::SYMLINK_NOFOLLOW)?,
        }
        Ok(())
    }
}
