//! What handles, commits and checkpoints do.

use std::sync::Arc;

use ocfs2_format::BlockNo;
use ocfs2_format::device::{Counting, Durability, MemDevice, Op};
use ocfs2_format::jbd2::{BlockType, ChecksumVersion, Header, Sequence, Superblock};
use ocfs2_journal::fuzz::Volume;
use ocfs2_journal::{CheckAt, End, Handle, Journal, JournalError, LogDump, LogItem, Tid};
use zerocopy::FromBytes;

use crate::bed::{Action, BY_HAND, Bed, Content, Flavour, Run};
use crate::writer::{LogWriter, Style, Txn};

fn open(bed: &Bed) -> (Arc<MemDevice>, Journal) {
    let device = Arc::new(bed.empty.snapshot());
    let journal = bed.open(device.clone()).unwrap();
    (device, journal)
}

/// Fills a block through a handle of its own.
fn fill(journal: &Journal, block: BlockNo, byte: u8) -> Tid {
    let mut handle = journal.begin(1).unwrap();
    handle.modify(block, None).unwrap().fill(byte);
    handle.commit().unwrap()
}

fn first_byte(journal: &Journal, block: BlockNo) -> Option<u8> {
    journal.newest(block).map(|image| image[100])
}

const A: BlockNo = BlockNo(4);
const B: BlockNo = BlockNo(5);

#[test]
fn changes_are_seen_once_the_handle_is_committed_and_never_if_it_is_dropped() {
    let bed = Flavour::PLAIN.bed();
    let (device, journal) = open(&bed);
    let before = device.to_vec();
    let mut handle = journal.begin(2).unwrap();
    handle.modify(A, None).unwrap().fill(1);
    handle.create(B, None).unwrap().fill(2);
    assert_eq!(handle.newest(A).unwrap()[100], 1);
    assert_eq!(handle.read(B).unwrap()[100], 2);
    assert_eq!((first_byte(&journal, A), first_byte(&journal, B)), (None, None));
    drop(handle);
    assert_eq!((first_byte(&journal, A), first_byte(&journal, B)), (None, None));

    let mut handle = journal.begin(2).unwrap();
    handle.modify(A, None).unwrap().fill(3);
    handle.create(B, None).unwrap();
    handle.commit().unwrap();
    assert_eq!((first_byte(&journal, A), first_byte(&journal, B)), (Some(3), Some(0)));
    assert!(device.to_vec() == before, "nothing is written before a commit");

    let mut handle = journal.begin(1).unwrap();
    handle.modify(A, None).unwrap()[100] = 4;
    assert_eq!(
        handle.newest(A).unwrap()[..101]
            .iter()
            .filter(|&&byte| byte == 3)
            .count(),
        100
    );
    drop(handle);
    assert_eq!(first_byte(&journal, A), Some(3));
}

#[test]
fn copy_starts_from_the_newest_version_wherever_that_is() {
    let bed = Flavour::PLAIN.bed();
    let (_, journal) = open(&bed);
    let first = |journal: &Journal| {
        let mut handle = journal.begin(1).unwrap();
        handle.modify(A, None).unwrap()[0]
    };
    assert_eq!(first(&journal), A.0 as u8, "home");
    fill(&journal, A, 0x11);
    assert_eq!(first(&journal), 0x11, "running");
    journal.commit().unwrap();
    assert_eq!(first(&journal), 0x11, "logged");
    fill(&journal, A, 0x22);
    assert_eq!(first(&journal), 0x22, "running before logged");
    journal.checkpoint().unwrap();
    assert_eq!(journal.newest(A), None);
    assert_eq!(first(&journal), 0x22, "home again");
}

#[test]
fn home_is_asked_for_only_if_the_journal_has_no_version_and_its_failure_undoes_the_call() {
    let bed = Flavour::PLAIN.bed();
    let (_, journal) = open(&bed);
    let mut handle = journal.begin(1).unwrap();
    let failed = handle.modify_with(A, None, || Err(JournalError::Closed));
    assert!(matches!(failed, Err(JournalError::Closed)));
    assert_eq!(handle.credits_left(), 1);
    journal.begin(1).unwrap().modify(A, None).unwrap();
    let cached: Arc<[u8]> = vec![0x77; 512].into();
    let bytes = handle
        .modify_with(A, None, || Ok::<_, JournalError>(cached.clone()))
        .unwrap();
    assert_eq!(bytes[7], 0x77);
    bytes[7] = 0;
    assert_eq!(cached[7], 0x77, "a copy is changed");
    handle.commit().unwrap();
    let mut handle = journal.begin(1).unwrap();
    let bytes = handle.modify_with(A, None, || -> Result<_, JournalError> {
        panic!("the journal has the block")
    });
    assert_eq!(bytes.unwrap()[8], 0x77);
}

