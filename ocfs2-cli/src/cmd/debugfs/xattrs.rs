//! Commands about extended attributes and refcount trees.

use std::io::Write;

use ocfs2_format::{
    BlockNo, Dinode, DynFeatures, ExtentRec, RefcountBlock, RefcountFlags, Signature, XattrBlock, XattrBlockFlags,
};
use ocfs2_fs::inspect::{Raw, RawXattrs};
use serde_json::{Value, json};

use super::failure::{Failure, Outcome, failed, text};
use super::out::Out;
use super::session::{Open, Session, bracketed};
use super::show::{check_json, extents, refcounts, set, xattrs as show};

/// `xattr [-v] FILESPEC`.
pub(super) fn xattr(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let (verbose, word) = match words {
        [b"-v", word, ..] => (true, word),
        [b"-v"] | [] => return Err(Failure::Usage),
        [word, ..] => (false, word),
    };
    let open = session.volume()?;
    let dinode = open.dinode(word)?;
    let mut listing = Listing {
        session,
        open,
        out,
        verbose,
        total: 0,
    };
    let body = listing.inode(&dinode)?;
    if listing.out.is_json() {
        listing.out.document(body)?;
    }
    Ok(())
}

/// Goes through the areas that hold an inode's attributes.
struct Listing<'a, 'o> {
    session: &'a Session,
    open: &'a Open,
    out: &'a mut Out<'o>,
    verbose: bool,
    total: u64,
}

impl Listing<'_, '_> {
    fn inode(&mut self, dinode: &Raw<Dinode>) -> Result<Value, Failure> {
        let mut body = json!({ "inode": dinode.block().number().0 });
        if !dinode.dyn_features().contains(DynFeatures::HAS_XATTR) {
            set(&mut body, "total", 0);
            return Ok(body);
        }
        let inline = dinode.inline_xattr_area().and_then(RawXattrs::new);
        let count = inline.map_or(0, |area| area.header().xh_count.get());
        if !self.out.is_json() {
            writeln!(self.out, "\tExtended Attributes inline: {count}")?;
        }
        if let Some(area) = inline {
            set(&mut body, "inline", self.area(&area)?);
        }
        let at = BlockNo(dinode.i_xattr_loc.get());
        if at.0 != 0 {
            match self.open.inspector.read::<XattrBlock>(at) {
                Ok(block) => set(&mut body, "block", self.block(at, &block)?),
                Err(error) => self.problem(&error),
            }
        }
        if !self.out.is_json() {
            writeln!(self.out, "\n\tExtended attributes in total: {}", self.total)?;
        }
        set(&mut body, "total", self.total);
        Ok(body)
    }

    fn problem(&mut self, error: &ocfs2_fs::Error) {
        self.session.problem(self.out, "xattr", text(error));
    }

    fn block(&mut self, at: BlockNo, block: &Raw<XattrBlock>) -> Result<Value, Failure> {
        let state = block.check_state(self.open.geometry());
        let mut body = json!({
            "xb_blkno": block.xb_blkno.get(),
            "xb_suballoc_slot": block.xb_suballoc_slot.get(),
            "xb_suballoc_bit": block.xb_suballoc_bit.get(),
            "xb_suballoc_loc": block.xb_suballoc_loc.get(),
            "xb_fs_generation": block.xb_fs_generation.get(),
            "xb_flags": block.xb_flags.get(),
            "xb_check": check_json(&block.xb_check, state),
        });
        if !block.flags().contains(XattrBlockFlags::INDEXED) {
            let Some(area) = RawXattrs::new(block.area()) else {
                return Ok(body);
            };
            if !self.out.is_json() {
                writeln!(
                    self.out,
                    "\tExtended Attributes in block #{at}: {}",
                    area.header().xh_count
                )?;
            }
            set(&mut body, "attributes", self.area(&area)?);
            return Ok(body);
        }
        let list = block.list();
        if !self.out.is_json() {
            writeln!(
                self.out,
                "\tExtended Attributes extent tree in index block #{at}  Depth: {}  Records: {}",
                list.l_tree_depth, list.l_next_free_rec
            )?;
            if self.verbose {
                extents::list(self.out, list)?;
            }
        }
        set(&mut body, "xt_list", extents::list_json(list));
        let mut records = Vec::new();
        for rec in self.open.inspector.leaf_records(list) {
            match rec {
                Ok(rec) => records.push(rec),
                Err(error) => self.problem(&error),
            }
        }
        // From the highest hash to the lowest.
        let mut runs = Vec::new();
        for rec in records.iter().rev() {
            runs.push(self.run(rec)?);
        }
        set(&mut body, "runs", runs);
        Ok(body)
    }

