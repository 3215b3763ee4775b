//! The file system's view of its locks: `ocfs2/<UUID>/locking_state`.

use std::io::Write;

use serde_json::{Value, json};

use super::{Fields, Lines, Wanted, value_block};
use crate::cmd::debugfs::failure::{Failure, Outcome};
use crate::cmd::debugfs::out::Out;
use crate::cmd::debugfs::show::set;

/// Newest format of a line.
const MAX_VERSION: i64 = 4;

/// Bytes of a lock value block.
const LVB_BYTES: usize = 64;

/// Bits of a lock's flags.
const FLAGS: &[(i64, &str)] = &[
    (0x0040, "Initialized"),
    (0x0001, "Attached"),
    (0x0002, "Busy"),
    (0x0004, "Blocked"),
    (0x0008, "Local"),
    (0x0010, "Needs Refresh"),
    (0x0020, "Refreshing"),
    (0x0080, "Freeing"),
    (0x0100, "Queued"),
];

/// The flag of a lock that waits for the cluster.
const BUSY: i64 = 0x2;

/// One lock.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lock {
    name: String,
    level: i64,
    flags: i64,
    action: i64,
    unlock_action: i64,
    readers: i64,
    writers: i64,
    requested: i64,
    blocking: i64,
    value: Vec<u8>,
    /// From version 2 on.
    stats: Option<Stats>,
}

/// How a lock was used: shared first, then exclusively.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stats {
    gets: [u64; 2],
    fails: [u64; 2],
    wait_ns: [u64; 2],
    max_wait_us: [u64; 2],
    refreshes: u64,
    /// From version 4 on: time of the last request in microseconds, and start of the wait that lasts.
    last_us: Option<[u64; 2]>,
    waiting_since_us: Option<u64>,
}

/// Shows every wanted lock.
pub(super) fn show(mut lines: Lines, wanted: &Wanted<'_>, out: &mut Out<'_>) -> Outcome {
    out.begin_list(json!({}), "locks")?;
    while let Some(line) = lines.next()? {
        let lock = parse(&line).map_err(|why| lines.bad(why))?;
        if !wanted.wants(&lock.name) || (wanted.busy && lock.flags & BUSY == 0) {
            continue;
        }
        if out.is_json() {
            out.item(&json(&lock))?;
        } else {
            text(&lock, wanted.values, out)?;
        }
    }
    Ok(())
}

fn parse(line: &str) -> Result<Lock, String> {
    let mut fields = Fields::new(line, '\t');
    let version = fields.number().ok_or("no lock: it does not begin with a version")?;
    if !(1..=MAX_VERSION).contains(&version) {
        return Err(format!(
            "version {version} of a lock, {MAX_VERSION} is the highest known"
        ));
    }
    parse_fields(&mut fields, version).ok_or_else(|| format!("no lock of version {version}"))
}

fn parse_fields(fields: &mut Fields<'_>, version: i64) -> Option<Lock> {
    let name = fields.text()?.to_owned();
    let mut number = || fields.number();
    let mut lock = Lock {
        name,
        level: number()?,
        flags: number()?,
        action: number()?,
        unlock_action: number()?,
        readers: number()?,
        writers: number()?,
        requested: number()?,
        blocking: number()?,
        ..Lock::default()
    };
    for _ in 0..LVB_BYTES {
        // Some kernels print bytes above 0x7f with their sign.
        lock.value.push((number()? & 0xFF) as u8);
    }
    if version >= 2 {
        let mut count = || fields.count();
        let mut stats = Stats {
            gets: [count()?, count()?],
            fails: [count()?, count()?],
            wait_ns: [count()?, count()?],
            max_wait_us: [count()?, count()?],
            refreshes: count()?,
            ..Stats::default()
        };
        if version == 2 {
            // Nanoseconds there.
            stats.max_wait_us = stats.max_wait_us.map(|wait| wait / 1000);
        }
        if version >= 4 {
            stats.last_us = Some([count()?, count()?]);
            stats.waiting_since_us = Some(count()?);
        }
        lock.stats = Some(stats);
    }
    Some(lock)
}

