//! `ocfs2 du`: space that trees take.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_format::{FileKind, InodeNo};
use ocfs2_fs::Volume;
use serde::Serialize;

use crate::cmd::Run;
use crate::exit::Exit;
use crate::report::PathReport;
use crate::target::{ImageArgs, Images, Target};
use crate::text::human_size;
use crate::ui::{OutputArgs, Ui};

/// Sum up the space that directories of a volume take
///
/// Counts whole clusters, in units of 1024 bytes; a file with several names counts once. Clusters that files share count
/// for each of them, as they do for du(1) on a mounted volume.
#[derive(Debug, clap::Parser)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:\n  ocfs2 du -sh disk.img:/home/*\n  ocfs2 du -a -d 1 disk.img"
)]
pub(crate) struct Args {
    /// Directories or files, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Show a sum for each target only
    #[arg(short, long, conflicts_with_all = ["all", "max_depth"])]
    summarize: bool,
    /// Show files too, not directories only
    #[arg(short, long)]
    all: bool,
    /// Show a grand total
    #[arg(short = 'c', long)]
    total: bool,
    /// Show sizes with units: 1.5K, 23M
    #[arg(short, long)]
    human_readable: bool,
    /// Sum up sizes of contents instead of allocated space
    #[arg(long)]
    apparent_size: bool,
    /// Show sums in bytes of contents (--apparent-size in units of 1 byte)
    #[arg(short, long)]
    bytes: bool,
    /// Show directories at most N levels down
    #[arg(short = 'd', long, value_name = "N")]
    max_depth: Option<usize>,
    /// Count a file with several names for each of them
    #[arg(short = 'l', long)]
    count_links: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: (),
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Space below one directory.
#[derive(Debug)]
struct Sum {
    path: Vec<u8>,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    path: PathReport,
    bytes: u64,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let mut images = Images::new(self.image.clone());
        let mut counted = HashSet::new();
        let mut total = 0u64;
        if ui.is_json() {
            ui.begin_list("entries")?;
        }
        for (index, target) in self.targets.iter().enumerate() {
            match images.volume(target) {
                Err(error) => ui.problem(format_args!("{error:#}")),
                Ok(volume) => {
                    // Files of different images are different files.
                    let image = self
                        .targets
                        .iter()
                        .position(|other| other.image == target.image)
                        .unwrap_or(index);
                    total = total.saturating_add(self.tree(&volume, target, image, &mut counted, ui)?);
                }
            }
        }
        if self.total && !ui.is_json() {
            writeln!(ui, "{}\ttotal", self.size(total))?;
        }
        images.report_corrections(ui);
        Ok(Exit::OK)
    }
}

impl Args {
    fn tree(
        &self,
        volume: &Volume,
        target: &Target,
        image: usize,
        counted: &mut HashSet<(usize, InodeNo)>,
        ui: &mut Ui,
    ) -> anyhow::Result<u64> {
        let path = Path::new(OsStr::from_bytes(&target.path));
        let walk = match target.resolve(volume, false) {
            Ok(inode) => volume.walk_inode(inode, path),
            Err(error) => {
                ui.problem(format_args!("{error:#}"));
                return Ok(0);
            }
        };
        // The directories that the walk is in, from the top.
        let mut open: Vec<Sum> = Vec::new();
        let mut whole = 0;
        for found in walk {
            let entry = match found {
                Ok(entry) => entry,
                Err(error) => {
                    ui.problem(format_args!("{}:{error}", target.image.display()));
                    continue;
                }
            };
            while open.len() > entry.depth {
                whole = self.close(&mut open, target, ui)?;
            }
            let inode = &entry.inode;
            let path = entry.path.as_os_str().as_bytes();
            let is_dir = inode.kind() == FileKind::Directory;
            let once = self.count_links || is_dir || inode.links() < 2;
            let bytes = match inode {
                _ if !once && !counted.insert((image, inode.number())) => continue,
                _ if !self.apparent_size && !self.bytes => inode.sectors().saturating_mul(512),
                // As du(1): devices and the like have no size.
                _ if matches!(
                    inode.kind(),
                    FileKind::Regular | FileKind::Directory | FileKind::Symlink
                ) =>
                {
                    inode.size()
                }
                _ => 0,
            };
            if is_dir {
                open.push(Sum {
                    path: path.to_vec(),
                    bytes,
                });
                continue;
            }
            match open.last_mut() {
                Some(sum) => sum.bytes = sum.bytes.saturating_add(bytes),
                None => whole = bytes,
            }
            if self.all || entry.depth == 0 {
                self.line(path, bytes, entry.depth, target, ui)?;
            }
        }
        while !open.is_empty() {
            whole = self.close(&mut open, target, ui)?;
        }
        Ok(whole)
    }

    /// Ends the innermost directory: shows it, and adds it to the one above. Returns its sum.
    fn close(&self, open: &mut Vec<Sum>, target: &Target, ui: &mut Ui) -> anyhow::Result<u64> {
        let Some(sum) = open.pop() else { return Ok(0) };
        if let Some(above) = open.last_mut() {
            above.bytes = above.bytes.saturating_add(sum.bytes);
        }
        self.line(&sum.path, sum.bytes, open.len(), target, ui)?;
        Ok(sum.bytes)
    }

    fn line(&self, path: &[u8], bytes: u64, depth: usize, target: &Target, ui: &mut Ui) -> anyhow::Result<()> {
        if depth
            > if self.summarize {
                0
            } else {
                self.max_depth.unwrap_or(usize::MAX)
            }
        {
            return Ok(());
        }
        if ui.is_json() {
            return ui.item(&Entry {
                path: path.into(),
                bytes,
            });
        }
        write!(ui, "{}\t", self.size(bytes))?;
        ui.name(
            &Target {
                image: target.image.clone(),
                path: path.to_vec(),
            }
            .to_bytes(),
        )?;
        writeln!(ui)?;
        Ok(())
    }

    fn size(&self, bytes: u64) -> String {
        match self {
            _ if self.human_readable => human_size(bytes),
            _ if self.bytes => bytes.to_string(),
            _ => bytes.div_ceil(1024).to_string(),
        }
    }
}
