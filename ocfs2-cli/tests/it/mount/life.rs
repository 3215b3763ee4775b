//! Mounting, in the foreground and in the background.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::mount::{Bed, umount, until};
use crate::run::ocfs2;

/// A file in the volume, put there without mounting.
fn put(bed: &Bed, name: &str, content: &str) {
    let file = bed.dir().join("content");
    fs::write(&file, content).expect("a file");
    let to = format!("{}:/{name}", bed.image().display());
    ocfs2(["cp", file.to_str().expect("UTF-8"), &to]).ok();
}

#[test]
fn the_directory_is_populated_when_the_command_returns() {
    let Some(bed) = Bed::local() else { return };
    put(&bed, "greeting", "hello");
    for _ in 0..5 {
        bed.mount(&[]);
        assert_eq!(fs::read_to_string(bed.path("greeting")).expect("a file"), "hello");
        bed.umount();
        assert!(!bed.path("greeting").exists());
    }
}

#[test]
fn what_is_written_is_on_the_volume_after_unmounting() {
    let Some(bed) = Bed::local() else { return };
    bed.mount(&[]);
    fs::create_dir_all(bed.path("a/b")).expect("directories");
    fs::write(bed.path("a/b/c"), "written").expect("a file");
    bed.umount();
    let said = ocfs2(["cat", &format!("{}:/a/b/c", bed.image().display())]).ok();
    assert_eq!(said, "written");
}

#[test]
fn in_the_background_it_has_let_go_of_everything() {
    let Some(bed) = Bed::local() else { return };
    let pid = bed.mount(&[]);
    let process = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
    assert_eq!(fs::read_link(process.join("cwd")).expect("a process"), Path::new("/"));
    for stream in ["0", "1", "2"] {
        let open = fs::read_link(process.join("fd").join(stream)).expect("a stream");
        assert_eq!(open, Path::new("/dev/null"), "stream {stream}");
    }
    let stat = fs::read_to_string(process.join("stat")).expect("a process");
    let rest: Vec<_> = stat.rsplit(") ").next().expect("numbers").split(' ').collect();
    // Session, and controlling terminal.
    assert_eq!((rest[3], rest[4]), (pid.as_raw_nonzero().to_string().as_str(), "0"));
    bed.umount();
    let open = fs::read_dir(process.join("fd")).map_or(0, |open| open.count());
    assert_eq!(open, 0, "it waits until the process is gone");
}

#[test]
fn what_was_mounted_is_said_on_request() {
    let Some(bed) = Bed::local() else { return };
    let (image, point) = (bed.image(), bed.point());
    let text = bed.try_mount(&["-v", "-o", "nosuid,noexec"]).ok();
    let wanted = format!("{} on {} type fuse.ocfs2 (rw,", image.display(), point.display());
    assert!(text.starts_with(&wanted) && text.contains("noexec"), "{text}");
    let text = umount(["-v".as_ref(), point.as_os_str()]).ok();
    assert_eq!(text, format!("{} unmounted\n", point.display()));

    let text = bed.try_mount(&["--json"]).ok();
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["schema"], 1);
    assert_eq!(document["source"].as_str(), image.to_str());
    assert_eq!(document["directory"].as_str(), point.to_str());
    assert_eq!(document["label"], "bed");
    let text = umount(["--json".as_ref(), image.as_os_str()]).ok();
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (document["schema"].as_u64(), document["clean"].as_bool()),
        (Some(1), Some(true))
    );
}

#[test]
fn a_mount_in_the_foreground_says_that_it_is_ready() {
    let Some(bed) = Bed::local() else { return };
    let mut served = bed.serve(&[]);
    let notice = format!("{} on {} type fuse.ocfs2", bed.image().display(), bed.point().display());
    until("it says so", || served.said().contains(&notice));
    bed.umount();
    assert!(served.wait().success(), "{}", served.said());
}

