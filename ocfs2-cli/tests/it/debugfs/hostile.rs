//! Damaged volumes: every command ends, in bounded time and with bounded output, and says what is wrong.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::json;
use crate::run::{PROGRAM, image_named};

/// A copy of a golden image that a test may damage.
struct Victim {
    path: PathBuf,
    file: File,
    block_size: u64,
    _dir: tempfile::TempDir,
}

impl Victim {
    fn of(name: &str) -> Victim {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(name);
        let golden = image_named(name);
        let block_size = 1
            << json(&golden, "stats")["super"]["s_blocksize_bits"]
                .as_u64()
                .expect("a number");
        let status = Command::new("cp")
            .arg("--sparse=always")
            .arg(&golden)
            .arg(&path)
            .status();
        assert!(status.expect("cp starts").success());
        let file = File::options().read(true).write(true).open(&path).expect("the copy");
        Victim {
            path,
            file,
            block_size,
            _dir: dir,
        }
    }

    /// Writes bytes at an offset of a block.
    fn poke(&self, block: u64, offset: u64, bytes: &[u8]) {
        self.file
            .write_all_at(bytes, block * self.block_size + offset)
            .expect("the copy takes it");
    }

    /// The inode number of a path, `//` included.
    fn inode(&self, path: &str) -> u64 {
        json(&self.path, &format!("stat -T {path}"))["i_blkno"]
            .as_u64()
            .expect("a number")
    }

    /// A file with extent blocks, and the first of them.
    fn deep_file(&self) -> (u64, u64) {
        let entries = json(&self.path, "ls /");
        let found = entries["entries"]
            .as_array()
            .expect("entries")
            .iter()
            .find_map(|entry| {
                let number = entry["inode"].as_u64()?;
                let stat = json(&self.path, &format!("stat <{number}>"));
                Some((number, stat["extent_blocks"][0]["h_blkno"].as_u64()?))
            });
        found.expect("a file with extent blocks")
    }
}

/// Time that any command may take on these small volumes.
const LIMIT: Duration = Duration::from_secs(20);

/// Bytes that any command may print about these small volumes.
const MAX_OUTPUT: u64 = 48 << 20;

