//! A device whose power can be cut.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::{Random, lock};
use crate::device::{
    BlockDevice, DevGeometry, DevTraits, DiscardEffect, Durability, IoError, IoErrorKind, IoOp, MemDevice,
};

/// A device with a volatile cache: the inner device holds what is durable, memory what was written since the last flush.
///
/// A power cut keeps what was flushed or forced, and of the rest what a seed chooses: each write all, nothing, or any
/// of its blocks (a block never tears). Only memory bounds what may be unflushed. Discards of a device that does not
/// promise zeros afterwards are dropped. The inner device is not offered as memory.
#[derive(Debug)]
pub struct Crash<D> {
    inner: D,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    /// Every change since the last flush, in order.
    log: Vec<Change>,
    /// What a reader sees: for each block changed since the last flush, the change and the place in it.
    view: BTreeMap<u64, Slot>,
    off: bool,
}

#[derive(Clone, Debug)]
struct Change {
    range: Range<u64>,
    /// The new bytes; zeros where absent.
    data: Option<Arc<[u8]>>,
    forced: bool,
}

impl Change {
    /// The new bytes of part of the range; `None` for zeros.
    fn bytes(&self, part: &Range<u64>) -> Option<&[u8]> {
        let start = (part.start - self.range.start) as usize;
        let len = (part.end - part.start) as usize;
        self.data.as_deref().map(|data| &data[start..start + len])
    }

    fn apply(&self, part: Range<u64>, device: &dyn BlockDevice) -> Result<(), IoError> {
        match self.bytes(&part) {
            Some(bytes) => device.write(part.start, bytes, Durability::Cached),
            None => device.write_zeroes(part),
        }
    }
}

#[derive(Clone, Debug)]
struct Slot {
    data: Option<Arc<[u8]>>,
    at: usize,
}

impl<D: BlockDevice> Crash<D> {
    /// `inner` is what is durable; nothing is cached yet.
    pub fn new(inner: D) -> Crash<D> {
        Crash {
            inner,
            cache: Mutex::default(),
        }
    }

    /// Cuts the power: the inner device gets what the seed lets survive, and every operation fails until
    /// [`power_on`](Self::power_on).
    ///
    /// # Errors
    /// The inner device's, after which its content is undefined.
    pub fn power_cut(&self, seed: u64) -> Result<(), IoError> {
        let mut cache = lock(&self.cache);
        cache.off = true;
        cache.view.clear();
        let log = std::mem::take(&mut cache.log);
        survive(&log, seed, &self.inner)
    }

    /// Lets the device work again after a [`power_cut`](Self::power_cut).
    pub fn power_on(&self) {
        lock(&self.cache).off = false;
    }

    /// How many writes and zeroings a power cut could lose: those since the last flush that were not forced.
    pub fn unflushed(&self) -> usize {
        lock(&self.cache).log.iter().filter(|change| !change.forced).count()
    }

    /// The device with what is durable. What is not is lost.
    pub fn into_inner(self) -> D {
        self.inner
    }

    fn powered(&self, op: IoOp, offset: u64, len: u64) -> Result<std::sync::MutexGuard<'_, Cache>, IoError> {
        let cache = lock(&self.cache);
        if cache.off {
            let no_power = io::Error::new(io::ErrorKind::NotConnected, "the power is off");
            return Err(IoError::new(op, offset, len, IoErrorKind::Device(no_power)));
        }
        Ok(cache)
    }

    fn block_size(&self) -> u64 {
        u64::from(self.inner.geometry().block_size)
    }

    fn change(&self, op: IoOp, change: Change) -> Result<(), IoError> {
        let Range { start, end } = change.range;
        let len = end - start;
        if self.inner.traits().read_only {
            return Err(IoError::new(op, start, len, IoErrorKind::ReadOnly));
        }
        let mut cache = self.powered(op, start, len)?;
        for block in (start..end).step_by(self.block_size() as usize) {
            cache.view.insert(
                block,
                Slot {
                    data: change.data.clone(),
                    at: (block - start) as usize,
                },
            );
        }
        cache.log.push(change);
        Ok(())
    }
}

impl Crash<MemDevice> {
    /// A device as a power cut now would leave it, and this one goes on: for trying many cuts at one moment.
    ///
    /// # Errors
    /// None that a device in memory has.
    pub fn after_power_cut(&self, seed: u64) -> Result<MemDevice, IoError> {
        let cache = lock(&self.cache);
        let left = self.inner.snapshot();
        survive(&cache.log, seed, &left)?;
        Ok(left)
    }
}

/// Does to `device` what of `log` survives: all that was forced, and of the rest what the seed chooses.
fn survive(log: &[Change], seed: u64, device: &dyn BlockDevice) -> Result<(), IoError> {
    let mut random = Random(seed);
    let block_size = u64::from(device.geometry().block_size);
    for change in log {
        match if change.forced { 0 } else { random.below(3) } {
            0 => change.apply(change.range.clone(), device)?,
            1 => {}
            _ => {
                for start in change.range.clone().step_by(block_size as usize) {
                    if random.one_in(2) {
                        change.apply(start..start + block_size, device)?;
                    }
                }
            }
        }
    }
    Ok(())
}

