//! Golden images: volumes made by the reference mkfs and populated by the real kernel.
//!
//! Source: `golden/README.md` beside this crate says how they are made; `golden/MANIFEST.toml` lists them.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ruzstd::decoding::StreamingDecoder;
use serde::{Deserialize, Serialize};

use crate::facts::{self, Facts};

/// One golden image and what its manifest says of it.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Name; the script that made it is `scripts/<name>.sh`.
    pub name: String,
    /// What is special about it, in one sentence.
    pub note: String,
    /// Options that mkfs.ocfs2 was called with.
    pub mkfs: String,
    /// Version of the reference tools.
    pub tools: String,
    /// Release of the kernel that wrote to it; none when only the tools did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Length of the image in bytes.
    pub size: u64,
    /// Block size in bytes.
    pub block_size: u32,
    /// Cluster size in bytes.
    pub cluster_size: u32,
    /// Features as the tools spell them.
    pub features: Vec<String>,
    /// Slots whose journal is dirty.
    pub dirty_slots: Vec<u16>,
    /// Problems that `fsck.ocfs2 -fn` finds, without repetitions: peculiarities of the programs that made the image.
    pub fsck: Vec<String>,
    /// SHA-256 of the image.
    pub sha256: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Manifest {
    #[serde(default)]
    image: Vec<Golden>,
}

/// All golden images, by name.
///
/// # Panics
///
/// When the manifest can't be read.
pub fn all() -> &'static [Golden] {
    static ALL: OnceLock<Vec<Golden>> = OnceLock::new();
    ALL.get_or_init(|| read_manifest(&folder()).unwrap_or_else(|error| panic!("golden manifest: {error}")))
}

/// The golden image of that name.
///
/// # Panics
///
/// When there is none.
#[track_caller]
pub fn named(name: &str) -> &'static Golden {
    all()
        .iter()
        .find(|golden| golden.name == name)
        .unwrap_or_else(|| panic!("no golden image is called {name}"))
}

impl Golden {
    /// Whether the volume has a feature, as the tools spell it.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|name| name == feature)
    }

    /// The image. Pages that hold only zeros take no memory until they are written to.
    ///
    /// # Panics
    ///
    /// When it can't be read or has another length than the manifest says.
    pub fn image(&self) -> Vec<u8> {
        let mut image = vec![0; usize::try_from(self.size).expect("golden images fit into memory")];
        self.for_each_piece(|at, piece| {
            let at = usize::try_from(at).expect("at most the length of the image");
            image[at..][..piece.len()].copy_from_slice(piece);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("golden image {}: {error}", self.name));
        image
    }

    /// A sparse file with the image, in the given directory.
    ///
    /// # Panics
    ///
    /// When it can't be read or written.
    pub fn sparse_file(&self, dir: impl AsRef<Path>) -> PathBuf {
        let path = dir.as_ref().join(format!("{}.img", self.name));
        self.write_to(&path)
            .unwrap_or_else(|error| panic!("golden image {}: {error}", self.name));
        path
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.set_len(self.size)?;
        self.for_each_piece(|at, piece| {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(piece)
        })
    }

    /// What the kernel reported from its mount of (a copy of) the volume; none for volumes that no kernel can mount or that
    /// nobody wrote to.
    ///
    /// # Panics
    ///
    /// When it can't be read.
    pub fn facts(&self) -> Option<Facts> {
        let path = self.path("facts.zst");
        let mut lines = String::new();
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            file => file.and_then(|file| decoder(file)?.read_to_string(&mut lines)),
        }
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Some(facts::parse(&lines).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Calls `visit` with the offset and bytes of every piece of the image that is not all zeros: 4096 bytes, less at the end.
    ///
    /// # Errors
    ///
    /// Those of `visit`; when the image can't be read or has another length than the manifest says.
    pub fn for_each_piece(&self, mut visit: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut image = decoder(File::open(self.path("img.zst"))?)?;
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        loop {
            let mut length = 0;
            while length < PIECE {
                match image.read(&mut piece[length..])? {
                    0 => break,
                    more => length += more,
                }
            }
            let read = &piece[..length];
            if at + length as u64 > self.size || (length == 0 && at != self.size) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "not as long as the manifest says",
                ));
            }
            if length == 0 {
                return Ok(());
            }
            if read.iter().any(|&byte| byte != 0) {
                visit(at, read)?;
            }
            at += length as u64;
        }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        folder().join(format!("{}.{suffix}", self.name))
    }
}

/// Adds entries to the manifest of a folder, replacing those of the same name. For the program that makes the images.
#[doc(hidden)]
pub fn update_manifest(folder: &Path, made: &[Golden]) -> io::Result<()> {
    let mut image = read_manifest(folder).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(Vec::new()),
        _ => Err(error),
    })?;
    image.retain(|golden| !made.iter().any(|new| new.name == golden.name));
    image.extend_from_slice(made);
    image.sort_by(|a, b| a.name.cmp(&b.name));
    let text = toml::to_string(&Manifest { image }).map_err(io::Error::other)?;
    std::fs::write(folder.join(MANIFEST), format!("{HEADER}{text}"))
}

/// Where the images are.
#[doc(hidden)]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn read_manifest(folder: &Path) -> io::Result<Vec<Golden>> {
    let text = std::fs::read_to_string(folder.join(MANIFEST))?;
    let manifest: Manifest = toml::from_str(&text).map_err(io::Error::other)?;
    Ok(manifest.image)
}

fn decoder(file: File) -> io::Result<impl Read> {
    StreamingDecoder::new(io::BufReader::new(file)).map_err(io::Error::other)
}

const PIECE: usize = 4096;
const MANIFEST: &str = "MANIFEST.toml";
const HEADER: &str = "# Golden images. Written by make-golden, which README.md describes; not edited by hand.\n\n";
