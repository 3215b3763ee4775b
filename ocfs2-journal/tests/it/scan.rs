//! What of an intact log counts.

use ocfs2_format::device::{BlockDevice, Counting, MemDevice};
use ocfs2_format::jbd2::{ChecksumVersion, Incompat, Sequence};
use ocfs2_journal::fuzz::Volume;
use ocfs2_journal::{End, JournalError, Log, Recovery};

use crate::writer::{LogWriter, Style, Txn, replayed, shown};

/// A block behind the journal of [`Style::PLAIN`].
const HOME: u64 = 90;

fn recovery(volume: &Volume) -> Recovery {
    let recovery = volume.log().unwrap().scan().unwrap();
    recovery.check(&volume.geometry).unwrap();
    recovery
}

#[test]
fn latest_committed_copy_of_a_block_counts() {
    let style = Style::PLAIN;
    let (one, two, three) = (style.image(1), style.image(2), style.image(3));
    let transactions = [
        Txn::of(&[(HOME, &one), (HOME + 1, &one), (HOME, &two)]),
        Txn::of(&[(HOME + 1, &two), (5, &two)]),
    ];
    let mut writer = LogWriter::with(style, &transactions);
    writer.open_transaction(&Txn::of(&[(HOME, &three), (HOME + 7, &three)]));
    let volume = writer.volume();
    let recovery = recovery(&volume);
    assert_eq!(
        (recovery.transactions(), recovery.first(), recovery.next()),
        (2, Sequence(7), Sequence(9))
    );
    assert_eq!(recovery.end(), End::NoMagic { at: writer.at });
    assert_eq!(shown(&volume), replayed(&transactions));
    assert_eq!(shown(&volume)[&HOME], two);
}

#[test]
fn log_ends_at_a_block_of_an_earlier_round() {
    let style = Style::PLAIN;
    let image = style.image(1);
    let mut writer = LogWriter::new(style);
    writer.sequence = Sequence(4);
    writer.transaction(&Txn::of(&[(HOME, &image); 4]));
    let stale = writer.transaction(&Txn::of(&[(HOME, &image)]));
    (writer.at, writer.sequence) = (style.start, Sequence(7));
    let transaction = Txn::of(&[(HOME + 1, &style.image(2)); 4]);
    writer.transaction(&transaction);
    assert_eq!(writer.at, stale.at);
    let volume = writer.volume();
    let end = End::OtherSequence {
        at: stale.at,
        found: stale.sequence,
    };
    assert_eq!(recovery(&volume).end(), end);
    assert_eq!(shown(&volume), replayed([&transaction]));
}

#[test]
fn log_goes_on_at_the_front_of_the_ring_and_after_the_last_sequence() {
    for start in 50..64 {
        let style = Style {
            start,
            sequence: u32::MAX,
            tags: 2,
            ..Style::PLAIN
        };
        let transactions: Vec<Txn> = (0..5)
            .map(|n| {
                Txn::of(&[
                    (HOME + u64::from(n), &style.image(n)),
                    (HOME, &style.magic_image(n)),
                    (HOME + 20, &style.image(n)),
                ])
            })
            .collect();
        let writer = LogWriter::with(style, &transactions);
        assert!(writer.at < 40, "the log wraps");
        let volume = writer.volume();
        assert_eq!(recovery(&volume).next(), Sequence(4));
        assert_eq!(shown(&volume), replayed(&transactions));
    }
}

#[test]
fn image_that_begins_with_magic_is_shown_with_it() {
    let style = Style::PLAIN;
    let transaction = Txn::of(&[(HOME, &style.magic_image(1)), (HOME + 1, &style.image(0))]);
    let volume = LogWriter::with(style, std::slice::from_ref(&transaction)).volume();
    let redirects = recovery(&volume).into_redirects();
    let escaped: Vec<bool> = redirects.iter().map(|(_, copy)| copy.escaped).collect();
    assert_eq!(escaped, [true, false]);
    assert_eq!(shown(&volume), replayed([&transaction]));
}

