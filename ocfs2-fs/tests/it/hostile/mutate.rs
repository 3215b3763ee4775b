//! Random damage: bytes, fields and blocks of metadata, reproducible by a seed.

use fastrand::Rng;
use ocfs2_format::device::{BlockDevice, Durability};
use ocfs2_format::{BlockCheck, Structure};
use ocfs2_fs::SurveyedBlock;

use super::base::{Base, Copy};

/// A damaged copy of `base`: the same for the same seed.
pub(crate) fn damaged(base: &Base, seed: u64) -> Copy {
    let mut rng = Rng::with_seed(seed);
    let copy = base.copy();
    let rounds = match rng.u8(..) {
        0..128 => 1,
        128..224 => rng.usize(2..=4),
        _ => rng.usize(5..=32),
    };
    // Half of the damage comes with right check fields, so that it reaches what lies behind the check.
    let forged = rng.bool();
    for _ in 0..rounds {
        if rng.u8(..) < 16 {
            damage_anything(base, &copy, &mut rng);
            continue;
        }
        let block = pick(base, &mut rng);
        let other = pick(base, &mut rng);
        let mut bytes = copy.read(block);
        match rng.u8(..) {
            0..56 => flip_bits(&mut bytes, &mut rng),
            56..112 => replace_bytes(&mut bytes, &mut rng),
            112..216 => replace_fields(base, block, &mut bytes, &mut rng),
            216..224 => bytes.fill(0),
            224..230 => rng.fill(&mut bytes),
            230..240 => shift_bytes(&mut bytes, &mut rng),
            _ => {
                let source = copy.read(other);
                let len = source.len().min(bytes.len());
                bytes[..len].copy_from_slice(&source[..len]);
                // The copy may say that it belongs here.
                if let Some(at) = self_block(other.structure).filter(|_| rng.bool()) {
                    bytes[at..at + 8].copy_from_slice(&block.block.0.to_le_bytes());
                }
            }
        }
        if forged && base.geometry.features.metaecc() {
            BlockCheck::set(&mut bytes, block.check_offset);
        }
        copy.write(block, &bytes);
    }
    copy
}

/// A metadata block; inodes, of which there are most, not much more often than others.
fn pick<'a>(base: &'a Base, rng: &mut Rng) -> &'a SurveyedBlock {
    loop {
        let block = &base.blocks[rng.usize(..base.blocks.len())];
        if block.structure != Structure::Dinode || rng.u8(..) < 96 {
            return block;
        }
    }
}

/// A sector somewhere on the volume: system files without a check field, journals, data.
fn damage_anything(base: &Base, copy: &Copy, rng: &mut Rng) {
    let mut sector = [0; 512];
    let offset = rng.u64(..base.geometry.bytes()) & !511;
    copy.device.read(offset, &mut sector).expect("inside the volume");
    match rng.u8(..4) {
        0 => sector.fill(rng.u8(..)),
        1 => rng.fill(&mut sector),
        _ => replace_bytes(&mut sector, rng),
    }
    copy.device
        .write(offset, &sector, Durability::Cached)
        .expect("inside the volume");
}

fn flip_bits(bytes: &mut [u8], rng: &mut Rng) {
    for _ in 0..rng.usize(1..=4) {
        bytes[rng.usize(..bytes.len())] ^= 1 << rng.u8(..8);
    }
}

fn replace_bytes(bytes: &mut [u8], rng: &mut Rng) {
    let start = rng.usize(..bytes.len());
    let len = rng.usize(1..=16).min(bytes.len() - start);
    let fill = rng.u8(..);
    for byte in &mut bytes[start..start + len] {
        *byte = if fill < 64 { fill } else { rng.u8(..) };
    }
}

/// Moves a part of the block, so that records and entries are read out of step.
fn shift_bytes(bytes: &mut [u8], rng: &mut Rng) {
    let start = rng.usize(..bytes.len() - 64);
    let by = rng.usize(1..=64);
    bytes[start..].rotate_right(by);
}

/// Puts a value that a careless reader may trip over into a field, or what may well be one.
fn replace_fields(base: &Base, block: &SurveyedBlock, bytes: &mut [u8], rng: &mut Rng) {
    for _ in 0..rng.usize(1..=3) {
        let size = [1, 2, 2, 4, 4, 8, 8][rng.usize(..7)];
        // Headers are full of fields; further back are records, and what is at the end of a block.
        let area = match rng.u8(..8) {
            0..4 => 0..fields_end(block.structure).min(bytes.len()),
            4..6 => 0..512,
            6 => bytes.len() - 64..bytes.len(),
            _ => 0..bytes.len(),
        };
        let at = rng.usize(area) / size * size;
        let mut old = [0; 8];
        old[..size].copy_from_slice(&bytes[at..at + size]);
        let old = u64::from_le_bytes(old);
        let new = match rng.u8(..12) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::MAX >> (65 - 8 * size),
            4 => 1 << (8 * size - 1),
            5 => old.wrapping_add(1),
            6 => old.wrapping_sub(1),
            7 => base.geometry.blocks() - u64::from(rng.bool()),
            8 => u64::from(base.geometry.clusters) - u64::from(rng.bool()),
            9 => pick(base, rng).block.0,
            10 => 1 << rng.u32(..64),
            _ => rng.u64(..),
        };
        bytes[at..at + size].copy_from_slice(&new.to_le_bytes()[..size]);
    }
}

/// Where the fixed fields of a structure end and its records have begun.
fn fields_end(structure: Structure) -> usize {
    match structure {
        Structure::Superblock => 0x190,
        Structure::Dinode => 0x100,
        Structure::GroupDesc => 0x160,
        Structure::DxRoot => 0xE0,
        Structure::RefcountBlock => 0xA0,
        _ => 0x60,
    }
}

/// Offset of the field in which a structure names its own block.
fn self_block(structure: Structure) -> Option<usize> {
    Some(match structure {
        Structure::Superblock | Structure::Dinode => 0x50,
        Structure::ExtentBlock | Structure::DxRoot => 0x18,
        Structure::GroupDesc => 0x28,
        Structure::XattrBlock | Structure::RefcountBlock | Structure::DxLeaf => 0x10,
        _ => return None,
    })
}
