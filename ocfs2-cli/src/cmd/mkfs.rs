//! `mkfs.ocfs2`: makes a volume.

mod cluster;
mod fill;

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use ocfs2_format::device::{BlockDevice, FileDevice, FileOptions, IoErrorKind};
use ocfs2_format::{FeatureCompat, FeatureIncompat, StackFlags};
use ocfs2_fs::mkfs::{self, Existing, FeatureLevel, MkfsOptions, MountMode, Plan, Progress, Step, Summary, VolumeType};
use ocfs2_fs::{Detected, OpenOptions, Volume, mounted_nodes};
use serde::Serialize;

use crate::cmd::Run;
use crate::edit::owner::Owner;
use crate::exit::Exit;
use crate::mounts::mounted_on;
use crate::size;
use crate::text::{hex, printable};
use crate::ui::{OutputArgs, Ui, usage_error};

use self::cluster::Cluster;

/// Make an OCFS2 volume on a device or in an image file
///
/// What is not chosen suits the size of the device. An image file must exist and have its size (truncate -s 10G FILE);
/// only with --from, a file that is missing or empty gets the size that is needed.
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Examples:\n  mkfs.ocfs2 -L data -N 4 /dev/sdb1\n  mkfs.ocfs2 -M local --fs-features=metaecc disk.img\n  \
                        mkfs.ocfs2 -n -T vmstore /dev/sdb1\n  mkfs.ocfs2 --seed 7 -M local test.img\n  \
                        mkfs.ocfs2 --seed 7 -M local --from rootfs/ --owner 0:0 root.img"
)]
#[expect(clippy::struct_excessive_bools, reason = "the options of mkfs.ocfs2 are switches")]
pub(crate) struct Args {
    /// Block device or image file
    device: PathBuf,
    /// Blocks of the device to use; all by default
    #[arg(value_name = "BLOCKS-COUNT", value_parser = size::number)]
    blocks: Option<u64>,
    /// Block size: 512, 1K, 2K or 4K
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse)]
    block_size: Option<u64>,
    /// Cluster size: 4K to 1M
    #[arg(short = 'C', long, value_name = "SIZE", value_parser = size::parse)]
    cluster_size: Option<u64>,
    /// Volume label, at most 63 bytes
    #[arg(short = 'L', long)]
    label: Option<std::ffi::OsString>,
    /// How many nodes can mount the volume at the same time: 1 to 255
    #[arg(short = 'N', long, value_name = "NUMBER", value_parser = size::number)]
    node_slots: Option<u64>,
    /// Journals: size=SIZE, block32, block64, comma separated
    #[arg(short = 'J', long, value_name = "OPTIONS")]
    journal_options: Vec<String>,
    /// Who mounts the volume: local (one node, no cluster) or cluster
    #[arg(short = 'M', long, value_name = "TYPE")]
    mount: Option<String>,
    /// What the volume is for: datafiles, mail or vmstore
    #[arg(short = 'T', value_name = "TYPE")]
    volume_type: Option<String>,
    /// Volume UUID instead of a random one: 32 hexadecimal digits, with or without dashes
    #[arg(short = 'U', value_name = "UUID")]
    uuid: Option<String>,
    /// Base set of features: default, max-compat or max-features
    #[arg(long, value_name = "LEVEL")]
    fs_feature_level: Option<String>,
    /// Features to add, or with 'no' in front to leave out, comma separated
    #[arg(long, value_name = "LIST")]
    fs_features: Vec<String>,
    /// Cluster stack to stamp: o2cb, pcmk or cman
    #[arg(long, value_name = "STACK")]
    cluster_stack: Option<String>,
    /// Cluster name to stamp
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
    /// Stamp that the o2cb cluster uses global heartbeat
    #[arg(long)]
    global_heartbeat: bool,
    /// Make a heartbeat region without a file system
    #[arg(short = 'H', long)]
    heartbeat_device: bool,
    /// Keep no copies of the superblock
    #[arg(long)]
    no_backup_super: bool,
    /// Tell the device first that its old contents are not needed (the default)
    #[arg(long, overrides_with = "nodiscard")]
    discard: bool,
    /// Do not discard
    #[arg(long)]
    nodiscard: bool,
    /// Format even when the device is mounted or in use
    #[arg(short = 'F', long)]
    force: bool,
    /// Do not ask before something is overwritten
    #[arg(short = 'x', hide = true)]
    no_prompt: bool,
    /// Do not ask before something is overwritten
    #[arg(short, long)]
    yes: bool,
    /// Show what would be made, write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Make everything random, and the time, follow from this number: same options, same bytes
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Fill the volume with the contents of this directory or tar archive; - is an archive on standard input
    #[arg(long, value_name = "SOURCE", conflicts_with = "heartbeat_device")]
    from: Option<PathBuf>,
    /// With --from, give everything to this USER, USER:GROUP or :GROUP
    #[arg(long, value_name = "OWNER", value_parser = Owner::parse, requires = "from")]
    owner: Option<Owner>,
    /// Show no plan and no progress
    #[arg(short, long)]
    quiet: bool,
    /// Say more
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is, or would be, made.
#[derive(Debug, Serialize)]
struct Report {
    device: String,
    dry_run: bool,
    label: String,
    uuid: String,
    features: Vec<&'static str>,
    cluster_stack: Option<String>,
    cluster_name: Option<String>,
    global_heartbeat: bool,
    volume_type: Option<&'static str>,
    block_size: usize,
    cluster_size: u64,
    bytes: u64,
    blocks: u64,
    clusters: u32,
    used_clusters: u32,
    cluster_groups: u32,
    node_slots: u16,
    journal_bytes: u64,
    journal_block64: bool,
    extent_alloc_bytes: u64,
    backup_superblocks: Vec<u64>,
    heartbeat_device: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filled: Option<crate::cmd::cp::Report>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Written {
    bytes: u64,
    writes: u64,
    discarded: bool,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let quiet = self.quiet || ui.is_json();
        if !quiet {
            ui.banner();
        }
        // A mounted device can't be opened for writing alone: this says why.
        self.check_mounts()?;
        if self.from.is_some() && !self.dry_run {
            self.create_file()?;
        }
        let mut device = self.open()?;
        let mut options = self.options(ui)?;
        options.sector_size = device.geometry().block_size;
        if self.from.is_some() && !device.is_block_device() && device.geometry().len == 0 && !self.dry_run {
            let bytes = self.needed_bytes(&options)?;
            device
                .set_len(bytes)
                .with_context(|| self.device.display().to_string())?;
        }
        let device = Arc::new(device);
        let old = match Existing::on(device.as_ref()) {
            Some(Existing::Ocfs2(volume)) => Some(volume),
            _ => None,
        };
        // What surrounds it does not change a volume that must always be the same.
        if self.seed.is_none() {
            let old_cluster = old.as_deref().filter(|old| !old.geometry().features.heartbeat_device());
            let old_cluster = old_cluster.and_then(Detected::cluster_info).map(Cluster::of_volume);
            cluster::settle(
                &mut options,
                Cluster::running(),
                old_cluster,
                self.force || self.dry_run,
            )?;
        }
        let device_name = || self.device.display().to_string();
        if device.geometry().len == 0 {
            bail!(
                "{}: the device has no space at all: give an image file its size first (truncate -s 10G)",
                device_name()
            );
        }
        if !self.dry_run {
            self.check_use(&device, old.as_deref(), ui)?;
        }
        let plan = Plan::new(device.geometry().len, &options).with_context(device_name)?;
        if !quiet && !self.dry_run {
            self.print_cluster(&plan, ui)?;
        }
        if !self.dry_run && !self.confirm(&device, ui)? {
            return Ok(Exit::FAILED);
        }
        self.warn(&plan, quiet, ui);
        if !quiet {
            self.print_plan(&plan, ui)?;
        }
        let summary = if self.dry_run {
            None
        } else {
            Some(self.make(&device, &plan, quiet, ui)?)
        };
        let mut report = self.report(&plan, summary);
        if let (Some(source), false) = (&self.from, self.dry_run) {
            let filled = self.fill(source, &device, &plan, quiet, ui)?;
            report.filled = Some(filled);
        }
        if ui.is_json() {
            ui.document(&report)?;
        }
        Ok(Exit::OK)
    }
}

