//! Requests of the kernel, one method each.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use log::debug;
use ocfs2_format::{FileKind, InodeNo};
use ocfs2_fs::{AllocateMode, Caller, DeviceNumber, FileSystem, Inode, NewInode, RenameMode, SetAttributes, XattrMode};

use super::attr::{self, FOREVER};
use super::caller;
use super::errno::Refused;
use super::lookout::Answering;
use super::shared::{O_APPEND, Shared};

/// Bytes of the largest read and write: what the kernel takes at most without being told otherwise by its administrator.
pub(super) const MAX_TRANSFER: u32 = 1 << 20;

/// Requests in the background (readahead, asynchronous writes) that the kernel lets wait for an answer.
const MAX_BACKGROUND: u16 = 64;

/// The file system as fuser wants it.
#[derive(Debug)]
pub(super) struct Adapter {
    shared: Arc<Shared>,
}

impl Adapter {
    pub(super) fn new(shared: Arc<Shared>) -> Adapter {
        Adapter { shared }
    }

    /// The request's caller makes an inode.
    fn make(
        &self,
        req: &Request,
        (mode, umask): (u32, u32),
        make: impl Fn(&FileSystem, &NewInode) -> ocfs2_fs::Result<Inode>,
    ) -> Result<(FileAttr, Generation), Refused> {
        let new = NewInode {
            mode,
            umask,
            uid: req.uid(),
            gid: req.gid(),
            time: None,
        };
        let made = self.shared.with_room(|| make(&self.shared.fs, &new));
        let made = self.shared.named(made)?;
        self.shared.hand_out(&made)
    }

    fn number(&self, ino: INodeNo) -> InodeNo {
        self.shared.inodes.number(ino)
    }

    /// What a method has from its beginning to its end.
    fn answering(&self) -> Answering<'_> {
        self.shared.lookout.answering()
    }
}

/// Answers a request that has no answer but that it is done.
fn finish(reply: ReplyEmpty, done: Result<(), Refused>) {
    match done {
        Ok(()) => reply.ok(),
        Err(Refused(errno)) => reply.error(errno),
    }
}

/// Answers a request that makes the kernel know an inode.
fn entry(reply: ReplyEntry, known: Result<(FileAttr, Generation), Refused>) {
    match known {
        Ok((attr, generation)) => reply.entry(&FOREVER, &attr, generation),
        Err(Refused(errno)) => reply.error(errno),
    }
}

/// Answers a request for a value of an attribute, or for how long it is.
fn value(reply: ReplyXattr, size: u32, value: Result<Vec<u8>, Refused>) {
    match value {
        // Values have at most 64 KiB, lists of names what fits in a few blocks.
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(Refused(errno)) => reply.error(errno),
    }
}

