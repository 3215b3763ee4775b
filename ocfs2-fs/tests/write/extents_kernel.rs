//! Extent trees and shared clusters, in turns with the kernel: each goes on with what the other left.

use std::path::Path;
use std::sync::Arc;

use ocfs2_format::device::{FileDevice, FileOptions};
use ocfs2_fs::{FileSystem, MountOptions, OpenHow, XattrMode};
use ocfs2_testkit::{require_kernel, require_tool, tools::fsck_clean};

use crate::bed::{Bed, Shape, mount_on};

const CLUSTER: usize = 4096;

fn mount(image: &Path) -> FileSystem {
    let options = FileOptions::default().writable(true);
    let device = Arc::new(FileDevice::open(image, &options).expect("the image opens"));
    mount_on(device, &MountOptions::default()).expect("the volume can be mounted")
}

/// Runs a script on the mounted volume in the kernel.
fn kernel(image: &Path, script: &str) -> String {
    let kernel = require_kernel().expect("asked for before");
    let script = format!("set -e\nmount -t ocfs2 /dev/ubda /mnt/a\ncd /mnt/a\n{script}\ncd /\numount /mnt/a\n");
    kernel
        .disk(image)
        .script(script)
        .run()
        .expect("the kernel finishes")
        .ok()
        .stdout
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|at| ((at / 512).wrapping_mul(31) ^ at ^ seed) as u8)
        .collect()
}

fn write(fs: &FileSystem, name: &str, model: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let open = fs.open(name, OpenHow::new().write(true).create(true)).unwrap();
    open.write_at(at as u64, bytes).unwrap();
    open.close().unwrap();
    model.resize(model.len().max(at + bytes.len()), 0);
    model[at..at + bytes.len()].copy_from_slice(bytes);
}

#[track_caller]
fn assert_holds(fs: &FileSystem, name: &str, model: &[u8]) {
    let found = fs.read(name).unwrap();
    let differs = found.iter().zip(model).position(|(one, other)| one != other);
    assert!(
        found == model,
        "{name}: {} and {} bytes, differ at {differs:?}",
        found.len(),
        model.len()
    );
}

/// Writes as `dd` does in the kernel's script: so many bytes of one letter.
fn dd(name: &str, letter: char, at: usize, len: usize, model: &mut Vec<u8>) -> String {
    model.resize(model.len().max(at + len), 0);
    model[at..at + len].fill(letter as u8);
    format!(
        "head -c {len} /dev/zero | tr '\\0' {letter} | dd of={name} bs=512 seek={} conv=notrunc status=none iflag=fullblock\n",
        at / 512
    )
}

#[test]
fn the_kernel_goes_on_with_a_deep_tree_and_we_with_what_it_made_of_it() {
    let (Some(_), Some(_)) = (require_kernel(), require_tool("fsck.ocfs2")) else {
        return;
    };
    for features in ["", "metaecc"] {
        let bed = Bed::new(Shape {
            mib: 200,
            block: 512,
            features,
            ..Shape::default()
        });
        let fs = bed.mount();
        let mut model = Vec::new();
        // Two levels of extent blocks.
        for index in 0..900 {
            write(&fs, "/deep", &mut model, index * 2 * CLUSTER, &pattern(700, index));
        }
        for index in (0..900).step_by(37) {
            write(
                &fs,
                "/deep",
                &mut model,
                (index * 2 + 1) * CLUSTER,
                &pattern(CLUSTER, index),
            );
        }
        fs.unmount().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("volume");
        bed.save(&image);

        let mut script = String::new();
        for index in (5..900).step_by(29) {
            script += &dd("deep", 'k', (index * 2 + 1) * CLUSTER, 1024, &mut model);
        }
        for index in (300..330).step_by(3) {
            let at = index * 2 * CLUSTER;
            script += &format!("fallocate -p -o {at} -l {} deep\n", 3 * CLUSTER);
            model[at..at + 3 * CLUSTER].fill(0);
        }
        script += &dd("deep", 'e', 1900 * CLUSTER, 20 * CLUSTER, &mut model);
        script += &format!("truncate -s {} deep\nsync\n", 1910 * CLUSTER + 100);
        model.truncate(1910 * CLUSTER + 100);
        kernel(&image, &script);
        fsck_clean(&image);

        let fs = mount(&image);
        assert_holds(&fs, "/deep", &model);
        for index in (11..900).step_by(23) {
            write(
                &fs,
                "/deep",
                &mut model,
                (index * 2 + 1) * CLUSTER + 512,
                &pattern(512, index),
            );
        }
        let open = fs.open("/deep", OpenHow::new().write(true)).unwrap();
        open.punch_hole((100 * CLUSTER) as u64..(700 * CLUSTER) as u64).unwrap();
        model[100 * CLUSTER..700 * CLUSTER].fill(0);
        open.set_len((1500 * CLUSTER) as u64).unwrap();
        model.truncate(1500 * CLUSTER);
        open.close().unwrap();
        fs.unmount().unwrap();
        fsck_clean(&image);
        let script = dd("deep", 'z', 650 * CLUSTER, 60 * CLUSTER, &mut model) + "cp deep copy\nrm deep\n";
        kernel(&image, &script);
        fsck_clean(&image);
        let fs = mount(&image);
        assert_holds(&fs, "/copy", &model);
        fs.remove_file("/copy").unwrap();
        fs.unmount().unwrap();
        fsck_clean(&image);
    }
}

