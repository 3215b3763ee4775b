//! A wish for a volume, said to both makers of volumes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use ocfs2_format::device::{BlockDevice, FileDevice, FileOptions};
use ocfs2_fs::mkfs::{self, FeatureLevel, MkfsError, MkfsOptions, MountMode, Plan, VolumeType};
use ocfs2_testkit::tools::{Tool, ToolOutput};
use tempfile::TempDir;

/// A volume to be made.
#[derive(Clone, Debug, Default)]
pub(super) struct Spec {
    pub(super) size: u64,
    pub(super) block: Option<u32>,
    pub(super) cluster: Option<u32>,
    pub(super) slots: Option<u16>,
    pub(super) journal: Option<u64>,
    pub(super) block64: bool,
    pub(super) local: bool,
    pub(super) volume_type: Option<VolumeType>,
    pub(super) level: FeatureLevel,
    pub(super) features: &'static str,
    pub(super) no_backup: bool,
    pub(super) heartbeat: bool,
    pub(super) blocks: Option<u64>,
    pub(super) label: &'static str,
    pub(super) cluster_stack: Option<(&'static str, &'static str)>,
    pub(super) global_heartbeat: bool,
}

impl Spec {
    pub(super) fn new(size: u64) -> Spec {
        Spec {
            size,
            ..Spec::default()
        }
    }

    /// The options of mkfs.ocfs2.
    pub(super) fn args(&self) -> Vec<String> {
        let mut args = Vec::new();
        let mut arg = |text: String| args.push(text);
        self.block.iter().for_each(|bytes| arg(format!("-b{bytes}")));
        self.cluster.iter().for_each(|bytes| arg(format!("-C{bytes}")));
        self.slots.iter().for_each(|slots| arg(format!("-N{slots}")));
        self.journal.iter().for_each(|bytes| arg(format!("-Jsize={bytes}")));
        if self.block64 {
            arg("-Jblock64".to_owned());
        }
        if self.local {
            arg("-Mlocal".to_owned());
        }
        self.volume_type
            .iter()
            .for_each(|kind| arg(format!("-T{}", kind.name())));
        if self.level != FeatureLevel::Default {
            arg(format!("--fs-feature-level={}", self.level.name()));
        }
        if !self.features.is_empty() {
            arg(format!("--fs-features={}", self.features));
        }
        if self.no_backup {
            arg("--no-backup-super".to_owned());
        }
        if self.heartbeat {
            arg("-H".to_owned());
        }
        if !self.label.is_empty() {
            arg(format!("-L{}", self.label));
        }
        if let Some((stack, name)) = self.cluster_stack {
            arg(format!("--cluster-stack={stack}"));
            arg(format!("--cluster-name={name}"));
        }
        if self.global_heartbeat {
            arg("--global-heartbeat".to_owned());
        }
        args
    }

    /// The same for our library.
    pub(super) fn options(&self) -> MkfsOptions {
        let mut options = MkfsOptions::default();
        options.block_size = self.block;
        options.cluster_size = self.cluster;
        options.slots = self.slots;
        options.journal_size = self.journal;
        options.journal_block64 = self.block64;
        if self.local {
            options.mount = MountMode::Local;
        }
        options.volume_type = self.volume_type;
        options.features.level = self.level;
        options.features.parse_list(self.features).expect("features that exist");
        options.backup_super = !self.no_backup;
        options.heartbeat_device = self.heartbeat;
        options.blocks = self.blocks;
        options.label = self.label.as_bytes().to_vec();
        if let Some((stack, name)) = self.cluster_stack {
            options.cluster.stack = Some(stack.to_owned());
            options.cluster.name = Some(name.to_owned());
        }
        options.cluster.global_heartbeat = self.global_heartbeat;
        options
    }

    /// Makes the volume with mkfs.ocfs2 in a new file.
    pub(super) fn make_reference(&self, tool: &Tool, path: &Path) -> ToolOutput {
        sparse_file(path, self.size);
        let tool = tool.clone().args(["-q", "-x", "-F"]).args(self.args()).arg(path);
        let blocks = self.blocks.map(|blocks| blocks.to_string());
        tool.args(blocks).run()
    }

    /// Makes the volume with our library in a new file.
    pub(super) fn make_ours(&self, options: &MkfsOptions, path: &Path) -> Result<Plan, MkfsError> {
        sparse_file(path, self.size);
        let device = FileDevice::open(path, &FileOptions::new().writable(true))?;
        let plan = Plan::new(device.geometry().len, options)?;
        mkfs::format(&device, &plan, &mut |_| {})?;
        Ok(plan)
    }
}

fn sparse_file(path: &Path, size: u64) {
    let _ = std::fs::remove_file(path);
    File::create_new(path)
        .and_then(|file| file.set_len(size))
        .expect("a sparse file");
}

/// A directory for sparse images: in memory where the tools can work there (they insist on direct I/O), since
/// deleting volumes from a file system takes longer than making them.
pub(super) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let in_memory = tempfile::tempdir_in(memory).ok().filter(|dir| {
        let probe = dir.path().join("probe");
        let direct = FileOptions::new().direct(true);
        let works = FileDevice::create(&probe, 1 << 20, &direct).is_ok();
        let _ = std::fs::remove_file(probe);
        works
    });
    in_memory.unwrap_or_else(|| tempfile::tempdir().expect("a directory"))
}

/// Runs `check` for every item, in as many threads as there are processors but not more than two: the machine has other
/// tests to run.
pub(super) fn for_each_in_parallel<T: Sync>(items: &[T], check: impl Fn(&T, &Path) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        let dir = scratch();
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            check(item, dir.path());
        }
    };
    std::thread::scope(|scope| {
        let helper = scope.spawn(work);
        work();
        helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Two files of a directory: for the reference's volume and for ours.
pub(super) fn pair(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("reference.img"), dir.join("ours.img"))
}
