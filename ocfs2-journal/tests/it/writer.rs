//! Writes the journals that the tests read.

use std::collections::BTreeMap;

use ocfs2_format::BlockNo;
use ocfs2_format::device::BlockDevice;
use ocfs2_format::jbd2::{
    self, ChecksumVersion, CommitHeader, Compat, DescriptorWriter, Incompat, RevokeWriter, Ring, Sequence, Superblock,
    TagRefused, V1Checksum,
};
use ocfs2_journal::Overlay;
use ocfs2_journal::fuzz::Volume;
use zerocopy::IntoBytes;

/// How a journal is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) bits: u8,
    pub(crate) blocks: u32,
    pub(crate) wide: bool,
    pub(crate) checksum: ChecksumVersion,
    pub(crate) async_commit: bool,
    /// Most tags that a descriptor block gets.
    pub(crate) tags: usize,
    /// Where the first transaction is written.
    pub(crate) start: u32,
    pub(crate) sequence: u32,
}

impl Style {
    /// What OCFS2 makes, but small.
    pub(crate) const PLAIN: Style = Style {
        bits: 9,
        blocks: 64,
        wide: false,
        checksum: ChecksumVersion::None,
        async_commit: false,
        tags: usize::MAX,
        start: 2,
        sequence: 7,
    };

    pub(crate) fn with_checksum(checksum: ChecksumVersion) -> Style {
        Style {
            checksum,
            ..Style::PLAIN
        }
    }

    /// Control blocks and the superblock carry checksums of their own.
    pub(crate) fn has_block_checksums(&self) -> bool {
        matches!(self.checksum, ChecksumVersion::V2 | ChecksumVersion::V3)
    }

    /// A block full of one byte.
    pub(crate) fn image(&self, byte: u8) -> Vec<u8> {
        vec![byte; 1 << self.bits]
    }

    /// A block that begins like a control block.
    pub(crate) fn magic_image(&self, byte: u8) -> Vec<u8> {
        let mut image = self.image(byte);
        image[..4].copy_from_slice(&jbd2::MAGIC.to_be_bytes());
        image
    }
}

/// A transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Txn {
    pub(crate) copies: Vec<(u64, Vec<u8>)>,
    pub(crate) revokes: Vec<u64>,
    /// Revoke blocks come before the descriptors rather than behind the copies.
    pub(crate) revokes_first: bool,
}

impl Txn {
    pub(crate) fn of(copies: &[(u64, impl AsRef<[u8]>)]) -> Txn {
        Txn {
            copies: copies
                .iter()
                .map(|(home, image)| (*home, image.as_ref().to_vec()))
                .collect(),
            ..Txn::default()
        }
    }

    pub(crate) fn revoking(mut self, blocks: &[u64]) -> Txn {
        self.revokes.extend(blocks);
        self
    }

    /// Does to `blocks` what replay of the transaction does.
    pub(crate) fn apply(&self, blocks: &mut BTreeMap<u64, Vec<u8>>) {
        blocks.extend(self.copies.iter().cloned());
        for home in &self.revokes {
            blocks.remove(home);
        }
    }
}

/// Where a transaction was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) at: u32,
    pub(crate) sequence: Sequence,
    pub(crate) blocks: u32,
    /// Its commit block.
    pub(crate) commit_at: u32,
}

/// Fills a journal.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter {
    pub(crate) journal: Vec<u8>,
    pub(crate) style: Style,
    pub(crate) ring: Ring,
    pub(crate) at: u32,
    pub(crate) sequence: Sequence,
    /// Time of the next commit.
    pub(crate) time: u64,
    v1: V1Checksum,
    used: u32,
}

impl LogWriter {
    pub(crate) fn new(style: Style) -> LogWriter {
        let mut journal = vec![0; (style.blocks as usize) << style.bits];
        let superblock = superblock(&style);
        let size = superblock.as_bytes().len().min(journal.len());
        journal[..size].copy_from_slice(&superblock.as_bytes()[..size]);
        LogWriter {
            journal,
            style,
            ring: superblock.check(1 << style.bits, style.blocks.into()).unwrap(),
            at: style.start,
            sequence: Sequence(style.sequence),
            time: 1_700_000_000,
            v1: V1Checksum::new(),
            used: 0,
        }
    }

    /// A journal with these transactions.
    pub(crate) fn with(style: Style, transactions: &[Txn]) -> LogWriter {
        let mut writer = LogWriter::new(style);
        for transaction in transactions {
            writer.transaction(transaction);
        }
        writer
    }

    pub(crate) fn transaction(&mut self, transaction: &Txn) -> Written {
        let (at, sequence, used) = (self.at, self.sequence, self.used);
        self.open_transaction(transaction);
        let commit_at = self.at;
        self.commit();
        Written {
            at,
            sequence,
            blocks: self.used - used,
            commit_at,
        }
    }

