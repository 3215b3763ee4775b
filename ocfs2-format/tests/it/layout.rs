//! Holds every structure against `layout.tsv`: name, offset, size and byte order of each field.
//!
//! The table lists the structures of the C headers, members of members and arms of unions included. Each row must have a
//! counterpart here and the other way round. Offsets are taken from references into a view, so that accessors of union
//! arms and trailing lists are held to the table as well as fields.

use std::any::type_name;
use std::collections::BTreeSet;
use std::ops::Range;

use ocfs2_format::jbd2::{BlockTag, BlockTag3, BlockTail, CommitHeader, Header, RevokeHeader, Superblock};
use ocfs2_format::quota::{
    FileHeader, GlobalEntry, GlobalInfo, LeafHeader, LocalChunk, LocalEntry, LocalInfo, Trailer,
};
use ocfs2_format::*;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A field as both sides describe it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    structure: String,
    field: String,
    offset: usize,
    size: usize,
    order: Order,
}

/// Byte order of a field; `Any` for bytes, structures, and where a side does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Any,
    Little,
    Big,
}

/// Collects the rows of one structure.
#[derive(Default)]
struct Rows {
    base: usize,
    prefix: String,
    found: Vec<(String, usize, usize, Order)>,
    /// Bytes of trailing lists, which C does not count.
    tail_bytes: usize,
}

/// A structure that knows its fields, by the names they have in C.
trait Members {
    fn members(&self, rows: &mut Rows);
}

impl Rows {
    fn row(&mut self, name: &str, at: usize, size: usize, order: Order) {
        self.found
            .push((format!("{}{name}", self.prefix), at - self.base, size, order));
    }

    fn field<T: ?Sized>(&mut self, name: &str, field: &T) {
        let order = match type_name::<T>() {
            name if name.contains("LittleEndian") => Order::Little,
            name if name.contains("BigEndian") => Order::Big,
            _ => Order::Any,
        };
        self.row(name, address(field), size_of_val(field), order);
    }

    /// A list at the end of a structure, which has no size in C.
    fn tail<T>(&mut self, name: &str, list: &[T]) {
        self.row(name, address(list), 0, Order::Any);
        self.tail_bytes += size_of_val(list);
    }

    /// A field that is a structure of its own.
    fn nested<T: Members + ?Sized>(&mut self, name: &str, field: &T) {
        let mut inner = Rows {
            base: self.base,
            prefix: format!("{}{name}.", self.prefix),
            ..Rows::default()
        };
        field.members(&mut inner);
        self.row(name, address(field), size_of_val(field) - inner.tail_bytes, Order::Any);
        self.found.append(&mut inner.found);
    }

    /// A union or anonymous structure that reaches from one field to another.
    fn span<F: ?Sized, L: ?Sized>(&mut self, name: &str, first: &F, last: &L) {
        self.row(
            name,
            address(first),
            address(last) + size_of_val(last) - address(first),
            Order::Any,
        );
    }

    /// What an accessor reads by value, found by changing one byte after the other.
    fn value<T, V>(&mut self, name: &str, structure: &T, read: impl Fn(&T) -> V)
    where
        T: View + IntoBytes + ?Sized,
        V: PartialEq,
    {
        let bytes = influence(structure.as_bytes().len(), |bytes| {
            read(T::ref_from_bytes(bytes).unwrap())
        });
        self.row(name, address(structure) + bytes.start, bytes.len(), Order::Any);
    }
}

trait View: FromBytes + KnownLayout + Immutable {}
impl<T: FromBytes + KnownLayout + Immutable + ?Sized> View for T {}

fn address<T: ?Sized>(of: &T) -> usize {
    std::ptr::from_ref(of).cast::<u8>().addr()
}

/// The bytes, of `len` zeros, that change what `read` finds in them.
fn influence<V: PartialEq>(len: usize, read: impl Fn(&[u8]) -> V) -> Range<usize> {
    let mut bytes = vec![0; len];
    let before = read(&bytes);
    let changing: Vec<usize> = (0..len)
        .filter(|&at| {
            bytes[at] = 0xFF;
            let changed = read(&bytes) != before;
            bytes[at] = 0;
            changed
        })
        .collect();
    let (Some(&first), Some(&last)) = (changing.first(), changing.last()) else {
        return 0..0;
    };
    assert_eq!(changing.len(), last + 1 - first, "not contiguous: {changing:?}");
    first..last + 1
}

