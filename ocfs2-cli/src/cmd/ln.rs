//! `ocfs2 ln`: makes links in a volume.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use anyhow::bail;
use ocfs2_format::FileKind;
use ocfs2_fs::FileSystem;

use crate::cmd::Run;
use crate::edit::{EditArgs, Editor, new_inode, place};
use crate::exit::Exit;
use crate::target::Target;
use crate::transfer::FileId;
use crate::ui::Ui;

/// Make hard and symbolic links in a volume
///
/// Works as ln(1) does, without mounting the volume. A hard link is made to IMAGE:/path; what a symbolic link says is any
/// text. Where LINK is a directory, the link is made in it.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  ocfs2 ln disk.img:/bin/busybox disk.img:/bin/sh
  ocfs2 ln -s ../usr/lib disk.img:/lib
  ocfs2 ln -sfn releases/7 disk.img:/srv/current")]
pub(crate) struct Args {
    /// What to link to: IMAGE:/path, or the text of a symbolic link
    #[arg(value_name = "ORIGINAL")]
    original: OsString,
    /// The new name, or a directory for it, as IMAGE:/path
    #[arg(value_name = "LINK")]
    link: Target,
    /// Make a symbolic link
    #[arg(short, long)]
    symbolic: bool,
    /// Replace what has the name, unless it is a directory
    #[arg(short, long)]
    force: bool,
    /// Treat LINK as the new name if it is a symbolic link to a directory
    #[arg(short, long)]
    no_dereference: bool,
    /// Treat LINK as the new name always
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    #[command(flatten)]
    edit: EditArgs,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        self.edit.run(ui, |editor| {
            editor.each(std::slice::from_ref(&self.link), |editor, fs, link| {
                self.link(editor, fs, link)
            })
        })
    }
}

impl Args {
    fn link(&self, editor: &mut Editor<'_>, fs: &FileSystem, link: &Target) -> anyhow::Result<()> {
        let is_link = || -> anyhow::Result<bool> {
            Ok(place::found(fs, link, false)?.is_some_and(|inode| inode.kind() == FileKind::Symlink))
        };
        let must_be_name = self.no_target_directory || (self.no_dereference && is_link()?);
        let original = (!self.symbolic).then(|| Target::from(self.original.clone()));
        let source = original
            .as_ref()
            .map_or(self.original.as_bytes(), |original| &original.path);
        let link = place::destination(fs, link, source, must_be_name, false)?;
        let inode = match &original {
            None => None,
            Some(original) => {
                if FileId::of(&original.image).ok() != FileId::of(&link.image).ok() {
                    bail!("{original}: a hard link cannot lead from one volume to another");
                }
                Some(original.find_in(fs, false)?)
            }
        };
        let (dir, name) = place::parent(fs, &link)?;
        if self.force
            && let Some(taken) = place::found(fs, &link, false)?
        {
            if inode.as_ref().is_some_and(|inode| inode.number() == taken.number()) {
                bail!("{link}: this is the file that it would lead to");
            }
            fs.unlink(dir, &name).map_err(|error| link.failed(error))?;
        }
        let made = match inode {
            Some(inode) => fs.link(inode.number(), dir, &name),
            None => fs.make_symlink(dir, &name, self.original.as_bytes(), &new_inode(0o777)),
        };
        let inode = made.map_err(|error| link.failed(error))?;
        editor.report("linked", &link, Some(&inode))
    }
}
