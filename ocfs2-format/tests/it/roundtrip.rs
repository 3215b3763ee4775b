//! Any bytes pass through every view unchanged, and no bytes make a check panic.

use ocfs2_format::jbd2::{
    self, BlockTag, BlockTag3, BlockTail, ChecksumVersion, CommitHeader, RevokeHeader, Superblock, V1Checksum,
};
use ocfs2_format::quota::{
    FileHeader, GlobalEntry, GlobalHead, GlobalInfo, LeafHeader, LocalChunk, LocalEntry, LocalHead, LocalInfo,
    QuotaGeometry, QuotaKind, Trailer,
};
use ocfs2_format::*;
use proptest::prelude::*;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::sound::{self, AT, PARENT, SOUND};

/// Takes the bytes for a structure, writes it back, and compares.
fn sized<T: FromBytes + IntoBytes + Immutable + Unaligned>(bytes: &[u8]) {
    let (value, _) = T::read_from_prefix(bytes).expect("more bytes than any structure needs");
    assert_eq!(value.as_bytes(), &bytes[..size_of::<T>()]);
}

/// Views all bytes as a structure of any length, unless they are too few or too odd, and compares.
fn viewed<T: FromBytes + IntoBytes + Immutable + KnownLayout + ?Sized>(bytes: &[u8]) {
    if let Ok(view) = T::ref_from_bytes(bytes) {
        assert_eq!(view.as_bytes(), bytes);
    }
}

fn blocks() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(512usize), Just(1024), Just(2048), Just(4096)]
        .prop_flat_map(|size| proptest::collection::vec(any::<u8>(), size))
}

/// Where bytes are changed, most of them in a block's header, and into what.
fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, usize, bool)>> {
    let byte = prop_oneof![Just(0u8), Just(0xFF), any::<u8>()];
    proptest::collection::vec((any::<prop::sample::Index>(), byte, 1..=8usize, any::<bool>()), 0..6)
}

fn damage(block: &mut [u8], edits: Vec<(prop::sample::Index, u8, usize, bool)>) {
    for (at, byte, run, anywhere) in edits {
        let at = at.index(if anywhere { block.len() } else { block.len().min(0x150) });
        block.iter_mut().skip(at).take(run).for_each(|b| *b = byte);
    }
}

/// A sound block of any kind, damaged.
fn damaged_blocks() -> impl Strategy<Value = (Vec<u8>, Geometry)> {
    (9..=12u8, 0..SOUND.len(), edits()).prop_map(|(bits, kind, edits)| {
        let geometry = sound::geometry(bits);
        let (_, make, _) = SOUND[kind];
        let mut block = make(&geometry);
        damage(&mut block, edits);
        (block, geometry)
    })
}

/// A sound block of a journal, quota file or image, damaged.
fn damaged_others() -> impl Strategy<Value = Vec<u8>> {
    (prop_oneof![Just(512usize), Just(1024), Just(4096)], 0..6, edits()).prop_map(|(size, kind, edits)| {
        let block_size = size as u32;
        let format = jbd2::Format::plain(block_size, false);
        let mut block = vec![0; size.max(1024)];
        let mut start = |bytes: &[u8]| block[..bytes.len()].copy_from_slice(bytes);
        match kind {
            0 => start(Superblock::new(block_size, 2048, [7; 16], true).as_bytes()),
            1 => start(ImageHeader::new(1, block_size, 5000, 100).as_bytes()),
            2 => {
                let mut head = GlobalHead::new_zeroed();
                head.header = FileHeader::new(QuotaKind::User.global_magic());
                head.info.dqi_blocks.set(6);
                start(head.as_bytes());
            }
            3 => {
                let mut head = LocalHead::new_zeroed();
                head.header = FileHeader::new(QuotaKind::Group.local_magic());
                head.info.dqi_chunks.set(3);
                head.info.dqi_blocks.set(2000);
                start(head.as_bytes());
            }
            4 => {
                let mut writer = jbd2::DescriptorWriter::new(format, jbd2::Sequence(3), &mut block);
                for number in 0..9 {
                    writer.push(BlockNo(number), false, 0).expect("room for nine tags");
                }
                writer.finish();
            }
            _ => {
                let mut writer = jbd2::RevokeWriter::new(format, jbd2::Sequence(3), &mut block);
                writer.push(BlockNo(8)).expect("room for a number");
                writer.finish();
            }
        }
        block.truncate(size);
        damage(&mut block, edits);
        block
    })
}

