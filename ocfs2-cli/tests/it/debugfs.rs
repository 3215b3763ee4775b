//! `debugfs`: against the reference, on damaged volumes, and by itself.

mod formats;
mod hostile;
mod live;
mod options;
mod reference;
mod shell;

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::run::{PROGRAM, Said};

/// Runs `ocfs2 debugfs ARGS IMAGE` with `script` as its standard input.
pub(crate) fn debugfs(args: &[&str], image: &Path, script: &str) -> Said {
    let mut stdin = tempfile::tempfile().expect("a file");
    stdin.write_all(script.as_bytes()).expect("a script");
    stdin.rewind().expect("a script");
    command(args, image, stdin)
}

fn command(args: &[&str], image: &Path, stdin: File) -> Said {
    Command::new(PROGRAM)
        .arg("debugfs")
        .args(args)
        .arg(image)
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .stdin(Stdio::from(stdin))
        .output()
        .map(|output| Said {
            status: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
        .expect("the program starts")
}

/// What one command says on stdout.
pub(crate) fn request(image: &Path, request: &str) -> String {
    let said = debugfs(&["-R", request], image, "");
    assert_eq!(said.status, 0, "{request}: {said:?}");
    String::from_utf8_lossy(&said.stdout).into_owned()
}

/// The JSON document of one command.
pub(crate) fn json(image: &Path, request: &str) -> serde_json::Value {
    let said = debugfs(&["--json", "-R", request], image, "");
    assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{request}");
    serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("{request}: {error}: {said:?}"))
}
