//! Partitions of a disk or disk image: MBR with logical partitions, and GPT from its primary or backup header.
//!
//! GPT structures are decoded by the `gpt_disk_io` crate, which never trusts what it reads; reading, limits and the
//! choice of the header are here.
//!
//! Source: UEFI specification 2.10, section 5 (GUID Partition Table disk layout, and its legacy MBR).

use std::collections::BTreeSet;
use std::fmt;

use gpt_disk_io::gpt_disk_types::{BlockSize, GptHeader, GptPartitionType, Lba};
use gpt_disk_io::{BlockIo, Disk, DiskError};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned, little_endian as le};

use super::cursor::read_bytes;
use super::{BlockDevice, IoError, IoErrorKind, IoOp, RangeDevice};

/// One partition of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number as Linux counts: entries from 1, logical MBR partitions from 5.
    pub number: u32,
    /// First byte on the device.
    pub start: u64,
    /// Length in bytes. May reach beyond the device, where an image was cut short.
    pub len: u64,
    /// What the table says is in it.
    pub kind: PartitionKind,
    /// The name GPT gives it, else empty.
    pub name: String,
}

/// The type a table gives to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartitionKind {
    /// The type byte of an MBR partition.
    Mbr(u8),
    /// The type GUID of a GPT partition, in the byte order of the disk.
    Gpt([u8; 16]),
}

/// As partitioning tools write it: `0x83`, or `0fc63daf-8483-4772-8e79-3d69d8477de4`.
impl fmt::Display for PartitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PartitionKind::Mbr(kind) => write!(f, "{kind:#04x}"),
            PartitionKind::Gpt(guid) => gpt_disk_io::gpt_disk_types::Guid::from_bytes(*guid).fmt(f),
        }
    }
}

/// Why there is no list of partitions, or not the one asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// The device could not be opened or read.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The device has neither an MBR nor a GPT partition table.
    #[error("no partition table")]
    NoTable,
    /// There is a table, but it contradicts itself.
    #[error("damaged partition table at byte {offset}: {why}")]
    Damaged {
        /// Where the damaged part of the table begins, in bytes.
        offset: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// The table has no such partition.
    #[error("no partition {number}; the table has {}", list(.present))]
    NoSuchPartition {
        /// The number asked for.
        number: u32,
        /// The numbers there are.
        present: Vec<u32>,
    },
}

/// The partitions of a device, in the order of their numbers.
///
/// A GPT counts only behind a protective MBR, as for Linux: a disk that was given a volume as a whole may still have an
/// old backup header at its end.
///
/// # Errors
/// `NoTable`, `Damaged`, or the device's error.
pub fn partitions(device: &dyn BlockDevice) -> Result<Vec<Partition>, PartitionError> {
    let geometry = device.geometry();
    if geometry.len < SECTOR {
        return Err(PartitionError::NoTable);
    }
    let mbr = BootRecord::read(device, 0)?;
    if !mbr.is_table() {
        return Err(PartitionError::NoTable);
    }
    if mbr.entries.iter().any(|entry| entry.kind == GPT_PROTECTIVE) {
        // The table counts in sectors of the disk, which an image of it does not know.
        let mut sizes = vec![geometry.block_size, 512, 4096];
        sizes.dedup();
        return gpt(device, &sizes);
    }
    // A device whose blocks are larger only because of direct I/O is an image, in sectors of 512 bytes.
    let fits = |unit: u64| {
        mbr.entries
            .iter()
            .all(|entry| !entry.is_used() || entry.end(unit) <= geometry.len)
    };
    let unit = u64::from(geometry.block_size);
    mbr_partitions(device, &mbr, if fits(unit) { unit } else { SECTOR })
}

/// The bytes of one partition as a device.
///
/// # Errors
/// As [`partitions`]; `NoSuchPartition`; `OutOfRange` when the partition reaches beyond the device.
pub fn open_partition<D: BlockDevice>(device: D, number: u32) -> Result<RangeDevice<D>, PartitionError> {
    let all = partitions(&device)?;
    let Some(found) = all.iter().find(|partition| partition.number == number) else {
        let present = all.iter().map(|partition| partition.number).collect();
        return Err(PartitionError::NoSuchPartition { number, present });
    };
    let block_size = u64::from(device.geometry().block_size);
    // A partition of odd sectors on a device of larger blocks: the last, partial block is not used.
    let len = found.len - found.len % block_size;
    let Some(end) = found.start.checked_add(len) else {
        let kind = IoErrorKind::OutOfRange {
            device_len: device.geometry().len,
        };
        return Err(IoError::new(IoOp::Open, found.start, len, kind).into());
    };
    Ok(RangeDevice::new(device, found.start..end)?)
}

/// The sector that holds an MBR, or the link to a logical partition.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BootRecord {
    code: [u8; 446],
    entries: [MbrEntry; 4],
    signature: [u8; 2],
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct MbrEntry {
    /// 0x80 for the one to boot from, else 0.
    status: u8,
    first_chs: [u8; 3],
    kind: u8,
    last_chs: [u8; 3],
    /// In sectors; relative to this record or to the extended partition where the record is not the MBR.
    first: le::U32,
    sectors: le::U32,
}