impl Args {
    fn open(&self) -> anyhow::Result<FileDevice> {
        let options = FileOptions::new()
            .writable(!self.dry_run)
            .exclusive(!self.dry_run && !self.force);
        FileDevice::open(&self.device, &options).map_err(|error| match &error.kind {
            IoErrorKind::Device(cause) => anyhow::anyhow!("Could not open device {}: {cause}", self.device.display()),
            _ => anyhow::Error::new(error).context(format!("Could not open device {}", self.device.display())),
        })
    }

    fn options(&self, ui: &mut Ui) -> anyhow::Result<MkfsOptions> {
        let mut options = MkfsOptions::default();
        options.block_size = power_of_two(self.block_size, "block size", 512..=4096, ui)?;
        options.cluster_size = power_of_two(self.cluster_size, "cluster size", 4096..=1 << 20, ui)?;
        options.blocks = self.blocks;
        options.label = self
            .label
            .as_ref()
            .map(|label| label.as_encoded_bytes().to_vec())
            .unwrap_or_default();
        options.slots = match self.node_slots {
            Some(0) => return Err(usage_error("Initial node slots must be at least 1")),
            Some(slots @ 1..=255) => Some(slots as u16),
            Some(_) => return Err(usage_error("Initial node slots must be no more than 255")),
            None => None,
        };
        for list in &self.journal_options {
            parse_journal(list, &mut options)?;
        }
        options.mount = match self.mount.as_deref() {
            None => MountMode::Unspecified,
            Some(mount) if mount.eq_ignore_ascii_case("local") => MountMode::Local,
            Some(mount) if mount.eq_ignore_ascii_case("cluster") => MountMode::Cluster,
            Some(other) => {
                return Err(usage_error(format_args!(
                    "Invalid mount type {other}: local or cluster"
                )));
            }
        };
        options.volume_type = match self.volume_type.as_deref() {
            None => None,
            Some(name) => match VolumeType::ALL.into_iter().find(|kind| kind.name() == name) {
                Some(kind) => Some(kind),
                None => {
                    return Err(usage_error(format_args!(
                        "Bad fs type option '{name}': datafiles, mail or vmstore"
                    )));
                }
            },
        };
        options.uuid = match self.uuid.as_deref() {
            None => None,
            Some(text) => {
                Some(parse_uuid(text).ok_or_else(|| usage_error(format_args!("Invalid UUID specified: '{text}'")))?)
            }
        };
        if let Some(name) = self.fs_feature_level.as_deref() {
            options.features.level = FeatureLevel::ALL
                .into_iter()
                .find(|level| level.name() == name)
                .ok_or_else(|| {
                    usage_error(format_args!(
                        "'{name}' is no feature level: default, max-compat or max-features"
                    ))
                })?;
        }
        for list in &self.fs_features {
            options.features.parse_list(list)?;
        }
        options.cluster.stack = self.cluster_stack.clone();
        options.cluster.name = self.cluster_name.clone();
        options.cluster.global_heartbeat = self.global_heartbeat;
        options.heartbeat_device = self.heartbeat_device;
        options.backup_super = !self.no_backup_super;
        options.discard = !self.nodiscard;
        options.seed = self.seed;
        Ok(options)
    }

