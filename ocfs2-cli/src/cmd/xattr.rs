//! `ocfs2 xattr`: extended attributes and ACLs.

mod change;

use std::io::Write;

use anyhow::Context;
use ocfs2_format::XattrNamespace;
use ocfs2_fs::{Acl, AclTag, Volume, XattrInfo, XattrPlace};
use serde::Serialize;

use crate::cmd::Run;
use crate::exit::Exit;
use crate::report::PathReport;
use crate::target::{ImageArgs, Images, Target};
use crate::text::{People, hex, printable};
use crate::ui::{OutputArgs, Ui};

use self::change::Change;

/// Show and change extended attributes and ACLs of files of a volume
///
/// Without options and commands, lists the names. Values are shown as text where they are text, else in hexadecimal; ACLs as setfacl(1)
/// takes them. Symbolic links are not followed.
#[derive(Debug, clap::Parser)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  ocfs2 xattr disk.img:/etc/fstab
  ocfs2 xattr --dump disk.img:/srv/*
  ocfs2 xattr --get user.comment --raw disk.img:/srv/report > comment
  ocfs2 xattr set user.comment 'yearly report' disk.img:/srv/report
  ocfs2 xattr remove user.comment disk.img:/srv/report"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    change: Option<Change>,
    /// Files, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Show names and values of all attributes
    #[arg(short, long, conflicts_with = "get")]
    dump: bool,
    /// Show this attribute only
    #[arg(short, long, value_name = "NAME")]
    get: Option<String>,
    /// With --get, print the bytes of the value and nothing else
    #[arg(short, long, requires = "get", conflicts_with = "json")]
    raw: bool,
    /// With --dump, say for each attribute where it is stored
    #[arg(short, long, requires = "dump")]
    verbose: bool,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// An attribute with its value, where that is wanted.
struct Attribute {
    info: XattrInfo,
    value: Option<Vec<u8>>,
}

#[derive(Debug, Serialize)]
struct FileReport {
    #[serde(flatten)]
    path: PathReport,
    inode: u64,
    xattrs: Vec<AttributeReport>,
}

#[derive(Debug, Serialize)]
struct AttributeReport {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
    size: u64,
    stored: &'static str,
    value_stored: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acl: Option<Vec<String>>,
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        if let Some(change) = self.change {
            return change.run(ui);
        }
        let mut images = Images::new(self.image.clone());
        let people = People::default();
        if ui.is_json() {
            ui.begin_list("files")?;
        }
        for target in &self.targets {
            let found = images.volume(target).and_then(|volume| {
                let inode = target.resolve(&volume, false)?;
                Ok((inode.number().0, self.read(&volume, target, &inode)?))
            });
            match found {
                Err(error) => ui.problem(format_args!("{error:#}")),
                Ok((number, attributes)) if ui.is_json() => {
                    let xattrs = attributes.iter().map(|attribute| attribute.report(&people)).collect();
                    ui.item(&FileReport {
                        path: target.path.as_slice().into(),
                        inode: number,
                        xattrs,
                    })?;
                }
                Ok((_, attributes)) if self.raw => {
                    for value in attributes.iter().filter_map(|attribute| attribute.value.as_ref()) {
                        ui.write_all(value)?;
                    }
                }
                Ok((_, attributes)) => self.print(target, &attributes, &people, ui)?,
            }
        }
        images.report_corrections(ui);
        Ok(Exit::OK)
    }
}

impl Args {
    fn read(&self, volume: &Volume, target: &Target, inode: &ocfs2_fs::Inode) -> anyhow::Result<Vec<Attribute>> {
        let mut attributes = Vec::new();
        for info in volume.inode_xattrs(inode).with_context(|| target.to_string())? {
            if self.get.as_ref().is_some_and(|name| name.as_bytes() != info.name()) {
                continue;
            }
            let value = if self.dump || self.get.is_some() || self.output.json {
                let name = info.name();
                Some(
                    volume
                        .xattr_value(inode, &info)
                        .with_context(|| format!("{target}: {}", printable(&name)))?,
                )
            } else {
                None
            };
            attributes.push(Attribute { info, value });
        }
        if let Some(name) = &self.get
            && attributes.is_empty()
        {
            anyhow::bail!("{target}: no attribute {}", printable(name.as_bytes()));
        }
        attributes.sort_by_key(|attribute| attribute.info.name());
        Ok(attributes)
    }

    fn print(&self, target: &Target, attributes: &[Attribute], people: &People, ui: &mut Ui) -> anyhow::Result<()> {
        if attributes.is_empty() {
            return Ok(());
        }
        writeln!(ui, "# file: {}", printable(&target.to_bytes()))?;
        for attribute in attributes {
            let name = attribute.info.name();
            write!(ui, "{}", printable(&name))?;
            match (&attribute.value, attribute.acl(people)) {
                (_, Some(acl)) => writeln!(ui, "={}", acl.join(","))?,
                (Some(value), None) => writeln!(ui, "={}", shown(value))?,
                (None, None) => writeln!(ui)?,
            }
            if self.verbose {
                writeln!(
                    ui,
                    "#   {} bytes, {}, value {}",
                    attribute.info.value_size(),
                    attribute.place(),
                    attribute.value_place()
                )?;
            }
        }
        writeln!(ui)?;
        Ok(())
    }
}

impl Attribute {
    /// The records, for an attribute that is an ACL.
    fn acl(&self, people: &People) -> Option<Vec<String>> {
        if !matches!(
            self.info.namespace(),
            XattrNamespace::PosixAclAccess | XattrNamespace::PosixAclDefault
        ) {
            return None;
        }
        let acl = Acl::parse(self.value.as_ref()?).ok()?;
        let records = acl.entries.iter().map(|record| {
            let user = |uid| people.user(uid).unwrap_or_else(|| uid.to_string());
            let group = |gid| people.group(gid).unwrap_or_else(|| gid.to_string());
            let whom = match record.tag {
                AclTag::UserObj => "user:".to_owned(),
                AclTag::User(uid) => format!("user:{}", user(uid)),
                AclTag::GroupObj => "group:".to_owned(),
                AclTag::Group(gid) => format!("group:{}", group(gid)),
                AclTag::Mask => "mask:".to_owned(),
                AclTag::Other => "other:".to_owned(),
                AclTag::Unknown(tag) => format!("unknown-{tag:#x}:"),
            };
            let bit = |mask, letter| if record.perm & mask != 0 { letter } else { '-' };
            format!("{whom}:{}{}{}", bit(4, 'r'), bit(2, 'w'), bit(1, 'x'))
        });
        Some(records.collect())
    }

    fn place(&self) -> &'static str {
        match self.info.place() {
            XattrPlace::Inode => "inode",
            XattrPlace::Block(_) => "block",
            XattrPlace::Bucket(_) => "bucket",
        }
    }

    fn value_place(&self) -> &'static str {
        if self.info.is_local() { "inline" } else { "outside" }
    }

    fn report(&self, people: &People) -> AttributeReport {
        let name = self.info.name();
        let text = self.value.as_ref().and_then(|value| std::str::from_utf8(value).ok());
        AttributeReport {
            name_hex: std::str::from_utf8(&name).is_err().then(|| hex(&name)),
            name: String::from_utf8_lossy(&name).into_owned(),
            size: self.info.value_size(),
            stored: self.place(),
            value_stored: self.value_place(),
            value: text.map(str::to_owned),
            value_hex: self.value.as_ref().filter(|_| text.is_none()).map(|value| hex(value)),
            acl: self.acl(people),
        }
    }
}

/// A value as text in quotes, or in hexadecimal as setfattr(1) takes it.
fn shown(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains(char::is_control) => {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
        _ => format!("0x{}", hex(value)),
    }
}
