//! The one test of what a [`BlockDevice`] must do, for every implementation and every stack of wrappers.

use std::ops::Range;
use std::thread;

use super::{AlignedBuf, BlockDevice, DevGeometry, DiscardEffect, Durability, IoError, IoErrorKind};

/// Checks that a device keeps the promises of [`BlockDevice`]: bounds, whole blocks, any memory, what reads see after
/// writes, zeroing and discarding, and calls from several threads at once.
///
/// **Overwrites** up to 3 MiB at either end of a writable device, which must have 64 blocks at least.
///
/// # Errors
/// The first promise that is broken.
pub fn check(device: &dyn BlockDevice) -> Result<(), String> {
    let geometry = device.geometry();
    let suite = Suite {
        device,
        geometry,
        block: u64::from(geometry.block_size),
    };
    suite.geometry_makes_sense()?;
    suite.bad_requests_are_refused()?;
    suite.empty_requests_succeed()?;
    if device.traits().read_only {
        suite.writes_are_refused()?;
    } else {
        suite.writes_are_read_back()?;
        suite.zeroing_is_exact()?;
        suite.discarding_does_as_told()?;
        suite.threads_do_not_mix()?;
    }
    suite.memory_agrees()
}

struct Suite<'a> {
    device: &'a dyn BlockDevice,
    geometry: DevGeometry,
    block: u64,
}

