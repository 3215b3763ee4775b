use std::os::unix::fs::FileExt as _;

use ocfs2_testkit::{fsck_clean, require_tool, tools};

#[test]
fn fsck_reports_the_damage_that_its_exit_status_hides() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(image) = crate::kernel::make_volume(dir.path()) else {
        return;
    };
    if require_tool("fsck.ocfs2").is_none() {
        return;
    }
    fsck_clean(&image);

    // The superblock inode is block 2 of 1 KiB; its cluster count is at byte 0x14.
    let file = std::fs::File::options().write(true).open(&image).expect("the image");
    file.write_all_at(&1234_u32.to_le_bytes(), 2 * 1024 + 0x14)
        .expect("a write");
    let report = tools::fsck(&image);
    assert!(
        report.problems.contains(&"SUPERBLOCK_CLUSTERS".to_owned()),
        "{}",
        report.output
    );
}

#[test]
fn fsck_that_gives_up_has_not_finished() {
    let dir = tempfile::tempdir().expect("a directory");
    if require_tool("fsck.ocfs2").is_none() {
        return;
    }
    let image = dir.path().join("empty.img");
    std::fs::write(&image, vec![0; 1 << 20]).expect("an image");
    let report = tools::fsck(&image);
    assert!(!report.finished && report.problems.is_empty(), "{}", report.output);
}
