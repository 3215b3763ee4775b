//! Numbers and sizes on the command line.

/// Parses a number as C writes it: decimal, hexadecimal with `0x` in front, or octal with `0` in front.
///
/// # Errors
/// A message for the user: not a number, or more than 64 bits.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    let (digits, base) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return Err(format!("'{text}' is not a number"));
    }
    u64::from_str_radix(digits, base).map_err(|_| format!("'{text}' does not fit in 64 bits"))
}

/// Parses a byte count: a [`number`] and an optional unit `b`, `k`, `m`, `g`, `t` or `p` of either case, 1024 based, which
/// may be written out as `KB` or `KiB`.
///
/// # Errors
/// A message for the user: not a number, unknown unit, or more than 64 bits.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    let is_digit = |c: char| {
        if hexadecimal {
            c.is_ascii_hexdigit()
        } else {
            c.is_ascii_digit()
        }
    };
    let prefix = if hexadecimal { 2 } else { 0 };
    let end = text[prefix..]
        .find(|c| !is_digit(c))
        .map_or(text.len(), |end| prefix + end);
    let (digits, unit) = text.split_at(end);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(format!("'{text}' has a unit other than b, k, m, g, t, p")),
    };
    let count = number(digits).map_err(|_| format!("'{text}' is not a size"))?;
    count
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("'{text}' does not fit in 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::{number, parse};

    #[test]
    fn numbers_are_read_as_c_writes_them() {
        for (text, value) in [
            ("0", 0),
            ("10", 10),
            ("010", 8),
            ("0x10", 16),
            ("0XfF", 255),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        for text in ["", "08", "0x", "4x", "+4", "-1", " 4", "0x+4", "18446744073709551616"] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn units_are_powers_of_1024_in_either_case() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512b", 512),
            ("4K", 4096),
            ("4k", 4096),
            ("4KiB", 4096),
            ("4kb", 4096),
            ("0x4k", 4096),
            ("0x1b", 27),
            ("010K", 8192),
            ("3m", 3 << 20),
            ("2G", 2 << 30),
            ("1t", 1 << 40),
            ("8P", 8 << 50),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_text_in_the_message() {
        for text in [
            "",
            "k",
            "4KiBs",
            "4x",
            "-1",
            "1.5k",
            "16384P",
            "99999999999999999999",
            " 4",
            "4 k",
            "0x",
            "0xk",
            "09",
            "é",
            "0é",
        ] {
            let message = parse(text).expect_err(text);
            assert!(message.contains(text), "{message}");
        }
    }
}
