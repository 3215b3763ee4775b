//! Areas and buckets of extended attributes as they are.

use ocfs2_format::{
    BlockCheck, BlockNo, ExtentRec, Geometry, XattrDefValueRoot, XattrEntry, XattrHeader, XattrNamespace,
};
use zerocopy::FromBytes;

use super::{CheckState, Inspector};
use crate::error::Result;

/// An area of attributes: a header, entries behind it, and the names and values they point to.
#[derive(Clone, Copy, Debug)]
pub struct RawXattrs<'a> {
    bytes: &'a [u8],
    header: &'a XattrHeader,
    entries: &'a [XattrEntry],
}

impl<'a> RawXattrs<'a> {
    /// The area in `bytes`; `None` when they are fewer than a header has.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = XattrHeader::ref_from_prefix(bytes).ok()?;
        let room = rest.len() / size_of::<XattrEntry>();
        let count = usize::from(header.xh_count.get()).min(room);
        let (entries, _) = <[XattrEntry]>::ref_from_prefix_with_elems(rest, count).ok()?;
        Some(RawXattrs { bytes, header, entries })
    }

    /// The header.
    pub fn header(&self) -> &'a XattrHeader {
        self.header
    }

    /// The entries: never more than there is room for, whatever the header claims.
    pub fn entries(&self) -> &'a [XattrEntry] {
        self.entries
    }

    /// The full name of an entry's attribute, as far as it lies in the area. An unknown name space has its number.
    pub fn name(&self, entry: &XattrEntry) -> Vec<u8> {
        let start = usize::from(entry.xe_name_offset.get());
        let stored = self.bytes.get(start..).unwrap_or_default();
        let stored = &stored[..usize::from(entry.xe_name_len).min(stored.len())];
        let prefix = match XattrNamespace::from_index(entry.namespace_index()) {
            Some(namespace) => namespace.prefix().to_owned(),
            None => format!("{}:", entry.namespace_index()),
        };
        [prefix.as_bytes(), stored].concat()
    }

    /// The value that stands behind an entry's name, as far as it lies in the area; `None` when it stands elsewhere.
    pub fn local_value(&self, entry: &XattrEntry) -> Option<&'a [u8]> {
        if !entry.is_local() {
            return None;
        }
        let rest = self.bytes.get(value_offset(entry)..).unwrap_or_default();
        let len = usize::try_from(entry.xe_value_size.get()).unwrap_or(usize::MAX);
        Some(&rest[..len.min(rest.len())])
    }

    /// The root of the extents that hold an entry's value; `None` when the value stands behind the name, or the root does
    /// not lie in the area.
    pub fn value_root(&self, entry: &XattrEntry) -> Option<&'a XattrDefValueRoot> {
        if entry.is_local() {
            return None;
        }
        let rest = self.bytes.get(value_offset(entry)..)?;
        XattrDefValueRoot::ref_from_prefix(rest).ok().map(|(root, _)| root)
    }
}

fn value_offset(entry: &XattrEntry) -> usize {
    usize::from(entry.xe_name_offset.get()) + usize::from(entry.xe_name_len).next_multiple_of(4)
}

/// A bucket of attributes: 4096 bytes.
#[derive(Clone, Debug)]
pub struct RawBucket {
    at: BlockNo,
    bytes: Vec<u8>,
}

impl RawBucket {
    /// Its first block.
    pub fn block(&self) -> BlockNo {
        self.at
    }

    /// Its attributes.
    pub fn area(&self) -> RawXattrs<'_> {
        RawXattrs::new(&self.bytes).expect("a bucket is longer than a header")
    }

    /// The check field in its header.
    pub fn check(&self) -> &BlockCheck {
        &self.area().header().xh_check
    }

    /// Whether the check field is right.
    pub fn check_state(&self, geometry: &Geometry) -> CheckState {
        CheckState::of(&self.bytes, 8, geometry)
    }
}

/// The buckets of a run of clusters. See [`Inspector::xattr_buckets`].
#[derive(Debug)]
pub struct RawBuckets {
    inspector: Inspector,
    next: BlockNo,
    left: u64,
    first: bool,
}

impl Inspector {
    /// The buckets in use of the run that a leaf record of an attribute index describes. The first bucket says how many they
    /// are. One that cannot be read ends the walk with an error.
    pub fn xattr_buckets(&self, rec: &ExtentRec) -> RawBuckets {
        let geometry = self.geometry();
        let blocks = geometry.clusters_to_blocks(rec.e_leaf_clusters.get().into());
        RawBuckets {
            inspector: self.clone(),
            next: rec.blkno(),
            left: blocks / u64::from(geometry.blocks_per_xattr_bucket()),
            first: true,
        }
    }
}

impl Iterator for RawBuckets {
    type Item = Result<RawBucket>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let at = self.next;
        let blocks = u64::from(self.inspector.geometry().blocks_per_xattr_bucket());
        let mut bytes = Vec::with_capacity(Geometry::XATTR_BUCKET_SIZE);
        for index in 0..blocks {
            match self.inspector.block(BlockNo(at.0.saturating_add(index))) {
                Ok(block) => bytes.extend_from_slice(&block),
                Err(error) => {
                    self.left = 0;
                    return Some(Err(error));
                }
            }
        }
        self.next = BlockNo(at.0.saturating_add(blocks));
        let bucket = RawBucket { at, bytes };
        if self.first {
            self.first = false;
            let claimed = u64::from(bucket.area().header().xh_num_buckets.get());
            self.left = self.left.min(claimed.saturating_sub(1));
        }
        Some(Ok(bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beyond_the_area_is_cut_off() {
        let mut area = [0u8; 64];
        // One entry is claimed to be 9, its name and value to lie at the end and to go on.
        area[0] = 9;
        area[16 + 4] = 60;
        area[16 + 6] = 200;
        area[16 + 7] = 1 | XattrEntry::LOCAL;
        area[16 + 8] = 80;
        area[60..].copy_from_slice(b"name");
        let area = RawXattrs::new(&area).expect("there is a header");
        assert_eq!(area.entries().len(), 3);
        let entry = &area.entries()[0];
        assert_eq!(area.name(entry), b"user.name");
        assert_eq!(area.local_value(entry), Some(b"".as_slice()));
        assert!(area.value_root(entry).is_none());
        assert!(RawXattrs::new(&[0; 15]).is_none());
    }
}
