//! Replay for real: what is written, in which order, and what a power cut in the middle leaves.

use std::collections::BTreeMap;

use ocfs2_format::BlockNo;
use ocfs2_format::device::{BlockDevice, Crash, Fault, Faulty, IoOp, Op, Recording};
use ocfs2_format::jbd2::{ChecksumVersion, Sequence};
use ocfs2_journal::fuzz::Volume;
use ocfs2_journal::{End, JournalError, Log};

use crate::writer::{LogWriter, Style, Txn, replayed};

/// A journal with a few transactions, and what its replay has to leave.
fn journal(style: Style) -> (LogWriter, BTreeMap<u64, Vec<u8>>) {
    let transactions: Vec<Txn> = (0..6)
        .map(|n| {
            let home = u64::from(style.blocks) + 30 + u64::from(n % 4);
            Txn::of(&[
                (home, &style.image(n)),
                (home + 1, &style.magic_image(n)),
                (9, &style.image(n)),
            ])
        })
        .collect();
    (LogWriter::with(style, &transactions), replayed(&transactions))
}

/// Replays the journal of `volume` through `device`.
fn replay(device: &dyn BlockDevice, volume: &Volume) -> Result<(), JournalError> {
    let log = Log::open(device, volume.map.clone(), &volume.geometry)?;
    let recovery = log.scan()?;
    log.replay(&recovery)
}

fn assert_replayed(volume: &Volume, expected: &BTreeMap<u64, Vec<u8>>) {
    let bytes = volume.device.to_vec();
    let size = volume.geometry.block_size();
    for (home, block) in (0..).zip(bytes.chunks(size)) {
        if !volume.map.holds(BlockNo(home)) {
            let expected = expected.get(&home).cloned();
            assert!(
                block == expected.unwrap_or_else(|| volume.original(BlockNo(home))),
                "block {home}"
            );
        }
    }
}

#[test]
fn every_copy_is_written_home_and_nothing_else() {
    for checksum in [
        ChecksumVersion::None,
        ChecksumVersion::V1,
        ChecksumVersion::V2,
        ChecksumVersion::V3,
    ] {
        for (bits, device_block) in [(9, 512), (9, 4096), (11, 4096), (12, 512), (12, 4096)] {
            let style = Style {
                bits,
                ..Style::with_checksum(checksum)
            };
            let (writer, expected) = journal(style);
            let volume = Volume::new(&writer.journal, bits, device_block);
            replay(&volume.device, &volume).unwrap();
            assert_replayed(&volume, &expected);
            let log = volume.log().unwrap();
            assert_eq!(
                (log.scan().unwrap().end(), log.ring().sequence),
                (End::Empty, Sequence(style.sequence + 7))
            );
        }
    }
}

#[test]
fn homes_are_durable_before_the_log_is_marked_empty() {
    let (writer, expected) = journal(Style::with_checksum(ChecksumVersion::V3));
    let volume = writer.volume();
    let recording = Recording::new(volume.device.snapshot());
    replay(&recording, &volume).unwrap();
    let superblock = volume.geometry.block_offset(volume.map.block(0).unwrap()).unwrap();
    let mut written = 0;
    let ops: Vec<&str> = recording
        .ops()
        .iter()
        .map(|op| match op {
            Op::Write { offset, data, .. } if *offset == superblock => {
                assert_eq!((data.len(), &data[0x1C..0x20]), (512, [0; 4].as_slice()), "s_start");
                "superblock"
            }
            Op::Write { data, .. } => {
                written += data.len() >> 9;
                "home"
            }
            Op::Flush => "flush",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(written, expected.len());
    // Two runs of homes, and the first of the two blocks of the superblock.
    assert_eq!(ops, ["home", "home", "flush", "superblock", "flush"]);
}

#[test]
fn damaged_log_is_not_replayed_at_all() {
    let (mut writer, _) = journal(Style::with_checksum(ChecksumVersion::V2));
    let at = writer.style.start + 1;
    writer.block_mut(at)[50] ^= 1;
    let volume = writer.volume();
    let recording = Recording::new(volume.device.snapshot());
    let error = replay(&recording, &volume).unwrap_err();
    assert!(matches!(error, JournalError::Corrupt(_)), "{error}");
    assert_eq!(recording.ops(), []);
}

#[test]
fn power_cut_at_any_write_is_repaired_by_another_replay() {
    let (writer, expected) = journal(Style {
        bits: 10,
        ..Style::PLAIN
    });
    for failing in 0.. {
        let volume = writer.volume();
        let faulty = Faulty::new(Crash::new(volume.device.snapshot()));
        faulty.fail_nth(IoOp::Write, failing, Fault::Error);
        let done = replay(&faulty, &volume).is_ok();
        for seed in 0..8 {
            let device = faulty.inner().after_power_cut(seed).unwrap();
            let after = Volume {
                device,
                ..writer.volume()
            };
            replay(&after.device, &after).unwrap();
            assert_replayed(&after, &expected);
        }
        if done {
            assert!(failing > 2, "some writes have failed");
            break;
        }
    }
}

#[test]
fn bytes_beside_a_block_survive_on_a_device_with_larger_blocks() {
    let (writer, _) = journal(Style::PLAIN);
    let volume = Volume::new(&writer.journal, 9, 4096);
    let neighbour = vec![0xEE; 512];
    volume.write(BlockNo(8), &neighbour);
    volume.write(BlockNo(10), &neighbour);
    replay(&volume.device, &volume).unwrap();
    let mut bytes = vec![0; 4096];
    volume.device.read(4096, &mut bytes).unwrap();
    assert!(bytes[..512] == neighbour && bytes[1024..1536] == neighbour);
    assert!(bytes[512..1024].iter().all(|&byte| byte == 5));
}
