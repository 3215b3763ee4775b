//! Bytes on the device: of any alignment, from many buffers, with zeros around them where clusters are new.

use std::io::IoSlice;
use std::ops::Range;

use ocfs2_format::device::{AlignedBuf, BlockDevice, Durability, IoError};

/// What a caller writes: buffers, one behind the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'a> {
    bufs: &'a [IoSlice<'a>],
    len: u64,
}

impl<'a> Payload<'a> {
    pub(crate) fn new(bufs: &'a [IoSlice<'a>]) -> Payload<'a> {
        let len = bufs.iter().map(|buf| buf.len() as u64).sum();
        Payload { bufs, len }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes from `at` on that lie in one buffer. Empty only at the end.
    fn piece(&self, at: u64) -> &'a [u8] {
        let mut skip = at;
        for buf in self.bufs {
            let len = buf.len() as u64;
            if skip < len {
                return &buf[skip as usize..];
            }
            skip -= len;
        }
        &[]
    }

    /// Puts all the bytes behind those of a vector.
    pub(crate) fn append_to(&self, bytes: &mut Vec<u8>) {
        self.bufs.iter().for_each(|buf| bytes.extend_from_slice(buf));
    }

    /// Copies the bytes from `at` on, as many as `target` has room for, all of which are there.
    pub(crate) fn copy(&self, at: u64, target: &mut [u8]) {
        let mut done = 0;
        while done < target.len() {
            let piece = self.piece(at + done as u64);
            let part = piece.len().min(target.len() - done);
            if part == 0 {
                return;
            }
            target[done..done + part].copy_from_slice(&piece[..part]);
            done += part;
        }
    }
}

/// What lies around the bytes that are written, in the device's blocks and in new clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Around {
    /// Something, which stays.
    Kept,
    /// Old bytes of somebody else, in place of which zeros are written.
    Stale,
}

/// One transfer of a part of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// Byte of the payload.
    pub(crate) at: u64,
    pub(crate) len: u64,
    /// Byte on the device.
    pub(crate) offset: u64,
}

/// Writes part of a payload over what is there. Around it nothing changes; nobody else may be writing to the device's
/// blocks that the ends lie in.
pub(crate) fn overwrite(device: &dyn BlockDevice, payload: &Payload<'_>, transfer: Transfer) -> Result<(), IoError> {
    let block = u64::from(device.geometry().block_size);
    let whole = transfer.offset / block * block..(transfer.offset + transfer.len).next_multiple_of(block);
    write_around(device, payload, transfer, whole, Around::Kept)
}

/// Writes part of a payload into clusters that are new, `whole` on the device, and zeros to the rest of them.
pub(crate) fn fill(
    device: &dyn BlockDevice,
    payload: &Payload<'_>,
    transfer: Transfer,
    whole: Range<u64>,
) -> Result<(), IoError> {
    let block = u64::from(device.geometry().block_size);
    let (start, end) = (transfer.offset, transfer.offset + transfer.len);
    if whole.end - whole.start <= BOUNCE {
        return write_around(device, payload, transfer, whole, Around::Stale);
    }
    let near = start / block * block..end.next_multiple_of(block);
    write_around(device, payload, transfer, near.clone(), Around::Stale)?;
    for rest in [whole.start..near.start, near.end..whole.end] {
        if !rest.is_empty() {
            device.write_zeroes(rest)?;
        }
    }
    Ok(())
}

/// Makes bytes of any alignment zeros. Nobody else may be writing to the device's blocks that the ends lie in.
pub(crate) fn zero(device: &dyn BlockDevice, range: Range<u64>) -> Result<(), IoError> {
    if range.is_empty() {
        return Ok(());
    }
    let block = u64::from(device.geometry().block_size);
    let inner = range.start.next_multiple_of(block)..range.end / block * block;
    if inner.start >= inner.end {
        // Inside one block, or across one border.
        return zero_edges(device, range, block);
    }
    zero_edges(device, range.start..inner.start, block)?;
    device.write_zeroes(inner.clone())?;
    zero_edges(device, inner.end..range.end, block)
}

fn zero_edges(device: &dyn BlockDevice, range: Range<u64>, block: u64) -> Result<(), IoError> {
    if range.is_empty() {
        return Ok(());
    }
    let start = range.start / block * block;
    let end = range.end.next_multiple_of(block);
    let mut bounce = AlignedBuf::for_device(device.geometry(), (end - start) as usize);
    device.read(start, &mut bounce)?;
    bounce[(range.start - start) as usize..(range.end - start) as usize].fill(0);
    device.write(start, &bounce, Durability::Cached)
}

/// Writes `whole`, which is whole blocks of the device: the transfer's bytes, and around them zeros or what is there.
fn write_around(
    device: &dyn BlockDevice,
    payload: &Payload<'_>,
    transfer: Transfer,
    whole: Range<u64>,
    around: Around,
) -> Result<(), IoError> {
    let Transfer { at, len, offset } = transfer;
    let end = offset + len;
    let mut pos = whole.start;
    while pos < whole.end {
        // Straight from the caller's buffer as long as whole blocks of it lie in one piece.
        if pos >= offset && pos < end {
            let piece = payload.piece(at + (pos - offset));
            let block = u64::from(device.geometry().block_size);
            let straight = (piece.len() as u64).min(end - pos) / block * block;
            if straight >= BOUNCE || straight == whole.end - pos {
                device.write(pos, &piece[..straight as usize], Durability::Cached)?;
                pos += straight;
                continue;
            }
        }
        pos = write_bounced(device, payload, transfer, pos, whole.end, around)?;
    }
    Ok(())
}

