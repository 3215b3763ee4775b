//! Recognising volumes quickly: superblock and slot map, nothing else.
//!
//! Source: on-disk reference, sections 3, 27 and 29.

use std::sync::Arc;

use ocfs2_format::device::BlockDevice;
use ocfs2_format::{ClusterInfo, Geometry, NodeNum, SuperBlock};

use crate::error::Result;
use crate::superblock;
use crate::volume::{OpenOptions, Volume};

/// What a superblock says of its volume.
#[derive(Clone, Debug)]
pub struct Detected {
    geometry: Geometry,
    superblock: SuperBlock,
}

impl Detected {
    /// Looks for a superblock on a device.
    ///
    /// # Errors
    /// As [`Volume::open`].
    pub fn on(device: &dyn BlockDevice) -> Result<Detected> {
        let found = superblock::find_primary(device)?;
        Ok(Detected {
            geometry: found.geometry,
            superblock: *found.dinode().super_block(),
        })
    }

    /// Sizes and features.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The superblock's fields.
    pub fn superblock(&self) -> &SuperBlock {
        &self.superblock
    }

    /// The cluster that the volume is stamped for; `None` for a local volume and for the classic o2cb stack.
    pub fn cluster_info(&self) -> Option<&ClusterInfo> {
        self.geometry
            .features
            .cluster_info()
            .then_some(&self.superblock.s_cluster_info)
    }
}

/// The nodes that sit in a slot of the volume on a device, according to its slot map.
///
/// # Errors
/// As [`Volume::open`].
pub fn mounted_nodes(device: Arc<dyn BlockDevice>) -> Result<Vec<NodeNum>> {
    // The slot map is not journaled: no journal needs to be looked at.
    let options = OpenOptions {
        replay_journals: false,
        ..OpenOptions::default()
    };
    let map = Volume::open(device, &options)?.slot_map()?;
    Ok(map.used().map(|(_, node)| node).collect())
}