/// The rows of a structure in the smallest number of bytes that makes one.
fn rows_of<T: View + Members + ?Sized>(structure: &str) -> Vec<Row> {
    let bytes = [0; 2048];
    let (total, view) = (0..=bytes.len())
        .find_map(|len| Some((len, T::ref_from_bytes(&bytes[..len]).ok()?)))
        .expect("a sane size");
    let mut rows = Rows {
        base: address(view),
        ..Rows::default()
    };
    view.members(&mut rows);
    rows.found.push(("(total)".into(), 0, total, Order::Any));
    named(structure, rows.found)
}

fn named(structure: &str, found: Vec<(String, usize, usize, Order)>) -> Vec<Row> {
    found
        .into_iter()
        .map(|(field, offset, size, order)| Row {
            structure: structure.into(),
            field,
            offset,
            size,
            order,
        })
        .collect()
}

/// Lists structures with their fields, which it checks for completeness. `=> nested` is a structure whose fields have
/// rows too, `=> tail` a list at the end, `=> hidden` bytes that have no row. Rows that are no fields follow in a block.
macro_rules! structures {
    ($($type:ident = $c_name:literal { $($field:ident $(=> $kind:ident)?),* $(,)? } $(|$this:ident, $rows:ident| $more:block)?)*) => {
        $(
            impl Members for $type {
                fn members(&self, rows: &mut Rows) {
                    let $type { $($field),* } = self;
                    $(structures!(@row rows $field $($kind)?);)*
                    $(
                        let ($this, $rows) = (self, rows);
                        $more
                    )?
                }
            }
        )*

        fn structures() -> Vec<Row> {
            let mut rows = Vec::new();
            $(rows.extend(rows_of::<$type>($c_name));)*
            rows
        }
    };
    (@row $rows:ident $field:ident) => { $rows.field(stringify!($field), $field) };
    (@row $rows:ident $field:ident nested) => { $rows.nested(stringify!($field), $field) };
    (@row $rows:ident $field:ident tail) => { $rows.tail(stringify!($field), $field) };
    (@row $rows:ident $field:ident hidden) => {{
        let _ = $field;
    }};
}

/// The header alone: its records are what follows it in the structure that holds it.
impl Members for ExtentListHeader {
    fn members(&self, rows: &mut Rows) {
        let list = ExtentList::view(self.as_bytes()).expect("a header is a list without records");
        list.members(rows);
    }
}

