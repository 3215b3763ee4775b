//! The seeds of the fuzz targets, and whatever they found since, replayed without a fuzzer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocfs2_format::Structure;
use ocfs2_format::device::{BlockDevice, MemDevice};
use ocfs2_fs::fuzz::{TARGETS, VOLUME_BYTES, device_of};
use ocfs2_fs::mkfs::{self, MkfsOptions, MountMode, Plan};
use ocfs2_fs::{
    AllocateMode, FileSystem, MountOptions, OpenOptions, SurveyOptions, SurveyedBlock, Timestamp, Volume, XattrMode,
};
use ocfs2_testkit::golden;

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            entry
                .expect("a readable folder")
                .file_name()
                .into_string()
                .expect("plain names")
        })
        .collect();
    names.sort();
    names
}

#[test]
fn every_seed_of_every_fuzz_target_is_survived() {
    let folder = fuzz_folder().join("corpus");
    let targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names_in(&folder), targets, "each target has a corpus");
    let mut total = 0;
    for (name, body) in TARGETS {
        let seeds = names_in(&folder.join(name));
        assert!(!seeds.is_empty(), "{name} has seeds");
        for seed in seeds {
            let bytes = fs::read(folder.join(name).join(seed)).expect("a seed can be read");
            total += bytes.len();
            body(&bytes);
            // Half a structure, and one with every bit turned, are input too.
            body(&bytes[..bytes.len() / 2]);
            body(&bytes.iter().map(|byte| !byte).collect::<Vec<u8>>());
        }
        body(&[]);
    }
    assert!(total < 1 << 20, "the corpus has grown to {total} bytes");
}

#[test]
fn every_fuzz_target_is_a_program() {
    let programs: Vec<String> = TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    assert_eq!(names_in(&fuzz_folder().join("fuzz_targets")), programs);
    let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).expect("a manifest");
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}

#[test]
fn volumes_that_are_to_be_mounted_can_be() {
    let folder = fuzz_folder().join("corpus/mounted");
    for (shape, _) in SHAPES {
        for seed in [shape.to_owned(), format!("{shape}-crashed")] {
            let bytes = fs::read(folder.join(&seed)).expect("a seed can be read");
            let fs = FileSystem::mount(device_of(&bytes), &MountOptions::default());
            let fs = fs.unwrap_or_else(|error| panic!("{seed}: {error}"));
            fs.write("/new", "contents").expect("there is room");
            fs.unmount().expect("memory does not fail");
        }
    }
}

/// Kinds of volumes that are mounted: name, block size, features. What they hold is found without check codes, which would
/// tell every change.
const SHAPES: [(&str, (u32, &str)); 3] = [
    ("512-quota", (512, "nometaecc,refcount,xattr,usrquota,grpquota")),
    (
        "1k-plain",
        (1024, "nometaecc,nosparse,nounwritten,noinline-data,norefcount"),
    ),
    ("4k", (4096, "nometaecc,refcount,xattr,indexed-dirs")),
];

/// A small volume with files of many kinds: as the power was cut, and unmounted.
fn populated((block_size, features): (u32, &str)) -> (MemDevice, MemDevice) {
    let mut options = MkfsOptions::default();
    options.mount = MountMode::Local;
    options.block_size = Some(block_size);
    options.slots = Some(1);
    options.seed = Some(1);
    options.features.parse_list(features).expect("spelled right");
    let device = Arc::new(MemDevice::new(VOLUME_BYTES));
    let plan = Plan::new(VOLUME_BYTES, &options).expect("a shape that can be made");
    mkfs::format(&device, &plan, &mut |_| {}).expect("memory does not fail");
    let mut mount = MountOptions::default();
    mount.fixed_time = Some(Timestamp {
        secs: plan.time() as i64,
        nanos: 0,
    });
    mount.first_generation = Some(1);
    mount.commit_interval = None;
    let fs = FileSystem::mount(device.clone(), &mount).expect("it is sound");
    populate(&fs).expect("there is room");
    fs.sync().expect("memory does not fail");
    let crashed = device.snapshot();
    fs.unmount().expect("memory does not fail");
    mkfs::settle(&device, &plan).expect("memory does not fail");
    (crashed, device.snapshot())
}

/// Contents are zeros where they can be: those take no room in a seed.
fn populate(fs: &FileSystem) -> ocfs2_fs::Result<()> {
    fs.write("/small", "inline")?;
    fs.hard_link("/small", "/name")?;
    fs.symlink("small", "/link")?;
    fs.symlink("x".repeat(1000), "/long-link")?;
    fs.write("/pieces", [0; 10_000])?;
    let pieces = fs.metadata("/pieces")?;
    let file = fs.use_inode(&pieces)?;
    for piece in 1..8 {
        fs.write_at(&file, piece * 20_000, &[0; 5000])?;
    }
    // What a volume cannot have, it has not.
    let _ = fs.allocate(&file, 200_000..300_000, AllocateMode::Extend);
    let _ = fs.reflink("/pieces", "/shared");
    let _ = fs.set_xattr(pieces.number(), b"user.small", b"value", XattrMode::Set);
    let _ = fs.set_xattr(pieces.number(), b"user.large", &[0; 5000], XattrMode::Set);
    fs.create_dir("/dir")?;
    for number in 0..12 {
        fs.write(format!("/dir/a file with a long name, number {number}"), "")?;
    }
    fs.remove_file("/dir/a file with a long name, number 7")?;
    fs.create_dir_all("/dir/sub/dir")
}

