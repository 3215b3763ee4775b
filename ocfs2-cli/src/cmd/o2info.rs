//! `o2info`: what a volume, or a file on it, is like.
//!
//! The answers come from a volume that is read here, or from the kernel where it is mounted ([`source`]); [`mod@print`] shows them
//! in the form that scripts know.

mod print;
mod source;

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use ocfs2_format::FileKind;
use serde::Serialize;

use crate::cmd::Run;
use crate::exit::Exit;
use crate::live::Live;
use crate::target::{ImageArgs, Images, Target};
use crate::text::kind_name;
use crate::ui::{OutputArgs, Ui, usage_error};

use self::source::{FileInfo, FreeInfo, SlotInodes, Source, UsageInfo, VolumeInfo};

/// Show features, layout and free space of a volume, or the space use of a file on it
///
/// Operations may be combined; each runs in turn. A volume is named by its image or device, a file on it as IMAGE:/path.
/// Files and directories of a mounted volume are fine too: then the kernel is asked.
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Examples:\n  o2info --volinfo disk.img\n  o2info --freefrag 64 /dev/sdb1\n  \
                        o2info --filestat disk.img:/vm/root.qcow2\n  o2info --volinfo /mnt/shared"
)]
pub(crate) struct Args {
    /// Image file or device, a file on it, or a path on a mounted volume
    #[arg(value_name = "IMAGE[:/PATH]")]
    target: Target,
    /// Have the kernel take cluster locks for its answers; a volume that is not mounted has none
    #[arg(short = 'C', long)]
    cluster_coherent: bool,
    #[command(flatten)]
    operations: Operations,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Something to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Features,
    Volume,
    Mkfs,
    FreeInodes,
    /// With the length of a chunk in KiB, 0 for none.
    FreeSpace(u64),
    SpaceUsage,
    File,
}

/// What to show, in the order of the command line.
#[derive(Clone, Debug)]
struct Operations(Vec<Operation>);

impl Operations {
    const SWITCHES: [(&'static str, Operation, &'static str); 6] = [
        ("fs-features", Operation::Features, "List the features of the volume"),
        (
            "volinfo",
            Operation::Volume,
            "Show label, UUID, sizes, node slots and features",
        ),
        (
            "mkfs",
            Operation::Mkfs,
            "Show the options of mkfs.ocfs2 that would make such a volume",
        ),
        (
            "freeinode",
            Operation::FreeInodes,
            "Show how many inodes each slot has free",
        ),
        ("space-usage", Operation::SpaceUsage, "Show the space that a file takes"),
        ("filestat", Operation::File, "Show everything about a file"),
    ];
    const FREEFRAG: &'static str = "freefrag";
}

impl clap::Args for Operations {
    fn augment_args(command: Command) -> Command {
        let switch = |(name, _, help): (&'static str, Operation, &'static str)| {
            Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
        };
        command.args(Self::SWITCHES.map(switch)).arg(
            Arg::new(Self::FREEFRAG)
                .long(Self::FREEFRAG)
                .value_name("KIB")
                .value_parser(value_parser!(u64))
                .help(
                    "Show the pieces that the free space is in; counts aligned chunks of so many KiB too, 0 for none",
                ),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Operations {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut found: Vec<(usize, Operation)> = Self::SWITCHES
            .iter()
            .filter(|(name, ..)| matches.get_flag(name))
            .filter_map(|&(name, operation, _)| Some((matches.index_of(name)?, operation)))
            .collect();
        if let (Some(&kib), Some(index)) = (matches.get_one(Self::FREEFRAG), matches.index_of(Self::FREEFRAG)) {
            found.push((index, Operation::FreeSpace(kib)));
        }
        found.sort_by_key(|&(index, _)| index);
        Ok(Self(found.into_iter().map(|(_, operation)| operation).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The answers to all operations asked for.
#[derive(Debug, Default, Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    fs_features: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volinfo: Option<VolumeInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mkfs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    freeinode: Option<Vec<SlotInodes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    freefrag: Option<FreeInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    space_usage: Option<UsageInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filestat: Option<FileInfo>,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let operations = &self.operations.0;
        if operations.is_empty() {
            return Err(usage_error("no operation asked for"));
        }
        let mut images = Images::new(self.image.clone());
        let (source, shown) = self.source(&mut images)?;
        let info = source.volume_info().with_context(|| shown.clone())?;
        for operation in operations {
            if let &Operation::FreeSpace(kib) = operation
                && !is_chunk(kib, &info)
            {
                let cluster_kib = info.cluster_size >> 10;
                ui.problem(format_args!(
                    "--freefrag: {kib} KiB is no chunk size: a power of two of at least {cluster_kib} KiB (a cluster) is"
                ));
                return Ok(Exit::from(255));
            }
        }
        let wants_file = operations
            .iter()
            .any(|operation| matches!(operation, Operation::SpaceUsage | Operation::File));
        let file = if wants_file { Some(self.file(&source)?) } else { None };
        let mut report = Report::default();
        for operation in operations {
            let done = if ui.is_json() {
                report.add(*operation, &source, &info, file.as_ref())
            } else {
                print::operation(*operation, &source, &info, file.as_ref(), ui)
            };
            done.with_context(|| shown.clone())?;
        }
        if ui.is_json() {
            ui.document(&report)?;
        }
        images.report_corrections(ui);
        Ok(Exit::OK)
    }
}

/// Whether `kib` is the length of a chunk, or none.
fn is_chunk(kib: u64, info: &VolumeInfo) -> bool {
    kib == 0 || (kib.is_power_of_two() && kib >= info.cluster_size >> 10 && kib < 1 << 54)
}

impl Args {
    /// What is asked, and its name for messages.
    fn source(&self, images: &mut Images) -> anyhow::Result<(Source, String)> {
        let target = &self.target;
        let shown = target.image.display().to_string();
        if target.path == b"/" {
            let live = Live::open(&target.image, self.cluster_coherent).with_context(|| shown.clone())?;
            if let Some(live) = live {
                return Ok((
                    Source::Kernel {
                        live,
                        path: target.image.clone(),
                    },
                    shown,
                ));
            }
        }
        let volume = images.volume(target)?;
        Ok((
            Source::Volume {
                volume,
                target: target.clone(),
            },
            shown,
        ))
    }

    fn file(&self, source: &Source) -> anyhow::Result<FileInfo> {
        let file = source.file()?;
        match file.kind() {
            FileKind::Regular | FileKind::Directory | FileKind::Symlink => Ok(file),
            other => bail!("{}: a {} takes no space of its own", file.name(), kind_name(other)),
        }
    }
}

impl Report {
    fn add(
        &mut self,
        operation: Operation,
        source: &Source,
        info: &VolumeInfo,
        file: Option<&FileInfo>,
    ) -> anyhow::Result<()> {
        match operation {
            Operation::Features => self.fs_features = Some(info.features.clone()),
            Operation::Volume => self.volinfo = Some(info.clone()),
            Operation::Mkfs => self.mkfs = Some(print::mkfs_options(source, info)?.trim_end().to_owned()),
            Operation::FreeInodes => self.freeinode = Some(source.free_inodes()?),
            Operation::FreeSpace(kib) => self.freefrag = Some(source.free_space(kib, info)?),
            Operation::SpaceUsage => self.space_usage = file.map(|file| file.usage),
            Operation::File => self.filestat = file.cloned(),
        }
        Ok(())
    }
}
