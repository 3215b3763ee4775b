//! `ocfs2 cp`: copies against what the kernel reported of the originals, and images that try to reach out of the destination.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ocfs2_testkit::facts::{Fact, Kind};
use ocfs2_testkit::golden::{self, Golden};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::run::{Said, copy_program, image, image_named, ocfs2};

/// A directory on a disk: the file systems of `/tmp` may not keep extended attributes.
fn disk_dir() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

/// `ocfs2 cp ARGS`.
fn cp<I: IntoIterator<Item: AsRef<OsStr>>>(args: I) -> Said {
    let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    ocfs2([OsString::from("cp")].into_iter().chain(args))
}

/// `IMAGE:PATH`.
fn at(image: &Path, path: impl AsRef<OsStr>) -> OsString {
    let mut text = image.as_os_str().to_owned();
    text.push(":");
    text.push(path);
    text
}

fn path_of(root: &Path, fact: &Fact) -> PathBuf {
    root.join(OsStr::from_bytes(&fact.path.0))
}

fn kind_of(found: &Metadata) -> Kind {
    match found.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Dir,
        kind if kind.is_symlink() => Kind::Symlink,
        kind if kind.is_char_device() => Kind::Char,
        kind if kind.is_block_device() => Kind::Block,
        kind if kind.is_fifo() => Kind::Fifo,
        _ => Kind::Socket,
    }
}

fn assert_same_contents(path: &Path, fact: &Fact, what: &str) {
    if let Some(sum) = &fact.sha256 {
        let contents = fs::read(path).expect("the copy can be read");
        assert_eq!(Sha256::digest(contents).as_slice(), sum.0, "{what}");
    }
    if let Some(target) = &fact.target {
        assert_eq!(
            fs::read_link(path).expect("a link").as_os_str().as_bytes(),
            target.0,
            "{what}"
        );
    }
}

fn assert_same_xattrs(path: &Path, fact: &Fact, what: &str) {
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, &mut names).expect("attributes");
    let names: Vec<&[u8]> = names[..len]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .collect();
    // What does not fit into one block of the host's file system may be missing.
    if fact
        .xattrs
        .iter()
        .map(|xattr| xattr.size + xattr.name.0.len() as u64 + 32)
        .sum::<u64>()
        > 4000
    {
        return;
    }
    let mut value = vec![0; 64 << 10];
    for xattr in &fact.xattrs {
        let name = OsStr::from_bytes(&xattr.name.0);
        let len =
            rustix::fs::lgetxattr(path, name, &mut value).unwrap_or_else(|error| panic!("{what}: {name:?}: {error}"));
        assert_eq!(len as u64, xattr.size, "{what}: {name:?}");
        if let Some(wanted) = &xattr.value {
            assert_eq!(value[..len], wanted.0, "{what}: {name:?}");
        }
    }
    // Special files can have them, but the driver does not list them.
    if matches!(fact.kind, Kind::File | Kind::Dir | Kind::Symlink) {
        assert_eq!(names.len(), fact.xattrs.len(), "{what}: {names:?}");
    }
}

/// Every object of the volume is below `root` as the kernel described it, and nothing else is.
fn assert_archived(golden: &Golden, facts: &[Fact], root: &Path) {
    let mut inodes: BTreeMap<u64, u64> = BTreeMap::new();
    for fact in facts {
        let path = path_of(root, fact);
        let what = format!("{}: {:?}", golden.name, fact.path);
        let found = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(kind_of(&found), fact.kind, "{what}");
        assert_eq!((found.uid(), found.gid()), (fact.uid, fact.gid), "{what}");
        assert_eq!(
            (found.mtime(), found.mtime_nsec()),
            (fact.mtime.0, fact.mtime.1.into()),
            "{what}"
        );
        if fact.kind != Kind::Symlink {
            assert_eq!(found.mode() & 0o7777, u32::from(fact.mode), "{what}");
        }
        if fact.kind != Kind::Dir {
            assert_eq!(found.nlink(), u64::from(fact.nlink), "{what}");
            assert_eq!(
                *inodes.entry(fact.ino).or_insert(found.ino()),
                found.ino(),
                "{what}: hard links"
            );
        }
        if let Some((major, minor)) = fact.rdev {
            assert_eq!(found.rdev(), rustix::fs::makedev(major, minor), "{what}");
        }
        if fact.kind == Kind::File {
            assert_eq!(found.len(), fact.size, "{what}");
            let data: u64 = fact.data.iter().flatten().map(|(start, end)| end - start).sum();
            let slack = 64 << 10;
            assert!(
                found.blocks() * 512 <= data + slack,
                "{what}: {} blocks for {data} bytes of data",
                found.blocks()
            );
        }
        assert_same_contents(&path, fact, &what);
        assert_same_xattrs(&path, fact, &what);
    }
    assert_eq!(count(root), facts.len(), "{}", golden.name);
}

