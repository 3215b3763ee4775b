//! Finding user-mode Linux and its modules.

use std::path::{Path, PathBuf};

use crate::tools::find_program;

/// Everything needed to boot.
#[derive(Clone, Debug)]
pub(super) struct Install {
    pub(super) linux: PathBuf,
    pub(super) modules: PathBuf,
    pub(super) release: String,
}

/// What is missing to run the real kernel.
#[derive(Debug, thiserror::Error)]
#[error("{what} not installed (Debian package {package})")]
pub struct Missing {
    what: String,
    package: &'static str,
}

impl Install {
    pub(super) fn find() -> Result<Self, Missing> {
        let linux = find_program("linux.uml").ok_or_else(|| Missing {
            what: "the real kernel, linux.uml, is".to_owned(),
            package: "user-mode-linux",
        })?;
        for (program, package) in [
            ("modprobe", "kmod"),
            ("bash", "bash"),
            ("stty", "coreutils"),
            ("mount", "mount"),
            ("python3", "python3"),
        ] {
            if find_program(program).is_none() {
                return Err(Missing {
                    what: format!("{program}, which the guest kernel needs, is"),
                    package,
                });
            }
        }
        let modules = PathBuf::from(MODULES);
        let release = newest_release(&modules).ok_or_else(|| Missing {
            what: "the guest kernel's ocfs2 module is".to_owned(),
            package: "user-mode-linux",
        })?;
        Ok(Self {
            linux,
            modules,
            release,
        })
    }
}

/// Several versions of the package may have left modules; the binary fits the newest.
fn newest_release(modules: &Path) -> Option<String> {
    std::fs::read_dir(modules)
        .ok()?
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("kernel/fs/ocfs2/ocfs2.ko").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .max_by_key(|release| {
            release
                .split(|c: char| !c.is_ascii_digit())
                .map(|n| n.parse().unwrap_or(0))
                .collect::<Vec<u32>>()
        })
}

const MODULES: &str = "/usr/lib/uml/modules";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_release_with_an_ocfs2_module_is_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        for (release, file) in [("6.1.9", "ocfs2.ko"), ("6.1.176", "ocfs2.ko"), ("6.12.1", "other.ko")] {
            let fs = dir.path().join(release).join("kernel/fs/ocfs2");
            std::fs::create_dir_all(&fs).expect("a directory");
            std::fs::write(fs.join(file), "").expect("a file");
        }
        assert_eq!(newest_release(dir.path()).as_deref(), Some("6.1.176"));
        assert_eq!(newest_release(&dir.path().join("absent")), None);
    }
}
