//! Every implementation and representative stacks keep the promises of the trait; broken ones are caught.

use std::ops::Range;
use std::sync::Arc;

use ocfs2_format::device::conformance::check;
use ocfs2_format::device::{
    BlockDevice, Counting, Crash, DevGeometry, DevTraits, DiscardEffect, Durability, FaultRates, Faulty, FileDevice,
    FileOptions, IoError, MemDevice, MmapDevice, RangeDevice, ReadOnly, Recording,
};

use super::{LoopDevice, directory, open_direct, writable};

const LEN: u64 = 5 << 20;

#[test]
fn memory_conforms() {
    check(&MemDevice::new(LEN)).unwrap();
    check(&MemDevice::new(LEN + 511)).unwrap();
    check(&MemDevice::with_block_size(LEN, 4096)).unwrap();
    check(&MemDevice::with_block_size(64 << 14, 1 << 14)).unwrap();
    check(&MemDevice::new(1 << 50)).unwrap();
    check(&MemDevice::new(64 * 512)).unwrap();
    check(&MemDevice::new(LEN).snapshot()).unwrap();
}

#[test]
fn files_conform() {
    let dir = directory();
    let path = dir.path().join("image");
    check(&FileDevice::create(&path, LEN + 100, &writable()).unwrap()).unwrap();
    check(&FileDevice::open(&path, &writable().exclusive(true)).unwrap()).unwrap();
    check(&FileDevice::open(&path, &FileOptions::new()).unwrap()).unwrap();
    check(&MmapDevice::open(&path).unwrap()).unwrap();
    if let Some(direct) = open_direct(&path) {
        check(&direct).unwrap();
        check(&FileDevice::open(&path, &FileOptions::new().direct(true)).unwrap()).unwrap();
    }
}

#[test]
fn block_devices_conform() {
    for sector_size in [512, 4096] {
        let dir = directory();
        let path = dir.path().join("disk");
        FileDevice::create(&path, LEN, &writable()).unwrap();
        let Some(disk) = LoopDevice::new(&path, sector_size) else {
            return;
        };
        for options in [writable(), writable().direct(true), FileOptions::new().direct(true)] {
            let device = FileDevice::open(&disk.0, &options).unwrap();
            assert_eq!(
                (device.geometry().block_size, device.geometry().len),
                (sector_size, LEN)
            );
            assert!(device.is_block_device());
            check(&device).unwrap_or_else(|broken| panic!("sectors of {sector_size}, {options:?}: {broken}"));
        }
        check(&MmapDevice::open(&disk.0).unwrap()).unwrap();
    }
}

#[test]
fn wrappers_conform_in_any_order() {
    let mem = || MemDevice::new(LEN);
    check(&ReadOnly::new(mem())).unwrap();
    check(&Counting::new(mem())).unwrap();
    check(&Recording::new(mem())).unwrap();
    check(&Recording::with_reads(mem())).unwrap();
    check(&Faulty::new(mem())).unwrap();
    check(&Faulty::seeded(mem(), 1, FaultRates::default())).unwrap();
    check(&Crash::new(mem())).unwrap();
    check(&RangeDevice::new(mem(), 512..LEN - 1024).unwrap()).unwrap();

    check(&Counting::new(Recording::new(Faulty::new(Crash::new(mem()))))).unwrap();
    check(&Crash::new(Faulty::new(Recording::new(Counting::new(mem()))))).unwrap();
    check(&RangeDevice::new(Crash::new(MemDevice::with_block_size(LEN, 4096)), 4096..LEN / 2).unwrap()).unwrap();
    check(&Crash::new(RangeDevice::new(mem(), 1024..LEN).unwrap())).unwrap();
    check(&ReadOnly::new(Crash::new(mem()))).unwrap();
    check(&Crash::new(ReadOnly::new(mem()))).unwrap();
    check(&Recording::new(Crash::new(WithoutDiscard(mem())))).unwrap();
    let shared: Arc<dyn BlockDevice> = Arc::new(mem());
    check(&RangeDevice::new(Box::new(Faulty::new(&shared)), 0..LEN).unwrap()).unwrap();
}

