//! Where commands come from: one on the command line, a file, a terminal, or anything else on standard input.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Stdio};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor, Helper, Highlighter, Hinter, Validator};

use super::command::{COMMANDS, find, words};
use super::out::Out;
use super::session::Session;
use crate::ui::{Ui, complain};

/// What is printed before each command.
const PROMPT: &str = "debugfs: ";

/// Reads commands and runs them.
pub(super) struct Shell<'a> {
    pub(super) session: Session,
    pub(super) ui: &'a mut Ui,
    /// Print no prompt and no commands.
    pub(super) quiet: bool,
}

/// What comes after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next line.
    Line,
    /// Nothing: the user said `quit`.
    Quit,
}

impl Shell<'_> {
    /// Runs one line.
    pub(super) fn line(&mut self, line: &[u8], paged: bool) -> io::Result<Next> {
        let words = words(line);
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let Some((&name, operands)) = words.split_first() else {
            return Ok(Next::Line);
        };
        if name.starts_with(b"#") {
            return Ok(Next::Line);
        }
        if name == b"quit" || name == b"q" {
            return Ok(Next::Quit);
        }
        let Some(command) = find(name) else {
            let name = OsStr::from_bytes(name).to_string_lossy().into_owned();
            self.session.problem(self.ui, &name, "command not found");
            return Ok(Next::Line);
        };
        let (json, terminal) = (self.ui.is_json(), io::stdout().is_terminal());
        let pager = if paged && terminal && !json {
            Pager::start(self.ui)
        } else {
            None
        };
        match pager {
            None => {
                let mut out = Out::new(self.ui, command.names[0], json, terminal);
                command.run(&mut self.session, operands, &mut out)?;
            }
            Some(mut pager) => {
                let mut out = Out::new(&mut pager, command.names[0], json, terminal);
                let outcome = command.run(&mut self.session, operands, &mut out);
                pager.wait();
                // The user may leave the pager before the end.
                outcome.or_else(|error| {
                    if error.kind() == io::ErrorKind::BrokenPipe {
                        Ok(())
                    } else {
                        Err(error)
                    }
                })?;
            }
        }
        Ok(Next::Line)
    }

    /// Runs the lines of a file. Each is echoed behind the prompt.
    pub(super) fn file(&mut self, path: &Path) -> anyhow::Result<Next> {
        let file = File::open(path)
            .map_err(|error| anyhow::anyhow!("{} '{}'", super::volume::io_text(&error), path.display()))?;
        let mut lines = BufReader::new(file);
        while let Some(line) = next_line(&mut lines)? {
            let line = line.trim_ascii_start();
            if line.is_empty() {
                continue;
            }
            if !self.is_silent() {
                self.ui.write_all(PROMPT.as_bytes())?;
                self.ui.write_all(line)?;
                self.ui.write_all(b"\n")?;
            }
            if self.line(line, false)? == Next::Quit {
                return Ok(Next::Quit);
            }
        }
        if !self.ui.is_json() {
            self.ui.write_all(b"\n")?;
        }
        Ok(Next::Line)
    }

    /// Runs the lines of standard input.
    pub(super) fn standard_input(&mut self) -> anyhow::Result<Next> {
        let terminal = io::stdin().is_terminal();
        if terminal && io::stdout().is_terminal() {
            return self.terminal();
        }
        // An echo would be a second one on a terminal.
        let echo = !terminal && !self.ui.is_json();
        let prompt: &[u8] = if self.is_silent() { b"" } else { PROMPT.as_bytes() };
        let mut lines = io::stdin().lock();
        loop {
            self.ui.write_all(prompt)?;
            self.ui.flush()?;
            let line = next_line(&mut lines)?;
            if echo {
                self.ui.write_all(line.as_deref().unwrap_or_default())?;
                self.ui.write_all(b"\n")?;
            }
            let Some(line) = line else { return Ok(Next::Line) };
            if self.line(&line, false)? == Next::Quit {
                return Ok(Next::Quit);
            }
        }
    }

    /// Talks to a user, with history and completion.
    fn terminal(&mut self) -> anyhow::Result<Next> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .auto_add_history(true)
            .build();
        let mut editor: Editor<Names, DefaultHistory> = Editor::with_config(config)?;
        editor.set_helper(Some(Names));
        let prompt = if self.is_silent() { "" } else { PROMPT };
        loop {
            self.ui.flush()?;
            match editor.readline(prompt) {
                Ok(line) => {
                    if self.line(line.as_bytes(), true)? == Next::Quit {
                        return Ok(Next::Quit);
                    }
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => return Ok(Next::Line),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn is_silent(&self) -> bool {
        self.quiet || self.ui.is_json()
    }
}

/// The next line without its end; `None` at the end of the input.
fn next_line(lines: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if lines.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some(line))
}

/// Completes the names of commands.
#[derive(Helper, Highlighter, Hinter, Validator)]
struct Names;

impl Completer for Names {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &rustyline::Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..at).unwrap_or_default();
        if typed.contains(char::is_whitespace) {
            return Ok((at, Vec::new()));
        }
        let names = COMMANDS.iter().flat_map(|command| command.names).chain(&["quit"]);
        let fitting = names.filter(|name| name.starts_with(typed));
        let pairs = fitting.map(|name| Pair {
            display: (*name).to_owned(),
            replacement: format!("{name} "),
        });
        Ok((0, pairs.collect()))
    }
}

/// The user's pager.
struct Pager(Child);

impl Pager {
    /// Starts `$PAGER`, or `more`; `None` when the user wants none or it cannot be started.
    fn start(ui: &mut Ui) -> Option<Self> {
        let pager = std::env::var_os("PAGER").filter(|pager| !pager.is_empty());
        let pager = pager.map_or(Cow::Borrowed(OsStr::new("more")), Cow::Owned);
        if pager == OsStr::new("__none__") {
            return None;
        }
        ui.flush().ok()?;
        let child = std::process::Command::new("sh")
            .arg("-c")
            .arg(&pager)
            .stdin(Stdio::piped())
            .spawn();
        child
            .inspect_err(|error| complain("debugfs", format_args!("{}: {error}", pager.display())))
            .ok()
            .map(Self)
    }

    /// Waits until the user has read everything.
    fn wait(mut self) {
        drop(self.0.stdin.take());
        // Its status says nothing about the command.
        let _ = self.0.wait();
    }
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0.stdin {
            Some(stdin) => stdin.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
