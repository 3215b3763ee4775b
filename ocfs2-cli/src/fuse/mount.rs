//! Mounting and unmounting a directory.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use fuser::MountOption;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::SessionOptions;

/// What `/proc/mounts` says the file system is.
const TYPE: &str = "fuse.ocfs2";

/// Mounts a directory. Returns the connection; `None` if the caller may not mount.
///
/// # Errors
/// Those of opening `/dev/fuse` and of mount(2).
pub(super) fn as_root(dir: &Path, options: &SessionOptions) -> io::Result<Option<OwnedFd>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let mode = fs::metadata(dir)?.permissions().mode();
    let fuse = File::options().read(true).write(true).open("/dev/fuse")?;
    let mut data = format!("fd={},rootmode={mode:o},user_id=0,group_id=0", fuse.as_raw_fd());
    if options.default_permissions {
        data.push_str(",default_permissions");
    }
    if options.allow_other {
        data.push_str(",allow_other");
    }
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::RDONLY, options.read_only);
    flags.set(MountFlags::NODEV, options.nodev);
    flags.set(MountFlags::NOSUID, options.nosuid);
    flags.set(MountFlags::NOEXEC, options.noexec);
    let data = CString::new(data)?;
    match rustix::mount::mount(&*options.source, dir, TYPE, flags, &*data) {
        Ok(()) => Ok(Some(fuse.into())),
        // Root in a container, say.
        Err(Errno::PERM) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The same wishes, for fusermount3.
pub(super) fn fusermount_options(options: &SessionOptions) -> Vec<MountOption> {
    let mut all = vec![
        MountOption::FSName(options.source.clone()),
        MountOption::Subtype("ocfs2".to_owned()),
    ];
    let chosen = [
        (options.default_permissions, MountOption::DefaultPermissions),
        (options.read_only, MountOption::RO),
        (options.nodev, MountOption::NoDev),
        (options.nosuid, MountOption::NoSuid),
        (options.noexec, MountOption::NoExec),
    ];
    all.extend(chosen.into_iter().filter(|(on, _)| *on).map(|(_, option)| option));
    all
}

/// Unmounts a directory lazily.
///
/// # Errors
/// Those of umount(2), or that fusermount3 refused.
pub(super) fn unmount(dir: &Path) -> io::Result<()> {
    match rustix::mount::unmount(dir, UnmountFlags::DETACH) {
        Ok(()) => return Ok(()),
        Err(Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let status = Command::new("fusermount3")
        .args(["-u", "-z", "--"])
        .arg(dir)
        .stdin(Stdio::null())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("fusermount3 -u failed: {status}"))),
    }
}
