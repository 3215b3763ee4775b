//! The tree of buckets: runs of buckets, found by the hashes of names.
//!
//! A run is what one record of the tree describes. Its first bucket says how many of its buckets are in use; they are in
//! the order of their hashes, and so are the runs. The room for one more attribute is made in steps, each of which leaves a
//! sound tree: a bucket is divided inside its run, the run grows by a cluster, or part of it moves to a new run.
//!
//! Source: on-disk reference, section 22.4.

use ocfs2_format::{
    BlockNo, Corrupt, ExtentFlags, ExtentRec, Geometry, InodeNo, Structure, Violation, XattrBlock, XattrBlockFlags,
};

use super::area::{Bucket, Flat};
use super::value;
use crate::error::{Error, Result};
use crate::extent_tree::{Extent, Lookup};
use crate::meta::{Blocks, view};
use crate::mounted::space::Need;
use crate::mounted::tree::{self, Root};
use crate::mounted::{LockSet, Txn};
use crate::xattr::{bucket_tree, read_xattr_block};

/// A run of buckets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    extent: Extent,
    /// Buckets in use, one at least.
    buckets: u32,
}

/// A bucket, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    run: Run,
    index: u32,
    pub(super) at: BlockNo,
    pub(super) bucket: Bucket,
}

/// Bytes of a run, at most.
const MAX_RUN: u64 = 64 << 10;

fn corrupt(at: BlockNo, violation: Violation) -> Error {
    Corrupt::new(Structure::XattrBucket, violation).at_block(at).into()
}

/// Buckets that fit in so many clusters.
fn room(geometry: &Geometry, clusters: u32) -> u32 {
    let buckets = geometry.clusters_to_bytes(clusters) / Geometry::XATTR_BUCKET_SIZE as u64;
    u32::try_from(buckets).unwrap_or(u32::MAX)
}

impl Run {
    fn at(&self, geometry: &Geometry, index: u32) -> BlockNo {
        BlockNo(self.extent.blkno.0 + u64::from(index) * u64::from(geometry.blocks_per_xattr_bucket()))
    }

    /// The buckets in use.
    pub(super) fn places<'m>(&self, meta: &'m dyn Blocks) -> impl Iterator<Item = (BlockNo, Result<Bucket>)> + use<'m> {
        let run = *self;
        (0..run.buckets).map(move |index| {
            let at = run.at(meta.geometry(), index);
            (at, read_bucket(meta, at))
        })
    }

    /// The run of a record.
    fn of(meta: &dyn Blocks, extent: Extent) -> Result<Run> {
        let geometry = meta.geometry();
        let blocks = geometry.clusters_to_blocks(extent.clusters);
        meta.require_inside(extent.blkno, blocks, Structure::XattrBucket)?;
        let buckets = u32::from(read_bucket(meta, extent.blkno)?.run);
        let room = room(geometry, extent.clusters);
        if buckets == 0 || buckets > room {
            let violation = Violation::TooLarge {
                field: "xh_num_buckets",
                found: buckets.into(),
                limit: room.into(),
            };
            return Err(corrupt(extent.blkno, violation));
        }
        Ok(Run { extent, buckets })
    }

    /// The run in which names of this hash are.
    fn find(meta: &dyn Blocks, inode: InodeNo, block: BlockNo, hash: u32) -> Result<Run> {
        let root = read_xattr_block(meta, block)?;
        match bucket_tree(meta, inode, view::<XattrBlock>(&root)).lookup(hash)? {
            Lookup::Extent(extent) => Run::of(meta, extent),
            Lookup::Gap { .. } => Err(corrupt(block, Violation::Rule("the buckets of a tree begin at hash 0"))),
        }
    }
}

/// A bucket, checked.
///
/// # Errors
/// [`Error::Corrupt`].
pub(super) fn read_bucket(meta: &dyn Blocks, at: BlockNo) -> Result<Bucket> {
    let bytes = meta.bucket(at)?;
    Ok(Bucket::parse(&bytes, meta.geometry()).map_err(|corrupt| corrupt.at_block(at))?)
}

