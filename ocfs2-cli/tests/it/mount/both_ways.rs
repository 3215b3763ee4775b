//! What is written through a mount of ours is what the kernel driver finds, and the other way round: the same names, bytes,
//! attributes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ocfs2_testkit::facts::{self, Facts, Kind};
use ocfs2_testkit::kernel::kit;
use ocfs2_testkit::tools::{Tool, fsck};
use ocfs2_testkit::{live, require_kernel, require_root, require_tool};

use crate::mount::{Bed, umount};

/// Objects made.
const COUNT: &str = "600";

/// Features that the volumes are made with.
const FEATURES: &[&[&str]] = &[
    &[
        "-M",
        "local",
        "-b",
        "4K",
        "-C",
        "4K",
        "--fs-features=indexed-dirs,inline-data,xattr,refcount,metaecc",
    ],
    &[
        "-M",
        "local",
        "-b",
        "1K",
        "-C",
        "32K",
        "--fs-features=noinline-data,noindexed-dirs,xattr,norefcount",
    ],
];

/// What our mount shows, asked by the program that asks the kernel.
fn our_facts(bed: &Bed, python: &Tool, scripts: &Path) -> Facts {
    bed.mount(&["-o", "ro,noatime"]);
    let said = python.clone().arg(scripts.join("facts.py")).arg(bed.point()).run().ok();
    umount([bed.point().as_os_str()]).ok();
    facts::parse(&said.stdout).expect("the collector writes facts")
}

/// What the kernel shows, after a script.
fn kernel_facts(bed: &Bed, before: &str) -> Facts {
    let kernel = require_kernel()
        .expect("asked for before")
        .timeout(Duration::from_secs(600));
    let script = format!("{before}\n{}", live::facts_script());
    let output = kernel
        .disk(bed.image())
        .script(script)
        .run()
        .expect("the kernel finishes")
        .ok();
    let lines = output.read(live::FACTS).expect("the script wrote them");
    facts::parse(&String::from_utf8(lines).expect("JSON is text")).expect("the collector writes facts")
}

/// Fails unless both tell the same, but for what FUSE has no question for.
fn compare(ours: &Facts, kernel: &Facts) {
    assert_eq!(ours.objects.len(), kernel.objects.len());
    for (ours, kernel) in ours.objects.iter().zip(&kernel.objects) {
        let (mut ours, mut kernel) = (ours.clone(), kernel.clone());
        // FIEMAP does not reach a file system in user space.
        kernel.extents = None;
        // Nobody promises an order of attributes.
        for fact in [&mut ours, &mut kernel] {
            fact.xattrs.sort_by(|one, other| one.name.cmp(&other.name));
            // The driver does not list those of special files, which inherit access lists, too.
            if !matches!(fact.kind, Kind::File | Kind::Dir | Kind::Symlink) {
                fact.xattrs.clear();
            }
        }
        assert_eq!(ours, kernel);
    }
    assert_eq!(ours.volume, kernel.volume);
}

#[test]
fn each_side_finds_what_the_other_has_written() {
    if require_kernel().is_none() || !require_root() {
        return;
    }
    let Some(python) = require_tool("python3") else { return };
    for features in FEATURES {
        let Some(bed) = Bed::new(features) else { return };
        let scripts = bed.dir().join("scripts");
        fs::create_dir(&scripts).expect("a directory");
        for (name, content) in kit() {
            fs::write(scripts.join(name), content).expect("a script");
        }
        bed.mount(&[]);
        let populate = python.clone().arg(scripts.join("populate.py"));
        populate.arg(bed.point()).args(["11", COUNT]).run().ok();
        bed.umount();
        let ours = our_facts(&bed, &python, &scripts);
        assert!(ours.objects.len() > 300, "{} objects", ours.objects.len());
        compare(&ours, &kernel_facts(&bed, ""));

        let populated = "mount -t ocfs2 /dev/ubda /mnt/a; mkdir /mnt/a/kernel\n\
                         python3 \"$KIT/populate.py\" /mnt/a/kernel 12 300\numount /mnt/a\n";
        let kernel = kernel_facts(&bed, populated);
        // What it says of any volume that the kernel has shared inline files or preallocated space on.
        let known = ["INLINE_DATA_COUNT_INVALID", "INODE_SPARSE_SIZE"];
        let report = fsck(bed.image());
        let news = report
            .problems
            .iter()
            .find(|problem| !known.contains(&problem.as_str()));
        assert!(report.finished && news.is_none(), "{}", report.output);
        compare(&our_facts(&bed, &python, &scripts), &kernel);
    }
}