structures! {
    BlockCheck = "ocfs2_block_check" { bc_crc32e, bc_ecc, bc_reserved1 }
    ExtentRec = "ocfs2_extent_rec" { e_cpos, e_leaf_clusters, e_reserved1, e_flags, e_blkno } |rec, rows| {
        rows.span("(anonymous union)", &rec.e_leaf_clusters, &rec.e_flags);
        rows.span("(anonymous struct)", &rec.e_leaf_clusters, &rec.e_flags);
        rows.value("e_int_clusters", rec, ExtentRec::int_clusters);
    }
    ChainRec = "ocfs2_chain_rec" { c_free, c_total, c_blkno }
    TruncateRec = "ocfs2_truncate_rec" { t_start, t_clusters }
    ExtentList = "ocfs2_extent_list" {
        l_tree_depth, l_count, l_next_free_rec, l_reserved1, l_reserved2, l_recs => tail,
    }
    ChainList = "ocfs2_chain_list" { cl_cpg, cl_bpc, cl_count, cl_next_free_rec, cl_reserved1, cl_recs => tail }
    TruncateLog = "ocfs2_truncate_log" { tl_count, tl_used, tl_reserved1, tl_recs => tail }
    ExtentBlock = "ocfs2_extent_block" {
        h_signature, h_check => nested, h_suballoc_slot, h_suballoc_bit, h_fs_generation, h_blkno, h_suballoc_loc,
        h_next_leaf_blk, h_list => nested, h_recs => hidden,
    } |block, rows| {
        rows.nested("h_list", block.list());
    }
    ExtendedSlot = "ocfs2_extended_slot" { es_valid, es_reserved1, es_node_num }
    ClusterInfo = "ocfs2_cluster_info" {
        ci_stack, ci_stackflags, ci_reserved1, ci_reserved2, ci_reserved3, ci_cluster,
    } |info, rows| {
        for name in ["(anonymous union)", "(anonymous struct)", "ci_reserved"] {
            rows.span(name, &info.ci_stackflags, &info.ci_reserved3);
        }
    }
    SuperBlock = "ocfs2_super_block" {
        s_major_rev_level, s_minor_rev_level, s_mnt_count, s_max_mnt_count, s_state, s_errors, s_checkinterval,
        s_lastcheck, s_creator_os, s_feature_compat, s_feature_incompat, s_feature_ro_compat, s_root_blkno,
        s_system_dir_blkno, s_blocksize_bits, s_clustersize_bits, s_max_slots, s_tunefs_flag, s_uuid_hash,
        s_first_cluster_group, s_label, s_uuid, s_cluster_info => nested, s_xattr_inline_size, s_reserved0, s_dx_seed,
        s_reserved2,
    }
    LocalAlloc = "ocfs2_local_alloc" { la_bm_off, la_size, la_reserved1, la_reserved2, la_bitmap => tail }
    InlineData = "ocfs2_inline_data" { id_count, id_reserved0, id_reserved1, id_data => tail }
    Dinode = "ocfs2_dinode" {
        i_signature, i_generation, i_suballoc_slot, i_suballoc_bit, i_links_count_hi, i_xattr_inline_size, i_clusters,
        i_uid, i_gid, i_size, i_mode, i_links_count, i_flags, i_atime, i_ctime, i_mtime, i_dtime, i_blkno,
        i_last_eb_blk, i_fs_generation, i_atime_nsec, i_ctime_nsec, i_mtime_nsec, i_attr, i_orphaned_slot,
        i_dyn_features, i_xattr_loc, i_check => nested, i_dx_root, i_refcount_loc, i_suballoc_loc, i_dio_orphaned_slot,
        i_reserved1, i_reserved2, id1, id2, id2_tail => hidden,
    } |dinode, rows| {
        rows.field("id1.i_pad1", &dinode.id1);
        rows.field("id1.dev1", &dinode.id1);
        rows.value("id1.dev1.i_rdev", dinode, Dinode::rdev);
        rows.nested("id1.bitmap1", dinode.bitmap());
        rows.nested("id1.journal1", dinode.journal());
        rows.nested("id2.i_super", dinode.super_block());
        rows.nested("id2.i_lab", dinode.local_alloc());
        rows.nested("id2.i_chain", dinode.chain_list());
        rows.nested("id2.i_list", dinode.extent_list());
        rows.nested("id2.i_dealloc", dinode.truncate_log());
        rows.nested("id2.i_data", dinode.inline_data());
        rows.tail("id2.i_symlink", dinode.symlink_area());
    }
    DirTrailer = "ocfs2_dir_block_trailer" {
        db_compat_inode, db_compat_rec_len, db_compat_name_len, db_reserved0, db_reserved1, db_free_rec_len,
        db_signature, db_reserved2, db_free_next, db_blkno, db_parent_dinode, db_check => nested,
    }
    DxEntry = "ocfs2_dx_entry" { dx_major_hash, dx_minor_hash, dx_dirent_blk }
    DxEntryList = "ocfs2_dx_entry_list" { de_reserved, de_count, de_num_used, de_entries => tail }
    DxRoot = "ocfs2_dx_root_block" {
        dr_signature, dr_check => nested, dr_suballoc_slot, dr_suballoc_bit, dr_fs_generation, dr_blkno,
        dr_last_eb_blk, dr_clusters, dr_flags, dr_reserved0, dr_reserved1, dr_dir_blkno, dr_num_entries, dr_reserved2,
        dr_free_blk, dr_suballoc_loc, dr_reserved3, dr_body => hidden, dr_tail => hidden,
    } |root, rows| {
        rows.field("(anonymous union)", &root.dr_body);
        rows.nested("dr_list", root.list());
        rows.nested("dr_entries", root.entries());
    }
    DxLeaf = "ocfs2_dx_leaf" {
        dl_signature, dl_check => nested, dl_blkno, dl_fs_generation, dl_reserved0, dl_reserved1, dl_list,
        dl_tail => hidden,
    } |leaf, rows| {
        rows.nested("dl_list", leaf.entries());
    }
    GroupDesc = "ocfs2_group_desc" {
        bg_signature, bg_size, bg_bits, bg_free_bits_count, bg_chain, bg_generation, bg_reserved1, bg_next_group,
        bg_parent_dinode, bg_blkno, bg_check => nested, bg_reserved2, bg_bitmap_filler, bg_list => nested,
        bg_tail => hidden,
    } |group, rows| {
        rows.span("(anonymous union)", &group.bg_bitmap_filler, &group.bg_list);
        rows.span("(anonymous struct)", &group.bg_bitmap_filler, &group.bg_list);
        rows.tail("bg_bitmap", group.bitmap());
    }
    RefcountRec = "ocfs2_refcount_rec" { r_cpos, r_clusters, r_refcount }
    RefcountList = "ocfs2_refcount_list" { rl_count, rl_used, rl_reserved2, rl_reserved1, rl_recs => tail }
    RefcountBlock = "ocfs2_refcount_block" {
        rf_signature, rf_suballoc_slot, rf_suballoc_bit, rf_fs_generation, rf_blkno, rf_parent, rf_check => nested,
        rf_last_eb_blk, rf_count, rf_flags, rf_clusters, rf_cpos, rf_generation, rf_reserved0, rf_suballoc_loc,
        rf_reserved1, rf_body => hidden, rf_tail => hidden,
    } |block, rows| {
        rows.field("(anonymous union)", &block.rf_body);
        rows.nested("rf_records", block.records());
        rows.nested("rf_list", block.list());
    }
    XattrEntry = "ocfs2_xattr_entry" { xe_name_hash, xe_name_offset, xe_name_len, xe_type, xe_value_size }
    XattrHeader = "ocfs2_xattr_header" {
        xh_count, xh_free_start, xh_name_value_len, xh_num_buckets, xh_check => nested,
    } |header, rows| {
        let area = XattrArea::parse(Structure::XattrBlock, header.as_bytes()).expect("an area without entries");
        rows.tail("xh_entries", area.entries());
    }
    XattrValueRoot = "ocfs2_xattr_value_root" { xr_clusters, xr_reserved0, xr_last_eb_blk, xr_list => nested }
    XattrDefValueRoot = "ocfs2_xattr_def_value_root" { xv => nested, er => nested } |root, _rows| {
        // The list of the root ends with the one record behind it.
        assert_eq!(address(root.list()), address(&root.xv.xr_list));
        assert_eq!(address(&root.list().l_recs), address(&root.er));
    }
    XattrTreeRoot = "ocfs2_xattr_tree_root" { xt_clusters, xt_reserved0, xt_last_eb_blk, xt_list => nested }
    XattrBlock = "ocfs2_xattr_block" {
        xb_signature, xb_suballoc_slot, xb_suballoc_bit, xb_fs_generation, xb_blkno, xb_check => nested, xb_flags,
        xb_reserved0, xb_reserved1, xb_suballoc_loc, xb_attrs, xb_tail => hidden,
    } |block, rows| {
        let area = XattrArea::parse(Structure::XattrBlock, block.area()).expect("an area without entries");
        rows.nested("xb_attrs.xb_header", area.header());
        rows.nested("xb_attrs.xb_root", block.tree_root());
        rows.nested("xb_attrs.xb_root.xt_list", block.list());
    }
    AclEntry = "ocfs2_acl_entry" { e_tag, e_perm, e_id }
    FileHeader = "ocfs2_disk_dqheader" { dqh_magic, dqh_version }
    GlobalInfo = "ocfs2_global_disk_dqinfo" {
        dqi_bgrace, dqi_igrace, dqi_syncms, dqi_blocks, dqi_free_blk, dqi_free_entry,
    }
    GlobalEntry = "ocfs2_global_disk_dqblk" {
        dqb_id, dqb_use_count, dqb_ihardlimit, dqb_isoftlimit, dqb_curinodes, dqb_bhardlimit, dqb_bsoftlimit,
        dqb_curspace, dqb_btime, dqb_itime, dqb_pad1, dqb_pad2,
    }
    LeafHeader = "qt_disk_dqdbheader" { dqdh_next_free, dqdh_prev_free, dqdh_entries, dqdh_pad1, dqdh_pad2 }
    LocalInfo = "ocfs2_local_disk_dqinfo" { dqi_flags, dqi_chunks, dqi_blocks }
    LocalChunk = "ocfs2_local_disk_chunk" { dqc_free, dqc_bitmap => tail }
    LocalEntry = "ocfs2_local_disk_dqblk" { dqb_id, dqb_spacemod, dqb_inodemod }
    Trailer = "ocfs2_disk_dqtrailer" { dq_check => nested }
    Header = "journal_header_s" { h_magic, h_blocktype, h_sequence }
    CommitHeader = "commit_header" {
        h_magic, h_blocktype, h_sequence, h_chksum_type, h_chksum_size, h_padding, h_chksum, h_commit_sec,
        h_commit_nsec, h_padding_end => hidden,
    }
    BlockTag3 = "journal_block_tag3_s" { t_blocknr, t_flags, t_blocknr_high, t_checksum }
    BlockTag = "journal_block_tag_s" { t_blocknr, t_checksum, t_flags, t_blocknr_high }
    BlockTail = "jbd2_journal_block_tail" { t_checksum }
    RevokeHeader = "jbd2_journal_revoke_header_s" { r_header => nested, r_count }
    Superblock = "journal_superblock_s" {
        s_header => nested, s_blocksize, s_maxlen, s_first, s_sequence, s_start, s_errno, s_feature_compat,
        s_feature_incompat, s_feature_ro_compat, s_uuid, s_nr_users, s_dynsuper, s_max_transaction, s_max_trans_data,
        s_checksum_type, s_padding2, s_num_fc_blks, s_padding, s_checksum, s_users,
    }
    HeartbeatBlock = "o2hb_disk_heartbeat_block" {
        hb_seq, hb_node, hb_pad1, hb_cksum, hb_generation, hb_dead_ms, hb_padding_end => hidden,
    }
    ImageHeader = "ocfs2_image_hdr" {
        hdr_magic, hdr_timestamp, hdr_magic_desc, hdr_version, hdr_fsblkcnt, hdr_fsblksz, hdr_imgblkcnt, hdr_bmpblksz,
        hdr_superblkcnt, hdr_superblocks,
    }
}

