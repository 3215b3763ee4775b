//! Shell patterns over bytes, as fnmatch(3) without flags matches them: `*` and `?` match `/` too.
//!
//! A character is a UTF-8 sequence; a byte that is part of none counts as a character.

/// A shell pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    any_case: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Exactly this character.
    One(u32),
    /// `?`
    Any,
    /// `*`
    Run,
    /// `[a-z]`, or the others with `[!a-z]`.
    Set { ranges: Vec<(u32, u32)>, inverted: bool },
}

impl Pattern {
    /// Reads a pattern. A bracket without its end stands for itself.
    pub(super) fn new(text: &[u8], any_case: bool) -> Self {
        let chars = characters(text, any_case);
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(&c) = chars.get(at) {
            at += 1;
            parts.push(match char::from_u32(c) {
                Some('?') => Part::Any,
                Some('*') => Part::Run,
                Some('[') => match set(&chars[at..]) {
                    Some((set, len)) => {
                        at += len;
                        set
                    }
                    None => Part::One(c),
                },
                Some('\\') if at < chars.len() => {
                    at += 1;
                    Part::One(chars[at - 1])
                }
                _ => Part::One(c),
            });
        }
        parts.dedup_by(|a, b| *a == Part::Run && *b == Part::Run);
        Self { parts, any_case }
    }

    /// Whether the whole of `name` matches.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        let name = characters(name, self.any_case);
        let (mut part, mut at) = (0, 0);
        // The last `*`, and where in the name it is taken to end: moved on when what follows does not match.
        let mut run: Option<(usize, usize)> = None;
        while at < name.len() {
            let fits = match self.parts.get(part) {
                Some(Part::Run) => {
                    run = Some((part, at));
                    part += 1;
                    continue;
                }
                Some(Part::Any) => true,
                Some(Part::One(c)) => *c == name[at],
                Some(Part::Set { ranges, inverted }) => {
                    ranges.iter().any(|&(from, to)| (from..=to).contains(&name[at])) != *inverted
                }
                None => false,
            };
            match &mut run {
                _ if fits => {
                    part += 1;
                    at += 1;
                }
                Some((run, end)) => {
                    *end += 1;
                    (part, at) = (*run + 1, *end);
                }
                None => return false,
            }
        }
        self.parts[part..].iter().all(|part| *part == Part::Run)
    }
}

/// The set behind a `[`, and how many characters it takes.
fn set(chars: &[u32]) -> Option<(Part, usize)> {
    let is = |at: usize, c: char| chars.get(at) == Some(&u32::from(c));
    let inverted = is(0, '!') || is(0, '^');
    let first = usize::from(inverted);
    let mut ranges = Vec::new();
    let mut at = first;
    // A `]` in the first place is a member.
    while at == first || !is(at, ']') {
        at += usize::from(is(at, '\\'));
        let from = *chars.get(at)?;
        if is(at + 1, '-') && !is(at + 2, ']') && chars.len() > at + 2 {
            ranges.push((from, chars[at + 2]));
            at += 3;
        } else {
            ranges.push((from, from));
            at += 1;
        }
    }
    Some((Part::Set { ranges, inverted }, at + 1))
}

/// The characters of a text; bytes that are no UTF-8 as numbers beyond all characters.
fn characters(text: &[u8], lower: bool) -> Vec<u32> {
    const BYTES: u32 = char::MAX as u32 + 1;
    let mut chars = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        if lower {
            chars.extend(valid.chars().flat_map(char::to_lowercase).map(u32::from));
        } else {
            chars.extend(valid.chars().map(u32::from));
        }
        chars.extend(chunk.invalid().iter().map(|&byte| BYTES + u32::from(byte)));
    }
    chars
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, yes, no) in [
            ("*.txt", "a.txt", "a.txt2"),
            ("a*b*c", "aXbbYc", "aXbbY"),
            ("?", "ü", "ab"),
            ("[a-c]x", "bx", "dx"),
            ("[!a-c]x", "dx", "bx"),
            ("[]]", "]", "["),
            ("[a-]", "-", "b"),
            ("\\*", "*", "x"),
            ("[", "[", "x"),
            ("", "", "x"),
            ("**a", "bba", "bb"),
        ] {
            assert!(
                Pattern::new(pattern.as_bytes(), false).matches(yes.as_bytes()),
                "{pattern} {yes}"
            );
            assert!(
                !Pattern::new(pattern.as_bytes(), false).matches(no.as_bytes()),
                "{pattern} {no}"
            );
        }
    }

    #[test]
    fn stars_match_slashes() {
        assert!(Pattern::new(b"/a*z", false).matches(b"/a/b/z"));
    }

    #[test]
    fn case_is_ignored_only_when_asked() {
        assert!(Pattern::new(b"*.TXT", true).matches("Ä.txt".as_bytes()));
        assert!(!Pattern::new(b"*.TXT", false).matches(b"a.txt"));
    }

    #[test]
    fn names_that_are_not_utf8_match() {
        assert!(Pattern::new(b"a?b", false).matches(b"a\xffb"));
        assert!(Pattern::new(b"a\xffb", false).matches(b"a\xffb"));
        assert!(!Pattern::new(b"a\xffb", false).matches(b"a\xfeb"));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = Pattern::new(&b"*a".repeat(60), false);
        assert!(!pattern.matches(&[b'a'; 59]));
        assert!(!pattern.matches(&[b"a".repeat(250), b"b".to_vec()].concat()));
    }
}
