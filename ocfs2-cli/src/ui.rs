//! Where everything a command says goes.
//!
//! Results go to stdout, through the [`Write`] implementation of [`Ui`] or as one JSON document; everything else goes to
//! stderr as `<program>: <text>`. A reader that closes the pipe early is not an error.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;

use clap::ArgMatches;
use serde::Serialize;

use crate::exit::Exit;
use crate::text::printable;

/// Options about the form of the output. Flatten them into a command's `Args`; [`Ui`] finds them by name.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Print one JSON document instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Number of the layout of the JSON documents, in each of them as `schema`.
pub(crate) const SCHEMA: u32 = 1;

/// Size of the buffer in front of stdout.
const BUFFER_BYTES: usize = 64 << 10;

/// Output of one command.
#[derive(Debug)]
pub(crate) struct Ui {
    program: String,
    out: Output,
    json: bool,
    failed: bool,
    terminal: bool,
    list: Option<ListState>,
}

/// Where a JSON document with a list stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListState {
    Empty,
    Filled,
}

impl Ui {
    /// Output for a command called `program`, in the form its options ask for.
    pub(crate) fn new(program: String, matches: &ArgMatches) -> Self {
        // A command without these options does not know their names.
        let flag = |name| matches.try_get_one::<bool>(name).ok().flatten() == Some(&true);
        Self {
            program,
            out: Output::stdout(),
            json: flag("json"),
            failed: false,
            terminal: io::stdout().is_terminal(),
            list: None,
        }
    }

    /// What this command was called as.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// True when the result must be a JSON document.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints `document`, an object, with its `schema` number.
    pub(crate) fn document<T: Serialize>(&mut self, document: &T) -> anyhow::Result<()> {
        #[derive(Serialize)]
        struct Document<'a, T> {
            schema: u32,
            #[serde(flatten)]
            body: &'a T,
        }
        serde_json::to_writer_pretty(
            &mut self.out,
            &Document {
                schema: SCHEMA,
                body: document,
            },
        )?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Begins a document whose only field `name` is a list. [`item`](Self::item) adds to it; the end of the command ends
    /// it. Items leave as they come, so that a list may be longer than memory.
    pub(crate) fn begin_list(&mut self, name: &str) -> anyhow::Result<()> {
        write!(self.out, "{{\"schema\":{SCHEMA},\"{name}\":[")?;
        self.list = Some(ListState::Empty);
        Ok(())
    }

    /// Adds an item to the list begun.
    pub(crate) fn item<T: Serialize>(&mut self, item: &T) -> anyhow::Result<()> {
        let separator: &[u8] = if self.list == Some(ListState::Filled) {
            b",\n"
        } else {
            b"\n"
        };
        self.list = Some(ListState::Filled);
        self.out.write_all(separator)?;
        serde_json::to_writer(&mut self.out, item)?;
        Ok(())
    }

    /// Prints a name or path: its bytes, or on a terminal only what is safe there.
    pub(crate) fn name(&mut self, name: &[u8]) -> io::Result<()> {
        if self.terminal {
            self.out.write_all(printable(name).as_bytes())
        } else {
            self.out.write_all(name)
        }
    }

    /// Columns of the terminal that stdout is; `None` when it is something else.
    pub(crate) fn terminal_width(&self) -> Option<usize> {
        let size = self
            .terminal
            .then(|| rustix::termios::tcgetwinsize(io::stdout()).ok())
            .flatten()?;
        Some(if size.ws_col == 0 { 80 } else { size.ws_col.into() })
    }

    /// Names program and release on stderr, as the traditional tools do on every run.
    pub(crate) fn banner(&self) {
        // Nothing can be done about a stderr that does not take the text.
        let _ = writeln!(io::stderr(), "{} {}", self.program, env!("CARGO_PKG_VERSION"));
    }

    /// Prints a line on stderr as it is: for messages of the traditional programs that have no name before them.
    pub(crate) fn say(&mut self, text: impl Display) {
        let _ = self.out.flush();
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Tells the user something that is worth knowing and no failure.
    pub(crate) fn note(&mut self, text: impl Display) {
        let _ = self.out.flush();
        complain(&self.program, text);
    }

    /// Tells the user about something that went wrong while the command goes on, to end with status 1.
    pub(crate) fn problem(&mut self, text: impl Display) {
        self.failed = true;
        // Keeps the order of results and complaints where both go to the same place. The next write meets any error again.
        let _ = self.out.flush();
        complain(&self.program, text);
    }

    /// Ends the output and says how the command ended.
    pub(crate) fn finish(mut self, outcome: anyhow::Result<Exit>, usage_exit: Exit) -> Exit {
        let outcome = outcome.and_then(|exit| {
            if self.list.is_some() {
                self.out.write_all(b"\n]}\n")?;
            }
            self.out.flush()?;
            Ok(exit)
        });
        match outcome {
            _ if self.out.closed => Exit::OK,
            Ok(Exit::OK) if self.failed => Exit::FAILED,
            Ok(exit) => exit,
            Err(error) if error.is::<UsageError>() => {
                complain(
                    &self.program,
                    format_args!("{error}\n\nFor more information, try '--help'."),
                );
                usage_exit
            }
            Err(error) => {
                complain(&self.program, format_args!("{error:#}"));
                Exit::FAILED
            }
        }
    }
}

impl Write for Ui {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A command line that makes no sense, found only after its options were parsed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// An error that ends a command as a mistake on its command line does.
pub(crate) fn usage_error(text: impl Display) -> anyhow::Error {
    UsageError(text.to_string()).into()
}

/// Prints `<program>: <text>` on stderr.
pub(crate) fn complain(program: &str, text: impl Display) {
    // There is no place left to report that stderr takes no text.
    let _ = writeln!(io::stderr(), "{program}: {text}");
}

/// Buffered stdout that remembers that its reader went away.
#[derive(Debug)]
struct Output {
    inner: Option<BufWriter<File>>,
    closed: bool,
}

impl Output {
    fn stdout() -> Self {
        // The descriptor itself: `Stdout` would look for line ends in every megabyte of a file's content.
        let inner = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .ok()
            .map(|fd| BufWriter::with_capacity(BUFFER_BYTES, fd.into()));
        Self { inner, closed: false }
    }

    fn with<T>(&mut self, action: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>) -> io::Result<T> {
        let Some(inner) = &mut self.inner else {
            return Err(io::Error::other("standard output is closed"));
        };
        action(inner).inspect_err(|error| self.closed |= error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|inner| inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(BufWriter::flush)
    }
}
