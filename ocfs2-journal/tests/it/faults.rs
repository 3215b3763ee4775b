//! Devices that fail while a journal writes to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use ocfs2_format::device::{Crash, Fault, Faulty, IoOp, MemDevice};
use ocfs2_format::jbd2::ChecksumVersion;
use ocfs2_journal::{Journal, JournalError, Tid};

use crate::bed::{Bed, Content, Flavour, Hooked, Snapshot};

/// Fills a small log more than once. Stops at the first error; the history tells what has been merged until then.
fn work(bed: &Bed, journal: &Journal) -> (Vec<Snapshot>, Result<(), JournalError>) {
    let mut history = vec![Snapshot {
        tid: Tid::default(),
        contents: vec![Content::Free(None); bed.units.len()],
    }];
    let result = (1..=30u32).try_for_each(|n| {
        let mut contents = history.last().unwrap().contents.clone();
        let mut handle = journal.begin(3)?;
        for unit in [0, 1 + n as usize % 8] {
            let at = bed.units[unit];
            handle.create(at.first, at.check)?.copy_from_slice(&bed.bytes(at, n));
            contents[unit] = Content::Meta(n);
        }
        let freed = 1 + (n as usize + 3) % 8;
        handle.forget(bed.units[freed].first, 1)?;
        contents[freed] = Content::Free(None);
        let tid = handle.commit()?;
        history.push(Snapshot { tid, contents });
        match n % 8 {
            3 => journal.commit().map(drop),
            5 => journal.sync(),
            7 if n > 20 => journal.checkpoint(),
            _ => Ok(()),
        }
    });
    let result = result.and_then(|()| journal.close());
    (history, result)
}

fn durable(journal: &Journal, history: &[Snapshot]) -> Tid {
    let durable = history.iter().rfind(|snapshot| journal.is_durable(snapshot.tid));
    durable.unwrap().tid
}

/// Everything that would write fails, and says why the first write did.
fn assert_aborted(journal: &Journal, error: &JournalError) {
    let JournalError::Aborted(first) = error else {
        panic!("{error}");
    };
    assert!(matches!(&**first, JournalError::Io(_)), "{first}");
    assert_eq!(error.errno(), 5);
    let later = [
        journal.begin(1).map(drop),
        journal.sync(),
        journal.commit().map(drop),
        journal.checkpoint(),
        journal.close(),
    ];
    for result in later {
        match result {
            Err(JournalError::Aborted(cause)) => assert!(Arc::ptr_eq(&cause, first)),
            other => panic!("{other:?}"),
        }
    }
    assert!(Arc::ptr_eq(&journal.aborted().unwrap(), first));
}

#[test]
fn failure_of_any_write_or_flush_aborts_the_journal_and_leaves_what_was_durable() {
    let plain = Flavour::PLAIN;
    let others = [
        Flavour { revokes: true, ..plain },
        Flavour {
            checksum: ChecksumVersion::V3,
            ..plain
        },
    ];
    for (op, fault) in [
        (IoOp::Write, Fault::Error),
        (IoOp::Write, Fault::Torn { blocks: 1 }),
        (IoOp::Write, Fault::Torn { blocks: 5 }),
        (IoOp::Flush, Fault::Error),
    ] {
        for bed in [plain].iter().chain(&others).map(|flavour| flavour.bed()) {
            let mut failing = 0;
            loop {
                let device = Arc::new(Faulty::new(Crash::new(bed.empty.snapshot())));
                device.fail_nth(op, failing, fault);
                let journal = bed.open(device.clone()).unwrap();
                let (history, result) = work(&bed, &journal);
                let Err(error) = result else {
                    assert!(device.injected().is_empty());
                    break;
                };
                assert_aborted(&journal, &error);
                let durable = durable(&journal, &history);
                for seed in 0..4 {
                    let left = device.inner().after_power_cut(seed).unwrap();
                    let errno = bed.volume(left.snapshot()).log().unwrap().ring().errno;
                    assert_eq!(errno, -5, "the journal's superblock tells of the error");
                    bed.recover(&left, &history, durable);
                }
                failing += 1;
            }
            assert!(failing > 10, "{failing} faults");
        }
    }
}

