//! Memory that a device can transfer to and from without a bounce copy.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::DevGeometry;

/// A zero-filled byte buffer whose first byte sits at a multiple of its alignment.
///
/// The vector inside never grows, so its bytes never move.
pub struct AlignedBuf {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// `len` zeros at an address that is a multiple of `alignment`.
    ///
    /// # Panics
    /// When `alignment` is not a power of two, or the sum of both does not fit the address space.
    pub fn new(len: usize, alignment: usize) -> AlignedBuf {
        assert!(
            alignment.is_power_of_two(),
            "alignment {alignment} is not a power of two"
        );
        let room = len
            .checked_add(alignment - 1)
            .expect("buffer larger than the address space");
        let bytes = vec![0; room];
        let start = bytes.as_ptr().addr().wrapping_neg() & (alignment - 1);
        AlignedBuf { bytes, start, len }
    }

    /// `len` zeros aligned as the device with this geometry likes it.
    pub fn for_device(geometry: DevGeometry, len: usize) -> AlignedBuf {
        AlignedBuf::new(len, geometry.dma_alignment as usize)
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Whether `bytes` starts at a multiple of `alignment`, a power of two.
pub(super) fn is_aligned(bytes: &[u8], alignment: usize) -> bool {
    bytes.as_ptr().addr() & (alignment - 1) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_at_their_alignment_and_hold_their_length() {
        for alignment in [1, 2, 512, 4096, 1 << 16] {
            for len in [0, 1, 511, 4096, 100_000] {
                let mut buf = AlignedBuf::new(len, alignment);
                assert!(is_aligned(&buf, alignment));
                assert_eq!(buf.len(), len);
                assert!(buf.iter().all(|&byte| byte == 0));
                buf.fill(7);
                assert!(buf.iter().all(|&byte| byte == 7));
            }
        }
    }
}
