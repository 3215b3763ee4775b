//! System files: their names, scopes and flags.
//!
//! Source: on-disk reference, section 1.7.

use std::fmt;

use crate::dinode::InodeFlags;
use crate::features::Features;
use crate::prim::SlotNum;

/// A kind of system file, in the order in which mkfs makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SystemFile {
    /// Bad blocks: an empty file.
    BadBlocks,
    /// Allocator of the inodes that mkfs makes.
    GlobalInodeAlloc,
    /// Which node sits in which slot.
    SlotMap,
    /// The heartbeat region.
    Heartbeat,
    /// Allocator of all clusters.
    GlobalBitmap,
    /// Global user quota.
    UserQuota,
    /// Global group quota.
    GroupQuota,
    /// Unlinked inodes that are still open or not wiped yet.
    OrphanDir,
    /// Allocator of extent blocks and other metadata blocks.
    ExtentAlloc,
    /// Allocator of inodes.
    InodeAlloc,
    /// The slot's journal.
    Journal,
    /// The slot's window of the cluster bitmap.
    LocalAlloc,
    /// Freed clusters not yet back in the bitmap.
    TruncateLog,
    /// The slot's user quota changes.
    LocalUserQuota,
    /// The slot's group quota changes.
    LocalGroupQuota,
}

/// A row of the table of system files.
struct Row {
    file: SystemFile,
    base: &'static str,
    per_slot: bool,
    mode: u16,
    flags: InodeFlags,
}

const fn row(file: SystemFile, base: &'static str, per_slot: bool, mode: u16, flags: u32) -> Row {
    Row {
        file,
        base,
        per_slot,
        mode,
        flags: InodeFlags::from_bits_retain(flags),
    }
}

const TABLE: [Row; 15] = [
    row(SystemFile::BadBlocks, "bad_blocks", false, 0o100_644, 0x011),
    row(
        SystemFile::GlobalInodeAlloc,
        "global_inode_alloc",
        false,
        0o100_644,
        0x491,
    ),
    row(SystemFile::SlotMap, "slot_map", false, 0o100_644, 0x011),
    row(SystemFile::Heartbeat, "heartbeat", false, 0o100_644, 0x211),
    row(SystemFile::GlobalBitmap, "global_bitmap", false, 0o100_644, 0x491),
    row(SystemFile::UserQuota, "aquota.user", false, 0o100_644, 0x1011),
    row(SystemFile::GroupQuota, "aquota.group", false, 0o100_644, 0x1011),
    row(SystemFile::OrphanDir, "orphan_dir", true, 0o040_755, 0x011),
    row(SystemFile::ExtentAlloc, "extent_alloc", true, 0o100_644, 0x491),
    row(SystemFile::InodeAlloc, "inode_alloc", true, 0o100_644, 0x491),
    row(SystemFile::Journal, "journal", true, 0o100_644, 0x111),
    row(SystemFile::LocalAlloc, "local_alloc", true, 0o100_644, 0x0D1),
    row(SystemFile::TruncateLog, "truncate_log", true, 0o100_644, 0x811),
    row(SystemFile::LocalUserQuota, "aquota.user", true, 0o100_644, 0x1011),
    row(SystemFile::LocalGroupQuota, "aquota.group", true, 0o100_644, 0x1011),
];

impl SystemFile {
    /// Every kind, in the order in which mkfs makes them.
    pub fn all() -> impl Iterator<Item = SystemFile> {
        TABLE.iter().map(|row| row.file)
    }

    fn row(self) -> &'static Row {
        // TABLE has one row per kind, in the order of the enum.
        &TABLE[self as usize]
    }

    /// Whether each slot has one.
    pub fn per_slot(self) -> bool {
        self.row().per_slot
    }

    /// Type and permission bits.
    pub fn mode(self) -> u16 {
        self.row().mode
    }

    /// `i_flags`.
    pub fn flags(self) -> InodeFlags {
        self.row().flags
    }

    /// Whether a volume with these features has such files.
    pub fn exists_with(self, features: Features) -> bool {
        match self {
            SystemFile::UserQuota | SystemFile::LocalUserQuota => features.usrquota(),
            SystemFile::GroupQuota | SystemFile::LocalGroupQuota => features.grpquota(),
            _ => true,
        }
    }

    /// The file's name in the system directory; `slot` matters for per-slot files only.
    pub fn name(self, slot: SlotNum) -> String {
        let row = self.row();
        if row.per_slot {
            format!("{}:{:04}", row.base, slot.0)
        } else {
            row.base.to_owned()
        }
    }

    /// The kind and slot that a name in the system directory stands for.
    pub fn parse(name: &[u8]) -> Option<(SystemFile, Option<SlotNum>)> {
        let name = std::str::from_utf8(name).ok()?;
        let (base, slot) = match name.split_once(':') {
            Some((base, digits)) if digits.len() >= 4 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                (base, Some(SlotNum(digits.parse().ok()?)))
            }
            Some(_) => return None,
            None => (name, None),
        };
        let row = TABLE
            .iter()
            .find(|row| row.base == base && row.per_slot == slot.is_some())?;
        Some((row.file, slot))
    }
}

impl fmt::Display for SystemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_the_order_of_the_enum() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.file as usize, index);
        }
    }

    #[test]
    fn names_parse_back() {
        for file in SystemFile::all() {
            let name = file.name(SlotNum(17));
            let slot = file.per_slot().then_some(SlotNum(17));
            assert_eq!(SystemFile::parse(name.as_bytes()), Some((file, slot)));
        }
        assert_eq!(SystemFile::parse(b"journal"), None);
    }
}
