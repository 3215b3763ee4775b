//! Making things in the destination, one name in one open directory at a time.
//!
//! What keeps an image from reaching outside its destination: a name is a single component, looked up in a directory that
//! is held open; a symbolic link is never followed; and only a regular file is ever opened for writing. So neither names
//! like `..`, nor a link in the place of a directory, nor a device node that the image itself brought along lead anywhere.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::transfer::{Clobber, FileId};

/// A place for a file's contents.
#[derive(Debug)]
pub(super) enum Slot {
    /// An empty file to write into.
    Open(OwnedFd),
    /// The name is taken and is to stay so.
    Kept,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A name as a path component that means nothing but itself.
///
/// The directory reader refuses other names already; this stands between an image and the file system all the same.
pub(super) fn component(name: &[u8]) -> io::Result<&[u8]> {
    match name {
        b"" | b"." | b".." => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a name")),
        name if name.contains(&b'/') || name.contains(&0) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a name with a slash or NUL",
        )),
        name => Ok(name),
    }
}

/// Makes an empty regular file, or empties the one that is there unless it is one of the `images` being read.
pub(super) fn file(
    dir: BorrowedFd<'_>,
    name: &[u8],
    mode: Mode,
    clobber: Clobber,
    images: &[FileId],
) -> io::Result<Slot> {
    let name = component(name)?;
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || fs::openat(dir, name, flags | OFlags::CREATE | OFlags::EXCL, mode);
    match create() {
        Ok(fd) => return Ok(Slot::Open(fd)),
        Err(Errno::EXIST) if clobber == Clobber::Keep => return Ok(Slot::Kept),
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    // Opening alone can have effects where it is a device, and can wait for ever where it is a pipe.
    let found = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    spare(images, &found)?;
    let existing = regular(found.st_mode).and_then(|()| {
        let fd = fs::openat(dir, name, flags | OFlags::NONBLOCK, Mode::empty())?;
        let opened = fs::fstat(&fd)?;
        regular(opened.st_mode)?;
        if FileId::from(&opened) != FileId::from(&found) {
            return Err(io::Error::other("the destination changes meanwhile"));
        }
        fs::ftruncate(&fd, 0)?;
        Ok(fd)
    });
    match existing {
        Ok(fd) => Ok(Slot::Open(fd)),
        Err(_) if clobber == Clobber::Force => {
            fs::unlinkat(dir, name, AtFlags::empty())?;
            Ok(Slot::Open(create()?))
        }
        Err(error) => Err(error),
    }
}

fn regular(mode: u32) -> io::Result<()> {
    let what = match FileType::from_raw_mode(mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "it is a directory in the destination",
        FileType::Symlink => "not writing through a symbolic link in the destination",
        _ => "not writing into a special file in the destination",
    };
    Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
}

/// Makes a directory, or opens the one that is there. Says whether it is new.
pub(super) fn directory(dir: BorrowedFd<'_>, name: &[u8], mode: Mode) -> io::Result<(OwnedFd, bool)> {
    let name = component(name)?;
    let fresh = match fs::mkdirat(dir, name, mode) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    match fs::openat(dir, name, DIRECTORY | OFlags::RDONLY, Mode::empty()) {
        Ok(fd) => Ok((fd, fresh)),
        Err(Errno::NOTDIR | Errno::LOOP) => Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            "what is there in the destination is no directory",
        )),
        Err(error) => Err(error.into()),
    }
}

