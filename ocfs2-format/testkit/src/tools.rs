//! The reference programs: ocfs2-tools and what else a test compares with.
//!
//! Source: the behaviour of ocfs2-tools 1.8.7.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One call of a program, in an environment without surprises: C locale, UTC, no pager, and nothing to read but what
/// [`stdin`](Self::stdin) gives.
#[derive(Clone, Debug)]
pub struct Tool {
    program: PathBuf,
    args: Vec<OsString>,
    stdin: Vec<u8>,
    dir: Option<PathBuf>,
    memory_kib: Option<u64>,
}

/// What a program left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolOutput {
    /// Exit status; the negated signal number when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    call: String,
}

impl Tool {
    /// A program of this machine, if it is there.
    pub fn find(name: &str) -> Option<Self> {
        Some(Self {
            program: find_program(name)?,
            args: Vec::new(),
            stdin: Vec::new(),
            dir: None,
            memory_kib: None,
        })
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Gives the program something to read.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Sets the directory the program starts in.
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_path_buf());
        self
    }

    /// Limits the program's address space.
    pub fn memory_kib(mut self, memory_kib: u64) -> Self {
        self.memory_kib = Some(memory_kib);
        self
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[track_caller]
    pub fn run(&self) -> ToolOutput {
        let call = format!(
            "{} {}",
            self.program.display(),
            self.args.join(OsStr::new(" ")).display()
        );
        // A file, not a pipe: it can't block when the program does not read.
        let stdin = self
            .stdin_file()
            .unwrap_or_else(|error| panic!("{call}: cannot prepare its input: {error}"));
        let mut command = match self.memory_kib {
            None => Command::new(&self.program),
            Some(kib) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -v $0 && exec \"$@\"", &kib.to_string()]);
                shell.arg(&self.program);
                shell
            }
        };
        command
            .args(&self.args)
            .stdin(stdin)
            .envs([("LC_ALL", "C"), ("TZ", "UTC"), ("PAGER", "__none__")]);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("{call}: cannot be started: {error}"));
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        ToolOutput {
            status: output.status.code().unwrap_or(-signal.unwrap_or(1)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            call,
        }
    }

    fn stdin_file(&self) -> std::io::Result<Stdio> {
        use std::io::{Seek as _, Write as _};
        if self.stdin.is_empty() {
            return Ok(Stdio::null());
        }
        let mut file = tempfile::tempfile()?;
        file.write_all(&self.stdin)?;
        file.rewind()?;
        Ok(file.into())
    }
}

impl ToolOutput {
    /// Returns itself when the program succeeded.
    ///
    /// # Panics
    ///
    /// When it did not, showing its output.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status == 0, "{self}");
        self
    }
}

impl std::fmt::Display for ToolOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\nended with status {}\n{}\n{}",
            self.call, self.status, self.stdout, self.stderr
        )
    }
}

/// A program that the caller knows to be there, through [`require_tool`](crate::require_tool) or otherwise.
///
/// # Panics
///
/// When it is not there.
#[track_caller]
pub fn reference(name: &str) -> Tool {
    Tool::find(name).unwrap_or_else(|| panic!("{name} is not installed"))
}

/// Verdict of `fsck.ocfs2 -fn`. Its exit status is 0 whatever it finds, so the verdict comes from what it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsckReport {
    /// Codes of the problems found, in order: `INODE_SPARSE_SIZE`, ...
    pub problems: Vec<String>,
    /// The last pass was reached and nothing was left aside.
    pub finished: bool,
    /// Everything it printed.
    pub output: String,
}

impl FsckReport {
    fn parse(output: &ToolOutput) -> Self {
        let problems = output
            .stdout
            .lines()
            .filter_map(problem_code)
            .map(str::to_owned)
            .collect();
        let finished = output.status == 0 && output.stdout.contains("All passes succeeded");
        Self {
            problems,
            finished,
            output: output.to_string(),
        }
    }
}

/// Lets `fsck.ocfs2` look at a volume without changing it.
///
/// # Panics
///
/// When the program is not installed; tests call [`require_tool`](crate::require_tool) first.
#[track_caller]
pub fn fsck(image: impl AsRef<Path>) -> FsckReport {
    FsckReport::parse(&run_fsck("-fn", image.as_ref()))
}

/// Lets `fsck.ocfs2` recover a volume and mend it. Returns what it printed.
///
/// # Panics
///
/// As [`fsck`].
#[track_caller]
pub fn fsck_mend(image: impl AsRef<Path>) -> String {
    run_fsck("-fy", image.as_ref()).stdout
}

/// Address space of `fsck.ocfs2` besides what it needs for the size of the volume: what is tried.
const FSCK_MEMORY_KIB: [u64; 2] = [28 << 10, 128 << 10];

#[track_caller]
fn run_fsck(how: &str, image: &Path) -> ToolOutput {
    let fsck = reference("fsck.ocfs2").arg(how).arg(image);
    // Its cache takes what it can get, which costs seconds; a bit for each cluster and the like is what it needs. Now and
    // then the cache leaves too little for the rest.
    let bytes = image.metadata().map_or(0, |meta| meta.len());
    let limited = |kib: &u64| fsck.clone().memory_kib(kib + bytes / (4 << 20)).run();
    let is_enough = |output: &ToolOutput| !output.stderr.contains("Memory allocation failed");
    let mut tried = FSCK_MEMORY_KIB.iter().map(limited);
    tried.find(is_enough).unwrap_or_else(|| fsck.run())
}

/// Asserts that `fsck.ocfs2` goes through all passes and finds nothing.
///
/// # Panics
///
/// When it finds something, gives up, or is not installed.
#[track_caller]
pub fn fsck_clean(image: impl AsRef<Path>) {
    let report = fsck(image);
    assert!(
        report.finished && report.problems.is_empty(),
        "fsck.ocfs2 is not content: {:?}\n{}",
        report.problems,
        report.output
    );
}

/// A problem starts a line as `[CODE] `.
fn problem_code(line: &str) -> Option<&str> {
    let (code, _) = line.strip_prefix('[')?.split_once(']')?;
    let is_code = !code.is_empty()
        && code
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    is_code.then_some(code)
}

/// Looks a program up in `PATH`, then where the system's programs are, which the `PATH` of a user need not contain.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|program| is_executable(program))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_code_in_brackets_at_the_start_of_a_line_is_a_problem() {
        assert_eq!(
            problem_code("[INODE_SPARSE_SIZE] Inode 7 has ... <n> "),
            Some("INODE_SPARSE_SIZE")
        );
        assert_eq!(problem_code("[BAD_CRC32] x"), Some("BAD_CRC32"));
        assert_eq!(problem_code("Pass 1: [INODE]"), None);
        assert_eq!(problem_code("[not a code]"), None);
        assert_eq!(problem_code("[] "), None);
    }

    #[test]
    fn a_tool_gets_its_input_its_arguments_and_a_plain_environment() {
        let shell = Tool::find("sh").expect("every machine has a shell");
        let output = shell
            .args(["-c", "echo $LC_ALL $TZ $PAGER $1; cat; echo oops >&2; exit 7", "-", "x"])
            .stdin("in")
            .run();
        assert_eq!(
            (output.status, output.stdout.as_str(), output.stderr.as_str()),
            (7, "C UTC __none__ x\nin", "oops\n")
        );
    }

    #[test]
    fn a_tool_that_is_not_there_is_not_found() {
        assert!(Tool::find("no-such-program-of-ours").is_none());
    }
}