    fn run(&mut self, rec: &ExtentRec) -> Result<Value, Failure> {
        let (mut buckets, mut list) = (Vec::new(), Vec::new());
        for bucket in self.open.inspector.xattr_buckets(rec) {
            match bucket {
                Ok(bucket) => buckets.push(bucket),
                Err(error) => self.problem(&error),
            }
        }
        if !self.out.is_json() {
            let claimed = buckets
                .first()
                .map_or(0, |bucket| bucket.area().header().xh_num_buckets.get());
            writeln!(
                self.out,
                "\tExtended Attributes extent record start at #{}  Has clusters: {}  Has buckets: {claimed}",
                rec.e_blkno, rec.e_leaf_clusters
            )?;
        }
        for (index, bucket) in buckets.iter().enumerate() {
            let area = bucket.area();
            if !self.out.is_json() {
                writeln!(
                    self.out,
                    "\t\tExtended Attributes in bucket #{index}: {}",
                    area.header().xh_count
                )?;
            }
            let mut object = json!({
                "block": bucket.block().0,
                "xh_check": check_json(bucket.check(), bucket.check_state(self.open.geometry())),
            });
            set(&mut object, "attributes", self.area(&area)?);
            list.push(object);
        }
        Ok(json!({ "e_blkno": rec.e_blkno.get(), "e_cpos": rec.e_cpos.get(), "buckets": list }))
    }

    fn area(&mut self, area: &RawXattrs<'_>) -> Result<Value, Failure> {
        self.total += u64::from(area.header().xh_count.get());
        if self.out.is_json() {
            return Ok(show::entries_json(area));
        }
        if self.verbose {
            show::entries(self.out, area)?;
        }
        Ok(Value::Null)
    }
}

/// `refcount [-e] FILESPEC`.
pub(super) fn refcount(session: &mut Session, words: &[&[u8]], out: &mut Out<'_>) -> Outcome {
    let (extents_too, word) = match words {
        [b"-e", word, ..] => (true, word),
        [b"-e"] | [] => return Err(Failure::Usage),
        [word, ..] => (false, word),
    };
    let open = session.volume()?;
    let geometry = open.geometry();
    let at = refcount_root(open, word)?;
    let doing = format_args!("while reading refcount block {at}");
    let root = open
        .inspector
        .read::<RefcountBlock>(at)
        .map_err(|error| failed(&error, doing))?;
    out.begin_list(json!({ "root": refcounts::json(&root, geometry) }), "leaves")?;
    if !out.is_json() {
        refcounts::header(out, &root, geometry)?;
    }
    if !root.flags().contains(RefcountFlags::TREE) {
        if !out.is_json() {
            refcounts::records(out, root.records())?;
        }
        return Ok(());
    }
    if extents_too && !out.is_json() {
        let list = root.list();
        writeln!(out, "\tExtent tree in refcount block {at}")?;
        writeln!(out, "\tDepth: {}  Records: {}", list.l_tree_depth, list.l_next_free_rec)?;
        extents::list(out, list)?;
        for block in open.inspector.tree_blocks(list) {
            match block {
                Ok(block) => extents::block(out, &block, geometry)?,
                Err(error) => session.problem(out, "refcount", text(&error)),
            }
        }
    }
    let mut leaves = Vec::new();
    for rec in open.inspector.leaf_records(root.list()) {
        match rec {
            Ok(rec) => leaves.push(rec.blkno()),
            Err(error) => session.problem(out, "refcount", text(&error)),
        }
    }
    // From the last cluster to the first.
    for leaf in leaves.into_iter().rev() {
        match open.inspector.read::<RefcountBlock>(leaf) {
            Ok(leaf) if out.is_json() => out.item(&refcounts::json(&leaf, geometry))?,
            Ok(leaf) => {
                refcounts::header(out, &leaf, geometry)?;
                refcounts::records(out, leaf.records())?;
            }
            Err(error) => session.problem(out, "refcount", text(&error)),
        }
    }
    Ok(())
}

/// The root of the tree that a word names: that of an inode, or the block itself.
fn refcount_root(open: &Open, word: &[u8]) -> Result<BlockNo, Failure> {
    if let Some(at) = bracketed(word)
        && open
            .inspector
            .block(at)
            .is_ok_and(|block| block.starts_with(&Signature::REFCOUNT_BLOCK.0))
    {
        return Ok(at);
    }
    let dinode = open.dinode(word)?;
    if !dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT) {
        let number = dinode.block().number();
        return Err(Failure::Text(format!("Inode {number} does not have a refcount tree")));
    }
    Ok(BlockNo(dinode.i_refcount_loc.get()))
}
