//! `ocfs2 truncate`: changes sizes of files in a volume.

use ocfs2_fs::OpenHow;

use crate::cmd::Run;
use crate::edit::{EditArgs, new_inode, place};
use crate::exit::Exit;
use crate::size;
use crate::target::Target;
use crate::ui::Ui;

/// Make files in a volume shorter or longer
///
/// Works as truncate(1) does, without mounting the volume. What a file grows by is a hole. Files that are not there are
/// made.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  ocfs2 truncate -s 10G disk.img:/vm/root.raw
  ocfs2 truncate -s +512M disk.img:/vm/root.raw
  ocfs2 truncate -c -s 0 disk.img:/var/log/syslog")]
pub(crate) struct Args {
    /// Files, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Size in bytes or with a unit; + adds to the size there is, - takes from it, < is at most, > at least, / rounds down
    /// to a multiple, % up
    #[arg(short, long, value_name = "SIZE", value_parser = Change::parse, allow_hyphen_values = true,
          required_unless_present = "reference")]
    size: Option<Change>,
    /// The size of this file, as IMAGE:/path; --size may be relative to it
    #[arg(short, long, value_name = "FILE")]
    reference: Option<Target>,
    /// Make no files
    #[arg(short = 'c', long)]
    no_create: bool,
    #[command(flatten)]
    edit: EditArgs,
}

/// A new size, given the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    To(u64),
    Grow(u64),
    Shrink(u64),
    AtMost(u64),
    AtLeast(u64),
    RoundDown(u64),
    RoundUp(u64),
}

impl Change {
    fn parse(text: &str) -> Result<Self, String> {
        let (change, rest): (fn(u64) -> Self, &str) = match text.as_bytes().first() {
            Some(b'+') => (Change::Grow, &text[1..]),
            Some(b'-') => (Change::Shrink, &text[1..]),
            Some(b'<') => (Change::AtMost, &text[1..]),
            Some(b'>') => (Change::AtLeast, &text[1..]),
            Some(b'/') => (Change::RoundDown, &text[1..]),
            Some(b'%') => (Change::RoundUp, &text[1..]),
            _ => (Change::To, text),
        };
        let change = change(size::parse(rest)?);
        match change {
            Change::RoundDown(0) | Change::RoundUp(0) => Err(format!("'{text}': there are no multiples of zero")),
            change => Ok(change),
        }
    }

    /// The new size; `None` when it is beyond all files.
    fn apply(self, old: u64) -> Option<u64> {
        match self {
            Change::To(size) => Some(size),
            Change::Grow(by) => old.checked_add(by),
            Change::Shrink(by) => Some(old.saturating_sub(by)),
            Change::AtMost(size) => Some(old.min(size)),
            Change::AtLeast(size) => Some(old.max(size)),
            Change::RoundDown(unit) => Some(old / unit * unit),
            Change::RoundUp(unit) => old.checked_next_multiple_of(unit),
        }
    }
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        self.edit.run(ui, |editor| {
            let reference = match &self.reference {
                Some(target) => {
                    let fs = editor.fs(target)?;
                    Some(target.find_in(&fs, true)?.size())
                }
                None => None,
            };
            editor.each(&self.targets, |editor, fs, target| {
                let failed = |error| target.failed(error);
                if place::found(fs, target, true)?.is_none() {
                    if self.no_create {
                        return Ok(());
                    }
                    let (dir, name) = place::parent(fs, target)?;
                    fs.create_file(dir, &name, &new_inode(0o666)).map_err(failed)?;
                }
                let file = fs.open(target.path(), OpenHow::new().write(true)).map_err(failed)?;
                let old = match reference {
                    Some(size) => size,
                    None => file.metadata().map_err(failed)?.size(),
                };
                let new = self.size.map_or(Some(old), |change| change.apply(old));
                let Some(new) = new else {
                    anyhow::bail!("{target}: the new size does not fit in 64 bits");
                };
                file.set_len(new).map_err(failed)?;
                let inode = file.metadata().map_err(failed)?;
                file.close().map_err(failed)?;
                editor.report("changed", target, Some(&inode))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_absolute_or_relative() {
        for (text, old, new) in [
            ("4k", 7, Some(4096)),
            ("+1", 7, Some(8)),
            ("-3", 7, Some(4)),
            ("-30", 7, Some(0)),
            ("<5", 7, Some(5)),
            (">5", 7, Some(7)),
            ("/4", 7, Some(4)),
            ("%4", 7, Some(8)),
            ("+1", u64::MAX, None),
        ] {
            assert_eq!(Change::parse(text).expect(text).apply(old), new, "{text}");
        }
        for text in ["", "+", "/0", "%0", "x", "++1"] {
            assert!(Change::parse(text).is_err(), "{text}");
        }
    }
}
