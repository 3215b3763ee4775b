//! `ocfs2 rm`: removes files and trees from a volume.

use anyhow::bail;
use ocfs2_format::FileKind;
use ocfs2_fs::{Error, FileSystem};

use crate::cmd::Run;
use crate::edit::{EditArgs, Editor, place, tree};
use crate::exit::Exit;
use crate::target::Target;
use crate::ui::Ui;

/// Remove files and directories from a volume
///
/// Works as rm(1) does, without mounting the volume, and never asks. Symbolic links are removed, not followed.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  ocfs2 rm disk.img:/etc/nologin
  ocfs2 rm -rf disk.img:/var/tmp/old disk.img:/core")]
pub(crate) struct Args {
    /// What to remove, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Remove directories and everything in them
    #[arg(short, long, short_alias = 'R')]
    recursive: bool,
    /// Remove empty directories
    #[arg(short, long)]
    dir: bool,
    /// Do not mind what is not there
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    edit: EditArgs,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        self.edit.run(ui, |editor| {
            editor.each(&self.targets, |editor, fs, target| self.remove(editor, fs, target))
        })
    }
}

impl Args {
    fn remove(&self, editor: &mut Editor<'_>, fs: &FileSystem, target: &Target) -> anyhow::Result<()> {
        if matches!(target.base_name(), b"" | b"." | b"..") {
            bail!("{target}: not removing the root directory, '.' or '..'");
        }
        let found = match target.find_in(fs, false) {
            Err(_) if self.force && matches!(fs.exists(target.path()), Ok(false)) => return Ok(()),
            found => found?,
        };
        let (dir, name) = place::parent(fs, target)?;
        let removed = match found.kind() {
            FileKind::Directory if self.recursive => {
                return tree::remove(editor, fs, target, dir, &name, &found);
            }
            FileKind::Directory if self.dir => fs.rmdir(dir, &name),
            FileKind::Directory => Err(Error::IsADirectory(target.path().into())),
            _ => fs.unlink(dir, &name),
        };
        removed.map_err(|error| target.failed(error))?;
        editor.report("removed", target, None)
    }
}
