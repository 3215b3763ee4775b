//! Directories as they are.

use std::collections::HashSet;
use std::ops::Range;

use ocfs2_format::{
    BlockNo, Corrupt, Dinode, DirEntryHeader, DirTrailer, DynFeatures, FileKind, InodeNo, Signature, Structure,
    Violation,
};
use zerocopy::FromBytes;

use super::{CheckState, Inspector, LeafRecords, Raw, RawBlock};
use crate::error::{Error, Result};

/// One entry of a directory, in use or not, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawDirEntry {
    /// Byte offset in the directory.
    pub position: u64,
    /// The fixed part.
    pub header: DirEntryHeader,
    /// The name: `name_len` bytes, or as many as the entry has.
    pub name: Vec<u8>,
}

impl RawDirEntry {
    /// The entry's inode; `None` when the entry is unused.
    pub fn inode(&self) -> Option<InodeNo> {
        let inode = self.header.inode.get();
        (inode != 0).then_some(InodeNo(inode))
    }
}

/// The entries of a part of a directory. One that does not say where the next begins ends the walk with an error.
#[derive(Clone, Debug)]
pub struct RawDirEntries<'a> {
    area: &'a [u8],
    offset: usize,
    /// Position of the area in the directory.
    start: u64,
}

impl<'a> RawDirEntries<'a> {
    /// The entries in `area`, whose first byte is byte `start` of the directory.
    pub fn new(area: &'a [u8], start: u64) -> Self {
        RawDirEntries { area, offset: 0, start }
    }
}

impl Iterator for RawDirEntries<'_> {
    type Item = std::result::Result<RawDirEntry, Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.area.get(self.offset..).filter(|rest| !rest.is_empty())?;
        let position = self.start + self.offset as u64;
        let entry = DirEntryHeader::read_from_prefix(rest).ok().and_then(|(header, tail)| {
            let len = usize::from(header.rec_len.get());
            let name_room = len.checked_sub(size_of::<DirEntryHeader>())?;
            let tail = tail.get(..name_room)?;
            let name = tail[..usize::from(header.name_len).min(name_room)].to_vec();
            self.offset += len;
            Some(RawDirEntry { position, header, name })
        });
        Some(entry.ok_or_else(|| {
            self.offset = self.area.len();
            let violation = Violation::Rule("an entry does not end within the directory block");
            Corrupt::new(Structure::DirBlock, violation).at_offset(position)
        }))
    }
}

/// A block of a directory.
#[derive(Clone, Debug)]
pub struct RawDirBlock {
    block: RawBlock,
    offset: u64,
    area: Range<usize>,
}

impl RawDirBlock {
    /// The block.
    pub fn block(&self) -> &RawBlock {
        &self.block
    }

    /// Byte offset of the block in the directory.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The trailer: where the directory must have one, whatever it holds, and elsewhere what looks like one.
    pub fn trailer(&self) -> Option<&DirTrailer> {
        DirTrailer::of_block(&self.block).filter(|_| self.area.end < self.block.len())
    }

    /// The entries.
    pub fn entries(&self) -> RawDirEntries<'_> {
        RawDirEntries::new(&self.block[self.area.clone()], self.offset)
    }

    /// Whether the check field in the trailer is right.
    pub fn check_state(&self, inspector: &Inspector) -> CheckState {
        CheckState::of(
            &self.block,
            DirTrailer::check_offset(self.block.len()),
            inspector.geometry(),
        )
    }
}

/// The blocks of a directory that is not inline. See [`Inspector::dir_blocks`].
#[derive(Debug)]
pub struct RawDirBlocks {
    inspector: Inspector,
    records: LeafRecords,
    /// Blocks of the current record still to be read.
    run: Range<u64>,
    /// Logical number of the first of them.
    index: u64,
    /// Blocks that the size allows.
    count: u64,
    has_trailer: bool,
    seen: HashSet<BlockNo>,
}

impl Inspector {
    /// The blocks of a directory that is not inline, up to its size. A run of blocks ends with an error at the first that
    /// cannot be read or was met before; the walk goes on with the next run.
    pub fn dir_blocks(&self, dir: &Raw<Dinode>) -> RawDirBlocks {
        let geometry = self.geometry();
        RawDirBlocks {
            inspector: self.clone(),
            records: self.leaf_records(dir.extent_list()),
            run: 0..0,
            index: 0,
            count: geometry.blocks_for_bytes(dir.i_size.get()),
            has_trailer: geometry.has_dir_trailer(dir.dyn_features().contains(DynFeatures::INDEXED_DIR)),
            seen: HashSet::new(),
        }
    }

    /// A single block of `dir`, wherever it is.
    ///
    /// # Errors
    /// As [`block`](Self::block).
    pub fn dir_block(&self, dir: &Raw<Dinode>, at: BlockNo) -> Result<RawDirBlock> {
        let indexed = dir.dyn_features().contains(DynFeatures::INDEXED_DIR);
        read_block(self, at, 0, self.geometry().has_dir_trailer(indexed))
    }

