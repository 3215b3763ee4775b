//! Extended attributes: areas, entries, values, and POSIX ACL records.
//!
//! Source: on-disk reference, sections 22 and 23.

use bitflags::bitflags;
use zerocopy::little_endian as le;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::blockcheck::BlockCheck;
use crate::dinode::suballoc_group;
use crate::error::{Corrupt, Structure, Violation};
use crate::extent::{ExtentList, ExtentListHeader, ExtentRec, check_identity};
use crate::geometry::Geometry;
use crate::prim::BlockNo;
use crate::signature::Signature;

bitflags! {
    /// `xb_flags`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct XattrBlockFlags: u16 {
        /// The block is the root of a tree of buckets.
        const INDEXED = 0x1;
        const _ = !0;
    }
}

/// A name space of attributes: the part of `xe_type` that stands for the name's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum XattrNamespace {
    /// `user.`
    User,
    /// `system.posix_acl_access`, with an empty name.
    PosixAclAccess,
    /// `system.posix_acl_default`, with an empty name.
    PosixAclDefault,
    /// `trusted.`
    Trusted,
    /// `security.`
    Security,
}

impl XattrNamespace {
    /// The name space of an index; `None` for an index without a meaning.
    pub fn from_index(index: u8) -> Option<Self> {
        Some(match index {
            1 => XattrNamespace::User,
            2 => XattrNamespace::PosixAclAccess,
            3 => XattrNamespace::PosixAclDefault,
            4 => XattrNamespace::Trusted,
            5 => XattrNamespace::Security,
            _ => return None,
        })
    }

    /// The index.
    pub fn index(self) -> u8 {
        match self {
            XattrNamespace::User => 1,
            XattrNamespace::PosixAclAccess => 2,
            XattrNamespace::PosixAclDefault => 3,
            XattrNamespace::Trusted => 4,
            XattrNamespace::Security => 5,
        }
    }

    /// The prefix that is not stored, or the whole name of the ACLs.
    pub fn prefix(self) -> &'static str {
        match self {
            XattrNamespace::User => "user.",
            XattrNamespace::PosixAclAccess => "system.posix_acl_access",
            XattrNamespace::PosixAclDefault => "system.posix_acl_default",
            XattrNamespace::Trusted => "trusted.",
            XattrNamespace::Security => "security.",
        }
    }

    /// Splits a full name into its name space and the part that is stored.
    pub fn split(name: &[u8]) -> Option<(Self, &[u8])> {
        for namespace in [XattrNamespace::PosixAclAccess, XattrNamespace::PosixAclDefault] {
            if name == namespace.prefix().as_bytes() {
                return Some((namespace, &[]));
            }
        }
        [XattrNamespace::User, XattrNamespace::Trusted, XattrNamespace::Security]
            .into_iter()
            .find_map(|namespace| Some((namespace, name.strip_prefix(namespace.prefix().as_bytes())?)))
    }
}

/// Header of an area of attributes (`ocfs2_xattr_header`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct XattrHeader {
    /// Entries.
    pub xh_count: le::U16,
    /// Bucket: lowest offset ever used by a name or value. 0 elsewhere.
    pub xh_free_start: le::U16,
    /// Bucket: bytes of all names and values. 0 elsewhere.
    pub xh_name_value_len: le::U16,
    /// First bucket of a run: buckets in use in the run. 0 elsewhere.
    pub xh_num_buckets: le::U16,
    /// Bucket: check of its 4096 bytes, with the metaecc feature. 0 elsewhere.
    pub xh_check: BlockCheck,
}
const _: () = assert!(size_of::<XattrHeader>() == 16);

/// One attribute (`ocfs2_xattr_entry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct XattrEntry {
    /// Hash of the name, without prefix.
    pub xe_name_hash: le::U32,
    /// Offset of name and value from the header.
    pub xe_name_offset: le::U16,
    /// Bytes of the name, without prefix.
    pub xe_name_len: u8,
    /// Name space index, and 0x80 when the value follows the name.
    pub xe_type: u8,
    /// Bytes of the value.
    pub xe_value_size: le::U64,
}
const _: () = assert!(size_of::<XattrEntry>() == 16);

