//! Whether a device, or a loop device over an image file, is mounted on this machine.
//!
//! Compared are device numbers, not names, so that no other path to the device hides a mount.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where a device or image file is mounted; `None` when it is not, or when this machine does not say.
pub(crate) fn mounted_on(path: &Path) -> Option<PathBuf> {
    let metadata = fs::metadata(path).ok()?;
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
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
fn find(mountinfo: &str, device: &str) -> Option<PathBuf> {
    let mount = mountinfo.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    mount.split(' ').nth(4).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_device_number() {
        let table = "22 1 254:0 / / rw - ext4 /dev/vda rw\n31 22 7:1 / /mnt/a rw - ocfs2 /dev/loop1 rw\n";
        assert_eq!(find(table, "7:1"), Some("/mnt/a".into()));
        assert_eq!(find(table, "7:11"), None);
    }
}