fn text(lock: &Lock, with_value: bool, out: &mut Out<'_>) -> Result<(), Failure> {
    writeln!(out, "Lockres: {}  Mode: {}", lock.name, level_name(lock.level))?;
    write!(out, "Flags:")?;
    for (_, word) in FLAGS.iter().filter(|(flag, _)| lock.flags & flag != 0) {
        write!(out, " {word}")?;
    }
    writeln!(out)?;
    writeln!(out, "RO Holders: {}  EX Holders: {}", lock.readers, lock.writers)?;
    writeln!(
        out,
        "Pending Action: {}  Pending Unlock Action: {}",
        action_name(lock.action),
        unlock_action_name(lock.unlock_action)
    )?;
    writeln!(
        out,
        "Requested Mode: {}  Blocking Mode: {}",
        level_name(lock.requested),
        level_name(lock.blocking)
    )?;
    if with_value {
        value_block(out, &lock.value)?;
    }
    if let Some(stats) = &lock.stats {
        for (index, name) in ["PR", "EX"].into_iter().enumerate() {
            let (gets, wait) = (stats.gets[index], stats.wait_ns[index]);
            write!(
                out,
                "{name} > Gets: {gets}  Fails: {}    Waits Total: {}us  Max: {}us  Avg: {}ns",
                stats.fails[index],
                wait / 1000,
                stats.max_wait_us[index],
                wait.checked_div(gets).unwrap_or(0)
            )?;
            if let Some(last) = stats.last_us {
                write!(out, " Last: {}us", last[index])?;
            }
            writeln!(out)?;
        }
        write!(out, "Disk Refreshes: {}", stats.refreshes)?;
        if let Some(since) = stats.waiting_since_us {
            write!(out, " First Wait: {since}us")?;
        }
        writeln!(out)?;
    }
    writeln!(out)?;
    Ok(())
}

fn json(lock: &Lock) -> Value {
    let mut object = json!({
        "name": lock.name,
        "level": lock.level,
        "mode": level_name(lock.level),
        "flags": lock.flags,
        "action": lock.action,
        "unlock_action": lock.unlock_action,
        "ro_holders": lock.readers,
        "ex_holders": lock.writers,
        "requested": lock.requested,
        "blocking": lock.blocking,
        "lvb_hex": crate::text::hex(&lock.value),
    });
    if let Some(stats) = &lock.stats {
        for (index, name) in ["pr", "ex"].into_iter().enumerate() {
            let mut side = json!({
                "gets": stats.gets[index],
                "fails": stats.fails[index],
                "wait_total_ns": stats.wait_ns[index],
                "wait_max_us": stats.max_wait_us[index],
            });
            if let Some(last) = stats.last_us {
                set(&mut side, "last_us", last[index]);
            }
            set(&mut object, name, side);
        }
        set(&mut object, "disk_refreshes", stats.refreshes);
        if let Some(since) = stats.waiting_since_us {
            set(&mut object, "first_wait_us", since);
        }
    }
    object
}

fn level_name(level: i64) -> &'static str {
    match level {
        -1 => "Invalid",
        0 => "No Lock",
        1 => "Concurrent Read",
        2 => "Concurrent Write",
        3 => "Protected Read",
        4 => "Protected Write",
        5 => "Exclusive",
        _ => "Unknown",
    }
}

fn action_name(action: i64) -> &'static str {
    match action {
        0 => "None",
        1 => "Attach",
        2 => "Convert",
        3 => "Downconvert",
        _ => "Unknown",
    }
}

fn unlock_action_name(action: i64) -> &'static str {
    match action {
        0 => "None",
        1 => "Cancel Convert",
        2 => "Drop Lock",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as the kernel of this version writes it.
    fn line(version: u32) -> String {
        let mut line = format!("{version:#x}\tM0000000000000000007e0300000000\t5\t0x41\t0x0\t0x0\t0\t0\t5\t-1\t");
        line.push_str("0x5\t0xffffff80\t");
        line.push_str(&"0x0\t".repeat(62));
        match version {
            1 => {}
            4 => line.push_str("4\t1\t0\t0\t1580\t361\t7000\t8000\t2\t11\t12\t13\t"),
            _ => line.push_str("4\t1\t0\t0\t1580\t361\t7000\t8000\t2\t"),
        }
        line
    }

    #[test]
    fn every_version_of_a_line_is_understood() {
        for version in 1..=4 {
            let lock = parse(&line(version)).expect("a lock");
            assert_eq!((lock.level, lock.blocking, lock.value.len()), (5, -1, 64));
            assert_eq!(lock.value[..2], [0x05, 0x80], "bytes with a sign are bytes");
            assert_eq!(lock.stats.is_some(), version > 1);
            assert_eq!(
                lock.stats.as_ref().and_then(|stats| stats.waiting_since_us),
                (version == 4).then_some(13)
            );
            let longest = lock.stats.map(|stats| stats.max_wait_us);
            let expected = [None, Some([7, 8]), Some([7000, 8000]), Some([7000, 8000])];
            assert_eq!(longest, expected[version as usize - 1]);
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        for (text, reason) in [
            (line(5), "version 5"),
            (String::new(), "version"),
            ("0x3\tM".to_owned(), "no lock of version 3"),
            (line(3).replace("\t1580", "\tx"), "no lock"),
        ] {
            let error = parse(&text).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }
}
