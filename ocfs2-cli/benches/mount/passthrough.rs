//! A FUSE file system that does nothing but pass requests on to a directory: what FUSE itself costs.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, SessionACL, TimeOrNow,
    WriteFlags,
};

const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// As much as a read or write can have.
const MAX_TRANSFER: u32 = 1 << 20;

/// Serves the directory `backing` at `dir` until that is unmounted.
pub(crate) fn serve(backing: &Path, dir: &Path) -> io::Result<()> {
    let mut config = fuser::Config::default();
    config.mount_options = vec![fuser::MountOption::DefaultPermissions];
    config.acl = SessionACL::All;
    config.n_threads = Some(std::thread::available_parallelism()?.get());
    config.clone_fd = true;
    fuser::Session::new(Passthrough::new(backing), dir, &config)?.run()
}

struct Passthrough {
    paths: RwLock<HashMap<u64, Arc<Path>>>,
    files: RwLock<HashMap<u64, Arc<File>>>,
    next_handle: AtomicU64,
}

impl Passthrough {
    fn new(backing: &Path) -> Passthrough {
        Passthrough {
            paths: RwLock::new(HashMap::from([(INodeNo::ROOT.0, Arc::from(backing))])),
            files: RwLock::default(),
            next_handle: AtomicU64::new(1),
        }
    }

    fn path(&self, node: INodeNo) -> Result<Arc<Path>, Errno> {
        let paths = self.paths.read().map_err(|_| Errno::EIO)?;
        paths.get(&node.0).cloned().ok_or(Errno::ESTALE)
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Result<PathBuf, Errno> {
        Ok(self.path(parent)?.join(name))
    }

    fn know(&self, path: PathBuf) -> Result<FileAttr, Errno> {
        let attr = attr(&fs::symlink_metadata(&path)?);
        let mut paths = self.paths.write().map_err(|_| Errno::EIO)?;
        paths.insert(attr.ino.0, path.into());
        Ok(attr)
    }

    fn file(&self, handle: FileHandle) -> Result<Arc<File>, Errno> {
        let files = self.files.read().map_err(|_| Errno::EIO)?;
        files.get(&handle.0).cloned().ok_or(Errno::EBADF)
    }

    fn keep(&self, file: File) -> Result<FileHandle, Errno> {
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let mut files = self.files.write().map_err(|_| Errno::EIO)?;
        files.insert(handle, Arc::new(file));
        Ok(FileHandle(handle))
    }

    fn list(&self, dir: INodeNo) -> Result<Vec<fs::DirEntry>, Errno> {
        Ok(fs::read_dir(self.path(dir)?)?.collect::<io::Result<_>>()?)
    }
}

fn attr(found: &Metadata) -> FileAttr {
    FileAttr {
        ino: INodeNo(found.ino()),
        size: found.size(),
        blocks: found.blocks(),
        atime: found.accessed().unwrap_or(UNIX_EPOCH),
        mtime: found.modified().unwrap_or(UNIX_EPOCH),
        ctime: found.modified().unwrap_or(UNIX_EPOCH),
        crtime: UNIX_EPOCH,
        kind: FileType::from_std(found.file_type()).unwrap_or(FileType::RegularFile),
        // Twelve bits.
        perm: (found.mode() & 0o7777) as u16,
        nlink: found.nlink() as u32,
        uid: found.uid(),
        gid: found.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn entry(reply: ReplyEntry, known: Result<FileAttr, Errno>) {
    match known {
        Ok(attr) => reply.entry(&FOREVER, &attr, Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

fn finish(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Passthrough {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = InitFlags::FUSE_ATOMIC_O_TRUNC
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_NO_OPENDIR_SUPPORT
            | InitFlags::FUSE_HANDLE_KILLPRIV_V2;
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
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.child(parent, name).and_then(|path| self.know(path)));
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.path(ino).and_then(|path| Ok(fs::symlink_metadata(path)?)) {
            Ok(found) => reply.attr(&FOREVER, &attr(&found)),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.path(ino).and_then(|path| {
            if let Some(size) = size {
                OpenOptions::new().write(true).open(&path)?.set_len(size)?;
            }
            Ok(fs::symlink_metadata(path)?)
        });
        match set {
            Ok(found) => reply.attr(&FOREVER, &attr(&found)),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        let made = self.child(parent, name).and_then(|path| {
            fs::create_dir(&path)?;
            self.know(path)
        });
        entry(reply, made);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.child(parent, name).and_then(|path| Ok(fs::remove_file(path)?));
        finish(reply, done);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.child(parent, name).and_then(|path| Ok(fs::remove_dir(path)?));
        finish(reply, done);
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self.child(parent, name).and_then(|path| {
            let mut how = OpenOptions::new();
            let file = how.read(true).write(true).create(true).mode(mode).open(&path)?;
            Ok((self.know(path)?, self.keep(file)?))
        });
        match made {
            Ok((attr, handle)) => reply.created(&FOREVER, &attr, Generation(0), handle, FopenFlags::FOPEN_KEEP_CACHE),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.path(ino).and_then(|path| {
            let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
            self.keep(OpenOptions::new().read(true).write(writes).open(path)?)
        });
        match opened {
            Ok(handle) => reply.opened(handle, FopenFlags::FOPEN_KEEP_CACHE),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut buf = vec![0; size as usize];
        match self.file(fh).and_then(|file| Ok(file.read_at(&mut buf, offset)?)) {
            Ok(len) => reply.data(&buf[..len]),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.file(fh).and_then(|file| Ok(file.write_at(data, offset)?)) {
            Ok(len) => reply.written(len as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if let Ok(mut files) = self.files.write() {
            files.remove(&fh.0);
        }
        reply.ok();
    }

    fn fsync(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        finish(reply, self.file(fh).and_then(|file| Ok(file.sync_all()?)));
    }

    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let entries = match self.list(ino) {
            Ok(entries) => entries,
            Err(errno) => return reply.error(errno),
        };
        for (entry, next) in entries.iter().zip(1..).skip(offset as usize) {
            let kind = entry.file_type().ok().and_then(FileType::from_std);
            let kind = kind.unwrap_or(FileType::RegularFile);
            if reply.add(INodeNo(entry.ino()), next, kind, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let entries = match self.list(ino) {
            Ok(entries) => entries,
            Err(errno) => return reply.error(errno),
        };
        for (entry, next) in entries.iter().zip(1..).skip(offset as usize) {
            let Ok(attr) = self.know(entry.path()) else { continue };
            if reply.add(attr.ino, next, entry.file_name(), &FOREVER, &attr, Generation(0)) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 30, 1 << 30, 1 << 30, 1 << 30, 1 << 30, 4096, 255, 4096);
    }
}