/// The bucket in which names of this hash are, or would be.
///
/// # Errors
/// [`Error::Corrupt`].
pub(super) fn find(meta: &dyn Blocks, inode: InodeNo, block: BlockNo, hash: u32) -> Result<Place> {
    let run = Run::find(meta, inode, block, hash)?;
    // The last bucket that does not begin behind the hash, or the first.
    let (mut low, mut high) = (0, run.buckets);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if read_bucket(meta, run.at(meta.geometry(), middle))?.bound() <= hash {
            low = middle;
        } else {
            high = middle;
        }
    }
    let at = run.at(meta.geometry(), low);
    Ok(Place {
        run,
        index: low,
        at,
        bucket: read_bucket(meta, at)?,
    })
}

/// Stores a bucket.
pub(super) fn write(txn: &mut Txn<'_>, at: BlockNo, bucket: &Bucket) -> Result<()> {
    bucket.write(txn.edit_bucket(at)?);
    Ok(())
}

/// Stores a bucket where none was.
fn create(txn: &mut Txn<'_>, at: BlockNo, bucket: &Bucket) -> Result<()> {
    bucket.write(txn.create_bucket(at)?);
    Ok(())
}

/// Changes how many buckets of a run are in use.
fn set_run(txn: &mut Txn<'_>, first: BlockNo, buckets: u32) -> Result<()> {
    let mut bucket = read_bucket(txn, first)?;
    // A run has as many buckets as fit in it, and that is checked to fit the field.
    bucket.run = buckets as u16;
    write(txn, first, &bucket)
}

/// What [`convert`] may take.
pub(super) fn convert_need(geometry: &Geometry) -> (Need, u32) {
    let need = Need {
        clusters: 1,
        ..Need::default()
    };
    (need, 1 + geometry.blocks_per_xattr_bucket())
}

/// Makes a block of attributes the root of a tree with one bucket that holds them.
///
/// # Errors
/// [`Error::NoSpace`], the journal's.
pub(super) fn convert(txn: &mut Txn<'_>, inode: InodeNo, block: BlockNo) -> Result<()> {
    let geometry = *txn.geometry();
    let flat = {
        let block_view = read_xattr_block(txn, block)?;
        Flat::parse(Structure::XattrBlock, view::<XattrBlock>(&block_view).area()).map_err(|c| c.at_block(block))?
    };
    let run = txn.alloc_clusters(inode, None, 1, 1)?;
    let at = geometry.cluster_to_block(run.start);
    let mut bucket = Bucket::new(Vec::new(), 0, &geometry);
    if !bucket.fill(flat.pairs) {
        return Err(corrupt(
            block,
            Violation::Rule("the attributes of a block fit in a bucket"),
        ));
    }
    bucket.run = 1;
    create(txn, at, &bucket)?;
    let root = txn.edit::<XattrBlock>(block)?;
    root.area_mut().fill(0);
    root.xb_flags.set(root.flags().union(XattrBlockFlags::INDEXED).bits());
    root.tree_root_mut().xt_clusters.set(1);
    let list = root.list_mut();
    list.init(geometry.extents_per_xattr_block());
    list.push(ExtentRec::leaf(0, 1, at, ExtentFlags::empty()));
    Ok(())
}

