//! Partition tables, as sfdisk makes them and as nobody should.

use std::fs;

use gpt_disk_io::gpt_disk_types::{
    BlockSize, GptHeader, GptPartitionEntry, GptPartitionEntryArray, GptPartitionEntryArrayLayout,
    GptPartitionEntrySize, Lba, LbaLe, U32Le, guid,
};
use gpt_disk_io::{BlockIoAdapter, Disk};
use ocfs2_format::device::partition::{Partition, PartitionError, PartitionKind, open_partition, partitions};
use ocfs2_format::device::{
    BlockDevice, Counting, Durability, Fault, Faulty, FileDevice, FileOptions, IoErrorKind, IoOp, MemDevice,
};
use ocfs2_testkit::require_tool;

use super::{LoopDevice, directory, open_direct, writable};

const MIB: u64 = 1 << 20;
const LEN: u64 = 16 * MIB;
/// The type GUID of Linux file systems.
const LINUX: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";

#[test]
fn sfdisk_mbr_with_logical_partitions() {
    let Some(sfdisk) = require_tool("sfdisk") else { return };
    let dir = directory();
    let path = dir.path().join("disk");
    let device = FileDevice::create(&path, LEN, &writable()).unwrap();
    let script = "label: dos\nstart=2048, size=4096, type=83\nsize=2048, type=c, bootable\ntype=f\n\
                  size=2048, type=83\nsize=4096, type=82\ntype=8e\n";
    sfdisk.arg(&path).stdin(script).run().ok();

    let found = partitions(&device).unwrap();
    assert_eq!(
        summary(&found),
        ["1 0x83", "2 0x0c", "3 0x0f", "5 0x83", "6 0x82", "7 0x8e"]
    );
    assert_eq!(extents(&found), sfdisk_extents(&path, 512));
}

#[test]
fn sfdisk_gpt() {
    let Some(sfdisk) = require_tool("sfdisk") else { return };
    let dir = directory();
    let path = dir.path().join("disk");
    let device = FileDevice::create(&path, LEN, &writable()).unwrap();
    let script = "label: gpt\n1 : size=2MiB, name=\"boot\", type=U\n\
                  4 : size=3MiB, name=\"Ocfs2 Größe\"\n7 : size=1MiB\n";
    sfdisk.arg(&path).stdin(script).run().ok();

    let check = |when: &str| {
        let found = partitions(&device).unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_eq!(extents(&found), sfdisk_extents(&path, 512), "{when}");
        assert_eq!(found[0].name, "boot", "{when}");
        assert_eq!(
            found[0].kind.to_string(),
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            "{when}"
        );
        assert!(
            found
                .iter()
                .any(|partition| partition.name == "Ocfs2 Größe" && partition.kind.to_string() == LINUX)
        );
        assert_eq!(found.last().map(|partition| partition.number), Some(7), "{when}");
    };
    check("both headers");
    device.write(512, &[0xFF; 512], Durability::Cached).unwrap();
    check("backup only");
}

#[test]
fn sfdisk_gpt_in_large_sectors_is_found_on_the_device_and_in_its_image() {
    let Some(sfdisk) = require_tool("sfdisk") else { return };
    let dir = directory();
    let path = dir.path().join("disk");
    FileDevice::create(&path, LEN, &writable()).unwrap();
    let Some(disk) = LoopDevice::new(&path, 4096) else {
        return;
    };
    let script = "label: gpt\nsize=4MiB\nsize=5MiB\n";
    sfdisk
        .args(["--no-reread", "--no-tell-kernel"])
        .arg(&disk.0)
        .stdin(script)
        .run()
        .ok();

    let on_device = partitions(&FileDevice::open(&disk.0, &FileOptions::new()).unwrap()).unwrap();
    assert_eq!(extents(&on_device), [(1, MIB, 4 * MIB), (2, 5 * MIB, 5 * MIB)]);
    assert_eq!(
        partitions(&FileDevice::open(&path, &FileOptions::new()).unwrap()).unwrap(),
        on_device
    );
    if let Some(direct) = open_direct(&path) {
        assert_eq!(partitions(&direct).unwrap(), on_device);
    }
}

