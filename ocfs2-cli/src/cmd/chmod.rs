//! `ocfs2 chmod`: changes permissions in a volume.

use ocfs2_format::FileKind;
use ocfs2_fs::SetAttributes;

use crate::cmd::Run;
use crate::edit::mode::ModeChange;
use crate::edit::{EditArgs, tree, umask};
use crate::exit::Exit;
use crate::target::Target;
use crate::ui::Ui;

/// Change permissions in a volume
///
/// Works as chmod(1) does, without mounting the volume. Symbolic links are followed, but not below a directory. An access
/// control list follows the permissions.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  ocfs2 chmod 600 disk.img:/etc/shadow
  ocfs2 chmod -R u=rwX,go=rX disk.img:/srv/www
  ocfs2 chmod -x disk.img:/etc/fstab")]
pub(crate) struct Args {
    /// Permissions: octal, or as u+x,go=rX
    #[arg(value_name = "MODE", value_parser = ModeChange::parse, allow_hyphen_values = true)]
    mode: ModeChange,
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
        let umask = umask();
        self.edit.run(ui, |editor| {
            editor.each(&self.targets, |editor, fs, target| {
                let top = target.find_in(fs, true)?;
                let change = |editor: &mut crate::edit::Editor<'_>, target: &Target, inode: &ocfs2_fs::Inode| {
                    if inode.kind() == FileKind::Symlink {
                        return Ok(());
                    }
                    let change = SetAttributes {
                        mode: Some(self.mode.apply(inode.mode(), inode.kind(), umask)),
                        ..SetAttributes::default()
                    };
                    let changed = fs.set_attributes(inode.number(), &change);
                    let inode = changed.map_err(|error| target.failed(error))?;
                    editor.report("changed", target, Some(&inode))
                };
                match self.recursive {
                    true => tree::walk(editor, fs, target, &top, change),
                    false => change(editor, target, &top),
                }
            })
        })
    }
}
