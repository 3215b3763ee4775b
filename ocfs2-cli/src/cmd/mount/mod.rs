//! `ocfs2 mount`, `mount.ocfs2`, `mount.fuse.ocfs2`: a volume as a directory of this machine, through FUSE.
//!
//! ```text
//! options    the -o list
//! source     what is to be mounted, and opening it
//! serve      the life of a mount: recover, appear, serve, leave clean; signals
//! detach     the same in the background
//! farewell   how whoever unmounts learns that the volume is clean
//! notify     telling systemd
//! memory     how the heap grows
//! log        messages of a mount that nobody watches
//! failure    exit statuses of mount(8)
//! ```
//!
//! Source: mount(8), sections "External helpers" and "Exit status"; tools reference, section 8.

mod detach;
mod failure;
pub(crate) mod farewell;
mod log;
mod memory;
mod notify;
mod options;
mod serve;
mod source;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ocfs2_format::device::{self, FileOptions};
use serde::Serialize;

pub(crate) use failure::Failure;
pub(crate) use serve::place_of;

use crate::cmd::Run;
use crate::exit::Exit;
use crate::fuse::SessionOptions;
use crate::ui::{OutputArgs, Ui, usage_error};
use options::{Durable, Wanted};
use serve::{Job, Mounted, Volume, mount_point, require_fuse};
use source::{Source, Use};

/// Mount a volume through FUSE, without a kernel module
///
/// Root's mounts are for everybody, as the kernel driver's are. Users mount what they may read or write, for themselves, with
/// the help of fusermount3. The command returns when the directory can be used, and the volume is served in the background;
/// 'ocfs2 umount' returns when it is clean again.
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "ocfs2 mount [OPTIONS] <SOURCE> <DIR>\n       \
                      ocfs2 mount [OPTIONS] <-L LABEL|-U UUID> <DIR>",
    after_help = EXAMPLES
)]
pub(crate) struct Args {
    /// Image file or device, or LABEL=…, UUID=…, PARTLABEL=…, PARTUUID=…; then the directory to mount it on
    #[arg(value_name = "SOURCE|DIR", num_args = 0..=2, hide_possible_values = true)]
    places: Vec<OsString>,
    /// Mount options, separated by commas
    #[arg(short, long, value_name = "LIST", long_help = OPTIONS_HELP)]
    options: Vec<String>,
    /// Mount read-only, as -o ro: dirty journals are replayed in memory, and nothing is written
    #[arg(short, long)]
    read_only: bool,
    /// Mount for reading and writing (the default)
    #[arg(short = 'w', long = "rw", overrides_with = "read_only")]
    read_write: bool,
    /// Look at a volume that others are using, as -o spectator: read-only, and what they change may not be seen
    #[arg(long)]
    spectator: bool,
    /// Mount the volume with this label. With a SOURCE as well, only if it is that volume
    #[arg(short = 'L', long, value_name = "LABEL", conflicts_with = "uuid")]
    label: Option<String>,
    /// Mount the volume with this UUID. With a SOURCE as well, only if it is that volume
    #[arg(short = 'U', long, value_name = "UUID")]
    uuid: Option<String>,
    /// Mount the volume in partition N of the image or device, as -o partition=N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    partition: Option<u32>,
    /// Replay journals, clean up behind crashed nodes, and leave the volume clean; without a directory
    #[arg(long, conflicts_with_all = ["read_only", "spectator", "foreground"])]
    replay_only: bool,
    /// Serve until unmounted, with messages on stderr instead of the system's log
    #[arg(long)]
    foreground: bool,
    /// Do everything but mounting
    #[arg(short, long)]
    fake: bool,
    /// Say what was mounted
    #[arg(short, long)]
    verbose: bool,
    /// Pass over mount options that are unknown
    #[arg(short, long)]
    sloppy: bool,
    /// Without effect: there is no /etc/mtab to write
    #[arg(short, long)]
    no_mtab: bool,
    /// Type of the file system: ocfs2 or fuse.ocfs2
    #[arg(short = 't', long = "types", value_name = "TYPE")]
    kind: Option<String>,
    /// Refused: only the caller's mount namespace is known
    #[arg(short = 'N', long, value_name = "NS", hide_short_help = true)]
    namespace: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "\
Examples:
  ocfs2 mount san.img /mnt
  ocfs2 mount -o nocluster,noatime /dev/sdb1 /mnt
  ocfs2 mount -L data /mnt                      whatever the device is called today
  ocfs2 mount --partition 2 disk.img /mnt       a volume in a disk image
  ocfs2 mount --spectator /dev/sdb1 /mnt        while a cluster uses it
  ocfs2 mount --replay-only san.img             recover it, and no more
  ocfs2 umount /mnt

In fstab(5), after 'ocfs2 links --force /sbin':
  /dev/sdb1  /mnt  fuse.ocfs2  nocluster,_netdev  0  0";

const OPTIONS_HELP: &str = "\
Mount options, separated by commas; later ones count more.
Of mount(8): ro, rw, nodev, nosuid, noexec, sync, dirsync, noatime, relatime, strictatime, user, users, owner, group, \
_netdev, nofail, noauto, defaults, x-…
Of ocfs2: nocluster, commit=SECONDS, data=ordered|writeback, errors=remount-ro|continue, atime_quantum=SECONDS, \
preferred_slot=N, localalloc=MIB, resv_level=N, dir_resv_level=N, inode64, acl, noacl, user_xattr, nouser_xattr, usrquota, \
grpquota, noquota, and those that are the case anyway: coherency=…, localflocks, heartbeat=none, intr, nointr, barrier=1
Of FUSE: allow_other, noallow_other, default_permissions, max_threads=N, writeback_cache
Only here: partition=N, spectator, and fakeroot: permissions are not checked, and who mounts can do what root could";

/// What a replay found and left.
#[derive(Debug, Serialize)]
struct Replayed<'a> {
    source: String,
    label: &'a str,
    uuid: &'a str,
    action: &'static str,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        log::begin(ui.program(), self.verbose);
        self.mount(ui).or_else(|error| Failure::report(error, ui))
    }
}

