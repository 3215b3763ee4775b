//! Which cluster a volume is stamped with when the command line names none.
//!
//! Source: the behaviour of mkfs.ocfs2 1.8.7; Linux 6.1 kernel behaviour: the files of o2cb in sysfs and configfs.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::bail;
use ocfs2_format::{ClusterInfo, FeatureIncompat, StackFlags};
use ocfs2_fs::mkfs::MkfsOptions;

/// A cluster by its name, and the stack that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cluster {
    stack: String,
    name: String,
    global_heartbeat: bool,
}

impl Cluster {
    /// The o2cb cluster that this machine is a member of.
    ///
    /// Other stacks tell the name of their cluster only through their own daemons, which are not asked.
    pub(super) fn running() -> Option<Self> {
        Self::running_under(Path::new("/sys"))
    }

    fn running_under(sys: &Path) -> Option<Self> {
        let stack = fs::read_to_string(sys.join("fs/ocfs2/cluster_stack")).ok()?;
        if stack.trim_end() != O2CB {
            return None;
        }
        // The kernel allows one at a time.
        let entries = fs::read_dir(sys.join("kernel/config/cluster")).ok()?;
        let cluster = entries.flatten().find(|entry| entry.path().is_dir())?;
        let mode = fs::read_to_string(cluster.path().join("heartbeat/mode")).unwrap_or_default();
        Some(Self {
            stack: O2CB.to_owned(),
            name: cluster.file_name().into_string().ok()?,
            global_heartbeat: mode.trim_end() == "global",
        })
    }

    /// The cluster that a volume is stamped with.
    pub(super) fn of_volume(info: &ClusterInfo) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            stack: text(info.stack()),
            name: text(info.cluster()),
            global_heartbeat: info.flags().contains(StackFlags::GLOBAL_HEARTBEAT),
        }
    }

    /// Whether nodes show that they are alive elsewhere than on the volume itself.
    pub(super) fn beats_elsewhere(&self) -> bool {
        self.stack != O2CB || self.global_heartbeat
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heartbeat = match (self.stack.as_str(), self.global_heartbeat) {
            (O2CB, true) => ", global heartbeat",
            (O2CB, false) => ", local heartbeat",
            _ => "",
        };
        write!(f, "'{}' ({}{heartbeat})", self.name, self.stack)
    }
}

/// Completes the wishes of the command line: the running cluster comes before that of the volume which is overwritten.
///
/// An o2cb cluster with local heartbeat needs no stamp, and gets none unless the `clusterinfo` feature is asked for.
///
/// # Errors
/// Where the command line names another cluster than the running one, unless forced: this machine could not mount the
/// volume.
pub(super) fn settle(
    options: &mut MkfsOptions,
    running: Option<Cluster>,
    existing: Option<Cluster>,
    forced: bool,
) -> anyhow::Result<()> {
    let wanted = &mut options.cluster;
    if wanted.stack.is_some() || wanted.name.is_some() || wanted.global_heartbeat {
        let (Some(stack), Some(name), Some(running)) = (&wanted.stack, &wanted.name, running) else {
            return Ok(());
        };
        let wanted = Cluster {
            stack: stack.clone(),
            name: name.clone(),
            global_heartbeat: wanted.global_heartbeat,
        };
        if wanted != running && !forced {
            bail!(
                "the cluster asked for, {wanted}, is not the one that runs here, {running}: this machine could not mount \
                 the volume. To make it all the same, use -F"
            );
        }
        return Ok(());
    }
    if options.is_local() {
        return Ok(());
    }
    let stamp = options
        .features
        .features()
        .incompat
        .contains(FeatureIncompat::CLUSTERINFO);
    if let Some(cluster) = running
        .or(existing)
        .filter(|cluster| stamp || cluster.beats_elsewhere())
    {
        options.cluster.stack = Some(cluster.stack);
        options.cluster.name = Some(cluster.name);
        options.cluster.global_heartbeat = cluster.global_heartbeat;
    }
    Ok(())
}

const O2CB: &str = "o2cb";

#[cfg(test)]
mod tests {
    use ocfs2_fs::mkfs::MountMode;

    use super::*;

    fn cluster(name: &str, global_heartbeat: bool) -> Cluster {
        Cluster {
            stack: O2CB.to_owned(),
            name: name.to_owned(),
            global_heartbeat,
        }
    }

    fn settled(mut options: MkfsOptions, running: Option<Cluster>, existing: Option<Cluster>) -> Option<String> {
        settle(&mut options, running, existing, false).expect("nothing to refuse");
        options.cluster.name
    }

    #[test]
    fn the_running_cluster_comes_before_that_of_the_old_volume() {
        let (running, existing) = (Some(cluster("here", true)), Some(cluster("there", true)));
        let name = settled(MkfsOptions::default(), running, existing.clone());
        assert_eq!(name.as_deref(), Some("here"));
        assert_eq!(
            settled(MkfsOptions::default(), None, existing).as_deref(),
            Some("there")
        );
    }

    #[test]
    fn a_cluster_with_local_heartbeat_is_stamped_only_when_asked_for() {
        let running = Some(cluster("here", false));
        // It hides the old volume's all the same.
        let existing = Some(cluster("there", true));
        assert_eq!(settled(MkfsOptions::default(), running.clone(), existing), None);
        let mut options = MkfsOptions::default();
        options.features.parse_list("clusterinfo").expect("a feature");
        assert_eq!(settled(options, running, None).as_deref(), Some("here"));
    }

    #[test]
    fn local_volumes_belong_to_no_cluster() {
        let mut options = MkfsOptions::default();
        options.mount = MountMode::Local;
        assert_eq!(settled(options, Some(cluster("here", true)), None), None);
    }

    #[test]
    fn another_cluster_than_the_running_one_is_refused_unless_forced() {
        let mut options = MkfsOptions::default();
        options.cluster.stack = Some(O2CB.to_owned());
        options.cluster.name = Some("here".to_owned());
        let other = Some(cluster("here", true));
        let error = settle(&mut options, other.clone(), None, false).expect_err("another heartbeat mode");
        assert!(error.to_string().contains("'here' (o2cb, global heartbeat)"), "{error}");
        settle(&mut options, other, None, true).expect("forced");
        settle(&mut options, Some(cluster("here", false)), None, false).expect("the same");
        assert_eq!(options.cluster.name.as_deref(), Some("here"));
    }

    #[test]
    fn the_running_cluster_is_read_from_sysfs_and_configfs() {
        let sys = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let path = sys.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        assert_eq!(Cluster::running_under(sys.path()), None);
        write("fs/ocfs2/cluster_stack", "o2cb\n");
        assert_eq!(Cluster::running_under(sys.path()), None);
        write("kernel/config/cluster/mycl/heartbeat/mode", "global\n");
        assert_eq!(Cluster::running_under(sys.path()), Some(cluster("mycl", true)));
        write("fs/ocfs2/cluster_stack", "pcmk\n");
        assert_eq!(Cluster::running_under(sys.path()), None);
    }
}