    /// Refuses a device that is mounted here.
    fn check_mounts(&self) -> anyhow::Result<()> {
        match mounted_on(&self.device) {
            Some(place) if !self.force && !self.dry_run => bail!(
                "{} is mounted on {}; will not make a ocfs2 volume here!",
                self.device.display(),
                place.display()
            ),
            _ => Ok(()),
        }
    }

    /// Refuses a device whose volume another node is using.
    fn check_use(&self, device: &Arc<FileDevice>, old: Option<&Detected>, ui: &mut Ui) -> anyhow::Result<()> {
        let old = old.filter(|old| !old.geometry().features.local());
        if self.force {
            if old.is_some() {
                ui.say("WARNING: Cluster check disabled.");
            }
            return Ok(());
        }
        let Some(old) = old else {
            return Ok(());
        };
        let numbers = |nodes: &[u32]| nodes.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let nodes = live_nodes(device, ui);
        if !nodes.is_empty() {
            bail!(
                "{}: the volume is in use: the heartbeat of node {} moves. Unmount it there first, or use -F",
                self.device.display(),
                numbers(&nodes)
            );
        }
        let cluster = old.cluster_info().map(Cluster::of_volume);
        if !cluster.is_some_and(|cluster| cluster.beats_elsewhere()) {
            return Ok(());
        }
        // A volume whose slots cannot be read cannot be mounted either.
        let nodes = mounted_nodes(device.clone()).unwrap_or_default();
        if !nodes.is_empty() {
            bail!(
                "{}: the volume is mounted by node {}, or was when that node died: its cluster shows elsewhere which nodes \
                 are alive. Unmount it there first, or use -F",
                self.device.display(),
                numbers(&nodes.iter().map(|node| node.0).collect::<Vec<_>>())
            );
        }
        Ok(())
    }

