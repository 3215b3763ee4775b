//! A journal that is written to, on a device that remembers everything, beside a model of what is in the volume.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use ocfs2_format::device::{
    BlockDevice, Crash, DevGeometry, DevTraits, Durability, IoError, IoOp, MemDevice, Op, Recording,
};
use ocfs2_format::jbd2::{self, ChecksumVersion, Incompat};
use ocfs2_format::{BlockCheck, BlockNo, Features, Geometry};
use ocfs2_journal::fuzz::Volume;
use ocfs2_journal::{CheckAt, End, Handle, Journal, JournalError, JournalOptions, LogMap, Tid};

use crate::model;
use crate::writer::{LogWriter, Style};

/// No thread: everything happens when a test says so.
pub(crate) const BY_HAND: JournalOptions = JournalOptions { commit_interval: None };

/// What a test needs to know of a volume to write to its journal.
#[derive(Clone, Debug)]
pub(crate) struct Bed {
    pub(crate) geometry: Geometry,
    pub(crate) map: LogMap,
    /// The volume before anything was written.
    pub(crate) empty: Arc<MemDevice>,
    /// What handles change: block 0 counts the handles.
    pub(crate) units: Vec<Unit>,
}

/// Blocks that are changed together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub(crate) first: BlockNo,
    pub(crate) blocks: u32,
    pub(crate) check: Option<CheckAt>,
    check_offset: Option<usize>,
}

impl Unit {
    fn single(first: u64, check_offset: Option<usize>) -> Unit {
        Unit {
            first: BlockNo(first),
            blocks: 1,
            check: check_offset.map(CheckAt::block),
            check_offset,
        }
    }

    pub(crate) fn range(&self) -> Range<BlockNo> {
        self.first..BlockNo(self.first.0 + u64::from(self.blocks))
    }
}

/// Features of a journal that make a difference when it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flavour {
    pub(crate) bits: u8,
    pub(crate) blocks: u32,
    pub(crate) wide: bool,
    pub(crate) checksum: ChecksumVersion,
    pub(crate) revokes: bool,
    pub(crate) metaecc: bool,
    pub(crate) sequence: u32,
}

impl Flavour {
    /// What OCFS2 has, but small.
    pub(crate) const PLAIN: Flavour = Flavour {
        bits: 9,
        blocks: 64,
        wide: false,
        checksum: ChecksumVersion::None,
        revokes: false,
        metaecc: true,
        sequence: 7,
    };

    pub(crate) fn bed(self) -> Bed {
        let style = Style {
            bits: self.bits,
            blocks: self.blocks,
            wide: self.wide,
            checksum: self.checksum,
            sequence: self.sequence,
            ..Style::PLAIN
        };
        let mut writer = LogWriter::new(style);
        writer.superblock(|superblock| {
            let mut incompat = superblock.incompat();
            incompat.set(Incompat::REVOKE, self.revokes);
            superblock.s_feature_incompat.set(incompat.bits());
        });
        let Volume {
            device,
            map,
            mut geometry,
        } = writer.volume();
        if self.metaecc {
            geometry.features = Features::MAX_FEATURES;
        }
        let behind = 16 + u64::from(self.blocks);
        let mut units = vec![Unit::single(3, Some(0x80))];
        units.extend((4..8).map(|block| Unit::single(block, Some(8))));
        units.extend((8..10).map(|block| Unit::single(block, None)));
        units.extend((behind..behind + 3).map(|block| Unit::single(block, Some((1 << self.bits) - 8))));
        units.push(Unit {
            first: BlockNo(behind + 3),
            blocks: geometry.blocks_per_xattr_bucket(),
            check: Some(CheckAt::xattr_bucket(&geometry)),
            check_offset: Some(8),
        });
        Bed {
            geometry,
            map,
            empty: Arc::new(device),
            units,
        }
    }
}

impl Bed {
    pub(crate) fn open(&self, dev: Arc<dyn BlockDevice>) -> Result<Journal, JournalError> {
        Journal::open(dev, self.map.clone(), self.geometry, &BY_HAND)
    }

    pub(crate) fn volume(&self, device: MemDevice) -> Volume {
        Volume {
            device,
            map: self.map.clone(),
            geometry: self.geometry,
        }
    }

    /// What a unit holds when it holds `stamp`.
    pub(crate) fn bytes(&self, unit: Unit, stamp: u32) -> Vec<u8> {
        let mut bytes = stamp
            .to_le_bytes()
            .repeat((unit.blocks as usize) << (self.geometry.block_size_bits - 2));
        if stamp.is_multiple_of(3) {
            // Some begin like control blocks of a journal.
            for block in bytes.chunks_mut(self.geometry.block_size()) {
                block[..4].copy_from_slice(&jbd2::MAGIC.to_be_bytes());
            }
        }
        bytes
    }

