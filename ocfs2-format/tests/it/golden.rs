//! Every structure as the reference tools and the kernel wrote it, found by signature in the golden images.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use ocfs2_format::*;
use ocfs2_testkit::golden::{self, Golden};
use zerocopy::FromBytes;

/// A golden image and what its superblock says.
struct Volume {
    golden: &'static Golden,
    image: Vec<u8>,
    geometry: Geometry,
}

impl Volume {
    /// All of them, decompressed once for all tests.
    fn all() -> impl Iterator<Item = &'static Volume> {
        static VOLUMES: LazyLock<Vec<Volume>> = LazyLock::new(|| volumes_in_use().map(Volume::open).collect());
        VOLUMES.iter()
    }

    fn open(golden: &'static Golden) -> Volume {
        let image = golden.image();
        let block_size = golden.block_size as usize;
        let dinode = Dinode::ref_from_bytes(&image[2 * block_size..3 * block_size]).unwrap();
        let geometry =
            check_superblock(dinode, Geometry::SUPER_BLOCK).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
        Volume {
            golden,
            image,
            geometry,
        }
    }

    fn block(&self, block: BlockNo) -> &[u8] {
        let start = block.0 as usize * self.geometry.block_size();
        &self.image[start..start + self.geometry.block_size()]
    }

    /// Blocks that say they are where they are, by signature: journals hold copies of others.
    fn blocks(&self, signature: Signature, number_at: usize) -> impl Iterator<Item = (BlockNo, &[u8])> {
        (0..)
            .map(BlockNo)
            .zip(self.image.chunks(self.geometry.block_size()))
            .filter(move |(at, block)| {
                block.starts_with(&signature.0) && block[number_at..number_at + 8] == at.0.to_le_bytes()
            })
    }

    /// Every inode in use that passes its check.
    fn dinodes(&self) -> impl Iterator<Item = (BlockNo, &Dinode)> {
        self.blocks(Signature::INODE, 0x50)
            .map(|(at, block)| (at, Dinode::ref_from_bytes(block).unwrap()))
            .filter(|(_, dinode)| dinode.flags().contains(InodeFlags::VALID))
    }
}

/// Where a block of this kind has its check field.
fn check_offset(block: &[u8]) -> Option<usize> {
    let (signature, _) = Signature::ref_from_prefix(block).ok()?;
    Some(match *signature {
        Signature::INODE | Signature::SUPER_BLOCK => Dinode::CHECK_OFFSET,
        Signature::EXTENT_BLOCK => ExtentBlock::CHECK_OFFSET,
        Signature::GROUP_DESC => GroupDesc::CHECK_OFFSET,
        Signature::DX_ROOT => DxRoot::CHECK_OFFSET,
        Signature::DX_LEAF => DxLeaf::CHECK_OFFSET,
        Signature::XATTR_BLOCK => XattrBlock::CHECK_OFFSET,
        Signature::REFCOUNT_BLOCK => RefcountBlock::CHECK_OFFSET,
        _ if DirTrailer::of_block(block)?.db_signature == Signature::DIR_TRAILER => {
            DirTrailer::check_offset(block.len())
        }
        _ => return None,
    })
}

#[test]
fn blocks_of_the_kernel_carry_the_check_field_we_compute() {
    let mut seen = BTreeMap::new();
    for volume in Volume::all().filter(|volume| volume.geometry.features.metaecc()) {
        for (index, block) in volume.image.chunks(volume.geometry.block_size()).enumerate() {
            let Some(at) = check_offset(block) else { continue };
            let verdict = BlockCheck::verify_and_correct(&mut block.to_vec(), at);
            assert_eq!(verdict, Ok(Verdict::Good), "block {index} of {}", volume.golden.name);
            *seen
                .entry(Signature::ref_from_prefix(block).unwrap().0.text())
                .or_insert(0) += 1;
        }
    }
    for signature in [
        "OCFSV2", "INODE01", "GROUP01", "XATTR01", "REFCNT1", "DXDIR01", "DXLEAF1",
    ] {
        assert!(
            seen.contains_key(signature),
            "no golden image holds {signature}: {seen:?}"
        );
    }
}

