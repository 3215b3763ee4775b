//! A device that fails on purpose.

use std::io;
use std::ops::Range;
use std::sync::Mutex;

use super::{Random, lock};
use crate::device::{BlockDevice, DevGeometry, DevTraits, Durability, IoError, IoErrorKind, IoOp};

/// What goes wrong with one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing is done, and the operation fails with `EIO`.
    Error,
    /// The first `blocks` blocks are done (never all), the rest is not, and the operation fails with `EIO`.
    /// A flush is not done at all.
    Torn {
        /// How many of the request's blocks get through.
        blocks: u64,
    },
    /// Nothing is done, and the operation says it succeeded. A read has nothing to say so with, and fails.
    Lost,
}

/// How often a [seeded](Faulty::seeded) device fails: once in so many operations on average, never where 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// Reads that fail.
    pub read_error: u32,
    /// Writes, zeroings and discards that fail with nothing done.
    pub write_error: u32,
    /// Writes, zeroings and discards that fail half done.
    pub torn_write: u32,
    /// Writes, zeroings and discards that say they succeed and did nothing.
    pub lost_write: u32,
    /// Flushes that fail.
    pub flush_error: u32,
}

/// Fails when it was told to: at the n-th operation, in a range, or at random from a seed. Else passes through.
///
/// Requests the device would refuse anyway are refused as ever and count for nothing. The inner device is not offered
/// as memory, so that no read goes around the faults.
#[derive(Debug)]
pub struct Faulty<D> {
    inner: D,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    /// At the operation with that many more of its kind before it.
    nth: Vec<(IoOp, u64, Fault)>,
    /// For every operation of its kind that touches the range.
    ranges: Vec<(IoOp, Range<u64>, Fault)>,
    random: Option<(Random, FaultRates)>,
    injected: Vec<(IoOp, u64, Fault)>,
}

impl<D: BlockDevice> Faulty<D> {
    /// A device without faults, until some are asked for.
    pub fn new(inner: D) -> Faulty<D> {
        Faulty {
            inner,
            plan: Mutex::default(),
        }
    }

    /// A device that fails at random. The same seed and the same operations in the same order give the same faults.
    pub fn seeded(inner: D, seed: u64, rates: FaultRates) -> Faulty<D> {
        let plan = Plan {
            random: Some((Random(seed), rates)),
            ..Plan::default()
        };
        Faulty {
            inner,
            plan: Mutex::new(plan),
        }
    }

    /// Makes the operation `op` fail that has `before` more of its kind before it: 0 is the next one.
    pub fn fail_nth(&self, op: IoOp, before: u64, fault: Fault) {
        lock(&self.plan).nth.push((op, before, fault));
    }

    /// Makes every operation `op` fail that touches a byte of `range`, like a bad sector. Flushes have no range.
    pub fn fail_range(&self, op: IoOp, range: Range<u64>, fault: Fault) {
        lock(&self.plan).ranges.push((op, range, fault));
    }

    /// Ends all faults, those from a seed too.
    pub fn heal(&self) {
        let mut plan = lock(&self.plan);
        *plan = Plan {
            injected: std::mem::take(&mut plan.injected),
            ..Plan::default()
        };
    }

    /// The faults so far: operation, offset, what went wrong.
    pub fn injected(&self) -> Vec<(IoOp, u64, Fault)> {
        lock(&self.plan).injected.clone()
    }

    /// The device inside.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// The device inside.
    pub fn into_inner(self) -> D {
        self.inner
    }

    /// Does `run` on the inner device, or what the plan has for it: `run` gets the length to do.
    fn run(
        &self,
        op: IoOp,
        offset: u64,
        len: u64,
        run: impl FnOnce(u64) -> Result<(), IoError>,
    ) -> Result<(), IoError> {
        let Some(fault) = lock(&self.plan).next(op, offset, len) else {
            return run(len);
        };
        match fault {
            Fault::Lost if op != IoOp::Read => return Ok(()),
            Fault::Torn { blocks } if op != IoOp::Flush => {
                let block_size = u64::from(self.inner.geometry().block_size);
                let most = len.saturating_sub(block_size);
                run(blocks.saturating_mul(block_size).min(most))?;
            }
            _ => {}
        }
        Err(IoError::new(
            op,
            offset,
            len,
            IoErrorKind::Device(io::Error::from_raw_os_error(EIO)),
        ))
    }
}

impl Plan {
    /// The fault for this operation, and one operation less to wait for.
    fn next(&mut self, op: IoOp, offset: u64, len: u64) -> Option<Fault> {
        let mut due = None;
        self.nth.retain_mut(|(kind, before, fault)| {
            if *kind != op {
                return true;
            }
            let now = *before == 0;
            *before = before.saturating_sub(1);
            if now {
                due = Some(*fault);
            }
            !now
        });
        let touched = |&&(kind, ref range, _): &&(IoOp, Range<u64>, Fault)| {
            kind == op && offset < range.end && offset.saturating_add(len) > range.start
        };
        // Drawn for each operation, due or not, so that a planned fault does not shift the random ones.
        let drawn = self
            .random
            .as_mut()
            .and_then(|(random, rates)| rates.draw(random, op, len));
        let fault = due
            .or_else(|| self.ranges.iter().find(touched).map(|found| found.2))
            .or(drawn)?;
        self.injected.push((op, offset, fault));
        Some(fault)
    }
}

