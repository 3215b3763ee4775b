//! What commands print, for machines without the reference: transcripts of debugfs.ocfs2 1.8.7, and JSON.
//!
//! A transcript is what the reference printed for the script made of its own command lines, with `TZ=UTC`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ocfs2_testkit::golden;

use super::{debugfs, json, request};
use crate::run::{image, image_named};

#[test]
fn transcripts_of_the_reference_are_reproduced() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/debugfs/transcripts");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).expect("the transcripts") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a plain name");
        let transcript = fs::read_to_string(&path).expect("a transcript");
        let script: String = transcript
            .lines()
            .filter_map(|line| line.strip_prefix("debugfs: "))
            .flat_map(|line| [line, "\n"])
            .collect();
        let said = debugfs(&[], &image_named(name), &script);
        let ours = String::from_utf8_lossy(&said.stdout);
        let difference = transcript
            .lines()
            .zip(ours.lines())
            .find(|(theirs, ours)| theirs != ours);
        assert!(transcript == ours, "{name}: {difference:?}");
        seen += 1;
    }
    assert!(seen >= 4);
}

#[test]
fn every_command_has_a_json_document() {
    let image = image_named("refcount-512-metaecc");
    let help = json(&image, "help");
    let commands = help["commands"].as_array().expect("commands");
    assert!(commands.len() >= 38);
    let root = json(&image, "stats")["super"]["s_root_blkno"]
        .as_u64()
        .expect("a block");
    let entries = json(&image, &format!("ls <{root}>"));
    let of_kind = |kind: u64| {
        let mut entries = entries["entries"].as_array().expect("entries").iter();
        let entry =
            entries.find(|entry| entry["file_type"] == kind && !entry["name"].as_str().unwrap().starts_with('.'));
        format!("<{}>", entry.expect("an entry")["inode"])
    };
    let (file, dir) = (of_kind(1), of_kind(2));
    let group = json(&image, "stat //global_bitmap")["chain_list"]["cl_recs"][0]["c_blkno"].to_string();
    let temp = tempfile::tempdir().expect("a directory");
    let to = temp.path().display().to_string();
    let mut shown = BTreeSet::new();
    for command in commands {
        let name = command["names"][0].as_str().expect("a name");
        let operands = match name {
            "bmap" => format!("{file} 0"),
            "cat" | "encode" | "frag" | "refcount" | "stat" | "xattr" => file.clone(),
            "cd" | "chroot" | "ls" | "dirblocks" => format!("<{root}>"),
            "decode" => "<M000000000000000000001100000000>".to_owned(),
            "dump" => format!("{file} {to}/file"),
            "rdump" => format!("{dir} {to}"),
            "dx_dump" | "dx_space" => format!("<{root}>"),
            "findpath" | "locate" => dir.clone(),
            "group" | "grpextents" => format!("<{group}>"),
            "icheck" => "2 8 9".to_owned(),
            "logdump" => "0".to_owned(),
            "open" => image.display().to_string(),
            // These need more than this volume, or have tests of their own.
            "quit" | "controld" | "dlm_locks" | "fs_locks" | "net_stats" | "dx_leaf" | "dx_root" | "extent" => continue,
            _ => String::new(),
        };
        let said = debugfs(&["--json", "-R", &format!("{name} {operands}")], &image, "");
        if said.stderr.contains("is not indexed") {
            continue;
        }
        assert_eq!(said.stderr, "", "{name} {operands}");
        let document: serde_json::Value = serde_json::from_slice(&said.stdout).expect(name);
        assert_eq!((&document["schema"], &document["command"]), (&1.into(), &name.into()));
        shown.insert(name.to_owned());
    }
    assert!(shown.len() >= 30, "{shown:?}");
}

#[test]
fn json_of_trees_holds_what_the_text_shows() {
    let image = image_named("extents-512");
    let entries = json(&image, "ls /");
    let mut deep = 0;
    for entry in entries["entries"].as_array().expect("entries") {
        let number = entry["inode"].as_u64().expect("a number");
        let stat = json(&image, &format!("stat <{number}>"));
        let text = request(&image, &format!("stat <{number}>"));
        let blocks = stat["extent_blocks"].as_array().map_or(0, Vec::len);
        assert_eq!(text.matches("\tBlknum: ").count(), blocks, "{number}");
        deep += blocks;
        let records = |list: &serde_json::Value| list["l_recs"].as_array().map_or(0, Vec::len);
        let all: usize = stat["extent_blocks"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|block| records(&block["h_list"]))
            .sum();
        let rows = text
            .lines()
            .filter(|line| line.starts_with('\t') && line.as_bytes()[1].is_ascii_digit())
            .count();
        assert_eq!(rows, all + records(&stat["extent_list"]), "{number}");
    }
    assert!(deep > 10, "the image has trees");
}