#[test]
fn primary_and_backup_header_each_suffice() {
    let disk = gpt_disk(512);
    let want = partitions(&disk).unwrap();
    assert_eq!(summary(&want), [format!("1 {LINUX}"), format!("3 {LINUX}")]);
    assert_eq!(extents(&want), [(1, MIB, MIB), (3, 4 * MIB, 2 * MIB)]);
    assert_eq!(want[1].name, "data");

    let without = |offset: u64| {
        let disk = disk.snapshot();
        disk.write(offset, &[0x5A; 512], Durability::Cached).unwrap();
        disk
    };
    assert_eq!(partitions(&without(512)).unwrap(), want, "primary header gone");
    assert_eq!(partitions(&without(1024)).unwrap(), want, "primary entries gone");
    assert_eq!(partitions(&without(LEN - 512)).unwrap(), want, "backup header gone");
    let neither = without(512);
    neither.write(LEN - 512, &[0x5A; 512], Durability::Cached).unwrap();
    let error = partitions(&neither).unwrap_err().to_string();
    assert_eq!(
        error,
        "damaged partition table at byte 0: a protective MBR without a GPT header"
    );

    let bad_sector = Faulty::new(&disk);
    bad_sector.fail_range(IoOp::Read, 512..1024, Fault::Error);
    assert_eq!(partitions(&bad_sector).unwrap(), want, "primary header unreadable");
}

#[test]
fn gpt_in_large_sectors_is_found_in_an_image() {
    let disk = gpt_disk(4096);
    assert_eq!(
        extents(&partitions(&disk).unwrap()),
        [(1, MIB, MIB), (3, 4 * MIB, 2 * MIB)]
    );
    let dir = directory();
    let path = dir.path().join("image");
    fs::write(&path, disk.to_vec()).unwrap();
    if let Some(direct) = open_direct(&path) {
        assert_eq!(partitions(&direct).unwrap(), partitions(&disk).unwrap());
    }
    assert!(matches!(partitions(&disk).unwrap()[0].kind, PartitionKind::Gpt(_)));
}

#[test]
fn a_leftover_backup_header_does_not_make_a_table() {
    let disk = gpt_disk(512);
    disk.write_zeroes(0..MIB).unwrap();
    assert!(matches!(partitions(&disk), Err(PartitionError::NoTable)));
}

#[test]
fn an_opened_partition_is_its_bytes_and_no_others() {
    let disk = gpt_disk(512);
    disk.write(MIB, &[1; MIB as usize], Durability::Cached).unwrap();
    let partition = open_partition(&disk, 1).unwrap();
    assert_eq!(partition.geometry().len, MIB);
    let mut buf = vec![0; MIB as usize];
    partition.read(0, &mut buf).unwrap();
    assert!(buf.iter().all(|&byte| byte == 1));
    partition.write(MIB, &[2; 512], Durability::Cached).unwrap_err();
    partition.write_zeroes(0..MIB).unwrap();
    assert_eq!(partitions(&disk).unwrap().len(), 2, "the table is out of reach");

    assert_eq!(
        open_partition(&disk, 2).unwrap_err().to_string(),
        "no partition 2; the table has 1, 3"
    );
    assert!(matches!(
        open_partition(MemDevice::new(LEN), 1),
        Err(PartitionError::NoTable)
    ));
}

#[test]
fn partitions_behind_the_end_of_a_shortened_image_are_listed_but_do_not_open() {
    let mut bytes = gpt_disk(512).to_vec();
    bytes.truncate(3 * MIB as usize);
    let disk = MemDevice::from_vec(bytes);
    assert_eq!(
        extents(&partitions(&disk).unwrap()),
        [(1, MIB, MIB), (3, 4 * MIB, 2 * MIB)]
    );
    open_partition(&disk, 1).unwrap();
    let error = open_partition(&disk, 3).unwrap_err();
    assert!(matches!(&error, PartitionError::Io(error) if matches!(error.kind, IoErrorKind::OutOfRange { .. })));
}

#[test]
fn volumes_and_short_devices_have_no_table() {
    let mut boot_sector = vec![0xF6; MIB as usize];
    boot_sector[510..512].copy_from_slice(&[0x55, 0xAA]);
    for bytes in [vec![0; MIB as usize], boot_sector, vec![], vec![0x55; 512]] {
        assert!(matches!(
            partitions(&MemDevice::from_vec(bytes)),
            Err(PartitionError::NoTable)
        ));
    }
}

#[test]
fn a_loop_of_logical_partitions_is_damage() {
    let disk = mbr_disk(&[(0x0F, 2048, 20480)]);
    let link = |at: u64, next: u32| {
        let record = boot_record(&[(0x83, 8, 8), (0x05, next, 64)]);
        disk.write(at * 512, &record, Durability::Cached).unwrap();
    };
    link(2048, 64);
    link(2048 + 64, 128);
    assert_eq!(summary(&partitions(&disk).unwrap()), ["1 0x0f", "5 0x83", "6 0x83"]);
    link(2048 + 128, 64);
    let error = partitions(&disk).unwrap_err().to_string();
    assert_eq!(
        error,
        "damaged partition table at byte 1081344: the chain of logical partitions is a loop"
    );

    // Longer than any real one, and no loop.
    for number in 0..300 {
        link(2048 + 64 * number, 64 * (number as u32 + 1));
    }
    let error = partitions(&disk).unwrap_err().to_string();
    assert!(error.ends_with("too many logical partitions"), "{error}");
}

