//! The commands that change a volume, judged by fsck.ocfs2 and by the commands that read.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use ocfs2_testkit::{fsck_clean, require_tool};
use tempfile::TempDir;

use crate::run::{Said, ocfs2};

/// A fresh volume in a file.
pub(crate) struct Volume {
    dir: TempDir,
    /// The image.
    pub(crate) image: PathBuf,
}

impl Volume {
    /// A volume of so many MiB, made with options of mkfs.
    pub(crate) fn new(mebibytes: u64, options: &[&str]) -> Volume {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let image = dir.path().join("image");
        File::create(&image)
            .and_then(|file| file.set_len(mebibytes << 20))
            .expect("a file");
        let words = ["mkfs", "-q", "--seed", "7"].into_iter().chain(options.iter().copied());
        ocfs2(words.map(OsStr::new).chain([image.as_os_str()])).ok();
        Volume { dir, image }
    }

    /// A local volume with all features that a command uses.
    pub(crate) fn local() -> Volume {
        Volume::new(64, &["-M", "local", "--fs-features=xattr,refcount,metaecc"])
    }

    /// A directory for whatever a test needs beside the image.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `ocfs2 WORDS…`, with `@` in front of a word for the image.
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        let image = self.image.to_str().expect("UTF-8");
        ocfs2(words.iter().map(|word| match word.strip_prefix('@') {
            Some(path) => format!("{image}:{path}"),
            None => (*word).to_owned(),
        }))
    }

    /// Runs a command that says nothing.
    pub(crate) fn quiet(&self, words: &[&str]) {
        let said = self.run(words);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{words:?}");
        assert!(said.stdout.is_empty(), "{words:?}: {said:?}");
    }

    /// What a command prints.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        self.run(words).ok()
    }

    /// The complaint of a command that fails with status 1.
    pub(crate) fn refused(&self, words: &[&str]) -> String {
        self.run(words).failed(1)
    }

    /// One line of `stat -c FORMAT`.
    pub(crate) fn stat(&self, format: &str, path: &str) -> String {
        self.ok(&["stat", "-c", format, path]).trim_end().to_owned()
    }

    /// Has fsck.ocfs2 look at the volume.
    pub(crate) fn assert_clean(&self) {
        if require_tool("fsck.ocfs2").is_some() {
            fsck_clean(&self.image);
        }
    }
}

#[test]
fn directories_are_made_and_removed() {
    let volume = Volume::local();
    volume.quiet(&["mkdir", "@/a"]);
    volume.quiet(&["mkdir", "-p", "-m", "u=rwx,go=", "@/b/c/d", "@/a"]);
    assert_eq!(volume.stat("%a %F", "@/b/c/d"), "700 directory");
    let text = volume.refused(&["mkdir", "@/a", "@/x/y", "@/e"]);
    let image = volume.image.display().to_string();
    assert!(
        text.contains(&format!("ocfs2 mkdir: {image}:/a: file exists")),
        "{text}"
    );
    assert!(text.contains("/x/y: no such file or directory"), "{text}");
    assert_eq!(volume.ok(&["ls", "@/"]), "a\nb\ne\nlost+found\n");
    assert!(volume.refused(&["rmdir", "@/b"]).contains("/b: directory not empty"));
    volume.quiet(&["rmdir", "--ignore-fail-on-non-empty", "@/b"]);
    volume.quiet(&["rmdir", "-p", "@/b/c/d"]);
    volume.quiet(&["rmdir", "@/a", "@/e"]);
    assert_eq!(volume.ok(&["ls", "@/"]), "lost+found\n");
    volume.assert_clean();
}

#[test]
fn trees_are_removed_with_r_and_what_is_missing_matters_without_f() {
    let volume = Volume::local();
    volume.quiet(&["mkdir", "-p", "@/t/u/v", "@/keep"]);
    volume.quiet(&["touch", "@/t/1", "@/t/u/2", "@/t/u/v/3", "@/keep/me"]);
    volume.quiet(&["ln", "-s", "/keep", "@/t/link"]);
    assert!(volume.refused(&["rm", "@/t"]).contains("/t: is a directory"));
    assert!(volume.refused(&["rm", "@/none"]).contains("/none: no such file"));
    assert!(volume.refused(&["rm", "-rf", "@/"]).contains("root directory"));
    volume.quiet(&["rm", "-f", "@/none", "@/none/deeper"]);
    let said = volume.ok(&["rm", "-rv", "@/t"]);
    assert_eq!(said.lines().count(), 7, "{said}");
    assert_eq!(volume.ok(&["find", "@/keep", "-name", "me"]).lines().count(), 1);
    assert_eq!(volume.ok(&["ls", "@/"]), "keep\nlost+found\n");
    volume.assert_clean();
}

