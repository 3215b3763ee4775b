//! Makes golden images: runs the script of each with the reference tools and the real kernel, then records what came out.
//! `golden/README.md` says how to use it.

use std::error::Error;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use ocfs2_testkit::golden::{self, Golden};
use ocfs2_testkit::kernel::{Kernel, Link, Output};
use ocfs2_testkit::tools::{self, reference};
use sha2::{Digest as _, Sha256};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.split_first() {
        Some((first, rest)) if first == "guest" => return guest(rest).unwrap_or_else(|error| fail(&*error)),
        Some((first, [])) if first == "--all" => make(&scripts()),
        Some((first, [])) if first == "--missing" => {
            let missing = |name: &String| !golden::folder().join(format!("{name}.img.zst")).exists();
            make(&scripts().into_iter().filter(missing).collect::<Vec<_>>())
        }
        Some((first, _)) if !first.starts_with('-') => make(&args),
        _ => Err("usage: make-golden NAME... | --all | --missing | guest [OPTION]... DISK... <SCRIPT".into()),
    };
    result.map_or_else(|error| fail(&*error), |()| ExitCode::SUCCESS)
}

fn fail(error: &dyn Error) -> ExitCode {
    eprintln!("make-golden: {error}");
    ExitCode::FAILURE
}

/// Names of all scripts.
fn scripts() -> Vec<String> {
    let scripts = fs::read_dir(golden::folder().join("scripts"))
        .into_iter()
        .flatten()
        .filter_map(std::result::Result::ok);
    let mut names: Vec<String> = scripts
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".sh")?.to_owned()))
        .collect();
    names.sort();
    names
}

/// Each image is recorded as soon as it is made.
fn make(names: &[String]) -> Result<()> {
    for name in names {
        let golden = make_one(name).map_err(|error| format!("{name}: {error}"))?;
        golden::update_manifest(&golden::folder(), &[golden])?;
    }
    Ok(())
}

fn make_one(name: &str) -> Result<Golden> {
    let script = golden::folder().join(format!("scripts/{name}.sh"));
    let note =
        note(&fs::read_to_string(&script)?).ok_or("the script does not begin with a line that says what is special")?;
    let prelude = golden::folder().join("prelude.sh");
    let work = tempfile::tempdir()?;
    let image = work.path().join(format!("{name}.img"));

    let status = Command::new("bash")
        .args(["-e", "-u", "-c", ". \"$0\"; . \"$1\""])
        .args([&prelude, &script])
        .env("PRELUDE", &prelude)
        .env("IMAGE", &image)
        .env("WORK", work.path())
        .env("MAKE_GOLDEN", std::env::current_exe()?)
        .envs([("LC_ALL", "C"), ("TZ", "UTC"), ("PAGER", "__none__")])
        .current_dir(work.path())
        .status()?;
    if !status.success() {
        return Err(format!("its script failed: {status}").into());
    }

    let golden = record(name, note, &image, work.path())?;
    compress(&image, &golden::folder().join(format!("{name}.img.zst")))?;
    let facts = golden::folder().join(format!("{name}.facts.zst"));
    match work.path().join("facts.jsonl") {
        lines if lines.exists() => compress(&lines, &facts)?,
        _ if facts.exists() => fs::remove_file(&facts)?,
        _ => {}
    }
    Ok(golden)
}

/// The comment that a script begins with, up to the first line without one.
fn note(script: &str) -> Option<String> {
    let lines: Vec<&str> = script.lines().map_while(|line| line.strip_prefix("# ")).collect();
    (!lines.is_empty()).then(|| lines.join(" "))
}

/// Everything the manifest says of an image.
fn record(name: &str, note: String, image: &Path, work: &Path) -> Result<Golden> {
    let superblock = Superblock::find(image)?;
    let mut fsck = tools::fsck(image).problems;
    fsck.sort();
    fsck.dedup();
    let version = reference("mkfs.ocfs2").arg("-V").run().stderr;
    Ok(Golden {
        name: name.to_owned(),
        note,
        mkfs: fs::read_to_string(work.join("mkfs.options"))?.trim().to_owned(),
        tools: version
            .lines()
            .next()
            .unwrap_or_default()
            .replace("mkfs.ocfs2", "ocfs2-tools")
            .trim()
            .to_owned(),
        kernel: fs::read_to_string(work.join("kernel")).ok(),
        size: image.metadata()?.len(),
        block_size: superblock.block_size,
        cluster_size: superblock.cluster_size,
        features: superblock.features,
        dirty_slots: (0..superblock.slots).filter(|&slot| is_dirty(image, slot)).collect(),
        fsck,
        sha256: sha256(image)?,
    })
}

/// Size that no image may exceed in the repository.
const LIMIT: u64 = 256 << 10;

/// The few fields of a superblock that the manifest repeats. Read here, since debugfs.ocfs2 refuses heartbeat devices.
struct Superblock {
    block_size: u32,
    cluster_size: u32,
    slots: u16,
    features: Vec<String>,
}

