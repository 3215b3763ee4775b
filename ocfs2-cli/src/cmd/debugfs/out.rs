//! Where the results of one command go.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::show::prepend;
use crate::ui::SCHEMA;

/// The output of one command: text, or one JSON document on a line of its own.
pub(super) struct Out<'a> {
    writer: &'a mut dyn Write,
    command: &'static str,
    json: bool,
    /// The output is a terminal, which must not see control characters of names.
    terminal: bool,
    /// What is missing at the end of the document begun.
    end: &'static str,
    /// The list begun has no items yet.
    is_empty: bool,
}

impl<'a> Out<'a> {
    pub(super) fn new(writer: &'a mut dyn Write, command: &'static str, json: bool, terminal: bool) -> Self {
        Self {
            writer,
            command,
            json,
            terminal,
            end: "",
            is_empty: true,
        }
    }

    /// The command's name.
    pub(super) fn command(&self) -> &'static str {
        self.command
    }

    /// True when the result must be a JSON document.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a whole document; `body` is an object.
    pub(super) fn document(&mut self, body: Value) -> io::Result<()> {
        let body = prepend("schema", SCHEMA, prepend("command", self.command, body));
        serde_json::to_writer(&mut *self.writer, &body)?;
        writeln!(self.writer)
    }

    /// Begins a document whose last field `name` is a list that may be longer than memory. [`item`](Self::item) adds to it,
    /// [`end`](Self::end) ends the document. Text output knows no lists.
    pub(super) fn begin_list(&mut self, head: Value, name: &str) -> io::Result<()> {
        self.begin(head, name, "[")?;
        self.end = "]}\n";
        self.is_empty = true;
        Ok(())
    }

    /// Adds an item to the list begun.
    pub(super) fn item(&mut self, item: &impl Serialize) -> io::Result<()> {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.writer.write_all(b",")?;
        }
        serde_json::to_writer(&mut *self.writer, item)?;
        Ok(())
    }

    /// Begins a document whose last field `name` is a string that may be longer than memory; what is written then is the
    /// string's text. [`end`](Self::end) ends the document. Text output is the string alone.
    pub(super) fn begin_text(&mut self, head: Value, name: &str) -> io::Result<()> {
        self.begin(head, name, "\"")?;
        self.end = "\"}\n";
        Ok(())
    }

    fn begin(&mut self, head: Value, name: &str, start: &str) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        let head = prepend("schema", SCHEMA, prepend("command", self.command, head));
        let head = head.to_string();
        // An object that is not empty ends with a brace; the last field comes before it.
        let head = head.strip_suffix('}').unwrap_or(&head);
        write!(self.writer, "{head},{}:{start}", Value::from(name))
    }

    /// Ends the document begun, if one was: after a failure too.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let end = std::mem::take(&mut self.end);
        if self.json {
            self.writer.write_all(end.as_bytes())
        } else {
            Ok(())
        }
    }

    /// A name as it can be shown here: its own bytes, or on a terminal with control characters and broken UTF-8 as escapes.
    pub(super) fn shown<'n>(&self, name: &'n [u8]) -> std::borrow::Cow<'n, [u8]> {
        if !self.terminal {
            return name.into();
        }
        match crate::text::printable(name) {
            std::borrow::Cow::Borrowed(text) => text.as_bytes().into(),
            std::borrow::Cow::Owned(text) => text.into_bytes().into(),
        }
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