/// Arms of unions that have no row but as members of their union.
impl Members for BitmapCounts {
    fn members(&self, rows: &mut Rows) {
        let BitmapCounts { i_used, i_total } = self;
        rows.field("i_used", i_used);
        rows.field("i_total", i_total);
    }
}

impl Members for JournalState {
    fn members(&self, rows: &mut Rows) {
        let JournalState {
            ij_flags,
            ij_recovery_generation,
        } = self;
        rows.field("ij_flags", ij_flags);
        rows.field("ij_recovery_generation", ij_recovery_generation);
    }
}

/// An entry with the longest name.
fn dir_entry() -> Vec<Row> {
    let mut area = [0; 268];
    let name = [b'n'; DirEntryHeader::MAX_NAME];
    write_dir_entry(&mut area, 0, 268, InodeNo(1), &name, FileKind::Regular);
    let entry = DirEntries::new(&area).next().unwrap().unwrap();
    let mut rows = Rows {
        base: address(&area),
        ..Rows::default()
    };
    let DirEntryHeader {
        inode,
        rec_len,
        name_len,
        file_type,
    } = entry.header;
    rows.field("inode", inode);
    rows.field("rec_len", rec_len);
    rows.field("name_len", name_len);
    rows.field("file_type", file_type);
    rows.field("name", entry.name);
    rows.span("(total)", entry.header, entry.name);
    named("ocfs2_dir_entry", rows.found)
}

