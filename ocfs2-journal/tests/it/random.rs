//! Journals at random, whole, cut and damaged.

use ocfs2_format::jbd2::ChecksumVersion;
use ocfs2_journal::fuzz::{self, Volume};
use proptest::prelude::*;

use crate::model::{self, Outcome};
use crate::writer::{LogWriter, Style, Txn, Written, replayed, shown};

/// Homes that random transactions write to: few, so that they meet.
const HOMES: u64 = 12;

pub(crate) fn style() -> impl Strategy<Value = Style> {
    let checksum = prop_oneof![
        Just(ChecksumVersion::None),
        Just(ChecksumVersion::V1),
        Just(ChecksumVersion::V2),
        Just(ChecksumVersion::V3),
    ];
    let sequence = prop_oneof![Just(1), Just(u32::MAX - 3), any::<u32>()];
    (
        9u8..=12,
        24u32..80,
        any::<bool>(),
        checksum,
        prop::bool::weighted(0.2),
        1usize..8,
        any::<u32>(),
        sequence,
    )
        .prop_map(
            |(bits, blocks, wide, checksum, async_commit, tags, start, sequence)| Style {
                bits,
                blocks,
                wide,
                checksum,
                async_commit,
                tags,
                start: 2 + start % (blocks - 2),
                sequence,
            },
        )
}

/// A transaction before its block size is known: homes with a byte to fill them, and whether they begin with magic.
pub(crate) type Draft = (Vec<(u64, u8, bool)>, Vec<u64>, bool);

pub(crate) fn draft() -> impl Strategy<Value = Draft> {
    (
        prop::collection::vec((0..HOMES, any::<u8>(), prop::bool::weighted(0.2)), 0..7),
        prop::collection::vec(0..HOMES, 0..4),
        any::<bool>(),
    )
}

fn transaction(style: &Style, (copies, revokes, revokes_first): Draft) -> Txn {
    let home = |n: u64| if n < 4 { 3 + n } else { u64::from(style.blocks) + 16 + n };
    let image = |byte, magic: bool| {
        if magic {
            style.magic_image(byte)
        } else {
            style.image(byte)
        }
    };
    Txn {
        copies: copies
            .into_iter()
            .map(|(n, byte, magic)| (home(n), image(byte, magic)))
            .collect(),
        revokes: revokes.into_iter().map(home).collect(),
        revokes_first,
    }
}

/// Writes all transactions, however often that goes around the ring, and lets the log start at the first one that has not
/// been overwritten. Returns that one's index too.
fn journal(style: Style, transactions: &[Txn]) -> (LogWriter, usize) {
    let mut writer = LogWriter::new(style);
    let written: Vec<Written> = transactions
        .iter()
        .map(|transaction| writer.transaction(transaction))
        .collect();
    let mut used = 0;
    let kept = written
        .iter()
        .rev()
        .take_while(|written| {
            used += written.blocks;
            used < writer.ring.blocks()
        })
        .count();
    let first = written.len() - kept;
    if let Some(written) = written.get(first) {
        writer.superblock(|superblock| {
            superblock.s_start.set(written.at);
            superblock.s_sequence.set(written.sequence.0);
        });
    }
    (writer, first)
}

/// Something that happens to a journal.
#[derive(Clone, Debug)]
pub(crate) enum Mishap {
    Flip {
        at: prop::sample::Index,
        bit: u8,
    },
    Header {
        block: prop::sample::Index,
        offset: u8,
        byte: u8,
    },
    Clear {
        block: prop::sample::Index,
    },
    Copy {
        from: prop::sample::Index,
        to: prop::sample::Index,
    },
}

pub(crate) fn mishap() -> impl Strategy<Value = Mishap> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), 0..8u8).prop_map(|(at, bit)| Mishap::Flip { at, bit }),
        (index(), 0..64u8, any::<u8>()).prop_map(|(block, offset, byte)| Mishap::Header { block, offset, byte }),
        index().prop_map(|block| Mishap::Clear { block }),
        (index(), index()).prop_map(|(from, to)| Mishap::Copy { from, to }),
    ]
}

impl Mishap {
    pub(crate) fn happen(&self, journal: &mut [u8], bits: u8) {
        let size = 1 << bits;
        let blocks = journal.len() / size;
        match self {
            Mishap::Flip { at, bit } => journal[at.index(journal.len())] ^= 1 << bit,
            Mishap::Header { block, offset, byte } => {
                journal[block.index(blocks) * size + usize::from(*offset)] = *byte;
            }
            Mishap::Clear { block } => journal[block.index(blocks) * size..][..size].fill(0),
            Mishap::Copy { from, to } => {
                let from = from.index(blocks) * size;
                journal.copy_within(from..from + size, to.index(blocks) * size);
            }
        }
    }
}

/// What a scan finds, in the model's words.
fn found(volume: &Volume) -> Option<Outcome> {
    let recovery = volume.log().ok()?.scan().unwrap();
    let failed = recovery.check(&volume.geometry).is_err();
    Some(Outcome {
        blocks: shown(volume),
        failed,
    })
}

proptest! {
    #[test]
    fn whole_log_gives_every_committed_block(
        style in style(),
        drafts in prop::collection::vec(draft(), 0..30),
        open in prop::option::of(draft()),
    ) {
        let transactions: Vec<Txn> = drafts.into_iter().map(|draft| transaction(&style, draft)).collect();
        let (mut writer, first) = journal(style, &transactions);
        let room = writer.ring.blocks() / 2;
        if let Some(open) = open && transactions.len() - first < room as usize / 20 {
            writer.open_transaction(&transaction(&style, open));
        }
        let volume = writer.volume();
        let outcome = Some(Outcome { blocks: replayed(&transactions[first..]), failed: false });
        prop_assert_eq!(&model::replay(&volume, &writer.journal), &outcome);
        prop_assert_eq!(found(&volume), outcome);
        volume.check();
    }

    #[test]
    fn damaged_log_gives_what_the_kernel_would_replay(
        style in style(),
        drafts in prop::collection::vec(draft(), 0..20),
        mishaps in prop::collection::vec(mishap(), 1..5),
        seal in any::<bool>(),
        device_block in prop_oneof![Just(512), Just(4096)],
    ) {
        let transactions: Vec<Txn> = drafts.into_iter().map(|draft| transaction(&style, draft)).collect();
        let (mut writer, _) = journal(style, &transactions);
        for mishap in mishaps {
            mishap.happen(&mut writer.journal, style.bits);
        }
        if seal {
            fuzz::put_checksums_right(&mut writer.journal, style.bits);
        }
        let volume = Volume::new(&writer.journal, style.bits, device_block);
        prop_assert_eq!(found(&volume), model::replay(&volume, &writer.journal));
        volume.check();
    }

    #[test]
    fn arbitrary_bytes_are_no_journal(mut bytes in prop::collection::vec(any::<u8>(), 1..20_000), valid in any::<bool>()) {
        if valid && bytes.len() > 4000 {
            // A superblock as of a journal with blocks of 512 bytes.
            let writer = LogWriter::new(Style { blocks: bytes.len() as u32 / 512 - 1, ..Style::PLAIN });
            bytes[0] &= !3;
            bytes[1..1025].copy_from_slice(&writer.journal[..1024]);
        }
        fuzz::replay(&bytes);
    }
}
