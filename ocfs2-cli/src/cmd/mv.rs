//! `ocfs2 mv`: moves and renames inside a volume.

use anyhow::bail;
use ocfs2_fs::{Error, FileSystem, RenameMode};

use crate::cmd::Run;
use crate::edit::place::Route;
use crate::edit::{EditArgs, Editor, place};
use crate::exit::Exit;
use crate::target::Target;
use crate::ui::Ui;

/// Move or rename files and directories inside a volume
///
/// Works as mv(1) does, without mounting the volume. From one volume to another, or to and from this machine, things are
/// copied with 'ocfs2 cp -a'.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  ocfs2 mv disk.img:/etc/motd disk.img:/etc/motd.old
  ocfs2 mv disk.img:/a disk.img:/b disk.img:/target/dir
  ocfs2 mv --exchange disk.img:/current disk.img:/next")]
pub(crate) struct Args {
    /// What to move, and where to, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Move everything into this directory
    #[arg(short = 't', long, value_name = "DIR", conflicts_with = "no_target_directory")]
    target_directory: Option<Target>,
    /// Treat the destination as the new name, not as a directory to put it into
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// Leave what is there at the destination as it is
    #[arg(short, long)]
    no_clobber: bool,
    /// Replace what is there without asking (the default)
    #[arg(short, long)]
    force: bool,
    /// Let the two names change places
    #[arg(long, conflicts_with = "no_clobber")]
    exchange: bool,
    #[command(flatten)]
    edit: EditArgs,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let must_be_name = self.no_target_directory || self.exchange;
        let route = Route::new(self.targets.clone(), self.target_directory.as_ref(), must_be_name)?;
        self.edit.run(ui, |editor| {
            route.each(editor, |editor, fs, from, to| self.rename(editor, fs, from, to))
        })
    }
}

impl Args {
    fn rename(&self, editor: &mut Editor<'_>, fs: &FileSystem, from: &Target, to: &Target) -> anyhow::Result<()> {
        let mode = match (self.exchange, self.no_clobber) {
            (true, _) => RenameMode::Exchange,
            (_, true) => RenameMode::NoReplace,
            _ => RenameMode::Replace,
        };
        let inode = from.find_in(fs, false)?;
        if let Some(taken) = place::found(fs, to, false)?
            && taken.number() == inode.number()
            && !self.no_clobber
        {
            bail!("{from}: {to} is the same file");
        }
        match fs.rename_with(from.path(), to.mounted_path()?, mode) {
            Err(Error::Exists(_)) if self.no_clobber => Ok(()),
            renamed => {
                renamed.map_err(|error| to.failed(error))?;
                editor.report("renamed", to, Some(&to.find_in(fs, false)?))
            }
        }
    }
}
