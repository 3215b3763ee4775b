//! What `debugfs` does without a volume: lock names and log masks.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use ocfs2_format::{BlockNo, Generation, InodeNo, LockId, LockKind};
use serde_json::{Value, json};

use super::session::number;
use super::show::set;
use crate::exit::Exit;
use crate::ui::{Ui, usage_error};

/// `-d NAME...`. A name that is none is passed over, as it always was.
pub(super) fn decode(words: &[OsString], ui: &mut Ui) -> anyhow::Result<Exit> {
    if words.is_empty() {
        return Err(usage_error("lock names are needed"));
    }
    let mut list = Vec::new();
    for word in words {
        let word = word.to_string_lossy();
        let Ok(lock) = word.parse::<LockId>() else {
            ui.note(format_args!("'{word}' is not the name of a lock"));
            continue;
        };
        if ui.is_json() {
            list.push(lock_json(&word, &lock));
            continue;
        }
        writeln!(ui, "Lockres:    {word}")?;
        writeln!(ui, "Type:       {}", kind_name(lock.kind()))?;
        writeln!(ui, "Block:      {}", lock.block())?;
        match lock {
            LockId::Dentry { parent, .. } => writeln!(ui, "Parent:\t    {parent}")?,
            LockId::Block { generation, .. } if generation.0 != 0 => {
                writeln!(ui, "Generation: {:#010x}", generation.0)?;
            }
            _ => {}
        }
        writeln!(ui)?;
    }
    if ui.is_json() {
        ui.document(&json!({ "locks": list }))?;
    }
    Ok(Exit::OK)
}

/// `-e TYPE BLOCK GENERATION`, or `-e N INODE PARENT`.
pub(super) fn encode(words: &[OsString], ui: &mut Ui) -> anyhow::Result<Exit> {
    let [kind, block, last] = words else {
        return Err(usage_error(
            "the type letter, a block, and a generation or parent are needed",
        ));
    };
    let (kind, block, last) = (kind.to_string_lossy(), block.to_string_lossy(), last.to_string_lossy());
    let mut letters = kind.chars();
    let kind = match (letters.next().and_then(LockKind::from_letter), letters.next()) {
        (Some(kind), None) => kind,
        _ => bail!("'{kind}' is not the letter of a lock type"),
    };
    let parse = |text: &str| number(text).ok_or_else(|| anyhow!("'{text}' is not a number"));
    let lock = match kind {
        LockKind::Dentry => LockId::Dentry {
            parent: InodeNo(parse(&last)?),
            inode: InodeNo(parse(&block)?),
        },
        _ => LockId::Block {
            kind,
            block: BlockNo(parse(&block)?),
            generation: Generation(u32::try_from(parse(&last)?).context("a generation has 32 bits")?),
        },
    };
    if ui.is_json() {
        ui.document(&lock_json(&lock.to_string(), &lock))?;
    } else {
        writeln!(ui, "{lock}")?;
    }
    Ok(Exit::OK)
}

fn lock_json(name: &str, lock: &LockId) -> Value {
    let mut object = json!({
        "name": name,
        "type": kind_name(lock.kind()),
        "block": lock.block().0,
    });
    match lock {
        LockId::Dentry { parent, .. } => set(&mut object, "parent", parent.0),
        LockId::Block { generation, .. } => set(&mut object, "generation", generation.0),
        _ => {}
    }
    object
}

fn kind_name(kind: LockKind) -> &'static str {
    match kind {
        LockKind::Meta => "Meta",
        LockKind::Data => "Data",
        LockKind::Super => "Super",
        LockKind::Rename => "Rename",
        LockKind::ReadWrite => "Write/Read",
        LockKind::Dentry => "Dentry",
        LockKind::Open => "Open",
        LockKind::Flock => "Flock",
        LockKind::Quota => "Quota",
        LockKind::NfsSync => "NFSSync",
        LockKind::OrphanScan => "OrphanScan",
        LockKind::Refcount => "Refcount",
        LockKind::Trim => "TrimFs",
        _ => "Unknown",
    }
}

/// Where the cluster modules keep their log masks: today, and in older kernels.
const MASK_DIRS: [&str; 2] = ["/sys/fs/o2cb/logmask", "/sys/o2cb/logmask"];

/// `-l [MASK... [allow|off|deny]]`. Several groups of masks may follow each other; masks without a state are shown.
pub(super) fn log_masks(words: &[OsString], ui: &mut Ui) -> anyhow::Result<Exit> {
    let dir = MASK_DIRS.iter().map(Path::new).find(|dir| dir.is_dir());
    let Some(dir) = dir else {
        bail!(
            "the cluster modules of the kernel are not loaded: there is no {}",
            MASK_DIRS[0]
        );
    };
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut pending: Vec<&str> = Vec::new();
    for word in &words {
        if !matches!(word.as_str(), "allow" | "off" | "deny") {
            pending.push(word);
            continue;
        }
        if pending.is_empty() {
            return Err(usage_error(format!("no mask stands before '{word}'")));
        }
        for mask in pending.drain(..) {
            if let Err(error) = write_mask(dir, mask, word) {
                ui.problem(format_args!("Unable to write log mask \"{mask}\": {error}"));
            }
        }
    }
    if words.is_empty() || !pending.is_empty() {
        show_masks(dir, &pending, ui)?;
    }
    Ok(Exit::OK)
}

fn write_mask(dir: &Path, mask: &str, state: &str) -> io::Result<()> {
    if mask.contains('/') || mask.starts_with('.') {
        return Err(io::ErrorKind::NotFound.into());
    }
    // Never makes a file: the kernel has one for each mask.
    let mut file = fs::File::options().write(true).open(dir.join(mask))?;
    file.write_all(state.as_bytes())
}

/// Shows the masks of these names, or all.
fn show_masks(dir: &Path, names: &[&str], ui: &mut Ui) -> anyhow::Result<()> {
    let mut masks = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
        masks.push(entry.file_name().to_string_lossy().into_owned());
    }
    masks.sort();
    for name in names.iter().filter(|name| !masks.iter().any(|mask| mask == *name)) {
        ui.problem(format_args!("there is no log mask \"{name}\""));
    }
    let mut object = json!({});
    for mask in masks
        .iter()
        .filter(|mask| names.is_empty() || names.contains(&mask.as_str()))
    {
        let state = fs::read_to_string(dir.join(mask)).with_context(|| format!("reading the log mask {mask}"))?;
        if ui.is_json() {
            set(&mut object, mask, state.trim());
        } else {
            writeln!(ui, "{mask} {}", state.trim())?;
        }
    }
    if ui.is_json() {
        ui.document(&json!({ "masks": object }))?;
    }
    Ok(())
}
