//! The lock manager's view: `o2dlm/<UUID>/locking_state`.

use std::io::Write;

use serde_json::{Value, json};

use super::{Fields, Lines, Wanted, value_block};
use crate::cmd::debugfs::failure::{Failure, Outcome};
use crate::cmd::debugfs::out::Out;
use crate::cmd::debugfs::show::{set, words};

/// The only format of a resource's and a lock's line.
const VERSION: i64 = 1;

/// Bits of a resource's state.
const STATES: &[(u32, &str)] = &[
    (0x0001, "Uninitialized"),
    (0x0002, "Recovering"),
    (0x0004, "Ready"),
    (0x0008, "Dirty"),
    (0x0010, "InProgress"),
    (0x0020, "Migrating"),
    (0x0040, "DroppingRef"),
    (0x1000, "BlockDirty"),
    (0x2000, "SetRefInProg"),
];

/// A lock resource.
#[derive(Debug, Default)]
struct Resource {
    name: String,
    owner: i64,
    state: i64,
    last_used: i64,
    on_lists: [bool; 3],
    inflight: i64,
    migration_pending: bool,
    asts_reserved: i64,
    refs: i64,
    reference_map: String,
    value: Vec<u8>,
    locks: Vec<Lock>,
}

/// The lists that a resource may be on.
const LISTS: [&str; 3] = ["Purge", "Dirty", "Recovering"];

/// One lock on a resource.
#[derive(Debug)]
struct Lock {
    queue: i64,
    level: i64,
    conversion: i64,
    node: i64,
    cookie: (u64, u64),
    ast: bool,
    bast: bool,
    /// In the order of [`PENDING`].
    pending: [bool; 6],
    refs: i64,
}

/// What a lock may wait for.
const PENDING: [&str; 6] = ["Ast", "Bast", "Convert", "Lock", "Cancel", "Unlock"];

/// Shows every wanted resource.
pub(super) fn show(mut lines: Lines, wanted: &Wanted<'_>, out: &mut Out<'_>) -> Outcome {
    out.begin_list(json!({}), "resources")?;
    while let Some(resource) = next(&mut lines)? {
        if !wanted.wants(&resource.name) {
            continue;
        }
        if out.is_json() {
            out.item(&json(&resource))?;
        } else {
            text(&resource, wanted.values, out)?;
        }
    }
    Ok(())
}

/// Reads the lines of the next resource, which an empty one ends.
fn next(lines: &mut Lines) -> Result<Option<Resource>, Failure> {
    let mut resource: Option<Resource> = None;
    while let Some(line) = lines.next()? {
        if line.is_empty() {
            if resource.is_some() {
                break;
            }
            continue;
        }
        let Some((tag, rest)) = line.split_once(':') else {
            return Err(lines.bad("no tag"));
        };
        let resource = resource.get_or_insert_default();
        let understood = match tag {
            "NAME" => {
                resource.name = rest.to_owned();
                Some(())
            }
            "LRES" => parse_resource(resource, rest),
            "RMAP" => {
                resource.reference_map = rest.to_owned();
                Some(())
            }
            "LVBX" => parse_value(rest).map(|value| resource.value = value),
            "LOCK" => parse_lock(rest).map(|lock| resource.locks.push(lock)),
            // Newer kernels may say more.
            _ => Some(()),
        };
        if understood.is_none() {
            return Err(lines.bad(format_args!("{tag} that is not of version {VERSION}")));
        }
    }
    Ok(resource)
}

fn parse_resource(resource: &mut Resource, line: &str) -> Option<()> {
    let mut fields = Fields::new(line, ',');
    let mut number = || fields.number();
    if number()? != VERSION {
        return None;
    }
    resource.owner = number()?;
    resource.state = number()?;
    resource.last_used = number()?;
    resource.on_lists = [number()? != 0, number()? != 0, number()? != 0];
    resource.inflight = number()?;
    resource.migration_pending = number()? != 0;
    resource.asts_reserved = number()?;
    resource.refs = number()?;
    Some(())
}

fn parse_lock(line: &str) -> Option<Lock> {
    let mut fields = Fields::new(line, ',');
    if fields.number()? != VERSION {
        return None;
    }
    let (queue, level, conversion, node) = (fields.number()?, fields.number()?, fields.number()?, fields.number()?);
    let (high, low) = fields.text()?.split_once(':')?;
    let cookie = (high.parse().ok()?, low.parse().ok()?);
    let mut flag = || Some(fields.number()? != 0);
    Some(Lock {
        queue,
        level,
        conversion,
        node,
        cookie,
        ast: flag()?,
        bast: flag()?,
        pending: [flag()?, flag()?, flag()?, flag()?, flag()?, flag()?],
        refs: fields.number()?,
    })
}

