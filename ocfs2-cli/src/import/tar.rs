//! A tar archive as a source: ustar, GNU and pax, with sparse files, extended attributes and ACLs.
//!
//! The archive is read once, from front to back, so that it may come through a pipe. Nothing in it is believed: names are
//! taken apart into components, `..` is refused, and what describes one entry may take a megabyte at most.
//!
//! Source: POSIX.1-2017, pax; the GNU tar manual, appendix "Tar internals"; star(5) for ACLs.

mod pax;

use std::collections::VecDeque;
use std::io::{self, Read};

use anyhow::{Context, bail};
use ocfs2_format::FileKind;
use ocfs2_fs::{DeviceNumber, Timestamp};
use tar::{GnuExtSparseHeader, Header};

use crate::text::printable;

use self::pax::Records;
use super::{Attributes, Object, Source, What};

/// Bytes of a block.
const BLOCK: u64 = 512;

/// Most bytes of what describes one entry.
const MAX_DESCRIPTION: u64 = 1 << 20;

/// Most pieces of one sparse file.
const MAX_PIECES: usize = 1 << 20;

/// An archive that is being read.
pub(crate) struct TarSource {
    input: Box<dyn Read>,
    /// For messages.
    name: String,
    /// Bytes of the last entry that have not been read, and what fills its last block.
    left: u64,
    padding: u64,
    /// Where the rest of the contents belongs.
    pieces: VecDeque<(u64, u64)>,
    /// What counts for all entries that follow.
    global: Records,
    is_first: bool,
    is_over: bool,
}

/// What precedes an entry and says more than fits in its header.
#[derive(Default)]
struct Extra {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Records,
}

impl TarSource {
    /// Reads an archive; `name` is for messages.
    pub(crate) fn new(input: Box<dyn Read>, name: String) -> Self {
        Self {
            input,
            name,
            left: 0,
            padding: 0,
            pieces: VecDeque::new(),
            global: Records::default(),
            is_first: true,
            is_over: false,
        }
    }

    /// Reads up to the next entry; `None` at the end of the archive. Errors end it.
    fn entry(&mut self) -> anyhow::Result<Option<(Box<Header>, Extra)>> {
        let mut extra = Extra::default();
        loop {
            self.pass_by()?;
            let mut block = [0; BLOCK as usize];
            if !self.block(&mut block)? || block.iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            self.check(&block)?;
            let header = Box::new(Header::from_byte_slice(&block).clone());
            self.left = header.entry_size()?;
            self.set_padding();
            match header.entry_type().as_byte() {
                b'L' => extra.path = Some(self.long_name()?),
                b'K' => extra.link = Some(self.long_name()?),
                b'x' => {
                    let bytes = self.description()?;
                    extra.records.add(&bytes)?;
                }
                b'g' => {
                    let bytes = self.description()?;
                    self.global.add(&bytes)?;
                    self.global.keep_plain();
                }
                // The name of the archive.
                b'V' => {}
                _ => return Ok(Some((header, extra))),
            }
        }
    }