    /// Whether `bytes` are what a unit with this stamp holds, but for its check field.
    pub(crate) fn is(&self, unit: Unit, stamp: u32, bytes: &[u8]) -> bool {
        let (mut expected, mut found) = (self.bytes(unit, stamp), bytes.to_vec());
        if let Some(at) = unit.check_offset.filter(|_| self.geometry.features.metaecc()) {
            expected[at..at + 8].fill(0);
            found[at..at + 8].fill(0);
        }
        expected == found
    }

    pub(crate) fn has_good_check(&self, unit: Unit, bytes: &[u8]) -> bool {
        let check = unit.check_offset.filter(|_| self.geometry.features.metaecc());
        check.is_none_or(|at| BlockCheck::is_good(bytes, at))
    }

    pub(crate) fn home(&self, unit: Unit, device: &dyn BlockDevice) -> Vec<u8> {
        let mut bytes = vec![0; unit.blocks as usize * self.geometry.block_size()];
        device
            .read(unit.first.0 << self.geometry.block_size_bits, &mut bytes)
            .unwrap();
        bytes
    }

    /// What is in a unit: every block of it in the journal, or where that has none, at home.
    pub(crate) fn read(
        &self,
        unit: Unit,
        device: &dyn BlockDevice,
        newest: impl Fn(BlockNo) -> Option<Arc<[u8]>>,
    ) -> Vec<u8> {
        let mut bytes = self.home(unit, device);
        for (n, part) in (0..).zip(bytes.chunks_mut(self.geometry.block_size())) {
            if let Some(image) = newest(BlockNo(unit.first.0 + n)) {
                part.copy_from_slice(&image);
            }
        }
        bytes
    }

    /// Recovers a volume after a crash, checks it, and returns the number of the handle up to which it has everything.
    pub(crate) fn recover(&self, device: &MemDevice, history: &[Snapshot], durable: Tid) -> usize {
        let volume = self.volume(device.snapshot());
        let log = volume.log().unwrap();
        let recovery = log.scan().unwrap();
        recovery.check(&self.geometry).unwrap();

        // The kernel would do the same.
        let mut journal = vec![0; (self.map.blocks() as usize) << self.geometry.block_size_bits];
        for (n, block) in (0..).zip(journal.chunks_mut(self.geometry.block_size())) {
            let at = self.map.block(n).unwrap().0 << self.geometry.block_size_bits;
            device.read(at, block).unwrap();
        }
        let by_kernel = model::replay(&volume, &journal).unwrap();
        assert!(!by_kernel.failed);

        log.replay(&recovery).unwrap();
        for (block, bytes) in by_kernel.blocks {
            let unit = Unit::single(block, None);
            assert!(self.home(unit, &volume.device) == bytes, "block {block}");
        }
        let at = self.at(&volume.device, history);
        let tid = history[at].tid;
        assert!(
            tid >= durable,
            "{durable} was durable, now {tid} is the last transaction"
        );
        assert!(
            history.get(at + 1).is_none_or(|next| next.tid > tid),
            "transaction {tid} is there in part: only {at} of its handles"
        );
        self.check(&volume.device, &history[at]);

        // Leave what replay leaves, for those who go on.
        let mut bytes = vec![0; self.geometry.bytes() as usize];
        volume.device.read(0, &mut bytes).unwrap();
        device.write(0, &bytes, Durability::Cached).unwrap();
        at
    }

    /// Which handle was the last one that is home.
    fn at(&self, device: &dyn BlockDevice, history: &[Snapshot]) -> usize {
        let counter = self.home(self.units[0], device);
        (0..history.len())
            .rev()
            .find(|&at| match history[at].contents[0] {
                Content::Meta(stamp) => self.is(self.units[0], stamp, &counter),
                _ => at == 0,
            })
            .unwrap()
    }

    /// Everything is home as the snapshot says.
    pub(crate) fn check(&self, device: &dyn BlockDevice, snapshot: &Snapshot) {
        for (unit, content) in self.units.iter().zip(&snapshot.contents) {
            let bytes = self.home(*unit, device);
            match *content {
                Content::Free(_) => {}
                Content::Meta(stamp) => {
                    assert!(self.is(*unit, stamp, &bytes), "{unit:?} has stamp {stamp}");
                    assert!(self.has_good_check(*unit, &bytes), "{unit:?} has a good check");
                }
                Content::Data(stamp) => assert!(bytes == self.bytes(*unit, stamp), "{unit:?} has data {stamp}"),
            }
        }
    }
}