    /// Says what would be lost, and asks.
    fn confirm(&self, device: &FileDevice, ui: &mut Ui) -> anyhow::Result<bool> {
        let what = match Existing::on(device) {
            None => return Ok(true),
            Some(Existing::Ocfs2(_)) => "ocfs2 partition",
            Some(Existing::Ocfs1) => "ocfs partition",
            Some(Existing::Other(name)) => name,
            Some(_) => "contents",
        };
        if ui.is_json() {
            if self.yes || self.no_prompt {
                return Ok(true);
            }
            bail!("{}: holds {what}; give --yes to overwrite it", self.device.display());
        }
        writeln!(ui, "Overwriting existing {what}.")?;
        if self.yes || self.no_prompt {
            return Ok(true);
        }
        write!(ui, "Proceed (y/N): ")?;
        ui.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if answer.starts_with(['y', 'Y']) {
            return Ok(true);
        }
        writeln!(ui, "Aborting operation.")?;
        Ok(false)
    }

    /// Points out what may not be meant.
    fn warn(&self, plan: &Plan, quiet: bool, ui: &mut Ui) {
        if self.uuid.is_some() && !quiet {
            ui.note(
                "a UUID must be unique: volumes that share one are taken for each other where they meet, and get damaged",
            );
        }
        if plan.is_heartbeat_device() && plan.device_bytes() > plan.geometry().bytes() + HEARTBEAT_SLACK {
            ui.note("Warning: Volume larger than required for a heartbeat device");
        }
    }

    fn print_cluster(&self, plan: &Plan, ui: &mut Ui) -> anyhow::Result<()> {
        if plan.is_local() {
            return Ok(());
        }
        let Some(info) = plan.cluster_info() else {
            writeln!(ui, "Cluster stack: classic o2cb")?;
            return Ok(());
        };
        writeln!(ui, "Cluster stack: {}", printable(info.stack()))?;
        writeln!(ui, "Cluster name: {}", printable(info.cluster()))?;
        writeln!(ui, "Stack Flags: {:#x}", (info.flags() & StackFlags::all()).bits())?;
        writeln!(ui, "NOTE: Feature extended slot map may be enabled")?;
        Ok(())
    }

    /// The plan in the words of mkfs.ocfs2.
    fn print_plan(&self, plan: &Plan, ui: &mut Ui) -> anyhow::Result<()> {
        let geometry = plan.geometry();
        if self.dry_run {
            writeln!(ui, "Dry run")?;
        }
        if let Some(kind) = plan.volume_type() {
            writeln!(ui, "Filesystem Type of {}", kind.name())?;
        }
        writeln!(ui, "Label: {}", printable(plan.label()))?;
        writeln!(ui, "Features: {}", plan.chosen_features())?;
        writeln!(
            ui,
            "Block size: {} ({} bits)",
            geometry.block_size(),
            geometry.block_size_bits
        )?;
        writeln!(
            ui,
            "Cluster size: {} ({} bits)",
            geometry.cluster_size(),
            geometry.cluster_size_bits
        )?;
        let (bytes, clusters, blocks) = (geometry.bytes(), geometry.clusters, geometry.blocks());
        writeln!(ui, "Volume size: {bytes} ({clusters} clusters) ({blocks} blocks)")?;
        let tail = plan.tail_group_clusters();
        let groups = geometry.cluster_groups();
        let rest = if groups == 1 {
            tail
        } else {
            geometry.clusters_per_group()
        };
        writeln!(
            ui,
            "Cluster groups: {groups} (tail covers {tail} clusters, rest cover {rest} clusters)"
        )?;
        writeln!(
            ui,
            "Extent allocator size: {} ({} groups)",
            plan.extent_alloc_bytes(),
            plan.extent_groups()
        )?;
        if plan.is_heartbeat_device() {
            writeln!(ui, "Heartbeat device")?;
        } else {
            writeln!(ui, "Journal size: {}", plan.journal_bytes())?;
        }
        writeln!(ui, "Node slots: {}", geometry.max_slots)?;
        ui.flush()?;
        Ok(())
    }

