//! A volume, open for reading: nothing is ever written to its device.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocfs2_format::device::BlockDevice;
use ocfs2_format::{
    BlockNo, Corrupt, DxFlags, DxRoot, FileKind, Geometry, InodeNo, Structure, SuperBlock, SystemFile, Violation,
    XattrNamespace,
};

use crate::dir::{self, DirEntry, DirReader};
use crate::error::{Error, Result};
use crate::extent_tree::Extent;
use crate::file::{self, File};
use crate::inode::Inode;
use crate::journals::{self, JournalReplay};
use crate::meta::{Blocks, Correction, Meta, view};
use crate::path;
use crate::superblock::{self, FoundSuper};
use crate::system::SystemFiles;
use crate::walk::Walk;
use crate::xattr::{self, XattrInfo};

/// How to open a volume for reading.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Use backup superblock 1 to 6 instead of the primary.
    pub backup_superblock: Option<u32>,
    /// Replay dirty journals in memory, so that a volume that crashed or is in use reads consistently. On by default;
    /// without it, the blocks are shown as they are on the device.
    pub replay_journals: bool,
    /// Bytes of metadata kept in memory, 32 MiB by default.
    pub cache_bytes: u64,
    /// Open as far as the superblock allows, and show damage instead of refusing it: for debuggers. Check codes are not
    /// verified, so nothing is corrected either; a superblock that breaks rules is accepted while its sizes make sense; a
    /// broken system directory only means that system files are missing. Off by default.
    pub lenient: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            backup_superblock: None,
            replay_journals: true,
            cache_bytes: 32 << 20,
            lenient: false,
        }
    }
}

/// A volume, open for reading.
///
/// Cheap to clone and safe to use from many threads. What another node changes after the volume was opened may or may
/// not be seen; [`refresh`](Self::refresh) forgets what is cached.
#[derive(Clone, Debug)]
pub struct Volume {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    meta: Meta,
    superblock: FoundSuper,
    system: SystemFiles,
    replays: Vec<JournalReplay>,
}

impl Volume {
    /// Opens the volume on a device.
    ///
    /// # Errors
    /// [`Error::NotOcfs2`] when there is no superblock, [`Error::Unsupported`] for volumes that need something unknown,
    /// [`Error::Corrupt`] when superblock, system directory or a dirty journal is damaged.
    pub fn open(device: Arc<dyn BlockDevice>, options: &OpenOptions) -> Result<Volume> {
        let found = match options.backup_superblock {
            None => superblock::find_primary(device.as_ref()),
            Some(number) => superblock::find_backup(device.as_ref(), number),
        };
        let superblock = match found {
            Err(error) if options.lenient => {
                superblock::find_damaged(device.as_ref(), options.backup_superblock).ok_or(error)?
            }
            found => found?,
        };
        let mut meta = Meta::new(device, superblock.geometry, options);
        let mut system = SystemFiles::open(&meta, superblock.dinode().super_block().system_dir(), options)?;
        let mut replays = Vec::new();
        if options.replay_journals && !superblock.geometry.features.heartbeat_device() {
            let corrections = meta.corrections();
            let replayed = journals::replay_in_memory(&meta, &system)?;
            replays = replayed.replays;
            if let Some(device) = replayed.device {
                meta = Meta::new(device, superblock.geometry, options);
                system = SystemFiles::open(&meta, superblock.dinode().super_block().system_dir(), options)?;
            }
            corrections.into_iter().for_each(|correction| meta.record(correction));
        }
        if let Some(correction) = superblock.correction {
            meta.record(correction);
        }
        Ok(Volume {
            shared: Arc::new(Shared {
                meta,
                superblock,
                system,
                replays,
            }),
        })
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.shared.meta
    }

    pub(crate) fn system(&self) -> &SystemFiles {
        &self.shared.system
    }

    /// Sizes and features.
    pub fn geometry(&self) -> &Geometry {
        self.shared.meta.geometry()
    }

