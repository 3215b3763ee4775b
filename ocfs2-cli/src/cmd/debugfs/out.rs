//! Where the results of one command go.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::show::prepend;
use crate::text::printable;
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

    /// Writes contents of files: never changed, not even for a terminal.
    pub(super) fn contents(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }
}

/// Text, in which a terminal must not see control characters: names come from the volume.
impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.terminal {
            return self.writer.write(bytes);
        }
        let is_layout = |byte: &u8| matches!(byte, b'\n' | b'\t');
        for piece in bytes.split_inclusive(is_layout) {
            let layout = usize::from(piece.last().is_some_and(is_layout));
            let (text, layout) = piece.split_at(piece.len() - layout);
            self.writer.write_all(printable(text).as_bytes())?;
            self.writer.write_all(layout)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(terminal: bool, bytes: &[u8]) -> Vec<u8> {
        let mut sink = Vec::new();
        let mut out = Out::new(&mut sink, "test", false, terminal);
        out.write_all(bytes).expect("memory takes it");
        sink
    }

    #[test]
    fn a_terminal_sees_no_control_characters_but_those_of_the_layout() {
        assert_eq!(written(true, b"\ta\x1b[2Jb\xff\n"), b"\ta\\u{1b}[2Jb\\xff\n");
        assert_eq!(written(false, b"\ta\x1b[2Jb\xff\n"), b"\ta\x1b[2Jb\xff\n");
    }

    #[test]
    fn a_document_with_a_list_is_whole_however_many_items_it_has() {
        for (items, list) in [(0, "[]"), (1, "[7]"), (3, "[7,7,7]")] {
            let mut sink = Vec::new();
            let mut out = Out::new(&mut sink, "test", true, false);
            out.begin_list(serde_json::json!({ "a": 1 }), "list")
                .expect("memory takes it");
            for _ in 0..items {
                out.item(&7).expect("memory takes it");
            }
            out.end().expect("memory takes it");
            let expected = format!("{{\"schema\":{SCHEMA},\"command\":\"test\",\"a\":1,\"list\":{list}}}\n");
            assert_eq!(String::from_utf8(sink).expect("text"), expected);
        }
    }
}
