//! `ocfs2 chown`: changes owners in a volume.

use ocfs2_fs::{Inode, SetAttributes};

use crate::cmd::Run;
use crate::edit::owner::Owner;
use crate::edit::{EditArgs, Editor, tree};
use crate::exit::Exit;
use crate::target::Target;
use crate::ui::Ui;

/// Change user and group of what is in a volume
///
/// Works as chown(1) does, without mounting the volume. Names are those of this machine. Symbolic links are followed, but
/// not below a directory.
#[derive(Debug, clap::Parser)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  ocfs2 chown www-data:www-data disk.img:/srv/www/index.html
  ocfs2 chown -R 1000:1000 disk.img:/home/user
  ocfs2 chown :adm disk.img:/var/log/syslog"
)]
pub(crate) struct Args {
    /// USER, USER:GROUP, USER: for the user's own group, or :GROUP; names or numbers
    #[arg(value_name = "OWNER", value_parser = Owner::parse)]
    owner: Owner,
    /// What to change, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Change everything below directories too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Change symbolic links themselves
    #[arg(short = 'h', long)]
    no_dereference: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    edit: EditArgs,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let wanted = SetAttributes {
            uid: self.owner.uid,
            gid: self.owner.gid,
            ..SetAttributes::default()
        };
        self.edit.run(ui, |editor| {
            editor.each(&self.targets, |editor, fs, target| {
                let top = target.find_in(fs, !self.no_dereference)?;
                let change = |editor: &mut Editor<'_>, target: &Target, inode: &Inode| {
                    let changed = fs.set_attributes(inode.number(), &wanted);
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
