//! Reading extended attributes and POSIX ACLs, in all their storage forms.
//!
//! Source: on-disk reference, sections 22 and 23.

use std::fmt;

use ocfs2_format::{
    AclEntry, BlockNo, CharSign, Corrupt, ExtentFlags, Geometry, InodeNo, Structure, Violation, XattrArea, XattrBlock,
    XattrBlockFlags, XattrDefValueRoot, XattrNamespace, XattrValue, xattr_name_hash,
};
use zerocopy::FromBytes;

use crate::error::{Error, Result};
use crate::extent_tree::{Extent, ExtentTree, Lookup, TreeKind};
use crate::file::read_bytes;
use crate::inode::Inode;
use crate::meta::{BlockBuf, Blocks, Locality, view};

/// Where an attribute is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrPlace {
    /// At the end of the dinode.
    Inode,
    /// In the inode's attribute block.
    Block(BlockNo),
    /// In a bucket that begins at this block.
    Bucket(BlockNo),
}

/// One extended attribute, its value not read yet.
#[derive(Clone, Debug)]
pub struct XattrInfo {
    namespace: XattrNamespace,
    name: Vec<u8>,
    value_size: u64,
    place: XattrPlace,
    stored: Stored,
}

#[derive(Clone, Debug)]
enum Stored {
    Local(Vec<u8>),
    Outside(XattrDefValueRoot),
}

impl XattrInfo {
    /// The name space.
    pub fn namespace(&self) -> XattrNamespace {
        self.namespace
    }

    /// The name without its prefix; empty for ACLs.
    pub fn stored_name(&self) -> &[u8] {
        &self.name
    }

    /// The full name, prefix included.
    pub fn name(&self) -> Vec<u8> {
        [self.namespace.prefix().as_bytes(), &self.name].concat()
    }

    /// Bytes of the value.
    pub fn value_size(&self) -> u64 {
        self.value_size
    }

    /// Where the attribute is stored.
    pub fn place(&self) -> XattrPlace {
        self.place
    }

    /// Whether the value stands beside its name; otherwise it has clusters of its own.
    pub fn is_local(&self) -> bool {
        matches!(self.stored, Stored::Local(_))
    }

    /// Root of the extents that hold the value; `None` when it stands beside its name.
    pub fn value_root(&self) -> Option<&XattrDefValueRoot> {
        match &self.stored {
            Stored::Local(_) => None,
            Stored::Outside(root) => Some(root),
        }
    }
}

/// Largest value that the kernel's interface allows (`XATTR_SIZE_MAX`).
const MAX_VALUE: u64 = 65536;