#[test]
fn blocks_of_the_kernel_pass_their_checks() {
    for volume in Volume::all() {
        let geometry = &volume.geometry;
        let sound = |at: BlockNo, checked: Result<(), Corrupt>| {
            checked.unwrap_or_else(|error| panic!("{}, block {at}: {error}", volume.golden.name));
        };
        for (at, dinode) in volume.dinodes() {
            // The tools leave id_count of some inline directories too large, which their own fsck finds.
            if volume
                .golden
                .fsck
                .iter()
                .any(|problem| problem == "INLINE_DATA_COUNT_INVALID")
            {
                continue;
            }
            sound(at, dinode.check(at, geometry).map(|_| ()));
        }
        for (at, block) in volume.blocks(Signature::EXTENT_BLOCK, 0x18) {
            sound(
                at,
                ExtentBlock::ref_from_bytes(block).unwrap().check(at, None, geometry),
            );
        }
        for (at, block) in volume.blocks(Signature::DX_ROOT, 0x18) {
            sound(at, DxRoot::ref_from_bytes(block).unwrap().check(at, geometry));
        }
        for (at, block) in volume.blocks(Signature::DX_LEAF, 0x10) {
            sound(at, DxLeaf::ref_from_bytes(block).unwrap().check(at, geometry));
        }
        for (at, block) in volume.blocks(Signature::XATTR_BLOCK, 0x10) {
            sound(at, XattrBlock::ref_from_bytes(block).unwrap().check(at, geometry));
        }
        for (at, block) in volume.blocks(Signature::REFCOUNT_BLOCK, 0x10) {
            sound(at, RefcountBlock::ref_from_bytes(block).unwrap().check(at, geometry));
        }
    }
}

#[test]
fn index_entries_of_the_kernel_have_the_hash_of_a_name_in_their_block() {
    let (mut ascii, mut beyond) = (0, 0);
    for volume in Volume::all() {
        let indexed = volume
            .dinodes()
            .filter(|(_, dinode)| dinode.dyn_features().contains(DynFeatures::INDEXED_DIR));
        for (_, dinode) in indexed {
            let root = DxRoot::ref_from_bytes(volume.block(BlockNo(dinode.i_dx_root.get()))).unwrap();
            for entry in index_entries(volume, root) {
                let block = volume.block(BlockNo(entry.dx_dirent_blk.get()));
                let names = DirEntries::new(&block[..block.len() - DirTrailer::SIZE])
                    .flatten()
                    .map(|entry| entry.name);
                let hash = DxHash {
                    major: entry.dx_major_hash.get(),
                    minor: entry.dx_minor_hash.get(),
                };
                let name = names
                    .filter(|name| !name.is_empty())
                    .find(|name| DxHash::of(name, &volume.geometry.dx_seed, CharSign::Signed) == hash)
                    .unwrap_or_else(|| panic!("{}: {hash:?} of no name", volume.golden.name));
                *(if name.is_ascii() { &mut ascii } else { &mut beyond }) += 1;
            }
        }
    }
    assert!(ascii > 100 && beyond > 0, "{ascii} names in ASCII, {beyond} others");
}

/// The entries of an index whose extents are all in its root.
fn index_entries(volume: &Volume, root: &DxRoot) -> Vec<DxEntry> {
    if root.flags().contains(DxFlags::INLINE) {
        return root.entries().entries().to_vec();
    }
    assert_eq!(root.list().l_tree_depth.get(), 0, "an index of golden images is small");
    let runs = root.list().records().iter().map(|rec| (rec.blkno(), rec.clusters(0)));
    let blocks = runs.flat_map(|(first, clusters)| {
        (0..volume.geometry.clusters_to_blocks(clusters)).map(move |n| BlockNo(first.0 + n))
    });
    let leaves = blocks.map(|block| DxLeaf::ref_from_bytes(volume.block(block)).unwrap());
    leaves.flat_map(|leaf| leaf.entries().entries().to_vec()).collect()
}