/// Objects at and below a path.
fn count(path: &Path) -> usize {
    let below = match fs::symlink_metadata(path).expect("it is there") {
        found if found.is_dir() => fs::read_dir(path)
            .expect("a directory")
            .map(|entry| count(&entry.expect("an entry").path()))
            .sum(),
        _ => 0,
    };
    below + 1
}

#[test]
fn an_archive_is_the_tree_that_the_kernel_saw() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can keep owners and make devices");
        return;
    }
    // What the kernel said of crash-dio it said after cutting off an interrupted direct append; limits-4k has times that
    // the host's file systems cannot keep.
    let left_out = ["crash-dio", "limits-4k"];
    for golden in golden::all()
        .iter()
        .filter(|golden| !left_out.contains(&golden.name.as_str()))
    {
        let Some(facts) = golden.facts() else { continue };
        let dir = disk_dir();
        let said = cp([
            OsStr::new("-a"),
            &at(&image(golden), "/"),
            dir.path().join("copy").as_os_str(),
        ]);
        // A file system of the host may have less room for attributes than a volume; nothing else may go wrong.
        let wrong: Vec<&str> = said
            .stderr
            .lines()
            .filter(|line| !line.contains("No space left on device"))
            .collect();
        assert_eq!(wrong, [""; 0], "{}", golden.name);
        assert_archived(golden, &facts.objects, &dir.path().join("copy"));
    }
}

#[test]
fn a_plain_recursive_copy_has_all_names_and_contents() {
    let golden = golden::named("kinds-4k");
    let facts = golden.facts().expect("the kernel described it").objects;
    let dir = disk_dir();
    let root = dir.path().join("copy");
    let said = cp([
        OsStr::new("-r"),
        OsStr::new("--json"),
        &at(&image(golden), "/"),
        root.as_os_str(),
    ]);
    let report: serde_json::Value = serde_json::from_slice(&said.stdout).expect("a JSON document");
    assert_eq!(report["schema"], 1);
    for fact in &facts {
        if rustix::process::geteuid().is_root() || !matches!(fact.kind, Kind::Char | Kind::Block) {
            let path = path_of(&root, fact);
            let found = fs::symlink_metadata(&path).expect("it was copied");
            assert_eq!(kind_of(&found), fact.kind, "{:?}", fact.path);
            if fact.kind == Kind::File {
                assert_eq!(
                    (found.nlink(), found.uid()),
                    (1, rustix::process::geteuid().as_raw()),
                    "{:?}",
                    fact.path
                );
                assert_same_contents(&path, fact, &format!("{:?}", fact.path));
            }
        }
    }
    let files = facts.iter().filter(|fact| fact.kind == Kind::File).count();
    assert_eq!(report["files"].as_u64(), Some(files as u64));
}

/// A small volume, and an empty directory for copies.
fn small() -> (PathBuf, TempDir, Vec<Fact>) {
    let facts = golden::named("kinds-4k")
        .facts()
        .expect("the kernel described it")
        .objects;
    (image_named("kinds-4k"), disk_dir(), facts)
}

/// The path of some regular file in the root directory that is not empty.
fn some_file(facts: &[Fact]) -> String {
    let suits = |fact: &&Fact| {
        fact.kind == Kind::File
            && fact.size > 0
            && !fact.path.0.contains(&b'/')
            && fact.path.0.is_ascii()
            && fact.mode & 0o400 != 0
    };
    let fact = facts.iter().find(suits).expect("the image has such a file");
    format!("/{}", String::from_utf8(fact.path.0.clone()).expect("an ASCII name"))
}

