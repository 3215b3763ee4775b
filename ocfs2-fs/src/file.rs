//! Reading file contents.
//!
//! Data bypasses the metadata cache: extents are mapped, then bytes move from the device into the caller's buffer in runs
//! as long as the extents allow.
//!
//! Source: on-disk reference, section 19.

use std::io;
use std::sync::Mutex;

use ocfs2_format::device::{BlockDevice, Durability, IoError};
use ocfs2_format::{Contents, Corrupt, ExtentFlags, FileKind, Geometry, Structure, Violation};

use crate::dir::data_tree;
use crate::error::{Error, Result};
use crate::extent_tree::{Extent, Lookup};
use crate::inode::Inode;
use crate::meta::Blocks;
use crate::volume::Volume;

/// A stretch of a file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte in the file.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// Where they are.
    pub source: SegmentSource,
}

/// Where the bytes of a [`Segment`] come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentSource {
    /// In the dinode.
    Inline,
    /// On the device, from this byte offset.
    Device {
        /// Byte offset on the volume's device.
        offset: u64,
        /// Other files use the same clusters.
        shared: bool,
    },
    /// Allocated and not written: reads as zeros.
    Unwritten {
        /// Byte offset on the volume's device.
        offset: u64,
    },
    /// Nothing is allocated: reads as zeros.
    Hole,
}

/// A regular file, open for reading.
///
/// [`io::Read`] and [`io::Seek`] use a cursor of their own; [`read_at`](Self::read_at) takes `&self` and may be called from
/// many threads.
#[derive(Debug)]
pub struct File {
    volume: Volume,
    inode: Inode,
    position: u64,
    /// The extent that the last read ended in.
    recent: Mutex<Option<Extent>>,
}

impl File {
    pub(crate) fn new(volume: Volume, inode: Inode) -> Result<File> {
        match inode.kind() {
            FileKind::Regular => Ok(File {
                volume,
                inode,
                position: 0,
                recent: Mutex::new(None),
            }),
            _ => Err(Error::WrongKind {
                inode: inode.number(),
                wanted: "regular file",
            }),
        }
    }

    /// The inode, as it was when the file was opened.
    pub fn inode(&self) -> &Inode {
        &self.inode
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.inode.size()
    }

    /// Reads at `offset`, without moving the cursor. Returns fewer bytes than asked for only at the end of the file.
    ///
    /// # Errors
    /// A broken extent tree or a device error; nothing says how much of `buf` was filled then.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let left = self.size().saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let mut done = 0;
        while done < len {
            let segment = self.segment_at(offset + done as u64)?;
            let at = offset + done as u64;
            let skip = at - segment.start;
            let part = usize::try_from(segment.len - skip)
                .unwrap_or(usize::MAX)
                .min(len - done);
            let target = &mut buf[done..done + part];
            match segment.source {
                SegmentSource::Hole | SegmentSource::Unwritten { .. } => target.fill(0),
                SegmentSource::Device { offset, .. } => {
                    read_bytes(self.volume.meta().device().as_ref(), offset + skip, target)?;
                }
                SegmentSource::Inline => {
                    let Contents::Inline(data) = self.inode.contents() else {
                        unreachable!("segment_at found inline contents in the same inode")
                    };
                    // Inline data ends at i_size at the latest, which a checked dinode keeps within the area.
                    target.copy_from_slice(&data[skip as usize..skip as usize + part]);
                }
            }
            done += part;
        }
        Ok(len)
    }

    /// The stretch of the file that `offset` lies in: as long as one extent, or one hole, reaches.
    ///
    /// # Errors
    /// A broken extent tree.
    ///
    /// # Panics
    /// When `offset` is not below the file's size.
    pub fn segment_at(&self, offset: u64) -> Result<Segment> {
        assert!(offset < self.size(), "offset {offset} beyond the end of the file");
        if let Contents::Inline(_) = self.inode.contents() {
            return Ok(Segment {
                start: 0,
                len: self.size(),
                source: SegmentSource::Inline,
            });
        }
        let meta = self.volume.meta();
        let geometry = meta.geometry();
        let cluster = offset >> geometry.cluster_size_bits;
        let Ok(cpos) = u32::try_from(cluster) else {
            // Nothing can be allocated there.
            return Ok(self.segment(geometry, 1 << 32, u64::MAX, SegmentSource::Hole));
        };
        let recent = *self.recent.lock().unwrap_or_else(|poison| poison.into_inner());
        let found = match recent {
            Some(extent) if extent.cpos <= cpos && cluster < extent.end() => Lookup::Extent(extent),
            _ => data_tree(meta, &self.inode)?.lookup(cpos)?,
        };
        Ok(match found {
            Lookup::Extent(extent) => {
                *self.recent.lock().unwrap_or_else(|poison| poison.into_inner()) = Some(extent);
                // The extent lies in the volume, whose length in bytes fits in 52 bits.
                let at = extent.blkno.0 << geometry.block_size_bits;
                let source = if extent.flags.contains(ExtentFlags::UNWRITTEN) {
                    SegmentSource::Unwritten { offset: at }
                } else {
                    SegmentSource::Device {
                        offset: at,
                        shared: extent.flags.contains(ExtentFlags::REFCOUNTED),
                    }
                };
                self.segment(geometry, extent.cpos.into(), extent.end(), source)
            }
            Lookup::Gap { next } => {
                let end = if next >= 1 << 32 { u64::MAX } else { next };
                self.segment(geometry, cluster, end, SegmentSource::Hole)
            }
        })
    }

    /// The stretches of the file from its start to its end, in order and without gaps.
    pub fn segments(&self) -> impl Iterator<Item = Result<Segment>> + '_ {
        let mut next = 0;
        std::iter::from_fn(move || {
            if next >= self.size() {
                return None;
            }
            let segment = self.segment_at(next);
            next = match &segment {
                Ok(segment) => segment.start + segment.len,
                Err(_) => u64::MAX,
            };
            Some(segment)
        })
    }

    /// A segment from clusters `first..end`, cut at the end of the file.
    fn segment(&self, geometry: &Geometry, first: u64, end: u64, source: SegmentSource) -> Segment {
        let start = first << geometry.cluster_size_bits;
        let end = end.saturating_mul(geometry.cluster_size()).min(self.size());
        Segment {
            start,
            len: end - start,
            source,
        }
    }
}

