//! New files that share everything with old ones.
//!
//! The file is made without a name, in the orphan directory, and gets its name when it has everything: a crash leaves an
//! orphan, which the next mount deletes.
//!
//! Source: on-disk reference, sections 16.1 and 24.3.

use ocfs2_format::{FileKind, InodeAttr, InodeFlags, InodeNo};

use super::create::make_nameless;
use super::{Budget, NewInode, begin_naming, forbid, lock_dir_without};
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::mounted::{FileSystem, Level, LockSet, attrs, data, dirs, inodes, orphans, refcount};

impl FileSystem {
    /// Makes a file that shares the clusters of `source` and has the same contents and attributes. With `preserve`, owner,
    /// mode, modification time, ACLs and security labels are those of `source`, too; without, they are what a new file
    /// made with `new` gets.
    ///
    /// # Errors
    /// As [`create_file`](Self::create_file); [`Error::NoFeature`] on volumes without refcount trees,
    /// [`Error::NotPermitted`] for a source that is immutable or append-only, [`Error::WrongKind`] for what is no regular
    /// file. Then nothing has changed.
    pub fn reflink_at(
        &self,
        source: InodeNo,
        dir: InodeNo,
        name: &[u8],
        new: &NewInode,
        preserve: bool,
    ) -> Result<Inode> {
        let core = &*self.core;
        begin_naming(core, name)?;
        let original = self.inode(source)?;
        data::require_regular(&original)?;
        forbid(&original, InodeAttr::IMMUTABLE | InodeAttr::APPEND)?;

        let mut locks = LockSet::new(core);
        let parent = lock_dir_without(&mut locks, dir, name)?;
        let wanted = new.mode & 0o7777 | u32::from(FileKind::Regular.mode_bits());
        let inherited = match preserve {
            true => attrs::Inherited {
                mode: original.mode(),
                ..attrs::Inherited::default()
            },
            false => attrs::inherit(core, &parent, wanted, new.umask)?,
        };
        let owner = match preserve {
            true => (original.uid(), original.gid()),
            false => (new.uid, super::create::group(&parent, new)),
        };
        let made = make_nameless(&mut locks, dir, inherited.mode, owner)?;
        drop(locks);

        let number = made.number();
        let used = self.use_inode(&made)?;
        let linked = self.fill_and_link(&original, number, (dir, name), &inherited, preserve);
        if linked.is_err() {
            drop(used);
            inodes::lost_last_name(core, number);
        }
        linked
    }

    fn fill_and_link(
        &self,
        original: &Inode,
        number: InodeNo,
        (dir, name): (InodeNo, &[u8]),
        inherited: &attrs::Inherited,
        preserve: bool,
    ) -> Result<Inode> {
        let core = &*self.core;
        let source = original.number();
        let mut locks = LockSet::new(core);
        locks.read_write(source, original.generation(), Level::Exclusive)?;
        let now = locks.inode(source, Level::Exclusive)?;
        if now.generation() != original.generation() {
            return Err(Error::Stale(source));
        }
        locks.inode(number, Level::Exclusive)?;
        refcount::reflink(&mut locks, source, number, preserve)?;
        drop(locks);

        let mut locks = LockSet::new(core);
        let parent = lock_dir_without(&mut locks, dir, name)?;
        locks.inode(number, Level::Exclusive)?;
        let orphan_dir = orphans::lock_own(&mut locks)?;
        let mut budget = Budget::default();
        budget.add_name(&mut locks, &parent, name)?;
        budget.add(inherited.cost(core));
        budget.credits += dirs::REMOVE_CREDITS + 1;
        let mut txn = budget.begin(&mut locks)?;
        attrs::apply_inherited(&mut txn, number, inherited)?;
        orphans::remove(&mut txn, orphan_dir.number(), &orphans::name_of(number), false)?;
        dirs::add(&mut txn, dir, name, number, FileKind::Regular)?;
        let dinode = txn.dinode(number)?;
        let flags = dinode.flags().difference(InodeFlags::ORPHANED);
        dinode.i_flags.set(flags.bits());
        dinode.i_orphaned_slot.set(0);
        dinode.set_links(1);
        let linked = Inode::read(&txn, number)?;
        txn.commit()?;
        Ok(linked)
    }
}
