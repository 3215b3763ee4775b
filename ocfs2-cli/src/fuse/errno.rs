//! Errors of the library as error numbers: the one place that decides.

use fuser::Errno;
use log::{error, warn};
use ocfs2_fs::Error;

/// Why a request is refused, as the kernel is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) Errno);

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Refused(errno)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let errno = errno(&error);
        match error {
            // What the administrator has to know, with its place: programs only learn the number.
            Error::Corrupt(_) | Error::Io(_) | Error::Journal(_) => error!("{error}"),
            Error::Lock(_) | Error::Busy { .. } => warn!("{error}"),
            _ => {}
        }
        Refused(errno)
    }
}

/// The error number that a program gets for an error.
///
/// The library knows what the kernel driver answers. One answer is different here: the driver turns itself read-only when
/// it meets damage and says so; a damaged directory of ours leaves the others writable, so the answer is an I/O error.
fn errno(error: &Error) -> Errno {
    match error {
        Error::Corrupt(_) => Errno::EIO,
        other => Errno::from_i32(other.errno()),
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_format::InodeNo;

    use super::*;

    #[test]
    fn programs_get_the_numbers_of_the_kernel_driver() {
        let inode = InodeNo(7);
        let table = [
            (Error::NoSpace, Errno::ENOSPC),
            (Error::QuotaExceeded, Errno::EDQUOT),
            (Error::Stale(inode), Errno::ESTALE),
            (Error::ReadOnly, Errno::EROFS),
            (Error::AccessDenied, Errno::EACCES),
            (Error::NotPermitted { inode, why: "" }, Errno::EPERM),
            (Error::TooManyLinks(inode), Errno::EMLINK),
            (Error::NotFound("a".into()), Errno::ENOENT),
            (Error::Exists("a".into()), Errno::EEXIST),
            (Error::NotEmpty("a".into()), Errno::ENOTEMPTY),
            (Error::NotADirectory("a".into()), Errno::ENOTDIR),
            (Error::IsADirectory("a".into()), Errno::EISDIR),
            (Error::NameTooLong("a".into()), Errno::ENAMETOOLONG),
            (Error::TooLarge { what: "" }, Errno::EFBIG),
            (Error::InvalidArgument { why: "" }, Errno::EINVAL),
            (Error::NoFeature { feature: "xattr" }, Errno::EOPNOTSUPP),
            (
                Error::NoSuchXattr {
                    inode,
                    name: String::new(),
                },
                Errno::NO_XATTR,
            ),
            (Error::UnknownXattr { name: String::new() }, Errno::EOPNOTSUPP),
        ];
        for (error, wanted) in table {
            assert_eq!(Refused::from(error).0.code(), wanted.code(), "{wanted:?}");
        }
    }
}
