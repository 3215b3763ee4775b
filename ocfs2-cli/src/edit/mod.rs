//! Changing volumes: what the commands that write have in common.
//!
//! A command says what it does to one target; [`Editor`] mounts each image once, for writing and for nobody else, names the
//! target in every complaint, reports what has changed, and unmounts whatever happens.

pub(crate) mod flags;
pub(crate) mod mode;
pub(crate) mod owner;
pub(crate) mod place;
pub(crate) mod tree;
pub(crate) mod when;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ocfs2_format::device::partition::PartitionError;
use ocfs2_format::device::{self, FileOptions, IoErrorKind};
use ocfs2_fs::{Error, FileSystem, Inode, MountOptions, NewInode};
use serde::Serialize;

use crate::exit::Exit;
use crate::mounts::mounted_on;
use crate::report::{InodeReport, PathReport};
use crate::target::Target;
use crate::text::{People, printable};
use crate::transfer::FileId;
use crate::ui::{OutputArgs, Ui, usage_error};

/// How to mount what a command changes. Flatten it into the command's `Args`, or use [`EditArgs`].
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Mount options")]
pub(crate) struct MountArgs {
    /// Mount options, as mount(8) takes them: nocluster for a volume of a cluster that no node uses
    #[arg(short = 'o', long, value_name = "OPTIONS")]
    mount_options: Vec<String>,
}

impl MountArgs {
    /// The options that the command line asks for.
    fn options(&self) -> anyhow::Result<MountOptions> {
        let mut options = MountOptions::default();
        for list in &self.mount_options {
            options.apply(list).map_err(usage_error)?;
        }
        Ok(options)
    }
}

/// What every command that changes a volume takes. Flatten it into the command's `Args`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EditArgs {
    /// Say what was done
    #[arg(short, long)]
    verbose: bool,
    /// Work on the volume in partition N of the image or device
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    #[command(flatten)]
    mount: MountArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl EditArgs {
    /// Lets a command work, and ends its mounts.
    pub(crate) fn run(
        &self,
        ui: &mut Ui,
        work: impl FnOnce(&mut Editor<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Exit> {
        let mounts = Mounts::new(self.partition, &self.mount)?;
        if ui.is_json() {
            ui.begin_list("files")?;
        }
        let mut editor = Editor {
            mounts,
            ui,
            verbose: self.verbose,
            people: People::default(),
        };
        let outcome = work(&mut editor);
        let Editor { mounts, .. } = editor;
        mounts.finish(outcome)?;
        Ok(Exit::OK)
    }
}

/// What a command that changes volumes works with.
pub(crate) struct Editor<'u> {
    mounts: Mounts,
    /// Where everything is said.
    pub(crate) ui: &'u mut Ui,
    verbose: bool,
    people: People,
}

#[derive(Debug, Serialize)]
struct Changed<'a> {
    image: String,
    #[serde(flatten)]
    path: PathReport,
    action: &'a str,
    #[serde(flatten)]
    inode: Option<InodeReport>,
}

impl Editor<'_> {
    /// The mounted volume of a target.
    pub(crate) fn fs(&mut self, target: &Target) -> anyhow::Result<FileSystem> {
        self.mounts.mount(target)
    }

    /// Does something to each target. One that fails does not keep the others from being tried.
    pub(crate) fn each(
        &mut self,
        targets: &[Target],
        mut work: impl FnMut(&mut Self, &FileSystem, &Target) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for target in targets {
            let done = target
                .mounted_path()
                .and_then(|_| self.fs(target))
                .and_then(|fs| work(self, &fs, target));
            if let Err(error) = done {
                self.problem(&error);
            }
        }
        Ok(())
    }

    /// Tells the user about something that went wrong while the command goes on.
    pub(crate) fn problem(&mut self, error: &anyhow::Error) {
        self.ui.problem(format_args!("{error:#}"));
    }

    /// Reports what was done to a target, and what it is now; `None` when it is no more.
    pub(crate) fn report(&mut self, action: &str, target: &Target, inode: Option<&Inode>) -> anyhow::Result<()> {
        if self.ui.is_json() {
            let changed = Changed {
                image: target.image.display().to_string(),
                path: target.path.as_slice().into(),
                action,
                inode: inode.map(|inode| InodeReport::new(inode, &self.people, None)),
            };
            self.ui.item(&changed)?;
        } else if self.verbose {
            writeln!(self.ui, "{action} '{}'", printable(&target.to_bytes()))?;
        }
        Ok(())
    }
}