/// Runs commands that must end without a crash; gives back what they said on stdout and stderr.
fn survive(image: &Path, args: &[&str], script: &str) -> (String, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let [input, stdout, stderr] = ["in", "out", "err"].map(|name| dir.path().join(name));
    fs::write(&input, script).expect("a script");
    let mut child = Command::new(PROGRAM)
        .arg("debugfs")
        .args(args)
        .arg(image)
        .current_dir(dir.path())
        .stdin(File::open(&input).expect("the script"))
        .stdout(Stdio::from(File::create(&stdout).expect("a file")))
        .stderr(Stdio::from(File::create(&stderr).expect("a file")))
        .spawn()
        .expect("the program starts");
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        let printed = [&stdout, &stderr]
            .iter()
            .map(|path| path.metadata().map_or(0, |meta| meta.len()))
            .sum::<u64>();
        if start.elapsed() > LIMIT || printed > MAX_OUTPUT {
            child.kill().expect("the child ends");
            let shown = fs::read(&stdout).unwrap_or_default();
            let tail = String::from_utf8_lossy(&shown[shown.len().saturating_sub(600)..]).into_owned();
            panic!("{args:?} goes on and on after {printed} bytes: {tail}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let stderr = String::from_utf8_lossy(&fs::read(&stderr).expect("a file")).into_owned();
    assert!(matches!(status.code(), Some(0 | 1)), "{status}: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    (
        String::from_utf8_lossy(&fs::read(&stdout).expect("a file")).into_owned(),
        stderr,
    )
}

/// Every command that looks at the whole volume, and those about the given inodes.
fn everything(inodes: &[u64]) -> String {
    let mut script = String::from(
        "stats\nstats -s 1\nls -l /\nls -l //\nstat_sysdir\nhb\nslotmap\nlogdump 0\nlogdump 1\ngd_free_bits\nlocate <1> <99>\nfindpath <98>\n\
         icheck 3 5 9 99 1000 8000\ndecode <M000000000000000000001100000000>\nrdump / out\n",
    );
    for inode in inodes {
        for command in [
            "stat",
            "ls",
            "ls -l",
            "dirblocks",
            "dx_dump",
            "dx_space",
            "xattr -v",
            "refcount -e",
            "frag",
            "cat",
            "encode",
            "group",
            "grpextents",
            "extent",
            "dx_root",
            "dx_leaf",
            "refcount",
            "locate",
            "findpath",
        ] {
            script.push_str(&format!("{command} <{inode}>\n"));
        }
        script.push_str(&format!(
            "bmap <{inode}> 0\nbmap <{inode}> 4000000000\ndump <{inode}> dumped\n"
        ));
    }
    for inode in inodes {
        script.push_str(&format!("cd <{inode}>\nls\nchroot <{inode}>\nls /\n"));
    }
    script.push_str("quit\n");
    script
}

#[test]
fn every_command_that_reads_a_volume_is_among_those_tried() {
    let help = json(&image_named("empty-512-4k"), "help");
    let tried = everything(&[5]);
    for command in help["commands"].as_array().expect("commands") {
        let name = command["names"][0].as_str().expect("a name");
        // These look at the volume as all others do, or at none.
        if [
            "close",
            "controld",
            "curdev",
            "dlm_locks",
            "fs_locks",
            "help",
            "lcd",
            "net_stats",
            "open",
        ]
        .contains(&name)
        {
            continue;
        }
        let found = tried.lines().any(|line| line.split(' ').next() == Some(name));
        assert!(found, "{name}");
    }
}

fn survive_all(victim: &Victim, inodes: &[u64]) -> String {
    let script = everything(inodes);
    let (_, text) = survive(&victim.path, &["-n"], &script);
    let (documents, json_text) = survive(&victim.path, &["--json"], &script);
    for line in documents.lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{}", line.chars().take(300).collect::<String>());
    }
    text + &json_text
}

#[test]
fn a_group_chain_that_leads_back_to_itself_ends() {
    let victim = Victim::of("kinds-512-metaecc");
    for file in ["//global_bitmap", "//inode_alloc:0000"] {
        let inode = victim.inode(file);
        let group = json(&victim.path, &format!("stat {file}"))["chain_list"]["cl_recs"][0]["c_blkno"]
            .as_u64()
            .unwrap();
        victim.poke(group, 0x18, &group.to_le_bytes());
        let said = survive_all(&victim, &[inode, group]);
        assert!(said.contains("a loop"), "{said}");
    }
}

#[test]
fn impossible_counts_in_an_allocator_are_shown_and_survived() {
    let victim = Victim::of("kinds-4k");
    let inode = victim.inode("//global_bitmap");
    for (offset, value) in [
        (0xC0, 0u16),
        (0xC2, 0),
        (0xC2, 0xFFFF),
        (0xC4, 0),
        (0xC4, 0xFFFF),
        (0xC6, 0xFFFF),
    ] {
        victim.poke(inode, offset, &value.to_le_bytes());
        survive_all(&victim, &[inode]);
    }
}

#[test]
fn an_extent_block_that_leads_back_to_itself_ends() {
    let victim = Victim::of("extents-512");
    let (inode, block) = victim.deep_file();
    // A record of the block's list, made one of an interior list that points at the block.
    victim.poke(block, 0x30, &5u16.to_le_bytes());
    victim.poke(block, 0x48, &block.to_le_bytes());
    let said = survive_all(&victim, &[inode, block]);
    assert!(said.contains("a loop"), "{said}");
}

#[test]
fn impossible_depths_and_counts_of_extent_lists_are_survived() {
    let victim = Victim::of("extents-512");
    let (inode, block) = victim.deep_file();
    for (at, offset) in [
        (inode, 0xC0),
        (inode, 0xC2),
        (inode, 0xC4),
        (block, 0x30),
        (block, 0x32),
        (block, 0x34),
    ] {
        victim.poke(at, offset, &0xFFFFu16.to_le_bytes());
        survive_all(&victim, &[inode, block]);
    }
}

#[test]
fn sizes_beyond_reason_do_not_make_endless_output() {
    let victim = Victim::of("kinds-4k-metaecc");
    let mut inodes = vec![victim.inode("//journal:0000"), victim.inode("/"), victim.inode("//")];
    let entries = json(&victim.path, "ls /");
    let mut names = entries["entries"].as_array().expect("entries").iter();
    inodes.extend(
        names
            .find(|entry| entry["file_type"] == 1)
            .and_then(|entry| entry["inode"].as_u64()),
    );
    for size in [1u64 << 60, 1 << 63, u64::MAX] {
        for inode in &inodes {
            victim.poke(*inode, 0x20, &size.to_le_bytes());
        }
        // A file of that size may well be copied as one hole; this is about the rest.
        let script: String = everything(&inodes)
            .lines()
            .filter(|line| !line.contains("cat") && !line.contains("dump <") && !line.contains("rdump"))
            .flat_map(|line| [line, "\n"])
            .collect();
        survive(&victim.path, &["-n"], &script);
        survive(&victim.path, &["--json"], &script);
    }
}

#[test]
fn directories_that_contain_each_other_end() {
    let victim = Victim::of("kinds-max-compat");
    // Every entry of every block of the root's directories leads to the root.
    let root = victim.inode("/");
    let entries = json(&victim.path, "ls /");
    let dirs = entries["entries"].as_array().expect("entries").iter();
    let dirs = dirs.filter(|entry| entry["file_type"] == 2 && !entry["name"].as_str().unwrap().starts_with('.'));
    for dir in dirs {
        let blocks = json(&victim.path, &format!("dirblocks <{}>", dir["inode"]));
        for block in blocks["blocks"].as_array().expect("blocks") {
            for entry in block["entries"].as_array().expect("entries") {
                let at = entry["position"].as_u64().unwrap() - block["offset"].as_u64().unwrap();
                victim.poke(block["block"].as_u64().unwrap(), at, &root.to_le_bytes());
            }
        }
    }
    let said = survive_all(&victim, &[root]);
    assert!(said.contains("a loop"), "{said}");
}

#[test]
fn directory_entries_that_do_not_tile_their_block_are_named() {
    let victim = Victim::of("kinds-max-compat");
    let root = victim.inode("/");
    let block = json(&victim.path, "dirblocks /")["blocks"][0]["block"]
        .as_u64()
        .expect("a block");
    for rec_len in [0u16, 3, 11, 12, 0xFFFC, 0xFFFF] {
        victim.poke(block, 8, &rec_len.to_le_bytes());
        let (_, said) = survive(&victim.path, &["-n"], &everything(&[root]));
        assert!(
            said.contains("an entry does not end") || rec_len == 12,
            "{rec_len}: {said}"
        );
    }
}

#[test]
fn attributes_with_impossible_places_are_survived() {
    let victim = Victim::of("xattr-4k");
    let entries = json(&victim.path, "ls -l /");
    let with: Vec<u64> = entries["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .filter_map(|entry| entry["inode"].as_u64())
        .filter(|inode| json(&victim.path, &format!("xattr <{inode}>"))["total"] != 0)
        .take(6)
        .collect();
    assert!(!with.is_empty());
    for inode in &with {
        let shown = json(&victim.path, &format!("xattr <{inode}>"));
        if let Some(block) = shown["block"]["xb_blkno"].as_u64() {
            // The header of the block's area or list: counts beyond the block, and offsets beyond all.
            victim.poke(block, 0x30, &[0xFF; 4]);
            victim.poke(block, 0x44, &[0xFF; 12]);
        }
        victim.poke(*inode, 0x0E, &0xFFFFu16.to_le_bytes());
    }
    survive_all(&victim, &with);
}

#[test]
fn a_broken_superblock_or_system_directory_is_opened_as_far_as_it_goes() {
    let victim = Victim::of("kinds-4k");
    let system = victim.inode("//");
    let root = victim.inode("/");
    // The system directory's inode is zeros.
    victim.poke(system, 0, &[0; 8]);
    let (stdout, _) = survive(&victim.path, &["-n"], "stats -h\nls -l /\nquit\n");
    assert!(
        stdout.contains("\tLabel: kinds\n") && stdout.contains("lost+found"),
        "{stdout}"
    );
    survive_all(&victim, &[root, system]);
    for (offset, bytes) in [
        (0x28u64, [0xFF; 8].as_slice()), // i_clusters and more
        (0xC0 + 0x36, &[0xFF; 2]),       // s_max_slots
        (0xC0 + 0x20, &[0; 8]),          // s_root_blkno
        (0xC0 + 0x28, &[0xFF; 8]),       // s_system_dir_blkno
        (0xC0 + 0x40, &[0; 8]),          // s_first_cluster_group
    ] {
        victim.poke(2, offset, bytes);
        let (stdout, said) = survive(&victim.path, &["-n"], "stats\nquit\n");
        assert!(stdout.contains("\tLabel: kinds\n"), "{offset:#x}: {said}");
        survive(&victim.path, &["-n"], &everything(&[root, 3]));
    }
}

#[test]
fn a_cut_image_says_where_it_ends() {
    for len in [3000, 1 << 20, 20 << 20] {
        let victim = Victim::of("kinds-4k");
        victim.file.set_len(len).expect("a shorter file");
        survive_all(&victim, &[5, 6, 7]);
    }
}

#[test]
fn zeroed_roots_of_trees_are_named() {
    let victim = Victim::of("refcount-4k");
    let entries = json(&victim.path, "ls /");
    let mut inodes = Vec::new();
    for entry in entries["entries"].as_array().expect("entries") {
        let Some(inode) = entry["inode"].as_u64() else { continue };
        let stat = json(&victim.path, &format!("stat -T <{inode}>"));
        for root in ["i_refcount_loc", "i_dx_root", "i_xattr_loc"] {
            if let Some(block) = stat[root].as_u64().filter(|block| *block != 0) {
                victim.poke(block, 0, &[0; 64]);
                inodes.push(inode);
            }
        }
    }
    assert!(!inodes.is_empty());
    let said = survive_all(&victim, &inodes);
    assert!(said.contains("Bad magic number in refcount block"), "{said}");
}

/// Splitmix64: the same damage in every run.
fn random_numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[test]
fn random_bytes_in_journals_slot_maps_and_heartbeats_end_no_command_badly() {
    let mut random = random_numbers(0x6f63_6673_326a_6e6c);
    for name in ["crash-4k", "kinds-512-metaecc"] {
        let victim = Victim::of(name);
        let first = |path: &str| {
            json(&victim.path, &format!("bmap {path} 0"))["physical"]
                .as_u64()
                .expect("a block")
        };
        let journal = first("//journal:0000");
        // The log's own length, first block, start and tail.
        for (offset, value) in [
            (0x10u64, 0u32),
            (0x10, u32::MAX),
            (0x14, u32::MAX),
            (0x1C, u32::MAX),
            (0x0C, 0),
            (0x0C, 3),
        ] {
            victim.poke(journal, offset, &value.to_be_bytes());
            survive(&victim.path, &["-n"], "logdump 0\nstat_sysdir\nquit\n");
        }
        let files = [journal, first("//slot_map"), first("//heartbeat")];
        for _ in 0..6 {
            for file in files {
                for _ in 0..6 {
                    let offset = random() % (8 * victim.block_size - 8);
                    victim.poke(file, offset, &random().to_le_bytes());
                }
            }
            for args in [&["-n"], &["--json"]] {
                survive(&victim.path, args, "logdump 0\nslotmap\nhb\nstat_sysdir\nquit\n");
            }
        }
    }
}

#[test]
fn random_bytes_in_metadata_end_no_command_badly() {
    let mut random = random_numbers(0x6f63_6673_3264_6267);
    for name in ["kinds-1k-8k-metaecc", "refcount-512-metaecc", "discontig-4k"] {
        let victim = Victim::of(name);
        let system = json(&victim.path, "ls //");
        let tree = json(&victim.path, "ls /");
        let numbers = |listing: &Value| {
            let entries = listing["entries"].as_array().expect("entries").iter();
            entries.filter_map(|entry| entry["inode"].as_u64()).collect::<Vec<_>>()
        };
        let inodes = [numbers(&system), numbers(&tree)].concat();
        for _ in 0..4 {
            for _ in 0..12 {
                let inode = inodes[random() as usize % inodes.len()];
                let offset = 8 + random() % (victim.block_size - 16);
                victim.poke(inode, offset, &random().to_le_bytes());
            }
            let some: Vec<u64> = inodes
                .iter()
                .copied()
                .skip(random() as usize % 5)
                .step_by(inodes.len() / 6 + 1)
                .collect();
            let script: String = everything(&some)
                .lines()
                .filter(|line| !line.contains("cat") && !line.contains("dump"))
                .flat_map(|line| [line, "\n"])
                .collect();
            survive(&victim.path, &["-n"], &script);
        }
    }
}