#[test]
fn impossible_gpt_headers_are_refused_without_reading_far() {
    type Damage = fn(&mut GptHeader);
    let cases: [(&str, Damage); 6] = [
        ("too many GPT entries", |header| {
            header.number_of_partition_entries = U32Le::from_u32(u32::MAX)
        }),
        ("too many GPT entries", |header| {
            header.size_of_partition_entry = U32Le::from_u32(1 << 31)
        }),
        ("wrong size of a GPT entry", |header| {
            header.size_of_partition_entry = U32Le::from_u32(100)
        }),
        ("the GPT header belongs elsewhere", |header| {
            header.my_lba = LbaLe::from_u64(9)
        }),
        ("wrong checksum of the GPT header", |header| {
            header.header_size = U32Le::from_u32(u32::MAX)
        }),
        ("beyond the end", |header| {
            header.partition_entry_lba = LbaLe::from_u64(u64::MAX)
        }),
    ];
    for (message, damage) in cases {
        let disk = gpt_disk(512);
        edit_header(&disk, 1, damage);
        disk.write_zeroes(LEN - 512..LEN).unwrap();
        let disk = Counting::new(disk);
        let error = partitions(&disk).unwrap_err().to_string();
        assert!(error.contains(message), "{message}: {error}");
        assert!(disk.counts().read_bytes < 4 * MIB, "{message}: {:?}", disk.counts());
    }
}

#[test]
fn gpt_entries_with_impossible_ranges_are_refused() {
    for (first, last) in [(10, 9), (0, u64::MAX), (u64::MAX, u64::MAX), (1 << 55, 1 << 56)] {
        let disk = MemDevice::from_vec(gpt_bytes(512, &[(0, first, last, "")]));
        let error = partitions(&disk).unwrap_err().to_string();
        assert!(error.ends_with("a GPT entry with an impossible range"), "{error}");
    }
}

/// Tables with random damage, half of them with checksums made right again, give a list or an error, and little work.
#[test]
fn random_damage_never_panics() {
    let mbr = mbr_disk(&[(0x83, 2048, 2048), (0x05, 4096, 20000)]);
    mbr.write(
        4096 * 512,
        &boot_record(&[(0x83, 8, 100), (0x05, 512, 1000)]),
        Durability::Cached,
    )
    .unwrap();
    mbr.write(4608 * 512, &boot_record(&[(0x83, 8, 100)]), Durability::Cached)
        .unwrap();
    let gpt = gpt_disk(512);
    let mut state = 42_u64;
    let mut random = |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    for round in 0..4000 {
        let (disk, places): (_, &[u64]) = if round % 2 == 0 {
            (mbr.snapshot(), &[0, 4096, 4608])
        } else {
            (gpt.snapshot(), &[0, 1, 2, LEN / 512 - 1])
        };
        for _ in 0..random(4) + 1 {
            let sector = places[random(places.len())] * 512;
            let mut bytes = [0; 512];
            disk.read(sector, &mut bytes).unwrap();
            let at = if random(3) == 0 { random(512) } else { random(128) };
            bytes[at] = [0, 0xFF, 0x7F, 0x80, random(256) as u8][random(5)];
            if sector == 0 && random(2) == 0 {
                bytes[446 + at % 64] = random(256) as u8;
            }
            disk.write(sector, &bytes, Durability::Cached).unwrap();
        }
        if random(2) == 0 {
            edit_header(&disk, 1, |_| {});
        }
        let disk = Counting::new(disk);
        if let Ok(found) = partitions(&disk) {
            assert!(found.len() <= 300);
            for partition in found {
                let _ = open_partition(&disk, partition.number);
            }
        }
        assert!(disk.counts().read_bytes < 64 * MIB);
    }
}

fn summary(found: &[Partition]) -> Vec<String> {
    found
        .iter()
        .map(|partition| format!("{} {}", partition.number, partition.kind))
        .collect()
}

fn extents(found: &[Partition]) -> Vec<(u32, u64, u64)> {
    found
        .iter()
        .map(|partition| (partition.number, partition.start, partition.len))
        .collect()
}

