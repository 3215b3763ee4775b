//! Test support for the workspace: the real kernel, the reference tools, golden images.
//!
//! * [`kernel`] runs a bash script inside a real Linux kernel with its own OCFS2 driver (user-mode Linux).
//! * [`facts`] is what that kernel reported from a mounted volume, object by object.
//! * [`live`] has scripts that populate a volume during a test.
//! * [`golden`] is the collection of volumes made by the reference mkfs and the kernel, each with its facts.
//! * [`tools`] runs the reference programs (mkfs.ocfs2, fsck.ocfs2, debugfs.ocfs2, ...) and reads what they say.
//!
//! No test may fail because an oracle is not installed: ask for it with [`require_kernel`] or [`require_tool`] and return
//! when the answer is `None`. The absence is said aloud, and is a failure where `OCFS2_REQUIRE_REFERENCE=1`.
//!
//! ```no_run
//! use ocfs2_testkit::{fsck_clean, require_kernel, require_tool};
//!
//! # let image = std::path::Path::new("volume.img");
//! let Some(mkfs) = require_tool("mkfs.ocfs2") else { return };
//! let Some(kernel) = require_kernel() else { return };
//! mkfs.args(["-q", "-x", "-M", "local"]).arg(image).run().ok();
//! let output = kernel.disk(image).script("mount -t ocfs2 /dev/ubda /mnt/a && echo hello > /mnt/a/hello").run();
//! assert_eq!(output.expect("the kernel finishes the script").status, 0);
//! fsck_clean(image);
//! ```

pub mod facts;
pub mod golden;
pub mod kernel;
pub mod live;
mod require;
pub mod tools;

pub use kernel::Kernel;
pub use require::{require_fuse, require_fuse_for_users, require_kernel, require_root, require_tool, skip};
pub use tools::{fsck_clean, reference};
