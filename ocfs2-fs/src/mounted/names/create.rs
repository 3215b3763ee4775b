//! New inodes, and further links to old ones.

use ocfs2_format::device::Durability;
use ocfs2_format::{BlockNo, Dinode, ExtentFlags, ExtentRec, FileKind, InodeAttr, InodeFlags, InodeNo, Signature};

use super::{Budget, NewInode, add_links, begin_naming, changed, check_subdirs, forbid, lock_dir_without, named};
use crate::error::{Error, Result};
use crate::file::write_bytes;
use crate::inode::{DeviceNumber, Inode, Timestamp};
use crate::meta::Blocks;
use crate::mounted::{Charge, Core, FileSystem, Level, LockSet, Need, SubBlock, Txn, attrs, dirs, orphans};

/// Longest target of a symbolic link in bytes.
const MAX_TARGET: usize = 4095;

/// Set-group-ID bit of a mode.
const SET_GID: u32 = 0o2000;

/// What a new inode holds.
#[derive(Clone, Copy, Debug)]
enum Body<'b> {
    Nothing,
    Entries,
    Target(&'b [u8]),
    Device(u64),
}

impl FileSystem {
    /// Makes an empty regular file.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::NameTooLong`], [`Error::BadName`], [`Error::NotFound`] in a removed directory,
    /// [`Error::NoSpace`], [`Error::QuotaExceeded`], [`Error::NotPermitted`] in an immutable directory,
    /// [`Error::ReadOnly`], [`Error::Corrupt`], the journal's. Then nothing has changed.
    pub fn create_file(&self, dir: InodeNo, name: &[u8], new: &NewInode) -> Result<Inode> {
        self.make(dir, name, FileKind::Regular, Body::Nothing, new)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As [`create_file`](Self::create_file); [`Error::TooManyLinks`] when the parent has too many subdirectories.
    pub fn make_dir(&self, dir: InodeNo, name: &[u8], new: &NewInode) -> Result<Inode> {
        self.make(dir, name, FileKind::Directory, Body::Entries, new)
    }

    /// Makes a symbolic link to a target of 1 to 4095 bytes.
    ///
    /// # Errors
    /// As [`create_file`](Self::create_file); [`Error::NameTooLong`] also for the target, [`Error::InvalidArgument`] for a
    /// target that is empty or has a NUL in it.
    pub fn make_symlink(&self, dir: InodeNo, name: &[u8], target: &[u8], new: &NewInode) -> Result<Inode> {
        if target.is_empty() || target.contains(&0) {
            let why = "the target of a symbolic link is empty or has a NUL in it";
            return Err(Error::InvalidArgument { why });
        }
        if target.len() > MAX_TARGET {
            return Err(Error::NameTooLong(named(target)));
        }
        // Their permissions mean nothing, and are all there.
        let new = NewInode {
            mode: 0o777,
            umask: 0,
            ..*new
        };
        self.make(dir, name, FileKind::Symlink, Body::Target(target), &new)
    }

    /// Makes a device file, pipe, socket or regular file. `device` matters for devices only.
    ///
    /// # Errors
    /// As [`create_file`](Self::create_file); [`Error::InvalidArgument`] for a directory, a symbolic link or a device
    /// number that the format cannot hold.
    pub fn make_node(
        &self,
        dir: InodeNo,
        name: &[u8],
        kind: FileKind,
        device: DeviceNumber,
        new: &NewInode,
    ) -> Result<Inode> {
        let body = match kind {
            FileKind::Directory | FileKind::Symlink => {
                let why = "directories and symbolic links are made by calls of their own";
                return Err(Error::InvalidArgument { why });
            }
            FileKind::CharDevice | FileKind::BlockDevice => Body::Device(encode_device(device)?),
            FileKind::Regular | FileKind::Fifo | FileKind::Socket => Body::Nothing,
        };
        self.make(dir, name, kind, body, new)
    }

    fn make(&self, dir: InodeNo, name: &[u8], kind: FileKind, body: Body<'_>, new: &NewInode) -> Result<Inode> {
        let core = &*self.core;
        begin_naming(core, name)?;
        let mut locks = LockSet::new(core);
        let parent = lock_dir_without(&mut locks, dir, name)?;
        if kind == FileKind::Directory {
            check_subdirs(core, &parent)?;
        }
        let mut mode = new.mode & 0o7777 | u32::from(kind.mode_bits());
        let gid = group(&parent, new);
        if kind == FileKind::Directory {
            mode |= parent.mode() & SET_GID;
        }
        let inherited = attrs::inherit(core, &parent, mode, new.umask)?;

        let mut budget = Budget::default();
        budget.add_name(&mut locks, &parent, name)?;
        budget.credits += locks.quota(new.uid, gid)?;
        let inode = Need {
            inodes: 1,
            ..Need::default()
        };
        budget.add((inode, 1));
        budget.add(body.need(core));
        budget.add(inherited.cost(core));

        let mut txn = budget.begin(&mut locks)?;
        let at = txn.alloc_inode(dir)?;
        let number = at.block.inode();
        let start = Start {
            // Sixteen bits are the file type and the permissions.
            mode: inherited.mode as u16,
            uid: new.uid,
            gid,
            links: if kind == FileKind::Directory { 2 } else { 1 },
            time: new.time.unwrap_or(txn.now()),
        };
        fill_dinode(&mut txn, &at, &start)?;
        body.put(&mut txn, number, dir)?;
        dirs::add(&mut txn, dir, name, number, kind)?;
        if kind == FileKind::Directory {
            add_links(&mut txn, dir, 1)?;
        }
        attrs::apply_inherited(&mut txn, number, &inherited)?;
        let charge = Charge { bytes: 0, inodes: 1 };
        txn.charge(new.uid, gid, charge)?;
        let made = Inode::read(&txn, number)?;
        txn.commit()?;
        Ok(made)
    }

    /// Gives an inode a further name. Returns the inode with its new link count.
    ///
    /// # Errors
    /// As [`create_file`](Self::create_file); [`Error::NotPermitted`] for a directory and for an inode that is immutable or
    /// append-only, [`Error::NotFound`] for one that has no name any more, [`Error::TooManyLinks`].
    pub fn link(&self, inode: InodeNo, dir: InodeNo, name: &[u8]) -> Result<Inode> {
        let core = &*self.core;
        begin_naming(core, name)?;
        let mut locks = LockSet::new(core);
        let parent = lock_dir_without(&mut locks, dir, name)?;
        let why = "directories have one name";
        if inode == dir {
            return Err(Error::NotPermitted { inode, why });
        }
        let target = locks.inode(inode, Level::Exclusive)?;
        if target.kind() == FileKind::Directory || target.flags().contains(InodeFlags::SYSTEM) {
            return Err(Error::NotPermitted { inode, why });
        }
        forbid(&target, InodeAttr::IMMUTABLE | InodeAttr::APPEND)?;
        if target.links() == 0 {
            return Err(Error::NotFound(format!("inode {inode}").into()));
        }
        if target.links() >= core.geometry().link_max() {
            return Err(Error::TooManyLinks(inode));
        }
        let mut budget = Budget::default();
        budget.add_name(&mut locks, &parent, name)?;
        budget.credits += 1;
        let mut txn = budget.begin(&mut locks)?;
        dirs::add(&mut txn, dir, name, inode, target.kind())?;
        add_links(&mut txn, inode, 1)?;
        changed(&mut txn, inode)?;
        let linked = Inode::read(&txn, inode)?;
        txn.commit()?;
        Ok(linked)
    }
}

/// The group of a new inode.
pub(super) fn group(parent: &Inode, new: &NewInode) -> u32 {
    match parent.mode() & SET_GID {
        0 => new.gid,
        _ => parent.gid(),
    }
}

/// Makes an empty regular file that has no name yet but in the orphan directory. `dir` is where it will get one.
pub(super) fn make_nameless(locks: &mut LockSet<'_>, dir: InodeNo, mode: u32, (uid, gid): (u32, u32)) -> Result<Inode> {
    let orphan_dir = orphans::lock_own(locks)?;
    let mut budget = Budget::default();
    // All names in it are as long as this.
    budget.add_name(locks, &orphan_dir, &orphans::name_of(dir))?;
    budget.credits += locks.quota(uid, gid)?;
    let inode = Need {
        inodes: 1,
        ..Need::default()
    };
    budget.add((inode, 1));
    let mut txn = budget.begin(locks)?;
    let at = txn.alloc_inode(dir)?;
    let number = at.block.inode();
    let start = Start {
        // Sixteen bits are the file type and the permissions.
        mode: mode as u16,
        uid,
        gid,
        links: 0,
        time: txn.now(),
    };
    fill_dinode(&mut txn, &at, &start)?;
    Body::Nothing.put(&mut txn, number, dir)?;
    let nameless = Inode::read(&txn, number)?;
    orphans::add(&mut txn, &nameless)?;
    let charge = Charge { bytes: 0, inodes: 1 };
    txn.charge(uid, gid, charge)?;
    let made = Inode::read(&txn, number)?;
    txn.commit()?;
    Ok(made)
}

impl Body<'_> {
    /// What [`put`](Self::put) may take.
    fn need(self, core: &Core) -> (Need, u32) {
        match self {
            Body::Entries => dirs::init_need(core),
            Body::Target(target) if !is_fast(core, target) => {
                let need = Need {
                    clusters: 1,
                    ..Need::default()
                };
                (need, 0)
            }
            Body::Target(_) | Body::Nothing | Body::Device(_) => (Need::default(), 0),
        }
    }