impl<D: BlockDevice> BlockDevice for Crash<D> {
    fn geometry(&self) -> DevGeometry {
        self.inner.geometry()
    }

    fn traits(&self) -> DevTraits {
        let inner = self.inner.traits();
        let discard = match inner.discard {
            DiscardEffect::Zeroes => DiscardEffect::Zeroes,
            DiscardEffect::Undefined | DiscardEffect::Ignored => DiscardEffect::Ignored,
        };
        DevTraits { discard, ..inner }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        let len = buf.len() as u64;
        self.geometry().check(IoOp::Read, offset, len)?;
        let cache = self.powered(IoOp::Read, offset, len)?;
        self.inner.read(offset, buf)?;
        let block_size = self.block_size() as usize;
        for (&block, slot) in cache.view.range(offset..offset + len) {
            let at = (block - offset) as usize;
            let buf = &mut buf[at..at + block_size];
            match &slot.data {
                Some(data) => buf.copy_from_slice(&data[slot.at..slot.at + block_size]),
                None => buf.fill(0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], how: Durability) -> Result<(), IoError> {
        let len = buf.len() as u64;
        self.geometry().check(IoOp::Write, offset, len)?;
        let forced = how == Durability::ForceUnitAccess;
        self.change(
            IoOp::Write,
            Change {
                range: offset..offset + len,
                data: Some(buf.into()),
                forced,
            },
        )
    }

    fn flush(&self) -> Result<(), IoError> {
        let mut cache = self.powered(IoOp::Flush, 0, 0)?;
        for change in &cache.log {
            change.apply(change.range.clone(), &self.inner)?;
        }
        self.inner.flush()?;
        cache.log.clear();
        cache.view.clear();
        Ok(())
    }

    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        self.geometry().check_range(IoOp::Discard, &range)?;
        if self.traits().discard == DiscardEffect::Zeroes || self.traits().read_only {
            return self.change(
                IoOp::Discard,
                Change {
                    range,
                    data: None,
                    forced: false,
                },
            );
        }
        self.powered(IoOp::Discard, range.start, range.end - range.start)
            .map(drop)
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        self.geometry().check_range(IoOp::WriteZeroes, &range)?;
        self.change(
            IoOp::WriteZeroes,
            Change {
                range,
                data: None,
                forced: false,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn flushed_and_forced_bytes_survive_every_power_cut() {
        let device = Crash::new(MemDevice::new(1 << 16));
        device.write(0, &[1; 4096], Durability::Cached).unwrap();
        device.flush().unwrap();
        device.write(4096, &[2; 512], Durability::Cached).unwrap();
        device.write(4096, &[3; 512], Durability::ForceUnitAccess).unwrap();
        assert_eq!(device.unflushed(), 1);
        for seed in 0..50 {
            let left = device.after_power_cut(seed).unwrap().to_vec();
            assert!(left[..4096].iter().all(|&byte| byte == 1));
            assert!(
                left[4096..4608].iter().all(|&byte| byte == 3),
                "an older write never undoes a forced one"
            );
        }
    }

    #[test]
    fn unflushed_writes_survive_whole_torn_or_not_at_all() {
        let device = Crash::new(MemDevice::new(1 << 16));
        device.write(0, &[1; 2048], Durability::Cached).unwrap();
        let outcomes: BTreeSet<Vec<u8>> = (0..200)
            .map(|seed| {
                let left = device.after_power_cut(seed).unwrap().to_vec();
                let blocks = left[..2048].chunks(512);
                blocks
                    .clone()
                    .for_each(|block| assert!(block.iter().all(|byte| *byte == block[0]), "blocks are whole"));
                blocks.map(|block| block[0]).collect()
            })
            .collect();
        assert_eq!(
            outcomes.len(),
            16,
            "every combination of four blocks turns up: {outcomes:?}"
        );
        assert_eq!(
            device.after_power_cut(5).unwrap().to_vec(),
            device.after_power_cut(5).unwrap().to_vec()
        );
    }

    #[test]
    fn reads_see_the_cache_until_the_power_is_cut() {
        let device = Crash::new(MemDevice::from_vec(vec![9; 8192]));
        device.write(512, &[1; 1024], Durability::Cached).unwrap();
        device.write_zeroes(1024..1536).unwrap();
        let mut buf = [7; 2048];
        device.read(0, &mut buf).unwrap();
        assert_eq!((buf[0], buf[512], buf[1024], buf[1536]), (9, 1, 0, 9));

        device.power_cut(1).unwrap();
        device.read(0, &mut buf).unwrap_err();
        device.write(0, &buf, Durability::Cached).unwrap_err();
        device.flush().unwrap_err();
        device.power_on();
        device.read(0, &mut buf).unwrap();
        assert_eq!(device.unflushed(), 0);
    }
}