impl XattrEntry {
    /// Bit of `xe_type` for a value that follows the name.
    pub const LOCAL: u8 = 0x80;
    /// Largest value that is stored beside its name.
    pub const MAX_LOCAL_VALUE: u64 = 80;

    /// Whether the value follows the name.
    pub fn is_local(&self) -> bool {
        self.xe_type & Self::LOCAL != 0
    }

    /// The name space index.
    pub fn namespace_index(&self) -> u8 {
        self.xe_type & !Self::LOCAL
    }
}

/// Root of the extents that hold a value (`ocfs2_xattr_value_root`), without its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct XattrValueRoot {
    /// Clusters of the value.
    pub xr_clusters: le::U32,
    /// Reserved.
    pub xr_reserved0: le::U32,
    /// Block of the rightmost leaf of the extent tree, 0 at depth 0.
    pub xr_last_eb_blk: le::U64,
    /// Header of the list.
    pub xr_list: ExtentListHeader,
}
const _: () = assert!(size_of::<XattrValueRoot>() == 32);

/// A value root with its one record (`ocfs2_xattr_def_value_root`), as it stands behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct XattrDefValueRoot {
    /// The root.
    pub xv: XattrValueRoot,
    /// Its record.
    pub er: ExtentRec,
}
const _: () = assert!(size_of::<XattrDefValueRoot>() == 48);

impl XattrDefValueRoot {
    /// The list with its record.
    pub fn list(&self) -> &ExtentList {
        ExtentList::view(&self.as_bytes()[16..]).expect("the list's header and record have 32 bytes")
    }
}

/// Root of a tree of buckets (`ocfs2_xattr_tree_root`), without its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct XattrTreeRoot {
    /// Clusters of buckets.
    pub xt_clusters: le::U32,
    /// Reserved.
    pub xt_reserved0: le::U32,
    /// Block of the rightmost leaf of the extent tree, 0 at depth 0.
    pub xt_last_eb_blk: le::U64,
    /// Header of the list.
    pub xt_list: ExtentListHeader,
}
const _: () = assert!(size_of::<XattrTreeRoot>() == 32);

/// A block of attributes, or the root of a tree of them (`ocfs2_xattr_block`); the view spans the whole block.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct XattrBlock {
    /// `XATTR01`.
    pub xb_signature: Signature,
    /// Slot of the extent_alloc that owns the block.
    pub xb_suballoc_slot: le::U16,
    /// Bit of the block in its group.
    pub xb_suballoc_bit: le::U16,
    /// Generation of the file system.
    pub xb_fs_generation: le::U32,
    /// This block's number.
    pub xb_blkno: le::U64,
    /// CRC and error-correcting code, with the metaecc feature.
    pub xb_check: BlockCheck,
    /// [`XattrBlockFlags`].
    pub xb_flags: le::U16,
    /// Reserved.
    pub xb_reserved0: le::U16,
    /// Reserved.
    pub xb_reserved1: le::U32,
    /// Block of the owning group, or 0: then the group is `xb_blkno - xb_suballoc_bit`.
    pub xb_suballoc_loc: le::U64,
    /// An area of attributes ([`area`](Self::area)) or a tree root ([`tree_root`](Self::tree_root)): 32 bytes of it.
    pub xb_attrs: [u8; 32],
    /// The rest of the block.
    pub xb_tail: [u8],
}

impl XattrBlock {
    /// Offset of the check field in the block.
    pub const CHECK_OFFSET: usize = 0x18;
    /// Offset of the area of attributes, or of the tree root, in the block.
    pub const AREA_OFFSET: usize = 0x30;
    const LIST_OFFSET: usize = 0x40;

    /// `xb_flags`.
    pub fn flags(&self) -> XattrBlockFlags {
        XattrBlockFlags::from_bits_retain(self.xb_flags.get())
    }

    /// The area of attributes, header first, whatever the flags say.
    pub fn area(&self) -> &[u8] {
        &self.as_bytes()[Self::AREA_OFFSET..]
    }

    /// The area of attributes, to be changed.
    pub fn area_mut(&mut self) -> &mut [u8] {
        &mut self.as_mut_bytes()[Self::AREA_OFFSET..]
    }

