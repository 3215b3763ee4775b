//! A device as a stream: any offset, any length.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{AlignedBuf, BlockDevice, Durability, IoError, IoErrorKind, IoOp};

/// A position on a device, with [`Read`], [`Write`] and [`Seek`] as on a file that cannot grow.
///
/// Requests need not be whole blocks: a block that is written in part is read first, so two writers of one block can
/// undo each other. Wrap it in a buffer where many requests are small.
#[derive(Debug)]
pub struct IoCursor<D> {
    device: D,
    at: u64,
}

impl<D: BlockDevice> IoCursor<D> {
    /// A cursor at the start of `device`.
    pub fn new(device: D) -> IoCursor<D> {
        IoCursor { device, at: 0 }
    }

    /// The device below.
    pub fn into_inner(self) -> D {
        self.device
    }

    /// What of the next `wanted` bytes one request can do.
    fn step(&self, wanted: usize) -> Step {
        let geometry = self.device.geometry();
        let block_size = u64::from(geometry.block_size);
        let left = geometry.len.saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
        let inside = self.at % block_size;
        if len == 0 {
            Step::Nothing
        } else if inside == 0 && len as u64 >= block_size {
            Step::Blocks(len - len % geometry.block_size as usize)
        } else {
            // The device is whole blocks, so the rest of this one is there. Both are below the block size.
            let room = (block_size - inside) as usize;
            Step::Inside {
                block: self.at - inside,
                at: inside as usize,
                len: len.min(room),
            }
        }
    }

    /// Reads as much as one request can.
    fn read_step(&mut self, buf: &mut [u8]) -> Result<usize, IoError> {
        let done = match self.step(buf.len()) {
            Step::Nothing => 0,
            Step::Blocks(len) => {
                self.device.read(self.at, &mut buf[..len])?;
                len
            }
            Step::Inside { block, at, len } => {
                buf[..len].copy_from_slice(&self.block_at(block)?[at..at + len]);
                len
            }
        };
        self.at += done as u64;
        Ok(done)
    }

    fn block_at(&self, offset: u64) -> Result<AlignedBuf, IoError> {
        let geometry = self.device.geometry();
        let mut block = AlignedBuf::for_device(geometry, geometry.block_size as usize);
        self.device.read(offset, &mut block)?;
        Ok(block)
    }
}

/// Fills `buf` with the bytes at `offset`, neither of which need be whole blocks.
///
/// # Errors
/// `OutOfRange` beyond the end, otherwise the device's own error.
pub(super) fn read_bytes(device: &dyn BlockDevice, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
    let geometry = device.geometry();
    if offset
        .checked_add(buf.len() as u64)
        .is_none_or(|end| end > geometry.len)
    {
        let kind = IoErrorKind::OutOfRange {
            device_len: geometry.len,
        };
        return Err(IoError::new(IoOp::Read, offset, buf.len() as u64, kind));
    }
    let mut cursor = IoCursor { device, at: offset };
    let mut rest = buf;
    while !rest.is_empty() {
        // In range, so every step gets at least one byte.
        let done = cursor.read_step(rest)?;
        rest = rest.split_at_mut(done).1;
    }
    Ok(())
}

/// One request of the device.
enum Step {
    /// At the end of the device, or nothing wanted.
    Nothing,
    /// So many bytes, whole blocks.
    Blocks(usize),
    /// `len` bytes from byte `at` of the block at offset `block`.
    Inside { block: u64, at: usize, len: usize },
}

impl<D: BlockDevice> Read for IoCursor<D> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.read_step(buf)?)
    }
}

impl<D: BlockDevice> Write for IoCursor<D> {
    /// Writes up to the device's end, where it takes nothing more.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let done = match self.step(buf.len()) {
            Step::Nothing => 0,
            Step::Blocks(len) => {
                self.device.write(self.at, &buf[..len], Durability::Cached)?;
                len
            }
            Step::Inside { block, at, len } => {
                let mut bytes = self.block_at(block)?;
                bytes[at..at + len].copy_from_slice(&buf[..len]);
                self.device.write(block, &bytes, Durability::Cached)?;
                len
            }
        };
        self.at += done as u64;
        Ok(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.device.flush()?)
    }
}

impl<D: BlockDevice> Seek for IoCursor<D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.device.geometry().len.checked_add_signed(delta),
            SeekFrom::Current(delta) => self.at.checked_add_signed(delta),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::device::MemDevice;

    #[derive(Clone, Debug)]
    enum Do {
        Read(usize),
        Write(Vec<u8>),
        Seek(SeekFrom),
    }

    fn any_step() -> impl Strategy<Value = Do> {
        prop_oneof![
            (0..3000_usize).prop_map(Do::Read),
            prop::collection::vec(any::<u8>(), 0..3000).prop_map(Do::Write),
            (0..9000_u64).prop_map(|at| Do::Seek(SeekFrom::Start(at))),
            (-9000..500_i64).prop_map(|delta| Do::Seek(SeekFrom::End(delta))),
            (-3000..3000_i64).prop_map(|delta| Do::Seek(SeekFrom::Current(delta))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn behaves_as_a_slice_in_memory(steps in prop::collection::vec(any_step(), 1..30)) {
            let mut model = vec![0; 8192];
            let mut model = io::Cursor::new(&mut model[..]);
            let mut ours = IoCursor::new(MemDevice::new(8192));
            for step in steps {
                match step {
                    Do::Read(len) => {
                        let (mut want, mut have) = (Vec::new(), Vec::new());
                        Read::by_ref(&mut model).take(len as u64).read_to_end(&mut want).unwrap();
                        Read::by_ref(&mut ours).take(len as u64).read_to_end(&mut have).unwrap();
                        prop_assert_eq!(want, have);
                    }
                    Do::Write(bytes) => {
                        let (want, have) = (model.write_all(&bytes), ours.write_all(&bytes));
                        prop_assert_eq!(want.map_err(|e| e.kind()), have.map_err(|e| e.kind()));
                    }
                    Do::Seek(to) => prop_assert_eq!(model.seek(to).ok(), ours.seek(to).ok()),
                }
            }
            prop_assert_eq!(&model.into_inner()[..], ours.into_inner().to_vec());
        }
    }
}
