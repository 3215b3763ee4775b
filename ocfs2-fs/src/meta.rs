//! Checked metadata reads: one block in, verified, corrected where one bit was flipped, and cached.
//!
//! The cache holds single blocks. Inodes, directory blocks and extent blocks lie close together, so whoever misses one
//! block and then its neighbour gets the whole *chunk* of 64 KiB around them: that is the read-ahead for tree walks. Who
//! jumps about, as lookups in large directories do, reads one block a time.
//!
//! Source: on-disk reference, section 25 (checks).

use std::array;
use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ocfs2_format::device::{BlockDevice, IoError, IoErrorKind, IoOp};
use ocfs2_format::{BlockCheck, BlockNo, Corrupt, ExtentBlock, Geometry, Structure, Verdict, Violation};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

use crate::error::Result;
use crate::volume::OpenOptions;

/// One flipped bit that a check found and put right in memory. The device still holds the wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The block that held the bit; the first block of a bucket.
    pub block: BlockNo,
    /// What the block was read as.
    pub structure: Structure,
    /// Where the bit was.
    pub verdict: Verdict,
}

/// How likely the neighbours of a block are to be read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locality {
    /// They are metadata of the same kind: read the chunk.
    Clustered,
    /// They are file data or nothing: read the block alone.
    Scattered,
}

/// Reads and checks metadata blocks. Shared by everything that reads a volume.
#[derive(Debug)]
pub(crate) struct Meta {
    device: Arc<dyn BlockDevice>,
    geometry: Geometry,
    /// By block number.
    cache: Cache<u64, CachedBlock, ByBytes>,
    /// Held by whoever reads a part of the device into the cache, or writes there, so that no old bytes get into the
    /// cache behind a write. One for many chunks.
    loading: [Mutex<()>; Self::SHARDS],
    /// Blocks that were missed last, one for many chunks.
    missed: [AtomicU64; Self::MISSES],
    /// Whether check codes are looked at, on a volume that has them.
    verify: bool,
    /// By block: a damaged block that is read often is reported once.
    corrections: Mutex<BTreeMap<BlockNo, Correction>>,
}

/// A block as it is on the device.
#[derive(Clone, Debug)]
struct CachedBlock {
    bytes: Arc<[u8]>,
    /// Its check field is known to be good, so that nobody need compute its CRC again.
    good: bool,
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<u64, CachedBlock> for ByBytes {
    fn weight(&self, _key: &u64, block: &CachedBlock) -> u64 {
        block.bytes.len() as u64 + 96
    }
}

/// The bytes of one block or bucket, shared with the cache or whoever else has them.
#[derive(Clone, Debug)]
pub(crate) struct BlockBuf(Arc<[u8]>);

impl Deref for BlockBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl BlockBuf {
    /// A copy of bytes that were read otherwise.
    pub(crate) fn of_copy(bytes: &[u8]) -> BlockBuf {
        BlockBuf(bytes.into())
    }

    /// The bytes, to be shared.
    pub(crate) fn into_shared(self) -> Arc<[u8]> {
        self.0
    }
}

/// Blocks of metadata as a reader sees them: at home on the device, or newer where somebody has changed them since.
///
/// All reading of structures goes through this, so that the same code reads a volume, a mounted file system and the
/// unfinished changes of a transaction.
pub(crate) trait Blocks: std::fmt::Debug {
    /// What is at home, and the cache in front of it.
    fn home(&self) -> &Meta;

    /// The block if there is a newer version of it than at home. Its check field is not up to date, and its contents are
    /// as good as the one who wrote them made them: they are not verified.
    fn newest(&self, at: BlockNo) -> Option<Arc<[u8]>>;

    fn geometry(&self) -> &Geometry {
        &self.home().geometry
    }

    fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.home().device
    }

