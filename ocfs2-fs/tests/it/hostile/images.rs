//! One volume for each way in which a field of the format is known to have broken an implementation.
//!
//! [`LINES`] are the known ones that concern bytes on disk: published weaknesses of the kernel driver by their number, its
//! own checks, and what fuzzers found. Each has an image at least; the others hold the remaining rules of the reader.

mod attributes;
mod directories;
mod files;
mod volumes;

use ocfs2_format::{Dinode, FileKind, Structure, Violation};
use ocfs2_fs::{Error, SurveyOptions, Volume};

use super::base::Base;
use super::forge::Forge;

/// What is known to have broken implementations, in short.
const LINES: [&str; 42] = [
    "CVE-2026-43076 inline i_size > id_count",
    "CVE-2026-43075 inline id_count",
    "CVE-2024-50218 inline i_size of 64 bits",
    "CVE-2026-72160 i_mode",
    "i_rdev of a file",
    "size without clusters",
    "CVE-2026-74350 fast symlink",
    "CVE-2026-90205 i_orphaned_slot",
    "CVE-2026-90204 i_dio_orphaned_slot",
    "i_suballoc_slot",
    "CVE-2026-63796 bg_size, bg_bits",
    "CVE-2026-53040 bg_bits in a scan",
    "CVE-2026-53039 group added",
    "CVE-2026-31596 allocator dinode",
    "chain list counts",
    "i_used > i_total",
    "CVE-2025-68771 chains to search",
    "CVE-2025-22079 l_tree_depth",
    "l_count = 0",
    "l_count, l_next_free_rec",
    "CVE-2026-72162 rightmost record -1",
    "CVE-2026-89492 dx counts",
    "dx root list",
    "CVE-2024-41015 dirent bounds",
    "directory i_size",
    "CVE-2026-89490 directory position",
    "CVE-2024-41016 xattr bounds",
    "CVE-2024-47670 xattr entry",
    "xattr count",
    "CVE-2026-53041 many names",
    "CVE-2024-49958 inline xattr size",
    "large xattr",
    "CVE-2026-89493 refcount counts",
    "CVE-2026-80638 refcount extent",
    "refcount without location",
    "refcount without feature",
    "slot map below the superblock",
    "superblock flag",
    "superblock strings",
    "superblock fields",
    "journal",
    "quota and local alloc",
];

/// A volume to be refused or reported.
struct Case {
    /// The line that it stands for; empty for rules that are nobody's line.
    line: &'static str,
    name: &'static str,
    /// The golden images that it is made from.
    images: &'static [&'static str],
    /// What is done to it; returns the block or inode that the error must name.
    damage: fn(&Forge<'_>) -> u64,
    structure: Structure,
    /// A field that the error must name, or words of the rule.
    says: &'static str,
}

/// Shorthand for a table row.
const fn case(
    line: &'static str,
    name: &'static str,
    images: &'static [&'static str],
    structure: Structure,
    says: &'static str,
    damage: fn(&Forge<'_>) -> u64,
) -> Case {
    Case {
        line,
        name,
        images,
        damage,
        structure,
        says,
    }
}

/// Images with objects of all kinds, without checks and with them.
const KINDS: &[&str] = &["kinds-4k", "kinds-1k-8k-metaecc"];

fn all_cases() -> impl Iterator<Item = &'static Case> {
    [files::CASES, directories::CASES, attributes::CASES, volumes::CASES]
        .into_iter()
        .flatten()
}

/// All that a reader has to say about a volume.
fn errors_of(forge: &Forge<'_>) -> Vec<Error> {
    let volume = match forge.copy.open() {
        Ok(volume) => volume,
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    let mut options = SurveyOptions::default();
    options.data_bytes = 1 << 20;
    volume.survey(&options, &mut |finding| errors.push(finding.error));
    errors.extend(errors_of_walk(&volume));
    errors
}

/// The same through the interfaces that users have: a walk, and all that can be asked of each object.
fn errors_of_walk(volume: &Volume) -> Vec<Error> {
    let walk = match volume.walk("/") {
        Ok(walk) => walk,
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    for entry in walk {
        let inode = match entry {
            Ok(entry) => entry.inode,
            Err(failed) => {
                errors.push(failed.error);
                continue;
            }
        };
        errors.extend(volume.extents(&inode).err());
        errors.extend(volume.check_index(&inode).err());
        match volume.inode_xattrs(&inode) {
            Ok(xattrs) => errors.extend(
                xattrs
                    .iter()
                    .filter_map(|xattr| volume.xattr_value(&inode, xattr).err()),
            ),
            Err(error) => errors.push(error),
        }
        if inode.kind() == FileKind::Symlink {
            errors.extend(volume.link_target(&inode).err());
        }
    }
    errors
}

fn names_the_place(error: &Error, case: &Case, place: u64) -> bool {
    let Error::Corrupt(corrupt) = error else {
        // Features are no corruption; what they are named by is all there is to say.
        return case.structure == Structure::Superblock && error.to_string().contains(case.says);
    };
    let pointed_at = match &corrupt.violation {
        Violation::OutsideVolume { found, .. } | Violation::Claimed { found } | Violation::Loop { found, .. } => {
            Some(*found)
        }
        _ => None,
    };
    let placed = corrupt.at.block.is_some_and(|block| block.0 == place)
        || corrupt.at.inode.is_some_and(|inode| inode.0 == place)
        || pointed_at == Some(place);
    corrupt.structure == case.structure && placed && corrupt.violation.to_string().contains(case.says)
}

#[test]
fn each_known_way_to_break_a_reader_is_refused_or_reported_with_its_place() {
    let mut failures = Vec::new();
    for case in all_cases() {
        for image in case.images {
            let base = Base::named(image);
            let forge = Forge::new(&base);
            let place = (case.damage)(&forge);
            let errors = errors_of(&forge);
            if !errors.iter().any(|error| names_the_place(error, case, place)) {
                let found: Vec<String> = errors.iter().take(8).map(ToString::to_string).collect();
                let wanted = format!("{}: {:?} at {place}", case.structure, case.says);
                failures.push(format!("{image}: {}: wanted {wanted}, found {found:#?}", case.name));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn every_line_has_an_image() {
    for line in LINES {
        assert!(all_cases().any(|case| case.line == line), "{line}");
    }
    for case in all_cases() {
        assert!(case.line.is_empty() || LINES.contains(&case.line), "{}", case.line);
    }
}

#[test]
fn strings_of_the_superblock_end_with_their_field() {
    let base = Base::named("empty-clusterinfo");
    let forge = Forge::new(&base);
    forge.edit::<Dinode>(
        Structure::Superblock,
        |_| true,
        |dinode| {
            let superblock = dinode.super_block_mut();
            superblock.s_label = [b'x'; 64];
            superblock.s_cluster_info.ci_cluster = [b'y'; 16];
        },
    );
    let volume = forge.copy.open().expect("a label is no reason to refuse a volume");
    assert_eq!(volume.superblock().label(), [b'x'; 64]);
    assert_eq!(volume.superblock().s_cluster_info.cluster(), [b'y'; 16]);
}
