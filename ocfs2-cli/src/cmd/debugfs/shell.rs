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
use crate::ui::Ui;

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
        let Some(command) = find(name) else {
            let name = OsStr::from_bytes(name).to_string_lossy().into_owned();
            self.session.problem(self.ui, &name, "command not found");
            return Ok(Next::Line);
        };
        if command.ends() {
            return Ok(Next::Quit);
        }
        let (json, terminal) = (self.ui.is_json(), io::stdout().is_terminal());
        if paged && terminal && !json && *pager_command() != *"__none__" {
            let mut pager = Pager::new();
            let mut out = Out::new(&mut pager, command.names[0], json, terminal);
            let outcome = command.run(&mut self.session, operands, &mut out);
            match outcome.and_then(|()| pager.finish(self.ui)) {
                // The user may leave the pager before the end.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                outcome => outcome?,
            }
        } else {
            let mut out = Out::new(self.ui, command.names[0], json, terminal);
            command.run(&mut self.session, operands, &mut out)?;
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
        let names = COMMANDS.iter().flat_map(|command| command.names);
        let fitting = names.filter(|name| name.starts_with(typed));
        let pairs = fitting.map(|name| Pair {
            display: (*name).to_owned(),
            replacement: format!("{name} "),
        });
        Ok((0, pairs.collect()))
    }
}

/// Output for a terminal: shown by the user's pager once it is longer than the screen.
struct Pager {
    /// What was written before the pager had to be started.
    held: Vec<u8>,
    /// Lines in it.
    lines: usize,
    /// Lines that the screen has room for.
    room: usize,
    child: Option<Child>,
}

impl Pager {
    /// Bytes that are more than a screen full, whatever lines they make.
    const MAX_HELD: usize = 64 << 10;

    fn new() -> Self {
        let rows = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_row);
        let rows = if rows == 0 { 24 } else { usize::from(rows) };
        Self {
            held: Vec::new(),
            lines: 0,
            // The prompt takes one.
            room: rows.saturating_sub(1),
            child: None,
        }
    }

    /// Shows what is held, or waits until the user has read everything.
    fn finish(mut self, ui: &mut Ui) -> io::Result<()> {
        match self.child {
            None => ui.write_all(&std::mem::take(&mut self.held)),
            // Dropping waits.
            Some(_) => Ok(()),
        }
    }

    /// Starts the pager with what is held.
    fn start(&mut self) -> io::Result<()> {
        let mut command = std::process::Command::new("sh");
        let child = command.arg("-c").arg(pager_command()).stdin(Stdio::piped()).spawn()?;
        self.child = Some(child);
        let held = std::mem::take(&mut self.held);
        self.write_all(&held)
    }
}

/// `$PAGER`, or `more`.
fn pager_command() -> Cow<'static, OsStr> {
    let pager = std::env::var_os("PAGER").filter(|pager| !pager.is_empty());
    pager.map_or(Cow::Borrowed(OsStr::new("more")), Cow::Owned)
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(child) = &mut self.child {
            return match &mut child.stdin {
                Some(stdin) => stdin.write(bytes),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            };
        }
        self.held.extend_from_slice(bytes);
        self.lines += bytes.iter().filter(|&&byte| byte == b'\n').count();
        if self.lines > self.room || self.held.len() > Self::MAX_HELD {
            self.start()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.stdin.take());
            // The terminal belongs to the pager until it ends. Its status says nothing about the command.
            let _ = child.wait();
        }
    }
}