impl Args {
    fn mount(&self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let wanted = self.wanted()?;
        let (source, dir) = self.places()?;
        self.require_known_type()?;
        let job = self.job(source, &wanted)?;
        let Some(dir) = dir else {
            return match self.fake {
                true => Ok(Exit::OK),
                false => replay(&job, ui),
            };
        };
        require_fuse()?;
        let dir = mount_point(&dir)?;
        if self.fake {
            return Ok(Exit::OK);
        }
        if !self.foreground && !detach::is_background() {
            return match detach::start()? {
                Ok(mounted) => self.report(&mounted, ui).map(|()| Exit::OK),
                Err(exit) => Ok(exit),
            };
        }
        memory::share_heaps();
        let options = session_options(&job, &wanted)?;
        job.mount()?.serve(&dir, &options, |mounted| match self.foreground {
            true => {
                ::log::info!("{mounted}");
                notify::ready();
                if ui.is_json() {
                    self.report(mounted, ui)?;
                }
                Ok(ui.flush()?)
            }
            false => detach::ready(mounted),
        })
    }

    /// All options, those of their own first.
    fn wanted(&self) -> anyhow::Result<Wanted> {
        let mut wanted = Wanted::default();
        for list in &self.options {
            wanted.apply(list, self.sloppy).map_err(usage_error)?;
        }
        if self.read_only {
            wanted.volume.read_only = true;
        }
        if self.read_write {
            wanted.volume.read_only = false;
        }
        wanted.spectator |= self.spectator;
        wanted.partition = self.partition.or(wanted.partition);
        if self.replay_only && (wanted.spectator || wanted.volume.read_only) {
            return Err(usage_error("--replay-only writes, and ro forbids that"));
        }
        wanted.volume.read_only |= wanted.spectator;
        Ok(wanted)
    }

    /// Where the volume is, and where it goes; no directory for a replay.
    fn places(&self) -> anyhow::Result<(Option<Source>, Option<PathBuf>)> {
        let mut places = self.places.iter();
        let named = self.label.is_some() || self.uuid.is_some();
        let dirs = usize::from(!self.replay_only);
        let source = match places.len() {
            n if n == dirs + 1 => places.next(),
            n if n == dirs && named => None,
            _ => {
                return Err(usage_error(match (self.replay_only, named) {
                    (true, _) => "--replay-only takes a source and no directory",
                    (false, true) => "a directory is needed to mount on",
                    (false, false) => "an image file or device is needed, and a directory to mount it on",
                }));
            }
        };
        let source = source
            .map(|text| Source::parse(text))
            .transpose()
            .map_err(usage_error)?;
        Ok((source, places.next().map(PathBuf::from)))
    }

