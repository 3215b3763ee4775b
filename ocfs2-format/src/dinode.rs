//! Dinodes: one block per inode, and the number of the block is the number of the inode.
//!
//! Source: on-disk reference, sections 1.5 and 8.

use bitflags::bitflags;
use zerocopy::little_endian as le;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::allocators::{LocalAlloc, TruncateLog};
use crate::blockcheck::BlockCheck;
use crate::chain::ChainList;
use crate::error::{Corrupt, Structure, Violation};
use crate::extent::{ExtentList, check_identity};
use crate::geometry::Geometry;
use crate::prim::{BlockNo, InodeNo, SlotNum};
use crate::signature::Signature;
use crate::superblock::SuperBlock;

bitflags! {
    /// `i_flags`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct InodeFlags: u32 {
        /// The inode is in use.
        const VALID = 0x0001;
        /// The inode has an entry in an orphan directory.
        const ORPHANED = 0x0004;
        /// A system inode.
        const SYSTEM = 0x0010;
        /// The superblock.
        const SUPER_BLOCK = 0x0020;
        /// A local alloc.
        const LOCAL_ALLOC = 0x0040;
        /// An allocator with a bitmap.
        const BITMAP = 0x0080;
        /// A journal.
        const JOURNAL = 0x0100;
        /// The heartbeat region.
        const HEARTBEAT = 0x0200;
        /// An allocator with a chain list.
        const CHAIN = 0x0400;
        /// A truncate log.
        const DEALLOC = 0x0800;
        /// A quota file.
        const QUOTA = 0x1000;
        /// A direct append was under way; the inode has a `dio-` orphan entry.
        const DIO_ORPHANED = 0x2000;
        const _ = !0;
    }
}

bitflags! {
    /// `i_dyn_features`: what form the inode's contents take.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct DynFeatures: u16 {
        /// Data or directory entries live in the dinode.
        const INLINE_DATA = 0x0001;
        /// The inode has extended attributes.
        const HAS_XATTR = 0x0002;
        /// Attributes take the end of the dinode's block.
        const INLINE_XATTR = 0x0004;
        /// The directory has a hashed index.
        const INDEXED_DIR = 0x0008;
        /// The inode is attached to a refcount tree.
        const HAS_REFCOUNT = 0x0010;
        const _ = !0;
    }
}

bitflags! {
    /// `i_attr`: the attributes of chattr(1), with the bit values of ext2.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct InodeAttr: u32 {
        /// `s`: secure deletion.
        const SECURE_DELETE = 0x1;
        /// `u`: undelete.
        const UNDELETE = 0x2;
        /// `c`: compress.
        const COMPRESS = 0x4;
        /// `S`: synchronous updates.
        const SYNC = 0x8;
        /// `i`: immutable.
        const IMMUTABLE = 0x10;
        /// `a`: append only.
        const APPEND = 0x20;
        /// `d`: no dump.
        const NODUMP = 0x40;
        /// `A`: no atime updates.
        const NOATIME = 0x80;
        /// Compressed and dirty.
        const DIRTY = 0x100;
        /// One or more compressed clusters.
        const COMPRESSED_BLOCKS = 0x200;
        /// `X`: no compression.
        const NOCOMPRESS = 0x400;
        /// `E`: compression error.
        const COMPRESSION_ERROR = 0x800;
        /// `I`: hash-indexed directory.
        const INDEX = 0x1000;
        /// AFS directory.
        const IMAGIC = 0x2000;
        /// `j`: data journaling.
        const JOURNAL_DATA = 0x4000;
        /// `t`: no tail merging.
        const NOTAIL = 0x8000;
        /// `D`: synchronous directory updates.
        const DIRSYNC = 0x1_0000;
        /// `T`: top of directory hierarchy.
        const TOPDIR = 0x2_0000;
        const _ = !0;
    }
}

bitflags! {
    /// `ij_flags` of a journal's dinode.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct JournalFlags: u32 {
        /// The slot is mounted or was not unmounted cleanly: the log must be replayed.
        const DIRTY = 0x1;
        const _ = !0;
    }
}

/// The type of a file, from `i_mode` or from a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A symbolic link.
    Symlink,
}

impl FileKind {
    /// The kind that the type bits of a mode name; `None` for bits that name none of the seven.
    pub fn from_mode(mode: u16) -> Option<FileKind> {
        Some(match mode & 0o170_000 {
            0o100_000 => FileKind::Regular,
            0o040_000 => FileKind::Directory,
            0o020_000 => FileKind::CharDevice,
            0o060_000 => FileKind::BlockDevice,
            0o010_000 => FileKind::Fifo,
            0o140_000 => FileKind::Socket,
            0o120_000 => FileKind::Symlink,
            _ => return None,
        })
    }

