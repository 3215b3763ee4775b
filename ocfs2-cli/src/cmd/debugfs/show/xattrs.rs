//! Areas of extended attributes.

use std::io::{self, Write};

use ocfs2_fs::inspect::RawXattrs;
use serde_json::{Value, json};

use super::{extents, set, set_text};

/// The entries of an area, without their names: scripts know this table.
pub(in super::super) fn entries(out: &mut dyn Write, area: &RawXattrs<'_>) -> io::Result<()> {
    writeln!(
        out,
        "\t###   {:<4}   {:<6}  {:<13}  Value Length",
        "Type", "Inline", "Name Length"
    )?;
    for (index, entry) in area.entries().iter().enumerate() {
        writeln!(
            out,
            "\t#{index:<2}   {:<4}   {:<6}  {:<13}  {:<13}",
            entry.namespace_index(),
            u8::from(entry.is_local()),
            entry.xe_name_len,
            entry.xe_value_size.get()
        )?;
        if let Some(root) = area.value_root(entry) {
            extents::list(out, root.list())?;
        }
    }
    Ok(())
}

/// The entries of an area in JSON, names included.
pub(in super::super) fn entries_json(area: &RawXattrs<'_>) -> Value {
    let entries = area.entries().iter().map(|entry| {
        let mut object = json!({});
        set_text(&mut object, "name", &area.name(entry));
        for (key, value) in [
            ("xe_name_hash", u64::from(entry.xe_name_hash.get())),
            ("xe_name_offset", entry.xe_name_offset.get().into()),
            ("xe_name_len", entry.xe_name_len.into()),
            ("xe_type", entry.xe_type.into()),
            ("xe_value_size", entry.xe_value_size.get()),
        ] {
            set(&mut object, key, value);
        }
        if let Some(value) = area.local_value(entry) {
            set_text(&mut object, "value", value);
        }
        if let Some(root) = area.value_root(entry) {
            set(&mut object, "xr_clusters", root.xv.xr_clusters.get());
            set(&mut object, "xr_list", extents::list_json(root.list()));
        }
        object
    });
    entries.collect()
}
