//! An inode as it was when it was read: a checked dinode.
//!
//! Source: on-disk reference, sections 8 and 9.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ocfs2_format::{
    BlockNo, Contents, Dinode, DynFeatures, FileKind, Generation, Geometry, InodeAttr, InodeFlags, InodeNo, Structure,
};

use crate::error::Result;
use crate::meta::{BlockBuf, Blocks, Locality, view};

/// A point in time as an inode stores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970, negative before.
    pub secs: i64,
    /// Nanoseconds on top, below 1 000 000 000 on a sound volume.
    pub nanos: u32,
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> SystemTime {
        let nanos = Duration::from_nanos(time.nanos.into());
        let whole = Duration::from_secs(time.secs.unsigned_abs());
        let base = if time.secs >= 0 {
            UNIX_EPOCH.checked_add(whole)
        } else {
            UNIX_EPOCH.checked_sub(whole)
        };
        base.and_then(|base| base.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
    }
}

/// A device number, split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// A checked dinode. Cheap to clone; does not change when the volume does.
#[derive(Clone, Debug)]
pub struct Inode {
    number: InodeNo,
    kind: FileKind,
    block: BlockBuf,
    geometry: Geometry,
}

impl Inode {
    pub(crate) fn read(meta: &dyn Blocks, number: InodeNo) -> Result<Inode> {
        let block = meta.verified(
            number.block(),
            Structure::Dinode,
            Dinode::CHECK_OFFSET,
            Locality::Clustered,
        )?;
        let dinode = view::<Dinode>(&block);
        dinode.check(number.block(), meta.geometry())?;
        let kind = dinode.kind().expect("a checked dinode has one of the seven types");
        Ok(Inode {
            number,
            kind,
            block,
            geometry: *meta.geometry(),
        })
    }

    /// The inode's number.
    pub fn number(&self) -> InodeNo {
        self.number
    }

    /// The dinode with its on-disk fields.
    pub fn dinode(&self) -> &Dinode {
        view(&self.block)
    }

    /// The whole block.
    pub fn as_bytes(&self) -> &[u8] {
        &self.block
    }

    /// The inode's contents: the arm of the union that its flags select.
    pub fn contents(&self) -> Contents<'_> {
        self.dinode()
            .check(self.number.block(), &self.geometry)
            .expect("the same bytes passed the same check before")
    }

    /// File type.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Type and permission bits, as `st_mode` has them.
    pub fn mode(&self) -> u32 {
        self.dinode().i_mode.get().into()
    }

    /// Owner.
    pub fn uid(&self) -> u32 {
        self.dinode().i_uid.get()
    }

    /// Group.
    pub fn gid(&self) -> u32 {
        self.dinode().i_gid.get()
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.dinode().i_size.get()
    }

    /// Hard links.
    pub fn links(&self) -> u32 {
        self.dinode().links()
    }

    /// Clusters of data.
    pub fn clusters(&self) -> u32 {
        self.dinode().i_clusters.get()
    }

    /// Allocated space in units of 512 bytes, as `st_blocks` has it.
    pub fn sectors(&self) -> u64 {
        let sectors = u64::from(self.clusters()) * (self.geometry.cluster_size() / 512);
        // Inline contents are counted by their size, so that no program takes the file for one big hole.
        let inline = self.dyn_features().contains(DynFeatures::INLINE_DATA);
        if inline {
            sectors + self.size().div_ceil(512)
        } else {
            sectors
        }
    }

    /// Last access.
    pub fn atime(&self) -> Timestamp {
        let dinode = self.dinode();
        Timestamp {
            secs: dinode.i_atime.get() as i64,
            nanos: dinode.i_atime_nsec.get(),
        }
    }

    /// Last change of the contents.
    pub fn mtime(&self) -> Timestamp {
        let dinode = self.dinode();
        Timestamp {
            secs: dinode.i_mtime.get() as i64,
            nanos: dinode.i_mtime_nsec.get(),
        }
    }

    /// Last change of the inode.
    pub fn ctime(&self) -> Timestamp {
        let dinode = self.dinode();
        Timestamp {
            secs: dinode.i_ctime.get() as i64,
            nanos: dinode.i_ctime_nsec.get(),
        }
    }

    /// The device that a device file stands for; `None` for other files.
    pub fn device_number(&self) -> Option<DeviceNumber> {
        if !self.kind.is_device() {
            return None;
        }
        // Eight bits of minor number, then the major, then the rest of the minor.
        let rdev = self.dinode().rdev() as u32;
        Some(DeviceNumber {
            major: (rdev & 0xF_FF00) >> 8,
            minor: (rdev & 0xFF) | ((rdev >> 12) & 0xF_FF00),
        })
    }

    /// Attributes of chattr(1).
    pub fn attr(&self) -> InodeAttr {
        self.dinode().attr()
    }

    /// `i_flags`.
    pub fn flags(&self) -> InodeFlags {
        self.dinode().flags()
    }

    /// `i_dyn_features`.
    pub fn dyn_features(&self) -> DynFeatures {
        self.dinode().dyn_features()
    }

    /// Generation of the inode: together with its number it names one file for ever.
    pub fn generation(&self) -> Generation {
        Generation(self.dinode().i_generation.get())
    }

    /// Root of the directory index, of a directory that has one.
    pub fn dx_root(&self) -> Option<BlockNo> {
        self.dyn_features()
            .contains(DynFeatures::INDEXED_DIR)
            .then(|| BlockNo(self.dinode().i_dx_root.get()))
    }

    /// Root of the refcount tree, of a file that shares or shared clusters.
    pub fn refcount_root(&self) -> Option<BlockNo> {
        self.dyn_features()
            .contains(DynFeatures::HAS_REFCOUNT)
            .then(|| BlockNo(self.dinode().i_refcount_loc.get()))
    }

    /// Block of the attributes outside the dinode.
    pub fn xattr_block(&self) -> Option<BlockNo> {
        let block = self.dinode().i_xattr_loc.get();
        (self.dyn_features().contains(DynFeatures::HAS_XATTR) && block != 0).then_some(BlockNo(block))
    }
}