#[test]
fn the_kernel_reads_writes_and_removes_what_we_shared_and_we_what_it_shared() {
    let (Some(_), Some(_)) = (require_kernel(), require_tool("fsck.ocfs2")) else {
        return;
    };
    for (block, features) in [
        (4096, "refcount"),
        (512, "refcount,metaecc"),
        (1024, "refcount,usrquota,grpquota"),
    ] {
        let bed = Bed::new(Shape {
            mib: 200,
            block,
            features,
            ..Shape::default()
        });
        let fs = bed.mount();
        let mut a = Vec::new();
        write(&fs, "/a", &mut a, 0, &pattern(150 * CLUSTER + 333, 7));
        write(&fs, "/a", &mut a, 200 * CLUSTER, &pattern(3 * CLUSTER, 9));
        let number = fs.metadata("/a").unwrap().number();
        fs.set_xattr(number, b"user.long", &[b'v'; 9000], XattrMode::Set)
            .unwrap();
        fs.set_xattr(number, b"user.short", b"s", XattrMode::Set).unwrap();
        fs.write("/inline", b"small").unwrap();
        fs.reflink("/inline", "/inline2").unwrap();
        let (mut b, mut d, mut e) = (a.clone(), a.clone(), a.clone());
        for name in ["/b", "/c", "/d", "/e"] {
            fs.reflink("/a", name).unwrap();
        }
        for index in (0..140).step_by(7) {
            write(&fs, "/b", &mut b, index * CLUSTER + 100, &pattern(300, index));
            write(&fs, "/e", &mut e, index * CLUSTER + 5000, &pattern(5000, index + 1));
        }
        let open = fs.open("/d", OpenHow::new().write(true)).unwrap();
        open.punch_hole((20 * CLUSTER) as u64..(60 * CLUSTER) as u64 + 10)
            .unwrap();
        d[20 * CLUSTER..60 * CLUSTER + 10].fill(0);
        open.close().unwrap();
        fs.unmount().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("volume");
        bed.save(&image);
        fsck_clean(&image);

        let mut script = String::from("getfattr --only-values -n user.long c | tr -d v | wc -c\n");
        script += "cmp a c\ncmp inline inline2\n";
        let mut k = b.clone();
        script += "cp --reflink=always b k\n";
        for index in (3..140).step_by(11) {
            script += &dd("b", 'b', index * CLUSTER, 512, &mut b);
            script += &dd("k", 'k', index * CLUSTER + 2 * CLUSTER, 3 * CLUSTER, &mut k);
        }
        script += "rm c\nsetfattr -n user.long -v changed d\nsetfattr -n user.short -v t e\n";
        script += &format!("truncate -s {} e\n", 50 * CLUSTER + 17);
        e.truncate(50 * CLUSTER + 17);
        script += "echo more >> inline2\n";
        let said = kernel(&image, &script);
        assert_eq!(said.trim(), "0", "the kernel reads the shared attribute");
        fsck_clean(&image);

        let fs = mount(&image);
        for (name, model) in [("/a", &a), ("/b", &b), ("/d", &d), ("/e", &e), ("/k", &k)] {
            assert_holds(&fs, name, model);
        }
        assert_holds(&fs, "/inline", b"small");
        assert_holds(&fs, "/inline2", b"smallmore\n");
        assert_eq!(fs.xattr(number, b"user.long").unwrap(), [b'v'; 9000]);
        write(&fs, "/k", &mut k, 10 * CLUSTER + 7, &pattern(30 * CLUSTER, 3));
        let mut again = k.clone();
        fs.reflink("/k", "/again").unwrap();
        write(&fs, "/again", &mut again, 12 * CLUSTER, &pattern(100, 1));
        fs.remove_file("/a").unwrap();
        fs.remove_file("/b").unwrap();
        for (name, model) in [("/d", &d), ("/e", &e), ("/k", &k), ("/again", &again)] {
            assert_holds(&fs, name, model);
        }
        fs.unmount().unwrap();
        fsck_clean(&image);
        let script = "rm d e inline inline2\n".to_owned() + &dd("again", 'q', 0, 40 * CLUSTER, &mut again) + "rm k\n";
        kernel(&image, &script);
        fsck_clean(&image);
        let fs = mount(&image);
        assert_holds(&fs, "/again", &again);
        fs.remove_file("/again").unwrap();
        fs.unmount().unwrap();
        fsck_clean(&image);
    }
}
