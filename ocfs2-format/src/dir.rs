//! Directory entries and directory block trailers.
//!
//! Source: on-disk reference, section 17.

use zerocopy::little_endian as le;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::blockcheck::BlockCheck;
use crate::dinode::FileKind;
use crate::error::{Corrupt, Structure, Violation};
use crate::geometry::Geometry;
use crate::prim::{BlockNo, InodeNo};
use crate::signature::Signature;

/// The fixed part of a directory entry (`ocfs2_dir_entry`); `name_len` bytes of name follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DirEntryHeader {
    /// Inode, 0 for an unused entry.
    pub inode: le::U64,
    /// Bytes to the next entry.
    pub rec_len: le::U16,
    /// Bytes of the name.
    pub name_len: u8,
    /// File type as [`FileKind::dirent_type`] gives it.
    pub file_type: u8,
}
const _: () = assert!(size_of::<DirEntryHeader>() == 12);

impl DirEntryHeader {
    /// Smallest length of an entry.
    pub const MIN_REC_LEN: usize = 16;
    /// Longest name in bytes.
    pub const MAX_NAME: usize = 255;

    /// Bytes that an entry with a name of `name_len` bytes needs.
    pub const fn rec_len_for(name_len: usize) -> usize {
        (name_len + 12 + 3) & !3
    }
}

/// One entry of a directory block, in use or not.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// Byte offset in the area that was walked.
    pub offset: usize,
    /// The fixed part.
    pub header: &'a DirEntryHeader,
    /// The name, `name_len` bytes; empty in an unused entry.
    pub name: &'a [u8],
}

impl DirEntry<'_> {
    /// The entry's inode; `None` when the entry is unused.
    pub fn inode(&self) -> Option<InodeNo> {
        let inode = self.header.inode.get();
        (inode != 0).then_some(InodeNo(inode))
    }

    /// The kind that the entry claims, if it names one.
    pub fn kind(&self) -> Option<FileKind> {
        FileKind::from_dirent(self.header.file_type)
    }

    /// Bytes of the entry that a new entry could take.
    pub fn hole(&self) -> usize {
        let rec_len = usize::from(self.header.rec_len.get());
        if self.header.inode.get() == 0 {
            rec_len
        } else {
            rec_len.saturating_sub(DirEntryHeader::rec_len_for(self.name.len()))
        }
    }
}

/// Walks the entries of an area that they must tile exactly: a block without its trailer, or the inline area.
///
/// Yields every entry, unused ones included; the first broken one ends the walk with an error.
#[derive(Clone, Debug)]
pub struct DirEntries<'a> {
    area: &'a [u8],
    offset: usize,
}

impl<'a> DirEntries<'a> {
    /// Walks `area` from its start.
    pub fn new(area: &'a [u8]) -> Self {
        DirEntries { area, offset: 0 }
    }

    fn parse(&self) -> Result<DirEntry<'a>, Violation> {
        let rest = &self.area[self.offset..];
        let too_close = Violation::Rule("an entry is too close to the end of the area");
        let Ok((header, tail)) = DirEntryHeader::ref_from_prefix(rest) else {
            return Err(too_close);
        };
        let rec_len = usize::from(header.rec_len.get());
        let invalid = |why| Violation::Invalid {
            field: "rec_len",
            found: rec_len as u64,
            why,
        };
        if rec_len < DirEntryHeader::MIN_REC_LEN {
            return Err(invalid("an entry has 16 bytes at least"));
        }
        if !rec_len.is_multiple_of(4) {
            return Err(invalid("it must be a multiple of 4"));
        }
        if rec_len > rest.len() {
            return Err(invalid("the entry crosses the end of the area"));
        }
        if header.inode.get() == 0 {
            return Ok(DirEntry {
                offset: self.offset,
                header,
                name: &[],
            });
        }
        let name_len = usize::from(header.name_len);
        if DirEntryHeader::rec_len_for(name_len) > rec_len {
            return Err(invalid("the name does not fit in the entry"));
        }
        // Covered by the two checks above: name_len + 12 <= rec_len <= rest.len().
        let name = tail.get(..name_len).ok_or(too_close)?;
        check_name(name)?;
        Ok(DirEntry {
            offset: self.offset,
            header,
            name,
        })
    }
}

impl<'a> Iterator for DirEntries<'a> {
    type Item = Result<DirEntry<'a>, Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.area.len() {
            return None;
        }
        match self.parse() {
            Ok(entry) => {
                self.offset += usize::from(entry.header.rec_len.get());
                Some(Ok(entry))
            }
            Err(violation) => {
                let bytes = self.offset as u32..(self.offset + 12).min(self.area.len()) as u32;
                self.offset = self.area.len();
                Some(Err(Corrupt::new(Structure::DirBlock, violation).in_bytes(bytes)))
            }
        }
    }
}

/// The rules for a name in use.
fn check_name(name: &[u8]) -> Result<(), Violation> {
    if name.is_empty() {
        return Err(Violation::Name { why: "it is empty" });
    }
    // Nearly all names are good, and short: one pass, without a branch for each byte.
    if !name.iter().fold(false, |bad, &byte| bad | (byte == 0) | (byte == b'/')) {
        return Ok(());
    }
    if name.contains(&0) {
        return Err(Violation::Name {
            why: "it contains a NUL",
        });
    }
    Err(Violation::Name {
        why: "it contains a slash",
    })
}

