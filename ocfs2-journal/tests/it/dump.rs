//! Dumps of journals.

use ocfs2_format::jbd2::{ChecksumVersion, TagFlags};
use ocfs2_format::{BlockNo, Signature};
use ocfs2_journal::{LogDump, LogItem};

use crate::writer::{LogWriter, Style, Txn};

/// One line for each entry.
fn dump(writer: &LogWriter) -> Vec<String> {
    let volume = writer.volume();
    LogDump::new(&volume.device, &volume.map, &volume.geometry)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let what = match entry.item {
                LogItem::Superblock(superblock) => format!("superblock of {} blocks", superblock.s_maxlen),
                LogItem::Descriptor { header, tags, intact } => {
                    let tags: Vec<String> = tags
                        .iter()
                        .map(|tag| {
                            let escaped = if tag.flags.contains(TagFlags::ESCAPED) {
                                " escaped"
                            } else {
                                ""
                            };
                            format!("{}{escaped}", tag.block)
                        })
                        .collect();
                    format!("{}: descriptor {tags:?} {intact}", header.sequence())
                }
                LogItem::Commit { header, intact } => format!("{}: commit {intact}", header.h_sequence),
                LogItem::Revoke {
                    header,
                    count,
                    blocks,
                    intact,
                } => {
                    let blocks = blocks.map_err(|corrupt| corrupt.to_string());
                    format!("{}: revoke {count} {blocks:?} {intact}", header.sequence())
                }
                LogItem::Control(header) => format!("control {}", header.block_type()),
                LogItem::Metadata { signature, bytes } => format!("{signature:?} of {} bytes", bytes.len()),
                LogItem::Unknown => "unknown".to_owned(),
                other => panic!("{other:?}"),
            };
            format!("{}-{} {what}", entry.first, entry.last)
        })
        .collect()
}

#[test]
fn every_block_is_shown_by_its_own_looks() {
    let style = Style::with_checksum(ChecksumVersion::V3);
    let mut inode = style.image(0);
    inode[..8].copy_from_slice(&Signature::INODE.0);
    let transactions = [
        Txn::of(&[
            (90, &inode),
            (91, &style.image(1)),
            (92, &style.magic_image(1)),
            (93, &inode),
        ])
        .revoking(&[5, 6]),
        Txn::of(&[(BlockNo(90).0, &inode)]),
    ];
    let mut writer = LogWriter::with(style, &transactions);
    writer.block_mut(7)[511] ^= 1;
    writer.block_mut(30)[..12].copy_from_slice(&[0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 4, 0, 0, 0, 9]);
    assert_eq!(
        dump(&writer),
        [
            "0-0 superblock of 64 blocks",
            "1-1 unknown",
            "2-2 7: descriptor [\"90\", \"91\", \"92 escaped\", \"93\"] true",
            "3-3 \"INODE01\" of 512 bytes",
            "4-5 unknown",
            "6-6 \"INODE01\" of 512 bytes",
            "7-7 7: revoke 24 Ok([BlockNo(5), BlockNo(6)]) false",
            "8-8 7: commit true",
            "9-9 8: descriptor [\"90\"] true",
            "10-10 \"INODE01\" of 512 bytes",
            "11-11 8: commit true",
            "12-29 unknown",
            "30-30 control superblock, version 2",
            "31-63 unknown",
        ]
    );
}

#[test]
fn refused_superblock_does_not_hide_the_log() {
    let style = Style {
        wide: true,
        ..Style::PLAIN
    };
    let mut writer = LogWriter::with(style, &[Txn::default().revoking(&[1 << 33])]);
    writer.superblock(|superblock| {
        superblock.s_header.h_magic.set(0);
        superblock
            .s_feature_incompat
            .set(superblock.s_feature_incompat.get() | 0x8000);
    });
    assert!(writer.volume().log().is_err());
    let lines = dump(&writer);
    assert_eq!(lines[2], "2-2 7: revoke 24 Ok([BlockNo(8589934592)]) true");
}