    /// The root of the tree of buckets, whatever the flags say.
    pub fn tree_root(&self) -> &XattrTreeRoot {
        XattrTreeRoot::ref_from_bytes(&self.xb_attrs).expect("both have 32 bytes")
    }

    /// The tree root's list, whatever the flags say.
    pub fn list(&self) -> &ExtentList {
        ExtentList::view(&self.as_bytes()[Self::LIST_OFFSET..]).expect("the view includes the list's header")
    }

    /// The root of the tree of buckets, to be changed.
    pub fn tree_root_mut(&mut self) -> &mut XattrTreeRoot {
        XattrTreeRoot::mut_from_bytes(&mut self.xb_attrs).expect("both have 32 bytes")
    }

    /// The tree root's list, to be changed.
    pub fn list_mut(&mut self) -> &mut ExtentList {
        ExtentList::view_mut(&mut self.as_mut_bytes()[Self::LIST_OFFSET..])
            .expect("the view includes the list's header")
    }

    /// Block of the group that owns the block's bit.
    pub fn suballoc_group(&self) -> Option<BlockNo> {
        suballoc_group(
            self.xb_suballoc_loc.get(),
            self.xb_blkno.get(),
            self.xb_suballoc_bit.get(),
        )
    }

    /// Checks everything but the check field and the attributes.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, at: BlockNo, geometry: &Geometry) -> Result<(), Corrupt> {
        let structure = Structure::XattrBlock;
        self.xb_signature
            .require(Signature::XATTR_BLOCK, structure)
            .map_err(|c| c.at_block(at))?;
        check_identity(
            structure,
            at,
            self.xb_blkno.get(),
            self.xb_fs_generation.get(),
            geometry,
        )?;
        if self.flags().contains(XattrBlockFlags::INDEXED) {
            self.list()
                .check_header(geometry.extents_per_xattr_block(), None)
                .map_err(|corrupt| Corrupt { structure, ..corrupt }.at_block(at))?;
        }
        Ok(())
    }
}

/// An area of attributes: a header, its entries, and the names and values they point to.
#[derive(Clone, Copy, Debug)]
pub struct XattrArea<'a> {
    structure: Structure,
    bytes: &'a [u8],
    header: &'a XattrHeader,
    entries: &'a [XattrEntry],
}

/// One attribute of an area.
#[derive(Clone, Copy, Debug)]
pub struct Xattr<'a> {
    /// The entry.
    pub entry: &'a XattrEntry,
    /// The name space of its index.
    pub namespace: XattrNamespace,
    /// The name, without prefix.
    pub name: &'a [u8],
    /// The value, or where it is.
    pub value: XattrValue<'a>,
}

/// Where a value is.
#[derive(Clone, Copy, Debug)]
pub enum XattrValue<'a> {
    /// Behind the name.
    Local(&'a [u8]),
    /// In clusters of its own.
    Outside(&'a XattrDefValueRoot),
}

impl Xattr<'_> {
    /// Bytes that the name and what stands behind it take, each padded to a multiple of 4.
    pub fn stored_bytes(&self) -> usize {
        let value = match self.value {
            XattrValue::Local(bytes) => bytes.len().next_multiple_of(4),
            XattrValue::Outside(_) => size_of::<XattrDefValueRoot>(),
        };
        self.name.len().next_multiple_of(4) + value
    }
}

impl<'a> XattrArea<'a> {
    /// The area in `bytes`: a whole bucket, the end of a dinode, or a block behind its fixed fields.
    ///
    /// # Errors
    /// When the header does not fit, or claims more entries than there is room for.
    pub fn parse(structure: Structure, bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let fail = |violation| Err(Corrupt::new(structure, violation));
        let Ok((header, rest)) = XattrHeader::ref_from_prefix(bytes) else {
            return fail(Violation::Truncated {
                found: bytes.len() as u64,
                needed: 16,
            });
        };
        let count = usize::from(header.xh_count.get());
        let room = rest.len() / size_of::<XattrEntry>();
        if count > room {
            return fail(Violation::TooLarge {
                field: "xh_count",
                found: count as u64,
                limit: room as u64,
            });
        }
        let Ok((entries, _)) = <[XattrEntry]>::ref_from_prefix_with_elems(rest, count) else {
            return fail(Violation::TooLarge {
                field: "xh_count",
                found: count as u64,
                limit: room as u64,
            });
        };
        Ok(XattrArea {
            structure,
            bytes,
            header,
            entries,
        })
    }