/// The end of a directory block, with the metaecc feature or a directory index (`ocfs2_dir_block_trailer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DirTrailer {
    /// 0: readers that do not know trailers see an unused entry.
    pub db_compat_inode: le::U64,
    /// 64.
    pub db_compat_rec_len: le::U16,
    /// 0.
    pub db_compat_name_len: u8,
    /// Reserved.
    pub db_reserved0: u8,
    /// Reserved.
    pub db_reserved1: le::U16,
    /// Largest hole of the block in bytes, of an indexed directory.
    pub db_free_rec_len: le::U16,
    /// `DIRTRL1`.
    pub db_signature: Signature,
    /// Reserved.
    pub db_reserved2: le::U64,
    /// Next block of the directory with a hole, of an indexed directory.
    pub db_free_next: le::U64,
    /// This block's number.
    pub db_blkno: le::U64,
    /// The directory.
    pub db_parent_dinode: le::U64,
    /// CRC and error-correcting code of the block, with the metaecc feature.
    pub db_check: BlockCheck,
}
const _: () = assert!(size_of::<DirTrailer>() == 64);

impl DirTrailer {
    /// Bytes of a trailer.
    pub const SIZE: usize = 64;

    /// Offset of the check field in a block of `block_size` bytes.
    pub const fn check_offset(block_size: usize) -> usize {
        block_size - 8
    }

    /// The trailer of a block. `None` for a block of fewer than 64 bytes.
    pub fn of_block(block: &[u8]) -> Option<&Self> {
        Self::ref_from_suffix(block).ok().map(|(_, trailer)| trailer)
    }

    /// The trailer of a block, to be changed.
    pub fn of_block_mut(block: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_suffix(block).ok().map(|(_, trailer)| trailer)
    }

    /// A trailer for block `at` of directory `dir`, with no hole.
    pub fn for_block(at: BlockNo, dir: InodeNo) -> Self {
        DirTrailer {
            db_compat_rec_len: (Self::SIZE as u16).into(),
            db_signature: Signature::DIR_TRAILER,
            db_blkno: at.0.into(),
            db_parent_dinode: dir.0.into(),
            ..zerocopy::FromZeros::new_zeroed()
        }
    }

    /// Checks everything but the check field.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, at: BlockNo, dir: InodeNo, geometry: &Geometry) -> Result<(), Corrupt> {
        let structure = Structure::DirTrailer;
        let fail = |violation| Err(Corrupt::new(structure, violation).at_block(at).in_inode(dir));
        self.db_signature
            .require(Signature::DIR_TRAILER, structure)
            .map_err(|corrupt| corrupt.at_block(at).in_inode(dir))?;
        if self.db_blkno.get() != at.0 {
            return fail(Violation::SelfBlock {
                found: self.db_blkno.get(),
            });
        }
        if self.db_parent_dinode.get() != dir.0 {
            let found = self.db_parent_dinode.get();
            return fail(Violation::Unexpected {
                field: "db_parent_dinode",
                found,
                expected: dir.0,
            });
        }
        let next = self.db_free_next.get();
        if next != 0 && !geometry.contains(BlockNo(next)) {
            return fail(Violation::OutsideVolume {
                field: "db_free_next",
                found: next,
                blocks: geometry.blocks(),
            });
        }
        Ok(())
    }
}

/// Writes an entry at `offset` of an area; the caller has made sure that it fits.
///
/// # Panics
/// When the entry does not fit in the area, or the name in the entry.
pub fn write_dir_entry(area: &mut [u8], offset: usize, rec_len: u16, inode: InodeNo, name: &[u8], kind: FileKind) {
    assert!(
        DirEntryHeader::rec_len_for(name.len()) <= usize::from(rec_len),
        "name longer than its entry"
    );
    let header = DirEntryHeader {
        inode: inode.0.into(),
        rec_len: rec_len.into(),
        name_len: u8::try_from(name.len()).expect("a name has 255 bytes at most"),
        file_type: kind.dirent_type(),
    };
    let entry = &mut area[offset..offset + usize::from(rec_len)];
    entry[..12].copy_from_slice(header.as_bytes());
    entry[12..12 + name.len()].copy_from_slice(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_that_crosses_the_end_is_an_error_and_ends_the_walk() {
        let mut area = [0u8; 64];
        write_dir_entry(&mut area, 0, 16, InodeNo(5), b".", FileKind::Directory);
        write_dir_entry(&mut area, 16, 48, InodeNo(5), b"..", FileKind::Directory);
        area[24] = 52;
        let mut entries = DirEntries::new(&area);
        assert_eq!(entries.next().unwrap().unwrap().name, b".");
        assert!(entries.next().unwrap().is_err());
        assert!(entries.next().is_none());
    }

    #[test]
    fn slack_of_a_used_entry_is_its_hole() {
        let mut area = [0u8; 64];
        write_dir_entry(&mut area, 0, 64, InodeNo(5), b"ab", FileKind::Regular);
        let entry = DirEntries::new(&area).next().unwrap().unwrap();
        assert_eq!(entry.hole(), 48);
    }
}
