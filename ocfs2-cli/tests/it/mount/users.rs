//! Users mount what is theirs, without being root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use ocfs2_testkit::tools::{Tool, ToolOutput};
use ocfs2_testkit::{require_fuse_for_users, require_root, require_tool};

use crate::mount::{Bed, kill, until};
use crate::run::copy_program;

/// nobody(8).
const NOBODY: u32 = 65534;

/// A volume of a user's, and that user.
struct User {
    bed: Bed,
    setpriv: Tool,
    program: PathBuf,
}

impl User {
    fn new() -> Option<User> {
        let bed = Bed::local()?;
        if !require_fuse_for_users() {
            return None;
        }
        let setpriv = require_tool("setpriv").filter(|_| require_root())?;
        let program = bed.dir().join("ocfs2");
        copy_program(&program);
        for path in [bed.image(), bed.point(), bed.dir().to_owned()] {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("a new owner");
        }
        fs::set_permissions(bed.dir(), Permissions::from_mode(0o755)).expect("permissions");
        Some(User { bed, setpriv, program })
    }

    fn run(&self, words: &[&str]) -> ToolOutput {
        let privileges = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
        let tool = self.setpriv.clone().args(privileges).args(words);
        tool.current_dir(self.bed.dir()).run()
    }

    fn ocfs2(&self, words: &[&str]) -> ToolOutput {
        self.run(&[&[self.program.to_str().expect("UTF-8")], words].concat())
    }
}

#[test]
fn a_user_mounts_for_nobody_else() {
    let Some(user) = User::new() else { return };
    // Who made the volume owns nothing in it.
    user.ocfs2(&["mount", "-o", "fakeroot", "image", "point"]).ok();
    let line = user.bed.mount_line().expect("mounted");
    assert!(
        line.contains("user_id=65534") && line.contains("nosuid,nodev"),
        "{line}"
    );
    user.run(&[
        "sh",
        "-c",
        "mkdir point/mine && echo text >point/mine/file && cat point/mine/file",
    ])
    .ok();
    let error = fs::metadata(user.bed.path("mine")).expect_err("root is somebody else");
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    user.ocfs2(&["umount", "point"]).ok();
    user.bed.assert_clean();

    // With permissions checked, what is in the volume's own hands stays there.
    user.ocfs2(&["mount", "image", "point"]).ok();
    let said = user.run(&[
        "sh",
        "-c",
        "echo more >>point/mine/file; cat point/mine/file; touch point/top",
    ]);
    assert_eq!(said.stdout, "text\nmore\n", "{said}");
    assert!(said.stderr.contains("Permission denied"), "{said}");
    user.run(&["fusermount3", "-u", "point"]).ok();
    until("it is clean", || {
        user.ocfs2(&["mount", "--replay-only", "image"]).status == 0
    });
    user.bed.assert_clean();
}

#[test]
fn a_user_is_told_what_only_root_may_do() {
    let Some(user) = User::new() else { return };
    if fs::read_to_string("/etc/fuse.conf").is_ok_and(|text| text.lines().any(|line| line.trim() == "user_allow_other"))
    {
        return;
    }
    let said = user.ocfs2(&["mount", "-o", "allow_other", "image", "point"]);
    assert_eq!(said.status, 1, "{said}");
    assert!(said.stderr.contains("/etc/fuse.conf"), "{said}");
    // What went wrong after the volume was mounted leaves it clean.
    user.bed.assert_clean();

    chown(user.bed.image(), Some(0), Some(0)).expect("a new owner");
    let said = user.ocfs2(&["mount", "image", "point"]);
    assert_eq!(said.status, 1, "{said}");
    assert!(said.stderr.contains("read-only (-r)"), "{said}");
    user.ocfs2(&["mount", "-r", "image", "point"]).ok();
    user.ocfs2(&["umount", "point"]).ok();
    fs::set_permissions(user.bed.image(), Permissions::from_mode(0o600)).expect("permissions");
    let said = user.ocfs2(&["mount", "-r", "image", "point"]);
    assert_eq!(said.status, 1, "{said}");

    chown(user.bed.point(), Some(0), Some(0)).expect("a new owner");
    fs::set_permissions(user.bed.image(), Permissions::from_mode(0o666)).expect("permissions");
    let said = user.ocfs2(&["mount", "image", "point"]);
    assert_eq!(said.status, 1, "{said}");
    assert!(said.stderr.contains("point"), "{said}");
    user.bed.assert_clean();
}

#[test]
fn a_user_recovers_from_a_crash() {
    let Some(user) = User::new() else { return };
    let said = user
        .ocfs2(&["mount", "--json", "-o", "fakeroot", "image", "point"])
        .ok();
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    let pid = document["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok())
        .expect("a process");
    user.run(&["sh", "-c", "echo text >point/file && sync point/file"]).ok();
    kill(rustix::process::Pid::from_raw(pid).expect("a process"));
    user.ocfs2(&["mount", "-o", "fakeroot", "image", "point"]).ok();
    let said = user.run(&["cat", "point/file"]).ok();
    assert_eq!(said.stdout, "text\n");
    user.ocfs2(&["umount", "point"]).ok();
    user.bed.assert_clean();
}
