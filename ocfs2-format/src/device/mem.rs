//! A device in memory that costs what is written to it.

use std::array;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{BlockDevice, Coherence, DevGeometry, DevTraits, DiscardEffect, Durability, IoError, IoOp};

/// A sparse device in memory: pages that were never written, or only with zeros, take no room, so a device of a
/// tebibyte is as cheap to make as one of a megabyte.
///
/// [`snapshot`](Self::snapshot) is cheap too: pages are shared until one of the copies writes them.
pub struct MemDevice {
    geometry: DevGeometry,
    shards: [RwLock<Shard>; SHARDS],
}

impl MemDevice {
    /// `len` zeros in blocks of 512 bytes; a rest that is no whole block is left off.
    pub fn new(len: u64) -> MemDevice {
        MemDevice::with_block_size(len, 512)
    }

    /// `len` zeros in blocks of `block_size` bytes; a rest that is no whole block is left off.
    ///
    /// # Panics
    /// When `block_size` is not a power of two of at least 512.
    pub fn with_block_size(len: u64, block_size: u32) -> MemDevice {
        assert!(
            block_size.is_power_of_two() && block_size >= 512,
            "{block_size} is no device block size"
        );
        MemDevice {
            geometry: DevGeometry {
                block_size,
                len: len - len % u64::from(block_size),
                dma_alignment: 1,
            },
            shards: array::from_fn(|_| RwLock::default()),
        }
    }

    /// A device that holds `bytes` in blocks of 512 bytes; a rest that is no whole block is left off.
    pub fn from_vec(bytes: Vec<u8>) -> MemDevice {
        let device = MemDevice::new(bytes.len() as u64);
        let whole = bytes.len() - bytes.len() % 512;
        device.store(0, &bytes[..whole]);
        device
    }

    /// All bytes of the device. Takes [`DevGeometry::len`] bytes of memory, however few were written.
    pub fn to_vec(&self) -> Vec<u8> {
        let len = usize::try_from(self.geometry.len).expect("device larger than the address space");
        let mut bytes = vec![0; len];
        self.load(0, &mut bytes);
        bytes
    }

    /// A second device with the same bytes. Writes to either are not seen by the other; memory is shared until then.
    ///
    /// Writes that run at the same time may be in the copy in part.
    pub fn snapshot(&self) -> MemDevice {
        MemDevice {
            geometry: self.geometry,
            shards: array::from_fn(|i| RwLock::new(read_lock(&self.shards[i]).clone())),
        }
    }

    /// How many bytes of the device are held in memory.
    pub fn allocated(&self) -> u64 {
        let pages: usize = self
            .shards
            .iter()
            .map(|shard| {
                read_lock(shard)
                    .values()
                    .map(|region| region.pages.iter().flatten().count())
                    .sum::<usize>()
            })
            .sum();
        (pages * PAGE) as u64
    }

    fn load(&self, offset: u64, buf: &mut [u8]) {
        let mut rest = buf;
        for piece in pieces(offset, rest.len() as u64, REGION as u64) {
            let (buf, after) = rest.split_at_mut(piece.len);
            rest = after;
            let shard = read_lock(self.shard(piece.unit));
            match shard.get(&piece.unit) {
                Some(region) => region.load(piece.at, buf),
                None => buf.fill(0),
            }
        }
    }

    fn store(&self, offset: u64, buf: &[u8]) {
        let mut rest = buf;
        for piece in pieces(offset, rest.len() as u64, REGION as u64) {
            let (buf, after) = rest.split_at(piece.len);
            rest = after;
            let mut shard = write_lock(self.shard(piece.unit));
            if shard.contains_key(&piece.unit) || !is_zero(buf) {
                Arc::make_mut(shard.entry(piece.unit).or_default()).store(piece.at, buf);
            }
        }
    }

    fn clear(&self, range: Range<u64>) {
        let region = REGION as u64;
        // Whole regions in the middle go at once, however wide the range: the device may be far larger than what it holds.
        let whole = range.start.div_ceil(region)..range.end / region;
        if whole.end > whole.start && whole.end - whole.start > SHARDS as u64 {
            for shard in &self.shards {
                write_lock(shard).retain(|unit, _| !whole.contains(unit));
            }
            self.clear_pieces(range.start..whole.start * region);
            self.clear_pieces(whole.end * region..range.end);
        } else {
            self.clear_pieces(range);
        }
    }

    fn clear_pieces(&self, range: Range<u64>) {
        for piece in pieces(range.start, range.end - range.start, REGION as u64) {
            let mut shard = write_lock(self.shard(piece.unit));
            if piece.len == REGION {
                shard.remove(&piece.unit);
            } else if let Some(region) = shard.get_mut(&piece.unit) {
                Arc::make_mut(region).clear(piece.at, piece.len);
            }
        }
    }

    fn shard(&self, unit: u64) -> &RwLock<Shard> {
        &self.shards[(unit % SHARDS as u64) as usize]
    }
}

impl BlockDevice for MemDevice {
    fn geometry(&self) -> DevGeometry {
        self.geometry
    }

    fn traits(&self) -> DevTraits {
        DevTraits {
            coherence: Coherence::Private,
            discard: DiscardEffect::Zeroes,
            read_only: false,
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.geometry.check(IoOp::Read, offset, buf.len() as u64)?;
        self.load(offset, buf);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], _how: Durability) -> Result<(), IoError> {
        self.geometry.check(IoOp::Write, offset, buf.len() as u64)?;
        self.store(offset, buf);
        Ok(())
    }

