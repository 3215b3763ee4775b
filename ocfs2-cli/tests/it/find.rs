//! `ocfs2 find`, against conditions judged on what the kernel reported.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use ocfs2_testkit::facts::{Fact, Kind};
use ocfs2_testkit::golden;

use crate::run::{image, image_named, ocfs2};

/// Checks that `ocfs2 find EXPRESSION` finds just the objects that fulfil a condition, and that there are some.
#[track_caller]
fn finds(expression: &[&str], condition: impl Fn(&Fact) -> bool) {
    let golden = golden::named("kinds-4k");
    let facts = golden.facts().expect("the kernel described it");
    let image = image(golden);
    let words = [&["("], expression, &[")", "-print0"]].concat();
    let words = words.iter().map(OsStr::new);
    let said = ocfs2([OsStr::new("find"), image.as_os_str()].into_iter().chain(words));
    assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{expression:?}");
    let prefix = [image.as_os_str().as_encoded_bytes(), b":/"].concat();
    let found: BTreeSet<String> = said
        .stdout
        .split(|&byte| byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| {
            path.strip_prefix(prefix.as_slice())
                .expect("paths begin with the target")
        })
        .map(|path| path.escape_ascii().to_string())
        .collect();
    let wanted: BTreeSet<String> = facts
        .objects
        .iter()
        .filter(|fact| condition(fact))
        .map(|fact| format!("{:?}", fact.path))
        .collect();
    assert_eq!(found, wanted, "{expression:?}");
    assert!(!wanted.is_empty(), "{expression:?} proves nothing on this image");
}

fn depth(fact: &Fact) -> usize {
    if fact.path.0.is_empty() {
        0
    } else {
        1 + fact.path.0.iter().filter(|&&byte| byte == b'/').count()
    }
}

#[test]
fn types() {
    finds(&["-type", "f"], |fact| fact.kind == Kind::File);
    finds(&["-type", "d,l"], |fact| matches!(fact.kind, Kind::Dir | Kind::Symlink));
    finds(&["!", "-type", "f"], |fact| fact.kind != Kind::File);
}

#[test]
fn depths() {
    finds(&["-maxdepth", "1"], |fact| depth(fact) <= 1);
    finds(&["-mindepth", "2"], |fact| depth(fact) >= 2);
    finds(&["-mindepth", "1", "-maxdepth", "2", "-type", "d"], |fact| {
        (1..=2).contains(&depth(fact)) && fact.kind == Kind::Dir
    });
}

#[test]
fn sizes_are_rounded_up_to_the_unit() {
    finds(&["-type", "f", "-size", "+8k"], |fact| {
        fact.kind == Kind::File && fact.size.div_ceil(1024) > 8
    });
    finds(&["-type", "f", "-size", "1"], |fact| {
        fact.kind == Kind::File && fact.size.div_ceil(512) == 1
    });
    finds(&["-type", "f", "-size", "-2000c"], |fact| {
        fact.kind == Kind::File && fact.size < 2000
    });
}

#[test]
fn links_modes_and_owners() {
    finds(&["-links", "+1", "-type", "f"], |fact| {
        fact.nlink > 1 && fact.kind == Kind::File
    });
    finds(&["-perm", "644"], |fact| fact.mode == 0o644);
    finds(&["-perm", "-111"], |fact| fact.mode & 0o111 == 0o111);
    finds(&["-perm", "/6000", "-o", "-perm", "/2"], |fact| {
        fact.mode & 0o6000 != 0 || fact.mode & 2 != 0
    });
    finds(&["-user", "0"], |fact| fact.uid == 0);
    finds(&["(", "!", "-uid", "0", ")", "-o", "-gid", "+0"], |fact| {
        fact.uid != 0 || fact.gid > 0
    });
}

#[test]
fn empty_files_and_directories() {
    let golden = golden::named("kinds-4k");
    let facts = golden.facts().expect("the kernel described it");
    let parents: BTreeSet<Vec<u8>> = facts
        .objects
        .iter()
        .filter(|fact| !fact.path.0.is_empty())
        .map(|fact| {
            let end = fact.path.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            fact.path.0[..end].to_vec()
        })
        .collect();
    finds(&["-empty"], |fact| match fact.kind {
        Kind::File => fact.size == 0,
        Kind::Dir => !parents.contains(&fact.path.0),
        _ => false,
    });
}

#[test]
fn prune_skips_what_is_below() {
    finds(&["-mindepth", "1", "-type", "d", "-prune", "-o", "-true"], |fact| {
        depth(fact) == 1
    });
}

#[test]
fn quit_stops_at_the_first() {
    let image = image_named("kinds-4k");
    let said = ocfs2([
        OsStr::new("find"),
        image.as_os_str(),
        OsStr::new("-print"),
        OsStr::new("-quit"),
    ])
    .ok();
    assert_eq!(said, format!("{}:/\n", image.display()));
}

#[test]
fn mistakes_are_usage_errors() {
    for words in [
        &["image", "-nmae", "x"][..],
        &["image", "("],
        &["image", "-size", "1T"],
        &["-name", "x"],
    ] {
        let text = ocfs2(["find"].iter().chain(words)).failed(2);
        assert!(text.starts_with("ocfs2 find: "), "{text}");
    }
}
