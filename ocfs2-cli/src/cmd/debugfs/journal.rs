//! `logdump`: every block of a slot's journal.

use std::io::{self, Write};
use std::str::from_utf8;

use ocfs2_format::jbd2::{BlockType, Compat, Incompat, Sequence, Superblock, Tag, TagFlags};
use ocfs2_format::{
    BlockNo, DxLeaf, DxRoot, ExtentBlock, Geometry, GroupDesc, RefcountBlock, Signature, SlotNum, XattrBlock,
    XattrBlockFlags,
};
use ocfs2_fs::inspect::{BlockStructure, Raw, RawXattrs};
use ocfs2_journal::{LogDump, LogItem};
use serde_json::{Value, json};

use super::failure::{Failure, Outcome, failed};
use super::out::Out;
use super::session::{Session, number};
use super::show::{Local, extents, groups, index, inode, refcounts, set, xattrs};

/// `logdump [-T] SLOT`.
pub(super) fn logdump(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let word = match words {
        [b"-T", word, ..] => word,
        [b"-T"] | [] => return Err(Failure::Usage),
        [word, ..] => word,
    };
    let open = session.volume()?;
    let geometry = open.geometry();
    let slot = from_utf8(word).ok().and_then(number);
    let slot = slot
        .and_then(|slot| u16::try_from(slot).ok())
        .filter(|slot| *slot < geometry.max_slots);
    let slot = slot
        .map(SlotNum)
        .ok_or_else(|| Failure::new("Invalid node slot number"))?;
    let volume = open.inspector.volume();
    let map = volume
        .journal_map(slot)
        .map_err(|error| failed(&error, "while reading journal"))?;
    let reading = |error: ocfs2_journal::JournalError| Failure::Text(format!("{error} while reading journal"));
    let dump = LogDump::new(volume.device().as_ref(), &map, geometry).map_err(reading)?;
    out.begin_list(json!({ "slot": slot.0 }), "blocks")?;
    for entry in dump {
        let entry = entry.map_err(reading)?;
        let range = (entry.first, entry.last);
        if out.is_json() {
            let item = item_json(&entry.item, range, geometry, &session.local);
            out.item(&item)?;
        } else {
            item(out, &entry.item, range, geometry, &session.local)?;
        }
    }
    Ok(())
}

/// A block, or several unknown ones.
fn item(out: &mut dyn Write, item: &LogItem, range: (u32, u32), geometry: &Geometry, local: &Local) -> io::Result<()> {
    let (first, last) = range;
    match item {
        LogItem::Superblock(superblock) => {
            writeln!(out, "\tBlock 0: Journal Superblock")?;
            fields(out, superblock)?;
        }
        LogItem::Descriptor { header, tags, .. } => {
            writeln!(out, "\tBlock {first}: Journal Descriptor")?;
            control(out, header.block_type(), header.sequence())?;
            writeln!(out, "\t{:>3} {:<15} Flags", "No.", "Blocknum")?;
            for (index, tag) in tags.iter().enumerate() {
                writeln!(out, "\t{index:2}. {:<15} {}", tag.block.0, flag_words(tag))?;
                if !tag.flags.intersects(TagFlags::SAME_UUID | TagFlags::LAST) {
                    // A UUID that nobody fills.
                    writeln!(out, "\tUUID: {:032X}", 0)?;
                }
            }
        }
        LogItem::Commit { header, .. } => {
            writeln!(out, "\tBlock {first}: Journal Commit Block")?;
            control(out, BlockType::COMMIT, Sequence(header.h_sequence.get()))?;
        }
        LogItem::Revoke {
            header, count, blocks, ..
        } => {
            writeln!(out, "\tBlock {first}: Journal Revoke Block")?;
            control(out, header.block_type(), header.sequence())?;
            writeln!(out, "\tr_count:\t\t{count}")?;
            for (index, block) in blocks.iter().flatten().enumerate() {
                writeln!(out, "\trevoke[{index}]:\t\t{block}")?;
            }
        }
        LogItem::Control(_) => writeln!(out, "\tBlock {first}: Unknown Block Type")?,
        LogItem::Metadata { signature, bytes } => metadata(out, first, *signature, bytes, geometry, local)?,
        _ if first == last => writeln!(out, "\tBlock {first}: Unknown -- Probably Data")?,
        _ => writeln!(out, "\tBlock {first} to {last}: Unknown -- Probably Data")?,
    }
    writeln!(out)
}