/// What is in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing. Was it data, then this transaction freed it.
    Free(Option<Tid>),
    Meta(u32),
    Data(u32),
}

/// What is in the volume after a handle was committed.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) tid: Tid,
    pub(crate) contents: Vec<Content>,
}

/// Something done to a unit by a handle.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Changes it, or creates it if there is nothing.
    Modify(usize),
    Create(usize),
    Forget(usize),
}

/// A journal at work.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) bed: Bed,
    /// What is on the device before the journal is opened.
    pub(crate) before: MemDevice,
    pub(crate) device: Arc<Recording<MemDevice>>,
    pub(crate) journal: Journal,
    /// After every committed handle; first what there was before any.
    pub(crate) history: Vec<Snapshot>,
    /// How many operations of the device it took until a transaction was known to be durable.
    pub(crate) marks: Vec<(usize, Tid)>,
    stamp: u32,
}

impl Run {
    /// Opens the journal on a copy of what `device` holds, which is `contents`.
    pub(crate) fn new(bed: &Bed, device: &MemDevice, contents: Vec<Content>, stamp: u32) -> Run {
        let recording = Arc::new(Recording::new(device.snapshot()));
        let journal = bed.open(recording.clone()).unwrap();
        let none = journal.commit().unwrap();
        Run {
            bed: bed.clone(),
            before: device.snapshot(),
            device: recording,
            journal,
            history: vec![Snapshot { tid: none, contents }],
            marks: vec![(0, none)],
            stamp,
        }
    }

    /// On a new volume.
    pub(crate) fn start(bed: &Bed) -> Run {
        Run::new(bed, &bed.empty, vec![Content::Free(None); bed.units.len()], 0)
    }

    pub(crate) fn now(&self) -> &Snapshot {
        self.history.last().unwrap()
    }

    pub(crate) fn stamp(&self) -> u32 {
        self.stamp
    }

    /// Runs a handle, and commits or drops it.
    pub(crate) fn handle(&mut self, actions: &[Action], commit: bool) {
        let mut contents = self.now().contents.clone();
        let bed = &self.bed;
        let blocks: u32 = actions.iter().map(|&action| bed.units[unit_of(action)].blocks).sum();
        let mut handle = self.journal.begin(1 + blocks).unwrap();
        for action in [Action::Modify(0)].iter().chain(actions) {
            self.stamp += 1;
            act(bed, &mut handle, *action, self.stamp, &mut contents);
        }
        for (unit, content) in bed.units.iter().zip(&contents) {
            let bytes = bed.read(*unit, &self.device, |block| handle.newest(block));
            if let Content::Meta(stamp) = content {
                assert!(
                    bed.is(*unit, *stamp, &bytes),
                    "the handle sees {unit:?} with stamp {stamp}"
                );
            }
        }
        if commit {
            let tid = handle.commit().unwrap();
            self.history.push(Snapshot { tid, contents });
        } else {
            drop(handle);
        }
        self.look();
    }

    /// Writes file data to a unit, if that is free, and then says so in a handle.
    pub(crate) fn write_data(&mut self, unit: usize) -> bool {
        let at = self.bed.units[unit];
        let free = match self.now().contents[unit] {
            Content::Free(by) => by.is_none_or(|tid| self.journal.is_durable(tid)),
            _ => false,
        };
        if !free || !self.journal.may_reuse(at.range()) {
            return false;
        }
        self.stamp += 1;
        let stamp = self.stamp;
        let bytes = self.bed.bytes(at, stamp);
        self.device
            .write(
                at.first.0 << self.bed.geometry.block_size_bits,
                &bytes,
                Durability::Cached,
            )
            .unwrap();
        self.handle(&[], true);
        self.history.last_mut().unwrap().contents[unit] = Content::Data(stamp);
        true
    }

    /// Frees a unit that holds file data.
    pub(crate) fn free_data(&mut self, unit: usize) {
        if matches!(self.now().contents[unit], Content::Data(_)) {
            self.handle(&[], true);
            let last = self.history.last_mut().unwrap();
            last.contents[unit] = Content::Free(Some(last.tid));
        }
    }

