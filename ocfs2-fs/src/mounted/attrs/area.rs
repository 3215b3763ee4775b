//! An area of attributes taken apart and put together again: at the end of a dinode, in an attribute block, in a bucket.
//!
//! ```text
//! header | entry entry entry ->      4 bytes at least      <- pair pair pair |
//! ```
//!
//! A pair is a name and what stands behind it: the value, or the root of its extents. In a dinode and a block the entries
//! are in the order they were made in and the pairs are packed; in a bucket the entries are sorted by hash, no pair
//! crosses the border of a block, and a removed pair leaves a hole until the room is needed.
//!
//! Source: on-disk reference, sections 22.2 to 22.4.

use ocfs2_format::{Corrupt, Geometry, Structure, XattrArea, XattrDefValueRoot, XattrEntry, XattrHeader, XattrValue};
use zerocopy::{FromBytes, IntoBytes};

/// One attribute of an area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) hash: u32,
    /// Index of the name space.
    pub(super) namespace: u8,
    /// Without prefix.
    pub(super) name: Vec<u8>,
    /// Bytes of the value.
    pub(super) size: u64,
    pub(super) stored: Stored,
    /// Where the pair begins in the area, once it has a place.
    pub(super) offset: usize,
}

/// What stands behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// The value itself.
    Local(Vec<u8>),
    /// The root of the extents that hold it.
    Outside(XattrDefValueRoot),
}

const HEADER: usize = size_of::<XattrHeader>();
const ENTRY: usize = size_of::<XattrEntry>();
/// Bytes that stay free between entries and pairs.
const GAP: usize = 4;

impl Pair {
    /// Bytes that the pair takes, its entry not counted.
    pub(super) fn bytes(&self) -> usize {
        self.name_bytes()
            + match &self.stored {
                Stored::Local(value) => value.len().next_multiple_of(4),
                Stored::Outside(_) => size_of::<XattrDefValueRoot>(),
            }
    }

    fn name_bytes(&self) -> usize {
        self.name.len().next_multiple_of(4)
    }

    /// Where in the area the root of the value's extents is.
    pub(super) fn root_offset(&self) -> usize {
        self.offset + self.name_bytes()
    }

    pub(super) fn is(&self, namespace: u8, name: &[u8]) -> bool {
        self.namespace == namespace && self.name == name
    }

    fn entry(&self) -> XattrEntry {
        let local = match &self.stored {
            Stored::Local(_) => XattrEntry::LOCAL,
            Stored::Outside(_) => 0,
        };
        XattrEntry {
            xe_name_hash: self.hash.into(),
            // Offsets in an area of 4096 bytes, and names of 255, fit.
            xe_name_offset: (self.offset as u16).into(),
            xe_name_len: self.name.len() as u8,
            xe_type: self.namespace | local,
            xe_value_size: self.size.into(),
        }
    }

    fn write(&self, area: &mut [u8]) {
        let (name_end, value_at) = (self.offset + self.name.len(), self.root_offset());
        area[self.offset..name_end].copy_from_slice(&self.name);
        let value = match &self.stored {
            Stored::Local(value) => value.as_slice(),
            Stored::Outside(root) => root.as_bytes(),
        };
        area[value_at..value_at + value.len()].copy_from_slice(value);
    }
}

/// The attributes of an area, checked: none reaches outside or over another.
fn parse(structure: Structure, bytes: &[u8]) -> Result<Vec<Pair>, Corrupt> {
    let area = XattrArea::parse(structure, bytes)?;
    area.check()?;
    area.iter()
        .map(|xattr| {
            let xattr = xattr?;
            Ok(Pair {
                hash: xattr.entry.xe_name_hash.get(),
                namespace: xattr.namespace.index(),
                name: xattr.name.to_vec(),
                size: xattr.entry.xe_value_size.get(),
                stored: match xattr.value {
                    XattrValue::Local(value) => Stored::Local(value.to_vec()),
                    XattrValue::Outside(root) => Stored::Outside(*root),
                },
                offset: xattr.entry.xe_name_offset.get().into(),
            })
        })
        .collect()
}

