use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use ocfs2_testkit::facts::{self, Facts, Kind};
use ocfs2_testkit::golden::Golden;
use ocfs2_testkit::{golden, kernel, live, require_kernel, require_tool, tools};
use sha2::{Digest as _, Sha256};

/// Calls `check` for every image, on two threads: there are many.
fn for_each_image(check: impl Fn(&Golden) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(golden) = golden::all().get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(golden)
                }
            });
        }
    });
}

#[test]
fn every_image_unpacks_to_the_bytes_its_manifest_names() {
    for_each_image(|golden| {
        let sum: String = Sha256::digest(golden.image())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(sum, golden.sha256, "{}", golden.name);
    });
}

#[test]
fn every_image_has_its_script_and_nothing_else_lies_about() {
    let names: HashSet<String> = golden::all().iter().map(|golden| golden.name.clone()).collect();
    assert_eq!(names.len(), golden::all().len(), "names are unique");
    let folder = golden::folder();
    let (mut total, mut images, mut scripts) = (0, HashSet::new(), HashSet::new());
    for entry in [folder.clone(), folder.join("scripts")]
        .into_iter()
        .flat_map(|dir| std::fs::read_dir(dir).expect("it is there"))
    {
        let entry = entry.expect("a readable folder");
        let file = entry.file_name().into_string().expect("plain names");
        if let Some(name) = file.strip_suffix(".img.zst") {
            images.insert(name.to_owned());
        } else if let Some(name) = file.strip_suffix(".facts.zst") {
            assert!(names.contains(name), "{file} belongs to no image");
        } else if let Some(name) = file.strip_suffix(".sh").filter(|&name| name != "prelude") {
            scripts.insert(name.to_owned());
        }
        if file.ends_with(".zst") {
            let length = entry.metadata().expect("a file").len();
            assert!(length <= 256 << 10, "{file} is too large");
            total += length;
        }
    }
    assert_eq!((&images, &scripts), (&names, &names));
    assert!(total < 4 << 20, "the collection has grown to {total} bytes");
}

#[test]
fn the_facts_of_every_populated_image_describe_a_tree() {
    for golden in golden::all() {
        let Some(facts) = golden.facts() else { continue };
        let root = facts.object("").expect("the root is an object");
        assert_eq!(root.kind, Kind::Dir, "{}", golden.name);
        let dirs: HashSet<_> = facts
            .objects
            .iter()
            .filter(|o| o.kind == Kind::Dir)
            .map(|o| o.path.0.as_slice())
            .collect();
        for object in &facts.objects {
            let parent = object
                .path
                .0
                .rsplitn(2, |&byte| byte == b'/')
                .nth(1)
                .unwrap_or_default();
            assert!(dirs.contains(parent), "{}: {:?}", golden.name, object.path);
            assert_eq!(
                object.kind == Kind::Symlink,
                object.target.is_some(),
                "{}: {:?}",
                golden.name,
                object.path
            );
            assert_eq!(
                object.kind == Kind::File,
                object.extents.is_some(),
                "{}: {:?}",
                golden.name,
                object.path
            );
        }
    }
}

/// Some suffice: their bytes are those of the day the manifest was written.
#[test]
fn fsck_finds_in_an_image_what_the_manifest_says() {
    if require_tool("fsck.ocfs2").is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["empty-512-4k", "xattr-512", "kinds-max-compat"] {
        let golden = golden::named(name);
        let mut problems = tools::fsck(golden.sparse_file(dir.path())).problems;
        problems.sort();
        problems.dedup();
        assert_eq!(problems, golden.fsck, "{name}");
    }
}

#[test]
fn the_kernel_still_reports_the_facts_of_an_image() {
    let Some(kernel) = require_kernel() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let golden = golden::named("kinds-1k-8k-metaecc");
    let output = kernel
        .disk(golden.sparse_file(dir.path()))
        .script(live::facts_script())
        .run()
        .expect("it ends")
        .ok();
    let lines = String::from_utf8(output.read(live::FACTS).expect("the script wrote them")).expect("JSON is text");
    assert_eq!(Some(facts::parse(&lines).expect("facts")), golden.facts());
    assert!(kernel::collector_script().contains("FS_IOC_FIEMAP"));
}

#[test]
fn a_live_population_has_every_kind_of_object_and_is_the_same_for_the_same_seed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (Some(kernel), Some(image)) = (require_kernel(), crate::kernel::make_volume(dir.path())) else {
        return;
    };
    let populate = |image: &std::path::Path| {
        let script = format!("{}\n{}", live::population_script(7, 300), live::facts_script());
        let output = kernel.clone().disk(image).script(script).run().expect("it ends").ok();
        let lines = String::from_utf8(output.read(live::FACTS).expect("the script wrote them")).expect("JSON is text");
        facts::parse(&lines).expect("facts")
    };
    let first = populate(&image);
    for kind in [
        Kind::File,
        Kind::Dir,
        Kind::Symlink,
        Kind::Char,
        Kind::Block,
        Kind::Fifo,
        Kind::Socket,
    ] {
        assert!(first.objects.iter().any(|object| object.kind == kind), "{kind:?}");
    }
    assert!(first.objects.iter().any(|object| !object.xattrs.is_empty()));

    let second = dir.path().join("second");
    std::fs::create_dir(&second).expect("a directory");
    let second = populate(&crate::kernel::make_volume(&second).expect("as before"));
    // Attributes are listed by a hash that differs from volume to volume.
    let content = |mut facts: Facts| {
        facts.objects.sort_by(|a, b| a.path.cmp(&b.path));
        facts
            .objects
            .iter_mut()
            .for_each(|object| object.xattrs.sort_by(|a, b| a.name.cmp(&b.name)));
        facts
            .objects
            .into_iter()
            .map(|o| (o.path, o.kind, o.mode, o.size, o.sha256, o.xattrs))
            .collect::<Vec<_>>()
    };
    let (first, second) = (content(first), content(second));
    assert_eq!(first.len(), second.len());
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first, second);
    }
}