    /// Compares what the journal says with the model.
    pub(crate) fn look(&mut self) {
        let Run {
            bed, device, journal, ..
        } = &*self;
        let durable = self
            .history
            .iter()
            .rfind(|snapshot| journal.is_durable(snapshot.tid))
            .unwrap();
        for (n, unit) in bed.units.iter().enumerate() {
            if let Content::Meta(stamp) = self.now().contents[n] {
                let bytes = bed.read(*unit, device, |block| journal.newest(block));
                assert!(bed.is(*unit, stamp, &bytes), "{unit:?} has stamp {stamp}");
            }
            if let Content::Meta(stamp) = durable.contents[n] {
                let bytes = bed.read(*unit, device, |block| journal.newest_durable(block));
                assert!(bed.is(*unit, stamp, &bytes), "{unit:?} has durable stamp {stamp}");
                assert!(
                    bed.has_good_check(*unit, &bytes),
                    "{unit:?} has a good check in the log"
                );
            }
        }
        let usage = journal.usage();
        assert!(
            usage.logged + usage.running + usage.reserved < usage.blocks,
            "{usage:?}"
        );
        let tid = durable.tid;
        self.marks.push((self.device.ops().len(), tid));
    }

    /// What was known to be durable after so many operations of the device.
    pub(crate) fn durable_after(&self, ops: usize) -> Tid {
        self.marks.iter().rfind(|&&(at, _)| at <= ops).unwrap().1
    }

    /// Cuts the power after every so many operations of the device, with some luck each, and hands out what is left.
    pub(crate) fn cuts(&self, step: usize, seeds: u64, mut each: impl FnMut(usize, u64, MemDevice)) {
        let crash = Crash::new(self.before.snapshot());
        let ops: Vec<Op> = self.device.ops();
        for n in 0..=ops.len() {
            if n % step == 0 || n == ops.len() {
                for seed in 0..seeds {
                    each(n, seed, crash.after_power_cut(seed * 7919 + n as u64).unwrap());
                }
            }
            if let Some(op) = ops.get(n) {
                op.apply(&crash).unwrap();
            }
        }
    }

    /// Closes the journal: the log is empty and everything is home.
    pub(crate) fn close(&self) {
        self.journal.close().unwrap();
        let left = self.device.inner().snapshot();
        let volume = self.bed.volume(left);
        assert_eq!(volume.log().unwrap().scan().unwrap().end(), End::Empty);
        self.bed.check(&volume.device, self.now());
    }
}

/// A device that calls a function before it does anything, which may fail, wait or panic.
pub(crate) struct Hooked<F> {
    inner: MemDevice,
    hook: F,
}

impl<F: Fn(IoOp, u64) -> Result<(), IoError>> Hooked<F> {
    pub(crate) fn new(inner: MemDevice, hook: F) -> Hooked<F> {
        Hooked { inner, hook }
    }
}

impl<F> fmt::Debug for Hooked<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<F: Fn(IoOp, u64) -> Result<(), IoError> + Send + Sync> BlockDevice for Hooked<F> {
    fn geometry(&self) -> DevGeometry {
        self.inner.geometry()
    }

    fn traits(&self) -> DevTraits {
        self.inner.traits()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        (self.hook)(IoOp::Read, offset)?;
        self.inner.read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], how: Durability) -> Result<(), IoError> {
        (self.hook)(IoOp::Write, offset)?;
        self.inner.write(offset, buf, how)
    }

    fn flush(&self) -> Result<(), IoError> {
        (self.hook)(IoOp::Flush, 0)?;
        self.inner.flush()
    }

    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        (self.hook)(IoOp::Discard, range.start)?;
        self.inner.discard(range)
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        (self.hook)(IoOp::WriteZeroes, range.start)?;
        self.inner.write_zeroes(range)
    }
}

fn unit_of(action: Action) -> usize {
    match action {
        Action::Modify(unit) | Action::Create(unit) | Action::Forget(unit) => unit,
    }
}

fn act(bed: &Bed, handle: &mut Handle<'_>, action: Action, stamp: u32, contents: &mut [Content]) {
    let n = unit_of(action);
    let unit = bed.units[n];
    let bytes = match (action, contents[n]) {
        (Action::Forget(_), Content::Meta(_)) => {
            handle.forget(unit.first, unit.blocks).unwrap();
            contents[n] = Content::Free(None);
            return;
        }
        (Action::Forget(_), _) => return,
        (Action::Modify(_), Content::Meta(old)) => {
            let bytes = handle.modify(unit.first, unit.check).unwrap();
            assert!(bed.is(unit, old, bytes), "{unit:?} has stamp {old}");
            bytes
        }
        _ => {
            let bytes = handle.create(unit.first, unit.check).unwrap();
            assert!(bytes.iter().all(|&byte| byte == 0), "new blocks are empty");
            bytes
        }
    };
    bytes.copy_from_slice(&bed.bytes(unit, stamp));
    contents[n] = Content::Meta(stamp);
}