impl Suite<'_> {
    fn geometry_makes_sense(&self) -> Result<(), String> {
        let DevGeometry {
            block_size,
            len,
            dma_alignment,
        } = self.geometry;
        ensure(block_size.is_power_of_two() && block_size >= 512, || {
            format!("block size {block_size}")
        })?;
        ensure(dma_alignment.is_power_of_two(), || {
            format!("memory alignment {dma_alignment}")
        })?;
        ensure(len.is_multiple_of(self.block), || {
            format!("length {len} is not whole blocks of {block_size}")
        })?;
        ensure(len >= 64 * self.block, || format!("length {len} is too short to check"))?;
        ensure(self.device.geometry() == self.geometry, || {
            "the geometry changes between two calls".to_owned()
        })?;
        ensure(self.device.traits() == self.device.traits(), || {
            "the traits change between two calls".to_owned()
        })
    }

    fn bad_requests_are_refused(&self) -> Result<(), String> {
        let (block, len) = (self.block, self.geometry.len);
        let last_block = u64::MAX - (block - 1);
        let out_of_range = [
            (len, block),
            (len - block, 2 * block),
            (len + block, block),
            (last_block, block),
            (last_block, 0),
        ];
        for (offset, len) in out_of_range {
            let is_right = |kind: &IoErrorKind| matches!(kind, IoErrorKind::OutOfRange { .. });
            self.refused(offset, len, "out of range", is_right)?;
        }
        for (offset, len) in [
            (1, block),
            (block / 2, block),
            (0, 1),
            (0, block + 1),
            (block, block - 1),
        ] {
            let is_right = |kind: &IoErrorKind| matches!(kind, IoErrorKind::InvalidRequest { .. });
            self.refused(offset, len, "not whole blocks", is_right)?;
        }
        let reversed = 4096 * block..0;
        for result in [
            self.device.discard(reversed.clone()),
            self.device.write_zeroes(reversed),
        ] {
            ensure(result.is_err(), || {
                "a range that ends before it starts is accepted".to_owned()
            })?;
        }
        Ok(())
    }

    /// Every operation on these bytes fails, for the right reason.
    fn refused(
        &self,
        offset: u64,
        len: u64,
        what: &str,
        is_right: impl Fn(&IoErrorKind) -> bool,
    ) -> Result<(), String> {
        let mut buf = vec![0; len as usize];
        let mut results = vec![
            ("read", self.device.read(offset, &mut buf)),
            ("write", self.device.write(offset, &buf, Durability::Cached)),
        ];
        if let Some(end) = offset.checked_add(len) {
            results.push(("discard", self.device.discard(offset..end)));
            results.push(("zeroing", self.device.write_zeroes(offset..end)));
            results.push(("allocation", self.device.allocate(offset..end)));
        }
        for (op, result) in results {
            match result {
                Err(error) if is_right(&error.kind) => {}
                Err(error) => return Err(format!("{op} of {len} bytes at {offset}, {what}: wrong error: {error}")),
                Ok(()) => return Err(format!("{op} of {len} bytes at {offset}, {what}: accepted")),
            }
        }
        Ok(())
    }

    fn empty_requests_succeed(&self) -> Result<(), String> {
        for offset in [0, self.block, self.geometry.len] {
            done("empty read", self.device.read(offset, &mut []))?;
            if !self.device.traits().read_only {
                done("empty write", self.device.write(offset, &[], Durability::Cached))?;
                done(
                    "empty forced write",
                    self.device.write(offset, &[], Durability::ForceUnitAccess),
                )?;
                done("empty discard", self.device.discard(offset..offset))?;
                done("empty zeroing", self.device.write_zeroes(offset..offset))?;
                done("empty allocation", self.device.allocate(offset..offset))?;
            }
        }
        Ok(())
    }

    fn writes_are_refused(&self) -> Result<(), String> {
        let (block, mut before, mut after) = (self.block, self.buf(self.block), self.buf(self.block));
        done("read", self.device.read(0, &mut before))?;
        let other: Vec<u8> = before.iter().map(|byte| !byte).collect();
        let results = [
            self.device.write(0, &other, Durability::Cached),
            self.device.write(0, &other, Durability::ForceUnitAccess),
            self.device.discard(0..block),
            self.device.write_zeroes(0..block),
            self.device.allocate(0..block),
        ];
        for result in results {
            let refused = matches!(
                &result,
                Err(IoError {
                    kind: IoErrorKind::ReadOnly,
                    ..
                })
            );
            ensure(refused, || format!("a write to a read-only device gives {result:?}"))?;
        }
        done("flush", self.device.flush())?;
        done("read", self.device.read(0, &mut after))?;
        ensure(*before == *after, || "a refused write changed the device".to_owned())
    }

    fn writes_are_read_back(&self) -> Result<(), String> {
        for window in self.windows() {
            let len = window.end - window.start;
            // Fills the window first, so that later reads cannot be right by chance.
            let base = self.pattern(len, 1);
            done("write", self.device.write(window.start, &base, Durability::Cached))?;
            self.holds(window.start, &base, "after a write")?;

            let mut want = base.to_vec();
            let sizes = [1, 2, 3, 17, len / self.block / 2];
            let mut at = 0;
            for (seed, blocks) in (2..).zip(sizes) {
                let size = (blocks.max(1) * self.block).min(len - at);
                let how = if seed % 2 == 0 {
                    Durability::ForceUnitAccess
                } else {
                    Durability::Cached
                };
                // Memory that no direct I/O takes as it is, at two different offsets.
                let patch = self.pattern(size, seed);
                let mut shifted = vec![0; size as usize + 3];
                shifted[seed as usize % 3 + 1..][..size as usize].copy_from_slice(&patch);
                let patch = &shifted[seed as usize % 3 + 1..][..size as usize];
                done("write", self.device.write(window.start + at, patch, how))?;
                want[at as usize..][..size as usize].copy_from_slice(patch);
                at = (at + size + self.block).min(len);
            }
            self.holds(window.start, &want, "after writes of several sizes")?;
            done("flush", self.device.flush())?;
            self.holds(window.start, &want, "after a flush")?;
            done("allocation", self.device.allocate(window.clone()))?;
            self.holds(window.start, &want, "after an allocation")?;

            let mut shifted = vec![0; len as usize + 1];
            done("read", self.device.read(window.start, &mut shifted[1..]))?;
            same(&shifted[1..], &want, window.start, "into memory of odd address")?;
            for block in [0, 1, len / self.block - 1] {
                let mut buf = self.buf(self.block);
                let at = block * self.block;
                done("read", self.device.read(window.start + at, &mut buf))?;
                same(
                    &buf,
                    &want[at as usize..][..self.block as usize],
                    window.start + at,
                    "block by block",
                )?;
            }
        }
        Ok(())
    }

    fn zeroing_is_exact(&self) -> Result<(), String> {
        for window in self.windows() {
            let len = window.end - window.start;
            let mut want = self.pattern(len, 21).to_vec();
            done("write", self.device.write(window.start, &want, Durability::Cached))?;
            let block = self.block;
            for range in [
                block..2 * block,
                5 * block..6 * block,
                5 * block..21 * block,
                23 * block..len - block,
            ] {
                want[range.start as usize..range.end as usize].fill(0);
                done(
                    "zeroing",
                    self.device
                        .write_zeroes(window.start + range.start..window.start + range.end),
                )?;
                self.holds(window.start, &want, "after zeroing")?;
            }
            // Over what is zeros already, and written again afterwards.
            done("zeroing", self.device.write_zeroes(window.clone()))?;
            let patch = self.pattern(block, 22);
            done(
                "write",
                self.device.write(window.start + 7 * block, &patch, Durability::Cached),
            )?;
            want.fill(0);
            want[7 * block as usize..8 * block as usize].copy_from_slice(&patch);
            done("flush", self.device.flush())?;
            self.holds(window.start, &want, "after a write to zeroed blocks")?;
        }
        Ok(())
    }

    fn discarding_does_as_told(&self) -> Result<(), String> {
        for window in self.windows() {
            let len = window.end - window.start;
            let old = self.pattern(len, 31).to_vec();
            let block = self.block as usize;
            let gone = 3 * block..len as usize - 2 * block;
            done("write", self.device.write(window.start, &old, Durability::Cached))?;
            done(
                "discard",
                self.device
                    .discard(window.start + gone.start as u64..window.start + gone.end as u64),
            )?;

            let mut now = self.buf(len);
            done("read", self.device.read(window.start, &mut now))?;
            same(
                &now[..gone.start],
                &old[..gone.start],
                window.start,
                "in front of a discard",
            )?;
            same(
                &now[gone.end..],
                &old[gone.end..],
                window.start + gone.end as u64,
                "behind a discard",
            )?;
            let at = window.start + gone.start as u64;
            match self.device.traits().discard {
                DiscardEffect::Zeroes => same(&now[gone.clone()], &vec![0; gone.len()], at, "discarded")?,
                DiscardEffect::Ignored => same(&now[gone.clone()], &old[gone], at, "whose discard is ignored")?,
                DiscardEffect::Undefined => {}
            }
        }
        Ok(())
    }

    fn threads_do_not_mix(&self) -> Result<(), String> {
        const THREADS: u64 = 4;
        let share = (self.geometry.len / self.block / THREADS).min(64) * self.block;
        thread::scope(|scope| {
            let work = |number: u64| {
                let start = number * share;
                for round in 0..4 {
                    let data = self.pattern(share, 100 + 10 * round + number);
                    for (at, piece) in (start..)
                        .step_by(self.block as usize)
                        .zip(data.chunks(self.block as usize))
                    {
                        done("write", self.device.write(at, piece, Durability::Cached))?;
                    }
                    self.holds(start, &data, "with other threads writing next to it")?;
                }
                Ok(())
            };
            let threads: Vec<_> = (0..THREADS).map(|number| scope.spawn(move || work(number))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
        })
    }

    fn memory_agrees(&self) -> Result<(), String> {
        let Some(bytes) = self.device.as_slice() else {
            return Ok(());
        };
        let (want, have) = (self.geometry.len, bytes.len());
        ensure(have as u64 == want, || {
            format!("{have} bytes in memory of {want} on the device")
        })?;
        for window in self.windows() {
            let bytes = &bytes[window.start as usize..window.end as usize];
            self.holds(window.start, bytes, "in memory")?;
        }
        Ok(())
    }

    /// The two ends of the device, apart or overlapping: long enough for several chunks of whatever bounces.
    fn windows(&self) -> [Range<u64>; 2] {
        let len = self.geometry.len;
        let window = (len - len % self.block).min((2 << 20) + 8 * self.block);
        [0..window, len - window..len]
    }

    fn buf(&self, len: u64) -> AlignedBuf {
        AlignedBuf::for_device(self.geometry, len as usize)
    }

    /// Bytes that differ from block to block and from seed to seed, and are never 0.
    fn pattern(&self, len: u64, seed: u64) -> AlignedBuf {
        let mut buf = self.buf(len);
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for word in buf.chunks_mut(8) {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let bytes = (state | 0x0101_0101_0101_0101).to_le_bytes();
            word.copy_from_slice(&bytes[..word.len()]);
        }
        buf
    }

    fn holds(&self, offset: u64, want: &[u8], when: &str) -> Result<(), String> {
        let mut have = self.buf(want.len() as u64);
        done("read", self.device.read(offset, &mut have))?;
        same(&have, want, offset, when)
    }
}

fn same(have: &[u8], want: &[u8], offset: u64, when: &str) -> Result<(), String> {
    if have == want {
        return Ok(());
    }
    let at = have.iter().zip(want).position(|(have, want)| have != want).unwrap_or(0);
    Err(format!(
        "bytes {when}: byte {} is {:#04x}, not {:#04x}",
        offset + at as u64,
        have[at],
        want[at]
    ))
}

fn done(what: &str, result: Result<(), IoError>) -> Result<(), String> {
    result.map_err(|error| format!("{what} fails: {error}"))
}

fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message()) }
}