    fn flush(&self) -> Result<(), IoError> {
        Ok(())
    }

    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        self.geometry.check_range(IoOp::Discard, &range)?;
        self.clear(range);
        Ok(())
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        self.geometry.check_range(IoOp::WriteZeroes, &range)?;
        self.clear(range);
        Ok(())
    }
}

impl fmt::Debug for MemDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemDevice")
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}

type Shard = HashMap<u64, Arc<Region>>;
type Page = Arc<[u8; PAGE]>;

/// Bytes that share one entry in the map. Absent pages read as zeros.
#[derive(Clone)]
struct Region {
    pages: [Option<Page>; REGION / PAGE],
}

impl Default for Region {
    fn default() -> Self {
        Region {
            pages: [const { None }; REGION / PAGE],
        }
    }
}

impl Region {
    fn load(&self, at: usize, buf: &mut [u8]) {
        let mut rest = buf;
        for piece in pieces(at as u64, rest.len() as u64, PAGE as u64) {
            let (buf, after) = rest.split_at_mut(piece.len);
            rest = after;
            match &self.pages[piece.unit as usize] {
                Some(page) => buf.copy_from_slice(&page[piece.at..piece.at + piece.len]),
                None => buf.fill(0),
            }
        }
    }

    fn store(&mut self, at: usize, buf: &[u8]) {
        let mut rest = buf;
        for piece in pieces(at as u64, rest.len() as u64, PAGE as u64) {
            let (buf, after) = rest.split_at(piece.len);
            rest = after;
            let page = &mut self.pages[piece.unit as usize];
            if page.is_none() && is_zero(buf) {
                continue;
            }
            let page = page.get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[piece.at..piece.at + piece.len].copy_from_slice(buf);
        }
    }

    fn clear(&mut self, at: usize, len: usize) {
        for piece in pieces(at as u64, len as u64, PAGE as u64) {
            let page = &mut self.pages[piece.unit as usize];
            if piece.len == PAGE {
                *page = None;
            } else if let Some(page) = page {
                Arc::make_mut(page)[piece.at..piece.at + piece.len].fill(0);
            }
        }
    }
}

/// The part of a range that lies in one unit (region or page).
struct Piece {
    unit: u64,
    /// First byte inside the unit.
    at: usize,
    len: usize,
}

/// Cuts `len` bytes at `offset` where units of `unit_len` bytes meet.
fn pieces(offset: u64, len: u64, unit_len: u64) -> impl Iterator<Item = Piece> {
    let end = offset + len;
    let mut next = offset;
    std::iter::from_fn(move || {
        let left = end - next;
        if left == 0 {
            return None;
        }
        let (unit, at) = (next / unit_len, next % unit_len);
        let len = left.min(unit_len - at);
        next += len;
        Some(Piece {
            unit,
            at: at as usize,
            len: len as usize,
        })
    })
}

fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; PAGE] = [0; PAGE];
    bytes.chunks(PAGE).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

// A panic while a lock is held cannot leave a map half changed, so a poisoned lock is used on.
fn read_lock(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write_lock(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

const PAGE: usize = 4096;
const REGION: usize = 256 * PAGE;
const SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tebibyte_costs_what_is_written() {
        let device = MemDevice::new(1 << 40);
        for gib in 0..1024_u64 {
            device.write(gib << 30, &[1; 512], Durability::Cached).unwrap();
        }
        assert_eq!(device.allocated(), 1024 * PAGE as u64);
        device.write(12345 << 12, &[0; 1 << 20], Durability::Cached).unwrap();
        assert_eq!(device.allocated(), 1024 * PAGE as u64, "zeros in a hole take no room");
        device.write_zeroes(512..1 << 40).unwrap();
        assert_eq!(device.allocated(), PAGE as u64);
    }

    #[test]
    fn snapshots_do_not_see_later_writes_of_either_side() {
        let device = MemDevice::new(4 << 20);
        device.write(0, &[1; 8192], Durability::Cached).unwrap();
        let copy = device.snapshot();
        device.write(0, &[2; 512], Durability::Cached).unwrap();
        device.discard(4096..8192).unwrap();
        copy.write(1 << 20, &[3; 512], Durability::Cached).unwrap();

        let (ours, theirs) = (device.to_vec(), copy.to_vec());
        assert_eq!((ours[0], ours[512], ours[4096], ours[1 << 20]), (2, 1, 0, 0));
        assert_eq!((theirs[0], theirs[512], theirs[4096], theirs[1 << 20]), (1, 1, 1, 3));
    }

    #[test]
    fn vectors_come_back_less_their_partial_block() {
        let bytes: Vec<u8> = (0..1_500_000_u32).map(|i| (i % 251) as u8).collect();
        let device = MemDevice::from_vec(bytes.clone());
        let whole = bytes.len() - bytes.len() % 512;
        assert_eq!(device.geometry().len, whole as u64);
        assert_eq!(device.to_vec(), &bytes[..whole]);
    }

    #[test]
    fn zeroing_many_regions_keeps_the_bytes_around_them() {
        let len = 40 * REGION as u64;
        let device = MemDevice::from_vec(vec![7; len as usize]);
        device.write_zeroes(512..len - 512).unwrap();
        let bytes = device.to_vec();
        assert!(
            bytes[..512]
                .iter()
                .chain(&bytes[bytes.len() - 512..])
                .all(|&byte| byte == 7)
        );
        assert!(bytes[512..bytes.len() - 512].iter().all(|&byte| byte == 0));
    }
}
