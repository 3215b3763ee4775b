//! What all requests work with, and what takes more than one call of the file system.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use fuser::{
    Errno, FileAttr, FopenFlags, Generation, INodeNo, Notifier, OpenAccMode, OpenFlags, ReplyDirectoryPlus, Request,
};
use log::warn;
use ocfs2_format::{FileKind, InodeAttr};
use ocfs2_fs::{DirEntry, DirPage, FileSystem, Inode, SetAttributes};

use super::SessionOptions;
use super::attr::{self, FOREVER};
use super::errno::Refused;
use super::inodes::Inodes;
use super::ioctl::Ioctl;
use super::lookout::Lookout;
use super::room::Room;

/// A flag of open(2).
pub(super) const O_APPEND: i32 = 0o2000;

/// What requests work with, and what is to be ended after the last of them.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) fs: FileSystem,
    /// For those whose changes of contents leave set-user-ID and set-group-ID bits alone.
    pub(super) keeping: FileSystem,
    pub(super) inodes: Inodes,
    pub(super) room: Room,
    notifier: OnceLock<Notifier>,
    pub(super) lookout: Lookout,
    blksize: u32,
    pub(super) acl: bool,
    pub(super) writeback: bool,
    /// Names are durable before the kernel hears of them. What is written it syncs by itself.
    syncs_names: bool,
}

impl Shared {
    pub(super) fn new(fs: FileSystem, options: &SessionOptions, threads: usize) -> Shared {
        Shared {
            inodes: Inodes::new(fs.root()),
            room: Room::new(threads),
            notifier: OnceLock::new(),
            lookout: Lookout::default(),
            blksize: 1 << fs.geometry().cluster_size_bits,
            acl: options.acl,
            writeback: options.writeback && !options.read_only,
            syncs_names: options.sync || options.dirsync,
            keeping: fs.keeping_privileges(),
            fs,
        }
    }

    /// For what changes without the kernel's knowing.
    pub(super) fn set_notifier(&self, notifier: Notifier) {
        // Set once; a second one would be the same.
        let _ = self.notifier.set(notifier);
    }

    /// Ends all uses of inodes, then the mount.
    ///
    /// # Errors
    /// Those of [`FileSystem::unmount`].
    pub(super) fn end(&self) -> ocfs2_fs::Result<()> {
        self.inodes.forget_all();
        self.fs.clone().unmount()
    }

    /// The file system for changes of contents by the caller of a request. Whether it may set set-user-ID bits is told
    /// with writes only; elsewhere root is taken for whoever may.
    pub(super) fn for_caller(&self, req: &Request) -> &FileSystem {
        match req.uid() {
            0 => &self.keeping,
            _ => &self.fs,
        }
    }

    /// Attributes as the kernel gets them. The root directory's number is the one that the volume gives it.
    pub(super) fn attr(&self, inode: &Inode) -> FileAttr {
        attr::of_inode(inode, self.blksize)
    }

    /// Attributes for a reply that tells the kernel of an inode.
    pub(super) fn hand_out(&self, inode: &Inode) -> Result<(FileAttr, Generation), Refused> {
        if inode.number() == self.fs.root() {
            warn!("a name leads to the root directory");
            return Err(Errno::EIO.into());
        }
        self.inodes.hand_out(&self.fs, inode)?;
        Ok((self.attr(inode), Generation(inode.generation().0.into())))
    }

    /// Does something that may take room.
    pub(super) fn with_room<T>(&self, take: impl FnMut() -> ocfs2_fs::Result<T>) -> ocfs2_fs::Result<T> {
        self.room.find(&self.fs, &self.inodes, take)
    }

    /// The end of a change of names.
    pub(super) fn named<T>(&self, done: ocfs2_fs::Result<T>) -> Result<T, Refused> {
        let done = done?;
        if self.syncs_names {
            self.fs.sync()?;
        }
        Ok(done)
    }

    pub(super) fn lookup(&self, parent: INodeNo, name: &OsStr) -> Result<Option<Inode>, Refused> {
        Ok(self.fs.lookup(self.inodes.number(parent), name.as_bytes())?)
    }

    pub(super) fn set_attributes(
        &self,
        req: &Request,
        ino: INodeNo,
        size: Option<u64>,
        change: &SetAttributes,
    ) -> Result<Inode, Refused> {
        if let Some(size) = size {
            let file = self.inodes.used(ino)?;
            self.with_room(|| self.for_caller(req).set_len(&file, size))?;
        }
        let number = self.inodes.number(ino);
        match *change == SetAttributes::default() {
            true => Ok(self.fs.inode(number)?),
            false => Ok(self.with_room(|| self.fs.set_attributes(number, change))?),
        }
    }

