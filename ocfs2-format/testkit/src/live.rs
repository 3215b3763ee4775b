//! Volumes populated by the kernel during a test.
//!
//! Source: Linux 6.1 kernel behaviour.
//!
//! ```no_run
//! use ocfs2_testkit::{facts, live, require_kernel};
//!
//! # let image = std::path::Path::new("volume.img");
//! let Some(kernel) = require_kernel() else { return };
//! let script = format!(
//!     "{}\n{}",
//!     live::population_script(1, 2000),
//!     live::facts_script(),
//! );
//! let output = kernel.disk(image).script(script).run().expect("the kernel finishes").ok();
//! let lines = String::from_utf8(output.read(live::FACTS).expect("the script wrote them")).expect("JSON is text");
//! let facts = facts::parse(&lines).expect("they are facts");
//! ```

/// Script that mounts the first disk, makes `count` objects of all kinds, uses and removes some of them, and unmounts. The
/// same seed makes the same tree.
pub fn population_script(seed: u64, count: u32) -> String {
    format!(
        "set -e\nmount -t ocfs2 /dev/ubda /mnt/a\npython3 \"$KIT/populate.py\" /mnt/a {seed} {count}\numount /mnt/a\n"
    )
}

/// Script that mounts the first disk read-only and leaves what the kernel says of every object in [`FACTS`] of `$OUT`.
///
/// It mounts twice. When the journal is dirty, the first mount replays it, but with the root directory's inode in memory as
/// it was before: the kernel then shows a root directory that is neither old nor new.
pub fn facts_script() -> String {
    format!(
        "set -e\nmount -t ocfs2 -o ro,noatime /dev/ubda /mnt/a; umount /mnt/a\n\
         mount -t ocfs2 -o ro,noatime /dev/ubda /mnt/a\npython3 \"$KIT/facts.py\" /mnt/a >\"$OUT/{FACTS}\"\numount /mnt/a\n"
    )
}

/// Name of the file with the facts in `$OUT`.
pub const FACTS: &str = "facts.jsonl";
