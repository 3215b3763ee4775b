//! What is on a device already, so that nobody formats it by mistake.
//!
//! Source: on-disk reference, sections 2 and 3; the magic numbers that other formats document.

use ocfs2_format::device::{BlockDevice, IoCursor};
use ocfs2_format::is_ocfs1;

use crate::detect::Detected;

/// Something that a device holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Existing {
    /// An OCFS2 volume.
    Ocfs2(Box<Detected>),
    /// A volume of OCFS version 1.
    Ocfs1,
    /// Something else, by its usual name.
    Other(&'static str),
}

impl Existing {
    /// What a device holds, as far as it is recognised. A device that cannot be read holds nothing.
    pub fn on(device: &dyn BlockDevice) -> Option<Existing> {
        if let Ok(volume) = Detected::on(device) {
            return Some(Existing::Ocfs2(Box::new(volume)));
        }
        let mut head = vec![0; HEAD_BYTES.min(usize::try_from(device.geometry().len).unwrap_or(HEAD_BYTES))];
        std::io::Read::read_exact(&mut IoCursor::new(device), &mut head).ok()?;
        if head.len() >= 512 && is_ocfs1(&head[..512]) {
            return Some(Existing::Ocfs1);
        }
        let found = MAGICS
            .iter()
            .find(|(_, offset, magic)| head.get(*offset..).is_some_and(|at| at.starts_with(magic)));
        found.map(|&(name, ..)| Existing::Other(name))
    }
}

/// Bytes that hold every magic number below.
const HEAD_BYTES: usize = 0x1_1000;

/// Name, byte offset and bytes.
const MAGICS: &[(&str, usize, &[u8])] = &[
    ("xfs", 0, b"XFSB"),
    ("ext2, ext3 or ext4", 0x438, &[0x53, 0xEF]),
    ("btrfs", 0x1_0040, b"_BHRfS_M"),
    ("gfs2", 0x1_0000, &[0x01, 0x16, 0x19, 0x70]),
    ("f2fs", 0x400, &[0x10, 0x20, 0xF5, 0xF2]),
    ("bcachefs", 0x1018, &[0xc6, 0x85, 0x73, 0xf6]),
    ("ntfs", 3, b"NTFS    "),
    ("exfat", 3, b"EXFAT   "),
    ("vfat", 0x52, b"FAT32   "),
    ("vfat", 0x36, b"FAT1"),
    ("iso9660", 0x8001, b"CD001"),
    ("squashfs", 0, b"hsqs"),
    ("LUKS", 0, b"LUKS\xba\xbe"),
    ("LVM physical volume", 0x218, b"LVM2 001"),
    ("Linux RAID member", 0x1000, &[0xfc, 0x4e, 0x2b, 0xa9]),
    ("swap", 0xFF6, b"SWAPSPACE2"),
    ("qcow2 disk image", 0, b"QFI\xfb"),
    ("GPT partition table", 0x200, b"EFI PART"),
    ("MBR partition table", 0x1FE, &[0x55, 0xAA]),
];

#[cfg(test)]
mod tests {
    use ocfs2_format::device::{Durability, MemDevice};

    use super::*;

    #[test]
    fn other_formats_are_named_and_an_empty_device_holds_nothing() {
        let device = MemDevice::new(1 << 20);
        assert!(Existing::on(&device).is_none());
        let mut sector = [0; 512];
        sector[..4].copy_from_slice(b"XFSB");
        device.write(0, &sector, Durability::Cached).expect("memory takes it");
        assert!(matches!(Existing::on(&device), Some(Existing::Other("xfs"))));
    }

    #[test]
    fn devices_shorter_than_a_sector_hold_nothing() {
        assert!(Existing::on(&MemDevice::new(0)).is_none());
    }
}
