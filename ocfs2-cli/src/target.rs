//! Naming something inside a volume: `IMAGE:/path`, and the options that say how to open the image.
//!
//! The image is the shortest part before a `:/` that names an existing file or device; where none does, the part before the
//! first `:/`. So image names may contain colons, and so may paths. An argument without `:/` is an image alone and means
//! its root directory. `IMAGE://NAME` is the system file `NAME`, and `IMAGE://` the system directory.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use ocfs2_format::FileKind;
use ocfs2_format::device::{self, FileOptions};
use ocfs2_fs::{Inode, OpenOptions, Volume};

use crate::ui::Ui;

/// An image or device, and a path inside its volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The image file or device.
    pub(crate) image: PathBuf,
    /// The path inside, beginning with `/`.
    pub(crate) path: Vec<u8>,
}

impl From<OsString> for Target {
    fn from(text: OsString) -> Self {
        Self::split(&text, |image| {
            std::fs::metadata(image).is_ok_and(|found| !found.is_dir())
        })
    }
}

impl Target {
    fn split(text: &OsStr, is_image: impl Fn(&Path) -> bool) -> Self {
        let bytes = text.as_bytes();
        let mut splits = bytes
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| pair == b":/")
            .map(|(at, _)| at);
        let first = splits.clone().next();
        let image_of = |at: usize| Path::new(OsStr::from_bytes(&bytes[..at]));
        match splits
            .find(|&at| is_image(image_of(at)))
            .or(first.filter(|_| !is_image(Path::new(text))))
        {
            Some(at) => Self {
                image: image_of(at).to_owned(),
                path: bytes[at + 1..].to_vec(),
            },
            None => Self {
                image: text.into(),
                path: b"/".to_vec(),
            },
        }
    }

    /// The target one step further down.
    pub(crate) fn join(&self, name: &[u8]) -> Self {
        Self {
            image: self.image.clone(),
            path: join(&self.path, name),
        }
    }

    /// The text that names this target.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [self.image.as_os_str().as_bytes(), b":", &self.path].concat()
    }

    /// The inode that the path leads to. `follow` says what happens to a symbolic link in the last place.
    pub(crate) fn resolve(&self, volume: &Volume, follow: bool) -> anyhow::Result<Inode> {
        self.find(volume, follow).map_err(|error| match error {
            // These say which path they mean, without the image.
            ocfs2_fs::Error::NotFound(_) => anyhow::anyhow!("{self}: no such file or directory"),
            ocfs2_fs::Error::NotADirectory(_) => anyhow::anyhow!("{self}: not a directory"),
            ocfs2_fs::Error::SymlinkLoop(_) => anyhow::anyhow!("{self}: too many levels of symbolic links"),
            other => anyhow::Error::new(other).context(self.to_string()),
        })
    }

    fn find(&self, volume: &Volume, follow: bool) -> ocfs2_fs::Result<Inode> {
        let Some(system) = self.path.strip_prefix(b"//") else {
            let path = Path::new(OsStr::from_bytes(&self.path));
            return if follow {
                volume.metadata(path)
            } else {
                volume.symlink_metadata(path)
            };
        };
        let mut inode = volume.inode(volume.system_dir())?;
        let path = || PathBuf::from(OsString::from_vec(self.path.clone()));
        for name in system.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            if inode.kind() != FileKind::Directory {
                return Err(ocfs2_fs::Error::NotADirectory(path()));
            }
            let entry = volume
                .lookup(&inode, name)?
                .ok_or_else(|| ocfs2_fs::Error::NotFound(path()))?;
            inode = volume.inode(entry.inode())?;
        }
        Ok(inode)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}",
            self.image.display(),
            OsStr::from_bytes(&self.path).display()
        )
    }
}

/// The path of `name` in the directory `dir`.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let separator: &[u8] = if dir.ends_with(b"/") { b"" } else { b"/" };
    [dir, separator, name].concat()
}

/// Options about opening images. Flatten them into a command's `Args`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Image options")]
pub(crate) struct ImageArgs {
    /// Read the volume in partition N of the image or device
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// Use backup superblock N (1 to 6) instead of the primary one
    #[arg(long, value_name = "N")]
    backup_superblock: Option<u32>,
    /// Show the volume as it is on the device, without replaying dirty journals in memory
    #[arg(long)]
    no_replay: bool,
}

impl ImageArgs {
    /// Opens the volume in `image` for reading.
    pub(crate) fn open(&self, image: &Path) -> anyhow::Result<Volume> {
        let mut options = OpenOptions::default();
        options.backup_superblock = self.backup_superblock;
        options.replay_journals = !self.no_replay;
        let device =
            device::open(image, &FileOptions::new(), self.partition).with_context(|| image.display().to_string())?;
        Volume::open(device, &options).with_context(|| image.display().to_string())
    }
}

/// The volumes that a command works on, each opened once.
#[derive(Debug)]
pub(crate) struct Images {
    options: ImageArgs,
    open: HashMap<PathBuf, Volume>,
}

impl Images {
    /// No volume yet.
    pub(crate) fn new(options: ImageArgs) -> Self {
        Self {
            options,
            open: HashMap::new(),
        }
    }

    /// The volume of a target.
    pub(crate) fn volume(&mut self, target: &Target) -> anyhow::Result<Volume> {
        if let Some(volume) = self.open.get(&target.image) {
            return Ok(volume.clone());
        }
        let volume = self.options.open(&target.image)?;
        self.open.insert(target.image.clone(), volume.clone());
        Ok(volume)
    }

    /// Tells the user which blocks were read only because their check code could put a flipped bit right.
    pub(crate) fn report_corrections(&self, ui: &mut Ui) {
        for (image, volume) in &self.open {
            for correction in volume.corrections() {
                ui.note(format_args!(
                    "{}: {} at block {}: corrected in memory: {:?}",
                    image.display(),
                    correction.structure,
                    correction.block,
                    correction.verdict
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Target;

    fn split(text: &str, images: &[&str]) -> (String, String) {
        let target = Target::split(text.as_ref(), |image| {
            images.iter().any(|name| image == Path::new(name))
        });
        (
            target.image.to_str().unwrap().to_owned(),
            String::from_utf8(target.path).unwrap(),
        )
    }

    #[test]
    fn image_and_path_are_split_at_the_first_colon_before_a_slash() {
        assert_eq!(split("a.img:/etc/x", &[]), ("a.img".into(), "/etc/x".into()));
        assert_eq!(split("a.img:/etc:/x", &["a.img"]), ("a.img".into(), "/etc:/x".into()));
        assert_eq!(
            split("a.img://slot_map", &["a.img"]),
            ("a.img".into(), "//slot_map".into())
        );
    }

    #[test]
    fn an_image_alone_means_its_root() {
        assert_eq!(split("/tmp/a.img", &[]), ("/tmp/a.img".into(), "/".into()));
        assert_eq!(split("a:b", &[]), ("a:b".into(), "/".into()));
    }

    #[test]
    fn colons_in_the_name_of_an_existing_image_do_not_split_it() {
        assert_eq!(
            split("dir:/a.img:/x", &["dir:/a.img"]),
            ("dir:/a.img".into(), "/x".into())
        );
        assert_eq!(split("dir:/a.img", &["dir:/a.img"]), ("dir:/a.img".into(), "/".into()));
    }
}
