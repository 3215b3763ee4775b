//! `ocfs2 reflink`: copies files of a volume by sharing their clusters.

use crate::cmd::Run;
use crate::edit::EditArgs;
use crate::edit::place::Route;
use crate::exit::Exit;
use crate::target::Target;
use crate::ui::Ui;

/// Copy files of a volume by sharing their clusters
///
/// The copy has owner, permissions, times and attributes of the original, takes no space of its own, and goes its own way
/// from then on. The volume must have the refcount feature.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  ocfs2 reflink disk.img:/vm/root.raw disk.img:/vm/before-upgrade.raw
  ocfs2 reflink disk.img:/vm/a.raw disk.img:/vm/b.raw disk.img:/snapshots")]
pub(crate) struct Args {
    /// Files to copy, and where to, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Copy everything into this directory
    #[arg(short = 't', long, value_name = "DIR", conflicts_with = "no_target_directory")]
    target_directory: Option<Target>,
    /// Treat the destination as a name for the copy, not as a directory to put it into
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    #[command(flatten)]
    edit: EditArgs,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let must_be_name = self.no_target_directory;
        let route = Route::new(self.targets.clone(), self.target_directory.as_ref(), must_be_name)?;
        self.edit.run(ui, |editor| {
            route.each(editor, |editor, fs, from, to| {
                from.find_in(fs, true)?;
                let shared = fs.reflink(from.path(), to.mounted_path()?);
                shared.map_err(|error| to.failed(error))?;
                editor.report("created", to, Some(&to.find_in(fs, false)?))
            })
        })
    }
}