    /// The bytes of a block whose check field, where the volume has them, is good or was made good.
    fn verified(&self, at: BlockNo, structure: Structure, check_offset: usize, locality: Locality) -> Result<BlockBuf> {
        self.require_inside(at, 1, structure)?;
        match self.newest(at) {
            Some(image) => Ok(BlockBuf(image)),
            None => self.home().verified_home(at, structure, check_offset, locality),
        }
    }

    /// The bytes of a directory or quota block, which have their check field at their end.
    fn verified_tail(&self, at: BlockNo, structure: Structure) -> Result<BlockBuf> {
        self.verified(at, structure, self.geometry().block_size() - 8, Locality::Clustered)
    }

    /// The 4096 bytes of an xattr bucket, checked as one.
    fn bucket(&self, at: BlockNo) -> Result<BlockBuf> {
        let structure = Structure::XattrBucket;
        let blocks = u64::from(self.geometry().blocks_per_xattr_bucket());
        self.require_inside(at, blocks, structure)?;
        let mut bytes = Vec::with_capacity(Geometry::XATTR_BUCKET_SIZE);
        let mut is_newer = false;
        for block in (at.0..at.0 + blocks).map(BlockNo) {
            match self.newest(block) {
                Some(image) => {
                    is_newer = true;
                    bytes.extend_from_slice(&image);
                }
                None => bytes.extend_from_slice(&self.home().bytes(block, Locality::Clustered)?),
            }
        }
        let bucket = BlockBuf(bytes.into());
        // The blocks of a bucket change together.
        if is_newer {
            return Ok(bucket);
        }
        self.home().verified_bucket(bucket, at)
    }

    /// An extent block of the given depth, checked.
    fn extent_block(&self, at: BlockNo, depth: u16) -> Result<BlockBuf> {
        let block = self.verified(
            at,
            Structure::ExtentBlock,
            ExtentBlock::CHECK_OFFSET,
            Locality::Clustered,
        )?;
        view::<ExtentBlock>(&block).check(at, Some(depth), self.geometry())?;
        Ok(block)
    }

    /// Fails unless `len` blocks from `at` lie in the volume, behind the superblock.
    fn require_inside(&self, at: BlockNo, len: u64, structure: Structure) -> Result<()> {
        if self.geometry().contains_run(at, len) {
            return Ok(());
        }
        let violation = Violation::OutsideVolume {
            field: "block pointer",
            found: at.0,
            blocks: self.geometry().blocks(),
        };
        Err(Corrupt::new(structure, violation).into())
    }
}

impl Blocks for Meta {
    fn home(&self) -> &Meta {
        self
    }

    fn newest(&self, _at: BlockNo) -> Option<Arc<[u8]>> {
        None
    }
}

impl Meta {
    /// Bytes of a chunk.
    const CHUNK: u64 = 64 << 10;
    /// Locks of [`loading`](Self::loading); a mask has a bit for each.
    const SHARDS: usize = 64;
    /// Entries of [`missed`](Self::missed).
    const MISSES: usize = 256;
    /// Blocks as close as this are neighbours.
    const NEAR: u64 = 2;
    /// Corrections that are remembered; more than that and the volume needs a check anyway.
    const MAX_CORRECTIONS: usize = 4096;

    pub(crate) fn new(device: Arc<dyn BlockDevice>, geometry: Geometry, options: &OpenOptions) -> Self {
        let cache_bytes = options.cache_bytes.max(16 * Self::CHUNK);
        let items = (cache_bytes >> geometry.block_size_bits) as usize;
        Meta {
            device,
            geometry,
            cache: Cache::with_weighter(items, cache_bytes, ByBytes),
            loading: array::from_fn(|_| Mutex::new(())),
            missed: array::from_fn(|_| AtomicU64::new(u64::MAX)),
            verify: geometry.features.metaecc() && !options.lenient,
            corrections: Mutex::default(),
        }
    }

    /// Every correction made so far, by block.
    pub(crate) fn corrections(&self) -> Vec<Correction> {
        self.corrections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .copied()
            .collect()
    }

