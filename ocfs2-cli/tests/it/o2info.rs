//! `o2info` and `mounted`, against the reference tools on loop devices.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use ocfs2_testkit::tools::reference;
use ocfs2_testkit::{require_kernel, require_tool};

use crate::run::{PROGRAM, image_named, ocfs2};

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
            &["--freeinode", "--volinfo", "--fs-features"],
        ] {
            let theirs = reference("o2info").args(operation).arg(&device.0).run().ok();
            let ours = ocfs2([&["o2info"], operation, &[image.to_str().expect("a name in UTF-8")]].concat()).ok();
            // The reference ends the list of --mkfs with a comma where the last set of features is empty.
            let theirs = theirs.stdout.replace(", -L", " -L").replace(",  \n", "  \n");
            assert_eq!(ours, theirs, "{name} {operation:?}");
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
        for mode in ["-d", "-f", "-dv"] {
            let theirs = reference("mounted.ocfs2").args([mode, image]).run().ok();
            let ours = ocfs2(["mounted", mode, image]);
            assert_eq!(ours.status, 0, "{name} {mode}");
            assert_eq!(String::from_utf8_lossy(&ours.stdout), theirs.stdout, "{name} {mode}");
            assert_eq!(ours.stderr, theirs.stderr, "{name} {mode}");
        }
    }
}

#[test]
fn mounted_tells_kinds_of_clusters_apart_as_the_reference_does() {
    if require_tool("mounted.ocfs2").is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, options) in [
        ("local", "-M local -L label"),
        ("classic", "-L label"),
        ("global", "--cluster-stack=o2cb --cluster-name=mycl --global-heartbeat"),
        ("foreign", "--cluster-stack=pcmk --cluster-name=other"),
        (
            "heartbeat",
            "-H --cluster-stack=o2cb --cluster-name=mycl --global-heartbeat",
        ),
    ] {
        let path = dir.path().join(name);
        std::fs::File::create(&path)
            .and_then(|file| file.set_len(32 << 20))
            .expect("a file");
        let image = path.to_str().expect("a name in UTF-8");
        let words = ["mkfs", "-q", "-N", "1"].into_iter().chain(options.split_whitespace());
        assert_eq!(ocfs2(words.chain([image])).status, 0, "{options}");
        for mode in ["-d", "-f", "-df", "-fd"] {
            let theirs = reference("mounted.ocfs2").args([mode, image]).run().ok();
            assert_eq!(ocfs2(["mounted", mode, image]).ok(), theirs.stdout, "{name} {mode}");
        }
    }
}

/// A cluster of one node, which mounts a volume; then both programs are asked, about the device and about all there are.
const MEMBER: &str = r#"
C=/sys/kernel/config/cluster/mycl
mount -t tmpfs t /etc/ocfs2 || exit 1
printf 'cluster:\n\tname = mycl\n\tnode_count = 1\n\nnode:\n\tcluster = mycl\n\tnumber = 3\n\tip_port = 7777\n\tip_address = 127.0.0.1\n\tname = somenode\n\n' > /etc/ocfs2/cluster.conf
mkdir $C $C/node/somenode && cd $C/node/somenode || exit 1
echo 7777 > ipv4_port; echo 127.0.0.1 > ipv4_address; echo 3 > num; echo 1 > local; cd /
mount.ocfs2 /dev/ubda /mnt/a || exit 1
for words in "-d /dev/ubda" "-f /dev/ubda" "-d" "-f"; do
    mounted.ocfs2 $words > $OUT/theirs 2>&1
    $O mounted $words > $OUT/ours 2>&1
    cmp -s $OUT/theirs $OUT/ours || { echo "== $words"; diff $OUT/theirs $OUT/ours; }
done
grep -c somenode $OUT/ours
umount /mnt/a
"#;

