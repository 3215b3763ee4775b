//! Mount options as text, spelled as mount(8) and the kernel driver spell them.
//!
//! Source: tools reference, section 8.

use std::time::Duration;

use ocfs2_format::SlotNum;

use super::{Atime, DataMode, MountOptions, OnError};

/// A mount option that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// No such option.
    #[error("unknown mount option {0:?}")]
    Unknown(String),
    /// The option needs another value, or one at all, or none.
    #[error("mount option {option:?}: {wanted}")]
    Value {
        /// The option as given.
        option: String,
        /// What it takes.
        wanted: &'static str,
    },
    /// The option is known, and makes no sense here.
    #[error("mount option {option:?} is not supported: {why}")]
    Refused {
        /// The option as given.
        option: String,
        /// Why not.
        why: &'static str,
    },
}

impl MountOptions {
    /// Applies a comma-separated list of options, later ones over earlier ones.
    ///
    /// Understood are `ro`, `rw`, `defaults`, `atime`, `noatime`, `relatime`, `strictatime`, `atime_quantum=SECONDS`,
    /// `data=ordered|writeback`, `commit=SECONDS`, `errors=remount-ro|continue`, `barrier=1`, `preferred_slot=N`,
    /// `localalloc=MIB`, `resv_level=N`, `dir_resv_level=N`, `inode64`, `acl`, `noacl`, `user_xattr`, `nouser_xattr`,
    /// `usrquota`, `grpquota`, `noquota`, `nocluster`, `coherency=full|buffered`, `localflocks`, `heartbeat=none`, `intr`,
    /// `nointr`, and what mount(8) and fstab(5) know besides and says nothing to a file system (`_netdev`, `auto`, …).
    ///
    /// # Errors
    /// [`OptionError`], which names the option; nothing has been applied then.
    pub fn apply(&mut self, list: &str) -> Result<(), OptionError> {
        let mut parsed = self.clone();
        for option in list.split(',').filter(|option| !option.is_empty()) {
            parsed.apply_one(option)?;
        }
        *self = parsed;
        Ok(())
    }

    fn apply_one(&mut self, option: &str) -> Result<(), OptionError> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let wants = |wanted| {
            Err(OptionError::Value {
                option: option.to_owned(),
                wanted,
            })
        };
        let refuse = |why| {
            Err(OptionError::Refused {
                option: option.to_owned(),
                why,
            })
        };
        let number = |wanted| match value.and_then(|value| value.parse::<u32>().ok()) {
            Some(number) => Ok(number),
            None => Err(OptionError::Value {
                option: option.to_owned(),
                wanted,
            }),
        };
        match (name, value) {
            ("commit", _) => {
                let seconds = number("takes seconds, 0 for the default")?;
                let seconds = if seconds == 0 { 5 } else { seconds };
                self.commit_interval = Some(Duration::from_secs(seconds.into()));
            }
            ("atime_quantum", _) => {
                self.atime = Atime::Quantum(Duration::from_secs(number("takes seconds")?.into()));
            }
            ("preferred_slot", _) => {
                // A slot that the volume does not have is no preference, as with the kernel driver.
                let slot = number("takes a slot number")?;
                self.preferred_slot = u16::try_from(slot).ok().map(SlotNum);
            }
            ("localalloc", _) => self.local_alloc_mib = Some(number("takes MiB")?),
            ("resv_level", _) => self.reservation_level = level(number("takes 0 to 8")?, self.reservation_level),
            ("dir_resv_level", _) => {
                self.dir_reservation_level = level(number("takes 0 to 8")?, self.dir_reservation_level);
            }
            ("data", Some("ordered")) => self.data = DataMode::Ordered,
            ("data", Some("writeback")) => self.data = DataMode::Writeback,
            ("data", _) => return wants("takes ordered or writeback"),
            ("errors", Some("remount-ro")) => self.on_error = OnError::ReadOnly,
            ("errors", Some("continue")) => self.on_error = OnError::Continue,
            ("errors", Some("panic")) => return refuse("a library does not stop the machine"),
            ("errors", _) => return wants("takes remount-ro or continue"),
            ("barrier", Some("1")) => {}
            ("barrier", Some("0")) => return refuse("without flushes a power cut damages the volume"),
            ("barrier", _) => return wants("takes 1"),
            ("coherency", Some("full" | "buffered")) => {}
            ("coherency", _) => return wants("takes full or buffered"),
            ("heartbeat", Some("none")) => {}
            ("heartbeat", _) => return refuse("only none: the volume is mounted without a cluster"),
            ("cluster_stack", _) => return refuse("the volume is mounted without a cluster"),
            ("journal_async_commit", None) => {
                return refuse("it marks the journal so that fsck.ocfs2 and tunefs.ocfs2 refuse the volume");
            }
            (_, Some(_)) if NO_VALUE.contains(&name) => return wants("takes no value"),
            ("ro", None) => self.read_only = true,
            ("rw", None) => self.read_only = false,
            ("noatime", None) => self.atime = Atime::Never,
            ("relatime", None) => self.atime = Atime::Relative,
            ("atime", None) => self.atime = MountOptions::default().atime,
            ("strictatime", None) => self.atime = Atime::Quantum(Duration::ZERO),
            ("inode64", None) => self.inode64 = true,
            ("acl", None) => self.acl = true,
            ("noacl", None) => self.acl = false,
            ("user_xattr", None) => self.user_xattr = true,
            ("nouser_xattr", None) => self.user_xattr = false,
            ("usrquota", None) => self.user_quota = true,
            ("grpquota", None) => self.group_quota = true,
            ("noquota", None) => (self.user_quota, self.group_quota) = (false, false),
            ("nocluster", None) => self.no_cluster = true,
            ("remount", None) => return refuse("unmount and mount again"),
            ("bind", None) => return refuse("a bind mount is the system's business"),
            ("datavolume", None) => return refuse("an option of OCFS2 1.2"),
            (name, None) if NO_EFFECT.contains(&name) => {}
            // What other tools leave in fstab for themselves.
            (name, _) if name.starts_with("x-") || name.starts_with("comment") => {}
            _ => return Err(OptionError::Unknown(option.to_owned())),
        }
        Ok(())
    }
}