    /// The device that the volume is read from: the caller's, with dirty journals laid over it.
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        self.shared.meta.device()
    }

    /// The superblock's fields.
    pub fn superblock(&self) -> &SuperBlock {
        self.shared.superblock.dinode().super_block()
    }

    /// The whole superblock block.
    pub fn superblock_block(&self) -> &[u8] {
        &self.shared.superblock.block
    }

    /// Flipped bits that were found and put right in memory so far, by block.
    pub fn corrections(&self) -> Vec<Correction> {
        self.meta().corrections()
    }

    /// The journals that were dirty and have been replayed in memory.
    pub fn replays(&self) -> &[JournalReplay] {
        &self.shared.replays
    }

    /// Forgets cached blocks, so that later reads see what is on the device then.
    pub fn refresh(&self) {
        self.meta().invalidate();
    }

    /// The root directory.
    pub fn root(&self) -> InodeNo {
        self.superblock().root()
    }

    /// The system directory.
    pub fn system_dir(&self) -> InodeNo {
        self.superblock().system_dir()
    }

    // ---- the inode layer ----

    /// Reads an inode.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the block is not a dinode in use.
    pub fn inode(&self, number: InodeNo) -> Result<Inode> {
        Inode::read(self.meta(), number)
    }

    /// Finds a name in a directory, through its index where it has one.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when `dir` is no directory, [`Error::Corrupt`].
    pub fn lookup(&self, dir: &Inode, name: &[u8]) -> Result<Option<DirEntry>> {
        dir::lookup(self.meta(), dir, name)
    }

    /// Finds a name in a directory without its index: what a checker compares [`lookup`](Self::lookup) with.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    pub fn lookup_linear(&self, dir: &Inode, name: &[u8]) -> Result<Option<DirEntry>> {
        dir::lookup_linear(self.meta(), dir, name)
    }

    /// The entries of a directory, `.` and `..` included, in directory order.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when `dir` is no directory. The iterator yields an error and ends at the first broken block.
    pub fn entries(&self, dir: &Inode) -> Result<Entries> {
        Ok(Entries {
            volume: self.clone(),
            reader: DirReader::new(dir.clone())?,
            batch: Vec::new().into_iter(),
        })
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when the inode is no symbolic link, [`Error::Corrupt`].
    pub fn link_target(&self, inode: &Inode) -> Result<Vec<u8>> {
        file::read_link(self.meta(), inode)
    }

    /// Opens a regular file.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when the inode is no regular file.
    pub fn open_inode(&self, inode: Inode) -> Result<File> {
        File::new(self.clone(), inode)
    }

    /// The extents of a file or directory, from its start; none for inline contents and fast symlinks.
    ///
    /// # Errors
    /// [`Error::Corrupt`] at the first broken block or record.
    pub fn extents(&self, inode: &Inode) -> Result<Vec<Extent>> {
        match dir::data_tree(self.meta(), inode) {
            Ok(tree) => tree.extents().collect(),
            Err(Error::WrongKind { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The extended attributes of an inode, without the values of those that are stored apart.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn inode_xattrs(&self, inode: &Inode) -> Result<Vec<XattrInfo>> {
        xattr::list(self.meta(), inode)
    }

    /// One extended attribute of an inode.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn find_xattr(&self, inode: &Inode, namespace: XattrNamespace, name: &[u8]) -> Result<Option<XattrInfo>> {
        xattr::find(self.meta(), inode, namespace, name)
    }

    /// The value of an extended attribute, as it is stored.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn xattr_value(&self, inode: &Inode, xattr: &XattrInfo) -> Result<Vec<u8>> {
        xattr::value(self.meta(), inode.number(), xattr)
    }

    /// The entries of a directory's index: hash pairs and the directory blocks they point to. `None` without an index.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn check_index(&self, dir: &Inode) -> Result<Option<IndexSummary>> {
        let Some(at) = dir.dx_root() else { return Ok(None) };
        let meta = self.meta();
        let block = dir::read_dx_root(meta, dir.number(), at)?;
        let root = view::<DxRoot>(&block);
        let mut summary = IndexSummary {
            root: at,
            entries: 0,
            leaves: 0,
        };
        if root.flags().contains(DxFlags::INLINE) {
            summary.entries = root.entries().entries().len() as u64;
        } else {
            for extent in dir::dx_tree(meta, dir.number(), root).extents() {
                let extent = extent?;
                for index in 0..meta.geometry().clusters_to_blocks(extent.clusters) {
                    let leaf = dir::read_dx_leaf(meta, dir.number(), BlockNo(extent.blkno.0 + index))?;
                    summary.entries += view::<ocfs2_format::DxLeaf>(&leaf).entries().entries().len() as u64;
                    summary.leaves += 1;
                }
            }
        }
        if summary.entries != u64::from(root.dr_num_entries.get()) {
            let violation = Violation::Unexpected {
                field: "dr_num_entries",
                found: root.dr_num_entries.get().into(),
                expected: summary.entries,
            };
            return Err(Corrupt::new(Structure::DxRoot, violation)
                .at_block(at)
                .in_inode(dir.number())
                .into());
        }
        Ok(Some(summary))
    }

    // ---- system files ----

    /// The inode of a system file; `slot` matters for per-slot files only.
    ///
    /// # Errors
    /// [`Error::NoSuchSystemFile`].
    pub fn system_file(&self, file: SystemFile, slot: ocfs2_format::SlotNum) -> Result<InodeNo> {
        self.system().find(file, slot)
    }

    // ---- the path layer ----

    /// The inode that a path leads to, symbolic links followed. Paths begin at the root, with or without a slash.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::SymlinkLoop`], [`Error::Corrupt`].
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Inode> {
        path::resolve(self, path.as_ref(), true)
    }

    /// As [`metadata`](Self::metadata), without following a symbolic link in the last place.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata).
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> Result<Inode> {
        path::resolve(self, path.as_ref(), false)
    }

    /// The entries of the directory at a path, without `.` and `..`.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata).
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<ReadDir> {
        let path = path.as_ref();
        let dir = self.metadata(path)?;
        if dir.kind() != FileKind::Directory {
            return Err(Error::NotADirectory(path.to_owned()));
        }
        Ok(ReadDir(self.entries(&dir)?))
    }

    /// Opens the regular file at a path.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata), [`Error::IsADirectory`], [`Error::WrongKind`] for devices and the like.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let inode = self.metadata(path)?;
        if inode.kind() == FileKind::Directory {
            return Err(Error::IsADirectory(path.to_owned()));
        }
        self.open_inode(inode)
    }

    /// The whole contents of the file at a path.
    ///
    /// # Errors
    /// As [`open_file`](Self::open_file).
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let file = self.open_file(path)?;
        let mut contents = Vec::new();
        // Grown as bytes arrive: the size is not to be trusted with memory.
        const STEP: usize = 1 << 20;
        loop {
            let start = contents.len();
            contents.resize(start + STEP, 0);
            let read = file.read_at(start as u64, &mut contents[start..])?;
            contents.truncate(start + read);
            if read < STEP {
                return Ok(contents);
            }
        }
    }

    /// The target of the symbolic link at a path.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata), [`Error::WrongKind`] when it is no symbolic link.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let target = self.link_target(&self.symlink_metadata(path)?)?;
        Ok(path::from_bytes(target))
    }

    /// The extended attributes at a path (of a symbolic link itself), values included, by full name.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata).
    pub fn xattrs(&self, path: impl AsRef<Path>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let inode = self.symlink_metadata(path)?;
        let list = self.inode_xattrs(&inode)?;
        list.iter()
            .map(|xattr| Ok((xattr.name(), self.xattr_value(&inode, xattr)?)))
            .collect()
    }

    /// Everything at and below a path, parents before children, in directory order.
    ///
    /// Damage does not end the walk: what cannot be read is yielded as an error, and the walk goes on behind it.
    ///
    /// # Errors
    /// As [`symlink_metadata`](Self::symlink_metadata), for the path itself.
    pub fn walk(&self, path: impl AsRef<Path>) -> Result<Walk> {
        let path = path.as_ref();
        Ok(self.walk_inode(self.symlink_metadata(path)?, path))
    }

    /// As [`walk`](Self::walk), from an inode: also one that no path leads to, as in the system directory. The paths
    /// yielded begin with `path`.
    pub fn walk_inode(&self, inode: Inode, path: impl Into<PathBuf>) -> Walk {
        Walk::new(self.clone(), path.into(), inode)
    }
}

/// Size of a directory index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexSummary {
    /// Block of the root.
    pub root: BlockNo,
    /// Entries, `.` and `..` included.
    pub entries: u64,
    /// Leaf blocks; 0 when the root holds the entries.
    pub leaves: u64,
}

/// The entries of a directory. See [`Volume::entries`].
#[derive(Debug)]
pub struct Entries {
    volume: Volume,
    reader: DirReader,
    batch: std::vec::IntoIter<DirEntry>,
}

impl Iterator for Entries {
    type Item = Result<DirEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.batch.next() {
                return Some(Ok(entry));
            }
            match self.reader.next_batch(self.volume.meta())? {
                Ok(batch) => self.batch = batch.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The entries of a directory but for `.` and `..`. See [`Volume::read_dir`].
#[derive(Debug)]
pub struct ReadDir(Entries);

impl Iterator for ReadDir {
    type Item = Result<DirEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find(|entry| !entry.as_ref().is_ok_and(DirEntry::is_dot))
    }
}