    /// Everything but the commit block.
    pub(crate) fn open_transaction(&mut self, transaction: &Txn) {
        if transaction.revokes_first {
            self.revoke(&transaction.revokes);
        }
        let mut copies = transaction.copies.as_slice();
        while !copies.is_empty() {
            copies = self.descriptor(copies);
        }
        if !transaction.revokes_first {
            self.revoke(&transaction.revokes);
        }
    }

    /// A descriptor block for as many of the copies as it takes, and those; returns the others.
    fn descriptor<'c>(&mut self, copies: &'c [(u64, Vec<u8>)]) -> &'c [(u64, Vec<u8>)] {
        let mut block = self.style.image(0);
        let mut writer = DescriptorWriter::new(self.ring.format, self.sequence, &mut block);
        let mut stored = Vec::new();
        for (home, image) in copies.iter().take(self.style.tags) {
            let mut image = image.clone();
            let escaped = jbd2::escape(&mut image);
            let checksum = self.ring.format.tag_checksum(self.sequence, &image);
            match writer.push(BlockNo(*home), escaped, checksum) {
                Ok(()) => stored.push(image),
                Err(TagRefused::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        writer.finish();
        self.v1.update(&block);
        self.put(&block);
        for image in &stored {
            self.v1.update(image);
            self.put(image);
        }
        &copies[stored.len()..]
    }

    fn revoke(&mut self, mut homes: &[u64]) {
        while !homes.is_empty() {
            let mut block = self.style.image(0);
            let mut writer = RevokeWriter::new(self.ring.format, self.sequence, &mut block);
            while let Some((&home, rest)) = homes.split_first() {
                if writer.push(BlockNo(home)).is_err() {
                    break;
                }
                homes = rest;
            }
            writer.finish();
            self.put(&block);
        }
    }

    pub(crate) fn commit(&mut self) {
        let mut commit = CommitHeader::new(self.sequence, self.time, 0);
        if self.style.checksum == ChecksumVersion::V1 {
            self.v1.store(&mut commit);
        }
        let mut block = self.style.image(0);
        block[..commit.as_bytes().len()].copy_from_slice(commit.as_bytes());
        self.ring.format.seal_commit(&mut block);
        self.put(&block);
        self.v1 = V1Checksum::new();
        self.sequence = self.sequence.next();
        self.time += 1;
    }

    /// Writes the next block of the log.
    pub(crate) fn put(&mut self, block: &[u8]) {
        let at = self.at;
        self.block_mut(at).copy_from_slice(block);
        self.at = self.ring.next(at);
        self.used += 1;
    }

    pub(crate) fn block_mut(&mut self, n: u32) -> &mut [u8] {
        let size = 1 << self.style.bits;
        &mut self.journal[n as usize * size..][..size]
    }

    /// Changes the superblock and puts its checksum right.
    pub(crate) fn superblock(&mut self, change: impl FnOnce(&mut Superblock)) {
        let (superblock, _) = zerocopy::FromBytes::mut_from_prefix(&mut self.journal).unwrap();
        change(superblock);
        Superblock::seal(superblock);
    }

    pub(crate) fn volume(&self) -> Volume {
        Volume::new(&self.journal, self.style.bits, 512)
    }
}

fn superblock(style: &Style) -> Superblock {
    let mut superblock = Superblock::new(1 << style.bits, style.blocks, [0x5A; 16], style.wide);
    superblock.s_start.set(style.start);
    superblock.s_sequence.set(style.sequence);
    let mut incompat = superblock.incompat() | Incompat::REVOKE;
    incompat.set(Incompat::ASYNC_COMMIT, style.async_commit);
    match style.checksum {
        ChecksumVersion::None => {}
        ChecksumVersion::V1 => superblock.s_feature_compat.set(Compat::CHECKSUM.bits()),
        ChecksumVersion::V2 | ChecksumVersion::V3 => {
            let v3 = style.checksum == ChecksumVersion::V3;
            incompat |= if v3 { Incompat::CSUM_V3 } else { Incompat::CSUM_V2 };
            superblock.s_checksum_type = 4;
        }
    }
    superblock.s_feature_incompat.set(incompat.bits());
    superblock.seal();
    superblock
}

/// What replay of these transactions leaves in the blocks that it writes.
pub(crate) fn replayed<'t>(transactions: impl IntoIterator<Item = &'t Txn>) -> BTreeMap<u64, Vec<u8>> {
    let mut blocks = BTreeMap::new();
    for transaction in transactions {
        transaction.apply(&mut blocks);
    }
    blocks
}

/// What a scan of the journal says replay would write, read through an overlay.
pub(crate) fn shown(volume: &Volume) -> BTreeMap<u64, Vec<u8>> {
    let bits = volume.geometry.block_size_bits;
    let recovery = volume.log().unwrap().scan().unwrap();
    let overlay = Overlay::new(&volume.device, bits, recovery.into_redirects());
    let mut bytes = vec![0; volume.geometry.bytes() as usize];
    overlay.read(0, &mut bytes).unwrap();
    let block = |home: u64| bytes[(home << bits) as usize..][..1 << bits].to_vec();
    overlay
        .redirects()
        .iter()
        .map(|(home, _)| (home.0, block(home.0)))
        .collect()
}
