//! `ocfs2 rmdir`: removes empty directories from a volume.

use ocfs2_fs::{Error, FileSystem};

use crate::cmd::Run;
use crate::edit::{EditArgs, Editor, place};
use crate::exit::Exit;
use crate::target::Target;
use crate::ui::Ui;

/// Remove empty directories from a volume
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  ocfs2 rmdir disk.img:/mnt/old
  ocfs2 rmdir -p disk.img:/srv/www/htdocs")]
pub(crate) struct Args {
    /// Directories to remove, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Remove the directories above too, as far as they are empty then
    #[arg(short, long)]
    parents: bool,
    /// Do not mind directories that are not empty
    #[arg(long)]
    ignore_fail_on_non_empty: bool,
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
        let mut target = target.clone();
        loop {
            let (dir, name) = place::parent(fs, &target)?;
            match fs.rmdir(dir, &name) {
                Err(Error::NotEmpty(_)) if self.ignore_fail_on_non_empty => return Ok(()),
                removed => removed.map_err(|error| target.failed(error))?,
            }
            editor.report("removed", &target, None)?;
            let above = target.path().parent().filter(|above| above.file_name().is_some());
            match above.map(|above| above.as_os_str().as_encoded_bytes().to_vec()) {
                Some(path) if self.parents => target.path = path,
                _ => return Ok(()),
            }
        }
    }
}
