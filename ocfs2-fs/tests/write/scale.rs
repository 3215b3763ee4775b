//! Many of everything: what one costs must not depend on how many there are.
//!
//! `OCFS2_SCALE` says how many, a million being what the library promises. Volumes lie in sparse files in the temporary
//! directory, which takes about 5 KiB for each. Costs are processor time of this process, its threads included, so that
//! other programs do not count.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocfs2_format::InodeNo;
use ocfs2_format::device::{FileDevice, FileOptions};
use ocfs2_fs::mkfs::{self, MkfsOptions, MountMode, Plan};
use ocfs2_fs::{FileSystem, InodeUse, MountOptions, NewInode, OpenHow, XattrMode};
use ocfs2_testkit::tools::fsck_clean;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

const CLUSTER: u64 = 4096;

fn scale(default: usize) -> usize {
    std::env::var("OCFS2_SCALE").map_or(default, |count| count.parse().expect("OCFS2_SCALE is a number"))
}

/// A volume in a sparse file.
struct Ground {
    _dir: TempDir,
    image: PathBuf,
}

impl Ground {
    fn new(mib: u64) -> Ground {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("volume");
        let device = FileDevice::create(&image, mib << 20, &FileOptions::default().writable(true)).unwrap();
        let mut options = MkfsOptions::default();
        options.mount = MountMode::Local;
        options.block_size = Some(4096);
        options.cluster_size = Some(CLUSTER as u32);
        mkfs::format(&device, &Plan::new(mib << 20, &options).unwrap(), &mut |_| {}).unwrap();
        Ground { _dir: dir, image }
    }

    fn mount(&self) -> FileSystem {
        let device = FileDevice::open(&self.image, &FileOptions::default().writable(true)).unwrap();
        FileSystem::mount(Arc::new(device), &MountOptions::default()).unwrap()
    }

    /// Forgets everything that is in memory.
    fn mount_again(&self, fs: FileSystem) -> FileSystem {
        fs.unmount().unwrap();
        self.mount()
    }

