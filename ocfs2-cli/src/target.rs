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
use ocfs2_fs::{FileSystem, Inode, OpenOptions, Volume};

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

    /// The target that `text` names, if it begins with the name of an image or device that exists; `None` for a path of
    /// this machine.
    pub(crate) fn inside(text: &OsStr) -> Option<Self> {
        let bytes = text.as_bytes();
        let at = (0..bytes.len().saturating_sub(1)).find(|&at| {
            let image = Path::new(OsStr::from_bytes(&bytes[..at]));
            bytes[at..].starts_with(b":/") && std::fs::metadata(image).is_ok_and(|found| !found.is_dir())
        })?;
        Some(Self {
            image: OsStr::from_bytes(&bytes[..at]).into(),
            path: bytes[at + 1..].to_vec(),
        })
    }

    /// The path inside the volume.
    pub(crate) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// The last component of the path; empty for the root.
    pub(crate) fn base_name(&self) -> &[u8] {
        base_name(&self.path)
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
        self.find(volume, follow).map_err(|error| self.failed(error))
    }

    /// The inode that the path leads to in a mounted volume.
    pub(crate) fn find_in(&self, fs: &FileSystem, follow: bool) -> anyhow::Result<Inode> {
        let path = self.mounted_path()?;
        let found = if follow {
            fs.metadata(path)
        } else {
            fs.symlink_metadata(path)
        };
        found.map_err(|error| self.failed(error))
    }

    /// The path inside a mounted volume, which has no system files.
    pub(crate) fn mounted_path(&self) -> anyhow::Result<&Path> {
        if self.path.starts_with(b"//") {
            anyhow::bail!("{self}: system files cannot be changed or copied into a volume");
        }
        Ok(self.path())
    }

    /// What went wrong with this target.
    pub(crate) fn failed(&self, error: ocfs2_fs::Error) -> anyhow::Error {
        use ocfs2_fs::Error;
        let why = match error {
            // These say which path they mean, without the image.
            Error::NotFound(_) => "no such file or directory",
            Error::NotADirectory(_) => "not a directory",
            Error::IsADirectory(_) => "is a directory",
            Error::SymlinkLoop(_) => "too many levels of symbolic links",
            Error::Exists(_) => "file exists",
            Error::NotEmpty(_) => "directory not empty",
            Error::BadName(_) => "this is no name for a file",
            Error::NameTooLong(_) => "name too long",
            other => return anyhow::Error::new(other).context(self.to_string()),
        };
        anyhow::anyhow!("{self}: {why}")
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

/// The last component of a path; empty for the root.
pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |at| at + 1);
    let start = path[..end]
        .iter()
        .rposition(|&byte| byte == b'/')
        .map_or(0, |at| at + 1);
    &path[start..end]
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
    /// The partition to look in.
    pub(crate) fn partition(&self) -> Option<u32> {
        self.partition
    }

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
