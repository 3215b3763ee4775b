//! Sizes on the command line.

/// Parses a byte count: a decimal number and an optional unit `b`, `k`, `m`, `g`, `t` or `p` of either case, 1024 based.
///
/// # Errors
/// A message for the user: not a number, unknown unit, or more than 64 bits.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..).map(str::to_ascii_lowercase).as_deref() {
        Some("" | "b") => 0,
        Some("k") => 10,
        Some("m") => 20,
        Some("g") => 30,
        Some("t") => 40,
        Some("p") => 50,
        _ => return Err(format!("'{text}' has a unit other than b, k, m, g, t, p")),
    };
    let count: u64 = digits.parse().map_err(|_| format!("'{text}' is not a size"))?;
    count
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("'{text}' does not fit in 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn units_are_powers_of_1024_in_either_case() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512b", 512),
            ("4K", 4096),
            ("4k", 4096),
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
            "4KiB",
            "4x",
            "-1",
            "1.5k",
            "16384P",
            "99999999999999999999",
            " 4",
            "4 k",
            "é",
        ] {
            let message = parse(text).expect_err(text);
            assert!(message.contains(text), "{message}");
        }
    }
}
