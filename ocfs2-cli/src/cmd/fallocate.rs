//! `ocfs2 fallocate`: allocates and frees ranges of files in a volume.

use ocfs2_fs::{AllocateMode, OpenHow};

use crate::cmd::Run;
use crate::edit::{EditArgs, new_inode, place};
use crate::exit::Exit;
use crate::size;
use crate::target::Target;
use crate::ui::Ui;

/// Allocate or free space of a file in a volume
///
/// Works as fallocate(1) does, without mounting the volume. What is allocated reads as zeros.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  ocfs2 fallocate -l 10G disk.img:/vm/root.raw
  ocfs2 fallocate -p --offset 1G -l 512M disk.img:/vm/root.raw")]
pub(crate) struct Args {
    /// File, as IMAGE:/path
    #[arg(value_name = "TARGET")]
    target: Target,
    /// Bytes of the range
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse)]
    length: u64,
    /// Where the range begins
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "0")]
    offset: u64,
    /// Leave the size of the file as it is
    #[arg(short = 'n', long)]
    keep_size: bool,
    /// Free the range, which reads as zeros then
    #[arg(short, long, conflicts_with_all = ["zero_range", "unshare_range"])]
    punch_hole: bool,
    /// Make the range zeros, allocated
    #[arg(short, long, conflicts_with = "unshare_range")]
    zero_range: bool,
    /// Give the file clusters of its own where it shares them
    #[arg(short, long)]
    unshare_range: bool,
    #[command(flatten)]
    edit: EditArgs,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let mode = match (self.punch_hole, self.zero_range, self.unshare_range, self.keep_size) {
            (true, ..) => AllocateMode::PunchHole,
            (_, true, _, false) => AllocateMode::ZeroRange,
            (_, true, _, true) => AllocateMode::ZeroRangeKeepSize,
            (_, _, true, _) => AllocateMode::Unshare,
            (.., true) => AllocateMode::KeepSize,
            _ => AllocateMode::Extend,
        };
        let makes = matches!(mode, AllocateMode::Extend | AllocateMode::KeepSize);
        self.edit.run(ui, |editor| {
            editor.each(std::slice::from_ref(&self.target), |editor, fs, target| {
                let failed = |error| target.failed(error);
                if makes && place::found(fs, target, true)?.is_none() {
                    let (dir, name) = place::parent(fs, target)?;
                    fs.create_file(dir, &name, &new_inode(0o666)).map_err(failed)?;
                }
                let file = fs.open(target.path(), OpenHow::new().write(true)).map_err(failed)?;
                let end = self.offset.saturating_add(self.length);
                file.allocate(self.offset..end, mode).map_err(failed)?;
                let inode = file.metadata().map_err(failed)?;
                file.close().map_err(failed)?;
                editor.report("changed", target, Some(&inode))
            })
        })
    }
}