#[test]
fn error_note_of_an_aborted_journal_is_gone_once_it_is_used_again() {
    let bed = Flavour::PLAIN.bed();
    let device = Arc::new(Faulty::new(bed.empty.snapshot()));
    device.fail_nth(IoOp::Flush, 0, Fault::Error);
    let journal = bed.open(device.clone()).unwrap();
    work(&bed, &journal).1.unwrap_err();
    let errno = |device: MemDevice| bed.volume(device).log().unwrap().ring().errno;
    assert_eq!(errno(device.inner().snapshot()), -5);
    let volume = bed.volume(device.inner().snapshot());
    let log = volume.log().unwrap();
    let recovery = log.scan().unwrap();
    log.replay(&recovery).unwrap();
    let device = Arc::new(volume.device);
    let journal = bed.open(device.clone()).unwrap();
    work(&bed, &journal).1.unwrap();
    assert_eq!(errno(device.snapshot()), 0);
}

#[test]
fn dead_device_is_no_reason_to_hang_or_panic() {
    let bed = Flavour::PLAIN.bed();
    let device = Arc::new(Faulty::new(bed.empty.snapshot()));
    let journal = bed.open(device.clone()).unwrap();
    let handle = journal.begin(1).unwrap();
    device.fail_range(IoOp::Write, 0..u64::MAX, Fault::Error);
    let error = work(&bed, &journal).1.unwrap_err();
    assert_aborted(&journal, &error);
    // Only then does the handle end.
    let error = handle.commit();
    assert!(error.is_ok() || matches!(error, Err(JournalError::Aborted(_))));
    assert_eq!(journal.usage().reserved, 0);
}

#[test]
fn handle_cannot_be_committed_into_an_aborted_journal() {
    let bed = Flavour::PLAIN.bed();
    let device = Arc::new(Faulty::new(bed.empty.snapshot()));
    let journal = bed.open(device.clone()).unwrap();
    let unit = bed.units[1];
    let mut handle = journal.begin(2).unwrap();
    handle.modify(unit.first, None).unwrap().fill(0xAA);
    device.fail_nth(IoOp::Write, 0, Fault::Error);
    work(&bed, &journal).1.unwrap_err();
    let refused = handle.modify(bed.units[2].first, None).map(|_| ());
    assert!(matches!(
        refused,
        Err(JournalError::Aborted(_) | JournalError::Conflict { .. })
    ));
    assert!(matches!(handle.commit(), Err(JournalError::Aborted(_))));
    assert!(journal.newest(unit.first).is_none_or(|image| image[100] != 0xAA));
}

#[test]
fn block_that_cannot_be_read_fails_the_call_and_nothing_else() {
    let bed = Flavour::PLAIN.bed();
    let device = Arc::new(Faulty::new(bed.empty.snapshot()));
    let journal = bed.open(device.clone()).unwrap();
    let unit = bed.units[1];
    device.fail_nth(IoOp::Read, 0, Fault::Error);
    let mut handle = journal.begin(1).unwrap();
    assert!(matches!(handle.modify(unit.first, None), Err(JournalError::Io(_))));
    handle.modify(unit.first, None).unwrap();
    handle.commit().unwrap();
    journal.close().unwrap();
}

#[test]
fn panic_in_the_middle_of_a_commit_or_checkpoint_aborts_the_journal() {
    for left in 0..6 {
        let bed = Flavour::PLAIN.bed();
        let left = AtomicU32::new(left);
        let device = Arc::new(Hooked::new(bed.empty.snapshot(), move |op, _| {
            let panics = op == IoOp::Write && left.fetch_sub(1, Ordering::SeqCst) == 0;
            assert!(!panics, "a device that panics, as it should in this test");
            Ok(())
        }));
        let journal = bed.open(device).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| work(&bed, &journal)).join().unwrap_err();
        });
        let error = journal.begin(1).map(drop).unwrap_err();
        assert!(
            matches!(&error, JournalError::Aborted(cause) if matches!(**cause, JournalError::Panicked)),
            "{error}"
        );
        assert!(journal.commit().is_err() && journal.checkpoint().is_err());
    }
}