#[test]
fn revoked_block_is_replayed_only_from_later_transactions() {
    for (checksum, wide, revokes_first) in [
        (ChecksumVersion::None, false, false),
        (ChecksumVersion::None, true, true),
        (ChecksumVersion::V1, false, true),
        (ChecksumVersion::V2, false, false),
        (ChecksumVersion::V3, true, true),
    ] {
        let style = Style {
            wide,
            ..Style::with_checksum(checksum)
        };
        let image = |n| style.image(n);
        let mut transactions = [
            Txn::of(&[(90, &image(1)), (91, &image(1)), (92, &image(1)), (93, &image(1))]),
            Txn::of(&[(91, &image(2)), (94, &image(2))]).revoking(&[90, 91, 99]),
            Txn::of(&[(90, &image(3)), (92, &image(3))]).revoking(&[93]),
            Txn::default().revoking(&[94]),
        ];
        for transaction in &mut transactions {
            transaction.revokes_first = revokes_first;
        }
        let mut writer = LogWriter::with(style, &transactions);
        writer.open_transaction(&Txn::default().revoking(&[92]));
        let volume = writer.volume();
        assert_eq!(recovery(&volume).revoked(), 4);
        let shown = shown(&volume);
        assert_eq!(shown, replayed(&transactions));
        assert_eq!(shown.keys().copied().collect::<Vec<_>>(), [90, 92]);
    }
}

#[test]
fn block_numbers_beyond_32_bits_lie_outside_a_small_volume() {
    let style = Style {
        wide: true,
        ..Style::PLAIN
    };
    let transaction = Txn::of(&[(HOME | 1 << 32, &style.image(1)), (HOME, &style.image(2))]);
    let volume = LogWriter::with(style, std::slice::from_ref(&transaction)).volume();
    let recovery = volume.log().unwrap().scan().unwrap();
    assert_eq!(recovery.damage().len(), 1);
    assert_eq!(recovery.damage()[0].home.0, HOME | 1 << 32);
    assert_eq!(shown(&volume).into_iter().collect::<Vec<_>>(), [(HOME, style.image(2))]);
}

#[test]
fn empty_and_new_logs_have_nothing_to_replay() {
    let mut writer = LogWriter::with(Style::PLAIN, &[Txn::of(&[(HOME, &Style::PLAIN.image(1))])]);
    writer.superblock(|superblock| superblock.s_start.set(0));
    let volume = writer.volume();
    let recovery = recovery(&volume);
    assert_eq!(
        (recovery.end(), recovery.next(), recovery.transactions()),
        (End::Empty, Sequence(7), 0)
    );

    // As mkfs leaves it: the log starts at block 1, which with blocks of 512 bytes belongs to the superblock.
    for bits in 9..=12 {
        let style = Style {
            bits,
            start: 1,
            sequence: 1,
            ..Style::PLAIN
        };
        let recovery = LogWriter::new(style).volume().log().unwrap().scan().unwrap();
        assert_eq!(
            (recovery.end(), recovery.redirects().len()),
            (End::NoMagic { at: 1 }, 0)
        );
    }
}