    fn make(&self, device: &FileDevice, plan: &Plan, quiet: bool, ui: &mut Ui) -> anyhow::Result<Summary> {
        let backups = plan.backup_blocks().len();
        let has_backups = plan.geometry().features.compat.contains(FeatureCompat::BACKUP_SUPER);
        let mut printed = Ok(());
        let mut progress = |progress: Progress| {
            if quiet || printed.is_err() {
                return;
            }
            printed = match progress {
                Progress::Begin(Step::BackupSuperblocks) | Progress::Done(Step::BackupSuperblocks) if !has_backups => {
                    return;
                }
                Progress::Begin(step) => write!(ui, "{}: ", step_name(step)),
                Progress::Done(Step::BackupSuperblocks) => writeln!(ui, "{backups} block(s)"),
                Progress::Done(_) => writeln!(ui, "done"),
            }
            .and_then(|()| ui.flush());
        };
        let summary = mkfs::format(device, plan, &mut progress).with_context(|| self.device.display().to_string())?;
        printed?;
        if !quiet {
            writeln!(ui, "mkfs.ocfs2 successful\n")?;
        }
        if self.verbose > 0 && !quiet {
            ui.note(format_args!(
                "{} bytes written in {} writes",
                summary.bytes_written, summary.writes
            ));
        }
        Ok(summary)
    }

    fn report(&self, plan: &Plan, summary: Option<Summary>) -> Report {
        let geometry = plan.geometry();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Report {
            device: self.device.display().to_string(),
            dry_run: self.dry_run,
            label: text(plan.label()),
            uuid: hex(&plan.uuid()).to_uppercase(),
            features: plan.features().names().collect(),
            cluster_stack: plan.cluster_info().map(|info| text(info.stack())),
            cluster_name: plan.cluster_info().map(|info| text(info.cluster())),
            global_heartbeat: plan
                .cluster_info()
                .is_some_and(|info| info.flags().contains(StackFlags::GLOBAL_HEARTBEAT)),
            volume_type: plan.volume_type().map(VolumeType::name),
            block_size: geometry.block_size(),
            cluster_size: geometry.cluster_size(),
            bytes: geometry.bytes(),
            blocks: geometry.blocks(),
            clusters: geometry.clusters,
            used_clusters: plan.used_clusters(),
            cluster_groups: geometry.cluster_groups(),
            node_slots: geometry.max_slots,
            journal_bytes: if plan.is_heartbeat_device() {
                0
            } else {
                plan.journal_bytes()
            },
            journal_block64: plan.journal_block64(),
            extent_alloc_bytes: plan.extent_alloc_bytes(),
            backup_superblocks: plan.backup_blocks().iter().map(|block| block.0).collect(),
            heartbeat_device: plan.features().incompat.contains(FeatureIncompat::HEARTBEAT_DEVICE),
            written: summary.map(|summary| Written {
                bytes: summary.bytes_written,
                writes: summary.writes,
                discarded: summary.discarded,
            }),
            filled: None,
        }
    }
}

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Bitmaps => "Creating bitmaps",
        Step::InitializeSuperblock => "Initializing superblock",
        Step::SystemFiles => "Writing system files",
        Step::Superblock => "Writing superblock",
        Step::BackupSuperblocks => "Writing backup superblock",
        Step::Journals => "Formatting Journals",
        Step::ExtentAllocators => "Growing extent allocator",
        Step::SlotMap => "Formatting slot map",
        Step::QuotaFiles => "Formatting quota files",
        Step::LostFound => "Writing lost+found",
        _ => "Working",
    }
}

