//! What a test says when the oracle it needs is not there.

use std::io::Write as _;

use crate::kernel::Kernel;
use crate::tools::Tool;

/// The real kernel, or `None` after saying aloud that it is missing.
///
/// # Panics
///
/// When it is missing and `OCFS2_REQUIRE_REFERENCE=1`.
pub fn require_kernel() -> Option<Kernel> {
    match Kernel::installed() {
        Ok(kernel) => Some(kernel),
        Err(missing) => {
            skip(&missing.to_string());
            None
        }
    }
}

/// A program of this machine such as `mkfs.ocfs2`, or `None` after saying aloud that it is missing.
///
/// # Panics
///
/// When it is missing and `OCFS2_REQUIRE_REFERENCE=1`.
pub fn require_tool(name: &str) -> Option<Tool> {
    let tool = Tool::find(name);
    if tool.is_none() {
        skip(&format!("{name} not installed"));
    }
    tool
}

/// Whether this process may mount through FUSE; says aloud when it may not.
///
/// # Panics
///
/// When it may not and `OCFS2_REQUIRE_REFERENCE=1`.
pub fn require_fuse() -> bool {
    let usable = std::fs::metadata("/dev/fuse").is_ok() && Tool::find("fusermount3").is_some();
    if !usable {
        skip("no /dev/fuse, or fusermount3 not installed");
    }
    usable
}

/// Whether other users may mount through FUSE, too; says aloud when they may not.
///
/// # Panics
///
/// When they may not and `OCFS2_REQUIRE_REFERENCE=1`.
pub fn require_fuse_for_users() -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    // As udev makes it.
    let open = std::fs::metadata("/dev/fuse").is_ok_and(|found| found.permissions().mode() & 0o666 == 0o666);
    if !open {
        skip("/dev/fuse is closed to users");
    }
    open
}

/// Whether this process is root's; says aloud when it is not.
///
/// # Panics
///
/// When it is not and `OCFS2_REQUIRE_REFERENCE=1`.
pub fn require_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("not root");
    }
    root
}

/// Says aloud that a test was skipped because of what is missing.
///
/// # Panics
///
/// When `OCFS2_REQUIRE_REFERENCE=1`.
pub fn skip(what: &str) {
    assert!(
        !is_mandatory(std::env::var_os("OCFS2_REQUIRE_REFERENCE").as_deref()),
        "required by OCFS2_REQUIRE_REFERENCE: {what}"
    );
    let thread = std::thread::current();
    // To the stream itself: the test harness swallows what passing tests print by `eprintln!`.
    let _ = writeln!(
        std::io::stderr(),
        "skipped: {what} ({})",
        thread.name().unwrap_or("unnamed test")
    );
}

fn is_mandatory(value: Option<&std::ffi::OsStr>) -> bool {
    value.is_some_and(|value| !value.is_empty() && value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn only_a_set_and_non_zero_variable_makes_the_oracles_mandatory() {
        assert!(is_mandatory(Some(OsStr::new("1"))));
        assert!(!is_mandatory(Some(OsStr::new("0"))));
        assert!(!is_mandatory(Some(OsStr::new(""))));
        assert!(!is_mandatory(None));
    }
}