#[test]
fn service_managers_are_told_that_it_is_ready() {
    use std::os::unix::net::UnixDatagram;
    let Some(bed) = Bed::local() else { return };
    let socket = bed.dir().join("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    let mut child = std::process::Command::new(crate::run::PROGRAM)
        .args(["mount", "--foreground"])
        .args([bed.image(), bed.point()])
        .env("NOTIFY_SOCKET", &socket)
        .spawn()
        .expect("the program starts");
    let mut message = [0; 64];
    let length = manager.recv(&mut message).expect("a message");
    assert!(message[..length].starts_with(b"READY=1\n"));
    assert!(bed.path("lost+found").is_dir());
    bed.umount();
    assert!(child.wait().expect("a child").success());
}

#[test]
fn a_volume_is_mounted_once() {
    let Some(bed) = Bed::local() else { return };
    bed.mount(&[]);
    let other = bed.dir().join("other");
    fs::create_dir(&other).expect("a directory");
    // Under another name it is the same.
    let name = bed.dir().join("name");
    std::os::unix::fs::symlink(bed.image(), &name).expect("a link");
    let text = ocfs2(["mount".as_ref(), name.as_os_str(), other.as_os_str()]).failed(32);
    assert!(
        text.contains("already mounted on") && text.contains(bed.point().to_str().expect("UTF-8")),
        "{text}"
    );
    // Nor is it changed behind the mount's back.
    let text = ocfs2(["mkdir", &format!("{}:/x", bed.image().display())]).failed(1);
    assert!(text.contains("is mounted on"), "{text}");
    bed.umount();
}

#[test]
fn a_mount_that_is_just_ending_is_waited_for() {
    let Some(bed) = Bed::local() else { return };
    for round in 0..10 {
        bed.mount(&[]);
        for file in 0..50 {
            fs::write(bed.path(&format!("{round}-{file}")), [b'x'; 5000]).expect("a file");
        }
        umount(["--no-wait".as_ref(), bed.point().as_os_str()]).ok();
    }
    bed.mount(&[]);
    assert_eq!(fs::read_dir(bed.point()).expect("a directory").count(), 501);
    bed.umount();
}

#[test]
fn faking_leaves_everything_as_it_is() {
    let Some(bed) = Bed::local() else { return };
    let before = fs::read(bed.image()).expect("the image");
    assert_eq!(bed.try_mount(&["-f", "-v", "-n", "-s"]).ok(), "");
    assert!(!bed.is_mounted());
    assert!(before == fs::read(bed.image()).expect("the image"));
    assert!(
        bed.try_mount(&["-f", "-o", "frobnicate"])
            .failed(1)
            .contains("frobnicate")
    );
}

#[test]
fn what_is_wrong_decides_about_the_status() {
    let Some(bed) = Bed::local() else { return };
    let (image, point) = (bed.image(), bed.point());
    let (image, point) = (image.to_str().expect("UTF-8"), point.to_str().expect("UTF-8"));
    let file = bed.dir().join("file");
    fs::write(&file, "no volume").expect("a file");
    let file = file.to_str().expect("UTF-8");
    let missing = &format!("{point}/missing");
    for (words, status, said) in [
        (&[image][..], 1, "an image file or device is needed"),
        (&[image, point, point], 1, "unexpected"),
        (&["-t", "ext4", image, point], 1, "'ext4'"),
        (&["-N", "1", image, point], 1, "nsenter"),
        (&["-L", "a", "-U", "b", point], 1, "cannot be used with"),
        (&["-U", "12", point], 1, "no UUID"),
        (&["--replay-only", image, point], 1, "no directory"),
        (&["--replay-only", "-o", "ro", image], 1, "ro forbids"),
        (&["-o", "fakeroot,allow_other", image, point], 1, "everybody"),
        (&[missing, point], 32, "No such file"),
        (&[image, missing], 32, "mount point"),
        (&[image, file], 32, "not a directory"),
        (&[file, point], 32, "no ocfs2 volume"),
        (&["/dev/null", point], 32, "/dev/null"),
        (&[point, point], 32, point),
        (&["--partition", "3", image, point], 32, "partition"),
    ] {
        let text = ocfs2([&["mount"], words].concat()).failed(status);
        assert!(text.contains(said), "{words:?}: {text}");
        assert!(!bed.is_mounted(), "{words:?}");
    }
    for (words, status, said) in [
        (&[point][..], 32, "not mounted"),
        (&["/proc"], 32, "type proc"),
        (&[missing], 32, "No such file"),
        (&["-r", point], 1, "mount again with -r"),
        (&[], 1, "required"),
    ] {
        let text = ocfs2([&["umount"], words].concat()).failed(status);
        assert!(text.contains(said), "{words:?}: {text}");
    }
}

#[test]
fn a_volume_of_a_cluster_needs_to_be_asked_for() {
    let Some(bed) = Bed::new(&["-M", "cluster", "-N", "2"]) else {
        return;
    };
    let text = bed.try_mount(&[]).failed(32);
    assert!(text.contains("nocluster"), "{text}");
    bed.mount(&["-o", "nocluster,_netdev"]);
    fs::write(bed.path("a"), "a").expect("a file");
    bed.umount();
    // To look at it needs no promise.
    let said = bed.try_mount(&["-r"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stderr.contains("other nodes"), "{said:?}");
    assert_eq!(fs::metadata(bed.path("a")).expect("a file").size(), 1);
    umount([bed.point().as_os_str()]).ok();
}
