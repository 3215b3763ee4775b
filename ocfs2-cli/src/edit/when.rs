//! Times as touch(1) takes them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp as Instant, Zoned};
use ocfs2_fs::Timestamp;

/// Parses a time: `now`, `@SECONDS`, or a date with or without time of day, fraction and offset, in the user's time zone
/// unless it says otherwise.
///
/// # Errors
/// A message for the user.
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    let invalid = || format!("'{text}' is not a time: now, @SECONDS, or as 2026-11-22 13:45:59.5+01:00");
    if text == "now" {
        return Ok(of(Instant::now()));
    }
    if let Some(seconds) = text.strip_prefix('@') {
        let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
        let is_digits = fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
        let secs = whole.parse().ok().filter(|_| is_digits).ok_or_else(invalid)?;
        let nanos = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
        return Ok(Timestamp { secs, nanos });
    }
    if let Ok(instant) = text.parse::<Instant>() {
        return Ok(of(instant));
    }
    if let Ok(zoned) = text.parse::<Zoned>() {
        return Ok(of(zoned.timestamp()));
    }
    let local: DateTime = text.parse().map_err(|_| invalid())?;
    let zoned = local.to_zoned(TimeZone::system()).map_err(|_| invalid())?;
    Ok(of(zoned.timestamp()))
}

/// A point on the calendar as inodes store it.
fn of(instant: Instant) -> Timestamp {
    let nanos = instant.as_nanosecond();
    // The calendar ends long before 2^63 seconds.
    Timestamp {
        secs: nanos.div_euclid(1_000_000_000) as i64,
        nanos: nanos.rem_euclid(1_000_000_000) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        let time = |secs, nanos| Ok(Timestamp { secs, nanos });
        assert_eq!(parse("@1700000000.25"), time(1_700_000_000, 250_000_000));
        assert_eq!(parse("@-5"), time(-5, 0));
        assert_eq!(parse("2001-09-09T01:46:40Z"), time(1_000_000_000, 0));
        assert_eq!(parse("2001-09-09 03:46:40.000000001+02:00"), time(1_000_000_000, 1));
        assert!(parse("1969-12-31T23:59:59.5Z").is_ok_and(|time| time.secs == -1 && time.nanos == 500_000_000));
        assert!(parse("2001-09-09").is_ok() && parse("2001-09-09 01:46").is_ok() && parse("now").is_ok());
        for text in ["", "yesterday", "@", "@1.2.3", "2001-13-01"] {
            assert!(parse(text).is_err_and(|error| error.contains(text)), "{text}");
        }
    }
}
