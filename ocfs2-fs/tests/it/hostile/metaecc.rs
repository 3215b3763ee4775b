//! What a check field promises: one flipped bit in a metadata block changes nothing that is read, two are an error.
//!
//! Undecidable, and so left out: the bit of the superblock that says that there are check fields at all.

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;

use fastrand::Rng;
use ocfs2_format::{BlockNo, FeatureIncompat, Structure, SuperBlock, Verdict, Violation};
use ocfs2_fs::{Error, Finding, OpenOptions, SurveyOptions, SurveyedBlock, Volume};
use ocfs2_testkit::golden;

use super::base::{Base, Copy};
use crate::observe;

/// Set it, and every bit of the sampled blocks is tried instead of some.
const ALL_BITS: &str = "OCFS2_ALL_BITS";

fn checked_images() -> impl Iterator<Item = Arc<Base>> {
    golden::all()
        .iter()
        .filter(|golden| golden.has("metaecc"))
        .map(|golden| match Base::of(golden) {
            base if golden.dirty_slots.is_empty() => base,
            base => Arc::new(base.recovered()),
        })
}

/// Byte and bit of the superblock that say that the volume has check fields.
fn feature_bit() -> usize {
    let offset = SuperBlock::OFFSET + std::mem::offset_of!(SuperBlock, s_feature_incompat);
    offset * 8 + FeatureIncompat::METAECC.bits().trailing_zeros() as usize
}

fn is_feature_bit(block: &SurveyedBlock, bit: usize) -> bool {
    block.structure == Structure::Superblock && bit == feature_bit()
}

fn flip(copy: &Copy, block: &SurveyedBlock, bit: usize) {
    copy.damage(block, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
}

/// What a reader must say about one flipped bit; `None` where it need not notice: the CRC alone settles that a block is
/// good, and the rest of the check field is not looked at then.
fn verdict(block: &SurveyedBlock, bit: usize) -> Option<Verdict> {
    let (crc, rest) = (block.check_offset, block.check_offset + 4);
    match bit / 8 {
        byte if (crc..rest).contains(&byte) => Some(Verdict::CorrectedCheckField),
        byte if (rest..rest + 4).contains(&byte) => None,
        byte_offset => Some(Verdict::Corrected {
            byte_offset,
            bit: (bit % 8) as u8,
        }),
    }
}

/// Flips one bit in each of the blocks, reads everything, and compares what is reported with what was done.
fn flip_one_bit_each(base: &Base, flips: &[(SurveyedBlock, usize)]) -> Volume {
    let copy = base.copy();
    for (block, bit) in flips {
        flip(&copy, block, *bit);
    }
    let volume = copy
        .open()
        .unwrap_or_else(|error| panic!("{}: {flips:?}: {error}", base.name));
    let report = volume.survey(&SurveyOptions::default(), &mut |finding| {
        panic!("{}: {flips:?}: {finding}", base.name);
    });
    let found: BTreeMap<BlockNo, (Structure, Verdict)> = report
        .corrections
        .iter()
        .map(|correction| (correction.block, (correction.structure, correction.verdict)))
        .collect();
    let expected: BTreeMap<BlockNo, (Structure, Verdict)> = flips
        .iter()
        .filter_map(|(block, bit)| Some((block.block, (block.structure, verdict(block, *bit)?))))
        .collect();
    assert_eq!(found, expected, "{}", base.name);
    volume
}

fn random_bit(block: &SurveyedBlock, rng: &mut Rng) -> usize {
    loop {
        let bit = rng.usize(..block.len * 8);
        if !is_feature_bit(block, bit) {
            return bit;
        }
    }
}

#[test]
fn one_flipped_bit_in_every_metadata_block_at_once_changes_nothing_that_is_read() {
    for base in checked_images() {
        let sound = observe::observe(&base.copy().open().expect("a golden image opens"));
        let mut rng = Rng::with_seed(25);
        for round in 0..12 {
            let flips: Vec<_> = base
                .blocks
                .iter()
                .map(|block| (*block, random_bit(block, &mut rng)))
                .collect();
            let volume = flip_one_bit_each(&base, &flips);
            if round == 0 {
                assert_eq!(observe::observe(&volume), sound, "{}", base.name);
            }
        }
    }
}

#[test]
fn every_bit_of_one_block_of_each_structure_is_put_right() {
    let step = if env::var_os(ALL_BITS).is_some() { 1 } else { 61 };
    for base in checked_images() {
        let mut samples: Vec<SurveyedBlock> = Vec::new();
        for block in &base.blocks {
            if samples.iter().all(|sample| sample.structure != block.structure) {
                samples.push(*block);
            }
        }
        let bits = samples.iter().map(|block| block.len * 8).max().unwrap_or(0);
        for bit in (0..bits).step_by(step) {
            let in_block = |block: &&SurveyedBlock| bit < block.len * 8 && !is_feature_bit(block, bit);
            let flips: Vec<_> = samples.iter().filter(in_block).map(|block| (*block, bit)).collect();
            flip_one_bit_each(&base, &flips);
        }
    }
}

#[test]
fn two_flipped_bits_are_an_error_that_names_the_block_and_what_it_is() {
    for base in checked_images() {
        let mut rng = Rng::with_seed(252);
        for block in &base.blocks {
            let mut bit = || loop {
                let bit = random_bit(block, &mut rng);
                // The reserved bytes of the check field are not covered.
                if !(block.check_offset + 6..block.check_offset + 8).contains(&(bit / 8)) {
                    return bit;
                }
            };
            let ecc = block.check_offset + 4..block.check_offset + 6;
            let (first, second) = loop {
                let (first, second) = (bit(), bit());
                // Two bits of the ECC alone are not noticed, and need not be.
                if first != second && !(ecc.contains(&(first / 8)) && ecc.contains(&(second / 8))) {
                    break (first, second);
                }
            };
            let copy = base.copy();
            flip(&copy, block, first);
            flip(&copy, block, second);
            let errors = errors_of(&copy);
            let named = errors.iter().any(|error| match error {
                Error::Corrupt(corrupt) => {
                    let checksum = matches!(corrupt.violation, Violation::Checksum { .. });
                    checksum && corrupt.structure == block.structure && corrupt.at.block == Some(block.block)
                }
                // Without its signature, nothing says that there was a superblock.
                Error::NotOcfs2 { .. } => block.structure == Structure::Superblock && first.min(second) < 64,
                _ => false,
            });
            assert!(named, "{}: {block:?}, bits {first} and {second}: {errors:?}", base.name);
        }
    }
}

fn errors_of(copy: &Copy) -> Vec<Error> {
    match Volume::open(Arc::new(copy.device.snapshot()), &OpenOptions::default()) {
        Err(error) => vec![error],
        Ok(volume) => {
            let mut errors = Vec::new();
            volume.survey(&SurveyOptions::default(), &mut |Finding { error, .. }| {
                errors.push(error)
            });
            errors
        }
    }
}