    /// Remembers a correction.
    pub(crate) fn record(&self, correction: Correction) {
        let mut corrections = self.corrections.lock().unwrap_or_else(PoisonError::into_inner);
        if corrections.len() < Self::MAX_CORRECTIONS {
            corrections.insert(correction.block, correction);
        }
    }

    /// Forgets all cached blocks: the next read sees what is on the device then.
    pub(crate) fn invalidate(&self) {
        let _all = self.lock_shards(u64::MAX);
        self.cache.clear();
    }

    /// Runs what changes bytes of the device. What is cached of them is forgotten, or becomes `bytes`, which they are then.
    pub(crate) fn while_writing(
        &self,
        range: Range<u64>,
        bytes: Option<&[u8]>,
        write: impl FnOnce() -> std::result::Result<(), IoError>,
    ) -> std::result::Result<(), IoError> {
        let chunks = range.start / Self::CHUNK..range.end.div_ceil(Self::CHUNK);
        let mask = if chunks.end.saturating_sub(chunks.start) >= Self::SHARDS as u64 {
            u64::MAX
        } else {
            chunks.fold(0, |mask, chunk| mask | 1 << Self::shard(chunk))
        };
        let _shards = self.lock_shards(mask);
        let written = write();
        let bits = self.geometry.block_size_bits;
        for block in range.start >> bits..range.end.div_ceil(1 << bits) {
            if !self.cache.contains_key(&block) {
                continue;
            }
            let new = bytes.filter(|_| written.is_ok()).and_then(|bytes| {
                let start = usize::try_from((block << bits).checked_sub(range.start)?).ok()?;
                bytes.get(start..start.checked_add(self.geometry.block_size())?)
            });
            match new {
                Some(new) => {
                    let (bytes, good) = (new.into(), false);
                    // Fails when the block has just been dropped for lack of room.
                    let _ = self.cache.replace(block, CachedBlock { bytes, good }, true);
                }
                None => drop(self.cache.remove(&block)),
            }
        }
        written
    }

    fn shard(chunk: u64) -> usize {
        chunk as usize % Self::SHARDS
    }

    fn lock_shard(&self, index: usize) -> MutexGuard<'_, ()> {
        self.loading[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks those of the shards that a mask has bits for.
    fn lock_shards(&self, mask: u64) -> Vec<MutexGuard<'_, ()>> {
        let wanted = (0..Self::SHARDS).filter(|index| mask >> index & 1 != 0);
        wanted.map(|index| self.lock_shard(index)).collect()
    }

    /// The bytes of any block of the device; the caller has made sure that its byte offset fits in 64 bits.
    pub(crate) fn bytes(&self, at: BlockNo, locality: Locality) -> Result<BlockBuf> {
        Ok(BlockBuf(self.cached(at, locality)?.bytes))
    }

    fn cached(&self, at: BlockNo, locality: Locality) -> Result<CachedBlock> {
        if let Some(block) = self.cache.get(&at.0) {
            return Ok(block);
        }
        let mut ahead = false;
        if locality == Locality::Clustered {
            let chunk = (at.0 << self.geometry.block_size_bits) / Self::CHUNK;
            let before = self.missed[chunk as usize % Self::MISSES].swap(at.0, Ordering::Relaxed);
            ahead = before.abs_diff(at.0) <= Self::NEAR;
        }
        match self.load(at, ahead) {
            // A bad sector among the neighbours must not hide this block.
            Err(_) if ahead => self.load(at, false),
            read => read,
        }
    }