#[test]
fn a_file_goes_into_a_directory_or_gets_a_new_name() {
    let (image, dir, facts) = small();
    let file = some_file(&facts);
    let original = ocfs2(["cat".into(), at(&image, &file)]).stdout;

    cp([&*at(&image, &file), dir.path().as_os_str()]).ok();
    assert_eq!(fs::read(dir.path().join(&file[1..])).expect("a copy"), original);

    let renamed = dir.path().join("renamed");
    cp([&*at(&image, &file), renamed.as_os_str()]).ok();
    assert_eq!(fs::read(&renamed).expect("a copy"), original);

    // Overwritten in place, not replaced.
    fs::write(&renamed, "x".repeat(100_000)).expect("a file");
    let inode = fs::metadata(&renamed).expect("a file").ino();
    let said = cp([OsStr::new("-v"), &at(&image, &file), renamed.as_os_str()]).ok();
    assert_eq!(
        said,
        format!("'{}:{file}' -> '{}'\n", image.display(), renamed.display())
    );
    assert_eq!(fs::read(&renamed).expect("a copy"), original);
    assert_eq!(fs::metadata(&renamed).expect("a file").ino(), inode);
}

#[test]
fn no_clobber_leaves_what_is_there() {
    let (image, dir, facts) = small();
    let file = some_file(&facts);
    let there = dir.path().join(&file[1..]);
    fs::write(&there, "mine").expect("a file");
    cp([OsStr::new("-n"), &at(&image, &file), dir.path().as_os_str()]).ok();
    assert_eq!(fs::read_to_string(&there).expect("a file"), "mine");
    cp([OsStr::new("-rn"), &at(&image, "/"), dir.path().as_os_str()]);
    assert_eq!(fs::read_to_string(&there).expect("a file"), "mine");
}

#[test]
fn a_file_is_written_to_standard_output_where_that_is_the_destination() {
    let (image, _dir, facts) = small();
    let file = some_file(&facts);
    let said = cp([&*at(&image, &file), OsStr::new("/dev/stdout")]);
    assert_eq!((said.status, said.stderr.as_str()), (0, ""));
    assert_eq!(said.stdout, ocfs2(["cat".into(), at(&image, &file)]).stdout);
}

#[test]
fn what_cannot_be_copied_is_reported_and_the_rest_is_copied() {
    let (image, dir, facts) = small();
    let file = some_file(&facts);
    let said = cp([
        &*at(&image, "/nowhere"),
        &at(&image, "/lost+found"),
        &at(&image, &file),
        dir.path().as_os_str(),
    ]);
    assert_eq!(said.status, 1);
    let lines: Vec<&str> = said.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("/nowhere: no such file or directory"), "{lines:?}");
    assert!(lines[1].contains("/lost+found: is a directory (use -r"), "{lines:?}");
    assert!(dir.path().join(&file[1..]).exists());
}

#[test]
fn destinations_that_make_no_sense_are_refused() {
    let (image, dir, facts) = small();
    let file = some_file(&facts);
    let missing = dir.path().join("missing/copy");
    let text = cp([&*at(&image, &file), missing.as_os_str()]).failed(1);
    assert!(text.contains("missing"), "{text}");
    let text = cp([&*at(&image, &file)]).failed(2);
    assert!(text.contains("destination"), "{text}");
    let text = cp([&*at(&image, &file), &at(&image, "/"), missing.as_os_str()]).failed(1);
    assert!(text.contains("missing"), "{text}");
    let mut slash = dir.path().join("new").into_os_string();
    slash.push("/");
    let text = cp([&*at(&image, &file), &slash]).failed(1);
    assert!(text.contains("not a directory"), "{text}");
}

#[test]
fn the_image_itself_is_never_overwritten() {
    let (original, dir, facts) = small();
    let file = some_file(&facts);
    // The volume has a file of the image's own name.
    let image = dir.path().join(&file[1..]);
    fs::copy(&original, &image).expect("a copy of the image");
    for option in ["-r", "-rf", "-a"] {
        let said = cp([OsStr::new(option), &at(&image, "/"), dir.path().as_os_str()]);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stderr.contains("the image that is being read"), "{said:?}");
    }
    assert_eq!(
        fs::read(&image).expect("the image"),
        fs::read(&original).expect("the image")
    );
}

