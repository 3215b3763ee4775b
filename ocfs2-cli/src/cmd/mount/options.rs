//! The `-o` list: what concerns the volume goes to [`MountOptions`], what concerns the mount stays here.
//!
//! Source: mount(8), fuse(8); tools reference, section 8.

use ocfs2_fs::{MountOptions, OptionError};

/// What a list of options asks for. Later options count more than earlier ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// About the volume.
    pub(crate) volume: MountOptions,
    /// What the system is to enforce at the mount point.
    pub(crate) flags: Flags,
    /// Whether others than the one who mounts may enter; `None` when nothing was said.
    pub(crate) allow_other: Option<bool>,
    /// Whether permissions are not checked, so that the one who mounts can do what root could.
    pub(crate) fakeroot: bool,
    /// The partition that the volume is in.
    pub(crate) partition: Option<u32>,
    /// Look at a volume that others may be using.
    pub(crate) spectator: bool,
    /// What a change waits for.
    pub(crate) durable: Durable,
    /// Threads that serve requests.
    pub(crate) threads: Option<usize>,
    /// Whether the kernel may gather writes.
    pub(crate) writeback: bool,
}

/// Flags of a mount point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// No device files.
    pub(crate) nodev: bool,
    /// No set-user-ID programs.
    pub(crate) nosuid: bool,
    /// No programs.
    pub(crate) noexec: bool,
}

/// What is durable when the system call that changes it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Durable {
    /// Nothing.
    #[default]
    Nothing,
    /// Changes of directories.
    Names,
    /// Everything.
    Everything,
}

impl Wanted {
    /// Applies a comma-separated list.
    ///
    /// # Errors
    /// [`OptionError`], which names the option. With `sloppy`, unknown options are none.
    pub(crate) fn apply(&mut self, list: &str, sloppy: bool) -> Result<(), OptionError> {
        for option in list.split(',').filter(|option| !option.is_empty()) {
            match self.apply_one(option) {
                Err(OptionError::Unknown(_)) if sloppy => {}
                applied => applied?,
            }
        }
        Ok(())
    }

    fn apply_one(&mut self, option: &str) -> Result<(), OptionError> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(OptionError::Refused {
                option: option.to_owned(),
                why,
            });
        }
        let number = |wanted| {
            let number = value.and_then(|value| value.parse::<u32>().ok());
            number.filter(|&number| number > 0).ok_or_else(|| OptionError::Value {
                option: option.to_owned(),
                wanted,
            })
        };
        let on = match (name, value) {
            ("partition", _) => {
                self.partition = Some(number("takes the number of a partition, from 1")?);
                return Ok(());
            }
            ("max_threads", _) => {
                self.threads = Some(number("takes a number of threads, from 1")?.min(MAX_THREADS) as usize);
                return Ok(());
            }
            // Where mount.fuse and its like put what the mount table is to show; it shows what is true.
            ("fsname" | "subtype", Some(_)) => return Ok(()),
            (name, None) => name,
            _ => return self.volume.apply(option),
        };
        let flags = &mut self.flags;
        match on {
            "nodev" => flags.nodev = true,
            "dev" => flags.nodev = false,
            "nosuid" => flags.nosuid = true,
            "suid" => flags.nosuid = false,
            "noexec" => flags.noexec = true,
            "exec" => flags.noexec = false,
            // Who lets users mount does not let them smuggle in devices and programs: mount(8).
            "user" | "users" => (flags.nodev, flags.nosuid, flags.noexec) = (true, true, true),
            "owner" | "group" => (flags.nodev, flags.nosuid) = (true, true),
            "defaults" => {
                *flags = Flags::default();
                self.durable = Durable::Nothing;
                self.volume.read_only = false;
            }
            "sync" => self.durable = Durable::Everything,
            "dirsync" => self.durable = self.durable.max(Durable::Names),
            "async" => self.durable = Durable::Nothing,
            "allow_other" => self.allow_other = Some(true),
            "noallow_other" => self.allow_other = Some(false),
            "default_permissions" => self.fakeroot = false,
            "fakeroot" => self.fakeroot = true,
            "spectator" => self.spectator = true,
            "writeback_cache" => self.writeback = true,
            "nonempty" => {}
            _ => return self.volume.apply(option),
        }
        Ok(())
    }
}

/// More threads than this only get into each other's way.
const MAX_THREADS: u32 = 256;

/// Options that make sense elsewhere, and why not here.
const REFUSED: &[(&str, &str)] = &[
    ("allow_root", "allow_other lets root in, and everybody else"),
    (
        "auto_unmount",
        "a mount point that a crash has left is cleared by the next mount",
    ),
    ("dmask", "modes are those on the volume"),
    ("fmask", "modes are those on the volume"),
    ("gid", "owners are those on the volume"),
    ("lazytime", "times are written with the next commit anyway"),
    ("mand", "mandatory locks are gone from Linux"),
    (
        "noload",
        "journals are replayed; with ro in memory, and nothing is written",
    ),
    (
        "norecovery",
        "journals are replayed; with ro in memory, and nothing is written",
    ),
    ("offset", "use partition=N for the volume in a disk image"),
    ("sizelimit", "use partition=N for the volume in a disk image"),
    ("uid", "owners are those on the volume"),
    ("umask", "modes are those on the volume"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(list: &str) -> Result<Wanted, OptionError> {
        let mut wanted = Wanted::default();
        wanted.apply(list, false).map(|()| wanted)
    }

    #[test]
    fn options_of_the_mount_and_of_the_volume_share_a_list() {
        let wanted =
            parsed("ro,nosuid,nodev,dev,commit=30,allow_other,partition=2,_netdev,x-systemd.automount").unwrap();
        assert!(wanted.volume.read_only);
        assert_eq!(
            wanted.flags,
            Flags {
                nosuid: true,
                ..Flags::default()
            }
        );
        assert_eq!((wanted.allow_other, wanted.partition), (Some(true), Some(2)));
        assert_eq!(wanted.volume.commit_interval, Some(std::time::Duration::from_secs(30)));
    }

    #[test]
    fn mounts_for_users_are_harmless_unless_told_otherwise_behind() {
        let all = Flags {
            nodev: true,
            nosuid: true,
            noexec: true,
        };
        assert_eq!(parsed("user").unwrap().flags, all);
        assert!(!parsed("user,exec").unwrap().flags.noexec);
        assert!(parsed("exec,user").unwrap().flags.noexec);
        assert_eq!(parsed("user,defaults").unwrap().flags, Flags::default());
    }

    #[test]
    fn sync_is_more_than_dirsync() {
        assert_eq!(parsed("dirsync").unwrap().durable, Durable::Names);
        assert_eq!(parsed("sync,dirsync").unwrap().durable, Durable::Everything);
        assert_eq!(parsed("sync,async").unwrap().durable, Durable::Nothing);
    }

    #[test]
    fn what_is_refused_has_a_reason_and_what_is_unknown_is_sloppily_passed_over() {
        for (option, why) in REFUSED {
            let text = parsed(&format!("rw,{option}")).unwrap_err().to_string();
            assert!(text.contains(option) && text.contains(why), "{text}");
        }
        assert!(parsed("frobnicate=1").is_err());
        let mut wanted = Wanted::default();
        wanted.apply("frobnicate=1,ro", true).unwrap();
        assert!(wanted.volume.read_only);
        assert!(wanted.apply("uid=5", true).is_err(), "sloppy does not mean wrong");
    }
}
