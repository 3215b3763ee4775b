//! What of a file lies where.

use ocfs2_format::{BlockNo, Contents, ExtentFlags, Geometry};

use super::inline::DATA_OFFSET;
use crate::dir::data_tree;
use crate::error::Result;
use crate::extent_tree::{Extent, ExtentTree, Lookup};
use crate::inode::Inode;
use crate::meta::Blocks;

/// A stretch of logical clusters that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// First logical cluster.
    pub(crate) cpos: u64,
    /// First logical cluster behind it.
    pub(crate) end: u64,
    pub(crate) place: Place,
}

/// Where a [`Run`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Hole,
    Mapped {
        /// Block of the first cluster.
        blkno: BlockNo,
        flags: ExtentFlags,
    },
}

impl Run {
    /// The part of the run between two clusters, which lies inside it.
    pub(crate) fn cut(self, from: u64, to: u64, geometry: &Geometry) -> Run {
        let (cpos, end) = (self.cpos.max(from), self.end.min(to));
        let place = match self.place {
            Place::Hole => Place::Hole,
            Place::Mapped { blkno, flags } => {
                let skipped = (cpos - self.cpos) << geometry.cluster_bits_over_block();
                Place::Mapped {
                    blkno: BlockNo(blkno.0 + skipped),
                    flags,
                }
            }
        };
        Run { cpos, end, place }
    }

    /// Whether there are bytes on the device that a reader gets to see.
    pub(crate) fn is_written(&self) -> bool {
        matches!(self.place, Place::Mapped { flags, .. } if !flags.contains(ExtentFlags::UNWRITTEN))
    }

    /// The run once it has been written to; a hole stays one.
    pub(crate) fn made_plain(self) -> Run {
        let place = match self.place {
            Place::Hole => Place::Hole,
            Place::Mapped { blkno, .. } => Place::Mapped {
                blkno,
                flags: ExtentFlags::empty(),
            },
        };
        Run { place, ..self }
    }

    pub(crate) fn is_hole(&self) -> bool {
        self.place == Place::Hole
    }

    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.place, Place::Mapped { flags, .. } if flags.contains(ExtentFlags::REFCOUNTED))
    }

    /// Whether data may be written over what is there and no metadata changes.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.place, Place::Mapped { flags, .. } if flags.is_empty())
    }

    /// Byte on the device of a byte of the file that lies in this run; `None` in a hole.
    pub(crate) fn device_offset(&self, offset: u64, geometry: &Geometry) -> Option<u64> {
        match self.place {
            Place::Hole => None,
            // Inside the volume, whose length in bytes fits in 52 bits.
            Place::Mapped { blkno, .. } => {
                Some((blkno.0 << geometry.block_size_bits) + (offset - (self.cpos << geometry.cluster_size_bits)))
            }
        }
    }

    /// As a record. `None` for a hole.
    pub(crate) fn extent(&self) -> Option<Extent> {
        match self.place {
            Place::Hole => None,
            // A mapped run came from a record, or is part of one.
            Place::Mapped { blkno, flags } => Some(Extent {
                cpos: self.cpos as u32,
                clusters: (self.end - self.cpos) as u32,
                blkno,
                flags,
            }),
        }
    }
}

/// The clusters of an inode that has extents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map<'a> {
    tree: ExtentTree<'a>,
}

impl<'a> Map<'a> {
    /// First logical cluster that no file has.
    pub(crate) const END: u64 = 1 << 32;

    pub(crate) fn new(meta: &'a dyn Blocks, inode: &'a Inode) -> Result<Map<'a>> {
        Ok(Map {
            tree: data_tree(meta, inode)?,
        })
    }

    /// The run that a cluster lies in: all of the record, or from `cpos` to the end of the hole. Behind the last cluster
    /// that can be there is one endless hole.
    pub(crate) fn run_at(&self, cpos: u64) -> Result<Run> {
        let Ok(key) = u32::try_from(cpos) else {
            return Ok(Run {
                cpos,
                end: u64::MAX,
                place: Place::Hole,
            });
        };
        Ok(match self.tree.lookup(key)? {
            Lookup::Extent(extent) => Run {
                cpos: extent.cpos.into(),
                end: extent.end(),
                place: Place::Mapped {
                    blkno: extent.blkno,
                    flags: extent.flags,
                },
            },
            Lookup::Gap { next } => Run {
                cpos,
                end: if next >= Self::END { u64::MAX } else { next },
                place: Place::Hole,
            },
        })
    }

    /// The runs of clusters `from..to`, cut to them.
    pub(crate) fn runs(self, from: u64, to: u64) -> impl Iterator<Item = Result<Run>> + use<'a> {
        let mut next = from;
        std::iter::from_fn(move || {
            if next >= to {
                return None;
            }
            let run = self.run_at(next);
            next = run.as_ref().map_or(u64::MAX, |run| run.end);
            let geometry = *self.tree.meta.geometry();
            Some(run.map(|run| run.cut(from, to, &geometry)))
        })
    }
}

