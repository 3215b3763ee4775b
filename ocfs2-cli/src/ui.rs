//! Where everything a command says goes.
//!
//! Results go to stdout, through the [`Write`] implementation of [`Ui`] or as one JSON document; everything else goes to
//! stderr as `<program>: <text>`. A reader that closes the pipe early is not an error.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use clap::ArgMatches;
use serde::Serialize;

use crate::exit::Exit;

/// Options about the form of the output. Flatten them into a command's `Args`; [`Ui`] finds them by name.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Number of the layout of the JSON documents, in each of them as `schema`.
const SCHEMA: u32 = 1;

/// Size of the buffer in front of stdout.
const BUFFER_BYTES: usize = 64 << 10;

/// Output of one command.
#[derive(Debug)]
pub(crate) struct Ui {
    program: String,
    out: Output,
    json: bool,
    failed: bool,
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
        }
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

    #[allow(dead_code, reason = "for the commands that go on after a failure")]
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
            self.out.flush()?;
            Ok(exit)
        });
        match outcome {
            _ if self.out.closed => Exit::OK,
            Ok(Exit::OK) if self.failed => Exit::FAILED,
            Ok(exit) => exit,
            Err(error) => {
                complain(&self.program, format_args!("{error:#}"));
                if error.is::<clap::Error>() {
                    usage_exit
                } else {
                    Exit::FAILED
                }
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