#[test]
fn mounted_names_the_nodes_that_have_a_volume_mounted() {
    let (Some(kernel), Some(_)) = (require_kernel(), require_tool("mounted.ocfs2")) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("clustered.img");
    std::fs::File::create(&image)
        .and_then(|file| file.set_len(64 << 20))
        .expect("a file");
    let options = ["mkfs", "-q", "-N", "2", "-b", "4K", "-L", "clustered"].map(OsStr::new);
    ocfs2(options.into_iter().chain([image.as_os_str()])).ok();
    let output = kernel
        .disk(&image)
        .script(format!("O={PROGRAM}\n{MEMBER}"))
        .run()
        .expect("the kernel finishes the script");
    assert_eq!(output.stdout, "1\n");
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

/// Asks for files of a mounted volume, first the reference and then the program given as `$O`.
const LIVE: &str = r#"
mount -t ocfs2 /dev/ubda /mnt/a && cd /mnt/a || exit 1
python3 - <<'PY'
import os
a, b = (os.open(name, os.O_CREAT | os.O_RDWR) for name in ("frag-a", "frag-b"))
for i in range(20):
    os.pwrite(a, b"x" * 4096, i * 8192)
    os.fsync(a)
    os.pwrite(b, b"y" * 9000, i * 16384)
    os.fsync(b)
open("little", "wb").write(b"z")
PY
fallocate -l 300000 unwritten; cp --reflink=always frag-a shared; : > empty; mkdir directory; sync
# Times of nine digits: the reference shows others without their leading zeros.
touch -d '2001-02-03 04:05:06.123456789' frag-a frag-b little unwritten shared empty directory
sleep 1.1
for file in frag-a frag-b little unwritten shared empty directory; do
    chmod u+x $file
    while stat -c %z $file | grep -q '\.0'; do
        chmod u+x $file
    done
done
same() {
    o2info "$@" > $OUT/theirs 2>&1
    $O o2info "$@" > $OUT/ours 2>&1
    cmp -s $OUT/theirs $OUT/ours || { echo "== $*"; diff $OUT/theirs $OUT/ours; }
}
for file in frag-a frag-b little unwritten shared empty directory; do
    same --filestat --space-usage $file
    head -9 $OUT/theirs > $OUT/$file.stat
done
same --volinfo --freeinode --freefrag 0 --mkfs --fs-features directory
same -C --volinfo --freeinode --freefrag 0 --mkfs --fs-features .
$O o2info --volinfo /proc && echo "/proc is no ocfs2 volume"
cd /; umount /mnt/a
"#;

#[test]
fn o2info_asks_the_kernel_about_a_mounted_volume_and_agrees_with_the_reference() {
    let (Some(kernel), Some(_)) = (require_kernel(), require_tool("o2info")) else {
        return;
    };
    let Some(mkfs) = require_tool("mkfs.ocfs2") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("live.img");
    std::fs::File::create(&image)
        .and_then(|file| file.set_len(100 << 20))
        .expect("a file");
    mkfs.args(["-x", "-q", "-M", "local", "-b", "4096", "-C", "4096", "-J", "size=4M"])
        .arg(&image)
        .run()
        .ok();
    let output = kernel
        .disk(&image)
        .script(format!("O={PROGRAM}\n{LIVE}"))
        .run()
        .expect("the kernel finishes the script");
    assert_eq!(
        output
            .stdout
            .lines()
            .filter(|line| !line.starts_with("ocfs2 o2info: /proc: "))
            .collect::<Vec<_>>(),
        [""; 0]
    );

    // The same from the image, but for the device and the path to the file.
    for file in [
        "frag-a",
        "frag-b",
        "little",
        "unwritten",
        "shared",
        "empty",
        "directory",
    ] {
        let theirs =
            String::from_utf8(output.read(&format!("{file}.stat")).expect("the reference's answer")).expect("text");
        let ours = ocfs2(["o2info", "--filestat", &format!("{}:/{file}", image.display())]).ok();
        let comparable = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with("  File:"));
            lines
                .map(|line| {
                    line.split_once('\t')
                        .filter(|_| line.starts_with("Device:"))
                        .map_or(line, |(_, rest)| rest)
                        .to_owned()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(comparable(&ours), comparable(&theirs), "{file}");
    }
}