/// A pair of hashes in memory, in the machine's byte order.
fn dx_hash() -> Vec<Row> {
    let hash = DxHash { major: 0, minor: 0 };
    let mut rows = Rows {
        base: address(&hash),
        ..Rows::default()
    };
    let DxHash { major, minor } = &hash;
    rows.field("major_hash", major);
    rows.field("minor_hash", minor);
    rows.field("(total)", &hash);
    named("ocfs2_dx_hinfo", rows.found)
}

/// Slot maps are lists of records and nothing else: one record per slot, without gaps.
fn slot_map(structure: &str, field: &str, extended: bool) -> Vec<Row> {
    let record = SlotMap::bytes_for(1, extended);
    for slot in 0..4 {
        let read = |bytes: &[u8]| SlotMap::parse(bytes, 4, extended).node(SlotNum(slot));
        let mut map = vec![0; 4 * record];
        if extended {
            map.iter_mut().step_by(record).for_each(|valid| *valid = 1);
        }
        let before = read(&map);
        let at = usize::from(slot) * record;
        let node = if extended { at + 4 } else { at };
        map[node] = 9;
        assert_ne!(read(&map), before);
        assert_eq!(read(&map), Some(NodeNum(9)));
    }
    named(
        structure,
        vec![(field.into(), 0, 0, Order::Any), ("(total)".into(), 0, 0, Order::Any)],
    )
}