fn fields(out: &mut dyn Write, superblock: &Superblock) -> io::Result<()> {
    control(out, superblock.s_header.block_type(), superblock.s_header.sequence())?;
    writeln!(
        out,
        "\tBlocksize: {}   Total Blocks: {}   First Block: {}",
        superblock.s_blocksize, superblock.s_maxlen, superblock.s_first
    )?;
    writeln!(
        out,
        "\tFirst Commit ID: {}   Start Log Blknum: {}",
        superblock.s_sequence, superblock.s_start
    )?;
    writeln!(out, "\tError: {}", superblock.s_errno)?;
    let compat = superblock.s_feature_compat.get();
    let words = feature_words(compat, &[(Compat::CHECKSUM.bits(), "checksum")], "");
    writeln!(out, "\tFeature Compat: {compat} {words}")?;
    let incompat = superblock.s_feature_incompat.get();
    let known = [
        (Incompat::REVOKE.bits(), "revoke"),
        (Incompat::BIT64.bits(), "block64"),
        (Incompat::ASYNC_COMMIT.bits(), "async-commit"),
    ];
    writeln!(
        out,
        "\tFeature Incompat: {incompat} {}",
        feature_words(incompat, &known, "block32")
    )?;
    let ro_compat = superblock.s_feature_ro_compat.get();
    writeln!(
        out,
        "\tFeature RO compat: {ro_compat} {}",
        feature_words(ro_compat, &[], "")
    )?;
    let uuid: String = superblock.s_uuid.iter().map(|byte| format!("{byte:02X}")).collect();
    writeln!(out, "\tJournal UUID: {uuid}")?;
    writeln!(
        out,
        "\tFS Share Cnt: {}   Dynamic Superblk Blknum: {}",
        superblock.s_nr_users, superblock.s_dynsuper
    )?;
    writeln!(
        out,
        "\tPer Txn Block Limit    Journal: {}    Data: {}",
        superblock.s_max_transaction, superblock.s_max_trans_data
    )
}

/// The words of features with a blank behind each, `absent` in the place of `block64`, and `unknown` for all others.
fn feature_words(bits: u32, known: &[(u32, &str)], absent: &str) -> String {
    let mut words = String::new();
    let mut rest = bits;
    for (bit, name) in known {
        rest &= !bit;
        if bits & bit != 0 {
            words.push_str(name);
            words.push(' ');
        } else if *name == "block64" {
            words.push_str(absent);
            words.push(' ');
        }
    }
    if rest != 0 {
        words.push_str("unknown");
    }
    words
}

fn control(out: &mut dyn Write, block_type: BlockType, sequence: Sequence) -> io::Result<()> {
    let name = match block_type {
        BlockType::DESCRIPTOR => "JBD2_DESCRIPTOR_BLOCK",
        BlockType::COMMIT => "JBD2_COMMIT_BLOCK",
        BlockType::SUPERBLOCK_V1 => "JBD2_SUPERBLOCK_V1",
        BlockType::SUPERBLOCK_V2 => "JBD2_SUPERBLOCK_V2",
        BlockType::REVOKE => "JBD2_REVOKE_BLOCK",
        _ => "unknown",
    };
    writeln!(out, "\tSeq: {sequence}   Type: {} ({name})", block_type.0)
}

fn flag_words(tag: &Tag) -> String {
    let known = [
        (TagFlags::ESCAPED, "JBD2_FLAG_ESCAPE "),
        (TagFlags::SAME_UUID, "JBD2_FLAG_SAME_UUID "),
        (TagFlags::DELETED, "JBD2_FLAG_DELETED "),
        (TagFlags::LAST, "JBD2_FLAG_LAST_TAG"),
    ];
    if tag.flags.is_empty() {
        return "none".to_owned();
    }
    known
        .into_iter()
        .filter(|(flag, _)| tag.flags.contains(*flag))
        .map(|(_, word)| word)
        .collect()
}

