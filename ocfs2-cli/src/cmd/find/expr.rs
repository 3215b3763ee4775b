//! Expressions of find(1): what is wanted, and what is done with it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use ocfs2_format::FileKind;
use ocfs2_fs::{Inode, Timestamp};

use crate::target::Target;
use crate::text::{People, printable};
use crate::ui::usage_error;

use super::Found;
use super::pattern::Pattern;

/// Parentheses and negations inside each other.
const MAX_NESTING: usize = 256;

/// An expression, and how deep to look.
#[derive(Debug)]
pub(super) struct Expression {
    root: Node,
    pub(super) min_depth: usize,
    pub(super) max_depth: usize,
}

/// Something to do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Print,
    Print0,
    Ls,
    Prune,
    Quit,
}

#[derive(Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test(Test),
    Do(Action),
}

#[derive(Debug)]
enum Test {
    Constant(bool),
    Name(Pattern),
    Path(Pattern),
    Kind(Vec<FileKind>),
    Size {
        count: Count,
        unit: u64,
    },
    Number(fn(&Inode) -> u64, Count),
    Owner(fn(&Inode) -> u32, u32),
    Age {
        time: fn(&Inode) -> Timestamp,
        count: Count,
        unit_secs: i64,
    },
    Newer {
        than: Target,
        time: Option<Timestamp>,
    },
    Mode {
        bits: u32,
        how: ModeMatch,
    },
    Empty,
}

#[derive(Clone, Copy, Debug)]
enum ModeMatch {
    Is,
    All,
    Any,
}

/// A number to compare with: `N`, `+N` or `-N`.
#[derive(Clone, Copy, Debug)]
enum Count {
    Is(u64),
    More(u64),
    Less(u64),
}

impl Count {
    fn parse(text: &str) -> Option<Self> {
        let digits = |text: &str| {
            text.parse()
                .ok()
                .filter(|_| text.starts_with(|c: char| c.is_ascii_digit()))
        };
        Some(match text.as_bytes().first()? {
            b'+' => Self::More(digits(&text[1..])?),
            b'-' => Self::Less(digits(&text[1..])?),
            _ => Self::Is(digits(text)?),
        })
    }

    fn fits(self, number: u64) -> bool {
        match self {
            Self::Is(n) => number == n,
            Self::More(n) => number > n,
            Self::Less(n) => number < n,
        }
    }
}

impl Expression {
    /// Reads an expression.
    pub(super) fn parse(words: &[OsString], people: &People) -> anyhow::Result<Self> {
        let mut parser = Parser {
            words: words.iter(),
            people,
            min_depth: 0,
            max_depth: usize::MAX,
            acts: false,
            nesting: 0,
        };
        let mut root = Node::All(Vec::new());
        if !words.is_empty() {
            root = parser.any()?;
            if let Some(word) = parser.words.next() {
                return Err(usage_error(format_args!(
                    "unexpected '{}' in the expression",
                    word.display()
                )));
            }
        }
        if !parser.acts {
            root = Node::All(vec![root, Node::Do(Action::Print)]);
        }
        Ok(Self {
            root,
            min_depth: parser.min_depth,
            max_depth: parser.max_depth,
        })
    }

    /// Looks up the files that `-newer` compares with.
    pub(super) fn resolve(
        &mut self,
        look_up: &mut dyn FnMut(&Target) -> anyhow::Result<Timestamp>,
    ) -> anyhow::Result<()> {
        self.root.resolve(look_up)
    }

    /// Whether a file fulfils the expression; calls `act` for the actions on the way.
    pub(super) fn judge(
        &self,
        found: &Found<'_>,
        now: jiff::Timestamp,
        act: &mut dyn FnMut(Action) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        self.root.judge(found, now, act)
    }
}

impl Node {
    fn resolve(&mut self, look_up: &mut dyn FnMut(&Target) -> anyhow::Result<Timestamp>) -> anyhow::Result<()> {
        match self {
            Self::All(nodes) | Self::Any(nodes) => nodes.iter_mut().try_for_each(|node| node.resolve(look_up)),
            Self::Not(node) => node.resolve(look_up),
            Self::Test(Test::Newer { than, time }) => {
                *time = Some(look_up(than)?);
                Ok(())
            }
            Self::Test(_) | Self::Do(_) => Ok(()),
        }
    }