    /// Every entry of a directory, unused ones included, in directory order. What cannot be read is an error in its place,
    /// and the walk goes on behind it.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when the inode is no directory.
    pub fn read_dir(&self, dir: &Raw<Dinode>) -> Result<RawDir> {
        if dir.kind() != Some(FileKind::Directory) {
            return Err(Error::WrongKind {
                inode: dir.block().number().inode(),
                wanted: "directory",
            });
        }
        let mut ready = Vec::new();
        let mut blocks = None;
        if dir.dyn_features().contains(DynFeatures::INLINE_DATA) {
            let at = dir.block().number();
            ready.extend(RawDirEntries::new(dir.inline_bytes(), 0).map(|entry| Ok(entry.map_err(|c| c.at_block(at))?)));
        } else {
            blocks = Some(self.dir_blocks(dir));
        }
        Ok(RawDir {
            ready: ready.into_iter(),
            blocks,
        })
    }
}

fn read_block(inspector: &Inspector, at: BlockNo, offset: u64, has_trailer: bool) -> Result<RawDirBlock> {
    let block = inspector.block(at)?;
    // Some directories have trailers that they need not have.
    let looks_like_one =
        DirTrailer::of_block(&block).is_some_and(|trailer| trailer.db_signature == Signature::DIR_TRAILER);
    let trailer = if has_trailer || looks_like_one {
        DirTrailer::SIZE
    } else {
        0
    };
    let area = 0..block.len() - trailer;
    Ok(RawDirBlock { block, offset, area })
}

impl Iterator for RawDirBlocks {
    type Item = Result<RawDirBlock>;

    fn next(&mut self) -> Option<Self::Item> {
        let geometry = *self.inspector.geometry();
        while self.run.is_empty() {
            let rec = match self.records.next()? {
                Ok(rec) => rec,
                Err(error) => return Some(Err(error)),
            };
            self.index = geometry.clusters_to_blocks(rec.e_cpos.get());
            let len = geometry.clusters_to_blocks(rec.e_leaf_clusters.get().into());
            let len = len.min(self.count.saturating_sub(self.index));
            let first = rec.blkno().0;
            self.run = first..first.saturating_add(len);
        }
        let at = BlockNo(self.run.start);
        let offset = self.index << geometry.block_size_bits;
        self.run.start += 1;
        self.index += 1;
        let block = if self.seen.insert(at) {
            read_block(&self.inspector, at, offset, self.has_trailer)
        } else {
            let (field, found) = ("e_blkno", at.0);
            Err(Corrupt::new(Structure::DirBlock, Violation::Loop { field, found }).into())
        };
        if block.is_err() {
            self.run = 0..0;
        }
        Some(block)
    }
}

/// The entries of a directory. See [`Inspector::read_dir`].
#[derive(Debug)]
pub struct RawDir {
    ready: std::vec::IntoIter<Result<RawDirEntry>>,
    blocks: Option<RawDirBlocks>,
}

impl Iterator for RawDir {
    type Item = Result<RawDirEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.next() {
                return Some(entry);
            }
            match self.blocks.as_mut()?.next()? {
                Err(error) => return Some(Err(error)),
                Ok(block) => {
                    let at = block.block().number();
                    let entries = block.entries().map(|entry| Ok(entry.map_err(|c| c.at_block(at))?));
                    self.ready = entries.collect::<Vec<_>>().into_iter();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_format::write_dir_entry;

    use super::*;

    #[test]
    fn an_entry_that_leads_nowhere_ends_the_walk_with_its_place() {
        let mut area = [0u8; 64];
        write_dir_entry(&mut area, 0, 16, InodeNo(5), b".", FileKind::Directory);
        write_dir_entry(&mut area, 16, 48, InodeNo(5), b"..", FileKind::Directory);
        for rec_len in [0u16, 11, 49, 0xFFFF] {
            area[24..26].copy_from_slice(&rec_len.to_le_bytes());
            let mut entries = RawDirEntries::new(&area, 512);
            assert_eq!(entries.next().expect("an entry").expect("a sound one").name, b".");
            let corrupt = entries.next().expect("an entry").expect_err("a broken one");
            assert_eq!(corrupt.at.file_offset, Some(528));
            assert!(entries.next().is_none());
        }
    }

    #[test]
    fn a_name_longer_than_its_entry_is_cut_off() {
        let mut area = [0u8; 16];
        write_dir_entry(&mut area, 0, 16, InodeNo(5), b"abcd", FileKind::Regular);
        area[10] = 255;
        let entry = RawDirEntries::new(&area, 0)
            .next()
            .expect("an entry")
            .expect("a shown one");
        assert_eq!(
            (entry.name.as_slice(), entry.header.name_len),
            (b"abcd".as_slice(), 255)
        );
    }
}