/// Number, start and length in bytes of each partition, as sfdisk lists them.
fn sfdisk_extents(path: &std::path::Path, sector: u64) -> Vec<(u32, u64, u64)> {
    let sfdisk = require_tool("sfdisk").expect("checked by the caller");
    let dump = sfdisk.arg("--dump").arg(path).run().ok().stdout;
    let field = |line: &str, name: &str| -> u64 {
        let after = line.split_once(name).expect("a field of sfdisk").1;
        after
            .split(',')
            .next()
            .expect("a value")
            .trim()
            .parse()
            .expect("a number")
    };
    let prefix = path.to_str().expect("a plain path");
    dump.lines()
        .filter_map(|line| line.strip_prefix(prefix)?.split_once(" : "))
        .map(|(number, rest)| {
            let number = number.parse().expect("a partition number");
            (number, field(rest, "start=") * sector, field(rest, "size=") * sector)
        })
        .collect()
}

/// A boot record with these entries: type, first sector, sectors.
fn boot_record(entries: &[(u8, u32, u32)]) -> [u8; 512] {
    let mut record = [0; 512];
    for (entry, &(kind, first, sectors)) in record[446..510].chunks_mut(16).zip(entries) {
        entry[4] = kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..].copy_from_slice(&sectors.to_le_bytes());
    }
    record[510..].copy_from_slice(&[0x55, 0xAA]);
    record
}

fn mbr_disk(entries: &[(u8, u32, u32)]) -> MemDevice {
    let disk = MemDevice::new(LEN);
    disk.write(0, &boot_record(entries), Durability::Cached).unwrap();
    disk
}

/// A disk with partitions 1 and 3, both headers and both tables.
fn gpt_disk(sector: u32) -> MemDevice {
    let mib = MIB / u64::from(sector);
    MemDevice::from_vec(gpt_bytes(
        sector,
        &[(0, mib, 2 * mib - 1, ""), (2, 4 * mib, 6 * mib - 1, "data")],
    ))
}

/// A disk with GPT entries: index, first and last sector, name.
fn gpt_bytes(sector: u32, entries: &[(u32, u64, u64, &str)]) -> Vec<u8> {
    let block_size = BlockSize::new(sector).expect("a sector size");
    let last = LEN / u64::from(sector) - 1;
    let mut bytes = vec![0; LEN as usize];
    let mut disk = Disk::new(BlockIoAdapter::new(bytes.as_mut_slice(), block_size)).unwrap();
    let mut block = vec![0; sector as usize];
    disk.write_protective_mbr(&mut block).unwrap();

    let entry_size = GptPartitionEntrySize::new(128).unwrap();
    let table_sectors = 128 * 128 / u64::from(sector);
    for (at, other, table) in [(1, last, 2), (last, 1, last - table_sectors)] {
        let layout = GptPartitionEntryArrayLayout {
            start_lba: Lba(table),
            entry_size,
            num_entries: 128,
        };
        let mut storage = vec![0; 128 * 128];
        let mut array = GptPartitionEntryArray::new(layout, block_size, &mut storage).unwrap();
        for &(index, first, last, name) in entries {
            *array.get_partition_entry_mut(index).unwrap() = GptPartitionEntry {
                partition_type_guid: LINUX.parse().unwrap(),
                unique_partition_guid: guid!("37c75ffd-8932-467a-9c56-8cf1f0456b12"),
                starting_lba: LbaLe::from_u64(first),
                ending_lba: LbaLe::from_u64(last),
                name: name.parse().unwrap(),
                ..GptPartitionEntry::default()
            };
        }
        let mut header = GptHeader {
            my_lba: LbaLe::from_u64(at),
            alternate_lba: LbaLe::from_u64(other),
            partition_entry_lba: LbaLe::from_u64(table),
            number_of_partition_entries: U32Le::from_u32(128),
            partition_entry_array_crc32: array.calculate_crc32(),
            ..GptHeader::default()
        };
        header.update_header_crc32();
        disk.write_gpt_partition_entry_array(&array).unwrap();
        disk.write_gpt_header(Lba(at), &header, &mut block).unwrap();
    }
    drop(disk);
    bytes
}

/// Changes a GPT header and makes its checksum right again.
fn edit_header(device: &MemDevice, lba: u64, edit: impl FnOnce(&mut GptHeader)) {
    let mut bytes = [0; 512];
    device.read(lba * 512, &mut bytes).unwrap();
    let mut block = [0; 512];
    let mut disk = Disk::new(BlockIoAdapter::new(bytes.as_mut_slice(), BlockSize::BS_512)).unwrap();
    let mut header = disk.read_gpt_header(Lba(0), &mut block).unwrap();
    edit(&mut header);
    header.update_header_crc32();
    disk.write_gpt_header(Lba(0), &header, &mut block).unwrap();
    drop(disk);
    device.write(lba * 512, &bytes, Durability::Cached).unwrap();
}