/// A step towards room for an attribute of this hash, in a transaction of its own. `extra` is what the operation will
/// need on top, so that it fails before anything has changed if it has to fail.
///
/// # Errors
/// [`Error::NoSpace`], also when more names have one hash than fit in a bucket; the journal's.
pub(super) fn make_room(locks: &mut LockSet<'_>, inode: InodeNo, block: BlockNo, hash: u32, extra: Need) -> Result<()> {
    let core = locks.core();
    let geometry = *core.geometry();
    let place = find(core, inode, block, hash)?;
    if place.bucket.has_one_hash() && place.bucket.bound() == hash {
        return Err(Error::NoSpace);
    }
    let per_bucket = geometry.blocks_per_xattr_bucket();
    let limit = core.journal()?.max_credits();
    let run = place.run;
    let shift = (run.buckets - place.index + 1).saturating_mul(per_bucket) + per_bucket;
    if run.buckets < room(&geometry, run.extent.clusters) && shift <= limit {
        let mut txn = locks.begin(shift)?;
        divide_inside(&mut txn, place, hash)?;
        txn.commit()?;
        return Ok(());
    }
    let cost = tree::cost(core, index_root(block, inode), 1)?;
    let need = Need {
        clusters: 1,
        blocks: cost.blocks,
        ..Need::default()
    };
    let most = moved_buckets(&geometry, &run).min(limit / 4 / per_bucket).max(1);
    let credits = locks.reserve(need + extra)?;
    let credits = credits + cost.credits + (most + 3) * per_bucket;
    let mut txn = locks.begin(credits.min(limit))?;
    let end = BlockNo(run.extent.blkno.0 + geometry.clusters_to_blocks(run.extent.clusters));
    let added = txn.alloc_clusters(inode, geometry.block_to_cluster(end), 1, 1)?;
    let at = geometry.cluster_to_block(added.start);
    let grown = geometry.clusters_to_bytes(run.extent.clusters.saturating_add(1));
    let record = Extent {
        cpos: run.extent.cpos,
        clusters: 1,
        blkno: at,
        flags: ExtentFlags::empty(),
    };
    if at == end && grown <= MAX_RUN && run.buckets == room(&geometry, run.extent.clusters) {
        let cpos = run.extent.cpos.checked_add(run.extent.clusters);
        // Neither a second record for its key, nor one that would be taken for the start of the next.
        let cpos = cpos.filter(|&cpos| u64::from(cpos) + 1 < next_run(&txn, inode, block, &run));
        if let Some(cpos) = cpos {
            tree::insert(&mut txn, index_root(block, inode), Extent { cpos, ..record })?;
            txn.commit()?;
            return Ok(());
        }
    }
    let cpos = if room(&geometry, 1) == 1 && (run.buckets == 1 || place.index + 1 == run.buckets) {
        divide_into(&mut txn, &run, at, hash)?
    } else {
        move_upper(&mut txn, &run, at, most)?
    };
    let adjoins = at == end && u64::from(cpos) == run.extent.end();
    if cpos <= run.extent.cpos || adjoins {
        // A record that would be taken for the rest of the one before it.
        return Err(Error::NoSpace);
    }
    tree::insert(&mut txn, index_root(block, inode), Extent { cpos, ..record })?;
    txn.commit()?;
    Ok(())
}

fn index_root(block: BlockNo, inode: InodeNo) -> Root {
    Root::XattrIndex { block, inode }
}

/// The hash at which the run behind this one begins, 2^32 for none.
fn next_run(meta: &dyn Blocks, inode: InodeNo, block: BlockNo, run: &Run) -> u64 {
    let Ok(root) = read_xattr_block(meta, block) else {
        return 0;
    };
    bucket_tree(meta, inode, view::<XattrBlock>(&root))
        .extents()
        .flatten()
        .map(|extent| u64::from(extent.cpos))
        .find(|&cpos| cpos > u64::from(run.extent.cpos))
        .unwrap_or(1 << 32)
}

/// Buckets that go to a new run: half of a cluster's.
fn moved_buckets(geometry: &Geometry, run: &Run) -> u32 {
    (room(geometry, 1) / 2).clamp(1, run.buckets.div_ceil(2))
}

/// Divides a bucket of a run that has room for one more: those behind it move up.
fn divide_inside(txn: &mut Txn<'_>, place: Place, hash: u32) -> Result<()> {
    let Place {
        run,
        index,
        at,
        mut bucket,
    } = place;
    let geometry = *txn.geometry();
    for from in (index + 1..run.buckets).rev() {
        let bytes = txn.bucket(run.at(&geometry, from))?;
        let to = run.at(&geometry, from + 1);
        txn.create_bucket(to)?.copy_from_slice(&bytes);
    }
    let upper = bucket.divide(hash);
    create(txn, run.at(&geometry, index + 1), &upper)?;
    write(txn, at, &bucket)?;
    set_run(txn, run.extent.blkno, run.buckets + 1)
}

/// Divides the last bucket of a run into a new run. Returns where that begins.
fn divide_into(txn: &mut Txn<'_>, run: &Run, to: BlockNo, hash: u32) -> Result<u32> {
    let at = run.at(txn.geometry(), run.buckets - 1);
    let mut bucket = read_bucket(txn, at)?;
    let mut upper = bucket.divide(hash);
    upper.run = 1;
    create(txn, to, &upper)?;
    write(txn, at, &bucket)?;
    Ok(upper.bound())
}

