//! Programs that people use, at work in a mounted directory: tar, make, git, SQLite, rsync. What they leave is what they
//! leave in a directory of this machine's own file system.
//!
//! `OCFS2_LINUX_TAR=linux.tar.xz` unpacks that instead of a small archive, and takes `fs` and `kernel` under version control.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::thread;

use ocfs2_testkit::require_tool;
use ocfs2_testkit::tools::Tool;
use sha2::{Digest, Sha256};

use super::bed::Bed;

/// Makes `src`: what archivers and copiers have to mind.
const POPULATION: &str = r#"
set -e
mkdir -p src/dir/deep src/many
for i in $(seq 200); do echo "file $i" > src/many/file-$i; done
head -c 300000 /dev/urandom > src/random
ln src/random src/dir/second-name
ln -s ../random src/dir/link
mkfifo src/fifo
mknod src/device c 1 3
truncate -s 40M src/holes
head -c 70000 /dev/urandom | dd of=src/holes bs=1M seek=17 conv=notrunc status=none
head -c 5000 /dev/urandom | dd of=src/holes bs=1M seek=31 conv=notrunc status=none
: > "src/$(printf 'n%.0s' $(seq 255))"
touch "src/name with
a line feed"
setfattr -n user.small -v value src/random
setfattr -n user.large -v "$(printf 'v%.0s' $(seq 3000))" src/many/file-1
setfattr -n trusted.root -v 0x00ff src/dir
setfacl -m u:1:rw,g:2:r src/many/file-2
setfacl -m u:3:rwx,d:u:3:rx src/dir/deep
chown 1:2 src/many/file-3
chmod 4755 src/many/file-4
chmod 1777 src/dir
touch -d '1999-12-31 23:59:59.123456789' src/many/file-5 src/dir/deep
"#;

/// What can be told of the objects below a directory; `whole` adds owners, times of directories, links and attributes.
fn facts(root: &Path, whole: bool) -> BTreeMap<PathBuf, String> {
    let mut facts = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let found = fs::symlink_metadata(&full).unwrap();
        let mut fact = format!("{:o}", found.mode());
        if found.is_dir() {
            let entries = fs::read_dir(&full).unwrap();
            todo.extend(entries.map(|entry| path.join(entry.unwrap().file_name())));
        } else if found.is_symlink() {
            write!(fact, " -> {:?}", fs::read_link(&full).unwrap()).unwrap();
        } else if found.is_file() {
            let sum = Sha256::digest(fs::read(&full).unwrap());
            write!(
                fact,
                " {} {sum:?} {}.{}",
                found.len(),
                found.mtime(),
                found.mtime_nsec()
            )
            .unwrap();
        }
        if whole {
            write!(
                fact,
                " {}:{} {} {:?}",
                found.uid(),
                found.gid(),
                found.mtime(),
                attributes(&full)
            )
            .unwrap();
            if found.file_type().is_char_device() {
                write!(fact, " device {}", found.rdev()).unwrap();
            }
            if found.is_file() && found.nlink() > 1 {
                let first = inodes.entry(found.ino()).or_insert_with(|| path.clone());
                write!(fact, " {} links, with {first:?}", found.nlink()).unwrap();
            }
        }
        facts.insert(path, fact);
    }
    facts
}

/// Extended attributes, ACLs among them.
fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap();
    let names = names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let len = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            (name.escape_ascii().to_string(), value[..len].to_vec())
        })
        .collect()
}

#[track_caller]
fn assert_same(left: &Path, right: &Path, whole: bool) {
    let (left, right) = (facts(left, whole), facts(right, whole));
    for (path, fact) in &left {
        assert_eq!(right.get(path), Some(fact), "{path:?}");
    }
    assert_eq!(left.len(), right.len());
}

fn are_installed(programs: &[&str]) -> bool {
    programs.iter().all(|program| require_tool(program).is_some())
}

/// Runs a script in a directory. Returns what it printed.
#[track_caller]
fn sh(dir: &Path, script: &str) -> String {
    Tool::find("bash")
        .expect("a shell")
        .current_dir(dir)
        .args(["-c", &format!("set -e -o pipefail\n{script}")])
        .run()
        .ok()
        .stdout
}