#[test]
fn json_of_attributes_has_the_names_that_the_table_leaves_out() {
    let image = image_named("xattr-4k");
    let facts = golden::named("xattr-4k").facts().expect("facts");
    let mut compared = 0;
    for object in facts.objects.iter().filter(|object| !object.xattrs.is_empty()) {
        let Ok(path) = std::str::from_utf8(&object.path.0) else {
            continue;
        };
        let shown = json(&image, &format!("xattr \"/{path}\""));
        let total = shown["total"].as_u64().expect("a count");
        let text = shown.to_string();
        for xattr in &object.xattrs {
            let name = String::from_utf8_lossy(&xattr.name.0).into_owned();
            assert!(
                text.contains(&serde_json::Value::from(name.as_str()).to_string()),
                "{path}: {name}"
            );
            compared += 1;
        }
        assert!(total >= object.xattrs.len() as u64, "{path}");
    }
    assert!(compared > 50, "{compared}");
}

#[test]
fn every_block_in_use_has_an_owner() {
    // Of a sound volume, icheck knows every block; the reference does not know those of attributes, indexes and refcounts.
    for name in [
        "kinds-4k",
        "xattr-4k",
        "refcount-4k",
        "discontig-4k",
        "dirs-4k",
        "crash-4k",
    ] {
        let path = image_named(name);
        let stats = json(&path, "stats");
        let shift = stats["super"]["s_clustersize_bits"].as_u64().unwrap()
            - stats["super"]["s_blocksize_bits"].as_u64().unwrap();
        let blocks = stats["i_clusters"].as_u64().unwrap() << shift;
        let list: Vec<_> = (0..blocks).map(|block| block.to_string()).collect();
        let said = debugfs(&["--json"], &path, &format!("icheck {}\nquit\n", list.join(" ")));
        assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{name}");
        let uses: serde_json::Value = serde_json::from_slice(&said.stdout).expect("a document");
        let uses = uses["blocks"].as_array().expect("blocks");
        assert_eq!(uses.len() as u64, blocks, "{name}");
        let unknown: Vec<_> = uses.iter().filter(|usage| usage["use"] == "unknown").collect();
        assert!(
            unknown.is_empty(),
            "{name}: {} unknown, such as {}",
            unknown.len(),
            unknown[0]
        );
    }
}

#[test]
fn cat_gives_text_and_json_the_same_bytes() {
    use base64::Engine;
    let image = image_named("kinds-4k");
    let entries = json(&image, "ls -l /");
    for entry in entries["entries"].as_array().expect("entries") {
        if entry["file_type"] != 1 || entry["i_size"].as_u64() > Some(1 << 20) {
            continue;
        }
        let request = format!("cat <{}>", entry["inode"]);
        let plain = debugfs(&["-R", &request], &image, "");
        let data = json(&image, &request);
        let decoded = base64::engine::general_purpose::STANDARD.decode(data["data"].as_str().expect("text"));
        assert_eq!(decoded.expect("base64"), plain.stdout, "{request}");
        assert_eq!(data["size"], plain.stdout.len(), "{request}");
    }
}

#[test]
fn a_packed_image_shows_the_metadata_of_its_volume() {
    let Some(o2image) = ocfs2_testkit::require_tool("o2image") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["kinds-512-metaecc", "kinds-4k", "empty-backup-super"] {
        let original = image(golden::named(name));
        let packed = dir.path().join(format!("{name}.o2i"));
        o2image.clone().arg(&original).arg(&packed).stdin("y\ny\n").run().ok();
        for command in ["stats", "ls -l //", "ls -l /", "stat //global_bitmap", "logdump 0"] {
            let said = debugfs(&["-i", "-R", command], &packed, "");
            assert_eq!(
                String::from_utf8_lossy(&said.stdout),
                request(&original, command),
                "{name}: {command}"
            );
        }
        let said = debugfs(&["-R", "stats"], &packed, "");
        assert!(said.stderr.contains("packed"), "{said:?}");
    }
}

#[test]
fn partitions_of_an_image_are_volumes_too() {
    use std::io::{Seek, SeekFrom, Write};
    let dir = tempfile::tempdir().expect("a directory");
    let disk = dir.path().join("disk");
    let volume = golden::named("empty-512-4k").image();
    let mut file = fs::File::create(&disk).expect("a disk");
    // A table with one partition at sector 2048.
    let mut sector = [0; 512];
    let sectors = (volume.len() / 512) as u32;
    sector[446 + 4] = 0x83;
    sector[446 + 8..446 + 12].copy_from_slice(&2048u32.to_le_bytes());
    sector[446 + 12..446 + 16].copy_from_slice(&sectors.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    file.write_all(&sector).expect("a table");
    file.seek(SeekFrom::Start(2048 * 512)).expect("a place");
    file.write_all(&volume).expect("a volume");
    let said = debugfs(&["--partition", "1", "-R", "stats"], &disk, "");
    let alone = request(&image_named("empty-512-4k"), "stats");
    assert_eq!(String::from_utf8_lossy(&said.stdout), alone);
}