/// A stretch of a file, as [`FileSystem::extents`](crate::FileSystem::extents) tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtentInfo {
    /// First byte in the file.
    pub logical: u64,
    /// Bytes.
    pub len: u64,
    /// Where they are.
    pub place: ExtentPlace,
    /// Nothing is allocated behind it.
    pub last: bool,
}

/// Where the bytes of an [`ExtentInfo`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtentPlace {
    /// In the inode's own block, at this byte of the device.
    Inline {
        /// Byte offset on the device.
        physical: u64,
    },
    /// In clusters of their own.
    Clusters {
        /// Byte offset on the device.
        physical: u64,
        /// Allocated and not written: reads as zeros.
        unwritten: bool,
        /// Other files may use the same clusters.
        shared: bool,
    },
}

/// The allocated stretches of a file that touch `start..end`, at most `limit` of them, in order. Whole records, not cut.
pub(crate) fn extents(meta: &dyn Blocks, inode: &Inode, start: u64, end: u64, limit: usize) -> Result<Vec<ExtentInfo>> {
    let geometry = *meta.geometry();
    let mut found = Vec::new();
    if start >= end || limit == 0 {
        return Ok(found);
    }
    match inode.contents() {
        Contents::Inline(_) => {
            if start < inode.size() {
                found.push(ExtentInfo {
                    logical: 0,
                    len: inode.size(),
                    place: ExtentPlace::Inline {
                        physical: (inode.number().0 << geometry.block_size_bits) + DATA_OFFSET as u64,
                    },
                    last: true,
                });
            }
            return Ok(found);
        }
        Contents::Extents(_) => {}
        _ => return Ok(found),
    }
    let map = Map::new(meta, inode)?;
    let mut cpos = start >> geometry.cluster_size_bits;
    let stop = end.div_ceil(geometry.cluster_size());
    while cpos < stop && found.len() < limit {
        let run = map.run_at(cpos)?;
        cpos = run.end;
        let (Some(extent), Some(physical)) = (
            run.extent(),
            run.device_offset(run.cpos << geometry.cluster_size_bits, &geometry),
        ) else {
            continue;
        };
        let after = map.run_at(run.end)?;
        found.push(ExtentInfo {
            logical: run.cpos << geometry.cluster_size_bits,
            len: geometry.clusters_to_bytes(extent.clusters),
            place: ExtentPlace::Clusters {
                physical,
                unwritten: extent.flags.contains(ExtentFlags::UNWRITTEN),
                shared: extent.flags.contains(ExtentFlags::REFCOUNTED),
            },
            last: after.is_hole() && after.end == u64::MAX,
        });
    }
    Ok(found)
}

/// What to look for with [`seek`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Data,
    Hole,
}

/// The first byte at or behind `offset` that is data, or that is none: holes and what is allocated and not written. The end
/// of the file counts as a hole. `None` when there is none: for data behind the last, and at and behind the end.
pub(crate) fn seek(meta: &dyn Blocks, inode: &Inode, offset: u64, wanted: Wanted) -> Result<Option<u64>> {
    let size = inode.size();
    if offset >= size {
        return Ok(None);
    }
    if let Contents::Inline(_) = inode.contents() {
        return Ok(Some(match wanted {
            Wanted::Data => offset,
            Wanted::Hole => size,
        }));
    }
    let geometry = *meta.geometry();
    let from = offset >> geometry.cluster_size_bits;
    let to = size.div_ceil(geometry.cluster_size());
    for run in Map::new(meta, inode)?.runs(from, to) {
        let run = run?;
        if run.is_written() == (wanted == Wanted::Data) {
            return Ok(Some(offset.max(run.cpos << geometry.cluster_size_bits)));
        }
    }
    Ok((wanted == Wanted::Hole).then_some(size))
}

/// Clusters that the bytes from `start` to `end` touch, as far as a file can have them.
pub(crate) fn clusters_of(geometry: &Geometry, start: u64, end: u64) -> (u64, u64) {
    (
        start >> geometry.cluster_size_bits,
        end.div_ceil(geometry.cluster_size()).min(Map::END),
    )
}

/// The place that a file would like its next clusters to be at: behind what is mapped before `cpos`, as a cluster number.
pub(crate) fn goal(meta: &dyn Blocks, inode: &Inode, cpos: u64) -> Result<Option<ocfs2_format::ClusterNo>> {
    let Some(before) = cpos.checked_sub(1) else {
        return Ok(None);
    };
    let run = Map::new(meta, inode)?.run_at(before)?;
    let Some(extent) = run.extent() else {
        return Ok(None);
    };
    let behind = BlockNo(extent.blkno.0 + meta.geometry().clusters_to_blocks(extent.clusters));
    Ok(meta.geometry().block_to_cluster(behind))
}