/// A level out of range changes nothing, as with the kernel driver.
fn level(wanted: u32, old: u8) -> u8 {
    match u8::try_from(wanted) {
        Ok(level @ 0..=8) => level,
        _ => old,
    }
}

/// Options that something else than the file system acts on, or that say what is the case anyway.
const NO_EFFECT: &[&str] = &[
    "_netdev",
    "async",
    "auto",
    "defaults",
    "dev",
    "dirsync",
    "diratime",
    "exec",
    "group",
    "intr",
    "kudzu",
    "localflocks",
    "loop",
    "loud",
    "managed",
    "nodev",
    "nodiratime",
    "noauto",
    "noexec",
    "nofail",
    "nogroup",
    "nointr",
    "nomand",
    "nosuid",
    "nosub",
    "nouser",
    "owner",
    "pamconsole",
    "quiet",
    "silent",
    "sub",
    "suid",
    "sync",
    "user",
    "users",
];

const NO_VALUE: &[&str] = &[
    "ro",
    "rw",
    "noatime",
    "relatime",
    "atime",
    "strictatime",
    "inode64",
    "acl",
    "noacl",
    "user_xattr",
    "nouser_xattr",
    "nocluster",
    "remount",
    "bind",
    "datavolume",
    "journal_async_commit",
    "defaults",
    "noquota",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(list: &str) -> Result<MountOptions, OptionError> {
        let mut options = MountOptions::default();
        options.apply(list).map(|()| options)
    }

    #[test]
    fn an_fstab_line_is_understood() {
        let options =
            parsed("_netdev,noatime,data=writeback,commit=30,errors=continue,noacl,x-systemd.automount").unwrap();
        assert_eq!(options.atime, Atime::Never);
        assert_eq!(options.data, DataMode::Writeback);
        assert_eq!(options.commit_interval, Some(Duration::from_secs(30)));
        assert_eq!(options.on_error, OnError::Continue);
        assert!(!options.acl);
        assert!(!options.read_only);
    }

    #[test]
    fn later_options_win_and_levels_out_of_range_change_nothing() {
        let options = parsed("ro,rw,resv_level=9,dir_resv_level=4,commit=0,preferred_slot=70000").unwrap();
        assert!(!options.read_only);
        assert_eq!(options.reservation_level, 2);
        assert_eq!(options.dir_reservation_level, 4);
        assert_eq!(options.commit_interval, Some(Duration::from_secs(5)));
        assert_eq!(options.preferred_slot, None);
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        for (list, named) in [
            ("rw,frobnicate", "frobnicate"),
            ("commit=often", "commit=often"),
            ("errors=panic", "errors=panic"),
            ("errors", "errors"),
            ("ro=1", "ro=1"),
            ("barrier=0", "barrier=0"),
            ("heartbeat=local", "heartbeat=local"),
            ("journal_async_commit", "journal_async_commit"),
        ] {
            let error = parsed(list).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_list_with_an_error_changes_nothing() {
        let mut options = MountOptions::default();
        options.apply("ro,frobnicate").unwrap_err();
        assert!(!options.read_only);
    }
}