    /// Reads a block; `false` at the end of the input.
    fn block(&mut self, block: &mut [u8; BLOCK as usize]) -> anyhow::Result<bool> {
        let mut filled = 0;
        while filled < block.len() {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => bail!("the archive ends in the middle of a block"),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn check(&mut self, block: &[u8; BLOCK as usize]) -> anyhow::Result<()> {
        const MAGICS: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh"];
        let sum = |range: std::ops::Range<usize>| block[range].iter().map(|&byte| u32::from(byte)).sum::<u32>();
        // The checksum counts its own field as blanks.
        let computed = sum(0..148) + 8 * u32::from(b' ') + sum(156..BLOCK as usize);
        let stored = Header::from_byte_slice(block).cksum().ok();
        let is_first = std::mem::take(&mut self.is_first);
        if stored == Some(computed) {
            return Ok(());
        }
        if is_first && MAGICS.iter().any(|magic| block.starts_with(magic)) {
            bail!("the archive is compressed: decompress it, into a pipe for instance (zcat FILE | ocfs2 import - …)");
        }
        bail!(if is_first {
            "this is no tar archive"
        } else {
            "the archive is damaged: a header has a wrong checksum"
        });
    }

    fn set_padding(&mut self) {
        self.padding = (BLOCK - self.left % BLOCK) % BLOCK;
    }

    /// What describes the next entry.
    fn description(&mut self) -> anyhow::Result<Vec<u8>> {
        if self.left > MAX_DESCRIPTION {
            bail!("the archive is damaged: {} bytes to describe one entry", self.left);
        }
        let mut bytes = Vec::new();
        let read = self.input.by_ref().take(self.left).read_to_end(&mut bytes)?;
        self.left -= read as u64;
        if self.left > 0 {
            bail!("the archive ends in the middle of an entry");
        }
        Ok(bytes)
    }

    fn long_name(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut name = self.description()?;
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    /// Reads past what is left of the last entry.
    fn pass_by(&mut self) -> anyhow::Result<()> {
        let wanted = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut self.input.by_ref().take(wanted), &mut io::sink())?;
        (self.left, self.padding) = (0, 0);
        self.pieces.clear();
        if skipped < wanted {
            bail!("the archive ends in the middle of an entry");
        }
        Ok(())
    }

    /// The object that an entry describes, and where its contents belong.
    fn object(&mut self, header: &Header, extra: Extra) -> anyhow::Result<Object> {
        let mut records = self.global.clone();
        records.extend(extra.records);
        if let Some(size) = records.number("size") {
            self.left = size?;
            self.set_padding();
        }
        let path = records.text("GNU.sparse.name").or_else(|| records.text("path"));
        let path = path.or(extra.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = || {
            let long = records.text("linkpath").or(extra.link);
            long.or_else(|| header.link_name_bytes().map(|name| name.into_owned()))
                .unwrap_or_default()
        };
        let label = [self.name.as_bytes(), b": ", &path].concat();
        let named = || printable(&label).into_owned();
        let components = components(&path).with_context(named)?;
        let none = DeviceNumber { major: 0, minor: 0 };
        let kind = header.entry_type().as_byte();
        let what = match kind {
            // Archives older than types have directories like this.
            b'0' | b'\0' | b'7' if path.ends_with(b"/") => What::Directory,
            b'0' | b'\0' | b'7' => self.contents(&records).with_context(named)?,
            b'S' => self.gnu_sparse(header).with_context(named)?,
            b'5' | b'D' => What::Directory,
            b'1' => What::Link(self::components(&link()).with_context(named)?),
            b'2' => What::Symlink(link()),
            b'3' | b'4' => {
                let device = DeviceNumber {
                    major: header.device_major()?.unwrap_or(0),
                    minor: header.device_minor()?.unwrap_or(0),
                };
                match kind {
                    b'3' => What::Node(FileKind::CharDevice, device),
                    _ => What::Node(FileKind::BlockDevice, device),
                }
            }
            b'6' => What::Node(FileKind::Fifo, none),
            other => bail!("{}: entries of type '{}' are not known", named(), other.escape_ascii()),
        };
        let mtime = match records.time("mtime") {
            Some(time) => time.with_context(named)?,
            None => Timestamp {
                // Times before 1970 have all bits, as tar writers do it.
                secs: header.mtime().with_context(named)? as i64,
                nanos: 0,
            },
        };
        let atime = records.time("atime").transpose().with_context(named)?.unwrap_or(mtime);
        let id = |key, field: io::Result<u64>| -> anyhow::Result<u32> {
            let id = records.number(key).unwrap_or_else(|| Ok(field?))?;
            u32::try_from(id).ok().context("an owner beyond 32 bits")
        };
        Ok(Object {
            path: components,
            what,
            attributes: Attributes {
                mode: header.mode().with_context(named)? & 0o7777,
                uid: id("uid", header.uid()).with_context(named)?,
                gid: id("gid", header.gid()).with_context(named)?,
                times: [atime, mtime],
                xattrs: records.xattrs().with_context(named)?,
            },
            identity: None,
            own: None,
            label,
        })
    }

    /// A file whose contents are whole, or sparse in one of the ways of pax archives.
    fn contents(&mut self, records: &Records) -> anyhow::Result<What> {
        if records.text("GNU.sparse.major").as_deref() == Some(b"1") {
            let size = records.number("GNU.sparse.realsize");
            let size = size.context("a sparse file without its size")??;
            let pieces = self.sparse_map()?;
            return self.sparse(size, pieces);
        }
        let size = records.number("GNU.sparse.size");
        if let (Some(pieces), Some(size)) = (records.sparse_pieces()?, size) {
            return self.sparse(size?, pieces);
        }
        self.pieces = VecDeque::from([(0, self.left)]);
        Ok(What::File(self.left))
    }

    /// The map before the contents of a sparse file, as numbers in lines.
    fn sparse_map(&mut self) -> anyhow::Result<VecDeque<(u64, u64)>> {
        let mut numbers = Vec::new();
        let mut number: Option<u64> = None;
        let mut wanted = None;
        while wanted != Some(numbers.len()) {
            if self.left < BLOCK {
                bail!("the map of a sparse file is cut off");
            }
            let mut block = [0; BLOCK as usize];
            if !self.block(&mut block)? {
                bail!("the archive ends in the middle of an entry");
            }
            self.left -= BLOCK;
            for byte in block {
                if wanted == Some(numbers.len()) {
                    break;
                }
                match byte {
                    b'0'..=b'9' => {
                        let digit = u64::from(byte - b'0');
                        let next = number
                            .unwrap_or(0)
                            .checked_mul(10)
                            .and_then(|ten| ten.checked_add(digit));
                        number = Some(next.context("a number beyond 64 bits")?);
                    }
                    b'\n' => {
                        let value = number.take().context("an empty line in the map of a sparse file")?;
                        match wanted {
                            None if value > MAX_PIECES as u64 => bail!("a sparse file in {value} pieces"),
                            None => wanted = Some(2 * value as usize),
                            Some(_) => numbers.push(value),
                        }
                    }
                    _ => bail!("the map of a sparse file has something else than numbers in it"),
                }
            }
        }
        let (pairs, _) = numbers.as_chunks::<2>();
        Ok(pairs.iter().map(|&[offset, len]| (offset, len)).collect())
    }

    /// The map in a header of GNU's own format, and in the blocks behind it.
    fn gnu_sparse(&mut self, header: &Header) -> anyhow::Result<What> {
        let gnu = header
            .as_gnu()
            .context("a sparse file in a header that cannot hold one")?;
        let mut pieces = VecDeque::new();
        for piece in gnu.sparse.iter().filter(|piece| !piece.is_empty()) {
            pieces.push_back((piece.offset()?, piece.length()?));
        }
        let mut is_extended = gnu.is_extended();
        while is_extended {
            let mut block = [0; BLOCK as usize];
            if !self.block(&mut block)? {
                bail!("the archive ends in the middle of an entry");
            }
            let mut more = GnuExtSparseHeader::new();
            more.as_mut_bytes().copy_from_slice(&block);
            for piece in more.sparse().iter().filter(|piece| !piece.is_empty()) {
                pieces.push_back((piece.offset()?, piece.length()?));
            }
            if pieces.len() > MAX_PIECES {
                bail!("a sparse file in more than {MAX_PIECES} pieces");
            }
            is_extended = more.is_extended();
        }
        self.sparse(gnu.real_size()?, pieces)
    }

    /// A sparse file, if its pieces make sense.
    fn sparse(&mut self, size: u64, pieces: VecDeque<(u64, u64)>) -> anyhow::Result<What> {
        let mut end = 0;
        let mut stored = 0u64;
        for &(offset, len) in &pieces {
            if offset < end {
                bail!("the pieces of a sparse file are out of order");
            }
            let piece_end = offset.checked_add(len).filter(|&end| end <= size);
            end = piece_end.context("a sparse file has contents behind its end")?;
            stored = stored.saturating_add(len);
        }
        if stored != self.left {
            bail!("a sparse file has {} bytes of contents, not {stored}", self.left);
        }
        self.pieces = pieces;
        Ok(What::File(size))
    }
}

/// The components of a path in an archive. It begins at the destination, whatever it says.
fn components(path: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let names = path.split(|&byte| byte == b'/');
    let names = names.filter(|name| !matches!(*name, b"" | b"."));
    let names: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
    if names.iter().any(|name| name == b"..") {
        bail!("refused: the path leads through '..'");
    }
    if names.len() > crate::transfer::MAX_DEPTH {
        bail!("refused: too many directories inside each other");
    }
    Ok(names)
}

impl Source for TarSource {
    fn next(&mut self) -> Option<anyhow::Result<Object>> {
        if self.is_over {
            return None;
        }
        let entry = match self.entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                self.is_over = true;
                return None;
            }
            Err(error) => {
                self.is_over = true;
                return Some(Err(error.context(self.name.clone())));
            }
        };
        let (header, extra) = entry;
        Some(self.object(&header, extra))
    }

    fn read(&mut self, buf: &mut [u8]) -> anyhow::Result<Option<(u64, usize)>> {
        loop {
            let Some((offset, len)) = self.pieces.front_mut() else {
                return Ok(None);
            };
            if *len == 0 {
                self.pieces.pop_front();
                continue;
            }
            let most = (*len).min(buf.len() as u64) as usize;
            let at = *offset;
            // Filled, so that small reads of a pipe do not become small writes.
            let mut filled = 0;
            while filled < most {
                match self.input.read(&mut buf[filled..most]) {
                    Ok(0) => {
                        self.is_over = true;
                        bail!("{}: the archive ends in the middle of a file", self.name);
                    }
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).with_context(|| self.name.clone()),
                }
            }
            *offset += filled as u64;
            *len -= filled as u64;
            self.left -= filled as u64;
            return Ok(Some((at, filled)));
        }
    }

    fn data_bytes(&mut self) -> anyhow::Result<u64> {
        Ok(self.pieces.iter().map(|(_, len)| len).sum())
    }

    fn skip(&mut self) {}
}
