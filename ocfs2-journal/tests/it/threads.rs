//! Many handles at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use ocfs2_format::BlockNo;
use ocfs2_format::device::{BlockDevice, Crash, IoError, IoErrorKind, IoOp, MemDevice, Recording};
use ocfs2_format::jbd2::ChecksumVersion;
use ocfs2_journal::{Journal, JournalOptions};

use crate::bed::{Flavour, Hooked};

const THREADS: u64 = 4;
const BLOCKS: u64 = 3;

/// Blocks of a thread: its handles write the same number into all of them.
fn blocks(thread: u64) -> impl Iterator<Item = BlockNo> {
    (0..BLOCKS).map(move |n| BlockNo(if n == 0 { 4 + thread } else { 84 + thread * BLOCKS + n }))
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[64..72].try_into().unwrap())
}

fn home(device: &MemDevice, block: BlockNo) -> u64 {
    let mut bytes = [0; 512];
    device.read(block.0 << 9, &mut bytes).unwrap();
    number(&bytes)
}

#[test]
fn handles_of_many_threads_stay_whole_in_a_log_that_is_always_full() {
    for (interval, checksum) in [
        (None, ChecksumVersion::None),
        (Some(Duration::from_millis(1)), ChecksumVersion::None),
        (Some(Duration::from_secs(3600)), ChecksumVersion::V3),
    ] {
        let bed = Flavour {
            checksum,
            ..Flavour::PLAIN
        }
        .bed();
        let device = Arc::new(Recording::new(bed.empty.snapshot()));
        let options = JournalOptions {
            commit_interval: interval,
        };
        let journal = Journal::open(device.clone(), bed.map.clone(), bed.geometry, &options).unwrap();
        // What a thread knows to be durable, and after how many operations of the device it knew.
        let known = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (journal, device, known) = (&journal, &device, &known);
                scope.spawn(move || {
                    for n in 1..=150 {
                        let mut handle = journal.begin(BLOCKS as u32).unwrap();
                        for block in blocks(thread) {
                            let bytes = handle.modify(block, None).unwrap();
                            assert!(n == 1 || number(bytes) == n - 1, "thread {thread} sees what it wrote");
                            bytes[64..72].copy_from_slice(&n.to_le_bytes());
                        }
                        if n % 5 == 4 {
                            drop(handle);
                            let mut again = journal.begin(BLOCKS as u32).unwrap();
                            for block in blocks(thread) {
                                again.modify(block, None).unwrap()[64..72].copy_from_slice(&n.to_le_bytes());
                            }
                            again.commit().unwrap();
                            continue;
                        }
                        let tid = handle.commit().unwrap();
                        if n % 7 == 0 {
                            journal.commit_and_wait(tid).unwrap();
                            let ops = device.ops().len();
                            known.lock().unwrap().push((ops, thread, n));
                        }
                        if n % 50 == 0 {
                            journal.checkpoint_through(tid).unwrap();
                            assert!(journal.is_checkpointed(tid));
                        }
                    }
                });
            }
        });
        let usage = journal.usage();
        assert_eq!(usage.reserved, 0);
        let known = known.into_inner().unwrap();

        let crash = Crash::new(bed.empty.snapshot());
        let ops = device.ops();
        for (n, op) in ops.iter().enumerate() {
            if n % 11 == 0 {
                let volume = bed.volume(crash.after_power_cut(n as u64).unwrap());
                let log = volume.log().unwrap();
                let recovery = log.scan().unwrap();
                recovery.check(&volume.geometry).unwrap();
                log.replay(&recovery).unwrap();
                let mut durable = BTreeMap::new();
                for &(ops, thread, number) in &known {
                    if ops <= n {
                        let entry = durable.entry(thread).or_insert(number);
                        *entry = number.max(*entry);
                    }
                }
                for thread in 0..THREADS {
                    let found: Vec<u64> = blocks(thread).map(|block| home(&volume.device, block)).collect();
                    let untouched = found
                        .iter()
                        .zip(blocks(thread))
                        .all(|(&number, block)| number == block.0);
                    if let Some(&number) = durable.get(&thread) {
                        assert!(
                            !untouched && found[0] >= number,
                            "{number} of thread {thread} was durable"
                        );
                    }
                    assert!(untouched || found.iter().all(|&number| number == found[0]), "{found:?}");
                }
            }
            op.apply(&crash).unwrap();
        }

        journal.close().unwrap();
        for block in (0..THREADS).flat_map(blocks) {
            assert_eq!(home(device.inner(), block), 150);
        }
    }
}

