//! `ocfs2 mkdir`: makes directories in a volume.

use std::path::{Component, Path, PathBuf};

use anyhow::bail;
use ocfs2_format::{FileKind, InodeNo};
use ocfs2_fs::{Error, FileSystem, Inode, NewInode, SetAttributes};

use crate::cmd::Run;
use crate::edit::mode::ModeChange;
use crate::edit::{EditArgs, Editor, new_inode, umask};
use crate::exit::Exit;
use crate::target::Target;
use crate::ui::Ui;

/// Make directories in a volume
///
/// Works as mkdir(1) does, without mounting the volume. New directories belong to the caller.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  ocfs2 mkdir disk.img:/srv
  ocfs2 mkdir -p disk.img:/srv/www/htdocs
  ocfs2 mkdir -m u=rwx,go= disk.img:/root")]
pub(crate) struct Args {
    /// Directories to make, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Make the directories above too, and do not mind what is there already
    #[arg(short, long)]
    parents: bool,
    /// Permissions, octal or as chmod takes them, instead of what the umask leaves
    #[arg(short, long, value_name = "MODE", value_parser = ModeChange::parse)]
    mode: Option<ModeChange>,
    #[command(flatten)]
    edit: EditArgs,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        self.edit.run(ui, |editor| {
            editor.each(&self.targets, |editor, fs, target| match self.parents {
                true => self.make_all(editor, fs, target),
                false => {
                    let (dir, name) = parent(fs, target)?;
                    let made = self.make(fs, dir, &name);
                    let inode = made.map_err(|error| target.failed(error))?;
                    editor.report("created", target, Some(&inode))
                }
            })
        })
    }
}

/// The directory for a new name. Of a path without one, such as the root, is said what there is.
fn parent(fs: &FileSystem, target: &Target) -> anyhow::Result<(InodeNo, Vec<u8>)> {
    fs.parent(target.path()).map_err(|error| match error {
        Error::BadName(path) => target.failed(Error::Exists(path)),
        other => target.failed(other),
    })
}

impl Args {
    fn make(&self, fs: &FileSystem, dir: InodeNo, name: &[u8]) -> ocfs2_fs::Result<Inode> {
        let inode = fs.make_dir(dir, name, &new_inode(0o777))?;
        let Some(change) = &self.mode else { return Ok(inode) };
        let change = SetAttributes {
            mode: Some(change.apply(0o777, FileKind::Directory, umask())),
            ..SetAttributes::default()
        };
        fs.set_attributes(inode.number(), &change)
    }

    fn make_all(&self, editor: &mut Editor<'_>, fs: &FileSystem, target: &Target) -> anyhow::Result<()> {
        let mut path = PathBuf::from("/");
        let components: Vec<Component<'_>> = target.path().components().collect();
        for (index, component) in components.iter().enumerate() {
            path.push(component);
            if !matches!(component, Component::Normal(_)) {
                continue;
            }
            let here = Target {
                image: target.image.clone(),
                path: path.as_os_str().as_encoded_bytes().to_vec(),
            };
            if self.is_there(fs, &path, &here)? {
                continue;
            }
            let (dir, name) = parent(fs, &here)?;
            let is_last = index + 1 == components.len();
            let made = match is_last {
                true => self.make(fs, dir, &name),
                // The caller has to get through it.
                false => {
                    let new = new_inode(0o777);
                    let umask = new.umask & !0o300;
                    fs.make_dir(dir, &name, &NewInode { umask, ..new })
                }
            };
            let inode = made.map_err(|error| here.failed(error))?;
            editor.report("created", &here, Some(&inode))?;
        }
        Ok(())
    }

    /// Whether a directory is there; anything else in its place is an error.
    fn is_there(&self, fs: &FileSystem, path: &Path, here: &Target) -> anyhow::Result<bool> {
        match fs.metadata(path) {
            Ok(inode) if inode.kind() == FileKind::Directory => Ok(true),
            Ok(_) => bail!("{here}: not a directory"),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(here.failed(error)),
        }
    }
}
