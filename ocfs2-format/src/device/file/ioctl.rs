//! The one block device request that rustix has no safe call for.
//!
//! Source: Linux block device interface (`BLKDISCARD`, `<linux/fs.h>`).

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// Tells a block device that a range of bytes is not needed. Does nothing where the device cannot discard.
pub(super) fn discard(file: &File, range: &Range<u64>) -> io::Result<()> {
    let argument: [u64; 2] = [range.start, range.end - range.start];
    #[expect(unsafe_code, reason = "rustix offers ioctls it does not know only as unsafe calls")]
    // SAFETY: BLKDISCARD takes a pointer to two u64, offset and length in bytes, and only reads them; `Setter` passes a
    // pointer to `argument`, which lives until the call returns. On a descriptor that is no block device the request
    // number is refused with ENOTTY.
    let result = unsafe { ioctl(file, Setter::<BLKDISCARD, [u64; 2]>::new(argument)) };
    match result {
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

const BLKDISCARD: Opcode = opcode::none(0x12, 119);
