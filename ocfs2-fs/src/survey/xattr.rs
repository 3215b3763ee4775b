//! Surveying extended attributes: areas, buckets, names, values.

use ocfs2_format::{
    BlockNo, CharSign, Corrupt, DynFeatures, ExtentFlags, Structure, Violation, Xattr, XattrArea, XattrBlock,
    XattrBlockFlags, XattrDefValueRoot, XattrNamespace, XattrValue, xattr_name_hash,
};

use super::Survey;
use super::inode::TreeTotals;
use crate::error::Error;
use crate::extent_tree::{Extent, ExtentTree, TreeKind};
use crate::inode::Inode;
use crate::meta::{Blocks, view};
use crate::xattr::{self, Acl};

/// A place that holds attributes, for messages.
#[derive(Clone, Copy)]
struct Area {
    structure: Structure,
    at: BlockNo,
}

impl Survey<'_> {
    /// Visits every attribute of an inode.
    pub(super) fn xattrs(&mut self, inode: &Inode) {
        if let Some(bytes) = inode.dinode().inline_xattr_area() {
            let area = Area {
                structure: Structure::XattrInline,
                at: inode.number().block(),
            };
            self.xattr_area(inode, area, bytes);
        }
        let Some(at) = inode.xattr_block() else { return };
        if !self.claim(at, Structure::XattrBlock, XattrBlock::CHECK_OFFSET, inode.number()) {
            return;
        }
        let block = match xattr::read_xattr_block(self.volume.meta(), at) {
            Ok(block) => block,
            Err(error) => return self.note(error, inode.number()),
        };
        let block = view::<XattrBlock>(&block);
        if block.flags().contains(XattrBlockFlags::INDEXED) {
            self.xattr_tree(inode, at, block);
        } else {
            let structure = Structure::XattrBlock;
            self.xattr_area(inode, Area { structure, at }, block.area());
        }
    }

    fn xattr_tree(&mut self, inode: &Inode, at: BlockNo, block: &XattrBlock) {
        let volume = self.volume;
        let tree = xattr::bucket_tree(volume.meta(), inode.number(), block);
        let root = block.tree_root();
        // The kernel counts the clusters of a tree once more when it copies the tree to a reflinked file.
        let reflinked = inode.dyn_features().contains(DynFeatures::HAS_REFCOUNT);
        let totals = TreeTotals {
            structure: Structure::XattrBlock,
            at,
            clusters: (!reflinked).then(|| ("xt_clusters", root.xt_clusters.get())),
            last_leaf: ("xt_last_eb_blk", root.xt_last_eb_blk.get()),
        };
        let mut highest = 0;
        self.tree(&tree, &totals, &mut |survey, extent| {
            survey.claim_clusters(inode.number(), extent);
            survey.buckets(inode, extent, &mut highest);
        });
    }

    /// Visits the buckets in use of a run. Hashes never fall from one to the next.
    fn buckets(&mut self, inode: &Inode, extent: &Extent, highest: &mut u32) {
        let geometry = *self.geometry();
        let per_bucket = u64::from(geometry.blocks_per_xattr_bucket());
        let room = geometry.clusters_to_blocks(extent.clusters) / per_bucket;
        let mut count = 1;
        let mut index = 0;
        *highest = (*highest).max(extent.cpos);
        while index < count {
            let at = BlockNo(extent.blkno.0 + index * per_bucket);
            let area = Area {
                structure: Structure::XattrBucket,
                at,
            };
            if !self.claim_bucket(at, inode.number()) {
                return;
            }
            let bytes = match self.volume.meta().bucket(at) {
                Ok(bytes) => bytes,
                Err(error) => return self.note(error, inode.number()),
            };
            let Some(parsed) = self.xattr_area(inode, area, &bytes) else {
                return;
            };
            let buckets = u64::from(parsed.header().xh_num_buckets.get());
            let expected = if index == 0 { buckets.min(room) } else { 0 };
            if buckets != expected {
                let violation = Violation::Unexpected {
                    field: "xh_num_buckets",
                    found: buckets,
                    expected,
                };
                self.note_at(area.structure, at, inode.number(), violation);
            }
            if index == 0 {
                count = expected;
            }
            self.bucket_order(inode, area, &parsed, highest);
            index += 1;
        }
    }

    fn bucket_order(&mut self, inode: &Inode, area: Area, parsed: &XattrArea<'_>, highest: &mut u32) {
        for (index, entry) in (0..).zip(parsed.entries()) {
            let found = entry.xe_name_hash.get();
            if found < *highest {
                let violation = Violation::Order {
                    field: "xe_name_hash",
                    index,
                    found: found.into(),
                    previous: (*highest).into(),
                };
                return self.note_at(area.structure, area.at, inode.number(), violation);
            }
            *highest = found;
        }
    }

    /// Visits the attributes of an area; `None` when it is none.
    fn xattr_area<'b>(&mut self, inode: &Inode, area: Area, bytes: &'b [u8]) -> Option<XattrArea<'b>> {
        let parsed = match XattrArea::parse(area.structure, bytes) {
            Ok(parsed) => parsed,
            Err(corrupt) => {
                self.note(corrupt.at_block(area.at), inode.number());
                return None;
            }
        };
        let mut sound = true;
        for entry in parsed.entries() {
            self.report.xattrs += 1;
            match parsed.attribute(entry) {
                Ok(xattr) => self.attribute(inode, area, &xattr),
                Err(corrupt) => {
                    sound = false;
                    self.note(corrupt.at_block(area.at), inode.number());
                }
            }
        }
        if let (true, Err(corrupt)) = (sound, parsed.check()) {
            self.note(corrupt.at_block(area.at), inode.number());
        }
        Some(parsed)
    }

    fn attribute(&mut self, inode: &Inode, area: Area, xattr: &Xattr<'_>) {
        // A reader of blocks would find half of the pair.
        let (start, bits) = (xattr.entry.xe_name_offset.get(), self.geometry().block_size_bits);
        let last = usize::from(start) + xattr.stored_bytes().saturating_sub(1);
        if area.structure == Structure::XattrBucket && usize::from(start) >> bits != last >> bits {
            let violation = Violation::Invalid {
                field: "xe_name_offset",
                found: start.into(),
                why: "name and value cross the end of a block",
            };
            self.note_at(area.structure, area.at, inode.number(), violation);
        }
        let stored = xattr.entry.xe_name_hash.get();
        let known = [CharSign::Signed, CharSign::Unsigned]
            .map(|sign| xattr_name_hash(self.geometry().uuid_hash, xattr.name, sign));
        if !known.contains(&stored) {
            let violation = Violation::Unexpected {
                field: "xe_name_hash",
                found: stored.into(),
                expected: known[0].into(),
            };
            self.note_at(area.structure, area.at, inode.number(), violation);
        }
        let acl = matches!(
            xattr.namespace,
            XattrNamespace::PosixAclAccess | XattrNamespace::PosixAclDefault
        );
        let value = match xattr.value {
            XattrValue::Local(bytes) => Some(bytes.to_vec()),
            XattrValue::Outside(root) => self.outside_value(inode, area, xattr, root, acl),
        };
        if let (true, Some(Err(corrupt))) = (acl, value.map(|value| Acl::parse(&value))) {
            self.note(corrupt.at_block(area.at), inode.number());
        }
    }

    /// Visits the extents of a value; reads it when nobody else did before and `read` is wanted.
    fn outside_value(
        &mut self,
        inode: &Inode,
        area: Area,
        xattr: &Xattr<'_>,
        root: &XattrDefValueRoot,
        read: bool,
    ) -> Option<Vec<u8>> {
        let volume = self.volume;
        let number = inode.number();
        if let Err(corrupt) = root.list().check_header(1, None) {
            self.note(corrupt.at_block(area.at), number);
            return None;
        }
        let tree = ExtentTree {
            meta: volume.meta(),
            root: root.list(),
            kind: TreeKind::Data,
            owner: number,
        };
        let totals = TreeTotals {
            structure: Structure::XattrValue,
            at: area.at,
            clusters: Some(("xr_clusters", root.xv.xr_clusters.get())),
            last_leaf: ("xr_last_eb_blk", root.xv.xr_last_eb_blk.get()),
        };
        let mut end = 0;
        let mut fresh = 0;
        self.tree(&tree, &totals, &mut |survey, extent| {
            if u64::from(extent.cpos) != end || extent.flags.contains(ExtentFlags::UNWRITTEN) {
                let violation = Violation::Rule("the extents of an attribute value have no holes");
                survey.note_at(Structure::XattrValue, area.at, number, violation);
            }
            end = extent.end();
            fresh += survey.claim_clusters(number, extent).len();
        });
        let needed = self.geometry().clusters_for_bytes(xattr.entry.xe_value_size.get());
        if end < needed {
            let violation = Violation::Truncated { found: end, needed };
            self.note_at(Structure::XattrValue, area.at, number, violation);
            return None;
        }
        if !read || fresh < needed {
            return None;
        }
        match xattr::read_value(volume.meta(), number, xattr.entry.xe_value_size.get(), root) {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(place(error, area.at), number);
                None
            }
        }
    }
}

fn place(error: Error, at: BlockNo) -> Error {
    match error {
        Error::Corrupt(corrupt) => Corrupt::at_block(corrupt, at).into(),
        other => other,
    }
}