    fn judge(
        &self,
        found: &Found<'_>,
        now: jiff::Timestamp,
        act: &mut dyn FnMut(Action) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        match self {
            Self::All(nodes) => {
                for node in nodes {
                    if !node.judge(found, now, act)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Any(nodes) => {
                for node in nodes {
                    if node.judge(found, now, act)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(node) => Ok(!node.judge(found, now, act)?),
            Self::Test(test) => test.judge(found, now),
            Self::Do(action) => {
                act(*action)?;
                Ok(true)
            }
        }
    }
}

impl Test {
    fn judge(&self, found: &Found<'_>, now: jiff::Timestamp) -> anyhow::Result<bool> {
        let inode = found.inode;
        Ok(match self {
            Self::Constant(value) => *value,
            Self::Name(pattern) => pattern.matches(base_name(found.path)),
            Self::Path(pattern) => pattern.matches(found.path),
            Self::Kind(kinds) => kinds.contains(&inode.kind()),
            Self::Size { count, unit } => count.fits(inode.size().div_ceil(*unit)),
            Self::Number(number, count) => count.fits(number(inode)),
            Self::Owner(owner, id) => owner(inode) == *id,
            Self::Age { time, count, unit_secs } => {
                let age_secs = now.as_second().saturating_sub(time(inode).secs);
                // A time in the future is no age; find(1) counts it as less than any.
                match u64::try_from(age_secs.div_euclid(*unit_secs)) {
                    Ok(age) => count.fits(age),
                    Err(_) => matches!(count, Count::Less(_)),
                }
            }
            Self::Newer { time, .. } => time.is_some_and(|time| inode.mtime() > time),
            Self::Mode { bits, how } => {
                let mode = inode.mode() & 0o7777;
                match how {
                    ModeMatch::Is => mode == *bits,
                    ModeMatch::All => mode & bits == *bits,
                    ModeMatch::Any => *bits == 0 || mode & bits != 0,
                }
            }
            Self::Empty => match inode.kind() {
                FileKind::Regular => inode.size() == 0,
                FileKind::Directory => {
                    let mut entries = found.volume.entries(inode)?;
                    // A directory that cannot be read is reported when the walk enters it.
                    !entries.any(|entry| entry.map_or(true, |entry| !entry.is_dot()))
                }
                _ => false,
            },
        })
    }
}

/// The last component of a path; `/` for the root.
fn base_name(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |at| at + 1);
    let start = path[..end]
        .iter()
        .rposition(|&byte| byte == b'/')
        .map_or(0, |at| at + 1);
    if end == 0 {
        &path[..path.len().min(1)]
    } else {
        &path[start..end]
    }
}

struct Parser<'a> {
    words: std::slice::Iter<'a, OsString>,
    people: &'a People,
    min_depth: usize,
    max_depth: usize,
    acts: bool,
    nesting: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&[u8]> {
        self.words.as_slice().first().map(|word| word.as_bytes())
    }

    /// `EXPR -o EXPR …`
    fn any(&mut self) -> anyhow::Result<Node> {
        let mut nodes = vec![self.all()?];
        while matches!(self.peek(), Some(b"-o" | b"-or")) {
            self.words.next();
            nodes.push(self.all()?);
        }
        Ok(Node::Any(nodes))
    }

    /// `EXPR EXPR …`, `EXPR -a EXPR …`
    fn all(&mut self) -> anyhow::Result<Node> {
        let mut nodes = vec![self.one()?];
        loop {
            match self.peek() {
                None | Some(b"-o" | b"-or" | b")") => return Ok(Node::All(nodes)),
                Some(b"-a" | b"-and") => {
                    self.words.next();
                }
                Some(_) => {}
            }
            nodes.push(self.one()?);
        }
    }

    fn one(&mut self) -> anyhow::Result<Node> {
        let Some(word) = self.words.next() else {
            return Err(usage_error("the expression ends where a condition is expected"));
        };
        if matches!(word.as_bytes(), b"(" | b"!" | b"-not") {
            self.nesting += 1;
            if self.nesting > MAX_NESTING {
                return Err(usage_error(format_args!(
                    "more than {MAX_NESTING} parentheses and negations"
                )));
            }
        }
        match word.as_bytes() {
            b"(" => {
                let node = self.any()?;
                match self.words.next() {
                    Some(word) if word == ")" => Ok(node),
                    _ => Err(usage_error("a ( without its )")),
                }
            }
            b"!" | b"-not" => Ok(Node::Not(Box::new(self.one()?))),
            b"-print" => Ok(self.act(Action::Print)),
            b"-print0" => Ok(self.act(Action::Print0)),
            b"-ls" => Ok(self.act(Action::Ls)),
            b"-quit" => Ok(self.act(Action::Quit)),
            // The only action that does not replace printing.
            b"-prune" => Ok(Node::Do(Action::Prune)),
            other => self.test(other).map(Node::Test),
        }
    }

    fn act(&mut self, action: Action) -> Node {
        self.acts = true;
        Node::Do(action)
    }

    fn test(&mut self, word: &[u8]) -> anyhow::Result<Test> {
        let name = printable(word).into_owned();
        Ok(match word {
            b"-true" => Test::Constant(true),
            b"-false" => Test::Constant(false),
            b"-empty" => Test::Empty,
            b"-name" | b"-iname" => Test::Name(Pattern::new(self.value(&name)?.as_bytes(), word == b"-iname")),
            b"-path" | b"-ipath" => Test::Path(Pattern::new(self.value(&name)?.as_bytes(), word == b"-ipath")),
            b"-type" => Test::Kind(self.parsed(&name, kinds)?),
            b"-size" => self.parsed(&name, size)?,
            b"-inum" => Test::Number(|inode| inode.number().0, self.parsed(&name, Count::parse)?),
            b"-links" => Test::Number(|inode| inode.links().into(), self.parsed(&name, Count::parse)?),
            b"-uid" => Test::Number(|inode| inode.uid().into(), self.parsed(&name, Count::parse)?),
            b"-gid" => Test::Number(|inode| inode.gid().into(), self.parsed(&name, Count::parse)?),
            b"-user" => Test::Owner(Inode::uid, self.owner(&name, People::find_user)?),
            b"-group" => Test::Owner(Inode::gid, self.owner(&name, People::find_group)?),
            b"-perm" => self.parsed(&name, mode)?,
            b"-newer" => Test::Newer {
                than: self.value(&name)?.clone().into(),
                time: None,
            },
            b"-mtime" | b"-mmin" => self.age(&name, Inode::mtime)?,
            b"-atime" | b"-amin" => self.age(&name, Inode::atime)?,
            b"-ctime" | b"-cmin" => self.age(&name, Inode::ctime)?,
            b"-maxdepth" => {
                self.max_depth = self.parsed(&name, |text| text.parse().ok())?;
                Test::Constant(true)
            }
            b"-mindepth" => {
                self.min_depth = self.parsed(&name, |text| text.parse().ok())?;
                Test::Constant(true)
            }
            _ => {
                return Err(usage_error(format_args!(
                    "'{name}' is no condition or action known here"
                )));
            }
        })
    }

    fn age(&mut self, name: &str, time: fn(&Inode) -> Timestamp) -> anyhow::Result<Test> {
        let unit_secs = if name.ends_with("min") { 60 } else { 86_400 };
        Ok(Test::Age {
            time,
            count: self.parsed(name, Count::parse)?,
            unit_secs,
        })
    }

    fn owner(&mut self, name: &str, find: fn(&People, &str) -> Option<u32>) -> anyhow::Result<u32> {
        let people = self.people;
        self.parsed(name, |text| find(people, text))
    }

    fn value(&mut self, name: &str) -> anyhow::Result<&OsString> {
        self.words
            .next()
            .ok_or_else(|| usage_error(format_args!("{name} needs a value")))
    }

    fn parsed<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> anyhow::Result<T> {
        let value = self.value(name)?;
        value
            .to_str()
            .and_then(parse)
            .ok_or_else(|| usage_error(format_args!("'{}' is no value for {name}", value.display())))
    }
}

fn kinds(text: &str) -> Option<Vec<FileKind>> {
    let kind = |letter: &str| {
        Some(match letter {
            "b" => FileKind::BlockDevice,
            "c" => FileKind::CharDevice,
            "d" => FileKind::Directory,
            "p" => FileKind::Fifo,
            "f" => FileKind::Regular,
            "l" => FileKind::Symlink,
            "s" => FileKind::Socket,
            _ => return None,
        })
    };
    text.split(',').map(kind).collect()
}

fn size(text: &str) -> Option<Test> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "b" => 512,
        "c" => 1,
        "w" => 2,
        "k" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    Some(Test::Size {
        count: Count::parse(digits)?,
        unit,
    })
}

fn mode(text: &str) -> Option<Test> {
    let (how, digits) = match text.as_bytes().first()? {
        b'-' => (ModeMatch::All, &text[1..]),
        b'/' => (ModeMatch::Any, &text[1..]),
        _ => (ModeMatch::Is, text),
    };
    let bits = u32::from_str_radix(digits, 8)
        .ok()
        .filter(|&bits| bits <= 0o7777 && !digits.starts_with('+'))?;
    Some(Test::Mode { bits, how })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> anyhow::Result<Expression> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        Expression::parse(&words, &People::default())
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            &["-nmae", "x"][..],
            &["-name"],
            &["("],
            &["(", "-true"],
            &[")"],
            &["-true", ")"],
            &["-o"],
            &["-true", "-o"],
            &["!"],
            &["-size", "1T"],
            &["-size", "++1"],
            &["-mtime", "-"],
            &["-perm", "888"],
            &["-perm", "17777"],
            &["-type", "x"],
            &["-type", "f,"],
            &["-user", "nobody-of-this-name"],
            &["-maxdepth", "-1"],
            &["word"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        assert!(
            parse(&["!"; 100_000]).is_err(),
            "deep nesting is refused, not an overflow of the stack"
        );
        assert!(
            parse(&["("; 100_000]).is_err(),
            "deep nesting is refused, not an overflow of the stack"
        );
    }

    #[test]
    fn actions_replace_printing() {
        assert!(
            matches!(parse(&[]).unwrap().root, Node::All(nodes) if matches!(nodes[..], [_, Node::Do(Action::Print)]))
        );
        assert!(matches!(parse(&["-ls"]).unwrap().root, Node::Any(_)));
        assert!(
            matches!(parse(&["-prune"]).unwrap().root, Node::All(_)),
            "-prune alone still prints"
        );
    }

    #[test]
    fn base_name_is_the_last_component() {
        assert_eq!(base_name(b"/a/b"), b"b");
        assert_eq!(base_name(b"/a/b//"), b"b");
        assert_eq!(base_name(b"/"), b"/");
        assert_eq!(base_name(b"//"), b"/");
    }
}