const _: () = assert!(size_of::<BootRecord>() == SECTOR as usize);

impl BootRecord {
    fn read(device: &dyn BlockDevice, offset: u64) -> Result<BootRecord, IoError> {
        let mut record = [0; SECTOR as usize];
        read_bytes(device, offset, &mut record)?;
        Ok(zerocopy::transmute!(record))
    }

    /// Whether this is a table, and not the first sector of a volume that has the boot signature too.
    fn is_table(&self) -> bool {
        self.signature == [0x55, 0xAA] && self.entries.iter().all(|entry| entry.status & 0x7F == 0)
    }
}

impl MbrEntry {
    fn is_used(&self) -> bool {
        self.kind != 0 && self.sectors.get() != 0
    }

    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0F | 0x85) && self.sectors.get() != 0
    }

    /// First byte behind it, counted from the start of the disk.
    fn end(&self, unit: u64) -> u64 {
        (u64::from(self.first.get()) + u64::from(self.sectors.get())).saturating_mul(unit)
    }

    /// As a partition, when `base` is the byte its first sector counts from.
    fn partition(&self, number: u32, base: u64, unit: u64) -> Partition {
        Partition {
            number,
            start: base.saturating_add(u64::from(self.first.get()).saturating_mul(unit)),
            len: u64::from(self.sectors.get()).saturating_mul(unit),
            kind: PartitionKind::Mbr(self.kind),
            name: String::new(),
        }
    }
}

/// The partitions of an MBR whose sectors have `unit` bytes.
fn mbr_partitions(device: &dyn BlockDevice, mbr: &BootRecord, unit: u64) -> Result<Vec<Partition>, PartitionError> {
    let mut found = Vec::new();
    for (number, entry) in (1..).zip(&mbr.entries) {
        if entry.is_used() {
            found.push(entry.partition(number, 0, unit));
        }
    }
    if let Some(extended) = mbr.entries.iter().find(|entry| entry.is_extended()) {
        let base = u64::from(extended.first.get()).saturating_mul(unit);
        logical_partitions(device, base, unit, &mut found)?;
    }
    Ok(found)
}

/// Follows the chain of records in the extended partition at byte `base`: each has one partition and the next link.
fn logical_partitions(
    device: &dyn BlockDevice,
    base: u64,
    unit: u64,
    found: &mut Vec<Partition>,
) -> Result<(), PartitionError> {
    let device_len = device.geometry().len;
    let mut seen = BTreeSet::new();
    let mut number = FIRST_LOGICAL;
    let mut at = base;
    loop {
        if !seen.insert(at) {
            return Err(PartitionError::Damaged {
                offset: at,
                why: "the chain of logical partitions is a loop",
            });
        }
        if seen.len() > MOST_PARTITIONS {
            return Err(PartitionError::Damaged {
                offset: at,
                why: "too many logical partitions",
            });
        }
        // Behind the end of a shortened image, or an extended partition that nothing was ever written to.
        if at.checked_add(SECTOR).is_none_or(|end| end > device_len) {
            return Ok(());
        }
        let record = BootRecord::read(device, at)?;
        if !record.is_table() {
            return Ok(());
        }
        let [entry, link, ..] = &record.entries;
        if entry.is_used() && !entry.is_extended() {
            found.push(entry.partition(number, at, unit));
            number += 1;
        }
        if !link.is_extended() {
            return Ok(());
        }
        at = base.saturating_add(u64::from(link.first.get()).saturating_mul(unit));
    }
}

/// The partitions of the first good GPT header, primary before backup, for each size of sector that is possible.
fn gpt(device: &dyn BlockDevice, sector_sizes: &[u32]) -> Result<Vec<Partition>, PartitionError> {
    let len = device.geometry().len;
    let mut problem = None;
    for &size in sector_sizes {
        let Some(sector) = BlockSize::new(size) else { continue };
        let sectors = len / u64::from(size);
        if sectors < 3 {
            continue;
        }
        for header in [1, sectors - 1] {
            match gpt_at(device, sector, header) {
                Ok(partitions) => return Ok(partitions),
                // What is wrong with a header says more than that there is none.
                Err(PartitionError::NoTable) => {}
                Err(error) => problem = problem.or(Some(error)),
            }
        }
    }
    const NO_HEADER: &str = "a protective MBR without a GPT header";
    Err(problem.unwrap_or(PartitionError::Damaged {
        offset: 0,
        why: NO_HEADER,
    }))
}

