//! The commands, and how a line becomes one.

use std::io::Write;

use super::failure::{Failure, Outcome};
use super::out::Out;
use super::session::Session;
use super::{alloc, cluster, copy, dirs, files, find, index, inodes, journal, live, volume, xattrs};

/// What a command does with the words behind it.
pub(super) type Run = fn(&mut Session, &[&[u8]], &mut Out<'_>) -> Outcome;

/// One command.
pub(super) struct Command {
    /// Its name, and another one where it has one.
    pub(super) names: &'static [&'static str],
    /// The words behind it.
    pub(super) operands: &'static str,
    /// What it does.
    pub(super) summary: &'static str,
    run: Run,
}

const fn command(names: &'static [&'static str], operands: &'static str, summary: &'static str, run: Run) -> Command {
    Command {
        names,
        operands,
        summary,
        run,
    }
}

/// Every command, in the order of the help.
pub(super) static COMMANDS: &[Command] = &[
    command(
        &["bmap"],
        "<filespec> <logical_blk>",
        "Show the physical block of a file's logical block",
        files::bmap,
    ),
    command(&["cat"], "<filespec>", "Write a file to the output", files::cat),
    command(&["cd"], "<filespec>", "Change the current directory", dirs::cd),
    command(
        &["chroot"],
        "<filespec>",
        "Change the directory where paths with a slash begin",
        dirs::chroot,
    ),
    command(&["close"], "", "Close the device", volume::close),
    command(
        &["controld"],
        "dump",
        "Show the state of a user-space cluster daemon (not available)",
        cluster::controld,
    ),
    command(&["curdev"], "", "Name the open device", volume::curdev),
    command(
        &["decode"],
        "<lockname> ...",
        "Show the blocks that locks stand for",
        find::decode,
    ),
    command(
        &["dirblocks"],
        "<filespec>",
        "Show the blocks of a directory",
        index::dirblocks,
    ),
    command(
        &["dlm_locks"],
        "[-f <file>] [-l] [<lockname> ...]",
        "Show the cluster locks of a mounted volume",
        live::dlm_locks,
    ),
    command(
        &["dump"],
        "[-p] <filespec> <file>",
        "Copy a file out; -p with its owner, permissions and times",
        copy::dump,
    ),
    command(
        &["dx_dump"],
        "<filespec>",
        "Show the whole index of a directory",
        index::dx_dump,
    ),
    command(
        &["dx_leaf"],
        "<block#>",
        "Show a leaf of a directory index",
        index::dx_leaf,
    ),
    command(
        &["dx_root"],
        "<block#>",
        "Show the root of a directory index",
        index::dx_root,
    ),
    command(
        &["dx_space"],
        "<filespec>",
        "Show the blocks of a directory that have room",
        index::dx_space,
    ),
    command(
        &["encode"],
        "<filespec>",
        "Name the metadata lock of an inode",
        find::encode,
    ),
    command(&["extent"], "<block#>", "Show an extent block", alloc::extent),
    command(&["findpath"], "<inode#>", "Find one path of an inode", find::findpath),
    command(
        &["frag"],
        "<filespec>",
        "Compare the extents of a file with its clusters",
        files::frag,
    ),
    command(
        &["fs_locks"],
        "[-f <file>] [-l] [-B] [<lockname> ...]",
        "Show the file system's view of its locks",
        live::fs_locks,
    ),
    command(
        &["gd_free_bits"],
        "",
        "Show the free extents of all groups of the global bitmap",
        alloc::gd_free_bits,
    ),
    command(
        &["group"],
        "<block#>",
        "Show a group and the rest of its chain",
        alloc::group,
    ),
    command(
        &["grpextents"],
        "<block#>",
        "Show the free extents of a group and the rest of its chain",
        alloc::grpextents,
    ),
    command(&["hb"], "", "Show the heartbeats", cluster::hb),
    command(&["help", "?"], "", "List the commands", help),
    command(
        &["icheck"],
        "<block#> ...",
        "Find out what blocks are used for",
        find::icheck,
    ),
    command(
        &["lcd"],
        "[<directory>]",
        "Change the directory of this program, or name it",
        volume::lcd,
    ),
    command(
        &["locate", "ncheck"],
        "<inode#> ...",
        "Find all paths of inodes",
        find::locate,
    ),
    command(
        &["logdump"],
        "[-T] <slot#>",
        "Show the journal of a slot",
        journal::logdump,
    ),
    command(&["ls"], "[-l] [<filespec>]", "List a directory", dirs::ls),
    command(
        &["net_stats"],
        "[-f <file>] [<interval> [<count>]]",
        "Show what nodes say to each other",
        live::net_stats,
    ),
    command(&["open"], "<device> [-i] [-s <backup#>]", "Open a device", volume::open),
    command(&["quit", "q"], "", "End the session", quit),
    command(
        &["rdump"],
        "[-v] <filespec> <directory>",
        "Copy a file or a tree out",
        copy::rdump,
    ),
    command(
        &["refcount"],
        "[-e] <filespec>",
        "Show the refcount tree of an inode, or a refcount block",
        xattrs::refcount,
    ),
    command(&["slotmap"], "", "Show which node sits in which slot", cluster::slotmap),
    command(
        &["stat"],
        "[-t|-T] <filespec>",
        "Show an inode; -T without its extents",
        inodes::stat,
    ),
    command(
        &["stat_sysdir"],
        "",
        "Show the superblock and all system files",
        volume::stat_sysdir,
    ),
    command(
        &["stats"],
        "[-h] [-s <backup#>]",
        "Show the superblock; -h without its inode",
        volume::stats,
    ),
    command(&["xattr"], "[-v] <filespec>", "Show extended attributes", xattrs::xattr),
];

