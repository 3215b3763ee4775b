//! Words for people: names, permissions, owners, times, sizes.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt::Write;

use jiff::Zoned;
use jiff::tz::TimeZone;
use ocfs2_format::FileKind;
use ocfs2_fs::Timestamp;
use uzers::{Groups, Users, UsersCache};

/// A name as it can be shown on a terminal: control bytes, and what is not UTF-8, as escapes.
pub(crate) fn printable(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(name)
        && !text.contains(char::is_control)
    {
        return text.into();
    }
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.into()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Type and permissions as `ls -l` shows them: `drwxr-xr-x`.
pub(crate) fn permissions(kind: FileKind, mode: u32) -> String {
    let kind = match kind {
        FileKind::Regular => '-',
        FileKind::Directory => 'd',
        FileKind::CharDevice => 'c',
        FileKind::BlockDevice => 'b',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
        FileKind::Symlink => 'l',
    };
    format!("{kind}{}", permission_bits(mode))
}

/// Permission bits of a mode as nine characters, as ls(1) shows them.
pub(crate) fn permission_bits(mode: u32) -> String {
    let mut text = String::new();
    for (shift, special, both, alone) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => both,
            (true, false) => alone,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// A type of file in words.
pub(crate) fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Regular => "regular file",
        FileKind::Directory => "directory",
        FileKind::CharDevice => "character device",
        FileKind::BlockDevice => "block device",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::Symlink => "symbolic link",
    }
}

/// The names of this system's users and groups.
#[derive(Default)]
pub(crate) struct People {
    cache: UsersCache,
}

impl std::fmt::Debug for People {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("People").finish_non_exhaustive()
    }
}

impl People {
    /// The name of a user, if the number has one here.
    pub(crate) fn user(&self, uid: u32) -> Option<String> {
        Some(self.cache.get_user_by_uid(uid)?.name().to_string_lossy().into_owned())
    }

    /// The name of a group, if the number has one here.
    pub(crate) fn group(&self, gid: u32) -> Option<String> {
        Some(self.cache.get_group_by_gid(gid)?.name().to_string_lossy().into_owned())
    }

    /// The number of the user called `name`, or the number that `name` is.
    pub(crate) fn find_user(&self, name: &str) -> Option<u32> {
        self.cache
            .get_user_by_name(name)
            .map(|user| user.uid())
            .or_else(|| name.parse().ok())
    }

    /// The group that the user called `name` has on login.
    pub(crate) fn login_group(&self, name: &str) -> Option<u32> {
        let by_name = self.cache.get_user_by_name(name);
        let user = by_name.or_else(|| self.cache.get_user_by_uid(name.parse().ok()?))?;
        Some(user.primary_group_id())
    }

    /// The number of the group called `name`, or the number that `name` is.
    pub(crate) fn find_group(&self, name: &str) -> Option<u32> {
        self.cache
            .get_group_by_name(name)
            .map(|group| group.gid())
            .or_else(|| name.parse().ok())
    }
}

/// Shows times in the user's time zone.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    zone: OnceCell<(TimeZone, jiff::Timestamp)>,
}

impl Clock {
    /// The moment the command began.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.start().1
    }

    fn start(&self) -> &(TimeZone, jiff::Timestamp) {
        self.zone.get_or_init(|| (TimeZone::system(), jiff::Timestamp::now()))
    }

    fn local(&self, time: Timestamp) -> Option<Zoned> {
        Some(instant(time)?.to_zoned(self.start().0.clone()))
    }

    /// As `ls -l`: the time of day for the last half year, else the year.
    pub(crate) fn short(&self, time: Timestamp) -> String {
        const HALF_YEAR_SECS: i64 = 31_556_952 / 2;
        let Some(local) = self.local(time) else {
            return beyond_calendar(time);
        };
        let age = self.now().as_second().saturating_sub(time.secs);
        local
            .strftime(if (0..HALF_YEAR_SECS).contains(&age) {
                "%b %e %H:%M"
            } else {
                "%b %e  %Y"
            })
            .to_string()
    }

    /// Date, time with nanoseconds and zone: `2026-11-21 19:27:09.687646157 +0000`.
    pub(crate) fn full(&self, time: Timestamp) -> String {
        self.format(time, "%Y-%m-%d %H:%M:%S.%9f %z")
    }

    /// By a strftime(3) pattern.
    pub(crate) fn format(&self, time: Timestamp, pattern: &str) -> String {
        self.local(time)
            .map_or_else(|| beyond_calendar(time), |local| local.strftime(pattern).to_string())
    }
}

/// A stored time as a point on the calendar; `None` when it is beyond year 9999 or has an impossible fraction.
pub(crate) fn instant(time: Timestamp) -> Option<jiff::Timestamp> {
    // A negative time still counts its nanoseconds forward.
    let nanos = i32::try_from(time.nanos).ok().filter(|&nanos| nanos < 1_000_000_000)?;
    jiff::Timestamp::from_second(time.secs)
        .ok()?
        .checked_add(jiff::SignedDuration::from_nanos(nanos.into()))
        .ok()
}

fn beyond_calendar(time: Timestamp) -> String {
    format!("@{}", time.secs)
}

/// Bytes with a unit, three or four characters wide as `ls -h` shows them: `512`, `1.5K`, `23M`. Rounded up.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut unit = 1u128;
    for (index, name) in UNITS.iter().enumerate() {
        unit *= 1024;
        let tenths = (u128::from(bytes) * 10).div_ceil(unit);
        if tenths < 100 {
            return format!("{}.{}{name}", tenths / 10, tenths % 10);
        }
        let whole = u128::from(bytes).div_ceil(unit);
        if whole < 1024 || index + 1 == UNITS.len() {
            return format!("{whole}{name}");
        }
    }
    unreachable!("the last unit always fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bytes_and_broken_utf8_cannot_reach_a_terminal() {
        assert_eq!(printable("grüße 漢".as_bytes()), "grüße 漢");
        assert_eq!(printable(b"a\x1b[2Jb\n\xffz"), "a\\u{1b}[2Jb\\n\\xffz");
    }

    #[test]
    fn permissions_show_the_special_bits() {
        assert_eq!(permissions(FileKind::Directory, 0o041_777), "drwxrwxrwt");
        assert_eq!(permissions(FileKind::Regular, 0o106_640), "-rwSr-S---");
        assert_eq!(permissions(FileKind::Regular, 0o104_755), "-rwsr-xr-x");
    }

    #[test]
    fn sizes_round_up_like_ls() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1025, "1.1K"),
            (10 * 1024, "10K"),
            (10 * 1024 + 1, "11K"),
            ((1 << 20) - 1, "1.0M"),
            (5 << 30, "5.0G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(human_size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn times_off_the_calendar_are_shown_as_seconds() {
        let clock = Clock::default();
        assert_eq!(
            clock.full(Timestamp {
                secs: i64::MAX,
                nanos: 0
            }),
            format!("@{}", i64::MAX)
        );
        assert_eq!(
            clock.full(Timestamp {
                secs: 0,
                nanos: u32::MAX
            }),
            "@0"
        );
    }
}