impl FaultRates {
    fn draw(&self, random: &mut Random, op: IoOp, len: u64) -> Option<Fault> {
        match op {
            IoOp::Read => random.one_in(self.read_error).then_some(Fault::Error),
            IoOp::Flush => random.one_in(self.flush_error).then_some(Fault::Error),
            _ if random.one_in(self.write_error) => Some(Fault::Error),
            _ if random.one_in(self.lost_write) => Some(Fault::Lost),
            _ if random.one_in(self.torn_write) => Some(Fault::Torn {
                blocks: random.below((len / 512).max(1)),
            }),
            _ => None,
        }
    }
}

impl<D: BlockDevice> BlockDevice for Faulty<D> {
    fn geometry(&self) -> DevGeometry {
        self.inner.geometry()
    }

    fn traits(&self) -> DevTraits {
        self.inner.traits()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        let len = buf.len() as u64;
        self.geometry().check(IoOp::Read, offset, len)?;
        self.run(IoOp::Read, offset, len, |len| {
            self.inner.read(offset, &mut buf[..len as usize])
        })
    }

    fn write(&self, offset: u64, buf: &[u8], how: Durability) -> Result<(), IoError> {
        let len = buf.len() as u64;
        self.geometry().check(IoOp::Write, offset, len)?;
        self.run(IoOp::Write, offset, len, |len| {
            self.inner.write(offset, &buf[..len as usize], how)
        })
    }

    fn flush(&self) -> Result<(), IoError> {
        self.run(IoOp::Flush, 0, 0, |_| self.inner.flush())
    }

    fn discard(&self, range: Range<u64>) -> Result<(), IoError> {
        self.geometry().check_range(IoOp::Discard, &range)?;
        let Range { start, end } = range;
        self.run(IoOp::Discard, start, end - start, |len| {
            self.inner.discard(start..start + len)
        })
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<(), IoError> {
        self.geometry().check_range(IoOp::WriteZeroes, &range)?;
        let Range { start, end } = range;
        self.run(IoOp::WriteZeroes, start, end - start, |len| {
            self.inner.write_zeroes(start..start + len)
        })
    }
}

const EIO: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemDevice;

    fn device() -> Faulty<MemDevice> {
        Faulty::new(MemDevice::from_vec(vec![1; 8192]))
    }

    #[test]
    fn the_nth_operation_fails_once() {
        let device = device();
        device.fail_nth(IoOp::Read, 1, Fault::Error);
        let mut buf = [0; 512];
        device.read(0, &mut buf).unwrap();
        device.write(0, &[2; 512], Durability::Cached).unwrap();
        assert_eq!(device.read(512, &mut buf).unwrap_err().errno(), EIO);
        device.read(512, &mut buf).unwrap();
        assert_eq!(device.injected(), [(IoOp::Read, 512, Fault::Error)]);
    }

    #[test]
    fn a_torn_write_does_its_first_blocks_and_fails() {
        let device = device();
        device.fail_nth(IoOp::Write, 0, Fault::Torn { blocks: 2 });
        device.fail_nth(IoOp::WriteZeroes, 0, Fault::Torn { blocks: 1000 });
        device.write(0, &[2; 2048], Durability::Cached).unwrap_err();
        device.write_zeroes(4096..8192).unwrap_err();
        let bytes = device.inner().to_vec();
        assert_eq!((bytes[0], bytes[1023], bytes[1024]), (2, 2, 1));
        assert_eq!((bytes[4096], bytes[7679], bytes[7680]), (0, 0, 1), "never all of it");
    }

    #[test]
    fn a_lost_write_claims_success() {
        let device = device();
        device.fail_nth(IoOp::Write, 0, Fault::Lost);
        device.write(0, &[2; 512], Durability::ForceUnitAccess).unwrap();
        assert_eq!(device.inner().to_vec()[0], 1);
    }

    #[test]
    fn bad_ranges_stay_bad_until_healed() {
        let device = device();
        device.fail_range(IoOp::Read, 1024..1536, Fault::Error);
        let mut buf = [0; 1024];
        device.read(0, &mut buf).unwrap();
        device.read(512, &mut buf).unwrap_err();
        device.read(1024, &mut buf).unwrap_err();
        device.heal();
        device.read(1024, &mut buf).unwrap();
        assert_eq!(device.injected().len(), 2);
    }

    #[test]
    fn a_seed_replays_its_faults() {
        let run = |seed| {
            let rates = FaultRates {
                read_error: 3,
                write_error: 5,
                torn_write: 5,
                lost_write: 5,
                flush_error: 3,
            };
            let device = Faulty::seeded(MemDevice::new(8192), seed, rates);
            for i in 0..100_u64 {
                let at = i % 8 * 1024;
                let _ = device.write(at, &[i as u8; 1024], Durability::Cached);
                let _ = device.read(at, &mut [0; 1024]);
                let _ = device.flush();
            }
            (device.injected(), device.into_inner().to_vec())
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7).0, run(8).0);
        let kinds = run(7).0;
        for (op, fault) in [
            (IoOp::Read, Fault::Error),
            (IoOp::Flush, Fault::Error),
            (IoOp::Write, Fault::Lost),
        ] {
            assert!(
                kinds.iter().any(|seen| (seen.0, seen.2) == (op, fault)),
                "no {op} {fault:?} in 100 rounds"
            );
        }
        assert!(kinds.iter().any(|seen| matches!(seen.2, Fault::Torn { .. })));
    }
}
