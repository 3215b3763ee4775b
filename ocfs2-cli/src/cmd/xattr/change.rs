//! `ocfs2 xattr set` and `ocfs2 xattr remove`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::builder::TypedValueParser;
use ocfs2_fs::XattrMode;

use crate::edit::{EditArgs, Editor};
use crate::exit::Exit;
use crate::target::Target;
use crate::text::printable;
use crate::ui::Ui;

/// Changes of extended attributes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Change {
    Set(Set),
    Remove(Remove),
}

/// Set an extended attribute
///
/// ACLs (system.posix_acl_access and system.posix_acl_default) take the bytes that setxattr(2) takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ocfs2 xattr set user.comment 'yearly report' disk.img:/srv/report
  ocfs2 xattr set security.capability 0x0100000200040000000000000000000000000000 disk.img:/bin/ping")]
pub(super) struct Set {
    /// Full name, such as user.comment
    #[arg(value_name = "NAME")]
    name: OsString,
    /// Value: text, or as setfattr(1) takes it 0x and hexadecimal digits, or 0s and base64
    #[arg(value_name = "VALUE", value_parser = clap::builder::OsStringValueParser::new().try_map(parse_value))]
    value: Value,
    /// Files, as IMAGE:/path; symbolic links are not followed
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Only if there is no attribute of that name yet
    #[arg(long, conflicts_with = "replace")]
    create: bool,
    /// Only if there is an attribute of that name already
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    edit: EditArgs,
}

/// Remove an extended attribute
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ocfs2 xattr remove user.comment disk.img:/srv/report
  ocfs2 xattr remove system.posix_acl_access disk.img:/srv/*")]
pub(super) struct Remove {
    /// Full name, such as user.comment
    #[arg(value_name = "NAME")]
    name: OsString,
    /// Files, as IMAGE:/path; symbolic links are not followed
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    #[command(flatten)]
    edit: EditArgs,
}

/// Bytes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value(Vec<u8>);

fn parse_value(text: OsString) -> Result<Value, String> {
    use base64::Engine;
    let bytes = text.into_vec();
    let invalid = |what| format!("'{}' is not {what}", printable(&bytes));
    match bytes.get(..2) {
        Some(b"0x" | b"0X") => {
            let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
            let (pairs, rest) = bytes[2..].as_chunks::<2>();
            let value: Option<Vec<u8>> = pairs
                .iter()
                .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
                .collect();
            match value.filter(|_| rest.is_empty()) {
                Some(value) => Ok(Value(value)),
                None => Err(invalid("an even number of hexadecimal digits")),
            }
        }
        Some(b"0s" | b"0S") => match base64::engine::general_purpose::STANDARD.decode(&bytes[2..]) {
            Ok(value) => Ok(Value(value)),
            Err(_) => Err(invalid("base64")),
        },
        _ => Ok(Value(bytes)),
    }
}

impl Change {
    pub(super) fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        match self {
            Change::Set(set) => set.run(ui),
            Change::Remove(remove) => remove.run(ui),
        }
    }
}

impl Set {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let mode = match (self.create, self.replace) {
            (true, _) => XattrMode::Create,
            (_, true) => XattrMode::Replace,
            _ => XattrMode::Set,
        };
        let work = |fs: &ocfs2_fs::FileSystem, inode| fs.set_xattr(inode, self.name.as_bytes(), &self.value.0, mode);
        self.edit.run(ui, |editor| change(editor, &self.targets, work))
    }
}

impl Remove {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let work = |fs: &ocfs2_fs::FileSystem, inode| fs.remove_xattr(inode, self.name.as_bytes());
        self.edit.run(ui, |editor| change(editor, &self.targets, work))
    }
}

fn change(
    editor: &mut Editor<'_>,
    targets: &[Target],
    work: impl Fn(&ocfs2_fs::FileSystem, ocfs2_format::InodeNo) -> ocfs2_fs::Result<()>,
) -> anyhow::Result<()> {
    use ocfs2_fs::Error;
    editor.each(targets, |editor, fs, target| {
        let inode = target.find_in(fs, false)?.number();
        work(fs, inode).map_err(|error| match error {
            Error::NoSuchXattr { name, .. } => anyhow::anyhow!("{target}: no attribute {name}"),
            Error::XattrExists { name, .. } => anyhow::anyhow!("{target}: there is an attribute {name} already"),
            other => target.failed(other),
        })?;
        let inode = fs.inode(inode).map_err(|error| target.failed(error))?;
        editor.report("changed", target, Some(&inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_text_hexadecimal_or_base64() {
        let value = |text: &str| parse_value(text.into()).map(|value| value.0);
        assert_eq!(value("plain"), Ok(b"plain".to_vec()));
        assert_eq!(value("0x00fF"), Ok(vec![0, 255]));
        assert_eq!(value("0sAAE="), Ok(vec![0, 1]));
        assert_eq!(value("0x"), Ok(Vec::new()));
        assert_eq!(value(""), Ok(Vec::new()));
        assert!(value("0x0").is_err() && value("0xzz").is_err() && value("0s*").is_err());
    }
}