    /// Reads a block, with the chunk around it or alone, into the cache.
    fn load(&self, at: BlockNo, ahead: bool) -> Result<CachedBlock> {
        let (bits, size) = (self.geometry.block_size_bits, self.geometry.block_size());
        let offset = at.0 << bits;
        let chunk = offset / Self::CHUNK;
        let _shard = self.lock_shard(Self::shard(chunk));
        if let Some(block) = self.cache.peek(&at.0) {
            return Ok(block);
        }
        let device = self.device.geometry();
        // The smallest that the device allows.
        let smallest = (size as u64).max(device.block_size.into());
        let unit = if ahead { Self::CHUNK.max(smallest) } else { smallest };
        let start = offset / unit * unit;
        let len = device.len.saturating_sub(start).min(unit) as usize;
        if (offset - start) as usize + size > len {
            let device_len = device.len;
            let kind = IoErrorKind::OutOfRange { device_len };
            return Err(IoError::new(IoOp::Read, offset, size as u64, kind).into());
        }
        let mut bytes = vec![0; len];
        self.device.read(start, &mut bytes)?;
        let mut wanted = None;
        for (block, bytes) in (start >> bits..).zip(bytes.chunks_exact(size)) {
            if block != at.0 && self.cache.contains_key(&block) {
                continue;
            }
            let (bytes, good) = (bytes.into(), false);
            let cached = CachedBlock { bytes, good };
            if block == at.0 {
                wanted = Some(cached.clone());
            }
            self.cache.insert(block, cached);
        }
        Ok(wanted.expect("the unit was cut around the block"))
    }

    /// Remembers that the check field of a cached block is good.
    fn mark_good(&self, at: BlockNo, bytes: &Arc<[u8]>) {
        let chunk = (at.0 << self.geometry.block_size_bits) / Self::CHUNK;
        let _shard = self.lock_shard(Self::shard(chunk));
        if self.cache.peek(&at.0).is_some_and(|now| Arc::ptr_eq(&now.bytes, bytes)) {
            let (bytes, good) = (bytes.clone(), true);
            // Fails when the block has just been dropped for lack of room.
            let _ = self.cache.replace(at.0, CachedBlock { bytes, good }, true);
        }
    }

    /// The bytes of a block at home whose check field, where the volume has them, is good or was made good.
    fn verified_home(
        &self,
        at: BlockNo,
        structure: Structure,
        check_offset: usize,
        locality: Locality,
    ) -> Result<BlockBuf> {
        let CachedBlock { bytes, good } = self.cached(at, locality)?;
        if !self.verify || good {
            return Ok(BlockBuf(bytes));
        }
        if BlockCheck::is_good(&bytes, check_offset) {
            self.mark_good(at, &bytes);
            return Ok(BlockBuf(bytes));
        }
        self.correct(&BlockBuf(bytes), at, structure, check_offset)
    }

    fn verified_bucket(&self, bucket: BlockBuf, at: BlockNo) -> Result<BlockBuf> {
        let check_offset = 8;
        if !self.verify || BlockCheck::is_good(&bucket, check_offset) {
            return Ok(bucket);
        }
        self.correct(&bucket, at, Structure::XattrBucket, check_offset)
    }

    fn correct(&self, block: &BlockBuf, at: BlockNo, structure: Structure, check_offset: usize) -> Result<BlockBuf> {
        let mut copy = block.to_vec();
        match BlockCheck::verify_and_correct(&mut copy, check_offset) {
            Ok(verdict) => {
                self.record(Correction {
                    block: at,
                    structure,
                    verdict,
                });
                Ok(BlockBuf(copy.into()))
            }
            Err(bad) => Err(Corrupt::new(structure, bad.into()).at_block(at).into()),
        }
    }
}

/// The view of a whole block.
pub(crate) fn view<T: FromBytes + KnownLayout + zerocopy::Immutable + ?Sized>(block: &[u8]) -> &T {
    T::ref_from_bytes(block).expect("a block of 512 bytes or more spans every block structure")
}

/// The view of a whole block, to change it.
pub(crate) fn view_mut<T: FromBytes + IntoBytes + KnownLayout + ?Sized>(block: &mut [u8]) -> &mut T {
    T::mut_from_bytes(block).expect("a block of 512 bytes or more spans every block structure")
}
