//! An open journal: its superblock checked, its ring known.
//!
//! Source: on-disk reference, sections 26.2 to 26.4.

use ocfs2_format::Geometry;
use ocfs2_format::device::{BlockDevice, Durability, IoError};
use ocfs2_format::jbd2::{Incompat, MAGIC, Ring, Superblock};
use zerocopy::{FromZeros, IntoBytes};

use crate::io::{LogReader, offset_of, read_bytes, write_bytes};
use crate::{JournalError, LogDump, LogMap};

/// A journal whose superblock has been accepted.
#[derive(Debug)]
pub struct Log<'d> {
    pub(crate) dev: &'d dyn BlockDevice,
    pub(crate) map: LogMap,
    pub(crate) geometry: Geometry,
    pub(crate) superblock: Superblock,
    pub(crate) ring: Ring,
}

impl<'d> Log<'d> {
    /// Opens the journal in the file that `map` describes, on the volume's own device.
    ///
    /// # Errors
    /// `Unsupported` for unknown features, `Corrupt` for a superblock that the kernel driver would not take either.
    pub fn open(dev: &'d dyn BlockDevice, map: LogMap, geometry: &Geometry) -> Result<Log<'d>, JournalError> {
        let superblock = read_superblock(dev, &map, geometry.block_size_bits)?;
        if superblock.s_header.h_magic.get() == MAGIC {
            let incompat = superblock.incompat().difference(Incompat::KNOWN).bits();
            for (word, bits) in [
                ("incompatible", incompat),
                ("read-only compatible", superblock.ro_compat()),
            ] {
                if bits != 0 {
                    return Err(JournalError::Unsupported { word, bits });
                }
            }
        }
        let ring = superblock
            .check(1 << geometry.block_size_bits, map.blocks())
            .map_err(|corrupt| match map.block(0) {
                Some(block) => corrupt.at_block(block),
                None => corrupt,
            })?;
        Ok(Log {
            dev,
            map,
            geometry: *geometry,
            superblock,
            ring,
        })
    }

    /// The superblock as stored.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// What the superblock amounts to.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Where the blocks of the journal lie.
    pub fn map(&self) -> &LogMap {
        &self.map
    }

    /// Every block of the journal file, classified.
    ///
    /// # Errors
    /// `Io` if the superblock cannot be read.
    pub fn dump(&self) -> Result<LogDump<'_>, JournalError> {
        LogDump::new(self.dev, &self.map, &self.geometry)
    }

    pub(crate) fn reader(&self) -> LogReader<'_> {
        LogReader::new(self.dev, &self.map, self.geometry.block_size_bits, self.ring.end.into())
    }
}

/// Reads the superblock of a journal as it is: its first 1024 bytes, which may lie in two blocks.
pub(crate) fn read_superblock(
    dev: &dyn BlockDevice,
    map: &LogMap,
    block_size_bits: u8,
) -> Result<Superblock, JournalError> {
    let mut superblock = Superblock::new_zeroed();
    for (n, part) in (0..).zip(superblock.as_mut_bytes().chunks_mut(1 << block_size_bits)) {
        if let Some(block) = map.block(n) {
            read_bytes(dev, offset_of(block, block_size_bits, dev)?, part)?;
        }
    }
    Ok(superblock)
}

/// Writes what ever changes of a journal's superblock: the block it begins in, which the device replaces as a whole.
pub(crate) fn write_superblock(
    dev: &dyn BlockDevice,
    map: &LogMap,
    block_size_bits: u8,
    superblock: &Superblock,
    how: Durability,
) -> Result<(), IoError> {
    if let (Some(block), Some(bytes)) = (map.block(0), superblock.as_bytes().chunks(1 << block_size_bits).next()) {
        write_bytes(dev, offset_of(block, block_size_bits, dev)?, bytes, how)?;
    }
    Ok(())
}
