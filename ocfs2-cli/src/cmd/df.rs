//! `ocfs2 df`: free space of volumes.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use ocfs2_format::SystemFile;
use ocfs2_fs::Volume;
use serde::Serialize;
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Padding, Style};

use crate::cmd::Run;
use crate::exit::Exit;
use crate::target::{ImageArgs, Images, Target};
use crate::text::{human_size, printable};
use crate::ui::{OutputArgs, Ui};

/// Show how much of a volume is in use and how much is free
///
/// Counts what the volume's global bitmap says, as df(1) does on a mounted volume, in units of 1024 bytes.
#[derive(Debug, clap::Parser)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:\n  ocfs2 df -h disk.img\n  ocfs2 df --explain disk.img"
)]
pub(crate) struct Args {
    /// Image files or devices
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Show sizes with units: 1.5K, 23M
    #[arg(short, long)]
    human_readable: bool,
    /// Show too what is free but counted as in use (local allocs, truncate logs, deleted files), and the inodes
    #[arg(long)]
    explain: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: (),
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Space of one volume.
#[derive(Debug, Serialize)]
struct Report {
    image: String,
    label: String,
    uuid: String,
    cluster_size: u64,
    bytes: u64,
    used_bytes: u64,
    free_bytes: u64,
    /// Parts of `used_bytes`.
    local_alloc_free_bytes: u64,
    truncate_log_bytes: u64,
    orphan_bytes: u64,
    orphans: usize,
    inodes: Inodes,
}

/// Inodes of all slots.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Inodes {
    /// Blocks that hold inodes or can hold them without allocating more.
    total: u64,
    free: u64,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let mut images = Images::new(self.image.clone());
        let mut reports = Vec::new();
        for image in &self.images {
            let target = Target {
                image: image.clone(),
                path: b"/".to_vec(),
            };
            let report = images.volume(&target).and_then(|volume| {
                Report::read(&volume, image.display().to_string()).with_context(|| image.display().to_string())
            });
            match report {
                Ok(report) => reports.push(report),
                Err(error) => ui.problem(format_args!("{error:#}")),
            }
        }
        if ui.is_json() {
            ui.begin_list("volumes")?;
            for report in &reports {
                ui.item(report)?;
            }
        } else if !reports.is_empty() {
            self.print(&reports, ui)?;
        }
        images.report_corrections(ui);
        Ok(Exit::OK)
    }
}

impl Args {
    fn print(&self, reports: &[Report], ui: &mut Ui) -> anyhow::Result<()> {
        let size_head = if self.human_readable { "Size" } else { "1K-blocks" };
        let mut table = Builder::new();
        table.push_record(["Volume", size_head, "Used", "Available", "Use%", "Label"]);
        for report in reports {
            let percent = (u128::from(report.used_bytes) * 100).div_ceil(u128::from(report.bytes.max(1)));
            table.push_record([
                printable(report.image.as_bytes()).into_owned(),
                self.size(report.bytes),
                self.size(report.used_bytes),
                self.size(report.free_bytes),
                format!("{percent}%"),
                printable(report.label.as_bytes()).into_owned(),
            ]);
        }
        writeln!(ui, "{}", aligned(table, 1..5))?;
        for report in reports.iter().filter(|_| self.explain) {
            let mut table = Builder::new();
            for (what, bytes) in [
                (
                    "in use by files and metadata",
                    report.used_bytes.saturating_sub(report.pending_bytes()),
                ),
                ("free, in the windows of local allocs", report.local_alloc_free_bytes),
                ("free, waiting in truncate logs", report.truncate_log_bytes),
                ("in use by deleted files", report.orphan_bytes),
                ("free", report.free_bytes),
            ] {
                table.push_record([what.to_owned(), self.size(bytes)]);
            }
            table.push_record(["deleted files waiting".to_owned(), report.orphans.to_string()]);
            table.push_record([
                "inodes in use".to_owned(),
                (report.inodes.total.saturating_sub(report.inodes.free)).to_string(),
            ]);
            table.push_record([
                "inodes free without allocating more".to_owned(),
                report.inodes.free.to_string(),
            ]);
            writeln!(
                ui,
                "\n{}:\n{}",
                printable(report.image.as_bytes()),
                aligned(table, 1..2)
            )?;
        }
        Ok(())
    }

    fn size(&self, bytes: u64) -> String {
        if self.human_readable {
            human_size(bytes)
        } else {
            bytes.div_ceil(1024).to_string()
        }
    }
}

/// A table without lines, with the numbers of some columns on their right.
fn aligned(table: Builder, numbers: std::ops::Range<usize>) -> String {
    let mut table = table.build();
    table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
    table.modify(Columns::new(numbers), Alignment::right());
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

impl Report {
    fn read(volume: &Volume, image: String) -> ocfs2_fs::Result<Self> {
        let geometry = volume.geometry();
        let space = volume.space()?;
        let mut orphans = 0;
        let mut inodes = Inodes::default();
        if !geometry.features.heartbeat_device() {
            for slot in volume.slots() {
                orphans += volume.orphans(slot)?.iter().filter(|orphan| !orphan.dio).count();
                let allocator = volume.inode(volume.system_file(SystemFile::InodeAlloc, slot)?)?;
                let counts = volume.allocator(&allocator)?;
                inodes.total += u64::from(counts.total);
                inodes.free += u64::from(counts.free());
            }
        }
        let bytes = |clusters: u64| clusters.saturating_mul(geometry.cluster_size());
        Ok(Self {
            image,
            label: String::from_utf8_lossy(volume.superblock().label()).into_owned(),
            uuid: volume.superblock().uuid_text(),
            cluster_size: geometry.cluster_size(),
            bytes: bytes(space.total),
            used_bytes: bytes(space.used),
            free_bytes: bytes(space.total.saturating_sub(space.used)),
            local_alloc_free_bytes: bytes(space.local_alloc_free),
            truncate_log_bytes: bytes(space.truncate_log),
            orphan_bytes: bytes(space.orphans),
            orphans,
            inodes,
        })
    }

    /// Bytes that are in use only until something is cleaned up.
    fn pending_bytes(&self) -> u64 {
        let parts = [self.local_alloc_free_bytes, self.truncate_log_bytes, self.orphan_bytes];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}