/// Bytes that a heartbeat device may have in vain.
const HEARTBEAT_SLACK: u64 = 1 << 20;

/// Nodes whose heartbeat moves; takes a few seconds when there is any heartbeat at all.
fn live_nodes(device: &Arc<FileDevice>, ui: &mut Ui) -> Vec<u32> {
    let options = {
        let mut options = OpenOptions::default();
        options.replay_journals = false;
        options
    };
    let Ok(volume) = Volume::open(device.clone(), &options) else {
        return Vec::new();
    };
    let Ok(before) = volume.heartbeats() else {
        return Vec::new();
    };
    if before.is_empty() {
        return Vec::new();
    }
    ui.note("watching the volume's heartbeat region …");
    // A node beats every two seconds.
    thread::sleep(Duration::from_secs(5));
    let Ok(after) = volume.heartbeats() else {
        return Vec::new();
    };
    let moved = |beat: &&ocfs2_fs::Heartbeat| before.iter().any(|old| old.node == beat.node && old.seq != beat.seq);
    after.iter().filter(moved).map(|beat| beat.node.0).collect()
}

/// Rounds down to a power of two, as mkfs.ocfs2 does, but says so.
fn power_of_two(
    size: Option<u64>,
    what: &str,
    range: std::ops::RangeInclusive<u64>,
    ui: &mut Ui,
) -> anyhow::Result<Option<u32>> {
    let Some(bytes) = size else { return Ok(None) };
    let rounded = bytes.checked_ilog2().map_or(0, |power| 1 << power);
    if !range.contains(&rounded) {
        let (least, most) = (range.start(), range.end());
        return Err(usage_error(format_args!(
            "Specify a {what} between {least} and {most} in powers of 2"
        )));
    }
    if rounded != bytes {
        ui.note(format_args!("{what} {bytes} is no power of two: using {rounded}"));
    }
    // The range ends far below 2^32.
    Ok(Some(rounded as u32))
}

fn parse_journal(list: &str, options: &mut MkfsOptions) -> anyhow::Result<()> {
    for option in list.split(',') {
        match option.split_once('=') {
            Some(("size", text)) => options.journal_size = Some(size::parse(text).map_err(usage_error)?),
            None if matches!(option, "block64" | "noblock32") => options.journal_block64 = true,
            None if matches!(option, "block32" | "noblock64") => options.journal_block64 = false,
            _ => {
                return Err(usage_error(format_args!(
                    "Bad journal option '{option}'. Valid journal options are: size=<journal size> [no]block32 [no]block64"
                )));
            }
        }
    }
    Ok(())
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = match text.len() {
        32 => text.bytes().collect(),
        36 => {
            let dashes = text
                .bytes()
                .enumerate()
                .filter(|&(_, byte)| byte == b'-')
                .map(|(at, _)| at);
            if !dashes.eq([8, 13, 18, 23]) {
                return None;
            }
            text.bytes().filter(|&byte| byte != b'-').collect()
        }
        _ => return None,
    };
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut uuid = [0; 16];
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_read_with_dashes_in_their_places_or_without_any() {
        let plain = parse_uuid("0FE3B6F3A9B54072896B4B4BA3638973");
        assert!(plain.is_some());
        assert_eq!(parse_uuid("0fe3b6f3-a9b5-4072-896b-4b4ba3638973"), plain);
        for bad in [
            "",
            "0fe3",
            "0fe3b6f3a-9b5-4072-896b-4b4ba3638973",
            "0FE3B6F3A9B54072896B4B4BA363897G",
        ] {
            assert_eq!(parse_uuid(bad), None, "{bad}");
        }
    }

    #[test]
    fn journal_options_are_read_in_order() {
        let mut options = MkfsOptions::default();
        parse_journal("size=64M,block64", &mut options).unwrap();
        assert_eq!((options.journal_size, options.journal_block64), (Some(64 << 20), true));
        parse_journal("block32", &mut options).unwrap();
        assert!(!options.journal_block64);
        assert!(parse_journal("foo", &mut options).is_err());
    }
}