/// A project of so many files in C, whose program prints the sum of their numbers.
fn project(files: u32) -> String {
    format!(
        r#"(mkdir -p project/src; cd project
        for i in $(seq {files}); do
            printf '#include "all.h"\nint number_%d(void) {{ return %d; }}\n' $i $i > src/part-$i.c
            echo "int number_$i(void);" >> src/all.h
        done
        {{
            printf '#include <stdio.h>\n#include "all.h"\nint main(void) {{ int sum = 0;\n'
            for i in $(seq {files}); do echo "sum += number_$i();"; done
            printf 'printf("%%d\\n", sum); return 0; }}\n'
        }} > src/main.c
        printf 'objects := $(patsubst %%.c,%%.o,$(wildcard src/*.c))\nprogram: $(objects)\n\t$(CC) -o $@ $^\n' > Makefile
        printf '%%.o: %%.c src/all.h\n\t$(CC) -O0 -c -o $@ $<\n' >> Makefile)"#
    )
}

#[test]
fn an_archive_unpacks_and_is_taken_under_version_control() {
    if !are_installed(&["tar", "xz", "git"]) {
        return;
    }
    let linux = env::var_os("OCFS2_LINUX_TAR");
    let bytes = if linux.is_some() { 8 << 30 } else { 256 << 20 };
    let Some(mut bed) = Bed::of_size(bytes, &[], &[]) else {
        return;
    };
    let here = bed.folder().join("here");
    fs::create_dir(&here).unwrap();
    let archive = match &linux {
        Some(archive) => fs::canonicalize(archive).unwrap(),
        None => {
            let made = project(100) + "; mkdir -p sub/{a,b,c}/{d,e}; for d in sub/*/*; do seq 20000 > $d/seq; done";
            sh(
                bed.folder(),
                &format!("mkdir made; cd made; {made}; tar -cJf ../made.tar.xz ."),
            );
            bed.folder().join("made.tar.xz")
        }
    };
    for dir in [&here, &bed.dir()] {
        sh(dir, &format!("mkdir tree; tar -C tree -xf '{}'", archive.display()));
    }
    bed.remount();
    assert_same(&here.join("tree"), &bed.path("tree"), false);
    if linux.is_some() {
        sh(
            &bed.dir(),
            "mkdir part; cp -a tree/*/{fs,kernel} part/; rm -rf tree; mv part tree",
        );
    }
    let git = "git -c user.name=a -c user.email=a@b -c gc.auto=0";
    let tree = bed.path("tree");
    sh(
        &tree,
        &format!("git init -q; {git} add .; {git} commit -q -m all; git fsck --strict"),
    );
    bed.remount();
    assert_eq!(sh(&tree, "git fsck --strict >&2; git status --short"), "");
    sh(
        &tree,
        "git gc -q; git fsck --strict; rm -rf [a-z]*; git reset -q --hard",
    );
    assert_eq!(sh(&tree, "git status --short"), "");
    bed.end();
}

#[test]
fn a_project_is_built_and_stays_built() {
    if !are_installed(&["make", "gcc"]) {
        return;
    }
    let Some(mut bed) = Bed::new() else { return };
    sh(&bed.dir(), &project(60));
    let project = bed.path("project");
    sh(&project, "make -s -j2 CC=gcc");
    assert_eq!(sh(&project, "./program"), "1830\n");
    bed.remount();
    // By the times of the files.
    sh(&project, "make -q CC=gcc");
    assert_eq!(
        sh(&project, "./program; touch src/part-7.c; make -n CC=gcc | wc -l"),
        "1830\n2\n"
    );
    bed.end();
}