/// Moves the last buckets of a run to a new one. Returns where that begins.
fn move_upper(txn: &mut Txn<'_>, run: &Run, to: BlockNo, count: u32) -> Result<u32> {
    let geometry = *txn.geometry();
    let count = count.min(run.buckets - 1);
    let first = run.buckets - count;
    let per_bucket = u64::from(geometry.blocks_per_xattr_bucket());
    let mut cpos = 0;
    for index in 0..count {
        let from = run.at(&geometry, first + index);
        let mut bucket = read_bucket(txn, from)?;
        if index == 0 {
            cpos = bucket.bound();
            // Bounded by the buckets of a run, which fit the field.
            bucket.run = count as u16;
        }
        create(txn, BlockNo(to.0 + u64::from(index) * per_bucket), &bucket)?;
    }
    set_run(txn, run.extent.blkno, first)?;
    Ok(cpos)
}

/// What [`shrink`] may take, credits without what the tree's blocks cost.
pub(super) fn shrink_need(geometry: &Geometry) -> (Need, u32) {
    let need = Need {
        frees: 2,
        ..Need::default()
    };
    (need, 2 * geometry.blocks_per_xattr_bucket() + 2)
}

/// Gives up buckets and runs without attributes, after an attribute with this hash was taken out. Returns whether the
/// whole tree is empty and its clusters are free: then its root has nothing to refer to any more.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(super) fn shrink(txn: &mut Txn<'_>, inode: InodeNo, block: BlockNo, hash: u32) -> Result<bool> {
    let geometry = *txn.geometry();
    let run = Run::find(txn, inode, block, hash)?;
    let mut buckets = run.buckets;
    let mut is_empty = read_bucket(txn, run.at(&geometry, buckets - 1))?.pairs.is_empty();
    while buckets > 1 && is_empty {
        buckets -= 1;
        is_empty = read_bucket(txn, run.at(&geometry, buckets - 1))?.pairs.is_empty();
    }
    if buckets != run.buckets {
        set_run(txn, run.extent.blkno, buckets)?;
    }
    if is_empty && run.extent.cpos != 0 {
        // Names of its hashes belong to the run before it from here on.
        free_run(txn, inode, block, run.extent)?;
    }
    let root = read_xattr_block(txn, block)?;
    let mut runs = bucket_tree(txn, inode, view::<XattrBlock>(&root)).extents();
    let (first, second) = (runs.next().transpose()?, runs.next().transpose()?);
    let (Some(first), None) = (first, second) else {
        return Ok(false);
    };
    let last = Run::of(txn, first)?;
    if last.buckets > 1 || !read_bucket(txn, first.blkno)?.pairs.is_empty() {
        return Ok(false);
    }
    free_run(txn, inode, block, first)?;
    Ok(true)
}

/// Frees a run and takes it out of the tree.
fn free_run(txn: &mut Txn<'_>, inode: InodeNo, block: BlockNo, extent: Extent) -> Result<()> {
    let geometry = *txn.geometry();
    let pieces = tree::remove(txn, index_root(block, inode), extent.cpos, extent.clusters)?;
    for piece in &pieces {
        let blocks = geometry.clusters_to_blocks(piece.clusters);
        txn.forget(piece.blkno, u32::try_from(blocks).unwrap_or(u32::MAX))?;
    }
    value::free(txn, &pieces)
}

/// The last run of the tree, for those who take it apart; `None` of a tree without runs.
///
/// # Errors
/// [`Error::Corrupt`].
pub(super) fn last_run(meta: &dyn Blocks, inode: InodeNo, block: BlockNo) -> Result<Option<Run>> {
    let root = read_xattr_block(meta, block)?;
    match bucket_tree(meta, inode, view::<XattrBlock>(&root)).lookup(u32::MAX)? {
        Lookup::Extent(extent) => Run::of(meta, extent).map(Some),
        Lookup::Gap { .. } => Ok(None),
    }
}

/// Frees a run whose attributes hold no clusters any more, in a transaction of its own.
///
/// # Errors
/// [`Error::Corrupt`], the journal's.
pub(super) fn drop_run(locks: &mut LockSet<'_>, inode: InodeNo, block: BlockNo, run: &Run) -> Result<()> {
    let cost = tree::cost(locks.core(), index_root(block, inode), 1)?;
    let need = Need {
        blocks: cost.blocks,
        frees: 1,
        ..Need::default()
    };
    let credits = locks.reserve(need)?.saturating_add(cost.credits);
    let mut txn = locks.begin(credits.saturating_add(1))?;
    free_run(&mut txn, inode, block, run.extent)?;
    txn.commit()?;
    Ok(())
}