/// The copy of a metadata block, as what its signature says.
fn metadata(
    out: &mut dyn Write,
    block: u32,
    signature: Signature,
    bytes: &[u8],
    geometry: &Geometry,
    local: &Local,
) -> io::Result<()> {
    writeln!(out, "\tBlock {block}: {}", signature_word(signature))?;
    match signature {
        Signature::INODE => {
            if let Some(dinode) = copy(bytes) {
                inode::fields(out, &dinode, geometry, local)?;
                inode::contents(out, &dinode)?;
            }
        }
        Signature::EXTENT_BLOCK => {
            if let Some(block) = copy::<ExtentBlock>(bytes) {
                extents::block(out, &block, geometry)?;
            }
        }
        Signature::GROUP_DESC => {
            if let Some(group) = copy::<GroupDesc>(bytes) {
                groups::chain_header(out, &group, geometry)?;
                groups::group(out, 0, &group)?;
            }
        }
        Signature::REFCOUNT_BLOCK => {
            if let Some(block) = copy::<RefcountBlock>(bytes) {
                refcounts::header(out, &block, geometry)?;
            }
        }
        Signature::DX_ROOT => {
            if let Some(root) = copy::<DxRoot>(bytes) {
                index::root(out, &root, geometry)?;
            }
        }
        Signature::DX_LEAF => {
            if let Some(leaf) = copy::<DxLeaf>(bytes) {
                index::leaf(out, &leaf, geometry)?;
            }
        }
        Signature::XATTR_BLOCK => {
            let block = copy::<XattrBlock>(bytes).filter(|block| !block.flags().contains(XattrBlockFlags::INDEXED));
            if let Some(block) = block
                && let Some(area) = RawXattrs::new(block.area())
            {
                xattrs::entries(out, &area)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn signature_word(signature: Signature) -> &'static str {
    match signature {
        Signature::INODE => "Inode",
        Signature::EXTENT_BLOCK => "Extent",
        Signature::GROUP_DESC => "Group",
        Signature::XATTR_BLOCK => "Xattr",
        Signature::REFCOUNT_BLOCK => "Refcount",
        Signature::DX_ROOT => "DxRoot",
        Signature::DX_LEAF => "DxLeaf",
        _ => "Superblock",
    }
}

/// A copy as the structure it is one of. Where it belongs, only the structure says.
fn copy<T: BlockStructure + ?Sized>(bytes: &[u8]) -> Option<Raw<T>> {
    Raw::of_copy(BlockNo(0), bytes)
}

/// A block, or several unknown ones, in JSON.
fn item_json(item: &LogItem, range: (u32, u32), geometry: &Geometry, local: &Local) -> Value {
    let mut object = json!({ "first": range.0, "last": range.1 });
    let mut put = |key: &str, value: Value| set(&mut object, key, value);
    match item {
        LogItem::Superblock(superblock) => {
            put("type", "superblock".into());
            put("s_blocksize", superblock.s_blocksize.get().into());
            put("s_maxlen", superblock.s_maxlen.get().into());
            put("s_first", superblock.s_first.get().into());
            put("s_sequence", superblock.s_sequence.get().into());
            put("s_start", superblock.s_start.get().into());
            put("s_errno", superblock.s_errno.get().into());
            put("s_feature_compat", superblock.s_feature_compat.get().into());
            put("s_feature_incompat", superblock.s_feature_incompat.get().into());
            put("s_feature_ro_compat", superblock.s_feature_ro_compat.get().into());
            put("s_uuid", crate::text::hex(&superblock.s_uuid).into());
        }
        LogItem::Descriptor { header, tags, intact } => {
            put("type", "descriptor".into());
            put("sequence", header.h_sequence.get().into());
            put("intact", (*intact).into());
            let tags = tags.iter();
            let tags =
                tags.map(|tag| json!({ "block": tag.block.0, "flags": tag.flags.bits(), "checksum": tag.checksum }));
            put("tags", tags.collect());
        }
        LogItem::Commit { header, intact } => {
            put("type", "commit".into());
            put("sequence", header.h_sequence.get().into());
            put("intact", (*intact).into());
            put("seconds", header.h_commit_sec.get().into());
            put("nanoseconds", header.h_commit_nsec.get().into());
        }
        LogItem::Revoke {
            header,
            count,
            blocks,
            intact,
        } => {
            put("type", "revoke".into());
            put("sequence", header.h_sequence.get().into());
            put("intact", (*intact).into());
            put("r_count", (*count).into());
            match blocks {
                Ok(blocks) => put("blocks", blocks.iter().map(|block| block.0).collect()),
                Err(corrupt) => put("damage", corrupt.to_string().into()),
            }
        }
        LogItem::Control(header) => {
            put("type", "control".into());
            put("block_type", header.h_blocktype.get().into());
            put("sequence", header.h_sequence.get().into());
        }
        LogItem::Metadata { signature, bytes } => {
            put("type", "metadata".into());
            put("signature", signature.text().into());
            put("content", metadata_json(*signature, bytes, geometry, local));
        }
        _ => put("type", "unknown".into()),
    }
    object
}

fn metadata_json(signature: Signature, bytes: &[u8], geometry: &Geometry, local: &Local) -> Value {
    let content = match signature {
        Signature::INODE => copy(bytes).map(|dinode| inode::json(&dinode, geometry, local)),
        Signature::EXTENT_BLOCK => copy(bytes).map(|block| extents::block_json(&block, geometry)),
        Signature::GROUP_DESC => copy(bytes).map(|group| groups::group_json(&group, geometry)),
        Signature::REFCOUNT_BLOCK => copy(bytes).map(|block| refcounts::json(&block, geometry)),
        Signature::DX_ROOT => copy(bytes).map(|root| index::root_json(&root, geometry)),
        Signature::DX_LEAF => copy(bytes).map(|leaf| index::leaf_json(&leaf, geometry)),
        Signature::XATTR_BLOCK => copy::<XattrBlock>(bytes)
            .filter(|block| !block.flags().contains(XattrBlockFlags::INDEXED))
            .and_then(|block| RawXattrs::new(block.area()).map(|area| xattrs::entries_json(&area))),
        _ => None,
    };
    content.unwrap_or(Value::Null)
}