fn geometry() -> impl Strategy<Value = Geometry> {
    (
        12..=20u8,
        any::<[u32; 3]>(),
        any::<u16>(),
        any::<[u32; 2]>(),
        any::<u16>(),
    )
        .prop_map(
            |(
                cluster_size_bits,
                [compat, incompat, ro_compat],
                max_slots,
                [clusters, generation],
                xattr_inline_size,
            )| {
                Geometry {
                    cluster_size_bits,
                    clusters,
                    features: Features {
                        compat: FeatureCompat::from_bits_retain(compat),
                        incompat: FeatureIncompat::from_bits_retain(incompat),
                        ro_compat: FeatureRoCompat::from_bits_retain(ro_compat),
                    },
                    generation: Generation(generation),
                    max_slots,
                    xattr_inline_size,
                    ..sound::geometry(12)
                }
            },
        )
}

/// Every check of a volume's structures. What they return does not matter here.
fn check_all(block: &[u8], geometry: &Geometry) {
    if let Ok(dinode) = Dinode::ref_from_bytes(block) {
        let _ = dinode.check(AT, geometry);
        let _ = check_superblock(dinode, AT);
        let _ = (
            dinode.suballoc_group(),
            dinode.kind(),
            dinode.links(),
            dinode.rdev(),
            dinode.super_block().label(),
        );
        let _ = dinode
            .extent_list()
            .check_header(geometry.extents_per_dinode(false), None);
        let _ = (dinode.extent_list().records().len(), dinode.chain_list().chains().len());
        let _ = dinode.local_alloc().check(dinode.bitmap(), geometry);
        let _ = (
            dinode.truncate_log().check(geometry),
            dinode.truncate_log().records().len(),
        );
        attributes(dinode.inline_xattr_area().unwrap_or_default());
        let _ = DirEntries::new(&dinode.inline_data().id_data).count();
    }
    if let Ok(group) = GroupDesc::ref_from_bytes(block) {
        let clusters_per_group = u16::from_le_bytes([block[8], block[9]]);
        let parent = GroupParent {
            inode: InodeNo(3),
            clusters_per_group,
            bits_per_cluster: 1,
            chains: 243,
        };
        let _ = group.check(AT, geometry, &parent);
        let _ = (group.bitmap().len(), group.extents().map(|list| list.records().len()));
        let _ = (
            group.block_of_bit(0, 0),
            group.block_of_bit(7, 1),
            group.block_of_bit(u16::MAX, u16::MAX),
        );
    }
    if let Ok(extents) = ExtentBlock::ref_from_bytes(block) {
        let _ = extents.check(AT, Some(1), geometry);
        let _ = extents.list().records().len();
    }
    if let Ok(root) = DxRoot::ref_from_bytes(block) {
        let _ = root.check(AT, geometry);
        let _ = (
            root.entries().entries().len(),
            root.list().records().len(),
            root.suballoc_group(),
        );
    }
    if let Ok(leaf) = DxLeaf::ref_from_bytes(block) {
        let _ = leaf.check(AT, geometry);
        let _ = leaf.entries().entries().len();
    }
    if let Ok(refcounts) = RefcountBlock::ref_from_bytes(block) {
        let _ = refcounts.check(AT, geometry);
        let _ = (
            refcounts.records().records().len(),
            refcounts.list().records().len(),
            refcounts.suballoc_group(),
        );
    }
    if let Ok(xattrs) = XattrBlock::ref_from_bytes(block) {
        let _ = xattrs.check(AT, geometry);
        let _ = (xattrs.list().records().len(), xattrs.suballoc_group());
        attributes(xattrs.area());
    }
    attributes(block);
    if let Some(trailer) = DirTrailer::of_block(block) {
        let _ = trailer.check(AT, PARENT.inode, geometry);
    }
    let holes: Vec<usize> = DirEntries::new(block).flatten().map(|entry| entry.hole()).collect();
    assert!(holes.len() <= block.len() / DirEntryHeader::MIN_REC_LEN);
    for extended in [false, true] {
        assert_eq!(SlotMap::parse(block, 255, extended).slots(), 255);
    }
    let _ = is_ocfs1(block);
}

