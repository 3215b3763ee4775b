//! Orphan directories: inodes without names that are still in use, or whose deletion a crash cut short.
//!
//! Source: on-disk reference, section 16; cluster reference, section 6.6.

use ocfs2_format::{Corrupt, FileKind, InodeFlags, InodeNo, SlotNum, Structure, SystemFile, Violation};

use super::{Core, Level, LockSet, Txn, data, dirs, inodes};
use crate::dir::DirReader;
use crate::error::{Error, Result};
use crate::inode::Inode;

/// What an entry begins with that is about a direct append and not about a deletion.
const DIO_PREFIX: &[u8] = b"dio-";

/// What an entry of an orphan directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Orphan {
    /// An inode without names.
    Nameless(InodeNo),
    /// A file with clusters behind its end.
    Appended(InodeNo),
}

impl Orphan {
    fn parse(name: &[u8]) -> Option<Orphan> {
        let (digits, is_dio) = match name.strip_prefix(DIO_PREFIX) {
            Some(digits) => (digits, true),
            None => (name, false),
        };
        if digits.len() != 16 {
            return None;
        }
        let number = InodeNo(u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        Some(if is_dio {
            Orphan::Appended(number)
        } else {
            Orphan::Nameless(number)
        })
    }
}

/// The name of an inode in an orphan directory.
pub(crate) fn name_of(inode: InodeNo) -> Vec<u8> {
    format!("{:016x}", inode.0).into_bytes()
}

/// Locks the orphan directory of our own slot, to add to it.
///
/// # Errors
/// As [`LockSet::system_file`].
pub(crate) fn lock_own(locks: &mut LockSet<'_>) -> Result<Inode> {
    locks.system_file(SystemFile::OrphanDir, locks.core().slot, Level::Exclusive)
}

/// Makes an inode that has just lost its last name an orphan, in the directory that [`lock_own`] has locked.
///
/// # Errors
/// As [`dirs::add`].
pub(crate) fn add(txn: &mut Txn<'_>, inode: &Inode) -> Result<()> {
    let slot = txn.core().slot;
    let dir = txn.core().system.find(SystemFile::OrphanDir, slot)?;
    dirs::add(txn, dir, &name_of(inode.number()), inode.number(), inode.kind())?;
    if inode.kind() == FileKind::Directory {
        change_links(txn, dir, 1)?;
    }
    let dinode = txn.dinode(inode.number())?;
    dinode.i_flags.set((dinode.flags() | InodeFlags::ORPHANED).bits());
    dinode.i_orphaned_slot.set(slot.0);
    Ok(())
}

/// Takes an inode out of an orphan directory.
///
/// # Errors
/// As [`dirs::remove`].
pub(crate) fn remove(txn: &mut Txn<'_>, dir: InodeNo, name: &[u8], is_dir: bool) -> Result<()> {
    dirs::remove(txn, dir, name)?;
    if is_dir {
        change_links(txn, dir, -1)?;
    }
    Ok(())
}

fn change_links(txn: &mut Txn<'_>, dir: InodeNo, change: i32) -> Result<()> {
    let dinode = txn.dinode(dir)?;
    let links = dinode.links().saturating_add_signed(change);
    dinode.set_links(links);
    Ok(())
}

/// Deletes what a slot's orphan directory names and nobody uses, and trims what direct appends left: at mount, and after a
/// node has died. Returns how many inodes are gone from it.
///
/// # Errors
/// The first of those that single inodes met, after all were tried; [`Error::Corrupt`] for the directory itself.
pub(crate) fn empty_slot(core: &Core, slot: SlotNum) -> Result<u64> {
    let (dir, names) = list(core, slot)?;
    let mut done = 0;
    let mut failed = None;
    // A file may be in the directory for both reasons, and is deleted only when the append is settled.
    let (appended, nameless): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.starts_with(DIO_PREFIX));
    for name in appended.into_iter().chain(nameless) {
        let handled = match Orphan::parse(&name) {
            Some(Orphan::Nameless(number)) => inodes::wipe(core, number),
            Some(Orphan::Appended(number)) => settle_append(core, dir, &name, number),
            None => {
                let violation = Violation::Name {
                    why: "an orphan is named after its inode number",
                };
                Err(Corrupt::new(Structure::DirBlock, violation).in_inode(dir).into())
            }
        };
        match handled {
            Ok(is_gone) => done += u64::from(is_gone),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        None => Ok(done),
        Some(error) => Err(error),
    }
}

/// The names in a slot's orphan directory.
fn list(core: &Core, slot: SlotNum) -> Result<(InodeNo, Vec<Vec<u8>>)> {
    let mut locks = LockSet::new(core);
    let dir = locks.system_file(SystemFile::OrphanDir, slot, Level::Shared)?;
    let number = dir.number();
    let mut reader = DirReader::new(dir)?;
    let mut names = Vec::new();
    while let Some(batch) = reader.next_batch(core) {
        names.extend(
            batch?
                .iter()
                .filter(|entry| !entry.is_dot())
                .map(|entry| entry.name().to_vec()),
        );
    }
    Ok((number, names))
}

/// Frees what a direct append had allocated behind the end of a file, and forgets the append. `true` if that is done.
fn settle_append(core: &Core, dir: InodeNo, name: &[u8], number: InodeNo) -> Result<bool> {
    let mut locks = LockSet::new(core);
    let generation = LockSet::new(core)
        .inode(number, Level::Shared)
        .map(|inode| inode.generation());
    let generation = match generation {
        // A name without an inode: fsck takes it out.
        Err(Error::Stale(_)) => return Ok(false),
        read => read?,
    };
    locks.read_write(number, generation, Level::Exclusive)?;
    let inode = locks.inode(number, Level::Exclusive)?;
    if inode.generation() != generation || !inode.flags().contains(InodeFlags::DIO_ORPHANED) {
        return Ok(false);
    }
    data::truncate(&mut locks, number, inode.size())?;
    locks.reserve(super::Need::default())?;
    locks.take(core.meta_lock(dir), Level::Exclusive)?;
    let mut txn = locks.begin(dirs::REMOVE_CREDITS + 1)?;
    remove(&mut txn, dir, name, false)?;
    let dinode = txn.dinode(number)?;
    let mut flags = dinode.flags();
    flags.remove(InodeFlags::DIO_ORPHANED);
    dinode.i_flags.set(flags.bits());
    dinode.i_dio_orphaned_slot.set(0);
    txn.commit()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ocfs2_format::device::{BlockDevice, MemDevice};

    use super::*;
    use crate::mkfs::{self, MkfsOptions, MountMode, Plan};
    use crate::mounted::{AllocateMode, FileSystem, MountOptions, NewInode};

    fn volume() -> Arc<MemDevice> {
        let device = MemDevice::new(64 << 20);
        let options = MkfsOptions {
            mount: MountMode::Local,
            ..MkfsOptions::default()
        };
        let plan = Plan::new(device.geometry().len, &options).unwrap();
        mkfs::format(&device, &plan, &mut |_| {}).unwrap();
        Arc::new(device)
    }

    fn mount(device: &Arc<MemDevice>) -> FileSystem {
        FileSystem::mount(device.clone(), &MountOptions::default()).unwrap()
    }

    /// What the kernel leaves of a file when it crashes in a direct append: an entry in the orphan directory, a flag, and
    /// clusters behind the end.
    fn begin_append(fs: &FileSystem, name: &[u8]) -> InodeNo {
        let file = fs.create_file(fs.root(), name, &NewInode::with_mode(0o644)).unwrap();
        let used = fs.use_inode(&file).unwrap();
        fs.write_at(&used, 0, &[1; 5000]).unwrap();
        fs.allocate(&used, 0..100_000, AllocateMode::KeepSize).unwrap();
        let core = &*fs.core;
        let mut locks = LockSet::new(core);
        locks.inode(file.number(), Level::Exclusive).unwrap();
        let dir = lock_own(&mut locks).unwrap().number();
        let mut txn = locks.begin(8).unwrap();
        let name = [DIO_PREFIX, &name_of(file.number())].concat();
        dirs::add(&mut txn, dir, &name, file.number(), FileKind::Regular).unwrap();
        let slot = core.slot.0;
        let dinode = txn.dinode(file.number()).unwrap();
        dinode.i_flags.set((dinode.flags() | InodeFlags::DIO_ORPHANED).bits());
        dinode.i_dio_orphaned_slot.set(slot);
        txn.commit().unwrap();
        file.number()
    }

    #[test]
    fn a_direct_append_that_a_crash_cut_short_is_trimmed_to_the_size_of_the_file() {
        let device = volume();
        let fs = mount(&device);
        let file = begin_append(&fs, b"f");
        assert_eq!(fs.inode(file).unwrap().clusters(), 25);
        fs.sync().unwrap();
        let crashed = Arc::new(device.snapshot());
        drop(fs);
        let fs = mount(&crashed);
        let inode = fs.inode(file).unwrap();
        assert_eq!((inode.size(), inode.clusters(), inode.links()), (5000, 2, 1));
        assert_eq!(inode.flags(), InodeFlags::VALID);
        let slot = fs.slot();
        assert_eq!(list(&fs.core, slot).unwrap().1, Vec::<Vec<u8>>::new());
        fs.unmount().unwrap();
    }

    #[test]
    fn a_file_deleted_in_the_middle_of_a_direct_append_goes_with_what_it_appended() {
        let device = volume();
        let fs = mount(&device);
        let free = fs.statfs().unwrap().free_blocks;
        let file = begin_append(&fs, b"f");
        fs.unlink(fs.root(), b"f").unwrap();
        // The append comes first.
        assert_eq!(fs.inode(file).unwrap().links(), 0);
        fs.sync().unwrap();
        let crashed = Arc::new(device.snapshot());
        drop(fs);
        let fs = mount(&crashed);
        assert!(matches!(fs.inode(file), Err(Error::Stale(_))));
        fs.unmount().unwrap();
        let fs = mount(&crashed);
        assert_eq!(fs.statfs().unwrap().free_blocks, free);
    }

    #[test]
    fn orphans_are_named_by_sixteen_hexadecimal_digits() {
        let number = InodeNo(0x1a2b3c);
        assert_eq!(name_of(number), b"00000000001a2b3c");
        assert_eq!(Orphan::parse(b"00000000001a2b3c"), Some(Orphan::Nameless(number)));
        assert_eq!(Orphan::parse(b"dio-00000000001a2b3c"), Some(Orphan::Appended(number)));
        for bad in [&b""[..], b"1a2b3c", b"00000000001a2b3", b"0000000000zzzzzz", b"dio-"] {
            assert_eq!(Orphan::parse(bad), None);
        }
    }
}
