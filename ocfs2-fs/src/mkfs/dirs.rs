//! Directories of a new volume: their entries, inline or in blocks.
//!
//! Source: on-disk reference, sections 17 and 18.8.

use ocfs2_format::{BlockNo, DirEntryHeader, DirTrailer, FileKind, Geometry, InodeNo, SystemFile, write_dir_entry};
use zerocopy::IntoBytes;

use super::layout::{Directory, Layout, PlacedFile};

/// A directory entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) inode: InodeNo,
    pub(super) name: String,
    pub(super) kind: FileKind,
}

impl Entry {
    fn dir(inode: InodeNo, name: &str) -> Entry {
        Entry {
            inode,
            name: name.to_owned(),
            kind: FileKind::Directory,
        }
    }

    fn rec_len(&self) -> usize {
        DirEntryHeader::rec_len_for(self.name.len())
    }
}

/// Name of the directory that fsck puts files into that it finds without one.
pub(super) const LOST_FOUND: &str = "lost+found";

/// The entries that every directory starts with.
pub(super) fn dot_entries(directory: &Directory) -> Vec<Entry> {
    vec![Entry::dir(directory.inode, "."), Entry::dir(directory.parent, "..")]
}

/// Entries of the root directory.
pub(super) fn root_entries(layout: &Layout) -> Vec<Entry> {
    let mut entries = dot_entries(&layout.root);
    let lost_found = layout.lost_found.as_ref();
    entries.extend(lost_found.map(|directory| Entry::dir(directory.inode, LOST_FOUND)));
    entries
}

/// Entries of the system directory.
pub(super) fn system_entries(system: &Directory, files: &[PlacedFile]) -> Vec<Entry> {
    let files = files.iter().map(|placed| Entry {
        inode: placed.inode,
        name: placed.file.name(placed.slot),
        kind: match placed.file {
            SystemFile::OrphanDir => FileKind::Directory,
            _ => FileKind::Regular,
        },
    });
    dot_entries(system).into_iter().chain(files).collect()
}

/// Bytes that entries need.
pub(super) fn bytes_of(entries: &[Entry]) -> usize {
    entries.iter().map(Entry::rec_len).sum()
}

/// Distributes entries over blocks, each filled before the next is begun.
pub(super) fn pack(geometry: &Geometry, entries: &[Entry]) -> Vec<Vec<Entry>> {
    let room = block_area(geometry);
    let mut blocks: Vec<Vec<Entry>> = Vec::new();
    let mut left = 0;
    for entry in entries {
        let wanted = entry.rec_len();
        if wanted > left {
            blocks.push(Vec::new());
            left = room;
        }
        left -= wanted;
        if let Some(block) = blocks.last_mut() {
            block.push(entry.clone());
        }
    }
    blocks
}

/// Writes entries that tile an area: the last one takes what is left of it. Returns the largest hole.
pub(super) fn write_entries(area: &mut [u8], entries: &[Entry]) -> usize {
    let mut offset = 0;
    for (i, entry) in entries.iter().enumerate() {
        let rec_len = match i + 1 == entries.len() {
            true => area.len() - offset,
            false => entry.rec_len(),
        };
        // An area has less than 4096 bytes.
        write_dir_entry(
            area,
            offset,
            rec_len as u16,
            entry.inode,
            entry.name.as_bytes(),
            entry.kind,
        );
        offset += rec_len;
        if i + 1 == entries.len() {
            return rec_len - entry.rec_len();
        }
    }
    area.len()
}

/// The blocks of a directory that is not inline, and the first of them with a hole when it has an index.
pub(super) fn blocks(
    geometry: &Geometry,
    directory: &Directory,
    first: BlockNo,
    packed: &[Vec<Entry>],
) -> (Vec<Vec<u8>>, u64) {
    let mut with_hole = 0;
    let mut blocks = Vec::new();
    for (i, entries) in (0..).zip(packed) {
        let mut bytes = vec![0; geometry.block_size()];
        let hole = write_entries(&mut bytes[..block_area(geometry)], entries);
        let at = BlockNo(first.0 + i);
        if has_trailer(geometry) {
            let mut trailer = DirTrailer::for_block(at, directory.inode);
            if directory.index.is_some() && hole >= DirEntryHeader::MIN_REC_LEN {
                // An area has less than 4096 bytes.
                trailer.db_free_rec_len.set(hole as u16);
                trailer.db_free_next.set(with_hole);
                with_hole = at.0;
            }
            let start = bytes.len() - DirTrailer::SIZE;
            bytes[start..].copy_from_slice(trailer.as_bytes());
        }
        blocks.push(bytes);
    }
    (blocks, with_hole)
}

/// Bytes of a directory block that entries tile.
fn block_area(geometry: &Geometry) -> usize {
    geometry.block_size() - if has_trailer(geometry) { DirTrailer::SIZE } else { 0 }
}

/// Whether the blocks of directories end with a trailer: all directories that are not inline have an index where the
/// volume has any.
pub(super) fn has_trailer(geometry: &Geometry) -> bool {
    geometry.has_dir_trailer(geometry.features.indexed_dirs())
}
