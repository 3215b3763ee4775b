//! `mounted.ocfs2`: which devices hold volumes, and which nodes have them mounted.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ocfs2_format::NodeNum;
use ocfs2_format::device::{self, FileOptions};
use ocfs2_fs::{Detected, mounted_nodes};
use serde::Serialize;

use crate::cmd::Run;
use crate::exit::Exit;
use crate::text::printable;
use crate::ui::{OutputArgs, Ui};

/// Detect OCFS2 volumes, and the nodes that have them mounted
///
/// Looks at the devices and image files given, or at every block device of this machine. What holds no volume, or cannot be
/// read, is passed over.
#[derive(Debug, clap::Parser)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  mounted.ocfs2 -d\n  mounted.ocfs2 -f /dev/sdb1 disk.img"
)]
pub(crate) struct Args {
    /// Quick: show cluster stack, UUID and label (the default)
    #[arg(short = 'd', overrides_with = "full")]
    quick: bool,
    /// Full: show the nodes that sit in the volume's slots
    #[arg(short = 'f', overrides_with = "quick")]
    full: bool,
    /// Say which device is being looked at
    #[arg(short, long)]
    verbose: bool,
    /// Devices or image files
    #[arg(value_name = "DEVICE")]
    devices: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// One volume found.
#[derive(Debug, Serialize)]
struct Found {
    device: String,
    /// `None` for local volumes.
    stack: Option<String>,
    cluster: Option<String>,
    global_heartbeat: bool,
    heartbeat_device: bool,
    uuid: String,
    label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Nodes>,
}

/// Who has a volume mounted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Nodes {
    Mounted(Vec<Node>),
    Unknown(String),
}

#[derive(Debug, Serialize)]
struct Node {
    number: u32,
    /// Name in this machine's cluster configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let devices = if self.devices.is_empty() {
            block_devices()?
        } else {
            self.devices.clone()
        };
        let names = if self.full {
            node_names(Path::new(CLUSTER_CONF))
        } else {
            BTreeMap::new()
        };
        let mut found = Vec::new();
        for path in devices {
            if self.verbose {
                ui.say(format_args!("Probing device {}", path.display()));
            }
            found.extend(self.probe(&path, &names));
        }
        if ui.is_json() {
            ui.begin_list("volumes")?;
            for volume in &found {
                ui.item(volume)?;
            }
            return Ok(Exit::OK);
        }
        self.print(&found, ui)?;
        Ok(Exit::OK)
    }
}

impl Args {
    fn probe(&self, path: &Path, names: &BTreeMap<u32, String>) -> Option<Found> {
        let device = device::open(path, &FileOptions::new(), None).ok()?;
        let detected = Detected::on(device.as_ref()).ok()?;
        let features = detected.geometry().features;
        let info = detected.cluster_info();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let no_stack = features.local();
        let node = |NodeNum(number): NodeNum| Node {
            number,
            name: names.get(&number).cloned(),
        };
        let nodes = || match mounted_nodes(device.clone()) {
            Ok(nodes) => Nodes::Mounted(nodes.into_iter().map(node).collect()),
            Err(error) => Nodes::Unknown(error.to_string()),
        };
        Some(Found {
            device: path.display().to_string(),
            stack: (!no_stack).then(|| info.map_or("o2cb".to_owned(), |info| text(info.stack()))),
            cluster: info.filter(|_| !no_stack).map(|info| text(info.cluster())),
            global_heartbeat: info
                .is_some_and(|info| info.flags().contains(ocfs2_format::StackFlags::GLOBAL_HEARTBEAT)),
            heartbeat_device: features.heartbeat_device(),
            uuid: detected.superblock().uuid_text(),
            label: text(detected.superblock().label()),
            nodes: (self.full && !features.heartbeat_device()).then(nodes),
        })
    }

    fn print(&self, found: &[Found], ui: &mut Ui) -> anyhow::Result<()> {
        let width = |head: &str, column: fn(&Found) -> &str| {
            let longest = found
                .iter()
                .map(|volume| column(volume).chars().count())
                .max()
                .unwrap_or(0);
            longest.max(head.len())
        };
        let stack = |volume: &Found| volume.stack.clone().unwrap_or_else(|| "None".to_owned());
        // The traditional table leaves room for seven characters here.
        let device_width = width("Device ", |volume| &volume.device);
        let stack_width = found
            .iter()
            .map(|volume| stack(volume).len())
            .max()
            .unwrap_or(0)
            .max("Stack".len());
        let cluster_width = width("Cluster", |volume| volume.cluster.as_deref().unwrap_or(""));
        let last = if self.full {
            "Nodes".to_owned()
        } else {
            format!("{:<32}  Label", "UUID")
        };
        writeln!(
            ui,
            "{:<device_width$}  {:<stack_width$}  {:<cluster_width$}  F  {last}",
            "Device", "Stack", "Cluster"
        )?;
        for volume in found {
            let last = match &volume.nodes {
                _ if self.full && volume.heartbeat_device => "Heartbeat device".to_owned(),
                Some(Nodes::Unknown(error)) => format!("Unknown: {error}"),
                Some(Nodes::Mounted(nodes)) if nodes.is_empty() => "Not mounted".to_owned(),
                Some(Nodes::Mounted(nodes)) => {
                    let name = |node: &Node| node.name.clone().unwrap_or_else(|| node.number.to_string());
                    nodes.iter().map(name).collect::<Vec<_>>().join(", ")
                }
                None => format!("{}  {}", volume.uuid, printable(volume.label.as_bytes())),
            };
            let flag = if volume.global_heartbeat { "G" } else { "" };
            let cluster = volume.cluster.as_deref().unwrap_or("");
            writeln!(
                ui,
                "{:<device_width$}  {:<stack_width$}  {cluster:<cluster_width$}  {flag:<1}  {last}",
                volume.device,
                stack(volume)
            )?;
        }
        Ok(())
    }
}

/// The block devices of this machine, as the kernel lists them.
pub(crate) fn block_devices() -> std::io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/partitions")?;
    let names = table.lines().skip(2).filter_map(|line| line.split_whitespace().nth(3));
    Ok(names.map(|name| Path::new("/dev").join(name)).collect())
}

const CLUSTER_CONF: &str = "/etc/ocfs2/cluster.conf";

/// The names that the nodes have in this machine's cluster configuration; none where there is no such file.
fn node_names(path: &Path) -> BTreeMap<u32, String> {
    parse_node_names(&fs::read_to_string(path).unwrap_or_default())
}

/// Node stanzas: a line `node:`, then indented `key = value` lines, among them `number` and `name`.
fn parse_node_names(text: &str) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    let (mut number, mut name) = (None, None);
    for line in text.lines().chain(["end:"]) {
        if !line.starts_with(char::is_whitespace) && line.trim_end().ends_with(':') {
            if let (Some(number), Some(name)) = (number.take(), name.take()) {
                names.insert(number, name);
            }
            continue;
        }
        match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some(("number", value)) => number = value.parse().ok(),
            Some(("name", value)) => name = Some(value.to_owned()),
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::parse_node_names;

    #[test]
    fn node_names_come_from_node_stanzas_only() {
        let text = "cluster:\n\tname = mycl\n\tnode_count = 2\n\nnode:\n\tcluster = mycl\n\tnumber = 3\n\tname = n3\n\n\
                    node:\n\tnumber = 0\n\tname = n0\n";
        let names = parse_node_names(text);
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            [(0, "n0".to_owned()), (3, "n3".to_owned())]
        );
    }
}
