//! What belongs to no single command: verbs, help, manual pages, completions, output.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::run::{PROGRAM, ocfs2};

#[test]
fn a_call_without_a_verb_shows_the_help_and_is_a_usage_error() {
    let text = ocfs2([""; 0]).failed(2);
    assert!(text.contains("Usage: ocfs2"), "{text}");
}

#[test]
fn an_unknown_verb_is_a_usage_error_that_names_it() {
    let text = ocfs2(["frobnicate"]).failed(2);
    assert!(text.starts_with("ocfs2: ") && text.contains("frobnicate"), "{text}");
}

#[test]
fn long_options_may_be_shortened_to_a_unique_prefix() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().to_str().expect("a name in UTF-8");
    ocfs2(["links", "--dry", dir]).ok();
}

#[test]
fn every_program_has_a_manual_page() {
    let dir = tempfile::tempdir().expect("a directory");
    let pages = dir.path().join("man");
    ocfs2(["man".as_ref(), pages.as_os_str()]).ok();
    for page in ["ocfs2.1", "ocfs2-links.1"] {
        let text = std::fs::read_to_string(pages.join(page)).expect(page);
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    assert!(!pages.join("ocfs2-man.1").exists(), "hidden verbs have no page");
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ocfs2(["completions", shell]).ok();
        assert!(script.contains("links"), "{shell}");
    }
    let text = ocfs2(["completions", "bash", "passwd"]).failed(1);
    assert!(text.contains("'passwd'"), "{text}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = Command::new(PROGRAM)
        .args(["completions", "bash"])
        .stdout(writer)
        .output()
        .expect("the program starts");
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), b"".as_slice())
    );
}

#[test]
fn a_full_disk_is_an_error() {
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let output = Command::new(PROGRAM)
        .args(["completions", "bash"])
        .stdout(Stdio::from(full))
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.starts_with("ocfs2 completions: "), "{text}");
}
