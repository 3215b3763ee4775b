//! `ocfs2 chattr`: changes attribute flags in a volume.

use ocfs2_format::FileKind;
use ocfs2_fs::Inode;

use crate::cmd::Run;
use crate::edit::flags::FlagChange;
use crate::edit::{EditArgs, Editor, tree};
use crate::exit::Exit;
use crate::target::Target;
use crate::ui::Ui;

/// Change attribute flags of files and directories in a volume
///
/// Works as chattr(1) does, without mounting the volume: a append only, A no access times, c compressed, d no dump,
/// D synchronous directory, i immutable, s secure deletion, S synchronous, T top of a hierarchy, u undeletable.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  ocfs2 chattr +i disk.img:/etc/resolv.conf
  ocfs2 chattr -R -ia disk.img:/srv
  ocfs2 chattr =dA disk.img:/var/cache")]
pub(crate) struct Args {
    /// Flags: + to add, - to remove, = to set, and letters
    #[arg(value_name = "FLAGS", value_parser = FlagChange::parse, allow_hyphen_values = true)]
    flags: FlagChange,
    /// What to change, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Change everything below directories too
    #[arg(short = 'R', long)]
    recursive: bool,
    #[command(flatten)]
    edit: EditArgs,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        self.edit.run(ui, |editor| {
            editor.each(&self.targets, |editor, fs, target| {
                let top = target.find_in(fs, false)?;
                let change = |editor: &mut Editor<'_>, target: &Target, inode: &Inode| {
                    if !matches!(inode.kind(), FileKind::Regular | FileKind::Directory) {
                        return Ok(());
                    }
                    let failed = |error| target.failed(error);
                    fs.set_flags(inode.number(), self.flags.apply(inode.attr()))
                        .map_err(failed)?;
                    let inode = fs.inode(inode.number()).map_err(failed)?;
                    editor.report("changed", target, Some(&inode))
                };
                match (self.recursive, top.kind()) {
                    (true, _) => tree::walk(editor, fs, target, &top, change),
                    (false, FileKind::Regular | FileKind::Directory) => change(editor, target, &top),
                    _ => anyhow::bail!("{target}: only files and directories have flags"),
                }
            })
        })
    }
}
