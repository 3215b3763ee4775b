//! Volumes that the real kernel fills while the test runs, unmounted cleanly or cut off in the middle.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ocfs2_format::device::{FileDevice, FileOptions};
use ocfs2_fs::{OpenOptions, Volume};
use ocfs2_testkit::facts::{self, Facts};
use ocfs2_testkit::tools::reference;
use ocfs2_testkit::{live, require_kernel, require_tool};

use crate::observe;

fn mkfs(image: &Path, mebibytes: u64, options: &str) {
    fs::File::create(image)
        .and_then(|file| file.set_len(mebibytes << 20))
        .expect("a sparse file");
    reference("mkfs.ocfs2")
        .args(["-x", "-q", "-F", "-M", "local", "-L", "live"])
        .args(options.split_whitespace())
        .arg(image)
        .run()
        .ok();
}

fn open(image: &Path) -> Volume {
    let device = FileDevice::open(image, &FileOptions::default()).expect("the image opens");
    Volume::open(Arc::new(device), &OpenOptions::default()).expect("the volume opens")
}

/// What the kernel says of the volume on its first disk.
fn kernel_facts(image: &Path, before: &str) -> Option<Facts> {
    let kernel = require_kernel()?;
    let script = format!("{before}\n{}", live::facts_script());
    let output = kernel
        .disk(image)
        .script(script)
        .run()
        .expect("the kernel finishes")
        .ok();
    let lines = String::from_utf8(output.read(live::FACTS).expect("the script wrote them")).expect("JSON is text");
    Some(facts::parse(&lines).expect("the collector writes facts"))
}

/// Options of mkfs.ocfs2, mebibytes, objects. More objects on a volume of small clusters lead the 6.1 driver into a BUG of
/// its own, where the value of an attribute needs an extent block.
const VOLUMES: &[(&str, u64, u32)] = &[
    ("-b 4K -C 4K -J size=8M --fs-features=metaecc", 400, 2500),
    ("-b 4K -C 1M -J size=16M", 1600, 1000),
    (
        "-b 1K -C 8K -J size=4M --fs-features=metaecc,usrquota,grpquota",
        400,
        700,
    ),
    ("-b 2K -C 32K -J size=4M", 400, 1200),
    ("-b 512 -C 4K -J size=4M", 200, 1000),
    ("-b 4K -C 4K -J size=8M --fs-feature-level=max-compat", 400, 1000),
];

#[test]
fn volumes_filled_by_the_kernel_read_as_the_kernel_reads_them() {
    if require_tool("mkfs.ocfs2").is_none() || require_kernel().is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (index, &(options, mebibytes, objects)) in VOLUMES.iter().enumerate() {
        let image = dir.path().join("live.img");
        mkfs(&image, mebibytes, options);
        let seed = 4711 + index as u64;
        let facts = kernel_facts(&image, &live::population_script(seed, objects)).expect("asked for above");
        assert!(
            facts.objects.len() > objects as usize / 3,
            "{options}: a real population"
        );
        eprintln!("{options}: {} objects, seed {seed}", facts.objects.len());
        observe::assert_equal(&open(&image), &facts);
        fs::remove_file(&image).expect("the image is removed");
    }
}

#[test]
fn volumes_cut_off_in_the_middle_read_as_the_kernel_reads_them_after_replay() {
    let (Some(_), Some(kernel)) = (require_tool("mkfs.ocfs2"), require_kernel()) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = dir.path().join("crash.img");
    let mut replayed = 0;
    for (index, &(options, mebibytes, objects)) in VOLUMES.iter().enumerate() {
        mkfs(&image, mebibytes, options);
        let seed = 0xC0FFEE + index as u64;
        // Commits come at their own pace; a sync now and then puts more of the population behind them.
        let script = format!(
            "mount -t ocfs2 /dev/ubda /mnt/a\necho mounted\n(while sleep 0.2; do sync; done) &\n\
             python3 \"$KIT/populate.py\" /mnt/a {seed} {}\necho filled\nsleep 60\n",
            objects * 4
        );
        let mut guest = kernel
            .clone()
            .disk(&image)
            .script(script)
            .spawn()
            .expect("the kernel starts");
        assert!(
            guest
                .wait_until(|out| out.contains("mounted"))
                .expect("the kernel mounts"),
            "{options}"
        );
        std::thread::sleep(Duration::from_millis(700 + 450 * index as u64));
        guest.power_cut();

        let volume = open(&image);
        replayed += volume.replays().iter().map(|replay| replay.blocks).sum::<u64>();
        let ours = observe::observe(&volume);
        // The driver reads the root inode before it replays, and shows its old times and links until the next mount.
        let recover = "mount -t ocfs2 /dev/ubda /mnt/a\numount /mnt/a";
        let facts = kernel_facts(&image, recover).expect("asked for above");
        eprintln!("{options}: {} objects, {:?}", ours.len(), volume.replays());
        observe::assert_same(ours, &facts);
    }
    assert!(replayed > 0, "at least one journal had something to replay");
}