/// The sectors of a device that are not zero, as the targets want them.
fn sectors(device: &MemDevice) -> Vec<u8> {
    let mut seed = Vec::new();
    for number in 0..device.geometry().len / 512 {
        let mut sector = [0; 512];
        device.read(number * 512, &mut sector).expect("inside the device");
        if sector.iter().any(|&byte| byte != 0) {
            seed.extend_from_slice(&(number as u32).to_le_bytes());
            seed.extend_from_slice(&sector);
        }
    }
    seed
}

/// The target that takes a structure.
fn target_of(structure: Structure) -> &'static str {
    match structure {
        Structure::Superblock => "superblock",
        Structure::Dinode => "dinode",
        Structure::ExtentBlock => "extent_block",
        Structure::GroupDesc => "group_desc",
        Structure::DirBlock => "dir_block",
        Structure::DxRoot => "dx_root",
        Structure::DxLeaf => "dx_leaf",
        Structure::RefcountBlock => "refcount_block",
        Structure::QuotaBlock => "quota",
        _ => "xattr_area",
    }
}

fn load(name: &str) -> (MemDevice, Volume, Vec<SurveyedBlock>) {
    let device = MemDevice::from_vec(golden::named(name).image());
    let volume = Volume::open(Arc::new(device.snapshot()), &OpenOptions::default()).expect("it opens");
    let mut options = SurveyOptions::default();
    options.list_blocks = true;
    let blocks = volume.survey(&options, &mut |_| {}).blocks;
    (device, volume, blocks)
}

/// Writes the seeds again, from golden images.
#[test]
#[ignore = "changes the corpus: run it by name when golden images or input formats have changed"]
fn write_seeds() {
    let save = |target: &str, name: &str, bytes: &[u8]| {
        let folder = fuzz_folder().join("corpus").join(target);
        fs::create_dir_all(&folder).expect("a folder for seeds");
        fs::write(folder.join(name), bytes).expect("a seed can be written");
    };
    let images = [
        "kinds-4k-metaecc",
        "kinds-512-metaecc",
        "dirs-512-metaecc",
        "extents-512",
        "refcount-512-metaecc",
        "xattr-1k-metaecc",
        "quota-1k-metaecc",
        "discontig-512-metaecc",
    ];
    for image in images {
        let (device, volume, blocks) = load(image);
        let bits = volume.geometry().block_size_bits;
        let mut taken: BTreeMap<&str, u32> = BTreeMap::new();
        // Neighbours resemble each other: seeds come from all over the volume.
        for block in blocks.iter().step_by(blocks.len() / 60 + 1).chain(&blocks) {
            let target = target_of(block.structure);
            let count = taken.entry(target).or_default();
            let most = if target == "dinode" { 5 } else { 2 };
            if *count >= most {
                continue;
            }
            *count += 1;
            let mut bytes = vec![0; block.len];
            device
                .read(block.block.0 << bits, &mut bytes)
                .expect("inside the image");
            // A bucket is as large as the largest block.
            let size = if block.structure == Structure::XattrBucket {
                3
            } else {
                bits - 9
            };
            let mut seed = vec![size | 2 << 2];
            seed.extend_from_slice(&bytes);
            save(target, &format!("{image}-{}", block.block), &seed);
            if target == "group_desc" {
                save("block_check", &format!("{image}-{}", block.block), &seed);
            }
        }
    }
    for image in ["crash-4k", "crash-wrap", "crash-async-commit"] {
        let (device, volume, _) = load(image);
        let bits = volume.geometry().block_size_bits;
        let map = volume.journal_map(ocfs2_format::SlotNum(0)).expect("it opened");
        let mut log = vec![bits - 9];
        for n in 0..24 {
            let mut block = vec![0; 1 << bits];
            let at = map.block(n).expect("a journal is longer");
            device.read(at.0 << bits, &mut block).expect("inside the image");
            if n < 4 {
                let mut seed = vec![bits - 9];
                seed.extend_from_slice(&block);
                save("journal_blocks", &format!("{image}-{n}"), &seed);
            }
            log.extend_from_slice(&block);
        }
        save("journal_replay", image, &log);
    }
    for (name, shape) in SHAPES {
        let (crashed, clean) = populated(shape);
        save("volume", name, &sectors(&clean));
        save("mounted", name, &sectors(&clean));
        save("mounted", &format!("{name}-crashed"), &sectors(&crashed));
    }
    let heartbeat = MemDevice::from_vec(golden::named("heartbeat-device").image());
    save("volume", "heartbeat-device", &sectors(&heartbeat));
    let mut sector = [0; 512];
    ocfs2_format::HeartbeatBlock::write(3, 1_700_000_000, 42, 62000, &mut sector);
    save("heartbeat", "node-3", &sector[..32]);
    save(
        "slot_map",
        "extended",
        &[1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0],
    );
    save("slot_map", "old", &[7, 0, 0xFF, 0xFF, 9, 0]);
    let header = ocfs2_format::ImageHeader::new(1, 4096, 1000, 100);
    save("image_header", "packed", zerocopy::IntoBytes::as_bytes(&header));
    // One partition of type 83, from sector 64, 32 sectors long.
    let mut table = vec![0; 512];
    table[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 64, 0, 0, 0, 32, 0, 0, 0]);
    table[510..].copy_from_slice(&[0x55, 0xAA]);
    save("partitions", "mbr", &table);
}
