//! The commands that show what is in a volume, against what the kernel reported from its mount of the same volume.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use ocfs2_testkit::facts::{Fact, Kind};
use ocfs2_testkit::golden::{self, Golden};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::run::{Said, image, image_named, ocfs2};

/// Calls `check` with every golden image that the kernel described.
fn for_each_golden(check: impl Fn(&Golden, &Path, &[Fact])) {
    // What the kernel said of crash-dio it said after cutting off an interrupted direct append.
    for golden in golden::all().iter().filter(|golden| golden.name != "crash-dio") {
        if let Some(facts) = golden.facts() {
            check(golden, &image(golden), &facts.objects);
        }
    }
}

/// `IMAGE:/path`.
fn at(image: &Path, path: &[u8]) -> OsString {
    let mut text = image.as_os_str().to_owned();
    text.push(":/");
    text.push(OsString::from_vec(path.to_vec()));
    text
}

/// A list in a JSON document of schema 1.
fn list(document: &str, name: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(document).expect("the output is one JSON document");
    assert_eq!(document["schema"], 1);
    document[name].as_array().expect(name).clone()
}

/// The bytes of a path in a JSON document.
fn path_of(entry: &Value) -> Vec<u8> {
    match entry["path_hex"].as_str() {
        None => entry["path"].as_str().expect("a path").as_bytes().to_vec(),
        Some(hex) => {
            let digit = |c: u8| char::from(c).to_digit(16).expect("a hexadecimal digit") as u8;
            hex.as_bytes()
                .chunks(2)
                .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
                .collect()
        }
    }
}

fn time(entry: &Value, name: &str) -> (i64, u32) {
    let part = |part: &str| entry[name][part].as_i64().expect("a number");
    (part("seconds"), part("nanoseconds") as u32)
}

#[test]
fn ls_shows_every_object_as_the_kernel_sees_it() {
    for_each_golden(|golden, image, facts| {
        let name = &golden.name;
        let said = ocfs2(["ls".as_ref(), "-ARU".as_ref(), "--json".as_ref(), image.as_os_str()]).ok();
        let entries: BTreeMap<Vec<u8>, Value> = list(&said, "entries")
            .into_iter()
            .map(|entry| (path_of(&entry), entry))
            .collect();
        // The root itself is not among them.
        assert_eq!(entries.len(), facts.len() - 1, "{name}");
        for fact in facts.iter().filter(|fact| !fact.path.0.is_empty()) {
            let what = format!("{name}: {:?}", fact.path);
            let entry = &entries[&[b"/", fact.path.0.as_slice()].concat()];
            let number = |field: &str| entry[field].as_u64().expect(field);
            assert_eq!(number("inode"), fact.ino, "{what}");
            assert_eq!(number("mode") & 0o7777, u64::from(fact.mode), "{what}");
            assert_eq!(number("uid"), u64::from(fact.uid), "{what}");
            assert_eq!(number("gid"), u64::from(fact.gid), "{what}");
            assert_eq!(number("links"), u64::from(fact.nlink), "{what}");
            assert_eq!(number("size"), fact.size, "{what}");
            assert_eq!(number("blocks"), fact.blocks, "{what}");
            assert_eq!(time(entry, "accessed"), fact.atime, "{what}");
            assert_eq!(time(entry, "modified"), fact.mtime, "{what}");
            assert_eq!(time(entry, "changed"), fact.ctime, "{what}");
            let kind = match fact.kind {
                Kind::File => "file",
                Kind::Dir => "directory",
                Kind::Symlink => "symlink",
                Kind::Char => "char-device",
                Kind::Block => "block-device",
                Kind::Fifo => "fifo",
                Kind::Socket => "socket",
            };
            assert_eq!(entry["type"], kind, "{what}");
            let device = entry
                .get("device")
                .map(|device| (device["major"].as_u64(), device["minor"].as_u64()));
            assert_eq!(
                device,
                fact.rdev.map(|(major, minor)| (Some(major.into()), Some(minor.into()))),
                "{what}"
            );
            let target = fact
                .target
                .as_ref()
                .map(|target| String::from_utf8_lossy(&target.0).into_owned());
            assert_eq!(entry.get("target").and_then(Value::as_str), target.as_deref(), "{what}");
        }
    });
}

#[test]
fn cat_prints_the_contents_that_the_kernel_read() {
    for_each_golden(|golden, image, facts| {
        let files = facts.iter().filter_map(|fact| Some((fact, fact.sha256.as_ref()?)));
        for (fact, sum) in files.step_by(10).take(15) {
            let said = ocfs2(["cat".into(), at(image, &fact.path.0)]);
            assert_eq!(
                (said.status, said.stderr.as_str()),
                (0, ""),
                "{}: {:?}",
                golden.name,
                fact.path
            );
            assert_eq!(
                Sha256::digest(&said.stdout).as_slice(),
                sum.0,
                "{}: {:?}",
                golden.name,
                fact.path
            );
        }
    });
}

