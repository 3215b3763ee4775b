//! Every way to end a mount leaves a clean volume.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use ocfs2_testkit::{require_root, require_tool};
use rustix::process::Signal;

use crate::mount::{Bed, umount, until};
use crate::run::ocfs2;

#[test]
fn a_signal_ends_it() {
    let Some(bed) = Bed::local() else { return };
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut served = bed.serve(&[]);
        fs::write(bed.path("file"), format!("{signal:?}")).expect("a file");
        served.signal(signal);
        let status = served.wait();
        assert!(status.success(), "{signal:?}: {status}: {}", served.said());
        assert!(!bed.is_mounted());
        bed.assert_clean();
    }
}

#[test]
fn the_programs_of_the_system_end_it() {
    let Some(bed) = Bed::local() else { return };
    let Some(umount) = require_tool("umount") else { return };
    let Some(fusermount) = require_tool("fusermount3") else {
        return;
    };
    if !require_root() {
        return;
    }
    for tool in [umount.arg("-i"), fusermount.arg("-u")] {
        let mut served = bed.serve(&[]);
        fs::write(bed.path("file"), "content").expect("a file");
        let tool = tool.arg(bed.point());
        until("it is unmounted", || tool.run().status == 0);
        assert!(served.wait().success(), "{}", served.said());
        assert!(served.said().contains("unmounted"), "{}", served.said());
        bed.assert_clean();
    }
}

#[test]
fn what_is_open_keeps_umount_from_ending_it() {
    let Some(bed) = Bed::local() else { return };
    bed.mount(&[]);
    let file = File::create(bed.path("open")).expect("a file");
    let text = ocfs2(["umount".as_ref(), bed.point().as_os_str()]).failed(32);
    assert!(text.contains("open") || text.contains("busy"), "{text}");
    assert!(bed.is_mounted());
    drop(file);
    bed.umount();
}

#[test]
fn a_signal_waits_for_files_that_are_open() {
    let Some(bed) = Bed::local() else { return };
    let mut served = bed.serve(&[]);
    let mut file = File::create(bed.path("open")).expect("a file");
    file.write_all(b"before").expect("a write");
    served.signal(Signal::TERM);
    until("the directory is gone", || !bed.is_mounted());
    file.write_all(b" and after").expect("the file lives on");
    thread::sleep(Duration::from_millis(300));
    assert!(served.is_running());
    until("it says so", || served.said().contains("still open"));
    drop(file);
    assert!(served.wait().success(), "{}", served.said());
    bed.assert_clean();
    let text = ocfs2(["cat", &format!("{}:/open", bed.image().display())]).ok();
    assert_eq!(text, "before and after");
}

#[test]
fn a_second_signal_waits_for_nothing() {
    let Some(bed) = Bed::local() else { return };
    let mut served = bed.serve(&[]);
    let file = File::create(bed.path("open")).expect("a file");
    file.write_all_at(b"before", 0).expect("a write");
    served.signal(Signal::TERM);
    until("the directory is gone", || !bed.is_mounted());
    served.signal(Signal::TERM);
    assert!(served.wait().success(), "{}", served.said());
    file.write_all_at(b"after", 0).expect_err("nobody is there to write it");
    drop(file);
    bed.assert_clean();
    let text = ocfs2(["cat", &format!("{}:/open", bed.image().display())]).ok();
    assert_eq!(text, "before");
}

#[test]
fn unmounted_lazily_it_ends_when_nothing_is_open_any_more() {
    let Some(bed) = Bed::local() else { return };
    let mut served = bed.serve(&[]);
    let file = File::create(bed.path("open")).expect("a file");
    umount(["-l".as_ref(), bed.point().as_os_str()]).ok();
    assert!(!bed.is_mounted());
    file.write_all_at(b"later", 0).expect("a write");
    assert!(served.is_running());
    drop(file);
    assert!(served.wait().success(), "{}", served.said());
    bed.assert_clean();
}
