//! A volume in memory to be mounted, and the judges of what became of it.

#[path = "lock_judge.rs"]
pub(crate) mod lock_judge;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use ocfs2_format::device::{BlockDevice, MemDevice};
use ocfs2_fs::mkfs::{self, MkfsOptions, MountMode, Plan};
use ocfs2_fs::{FileSystem, MountOptions, OpenOptions, Result, Volume};
use ocfs2_testkit::tools::{fsck, fsck_clean, fsck_mend};

/// Where chance begins: the same each time, or what `OCFS2_SEED` says, `random` included.
pub(crate) fn seed() -> u64 {
    let seed = match std::env::var("OCFS2_SEED") {
        Err(_) => 0x0CF5,
        Ok(text) if text == "random" => fastrand::u64(..),
        Ok(text) => text.parse().expect("OCFS2_SEED is a number, or random"),
    };
    println!("OCFS2_SEED={seed}");
    seed
}

/// A volume in memory.
#[derive(Clone, Debug)]
pub(crate) struct Bed {
    pub(crate) device: Arc<MemDevice>,
}

/// How a volume is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) mib: u64,
    pub(crate) block: u32,
    pub(crate) cluster: u32,
    pub(crate) slots: u16,
    /// As `--fs-features` takes them.
    pub(crate) features: &'static str,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            mib: 64,
            block: 4096,
            cluster: 4096,
            slots: 2,
            features: "",
        }
    }
}

/// One of each block size, from small to large clusters, with and without the features that change what is written.
pub(crate) const SHAPES: &[Shape] = &[
    Shape {
        mib: 64,
        block: 4096,
        cluster: 4096,
        slots: 2,
        features: "",
    },
    Shape {
        mib: 64,
        block: 512,
        cluster: 4096,
        slots: 2,
        features: "",
    },
    Shape {
        mib: 64,
        block: 1024,
        cluster: 8192,
        slots: 1,
        features: "metaecc",
    },
    Shape {
        mib: 96,
        block: 2048,
        cluster: 65536,
        slots: 2,
        features: "metaecc,usrquota,grpquota",
    },
    Shape {
        mib: 256,
        block: 4096,
        cluster: 1 << 20,
        slots: 1,
        features: "noinline-data",
    },
    Shape {
        mib: 64,
        block: 4096,
        cluster: 4096,
        slots: 2,
        features: "metaecc,refcount,usrquota,grpquota",
    },
    Shape {
        mib: 64,
        block: 4096,
        cluster: 4096,
        slots: 2,
        features: "noindexed-dirs,nometaecc",
    },
    Shape {
        mib: 64,
        block: 1024,
        cluster: 4096,
        slots: 1,
        features: "nosparse,nounwritten,noinline-data,norefcount",
    },
];

/// Mounts the volume on a device, and looks after the locks under which it is used.
pub(crate) fn mount_on(device: Arc<dyn BlockDevice>, options: &MountOptions) -> Result<FileSystem> {
    lock_judge::mount(&device, options)
}

impl Bed {
    pub(crate) fn new(shape: Shape) -> Bed {
        let device = MemDevice::new(shape.mib << 20);
        let mut options = MkfsOptions::default();
        options.mount = MountMode::Local;
        options.block_size = Some(shape.block);
        options.cluster_size = Some(shape.cluster);
        options.slots = Some(shape.slots);
        if !shape.features.is_empty() {
            let parsed = options.features.parse_list(shape.features);
            parsed.expect("features are spelled right");
        }
        let plan = Plan::new(device.geometry().len, &options).expect("the shape can be made");
        mkfs::format(&device, &plan, &mut |_| {}).expect("memory can be formatted");
        Bed {
            device: Arc::new(device),
        }
    }

    pub(crate) fn mount(&self) -> FileSystem {
        self.mount_with(&MountOptions::default())
    }

    pub(crate) fn mount_with(&self, options: &MountOptions) -> FileSystem {
        mount_on(self.device.clone(), options).expect("the volume can be mounted")
    }

    /// The volume, read by other code than what wrote it.
    pub(crate) fn volume(&self) -> Volume {
        Volume::open(self.device.clone(), &OpenOptions::default()).expect("the volume can be opened")
    }

    /// The bytes as of now, as a power cut would leave them if the device had no cache.
    pub(crate) fn snapshot(&self) -> Bed {
        Bed {
            device: Arc::new(self.device.snapshot()),
        }
    }

    /// Writes the volume to a sparse file.
    pub(crate) fn save(&self, path: &Path) {
        const STEP: usize = 1 << 20;
        let file = std::fs::File::create(path).expect("the file can be made");
        let len = self.device.geometry().len;
        file.set_len(len).expect("the file can be as long");
        let mut bytes = vec![0; STEP];
        for offset in (0..len).step_by(STEP) {
            let part = &mut bytes[..STEP.min((len - offset) as usize)];
            self.device.read(offset, part).expect("memory can be read");
            if part.iter().any(|&byte| byte != 0) {
                file.write_all_at(part, offset).expect("the file can be written");
            }
        }
    }

    /// Lets fsck.ocfs2 look, where it is installed.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        self.assert_clean_but(&[]);
    }

    /// The same where preallocation beyond the end of files is no problem, which fsck.ocfs2 says of the kernel's too.
    #[track_caller]
    pub(crate) fn assert_clean_but_for_preallocation(&self) {
        self.assert_clean_but(&["INODE_SPARSE_SIZE"]);
    }

    #[track_caller]
    fn assert_clean_but(&self, known: &[&str]) {
        if ocfs2_testkit::require_tool("fsck.ocfs2").is_none() {
            return;
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        let image = dir.path().join("volume");
        self.save(&image);
        let mut report = fsck(&image);
        report.problems.retain(|problem| !known.contains(&problem.as_str()));
        assert!(report.finished && report.problems.is_empty(), "{}", report.output);
    }
}

impl Bed {
    /// Lets fsck.ocfs2 recover a volume that crashed, and then find nothing to mend.
    #[track_caller]
    pub(crate) fn assert_recoverable(&self) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let image = dir.path().join("volume");
        self.save(&image);
        // It stops behind the replay of a journal and goes on when it is called again.
        let recover = || fsck_mend(&image);
        let said = recover() + &recover();
        if said.contains("INODE_ORPHANED") {
            // It deletes orphans, but not the clusters of their attributes and indexes.
            let left = fsck(&image);
            let is_leak = |problem: &String| problem == "CLUSTER_ALLOC_BIT";
            assert!(left.problems.iter().all(is_leak), "{}", left.output);
            recover();
        }
        fsck_clean(&image);
    }
}
