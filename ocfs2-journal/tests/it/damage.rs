//! What is left of a log that is damaged, and what is said of it.

use ocfs2_format::jbd2::{ChecksumVersion, Sequence};
use ocfs2_format::{BlockNo, Violation};
use ocfs2_journal::fuzz::Volume;
use ocfs2_journal::{DamageKind, End, Recovery};

use crate::writer::{LogWriter, Style, Txn, Written, replayed, shown};

const HOME: u64 = 90;
const WITH_CHECKSUMS: [ChecksumVersion; 3] = [ChecksumVersion::V1, ChecksumVersion::V2, ChecksumVersion::V3];

/// A log of three transactions, each with two copies, and where they are.
fn three(style: Style) -> (LogWriter, Vec<Txn>, Vec<Written>) {
    let transactions: Vec<Txn> = (1..=3)
        .map(|n| Txn::of(&[(HOME, &style.image(n)), (HOME + u64::from(n), &style.image(n))]).revoking(&[8]))
        .collect();
    let mut writer = LogWriter::new(style);
    let written = transactions
        .iter()
        .map(|transaction| writer.transaction(transaction))
        .collect();
    (writer, transactions, written)
}

fn scan(volume: &Volume) -> Recovery {
    volume.log().unwrap().scan().unwrap()
}

#[test]
fn copies_that_must_not_be_replayed_are_reported_and_left_out() {
    let style = Style::PLAIN;
    let image = style.image(1);
    let journal = LogWriter::new(style).volume().map.block(40).unwrap();
    let blocks = LogWriter::new(style).volume().geometry.blocks();
    let cases = [
        (0, DamageKind::LeadingArea),
        (2, DamageKind::LeadingArea),
        (journal.0, DamageKind::InJournal),
        (blocks, DamageKind::OutsideVolume),
        (u64::from(u32::MAX), DamageKind::OutsideVolume),
    ];
    for (home, kind) in cases {
        let volume = LogWriter::with(style, &[Txn::of(&[(HOME, &image), (home, &image), (3, &image)])]).volume();
        let recovery = scan(&volume);
        let damage = recovery.damage()[0];
        assert_eq!(
            (damage.home, damage.kind, damage.sequence),
            (BlockNo(home), kind, Sequence(7))
        );
        let corrupt = recovery.check(&volume.geometry).unwrap_err();
        assert_eq!(corrupt.at.block, volume.map.block(style.start + 2));
        assert!(corrupt.to_string().contains("t_blocknr"), "{corrupt}");
        assert_eq!(shown(&volume).into_keys().collect::<Vec<_>>(), [3, HOME]);

        // What is taken back later would never have been written.
        let transactions = [
            Txn::of(&[(HOME, &image), (home, &image)]),
            Txn::default().revoking(&[home]),
        ];
        let volume = LogWriter::with(style, &transactions).volume();
        scan(&volume).check(&volume.geometry).unwrap();
    }
}

#[test]
fn damaged_copy_is_skipped_where_tags_have_checksums() {
    for checksum in [ChecksumVersion::V2, ChecksumVersion::V3] {
        let (mut writer, transactions, written) = three(Style::with_checksum(checksum));
        let copy = written[2].at + 1;
        writer.block_mut(copy)[100] ^= 1;
        let volume = writer.volume();
        let recovery = scan(&volume);
        assert_eq!((recovery.transactions(), recovery.damage().len()), (3, 1));
        let damage = recovery.damage()[0];
        assert_eq!((damage.home, damage.kind), (BlockNo(HOME), DamageKind::Checksum));
        assert_eq!(Some(damage.at), volume.map.block(copy));
        assert!(recovery.check(&volume.geometry).is_err());
        // The copy of the second transaction is the newest that is whole.
        let mut expected = replayed(&transactions);
        expected.insert(HOME, writer.style.image(2));
        assert_eq!(shown(&volume), expected);
    }
}

#[test]
fn log_ends_before_a_transaction_that_fails_its_checksum() {
    for checksum in WITH_CHECKSUMS {
        let (intact, transactions, written) = three(Style::with_checksum(checksum));
        let bad = written[1];
        let commit = End::BadCommit { at: bad.commit_at };
        let control = End::BadControl { at: bad.commit_at };
        let cases = match checksum {
            // One checksum over descriptor and copies, in the commit block.
            ChecksumVersion::V1 => vec![(bad.at + 1, commit), (bad.at + 2, commit)],
            // The revoke block and what is in no tag of the descriptor block; the commit block.
            _ => vec![(bad.at, control), (bad.at + 3, control), (bad.commit_at, commit)],
        };
        for (at, end) in cases {
            let mut writer = intact.clone();
            writer.block_mut(at)[400] ^= 1;
            let volume = writer.volume();
            let recovery = scan(&volume);
            assert_eq!((recovery.end(), recovery.next()), (end, bad.sequence));
            assert!(recovery.end().is_damage());
            let corrupt = recovery.check(&volume.geometry).unwrap_err();
            assert_eq!(corrupt.at.block, volume.map.block(bad.commit_at));
            assert_eq!(shown(&volume), replayed(&transactions[..1]));
        }
    }
}