/// Makes something that is neither file nor directory, in the place of what is there unless that is to stay. Says whether
/// it was made.
pub(super) fn node(
    dir: BorrowedFd<'_>,
    name: &[u8],
    clobber: Clobber,
    images: &[FileId],
    make: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<()>,
) -> io::Result<bool> {
    let name = component(name)?;
    match make(dir, name) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) if clobber == Clobber::Keep => Ok(false),
        Err(Errno::EXIST) => {
            spare(images, &fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)?;
            fs::unlinkat(dir, name, AtFlags::empty())?;
            make(dir, name)?;
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

fn spare(images: &[FileId], found: &fs::Stat) -> io::Result<()> {
    if images.contains(&FileId::from(found)) {
        return Err(io::Error::other("not replacing the image that is being read"));
    }
    Ok(())
}

/// Makes a hard link to the file at `first`, a path of directories that are there already, counted from `base`.
pub(super) fn link(
    base: BorrowedFd<'_>,
    first: &[u8],
    dir: BorrowedFd<'_>,
    name: &[u8],
    clobber: Clobber,
    images: &[FileId],
) -> io::Result<bool> {
    let mut components: Vec<&[u8]> = first.split(|&byte| byte == b'/').collect();
    let Some(file) = components.pop() else {
        return Err(Errno::NOENT.into());
    };
    let mut at: Option<OwnedFd> = None;
    for component in components {
        let from = at.as_ref().map_or(base, |fd| fd.as_fd());
        at = Some(fs::openat(from, component, DIRECTORY | OFlags::PATH, Mode::empty())?);
    }
    let from = at.as_ref().map_or(base, |fd| fd.as_fd());
    node(dir, name, clobber, images, |dir, name| {
        fs::linkat(from, file, dir, name, AtFlags::empty())
    })
}

/// Sets the permissions of something that is no symbolic link, even if one takes its place meanwhile.
pub(super) fn set_mode(dir: BorrowedFd<'_>, name: &[u8], mode: Mode) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(dir, component(name)?, flags, Mode::empty())?;
    if FileType::from_raw_mode(fs::fstat(&fd)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP.into());
    }
    // A descriptor of this kind has no other way to its inode.
    Ok(fs::chmodat(
        fs::CWD,
        format!("/proc/self/fd/{}", fd.as_raw_fd()),
        mode,
        AtFlags::empty(),
    )?)
}

/// Sets an extended attribute of what a name stands for, itself and not what it points to.
pub(super) fn set_xattr(dir: BorrowedFd<'_>, name: &[u8], key: &[u8], value: &[u8]) -> io::Result<()> {
    let path = [
        format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(),
        component(name)?,
    ]
    .concat();
    Ok(fs::lsetxattr(path, key, value, fs::XattrFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::*;

    fn open(dir: &Path) -> OwnedFd {
        fs::open(dir, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap()
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let fd = open(dir.path());
        for name in [&b""[..], b".", b"..", b"/etc/x", b"a/b", b"a\0b"] {
            assert!(
                file(fd.as_fd(), name, Mode::RUSR, Clobber::Force, &[]).is_err(),
                "{}",
                name.escape_ascii()
            );
            assert!(
                directory(fd.as_fd(), name, Mode::RWXU).is_err(),
                "{}",
                name.escape_ascii()
            );
            assert!(
                node(fd.as_fd(), name, Clobber::Force, &[], |_, _| Ok(())).is_err(),
                "{}",
                name.escape_ascii()
            );
        }
    }

    #[test]
    fn a_symbolic_link_is_never_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        symlink(&victim, dir.path().join("file")).unwrap();
        symlink(outside.path(), dir.path().join("dir")).unwrap();
        let fd = open(dir.path());

        assert!(file(fd.as_fd(), b"file", Mode::RUSR | Mode::WUSR, Clobber::Overwrite, &[]).is_err());
        assert!(directory(fd.as_fd(), b"dir", Mode::RWXU).is_err());
        assert!(set_mode(fd.as_fd(), b"file", Mode::empty()).is_err());
        assert_eq!(std::fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o644);

        assert!(matches!(
            file(fd.as_fd(), b"file", Mode::RUSR | Mode::WUSR, Clobber::Force, &[]),
            Ok(Slot::Open(_))
        ));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        assert!(!dir.path().join("file").is_symlink());
    }

    #[test]
    fn a_pipe_in_the_destination_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let fd = open(dir.path());
        fs::mkfifoat(&fd, "pipe", Mode::RWXU).unwrap();
        assert!(file(fd.as_fd(), b"pipe", Mode::RUSR, Clobber::Overwrite, &[]).is_err());
        assert!(matches!(
            file(fd.as_fd(), b"pipe", Mode::RUSR, Clobber::Keep, &[]),
            Ok(Slot::Kept)
        ));
    }

    #[test]
    fn links_are_made_by_walking_real_directories_only() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("victim"), "precious").unwrap();
        symlink(outside.path(), dir.path().join("link")).unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/c"), "ours").unwrap();
        let fd = open(dir.path());
        assert!(link(fd.as_fd(), b"link/victim", fd.as_fd(), b"x", Clobber::Overwrite, &[]).is_err());
        assert!(link(fd.as_fd(), b"a/b/c", fd.as_fd(), b"x", Clobber::Overwrite, &[]).unwrap());
        assert_eq!(std::fs::read_to_string(dir.path().join("x")).unwrap(), "ours");
    }
}
