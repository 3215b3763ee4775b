//! Runs the binary and looks at what it said; golden images to run it on.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use ocfs2_testkit::golden::{self, Golden};

/// The binary under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ocfs2");

/// What a finished command said.
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

/// Puts a copy of the binary at `path`: users can run it who may not enter the folder of this build.
///
/// Another program writes it: while a file is open for writing in this process, a child that another test
/// starts at that moment holds it open too, and a program open for writing cannot be started (ETXTBSY).
pub(crate) fn copy_program(path: &Path) {
    let status = Command::new("cp").arg(PROGRAM).arg(path).status().expect("cp starts");
    assert!(status.success(), "{status}");
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.stdout[..self.stdout.len().min(400)];
        write!(
            f,
            "status {}, {:?}, {} bytes: {}",
            self.status,
            self.stderr,
            self.stdout.len(),
            shown.escape_ascii()
        )
    }
}

/// The file of a golden image. It is shared by all tests, which must not change it.
pub(crate) fn image(golden: &Golden) -> PathBuf {
    static UNPACKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = UNPACKING.lock().unwrap_or_else(|poison| poison.into_inner());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{}-{}.img", golden.name, &golden.sha256[..16]));
    if !path.exists() {
        // Complete before it has its name: another run of the tests may look for it.
        let dir = tempfile::tempdir_in(folder).expect("a directory");
        std::fs::rename(golden.sparse_file(dir.path()), &path).expect("the image gets its name");
    }
    path
}

/// The file of the golden image of that name. See [`image`].
pub(crate) fn image_named(name: &str) -> PathBuf {
    image(golden::named(name))
}
