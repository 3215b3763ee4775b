//! `ocfs2 debugfs`, also known as `debugfs.ocfs2`: looks at everything in a volume, damaged or not, and changes nothing.
//!
//! * [`shell`] reads commands: one from the command line, a file, a terminal, standard input.
//! * [`command`] is the table of commands; the modules beside it hold them, a family each.
//! * [`session`] keeps the open volume and finds what a word names in it.
//! * [`show`] prints structures, as text and as JSON.

mod alloc;
mod cluster;
mod command;
mod copy;
mod dirs;
mod failure;
mod files;
mod find;
mod index;
mod inodes;
mod journal;
mod live;
mod out;
mod session;
mod shell;
mod show;
mod tools;
mod volume;
mod xattrs;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use self::failure::Failure;
use self::session::{OpenHow, Session};
use self::shell::{Next, Shell};
use crate::cmd::Run;
use crate::exit::Exit;
use crate::ui::{OutputArgs, Ui, usage_error};

/// Look at everything in a volume, damaged or not
///
/// Reads commands from -R, from a file, from the terminal or from standard input; 'help' lists them. Nothing is verified and
/// nothing is written to the volume. FILESPEC is a path, an inode number or a lock name in angle brackets, or //SYSTEM-FILE.
#[derive(Debug, clap::Parser)]
#[command(
    disable_help_flag = true,
    override_usage = "ocfs2 debugfs [OPTIONS] [DEVICE]\n       \
                      ocfs2 debugfs -d <LOCKNAME>...\n       \
                      ocfs2 debugfs -e <TYPE> <BLOCK> <GENERATION|PARENT>\n       \
                      ocfs2 debugfs -l [<MASK>... [allow|off|deny]]",
    after_help = "The exit status is 0 whatever the commands said, and 1 when a file or standard input ends without 'quit'; \
                  with --strict, 1 when a command failed, else 0.\n\n\
                  Examples:\n  ocfs2 debugfs -R 'stat /etc/passwd' disk.img\n  ocfs2 debugfs --json -R 'ls -l //' /dev/sdb"
)]
pub(crate) struct Args {
    /// The device or image to open; the words that -d, -e and -l take
    #[arg(value_name = "DEVICE")]
    words: Vec<OsString>,
    /// Run the commands in FILE
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "request")]
    file: Option<PathBuf>,
    /// Run one command
    #[arg(short = 'R', long, value_name = "COMMAND")]
    request: Option<OsString>,
    /// Open the volume with backup superblock N (1 to 6)
    #[arg(short = 's', long, value_name = "N")]
    superblock: Option<String>,
    /// The file is a packed image made by o2image
    #[arg(short = 'i', long)]
    image: bool,
    /// Read the volume in partition N of the device or image
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// Accepted for compatibility; no command writes
    #[arg(short = 'w', long)]
    write: bool,
    /// Print no prompt
    #[arg(short = 'n', long)]
    noprompt: bool,
    /// Show what lock names stand for, and do nothing else
    #[arg(short = 'd', long, group = "mode")]
    decode: bool,
    /// Make a lock name of its type letter, block and generation, or inode and parent directory, and do nothing else
    #[arg(short = 'e', long, group = "mode")]
    encode: bool,
    /// Show or set the log masks of the cluster modules, and do nothing else
    #[arg(short = 'l', long, group = "mode")]
    log: bool,
    /// End with status 1 if a command failed
    #[arg(long)]
    strict: bool,
    /// Print help
    #[arg(short = '?', long, visible_short_alias = 'h', action = clap::ArgAction::Help)]
    help: (),
    #[command(flatten)]
    output: OutputArgs,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        if self.decode {
            return tools::decode(&self.words, ui);
        }
        if self.encode {
            return tools::encode(&self.words, ui);
        }
        if self.log {
            return tools::log_masks(&self.words, ui);
        }
        let mut session = Session::new(self.partition);
        match self.words.as_slice() {
            [] => {}
            [device] => self.open(Path::new(device), &mut session, ui)?,
            _ => return Err(usage_error("only one device can be open")),
        }
        let mut shell = Shell {
            session,
            ui,
            quiet: self.noprompt,
        };
        let (next, end) = if let Some(request) = &self.request {
            (shell.line(request.as_bytes(), true)?, Exit::OK)
        } else if let Some(file) = &self.file {
            (shell.file(file)?, Exit::FAILED)
        } else {
            (shell.standard_input()?, Exit::FAILED)
        };
        Ok(match (self.strict, next) {
            (true, _) if shell.session.has_failed() => Exit::FAILED,
            (true, _) | (false, Next::Quit) => Exit::OK,
            (false, Next::Line) => end,
        })
    }
}

impl Args {
    /// Opens the device of the command line. A failure is not the end: the user may open another.
    fn open(&self, device: &Path, session: &mut Session, ui: &mut Ui) -> anyhow::Result<()> {
        let backup = match self.superblock.as_deref() {
            // What some scripts say for "the primary one".
            None | Some("0") => Ok(None),
            Some(number) => volume::backup(number.as_bytes()).map(Some),
        };
        let opened = backup.and_then(|backup| {
            session.open(
                device,
                OpenHow {
                    backup,
                    packed: self.image,
                },
            )
        });
        match opened {
            Ok(()) => Ok(()),
            Err(Failure::Text(text)) => {
                session.problem(ui, "open", text);
                Ok(())
            }
            Err(Failure::Usage) => Err(usage_error("a device is needed")),
            Err(Failure::Output(error)) => Err(error.into()),
        }
    }
}
