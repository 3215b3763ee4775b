//! The bytes that directory entries tile: the inline area of a dinode, or a block without its trailer.
//!
//! Source: on-disk reference, sections 17.1, 17.2 and 17.5.

use ocfs2_format::{Corrupt, DirEntries, DirEntryHeader, FileKind, InodeNo, write_dir_entry};
use zerocopy::FromBytes;

/// An entry in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Where it begins.
    pub(super) offset: usize,
    /// Where the entry before it begins, used or not.
    pub(super) previous: Option<usize>,
    pub(super) inode: InodeNo,
    pub(super) kind: Option<FileKind>,
}

/// Finds a name.
pub(super) fn find(area: &[u8], name: &[u8]) -> Result<Option<Slot>, Corrupt> {
    let mut previous = None;
    for entry in DirEntries::new(area) {
        let entry = entry?;
        if let Some(inode) = entry.inode()
            && entry.name == name
        {
            return Ok(Some(Slot {
                offset: entry.offset,
                previous,
                inode,
                kind: entry.kind(),
            }));
        }
        previous = Some(entry.offset);
    }
    Ok(None)
}

/// The first entry whose hole has `len` bytes.
pub(super) fn find_hole(area: &[u8], len: usize) -> Result<Option<usize>, Corrupt> {
    for entry in DirEntries::new(area) {
        let entry = entry?;
        if entry.hole() >= len {
            return Ok(Some(entry.offset));
        }
    }
    Ok(None)
}

/// The largest hole that an entry fits in, 0 for none: what a trailer notes.
pub(super) fn largest_hole(area: &[u8]) -> Result<u16, Corrupt> {
    let mut largest = 0;
    for entry in DirEntries::new(area) {
        largest = largest.max(entry?.hole());
    }
    // An area has less than 4096 bytes.
    Ok(if largest < DirEntryHeader::MIN_REC_LEN {
        0
    } else {
        largest as u16
    })
}

/// Whether there are no names but `.` and `..`.
pub(super) fn is_empty(area: &[u8]) -> Result<bool, Corrupt> {
    for entry in DirEntries::new(area) {
        let entry = entry?;
        if entry.inode().is_some() && entry.name != b"." && entry.name != b".." {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts a name into the hole of the entry at `at`, which [`find_hole`] has found for it.
pub(super) fn insert(area: &mut [u8], at: usize, name: &[u8], inode: InodeNo, kind: FileKind) {
    let host = header(area, at);
    let rec_len = usize::from(host.rec_len.get());
    let used = match host.inode.get() {
        0 => 0,
        _ => DirEntryHeader::rec_len_for(host.name_len.into()),
    };
    if used > 0 {
        set_rec_len(area, at, used);
    }
    // An area has less than 4096 bytes.
    write_dir_entry(area, at + used, (rec_len - used) as u16, inode, name, kind);
}

/// Takes an entry out: the one before it gets its bytes, or it stays as an unused entry at the start.
pub(super) fn remove(area: &mut [u8], slot: &Slot) {
    let freed = usize::from(header(area, slot.offset).rec_len.get());
    match slot.previous {
        Some(previous) => {
            let rec_len = usize::from(header(area, previous).rec_len.get()) + freed;
            set_rec_len(area, previous, rec_len);
        }
        None => area[slot.offset..slot.offset + 8].fill(0),
    }
}

/// Lets an entry stand for another inode.
pub(super) fn replace(area: &mut [u8], slot: &Slot, inode: InodeNo, kind: FileKind) {
    area[slot.offset..slot.offset + 8].copy_from_slice(&inode.0.to_le_bytes());
    area[slot.offset + 11] = kind.dirent_type();
}

/// Makes the area one unused entry.
pub(super) fn clear(area: &mut [u8]) {
    area.fill(0);
    set_rec_len(area, 0, area.len());
}

/// Writes the first entries of a directory over all of the area.
pub(super) fn write_dots(area: &mut [u8], dir: InodeNo, parent: InodeNo) {
    let first = DirEntryHeader::MIN_REC_LEN;
    write_dir_entry(area, 0, first as u16, dir, b".", FileKind::Directory);
    // An area has less than 4096 bytes.
    let rest = (area.len() - first) as u16;
    write_dir_entry(area, first, rest, parent, b"..", FileKind::Directory);
}

/// Copies entries that tile `from` to the longer area `to`, where the last one takes what is left.
pub(super) fn copy_extended(from: &[u8], to: &mut [u8]) -> Result<(), Corrupt> {
    let mut last = 0;
    for entry in DirEntries::new(from) {
        last = entry?.offset;
    }
    to[..from.len()].copy_from_slice(from);
    set_rec_len(to, last, to.len() - last);
    Ok(())
}

/// The fixed part of an entry that a walk has found.
fn header(area: &[u8], at: usize) -> DirEntryHeader {
    DirEntryHeader::read_from_prefix(&area[at..])
        .expect("a walk over the area has found the entry")
        .0
}

fn set_rec_len(area: &mut [u8], at: usize, rec_len: usize) {
    // An area has less than 4096 bytes.
    area[at + 8..at + 10].copy_from_slice(&(rec_len as u16).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(names: &[&[u8]]) -> Vec<u8> {
        let mut area = vec![0; 256];
        clear(&mut area);
        for (i, name) in (1..).zip(names) {
            add(&mut area, name, i).expect("the area has room");
        }
        area
    }

    fn add(area: &mut [u8], name: &[u8], inode: u64) -> Option<usize> {
        let at = find_hole(area, DirEntryHeader::rec_len_for(name.len())).unwrap()?;
        insert(area, at, name, InodeNo(inode), FileKind::Regular);
        Some(at)
    }

    fn names(area: &[u8]) -> Vec<Vec<u8>> {
        let entries = DirEntries::new(area).map(Result::unwrap);
        entries
            .filter(|entry| entry.inode().is_some())
            .map(|entry| entry.name.to_vec())
            .collect()
    }

    #[test]
    fn a_removed_name_leaves_its_bytes_to_the_entry_before_it() {
        let mut area = area(&[b"one", b"two", b"three"]);
        let slot = find(&area, b"two").unwrap().unwrap();
        remove(&mut area, &slot);
        assert_eq!(names(&area), [b"one".to_vec(), b"three".to_vec()]);
        assert_eq!(find_hole(&area, 16).unwrap(), Some(0));
        add(&mut area, b"2", 9).unwrap();
        assert_eq!(names(&area), [b"one".to_vec(), b"2".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn the_first_entry_of_an_area_becomes_unused_and_is_used_again() {
        let mut area = area(&[b"one", b"two"]);
        let slot = find(&area, b"one").unwrap().unwrap();
        remove(&mut area, &slot);
        assert_eq!(names(&area), [b"two".to_vec()]);
        assert_eq!(add(&mut area, b"new", 7), Some(0));
        assert_eq!(names(&area), [b"new".to_vec(), b"two".to_vec()]);
    }

    #[test]
    fn an_area_is_filled_to_the_last_byte() {
        let mut area = area(&[]);
        let mut count = 0;
        while add(&mut area, format!("{count:04}").as_bytes(), 1).is_some() {
            count += 1;
        }
        assert_eq!(count, 256 / 16);
        assert_eq!(largest_hole(&area).unwrap(), 0);
    }

    #[test]
    fn holes_too_small_for_any_name_are_none() {
        let mut area = vec![0; 40];
        clear(&mut area);
        assert_eq!(largest_hole(&area).unwrap(), 40);
        add(&mut area, &[b'x'; 16], 1).unwrap();
        assert_eq!(largest_hole(&area).unwrap(), 0);
    }
}
