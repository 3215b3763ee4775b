//! A survey finds nothing to complain about in what the kernel wrote, and sees all of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocfs2_format::Structure;
use ocfs2_format::device::MemDevice;
use ocfs2_fs::{OpenOptions, SurveyOptions, SurveyReport, Volume};
use ocfs2_testkit::facts::Kind;
use ocfs2_testkit::golden::{self, Golden};

fn survey(golden: &Golden) -> SurveyReport {
    let device = MemDevice::from_vec(golden.image());
    let volume = Volume::open(Arc::new(device), &OpenOptions::default()).expect("a golden image opens");
    let mut options = SurveyOptions::default();
    options.data_bytes = u64::MAX;
    options.list_blocks = true;
    volume.survey(&options, &mut |finding| panic!("{}: {finding}", golden.name))
}

#[test]
fn golden_images_have_no_findings_and_are_seen_whole() {
    for golden in golden::all() {
        let report = survey(golden);
        let mut blocks: Vec<u64> = report.blocks.iter().map(|block| block.block.0).collect();
        blocks.sort_unstable();
        blocks.dedup();
        assert_eq!(
            blocks.len(),
            report.blocks.len(),
            "{}: no block has two structures",
            golden.name
        );
        let Some(facts) = golden.facts() else { continue };
        let directories = facts.objects.iter().filter(|object| object.kind == Kind::Dir).count() as u64;
        // Every object is named once; a directory has two names more, and hard links make fewer inodes than names.
        let objects = facts.objects.len() as u64;
        assert!(
            report.names >= objects - 1 + 2 * directories,
            "{}: {report:?}",
            golden.name
        );
        let inodes: BTreeMap<u64, usize> = facts
            .objects
            .iter()
            .map(|object| (object.ino, object.xattrs.len()))
            .collect();
        assert!(report.inodes > inodes.len() as u64, "{}", golden.name);
        assert!(
            report.xattrs >= inodes.values().sum::<usize>() as u64,
            "{}",
            golden.name
        );
    }
}

#[test]
fn every_structure_is_met_in_some_golden_image() {
    let mut missing = vec![
        Structure::Superblock,
        Structure::Dinode,
        Structure::ExtentBlock,
        Structure::GroupDesc,
        Structure::DirBlock,
        Structure::DxRoot,
        Structure::DxLeaf,
        Structure::XattrBlock,
        Structure::XattrBucket,
        Structure::RefcountBlock,
        Structure::QuotaBlock,
    ];
    for golden in golden::all() {
        let report = survey(golden);
        missing.retain(|&structure| report.blocks.iter().all(|block| block.structure != structure));
    }
    assert_eq!(missing, []);
}
