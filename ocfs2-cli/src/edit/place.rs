//! Destinations: a name to take, or a directory to put something into.

use anyhow::{Context, bail};
use ocfs2_format::{FileKind, InodeNo};
use ocfs2_fs::{Error, FileSystem, Inode};

use crate::target::{Target, base_name};
use crate::text::printable;
use crate::transfer::FileId;
use crate::ui::usage_error;

use super::Editor;

/// Where `source` goes when it is given to `to`: into it, if it is a directory and not to be taken for a name.
pub(crate) fn destination(
    fs: &FileSystem,
    to: &Target,
    source: &[u8],
    must_be_name: bool,
    must_be_dir: bool,
) -> anyhow::Result<Target> {
    let is_dir = found(fs, to, true)?.is_some_and(|inode| inode.kind() == FileKind::Directory);
    if is_dir && !must_be_name {
        let name = base_name(source);
        if matches!(name, b"" | b"." | b"..") {
            bail!("{to}: '{}' has no name of its own to be put there", printable(source));
        }
        return Ok(to.join(name));
    }
    if must_be_dir {
        bail!("{to}: not a directory");
    }
    Ok(to.clone())
}

/// The inode behind a target, if there is one.
pub(crate) fn found(fs: &FileSystem, target: &Target, follow: bool) -> anyhow::Result<Option<Inode>> {
    let path = target.mounted_path()?;
    let found = if follow {
        fs.metadata(path)
    } else {
        fs.symlink_metadata(path)
    };
    match found {
        Ok(inode) => Ok(Some(inode)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(target.failed(error)),
    }
}

/// The directory that a target's name is in, and that name.
pub(crate) fn parent(fs: &FileSystem, target: &Target) -> anyhow::Result<(InodeNo, Vec<u8>)> {
    fs.parent(target.mounted_path()?).map_err(|error| target.failed(error))
}

/// Sources and destination of a command whose last target is the destination.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// What is to go there.
    pub(crate) sources: Vec<Target>,
    to: Target,
    must_be_dir: bool,
    must_be_name: bool,
}

impl Route {
    /// Takes the command line apart.
    ///
    /// # Errors
    /// A usage error where there are too few targets.
    pub(crate) fn new(mut targets: Vec<Target>, dir: Option<&Target>, must_be_name: bool) -> anyhow::Result<Self> {
        let (to, must_be_dir) = match dir {
            Some(dir) => (dir.clone(), true),
            None => match targets.pop() {
                Some(last) if !targets.is_empty() => (last, targets.len() > 1),
                _ => return Err(usage_error("a destination is needed behind the sources")),
            },
        };
        if must_be_name && targets.len() > 1 {
            return Err(usage_error("--no-target-directory takes one source"));
        }
        Ok(Self {
            sources: targets,
            to,
            must_be_dir,
            must_be_name,
        })
    }

    /// Does something to each source and the name that it is to have, both in one volume.
    pub(crate) fn each(
        &self,
        editor: &mut Editor<'_>,
        mut work: impl FnMut(&mut Editor<'_>, &FileSystem, &Target, &Target) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let image = FileId::of(&self.to.image).with_context(|| self.to.image.display().to_string())?;
        editor.each(&self.sources, |editor, fs, source| {
            if FileId::of(&source.image).ok() != Some(image) {
                bail!(
                    "{source}: {} is another volume; use ocfs2 cp -a",
                    self.to.image.display()
                );
            }
            let to = destination(fs, &self.to, &source.path, self.must_be_name, self.must_be_dir)?;
            work(editor, fs, source, &to)
        })
    }
}
