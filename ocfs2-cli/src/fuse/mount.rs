//! Mounting and unmounting a directory.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::{Errno, FdFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType};

use super::SessionOptions;
use crate::mounts;

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
    flags.set(MountFlags::SYNCHRONOUS, options.sync);
    flags.set(MountFlags::DIRSYNC, options.dirsync);
    let data = CString::new(data)?;
    match rustix::mount::mount(&*options.source, dir, mounts::OUR_TYPE, flags, &*data) {
        Ok(()) => Ok(Some(fuse.into())),
        // Root in a container, say.
        Err(Errno::PERM) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Lets the kernel read further ahead in files than its default of 128 KiB, if the caller may change that: a request for each
/// piece as large as that costs a quarter of the speed (`benches/mount`). FUSE can only ask for less.
pub(super) fn read_ahead(dir: &Path, bytes: u32) {
    if let Ok(Some(mount)) = mounts::mount_at(dir) {
        let setting = format!("/sys/class/bdi/{}/read_ahead_kb", mount.device);
        // Users may not, nor root where this part of sysfs is read-only: then it stays as it is.
        let _ = fs::write(setting, (bytes >> 10).to_string());
    }
}

/// Mounts a directory for those who may not, with the help of fusermount3. Returns the connection.
///
/// # Errors
/// That fusermount3 is not there, or what it complains about.
pub(super) fn by_helper(dir: &Path, options: &SessionOptions) -> io::Result<OwnedFd> {
    let mut list = vec![
        "subtype=ocfs2".to_owned(),
        format!("fsname={}", escape(&options.source)),
    ];
    let chosen = [
        (options.default_permissions, "default_permissions"),
        (options.allow_other, "allow_other"),
        (options.read_only, "ro"),
        (options.nodev, "nodev"),
        (options.nosuid, "nosuid"),
        (options.noexec, "noexec"),
        (options.sync, "sync"),
        (options.dirsync, "dirsync"),
    ];
    list.extend(chosen.iter().filter(|(on, _)| *on).map(|(_, word)| (*word).to_owned()));
    // The helper inherits its end, and sends the connection back over it.
    let (ours, theirs) = net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
    rustix::io::fcntl_setfd(&ours, FdFlags::CLOEXEC)?;
    let helper = Command::new("fusermount3")
        .args(["-o", &list.join(","), "--"])
        .arg(dir)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(theirs);
    let received = receive_connection(&ours);
    let output = helper.wait_with_output()?;
    match received? {
        Some(fuse) => Ok(fuse),
        None => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(said.trim().to_owned()))
        }
    }
}

/// Waits for a descriptor; `None` when the other end closes without sending one.
fn receive_connection(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    rustix::io::retry_on_intr(|| net::recvmsg(socket, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC))?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}

/// Commas end an option, unless a backslash stands before them.
fn escape(name: &str) -> String {
    name.replace('\\', "\\\\").replace(',', "\\,")
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
