//! `ocfs2 umount`, `umount.fuse.ocfs2`: taking a mounted volume away, and waiting until it is clean.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use serde::Serialize;

use crate::cmd::Run;
use crate::cmd::mount::farewell::Waiting;
use crate::cmd::mount::{Failure, place_of};
use crate::exit::Exit;
use crate::mounts::{self, Mount};
use crate::ui::{OutputArgs, Ui, usage_error};

/// Unmount a volume that 'ocfs2 mount' has mounted, and wait until it is clean
///
/// umount(8) and fusermount3 -u unmount it as well, but return while the volume is still being written; as
/// /sbin/umount.fuse.ocfs2 (see 'ocfs2 links') this command is what umount(8) calls, and it waits, too.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:\n  ocfs2 umount /mnt\n  ocfs2 umount san.img\n  ocfs2 umount --lazy /mnt")]
pub(crate) struct Args {
    /// Directory that a volume is mounted on, or the image file or device
    #[arg(value_name = "DIR|SOURCE")]
    place: PathBuf,
    /// Take the directory away at once, and the volume when nothing on it is open any more
    #[arg(short, long)]
    lazy: bool,
    /// Return when the directory is gone, while the volume is still being written
    #[arg(long)]
    no_wait: bool,
    /// Without effect: a mount whose program has crashed is unmounted in any case
    #[arg(short, long)]
    force: bool,
    /// Refused: a volume that something is open on cannot be made read-only
    #[arg(short, long, hide_short_help = true)]
    read_only: bool,
    /// Say what was unmounted
    #[arg(short, long)]
    verbose: bool,
    /// Without effect: there is no /etc/mtab to write
    #[arg(short, long)]
    no_mtab: bool,
    /// Type of the file system, as umount(8) names it
    #[arg(short = 't', long = "types", value_name = "TYPE", hide_short_help = true)]
    kind: Option<String>,
    /// Refused: only the caller's mount namespace is known
    #[arg(short = 'N', long, value_name = "NS", hide_short_help = true)]
    namespace: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Unmounted {
    source: String,
    directory: String,
    /// Whether the volume is known to be clean.
    clean: bool,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        self.unmount(ui).or_else(|error| Failure::report(error, ui))
    }
}

impl Args {
    fn unmount(&self, ui: &mut Ui) -> anyhow::Result<Exit> {
        if self.namespace.is_some() {
            return Err(usage_error("-N: enter the namespace first, with nsenter(1)"));
        }
        if self.read_only {
            return Err(usage_error("-r: unmount, and mount again with -r"));
        }
        let mount = self.find()?;
        let waiting = Waiting::begin(&mount);
        take_away(&mount, self.lazy)?;
        // Lazily unmounted, it may be in use for as long as somebody likes.
        let clean = match waiting.filter(|_| !self.no_wait && !self.lazy) {
            Some(waiting) => waiting.end().map(|()| true).map_err(|why| {
                Failure::mount(format_args!(
                    "{}: unmounted, but not clean: {why}",
                    mount.source.display()
                ))
            })?,
            None => false,
        };
        if ui.is_json() {
            ui.document(&Unmounted {
                source: mount.source.display().to_string(),
                directory: mount.point.display().to_string(),
                clean,
            })?;
        } else if self.verbose {
            writeln!(ui, "{} unmounted", mount.point.display())?;
        }
        Ok(Exit::OK)
    }

    /// The mount that is meant.
    fn find(&self) -> Result<Mount, Failure> {
        let failed = |error: io::Error| Failure::io(self.place.display(), &error);
        let place = place_of(&self.place).map_err(failed)?;
        match mounts::mount_at(&place).map_err(failed)? {
            Some(mount) if mount.is_ours() => return Ok(mount),
            Some(mount) => {
                return Err(Failure::mount(format_args!(
                    "{}: a mount of type {}; use umount(8)",
                    place.display(),
                    mount.kind
                )));
            }
            None => {}
        }
        let ours = mounts::mounted_on(&place).and_then(|point| mounts::mount_at(&point).ok().flatten());
        ours.filter(Mount::is_ours)
            .ok_or_else(|| Failure::mount(format_args!("{}: not mounted by ocfs2 mount", place.display())))
    }
}

/// Unmounts; returns when the directory is gone.
fn take_away(mount: &Mount, lazy: bool) -> Result<(), Failure> {
    let point = mount.point.as_path();
    let flags = match lazy {
        true => UnmountFlags::DETACH,
        false => UnmountFlags::empty(),
    };
    match rustix::mount::unmount(point, flags | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => by_helper(point, lazy),
        Err(Errno::BUSY) => Err(Failure::mount(format_args!(
            "{}: something on it is open (-l unmounts it as soon as nothing is)",
            point.display()
        ))),
        Err(error) => Err(Failure::io(point.display(), &error.into())),
    }
}

/// The same for those who are not root.
fn by_helper(point: &Path, lazy: bool) -> Result<(), Failure> {
    let mut command = Command::new("fusermount3");
    command.arg("-u");
    if lazy {
        command.arg("-z");
    }
    let output = command
        .arg("--")
        .arg(point)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Failure::new(
                Exit::SYSTEM,
                format_args!("fusermount3, which unmounts for users who are not root: {error}"),
            )
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim_end();
    Err(match said.contains("busy") {
        true => Failure::mount(said),
        false => Failure::denied(said),
    })
}
