//! Test suites of others, in a mounted directory: pjdfstest for what system calls do to names and attributes, fsx for the
//! contents of a file. Not among the packages of Debian: `OCFS2_TOOLS_BIN` says where `cargo install` has put them.
//!
//! `OCFS2_FSX_OPS=1000000` does so many operations on files.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use ocfs2_testkit::tools::Tool;

use super::bed::Bed;

/// What pjdfstest is told. Times tell one nanosecond from another, but the kernel's clock ticks more slowly.
const PJDFSTEST: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utimensat = {}
utime_now = {}
[settings]
naptime = 0.01
allow_remount = false
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"], ["bin", "bin"]]
"#;

/// What fsx is told.
const FSX: &str = "
flen = 1048576
[opsize]
max = 65536
[weights]
close_open = 1
read = 10
write = 10
mapread = 10
mapwrite = 10
truncate = 5
invalidate = 1
fsync = 1
fdatasync = 1
punch_hole = 3
posix_fallocate = 2
copy_file_range = 3
sendfile = 1
";

/// Operations on one file: fsx keeps what it has mapped, and gets slower and slower.
const FSX_OPS: u64 = 50_000;

/// A suite, or `None` after saying that it is not there. It has to be where `OCFS2_TOOLS_BIN` names a place.
fn suite(name: &str) -> Option<Tool> {
    match env::var_os("OCFS2_TOOLS_BIN") {
        Some(dir) => {
            let path = Path::new(&dir).join(name);
            assert!(path.is_file(), "{} is not there", path.display());
            Tool::find(path.to_str().expect("a path in UTF-8"))
        }
        None => {
            let tool = Tool::find(name);
            if tool.is_none() {
                eprintln!("skipped: {name} not installed, see CONTRIBUTING.md");
            }
            tool
        }
    }
}

fn sum_of(path: &Path) -> String {
    let said = Tool::find("sha256sum").expect("coreutils").arg(path).run().ok();
    said.stdout.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn system_calls_do_what_posix_says() {
    let Some(suite) = suite("pjdfstest") else { return };
    let Some(bed) = Bed::new() else { return };
    let config = bed.folder().join("pjdfstest.toml");
    fs::write(&config, PJDFSTEST).unwrap();
    fs::create_dir(bed.path("dir")).unwrap();
    // The folder of the test is the user's alone; users of the suite pass it.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(bed.folder(), open).unwrap();
    let elsewhere = Path::new("/dev/shm");
    let call = suite
        .arg("-c")
        .arg(config)
        .arg("-p")
        .arg(bed.path("dir"))
        .arg("-s")
        .arg(elsewhere);
    let said = call.current_dir(bed.dir()).run();
    assert!(said.status == 0 && said.stdout.contains("Summary: 0 failed"), "{said}");
    bed.end();
}

#[test]
fn a_file_holds_what_was_written_mapped_punched_and_copied() {
    let Some(suite) = suite("fsx") else { return };
    let ops: u64 = env::var("OCFS2_FSX_OPS").map_or(3000, |ops| ops.parse().expect("OCFS2_FSX_OPS is a number"));
    for options in [&[][..], &["-o", "writeback_cache"]] {
        let Some(mut bed) = Bed::with(&[], options) else { return };
        let config = bed.folder().join("fsx.toml");
        fs::write(&config, FSX).unwrap();
        for seed in 1..=ops.div_ceil(FSX_OPS) {
            let file = bed.path("file");
            let (seed, ops) = (seed.to_string(), ops.min(FSX_OPS).to_string());
            let words = ["-q", "-S", &seed, "-N", &ops, "-P"].map(OsStr::new);
            let call = suite.clone().args(words).arg(bed.folder()).arg("-f").arg(&config);
            call.arg(&file).run().ok();
            let before = sum_of(&file);
            bed.unmount();
            bed.mount(options);
            assert_eq!(sum_of(&file), before, "seed {seed}");
            fs::remove_file(&file).unwrap();
        }
        bed.end();
    }
}
