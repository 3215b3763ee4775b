//! Where attributes are, and where they go: to the end of the dinode while they fit there, to a block of their own, to a
//! tree of buckets when that is full.
//!
//! A change is planned and [prepared](prepare) under the inode's lock, then [applied](apply) in one transaction. Preparing
//! makes room in a tree in transactions of its own, which change nothing that anybody can see.
//!
//! Source: on-disk reference, sections 22.3 and 22.4.

use ocfs2_format::{
    BlockNo, CharSign, Contents, Dinode, DynFeatures, ExtentRec, Geometry, InodeNo, Signature, SlotNum, Structure,
    XattrBlock, XattrBlockFlags, XattrDefValueRoot, XattrNamespace, xattr_name_hash,
};
use zerocopy::FromZeros;

use super::area::{Flat, Pair, Stored};
use super::index;
use super::value::{self, ReleaseCost};
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::meta::{Blocks, view};
use crate::mounted::space::Need;
use crate::mounted::tree::{self, Holder, Root};
use crate::mounted::{Core, LockSet, Txn};
use crate::xattr::read_xattr_block;

/// A change of one attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) namespace: XattrNamespace,
    /// Without prefix.
    pub(super) name: &'a [u8],
    /// `None` takes the attribute away, if it is there.
    pub(super) value: Option<&'a [u8]>,
}

impl Change<'_> {
    fn hash(&self, geometry: &Geometry) -> u32 {
        xattr_name_hash(geometry.uuid_hash, self.name, CharSign::Signed)
    }

    /// The attribute, its value's root still to come if it has one.
    fn pair(&self, geometry: &Geometry) -> Option<Pair> {
        let value = self.value?;
        Some(Pair {
            hash: self.hash(geometry),
            namespace: self.namespace.index(),
            name: self.name.to_vec(),
            size: value.len() as u64,
            stored: if value::is_local(value.len()) {
                Stored::Local(value.to_vec())
            } else {
                Stored::Outside(XattrDefValueRoot::new_zeroed())
            },
            offset: 0,
        })
    }
}

/// An attribute that is there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) holder: Holder,
    pub(super) pair: Pair,
}

impl Found {
    /// The tree of the value, if it lies in clusters of its own.
    pub(super) fn value_root(&self, inode: &Inode, geometry: &Geometry) -> Option<Root> {
        matches!(self.pair.stored, Stored::Outside(_)).then(|| Root::XattrValue {
            holder: self.holder,
            offset: self.root_offset(inode, geometry),
            inode: inode.number(),
        })
    }

    /// Bytes from the start of the holder to the root of the value.
    fn root_offset(&self, inode: &Inode, geometry: &Geometry) -> usize {
        let area = match self.holder {
            Holder::Dinode(_) => {
                let area = inode.dinode().inline_xattr_area().map_or(0, <[u8]>::len);
                geometry.block_size() - area
            }
            Holder::XattrBlock(_) => XattrBlock::AREA_OFFSET,
            Holder::Bucket(_) => 0,
        };
        area + self.pair.root_offset()
    }
}

/// The attributes at the end of a dinode.
pub(super) fn inline_area(inode: &Inode) -> Result<Option<Flat>> {
    let Some(bytes) = inode.dinode().inline_xattr_area() else {
        return Ok(None);
    };
    let at = inode.number();
    let flat =
        Flat::parse(Structure::XattrInline, bytes).map_err(|corrupt| corrupt.at_block(at.block()).in_inode(at))?;
    Ok(Some(flat))
}

/// What an attribute block holds.
#[derive(Clone, Debug)]
pub(super) enum Outside {
    /// There is none.
    Nothing,
    /// Attributes.
    Block(BlockNo, Flat),
    /// The root of a tree of buckets.
    Tree(BlockNo),
}

pub(super) fn outside(meta: &dyn Blocks, inode: &Inode) -> Result<Outside> {
    let Some(at) = inode.xattr_block() else {
        return Ok(Outside::Nothing);
    };
    let bytes = read_xattr_block(meta, at).map_err(|error| error.in_inode(inode.number()))?;
    let block = view::<XattrBlock>(&bytes);
    if block.flags().contains(XattrBlockFlags::INDEXED) {
        return Ok(Outside::Tree(at));
    }
    let flat = Flat::parse(Structure::XattrBlock, block.area())
        .map_err(|corrupt| corrupt.at_block(at).in_inode(inode.number()))?;
    Ok(Outside::Block(at, flat))
}