    /// The type bits of a mode.
    pub fn mode_bits(self) -> u16 {
        match self {
            FileKind::Regular => 0o100_000,
            FileKind::Directory => 0o040_000,
            FileKind::CharDevice => 0o020_000,
            FileKind::BlockDevice => 0o060_000,
            FileKind::Fifo => 0o010_000,
            FileKind::Socket => 0o140_000,
            FileKind::Symlink => 0o120_000,
        }
    }

    /// The kind that `file_type` of a directory entry names; `None` for 0 (unknown) and numbers above 7.
    pub fn from_dirent(file_type: u8) -> Option<FileKind> {
        Some(match file_type {
            1 => FileKind::Regular,
            2 => FileKind::Directory,
            3 => FileKind::CharDevice,
            4 => FileKind::BlockDevice,
            5 => FileKind::Fifo,
            6 => FileKind::Socket,
            7 => FileKind::Symlink,
            _ => return None,
        })
    }

    /// `file_type` of a directory entry.
    pub fn dirent_type(self) -> u8 {
        match self {
            FileKind::Regular => 1,
            FileKind::Directory => 2,
            FileKind::CharDevice => 3,
            FileKind::BlockDevice => 4,
            FileKind::Fifo => 5,
            FileKind::Socket => 6,
            FileKind::Symlink => 7,
        }
    }

    /// Whether this is a character or block device.
    pub fn is_device(self) -> bool {
        matches!(self, FileKind::CharDevice | FileKind::BlockDevice)
    }
}

/// A dinode (`ocfs2_dinode`); the view spans the whole block.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Dinode {
    /// `INODE01`, or `OCFSV2` in a superblock.
    pub i_signature: Signature,
    /// Generation of the inode: changes when the block is used for another inode.
    pub i_generation: le::U32,
    /// Slot of the inode_alloc that owns the block; 0xFFFF for global_inode_alloc.
    pub i_suballoc_slot: le::U16,
    /// Bit of the block in its group.
    pub i_suballoc_bit: le::U16,
    /// High 16 bits of the link count, with the indexed-dirs feature.
    pub i_links_count_hi: le::U16,
    /// Bytes that attributes take at the end of the block, with INLINE_XATTR.
    pub i_xattr_inline_size: le::U16,
    /// Clusters of the inode's extents.
    pub i_clusters: le::U32,
    /// Owner.
    pub i_uid: le::U32,
    /// Group.
    pub i_gid: le::U32,
    /// Size in bytes.
    pub i_size: le::U64,
    /// Type and permission bits.
    pub i_mode: le::U16,
    /// Low 16 bits of the link count.
    pub i_links_count: le::U16,
    /// [`InodeFlags`].
    pub i_flags: le::U32,
    /// Last access, seconds since 1970.
    pub i_atime: le::U64,
    /// Last change of the inode, seconds since 1970.
    pub i_ctime: le::U64,
    /// Last change of the contents, seconds since 1970.
    pub i_mtime: le::U64,
    /// Deletion, seconds since 1970; 0 while the inode lives.
    pub i_dtime: le::U64,
    /// This block's number.
    pub i_blkno: le::U64,
    /// Block of the rightmost leaf of the extent tree, 0 at depth 0.
    pub i_last_eb_blk: le::U64,
    /// Generation of the file system.
    pub i_fs_generation: le::U32,
    /// Nanoseconds of `i_atime`.
    pub i_atime_nsec: le::U32,
    /// Nanoseconds of `i_ctime`.
    pub i_ctime_nsec: le::U32,
    /// Nanoseconds of `i_mtime`.
    pub i_mtime_nsec: le::U32,
    /// [`InodeAttr`].
    pub i_attr: le::U32,
    /// Slot whose orphan directory names the inode, with ORPHANED.
    pub i_orphaned_slot: le::U16,
    /// [`DynFeatures`].
    pub i_dyn_features: le::U16,
    /// Block of the attributes that are outside the dinode, 0 for none.
    pub i_xattr_loc: le::U64,
    /// CRC and error-correcting code, with the metaecc feature.
    pub i_check: BlockCheck,
    /// Root of the directory index, with INDEXED_DIR.
    pub i_dx_root: le::U64,
    /// Root of the refcount tree, with HAS_REFCOUNT.
    pub i_refcount_loc: le::U64,
    /// Block of the owning group, or 0: then the group is `i_blkno - i_suballoc_bit`.
    pub i_suballoc_loc: le::U64,
    /// Slot whose orphan directory has the `dio-` entry, with DIO_ORPHANED.
    pub i_dio_orphaned_slot: le::U16,
    /// Reserved.
    pub i_reserved1: [u8; 6],
    /// Reserved.
    pub i_reserved2: [le::U64; 2],
    /// Device number, allocator counts or journal state; see [`rdev`](Self::rdev), [`bitmap`](Self::bitmap) and
    /// [`journal`](Self::journal).
    pub id1: [u8; 8],
    /// The contents, as far as the smallest block reaches; the accessors span all of it.
    pub id2: [u8; 320],
    /// The rest of the block.
    pub id2_tail: [u8],
}

