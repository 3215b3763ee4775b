//! What we read of a volume, in the words in which the kernel reports its mount.

use std::os::unix::ffi::OsStrExt;

use ocfs2_format::{FileKind, InodeAttr, XattrNamespace};
use ocfs2_fs::{Acl, DeviceNumber, File, Inode, SegmentSource, Timestamp, Volume};
use ocfs2_testkit::facts::{Bytes, ExtentFact, Fact, Facts, Kind, XattrFact};
use sha2::{Digest, Sha256};

/// Everything the kernel reported must be what we read: every object and every field. Order is no part of it: the kernel
/// walks attribute trees from their end.
pub(crate) fn assert_equal(volume: &Volume, kernel: &Facts) {
    assert_same(observe(volume), kernel);
}

/// The same for what was read of a volume before.
pub(crate) fn assert_same(ours: Vec<Fact>, kernel: &Facts) {
    let found = sorted(ours);
    let expected = sorted(kernel.objects.clone());
    let names = |facts: &[Fact]| facts.iter().map(|fact| fact.path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected), "the same names");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "object {:?}", expected.path);
    }
}

fn sorted(mut facts: Vec<Fact>) -> Vec<Fact> {
    facts.sort_by(|a, b| a.path.cmp(&b.path));
    for fact in &mut facts {
        fact.xattrs.sort_by(|a, b| a.name.cmp(&b.name));
    }
    facts
}

/// Every object of the volume as a fact.
pub(crate) fn observe(volume: &Volume) -> Vec<Fact> {
    let walk = volume.walk("/").expect("the root can be read");
    walk.map(|entry| {
        let entry = entry.expect("every object can be read");
        let path = entry.path.as_os_str().as_bytes();
        let path = path.strip_prefix(b"/").unwrap_or(path);
        describe(volume, path, &entry.inode)
    })
    .collect()
}

fn describe(volume: &Volume, path: &[u8], inode: &Inode) -> Fact {
    let kind = match inode.kind() {
        FileKind::Regular => Kind::File,
        FileKind::Directory => Kind::Dir,
        FileKind::Symlink => Kind::Symlink,
        FileKind::CharDevice => Kind::Char,
        FileKind::BlockDevice => Kind::Block,
        FileKind::Fifo => Kind::Fifo,
        FileKind::Socket => Kind::Socket,
    };
    let moment = |time: Timestamp| (time.secs, time.nanos);
    let mut fact = Fact {
        path: Bytes(path.to_vec()),
        kind,
        ino: inode.number().0,
        mode: (inode.mode() & 0o7777) as u16,
        uid: inode.uid(),
        gid: inode.gid(),
        nlink: inode.links(),
        size: inode.size(),
        blocks: inode.sectors(),
        atime: moment(inode.atime()),
        mtime: moment(inode.mtime()),
        ctime: moment(inode.ctime()),
        rdev: inode
            .device_number()
            .map(|DeviceNumber { major, minor }| (major, minor)),
        target: (kind == Kind::Symlink).then(|| Bytes(volume.link_target(inode).expect("the target can be read"))),
        // The driver lists no attributes of devices, pipes and sockets, though they may inherit ACLs.
        xattrs: if matches!(kind, Kind::File | Kind::Dir | Kind::Symlink) {
            xattrs(volume, inode)
        } else {
            Vec::new()
        },
        flags: 0,
        data: None,
        extents: None,
        sha256: None,
        data_sha256: None,
    };
    if matches!(kind, Kind::File | Kind::Dir) {
        fact.flags = (inode.attr() & InodeAttr::from_bits_retain(VISIBLE_ATTR)).bits();
    }
    if kind == Kind::File {
        let file = volume.open_inode(inode.clone()).expect("a regular file opens");
        contents(&file, &mut fact);
        fact.extents = Some(fiemap(volume, inode));
    }
    fact
}

/// The attributes that the kernel lets a user see (`FS_FL_USER_VISIBLE`).
const VISIBLE_ATTR: u32 = 0x0003_DFFF;

/// Files up to this size are hashed whole, larger ones by their data.
const WHOLE_HASH_LIMIT: u64 = 8 << 20;