#[test]
fn second_handle_cannot_change_what_the_first_one_changes() {
    let bed = Flavour::PLAIN.bed();
    let (_, journal) = open(&bed);
    let mut first = journal.begin(2).unwrap();
    let mut second = journal.begin(2).unwrap();
    first.modify(A, None).unwrap();
    for refused in [
        second.modify(A, None).map(|_| ()),
        second.create(A, None).map(|_| ()),
        second.forget(A, 1),
    ] {
        assert!(
            matches!(refused, Err(JournalError::Conflict { block: A })),
            "{refused:?}"
        );
    }
    second.modify(B, None).unwrap().fill(2);
    first.commit().unwrap();
    second.modify(A, None).unwrap().fill(2);
    second.commit().unwrap();
    assert_eq!((first_byte(&journal, A), first_byte(&journal, B)), (Some(2), Some(2)));

    let mut first = journal.begin(1).unwrap();
    first.forget(A, 1).unwrap();
    assert!(matches!(
        journal.begin(1).unwrap().modify(A, None),
        Err(JournalError::Conflict { .. })
    ));
    drop(first);
    journal.begin(1).unwrap().modify(A, None).unwrap();
}

#[test]
fn blocks_under_one_check_are_changed_together_or_not_at_all() {
    let bed = Flavour::PLAIN.bed();
    let (_, journal) = open(&bed);
    let bucket = Some(CheckAt::xattr_bucket(&bed.geometry));
    let mut handle = journal.begin(10).unwrap();
    assert_eq!(handle.modify(BlockNo(90), bucket).unwrap().len(), 4096);
    handle.modify(BlockNo(90), bucket).unwrap()[600] = 9;
    assert_eq!(handle.credits_left(), 2);
    assert_eq!(handle.newest(BlockNo(91)).unwrap()[88], 9);
    for (block, check) in [(90, None), (97, None), (89, bucket), (91, bucket)] {
        let refused = handle.modify(BlockNo(block), check);
        assert!(matches!(refused, Err(JournalError::Conflict { .. })), "{block}");
    }
    assert!(matches!(
        handle.forget(BlockNo(91), 8),
        Err(JournalError::Conflict { .. })
    ));
    assert!(matches!(
        handle.forget(BlockNo(89), 8),
        Err(JournalError::Conflict { .. })
    ));
    handle.modify(BlockNo(89), None).unwrap();
    handle.modify(BlockNo(98), None).unwrap();
    handle.forget(BlockNo(90), 8).unwrap();
    assert_eq!(handle.credits_left(), 8);
    handle.create(BlockNo(97), None).unwrap();
    handle.commit().unwrap();
    assert_eq!(journal.newest(BlockNo(91)), None);
    assert!(journal.newest(BlockNo(97)).is_some());
}

#[test]
fn handle_gets_the_credits_it_asked_for_and_no_more() {
    let bed = Flavour::PLAIN.bed();
    let (_, journal) = open(&bed);
    let limit = journal.max_credits();
    assert_eq!(limit, 13, "a quarter of 62 blocks, less descriptor and commit block");
    assert!(matches!(
        journal.begin(limit + 1),
        Err(JournalError::HandleTooLarge { asked: 14, limit: 13 })
    ));
    let mut handle = journal.begin(1).unwrap();
    handle.modify(A, None).unwrap();
    let refused = handle.modify(B, None).unwrap_err();
    assert!(
        matches!(refused, JournalError::OutOfCredits { block: B, credits: 1 }),
        "{refused}"
    );
    handle.modify(A, None).unwrap();
    assert!(handle.try_extend(2).unwrap());
    handle.modify(B, None).unwrap();
    assert_eq!(handle.credits_left(), 1);
    assert!(handle.try_extend(20).is_err());

    // The log has 62 blocks, of which one stays free.
    let others: Vec<_> = [limit, limit, limit, 1]
        .map(|credits| journal.begin(credits).unwrap())
        .into();
    assert_eq!(journal.usage().reserved, 3 * 15 + 3 + 5);
    assert!(!handle.try_extend(10).unwrap());
    drop(others);
    assert!(handle.try_extend(10).unwrap());
    handle.commit().unwrap();
    assert_eq!((journal.usage().reserved, journal.usage().running), (0, 4));
}

