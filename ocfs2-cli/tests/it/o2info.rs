//! `o2info` and `mounted`, against the reference tools on loop devices.

use std::path::{Path, PathBuf};
use std::process::Command;

use ocfs2_testkit::require_tool;
use ocfs2_testkit::tools::reference;

use crate::run::{image_named, ocfs2};

/// An image as a block device, which is all that the reference o2info reads.
struct Loop(PathBuf);

impl Loop {
    fn over(image: &Path) -> Option<Loop> {
        let output = Command::new("losetup")
            .args(["-f", "--show", "-r"])
            .arg(image)
            .output()
            .ok()?;
        let name = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| Loop(name.trim_end().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // Nothing can be done about a loop device that will not go.
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

const IMAGES: &[&str] = &[
    "kinds-4k",
    "kinds-1k-8k-metaecc",
    "kinds-4k-1m",
    "kinds-max-compat",
    "discontig-512-metaecc",
];

#[test]
fn o2info_prints_of_an_image_what_the_reference_prints_of_a_device() {
    if require_tool("o2info").is_none() {
        return;
    }
    for name in IMAGES {
        let image = image_named(name);
        let Some(device) = Loop::over(&image) else {
            eprintln!("skipped: no loop devices here");
            return;
        };
        for operation in [
            &["--fs-features"][..],
            &["--volinfo"],
            &["--mkfs"],
            &["--freeinode"],
            &["--freefrag", "0"],
            &["--volinfo", "--freeinode"],
        ] {
            let theirs = reference("o2info").args(operation).arg(&device.0).run().ok();
            let ours = ocfs2([&["o2info"], operation, &[image.to_str().expect("a name in UTF-8")]].concat()).ok();
            // The reference ends the list of --mkfs with a comma where the last set of features is empty.
            assert_eq!(ours, theirs.stdout.replace(", -L", " -L"), "{name} {operation:?}");
        }
    }
}

#[test]
fn chunks_are_counted_exactly() {
    let image = image_named("kinds-4k");
    let said = ocfs2([
        "o2info",
        "--json",
        "--freefrag",
        "64",
        image.to_str().expect("a name in UTF-8"),
    ])
    .ok();
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let free = &report["freefrag"];
    assert_eq!(
        free["chunks"]["total"], 1024,
        "a volume of 64 MiB has 1024 chunks of 64 KiB: {said}"
    );
    let clusters: u64 = free["histogram"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| c["clusters"].as_u64().unwrap())
        .sum();
    assert_eq!(free["free_clusters"], clusters);
}

#[test]
fn chunk_smaller_than_a_cluster_or_odd_ends_with_255_and_says_why() {
    let image = image_named("kinds-4k-1m");
    for chunk in ["3", "64"] {
        let text = ocfs2(["o2info", "--freefrag", chunk, image.to_str().expect("a name in UTF-8")]).failed(255);
        assert!(text.contains("1024 KiB"), "{text}");
    }
}

#[test]
fn filestat_and_space_usage_agree_with_what_the_kernel_mapped() {
    let golden = ocfs2_testkit::golden::named("refcount-4k");
    let image = image_named("refcount-4k");
    let facts = golden.facts().expect("the kernel's report");
    let mut shared_seen = false;
    for fact in &facts.objects {
        let Some(extents) = &fact.extents else { continue };
        let Ok(path) = std::str::from_utf8(&fact.path.0) else {
            continue;
        };
        let target = format!("{}:/{path}", image.display());
        let said = ocfs2(["o2info", "--json", "--filestat", "--space-usage", &target]).ok();
        let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let sum = |flag: u32| {
            let marked = extents.iter().filter(|extent| extent.flags & flag != 0);
            marked.map(|extent| extent.length / 4096).sum::<u64>()
        };
        let usage = &report["space_usage"];
        assert_eq!(usage["sectors"], fact.blocks, "{path}");
        assert_eq!(usage["shared"], sum(ocfs2_testkit::facts::ExtentFact::SHARED), "{path}");
        assert_eq!(
            usage["unwritten"],
            sum(ocfs2_testkit::facts::ExtentFact::UNWRITTEN),
            "{path}"
        );
        assert_eq!(report["filestat"]["usage"], *usage, "{path}");
        shared_seen |= usage["shared"] != 0;
    }
    assert!(shared_seen, "the image shares clusters");
}

#[test]
fn mounted_lists_image_files_as_the_reference_does() {
    if require_tool("mounted.ocfs2").is_none() {
        return;
    }
    for name in ["kinds-4k", "kinds-max-compat", "crash-4k"] {
        let image = image_named(name);
        let image = image.to_str().expect("a name in UTF-8");
        for mode in ["-d", "-f"] {
            let theirs = reference("mounted.ocfs2").args([mode, image]).run().ok();
            let ours = ocfs2(["mounted", mode, image]).ok();
            let blanks = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
            assert_eq!(blanks(&ours), blanks(&theirs.stdout), "{name} {mode}");
        }
    }
}

#[test]
fn mounted_passes_over_what_is_no_volume() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("plain");
    std::fs::write(&file, vec![0; 1 << 20]).expect("a file");
    let said = ocfs2(["mounted".as_ref(), "-d".as_ref(), file.as_os_str()]).ok();
    assert_eq!(said.lines().count(), 1, "{said}");
    let said = ocfs2(["mounted", "--json", "-d", "/nonexistent"]).ok();
    assert_eq!(said.replace(char::is_whitespace, ""), r#"{"schema":1,"volumes":[]}"#);
}
