//! Bodies of fuzz targets, and what they share with tests. Not part of the public interface.

use ocfs2_format::device::{BlockDevice, Durability, MemDevice};
use ocfs2_format::jbd2::{BlockType, Header, Superblock};
use ocfs2_format::{BlockNo, Features, Generation, Geometry};
use zerocopy::FromBytes;

use crate::io::write_bytes;
use crate::{End, JournalError, Log, LogDump, LogMap, LogRun, Overlay};

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

/// A small volume with a journal, in memory.
#[derive(Debug)]
pub struct Volume {
    /// Where it is.
    pub device: MemDevice,
    /// Where its journal is: in two pieces that lie in the volume in reverse order.
    pub map: LogMap,
    /// How large it is: the journal twice, and somewhat more.
    pub geometry: Geometry,
}

impl Volume {
    /// A volume that holds this journal and, everywhere else, the number of each block over and over.
    ///
    /// # Panics
    /// When the journal has fewer than 2 blocks, or too many for a volume.
    pub fn new(journal: &[u8], block_size_bits: u8, device_block: u32) -> Volume {
        let blocks = (journal.len() >> block_size_bits) as u64;
        let clusters = ((JOURNAL_AT + 2 * blocks) << block_size_bits) / 4096 + 1;
        let geometry = geometry(
            block_size_bits,
            u32::try_from(clusters).expect("a journal of a few blocks"),
        );
        let front = blocks.div_ceil(3);
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
        let volume = Volume {
            device: MemDevice::with_block_size(geometry.bytes(), device_block),
            map: LogMap::new(runs, &geometry).expect("two runs side by side"),
            geometry,
        };
        for home in 0..geometry.blocks() {
            volume.write(BlockNo(home), &volume.original(BlockNo(home)));
        }
        for (n, block) in (0..).zip(journal.chunks_exact(1 << block_size_bits)) {
            volume.write(volume.map.block(n).expect("the file has this block"), block);
        }
        volume
    }

    /// What is in a block outside the journal before anything is replayed.
    pub fn original(&self, block: BlockNo) -> Vec<u8> {
        block.0.to_le_bytes().repeat(self.geometry.block_size() / 8)
    }

    /// Writes a block, which may be less than one of the device.
    ///
    /// # Panics
    /// When it lies outside the volume.
    pub fn write(&self, block: BlockNo, bytes: &[u8]) {
        let offset = self
            .geometry
            .block_offset(block)
            .expect("the block lies inside the volume");
        write_bytes(&self.device, offset, bytes, Durability::Cached).expect("the block lies inside the volume");
    }

    /// Opens the journal.
    ///
    /// # Errors
    /// Those of [`Log::open`].
    pub fn log(&self) -> Result<Log<'_>, JournalError> {
        Log::open(&self.device, self.map.clone(), &self.geometry)
    }

    /// Dumps, scans and replays the journal and compares what [`Overlay`] shows with what replay writes.
    ///
    /// # Panics
    /// When the two differ, or something is replayed that must not be.
    pub fn check(&self) {
        let Volume { device, map, geometry } = self;
        let mut next = 0;
        for entry in LogDump::new(device, map, geometry).expect("memory does not fail") {
            let entry = entry.expect("memory does not fail");
            assert_eq!(u64::from(entry.first), next, "a dump shows every block once");
            next = u64::from(entry.last) + 1;
        }
        assert_eq!(next, map.blocks(), "a dump shows every block once");

        let Ok(log) = self.log() else { return };
        let recovery = log.scan().expect("memory does not fail");
        for (home, copy) in recovery.redirects().iter() {
            let allowed = geometry.contains(home) && home > Geometry::SUPER_BLOCK && !map.holds(home);
            assert!(allowed, "block {home} is replayed");
            assert!(map.holds(copy.at), "block {home} is replayed from {}", copy.at);
        }
        let before = device.snapshot();
        let overlay = Overlay::new(&before, geometry.block_size_bits, recovery.redirects().clone());
        let replayed = log.replay(&recovery);
        assert_eq!(replayed.is_ok(), recovery.check(geometry).is_ok());
        let written = device.to_vec();
        if replayed.is_err() {
            assert!(before.to_vec() == written, "a damaged log is replayed");
            return;
        }
        let mut seen = vec![0; written.len()];
        overlay.read(0, &mut seen).expect("memory does not fail");
        let size = geometry.block_size();
        for ((home, seen), written) in (0..).map(BlockNo).zip(seen.chunks(size)).zip(written.chunks(size)) {
            assert!(
                seen == written || map.holds(home),
                "block {home} is replayed otherwise than it is shown"
            );
        }
        let log = self.log().expect("replay leaves a good superblock");
        assert_eq!(log.scan().expect("memory does not fail").end(), End::Empty);
    }
}

/// Checks the journal that `bytes` describe with [`Volume::check`].
///
/// The first byte chooses the block size (bits 0 and 1), that of the device (bit 2), and whether the checksums of control
/// blocks are put right first (bit 3). The rest is the journal.
///
/// # Panics
/// When [`Volume::check`] does.
pub fn replay(bytes: &[u8]) {
    let Some((&choice, journal)) = bytes.split_first() else {
        return;
    };
    let bits = 9 + (choice & 3);
    let blocks = journal.len() >> bits;
    if !(2..=1 << 14).contains(&blocks) {
        return;
    }
    let mut journal = journal[..blocks << bits].to_vec();
    if choice & 8 != 0 {
        put_checksums_right(&mut journal, bits);
    }
    Volume::new(&journal, bits, if choice & 4 == 0 { 512 } else { 4096 }).check();
}

/// Seals the superblock and every control block of a journal, where it has checksums.
pub fn put_checksums_right(journal: &mut [u8], bits: u8) {
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
