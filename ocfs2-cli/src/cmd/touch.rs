//! `ocfs2 touch`: changes times in a volume, and makes empty files.

use std::ffi::OsString;

use anyhow::Context;
use ocfs2_fs::{FileSystem, Inode, SetAttributes, SetTime, Timestamp};

use crate::cmd::Run;
use crate::edit::{EditArgs, Editor, new_inode, place, when};
use crate::exit::Exit;
use crate::target::Target;
use crate::ui::Ui;

/// Change times of what is in a volume, and make empty files
///
/// Works as touch(1) does, without mounting the volume.
#[derive(Debug, clap::Parser)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  ocfs2 touch disk.img:/forcefsck
  ocfs2 touch -d '2026-11-22 13:45' disk.img:/etc/motd
  ocfs2 touch -c -m -r disk.img:/etc/fstab disk.img:/etc/motd"
)]
pub(crate) struct Args {
    /// What to touch, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Change the access time only
    #[arg(short)]
    access: bool,
    /// Change the modification time only
    #[arg(short)]
    modification: bool,
    /// Make no files
    #[arg(short = 'c', long)]
    no_create: bool,
    /// This time instead of now: @SECONDS, or as 2026-11-22 13:45:59.5+01:00
    #[arg(short, long, value_name = "TIME", value_parser = when::parse, conflicts_with = "reference")]
    date: Option<Timestamp>,
    /// The times of this file, IMAGE:/path or one of this machine
    #[arg(short, long, value_name = "FILE")]
    reference: Option<OsString>,
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
        self.edit.run(ui, |editor| {
            let [atime, mtime] = self.times(editor)?;
            let both = self.access == self.modification;
            let change = SetAttributes {
                atime: Some(atime).filter(|_| both || self.access),
                mtime: Some(mtime).filter(|_| both || self.modification),
                ..SetAttributes::default()
            };
            editor.each(&self.targets, |editor, fs, target| {
                let Some((inode, is_new)) = self.find(fs, target)? else {
                    return Ok(());
                };
                let changed = fs.set_attributes(inode.number(), &change);
                let inode = changed.map_err(|error| target.failed(error))?;
                editor.report(if is_new { "created" } else { "changed" }, target, Some(&inode))
            })
        })
    }
}

impl Args {
    /// Access and modification time to set.
    fn times(&self, editor: &mut Editor<'_>) -> anyhow::Result<[SetTime; 2]> {
        if let Some(time) = self.date {
            return Ok([SetTime::At(time); 2]);
        }
        let Some(reference) = &self.reference else {
            return Ok([SetTime::Now; 2]);
        };
        if let Some(target) = Target::inside(reference) {
            let fs = editor.fs(&target)?;
            let inode = target.find_in(&fs, !self.no_dereference)?;
            return Ok([SetTime::At(inode.atime()), SetTime::At(inode.mtime())]);
        }
        let found = match self.no_dereference {
            true => rustix::fs::lstat(reference),
            false => rustix::fs::stat(reference),
        };
        let found = found
            .map_err(std::io::Error::from)
            .with_context(|| format!("'{}'", reference.display()))?;
        let [atime, mtime] = crate::import::times_of(&found);
        Ok([SetTime::At(atime), SetTime::At(mtime)])
    }

    /// The inode to touch, and whether it was made for that.
    fn find(&self, fs: &FileSystem, target: &Target) -> anyhow::Result<Option<(Inode, bool)>> {
        match place::found(fs, target, !self.no_dereference)? {
            Some(inode) => Ok(Some((inode, false))),
            None if self.no_create || self.no_dereference => Ok(None),
            None => {
                let (dir, name) = place::parent(fs, target)?;
                let made = fs.create_file(dir, &name, &new_inode(0o666));
                Ok(Some((made.map_err(|error| target.failed(error))?, true)))
            }
        }
    }
}