fn attributes(area: &[u8]) {
    if let Ok(area) = XattrArea::parse(Structure::XattrBucket, area) {
        for attribute in area.iter().flatten() {
            assert!(attribute.name.len() <= 255);
        }
    }
}

/// Every check of journals, quota files, heartbeats and images.
fn check_others(block: &[u8]) {
    let block_size = block.len() as u32;
    if let Ok((superblock, _)) = Superblock::ref_from_prefix(block)
        && let Ok(log) = superblock.check(block_size, u64::from(u32::MAX))
    {
        assert!(log.next(log.end - 1) == log.first && log.advance(log.first, u32::MAX) < log.end);
    }
    let mut v1 = V1Checksum::new();
    v1.update(block);
    if let Some(commit) = CommitHeader::of_block(block) {
        let _ = v1.agrees_with(commit);
    }
    for checksum in [
        ChecksumVersion::None,
        ChecksumVersion::V1,
        ChecksumVersion::V2,
        ChecksumVersion::V3,
    ] {
        for wide in [false, true] {
            let format = jbd2::Format {
                block_size,
                wide,
                checksum,
                seed: 1,
            };
            assert!(format.tags(block).count() <= block.len() / format.tag_bytes());
            let _ = format.revoked(block).map(|revoked| revoked.count());
            let _ = (format.is_intact(block), format.is_commit_intact(block));
        }
    }
    let quota = QuotaGeometry::for_block_size(block_size);
    for kind in [QuotaKind::User, QuotaKind::Group] {
        if let Some(head) = GlobalHead::of_block(block) {
            let _ = head.check(kind, u64::MAX);
        }
        if let Some(head) = LocalHead::of_block(block) {
            let _ = head.check(kind, &quota, u64::MAX);
            let _ = (
                head.flags(),
                head.chunk_entry_blocks(&quota, 0),
                head.chunk_entry_blocks(&quota, u32::MAX),
            );
        }
    }
    let (leaf, entries) = quota.leaf(block).expect("a whole block");
    let _ = leaf.check(&quota, leaf.dqdh_next_free.get());
    assert_eq!(entries.len(), usize::from(quota.entries_per_leaf()));
    assert_eq!(quota.tree_numbers(block).len(), quota.fanout() as usize);
    let chunk = quota.chunk(block).expect("a whole block");
    let _ = (chunk.check(&quota, 0), chunk.check(&quota, u32::MAX));
    if let Ok((header, _)) = ImageHeader::read_from_prefix(block) {
        let _ = (
            header.check(u64::MAX),
            header.bitmap_offset(),
            header.bitmap_bytes(),
            header.superblocks().count(),
        );
    }
    let _ = HeartbeatBlock::is_intact(block);
}