#[test]
fn names_are_moved_exchanged_and_linked() {
    let volume = Volume::local();
    volume.quiet(&["mkdir", "@/d", "@/e"]);
    volume.quiet(&["touch", "@/a", "@/b", "@/d/x"]);
    volume.quiet(&["mv", "@/a", "@/b", "@/d"]);
    volume.quiet(&["mv", "-T", "@/d", "@/e"]);
    assert_eq!(volume.ok(&["ls", "@/e"]), "a\nb\nx\n");
    let before = volume.stat("%i", "@/e/a");
    volume.quiet(&["mv", "--exchange", "@/e/a", "@/e/b"]);
    assert_eq!(volume.stat("%i", "@/e/b"), before);
    volume.quiet(&["mv", "-n", "@/e/a", "@/e/b"]);
    assert_eq!(volume.stat("%i", "@/e/b"), before);
    assert!(volume.refused(&["mv", "@/e", "@/e/below"]).contains("/e/below"));
    assert!(volume.refused(&["mv", "@/none", "@/e"]).contains("/none: no such file"));
    volume.quiet(&["ln", "@/e/b", "@/hard"]);
    assert_eq!(volume.stat("%i %h", "@/hard"), format!("{before} 2"));
    volume.quiet(&["ln", "-s", "../any text", "@/soft"]);
    assert!(volume.refused(&["ln", "-s", "x", "@/soft"]).contains("file exists"));
    volume.quiet(&["ln", "-sf", "e", "@/soft"]);
    volume.quiet(&["ln", "-s", "inside", "@/soft"]);
    assert!(volume.ok(&["ls", "-l", "@/e"]).contains("inside -> inside"));
    volume.quiet(&["ln", "-sfn", "e/b", "@/soft"]);
    assert!(volume.ok(&["ls", "-l", "@/soft"]).contains("soft -> e/b"));
    volume.assert_clean();
}

#[test]
fn permissions_owners_flags_and_times_are_set() {
    let volume = Volume::local();
    volume.quiet(&["mkdir", "-p", "@/d/s"]);
    volume.quiet(&["touch", "-d", "2001-09-09T01:46:40.5Z", "@/d/f"]);
    assert_eq!(volume.stat("%X %Y", "@/d/f"), "1000000000 1000000000");
    volume.quiet(&["chmod", "u=rwx,g=rx,o=", "@/d/f"]);
    assert_eq!(volume.stat("%a", "@/d/f"), "750");
    volume.quiet(&["chmod", "-x", "@/d/f"]);
    assert_eq!(volume.stat("%a", "@/d/f"), "640");
    volume.quiet(&["chmod", "-R", "go=u,+X", "@/d"]);
    assert_eq!(volume.stat("%a", "@/d/f"), "666");
    volume.quiet(&["chown", "-R", "12:34", "@/d"]);
    assert_eq!(volume.stat("%u %g", "@/d/s"), "12 34");
    volume.quiet(&["chown", "root:", "@/d/f"]);
    assert_eq!(volume.stat("%u %g", "@/d/f"), "0 0");
    assert_eq!(volume.run(&["chown", "no-such-user-here", "@/d"]).status, 2);
    volume.quiet(&["touch", "-m", "-r", "@/d/f", "@/d/s"]);
    assert_eq!(volume.stat("%Y", "@/d/s"), "1000000000");
    volume.quiet(&["touch", "-c", "@/d/none"]);
    volume.quiet(&["chattr", "+i", "@/d/f"]);
    assert!(volume.refused(&["rm", "@/d/f"]).contains("immutable"));
    assert!(volume.refused(&["chmod", "600", "@/d/f"]).contains("immutable"));
    volume.quiet(&["chattr", "-i", "@/d/f"]);
    volume.quiet(&["rm", "-r", "@/d"]);
    volume.assert_clean();
}

#[test]
fn attributes_are_set_and_removed() {
    let volume = Volume::local();
    volume.quiet(&["touch", "@/f"]);
    volume.quiet(&["xattr", "set", "user.text", "some words", "@/f"]);
    volume.quiet(&["xattr", "set", "user.bytes", "0x00ff", "@/f"]);
    volume.quiet(&["xattr", "set", "--replace", "user.text", "other words", "@/f"]);
    let shown = volume.ok(&["xattr", "-d", "@/f"]);
    assert!(
        shown.contains("user.text=\"other words\"") && shown.contains("user.bytes=0x00ff"),
        "{shown}"
    );
    let text = volume.refused(&["xattr", "set", "--create", "user.text", "x", "@/f"]);
    assert!(text.contains("/f: there is an attribute user.text already"), "{text}");
    volume.quiet(&["xattr", "remove", "user.text", "@/f"]);
    assert!(
        volume
            .refused(&["xattr", "remove", "user.text", "@/f"])
            .contains("no attribute user.text")
    );
    assert!(!volume.ok(&["xattr", "@/f"]).contains("user.text"));
    volume.assert_clean();
}

