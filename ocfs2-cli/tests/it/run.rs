//! Runs the binary and looks at what it said.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The binary under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ocfs2");

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Said {
    /// Exit status; -1 after a signal.
    pub(crate) status: i32,
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Said {
    /// Standard output as text, after a status of 0 and nothing on stderr.
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""));
        String::from_utf8(self.stdout).expect("the output is text")
    }

    /// Standard error, after `status` and nothing on stdout.
    pub(crate) fn failed(self, status: i32) -> String {
        assert_eq!(self.status, status, "{}", self.stderr);
        assert_eq!(String::from_utf8_lossy(&self.stdout), "");
        self.stderr
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).expect("messages are text"),
        }
    }
}

/// Runs `ocfs2 ARGS`.
pub(crate) fn ocfs2<I: IntoIterator<Item: AsRef<OsStr>>>(args: I) -> Said {
    program(Path::new(PROGRAM), args)
}

/// Runs `program ARGS`, where `program` is the binary or a link to it.
pub(crate) fn program<I: IntoIterator<Item: AsRef<OsStr>>>(program: &Path, args: I) -> Said {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
        .into()
}