#[test]
fn wrappers_conform_over_files() {
    let dir = directory();
    let path = dir.path().join("image");
    let file = FileDevice::create(&path, LEN, &writable()).unwrap();
    check(&Crash::new(Recording::new(file))).unwrap();
    check(&RangeDevice::new(ReadOnly::new(MmapDevice::open(&path).unwrap()), 1024..LEN - 512).unwrap()).unwrap();
    if let Some(direct) = open_direct(&path) {
        let block = u64::from(direct.geometry().block_size);
        check(&Crash::new(RangeDevice::new(direct, block..LEN).unwrap())).unwrap();
    }
}

/// The checks are worth nothing if a broken device passes them.
#[test]
fn broken_devices_do_not_conform() {
    let mem = || MemDevice::new(LEN);
    let lying = FaultRates {
        lost_write: 20,
        ..FaultRates::default()
    };
    check(&Faulty::seeded(mem(), 1, lying)).unwrap_err();
    let failing = FaultRates {
        read_error: 20,
        ..FaultRates::default()
    };
    check(&Faulty::seeded(mem(), 1, failing)).unwrap_err();
    for break_it in [
        Bug::ZeroesTooMuch,
        Bug::ZeroesTooLittle,
        Bug::NoBounds,
        Bug::Reordered,
        Bug::ClaimsReadOnly,
    ] {
        check(&Broken(mem(), break_it)).unwrap_err();
    }
    check(&MemDevice::new(63 * 512)).unwrap_err();
}

/// A device whose discard does nothing.
#[derive(Debug)]
struct WithoutDiscard(MemDevice);

impl BlockDevice for WithoutDiscard {
    fn geometry(&self) -> DevGeometry {
        self.0.geometry()
    }
    fn traits(&self) -> DevTraits {
        DevTraits {
            discard: DiscardEffect::Ignored,
            ..self.0.traits()
        }
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.0.read(offset, buf)
    }
    fn write(&self, offset: u64, buf: &[u8], how: Durability) -> Result<(), IoError> {
        self.0.write(offset, buf, how)
    }
    fn flush(&self) -> Result<(), IoError> {
        self.0.flush()
    }
    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        self.geometry().check_range(ocfs2_format::device::IoOp::Discard, &range)
    }
    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        self.0.write_zeroes(range)
    }
}

#[derive(Debug, PartialEq)]
enum Bug {
    ZeroesTooMuch,
    ZeroesTooLittle,
    NoBounds,
    Reordered,
    ClaimsReadOnly,
}

#[derive(Debug)]
struct Broken(MemDevice, Bug);

impl BlockDevice for Broken {
    fn geometry(&self) -> DevGeometry {
        self.0.geometry()
    }
    fn traits(&self) -> DevTraits {
        DevTraits {
            read_only: self.1 == Bug::ClaimsReadOnly,
            ..self.0.traits()
        }
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        match self.0.read(offset, buf) {
            Err(_) if self.1 == Bug::NoBounds => Ok(()),
            other => other,
        }
    }
    fn write(&self, offset: u64, buf: &[u8], how: Durability) -> Result<(), IoError> {
        self.0.write(offset, buf, how)?;
        // The last two blocks of large writes change places.
        if self.1 == Bug::Reordered && buf.len() >= 8192 {
            let at = buf.len() - 1024;
            self.0.write(offset + at as u64, &buf[at + 512..], how)?;
            self.0.write(offset + at as u64 + 512, &buf[at..at + 512], how)?;
        }
        Ok(())
    }
    fn flush(&self) -> Result<(), IoError> {
        self.0.flush()
    }
    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        self.0.discard(range)
    }
    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        self.0.write_zeroes(range.clone())?;
        if range.is_empty() {
            return Ok(());
        }
        match self.1 {
            Bug::ZeroesTooMuch => self
                .0
                .write_zeroes(range.start..(range.end + 512).min(self.geometry().len)),
            Bug::ZeroesTooLittle => self.0.write(range.end - 512, &[1; 512], Durability::Cached),
            _ => Ok(()),
        }
    }
}
