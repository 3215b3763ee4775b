//! Where commands come from, what is echoed, and the exit status.

use std::fs;

use super::debugfs;
use crate::run::{image_named, ocfs2};

#[test]
fn a_script_on_standard_input_is_echoed_behind_the_prompt() {
    let image = image_named("empty-defaults");
    let script = "# a comment\n\nslotmap\nls -l /nothing\nquit\nslotmap\n";
    let said = debugfs(&[], &image, script);
    assert_eq!(
        String::from_utf8_lossy(&said.stdout),
        "debugfs: # a comment\ndebugfs: \ndebugfs: slotmap\n\tSlot#   Node#\ndebugfs: ls -l /nothing\ndebugfs: quit\n"
    );
    assert_eq!(
        (said.status, said.stderr.as_str()),
        (0, "ls: Directory entry not found '/nothing'\n")
    );
}

#[test]
fn a_script_that_ends_without_quit_ends_with_status_1() {
    let image = image_named("empty-defaults");
    let said = debugfs(&["-n"], &image, "slotmap\n");
    assert_eq!(
        (said.status, said.stdout.as_slice()),
        (1, b"slotmap\n\tSlot#   Node#\n\n".as_slice())
    );
    let said = debugfs(&["--strict"], &image, "slotmap\n");
    assert_eq!(said.status, 0);
}

#[test]
fn a_script_in_a_file_is_echoed_unless_the_prompt_is_hidden() {
    let image = image_named("empty-defaults");
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("script");
    fs::write(&script, "  slotmap\n\n# x\nquit\n").expect("a script");
    let script = script.to_str().expect("a plain name");
    let said = debugfs(&["-f", script], &image, "");
    let shown = "debugfs: slotmap\n\tSlot#   Node#\ndebugfs: # x\ndebugfs: quit\n";
    assert_eq!(
        (said.status, String::from_utf8_lossy(&said.stdout).as_ref()),
        (0, shown)
    );
    let said = debugfs(&["-n", "-f", script], &image, "");
    assert_eq!(
        (said.status, said.stdout.as_slice()),
        (0, b"\tSlot#   Node#\n".as_slice())
    );
    let said = debugfs(&["-f", "/no/such/script"], &image, "");
    assert_eq!(
        (said.status, said.stderr.as_str()),
        (1, "ocfs2 debugfs: No such file or directory '/no/such/script'\n")
    );
}

#[test]
fn a_failed_command_matters_to_the_exit_status_only_with_strict() {
    let image = image_named("empty-defaults");
    for (args, status) in [
        (&["-R", "stat /nothing"][..], 0),
        (&["--strict", "-R", "stat /nothing"], 1),
    ] {
        let said = debugfs(args, &image, "");
        assert_eq!((said.status, said.stdout.len()), (status, 0), "{said:?}");
        assert_eq!(said.stderr, "stat: Directory entry not found '/nothing'\n");
    }
    let said = debugfs(&["--strict", "-R", "frobnicate"], &image, "");
    assert_eq!(
        (said.status, said.stderr.as_str()),
        (1, "frobnicate: command not found\n")
    );
}

#[test]
fn another_device_can_be_opened_when_the_first_cannot() {
    let image = image_named("empty-defaults");
    let script = format!(
        "curdev\nstats\nopen {}\nslotmap\nclose\nslotmap\nquit\n",
        image.display()
    );
    let said = debugfs(&["-n"], "/no/such/device".as_ref(), &script);
    assert_eq!(said.status, 0);
    let stdout = String::from_utf8_lossy(&said.stdout);
    assert!(stdout.contains("No device\n") && stdout.contains("Slot#"), "{stdout}");
    assert_eq!(
        said.stderr,
        "open: Device name specified was not found while opening context for device /no/such/device\n\
         stats: No device open\nslotmap: No device open\n"
    );
}

#[test]
fn what_cannot_be_opened_is_named_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let cases = [
        ("empty", 0, "Bad magic"),
        ("short", 3000, "Bad magic"),
        ("zeros", 1 << 20, "Bad magic"),
    ];
    for (name, len, reason) in cases {
        let path = dir.path().join(name);
        fs::File::create(&path)
            .and_then(|file| file.set_len(len))
            .expect("a file");
        let said = debugfs(&["--strict", "-R", "stats"], &path, "");
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stderr.contains(reason), "{name}: {}", said.stderr);
    }
    let said = debugfs(&["--strict", "-R", "stats"], dir.path(), "");
    assert!(said.status == 1 && said.stderr.contains("a directory"), "{said:?}");
    let said = debugfs(&["--strict", "-i", "-R", "stats"], &image_named("kinds-4k"), "");
    assert!(said.status == 1 && said.stderr.contains("Bad magic"), "{said:?}");
}