#[test]
fn end_of_a_handle_lets_the_next_one_begin() {
    let bed = Flavour::PLAIN.bed();
    let journal = bed.open(Arc::new(bed.empty.snapshot())).unwrap();
    let mut handles: Vec<_> = (0..4).map(|_| journal.begin(journal.max_credits()).unwrap()).collect();
    let (asked, began) = (Barrier::new(3), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                asked.wait();
                let handle = journal.begin(journal.max_credits()).unwrap();
                began.fetch_add(1, Ordering::SeqCst);
                drop(handle);
            });
        }
        asked.wait();
        thread::sleep(Duration::from_millis(20));
        assert_eq!(began.load(Ordering::SeqCst), 0, "the log has no room");
        drop(handles.pop());
    });
    assert_eq!(began.load(Ordering::SeqCst), 2);
}

#[test]
fn commit_is_not_durable_when_somebody_elses_flush_has_failed() {
    let bed = Flavour::PLAIN.bed();
    let (failing, flushes) = (Arc::new(Barrier::new(2)), AtomicU32::new(0));
    let about_to_fail = failing.clone();
    // All flushes succeed at once but the second, which takes time.
    let device = Arc::new(Hooked::new(bed.empty.snapshot(), move |op, _| {
        if op != IoOp::Flush || flushes.fetch_add(1, Ordering::SeqCst) != 1 {
            return Ok(());
        }
        about_to_fail.wait();
        thread::sleep(Duration::from_millis(100));
        let error = IoErrorKind::Device(std::io::Error::from_raw_os_error(5));
        Err(IoError::new(IoOp::Flush, 0, 0, error))
    }));
    let journal = bed.open(device).unwrap();
    let change = || {
        let mut handle = journal.begin(1).unwrap();
        handle.create(BlockNo(4), None).unwrap();
        handle.commit().unwrap()
    };
    let first = change();
    journal.commit_and_wait(first).unwrap();
    let second = change();
    thread::scope(|scope| {
        // The system may report the failure to this flush, and with it that of what the commit writes.
        scope.spawn(|| journal.checkpoint_through(first).unwrap_err());
        failing.wait();
        assert!(journal.commit_and_wait(second).is_err());
    });
    assert!(journal.is_durable(first) && !journal.is_durable(second));
}

#[test]
fn block_on_its_way_home_is_not_reused_even_if_it_was_revoked_meanwhile() {
    for is_changed_again in [false, true] {
        let bed = Flavour {
            revokes: true,
            ..Flavour::PLAIN
        }
        .bed();
        let (block, next) = (BlockNo(4), BlockNo(5));
        let writing = Arc::new(Barrier::new(2));
        let (home, about_to_write) = (block.0 << 9, writing.clone());
        let device = Arc::new(Hooked::new(bed.empty.snapshot(), move |op, offset| {
            if op == IoOp::Write && offset == home {
                about_to_write.wait();
                about_to_write.wait();
            }
            Ok(())
        }));
        let journal = bed.open(device).unwrap();
        let change = |block| {
            let mut handle = journal.begin(2).unwrap();
            handle.modify(block, None).unwrap().fill(1);
            handle.commit().unwrap()
        };
        let first = change(block);
        journal.commit_and_wait(first).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| journal.checkpoint_through(first).unwrap());
            writing.wait();
            if is_changed_again {
                journal.commit_and_wait(change(block)).unwrap();
            }
            let mut handle = journal.begin(2).unwrap();
            handle.forget(block, 1).unwrap();
            handle.modify(next, None).unwrap();
            let tid = handle.commit().unwrap();
            journal.commit_and_wait(tid).unwrap();
            let reusable = journal.may_reuse(block..next);
            writing.wait();
            assert!(!reusable);
        });
        journal.make_reusable(block..next).unwrap();
        assert!(journal.may_reuse(block..next));
    }
}

#[test]
fn thread_commits_on_its_own_and_makes_room_before_there_is_none() {
    let bed = Flavour {
        blocks: 1024,
        ..Flavour::PLAIN
    }
    .bed();
    let device = Arc::new(bed.empty.snapshot());
    let options = JournalOptions {
        commit_interval: Some(Duration::from_millis(20)),
    };
    let journal = Journal::open(device, bed.map.clone(), bed.geometry, &options).unwrap();
    let wait_until = |what: &str, done: &dyn Fn() -> bool| {
        for _ in 0..2000 {
            if done() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("{what} within 10 seconds");
    };
    let mut handle = journal.begin(1).unwrap();
    handle.create(BlockNo(4), None).unwrap();
    let tid = handle.commit().unwrap();
    wait_until("what is old is committed", &|| journal.is_durable(tid));
    assert!(!journal.is_checkpointed(tid));

    // Each of these is a transaction that takes a quarter of the log.
    for round in 0..3 {
        let mut handle = journal.begin(240).unwrap();
        for n in 0..240 {
            handle.create(BlockNo(1100 + n), None).unwrap().fill(round);
        }
        let tid = handle.commit().unwrap();
        journal.commit_and_wait(tid).unwrap();
    }
    wait_until("what fills the log is checkpointed", &|| journal.usage().logged <= 512);
}