fn parse_value(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn text(resource: &Resource, with_value: bool, out: &mut Out<'_>) -> Result<(), Failure> {
    let states = words(resource.state as u32, STATES);
    writeln!(
        out,
        "Lockres: {:<32}  Owner: {:<3}  State: 0x{:X} {states}",
        resource.name, resource.owner, resource.state
    )?;
    writeln!(
        out,
        "Last Used: {:<5}  ASTs Reserved: {:<3}  Inflight: {:<3}  Migration Pending: {}",
        resource.last_used,
        resource.asts_reserved,
        resource.inflight,
        yes_no(resource.migration_pending)
    )?;
    let lists = LISTS.iter().zip(resource.on_lists).filter(|(_, on)| *on);
    let lists: String = lists.flat_map(|(name, _)| [*name, " "]).collect();
    writeln!(
        out,
        "Refs: {:<3}  Locks: {:<3}  On Lists: {}",
        resource.refs,
        resource.locks.len(),
        if lists.is_empty() { "None" } else { &lists }
    )?;
    writeln!(out, "Reference Map: {}", resource.reference_map)?;
    if with_value {
        value_block(out, &resource.value)?;
    }
    writeln!(
        out,
        " {:<10}  {:<4}  {:<5}  {:<4}  {:<15}  {:<4}  {:<3}  {:<4}  Pending-Action",
        "Lock-Queue", "Node", "Level", "Conv", "Cookie", "Refs", "AST", "BAST"
    )?;
    for lock in &resource.locks {
        let pending = PENDING.iter().zip(lock.pending).filter(|(_, on)| *on);
        let pending: String = pending.flat_map(|(name, _)| [*name, " "]).collect();
        writeln!(
            out,
            " {:<10}  {:<4}  {:<5}  {:<4}  {:<15}  {:<4}  {:<3}  {:<4}  {}",
            queue_name(lock.queue),
            lock.node,
            level_name(lock.level),
            level_name(lock.conversion),
            format!("{}:{}", lock.cookie.0, lock.cookie.1),
            lock.refs,
            yes_no(lock.ast),
            yes_no(lock.bast),
            if pending.is_empty() { "None" } else { &pending }
        )?;
    }
    writeln!(out)?;
    Ok(())
}

fn json(resource: &Resource) -> Value {
    let lists = LISTS
        .iter()
        .zip(resource.on_lists)
        .filter(|(_, on)| *on)
        .map(|(name, _)| *name);
    let nodes = resource
        .reference_map
        .split_whitespace()
        .filter_map(|node| node.parse::<u32>().ok());
    let locks = resource.locks.iter().map(|lock| {
        let pending = PENDING
            .iter()
            .zip(lock.pending)
            .filter(|(_, on)| *on)
            .map(|(name, _)| *name);
        json!({
            "queue": queue_name(lock.queue),
            "node": lock.node,
            "level": level_name(lock.level),
            "conversion": level_name(lock.conversion),
            "cookie": format!("{}:{}", lock.cookie.0, lock.cookie.1),
            "refs": lock.refs,
            "ast": lock.ast,
            "bast": lock.bast,
            "pending": pending.collect::<Vec<_>>(),
        })
    });
    let mut object = json!({
        "name": resource.name,
        "owner": resource.owner,
        "state": resource.state,
        "last_used": resource.last_used,
        "asts_reserved": resource.asts_reserved,
        "inflight": resource.inflight,
        "migration_pending": resource.migration_pending,
        "refs": resource.refs,
        "on_lists": lists.collect::<Vec<_>>(),
        "reference_map": nodes.collect::<Vec<_>>(),
        "lvb_hex": crate::text::hex(&resource.value),
    });
    set(&mut object, "locks", locks.collect::<Value>());
    object
}

fn queue_name(queue: i64) -> &'static str {
    match queue {
        0 => "Granted",
        1 => "Converting",
        2 => "Blocked",
        _ => "Unknown",
    }
}

/// A level by its letters, as far as OCFS2 uses it.
fn level_name(level: i64) -> String {
    match level {
        0 => "NL".to_owned(),
        3 => "PR".to_owned(),
        5 => "EX".to_owned(),
        other => other.to_string(),
    }
}

fn yes_no(flag: bool) -> &'static str {
    if flag { "Yes" } else { "No" }
}