#[test]
fn sizes_and_allocation_of_files_change() {
    let volume = Volume::local();
    volume.quiet(&["truncate", "-s", "1M", "@/f"]);
    assert_eq!(volume.stat("%s %b", "@/f"), "1048576 0");
    volume.quiet(&["truncate", "-s", "+4096", "@/f"]);
    volume.quiet(&["truncate", "-s", "%1M", "@/f"]);
    assert_eq!(volume.stat("%s", "@/f"), "2097152");
    volume.quiet(&["truncate", "-r", "@/f", "-s", "-1M", "@/g"]);
    assert_eq!(volume.stat("%s", "@/g"), "1048576");
    volume.quiet(&["truncate", "-c", "-s", "0", "@/none"]);
    volume.quiet(&["fallocate", "-l", "1M", "@/f"]);
    assert_eq!(volume.stat("%s %b", "@/f"), "2097152 2048");
    volume.quiet(&["fallocate", "-p", "--offset", "0", "-l", "512K", "@/f"]);
    assert_eq!(volume.stat("%s %b", "@/f"), "2097152 1024");
    volume.quiet(&["fallocate", "-n", "--offset", "4M", "-l", "1M", "@/f"]);
    assert_eq!(volume.stat("%s", "@/f"), "2097152");
    // Space behind the end of a file is none of fsck.ocfs2's business, but it says so.
    volume.quiet(&["fallocate", "-p", "--offset", "4M", "-l", "1M", "@/f"]);
    assert!(
        volume
            .refused(&["truncate", "-s", "0", "@/lost+found"])
            .contains("is a directory")
    );
    volume.assert_clean();
}

#[test]
fn reflinks_share_their_clusters() {
    let volume = Volume::local();
    let data = volume.dir().join("data");
    std::fs::write(&data, vec![7; 1 << 20]).expect("a file");
    volume.quiet(&["cp", data.to_str().expect("UTF-8"), "@/a"]);
    volume.quiet(&["mkdir", "@/d"]);
    volume.quiet(&["reflink", "@/a", "@/b"]);
    volume.quiet(&["reflink", "@/a", "@/b", "@/d"]);
    assert_eq!(volume.ok(&["cat", "@/d/b"]).len(), 1 << 20);
    volume.quiet(&["truncate", "-s", "4096", "@/b"]);
    assert_eq!(volume.stat("%s", "@/d/b"), "1048576");
    volume.assert_clean();
}

#[test]
fn a_json_document_tells_what_was_done() {
    let volume = Volume::local();
    let said = volume.ok(&["mkdir", "--json", "@/a", "@/b"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(report["schema"], 1);
    assert_eq!(report["files"][1]["path"], "/b");
    assert_eq!(report["files"][1]["action"], "created");
    assert_eq!(report["files"][0]["type"], "directory");
    let said = volume.ok(&["rm", "-r", "--json", "@/a"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(report["files"][0]["action"], "removed");
    assert!(volume.ok(&["mv", "-v", "@/b", "@/c"]).starts_with("renamed '"));
}

#[test]
fn a_volume_of_a_cluster_is_changed_only_when_told() {
    let volume = Volume::new(64, &["-N", "2"]);
    let text = volume.refused(&["mkdir", "@/a"]);
    assert!(text.contains("nocluster"), "{text}");
    volume.quiet(&["mkdir", "-o", "nocluster", "@/a"]);
    assert_eq!(volume.run(&["mkdir", "-o", "frobnicate", "@/b"]).status, 2);
    let text = volume.refused(&["mkdir", "-o", "nocluster,ro", "@/b"]);
    assert!(text.contains("read-only"), "{text}");
    volume.assert_clean();
}

#[test]
fn an_image_that_another_program_holds_is_refused() {
    let volume = Volume::local();
    let file = File::open(&volume.image).expect("the image");
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    let text = volume.refused(&["mkdir", "@/a"]);
    assert!(text.contains("another program is using it"), "{text}");
    drop(file);
    volume.quiet(&["mkdir", "@/a"]);
}

#[test]
fn system_files_and_images_that_hold_no_volume_are_refused() {
    let volume = Volume::local();
    for words in [
        &["rm", "@//slot_map"][..],
        &["chmod", "600", "@//"],
        &["touch", "@//global_bitmap"],
        &["truncate", "-s", "0", "@//journal:0000"],
    ] {
        assert!(volume.refused(words).contains("system files"), "{words:?}");
    }
    let other = volume.dir().join("other");
    std::fs::write(&other, vec![0; 1 << 20]).expect("a file");
    let text = volume.refused(&["mkdir", &format!("{}:/a", other.display())]);
    assert!(text.contains("no ocfs2 volume"), "{text}");
    volume.assert_clean();
}
