//! How space is used: free space in pieces, and the clusters of one file.
//!
//! Source: on-disk reference, sections 10 and 11; the questions are those of o2info.

use ocfs2_format::{DynFeatures, ExtentFlags, FileKind};

use crate::error::Result;
use crate::inode::Inode;
use crate::volume::Volume;

/// The free space of a volume, by the length of its pieces. Pieces end at the borders of cluster groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// Clusters in groups.
    pub total_clusters: u64,
    /// Free clusters.
    pub free_clusters: u64,
    /// Free pieces.
    pub extents: u64,
    /// Clusters of the shortest piece, 0 without any.
    pub shortest: u64,
    /// Clusters of the longest piece.
    pub longest: u64,
    /// Pieces by length: entry n counts those of 2^n to 2^(n+1) - 1 clusters.
    pub by_length: Vec<LengthClass>,
    /// Aligned runs of a wanted length.
    pub chunks: Option<Chunks>,
}

/// Free pieces of similar length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LengthClass {
    /// Pieces.
    pub extents: u64,
    /// Their clusters.
    pub clusters: u64,
}

/// How many aligned chunks of a length there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// Clusters of a chunk, a power of two.
    pub clusters: u64,
    /// Chunks in the volume.
    pub total: u64,
    /// Chunks that are free as a whole.
    pub free: u64,
}

/// The clusters of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileUsage {
    /// Allocated clusters.
    pub clusters: u64,
    /// Runs of clusters, as FIEMAP reports them: adjacent, and all written or all not. Contents in the inode are one.
    pub extents: u64,
    /// Clusters that other files use too.
    pub shared: u64,
    /// Clusters that are allocated and not written.
    pub unwritten: u64,
    /// Clusters up to the end of the file that are not allocated.
    pub holes: u64,
    /// Clusters of attribute values and attribute buckets.
    pub xattr: u64,
}

impl FileUsage {
    /// Extents per hundred clusters: 100 when no two clusters are adjacent. A single cluster has no fragments.
    pub fn fragmentation(&self) -> f64 {
        if self.clusters < 2 {
            0.0
        } else {
            self.extents as f64 * 100.0 / self.clusters as f64
        }
    }

    /// The same for clusters of a mebibyte: a file in pieces of a mebibyte each scores 100.
    pub fn score(&self, cluster_size: u64) -> f64 {
        self.fragmentation() * (1 << 20) as f64 / cluster_size as f64
    }
}

impl Volume {
    /// Counts the free space, and with `chunk_clusters` (a power of two) the aligned chunks of that length.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) at the first broken group.
    pub fn free_space(&self, chunk_clusters: Option<u64>) -> Result<FreeSpace> {
        let mut found = FreeSpace {
            total_clusters: 0,
            free_clusters: 0,
            extents: 0,
            shortest: 0,
            longest: 0,
            by_length: Vec::new(),
            chunks: chunk_clusters.map(|clusters| Chunks {
                clusters,
                total: 0,
                free: 0,
            }),
        };
        let per_group = self.geometry().clusters_per_group();
        for group in self.groups(&self.global_bitmap()?)? {
            let group = group?;
            found.total_clusters += u64::from(group.desc().bg_bits.get());
            // A group of the bitmap covers the clusters of its index; group 0 has its descriptor further in.
            let cluster = self
                .geometry()
                .block_to_cluster(group.block())
                .map_or(0, |cluster| cluster.0);
            let first = u64::from(cluster / per_group * per_group);
            for (bit, len) in group.free_runs() {
                found.add(first + u64::from(bit), len.into());
            }
        }
        if let Some(chunks) = &mut found.chunks {
            chunks.total = found.total_clusters.div_ceil(chunks.clusters);
        }
        Ok(found)
    }

    /// Counts the clusters of a file, directory or symbolic link.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) when its extents or attributes cannot be read.
    pub fn file_usage(&self, inode: &Inode) -> Result<FileUsage> {
        let geometry = self.geometry();
        let mut usage = FileUsage::default();
        let mut next = 0;
        for extent in self.extents(inode)? {
            let clusters = u64::from(extent.clusters);
            usage.clusters += clusters;
            usage.holes += u64::from(extent.cpos).saturating_sub(next);
            next = extent.end();
            usage.extents += 1;
            if extent.flags.contains(ExtentFlags::UNWRITTEN) {
                usage.unwritten += clusters;
            }
            if extent.flags.contains(ExtentFlags::REFCOUNTED) {
                usage.shared += clusters;
            }
        }
        let inline = inode.dyn_features().contains(DynFeatures::INLINE_DATA);
        if inline && inode.size() > 0 {
            usage.extents = 1;
        }
        if inode.kind() == FileKind::Regular && !inline {
            usage.holes += geometry.clusters_for_bytes(inode.size()).saturating_sub(next);
        }
        for xattr in self.inode_xattrs(inode)? {
            usage.xattr += xattr
                .value_root()
                .map_or(0, |root| u64::from(root.xv.xr_clusters.get()));
        }
        Ok(usage)
    }
}

impl FreeSpace {
    fn add(&mut self, start: u64, clusters: u64) {
        self.free_clusters += clusters;
        self.extents += 1;
        self.shortest = if self.shortest == 0 {
            clusters
        } else {
            self.shortest.min(clusters)
        };
        self.longest = self.longest.max(clusters);
        let class = clusters.ilog2() as usize;
        if self.by_length.len() <= class {
            self.by_length.resize(class + 1, LengthClass::default());
        }
        self.by_length[class].extents += 1;
        self.by_length[class].clusters += clusters;
        if let Some(chunks) = &mut self.chunks {
            let first = start.next_multiple_of(chunks.clusters);
            chunks.free += (start + clusters).saturating_sub(first) / chunks.clusters;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_aligned_chunks_count_as_free() {
        let mut space = FreeSpace {
            total_clusters: 0,
            free_clusters: 0,
            extents: 0,
            shortest: 0,
            longest: 0,
            by_length: Vec::new(),
            chunks: Some(Chunks {
                clusters: 16,
                total: 0,
                free: 0,
            }),
        };
        space.add(1, 31);
        space.add(40, 15);
        space.add(64, 32);
        assert_eq!(space.chunks.map(|chunks| chunks.free), Some(1 + 2));
        assert_eq!((space.shortest, space.longest, space.extents), (15, 32, 3));
        assert_eq!(
            space.by_length[5],
            LengthClass {
                extents: 1,
                clusters: 32
            }
        );
    }
}
