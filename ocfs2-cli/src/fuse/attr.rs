//! Attributes: from the library's form to the protocol's, and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use ocfs2_format::FileKind;
use ocfs2_fs::{Inode, SetTime, Timestamp};

/// How long the kernel may believe what it was told about names and attributes: for good, as nothing changes but by its
/// requests.
pub(super) const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The attributes that stat(2) shows. `blksize` is the volume's cluster size, as the kernel driver has it.
pub(super) fn of_inode(inode: &Inode, blksize: u32) -> FileAttr {
    let ctime = inode.ctime().into();
    FileAttr {
        ino: INodeNo(inode.number().0),
        size: inode.size(),
        blocks: inode.sectors(),
        atime: inode.atime().into(),
        mtime: inode.mtime().into(),
        ctime,
        crtime: ctime,
        kind: file_type(inode.kind()),
        // Twelve bits.
        perm: (inode.mode() & 0o7777) as u16,
        nlink: inode.links(),
        uid: inode.uid(),
        gid: inode.gid(),
        rdev: inode
            .device_number()
            .map_or(0, |device| rdev(device.major, device.minor)),
        blksize,
        flags: 0,
    }
}

/// Tells the kernel that a name is not there, so that it may remember.
pub(super) fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// The protocol's word for a file type.
pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::Symlink => FileType::Symlink,
    }
}

/// A device number as the protocol has it: eight bits of minor number, twelve of major, the rest of the minor.
fn rdev(major: u32, minor: u32) -> u32 {
    minor & 0xFF | (major & 0xFFF) << 8 | (minor & 0xF_FF00) << 12
}

/// Major and minor number of a device number of the protocol.
pub(super) fn device_parts(rdev: u32) -> (u32, u32) {
    (rdev >> 8 & 0xFFF, rdev & 0xFF | rdev >> 12 & 0xF_FF00)
}

/// A time to set.
pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(timestamp(time)),
    }
}

/// A time of a request as an inode stores it.
///
/// Times before 1970 come with their nanoseconds on the wrong side: fuser takes them from the seconds, to which the protocol
/// adds them. Both are still there to be put right.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let seconds = |since: Duration| i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp {
            secs: seconds(after),
            nanos: after.subsec_nanos(),
        },
        Err(before) => {
            let before = before.duration();
            Timestamp {
                secs: -seconds(before),
                nanos: before.subsec_nanos(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive_the_way_there_and_back() {
        for (major, minor) in [(8, 1), (259, 70_000), (0xFFF, 0xF_FFFF), (1, 255), (1, 256)] {
            assert_eq!(device_parts(rdev(major, minor)), (major, minor));
        }
    }

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        // As fuser reads the seconds -2 and 500 000 000 nanoseconds on top of them.
        let read = UNIX_EPOCH - Duration::new(2, 500_000_000);
        let stored = Timestamp {
            secs: -2,
            nanos: 500_000_000,
        };
        assert_eq!(timestamp(read), stored);
        let replied: SystemTime = stored.into();
        assert_eq!(replied, UNIX_EPOCH - Duration::new(1, 500_000_000));
    }
}