thread_local! {
    /// Where this thread reads file contents to. It grows to the largest read and stays.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Not FUSE_ATOMIC_O_TRUNC: whether anybody runs the file the kernel looks at only after an open for reading that
        // truncates, too late.
        let mut wanted = InitFlags::FUSE_DONT_MASK
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_NO_OPENDIR_SUPPORT
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_EXPLICIT_INVAL_DATA
            | InitFlags::FUSE_HANDLE_KILLPRIV_V2
            | InitFlags::FUSE_HAS_IOCTL_DIR
            | InitFlags::FUSE_NO_EXPORT_SUPPORT;
        wanted.set(InitFlags::FUSE_POSIX_ACL, self.shared.acl);
        wanted.set(InitFlags::FUSE_WRITEBACK_CACHE, self.shared.writeback);
        let missing = wanted & !config.capabilities();
        if !missing.is_empty() {
            debug!("the kernel does without {missing:?}");
        }
        // Asked for one by one, as a kernel that lacks one still has the others.
        for capability in wanted.iter() {
            let _ = config.add_capabilities(capability);
        }
        // A refusal names the most that there can be.
        if let Err(most) = config.set_max_write(MAX_TRANSFER) {
            let _ = config.set_max_write(most);
        }
        if let Err(most) = config.set_max_readahead(MAX_TRANSFER) {
            let _ = config.set_max_readahead(most);
        }
        let _ = config.set_max_background(MAX_BACKGROUND);
        let _ = config.set_time_granularity(Duration::from_nanos(1));
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _answering = self.answering();
        match self.shared.lookup(parent, name) {
            Ok(Some(inode)) => entry(reply, self.shared.hand_out(&inode)),
            Ok(None) => reply.entry(&FOREVER, &attr::absent(), Generation(0)),
            Err(Refused(errno)) => reply.error(errno),
        }
    }

    fn forget(&self, _req: &Request, ino: INodeNo, lookups: u64) {
        // A row of them ends in looks that see nothing, of which there are few then.
        let _answering = self.answering();
        self.shared.inodes.forget(ino, lookups);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let _answering = self.answering();
        match self.shared.fs.inode(self.number(ino)) {
            Ok(inode) => reply.attr(&FOREVER, &self.shared.attr(&inode)),
            Err(error) => reply.error(Refused::from(error).0),
        }
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let _answering = self.answering();
        let change = SetAttributes {
            mode,
            uid,
            gid,
            atime: atime.map(attr::set_time),
            mtime: mtime.map(attr::set_time),
        };
        match self.shared.set_attributes(req, ino, size, &change) {
            Ok(inode) => reply.attr(&FOREVER, &self.shared.attr(&inode)),
            Err(Refused(errno)) => reply.error(errno),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        let _answering = self.answering();
        match self.shared.fs.link_target(self.number(ino)) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(Refused::from(error).0),
        }
    }

    fn mknod(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, rdev: u32, reply: ReplyEntry) {
        let _answering = self.answering();
        let dir = self.number(parent);
        let (major, minor) = attr::device_parts(rdev);
        let made = self.make(req, (mode, umask), |fs, new| {
            // Sixteen bits are the type and the permissions. mknod(2) takes no type for that of a file.
            let kind = FileKind::from_mode(mode as u16).unwrap_or(FileKind::Regular);
            fs.make_node(dir, name.as_bytes(), kind, DeviceNumber { major, minor }, new)
        });
        entry(reply, made);
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let _answering = self.answering();
        let dir = self.number(parent);
        entry(
            reply,
            self.make(req, (mode, umask), |fs, new| fs.make_dir(dir, name.as_bytes(), new)),
        );
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _answering = self.answering();
        let done = self.shared.fs.unlink(self.number(parent), name.as_bytes());
        finish(reply, self.shared.named(done));
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _answering = self.answering();
        let done = self.shared.fs.rmdir(self.number(parent), name.as_bytes());
        finish(reply, self.shared.named(done));
    }

    fn symlink(&self, req: &Request, parent: INodeNo, link_name: &OsStr, target: &Path, reply: ReplyEntry) {
        let _answering = self.answering();
        let dir = self.number(parent);
        let target = target.as_os_str().as_bytes();
        entry(
            reply,
            self.make(req, (0o777, 0), |fs, new| {
                fs.make_symlink(dir, link_name.as_bytes(), target, new)
            }),
        );
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let _answering = self.answering();
        let mode = if flags.is_empty() {
            RenameMode::Replace
        } else if flags == RenameFlags::RENAME_NOREPLACE {
            RenameMode::NoReplace
        } else if flags == RenameFlags::RENAME_EXCHANGE {
            RenameMode::Exchange
        } else {
            return reply.error(Errno::EINVAL);
        };
        let (from, to) = (self.number(parent), self.number(newparent));
        let (name, newname) = (name.as_bytes(), newname.as_bytes());
        let rename = || self.shared.fs.rename_at(from, name, to, newname, mode);
        let done = self.shared.with_room(rename);
        finish(reply, self.shared.named(done));
    }

    fn link(&self, _req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let _answering = self.answering();
        let (inode, dir) = (self.number(ino), self.number(newparent));
        let link = || self.shared.fs.link(inode, dir, newname.as_bytes());
        let linked = self.shared.with_room(link);
        entry(
            reply,
            self.shared.named(linked).and_then(|inode| self.shared.hand_out(&inode)),
        );
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _answering = self.answering();
        // The kernel's knowing the inode is what keeps it: a handle would add nothing.
        match self.shared.open(ino, flags) {
            Ok(how) => reply.opened(FileHandle(0), how),
            Err(Refused(errno)) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _answering = self.answering();
        let size = size as usize;
        let file = match self.shared.inodes.used(ino) {
            Ok(file) => file,
            Err(Refused(errno)) => return reply.error(errno),
        };
        READ_BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match self.shared.fs.read_at(&file, offset, &mut buffer[..size]) {
                Ok(len) => reply.data(&buffer[..len]),
                Err(error) => reply.error(Refused::from(error).0),
            }
        });
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _answering = self.answering();
        let appends = flags.0 & O_APPEND != 0 && !write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let written = self.shared.inodes.used(ino).and_then(|file| {
            let fs = match write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
                true => &self.shared.fs,
                false => &self.shared.keeping,
            };
            let write = || match appends {
                true => Ok(fs.append(&file, data)?.1),
                false => fs.write_at(&file, offset, data),
            };
            Ok(self.shared.with_room(write)?)
        });
        match written {
            // No more than the request had.
            Ok(written) => reply.written(written as u32),
            Err(Refused(errno)) => reply.error(errno),
        }
    }

    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        let _answering = self.answering();
        // Nothing waits here for the end of a file's use. Told so once, the kernel never asks again.
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let _answering = self.answering();
        self.shared.inodes.released(ino);
        reply.ok();
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let _answering = self.answering();
        let done = self.shared.inodes.used(ino).and_then(|file| match datasync {
            true => Ok(self.shared.fs.sync_inode_data(&file)?),
            false => Ok(self.shared.fs.sync_inode(&file)?),
        });
        finish(reply, done);
    }

    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let _answering = self.answering();
        // Positions in directories need no handle. Told so once, the kernel never asks again, and keeps what it has read
        // of a directory until something changes there.
        reply.error(Errno::ENOSYS);
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let _answering = self.answering();
        let listed = self.shared.read_dir(ino, offset, |entry| {
            let kind = attr::file_type(self.shared.entry_kind(entry)?);
            let name = OsStr::from_bytes(entry.name());
            Ok(!reply.add(INodeNo(entry.inode().0), entry.next_position(), kind, name))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(Refused(errno)) => reply.error(errno),
        }
    }

    fn readdirplus(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let _answering = self.answering();
        let listed = self
            .shared
            .read_dir(ino, offset, |entry| self.shared.put_plus(&mut reply, entry));
        match listed {
            Ok(()) => reply.ok(),
            Err(Refused(errno)) => reply.error(errno),
        }
    }

    fn fsyncdir(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let _answering = self.answering();
        finish(reply, self.shared.fs.sync().map_err(Refused::from));
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let _answering = self.answering();
        self.shared.room.settle(&self.shared.fs, &self.shared.inodes);
        match self.shared.fs.statfs() {
            Ok(stats) => reply.statfs(
                stats.blocks,
                stats.free_blocks,
                stats.free_blocks,
                stats.files,
                stats.free_files,
                stats.block_size,
                stats.name_max,
                stats.block_size,
            ),
            Err(error) => reply.error(Refused::from(error).0),
        }
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let _answering = self.answering();
        const XATTR_CREATE: i32 = 1;
        const XATTR_REPLACE: i32 = 2;
        let mode = match flags {
            0 => XattrMode::Set,
            XATTR_CREATE => XattrMode::Create,
            XATTR_REPLACE => XattrMode::Replace,
            _ => return reply.error(Errno::EINVAL),
        };
        let (number, name) = (self.number(ino), name.as_bytes());
        // All else that depends on who asks has been looked after by the kernel.
        let caller = match name == b"system.posix_acl_access" {
            true => caller::of(req),
            false => Caller::root(),
        };
        let set = || self.shared.fs.set_xattr_as(number, name, value, mode, &caller);
        let done = self.shared.with_room(set);
        finish(reply, done.map_err(Refused::from));
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let _answering = self.answering();
        let found = self.shared.fs.xattr(self.number(ino), name.as_bytes());
        value(reply, size, found.map_err(Refused::from));
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let _answering = self.answering();
        let names = self.shared.fs.xattr_names(self.number(ino)).map(|names| {
            let mut list = Vec::new();
            for name in names {
                list.extend_from_slice(&name);
                list.push(0);
            }
            list
        });
        value(reply, size, names.map_err(Refused::from));
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _answering = self.answering();
        let done = self.shared.fs.remove_xattr(self.number(ino), name.as_bytes());
        finish(reply, done.map_err(Refused::from));
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let _answering = self.answering();
        let dir = self.number(parent);
        match self.make(req, (mode, umask), |fs, new| fs.create_file(dir, name.as_bytes(), new)) {
            Ok((attr, generation)) => {
                let how = FopenFlags::FOPEN_KEEP_CACHE;
                self.shared.inodes.opened(attr.ino);
                reply.created(&FOREVER, &attr, generation, FileHandle(0), how);
            }
            Err(Refused(errno)) => reply.error(errno),
        }
    }

    fn ioctl(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        cmd: u32,
        in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        let _answering = self.answering();
        match self.shared.ioctl(req.uid(), ino, cmd, in_data) {
            Ok(answer) => reply.ioctl(0, &answer),
            Err(Refused(errno)) => reply.error(errno),
        }
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let _answering = self.answering();
        let done = self.shared.inodes.used(ino).and_then(|file| {
            let mode = AllocateMode::from_flags(mode as u32).ok_or(Errno::EOPNOTSUPP)?;
            let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
            let fs = self.shared.for_caller(req);
            Ok(self.shared.with_room(|| fs.allocate(&file, offset..end, mode))?)
        });
        finish(reply, done);
    }

    fn lseek(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let _answering = self.answering();
        match self.shared.seek(ino, offset, whence) {
            Ok(offset) => reply.offset(offset),
            Err(Refused(errno)) => reply.error(errno),
        }
    }

    fn copy_file_range(
        &self,
        req: &Request,
        ino_in: INodeNo,
        _fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        _fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let _answering = self.answering();
        let copied = self.shared.inodes.used(ino_in).and_then(|from| {
            let to = self.shared.inodes.used(ino_out)?;
            // The reply counts with 32 bits; whole clusters of them can be shared.
            let len = len.min(1 << 31);
            let fs = self.shared.for_caller(req);
            let copy = || fs.copy_range(&from, offset_in, &to, offset_out, len);
            Ok(self.shared.with_room(copy)?)
        });
        match copied {
            Ok(copied) => reply.written(copied as u32),
            Err(Refused(errno)) => reply.error(errno),
        }
    }
}