#[test]
fn blocks_that_no_journal_may_hold_are_refused() {
    let mut bed = Flavour::PLAIN.bed();
    bed.geometry.clusters = u32::MAX;
    let (_, journal) = open(&bed);
    let mut handle = journal.begin(1).unwrap();
    let in_journal = bed.map.block(30).unwrap();
    for block in [0, 2, in_journal.0, bed.geometry.blocks(), 1 << 32, u64::MAX] {
        let block = BlockNo(block);
        for refused in [
            handle.modify(block, None).map(|_| ()),
            handle.create(block, None).map(|_| ()),
            handle.forget(block, 1),
        ] {
            assert!(
                matches!(refused, Err(JournalError::NotJournaled { .. })),
                "block {block}"
            );
        }
    }
    handle.create(BlockNo(u64::from(u32::MAX)), None).unwrap();

    let mut bed = Flavour {
        wide: true,
        ..Flavour::PLAIN
    }
    .bed();
    bed.geometry.clusters = u32::MAX;
    let (_, journal) = open(&bed);
    journal.begin(1).unwrap().create(BlockNo(1 << 32), None).unwrap();
}

#[test]
fn freed_block_is_created_again_but_not_changed() {
    let bed = Flavour::PLAIN.bed();
    let (_, journal) = open(&bed);
    fill(&journal, A, 1);
    journal.commit().unwrap();
    let mut handle = journal.begin(1).unwrap();
    handle.forget(A, 1).unwrap();
    assert_eq!(handle.newest(A), None);
    assert!(matches!(handle.modify(A, None), Err(JournalError::Freed { block: A })));
    handle.commit().unwrap();
    for _ in 0..2 {
        assert_eq!(journal.newest(A), None);
        let refused = journal.begin(1).unwrap().modify(A, None).map(|_| ());
        assert!(matches!(refused, Err(JournalError::Freed { block: A })));
        journal.commit().unwrap();
    }
    let mut handle = journal.begin(1).unwrap();
    handle.create(A, None).unwrap().fill(5);
    handle.commit().unwrap();
    journal.begin(1).unwrap().modify(A, None).unwrap();
    journal.checkpoint().unwrap();
    assert_eq!(journal.begin(1).unwrap().modify(A, None).unwrap()[0], 5);
}

#[test]
fn metadata_block_may_hold_data_once_nothing_in_the_log_can_overwrite_it() {
    for revokes in [false, true] {
        let bed = Flavour {
            revokes,
            ..Flavour::PLAIN
        }
        .bed();
        let (device, journal) = open(&bed);
        let one = || A..B;
        assert!(journal.may_reuse(one()), "the journal never saw the block");
        fill(&journal, A, 1);
        assert!(!journal.may_reuse(one()));
        journal.commit().unwrap();
        assert!(!journal.may_reuse(one()));
        let mut handle = journal.begin(2).unwrap();
        handle.forget(A, 1).unwrap();
        handle.modify(B, None).unwrap();
        let tid = handle.commit().unwrap();
        assert!(!journal.may_reuse(one()), "it is not durably free");
        journal.commit_and_wait(tid).unwrap();
        assert_eq!(
            journal.may_reuse(one()),
            revokes,
            "replay would write it, unless told not to"
        );
        let before = device.to_vec();
        journal.make_reusable(one()).unwrap();
        assert!(journal.may_reuse(one()));
        assert_eq!(journal.is_checkpointed(tid), !revokes);
        let home = bed.geometry.block_offset(A).unwrap() as usize;
        assert!(
            before[home..home + 512] == device.to_vec()[home..home + 512],
            "a free block is not written home"
        );
    }
}

