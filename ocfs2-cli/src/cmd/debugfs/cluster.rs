//! Commands about the nodes of the cluster, as far as the volume knows them.

use std::io::Write;

use serde_json::{Value, json};

use super::failure::{Failure, Outcome, failed};
use super::out::Out;
use super::session::Session;

/// `slotmap`.
pub(super) fn slotmap(session: &mut Session, _: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    slots(session, out)
}

/// The slots that a node sits in.
pub(super) fn slots(session: &Session, out: &mut Out<'_>) -> Outcome {
    let map = session.volume()?.inspector.volume().slot_map();
    let map = map.map_err(|error| failed(&error, "while reading slotmap system file"))?;
    if out.is_json() {
        let slots = map.used().map(|(slot, node)| json!({ "slot": slot.0, "node": node.0 }));
        out.document(json!({ "slots": slots.collect::<Value>() }))?;
        return Ok(());
    }
    writeln!(out, "\t{:>5}   {:>5}", "Slot#", "Node#")?;
    for (slot, node) in map.used() {
        writeln!(out, "\t{:>5}   {:>5}", slot.0, node.0)?;
    }
    Ok(())
}

/// `hb`.
pub(super) fn hb(session: &mut Session, _: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    beats(session, out)
}

/// The nodes that have a heartbeat.
pub(super) fn beats(session: &Session, out: &mut Out<'_>) -> Outcome {
    let beats = session.volume()?.inspector.volume().heartbeats();
    let beats = beats.map_err(|error| failed(&error, "while reading heartbeat system file"))?;
    if out.is_json() {
        let list = beats.iter().map(|beat| {
            json!({
                "node": beat.node.0,
                "hb_seq": beat.seq,
                "hb_generation": beat.generation,
                "hb_cksum": beat.checksum,
                "hb_dead_ms": beat.dead_ms,
                "intact": beat.intact,
            })
        });
        out.document(json!({ "heartbeats": list.collect::<Value>() }))?;
        return Ok(());
    }
    writeln!(
        out,
        "\t{:>4}: {:>4} {:>16} {:>16} {:>8} {:>6}",
        "node", "node", "seq", "generation", "checksum", "deadms"
    )?;
    for beat in beats {
        let node = beat.node.0;
        writeln!(
            out,
            "\t{node:4}: {node:4} {:016x} {:016x} {:08x} {:6}",
            beat.seq, beat.generation, beat.checksum, beat.dead_ms
        )?;
    }
    Ok(())
}

/// `controld dump`.
pub(super) fn controld(_: &mut Session, words: &[&[u8]], _: &mut Out<'_>) -> Outcome {
    match words {
        [] => Err(Failure::new("Operation required")),
        [b"dump", ..] => Err(Failure::new(
            "Unable to access cluster service while obtaining the debug buffer \
             (user-space cluster stacks have no daemon here)",
        )),
        [word, ..] => {
            let word = String::from_utf8_lossy(word);
            Err(Failure::Text(format!("Invalid operation: \"{word}\"")))
        }
    }
}
