//! What we read of volumes that the kernel wrote equals what the kernel read.

use std::sync::Arc;

use ocfs2_format::FileKind;
use ocfs2_format::device::MemDevice;
use ocfs2_fs::{OpenOptions, Volume};
use ocfs2_testkit::golden::{self, Golden};

use crate::observe;

fn open(golden: &Golden) -> Volume {
    let device = MemDevice::from_vec(golden.image());
    Volume::open(Arc::new(device), &OpenOptions::default()).unwrap_or_else(|error| panic!("{}: {error}", golden.name))
}

#[test]
fn golden_images_read_as_the_kernel_read_them() {
    // What the kernel said of crash-dio it said after cutting off an interrupted direct append.
    for golden in golden::all().iter().filter(|golden| golden.name != "crash-dio") {
        let Some(facts) = golden.facts() else { continue };
        eprintln!("{}", golden.name);
        let volume = open(golden);
        observe::assert_equal(&volume, &facts);
        assert_eq!(volume.corrections(), [], "{}", golden.name);
    }
}

#[test]
fn every_name_of_a_golden_image_is_found_through_the_index_and_without_it() {
    for golden in golden::all() {
        let volume = open(golden);
        for entry in volume.walk("/").expect("the root can be read") {
            let entry = entry.expect("every object can be read");
            if entry.inode.kind() != FileKind::Directory {
                continue;
            }
            let mut entries = 0;
            for name in volume.entries(&entry.inode).expect("a directory") {
                let name = name.expect("every entry can be read");
                entries += 1;
                let indexed = volume
                    .lookup(&entry.inode, name.name())
                    .expect("a lookup")
                    .expect("the name");
                let linear = volume
                    .lookup_linear(&entry.inode, name.name())
                    .expect("a lookup")
                    .expect("the name");
                assert_eq!(
                    (indexed.inode(), linear.inode()),
                    (name.inode(), name.inode()),
                    "{}",
                    golden.name
                );
            }
            assert!(
                volume
                    .lookup(&entry.inode, b"no such name")
                    .expect("a lookup")
                    .is_none()
            );
            if let Some(index) = volume.check_index(&entry.inode).expect("a sound index") {
                assert_eq!(index.entries, entries, "{}: {}", golden.name, entry.path.display());
            }
        }
    }
}