/// The volumes that a command changes, each mounted once.
#[derive(Debug)]
pub(crate) struct Mounts {
    partition: Option<u32>,
    options: MountOptions,
    open: Vec<(PathBuf, FileId, FileSystem)>,
}

impl Mounts {
    /// No volume yet.
    ///
    /// # Errors
    /// A mount option that nobody knows: a usage error.
    pub(crate) fn new(partition: Option<u32>, args: &MountArgs) -> anyhow::Result<Self> {
        Ok(Self {
            partition,
            options: args.options()?,
            open: Vec::new(),
        })
    }

    /// No volume yet; they are mounted read-only, and others may use them meanwhile.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn for_reading(partition: Option<u32>, args: &MountArgs) -> anyhow::Result<Self> {
        let mut mounts = Self::new(partition, args)?;
        mounts.options.read_only = true;
        Ok(mounts)
    }

    /// The volume of a target, mounted.
    pub(crate) fn mount(&mut self, target: &Target) -> anyhow::Result<FileSystem> {
        if let Some((.., fs)) = self.open.iter().find(|(image, ..)| *image == target.image) {
            return Ok(fs.clone());
        }
        let named = || target.image.display().to_string();
        // Under another name it may be mounted already.
        let id = FileId::of(&target.image).with_context(named)?;
        if let Some((.., fs)) = self.open.iter().find(|(_, known, _)| *known == id) {
            return Ok(fs.clone());
        }
        let fs = mount(&target.image, self.partition, &self.options)?;
        self.open.push((target.image.clone(), id, fs.clone()));
        Ok(fs)
    }

    /// The mounted volume in the file of that identity.
    pub(crate) fn mounted(&self, id: FileId) -> Option<FileSystem> {
        let (.., fs) = self.open.iter().find(|(_, known, _)| *known == id)?;
        Some(fs.clone())
    }

    /// The place of that volume among those mounted.
    pub(crate) fn index(&self, id: FileId) -> u64 {
        let index = self.open.iter().position(|(_, known, _)| *known == id);
        index.unwrap_or(self.open.len()) as u64
    }

    /// Unmounts everything, and returns what the work came to, or what went wrong first.
    pub(crate) fn finish<T>(self, outcome: anyhow::Result<T>) -> anyhow::Result<T> {
        let mut unmounted = Ok(());
        for (image, _, fs) in self.open {
            let done = fs.unmount().with_context(|| format!("unmounting {}", image.display()));
            if unmounted.is_ok() {
                unmounted = done;
            }
        }
        let value = outcome?;
        unmounted?;
        Ok(value)
    }
}

/// Mounts the volume in an image or on a device for writing, for nobody else.
fn mount(image: &Path, partition: Option<u32>, options: &MountOptions) -> anyhow::Result<FileSystem> {
    let named = || image.display().to_string();
    if let Some(place) = mounted_on(image).filter(|_| !options.read_only) {
        bail!(
            "{}: the volume is mounted on {}; change it there",
            named(),
            place.display()
        );
    }
    let file = FileOptions::new()
        .writable(!options.read_only)
        .exclusive(!options.read_only);
    let device = device::open(image, &file, partition).map_err(|error| {
        let in_use = matches!(&error, PartitionError::Io(io) if matches!(io.kind, IoErrorKind::InUse));
        match in_use {
            true => anyhow::anyhow!("{}: another program is using it", named()),
            false => anyhow::Error::new(error).context(named()),
        }
    })?;
    FileSystem::mount(device, options).map_err(|error| match error {
        Error::Busy { why } => anyhow::anyhow!("{}: {why}", named()),
        other => anyhow::Error::new(other).context(named()),
    })
}

/// What a new object of the caller's is made with, as a system call would make it.
pub(crate) fn new_inode(mode: u32) -> NewInode {
    NewInode {
        umask: umask(),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        ..NewInode::with_mode(mode)
    }
}

/// Permissions that new files of the caller's do not get.
pub(crate) fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.as_raw_mode()
}
