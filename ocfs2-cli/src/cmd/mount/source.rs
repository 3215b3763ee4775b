//! What is to be mounted: a path, or a volume by label or UUID.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocfs2_format::device::partition::PartitionError;
use ocfs2_format::device::{self, BlockDevice, FileOptions, IoErrorKind};
use ocfs2_fs::Detected;

use super::failure::Failure;
use super::serve::SILENCE;
use crate::cmd::mounted::block_devices;
use crate::mounts::mounted_on;

/// How long another program may take to let go of a volume that is mounted nowhere any more.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is to be mounted, as the user says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An image file or device.
    Path(PathBuf),
    /// The volume with this label.
    Label(String),
    /// The volume with this UUID, in 32 upper-case digits.
    Uuid(String),
}

impl Source {
    /// Takes `LABEL=…`, `UUID=…`, `PARTLABEL=…` and `PARTUUID=…` apart; everything else is a path.
    ///
    /// # Errors
    /// A UUID that is none.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, Failure> {
        let Some((tag, value)) = text.to_str().and_then(|text| text.split_once('=')) else {
            return Ok(Self::Path(text.into()));
        };
        // fstab(5) allows quotes.
        let value = value.trim_matches('"');
        Ok(match tag {
            "LABEL" => Self::Label(value.to_owned()),
            "UUID" => Self::uuid(value)?,
            "PARTLABEL" => Self::Path(Path::new("/dev/disk/by-partlabel").join(value)),
            "PARTUUID" => Self::Path(Path::new("/dev/disk/by-partuuid").join(value.to_ascii_lowercase())),
            _ => Self::Path(text.into()),
        })
    }

    /// A volume by UUID, with or without dashes.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn uuid(text: &str) -> Result<Self, Failure> {
        let digits: String = text.chars().filter(|&c| c != '-').collect();
        if digits.len() != 32 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(Failure::denied(format_args!("'{text}' is no UUID")));
        }
        Ok(Self::Uuid(digits.to_ascii_uppercase()))
    }

    /// The image file or device to mount.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub(crate) fn find(&self) -> Result<PathBuf, Failure> {
        match self {
            Self::Path(path) => fs::canonicalize(path).map_err(|error| Failure::io(path.display(), &error)),
            _ => {
                let devices = block_devices().map_err(|error| Failure::io("listing the block devices", &error))?;
                self.choose(devices.into_iter().filter(|device| !is_part_of_another(device)))
            }
        }
    }

    /// The one of `devices` that is meant.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(crate) fn choose(&self, devices: impl Iterator<Item = PathBuf>) -> Result<PathBuf, Failure> {
        let mut unreadable = 0;
        let mut found = Vec::new();
        for path in devices {
            match device::open(&path, &FileOptions::new(), None) {
                Ok(device) if self.is_on(device.as_ref()) => found.push(path),
                Ok(_) => {}
                Err(_) => unreadable += 1,
            }
        }
        let rest = match unreadable {
            0 => String::new(),
            n => format!("; {n} could not be read"),
        };
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(Failure::mount(format_args!(
                "no block device of this machine holds a volume with {self}{rest}"
            ))),
            many => {
                let names: Vec<_> = many.iter().map(|path| path.display().to_string()).collect();
                Err(Failure::mount(format_args!(
                    "several devices hold a volume with {self}: {}; name the one that is meant",
                    names.join(", ")
                )))
            }
        }
    }

    /// Whether a device holds the volume that is meant.
    pub(crate) fn is_on(&self, device: &dyn BlockDevice) -> bool {
        let Ok(detected) = Detected::on(device) else {
            return false;
        };
        match self {
            Self::Path(_) => true,
            Self::Label(label) => detected.superblock().label() == label.as_bytes(),
            Self::Uuid(uuid) => detected.superblock().uuid_text() == *uuid,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Label(label) => write!(f, "label '{label}'"),
            Self::Uuid(uuid) => write!(f, "UUID {uuid}"),
        }
    }
}

/// Whether a device is a leg of a multipath or RAID device, which is the one to use.
fn is_part_of_another(device: &Path) -> bool {
    let Some(name) = device.file_name() else { return false };
    let holders = Path::new("/sys/class/block").join(name).join("holders");
    fs::read_dir(holders).is_ok_and(|mut holders| holders.next().is_some())
}

/// Who else may use a volume meanwhile, and what we may do to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// We write; nobody else uses it.
    Alone,
    /// We read, and nobody writes.
    Reading,
    /// We read, whatever others do.
    Looking,
}

/// Opens an image file or device, after waiting for a mount of it that is just ending. `waits` is called once when that
/// takes its time.
///
/// # Errors
/// [`Failure`] with the status that the cause asks for.
pub(crate) fn open(
    path: &Path,
    partition: Option<u32>,
    how: Use,
    waits: impl FnOnce(),
) -> Result<Arc<dyn BlockDevice>, Failure> {
    let options = FileOptions::new()
        .writable(how == Use::Alone)
        .exclusive(how != Use::Looking);
    let began = Instant::now();
    let mut waits = Some(waits);
    loop {
        let error = match device::open(path, &options, partition) {
            Ok(device) => return Ok(device),
            Err(error) => error,
        };
        let PartitionError::Io(io) = &error else {
            return Err(Failure::mount(format_args!("{}: {error}", path.display())));
        };
        match &io.kind {
            IoErrorKind::InUse => {
                if let Some(place) = mounted_on(path) {
                    return Err(Failure::mount(format_args!(
                        "{}: already mounted on {}{}",
                        path.display(),
                        place.display(),
                        if how == Use::Reading { LOOK } else { "" }
                    )));
                }
                if began.elapsed() >= PATIENCE {
                    return Err(Failure::mount(format_args!(
                        "{}: another program is using it{}",
                        path.display(),
                        if how == Use::Reading { LOOK } else { "" }
                    )));
                }
                if let Some(waits) = waits.take_if(|_| began.elapsed() >= SILENCE) {
                    waits();
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            IoErrorKind::Device(cause) => return Err(refused(path, how, cause)),
            _ => return Err(Failure::mount(format_args!("{}: {error}", path.display()))),
        }
    }
}

const LOOK: &str = "; --spectator looks at it nevertheless";

/// What the system's refusal to open a file means for a mount.
fn refused(path: &Path, how: Use, cause: &io::Error) -> Failure {
    let read_only = matches!(
        cause.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    ) && how == Use::Alone
        && fs::File::open(path).is_ok();
    match read_only {
        true => Failure::denied(format_args!(
            "{}: {cause}; it can be mounted read-only (-r)",
            path.display()
        )),
        false => Failure::io(path.display(), cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_those_of_fstab() {
        let parse = |text: &str| Source::parse(text.as_ref());
        assert_eq!(parse("LABEL=data").unwrap(), Source::Label("data".into()));
        assert_eq!(parse("LABEL=\"a b\"").unwrap(), Source::Label("a b".into()));
        assert_eq!(
            parse("UUID=77044edf-2bfe-4efd-9afd-a37acc57f803").unwrap(),
            Source::Uuid("77044EDF2BFE4EFD9AFDA37ACC57F803".into())
        );
        assert!(parse("UUID=77044edf").is_err());
        assert_eq!(parse("a=b.img").unwrap(), Source::Path("a=b.img".into()));
        assert_eq!(parse("/dev/sda").unwrap(), Source::Path("/dev/sda".into()));
    }
}