proptest! {
    #[test]
    fn structures_keep_their_bytes(block in blocks()) {
        let mut long = block.clone();
        long.resize(4096, 0x5A);
        sized::<BlockCheck>(&long);
        sized::<ExtentRec>(&long);
        sized::<ExtentListHeader>(&long);
        sized::<ChainRec>(&long);
        sized::<TruncateRec>(&long);
        sized::<ExtendedSlot>(&long);
        sized::<ClusterInfo>(&long);
        sized::<SuperBlock>(&long);
        sized::<BitmapCounts>(&long);
        sized::<JournalState>(&long);
        sized::<DirEntryHeader>(&long);
        sized::<DirTrailer>(&long);
        sized::<DxEntry>(&long);
        sized::<RefcountRec>(&long);
        sized::<XattrEntry>(&long);
        sized::<XattrHeader>(&long);
        sized::<XattrValueRoot>(&long);
        sized::<XattrDefValueRoot>(&long);
        sized::<XattrTreeRoot>(&long);
        sized::<AclEntry>(&long);
        sized::<FileHeader>(&long);
        sized::<GlobalInfo>(&long);
        sized::<GlobalHead>(&long);
        sized::<GlobalEntry>(&long);
        sized::<LeafHeader>(&long);
        sized::<LocalInfo>(&long);
        sized::<LocalHead>(&long);
        sized::<LocalEntry>(&long);
        sized::<Trailer>(&long);
        sized::<jbd2::Header>(&long);
        sized::<CommitHeader>(&long);
        sized::<BlockTag>(&long);
        sized::<BlockTag3>(&long);
        sized::<BlockTail>(&long);
        sized::<RevokeHeader>(&long);
        sized::<Superblock>(&long);
        sized::<HeartbeatBlock>(&long);
        sized::<ImageHeader>(&long);

        viewed::<Dinode>(&block);
        viewed::<ExtentBlock>(&block);
        viewed::<GroupDesc>(&block);
        viewed::<DxRoot>(&block);
        viewed::<DxLeaf>(&block);
        viewed::<RefcountBlock>(&block);
        viewed::<XattrBlock>(&block);
        for list in [&block[8..], &block[16..]] {
            viewed::<ExtentList>(list);
            viewed::<ChainList>(list);
            viewed::<TruncateLog>(list);
            viewed::<LocalAlloc>(list);
            viewed::<InlineData>(list);
            viewed::<DxEntryList>(list);
            viewed::<RefcountList>(list);
            viewed::<LocalChunk>(list);
        }
    }

    #[test]
    fn flags_without_a_meaning_survive(bits in any::<u32>()) {
        prop_assert_eq!(InodeFlags::from_bits_retain(bits).bits(), bits);
        prop_assert_eq!(InodeAttr::from_bits_retain(bits).bits(), bits);
        prop_assert_eq!(JournalFlags::from_bits_retain(bits).bits(), bits);
        prop_assert_eq!(FeatureIncompat::from_bits_retain(bits).bits(), bits);
        prop_assert_eq!(jbd2::Incompat::from_bits_retain(bits).bits(), bits);
        prop_assert_eq!(jbd2::TagFlags::from_bits_retain(bits).bits(), bits);
        prop_assert_eq!(quota::LocalFlags::from_bits_retain(bits).bits(), bits);
    }

    #[test]
    fn no_bytes_make_a_check_panic(block in blocks(), geometry in geometry(), len in any::<prop::sample::Index>()) {
        let geometry = Geometry { block_size_bits: block.len().trailing_zeros() as u8, ..geometry };
        check_all(&block, &geometry);
        check_others(&block);
        // A view of less than a block, for callers that were given a short file.
        check_all(&block[..len.index(block.len())], &geometry);
    }

    #[test]
    fn no_damage_makes_a_check_panic((block, geometry) in damaged_blocks()) {
        check_all(&block, &geometry);
    }

    #[test]
    fn no_damage_makes_other_checks_panic(block in damaged_others()) {
        check_others(&block);
    }

    #[test]
    fn corrected_block_is_what_was_written(
        block in blocks(),
        bit in any::<prop::sample::Index>(),
        at in prop_oneof![Just(Dinode::CHECK_OFFSET), Just(GroupDesc::CHECK_OFFSET), Just(XattrBlock::CHECK_OFFSET)],
    ) {
        let mut written = block;
        BlockCheck::set(&mut written, at);
        let mut read = written.clone();
        let bit = bit.index(read.len() * 8);
        prop_assume!(!(at + 6..at + 8).contains(&(bit / 8)));
        read[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(BlockCheck::verify_and_correct(&mut read, at).is_ok_and(|verdict| verdict != Verdict::Good));
        prop_assert_eq!(read, written);
    }
}
