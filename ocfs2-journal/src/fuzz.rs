//! Bodies of fuzz targets, and what they share with tests. Not part of the public interface.

use ocfs2_format::device::{BlockDevice, MemDevice};
use ocfs2_format::jbd2::{BlockType, Header, Superblock};
use ocfs2_format::{BlockNo, Features, Generation, Geometry};
use zerocopy::FromBytes;

use crate::io::write_bytes;
use crate::{End, Log, LogDump, LogMap, LogRun, Overlay};

/// A volume with blocks of `1 << block_size_bits` bytes and clusters of 4096.
pub fn geometry(block_size_bits: u8, clusters: u32) -> Geometry {
    Geometry {
        block_size_bits,
        cluster_size_bits: 12,
        clusters,
        features: Features::default(),
        generation: Generation(1),
        max_slots: 1,
        xattr_inline_size: 0,
        uuid_hash: 0,
        dx_seed: [0; 3],
    }
}

/// Replays the journal that `bytes` describe, in memory and for real, and compares.
///
/// The first byte chooses the block size (bits 0 and 1), that of the device (bit 2), and whether the checksums of control
/// blocks are put right first (bit 3). The rest is the journal, in two pieces that lie in the volume in reverse order.
///
/// # Panics
/// When the two differ, or something is replayed that must not be.
pub fn replay(bytes: &[u8]) {
    let Some((&choice, journal)) = bytes.split_first() else {
        return;
    };
    let bits = 9 + (choice & 3);
    let device_block = if choice & 4 == 0 { 512 } else { 4096 };
    let blocks = (journal.len() >> bits) as u64;
    if !(4..=1 << 14).contains(&blocks) {
        return;
    }
    // Behind the journal lies as much again, and what is needed for whole clusters.
    let geometry = geometry(bits, (((JOURNAL_AT + 2 * blocks) << bits) >> 12) as u32 + 1);
    let front = blocks / 3 + 1;
    let runs = [
        LogRun {
            start: 0,
            at: BlockNo(JOURNAL_AT + blocks - front),
            blocks: front,
        },
        LogRun {
            start: front,
            at: BlockNo(JOURNAL_AT),
            blocks: blocks - front,
        },
    ];
    let map = LogMap::new(runs, &geometry).expect("two runs side by side");
    let mut journal = journal[..(blocks as usize) << bits].to_vec();
    if choice & 8 != 0 {
        put_checksums_right(&mut journal, bits);
    }
    let device = MemDevice::with_block_size(geometry.bytes(), device_block);
    for home in 0..geometry.blocks() {
        write(
            &device,
            BlockNo(home),
            bits,
            &home.to_le_bytes().repeat(1 << (bits - 3)),
        );
    }
    for (n, block) in (0..).zip(journal.chunks(1 << bits)) {
        write(&device, map.block(n).expect("the file has this block"), bits, block);
    }
    check(&device, &map, &geometry);
}

/// Dumps, scans and replays the journal on `device` and compares what [`Overlay`] reads with what replay wrote.
///
/// # Panics
/// When the two differ, or something is replayed that must not be.
pub fn check(device: &MemDevice, map: &LogMap, geometry: &Geometry) {
    let mut next = 0;
    for entry in LogDump::new(device, map, geometry).expect("memory does not fail") {
        let entry = entry.expect("memory does not fail");
        assert_eq!(u64::from(entry.first), next, "a dump shows every block once");
        next = u64::from(entry.last) + 1;
    }
    assert_eq!(next, map.blocks(), "a dump shows every block once");

    let Ok(log) = Log::open(device, map.clone(), geometry) else {
        return;
    };
    let recovery = log.scan().expect("memory does not fail");
    for (home, copy) in recovery.redirects().iter() {
        assert!(
            geometry.contains(home) && home > Geometry::SUPER_BLOCK && !map.holds(home),
            "{home} is replayed"
        );
        assert!(map.holds(copy.at), "{home} is replayed from {}", copy.at);
    }
    let before = device.snapshot();
    let overlay = Overlay::new(
        device.snapshot(),
        geometry.block_size_bits,
        recovery.redirects().clone(),
    );
    let replayed = log.replay(&recovery);
    assert_eq!(replayed.is_ok(), recovery.check(geometry).is_ok());
    if replayed.is_err() {
        assert!(before.to_vec() == device.to_vec(), "a damaged log is not replayed");
        return;
    }
    let (mut seen, written) = (vec![0; geometry.bytes() as usize], device.to_vec());
    overlay.read(0, &mut seen).expect("memory does not fail");
    let size = geometry.block_size();
    for ((home, seen), written) in (0..).map(BlockNo).zip(seen.chunks(size)).zip(written.chunks(size)) {
        assert!(
            seen == written || map.holds(home),
            "block {home} is replayed otherwise than it is shown"
        );
    }
    let log = Log::open(device, map.clone(), geometry).expect("replay leaves a good superblock");
    assert_eq!(log.scan().expect("memory does not fail").end(), End::Empty);
}

/// Writes a block of the volume, which may be less than one of the device.
///
/// # Panics
/// When it lies outside the device.
pub fn write(device: &MemDevice, block: BlockNo, block_size_bits: u8, bytes: &[u8]) {
    write_bytes(device, block.0 << block_size_bits, bytes).expect("the block lies inside the device");
}

fn put_checksums_right(journal: &mut [u8], bits: u8) {
    let Ok((superblock, _)) = Superblock::mut_from_prefix(journal) else {
        return;
    };
    superblock.seal();
    let Ok(ring) = superblock.check(1 << bits, u64::MAX) else {
        return;
    };
    for block in journal.chunks_mut(1 << bits).skip(1) {
        match Header::of_block(block).map(Header::block_type) {
            Some(BlockType::DESCRIPTOR | BlockType::REVOKE) => ring.format.seal(block),
            Some(BlockType::COMMIT) => ring.format.seal_commit(block),
            _ => {}
        }
    }
}

/// Where the journal starts.
const JOURNAL_AT: u64 = 16;