#[test]
fn commit_block_without_checksum_passes_in_version_1() {
    let (mut writer, transactions, written) = three(Style::with_checksum(ChecksumVersion::V1));
    writer.block_mut(written[1].commit_at)[12..20].fill(0);
    let volume = writer.volume();
    scan(&volume).check(&volume.geometry).unwrap();
    assert_eq!(shown(&volume), replayed(&transactions));
}

#[test]
fn older_transaction_behind_the_end_is_no_damage() {
    for checksum in WITH_CHECKSUMS {
        let (mut writer, transactions, written) = three(Style::with_checksum(checksum));
        writer.time = 1_600_000_000;
        let stale = writer.transaction(&transactions[0]);
        writer.block_mut(stale.at + 1)[400] ^= 1;
        writer.block_mut(stale.at)[400] ^= 1;
        let volume = writer.volume();
        let recovery = scan(&volume);
        assert_eq!(recovery.end(), End::Stale { at: stale.commit_at });
        assert_eq!(recovery.next(), written[2].sequence.next());
        recovery.check(&volume.geometry).unwrap();
        assert_eq!(shown(&volume), replayed(&transactions));
    }
}

#[test]
fn last_transaction_may_be_incomplete_where_commits_are_asynchronous() {
    for checksum in WITH_CHECKSUMS {
        let style = Style {
            async_commit: true,
            ..Style::with_checksum(checksum)
        };
        let broken = |which: usize| {
            let (mut writer, _, written) = three(style);
            let at = match checksum {
                ChecksumVersion::V1 => written[which].at + 1,
                _ => written[which].commit_at,
            };
            writer.block_mut(at)[400] ^= 1;
            (writer.volume(), written[which])
        };
        let (_, transactions, _) = three(style);

        let (volume, last) = broken(2);
        let recovery = scan(&volume);
        assert_eq!(
            (recovery.end(), recovery.next()),
            (End::Interrupted { at: last.commit_at }, last.sequence)
        );
        recovery.check(&volume.geometry).unwrap();
        assert_eq!(shown(&volume), replayed(&transactions[..2]));

        let (volume, middle) = broken(1);
        let recovery = scan(&volume);
        assert_eq!(
            (recovery.end(), recovery.next()),
            (End::BadCommit { at: middle.commit_at }, middle.sequence)
        );
        recovery.check(&volume.geometry).unwrap_err();
        assert_eq!(shown(&volume), replayed(&transactions[..1]));
    }
}

#[test]
fn revoke_block_that_overflows_ends_the_log() {
    let (mut writer, transactions, written) = three(Style::PLAIN);
    let revoke = written[1].at + 3;
    writer.block_mut(revoke)[12..16].copy_from_slice(&513u32.to_be_bytes());
    let volume = writer.volume();
    let recovery = scan(&volume);
    assert_eq!(recovery.end(), End::BadRevoke { at: revoke });
    let corrupt = recovery.check(&volume.geometry).unwrap_err();
    assert_eq!(corrupt.at.block, volume.map.block(revoke));
    assert!(matches!(corrupt.violation, Violation::Rule(_)));
    assert_eq!(shown(&volume), replayed(&transactions[..1]));
}

#[test]
fn log_cut_off_at_any_block_keeps_what_was_committed() {
    for checksum in [
        ChecksumVersion::None,
        ChecksumVersion::V1,
        ChecksumVersion::V2,
        ChecksumVersion::V3,
    ] {
        let (intact, transactions, written) = three(Style::with_checksum(checksum));
        for cut in 0..intact.at - intact.style.start {
            let mut writer = intact.clone();
            for at in intact.style.start + cut..intact.at {
                writer.block_mut(at).fill(0);
            }
            let volume = writer.volume();
            let recovery = scan(&volume);
            recovery.check(&volume.geometry).unwrap();
            let whole = written
                .iter()
                .filter(|written| written.commit_at < intact.style.start + cut)
                .count();
            assert_eq!(
                (recovery.transactions() as usize, shown(&volume)),
                (whole, replayed(&transactions[..whole]))
            );
        }
    }
}