impl io::Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.read_at(self.position, buf)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl io::Seek for File {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let position = match to {
            io::SeekFrom::Start(offset) => Some(offset),
            io::SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
            io::SeekFrom::End(delta) => self.size().checked_add_signed(delta),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Longest target of a symbolic link, in bytes (`PATH_MAX` without the NUL).
const MAX_LINK: u64 = 4095;

/// The target of a symbolic link.
pub(crate) fn read_link(meta: &dyn Blocks, inode: &Inode) -> Result<Vec<u8>> {
    if inode.kind() != FileKind::Symlink {
        return Err(Error::WrongKind {
            inode: inode.number(),
            wanted: "symbolic link",
        });
    }
    if let Contents::FastSymlink(target) = inode.contents() {
        return Ok(target.to_vec());
    }
    let fail = |violation| Err(Corrupt::new(Structure::File, violation).in_inode(inode.number()).into());
    let size = inode.size();
    if size > MAX_LINK {
        return fail(Violation::TooLarge {
            field: "i_size",
            found: size,
            limit: MAX_LINK,
        });
    }
    let Lookup::Extent(extent) = data_tree(meta, inode)?.lookup(0)? else {
        return fail(Violation::Rule("the target of a symbolic link is not allocated"));
    };
    // One cluster has 4096 bytes at least, so the first extent holds the whole target.
    let mut target = vec![0; size as usize];
    read_bytes(
        meta.device().as_ref(),
        extent.blkno.0 << meta.geometry().block_size_bits,
        &mut target,
    )?;
    if target.contains(&0) {
        return fail(Violation::Rule("the target of a symbolic link contains a NUL"));
    }
    Ok(target)
}

/// Reads bytes of any alignment from a device that wants whole blocks.
pub(crate) fn read_bytes(device: &dyn BlockDevice, offset: u64, buf: &mut [u8]) -> std::result::Result<(), IoError> {
    let block = u64::from(device.geometry().block_size);
    let mask = block - 1;
    if (offset | buf.len() as u64) & mask == 0 {
        return device.read(offset, buf);
    }
    // Head and tail go through a bounce block, the whole blocks between them directly.
    let mut bounce = vec![0; block as usize];
    let mut done = 0;
    while done < buf.len() {
        let at = offset + done as u64;
        let left = buf.len() - done;
        let in_block = (at & mask) as usize;
        if in_block == 0 && left as u64 >= block {
            let whole = left - left % block as usize;
            device.read(at, &mut buf[done..done + whole])?;
            done += whole;
            continue;
        }
        device.read(at - in_block as u64, &mut bounce)?;
        let part = left.min(bounce.len() - in_block);
        buf[done..done + part].copy_from_slice(&bounce[in_block..in_block + part]);
        done += part;
    }
    Ok(())
}

/// Writes bytes of any alignment to a device that wants whole blocks. What lies around them in the first and the last
/// block is kept, and must not be changed by anybody else meanwhile.
pub(crate) fn write_bytes(device: &dyn BlockDevice, offset: u64, bytes: &[u8], how: Durability) -> Result<()> {
    let block = u64::from(device.geometry().block_size);
    let end = offset + bytes.len() as u64;
    if (offset | end) & (block - 1) == 0 {
        return Ok(device.write(offset, bytes, how)?);
    }
    let start = offset / block * block;
    let mut whole = vec![0; (end.next_multiple_of(block) - start) as usize];
    device.read(start, &mut whole)?;
    whole[(offset - start) as usize..][..bytes.len()].copy_from_slice(bytes);
    Ok(device.write(start, &whole, how)?)
}

/// Where a byte of a file without holes lies on the device.
pub(crate) fn byte_offset(geometry: &Geometry, extents: &[Extent], offset: u64) -> Result<u64> {
    let cpos = offset >> geometry.cluster_size_bits;
    let extent = extents
        .iter()
        .find(|extent| u64::from(extent.cpos) <= cpos && cpos < extent.end())
        .ok_or_else(|| Corrupt::new(Structure::File, Violation::Rule("the file is too short")).at_offset(offset))?;
    let inside = offset - geometry.clusters_to_bytes(extent.cpos);
    Ok((extent.blkno.0 << geometry.block_size_bits) + inside)
}