/// Puts the next blocks together in memory and writes them. Returns where they end: before the next long piece.
fn write_bounced(
    device: &dyn BlockDevice,
    payload: &Payload<'_>,
    transfer: Transfer,
    pos: u64,
    whole_end: u64,
    around: Around,
) -> Result<u64, IoError> {
    let Transfer { at, len, offset } = transfer;
    let end = offset + len;
    let block = u64::from(device.geometry().block_size);
    let mut stop = whole_end.min(pos + BOUNCE);
    let first = pos.max(offset);
    if first < end {
        // What is left of the piece behind the first block, if it is long, goes straight from the caller's memory.
        let piece = payload.piece(at + (first - offset)).len() as u64;
        let straight = (first + 1).next_multiple_of(block);
        if (first + piece.min(end - first)).saturating_sub(straight) >= BOUNCE {
            stop = straight;
        }
    }
    let mut bounce = AlignedBuf::for_device(device.geometry(), (stop - pos) as usize);
    if around == Around::Kept {
        if pos < offset {
            device.read(pos, &mut bounce[..block as usize])?;
        }
        let last = stop - block;
        if stop > end && (last > pos || pos >= offset) {
            device.read(last, &mut bounce[(last - pos) as usize..])?;
        }
    }
    let (from, to) = (first, end.min(stop));
    if from < to {
        payload.copy(
            at + (from - offset),
            &mut bounce[(from - pos) as usize..(to - pos) as usize],
        );
    }
    device.write(pos, &bounce, Durability::Cached)?;
    Ok(stop)
}

/// Writes up to this many bytes are put together in memory where that makes one of several; longer pieces go straight from
/// the caller's memory.
const BOUNCE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use ocfs2_format::device::{Counting, MemDevice};
    use proptest::prelude::*;

    use super::*;

    const LEN: u64 = 1 << 20;

    fn old(len: u64) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8 | 1).collect()
    }

    fn device(block: u32) -> MemDevice {
        let device = MemDevice::with_block_size(LEN, block);
        device.write(0, &old(LEN), Durability::Cached).unwrap();
        device
    }

    fn slices<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<IoSlice<'a>> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut start = 0;
        let mut slices = Vec::new();
        for cut in cuts.into_iter().chain([bytes.len()]) {
            slices.push(IoSlice::new(&bytes[start..cut]));
            start = cut;
        }
        slices
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn overwriting_changes_what_it_should_and_nothing_around_it(
            block in prop::sample::select(vec![512u32, 4096]),
            offset in 0..LEN / 2,
            len in prop_oneof![1u64..5000, 1..LEN / 2],
            cuts in prop::collection::vec(any::<usize>(), 0..4),
        ) {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 239) as u8).collect();
            let bufs = slices(&bytes, &cuts);
            let device = device(block);
            overwrite(&device, &Payload::new(&bufs), Transfer { at: 0, len, offset }).unwrap();
            let mut expected = old(LEN);
            expected[offset as usize..(offset + len) as usize].copy_from_slice(&bytes);
            prop_assert!(device.to_vec() == expected);
        }

        #[test]
        fn filling_new_clusters_leaves_zeros_around_the_bytes(
            block in prop::sample::select(vec![512u32, 4096]),
            cluster in prop::sample::select(vec![4096u64, 1 << 16, 1 << 18]),
            start in 0u64..1 << 18,
            len in prop_oneof![1u64..5000, 1u64..1 << 18],
            cuts in prop::collection::vec(any::<usize>(), 0..4),
        ) {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 239) as u8 | 2).collect();
            let bufs = slices(&bytes, &cuts);
            let device = device(block);
            let whole = start / cluster * cluster..(start + len).next_multiple_of(cluster);
            fill(&device, &Payload::new(&bufs), Transfer { at: 0, len, offset: start }, whole.clone()).unwrap();
            let mut expected = old(LEN);
            expected[whole.start as usize..whole.end as usize].fill(0);
            expected[start as usize..(start + len) as usize].copy_from_slice(&bytes);
            prop_assert!(device.to_vec() == expected);
        }

        #[test]
        fn zeroing_stops_where_it_should(
            block in prop::sample::select(vec![512u32, 4096]),
            start in 0..LEN / 2,
            len in prop_oneof![0u64..5000, 0..LEN / 2],
        ) {
            let device = device(block);
            zero(&device, start..start + len).unwrap();
            let mut expected = old(LEN);
            expected[start as usize..(start + len) as usize].fill(0);
            prop_assert!(device.to_vec() == expected);
        }
    }

    #[test]
    fn long_aligned_writes_go_to_the_device_in_one_piece() {
        let device = Counting::new(device(512));
        let bytes = vec![7; 512 << 10];
        let bufs = [IoSlice::new(&bytes)];
        let transfer = Transfer {
            at: 0,
            len: bytes.len() as u64,
            offset: 4096,
        };
        overwrite(&device, &Payload::new(&bufs), transfer).unwrap();
        assert_eq!(device.counts().writes, 1);
        assert_eq!(device.counts().reads, 0);
    }
}