/// Finds an attribute.
///
/// # Errors
/// [`Error::Corrupt`].
pub(super) fn find(meta: &dyn Blocks, inode: &Inode, namespace: XattrNamespace, name: &[u8]) -> Result<Option<Found>> {
    let wanted = |pair: &&Pair| pair.is(namespace.index(), name);
    let found = |holder: Holder, pairs: &[Pair]| {
        pairs.iter().find(wanted).map(|pair| Found {
            holder,
            pair: pair.clone(),
        })
    };
    if let Some(flat) = inline_area(inode)?
        && let Some(found) = found(Holder::Dinode(inode.number().block()), &flat.pairs)
    {
        return Ok(Some(found));
    }
    match outside(meta, inode)? {
        Outside::Nothing => Ok(None),
        Outside::Block(at, flat) => Ok(found(Holder::XattrBlock(at), &flat.pairs)),
        Outside::Tree(block) => {
            for sign in CharSign::BOTH {
                let hash = xattr_name_hash(meta.geometry().uuid_hash, name, sign);
                let place = index::find(meta, inode.number(), block, hash)?;
                if let Some(found) = found(Holder::Bucket(place.at), &place.bucket.pairs) {
                    return Ok(Some(found));
                }
                if name.is_ascii() {
                    break;
                }
            }
            Ok(None)
        }
    }
}

/// An attribute of an area as it is now; `None` if it has been taken out.
///
/// # Errors
/// [`Error::Corrupt`].
pub(super) fn find_in(meta: &dyn Blocks, inode: InodeNo, holder: Holder, wanted: &Pair) -> Result<Option<Found>> {
    let pairs = match holder {
        Holder::Bucket(at) => index::read_bucket(meta, at)?.pairs,
        Holder::Dinode(_) => inline_area(&Inode::read(meta, inode)?)?.unwrap_or_default().pairs,
        Holder::XattrBlock(_) => match outside(meta, &Inode::read(meta, inode)?)? {
            Outside::Block(_, flat) => flat.pairs,
            _ => Vec::new(),
        },
    };
    let pair = pairs.into_iter().find(|pair| pair.is(wanted.namespace, &wanted.name));
    Ok(pair.map(|pair| Found { holder, pair }))
}

/// Where a new attribute goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// To the end of the dinode, where room for it may have to be made.
    Inline { make: bool },
    /// To a block of attributes that is to be made.
    NewBlock,
    /// To the block of attributes.
    Block(BlockNo),
    /// To a bucket.
    Bucket(BlockNo),
    /// To the tree that the block of attributes will have to become first.
    NewTree(BlockNo),
    /// To the tree with this root, after room was made in it.
    FullTree(BlockNo),
}

/// Bytes at the end of a dinode that the attributes would get.
fn inline_bytes(geometry: &Geometry) -> usize {
    usize::from(geometry.xattr_inline_size)
}

/// Whether the end of the dinode can be given to attributes: its contents leave it alone.
fn has_inline_room(inode: &Inode, geometry: &Geometry) -> bool {
    let wanted = inline_bytes(geometry);
    if geometry.block_size() <= 512 || wanted == 0 {
        return false;
    }
    let size = usize::try_from(inode.size()).unwrap_or(usize::MAX);
    let spare = match inode.contents() {
        Contents::Inline(bytes) => bytes.len().saturating_sub(size),
        // The NUL behind the target stays, too.
        Contents::FastSymlink(_) => usize::from(geometry.fast_symlink_bytes()).saturating_sub(size.saturating_add(1)),
        Contents::Extents(list) => {
            let free = list.l_count.get().saturating_sub(list.l_next_free_rec.get());
            usize::from(free) * size_of::<ExtentRec>()
        }
        _ => 0,
    };
    spare >= wanted
}

