//! What nodes say to each other: `o2net/stats`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::from_utf8;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Fields, Lines, debugfs};
use crate::cmd::debugfs::failure::{Failure, Outcome};
use crate::cmd::debugfs::out::Out;

/// The only format of a line.
const VERSION: i64 = 1;

/// Counters of the connection to a node, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    sent: u64,
    acquire_ns: u64,
    transmit_ns: u64,
    wait_ns: u64,
    received: u64,
    process_ns: u64,
}

impl Counters {
    /// What was added since `before`.
    fn since(&self, before: &Counters) -> Counters {
        Counters {
            sent: self.sent.saturating_sub(before.sent),
            acquire_ns: self.acquire_ns.saturating_sub(before.acquire_ns),
            transmit_ns: self.transmit_ns.saturating_sub(before.transmit_ns),
            wait_ns: self.wait_ns.saturating_sub(before.wait_ns),
            received: self.received.saturating_sub(before.received),
            process_ns: self.process_ns.saturating_sub(before.process_ns),
        }
    }
}

/// `net_stats [-f FILE] [INTERVAL [COUNT]]`.
pub(super) fn show(words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let (file, words) = match words {
        [b"-f", file, rest @ ..] => (Some(Path::new(OsStr::from_bytes(file))), rest),
        _ => (None, words),
    };
    let number = |word: &&[u8]| {
        from_utf8(word)
            .ok()
            .and_then(|word| word.parse::<u64>().ok())
            .ok_or(Failure::Usage)
    };
    let numbers = words.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    let (interval, mut left) = match numbers[..] {
        [] => (0, Some(1)),
        [interval] => (interval, None),
        [interval, count] => (interval, Some(count)),
        _ => return Err(Failure::Usage),
    };
    if interval == 0 {
        left = Some(1);
    }
    let path: PathBuf = match file {
        Some(file) => file.to_owned(),
        None => debugfs()?.join("o2net/stats"),
    };
    out.begin_list(json!({}), "samples")?;
    let mut before = BTreeMap::new();
    let mut seconds = 1;
    while left != Some(0) {
        let now = read(&path)?;
        let rates = now.iter().map(|(node, counters): (&i64, &Counters)| {
            let old = before.get(node).copied().unwrap_or_default();
            (*node, counters.since(&old))
        });
        sample(rates, seconds, out)?;
        out.flush()?;
        left = left.map(|left| left - 1);
        if left != Some(0) {
            std::thread::sleep(Duration::from_secs(interval));
        }
        before = now;
        seconds = interval;
    }
    Ok(())
}

fn read(path: &Path) -> Result<BTreeMap<i64, Counters>, Failure> {
    let cannot = |error| {
        Failure::Text(format!(
            "Unable to access cluster service; could not open {}: {error}",
            path.display()
        ))
    };
    let mut lines = Lines::open(path).map_err(cannot)?;
    let mut nodes = BTreeMap::new();
    while let Some(line) = lines.next()? {
        let (node, counters) =
            parse(&line).ok_or_else(|| lines.bad(format_args!("no statistics of version {VERSION}")))?;
        nodes.insert(node, counters);
    }
    Ok(nodes)
}

fn parse(line: &str) -> Option<(i64, Counters)> {
    let mut fields = Fields::new(line, ',');
    if fields.number()? != VERSION {
        return None;
    }
    let node = fields.number()?;
    let mut count = || fields.count();
    let counters = Counters {
        sent: count()?,
        acquire_ns: count()?,
        transmit_ns: count()?,
        wait_ns: count()?,
        received: count()?,
        process_ns: count()?,
    };
    Some((node, counters))
}

fn sample(rates: impl Iterator<Item = (i64, Counters)>, seconds: u64, out: &mut Out<'_>) -> Outcome {
    if out.is_json() {
        let nodes = rates.map(|(node, counters)| {
            json!({
                "node": node,
                "seconds": seconds,
                "sent": counters.sent,
                "send_acquire_ns": counters.acquire_ns,
                "send_transmit_ns": counters.transmit_ns,
                "send_wait_ns": counters.wait_ns,
                "received": counters.received,
                "process_ns": counters.process_ns,
            })
        });
        return Ok(out.item(&nodes.collect::<Value>())?);
    }
    let dashes = "-".repeat(27);
    writeln!(out, "       ------- msg / sec -------   {dashes} usecs / msg {dashes}")?;
    writeln!(
        out,
        "{:<5}  {:<12} {:<12}  {:<12}   {:<12}  {:<13} {:<12} {:<12}",
        "Node#", "send q", "recv q", "(acquiry", "xmit", "wait        )", "send", "process"
    )?;
    for (node, counters) in rates {
        let (sent, received) = (counters.sent / seconds.max(1), counters.received / seconds.max(1));
        let acquire = microseconds(counters.acquire_ns, counters.sent);
        let transmit = microseconds(counters.transmit_ns, counters.sent);
        let wait = microseconds(counters.wait_ns, counters.sent);
        let process = microseconds(counters.process_ns, counters.received);
        let send = acquire + transmit + wait;
        writeln!(
            out,
            "{node:<5}  {sent:<12} {received:<12}   {acquire:<12.3}  {transmit:<12.3}  {wait:<12.3}  {send:<12.3} {process:<12.3}"
        )?;
    }
    writeln!(out, "\n")?;
    Ok(())
}

/// Microseconds per message.
fn microseconds(total_ns: u64, messages: u64) -> f64 {
    if messages == 0 {
        0.0
    } else {
        total_ns as f64 / messages as f64 / 1000.0
    }
}
