//! Quotas: what is counted, what is refused, what other implementations make of it.

use std::collections::BTreeMap;

use ocfs2_format::quota::QuotaKind;
use ocfs2_fs::{Error, FileSystem, NewInode, QuotaLimits, SetAttributes, Volume};
use ocfs2_testkit::require_kernel;

use crate::bed::{Bed, Shape, mount_on};

const COUNTED: [Shape; 3] = [
    Shape {
        mib: 64,
        block: 4096,
        cluster: 4096,
        slots: 2,
        features: "metaecc,usrquota,grpquota",
    },
    Shape {
        mib: 64,
        block: 512,
        cluster: 4096,
        slots: 1,
        features: "usrquota,grpquota",
    },
    Shape {
        mib: 64,
        block: 1024,
        cluster: 32768,
        slots: 1,
        features: "usrquota",
    },
];

fn of(uid: u32, gid: u32) -> NewInode {
    let mut new = NewInode::with_mode(0o644);
    (new.uid, new.gid) = (uid, gid);
    new
}

/// Space and inodes by id.
type Usage = BTreeMap<u32, (u64, u64)>;

/// What a walk over the volume adds up to.
fn added_up(volume: &Volume, kind: QuotaKind) -> Usage {
    let mut usage = Usage::new();
    let mut seen = std::collections::BTreeSet::new();
    let cluster = volume.geometry().cluster_size();
    for entry in volume.walk("/").expect("the volume can be walked") {
        let entry = entry.expect("every inode can be read");
        let inode = &entry.inode;
        if !seen.insert(inode.number()) {
            continue;
        }
        let id = match kind {
            QuotaKind::User => inode.uid(),
            QuotaKind::Group => inode.gid(),
        };
        let of_id = usage.entry(id).or_default();
        of_id.0 += u64::from(inode.clusters()) * cluster;
        of_id.1 += 1;
    }
    usage
}

fn stored(volume: &Volume, kind: QuotaKind) -> Usage {
    let quota = volume.global_quota(kind).expect("the file can be read");
    let entries = quota.entries.iter();
    entries
        .map(|entry| {
            (
                entry.dqb_id.get(),
                (entry.dqb_curspace.get(), entry.dqb_curinodes.get()),
            )
        })
        .filter(|(_, usage)| *usage != (0, 0))
        .collect()
}

fn chown(fs: &FileSystem, path: &str, uid: u32, gid: u32) -> Result<(), Error> {
    let change = SetAttributes {
        uid: Some(uid),
        gid: Some(gid),
        ..SetAttributes::default()
    };
    fs.set_attributes(fs.metadata(path)?.number(), &change).map(drop)
}

fn populate(fs: &FileSystem) {
    let root = fs.root();
    for id in 0..60 {
        let name = format!("file-{id}");
        // Ids far apart: a path of its own for each, leaves shared.
        let uid = id * 0x0123_4567;
        fs.create_file(root, name.as_bytes(), &of(uid, id % 7)).expect("a file");
        fs.write(format!("/{name}"), vec![7; 3000 * id as usize])
            .expect("it can be written");
    }
    for id in (0..60).step_by(3) {
        chown(fs, &format!("/file-{id}"), 77, 88).expect("it can be given away");
    }
    for id in (0..60).step_by(4) {
        fs.remove_file(format!("/file-{id}")).expect("it can be removed");
    }
    fs.create_dir("/dir").expect("a directory");
    for id in 0..50 {
        fs.write(format!("/dir/{id}-{}", "long".repeat(40)), b"x")
            .expect("a file");
    }
}

#[test]
fn what_is_counted_is_what_there_is() {
    for shape in COUNTED {
        let bed = Bed::new(shape);
        let kinds = match shape.features.contains("grpquota") {
            true => &[QuotaKind::User, QuotaKind::Group][..],
            false => &[QuotaKind::User],
        };
        let initial = bed.volume();
        let missing: Vec<_> = kinds
            .iter()
            .map(|&kind| (added_up(&initial, kind), stored(&initial, kind)))
            .collect();
        let fs = bed.mount();
        populate(&fs);
        fs.unmount().unwrap();
        let volume = bed.volume();
        for (&kind, (there, counted)) in kinds.iter().zip(missing) {
            // What mkfs did not count stays uncounted.
            let mut wanted = added_up(&volume, kind);
            let of_root = wanted.entry(0).or_default();
            of_root.0 = of_root.0 + counted[&0].0 - there[&0].0;
            of_root.1 = of_root.1 + counted[&0].1 - there[&0].1;
            assert_eq!(stored(&volume, kind), wanted, "{kind:?} {shape:?}");
        }
        bed.assert_clean();
    }
}

