//! What a file or block device demands of transfers.
//!
//! Source: Linux system call behaviour (`STATX_DIOALIGN` since 6.1, `BLKSSZGET`, `O_DIRECT`).

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;

use super::super::buf::AlignedBuf;
use super::super::error::IoErrorKind;
use super::Storage;

/// Multiples that direct I/O needs, in bytes, each a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alignment {
    /// Of the buffer's address.
    pub(super) memory: u32,
    /// Of offset and length.
    pub(super) offset: u32,
}

/// The smallest unit a block device transfers, in bytes.
pub(super) fn sector_size(device: &File) -> Result<u32, IoErrorKind> {
    let size = rustix::fs::ioctl_blksszget(device).map_err(|errno| IoErrorKind::Device(errno.into()))?;
    // Linux has no smaller or odd sector; a driver that claims one is not believed.
    Ok(size.max(512).checked_next_power_of_two().unwrap_or(512))
}

/// What direct I/O on `file` needs: as the kernel tells, else the sector size, else found by trying.
pub(super) fn direct_alignment(file: &File, storage: Storage, len: u64) -> Result<Alignment, IoErrorKind> {
    if let Some(told) = told_alignment(file) {
        return told;
    }
    if storage == Storage::BlockDevice {
        let sector = sector_size(file)?;
        return Ok(Alignment {
            memory: sector,
            offset: sector,
        });
    }
    tried_alignment(file, len)
}

/// The kernel's own word, where it gives one.
fn told_alignment(file: &File) -> Option<Result<Alignment, IoErrorKind>> {
    let stat = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    if !StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::DIOALIGN) {
        return None;
    }
    let (memory, offset) = (stat.stx_dio_mem_align, stat.stx_dio_offset_align);
    if memory == 0 || offset == 0 {
        return Some(Err(IoErrorKind::NoDirectIo));
    }
    (memory.is_power_of_two() && offset.is_power_of_two()).then_some(Ok(Alignment { memory, offset }))
}

/// The smallest of the usual sizes that a read of the file's start accepts.
fn tried_alignment(file: &File, len: u64) -> Result<Alignment, IoErrorKind> {
    for size in [512_u32, 1024, 2048, 4096] {
        // A read behind the end succeeds without a look at the alignment and tells nothing.
        if len < u64::from(size) {
            break;
        }
        let mut buf = AlignedBuf::new(size as usize, size as usize);
        match file.read_at(&mut buf, 0) {
            Ok(_) => {
                return Ok(Alignment {
                    memory: size,
                    offset: size,
                });
            }
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {}
            Err(error) => return Err(IoErrorKind::Device(error)),
        }
    }
    if len >= 4096 {
        Err(IoErrorKind::NoDirectIo)
    } else {
        Ok(Alignment {
            memory: 4096,
            offset: 4096,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trying_agrees_with_what_a_buffered_file_needs() {
        // A file opened through the page cache takes any alignment, so the first size tried is accepted.
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 16).unwrap();
        assert_eq!(
            tried_alignment(&file, 1 << 16).unwrap(),
            Alignment {
                memory: 512,
                offset: 512
            }
        );
        assert_eq!(
            tried_alignment(&file, 100).unwrap(),
            Alignment {
                memory: 4096,
                offset: 4096
            }
        );
    }
}
