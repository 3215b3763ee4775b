//! Sound blocks of every kind, small, to be damaged by tests.

use ocfs2_format::*;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The block that every sound block claims to be.
pub(crate) const AT: BlockNo = BlockNo(1000);
/// The inode that owns group descriptors.
pub(crate) const PARENT: GroupParent = GroupParent {
    inode: InodeNo(7),
    clusters_per_group: 64,
    bits_per_cluster: 1,
    chains: 1,
};

/// A volume with all features.
pub(crate) fn geometry(block_size_bits: u8) -> Geometry {
    Geometry {
        block_size_bits,
        cluster_size_bits: 14,
        clusters: 100_000,
        features: Features::MAX_FEATURES,
        generation: Generation(0x1234_5678),
        max_slots: 4,
        xattr_inline_size: if block_size_bits == 9 { 0 } else { 256 },
        uuid_hash: 1,
        dx_seed: [1, 2, 3],
    }
}

/// A block, with the check that it passes.
pub(crate) type Sound = (&'static str, fn(&Geometry) -> Vec<u8>, fn(&[u8], &Geometry) -> bool);

/// One of each.
pub(crate) const SOUND: &[Sound] = &[
    ("superblock", superblock, |block, _| {
        check_superblock(view::<Dinode>(block), AT).is_ok()
    }),
    ("file", file, dinode_is_sound),
    ("inline directory", inline_dir, dinode_is_sound),
    ("fast symlink", symlink, dinode_is_sound),
    ("chain allocator", chains, dinode_is_sound),
    ("local alloc", local_alloc, dinode_is_sound),
    ("truncate log", truncate_log, dinode_is_sound),
    ("extent block", extent_block, |block, g| {
        view::<ExtentBlock>(block).check(AT, Some(1), g).is_ok()
    }),
    ("group", group, |block, g| {
        view::<GroupDesc>(block).check(AT, g, &PARENT).is_ok()
    }),
    ("inline index root", inline_dx_root, |block, g| {
        view::<DxRoot>(block).check(AT, g).is_ok()
    }),
    ("index root", dx_root, |block, g| {
        view::<DxRoot>(block).check(AT, g).is_ok()
    }),
    ("index leaf", dx_leaf, |block, g| {
        view::<DxLeaf>(block).check(AT, g).is_ok()
    }),
    ("xattr block", xattr_block, |block, g| {
        view::<XattrBlock>(block).check(AT, g).is_ok()
    }),
    ("xattr root", xattr_root, |block, g| {
        view::<XattrBlock>(block).check(AT, g).is_ok()
    }),
    ("refcounts", refcounts, |block, g| {
        view::<RefcountBlock>(block).check(AT, g).is_ok()
    }),
    ("refcount root", refcount_root, |block, g| {
        view::<RefcountBlock>(block).check(AT, g).is_ok()
    }),
    ("directory block", dir_block, |block, g| {
        let area = &block[..block.len() - DirTrailer::SIZE];
        let sound = DirTrailer::of_block(block).is_some_and(|trailer| trailer.check(AT, PARENT.inode, g).is_ok());
        sound && DirEntries::new(area).all(|entry| entry.is_ok())
    }),
];

fn view<T: FromBytes + KnownLayout + Immutable + ?Sized>(block: &[u8]) -> &T {
    T::ref_from_bytes(block).expect("a whole block")
}

fn dinode_is_sound(block: &[u8], geometry: &Geometry) -> bool {
    view::<Dinode>(block).check(AT, geometry).is_ok()
}

/// A block of zeros, filled in as a structure.
fn block<T>(geometry: &Geometry, fill: impl FnOnce(&mut T)) -> Vec<u8>
where
    T: FromBytes + IntoBytes + KnownLayout + ?Sized,
{
    let mut block = vec![0; geometry.block_size()];
    fill(T::mut_from_bytes(&mut block).expect("a whole block"));
    block
}

fn dinode(geometry: &Geometry, mode: u16, flags: InodeFlags, fill: impl FnOnce(&mut Dinode)) -> Vec<u8> {
    block(geometry, |dinode: &mut Dinode| {
        dinode.i_signature = Signature::INODE;
        dinode.i_blkno.set(AT.0);
        dinode.i_fs_generation.set(geometry.generation.0);
        dinode.i_mode.set(mode);
        dinode.i_flags.set((InodeFlags::VALID | flags).bits());
        fill(dinode);
    })
}

fn superblock(geometry: &Geometry) -> Vec<u8> {
    let flags = InodeFlags::SYSTEM | InodeFlags::SUPER_BLOCK;
    dinode(geometry, 0, flags, |dinode| {
        dinode.i_signature = Signature::SUPER_BLOCK;
        dinode.i_clusters.set(geometry.clusters);
        let sb = dinode.super_block_mut();
        sb.s_minor_rev_level.set(SuperBlock::MINOR_REV);
        sb.set_features(geometry.features);
        sb.s_root_blkno.set(1001);
        sb.s_system_dir_blkno.set(1002);
        sb.s_first_cluster_group.set(geometry.first_cluster_group().0);
        sb.s_blocksize_bits.set(geometry.block_size_bits.into());
        sb.s_clustersize_bits.set(geometry.cluster_size_bits.into());
        sb.s_max_slots.set(geometry.max_slots);
        sb.s_xattr_inline_size.set(geometry.xattr_inline_size);
    })
}

/// With inline attributes where there is room, and shared extents.
fn file(geometry: &Geometry) -> Vec<u8> {
    let inline_xattr = geometry.xattr_inline_size != 0;
    let mut block = dinode(geometry, 0o100_644, InodeFlags::empty(), |dinode| {
        dinode.i_size.set(100_000);
        dinode.i_clusters.set(7);
        dinode.i_refcount_loc.set(2000);
        let mut features = DynFeatures::HAS_REFCOUNT;
        if inline_xattr {
            features |= DynFeatures::HAS_XATTR | DynFeatures::INLINE_XATTR;
            dinode.i_xattr_inline_size.set(geometry.xattr_inline_size);
        }
        dinode.i_dyn_features.set(features.bits());
        let list = dinode.extent_list_mut();
        list.init(geometry.extents_per_dinode(inline_xattr));
        list.push(ExtentRec::leaf(0, 5, BlockNo(4096), ExtentFlags::REFCOUNTED));
        list.push(ExtentRec::leaf(5, 2, BlockNo(8192), ExtentFlags::UNWRITTEN));
    });
    if inline_xattr {
        let start = block.len() - usize::from(geometry.xattr_inline_size);
        fill_attributes(&mut block[start..]);
    }
    block
}

fn inline_dir(geometry: &Geometry) -> Vec<u8> {
    let room = geometry.max_inline_data(false);
    dinode(geometry, 0o040_755, InodeFlags::empty(), |dinode| {
        dinode.i_size.set(room.into());
        dinode.i_dyn_features.set(DynFeatures::INLINE_DATA.bits());
        let inline = dinode.inline_data_mut();
        inline.id_count.set(room);
        fill_entries(&mut inline.id_data);
    })
}

fn symlink(geometry: &Geometry) -> Vec<u8> {
    let mut block = dinode(geometry, 0o120_777, InodeFlags::empty(), |dinode| dinode.i_size.set(6));
    block[Dinode::ID2_OFFSET..][..6].copy_from_slice(b"target");
    block
}

fn chains(geometry: &Geometry) -> Vec<u8> {
    let flags = InodeFlags::SYSTEM | InodeFlags::BITMAP | InodeFlags::CHAIN;
    dinode(geometry, 0o100_644, flags, |dinode| {
        dinode.bitmap_mut().i_used.set(10);
        dinode.bitmap_mut().i_total.set(64);
        let list = dinode.chain_list_mut();
        list.cl_cpg.set(PARENT.clusters_per_group);
        list.cl_bpc.set(PARENT.bits_per_cluster);
        list.cl_count.set(geometry.chains_per_dinode());
        list.cl_next_free_rec.set(1);
        list.cl_recs[0] = ChainRec {
            c_free: 54.into(),
            c_total: 64.into(),
            c_blkno: 3000.into(),
        };
    })
}

fn local_alloc(geometry: &Geometry) -> Vec<u8> {
    let flags = InodeFlags::SYSTEM | InodeFlags::BITMAP | InodeFlags::LOCAL_ALLOC;
    dinode(geometry, 0o100_644, flags, |dinode| {
        dinode.bitmap_mut().i_used.set(3);
        dinode.bitmap_mut().i_total.set(16);
        let local = dinode.local_alloc_mut();
        local.la_bm_off.set(500);
        local.la_size.set(geometry.local_alloc_bytes());
        local.la_bitmap[0] = 7;
    })
}

fn truncate_log(geometry: &Geometry) -> Vec<u8> {
    dinode(
        geometry,
        0o100_644,
        InodeFlags::SYSTEM | InodeFlags::DEALLOC,
        |dinode| {
            let log = dinode.truncate_log_mut();
            log.tl_count.set(geometry.truncate_log_recs());
            log.tl_used.set(1);
            log.tl_recs[0] = TruncateRec {
                t_start: 700.into(),
                t_clusters: 3.into(),
            };
        },
    )
}

fn extent_block(geometry: &Geometry) -> Vec<u8> {
    block(geometry, |node: &mut ExtentBlock| {
        node.h_signature = Signature::EXTENT_BLOCK;
        node.h_blkno.set(AT.0);
        node.h_fs_generation.set(geometry.generation.0);
        let list = node.list_mut();
        list.init(geometry.extents_per_block());
        list.l_tree_depth.set(1);
        list.push(ExtentRec::interior(0, 100, BlockNo(5000)));
    })
}

/// A discontiguous one.
fn group(geometry: &Geometry) -> Vec<u8> {
    block(geometry, |group: &mut GroupDesc| {
        group.bg_signature = Signature::GROUP_DESC;
        group.bg_size.set(geometry.suballoc_bitmap_bytes());
        group.bg_bits.set(64);
        group.bg_free_bits_count.set(62);
        group.bg_generation.set(geometry.generation.0);
        group.bg_parent_dinode.set(PARENT.inode.0);
        group.bg_blkno.set(AT.0);
        group.bitmap_mut()[0] = 3;
        let list = group.list_mut();
        list.init(geometry.extents_per_group());
        list.push(ExtentRec::leaf(0, 40, AT, ExtentFlags::empty()));
        list.push(ExtentRec::leaf(40, 24, BlockNo(6000), ExtentFlags::empty()));
    })
}

fn dx_root_with(geometry: &Geometry, flags: DxFlags, fill: impl FnOnce(&mut DxRoot)) -> Vec<u8> {
    block(geometry, |root: &mut DxRoot| {
        root.dr_signature = Signature::DX_ROOT;
        root.dr_blkno.set(AT.0);
        root.dr_fs_generation.set(geometry.generation.0);
        root.dr_dir_blkno.set(PARENT.inode.0);
        root.dr_num_entries.set(1);
        root.dr_flags = flags.bits();
        fill(root);
    })
}

fn dx_entry() -> DxEntry {
    DxEntry {
        dx_major_hash: 1.into(),
        dx_minor_hash: 2.into(),
        dx_dirent_blk: AT.0.into(),
    }
}

fn inline_dx_root(geometry: &Geometry) -> Vec<u8> {
    dx_root_with(geometry, DxFlags::INLINE, |root| {
        let entries = root.entries_mut();
        entries.de_count.set(geometry.dx_entries_per_root());
        entries.de_num_used.set(1);
        entries.de_entries[0] = dx_entry();
    })
}

fn dx_root(geometry: &Geometry) -> Vec<u8> {
    dx_root_with(geometry, DxFlags::empty(), |root| {
        root.list_mut().init(geometry.extents_per_dx_root());
        root.list_mut()
            .push(ExtentRec::leaf(0, 1, BlockNo(7000), ExtentFlags::empty()));
    })
}

fn dx_leaf(geometry: &Geometry) -> Vec<u8> {
    block(geometry, |leaf: &mut DxLeaf| {
        leaf.dl_signature = Signature::DX_LEAF;
        leaf.dl_blkno.set(AT.0);
        leaf.dl_fs_generation.set(geometry.generation.0);
        let entries = leaf.entries_mut();
        entries.de_count.set(geometry.dx_entries_per_leaf());
        entries.de_num_used.set(1);
        entries.de_entries[0] = dx_entry();
    })
}

fn xattr_block_with(geometry: &Geometry, flags: XattrBlockFlags) -> Vec<u8> {
    block(geometry, |block: &mut XattrBlock| {
        block.xb_signature = Signature::XATTR_BLOCK;
        block.xb_blkno.set(AT.0);
        block.xb_fs_generation.set(geometry.generation.0);
        block.xb_flags.set(flags.bits());
    })
}

fn xattr_block(geometry: &Geometry) -> Vec<u8> {
    let mut block = xattr_block_with(geometry, XattrBlockFlags::empty());
    fill_attributes(&mut block[0x30..]);
    block
}

fn xattr_root(geometry: &Geometry) -> Vec<u8> {
    let mut block = xattr_block_with(geometry, XattrBlockFlags::INDEXED);
    let list = ExtentList::view_mut(&mut block[0x40..]).expect("a list");
    list.init(geometry.extents_per_xattr_block());
    list.push(ExtentRec::leaf(0, 1, BlockNo(9000), ExtentFlags::empty()));
    block
}

fn refcount_block(geometry: &Geometry, flags: RefcountFlags, fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut block = block(geometry, |block: &mut RefcountBlock| {
        block.rf_signature = Signature::REFCOUNT_BLOCK;
        block.rf_blkno.set(AT.0);
        block.rf_fs_generation.set(geometry.generation.0);
        block.rf_flags.set(flags.bits());
        block.rf_count.set(2);
    });
    fill(&mut block[0x80..]);
    block
}

fn refcounts(geometry: &Geometry) -> Vec<u8> {
    refcount_block(geometry, RefcountFlags::empty(), |body| {
        let list = RefcountList::view_mut(body).expect("a list");
        list.rl_count.set(geometry.recs_per_refcount_block());
        list.rl_used.set(2);
        list.rl_recs[0] = RefcountRec {
            r_cpos: 10.into(),
            r_clusters: 5.into(),
            r_refcount: 2.into(),
        };
        list.rl_recs[1] = RefcountRec {
            r_cpos: 15.into(),
            r_clusters: 1.into(),
            r_refcount: 3.into(),
        };
    })
}

fn refcount_root(geometry: &Geometry) -> Vec<u8> {
    refcount_block(geometry, RefcountFlags::TREE, |body| {
        let list = ExtentList::view_mut(body).expect("a list");
        list.init(geometry.recs_per_refcount_block());
        list.push(ExtentRec::leaf(0, 1, BlockNo(11_000), ExtentFlags::empty()));
    })
}

fn dir_block(geometry: &Geometry) -> Vec<u8> {
    let mut block = vec![0; geometry.block_size()];
    let (area, end) = block.split_at_mut(geometry.block_size() - DirTrailer::SIZE);
    fill_entries(area);
    end.copy_from_slice(DirTrailer::for_block(AT, PARENT.inode).as_bytes());
    block
}

fn fill_entries(area: &mut [u8]) {
    let rest = area.len() as u16 - 32;
    write_dir_entry(area, 0, 16, InodeNo(AT.0), b".", FileKind::Directory);
    write_dir_entry(area, 16, 16, InodeNo(900), b"..", FileKind::Directory);
    write_dir_entry(area, 32, rest, InodeNo(901), b"a name", FileKind::Regular);
}

/// Two attributes: one beside its name, one in clusters of its own.
fn fill_attributes(area: &mut [u8]) {
    let end = area.len();
    let mut header = XattrHeader::new_zeroed();
    header.xh_count.set(2);
    let entry = |name_offset: usize, xe_type, value_size: u64| XattrEntry {
        xe_name_hash: 1.into(),
        xe_name_offset: (name_offset as u16).into(),
        xe_name_len: 3,
        xe_type,
        xe_value_size: value_size.into(),
    };
    area[..16].copy_from_slice(header.as_bytes());
    area[16..32].copy_from_slice(entry(end - 12, 1 | XattrEntry::LOCAL, 5).as_bytes());
    area[32..48].copy_from_slice(entry(end - 12 - 52, 4, 1000).as_bytes());
    area[end - 12..].copy_from_slice(b"one\0value\0\0\0");
    area[end - 12 - 52..][..3].copy_from_slice(b"two");
}

#[test]
fn every_sound_block_passes_its_check() {
    for bits in 9..=12 {
        for (name, make, is_sound) in SOUND {
            let geometry = geometry(bits);
            assert!(
                is_sound(&make(&geometry), &geometry),
                "{name} of {} bytes",
                geometry.block_size()
            );
        }
    }
}
