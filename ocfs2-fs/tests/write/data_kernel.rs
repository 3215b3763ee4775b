//! Files that we and the kernel write in turns: each reads what the other wrote, and shared clusters stay apart.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use ocfs2_format::device::{FileDevice, FileOptions};
use ocfs2_fs::{AllocateMode, FileSystem, InodeUse, MountOptions};
use ocfs2_testkit::tools::fsck_clean;
use ocfs2_testkit::{require_kernel, require_tool};
use sha2::{Digest, Sha256};

use crate::bed::{Bed, SHAPES, Shape, mount_on};
use crate::data::{new_file, pattern, read_all};

fn mount(image: &Path) -> FileSystem {
    let device = FileDevice::open(image, &FileOptions::new().writable(true)).unwrap();
    mount_on(Arc::new(device), &MountOptions::default()).unwrap()
}

fn open(fs: &FileSystem, name: &str) -> InodeUse {
    let inode = fs.lookup(fs.root(), name.as_bytes()).unwrap();
    fs.use_inode(&inode.unwrap()).unwrap()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A file that we keep apart from the volume, too.
struct Twin {
    name: String,
    bytes: Vec<u8>,
}

impl Twin {
    fn write(&mut self, fs: &FileSystem, offset: usize, bytes: &[u8]) {
        let file = open(fs, &self.name);
        assert_eq!(fs.write_at(&file, offset as u64, bytes).unwrap(), bytes.len());
        self.bytes.resize(self.bytes.len().max(offset + bytes.len()), 0);
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn set_len(&mut self, fs: &FileSystem, len: usize) {
        fs.set_len(&open(fs, &self.name), len as u64).unwrap();
        self.bytes.resize(len, 0);
    }

    fn punch(&mut self, fs: &FileSystem, start: usize, end: usize) {
        let file = open(fs, &self.name);
        fs.allocate(&file, start as u64..end as u64, AllocateMode::PunchHole)
            .unwrap();
        self.bytes[start..end].fill(0);
    }

    fn check(&self, fs: &FileSystem) {
        assert!(read_all(fs, &open(fs, &self.name)) == self.bytes, "{}", self.name);
    }

    /// Lines of a script that compare what the kernel reads.
    fn check_script(&self, root: &str) -> String {
        let Twin { name, bytes } = self;
        format!("echo '{}  {root}/{name}' | sha256sum -c --quiet\n", digest(bytes))
    }
}

/// Writes files of many forms.
fn populate(fs: &FileSystem, cluster: usize, dense: bool) -> Vec<Twin> {
    let mut twins = Vec::new();
    for (name, len) in [("inline", 200), ("block", 5000), ("large", 5 * cluster + 123)] {
        let mut twin = Twin {
            name: name.to_owned(),
            bytes: Vec::new(),
        };
        drop(new_file(fs, name));
        twin.write(fs, 0, &pattern(len as u64, len));
        twins.push(twin);
    }
    for name in ["holes", "cut", "grown"] {
        drop(new_file(fs, name));
        let mut twin = Twin {
            name: name.to_owned(),
            bytes: Vec::new(),
        };
        twin.write(fs, 2 * cluster + 17, &pattern(1, 3 * cluster));
        match name {
            "holes" if !dense => {
                twin.punch(fs, 3 * cluster - 10, 4 * cluster + 10);
                fs.allocate(&open(fs, name), 0..cluster as u64, AllocateMode::Extend)
                    .unwrap();
                twin.write(fs, 100, b"into what was preallocated");
            }
            "holes" => {}
            "cut" => twin.set_len(fs, 3 * cluster + 5),
            _ => {
                twin.set_len(fs, 4 * cluster + 99);
                twin.set_len(fs, 9 * cluster + 1);
            }
        }
        twins.push(twin);
    }
    twins
}

#[test]
fn the_kernel_reads_and_changes_what_we_wrote_and_we_what_it_changed() {
    let Some(kernel) = require_kernel() else { return };
    let dir = tempfile::tempdir().unwrap();
    // The kernel wants a journal of 4 MiB, which small volumes with small blocks do not have.
    let small_blocks = Shape { mib: 160, ..SHAPES[1] };
    let shapes = [SHAPES[0], small_blocks, SHAPES[2], SHAPES[4], SHAPES[7]];
    let mut kernel = kernel;
    let mut script = String::from("set -e\n");
    let mut volumes = Vec::new();
    for (index, shape) in shapes.into_iter().enumerate() {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let cluster = shape.cluster as usize;
        let mut twins = populate(&fs, cluster, shape.features.contains("nosparse"));
        fs.unmount().unwrap();
        bed.assert_clean();
        let image = dir.path().join(format!("volume-{index}"));
        bed.save(&image);
        kernel = kernel.disk(&image);
        let disk = (b'a' + index as u8) as char;
        let _ = writeln!(script, "mount -t ocfs2 /dev/ubd{disk} /mnt/a");
        for twin in &mut twins {
            script.push_str(&twin.check_script("/mnt/a"));
            // What the kernel does next, and what that makes of the bytes.
            let name = &twin.name;
            let _ = writeln!(
                script,
                "printf KERNEL | dd of=/mnt/a/{name} bs=1 seek=150 conv=notrunc status=none
                truncate -s +{cluster} /mnt/a/{name}
                printf TAIL >> /mnt/a/{name}"
            );
            twin.bytes[150..156].copy_from_slice(b"KERNEL");
            twin.bytes.resize(twin.bytes.len() + cluster, 0);
            twin.bytes.extend(b"TAIL");
        }
        script.push_str("umount /mnt/a\n");
        volumes.push((image, twins));
    }
    kernel.script(script).run().unwrap().ok();
    for (image, mut twins) in volumes {
        let fs = mount(&image);
        for twin in &mut twins {
            twin.check(&fs);
            twin.write(&fs, 140, b"ours again");
            let end = twin.bytes.len();
            twin.write(&fs, end + 10, b"behind");
            twin.check(&fs);
        }
        fs.unmount().unwrap();
        fsck_clean(&image);
    }
}

#[test]
fn writing_to_one_of_several_files_that_share_clusters_leaves_the_others_alone() {
    let Some(kernel) = require_kernel() else { return };
    if require_tool("fsck.ocfs2").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (index, cluster) in [4096u32, 1 << 16].into_iter().enumerate() {
        let shape = Shape {
            cluster,
            features: "metaecc,refcount",
            ..Shape::default()
        };
        let bed = Bed::new(shape);
        let image = dir.path().join(format!("shared-{index}"));
        let fs = bed.mount();
        drop(new_file(&fs, "base"));
        let mut base = Twin {
            name: "base".to_owned(),
            bytes: Vec::new(),
        };
        let cluster = cluster as usize;
        base.write(&fs, 0, &pattern(9, 40 * cluster + 33));
        fs.unmount().unwrap();
        bed.save(&image);
        let names = ["over", "cut", "punched", "longer", "zeroed", "emptied", "kept"];
        let mut script = String::from("set -e\nmount -t ocfs2 /dev/ubda /mnt/a\n");
        for name in names {
            let _ = writeln!(script, "cp --reflink=always /mnt/a/base /mnt/a/{name}");
        }
        script.push_str("umount /mnt/a\n");
        kernel.clone().disk(&image).script(script).run().unwrap().ok();

        let fs = mount(&image);
        let mut twins: Vec<Twin> = names
            .iter()
            .map(|name| Twin {
                name: (*name).to_owned(),
                bytes: base.bytes.clone(),
            })
            .collect();
        let [over, cut, punched, longer, zeroed, emptied, _kept] = twins.as_mut_slice() else {
            unreachable!("there are seven names")
        };
        over.write(&fs, 3 * cluster + 5, b"a few bytes");
        over.write(&fs, 10 * cluster - 100, &pattern(4, 5 * cluster));
        cut.set_len(&fs, 7 * cluster + 9);
        punched.punch(&fs, cluster + 1, 20 * cluster + 1);
        longer.set_len(&fs, 50 * cluster);
        let tail = longer.bytes.len();
        longer.write(&fs, tail - 5, &pattern(6, 2 * cluster));
        let (start, end) = (2 * cluster + 7, 9 * cluster);
        fs.allocate(&open(&fs, "zeroed"), start as u64..end as u64, AllocateMode::ZeroRange)
            .unwrap();
        zeroed.bytes[start..end].fill(0);
        emptied.set_len(&fs, 0);
        twins.push(base);
        for twin in &twins {
            twin.check(&fs);
        }
        fs.unmount().unwrap();
        fsck_clean(&image);
        let mut script = String::from("set -e\nmount -t ocfs2 /dev/ubda /mnt/a\n");
        for twin in &twins {
            script.push_str(&twin.check_script("/mnt/a"));
        }
        script.push_str("rm /mnt/a/over /mnt/a/base\numount /mnt/a\n");
        kernel.clone().disk(&image).script(script).run().unwrap().ok();
        fsck_clean(&image);
    }
}

#[test]
fn files_are_emptied_and_removed_on_a_volume_that_the_kernel_has_filled() {
    let Some(kernel) = require_kernel() else { return };
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::new(Shape {
        mib: 40,
        slots: 1,
        ..Shape::default()
    });
    let image = dir.path().join("full");
    bed.save(&image);
    // Not one cluster is left, and no block of extents was ever needed.
    let script = "mount -t ocfs2 /dev/ubda /mnt/a
        for size in 1048576 4096; do
            index=0
            while dd if=/dev/zero of=/mnt/a/$size-$index bs=$size count=1 status=none 2> /dev/null; do
                index=$((index + 1))
            done
        done
        umount /mnt/a";
    kernel.clone().disk(&image).script(script).run().unwrap().ok();
    let fs = mount(&image);
    let free = || fs.statfs().unwrap().free_blocks;
    let full = free();
    for name in ["1048576-0", "1048576-1"] {
        fs.set_len(&open(&fs, name), 0).unwrap();
    }
    fs.remove_file("/1048576-2").unwrap();
    assert!(free() >= full + 3 * 256, "{} were free, and {} now", full, free());
    fs.unmount().unwrap();
    fsck_clean(&image);
}
