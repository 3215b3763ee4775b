//! Files and block devices: what opening refuses, sparseness, direct I/O, exclusive use.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;

use ocfs2_format::device::{
    AlignedBuf, BlockDevice, Coherence, DiscardEffect, Durability, FileDevice, FileOptions, IoError, IoErrorKind,
    MmapDevice, open,
};
use ocfs2_testkit::tools::Tool;

use super::{LoopDevice, directory, open_direct, skipped, writable};

#[test]
fn what_cannot_hold_a_volume_is_refused_with_its_name() {
    let dir = directory();
    let (socket, pipe, link) = (
        dir.path().join("socket"),
        dir.path().join("pipe"),
        dir.path().join("link"),
    );
    let _listener = UnixListener::bind(&socket).unwrap();
    symlink(dir.path(), &link).unwrap();
    let mut cases = vec![
        (
            dir.path().to_owned(),
            "open: a directory, not a regular file or a block device",
        ),
        (link, "open: a directory, not a regular file or a block device"),
        (socket, "open: a socket, not a regular file or a block device"),
        (
            "/dev/null".into(),
            "open: a character device, not a regular file or a block device",
        ),
    ];
    match Tool::find("mkfifo") {
        Some(mkfifo) => {
            mkfifo.arg(&pipe).run().ok();
            cases.push((pipe, "open: a named pipe, not a regular file or a block device"));
        }
        None => skipped("mkfifo not installed"),
    }
    for (path, message) in cases {
        for options in [FileOptions::new(), writable(), writable().direct(true).exclusive(true)] {
            assert_eq!(FileDevice::open(&path, &options).unwrap_err().to_string(), message);
        }
        assert_eq!(MmapDevice::open(&path).unwrap_err().to_string(), message);
    }
    let missing = FileDevice::open(dir.path().join("missing"), &writable()).unwrap_err();
    assert_eq!(missing.errno(), 2);
    assert!(!dir.path().join("missing").exists());
}

#[test]
fn the_partial_block_at_the_end_is_not_used_nor_changed() {
    let dir = directory();
    let path = dir.path().join("image");
    fs::write(&path, [5; 2000]).unwrap();
    let device = FileDevice::open(&path, &writable()).unwrap();
    assert_eq!(device.geometry().len, 1536);
    device.write_zeroes(0..1536).unwrap();
    device.discard(512..1536).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 2000);
    assert!(bytes[..1536].iter().all(|&byte| byte == 0) && bytes[1536..].iter().all(|&byte| byte == 5));
    assert_eq!(MmapDevice::open(&path).unwrap().as_slice().map(<[u8]>::len), Some(1536));
}

#[test]
fn empty_files_open_as_empty_devices() {
    let dir = directory();
    let path = dir.path().join("image");
    let device = FileDevice::create(&path, 0, &writable()).unwrap();
    assert_eq!(device.geometry().len, 0);
    device.read(0, &mut [0; 512]).unwrap_err();
    assert_eq!(MmapDevice::open(&path).unwrap().as_slice(), Some(&[][..]));
    if let Some(direct) = open_direct(&path) {
        assert_eq!(direct.geometry().len, 0);
    }
}

#[test]
fn creating_makes_a_sparse_file_and_touches_no_existing_one() {
    let dir = directory();
    let path = dir.path().join("image");
    let device = FileDevice::create(&path, 1 << 40, &writable()).unwrap();
    assert_eq!(device.geometry().len, 1 << 40);
    device.write_zeroes(0..1 << 40).unwrap();
    assert!(
        fs::metadata(&path).unwrap().blocks() < 64,
        "zeros over a hole stay a hole"
    );
    device.write(0, &[1; 512], Durability::Cached).unwrap();

    let refused = FileDevice::create(&path, 512, &writable()).unwrap_err();
    assert_eq!(refused.errno(), 17);
    assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 40);
}

#[test]
fn the_length_follows_set_len() {
    let dir = directory();
    let path = dir.path().join("image");
    let mut device = FileDevice::create(&path, 4096, &writable()).unwrap();
    device.write(0, &[1; 4096], Durability::Cached).unwrap();
    device.set_len(8192).unwrap();
    let mut buf = [7; 8192];
    device.read(0, &mut buf).unwrap();
    assert_eq!((buf[4095], buf[4096]), (1, 0));
    device.set_len(1000).unwrap();
    assert_eq!((device.geometry().len, fs::metadata(&path).unwrap().len()), (512, 1000));

    let mut read_only = FileDevice::open(&path, &FileOptions::new()).unwrap();
    let refused = read_only.set_len(4096).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "resize to 4096 bytes: the device is open for reading only"
    );
}

#[test]
fn zeroing_and_discarding_give_space_back() {
    let dir = directory();
    let path = dir.path().join("image");
    let device = FileDevice::create(&path, 8 << 20, &writable()).unwrap();
    if device.traits().discard != DiscardEffect::Zeroes {
        return skipped("no hole punching in the directory of temporary files");
    }
    let used = || fs::metadata(&path).unwrap().blocks() * 512;
    let mut zeroing: [&dyn Fn(); 2] = [&|| device.write_zeroes(0..8 << 20).unwrap(), &|| {
        device.discard(0..8 << 20).unwrap();
    }];
    for zero in &mut zeroing {
        device.write(0, &vec![1; 8 << 20], Durability::Cached).unwrap();
        device.flush().unwrap();
        assert!(used() >= 8 << 20);
        zero();
        assert!(used() < 1 << 20, "{} bytes in use", used());
        let mut buf = vec![1; 8 << 20];
        device.read(0, &mut buf).unwrap();
        assert!(buf.iter().all(|&byte| byte == 0));
    }
}