/// `id1.bitmap1`: counts of an allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BitmapCounts {
    /// Set bits.
    pub i_used: le::U32,
    /// All bits.
    pub i_total: le::U32,
}
const _: () = assert!(size_of::<BitmapCounts>() == 8);

/// `id1.journal1`: state of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct JournalState {
    /// [`JournalFlags`].
    pub ij_flags: le::U32,
    /// Counts recoveries of this journal.
    pub ij_recovery_generation: le::U32,
}
const _: () = assert!(size_of::<JournalState>() == 8);

/// Data or directory entries in a dinode (`ocfs2_inline_data`), with all the bytes behind the header.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct InlineData {
    /// Bytes that there is room for.
    pub id_count: le::U16,
    /// Reserved.
    pub id_reserved0: le::U16,
    /// Reserved.
    pub id_reserved1: le::U32,
    /// The bytes.
    pub id_data: [u8],
}

/// The contents of a checked dinode: the arm of the id2 union that its flags select.
#[derive(Debug)]
pub enum Contents<'a> {
    /// The superblock's fields.
    SuperBlock(&'a SuperBlock),
    /// A local alloc.
    LocalAlloc(&'a LocalAlloc),
    /// The chains of an allocator.
    Chains(&'a ChainList),
    /// A truncate log.
    TruncateLog(&'a TruncateLog),
    /// Data or directory entries: `id_count` bytes, of which a file's `i_size` are its data.
    Inline(&'a [u8]),
    /// The target of a fast symlink, without its NUL.
    FastSymlink(&'a [u8]),
    /// The root of an extent tree.
    Extents(&'a ExtentList),
}

impl Dinode {
    /// Offset of the check field in the block.
    pub const CHECK_OFFSET: usize = 0x80;
    /// Offset of the contents in the block.
    pub const ID2_OFFSET: usize = 0xC0;

    fn id2(&self) -> &[u8] {
        &self.as_bytes()[Self::ID2_OFFSET..]
    }

    fn id2_mut(&mut self) -> &mut [u8] {
        &mut self.as_mut_bytes()[Self::ID2_OFFSET..]
    }

    /// `i_flags`.
    pub fn flags(&self) -> InodeFlags {
        InodeFlags::from_bits_retain(self.i_flags.get())
    }

    /// `i_dyn_features`.
    pub fn dyn_features(&self) -> DynFeatures {
        DynFeatures::from_bits_retain(self.i_dyn_features.get())
    }

    /// `i_attr`.
    pub fn attr(&self) -> InodeAttr {
        InodeAttr::from_bits_retain(self.i_attr.get())
    }

    /// The inode's number.
    pub fn inode(&self) -> InodeNo {
        InodeNo(self.i_blkno.get())
    }

    /// The kind that the mode names, if it names one.
    pub fn kind(&self) -> Option<FileKind> {
        FileKind::from_mode(self.i_mode.get())
    }

    /// The link count, both halves.
    pub fn links(&self) -> u32 {
        u32::from(self.i_links_count_hi.get()) << 16 | u32::from(self.i_links_count.get())
    }

    /// Sets both halves of the link count.
    pub fn set_links(&mut self, links: u32) {
        self.i_links_count.set(links as u16);
        self.i_links_count_hi.set((links >> 16) as u16);
    }

    /// Device number of a device file, in the encoding of the kernel's `new_encode_dev`.
    pub fn rdev(&self) -> u64 {
        u64::from_le_bytes(self.id1)
    }

    /// Counts of an allocator.
    pub fn bitmap(&self) -> &BitmapCounts {
        BitmapCounts::ref_from_bytes(&self.id1).expect("both have 8 bytes")
    }

    /// Counts of an allocator, to be changed.
    pub fn bitmap_mut(&mut self) -> &mut BitmapCounts {
        BitmapCounts::mut_from_bytes(&mut self.id1).expect("both have 8 bytes")
    }

    /// State of a journal.
    pub fn journal(&self) -> &JournalState {
        JournalState::ref_from_bytes(&self.id1).expect("both have 8 bytes")
    }

    /// State of a journal, to be changed.
    pub fn journal_mut(&mut self) -> &mut JournalState {
        JournalState::mut_from_bytes(&mut self.id1).expect("both have 8 bytes")
    }

    /// The superblock's fields, whatever the flags say.
    pub fn super_block(&self) -> &SuperBlock {
        SuperBlock::ref_from_bytes(&self.id2).expect("both have 320 bytes")
    }

    /// The superblock's fields, to be changed.
    pub fn super_block_mut(&mut self) -> &mut SuperBlock {
        SuperBlock::mut_from_bytes(&mut self.id2).expect("both have 320 bytes")
    }

    /// The extent list, whatever the flags say.
    pub fn extent_list(&self) -> &ExtentList {
        ExtentList::view(self.id2()).expect("the view includes 320 bytes of contents")
    }

    /// The extent list, to be changed.
    pub fn extent_list_mut(&mut self) -> &mut ExtentList {
        ExtentList::view_mut(self.id2_mut()).expect("the view includes 320 bytes of contents")
    }

    /// The chain list, whatever the flags say.
    pub fn chain_list(&self) -> &ChainList {
        ChainList::view(self.id2()).expect("the view includes 320 bytes of contents")
    }

    /// The chain list, to be changed.
    pub fn chain_list_mut(&mut self) -> &mut ChainList {
        ChainList::view_mut(self.id2_mut()).expect("the view includes 320 bytes of contents")
    }

    /// The local alloc, whatever the flags say.
    pub fn local_alloc(&self) -> &LocalAlloc {
        LocalAlloc::view(self.id2()).expect("the view includes 320 bytes of contents")
    }

    /// The local alloc, to be changed.
    pub fn local_alloc_mut(&mut self) -> &mut LocalAlloc {
        LocalAlloc::view_mut(self.id2_mut()).expect("the view includes 320 bytes of contents")
    }

    /// The truncate log, whatever the flags say.
    pub fn truncate_log(&self) -> &TruncateLog {
        TruncateLog::view(self.id2()).expect("the view includes 320 bytes of contents")
    }

    /// The truncate log, to be changed.
    pub fn truncate_log_mut(&mut self) -> &mut TruncateLog {
        TruncateLog::view_mut(self.id2_mut()).expect("the view includes 320 bytes of contents")
    }

    /// Inline data, whatever the flags say.
    pub fn inline_data(&self) -> &InlineData {
        InlineData::ref_from_bytes(self.id2()).expect("the view includes 320 bytes of contents")
    }

    /// Inline data, to be changed.
    pub fn inline_data_mut(&mut self) -> &mut InlineData {
        InlineData::mut_from_bytes(self.id2_mut()).expect("the view includes 320 bytes of contents")
    }

    /// The bytes of inline data: `id_count` of them, or as many as the block has, whatever the flags say.
    pub fn inline_bytes(&self) -> &[u8] {
        let inline = self.inline_data();
        let count = usize::from(inline.id_count.get()).min(inline.id_data.len());
        &inline.id_data[..count]
    }

    /// The bytes of a fast symlink's target and what follows it, whatever the flags say.
    pub fn symlink_area(&self) -> &[u8] {
        self.id2()
    }

    /// The attributes at the end of the block, header first; `None` without INLINE_XATTR or when the size is impossible.
    pub fn inline_xattr_area(&self) -> Option<&[u8]> {
        if !self.dyn_features().contains(DynFeatures::INLINE_XATTR) {
            return None;
        }
        let bytes = self.as_bytes();
        let start = bytes.len().checked_sub(usize::from(self.i_xattr_inline_size.get()))?;
        (start > Self::ID2_OFFSET).then(|| &bytes[start..])
    }

    /// The attributes at the end of the block, to be changed.
    pub fn inline_xattr_area_mut(&mut self) -> Option<&mut [u8]> {
        let len = self.inline_xattr_area()?.len();
        let bytes = self.as_mut_bytes();
        let start = bytes.len() - len;
        Some(&mut bytes[start..])
    }

    /// Block of the group that owns the inode's bit.
    pub fn suballoc_group(&self) -> Option<BlockNo> {
        suballoc_group(self.i_suballoc_loc.get(), self.i_blkno.get(), self.i_suballoc_bit.get())
    }

    /// Checks everything but the check field and the records of extent lists, and selects the contents.
    ///
    /// Only dinodes in use pass: `VALID` must be set.
    ///
    /// # Errors
    /// The first rule broken, in the order of the kernel's checks.
    pub fn check(&self, at: BlockNo, geometry: &Geometry) -> Result<Contents<'_>, Corrupt> {
        let structure = Structure::Dinode;
        self.check_inner(at, geometry)
            .map_err(|corrupt| Corrupt { structure, ..corrupt }.at_block(at).in_inode(at.inode()))
    }

    fn check_inner(&self, at: BlockNo, geometry: &Geometry) -> Result<Contents<'_>, Corrupt> {
        let structure = Structure::Dinode;
        let fail = |violation| Err(Corrupt::new(structure, violation));
        self.i_signature.require(Signature::INODE, structure)?;
        check_identity(structure, at, self.i_blkno.get(), self.i_fs_generation.get(), geometry)?;
        let flags = self.flags();
        let raw_flags = u64::from(self.i_flags.get());
        if !flags.contains(InodeFlags::VALID) {
            return fail(Violation::Invalid {
                field: "i_flags",
                found: raw_flags,
                why: "the inode is not in use",
            });
        }
        if flags.contains(InodeFlags::SUPER_BLOCK) {
            return fail(Violation::Invalid {
                field: "i_flags",
                found: raw_flags,
                why: "only block 2 is the superblock",
            });
        }
        let Some(kind) = self.kind() else {
            let why = "the mode names none of the seven file types";
            return fail(Violation::Invalid {
                field: "i_mode",
                found: self.i_mode.get().into(),
                why,
            });
        };
        let system = flags.contains(InodeFlags::SYSTEM);
        if !system && !kind.is_device() && self.rdev() != 0 {
            return fail(Violation::Invalid {
                field: "i_rdev",
                found: self.rdev(),
                why: "only devices have a number",
            });
        }
        self.check_slots(flags, geometry)?;
        let size = self.i_size.get();
        if size > i64::MAX as u64 {
            return fail(Violation::TooLarge {
                field: "i_size",
                found: size,
                limit: i64::MAX as u64,
            });
        }
        let dynamic = self.dyn_features();
        if dynamic.contains(DynFeatures::HAS_REFCOUNT) {
            if !geometry.features.refcount() {
                let why = "HAS_REFCOUNT on a volume without the refcount feature";
                return fail(Violation::Invalid {
                    field: "i_dyn_features",
                    found: dynamic.bits().into(),
                    why,
                });
            }
            if self.i_refcount_loc.get() == 0 {
                return fail(Violation::Invalid {
                    field: "i_refcount_loc",
                    found: 0,
                    why: "HAS_REFCOUNT is set",
                });
            }
        }
        if dynamic.contains(DynFeatures::INLINE_XATTR) {
            let (found, limit) = (self.i_xattr_inline_size.get(), geometry.xattr_inline_size);
            if found > limit {
                return fail(Violation::TooLarge {
                    field: "i_xattr_inline_size",
                    found: found.into(),
                    limit: limit.into(),
                });
            }
            if self.inline_xattr_area().is_none_or(|area| area.len() < 16) {
                return fail(Violation::Invalid {
                    field: "i_xattr_inline_size",
                    found: found.into(),
                    why: "no room for it in the block",
                });
            }
        }
        self.check_contents(kind, flags, dynamic, geometry)
    }

    fn check_slots(&self, flags: InodeFlags, geometry: &Geometry) -> Result<(), Corrupt> {
        let max_slots = geometry.max_slots;
        let suballoc = (self.i_suballoc_slot.get() != SlotNum::INVALID.0)
            .then_some(("i_suballoc_slot", self.i_suballoc_slot.get()));
        let orphaned = flags
            .contains(InodeFlags::ORPHANED)
            .then_some(("i_orphaned_slot", self.i_orphaned_slot.get()));
        let dio = flags
            .contains(InodeFlags::DIO_ORPHANED)
            .then_some(("i_dio_orphaned_slot", self.i_dio_orphaned_slot.get()));
        for (field, slot) in [suballoc, orphaned, dio].into_iter().flatten() {
            if slot >= max_slots {
                let limit = max_slots.saturating_sub(1).into();
                return Err(Corrupt::new(
                    Structure::Dinode,
                    Violation::TooLarge {
                        field,
                        found: slot.into(),
                        limit,
                    },
                ));
            }
        }
        Ok(())
    }

    fn check_contents(
        &self,
        kind: FileKind,
        flags: InodeFlags,
        dynamic: DynFeatures,
        geometry: &Geometry,
    ) -> Result<Contents<'_>, Corrupt> {
        let fail = |violation| Err(Corrupt::new(Structure::Dinode, violation));
        let size = self.i_size.get();
        let clusters = self.i_clusters.get();
        if flags.contains(InodeFlags::LOCAL_ALLOC) {
            self.local_alloc().check(self.bitmap(), geometry)?;
            return Ok(Contents::LocalAlloc(self.local_alloc()));
        }
        if flags.contains(InodeFlags::CHAIN) {
            self.chain_list().check(geometry)?;
            let counts = self.bitmap();
            if counts.i_used > counts.i_total {
                let (found, limit) = (counts.i_used.get().into(), counts.i_total.get().into());
                return fail(Violation::TooLarge {
                    field: "i_used",
                    found,
                    limit,
                });
            }
            return Ok(Contents::Chains(self.chain_list()));
        }
        if flags.contains(InodeFlags::DEALLOC) {
            self.truncate_log().check(geometry)?;
            return Ok(Contents::TruncateLog(self.truncate_log()));
        }
        let with_xattr = dynamic.contains(DynFeatures::INLINE_XATTR);
        if dynamic.contains(DynFeatures::INLINE_DATA) {
            // The reference mkfs makes the root directory of a heartbeat device inline, without the feature.
            if !geometry.features.inline_data() && !geometry.features.heartbeat_device() {
                let why = "INLINE_DATA on a volume without the inline-data feature";
                return fail(Violation::Invalid {
                    field: "i_dyn_features",
                    found: dynamic.bits().into(),
                    why,
                });
            }
            if clusters != 0 {
                return fail(Violation::Unexpected {
                    field: "i_clusters",
                    found: clusters.into(),
                    expected: 0,
                });
            }
            let inline = self.inline_data();
            let (count, limit) = (inline.id_count.get(), geometry.max_inline_data(with_xattr));
            if count > limit {
                return fail(Violation::TooLarge {
                    field: "id_count",
                    found: count.into(),
                    limit: limit.into(),
                });
            }
            if size > u64::from(count) {
                return fail(Violation::TooLarge {
                    field: "i_size",
                    found: size,
                    limit: count.into(),
                });
            }
            // Bounded by max_inline_data above, which is what the block has.
            return Ok(Contents::Inline(
                &inline.id_data[..usize::from(count).min(inline.id_data.len())],
            ));
        }
        if clusters == 0 {
            let dense = kind == FileKind::Regular && !geometry.features.sparse() && !flags.contains(InodeFlags::SYSTEM);
            if size != 0 && (kind == FileKind::Directory || dense) {
                let why = "the inode has no clusters and no inline data";
                return fail(Violation::Invalid {
                    field: "i_size",
                    found: size,
                    why,
                });
            }
            if kind == FileKind::Symlink {
                return self.check_fast_symlink(size, geometry).map(Contents::FastSymlink);
            }
        }
        let list = self.extent_list();
        list.check_header(geometry.extents_per_dinode(with_xattr), None)?;
        Ok(Contents::Extents(list))
    }

    fn check_fast_symlink(&self, size: u64, geometry: &Geometry) -> Result<&[u8], Corrupt> {
        let fail = |violation| Err(Corrupt::new(Structure::Dinode, violation));
        let area = self.symlink_area();
        let limit = u64::from(geometry.fast_symlink_bytes()).saturating_sub(1);
        if size > limit {
            return fail(Violation::TooLarge {
                field: "i_size",
                found: size,
                limit,
            });
        }
        let nul = area.iter().position(|&byte| byte == 0);
        match nul {
            Some(end) if end as u64 == size => Ok(&area[..end]),
            _ => fail(Violation::Invalid {
                field: "i_size",
                found: size,
                why: "the target of a fast symlink ends with a NUL at its size",
            }),
        }
    }
}

/// Block of the group that owns a suballocated block: the stored location, or bit 0's block of a contiguous group.
pub(crate) fn suballoc_group(loc: u64, blkno: u64, bit: u16) -> Option<BlockNo> {
    if loc != 0 {
        Some(BlockNo(loc))
    } else {
        blkno.checked_sub(bit.into()).map(BlockNo)
    }
}