#[test]
fn unknown_features_are_refused_by_name() {
    let refused = |change: fn(&mut ocfs2_format::jbd2::Superblock)| {
        let mut writer = LogWriter::new(Style::PLAIN);
        writer.superblock(change);
        match writer.volume().log() {
            Err(JournalError::Unsupported { word, bits }) => (word, bits),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        refused(|superblock| superblock.s_feature_incompat.set(0xC2)),
        ("incompatible", 0xC0)
    );
    assert_eq!(
        refused(|superblock| superblock.s_feature_ro_compat.set(1)),
        ("read-only compatible", 1)
    );
}

#[test]
fn bad_superblock_is_refused_with_its_place() {
    let mut writer = LogWriter::new(Style::with_checksum(ChecksumVersion::V3));
    let volume = writer.volume();
    let place = volume.map.block(0).unwrap();
    volume.log().unwrap();
    writer.journal[0x100] ^= 1;
    let error = writer.volume().log().unwrap_err();
    assert!(
        matches!(&error, JournalError::Corrupt(corrupt) if corrupt.at.block == Some(place)),
        "{error}"
    );
    assert_eq!(error.errno(), 117);
}

#[test]
fn fast_commits_are_no_part_of_the_log() {
    let style = Style {
        blocks: 1400,
        start: 1140,
        ..Style::PLAIN
    };
    let transaction = Txn::of(&[
        (1500, &style.image(1)),
        (1501, &style.image(2)),
        (1502, &style.image(3)),
    ]);
    let mut writer = LogWriter::new(style);
    writer.superblock(|superblock| {
        superblock.s_feature_incompat.set(Incompat::FAST_COMMIT.bits());
    });
    writer.ring.end = 1400 - 256;
    writer.transaction(&transaction);
    assert_eq!(writer.at, 3);
    assert_eq!(shown(&writer.volume()), replayed([&transaction]));
}

#[test]
fn copies_without_checksum_are_not_read() {
    let style = Style {
        bits: 12,
        blocks: 2048,
        start: 1,
        ..Style::PLAIN
    };
    let image = style.image(1);
    let homes: Vec<(u64, &[u8])> = (0..1000).map(|n| (2100 + n, image.as_slice())).collect();
    let volume = LogWriter::with(style, &[Txn::of(&homes)]).volume();
    let counting = Counting::new(volume.device);
    let log = Log::open(&counting, volume.map, &volume.geometry).unwrap();
    counting.take();
    assert_eq!(log.scan().unwrap().redirects().len(), 1000);
    // Two descriptor blocks, the commit block and the end, each with what lies next to it.
    assert_eq!(
        (counting.counts().reads, counting.counts().read_bytes <= 4 * (64 << 10)),
        (3, true)
    );
}

#[test]
fn log_of_small_transactions_is_read_in_large_pieces() {
    let style = Style {
        bits: 12,
        blocks: 2048,
        start: 1,
        ..Style::PLAIN
    };
    let transaction = Txn::of(&[(2100, &style.image(1)), (2101, &style.image(2))]);
    let volume = LogWriter::with(style, &vec![transaction; 500]).volume();
    let counting = Counting::new(volume.device);
    let log = Log::open(&counting, volume.map, &volume.geometry).unwrap();
    counting.take();
    assert_eq!(log.scan().unwrap().transactions(), 500);
    let counts = counting.counts();
    assert!(counts.reads <= 15 && counts.read_bytes <= 8 << 20, "{counts:?}");
}

#[test]
fn ring_full_of_one_open_transaction_ends_where_it_started() {
    let style = Style::PLAIN;
    let mut writer = LogWriter::new(style);
    for _ in 0..62 {
        writer.open_transaction(&Txn::default().revoking(&[HOME]));
    }
    let recovery = recovery(&writer.volume());
    assert_eq!(
        (recovery.end(), recovery.transactions()),
        (End::FullCircle { at: style.start }, 0)
    );

    let transaction = Txn::of(&[(HOME, &style.image(1)); 56]);
    let mut writer = LogWriter::with(style, std::slice::from_ref(&transaction));
    let (at, start) = (writer.at, writer.block_mut(style.start).to_vec());
    writer.open_transaction(&Txn::of(&[(HOME + 1, &style.image(1)); 4]));
    writer.block_mut(style.start).copy_from_slice(&start);
    let volume = writer.volume();
    assert_eq!(self::recovery(&volume).end(), End::FullCircle { at });
    assert_eq!(shown(&volume), replayed([&transaction]));
}

#[test]
fn unreadable_log_is_an_error_of_the_device() {
    let volume = LogWriter::with(Style::PLAIN, &[Txn::default()]).volume();
    let short = MemDevice::new(18 * 512);
    let mut block = [0; 512];
    for n in 0..18 {
        volume.device.read(n * 512, &mut block).unwrap();
        short
            .write(n * 512, &block, ocfs2_format::device::Durability::Cached)
            .unwrap();
    }
    let error = Log::open(&short, volume.map, &volume.geometry).unwrap_err();
    assert!(matches!(error, JournalError::Io(_)), "{error}");
}