impl Superblock {
    fn find(image: &Path) -> Result<Self> {
        let mut start = vec![0; 3 * 4096];
        fs::File::open(image)?.read_exact(&mut start)?;
        (9..=12)
            .find_map(|bits| Self::read(&start, bits))
            .ok_or_else(|| "the image has no superblock".into())
    }

    fn read(start: &[u8], bits: u32) -> Option<Self> {
        let block = start.get(2 << bits..3 << bits)?;
        let word = |at: usize| Some(u32::from_le_bytes(block.get(at..at + 4)?.try_into().ok()?));
        if !block.starts_with(b"OCFSV2\0") || word(0xF8)? != bits {
            return None;
        }
        let mut features = Vec::new();
        for (at, names) in [(0xDC, COMPAT), (0xE0, INCOMPAT), (0xE4, RO_COMPAT)] {
            let bits = word(at)?;
            features.extend(
                names
                    .iter()
                    .filter(|(bit, _)| bits & bit != 0)
                    .map(|(_, name)| (*name).to_owned()),
            );
        }
        let slots = u16::from_le_bytes(block.get(0x100..0x102)?.try_into().ok()?);
        Some(Self {
            block_size: 1 << bits,
            cluster_size: 1 << word(0xFC)?,
            slots,
            features,
        })
    }
}

const COMPAT: &[(u32, &str)] = &[(0x1, "backup-super"), (0x2, "strict-journal-super")];
const INCOMPAT: &[(u32, &str)] = &[
    (0x2, "heartbeat-device"),
    (0x4, "aborted-resize"),
    (0x8, "local"),
    (0x10, "sparse"),
    (0x20, "aborted-tunefs"),
    (0x40, "inline-data"),
    (0x80, "userspace-stack"),
    (0x100, "extended-slotmap"),
    (0x200, "xattr"),
    (0x400, "indexed-dirs"),
    (0x800, "metaecc"),
    (0x1000, "refcount"),
    (0x2000, "discontig-bg"),
    (0x4000, "clusterinfo"),
    (0x8000, "append-dio"),
];
const RO_COMPAT: &[(u32, &str)] = &[(0x1, "unwritten"), (0x2, "usrquota"), (0x4, "grpquota")];

fn is_dirty(image: &Path, slot: u16) -> bool {
    let stat = reference("debugfs.ocfs2")
        .arg("-R")
        .arg(format!("stat //journal:{slot:04}"))
        .arg(image)
        .run();
    stat.stdout.contains("Journal Flags: Dirty")
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path)?;
    let (mut digest, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece)? {
            0 => break,
            length => digest.update(&piece[..length]),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn compress(from: &Path, to: &Path) -> Result<()> {
    // A journal repeats blocks that stand far away: the window reaches over 64 MiB.
    reference("zstd")
        .args(["-q", "-f", "--ultra", "-22", "--long=26", "--no-check", "-o"])
        .arg(to)
        .arg(from)
        .run()
        .ok();
    let length = to.metadata()?.len();
    println!("{}: {length} bytes", to.display());
    if length > LIMIT {
        return Err(format!("{} has {length} bytes, more than {LIMIT}", to.display()).into());
    }
    Ok(())
}

/// What the scripts call to run something in the guest kernel: `guest [--until TEXT] [--after MS] [--link LOCAL:REMOTE] [--memory MIB] DISK...`.
/// The script comes from the standard input; what it leaves in `$OUT` goes to `$WORK/out`.
fn guest(args: &[String]) -> Result<ExitCode> {
    let mut kernel = Kernel::installed()?.timeout(Duration::from_secs(600));
    let (mut until, mut after) = (None, Duration::ZERO);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--until" => until = Some(value()?.clone()),
            "--after" => after = Duration::from_millis(value()?.parse()?),
            "--link" => {
                let (local, remote) = value()?.split_once(':').ok_or("a link is LOCAL:REMOTE")?;
                kernel = kernel.link(Link {
                    local: local.parse()?,
                    remote: remote.parse()?,
                });
            }
            "--memory" => kernel = kernel.memory_mib(value()?.parse()?),
            disk => kernel = kernel.disk(disk),
        }
    }
    let mut script = String::new();
    std::io::stdin().read_to_string(&mut script)?;
    let kernel = kernel.script(script);
    let release = kernel.release().to_owned();

    let output = match until {
        None => kernel.run()?,
        Some(mark) => {
            let mut running = kernel.spawn()?;
            if !running.wait_until(|stdout| stdout.contains(&mark))? {
                return Err(format!("the script ended without saying {mark}: {}", running.wait()?.stdout).into());
            }
            std::thread::sleep(after);
            running.power_cut()
        }
    };
    print!("{}", output.stdout);
    let work = PathBuf::from(std::env::var_os("WORK").ok_or("WORK is not set")?);
    fs::write(work.join("kernel"), release)?;
    fs::create_dir_all(work.join("out"))?;
    for entry in fs::read_dir(output.out())? {
        let entry = entry?;
        fs::copy(entry.path(), work.join("out").join(entry.file_name()))?;
    }
    match output.status {
        0 | Output::POWER_CUT => Ok(ExitCode::SUCCESS),
        status => Err(format!(
            "the guest's script ended with status {status}\nconsole:\n{}",
            output.console
        )
        .into()),
    }
}