#[test]
fn xattr_shows_the_attributes_that_the_kernel_lists() {
    for_each_golden(|golden, image, facts| {
        let with_xattrs: Vec<&Fact> = facts.iter().filter(|fact| !fact.xattrs.is_empty()).take(100).collect();
        if with_xattrs.is_empty() {
            return;
        }
        let targets = with_xattrs.iter().map(|fact| at(image, &fact.path.0));
        let said = ocfs2(["xattr".into(), "--json".into()].into_iter().chain(targets)).ok();
        for (fact, file) in with_xattrs.iter().zip(list(&said, "files")) {
            let what = format!("{}: {:?}", golden.name, fact.path);
            let ours: BTreeMap<String, Value> = file["xattrs"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|xattr| (xattr["name"].as_str().expect("a name").to_owned(), xattr.clone()))
                .collect();
            assert_eq!(ours.len(), fact.xattrs.len(), "{what}");
            for xattr in &fact.xattrs {
                let name = String::from_utf8_lossy(&xattr.name.0);
                let found = &ours[name.as_ref()];
                if name.starts_with("system.") {
                    assert!(!found["acl"].as_array().expect("an ACL").is_empty(), "{what}: {name}");
                    continue;
                }
                assert_eq!(found["size"].as_u64(), Some(xattr.size), "{what}: {name}");
                if let (Some(value), Some(text)) = (&xattr.value, found["value"].as_str()) {
                    assert_eq!(text.as_bytes(), value.0, "{what}: {name}");
                }
            }
        }
    });
}

#[test]
fn du_sums_up_the_blocks_that_the_kernel_counts() {
    for_each_golden(|golden, image, facts| {
        let said = ocfs2(["du".as_ref(), "-s".as_ref(), "--json".as_ref(), image.as_os_str()]).ok();
        let once: BTreeMap<u64, u64> = facts.iter().map(|fact| (fact.ino, fact.blocks)).collect();
        let entries = list(&said, "entries");
        assert_eq!(
            entries[0]["bytes"].as_u64(),
            Some(once.values().sum::<u64>() * 512),
            "{}",
            golden.name
        );
        assert_eq!(entries.len(), 1, "{}", golden.name);
    });
}

#[test]
fn df_counts_the_clusters_of_the_volume() {
    for_each_golden(|golden, image, _| {
        let said = ocfs2(["df".as_ref(), "--json".as_ref(), image.as_os_str()]).ok();
        let volume = &list(&said, "volumes")[0];
        let number = |field: &str| volume[field].as_u64().expect(field);
        assert_eq!(
            number("cluster_size"),
            u64::from(golden.cluster_size),
            "{}",
            golden.name
        );
        assert_eq!(
            number("bytes"),
            golden.size / number("cluster_size") * number("cluster_size"),
            "{}",
            golden.name
        );
        assert_eq!(
            number("used_bytes") + number("free_bytes"),
            number("bytes"),
            "{}",
            golden.name
        );
        if !golden.dirty_slots.is_empty() {
            // The kernel counted after it had recovered the window of the slot's local alloc.
            return;
        }
        let statfs = golden
            .facts()
            .and_then(|facts| facts.volume)
            .expect("the kernel said so");
        assert_eq!(number("free_bytes"), statfs.bfree * statfs.frsize, "{}", golden.name);
    });
}

#[test]
fn stat_counts_extents_as_fiemap_does() {
    for_each_golden(|golden, image, facts| {
        const FIEMAP_EXTENT_DATA_INLINE: u32 = 0x200;
        let outside = |fact: &&Fact| {
            fact.extents
                .as_ref()
                .is_some_and(|all| all.iter().all(|extent| extent.flags & FIEMAP_EXTENT_DATA_INLINE == 0))
        };
        let files: Vec<&Fact> = facts.iter().filter(outside).take(50).collect();
        if files.is_empty() {
            return;
        }
        let targets = files.iter().map(|fact| at(image, &fact.path.0));
        let said = ocfs2(["stat".into(), "--json".into()].into_iter().chain(targets)).ok();
        for (fact, file) in files.iter().zip(list(&said, "files")) {
            let extents = fact.extents.as_ref().map_or(0, Vec::len);
            assert_eq!(
                file["extents"].as_u64(),
                Some(extents as u64),
                "{}: {:?}",
                golden.name,
                fact.path
            );
        }
    });
}

#[test]
fn tree_counts_directories_and_files() {
    for_each_golden(|golden, image, facts| {
        let said = ocfs2(["tree".as_ref(), "-a".as_ref(), image.as_os_str()]).ok();
        let dirs = facts.iter().filter(|fact| fact.kind == Kind::Dir).count() - 1;
        let files = facts.len() - 1 - dirs;
        let last = said.lines().last().expect("a summary");
        assert_eq!(
            last.replace("directories", "directory"),
            format!("{dirs} directory, {files} files"),
            "{}",
            golden.name
        );
    });
}

#[test]
fn a_target_that_is_not_there_is_reported_and_the_others_are_shown() {
    let image = image_named("kinds-4k");
    for verb in ["ls", "stat", "xattr", "tree", "du"] {
        let said: Said = ocfs2([verb.into(), at(&image, b"nowhere"), at(&image, b"lost+found")]);
        assert_eq!(said.status, 1, "{verb}: {said:?}");
        assert_eq!(
            said.stderr,
            format!(
                "ocfs2 {verb}: {}:/nowhere: no such file or directory\n",
                image.display()
            ),
            "{verb}"
        );
    }
}

#[test]
fn system_files_are_reached_behind_two_slashes() {
    let image = image_named("kinds-4k");
    let names = ocfs2(["ls".into(), at(&image, b"/")]).ok();
    assert!(names.lines().any(|name| name == "global_bitmap"), "{names}");
    let said = ocfs2(["stat".into(), "-c".into(), "%s".into(), at(&image, b"/global_bitmap")]).ok();
    assert_eq!(said.trim().parse(), Ok(64u64 << 20));
    let said = ocfs2(["du".into(), "-s".into(), at(&image, b"/orphan_dir:0000")]).ok();
    assert!(said.ends_with("://orphan_dir:0000\n"), "{said}");
}
