//! Modes as chmod(1) takes them: octal, or symbolic as `u+x,go=rX`.

use ocfs2_format::FileKind;

/// A change of permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModeChange(Vec<Clause>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clause {
    /// Exactly these bits. The set-ID bits of a directory stay unless they are all written out, with five digits.
    Octal { bits: u32, all: bool },
    Symbolic {
        /// Bits of the classes named; `None` for all of them but what the umask leaves out.
        who: Option<u32>,
        action: Action,
        what: What,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// These bits of every class; execution for files only if somebody may execute them already, with `search`.
    Bits { bits: u32, search: bool },
    /// What this class, by its shift, has.
    Copy(u32),
}

const ALL: u32 = 0o7777;
const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o1007;
const SET_IDS: u32 = 0o6000;

impl ModeChange {
    /// Parses a mode.
    ///
    /// # Errors
    /// A message for the user.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("'{text}' is not a mode");
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok().filter(|&bits| bits <= ALL);
            let bits = bits.ok_or_else(invalid)?;
            let all = text.len() > 4;
            return Ok(Self(vec![Clause::Octal { bits, all }]));
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let actions = clause.find(['+', '-', '=']).ok_or_else(invalid)?;
            let (classes, mut rest) = clause.split_at(actions);
            let mut who = (!classes.is_empty()).then_some(0);
            for class in classes.chars() {
                let bits = match class {
                    'u' => USER,
                    'g' => GROUP,
                    'o' => OTHER,
                    'a' => ALL,
                    _ => return Err(invalid()),
                };
                who = who.map(|who| who | bits);
            }
            while let Some(sign) = rest.chars().next() {
                let action = match sign {
                    '+' => Action::Add,
                    '-' => Action::Remove,
                    '=' => Action::Set,
                    _ => return Err(invalid()),
                };
                rest = &rest[1..];
                let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
                let what = What::parse(&rest[..end]).ok_or_else(invalid)?;
                rest = &rest[end..];
                clauses.push(Clause::Symbolic { who, action, what });
            }
        }
        Ok(Self(clauses))
    }

    /// The bits that come of `mode`.
    pub(crate) fn apply(&self, mode: u32, kind: FileKind, umask: u32) -> u32 {
        let is_dir = kind == FileKind::Directory;
        self.0.iter().fold(mode & ALL, |mode, clause| match *clause {
            Clause::Octal { bits, all: false } if is_dir => bits | mode & SET_IDS,
            Clause::Octal { bits, .. } => bits,
            Clause::Symbolic { who, action, what } => {
                let affected = who.unwrap_or(ALL);
                let (mut bits, named) = what.bits(mode, is_dir);
                bits &= affected;
                if who.is_none() {
                    bits &= !(umask & 0o777);
                }
                match action {
                    Action::Add => mode | bits,
                    Action::Remove => mode & !bits,
                    // Those of directories are a way of life, not a privilege: only by name.
                    Action::Set if is_dir => mode & (!affected | SET_IDS & !named) | bits,
                    Action::Set => mode & !affected | bits,
                }
            }
        })
    }
}

impl What {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "u" => return Some(What::Copy(6)),
            "g" => return Some(What::Copy(3)),
            "o" => return Some(What::Copy(0)),
            _ => {}
        }
        let (mut bits, mut search) = (0, false);
        for permission in text.chars() {
            match permission {
                'r' => bits |= 0o444,
                'w' => bits |= 0o222,
                'x' => bits |= 0o111,
                's' => bits |= SET_IDS,
                't' => bits |= 0o1000,
                'X' => search = true,
                _ => return None,
            }
        }
        Some(What::Bits { bits, search })
    }

    /// The bits meant, given what the mode is now, and those that were named.
    fn bits(self, mode: u32, is_dir: bool) -> (u32, u32) {
        match self {
            What::Copy(shift) => ((mode >> shift & 7) * 0o111, 0),
            What::Bits { bits, search } if search && (is_dir || mode & 0o111 != 0) => (bits | 0o111, bits),
            What::Bits { bits, .. } => (bits, bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, mode: u32, kind: FileKind) -> u32 {
        ModeChange::parse(text).expect(text).apply(mode, kind, 0o022)
    }

    #[test]
    fn modes_change_as_chmod_changes_them() {
        for (text, before, after) in [
            ("644", 0o4755, 0o644),
            ("+x", 0o644, 0o755),
            ("+w", 0o444, 0o644),
            ("a+w", 0o444, 0o666),
            ("u+s,g-r", 0o755, 0o4715),
            ("u=rwx,go=rX", 0o600, 0o755),
            ("go=rX", 0o600, 0o644),
            ("g=u,o=", 0o751, 0o770),
            ("u-w+x", 0o644, 0o544),
            ("a=", 0o7777, 0),
            ("=r", 0o777, 0o444),
            ("o+t", 0o777, 0o1777),
            ("ug+s", 0o755, 0o6755),
        ] {
            assert_eq!(applied(text, before, FileKind::Regular), after, "{text}");
        }
    }

    #[test]
    fn set_ids_of_directories_go_only_when_named() {
        for (text, before, after) in [
            ("755", 0o2700, 0o2755),
            ("00755", 0o2700, 0o755),
            ("u=rwx,g=rx", 0o2700, 0o2750),
            ("g-s", 0o2755, 0o755),
            ("a+X", 0o600, 0o711),
        ] {
            assert_eq!(applied(text, before, FileKind::Directory), after, "{text}");
        }
    }

    #[test]
    fn what_is_no_mode_is_named() {
        for text in ["", "8", "10000", "u", "x", "+q", "u+x,", "z+r", "77777"] {
            let error = ModeChange::parse(text).expect_err(text);
            assert!(error.contains(text), "{error}");
        }
    }
}