#[test]
fn direct_io_bypasses_the_cache_with_probed_alignment() {
    let dir = directory();
    let path = dir.path().join("image");
    let buffered = FileDevice::create(&path, 4 << 20, &writable()).unwrap();
    assert_eq!(
        (buffered.traits().coherence, buffered.geometry().dma_alignment),
        (Coherence::PageCache, 1)
    );
    let Some(direct) = open_direct(&path) else { return };
    assert_eq!(direct.traits().coherence, Coherence::Direct);
    let block = u64::from(direct.geometry().block_size);

    // The smallest transfer the geometry promises, from memory it promises and from memory it does not.
    let mut aligned = AlignedBuf::for_device(direct.geometry(), block as usize);
    aligned.fill(3);
    direct.write(block, &aligned, Durability::Cached).unwrap();
    let odd = vec![4; block as usize + 1];
    direct.write(3 * block, &odd[1..], Durability::ForceUnitAccess).unwrap();
    let mut back = vec![0; 4 * block as usize];
    buffered.read(0, &mut back).unwrap();
    let firsts: Vec<u8> = back.chunks(block as usize).map(|block| block[0]).collect();
    assert_eq!(firsts, [0, 3, 0, 4]);
}

#[test]
fn exclusive_use_of_a_file_is_exclusive_and_ends_with_the_device() {
    let dir = directory();
    let path = dir.path().join("image");
    let first = FileDevice::create(&path, 8192, &writable().exclusive(true)).unwrap();
    let refused = FileDevice::open(&path, &writable().exclusive(true)).unwrap_err();
    assert!(
        matches!(
            refused,
            IoError {
                kind: IoErrorKind::InUse,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(refused.to_string(), "open: in use by another program");
    FileDevice::open(&path, &FileOptions::new()).unwrap();
    drop(first);
    FileDevice::open(&path, &writable().exclusive(true)).unwrap();
}

#[test]
fn exclusive_use_of_a_block_device_is_exclusive() {
    let dir = directory();
    let path = dir.path().join("disk");
    FileDevice::create(&path, 1 << 20, &writable()).unwrap();
    let Some(disk) = LoopDevice::new(&path, 512) else {
        return;
    };
    let first = FileDevice::open(&disk.0, &writable().exclusive(true)).unwrap();
    let refused = FileDevice::open(&disk.0, &writable().exclusive(true)).unwrap_err();
    assert!(matches!(refused.kind, IoErrorKind::InUse), "{refused}");
    drop(first);
    let mut again = FileDevice::open(&disk.0, &writable().exclusive(true)).unwrap();
    assert_eq!(again.set_len(4096).unwrap_err().errno(), 22);
}

#[test]
fn zeroing_a_block_device_unmaps_it() {
    let dir = directory();
    let path = dir.path().join("disk");
    fs::write(&path, vec![1; 4 << 20]).unwrap();
    fs::File::open(&path).unwrap().sync_all().unwrap();
    let Some(disk) = LoopDevice::new(&path, 512) else {
        return;
    };
    let device = FileDevice::open(&disk.0, &writable()).unwrap();
    device.write_zeroes(1 << 20..4 << 20).unwrap();
    device.flush().unwrap();
    let bytes = fs::read(&path).unwrap();
    assert!(bytes[..1 << 20].iter().all(|&byte| byte == 1) && bytes[1 << 20..].iter().all(|&byte| byte == 0));
    assert!(
        fs::metadata(&path).unwrap().blocks() * 512 < 2 << 20,
        "the loop device punches holes in its file"
    );
    device.discard(0..1 << 20).unwrap();
}

#[test]
fn a_file_that_became_shorter_is_an_error() {
    let dir = directory();
    let path = dir.path().join("image");
    let device = FileDevice::create(&path, 8192, &FileOptions::new()).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1024)
        .unwrap();
    let mut buf = [0; 4096];
    let error = device.read(0, &mut buf).unwrap_err();
    assert!(
        error.to_string().starts_with("read of 4096 bytes at byte 0: "),
        "{error}"
    );
    assert_eq!(error.errno(), 5);
}

#[test]
fn the_whole_device_or_one_partition_opens_by_path() {
    let dir = directory();
    let path = dir.path().join("image");
    let file = fs::File::create_new(&path).unwrap();
    file.set_len(4 << 20).unwrap();
    let mut mbr = [0; 512];
    mbr[446 + 4] = 0x83;
    mbr[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
    mbr[446 + 12..446 + 16].copy_from_slice(&2048_u32.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xAA]);
    file.write_all_at(&mbr, 0).unwrap();
    file.write_all_at(b"first", 1 << 20).unwrap();

    assert_eq!(open(&path, &FileOptions::new(), None).unwrap().geometry().len, 4 << 20);
    let partition = open(&path, &FileOptions::new(), Some(1)).unwrap();
    let mut buf = [0; 512];
    partition.read(0, &mut buf).unwrap();
    assert_eq!((partition.geometry().len, &buf[..5]), (1 << 20, &b"first"[..]));
    let missing = open(&path, &FileOptions::new(), Some(2)).unwrap_err();
    assert_eq!(missing.to_string(), "no partition 2; the table has 1");
}