/// Walks the areas that hold an inode's attributes.
pub(crate) fn for_each_area(
    meta: &dyn Blocks,
    inode: &Inode,
    mut visit: impl FnMut(XattrPlace, &XattrArea<'_>) -> Result<()>,
) -> Result<()> {
    if let Some(bytes) = inode.dinode().inline_xattr_area() {
        let at = inode.number().block();
        let area = XattrArea::parse(Structure::XattrInline, bytes).map_err(|c| c.at_block(at))?;
        visit(XattrPlace::Inode, &area).map_err(|error| at_block(error, at))?;
    }
    let Some(at) = inode.xattr_block() else { return Ok(()) };
    let block = read_xattr_block(meta, at)?;
    let xattr_block = view::<XattrBlock>(&block);
    if !xattr_block.flags().contains(XattrBlockFlags::INDEXED) {
        let area = XattrArea::parse(Structure::XattrBlock, xattr_block.area()).map_err(|c| c.at_block(at))?;
        return visit(XattrPlace::Block(at), &area).map_err(|error| at_block(error, at));
    }
    for extent in bucket_tree(meta, inode.number(), xattr_block).extents() {
        for_each_bucket(meta, &extent?, |at, bucket| {
            let area = XattrArea::parse(Structure::XattrBucket, bucket).map_err(|c| c.at_block(at))?;
            visit(XattrPlace::Bucket(at), &area).map_err(|error| at_block(error, at))
        })?;
    }
    Ok(())
}

/// The attribute block of an inode, checked.
pub(crate) fn read_xattr_block(meta: &dyn Blocks, at: BlockNo) -> Result<BlockBuf> {
    let block = meta.verified(at, Structure::XattrBlock, XattrBlock::CHECK_OFFSET, Locality::Clustered)?;
    view::<XattrBlock>(&block).check(at, meta.geometry())?;
    Ok(block)
}

/// The tree of buckets below an attribute block.
pub(crate) fn bucket_tree<'a>(meta: &'a dyn Blocks, owner: InodeNo, block: &'a XattrBlock) -> ExtentTree<'a> {
    ExtentTree {
        meta,
        root: block.list(),
        kind: TreeKind::Hash,
        owner,
    }
}

/// The buckets in use of one extent of a bucket tree.
fn for_each_bucket(
    meta: &dyn Blocks,
    extent: &Extent,
    mut visit: impl FnMut(BlockNo, &[u8]) -> Result<()>,
) -> Result<()> {
    let geometry = meta.geometry();
    meta.require_inside(
        extent.blkno,
        geometry.clusters_to_blocks(extent.clusters),
        Structure::XattrBucket,
    )?;
    let room = geometry.clusters_to_bytes(extent.clusters) / Geometry::XATTR_BUCKET_SIZE as u64;
    let mut count = 1;
    let mut index = 0;
    while index < count {
        let at = BlockNo(extent.blkno.0 + index * u64::from(geometry.blocks_per_xattr_bucket()));
        let bucket = meta.bucket(at)?;
        if index == 0 {
            let area = XattrArea::parse(Structure::XattrBucket, &bucket).map_err(|c| c.at_block(at))?;
            count = area.header().xh_num_buckets.get().into();
            if count > room {
                let violation = Violation::TooLarge {
                    field: "xh_num_buckets",
                    found: count,
                    limit: room,
                };
                return Err(Corrupt::new(Structure::XattrBucket, violation).at_block(at).into());
            }
            if count == 0 {
                return Ok(());
            }
        }
        visit(at, &bucket)?;
        index += 1;
    }
    Ok(())
}

fn at_block(error: Error, at: BlockNo) -> Error {
    match error {
        Error::Corrupt(corrupt) => Error::Corrupt(corrupt.at_block(at)),
        other => other,
    }
}

fn to_info(place: XattrPlace, xattr: &ocfs2_format::Xattr<'_>) -> XattrInfo {
    XattrInfo {
        namespace: xattr.namespace,
        name: xattr.name.to_vec(),
        value_size: xattr.entry.xe_value_size.get(),
        place,
        stored: match xattr.value {
            XattrValue::Local(bytes) => Stored::Local(bytes.to_vec()),
            XattrValue::Outside(root) => Stored::Outside(*root),
        },
    }
}

/// All attributes of an inode, in storage order.
pub(crate) fn list(meta: &dyn Blocks, inode: &Inode) -> Result<Vec<XattrInfo>> {
    let mut found = Vec::new();
    for_each_area(meta, inode, |place, area| {
        // Pairs that overlap would make a list many times as large as what is on disk.
        area.check()?;
        for xattr in area.iter() {
            found.push(to_info(place, &xattr?));
        }
        Ok(())
    })
    .map_err(|error| error.in_inode(inode.number()))?;
    Ok(found)
}

/// One attribute of an inode, found by the hash of its name where its storage is sorted by hash.
pub(crate) fn find(
    meta: &dyn Blocks,
    inode: &Inode,
    namespace: XattrNamespace,
    name: &[u8],
) -> Result<Option<XattrInfo>> {
    find_inner(meta, inode, namespace, name).map_err(|error| error.in_inode(inode.number()))
}

fn find_inner(meta: &dyn Blocks, inode: &Inode, namespace: XattrNamespace, name: &[u8]) -> Result<Option<XattrInfo>> {
    if let Some(bytes) = inode.dinode().inline_xattr_area() {
        let area = XattrArea::parse(Structure::XattrInline, bytes)?;
        if let Some(info) = find_in_area(&area, XattrPlace::Inode, namespace, name)? {
            return Ok(Some(info));
        }
    }
    let Some(at) = inode.xattr_block() else { return Ok(None) };
    let block = read_xattr_block(meta, at)?;
    let xattr_block = view::<XattrBlock>(&block);
    if !xattr_block.flags().contains(XattrBlockFlags::INDEXED) {
        let area = XattrArea::parse(Structure::XattrBlock, xattr_block.area()).map_err(|c| c.at_block(at))?;
        return find_in_area(&area, XattrPlace::Block(at), namespace, name);
    }
    let hashes =
        [CharSign::Signed, CharSign::Unsigned].map(|sign| xattr_name_hash(meta.geometry().uuid_hash, name, sign));
    let tries = if hashes[0] == hashes[1] {
        &hashes[..1]
    } else {
        &hashes[..]
    };
    for &hash in tries {
        let Lookup::Extent(extent) = bucket_tree(meta, inode.number(), xattr_block).lookup(hash)? else {
            continue;
        };
        let mut found = None;
        for_each_bucket(meta, &extent, |at, bucket| {
            if found.is_none() {
                let area = XattrArea::parse(Structure::XattrBucket, bucket)?;
                found = find_in_area(&area, XattrPlace::Bucket(at), namespace, name)?;
            }
            Ok(())
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn find_in_area(
    area: &XattrArea<'_>,
    place: XattrPlace,
    namespace: XattrNamespace,
    name: &[u8],
) -> Result<Option<XattrInfo>> {
    for entry in area.entries() {
        if entry.namespace_index() != namespace.index() || usize::from(entry.xe_name_len) != name.len() {
            continue;
        }
        let xattr = area.attribute(entry)?;
        if xattr.name == name {
            return Ok(Some(to_info(place, &xattr)));
        }
    }
    Ok(None)
}

/// The value of an attribute.
pub(crate) fn value(meta: &dyn Blocks, inode: InodeNo, info: &XattrInfo) -> Result<Vec<u8>> {
    match &info.stored {
        Stored::Local(bytes) => Ok(bytes.clone()),
        Stored::Outside(root) => read_value(meta, inode, info.value_size, root),
    }
}

/// A value of `size` bytes that has clusters of its own.
pub(crate) fn read_value(meta: &dyn Blocks, inode: InodeNo, size: u64, root: &XattrDefValueRoot) -> Result<Vec<u8>> {
    let fail = |violation| Err(Corrupt::new(Structure::XattrValue, violation).in_inode(inode).into());
    if size > MAX_VALUE {
        let (found, limit) = (size, MAX_VALUE);
        return fail(Violation::TooLarge {
            field: "xe_value_size",
            found,
            limit,
        });
    }
    root.list()
        .check_header(1, None)
        .map_err(|corrupt| corrupt.in_inode(inode))?;
    let tree = ExtentTree {
        meta,
        root: root.list(),
        kind: TreeKind::Data,
        owner: inode,
    };
    let mut bytes = vec![0; size as usize];
    let mut covered = 0;
    for extent in tree.extents() {
        let extent = extent?;
        let geometry = meta.geometry();
        let start = usize::try_from(u64::from(extent.cpos) << geometry.cluster_size_bits).unwrap_or(usize::MAX);
        if start >= bytes.len() {
            break;
        }
        if start != covered || extent.flags.contains(ExtentFlags::UNWRITTEN) {
            return fail(Violation::Rule("the extents of an attribute value have no holes"));
        }
        let end = bytes
            .len()
            .min(start + geometry.clusters_to_bytes(extent.clusters) as usize);
        read_bytes(
            meta.device().as_ref(),
            extent.blkno.0 << geometry.block_size_bits,
            &mut bytes[start..end],
        )?;
        covered = end;
    }
    if covered < bytes.len() {
        return fail(Violation::Truncated {
            found: covered as u64,
            needed: bytes.len() as u64,
        });
    }
    Ok(bytes)
}

/// A POSIX ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// The records in stored order: owner, users, group owner, groups, mask, other.
    pub entries: Vec<AclRecord>,
}

/// One record of an ACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclRecord {
    /// Whom it is about.
    pub tag: AclTag,
    /// Permission bits, `rwx` in the low three.
    pub perm: u16,
}

/// Whom a record of an ACL is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclTag {
    /// The owner.
    UserObj,
    /// A user by number.
    User(u32),
    /// The group owner.
    GroupObj,
    /// A group by number.
    Group(u32),
    /// The mask.
    Mask,
    /// Everybody else.
    Other,
    /// A tag without a meaning.
    Unknown(u16),
}

impl Acl {
    /// Parses the stored value of `system.posix_acl_access` or `system.posix_acl_default`.
    ///
    /// # Errors
    /// When its length is not a whole number of records.
    pub fn parse(value: &[u8]) -> std::result::Result<Acl, Corrupt> {
        let Ok(records) = <[AclEntry]>::ref_from_bytes(value) else {
            let violation = Violation::Invalid {
                field: "xe_value_size",
                found: value.len() as u64,
                why: "an ACL is made of records of 8 bytes",
            };
            return Err(Corrupt::new(Structure::XattrValue, violation));
        };
        let entries = records.iter().map(|rec| AclRecord {
            tag: match rec.e_tag.get() {
                0x01 => AclTag::UserObj,
                0x02 => AclTag::User(rec.e_id.get()),
                0x04 => AclTag::GroupObj,
                0x08 => AclTag::Group(rec.e_id.get()),
                0x10 => AclTag::Mask,
                0x20 => AclTag::Other,
                tag => AclTag::Unknown(tag),
            },
            perm: rec.e_perm.get(),
        });
        Ok(Acl {
            entries: entries.collect(),
        })
    }

    /// The value as getxattr(2) of a mounted file system returns it: version 2, then the records.
    pub fn to_posix_xattr(&self) -> Vec<u8> {
        let mut value = 2u32.to_le_bytes().to_vec();
        for record in &self.entries {
            let (tag, id) = record.tag.parts();
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&record.perm.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        value
    }
}

impl AclTag {
    /// Tag and id as they are stored.
    pub(crate) fn parts(self) -> (u16, u32) {
        const NO_ID: u32 = u32::MAX;
        match self {
            AclTag::UserObj => (0x01, NO_ID),
            AclTag::User(id) => (0x02, id),
            AclTag::GroupObj => (0x04, NO_ID),
            AclTag::Group(id) => (0x08, id),
            AclTag::Mask => (0x10, NO_ID),
            AclTag::Other => (0x20, NO_ID),
            AclTag::Unknown(tag) => (tag, NO_ID),
        }
    }
}

impl fmt::Display for AclRecord {
    /// The form of getfacl(1), with numbers for users and groups.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tag {
            AclTag::UserObj => f.write_str("user::")?,
            AclTag::User(id) => write!(f, "user:{id}:")?,
            AclTag::GroupObj => f.write_str("group::")?,
            AclTag::Group(id) => write!(f, "group:{id}:")?,
            AclTag::Mask => f.write_str("mask::")?,
            AclTag::Other => f.write_str("other::")?,
            AclTag::Unknown(tag) => write!(f, "{tag:#x}::")?,
        }
        for (bit, letter) in [(4, 'r'), (2, 'w'), (1, 'x')] {
            write!(f, "{}", if self.perm & bit != 0 { letter } else { '-' })?;
        }
        Ok(())
    }
}