#[test]
fn durable_version_is_what_replay_would_leave() {
    let bed = Flavour::PLAIN.bed();
    let (_, journal) = open(&bed);
    let durable = |journal: &Journal| journal.newest_durable(A).map(|image| image[100]);
    let first = fill(&journal, A, 1);
    assert_eq!((durable(&journal), journal.is_durable(first)), (None, false));
    journal.commit_and_wait(first).unwrap();
    assert_eq!((durable(&journal), journal.is_durable(first)), (Some(1), true));
    let second = fill(&journal, A, 2);
    assert_eq!((durable(&journal), first_byte(&journal, A)), (Some(1), Some(2)));
    assert!(first < second && !journal.is_checkpointed(first));
    journal.checkpoint_through(first).unwrap();
    assert!(journal.is_checkpointed(first) && !journal.is_durable(second));
    assert_eq!((durable(&journal), first_byte(&journal, A)), (None, Some(2)));
}

#[test]
fn log_that_is_not_empty_has_to_be_replayed_or_discarded() {
    let style = Style {
        blocks: 64,
        ..Style::PLAIN
    };
    let image = style.image(1);
    let volume = LogWriter::with(style, &[Txn::of(&[(4, &image)])]).volume();
    let Volume { device, map, geometry } = volume;
    let device = Arc::new(device);
    let open = |device: &Arc<MemDevice>| Journal::open(device.clone(), map.clone(), geometry, &BY_HAND);
    assert!(matches!(
        open(&device),
        Err(JournalError::NotReplayed { transactions: 1 })
    ));
    for replay in [false, true] {
        let device = Arc::new(device.snapshot());
        let log = ocfs2_journal::Log::open(&device, map.clone(), &geometry).unwrap();
        let recovery = log.scan().unwrap();
        if replay {
            log.replay(&recovery).unwrap();
        } else {
            log.discard(&recovery).unwrap();
        }
        let journal = open(&device).unwrap();
        assert_eq!(journal.begin(1).unwrap().modify(A, None).unwrap()[9] == 1, replay);
    }
}

#[test]
fn first_sequence_is_one_that_nothing_in_the_log_can_have() {
    // As mkfs leaves it, and as a clean unmount does.
    for (start, sequence, first) in [(1, 1, 2), (0, 9, 10), (0, u32::MAX, 0)] {
        let style = Style {
            start,
            sequence,
            ..Style::PLAIN
        };
        let Volume { device, map, geometry } = LogWriter::new(style).volume();
        let device = Arc::new(device);
        let journal = Journal::open(device.clone(), map.clone(), geometry, &BY_HAND).unwrap();
        fill(&journal, A, 1);
        journal.commit().unwrap();
        let volume = Volume {
            device: device.snapshot(),
            map,
            geometry,
        };
        let log = volume.log().unwrap();
        let recovery = log.scan().unwrap();
        assert_eq!((recovery.first(), recovery.transactions()), (Sequence(first), 1));
        assert_eq!(log.ring().start, Some(2));
        journal.close().unwrap();
        let volume = Volume {
            device: device.snapshot(),
            ..volume
        };
        let ring = *volume.log().unwrap().ring();
        assert_eq!((ring.start, ring.sequence), (None, Sequence(first).next()));
    }
}