fn target(meta: &dyn Blocks, inode: &Inode, change: &Change<'_>, pair: &Pair) -> Result<Target> {
    let geometry = meta.geometry();
    let with = |mut flat: Flat| {
        flat.pairs
            .retain(|pair| !pair.is(change.namespace.index(), change.name));
        flat.pairs.push(pair.clone());
        flat.needed()
    };
    match inline_area(inode)? {
        Some(flat) => {
            let room = inode.dinode().inline_xattr_area().map_or(0, <[u8]>::len);
            if with(flat) <= room {
                return Ok(Target::Inline { make: false });
            }
        }
        None if with(Flat::default()) <= inline_bytes(geometry) && has_inline_room(inode, geometry) => {
            return Ok(Target::Inline { make: true });
        }
        None => {}
    }
    Ok(match outside(meta, inode)? {
        Outside::Nothing => Target::NewBlock,
        Outside::Block(at, flat) => {
            if with(flat) <= geometry.block_size() - XattrBlock::AREA_OFFSET {
                Target::Block(at)
            } else {
                Target::NewTree(at)
            }
        }
        Outside::Tree(block) => {
            let mut place = index::find(meta, inode.number(), block, pair.hash)?;
            let old = |pair: &Pair| pair.is(change.namespace.index(), change.name);
            if let Some(old) = place.bucket.pairs.iter().position(old) {
                place.bucket.remove(old);
            }
            if place.bucket.insert(pair.clone()) {
                Target::Bucket(place.at)
            } else {
                Target::FullTree(block)
            }
        }
    })
}

/// What a change takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChangeCost {
    pub(super) need: Need,
    /// Credits, without what allocating takes.
    pub(super) credits: u32,
}

/// Most steps that make room for one attribute: a bucket is empty after fewer divisions, and every division may need the
/// run to be split first.
const MAX_STEPS: usize = 64;

/// Makes room for a change, and says what it takes. The caller holds the inode's lock alone. To be called again after
/// anything else was changed.
///
/// # Errors
/// [`Error::NoSpace`], [`Error::Corrupt`], the journal's.
pub(super) fn prepare(locks: &mut LockSet<'_>, inode: InodeNo, change: &Change<'_>) -> Result<ChangeCost> {
    let core = locks.core();
    let geometry = *core.geometry();
    let per_bucket = geometry.blocks_per_xattr_bucket();
    let value_need = value::need(&geometry, change.value.map_or(0, <[u8]>::len));
    for _ in 0..MAX_STEPS {
        let now = core.read_inode(inode)?;
        let mut cost = ChangeCost {
            need: value_need,
            // The dinode, the attribute block, and the buckets that an attribute moves from and to.
            credits: 2 + 2 * per_bucket,
        };
        if let Some(found) = find(core, &now, change.namespace, change.name)? {
            cost.add_release(core, &now, &found)?;
        }
        let Some(pair) = change.pair(&geometry) else {
            return Ok(cost);
        };
        match target(core, &now, change, &pair)? {
            Target::Inline { .. } | Target::Block(_) | Target::Bucket(_) => return Ok(cost),
            Target::NewBlock => {
                cost.need.blocks += 1;
                return Ok(cost);
            }
            Target::NewTree(block) => {
                let (need, credits) = index::convert_need(&geometry);
                let credits = credits + locks.reserve(need + cost.need)?;
                let mut txn = locks.begin(credits)?;
                index::convert(&mut txn, inode, block)?;
                txn.commit()?;
            }
            Target::FullTree(block) => index::make_room(locks, inode, block, pair.hash, cost.need)?,
        }
    }
    Err(Error::NoSpace)
}

/// Credits that giving back the attribute block takes: its allocator and the group in it.
pub(super) const FREE_BLOCK_CREDITS: u32 = 4;

impl ChangeCost {
    /// What taking out an attribute may take, with its value and all that becomes empty.
    pub(super) fn add_release(&mut self, core: &Core, inode: &Inode, found: &Found) -> Result<()> {
        let geometry = *core.geometry();
        if let Stored::Outside(root) = &found.pair.stored {
            let offset = found.root_offset(inode, &geometry);
            let ReleaseCost { need, credits } = value::release_cost(core, inode, found.holder, offset, root)?;
            self.need += need;
            self.credits = self.credits.saturating_add(credits);
        }
        let Some(block) = inode.xattr_block() else {
            return Ok(());
        };
        if let Holder::Dinode(_) = found.holder {
            return Ok(());
        }
        // Its allocator is locked with the truncate log.
        self.need.frees += 1;
        self.credits += FREE_BLOCK_CREDITS;
        if let Holder::Bucket(_) = found.holder {
            let (need, credits) = index::shrink_need(&geometry);
            let root = Root::XattrIndex {
                block,
                inode: inode.number(),
            };
            let tree = tree::cost(core, root, 2)?;
            self.need += need;
            self.credits = self.credits.saturating_add(credits).saturating_add(tree.credits);
        }
        Ok(())
    }
}

