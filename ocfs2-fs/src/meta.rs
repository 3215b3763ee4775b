//! Checked metadata reads: one block in, verified, corrected where one bit was flipped, and cached.
//!
//! The cache holds the device's bytes in *chunks* of up to 64 KiB. Inodes, directory blocks and extent blocks lie close
//! together, so a miss reads the whole chunk around the block: that is the read-ahead for tree walks. Group descriptors
//! lie far apart; a miss on one reads its block alone.
//!
//! Source: on-disk reference, section 25 (checks).

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    cache: Cache<u64, Arc<Chunk>, ByBytes>,
    /// Whether check codes are looked at, on a volume that has them.
    verify: bool,
    /// By block: a damaged block that is read often is reported once.
    corrections: Mutex<BTreeMap<BlockNo, Correction>>,
}

/// Bytes of the device as they are, and which of its blocks are known to be good.
#[derive(Debug)]
struct Chunk {
    bytes: Box<[u8]>,
    good: Box<[AtomicBool]>,
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<u64, Arc<Chunk>> for ByBytes {
    fn weight(&self, _key: &u64, chunk: &Arc<Chunk>) -> u64 {
        (chunk.bytes.len() + chunk.good.len() + 96) as u64
    }
}

/// The bytes of one block or bucket.
#[derive(Clone, Debug)]
pub(crate) struct BlockBuf(Repr);

#[derive(Clone, Debug)]
enum Repr {
    /// Part of a cached chunk.
    Cached {
        chunk: Arc<Chunk>,
        start: usize,
        len: usize,
    },
    /// A copy in which a bit was corrected, or that spans chunks.
    Copy(Arc<[u8]>),
}

impl Deref for BlockBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Cached { chunk, start, len } => &chunk.bytes[*start..*start + *len],
            Repr::Copy(bytes) => bytes,
        }
    }
}

impl BlockBuf {
    /// A copy of bytes that were read otherwise.
    pub(crate) fn of_copy(bytes: &[u8]) -> BlockBuf {
        BlockBuf(Repr::Copy(bytes.into()))
    }

    /// The bytes, to be shared.
    pub(crate) fn into_shared(self) -> Arc<[u8]> {
        match self.0 {
            Repr::Cached { chunk, start, len } => chunk.bytes[start..start + len].into(),
            Repr::Copy(bytes) => bytes,
        }
    }

    /// Marks the block as verified, so that the next reader of the cached bytes need not compute its CRC.
    fn mark_good(&self, block_size: usize) {
        if let Repr::Cached { chunk, start, .. } = &self.0 {
            chunk.good[start / block_size].store(true, Ordering::Relaxed);
        }
    }

    fn is_marked_good(&self, block_size: usize) -> bool {
        match &self.0 {
            Repr::Cached { chunk, start, .. } => chunk.good[start / block_size].load(Ordering::Relaxed),
            Repr::Copy(_) => false,
        }
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
            Some(image) => Ok(BlockBuf(Repr::Copy(image))),
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
        let bucket = BlockBuf(Repr::Copy(bytes.into()));
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
    /// Corrections that are remembered; more than that and the volume needs a check anyway.
    const MAX_CORRECTIONS: usize = 4096;

    pub(crate) fn new(device: Arc<dyn BlockDevice>, geometry: Geometry, options: &OpenOptions) -> Self {
        let cache_bytes = options.cache_bytes;
        let items = (cache_bytes / Self::CHUNK).max(16) as usize;
        Meta {
            device,
            geometry,
            cache: Cache::with_weighter(items, cache_bytes.max(16 * Self::CHUNK), ByBytes),
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
        self.cache.clear();
    }

    /// Forgets what is cached of bytes that have just been written to the device. Whoever is reading them at this moment
    /// may get what was there before, but leaves nothing of it in the cache.
    pub(crate) fn invalidate_bytes(&self, range: Range<u64>) {
        for locality in [Locality::Clustered, Locality::Scattered] {
            let unit = self.unit(locality);
            for number in range.start / unit..range.end.div_ceil(unit) {
                self.cache.remove(&Self::key(number, locality));
            }
        }
    }

    /// Chunks of both sizes share one cache.
    fn key(number: u64, locality: Locality) -> u64 {
        number << 1 | u64::from(locality == Locality::Clustered)
    }

    /// The bytes of any block of the device; the caller has made sure that its byte offset fits in 64 bits.
    pub(crate) fn bytes(&self, at: BlockNo, locality: Locality) -> Result<BlockBuf> {
        let block_size = self.geometry.block_size();
        let offset = at.0 << self.geometry.block_size_bits;
        let unit = self.unit(locality);
        let key = Self::key(offset / unit, locality);
        let chunk = match self
            .cache
            .get_or_insert_with(&key, || self.read_chunk(offset / unit * unit, unit))
        {
            // A bad sector among the neighbours must not hide this block.
            Err(_) if locality == Locality::Clustered => return self.bytes(at, Locality::Scattered),
            read => read?,
        };
        let start = (offset % unit) as usize;
        if start + block_size > chunk.bytes.len() {
            let kind = IoErrorKind::OutOfRange {
                device_len: self.device.geometry().len,
            };
            return Err(IoError::new(IoOp::Read, offset, block_size as u64, kind).into());
        }
        Ok(BlockBuf(Repr::Cached {
            chunk,
            start,
            len: block_size,
        }))
    }

    /// The bytes of a block at home whose check field, where the volume has them, is good or was made good.
    fn verified_home(
        &self,
        at: BlockNo,
        structure: Structure,
        check_offset: usize,
        locality: Locality,
    ) -> Result<BlockBuf> {
        let block = self.bytes(at, locality)?;
        if !self.verify || block.is_marked_good(self.geometry.block_size()) {
            return Ok(block);
        }
        if BlockCheck::is_good(&block, check_offset) {
            block.mark_good(self.geometry.block_size());
            return Ok(block);
        }
        self.correct(&block, at, structure, check_offset)
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
                Ok(BlockBuf(Repr::Copy(copy.into())))
            }
            Err(bad) => Err(Corrupt::new(structure, bad.into()).at_block(at).into()),
        }
    }

    /// Bytes read at once: a chunk, or the smallest that the device allows.
    fn unit(&self, locality: Locality) -> u64 {
        match locality {
            Locality::Clustered => Self::CHUNK,
            Locality::Scattered => (self.geometry.block_size() as u64).max(self.device.geometry().block_size.into()),
        }
    }

    fn read_chunk(&self, offset: u64, unit: u64) -> Result<Arc<Chunk>> {
        let device_len = self.device.geometry().len;
        let len = device_len.saturating_sub(offset).min(unit) as usize;
        let mut bytes = vec![0; len].into_boxed_slice();
        self.device.read(offset, &mut bytes)?;
        let good = (0..len / self.geometry.block_size())
            .map(|_| AtomicBool::new(false))
            .collect();
        Ok(Arc::new(Chunk { bytes, good }))
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