    /// Fills the contents of a new inode.
    fn put(self, txn: &mut Txn<'_>, inode: InodeNo, parent: InodeNo) -> Result<()> {
        let count = txn.geometry().extents_per_dinode(false);
        let target = match self {
            Body::Entries => return dirs::init(txn, inode, parent),
            Body::Target(target) => target,
            Body::Nothing => {
                txn.dinode(inode)?.extent_list_mut().init(count);
                return Ok(());
            }
            Body::Device(number) => {
                let dinode = txn.dinode(inode)?;
                dinode.extent_list_mut().init(count);
                dinode.id1 = number.to_le_bytes();
                return Ok(());
            }
        };
        let size = target.len() as u64;
        if is_fast(txn, target) {
            let dinode = txn.dinode(inode)?;
            dinode.i_size.set(size);
            // The NUL behind it is there: the block was zeroed.
            zerocopy::IntoBytes::as_mut_bytes(dinode)[Dinode::ID2_OFFSET..][..target.len()].copy_from_slice(target);
            return Ok(());
        }
        let run = txn.alloc_clusters(inode, None, 1, 1)?;
        let geometry = *txn.geometry();
        let first = geometry.cluster_to_block(run.start);
        write_target(txn, first, target)?;
        let dinode = txn.dinode(inode)?;
        dinode.i_size.set(size);
        dinode.i_clusters.set(1);
        let list = dinode.extent_list_mut();
        list.init(count);
        list.push(ExtentRec::leaf(0, 1, first, ExtentFlags::empty()));
        let (uid, gid) = (dinode.i_uid.get(), dinode.i_gid.get());
        let charge = Charge {
            bytes: geometry.cluster_size() as i64,
            inodes: 0,
        };
        txn.charge(uid, gid, charge)
    }
}