    fn require_known_type(&self) -> anyhow::Result<()> {
        if let Some(kind) = self.kind.as_deref()
            && !["ocfs2", "fuse.ocfs2", "fuse"].contains(&kind)
        {
            return Err(usage_error(format_args!("type '{kind}': only ocfs2 is mounted here")));
        }
        if self.namespace.is_some() {
            return Err(usage_error("-N: enter the namespace first, with nsenter(1)"));
        }
        Ok(())
    }

    /// What is to be done to the volume.
    fn job(&self, source: Option<Source>, wanted: &Wanted) -> anyhow::Result<Job> {
        let by_name = match (&self.label, &self.uuid) {
            (Some(label), _) => Some(Source::Label(label.clone())),
            (None, Some(uuid)) => Some(Source::uuid(uuid).map_err(usage_error)?),
            (None, None) => None,
        };
        let path = match (&source, &by_name) {
            (Some(source), _) => source.find()?,
            (None, Some(name)) => name.find()?,
            (None, None) => return Err(usage_error("what is to be mounted?")),
        };
        if let (Some(_), Some(name)) = (&source, &by_name) {
            self.require_name(&path, wanted.partition, name)?;
        }
        Ok(Job {
            how: match (wanted.spectator, wanted.volume.read_only) {
                (true, _) => Use::Looking,
                (false, true) => Use::Reading,
                (false, false) => Use::Alone,
            },
            source: path,
            partition: wanted.partition,
            volume: wanted.volume.clone(),
        })
    }

    /// Fails when the volume at `path` is not the one that is meant.
    fn require_name(&self, path: &Path, partition: Option<u32>, name: &Source) -> anyhow::Result<()> {
        let device = device::open(path, &FileOptions::new(), partition)
            .map_err(|error| Failure::mount(format_args!("{}: {error}", path.display())))?;
        match name.is_on(device.as_ref()) {
            true => Ok(()),
            false => Err(Failure::mount(format_args!("{}: not the volume with {name}", path.display())).into()),
        }
    }

    /// Says what was mounted, to those who want to know.
    fn report(&self, mounted: &Mounted, ui: &mut Ui) -> anyhow::Result<()> {
        if ui.is_json() {
            ui.document(mounted)?;
        } else if self.verbose {
            writeln!(ui, "{mounted}")?;
        }
        Ok(())
    }
}

/// Brings a volume into order.
fn replay(job: &Job, ui: &mut Ui) -> anyhow::Result<Exit> {
    let volume = job.mount()?;
    let (label, uuid) = volume.names();
    let (label, uuid) = (label.to_owned(), uuid.to_owned());
    unmount(volume).with_context(|| job.source.display().to_string())?;
    let source = job.source.display().to_string();
    if ui.is_json() {
        ui.document(&Replayed {
            source,
            label: &label,
            uuid: &uuid,
            action: "recovered",
        })?;
    } else {
        writeln!(ui, "{source}: recovered, and clean")?;
    }
    Ok(Exit::OK)
}

fn unmount(volume: Volume) -> Result<(), Failure> {
    volume
        .unmount()
        .map_err(|error| Failure::mount(format_args!("unmounting: {error:#}")))
}

/// How the volume appears as a directory.
fn session_options(job: &Job, wanted: &Wanted) -> anyhow::Result<SessionOptions> {
    let is_root = rustix::process::geteuid().is_root();
    let allow_other = wanted.allow_other.unwrap_or(is_root && !wanted.fakeroot);
    if allow_other && wanted.fakeroot {
        return Err(usage_error("fakeroot and allow_other: everybody could do everything"));
    }
    Ok(SessionOptions {
        source: job.source.display().to_string(),
        allow_other,
        default_permissions: !wanted.fakeroot,
        acl: wanted.volume.acl && !wanted.fakeroot,
        read_only: wanted.volume.read_only,
        nodev: wanted.flags.nodev,
        nosuid: wanted.flags.nosuid,
        noexec: wanted.flags.noexec,
        sync: wanted.durable == Durable::Everything,
        dirsync: wanted.durable == Durable::Names,
        threads: wanted.threads,
        writeback: wanted.writeback && wanted.durable == Durable::Nothing,
    })
}