    /// Unmounts, and lets fsck.ocfs2 look where it is installed.
    #[track_caller]
    fn check(&self, fs: FileSystem) {
        fs.unmount().unwrap();
        if ocfs2_testkit::require_tool("fsck.ocfs2").is_some() {
            fsck_clean(&self.image);
        }
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What each of `count` calls costs.
fn each(what: &str, count: usize, work: impl FnOnce()) -> Duration {
    let (start, cpu_start) = (Instant::now(), cpu());
    work();
    let calls = count.max(1) as u32;
    let (time, cost) = (start.elapsed() / calls, (cpu() - cpu_start) / calls);
    eprintln!("{what:40}{count:>9} times{cost:>14.2?} of processor, {time:.2?} by the clock");
    cost
}

/// The costs of a tenth of all calls, ten times.
fn tenths(what: &str, count: usize, mut call: impl FnMut(usize)) -> Vec<Duration> {
    let step = count.div_ceil(10).max(1);
    let mut costs = Vec::new();
    for first in (0..count).step_by(step) {
        let numbers = first..(first + step).min(count);
        costs.push(each(&format!("{what} {first}.."), numbers.len(), || {
            numbers.for_each(&mut call);
        }));
    }
    costs
}

/// Those that come last are at most twice as dear as those that come first. A checkpoint, and whoever else is at work on the
/// machine, makes single ones dearer, so a third of all is taken together.
#[track_caller]
fn assert_flat(what: &str, costs: &[Duration]) {
    let some = costs.len().div_ceil(3);
    let sum = |costs: &[Duration]| costs.iter().sum::<Duration>().as_secs_f64();
    let ratio = sum(&costs[costs.len() - some..]) / sum(&costs[..some]);
    eprintln!("{what}: {ratio:.2} times the first in the end");
    assert!(ratio <= 2.0, "{what} becomes {ratio:.2} times as dear");
}

/// The same numbers each time, in an order that is none.
fn shuffled(count: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut numbers);
    numbers
}

fn new() -> NewInode {
    NewInode::with_mode(0o644)
}

fn make_file(fs: &FileSystem, dir: InodeNo, name: &str) -> InodeUse {
    let inode = fs.create_file(dir, name.as_bytes(), &new()).unwrap();
    fs.use_inode(&inode).unwrap()
}

#[test]
#[ignore = "takes minutes: one of the long runs of CONTRIBUTING.md"]
fn names_cost_the_same_in_directories_of_every_size() {
    let count = scale(100_000);
    let ground = Ground::new(1024 + count as u64 / 180);
    let mut fs = ground.mount();
    // A length that leaves a little room in every block.
    let name = |number: usize| format!("a-file-with-a-name-{number:08}").into_bytes();
    let mut sizes = vec![10_000.min(count), count / 10, count];
    sizes.retain(|&size| size >= 10_000.min(count));
    sizes.dedup();
    const KINDS: [&str; 4] = ["create", "look up", "look up, shuffled", "unlink"];
    let mut costs = [const { Vec::new() }; KINDS.len()];
    for size in sizes {
        let dir = format!("directory-{size}");
        let dir = fs.make_dir(fs.root(), dir.as_bytes(), &NewInode::with_mode(0o755));
        let dir = dir.unwrap().number();
        let order = shuffled(size);
        let mut cost = |kind: usize, call: &dyn Fn(usize)| {
            let what = format!("{} among {size}", KINDS[kind]);
            costs[kind].push(each(&what, size, || (0..size).for_each(call)));
        };
        cost(0, &|number| drop(fs.create_file(dir, &name(number), &new()).unwrap()));
        // Whatever its size, what is looked up is on the device: no memory holds the inodes of the largest directory.
        fs = ground.mount_again(fs);
        cost(1, &|number| assert!(fs.lookup(dir, &name(number)).unwrap().is_some()));
        fs = ground.mount_again(fs);
        cost(2, &|number| {
            assert!(fs.lookup(dir, &name(order[number])).unwrap().is_some())
        });
        cost(3, &|number| fs.unlink(dir, &name(number)).unwrap());
        fs.rmdir(fs.root(), format!("directory-{size}").as_bytes()).unwrap();
    }
    // Once more, to be judged as it is.
    let dir = fs
        .make_dir(fs.root(), b"kept", &NewInode::with_mode(0o755))
        .unwrap()
        .number();
    for number in 0..count {
        fs.create_file(dir, &name(number), &new()).unwrap();
    }
    for number in (0..count).step_by(3) {
        fs.unlink(dir, &name(number)).unwrap();
    }
    ground.check(fs);
    for (kind, costs) in KINDS.into_iter().zip(costs) {
        assert_flat(kind, &costs);
    }
}

#[test]
#[ignore = "takes minutes: one of the long runs of CONTRIBUTING.md"]
fn extents_cost_the_same_in_files_of_every_size() {
    let count = scale(100_000);
    let ground = Ground::new(512 + count as u64 * 3 / 512);
    let fs = ground.mount();
    let file = make_file(&fs, fs.root(), "file");
    // Mixed up, but never far from the end: whoever inserts a record moves one in every leaf behind it, as the format
    // wants those full.
    let mut order: Vec<usize> = (0..count).collect();
    order
        .chunks_mut(1000)
        .for_each(|part| fastrand::Rng::with_seed(7).shuffle(part));
    // Every other cluster, so that no two can be one extent.
    let offset = |number: usize| number as u64 * 2 * CLUSTER;
    let piece = |number: usize| (number as u64).to_le_bytes().repeat(CLUSTER as usize / 8);
    let written = tenths("write extent", count, |number| {
        let number = order[number];
        fs.write_at(&file, offset(number), &piece(number)).unwrap();
    });
    fs.sync().unwrap();
    let extents = |from: u64| fs.extents(&file, from..u64::MAX, 2).unwrap().len();
    assert_eq!((extents(0), extents(offset(count - 1))), (2, 1));

    let mut buf = vec![0; CLUSTER as usize];
    let read = tenths("read extent", count, |number| {
        fs.read_at(&file, offset(number), &mut buf).unwrap();
        assert_eq!(buf[..8], (number as u64).to_le_bytes());
    });
    let order = shuffled(count);
    let read_at_random = tenths("read extent, shuffled", count, |number| {
        let number = order[number];
        fs.read_at(&file, offset(number), &mut buf).unwrap();
        assert_eq!(buf[..8], (number as u64).to_le_bytes());
    });
    let overwritten = tenths("overwrite extent, shuffled", count, |number| {
        let number = order[number];
        fs.write_at(&file, offset(number), &piece(number)).unwrap();
    });
    fs.unmount().unwrap();
    if ocfs2_testkit::require_tool("fsck.ocfs2").is_some() {
        fsck_clean(&ground.image);
    }

    let fs = ground.mount();
    let file = fs.lookup(fs.root(), b"file").unwrap().unwrap();
    assert_eq!(file.clusters() as usize, count);
    let file = fs.use_inode(&file).unwrap();
    let mut cut = Vec::new();
    let step = count.div_ceil(10);
    for left in (0..count).step_by(step).rev() {
        cut.push(each(&format!("truncate to {left}"), step.min(count - left), || {
            fs.set_len(&file, offset(left)).unwrap();
        }));
    }
    file.end().unwrap();
    ground.check(fs);
    assert_flat("write extent", &written);
    assert_flat("read extent", &read);
    assert_flat("read extent, shuffled", &read_at_random);
    assert_flat("overwrite extent, shuffled", &overwritten);
    assert_flat("truncate", &cut);
}

#[test]
#[ignore = "takes a minute: one of the long runs of CONTRIBUTING.md"]
fn a_hundred_thousand_attributes_over_files() {
    const FILES: usize = 800;
    const EACH: usize = 100;
    const OF_ONE: usize = 20_000;
    let ground = Ground::new(2048);
    let fs = ground.mount();
    let value = |number: usize| vec![number as u8; number % 90];
    let name = |number: usize| format!("user.attribute-{number}").into_bytes();
    let files: Vec<InodeNo> = (0..FILES)
        .map(|file| make_file(&fs, fs.root(), &format!("file-{file}")).inode())
        .collect();
    let one = make_file(&fs, fs.root(), "one").inode();
    let at = |number: usize| (files[number / EACH], number % EACH);
    let set = tenths("set, of many files", FILES * EACH, |number| {
        let (inode, number) = at(number);
        fs.set_xattr(inode, &name(number), &value(number), XattrMode::Create)
            .unwrap();
    });
    let set_of_one = tenths("set, of one file", OF_ONE, |number| {
        fs.set_xattr(one, &name(number), &value(number), XattrMode::Create)
            .unwrap();
    });
    let read = tenths("read, of many files", FILES * EACH, |number| {
        let (inode, number) = at(number);
        assert_eq!(fs.xattr(inode, &name(number)).unwrap(), value(number));
    });
    let read_of_one = tenths("read, of one file", OF_ONE, |number| {
        assert_eq!(fs.xattr(one, &name(number)).unwrap(), value(number));
    });
    assert_eq!(fs.xattr_names(files[FILES / 2]).unwrap().len(), EACH);
    assert_eq!(fs.xattr_names(one).unwrap().len(), OF_ONE);
    fs.unmount().unwrap();
    if ocfs2_testkit::require_tool("fsck.ocfs2").is_some() {
        fsck_clean(&ground.image);
    }
    let fs = ground.mount();
    let removed = tenths("remove, of one file", OF_ONE, |number| {
        fs.remove_xattr(one, &name(number)).unwrap();
    });
    let wiped = tenths("delete file with its attributes", FILES, |file| {
        fs.remove_file(format!("/file-{file}")).unwrap();
    });
    ground.check(fs);
    assert_flat("set, of many files", &set);
    assert_flat("read, of many files", &read);
    assert_flat("read, of one file", &read_of_one);
    assert_flat("delete file with its attributes", &wiped);
    // The first tenth lies in fewer places than there are kinds of them.
    assert_flat("set, of one file", &set_of_one[1..]);
    assert_flat("remove, of one file", &removed);
}

#[test]
#[ignore = "takes a minute: one of the long runs of CONTRIBUTING.md"]
fn ten_thousand_copies_that_share_their_clusters() {
    const COPIES: usize = 10_000;
    const EXTENTS: u64 = 8;
    let ground = Ground::new(2048);
    let fs = ground.mount();
    let mut how = OpenHow::new();
    let original = fs.open("/original", how.write(true).create(true)).unwrap();
    for extent in 0..EXTENTS {
        original
            .write_at(extent * 2 * CLUSTER, &[extent as u8 + 1; CLUSTER as usize])
            .unwrap();
    }
    original.close().unwrap();
    let path = |copy: usize| format!("/copy-{copy}");
    let copied = tenths("reflink", COPIES, |copy| {
        fs.reflink("/original", path(copy)).unwrap();
    });
    let mut how = OpenHow::new();
    let written = tenths("write to a copy", COPIES, |copy| {
        let file = fs.open(path(copy), how.write(true)).unwrap();
        file.write_at((copy as u64 % EXTENTS) * 2 * CLUSTER, &(copy as u64).to_le_bytes())
            .unwrap();
        file.close().unwrap();
    });
    for copy in (0..COPIES).step_by(7) {
        let bytes = fs.read(path(copy)).unwrap();
        for extent in 0..EXTENTS {
            let mut expected = vec![extent as u8 + 1; CLUSTER as usize];
            if extent == copy as u64 % EXTENTS {
                expected[..8].copy_from_slice(&(copy as u64).to_le_bytes());
            }
            assert!(
                bytes[(extent * 2 * CLUSTER) as usize..].starts_with(&expected),
                "{copy}"
            );
        }
    }
    fs.unmount().unwrap();
    if ocfs2_testkit::require_tool("fsck.ocfs2").is_some() {
        fsck_clean(&ground.image);
    }
    let fs = ground.mount();
    let deleted = tenths("delete a copy", COPIES, |copy| fs.remove_file(path(copy)).unwrap());
    ground.check(fs);
    assert_flat("reflink", &copied);
    assert_flat("write to a copy", &written);
    assert_flat("delete a copy", &deleted);
}