impl std::ops::AddAssign for ChangeCost {
    fn add_assign(&mut self, other: ChangeCost) {
        self.need += other.need;
        self.credits = self.credits.saturating_add(other.credits);
    }
}

/// Turns a block of attributes that is too small for a change into a tree: for those who make room in the transaction
/// that they are in.
///
/// # Errors
/// As [`apply`].
pub(super) fn make_tree_if_full(txn: &mut Txn<'_>, inode: InodeNo, change: &Change<'_>) -> Result<()> {
    let now = Inode::read(txn, inode)?;
    if let Some(pair) = change.pair(txn.geometry())
        && let Target::NewTree(block) = target(txn, &now, change, &pair)?
    {
        index::convert(txn, inode, block)?;
    }
    Ok(())
}

/// Makes a change for which there is [room](prepare). Returns whether the attribute was there before.
///
/// # Errors
/// [`Error::NoSpace`] if there is no room; [`Error::Corrupt`], the journal's.
pub(super) fn apply(txn: &mut Txn<'_>, inode: InodeNo, change: &Change<'_>) -> Result<bool> {
    let geometry = *txn.geometry();
    let written = match change.value {
        Some(value) => Some(value::write(txn, inode, value)?),
        None => None,
    };
    let now = Inode::read(txn, inode)?;
    // Decided on what is there before anything is taken out, as when room was made.
    let target = match change.pair(&geometry) {
        Some(pair) => Some((target(txn, &now, change, &pair)?, pair)),
        None => None,
    };
    let old = find(txn, &now, change.namespace, change.name)?;
    if let Some(found) = &old {
        take_out(txn, &now, found)?;
    }
    if let (Some((target, mut pair)), Some(written)) = (target, written) {
        pair.stored = written;
        put(txn, &now, target, pair)?;
    }
    if let Some(found) = &old {
        shrink(txn, inode, found)?;
    }
    Ok(old.is_some())
}

/// Takes an attribute out of the area it is in, and frees its value.
pub(super) fn take_out(txn: &mut Txn<'_>, inode: &Inode, found: &Found) -> Result<()> {
    let geometry = *txn.geometry();
    if let Stored::Outside(root) = &found.pair.stored {
        let offset = found.root_offset(inode, &geometry);
        value::release(txn, inode.number(), found.holder, offset, root)?;
    }
    let stays = |pair: &Pair| !pair.is(found.pair.namespace, &found.pair.name);
    match found.holder {
        Holder::Dinode(_) => edit_inline(txn, inode.number(), |pairs| pairs.retain(stays)),
        Holder::XattrBlock(at) => edit_block(txn, at, |pairs| pairs.retain(stays)),
        Holder::Bucket(at) => {
            let mut bucket = index::read_bucket(txn, at)?;
            if let Some(index) = bucket.pairs.iter().position(|pair| !stays(pair)) {
                bucket.remove(index);
            }
            index::write(txn, at, &bucket)
        }
    }
}

/// Stores an attribute that is nowhere yet.
fn put(txn: &mut Txn<'_>, inode: &Inode, target: Target, pair: Pair) -> Result<()> {
    let number = inode.number();
    match target {
        Target::Inline { make } => {
            if make {
                make_inline_area(txn, inode)?;
            }
            edit_inline(txn, number, |pairs| pairs.push(pair))
        }
        Target::NewBlock => {
            let at = make_block(txn, number)?;
            edit_block(txn, at, |pairs| pairs.push(pair))
        }
        Target::Block(at) => edit_block(txn, at, |pairs| pairs.push(pair)),
        Target::Bucket(at) => {
            let mut bucket = index::read_bucket(txn, at)?;
            if !bucket.insert(pair) {
                return Err(Error::NoSpace);
            }
            index::write(txn, at, &bucket)
        }
        Target::NewTree(_) | Target::FullTree(_) => Err(Error::NoSpace),
    }
}

/// Changes the attributes of an area.
fn edit_flat(area: &mut [u8], structure: Structure, edit: impl FnOnce(&mut Vec<Pair>)) -> Result<()> {
    let mut flat = Flat::parse(structure, area)?;
    edit(&mut flat.pairs);
    if flat.needed() > area.len() {
        return Err(Error::NoSpace);
    }
    flat.pack(area.len());
    flat.write(area);
    Ok(())
}