/// Whether the target of a link fits in its dinode.
fn is_fast(meta: &dyn Blocks, target: &[u8]) -> bool {
    target.len() < meta.geometry().fast_symlink_bytes().into()
}

/// Writes the blocks of a link's target to their place: as file data, before the transaction that shows them.
fn write_target(txn: &Txn<'_>, first: BlockNo, target: &[u8]) -> Result<()> {
    let geometry = txn.geometry();
    let mut bytes = target.to_vec();
    bytes.resize((target.len() + 1).next_multiple_of(geometry.block_size()), 0);
    let offset = first.0 << geometry.block_size_bits;
    write_bytes(txn.core().home_device().as_ref(), offset, &bytes, Durability::Cached)
}

/// The device number as inodes store it.
fn encode_device(device: DeviceNumber) -> Result<u64> {
    let (major, minor) = (u64::from(device.major), u64::from(device.minor));
    if major >= 1 << 12 || minor >= 1 << 20 {
        let why = "a device number has 12 bits of major and 20 bits of minor number";
        return Err(Error::InvalidArgument { why });
    }
    Ok((minor & 0xFF) | major << 8 | (minor & !0xFF) << 12)
}

/// The fields of a new dinode that callers choose.
struct Start {
    mode: u16,
    uid: u32,
    gid: u32,
    links: u32,
    time: Timestamp,
}

/// Makes a dinode without contents.
fn fill_dinode(txn: &mut Txn<'_>, at: &SubBlock, start: &Start) -> Result<()> {
    let generation = txn.core().new_generation();
    let fs_generation = txn.geometry().generation;
    let dinode = txn.create::<Dinode>(at.block)?;
    dinode.i_signature = Signature::INODE;
    dinode.i_generation.set(generation.0);
    dinode.i_fs_generation.set(fs_generation.0);
    dinode.i_blkno.set(at.block.0);
    dinode.i_suballoc_slot.set(at.slot.0);
    dinode.i_suballoc_bit.set(at.bit);
    dinode.i_suballoc_loc.set(at.loc);
    dinode.i_flags.set(InodeFlags::VALID.bits());
    dinode.i_mode.set(start.mode);
    dinode.i_uid.set(start.uid);
    dinode.i_gid.set(start.gid);
    dinode.set_links(start.links);
    let (secs, nanos) = (start.time.secs as u64, start.time.nanos);
    dinode.i_atime.set(secs);
    dinode.i_ctime.set(secs);
    dinode.i_mtime.set(secs);
    dinode.i_atime_nsec.set(nanos);
    dinode.i_ctime_nsec.set(nanos);
    dinode.i_mtime_nsec.set(nanos);
    Ok(())
}