/// Runs transactions of a hundred rows until `stop` of them are acknowledged, kills the server, and waits for the program.
/// Returns how many were.
fn crash_in_transaction(bed: &mut Bed, journal_mode: &str, stop: u32) -> u32 {
    let mut shell = Command::new("sqlite3")
        .args(["-batch", "base"])
        .current_dir(bed.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("sqlite3 starts");
    let input = shell.stdin.take().expect("a pipe");
    let feeder = thread::spawn({
        let mode = journal_mode.to_owned();
        move || drop(feed(input, &mode))
    });
    let mut acknowledged = 0;
    for line in BufReader::new(shell.stdout.take().expect("a pipe")).lines() {
        acknowledged += u32::from(line.unwrap() == "committed");
        if acknowledged == stop {
            bed.crash();
        }
    }
    shell.wait().unwrap();
    feeder.join().unwrap();
    acknowledged
}

/// Transactions without an end. With less than `EXTRA` the removal of a journal, which is a commit, need not be durable.
fn feed(mut input: ChildStdin, journal_mode: &str) -> std::io::Result<()> {
    writeln!(
        input,
        "PRAGMA journal_mode = {journal_mode}; PRAGMA synchronous = EXTRA;"
    )?;
    writeln!(input, ".bail on\nCREATE TABLE IF NOT EXISTS t (number, bytes UNIQUE);")?;
    // More than the pipe and the program's buffers hold: it is always in the middle of something.
    for _ in 0..10_000 {
        writeln!(
            input,
            "BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
             INSERT INTO t SELECT i, randomblob(300) FROM n; COMMIT;\n.shell echo committed"
        )?;
    }
    Ok(())
}

#[test]
fn a_data_base_survives_its_server_with_what_it_committed() {
    if !are_installed(&["sqlite3"]) {
        return;
    }
    for mode in ["delete", "wal"] {
        let Some(mut bed) = Bed::new() else { return };
        let mut committed = 0;
        for stop in [1, 7, 12] {
            let least = committed + crash_in_transaction(&mut bed, mode, stop);
            bed.mount(&[]);
            assert_eq!(
                sh(&bed.dir(), "sqlite3 base 'PRAGMA integrity_check'"),
                "ok\n",
                "{mode}"
            );
            let rows: u32 = sh(&bed.dir(), "sqlite3 base 'SELECT count(*) FROM t'")
                .trim()
                .parse()
                .unwrap();
            assert_eq!(rows % 100, 0, "{mode}: half a transaction");
            committed = rows / 100;
            assert!(committed >= least, "{mode}: {committed} transactions of {least}");
        }
        sh(&bed.dir(), "sqlite3 base 'DELETE FROM t WHERE number % 2; VACUUM'");
        bed.remount();
        assert_eq!(
            sh(&bed.dir(), "sqlite3 base 'PRAGMA integrity_check'"),
            "ok\n",
            "{mode}"
        );
        bed.end();
    }
}

#[test]
fn a_second_copy_by_rsync_transfers_nothing() {
    if !are_installed(&["rsync", "setfattr", "setfacl"]) {
        return;
    }
    let Some(mut bed) = Bed::new() else { return };
    sh(&bed.dir(), POPULATION);
    let rsync = "rsync -aHAXS --itemize-changes --delete src/ copy";
    assert_ne!(sh(&bed.dir(), rsync), "");
    bed.remount();
    assert_eq!(sh(&bed.dir(), rsync), "");
    assert_eq!(sh(&bed.dir(), &format!("{rsync} --checksum")), "");
    assert_same(&bed.path("src"), &bed.path("copy"), true);
    bed.end();
}

#[test]
fn holes_attributes_and_acls_survive_an_archive() {
    if !are_installed(&["tar", "setfattr", "setfacl"]) {
        return;
    }
    let Some(mut bed) = Bed::new() else { return };
    sh(&bed.dir(), POPULATION);
    let archive = bed.folder().join("archive.tar");
    let options = "--xattrs --xattrs-include='*' --acls --sparse --numeric-owner";
    sh(
        &bed.dir(),
        &format!("tar {options} -C src -cf '{}' .", archive.display()),
    );
    assert!(fs::metadata(&archive).unwrap().len() < 4 << 20, "holes were archived");
    sh(
        &bed.dir(),
        &format!("mkdir copy; tar {options} -C copy -xpf '{}'", archive.display()),
    );
    bed.remount();
    assert_same(&bed.path("src"), &bed.path("copy"), true);
    let blocks = |path: &str| fs::metadata(bed.path(path)).unwrap().blocks();
    assert_eq!(blocks("copy/holes"), blocks("src/holes"));
    bed.end();
}