/// The partitions of the GPT header in sector `lba`; `NoTable` when there is none.
fn gpt_at(device: &dyn BlockDevice, sector: BlockSize, lba: u64) -> Result<Vec<Partition>, PartitionError> {
    let size = sector.to_u64();
    let damaged = |lba: u64, why| PartitionError::Damaged {
        offset: lba.saturating_mul(size),
        why,
    };
    let told = |error: DiskError<IoError>| match error {
        DiskError::Io(error) => PartitionError::Io(error),
        _ => damaged(lba, "GPT entries larger than possible"),
    };

    let mut disk = Disk::new(Sectors { device, sector }).map_err(told)?;
    let mut block = vec![0; sector.to_u32() as usize];
    let header = disk.read_gpt_header(Lba(lba), &mut block).map_err(told)?;
    if !header.is_signature_valid() {
        return Err(PartitionError::NoTable);
    }
    if header_crc32(&header, &mut block) != Some(header.header_crc32.0.to_u32()) {
        return Err(damaged(lba, "wrong checksum of the GPT header"));
    }
    if header.my_lba.to_u64() != lba {
        return Err(damaged(lba, "the GPT header belongs elsewhere"));
    }
    let layout = header
        .get_partition_entry_array_layout()
        .map_err(|_| damaged(lba, "wrong size of a GPT entry"))?;
    let room = match layout.num_bytes_rounded_to_block_as_usize(sector) {
        Some(room) if room <= MOST_ENTRY_BYTES => room,
        _ => return Err(damaged(lba, "too many GPT entries")),
    };
    let mut storage = vec![0; room];
    let entries = disk
        .read_gpt_partition_entry_array(layout, &mut storage)
        .map_err(told)?;
    if entries.calculate_crc32() != header.partition_entry_array_crc32 {
        return Err(damaged(layout.start_lba.to_u64(), "wrong checksum of the GPT entries"));
    }

    let used = (0..layout.num_entries).filter_map(|index| Some((index, *entries.get_partition_entry(index)?)));
    let mut found = Vec::new();
    for (index, entry) in used {
        let kind = { entry.partition_type_guid };
        if kind == GptPartitionType::UNUSED {
            continue;
        }
        let (first, last) = (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
        let Some((start, len)) = extent_in_bytes(first, last, size) else {
            return Err(damaged(
                layout.start_lba.to_u64(),
                "a GPT entry with an impossible range",
            ));
        };
        let kind = PartitionKind::Gpt(kind.0.to_bytes());
        let name = { entry.name }.to_string();
        found.push(Partition {
            number: index + 1,
            start,
            len,
            kind,
            name,
        });
    }
    Ok(found)
}

/// Start and length in bytes of the sectors from `first` to `last` inclusive.
fn extent_in_bytes(first: u64, last: u64, sector: u64) -> Option<(u64, u64)> {
    let sectors = last.checked_sub(first)?.checked_add(1)?;
    let (start, len) = (first.checked_mul(sector)?, sectors.checked_mul(sector)?);
    start.checked_add(len)?;
    Some((start, len))
}

/// The checksum of the header that `block` begins with, over the length it claims; `None` for an impossible length.
fn header_crc32(header: &GptHeader, block: &mut [u8]) -> Option<u32> {
    let len = header.header_size.to_u32() as usize;
    if len < size_of::<GptHeader>() {
        return None;
    }
    let bytes = block.get_mut(..len)?;
    bytes.get_mut(16..20)?.fill(0);
    Some(crc32fast::hash(bytes))
}

/// A device as the GPT crate reads it. Nothing is ever written.
struct Sectors<'a> {
    device: &'a dyn BlockDevice,
    sector: BlockSize,
}

impl BlockIo for Sectors<'_> {
    type Error = IoError;

    fn block_size(&self) -> BlockSize {
        self.sector
    }

    fn num_blocks(&mut self) -> Result<u64, IoError> {
        Ok(self.device.geometry().len / self.sector.to_u64())
    }

    fn read_blocks(&mut self, start: Lba, buf: &mut [u8]) -> Result<(), IoError> {
        // Beyond the end of any device, where it does not fit.
        let offset = start.to_u64().saturating_mul(self.sector.to_u64());
        read_bytes(self.device, offset, buf)
    }

    fn write_blocks(&mut self, start: Lba, buf: &[u8]) -> Result<(), IoError> {
        let offset = start.to_u64().saturating_mul(self.sector.to_u64());
        Err(IoError::new(
            IoOp::Write,
            offset,
            buf.len() as u64,
            IoErrorKind::ReadOnly,
        ))
    }

    fn flush(&mut self) -> Result<(), IoError> {
        Ok(())
    }
}

fn list(numbers: &[u32]) -> String {
    if numbers.is_empty() {
        return "none".to_owned();
    }
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// Length of a boot record in bytes, whatever the device's sector.
const SECTOR: u64 = 512;

/// The type byte of the MBR entry that keeps other tools off a GPT disk.
const GPT_PROTECTIVE: u8 = 0xEE;

/// The number of the first logical partition.
const FIRST_LOGICAL: u32 = 5;

/// Longest chain of logical partitions followed; Linux numbers no more than 256 partitions.
const MOST_PARTITIONS: usize = 256;

/// Most bytes of GPT entries read: 64 times what every partitioning tool makes.
const MOST_ENTRY_BYTES: usize = 1 << 20;