fn contents(file: &File, fact: &mut Fact) {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for segment in file.segments() {
        let segment = segment.expect("the extent tree can be read");
        let end = segment.start + segment.len;
        match segment.source {
            SegmentSource::Hole | SegmentSource::Unwritten { .. } => {}
            _ => match ranges.last_mut() {
                Some(last) if last.1 == segment.start => last.1 = end,
                _ => ranges.push((segment.start, end)),
            },
        }
    }
    let whole = file.size() <= WHOLE_HASH_LIMIT;
    let hashed = if whole { vec![(0, file.size())] } else { ranges.clone() };
    let mut digest = Sha256::new();
    // An odd size, so that reads begin and end inside blocks.
    let mut buf = vec![0; 1_000_003];
    for (start, end) in hashed {
        let mut at = start;
        while at < end {
            let part = buf.len().min((end - at) as usize);
            let read = file.read_at(at, &mut buf[..part]).expect("data can be read");
            assert_eq!(read, part, "no short reads inside the file");
            digest.update(&buf[..part]);
            at += part as u64;
        }
    }
    let digest = Some(Bytes(digest.finalize().to_vec()));
    (fact.sha256, fact.data_sha256) = if whole { (digest, None) } else { (None, digest) };
    fact.data = Some(ranges);
}

/// Extents as FIEMAP gives them.
fn fiemap(volume: &Volume, inode: &Inode) -> Vec<ExtentFact> {
    const LAST: u32 = 0x1;
    const NOT_ALIGNED: u32 = 0x100;
    let geometry = volume.geometry();
    let mut extents: Vec<ExtentFact> = volume
        .extents(inode)
        .expect("the extent tree can be read")
        .iter()
        .map(|extent| {
            let unwritten = extent.flags.contains(ocfs2_format::ExtentFlags::UNWRITTEN);
            let shared = extent.flags.contains(ocfs2_format::ExtentFlags::REFCOUNTED);
            ExtentFact {
                logical: geometry.clusters_to_bytes(extent.cpos),
                physical: extent.blkno.0 << geometry.block_size_bits,
                length: geometry.clusters_to_bytes(extent.clusters),
                flags: if unwritten { ExtentFact::UNWRITTEN } else { 0 } | if shared { ExtentFact::SHARED } else { 0 },
            }
        })
        .collect();
    if inode.dyn_features().contains(ocfs2_format::DynFeatures::INLINE_DATA) {
        let data = inode.dinode().inline_data().id_data.as_ptr().addr() - inode.as_bytes().as_ptr().addr();
        extents.push(ExtentFact {
            logical: 0,
            physical: (inode.number().0 << geometry.block_size_bits) + data as u64,
            length: inode.dinode().inline_data().id_count.get().into(),
            flags: ExtentFact::INLINE | NOT_ALIGNED,
        });
    }
    if let Some(last) = extents.last_mut() {
        last.flags |= LAST;
    }
    extents
}

fn xattrs(volume: &Volume, inode: &Inode) -> Vec<XattrFact> {
    const SHORT_VALUE: usize = 1024;
    let list = volume.inode_xattrs(inode).expect("attributes can be read");
    list.iter()
        .map(|xattr| {
            let mut value = volume.xattr_value(inode, xattr).expect("values can be read");
            let again = volume
                .find_xattr(inode, xattr.namespace(), xattr.stored_name())
                .expect("attributes can be looked up")
                .expect("what is listed is found");
            assert_eq!(again.place(), xattr.place(), "an attribute has one place");
            if matches!(
                xattr.namespace(),
                XattrNamespace::PosixAclAccess | XattrNamespace::PosixAclDefault
            ) {
                value = Acl::parse(&value).expect("an ACL").to_posix_xattr();
            }
            let short = value.len() <= SHORT_VALUE;
            XattrFact {
                name: Bytes(xattr.name()),
                size: value.len() as u64,
                sha256: (!short).then(|| Bytes(Sha256::digest(&value).to_vec())),
                value: short.then_some(Bytes(value)),
            }
        })
        .collect()
}
