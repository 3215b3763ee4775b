//! Reading through an overlay.

use std::sync::Arc;

use ocfs2_format::BlockNo;
use ocfs2_format::device::{BlockDevice, Counting, Durability, IoErrorKind, MemDevice, conformance};
use ocfs2_format::jbd2::MAGIC;
use ocfs2_journal::{LogCopy, Overlay, Redirects};
use proptest::prelude::*;

/// A device whose every 512 bytes begin with their own number, copies for some blocks, and what a reader should see.
fn overlay(bits: u8, device_block: u32, copies: &[(u64, u64, bool)]) -> (Overlay<Counting<MemDevice>>, Vec<u8>) {
    let device = MemDevice::with_block_size(LEN as u64, device_block);
    let bytes: Vec<u8> = (0..LEN as u64 / 8)
        .flat_map(|word| (word | 0xAB << 56).to_le_bytes())
        .collect();
    device.write(0, &bytes, Durability::Cached).unwrap();
    let redirects: Redirects = copies
        .iter()
        .map(|&(home, at, escaped)| {
            (
                BlockNo(home),
                LogCopy {
                    at: BlockNo(at),
                    escaped,
                },
            )
        })
        .collect();
    let mut seen = bytes.clone();
    for (home, copy) in redirects.iter() {
        let (home, at) = ((home.0 as usize) << bits, (copy.at.0 as usize) << bits);
        seen[home..home + (1 << bits)].copy_from_slice(&bytes[at..at + (1 << bits)]);
        if copy.escaped {
            seen[home..home + 4].copy_from_slice(&MAGIC.to_be_bytes());
        }
    }
    (Overlay::new(Counting::new(device), bits, redirects), seen)
}

const LEN: usize = 256 << 10;

proptest! {
    #[test]
    fn any_read_sees_the_newest_bytes(
        bits in 9u8..=12,
        device_bits in 9u32..=13,
        copies in prop::collection::vec((any::<u16>(), any::<u16>(), any::<bool>()), 0..40),
        reads in prop::collection::vec((any::<u16>(), any::<u8>()), 1..20),
    ) {
        let blocks = (LEN >> bits) as u64;
        let copies: Vec<_> =
            copies.into_iter().map(|(home, at, escaped)| (u64::from(home) % blocks, u64::from(at) % blocks, escaped)).collect();
        let (overlay, seen) = overlay(bits, 1 << device_bits, &copies);
        let device_blocks = LEN >> device_bits;
        for (first, count) in reads {
            let first = usize::from(first) % device_blocks;
            let count = (usize::from(count) % 40).min(device_blocks - first);
            let range = first << device_bits..(first + count) << device_bits;
            let mut buf = vec![0; range.len()];
            overlay.read(range.start as u64, &mut buf).unwrap();
            prop_assert!(buf == seen[range.clone()], "{range:?}");
        }
    }
}

#[test]
fn overlay_is_a_read_only_device() {
    for (bits, device_block) in [(12, 512), (12, 4096), (9, 4096)] {
        let (overlay, _) = overlay(bits, device_block, &[(0, 5, false), (7, 3, true), (31, 1, false)]);
        conformance::check(&overlay).unwrap();
    }
}

#[test]
fn read_between_copies_is_passed_on_in_one_piece() {
    let (overlay, seen) = overlay(12, 512, &[(4, 20, true), (12, 21, false)]);
    let mut buf = vec![0; 7 << 12];
    overlay.read(5 << 12, &mut buf).unwrap();
    assert!(buf == seen[5 << 12..12 << 12]);
    assert_eq!(overlay.inner().take().reads, 1);
    // A block with a copy is not read at its home, which may be unreadable.
    overlay.read(12 << 12, &mut buf[..4096]).unwrap();
    assert_eq!(overlay.inner().take().read_bytes, 4096);
}

#[test]
fn copy_outside_the_device_is_an_error_not_a_panic() {
    for at in [1 << 40, u64::MAX] {
        let redirects = [(
            BlockNo(3),
            LogCopy {
                at: BlockNo(at),
                escaped: false,
            },
        )];
        let overlay = Overlay::new(MemDevice::new(LEN as u64), 12, redirects.into_iter().collect());
        let error = overlay.read(0, &mut [0; 5 * 4096]).unwrap_err();
        assert!(matches!(error.kind, IoErrorKind::OutOfRange { .. }), "{error}");
    }
}

#[test]
fn memory_is_offered_only_where_nothing_is_redirected() {
    #[derive(Debug)]
    struct Mapped(MemDevice, Vec<u8>);
    impl BlockDevice for Mapped {
        fn geometry(&self) -> ocfs2_format::device::DevGeometry {
            self.0.geometry()
        }
        fn traits(&self) -> ocfs2_format::device::DevTraits {
            self.0.traits()
        }
        fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), ocfs2_format::device::IoError> {
            self.0.read(offset, buf)
        }
        fn write(&self, offset: u64, buf: &[u8], how: Durability) -> Result<(), ocfs2_format::device::IoError> {
            self.0.write(offset, buf, how)
        }
        fn flush(&self) -> Result<(), ocfs2_format::device::IoError> {
            self.0.flush()
        }
        fn discard(&self, range: std::ops::Range<u64>) -> Result<(), ocfs2_format::device::IoError> {
            self.0.discard(range)
        }
        fn write_zeroes(&self, range: std::ops::Range<u64>) -> Result<(), ocfs2_format::device::IoError> {
            self.0.write_zeroes(range)
        }
        fn as_slice(&self) -> Option<&[u8]> {
            Some(&self.1)
        }
    }
    let mapped = Arc::new(Mapped(MemDevice::new(8192), vec![0; 8192]));
    assert!(
        Overlay::new(mapped.clone(), 12, Redirects::default())
            .as_slice()
            .is_some()
    );
    let redirects = [(
        BlockNo(0),
        LogCopy {
            at: BlockNo(1),
            escaped: false,
        },
    )];
    assert!(
        Overlay::new(mapped, 12, redirects.into_iter().collect())
            .as_slice()
            .is_none()
    );
}