/// What an operation of the device was for.
fn describe(bed: &Bed, op: &Op) -> String {
    let bits = bed.geometry.block_size_bits;
    match op {
        Op::Flush => "flush".into(),
        Op::Write { offset, data, how } => {
            let block = BlockNo(offset >> bits);
            let blocks = data.len() >> bits;
            let forced = if *how == Durability::ForceUnitAccess {
                ", forced"
            } else {
                ""
            };
            if bed.map.block(0) == Some(block) {
                let superblock = Superblock::read_from_prefix(&[&data[..], &[0; 512]].concat())
                    .unwrap()
                    .0;
                return format!("start {}{forced}", superblock.s_start);
            }
            let kind = match Header::of_block(data).map(Header::block_type) {
                Some(BlockType::COMMIT) => "commit".into(),
                Some(_) if bed.map.holds(block) => "log".into(),
                _ if bed.map.holds(block) => "log goes on".into(),
                _ => format!("home {block}"),
            };
            format!("{kind}, {blocks}{forced}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn writes_come_in_few_pieces_and_in_the_order_that_a_crash_asks_for() {
    let bed = Flavour::PLAIN.bed();
    let mut run = Run::start(&bed);
    let ops = |run: &Run| {
        run.device
            .take()
            .iter()
            .map(|op| describe(&bed, op))
            .collect::<Vec<_>>()
    };
    run.handle(&[1, 2, 3, 5].map(Action::Create), true);
    run.handle(&[1, 4, 7].map(Action::Create), true);
    run.journal.commit().unwrap();
    assert_eq!(ops(&run), ["start 2", "log, 8", "flush", "commit, 1, forced"]);
    run.handle(&[7, 8].map(Action::Create), true);
    run.journal.commit().unwrap();
    // The first third of the journal lies behind the rest of it on the device.
    assert_eq!(ops(&run), ["log, 4", "flush", "commit, 1, forced"]);
    run.journal.checkpoint().unwrap();
    assert_eq!(ops(&run), ["home 3, 6", "home 80, 2", "flush", "start 16, forced"]);
    run.handle(&[10].map(Action::Create), true);
    run.journal.commit().unwrap();
    assert_eq!(ops(&run), ["log, 6", "log goes on, 4", "flush", "commit, 1, forced"]);
    run.journal.sync().unwrap();
    assert_eq!(ops(&run), ["flush"], "data may have been written");
    run.journal.commit().unwrap();
    run.journal.checkpoint().unwrap();
    run.journal.checkpoint().unwrap();
    assert_eq!(ops(&run).len(), 4);
    run.close();
    assert_eq!(ops(&run), ["start 0, forced", "flush"]);
}

#[test]
fn all_handles_since_the_last_commit_share_a_transaction() {
    let bed = Flavour::PLAIN.bed();
    let mut run = Run::start(&bed);
    for _ in 0..5 {
        run.handle(&[Action::Modify(1)], true);
        run.handle(&[Action::Modify(2)], false);
    }
    let tid = run.now().tid;
    run.journal.commit_and_wait(tid).unwrap();
    run.journal.commit_and_wait(tid).unwrap();
    let volume = bed.volume(run.device.inner().snapshot());
    let recovery = volume.log().unwrap().scan().unwrap();
    assert_eq!((recovery.transactions(), recovery.redirects().len()), (1, 2));
    let mut commits = 0;
    for entry in LogDump::new(&volume.device, &volume.map, &volume.geometry).unwrap() {
        commits += u32::from(matches!(entry.unwrap().item, LogItem::Commit { .. }));
    }
    assert_eq!(commits, 1);
}

#[test]
fn handle_that_changes_nothing_needs_no_transaction() {
    let bed = Flavour::PLAIN.bed();
    let (_, journal) = open(&bed);
    let tid = journal.begin(3).unwrap().commit().unwrap();
    assert!(journal.is_durable(tid) && journal.is_checkpointed(tid));
    let counting = Arc::new(Counting::new(bed.empty.snapshot()));
    let journal = bed.open(counting.clone()).unwrap();
    journal.begin(3).unwrap().commit().unwrap();
    journal.commit().unwrap();
    journal.checkpoint().unwrap();
    assert_eq!((counting.counts().writes, counting.counts().flushes), (0, 0));
}

#[test]
fn full_log_makes_room_and_goes_around() {
    for blocks in [64, 1024] {
        for checksum in [ChecksumVersion::None, ChecksumVersion::V1, ChecksumVersion::V3] {
            let flavour = Flavour {
                blocks,
                checksum,
                ..Flavour::PLAIN
            };
            let bed = flavour.bed();
            let mut run = Run::start(&bed);
            for n in 0..blocks as usize {
                run.handle(&[1 + n % 8, 9].map(Action::Modify), true);
                // Now and then a commit, so that the log holds more than one transaction when it is full.
                if n % 7 == 0 {
                    run.journal.commit().unwrap();
                }
            }
            let commits = run.device.take();
            let around = commits
                .iter()
                .filter(|op| describe(&bed, op).starts_with("start"))
                .count();
            assert!(around > 1, "the log was full {around} times");
            bed.recover(
                &run.device.inner().snapshot(),
                &run.history,
                run.durable_after(usize::MAX),
            );
            run.close();
        }
    }
}

#[test]
fn open_handles_keep_their_room_while_others_fill_the_log() {
    let bed = Flavour::PLAIN.bed();
    let (device, journal) = open(&bed);
    let mut patient = journal.begin(journal.max_credits()).unwrap();
    for n in 0..100 {
        fill(&journal, A, n);
    }
    for n in 0..13 {
        patient.create(BlockNo(80 + n), None).unwrap().fill(0xAB);
    }
    patient.commit().unwrap();
    journal.commit().unwrap();
    let volume = bed.volume(device.snapshot());
    assert_eq!(volume.log().unwrap().scan().unwrap().redirects().len(), 14);
}

#[test]
fn closed_journal_is_empty_and_stays_closed() {
    let bed = Flavour::PLAIN.bed();
    let mut run = Run::start(&bed);
    run.handle(&[Action::Create(1)], true);
    let handle = run.journal.begin(1).unwrap();
    assert!(matches!(run.journal.close(), Err(JournalError::Busy { handles: 1 })));
    handle.commit().unwrap();
    run.handle(&[Action::Create(2)], true);
    run.close();
    assert!(matches!(run.journal.close(), Err(JournalError::Closed)));
    assert!(matches!(run.journal.begin(1), Err(JournalError::Closed)));
    run.journal.sync().unwrap();
    assert_eq!(
        run.now().contents[1..3]
            .iter()
            .filter(|content| matches!(content, Content::Meta(_)))
            .count(),
        2
    );
}

#[test]
fn tiny_rings_are_refused() {
    for (blocks, works) in [(13, false), (14, true)] {
        let style = Style { blocks, ..Style::PLAIN };
        let Volume { device, map, geometry } = LogWriter::new(style).volume();
        match Journal::open(Arc::new(device), map, geometry, &BY_HAND) {
            Ok(journal) => {
                assert!(works);
                for n in 0..20 {
                    fill(&journal, A, n);
                }
                journal.close().unwrap();
            }
            Err(error) => assert!(
                !works && matches!(error, JournalError::TooSmall { blocks: 11 }),
                "{error}"
            ),
        }
    }
}

#[test]
fn commit_times_never_go_back() {
    let bed = Flavour::PLAIN.bed();
    let (device, journal) = open(&bed);
    for n in 0..3 {
        fill(&journal, A, n);
        journal.commit().unwrap();
    }
    let volume = bed.volume(device.snapshot());
    let times: Vec<u64> = LogDump::new(&volume.device, &volume.map, &volume.geometry)
        .unwrap()
        .filter_map(|entry| match entry.unwrap().item {
            LogItem::Commit { header, .. } => Some(header.h_commit_sec.get()),
            _ => None,
        })
        .collect();
    assert!(
        times.is_sorted() && times.len() == 3 && times[0] > 1_600_000_000,
        "{times:?}"
    );
}

#[test]
fn journal_without_a_close_leaves_what_a_crash_leaves() {
    let bed = Flavour::PLAIN.bed();
    let (device, journal) = open(&bed);
    fill(&journal, A, 1);
    journal.commit().unwrap();
    fill(&journal, A, 2);
    let before = device.to_vec();
    drop(journal);
    assert!(device.to_vec() == before);
    let volume = bed.volume(device.snapshot());
    let recovery = volume.log().unwrap().scan().unwrap();
    assert_eq!(recovery.transactions(), 1);
    assert!(matches!(recovery.end(), End::NoMagic { .. }));
}

#[test]
fn volume_blocks_smaller_than_the_devices_leave_their_neighbours_alone() {
    let style = Style::PLAIN;
    let volume = Volume::new(&LogWriter::new(style).journal, 9, 4096);
    let Volume { device, map, geometry } = volume;
    let device = Arc::new(device);
    let journal = Journal::open(device.clone(), map.clone(), geometry, &BY_HAND).unwrap();
    for n in 0..40 {
        fill(&journal, BlockNo(4), n);
        fill(&journal, BlockNo(90), n);
        journal.commit().unwrap();
    }
    let left = Volume {
        device: device.snapshot(),
        map,
        geometry,
    };
    let recovery = left.log().unwrap().scan().unwrap();
    recovery.check(&left.geometry).unwrap();
    assert!(recovery.transactions() > 0);
    journal.close().unwrap();
    let bytes = device.to_vec();
    for block in [3, 5, 89, 91] {
        assert!(
            bytes[block << 9..][..512] == left.original(BlockNo(block as u64)),
            "block {block}"
        );
    }
    assert!(bytes[4 << 9..][..512] == [39; 512] && bytes[90 << 9..][..512] == [39; 512]);
}

#[test]
fn journal_may_be_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    fn is_sent<T: Send>() {}
    is_shared::<Journal>();
    is_sent::<Handle<'_>>();
}