    /// What opening a file takes. The kernel has checked permissions; flags of chattr(1) it does not know.
    pub(super) fn open(&self, ino: INodeNo, flags: OpenFlags) -> Result<FopenFlags, Refused> {
        let mut how = FopenFlags::FOPEN_KEEP_CACHE;
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            let attr = self.fs.inode(self.inodes.number(ino))?.attr();
            let appends = flags.0 & O_APPEND != 0;
            if attr.contains(InodeAttr::IMMUTABLE) || attr.contains(InodeAttr::APPEND) && !appends {
                return Err(Errno::EPERM.into());
            }
            if attr.contains(InodeAttr::APPEND) {
                // Writes have to come one by one, and say that they append.
                how = FopenFlags::FOPEN_DIRECT_IO;
            }
        }
        self.inodes.opened(ino);
        Ok(how)
    }

    /// Hands the entries of a directory from a position on to `put`, until it says that there is no room for more.
    pub(super) fn read_dir(
        &self,
        ino: INodeNo,
        mut position: u64,
        mut put: impl FnMut(&DirEntry) -> Result<bool, Refused>,
    ) -> Result<(), Refused> {
        let dir = self.inodes.number(ino);
        let mut is_first = true;
        loop {
            let DirPage { entries, next } = match self.fs.read_dir_at(dir, position) {
                // The entries that are there reach the program; the error does with its next call.
                Err(_) if !is_first => return Ok(()),
                page => page?,
            };
            for entry in &entries {
                match put(entry) {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(_) if !is_first => return Ok(()),
                    Err(refused) => return Err(refused),
                }
                is_first = false;
            }
            match next {
                Some(next) => position = next,
                None => return Ok(()),
            }
        }
    }

    /// The type of an entry, as the directory has it or else the inode.
    pub(super) fn entry_kind(&self, entry: &DirEntry) -> Result<FileKind, Refused> {
        match entry.kind() {
            Some(kind) => Ok(kind),
            None => Ok(self.fs.inode(entry.inode())?.kind()),
        }
    }

    /// Adds an entry with its attributes. `false` if there is no room for it.
    pub(super) fn put_plus(&self, reply: &mut ReplyDirectoryPlus, entry: &DirEntry) -> Result<bool, Refused> {
        let name = OsStr::from_bytes(entry.name());
        let (attr, generation) = if entry.is_dot() {
            // These do not count as handed out. The kernel takes number and type from them, and nothing else.
            let attr = FileAttr {
                ino: INodeNo(entry.inode().0),
                kind: fuser::FileType::Directory,
                ..attr::absent()
            };
            (attr, Generation(0))
        } else {
            match self
                .fs
                .inode(entry.inode())
                .map_err(Refused::from)
                .and_then(|inode| self.hand_out(&inode))
            {
                Ok(known) => known,
                // Removed since, or damaged: the name is shown, and whoever wants more than that asks again.
                Err(_) => {
                    let kind = entry.kind().map_or(fuser::FileType::RegularFile, attr::file_type);
                    let attr = FileAttr { kind, ..attr::absent() };
                    (attr, Generation(0))
                }
            }
        };
        let is_full = reply.add(attr.ino, entry.next_position(), name, &FOREVER, &attr, generation);
        if is_full && !entry.is_dot() && attr.ino != INodeNo(0) {
            self.inodes.forget(attr.ino, 1);
        }
        Ok(!is_full)
    }

    pub(super) fn ioctl(&self, uid: u32, ino: INodeNo, command: u32, argument: &[u8]) -> Result<Vec<u8>, Refused> {
        let ioctl = Ioctl::parse(command, argument)?;
        if matches!(ioctl, Ioctl::Trim { .. }) && uid != 0 {
            return Err(Errno::EPERM.into());
        }
        let answer = ioctl.run(&self.fs, self.inodes.number(ino))?;
        if let (Ioctl::SetFlags(_), Some(notifier)) = (ioctl, self.notifier.get()) {
            // The kernel does not know that this changes ctime. It may have forgotten the inode.
            let _ = notifier.inval_inode(ino, -1, 0);
        }
        Ok(answer)
    }

    pub(super) fn seek(&self, ino: INodeNo, offset: i64, whence: i32) -> Result<i64, Refused> {
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        let file = self.inodes.used(ino)?;
        let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        let found = match whence {
            SEEK_DATA => self.fs.seek_data(&file, from)?,
            SEEK_HOLE => self.fs.seek_hole(&file, from)?,
            _ => return Err(Errno::EINVAL.into()),
        };
        // Files are shorter than 2^63 bytes.
        Ok(found.ok_or(Errno::ENXIO)? as i64)
    }
}
