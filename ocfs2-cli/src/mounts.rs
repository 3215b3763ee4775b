//! What is mounted on this machine: by the kernel, through loop devices, and by this program.
//!
//! Compared are device numbers and files, not names, so that no other path to a device hides a mount.
//!
//! Source: Linux, proc(5): /proc/PID/mountinfo.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The type that the mount table shows for a volume that this program has mounted.
pub(crate) const OUR_TYPE: &str = "fuse.ocfs2";

/// A line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Device number of the file system, as `major:minor`.
    pub(crate) device: String,
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// Its type.
    pub(crate) kind: String,
    /// What was mounted, as whoever mounted it called it.
    pub(crate) source: PathBuf,
    /// Options of the mount, then of the file system.
    pub(crate) options: [String; 2],
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Mount> {
        let mut words = line.split(|&byte| byte == b' ');
        let (device, point, options) = (words.nth(2)?, words.nth(1)?, words.next()?);
        // Optional fields end with a dash.
        let mut words = words.skip_while(|word| *word != b"-").skip(1);
        let (kind, source) = (words.next()?, words.next()?);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Mount {
            device: text(device),
            point: unescape(point),
            kind: text(kind),
            source: unescape(source),
            options: [text(options), text(words.next().unwrap_or_default())],
        })
    }

    /// Whether this program has mounted it.
    pub(crate) fn is_ours(&self) -> bool {
        self.kind == OUR_TYPE
    }

    /// The user who mounted it, where it is a file system in user space.
    pub(crate) fn owner(&self) -> Option<u32> {
        let mut options = self.options[1].split(',');
        options.find_map(|option| option.strip_prefix("user_id=")?.parse().ok())
    }
}

/// What is mounted where this process can see it, in the order of mounting.
pub(crate) fn table() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// What is mounted on a directory; of several mounts the one that is seen.
pub(crate) fn mount_at(point: &Path) -> io::Result<Option<Mount>> {
    Ok(table()?.into_iter().rfind(|mount| mount.point == point))
}

/// Where a device or image file is mounted; `None` when it is not, or when this machine does not say.
pub(crate) fn mounted_on(path: &Path) -> Option<PathBuf> {
    let metadata = fs::metadata(path).ok()?;
    let table = table().ok()?;
    let same = |source: &Path| {
        let found = fs::metadata(source).ok();
        found.is_some_and(|found| match metadata.file_type().is_block_device() {
            true => found.file_type().is_block_device() && found.rdev() == metadata.rdev(),
            false => (found.dev(), found.ino()) == (metadata.dev(), metadata.ino()),
        })
    };
    if let Some(mount) = table.iter().find(|mount| mount.is_ours() && same(&mount.source)) {
        return Some(mount.point.clone());
    }
    if metadata.file_type().is_block_device() {
        let rdev = metadata.rdev();
        return find(
            &table,
            &format!("{}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev)),
        );
    }
    let image = fs::canonicalize(path).ok()?;
    let devices = fs::read_dir("/sys/block").ok()?;
    devices.flatten().find_map(|device| {
        let backing = fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
        if Path::new(backing.trim_end_matches('\n')) != image {
            return None;
        }
        let number = fs::read_to_string(device.path().join("dev")).ok()?;
        find(&table, number.trim_end())
    })
}

/// The mount point of the first mount of a device `major:minor`.
fn find(table: &[Mount], device: &str) -> Option<PathBuf> {
    let mount = table.iter().find(|mount| mount.device == device)?;
    Some(mount.point.clone())
}

fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|&byte| byte == b'\n').filter_map(Mount::parse).collect()
}

/// Undoes what the kernel does to spaces, tabs, line ends and backslashes: `\040` and the like.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let octal = |digits: &[u8]| {
            let number = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(number, 8).ok()
        };
        match behind.get(..3).filter(|_| byte == b'\\').and_then(octal) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n\
        31 22 7:1 / /mnt/a rw,nosuid shared:5 - ocfs2 /dev/loop1 rw\n\
        36 22 0:50 / /mnt/with\\040space rw,relatime shared:9 master:1 - fuse.ocfs2 /tmp/a\\134b.img rw,user_id=1000,group_id=0\n";

    #[test]
    fn mounts_are_found_by_device_number() {
        let table = parse(TABLE);
        assert_eq!(find(&table, "7:1"), Some("/mnt/a".into()));
        assert_eq!(find(&table, "7:11"), None);
    }

    #[test]
    fn a_line_tells_names_with_spaces_and_who_mounted() {
        let table = parse(TABLE);
        let ours = table.last().expect("three mounts");
        assert!(ours.is_ours());
        assert_eq!(ours.point, Path::new("/mnt/with space"));
        assert_eq!(ours.source, Path::new("/tmp/a\\b.img"));
        assert_eq!(ours.owner(), Some(1000));
        assert_eq!(table[0].owner(), None);
    }
}