/// Writes entries and pairs, and zeroes what lies between.
fn write(header: XattrHeader, pairs: &[Pair], area: &mut [u8]) {
    area.fill(0);
    area[..HEADER].copy_from_slice(header.as_bytes());
    for (slot, pair) in area[HEADER..].chunks_exact_mut(ENTRY).zip(pairs) {
        slot.copy_from_slice(pair.entry().as_bytes());
    }
    for pair in pairs {
        pair.write(area);
    }
}

fn new_header(count: usize) -> XattrHeader {
    let mut header = XattrHeader::read_from_bytes(&[0; HEADER]).expect("the bytes are as many");
    // Not more than fit in 4096 bytes.
    header.xh_count.set(count as u16);
    header
}

/// The area of a dinode or of an attribute block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flat {
    pub(super) pairs: Vec<Pair>,
}

impl Flat {
    pub(super) fn parse(structure: Structure, bytes: &[u8]) -> Result<Flat, Corrupt> {
        let pairs = parse(structure, bytes)?;
        Ok(Flat { pairs })
    }

    /// Bytes of the smallest area that holds these attributes.
    pub(super) fn needed(&self) -> usize {
        HEADER + GAP + self.pairs.iter().map(|pair| ENTRY + pair.bytes()).sum::<usize>()
    }

    /// Packs the pairs against the end of an area of so many bytes, which is [enough](Self::needed).
    pub(super) fn pack(&mut self, len: usize) {
        let mut end = len;
        for pair in &mut self.pairs {
            end -= pair.bytes();
            pair.offset = end;
        }
    }

    /// Writes the area. The pairs have been [packed](Self::pack) for it.
    pub(super) fn write(&self, area: &mut [u8]) {
        write(new_header(self.pairs.len()), &self.pairs, area);
    }
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Sorted by hash.
    pub(super) pairs: Vec<Pair>,
    /// Buckets in use of the run that this is the first of, otherwise 0.
    pub(super) run: u16,
    /// Least hash that an empty bucket may hold.
    empty_bound: u32,
    block_size: usize,
}

impl Bucket {
    const SIZE: usize = Geometry::XATTR_BUCKET_SIZE;

    pub(super) fn new(pairs: Vec<Pair>, bound: u32, geometry: &Geometry) -> Bucket {
        Bucket {
            pairs,
            run: 0,
            empty_bound: bound,
            block_size: geometry.block_size(),
        }
    }

    pub(super) fn parse(bytes: &[u8], geometry: &Geometry) -> Result<Bucket, Corrupt> {
        let structure = Structure::XattrBucket;
        let area = XattrArea::parse(structure, bytes)?;
        let mut pairs = parse(structure, bytes)?;
        let mut empty_bound = 0;
        if pairs.is_empty()
            && let Some(first) = bytes.get(HEADER..HEADER + 4)
            && let Ok(hash) = first.try_into()
        {
            empty_bound = u32::from_le_bytes(hash);
        }
        // A bucket that is found unsorted could be searched by nobody; sorted it can.
        pairs.sort_by_key(|pair| pair.hash);
        Ok(Bucket {
            pairs,
            run: area.header().xh_num_buckets.get(),
            empty_bound,
            block_size: geometry.block_size(),
        })
    }

    /// The least hash that the bucket is searched for.
    pub(super) fn bound(&self) -> u32 {
        self.pairs.first().map_or(self.empty_bound, |pair| pair.hash)
    }

    fn free_start(&self) -> usize {
        self.pairs.iter().map(|pair| pair.offset).min().unwrap_or(Self::SIZE)
    }

