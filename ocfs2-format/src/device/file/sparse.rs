//! Zeros without writing them, where the file system or device can.
//!
//! Source: Linux system call behaviour (`fallocate` on files, and on block devices since 4.9; `SEEK_DATA`; `statfs`).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, FsWord, SeekFrom, fallocate, fstatfs, seek};
use rustix::io::Errno;

use super::super::buf::AlignedBuf;

/// Makes a hole of `range`, or unmaps it on a block device that then reads zeros. `false` where that is not supported.
pub(super) fn punch(file: &File, range: &Range<u64>) -> io::Result<bool> {
    allocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, range)
}

/// Turns `range` into zeros without giving its space back. `false` where that is not supported.
pub(super) fn zero_range(file: &File, range: &Range<u64>) -> io::Result<bool> {
    allocate(file, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, range)
}

/// Gives `range` storage where it has none; what it reads as stays. `false` where that is not supported.
pub(super) fn reserve(file: &File, range: &Range<u64>) -> io::Result<bool> {
    allocate(file, FallocateFlags::KEEP_SIZE, range)
}

/// Whether the file is in memory (tmpfs): its storage is pages, for which asking twice takes longer than once.
pub(super) fn is_in_memory(file: &File) -> bool {
    fstatfs(file).is_ok_and(|fs| fs.f_type == TMPFS_MAGIC)
}

/// Whether the file system can punch holes: asked for one behind the file's end, where there is nothing to lose.
pub(super) fn can_punch(file: &File, len: u64) -> bool {
    let start = len.next_multiple_of(BEHIND);
    // An error other than "not supported" (such as a place past the largest file) says nothing against holes.
    punch(file, &(start..start.saturating_add(BEHIND))).unwrap_or(true)
}

/// Overwrites what is data in `range` with zeros; holes and what lies behind the file's end are zeros already.
///
/// `range` must be multiples of `block_size`, and `alignment` what the file needs of memory.
pub(super) fn write_zeros(file: &File, range: Range<u64>, block_size: u32, alignment: usize) -> io::Result<()> {
    let block_size = u64::from(block_size);
    let chunk = (range.end - range.start).min(CHUNK);
    let zeros = AlignedBuf::new(chunk as usize, alignment);
    let mut at = range.start;
    while at < range.end {
        let Some(data) = next_data(file, at) else { break };
        let hole = seek(file, SeekFrom::Hole(data)).unwrap_or(range.end);
        // Whole blocks around the data, and at least one, should the file change while we look.
        let start = (data - data % block_size).clamp(at, range.end);
        let stop = hole
            .max(data.saturating_add(1))
            .checked_next_multiple_of(block_size)
            .unwrap_or(range.end);
        at = stop.min(range.end);
        let mut next = start;
        while next < at {
            let len = (at - next).min(chunk);
            file.write_all_at(&zeros[..len as usize], next)?;
            next += len;
        }
    }
    Ok(())
}

/// Where the next data begins at or after `at`; `at` itself where the system cannot tell, `None` when there is no more.
fn next_data(file: &File, at: u64) -> Option<u64> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) => Some(data.max(at)),
        Err(Errno::NXIO) => None,
        Err(_) => Some(at),
    }
}

fn allocate(file: &File, mode: FallocateFlags, range: &Range<u64>) -> io::Result<bool> {
    loop {
        return match fallocate(file, mode, range.start, range.end - range.start) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV) => Ok(false),
            Err(Errno::INTR) => continue,
            Err(errno) => Err(errno.into()),
        };
    }
}

/// Type of file system of files in memory, as `statfs` has it.
const TMPFS_MAGIC: FsWord = 0x0102_1994;

/// Length and alignment of the hole asked for behind the end, in bytes.
const BEHIND: u64 = 1 << 20;

/// Largest write of zeros, in bytes.
const CHUNK: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_are_written_over_data_only() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[7; 3 << 20], 8 << 20).unwrap();
        file.write_all_at(&[9; 512], 40 << 20).unwrap();
        let before = file.metadata().unwrap().blocks();

        write_zeros(&file, (8 << 20) + 512..64 << 20, 512, 512).unwrap();

        let mut bytes = vec![0; 64 << 20];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(
            bytes[8 << 20..][..512].iter().all(|&byte| byte == 7),
            "the block before the range stays"
        );
        assert!(bytes[(8 << 20) + 512..].iter().all(|&byte| byte == 0));
        file.sync_all().unwrap();
        assert!(file.metadata().unwrap().blocks() <= before, "holes stay holes");
    }
}