#[test]
fn nobody_can_copy_an_archive_too() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become nobody");
        return;
    }
    let golden = golden::named("kinds-4k");
    let facts = golden.facts().expect("the kernel described it").objects;
    // Outside of directories that only root may enter.
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("permissions");
    let (program, volume) = (dir.path().join("ocfs2"), golden.sparse_file(dir.path()));
    copy_program(&program);
    let mut command = Command::new(&program);
    command
        .arg("cp")
        .arg("-a")
        .arg(at(&volume, "/"))
        .arg(dir.path().join("copy"))
        .uid(65_534)
        .gid(65_534);
    let said: Said = command.output().expect("the program starts").into();
    // Devices are for root, and so are some attributes; all else is there.
    assert_eq!(said.status, 1, "{said:?}");
    for fact in facts.iter().filter(|fact| fact.kind == Kind::File) {
        let path = path_of(&dir.path().join("copy"), fact);
        let found = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{:?}: {error}", fact.path));
        assert_eq!((found.uid(), found.len()), (65_534, fact.size), "{:?}", fact.path);
        assert_eq!(
            found.mode() & 0o6000,
            0,
            "{:?}: nobody gets no privileges of others",
            fact.path
        );
        assert_same_contents(&path, fact, &format!("{:?}", fact.path));
    }
}

/// The path of the directory that an object is in.
fn parent(fact: &Fact) -> &[u8] {
    let path = &fact.path.0;
    &path[..path.iter().rposition(|&byte| byte == b'/').unwrap_or(0)]
}

/// The last component of an object's path.
fn name(fact: &Fact) -> &[u8] {
    let path = &fact.path.0;
    &path[path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1)..]
}

/// An image without checksums that can be damaged on purpose.
struct Damaged {
    bytes: Vec<u8>,
    block_size: usize,
    facts: Vec<Fact>,
}

impl Damaged {
    fn new() -> Self {
        let golden = golden::named("kinds-4k");
        assert!(!golden.has("metaecc"));
        let facts = golden.facts().expect("the kernel described it").objects;
        Self {
            bytes: fs::read(image(golden)).expect("the image"),
            block_size: golden.block_size as usize,
            facts,
        }
    }

    /// Two objects in one directory, the first of a name that fits into the place of the second's.
    fn pair(&self, first: Kind, second: Kind) -> (Fact, Fact) {
        let of = |kind: Kind| {
            self.facts
                .iter()
                .filter(move |fact| fact.kind == kind && !fact.path.0.is_empty())
        };
        of(first)
            .flat_map(|a| of(second).map(move |b| (a.clone(), b.clone())))
            .find(|(a, b)| a.ino != b.ino && parent(a) == parent(b) && name(a).len() <= name(b).len())
            .expect("the image has such a pair")
    }

    /// Offset of the directory entry of an object: inode, record length, name length, type, name.
    fn entry(&self, fact: &Fact) -> usize {
        let name = name(fact);
        let found = self.bytes.windows(12 + name.len()).position(|window| {
            window[..8] == fact.ino.to_le_bytes() && usize::from(window[10]) == name.len() && &window[12..] == name
        });
        found.expect("the object has an entry")
    }

    /// Gives an object another name in its directory.
    fn rename(&mut self, fact: &Fact, name: &[u8]) {
        let at = self.entry(fact);
        self.bytes[at + 10] = name.len() as u8;
        self.bytes[at + 12..][..name.len()].copy_from_slice(name);
    }

    /// Makes a symbolic link in the inode point elsewhere.
    fn point(&mut self, link: &Fact, target: &Path) {
        let target = target.as_os_str().as_bytes();
        let inode = link.ino as usize * self.block_size;
        self.bytes[inode + 0x20..][..8].copy_from_slice(&(target.len() as u64).to_le_bytes());
        self.bytes[inode + 0xC0..][..target.len()].copy_from_slice(target);
        self.bytes[inode + 0xC0 + target.len()] = 0;
    }

    fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("damaged.img");
        let file = fs::File::create(&path).expect("an image");
        file.set_len(self.bytes.len() as u64).expect("an image");
        for (index, block) in self
            .bytes
            .chunks(4096)
            .enumerate()
            .filter(|(_, block)| block.iter().any(|&byte| byte != 0))
        {
            file.write_all_at(block, index as u64 * 4096).expect("an image");
        }
        path
    }
}

#[test]
fn links_of_the_image_do_not_lead_out_of_the_destination() {
    // A link and, under the same name, what would be written through it.
    for kind in [Kind::Dir, Kind::File, Kind::Fifo] {
        for options in ["-r", "-a", "-rf"] {
            let (outside, dir, images) = (disk_dir(), disk_dir(), disk_dir());
            let victim = match kind {
                Kind::Dir => outside.path().to_owned(),
                _ => outside.path().join("victim"),
            };
            if kind != Kind::Dir {
                fs::write(&victim, "precious").expect("a file");
                fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).expect("permissions");
            }
            let mut volume = Damaged::new();
            let (link, other) = volume.pair(Kind::Symlink, kind);
            volume.point(&link, &victim);
            volume.rename(&other, name(&link));
            let image = volume.write(images.path());
            let before = snapshot(outside.path());

            let said = cp([
                OsStr::new(options),
                &at(&image, "/"),
                dir.path().join("copy").as_os_str(),
            ]);
            assert_eq!(snapshot(outside.path()), before, "{kind:?} {options}: {said:?}");
            assert!(matches!(said.status, 0 | 1), "{said:?}");
        }
    }
}

/// Everything that could have been changed about the objects at and below a path.
fn snapshot(path: &Path) -> Vec<(PathBuf, u32, u64, i64, i64, Vec<u8>)> {
    let found = fs::symlink_metadata(path).expect("it is there");
    let contents = if found.is_file() {
        fs::read(path).expect("a file")
    } else {
        Vec::new()
    };
    let mut all = vec![(
        path.to_owned(),
        found.mode(),
        found.nlink(),
        found.mtime(),
        found.mtime_nsec(),
        contents,
    )];
    if found.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            all.extend(snapshot(&entry.expect("an entry").path()));
        }
    }
    all
}

#[test]
fn names_of_the_image_do_not_lead_out_of_the_destination() {
    let mut volume = Damaged::new();
    let (file, dir) = volume.pair(Kind::File, Kind::Dir);
    let mut up = b"../".to_vec();
    up.resize(name(&file).len().max(3), b'x');
    volume.rename(&file, &up);
    volume.rename(&dir, b"..");
    let parent = disk_dir();
    let image = volume.write(parent.path());
    let inner = parent.path().join("inner");
    fs::create_dir(&inner).expect("a directory");
    let before = snapshot(parent.path()).len();
    let said = cp([OsStr::new("-r"), &at(&image, "/"), inner.join("copy").as_os_str()]);
    assert_eq!(said.status, 1, "{said:?}");
    fs::remove_dir_all(inner.join("copy")).expect("the copy can go");
    assert_eq!(snapshot(parent.path()).len(), before);
}

#[test]
fn a_directory_inside_itself_is_copied_once() {
    let mut volume = Damaged::new();
    let root = volume
        .facts
        .iter()
        .find(|fact| fact.path.0.is_empty())
        .expect("a root")
        .ino;
    let (dir, _) = volume.pair(Kind::Dir, Kind::File);
    let at_entry = volume.entry(&dir);
    volume.bytes[at_entry..][..8].copy_from_slice(&root.to_le_bytes());
    let parent = disk_dir();
    let image = volume.write(parent.path());
    for options in ["-r", "-rL"] {
        let copy = parent.path().join(options);
        let said = cp([OsStr::new(options), &at(&image, "/"), copy.as_os_str()]);
        assert_eq!(said.status, 1, "{options}: {said:?}");
        assert!(said.stderr.contains("directory loop"), "{options}: {said:?}");
        assert!(!path_of(&path_of(&copy, &dir), &dir).exists(), "{options}");
    }
}