/// The command called `name`.
pub(super) fn find(name: &[u8]) -> Option<&'static Command> {
    COMMANDS
        .iter()
        .find(|command| command.names.iter().any(|own| own.as_bytes() == name))
}

impl Command {
    /// Whether it ends the session.
    pub(super) fn ends(&self) -> bool {
        self.names[0] == "quit"
    }

    /// Runs the command and tells the user what went wrong.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(super) fn run(&self, session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> std::io::Result<()> {
        let outcome = (self.run)(session, words, out);
        out.end()?;
        match outcome {
            Ok(()) => {}
            Err(Failure::Output(error)) => return Err(error),
            Err(Failure::Usage) => session.problem(out, "usage", self.synopsis()),
            Err(Failure::Text(text)) => session.problem(out, self.names[0], text),
        }
        out.flush()
    }

    fn synopsis(&self) -> String {
        format!("{} {}", self.names.join(", "), self.operands)
            .trim_end()
            .to_owned()
    }
}

/// `quit`: the shell, which looks for [`ends`](Command::ends), has nothing left to run.
fn quit(_: &mut Session, _: &[&[u8]], _: &mut Out<'_>) -> Outcome {
    Ok(())
}

fn help(_: &mut Session, _: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    if out.is_json() {
        let commands = COMMANDS.iter().map(|command| {
            serde_json::json!({
                "names": command.names,
                "operands": command.operands,
                "summary": command.summary,
            })
        });
        out.document(serde_json::json!({ "commands": commands.collect::<Vec<_>>() }))?;
        return Ok(());
    }
    let width = COMMANDS
        .iter()
        .map(|command| command.synopsis().len())
        .max()
        .unwrap_or(0);
    for command in COMMANDS {
        writeln!(out, "{:<width$}  {}", command.synopsis(), command.summary)?;
    }
    Ok(())
}

/// Splits a line into words at blanks. A word that begins with a double quote goes on to the next one; in it, a backslash
/// takes away the meaning of the character behind it.
pub(super) fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii();
    while let Some(&first) = rest.first() {
        let mut word = Vec::new();
        if first == b'"' {
            rest = &rest[1..];
            let mut bytes = rest.iter().enumerate();
            let mut end = rest.len();
            while let Some((at, &byte)) = bytes.next() {
                match byte {
                    b'"' => {
                        end = at + 1;
                        break;
                    }
                    b'\\' => word.extend(bytes.next().map(|(_, &byte)| byte)),
                    _ => word.push(byte),
                }
            }
            rest = &rest[end..];
        } else {
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            word.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, words};

    fn split(line: &str) -> Vec<String> {
        words(line.as_bytes())
            .into_iter()
            .map(|word| String::from_utf8(word).unwrap())
            .collect()
    }

    #[test]
    fn words_end_at_blanks() {
        assert_eq!(split("  stat\t/a  <5> \n"), ["stat", "/a", "<5>"]);
        assert_eq!(split(""), [""; 0]);
    }

    #[test]
    fn quotes_hold_blanks_together_at_the_start_of_a_word_only() {
        assert_eq!(split(r#"cat "/a b" x"#), ["cat", "/a b", "x"]);
        assert_eq!(split(r#"cat "/a\" \\b"#), ["cat", r#"/a" \b"#]);
        assert_eq!(split(r#"cat /quote'"-226"#), ["cat", r#"/quote'"-226"#]);
        assert_eq!(split(r#"cat """#), ["cat", ""]);
        assert_eq!(split(r#"cat ""x"#), ["cat", "", "x"]);
        assert_eq!(split(r#"cat "\"#), ["cat", ""]);
    }

    #[test]
    fn no_two_commands_share_a_name() {
        let mut names: Vec<_> = COMMANDS.iter().flat_map(|command| command.names).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