#[test]
fn attributes_of_the_kernel_have_the_hash_of_their_name() {
    let mut seen = 0;
    for volume in Volume::all() {
        for (at, dinode) in volume.dinodes() {
            let inline = dinode.inline_xattr_area();
            let outside = Some(dinode.i_xattr_loc.get())
                .filter(|&block| block != 0)
                .map(|block| XattrBlock::ref_from_bytes(volume.block(BlockNo(block))).unwrap())
                .filter(|block| !block.flags().contains(XattrBlockFlags::INDEXED))
                .map(XattrBlock::area);
            for area in [inline, outside].into_iter().flatten() {
                for attribute in XattrArea::parse(Structure::XattrBlock, area).unwrap().iter() {
                    let attribute = attribute.unwrap_or_else(|error| panic!("{}, {at}: {error}", volume.golden.name));
                    let hash = xattr_name_hash(volume.geometry.uuid_hash, attribute.name, CharSign::Signed);
                    assert_eq!(attribute.entry.xe_name_hash.get(), hash);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 20, "{seen} attributes");
}

#[test]
fn seed_of_attribute_hashes_is_the_hash_of_the_uuid() {
    for volume in Volume::all().filter(|volume| volume.geometry.uuid_hash != 0) {
        let dinode = Dinode::ref_from_bytes(volume.block(Geometry::SUPER_BLOCK)).unwrap();
        assert_eq!(uuid_hash(&dinode.super_block().s_uuid), volume.geometry.uuid_hash);
    }
}

#[test]
fn journals_of_the_kernel_are_accepted_and_their_images_lie_in_the_volume() {
    let mut images = 0;
    for volume in Volume::all() {
        let block_size = volume.geometry.block_size();
        for (at, dinode) in volume
            .dinodes()
            .filter(|(_, d)| d.flags().contains(InodeFlags::JOURNAL))
        {
            let [extent] = dinode.extent_list().records() else {
                panic!("a journal in pieces")
            };
            let start = extent.blkno().0 as usize * block_size;
            let journal = &volume.image[start..start + dinode.i_size.get() as usize];
            let (superblock, _) = jbd2::Superblock::ref_from_prefix(journal).unwrap();
            let ring = superblock
                .check(block_size as u32, (journal.len() / block_size) as u64)
                .unwrap_or_else(|error| panic!("{}, {at}: {error}", volume.golden.name));
            let descriptors = journal.chunks(block_size).filter(|block| {
                jbd2::Header::of_block(block).is_some_and(|h| h.block_type() == jbd2::BlockType::DESCRIPTOR)
            });
            for tag in descriptors.flat_map(|block| ring.format.tags(block)) {
                assert!(volume.geometry.contains(tag.block), "{}: {tag:?}", volume.golden.name);
                images += 1;
            }
        }
    }
    assert!(images > 100, "{images} images");
}

#[test]
fn leading_area_is_what_mkfs_writes() {
    for volume in Volume::all() {
        let mut ours = vec![0; 2 * volume.geometry.block_size()];
        fill_leading_area(&mut ours);
        assert!(volume.image.starts_with(&ours), "{}", volume.golden.name);
        assert!(!is_ocfs1(&volume.image[..512]));
    }
}

#[test]
fn quota_files_of_the_kernel_are_accepted() {
    for volume in Volume::all().filter(|volume| volume.geometry.features.usrquota()) {
        let block_size = volume.geometry.block_size();
        let quota = quota::QuotaGeometry::new(&volume.geometry);
        let mut seen = 0;
        for (at, dinode) in volume.dinodes().filter(|(_, d)| d.flags().contains(InodeFlags::QUOTA)) {
            let first = volume.block(dinode.extent_list().records()[0].blkno());
            let blocks = dinode.i_size.get() / block_size as u64;
            let (header, _) = quota::FileHeader::ref_from_prefix(first).unwrap();
            let checked = [quota::QuotaKind::User, quota::QuotaKind::Group]
                .into_iter()
                .find_map(|kind| {
                    if header.dqh_magic.get() == kind.global_magic() {
                        return Some(quota::GlobalHead::of_block(first).unwrap().check(kind, blocks));
                    }
                    (header.dqh_magic.get() == kind.local_magic())
                        .then(|| quota::LocalHead::of_block(first).unwrap().check(kind, &quota, blocks))
                });
            assert_eq!(checked, Some(Ok(())), "{}, {at}", volume.golden.name);
            if volume.geometry.features.metaecc() {
                assert!(
                    BlockCheck::is_good(first, quota.check_offset()),
                    "{}, {at}",
                    volume.golden.name
                );
            }
            seen += 1;
        }
        assert!(seen > 0, "{}", volume.golden.name);
    }
}

/// Golden images whose blocks are found by their signatures alone. Freed blocks keep theirs on the others, which the
/// file-system crate reads by following pointers.
fn volumes_in_use() -> impl Iterator<Item = &'static Golden> {
    golden::all().iter().filter(|golden| golden.name.starts_with("kinds-"))
}