    /// Where a pair of so many bytes goes below `free_start`, if it fits above `entries` entries.
    fn place(&self, free_start: usize, bytes: usize, entries: usize) -> Option<usize> {
        let lowest = HEADER + ENTRY * entries + GAP;
        let mut end = free_start;
        let block = |offset: usize| offset / self.block_size;
        if block(end.checked_sub(bytes)?) != block(end - 1) {
            end = end / self.block_size * self.block_size;
        }
        end.checked_sub(bytes).filter(|&start| start >= lowest)
    }

    /// Adds an attribute, moving the pairs together if need be. `false`, and nothing changed, if there is no room.
    pub(super) fn insert(&mut self, mut pair: Pair) -> bool {
        let entries = self.pairs.len() + 1;
        let mut place = self.place(self.free_start(), pair.bytes(), entries);
        if place.is_none()
            && let Some(packed) = self.repacked()
            && let Some(start) = packed.place(packed.free_start(), pair.bytes(), entries)
        {
            *self = packed;
            place = Some(start);
        }
        let Some(start) = place else { return false };
        pair.offset = start;
        let at = self.pairs.partition_point(|other| other.hash <= pair.hash);
        self.pairs.insert(at, pair);
        true
    }

    /// Takes an attribute out. The bucket keeps its bound when it was the last.
    pub(super) fn remove(&mut self, index: usize) -> Pair {
        self.empty_bound = self.bound();
        self.pairs.remove(index)
    }

    /// The bucket with its pairs moved together, in the order in which they lie.
    fn repacked(&self) -> Option<Bucket> {
        let mut packed = self.clone();
        let mut order: Vec<usize> = (0..packed.pairs.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(self.pairs[index].offset));
        let mut end = Self::SIZE;
        for index in order {
            end = self.place(end, self.pairs[index].bytes(), self.pairs.len())?;
            packed.pairs[index].offset = end;
        }
        Some(packed)
    }

    /// Puts pairs that come from another kind of area into this bucket: `false` if they do not fit, and then the bucket
    /// holds some of them.
    pub(super) fn fill(&mut self, pairs: Vec<Pair>) -> bool {
        pairs.into_iter().all(|pair| self.insert(pair))
    }

    /// Moves the upper half into a new bucket, to make room for an attribute with this hash. The halves part where the
    /// hash changes, as near to the middle as that is. Attributes of one hash stay together, and the newcomer's side of
    /// them is empty.
    pub(super) fn divide(&mut self, newcomer: u32) -> Bucket {
        let middle = self.pairs.len() / 2;
        let changes = |index: &usize| self.pairs[index - 1].hash != self.pairs[*index].hash;
        let at = (1..self.pairs.len())
            .filter(changes)
            .min_by_key(|index| index.abs_diff(middle));
        let bound = self.bound();
        let (at, upper_bound) = match at {
            Some(at) => (at, bound),
            None if newcomer < bound => (0, bound),
            None => (self.pairs.len(), bound.saturating_add(1)),
        };
        let upper = self.pairs.split_off(at);
        self.empty_bound = newcomer.min(bound);
        Bucket {
            pairs: upper,
            run: 0,
            empty_bound: upper_bound,
            block_size: self.block_size,
        }
    }

    /// Whether all attributes have one hash, so that no division makes room for another of the same.
    pub(super) fn has_one_hash(&self) -> bool {
        self.pairs
            .first()
            .is_none_or(|first| self.pairs.iter().all(|pair| pair.hash == first.hash))
    }

    /// Writes the bucket's 4096 bytes.
    pub(super) fn write(&self, bytes: &mut [u8]) {
        let mut header = new_header(self.pairs.len());
        // Offsets and sums within 4096 bytes.
        header.xh_free_start.set(self.free_start() as u16);
        let total = self.pairs.iter().map(Pair::bytes).sum::<usize>();
        header.xh_name_value_len.set(total as u16);
        header.xh_num_buckets.set(self.run);
        write(header, &self.pairs, bytes);
        if self.pairs.is_empty() {
            bytes[HEADER..HEADER + 4].copy_from_slice(&self.empty_bound.to_le_bytes());
        }
    }
}