#[test]
fn limits_hold_and_what_they_refuse_leaves_no_trace() {
    let bed = Bed::new(COUNTED[0]);
    let fs = bed.mount();
    let limits = QuotaLimits {
        space_hard: 40960,
        inodes_hard: 3,
        ..QuotaLimits::default()
    };
    fs.set_quota(QuotaKind::User, 5, &limits).unwrap();
    for name in [b"a", b"b", b"c"] {
        fs.create_file(fs.root(), name, &of(5, 5)).unwrap();
    }
    let refused = fs.create_file(fs.root(), b"d", &of(5, 5));
    assert!(matches!(refused, Err(Error::QuotaExceeded)));
    assert!(fs.lookup(fs.root(), b"d").unwrap().is_none());
    fs.write("/a", vec![1; 40960]).unwrap();
    assert!(matches!(fs.write("/b", vec![1; 10000]), Err(Error::QuotaExceeded)));
    let usage = fs.quota(QuotaKind::User, 5).unwrap();
    assert_eq!((usage.space, usage.inodes), (40960, 3));
    fs.write("/other", b"x").unwrap();
    assert!(matches!(chown(&fs, "/other", 5, 0), Err(Error::QuotaExceeded)));
    assert_eq!(fs.metadata("/other").unwrap().uid(), 0);
    fs.remove_file("/a").unwrap();
    fs.write("/b", vec![1; 10000]).unwrap();
    chown(&fs, "/other", 5, 0).unwrap();
    let usage = fs.quota(QuotaKind::User, 5).unwrap();
    assert_eq!((usage.limits, usage.inodes), (limits, 3));
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn a_soft_limit_ends_with_its_grace_time() {
    let bed = Bed::new(COUNTED[0]);
    let fs = bed.mount();
    fs.set_quota_grace(QuotaKind::Group, 3600, 0).unwrap();
    let limits = QuotaLimits {
        space_soft: 4096,
        inodes_soft: 1,
        ..QuotaLimits::default()
    };
    fs.set_quota(QuotaKind::Group, 9, &limits).unwrap();
    fs.create_file(fs.root(), b"a", &of(0, 9)).unwrap();
    fs.write("/a", vec![1; 9000]).unwrap();
    assert_ne!(fs.quota(QuotaKind::Group, 9).unwrap().space_grace_end, 0);
    fs.create_file(fs.root(), b"b", &of(0, 9)).unwrap();
    let third = fs.create_file(fs.root(), b"c", &of(0, 9));
    assert!(matches!(third, Err(Error::QuotaExceeded)), "no grace for inodes");
    fs.remove_file("/b").unwrap();
    assert_eq!(fs.quota(QuotaKind::Group, 9).unwrap().inodes_grace_end, 0);
    fs.unmount().unwrap();
    bed.assert_clean();
}

#[test]
fn the_kernel_reports_what_we_count_and_we_add_what_it_left_behind() {
    let Some(kernel) = require_kernel() else { return };
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("volume");
    let bed = Bed::new(COUNTED[0]);
    let fs = bed.mount();
    populate(&fs);
    let ids: std::collections::BTreeSet<u32> = (1..60).map(|id| id * 0x0123_4567).chain([77]).collect();
    let ours: String = ids
        .iter()
        .map(|&id| fs.quota(QuotaKind::User, id).unwrap())
        .filter(|usage| usage.inodes > 0)
        .map(|usage| format!("{} {} {}\n", usage.id, usage.space / 1024, usage.inodes))
        .collect();
    fs.unmount().unwrap();
    bed.save(&image);
    // One by one: asked for all, the kernel leaves some out while it forgets those who use nothing.
    let script = r#"
set -e
mount -t ocfs2 -o usrquota,grpquota /dev/ubda /mnt/a
for id in $IDS; do
    quota -u -v -w -p $id > $OUT/usage || :
    echo $id $(grep /dev/ubda $OUT/usage | tr -s ' ' | cut -d ' ' -f 3,7)
done > $OUT/report
mkdir /mnt/a/made; for i in $(seq 1 20); do head -c 50000 /dev/zero > /mnt/a/made/$i; chown 4242:4243 /mnt/a/made/$i; done
sync
echo CUT
sleep 100
"#;
    let known: Vec<&str> = ours.lines().filter_map(|line| line.split(' ').next()).collect();
    let output = kernel
        .disk(&image)
        .script(format!("IDS='{}'\n{script}", known.join(" ")))
        .run_until(|out| out.contains("CUT"))
        .expect("the kernel runs");
    let report = String::from_utf8(output.read("report").unwrap()).unwrap();
    assert_eq!(report, ours);
    let device =
        ocfs2_format::device::FileDevice::open(&image, &ocfs2_format::device::FileOptions::default().writable(true));
    let device = std::sync::Arc::new(device.unwrap());
    let fs = mount_on(device.clone(), &ocfs2_fs::MountOptions::default()).unwrap();
    let usage = fs.quota(QuotaKind::User, 4242).unwrap();
    fs.unmount().unwrap();
    let volume = Volume::open(device, &ocfs2_fs::OpenOptions::default()).unwrap();
    let there = added_up(&volume, QuotaKind::User);
    assert_eq!((usage.space, usage.inodes), there[&4242]);
    for slot in volume.slots() {
        let local = volume.local_quota(QuotaKind::User, slot).unwrap();
        assert_eq!((local.info.dqi_flags.get() & 1, local.entries.len()), (1, 0));
    }
    let report = ocfs2_testkit::tools::fsck(&image);
    // The kernel keeps clusters behind the end of quota files.
    let problems: Vec<_> = report
        .problems
        .iter()
        .filter(|code| *code != "INODE_SPARSE_SIZE")
        .collect();
    assert!(report.finished && problems.is_empty(), "{problems:?}");
}

#[test]
fn threads_that_are_counted_at_once_do_not_lose_count_or_wait_for_each_other_for_ever() {
    let bed = Bed::new(COUNTED[0]);
    let initial = stored(&bed.volume(), QuotaKind::User)[&0];
    let there = added_up(&bed.volume(), QuotaKind::User)[&0];
    let fs = bed.mount();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let fs = &fs;
            scope.spawn(move || {
                let dir = format!("/dir-{thread}");
                fs.create_dir(&dir).unwrap();
                for step in 0..60u32 {
                    let path = format!("{dir}/{}", step % 7);
                    if step % 7 == 3 && step > 7 {
                        fs.remove_file(&path).unwrap();
                    }
                    fs.write(&path, vec![1; 5000 * (step as usize % 5)]).unwrap();
                    chown(fs, &path, step % 3 * 100, thread).unwrap();
                    let inode = fs.metadata(&path).unwrap().number();
                    let value = vec![thread as u8; 50 * step as usize];
                    fs.set_xattr(inode, b"user.a", &value, ocfs2_fs::XattrMode::Set)
                        .unwrap();
                }
            });
        }
    });
    fs.unmount().unwrap();
    let volume = bed.volume();
    let mut wanted = added_up(&volume, QuotaKind::User);
    let of_root = wanted.entry(0).or_default();
    *of_root = (of_root.0 + initial.0 - there.0, of_root.1 + initial.1 - there.1);
    assert_eq!(stored(&volume, QuotaKind::User), wanted);
    bed.assert_clean();
}

#[test]
fn somebody_new_is_counted_on_a_volume_that_is_almost_full() {
    for shape in [COUNTED[0], COUNTED[1]] {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        fs.create_dir("/dir").unwrap();
        fs.write("/dir/first", b"x").unwrap();
        let mut len = 32 << 20;
        for number in 0.. {
            match fs.write(format!("/dir/{number}"), vec![1; len]) {
                Ok(()) => {}
                Err(Error::NoSpace) if len > 4096 => len /= 2,
                Err(Error::NoSpace) => break,
                Err(error) => panic!("{error}"),
            }
        }
        fs.remove_file("/dir/0").unwrap();
        fs.sync().unwrap();
        for id in 1..40 {
            let name = format!("file-{id}");
            let dir = fs.metadata("/dir").unwrap().number();
            fs.create_file(dir, name.as_bytes(), &of(id * 0x0123_4567, 3)).unwrap();
        }
        fs.unmount().unwrap();
        bed.assert_clean();
    }
}