fn ours() -> BTreeSet<Row> {
    let mut rows = structures();
    rows.extend(dir_entry());
    rows.extend(dx_hash());
    rows.extend(slot_map("ocfs2_slot_map", "sm_slots", false));
    rows.extend(slot_map("ocfs2_slot_map_extended", "se_slots", true));
    rows.into_iter().collect()
}

fn table() -> BTreeSet<Row> {
    let mut lines = include_str!("layout.tsv").lines();
    assert_eq!(lines.next(), Some("struct\tfield\toffset\tsize\tc_type"));
    lines
        .map(|line| {
            let [structure, field, offset, size, c_type] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("malformed row: {line}");
            };
            let order = match c_type {
                c_type if c_type.starts_with("__le") => Order::Little,
                c_type if c_type.starts_with("__be") => Order::Big,
                _ => Order::Any,
            };
            Row {
                structure: structure.into(),
                field: field.into(),
                offset: offset.parse().unwrap(),
                size: size.parse().unwrap(),
                order,
            }
        })
        .collect()
}

/// The rows of `these` that `others` lack, byte order aside.
fn missing(these: &BTreeSet<Row>, others: &BTreeSet<Row>) -> Vec<String> {
    let place = |row: &Row| (row.structure.clone(), row.field.clone(), row.offset, row.size);
    let known: BTreeSet<_> = others.iter().map(place).collect();
    let lacking = these.iter().filter(|row| !known.contains(&place(row)));
    lacking
        .map(|row| format!("{} {} at {}, {} bytes", row.structure, row.field, row.offset, row.size))
        .collect()
}

#[test]
fn every_row_of_the_table_has_a_counterpart() {
    let table = table();
    assert!(table.len() > 500, "the table is not whole: {} rows", table.len());
    let missing = missing(&table, &ours());
    assert!(
        missing.is_empty(),
        "{} rows without counterpart:\n{}",
        missing.len(),
        missing.join("\n")
    );
}

#[test]
fn every_field_has_a_row_in_the_table() {
    let missing = missing(&ours(), &table());
    assert!(
        missing.is_empty(),
        "{} fields without row:\n{}",
        missing.len(),
        missing.join("\n")
    );
}

#[test]
fn numbers_have_the_byte_order_of_the_table() {
    let ours = ours();
    for row in table().iter().filter(|row| row.order != Order::Any) {
        let same = ours
            .iter()
            .filter(|our| (&our.structure, &our.field) == (&row.structure, &row.field));
        let wrong = same.filter(|our| our.order != Order::Any && our.order != row.order);
        assert_eq!(wrong.count(), 0, "{} {}", row.structure, row.field);
    }
}