/// Changes the attributes at the end of a dinode.
fn edit_inline(txn: &mut Txn<'_>, inode: InodeNo, edit: impl FnOnce(&mut Vec<Pair>)) -> Result<()> {
    let Some(area) = txn.dinode(inode)?.inline_xattr_area_mut() else {
        return Err(Error::NoSpace);
    };
    edit_flat(area, Structure::XattrInline, edit).map_err(|error| error.in_inode(inode))
}

/// Changes the attributes of a block.
fn edit_block(txn: &mut Txn<'_>, at: BlockNo, edit: impl FnOnce(&mut Vec<Pair>)) -> Result<()> {
    let area = txn.edit::<XattrBlock>(at)?.area_mut();
    edit_flat(area, Structure::XattrBlock, edit)
}

/// Gives the end of a dinode to attributes.
fn make_inline_area(txn: &mut Txn<'_>, inode: &Inode) -> Result<()> {
    let geometry = *txn.geometry();
    let bytes = geometry.xattr_inline_size;
    let dinode = txn.dinode(inode.number())?;
    match inode.contents() {
        Contents::Inline(_) => {
            let data = dinode.inline_data_mut();
            data.id_count.set(data.id_count.get().saturating_sub(bytes));
        }
        Contents::Extents(_) => {
            let records = bytes / size_of::<ExtentRec>() as u16;
            let list = dinode.extent_list_mut();
            list.l_count.set(list.l_count.get().saturating_sub(records));
        }
        _ => {}
    }
    dinode.i_xattr_inline_size.set(bytes);
    set_features(dinode, DynFeatures::INLINE_XATTR | DynFeatures::HAS_XATTR, true);
    if let Some(area) = dinode.inline_xattr_area_mut() {
        area.fill(0);
    }
    Ok(())
}

fn set_features(dinode: &mut Dinode, features: DynFeatures, on: bool) {
    let mut all = dinode.dyn_features();
    all.set(features, on);
    dinode.i_dyn_features.set(all.bits());
}

/// Makes an empty block of attributes.
fn make_block(txn: &mut Txn<'_>, inode: InodeNo) -> Result<BlockNo> {
    let generation = txn.geometry().generation;
    let new = txn.alloc_block()?;
    let block = txn.create::<XattrBlock>(new.block)?;
    block.xb_signature = Signature::XATTR_BLOCK;
    block.xb_suballoc_slot.set(new.slot.0);
    block.xb_suballoc_bit.set(new.bit);
    block.xb_suballoc_loc.set(new.loc);
    block.xb_fs_generation.set(generation.0);
    block.xb_blkno.set(new.block.0);
    let dinode = txn.dinode(inode)?;
    dinode.i_xattr_loc.set(new.block.0);
    set_features(dinode, DynFeatures::HAS_XATTR, true);
    Ok(new.block)
}

/// Gives up what has become empty after an attribute was taken out: buckets, the tree, the block of attributes. The area in
/// the dinode stays.
pub(super) fn shrink(txn: &mut Txn<'_>, inode: InodeNo, removed: &Found) -> Result<()> {
    let now = Inode::read(txn, inode)?;
    let (at, is_empty) = match (removed.holder, outside(txn, &now)?) {
        (Holder::XattrBlock(_), Outside::Block(at, flat)) => (at, flat.pairs.is_empty()),
        (Holder::Bucket(_), Outside::Tree(at)) => (at, index::shrink(txn, inode, at, removed.pair.hash)?),
        _ => return Ok(()),
    };
    if is_empty {
        free_block(txn, inode, at)?;
    }
    Ok(())
}

/// Frees the block of attributes, in which nothing is any more.
pub(super) fn free_block(txn: &mut Txn<'_>, inode: InodeNo, at: BlockNo) -> Result<()> {
    let (slot, bit, loc) = {
        let bytes = read_xattr_block(txn, at)?;
        let block = view::<XattrBlock>(&bytes);
        let slot = SlotNum(block.xb_suballoc_slot.get());
        (slot, block.xb_suballoc_bit.get(), block.xb_suballoc_loc.get())
    };
    txn.free_block(at, slot, bit, loc)?;
    let dinode = txn.dinode(inode)?;
    dinode.i_xattr_loc.set(0);
    let has_area = dinode.dyn_features().contains(DynFeatures::INLINE_XATTR);
    set_features(dinode, DynFeatures::HAS_XATTR, has_area);
    Ok(())
}
