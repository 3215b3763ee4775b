//! Attribute flags as chattr(1) takes them: `+i`, `-a`, `=dA`.

use ocfs2_format::InodeAttr;

/// A change of an inode's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagChange {
    /// Set these too.
    Add(InodeAttr),
    /// Clear these.
    Remove(InodeAttr),
    /// Set these and clear all others.
    Set(InodeAttr),
}

/// Letters and flags. Not all of them mean anything to the kernel driver, which stores them all the same.
const LETTERS: &[(char, InodeAttr)] = &[
    ('a', InodeAttr::APPEND),
    ('A', InodeAttr::NOATIME),
    ('c', InodeAttr::COMPRESS),
    ('d', InodeAttr::NODUMP),
    ('D', InodeAttr::DIRSYNC),
    ('i', InodeAttr::IMMUTABLE),
    ('s', InodeAttr::SECURE_DELETE),
    ('S', InodeAttr::SYNC),
    ('T', InodeAttr::TOPDIR),
    ('u', InodeAttr::UNDELETE),
];

impl FlagChange {
    /// Parses flags.
    ///
    /// # Errors
    /// A message for the user.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut letters = text.chars();
        let change = match letters.next() {
            Some('+') => FlagChange::Add,
            Some('-') => FlagChange::Remove,
            Some('=') => FlagChange::Set,
            _ => return Err(format!("'{text}': flags begin with +, - or =")),
        };
        let mut flags = InodeAttr::empty();
        for letter in letters {
            match LETTERS.iter().find(|(known, _)| *known == letter) {
                Some((_, flag)) => flags |= *flag,
                None => return Err(format!("'{text}': there is no flag {letter}; there are aAcdDisSTu")),
            }
        }
        Ok(change(flags))
    }

    /// The flags that come of `old`.
    pub(crate) fn apply(self, old: InodeAttr) -> InodeAttr {
        let known = LETTERS.iter().fold(InodeAttr::empty(), |all, (_, flag)| all | *flag);
        match self {
            FlagChange::Add(flags) => old | flags,
            FlagChange::Remove(flags) => old & !flags,
            FlagChange::Set(flags) => old & !known | flags,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_added_removed_and_set() {
        let apply = |text, old| FlagChange::parse(text).map(|change| change.apply(old));
        let (i, a, d) = (InodeAttr::IMMUTABLE, InodeAttr::APPEND, InodeAttr::NODUMP);
        assert_eq!(apply("+i", a), Ok(i | a));
        assert_eq!(apply("-ia", i | a | d), Ok(d));
        assert_eq!(apply("=d", i | a | InodeAttr::INDEX), Ok(d | InodeAttr::INDEX));
        assert!(apply("+q", a).is_err_and(|error| error.contains('q')));
        assert!(apply("i", a).is_err());
    }
}