#[test]
fn relative_paths_follow_cd_and_absolute_ones_chroot() {
    let image = image_named("dirs-4k");
    let root = super::json(&image, "ls -l /");
    let dir = root["entries"].as_array().expect("entries").iter().find(|entry| {
        entry["file_type"] == 2 && !entry["name"].as_str().is_some_and(|name| name.starts_with(['.', 'l']))
    });
    let dir = dir.expect("a directory")["name"].as_str().expect("a name").to_owned();
    let script = format!("cd {dir}\nencode .\nencode ..\nencode /\nchroot .\nencode /\ncd /\nencode .\nquit\n");
    let said = debugfs(&["-n"], &image, &script);
    let stdout = String::from_utf8_lossy(&said.stdout).into_owned();
    let locks: Vec<_> = stdout.lines().filter(|line| line.starts_with('\t')).collect();
    assert_eq!(locks.len(), 5, "{said:?}");
    assert_eq!(locks[1], locks[2], "{stdout}");
    assert!(
        locks[0] == locks[3] && locks[3] == locks[4] && locks[0] != locks[1],
        "{stdout}"
    );
}

#[test]
fn links_on_the_way_are_followed_and_the_last_one_is_shown() {
    // The reference fails at every link on the way.
    let image = image_named("kinds-4k");
    let entries = super::json(&image, "ls -l /");
    let links = entries["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .filter(|entry| entry["file_type"] == 7);
    let mut followed = 0;
    for link in links {
        let name = link["name"].as_str().expect("a name");
        let said = super::json(&image, &format!("stat <{}>", link["inode"]));
        assert_eq!(said["type"], "Symbolic Link", "{name}");
        let Some(target) = said["target"].as_str() else {
            continue;
        };
        let through = debugfs(&["-R", &format!("stat \"/{name}/\"")], &image, "");
        let direct = debugfs(&["-R", &format!("stat \"{target}/\"")], &image, "");
        assert_eq!(through.stdout, direct.stdout, "{name} -> {target}");
        followed += 1;
    }
    assert!(followed > 0);
}

#[test]
fn names_with_blanks_can_be_quoted() {
    let image = image_named("kinds-4k-metaecc");
    let entries = super::json(&image, "ls /");
    let names = entries["entries"].as_array().expect("entries").iter();
    let name = names
        .filter_map(|entry| entry["name"].as_str())
        .find(|name| name.contains(' '));
    let name = name.expect("a name with a blank");
    let shown = super::request(&image, &format!("stat \"/{name}\""));
    assert!(shown.starts_with("\tInode: "), "{shown}");
}

#[test]
fn json_documents_stand_on_lines_of_their_own() {
    let image = image_named("kinds-4k");
    let said = debugfs(
        &["--json"],
        &image,
        "# nothing\nslotmap\nstats -h\nls /nothing\nls\nquit\n",
    );
    let stdout = String::from_utf8(said.stdout).expect("JSON is text");
    let documents: Vec<serde_json::Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("a document"))
        .collect();
    let commands: Vec<_> = documents.iter().map(|document| document["command"].as_str()).collect();
    assert_eq!(commands, [Some("slotmap"), Some("stats"), Some("ls")]);
    assert!(documents.iter().all(|document| document["schema"] == 1));
    assert_eq!(said.stderr, "ls: Directory entry not found '/nothing'\n");
}

#[test]
fn lock_names_that_are_none_are_passed_over_aloud() {
    let said = ocfs2(["debugfs", "-d", "nonsense", "R000000000000000000000200000000"]);
    assert_eq!(said.status, 0);
    assert_eq!(said.stderr, "ocfs2 debugfs: 'nonsense' is not the name of a lock\n");
    assert!(
        said.stdout
            .starts_with(b"Lockres:    R000000000000000000000200000000\nType:       Rename\n")
    );
    let text = ocfs2(["debugfs", "-e", "Z", "1", "2"]).failed(1);
    assert!(text.contains("'Z'"), "{text}");
    let text = ocfs2(["debugfs", "-e", "M", "1"]).failed(2);
    assert!(text.contains("generation"), "{text}");
}

#[test]
fn log_masks_need_the_cluster_modules() {
    if std::path::Path::new("/sys/fs/o2cb/logmask").is_dir() {
        eprintln!("skipped: this kernel has the cluster modules loaded");
        return;
    }
    let text = ocfs2(["debugfs", "-l"]).failed(1);
    assert!(text.contains("modules"), "{text}");
}
