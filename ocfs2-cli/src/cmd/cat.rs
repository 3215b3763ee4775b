//! `ocfs2 cat`: contents of files.

use std::io::Write;

use anyhow::Context;
use ocfs2_format::FileKind;
use ocfs2_fs::File;
use serde::Serialize;

use crate::cmd::Run;
use crate::exit::Exit;
use crate::report::PathReport;
use crate::target::{ImageArgs, Images, Target};
use crate::text::hex;
use crate::ui::{OutputArgs, Ui};

/// Print the contents of files of a volume
///
/// Symbolic links are followed, inside the volume.
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:\n  ocfs2 cat disk.img:/etc/fstab\n  ocfs2 cat disk.img:/backup.tar | tar -t")]
pub(crate) struct Args {
    /// Files, as IMAGE:/path
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Bytes moved at once.
const STEP: usize = 1 << 20;

/// Largest file in a JSON document.
const MAX_JSON_BYTES: u64 = 64 << 20;

#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    path: PathReport,
    size: u64,
    #[serde(flatten)]
    content: Content,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    Content(String),
    ContentHex(String),
}

impl Run for Args {
    fn run(self, ui: &mut Ui) -> anyhow::Result<Exit> {
        let mut images = Images::new(self.image);
        if ui.is_json() {
            ui.begin_list("files")?;
        }
        let mut buf = vec![0; STEP];
        for target in &self.targets {
            match open(&mut images, target) {
                Err(error) => ui.problem(format_args!("{error:#}")),
                Ok(file) if ui.is_json() => json(target, &file, ui)?,
                Ok(file) => copy(target, &file, &mut buf, ui)?,
            }
        }
        images.report_corrections(ui);
        Ok(Exit::OK)
    }
}

fn open(images: &mut Images, target: &Target) -> anyhow::Result<File> {
    let volume = images.volume(target)?;
    let inode = target.resolve(&volume, true)?;
    if inode.kind() == FileKind::Directory {
        anyhow::bail!("{target}: is a directory");
    }
    volume.open_inode(inode).with_context(|| target.to_string())
}

/// Prints a file. What cannot be read is a problem of this file alone; what cannot be written ends the command.
fn copy(target: &Target, file: &File, buf: &mut [u8], ui: &mut Ui) -> anyhow::Result<()> {
    let mut offset = 0;
    loop {
        match file.read_at(offset, buf) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                ui.write_all(&buf[..read])?;
                offset += read as u64;
            }
            Err(error) => {
                ui.problem(format_args!("{target}: at byte {offset}: {error}"));
                return Ok(());
            }
        }
    }
}

fn json(target: &Target, file: &File, ui: &mut Ui) -> anyhow::Result<()> {
    if file.size() > MAX_JSON_BYTES {
        ui.problem(format_args!(
            "{target}: {} bytes are too many for a JSON document",
            file.size()
        ));
        return Ok(());
    }
    let mut bytes = vec![0; file.size() as usize];
    match file.read_at(0, &mut bytes) {
        Err(error) => ui.problem(format_args!("{target}: {error}")),
        Ok(_) => {
            let content = match String::from_utf8(bytes) {
                Ok(text) => Content::Content(text),
                Err(binary) => Content::ContentHex(hex(binary.as_bytes())),
            };
            ui.item(&Report {
                path: target.path.as_slice().into(),
                size: file.size(),
                content,
            })?;
        }
    }
    Ok(())
}
