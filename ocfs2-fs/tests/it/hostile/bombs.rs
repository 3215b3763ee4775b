//! Small volumes that claim to be large: whatever they share or repeat is looked at once.

use std::time::{Duration, Instant};

use ocfs2_format::{BlockNo, Dinode, ExtentFlags, ExtentRec, FileKind, Structure};
use ocfs2_fs::{SurveyOptions, SurveyReport};

use super::base::Base;
use super::forge::{Forge, is_block_dir, is_deep, is_file, is_user};

/// Surveys and walks a volume; nothing of it may take long.
fn survey(forge: &Forge<'_>) -> SurveyReport {
    let started = Instant::now();
    let volume = forge.copy.open().expect("superblock and system files are sound");
    let mut options = SurveyOptions::default();
    options.data_bytes = u64::MAX;
    let report = volume.survey(&options, &mut |finding| drop(finding.to_string()));
    for entry in volume.walk("/").expect("the root is sound").flatten() {
        let _ = volume.extents(&entry.inode);
        let _ = volume.check_index(&entry.inode);
        let _ = volume.inode_xattrs(&entry.inode);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    report
}

/// Changes every inode that suits.
fn every_inode(forge: &Forge<'_>, suits: fn(&Dinode) -> bool, change: impl Fn(&mut Dinode)) -> usize {
    let mut changed = 0;
    for block in forge
        .base
        .blocks
        .iter()
        .filter(|block| block.structure == Structure::Dinode)
    {
        forge.edit_block::<Dinode>(block, |dinode| {
            if suits(dinode) {
                change(dinode);
                changed += 1;
            }
        });
    }
    changed
}

/// Fills a root list with extents of the greatest length, all at the same place.
fn fill(dinode: &mut Dinode, at: u64, flags: ExtentFlags) {
    let list = dinode.extent_list_mut();
    let room = list.l_count.get();
    list.init(room);
    for index in 0..room {
        let cpos = u32::from(index) * u32::from(u16::MAX);
        list.push(ExtentRec::leaf(cpos, u16::MAX, BlockNo(at), flags));
    }
    dinode.i_size.set(1 << 50);
    dinode.i_clusters.set(u32::from(room) * u32::from(u16::MAX));
    dinode.i_last_eb_blk.set(0);
}

/// The volume claims all the clusters there can be; the device stays as it is.
fn claim_everything(forge: &Forge<'_>) {
    forge.edit::<Dinode>(
        Structure::Superblock,
        |_| true,
        |dinode| dinode.i_clusters.set(u32::MAX),
    );
}

#[test]
fn tree_shared_by_all_files_is_walked_once() {
    let base = Base::named("extents-512");
    let forge = Forge::new(&base);
    let deepest = forge.find(Structure::Dinode, |d: &Dinode| {
        is_deep(d) && d.extent_list().l_tree_depth.get() > 1
    });
    let mut id2 = Vec::new();
    forge.edit_block::<[u8]>(&deepest, |bytes| id2 = bytes[0xC0..].to_vec());
    let before = survey(&Forge::new(&base)).metadata_blocks;
    let files = every_inode(&forge, is_file, |dinode| dinode.id2.copy_from_slice(&id2[..320]));
    assert!(files > 3);
    let report = survey(&forge);
    assert!(report.metadata_blocks <= before && report.findings > 3, "{report:?}");
}

#[test]
fn data_claimed_by_all_files_is_read_once() {
    let base = Base::named("kinds-4k-1m");
    let forge = Forge::new(&base);
    claim_everything(&forge);
    let at = u64::from(base.geometry.blocks_per_cluster());
    every_inode(&forge, is_file, |dinode| fill(dinode, at, ExtentFlags::REFCOUNTED));
    let report = survey(&forge);
    assert!(report.data_bytes <= base.geometry.bytes(), "{report:?}");
}

#[test]
fn directories_over_the_whole_volume_end() {
    for image in ["kinds-max-compat", "dirs-4k", "kinds-1k-8k-metaecc"] {
        let base = Base::named(image);
        let forge = Forge::new(&base);
        claim_everything(&forge);
        let at = 4 * u64::from(base.geometry.blocks_per_cluster());
        let dirs = every_inode(&forge, is_block_dir, |dinode| fill(dinode, at, ExtentFlags::empty()));
        assert!(dirs > 0 && survey(&forge).findings > 0, "{image}");
    }
}

#[test]
fn links_of_all_sizes_end() {
    let base = Base::named("kinds-4k");
    let forge = Forge::new(&base);
    claim_everything(&forge);
    every_inode(
        &forge,
        |dinode| is_user(dinode, FileKind::Symlink),
        |dinode| {
            dinode.i_clusters.set(1);
            dinode.extent_list_mut().init(243);
            fill(dinode, 8, ExtentFlags::empty());
        },
    );
    assert!(survey(&forge).findings > 0);
}