    /// The header.
    pub fn header(&self) -> &'a XattrHeader {
        self.header
    }

    /// The entries, unchecked.
    pub fn entries(&self) -> &'a [XattrEntry] {
        self.entries
    }

    /// Checks every attribute against the bounds of the area, and that none takes bytes of another.
    ///
    /// # Errors
    /// The first broken entry in their order, or the first overlap.
    pub fn check(&self) -> Result<(), Corrupt> {
        let mut pairs = Vec::with_capacity(self.entries.len());
        for xattr in self.iter() {
            let xattr = xattr?;
            pairs.push((usize::from(xattr.entry.xe_name_offset.get()), xattr.stored_bytes()));
        }
        pairs.sort_unstable();
        let mut end = 0;
        for (offset, len) in pairs {
            if offset < end {
                let violation = Violation::Invalid {
                    field: "xe_name_offset",
                    found: offset as u64,
                    why: "name and value overlap those of another attribute",
                };
                return Err(Corrupt::new(self.structure, violation));
            }
            end = offset + len;
        }
        Ok(())
    }

    /// The attributes, each checked against the bounds of the area.
    pub fn iter(&self) -> impl Iterator<Item = Result<Xattr<'a>, Corrupt>> + use<'a> {
        let area = *self;
        area.entries.iter().map(move |entry| area.attribute(entry))
    }

    /// The attribute of one of the area's entries.
    ///
    /// # Errors
    /// When name or value reach beyond the area, the name space is unknown, or the value's place contradicts its size.
    pub fn attribute(&self, entry: &'a XattrEntry) -> Result<Xattr<'a>, Corrupt> {
        let fail = |violation| Err(Corrupt::new(self.structure, violation));
        let Some(namespace) = XattrNamespace::from_index(entry.namespace_index()) else {
            let found = entry.xe_type.into();
            return fail(Violation::Invalid {
                field: "xe_type",
                found,
                why: "no name space has this index",
            });
        };
        let size = entry.xe_value_size.get();
        if entry.is_local() != (size <= XattrEntry::MAX_LOCAL_VALUE) {
            let why = "values of up to 80 bytes, and only those, stand beside their name";
            return fail(Violation::Invalid {
                field: "xe_value_size",
                found: size,
                why,
            });
        }
        let offset = usize::from(entry.xe_name_offset.get());
        let entries_end = size_of::<XattrHeader>() + size_of_val(self.entries);
        let outside = Violation::Invalid {
            field: "xe_name_offset",
            found: offset as u64,
            why: "name and value reach beyond their area",
        };
        if offset < entries_end {
            return fail(outside);
        }
        let name_len = usize::from(entry.xe_name_len);
        let Some(name) = self.bytes.get(offset..offset + name_len) else {
            return fail(outside);
        };
        let value_start = offset + name_len.next_multiple_of(4);
        let value_bytes = if entry.is_local() {
            size as usize
        } else {
            size_of::<XattrDefValueRoot>()
        };
        let Some(bytes) = self.bytes.get(value_start..value_start + value_bytes) else {
            return fail(outside);
        };
        let value = if entry.is_local() {
            XattrValue::Local(bytes)
        } else {
            let root = XattrDefValueRoot::ref_from_bytes(bytes).expect("the slice has the structure's size");
            XattrValue::Outside(root)
        };
        Ok(Xattr {
            entry,
            namespace,
            name,
            value,
        })
    }
}

/// One record of a POSIX ACL value (`ocfs2_acl_entry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AclEntry {
    /// 0x01 owner, 0x02 user, 0x04 group owner, 0x08 group, 0x10 mask, 0x20 other.
    pub e_tag: le::U16,
    /// Permission bits, `rwx` in the low three.
    pub e_perm: le::U16,
    /// User or group id; 0xFFFFFFFF for tags without one.
    pub e_id: le::U32,
}
const _: () = assert!(size_of::<AclEntry>() == 8);
