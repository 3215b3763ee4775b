//! Extent trees against a model: a map from logical clusters to what they are.

use std::collections::BTreeMap;

use ocfs2_format::{BlockNo, ExtentBlock, ExtentFlags, ExtentList, InodeNo, SlotNum, SystemFile};
use proptest::prelude::*;

use super::*;
use crate::extent_tree::ExtentTree;
use crate::meta::view;
use crate::mounted::bed::{Bed, Shape};
use crate::mounted::space::Need;
use crate::mounted::{Core, FileSystem, Level, LockSet};

/// One cluster as an extent describes it.
type Cluster = (BlockNo, ExtentFlags);

/// A file system with an inode whose tree is edited, and what should be in that.
struct Trial {
    bed: Bed,
    fs: FileSystem,
    root: Root,
    model: BTreeMap<u32, Cluster>,
    /// Whether neighbours that could be one record are.
    is_merged: bool,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Insert {
        cpos: u32,
        clusters: u32,
        place: u32,
        flags: ExtentFlags,
    },
    Remove {
        cpos: u32,
        clusters: u32,
    },
    /// Everything mapped in the range gets these flags.
    Flag {
        cpos: u32,
        clusters: u32,
        flags: ExtentFlags,
    },
    /// Everything mapped in the range moves.
    Move {
        cpos: u32,
        clusters: u32,
        place: u32,
    },
}

impl Trial {
    /// Edits the file of bad blocks: one that is there, empty, and may have extents.
    fn new(shape: Shape) -> Trial {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let inode = fs.core.system.find(SystemFile::BadBlocks, SlotNum::default()).unwrap();
        Trial {
            bed,
            fs,
            root: Root::Data(inode),
            model: BTreeMap::new(),
            is_merged: true,
        }
    }

    fn core(&self) -> &Core {
        &self.fs.core
    }

    fn inode(&self) -> InodeNo {
        self.root.inode()
    }

    /// Runs one edit in a transaction of the size that [`cost`] gives.
    fn edit<R>(&self, from: u32, changes: u32, commit: bool, f: impl FnOnce(&mut Txn<'_>) -> R) -> R {
        let mut locks = LockSet::new(self.core());
        locks.inode(self.inode(), Level::Exclusive).unwrap();
        let cost = cost_from(self.core(), self.root, from, changes).unwrap();
        let need = Need {
            blocks: cost.blocks,
            ..Need::default()
        };
        let credits = locks.reserve(need).unwrap();
        let mut txn = locks.begin(cost.credits + credits).unwrap();
        let result = f(&mut txn);
        if commit {
            txn.commit().unwrap();
        }
        result
    }

    fn place(&self, cluster: u32) -> BlockNo {
        let geometry = self.core().geometry();
        // Far enough from the edges for runs of some thousand clusters.
        geometry.cluster_to_block(ocfs2_format::ClusterNo(cluster % (geometry.clusters / 2) + 16))
    }

    /// The mapped parts of a range, as long as they are next to each other in the file.
    fn mapped(&self, cpos: u32, clusters: u32) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for (&at, _) in self.model.range(cpos..cpos + clusters) {
            match runs.last_mut() {
                Some((start, len)) if *start + *len == at => *len += 1,
                _ => runs.push((at, 1)),
            }
        }
        runs
    }

    /// Makes a change in the tree and, if it is committed, in the model.
    fn apply(&mut self, change: Change, commit: bool) {
        let before = self.model.clone();
        let bpc = u64::from(self.core().geometry().blocks_per_cluster());
        match change {
            Change::Insert {
                cpos,
                clusters,
                place,
                flags,
            } => {
                let blkno = self.place(place);
                let extent = Extent {
                    cpos,
                    clusters,
                    blkno,
                    flags,
                };
                if self.model.range(cpos..cpos + clusters).next().is_some() {
                    let result = self.edit(cpos, 2, false, |txn| insert(txn, self.root, extent));
                    assert!(matches!(result, Err(Error::Corrupt(_))), "{result:?}");
                    return;
                }
                self.edit(cpos, 2, commit, |txn| insert(txn, self.root, extent))
                    .unwrap();
                for index in 0..clusters {
                    let at = BlockNo(blkno.0 + u64::from(index) * bpc);
                    self.model.insert(cpos + index, (at, flags));
                }
            }
            Change::Remove { cpos, clusters } => {
                let removed = self.edit(cpos, clusters + 2, commit, |txn| remove(txn, self.root, cpos, clusters));
                let removed = clusters_of(&removed.unwrap(), bpc);
                let mut rest = self.model.split_off(&cpos);
                let mut right = rest.split_off(&(cpos + clusters));
                self.model.append(&mut right);
                assert_eq!(removed, rest);
            }
            Change::Flag { cpos, clusters, flags } => {
                for (start, len) in self.mapped(cpos, clusters) {
                    let new: Vec<Extent> = self.runs(start, len, |(at, _)| (at, flags));
                    let changes = new.len() as u32 + len;
                    let old = self.edit(start, changes, commit, |txn| replace(txn, self.root, &new));
                    self.note(start, len, &new, &old.unwrap());
                }
            }
            Change::Move { cpos, clusters, place } => {
                for (start, len) in self.mapped(cpos, clusters) {
                    let blkno = self.place(place);
                    let flags = ExtentFlags::empty();
                    let new = [Extent {
                        cpos: start,
                        clusters: len,
                        blkno,
                        flags,
                    }];
                    let old = self.edit(start, len + 2, commit, |txn| replace(txn, self.root, &new));
                    self.note(start, len, &new, &old.unwrap());
                }
            }
        }
        if !commit {
            self.model = before;
        }
    }

    /// Extents of the model in a range that is mapped, changed.
    fn runs(&self, start: u32, len: u32, f: impl Fn(Cluster) -> Cluster) -> Vec<Extent> {
        let one = |(&cpos, &cluster): (&u32, &Cluster)| {
            let (blkno, flags) = f(cluster);
            Extent {
                cpos,
                clusters: 1,
                blkno,
                flags,
            }
        };
        self.model.range(start..start + len).map(one).collect()
    }

    fn note(&mut self, start: u32, len: u32, new: &[Extent], old: &[Extent]) {
        let bpc = u64::from(self.core().geometry().blocks_per_cluster());
        let mut rest = self.model.split_off(&start);
        let mut right = rest.split_off(&(start + len));
        self.model.append(&mut right);
        assert_eq!(clusters_of(old, bpc), rest);
        self.model.append(&mut clusters_of(new, bpc));
    }

    /// Compares the tree with the model, and holds it to the rules of the format.
    fn check(&self) {
        let core = self.core();
        let bpc = u64::from(core.geometry().blocks_per_cluster());
        let inode = core.read_inode(self.inode()).unwrap();
        let list = inode.dinode().extent_list();
        let tree = ExtentTree {
            meta: core,
            root: list,
            kind: TreeKind::Data,
            owner: self.inode(),
        };
        let extents: Vec<Extent> = tree.extents().collect::<Result<_>>().unwrap();
        assert!(
            clusters_of(&extents, bpc) == self.model,
            "the tree is not what the model is"
        );
        assert_eq!(inode.clusters() as usize, self.model.len());
        let leaves = check_shape(core, list);
        let last = leaves.last().filter(|_| list.l_tree_depth.get() > 0);
        assert_eq!(inode.dinode().i_last_eb_blk.get(), last.map_or(0, |at| at.0));
        for pair in extents.windows(2).filter(|_| self.is_merged) {
            assert!(
                !self.root.can_merge(&pair[0], &pair[1], core),
                "{pair:?} could be one record"
            );
        }
    }

    /// Takes everything out, from right to left, and lets fsck look for what was lost.
    fn finish(mut self) {
        while let Some((cpos, clusters)) = last_part(self.core(), self.root, 0, u32::MAX, 40).unwrap() {
            self.edit(cpos, 42, true, |txn| remove(txn, self.root, cpos, clusters))
                .unwrap();
            self.model.split_off(&cpos);
            if self.model.len().is_multiple_of(7) {
                self.check();
            }
        }
        self.check();
        let inode = self.core().read_inode(self.inode()).unwrap();
        assert_eq!(inode.dinode().extent_list().l_tree_depth.get(), 0);
        self.fs.unmount().unwrap();
        self.bed.assert_clean();
    }
}

fn clusters_of(extents: &[Extent], bpc: u64) -> BTreeMap<u32, Cluster> {
    let clusters = extents.iter().flat_map(|extent| {
        (0..extent.clusters).map(move |index| {
            let at = BlockNo(extent.blkno.0 + u64::from(index) * bpc);
            (extent.cpos + index, (at, extent.flags))
        })
    });
    clusters.collect()
}

/// Holds a tree to the rules that no reader checks. Returns its leaves from left to right.
fn check_shape(meta: &dyn Blocks, root: &ExtentList) -> Vec<BlockNo> {
    let mut leaves = Vec::new();
    let end = root
        .records()
        .last()
        .map_or(0, |rec| rec.e_cpos.get() + rec.clusters(root.l_tree_depth.get()));
    check_list(meta, root, true, true, end, &mut leaves);
    for (index, &(at, used, count, next)) in leaves.iter().enumerate() {
        let following = leaves.get(index + 1);
        assert_eq!(
            next,
            following.map_or(0, |&(next, ..)| next.0),
            "chain of leaves at {at}"
        );
        assert!(
            used == count || following.is_none(),
            "leaf {at} has {used} of {count} records and is not the last"
        );
        assert!(used > 0, "leaf {at} is empty");
    }
    leaves.into_iter().map(|(at, ..)| at).collect()
}

fn check_list(
    meta: &dyn Blocks,
    list: &ExtentList,
    leftmost: bool,
    rightmost: bool,
    end: u32,
    leaves: &mut Vec<(BlockNo, u16, u16, u64)>,
) {
    let depth = list.l_tree_depth.get();
    let records = list.records();
    let rest = &list.l_recs[records.len()..usize::from(list.l_count.get())];
    assert!(
        rest.iter().all(|rec| rec.e_blkno.get() == 0 && rec.e_cpos.get() == 0),
        "unused records are zero"
    );
    if depth == 0 {
        assert!(records.iter().all(|rec| rec.e_leaf_clusters.get() > 0));
        if let Some(last) = records.last().filter(|_| rightmost) {
            assert_eq!(last.e_cpos.get() + u32::from(last.e_leaf_clusters.get()), end);
        }
        return;
    }
    assert!(!records.is_empty());
    for (index, rec) in records.iter().enumerate() {
        let here = rec.e_cpos.get() + rec.int_clusters();
        let next = records.get(index + 1).map_or(end, |next| next.e_cpos.get());
        assert_eq!(
            here,
            next,
            "spans tile at depth {depth}, record {index} of {}",
            records.len()
        );
        let block = meta.extent_block(rec.blkno(), depth - 1).unwrap();
        let child = view::<ExtentBlock>(&block);
        let first = child.list().records()[0].e_cpos.get();
        let is_left = leftmost && index == 0;
        assert!(
            first == rec.e_cpos.get() || is_left && first > rec.e_cpos.get(),
            "first key at depth {depth}"
        );
        if depth == 1 {
            let list = child.list();
            let (used, count) = (list.l_next_free_rec.get(), list.l_count.get());
            leaves.push((rec.blkno(), used, count, child.h_next_leaf_blk.get()));
        } else {
            assert_eq!(child.h_next_leaf_blk.get(), 0);
        }
        let is_right = rightmost && index + 1 == records.len();
        assert!(
            depth == 1 || is_right || child.list().l_next_free_rec == child.list().l_count,
            "an interior block off the right edge is full"
        );
        check_list(meta, child.list(), is_left, is_right, here, leaves);
    }
}

const UNWRITTEN: ExtentFlags = ExtentFlags::UNWRITTEN;

fn shape(block: u32, cluster: u32) -> Shape {
    Shape {
        block,
        cluster,
        slots: 1,
        ..Shape::default()
    }
}

fn flags() -> impl Strategy<Value = ExtentFlags> {
    prop_oneof![Just(ExtentFlags::empty()), Just(UNWRITTEN)]
}

fn changes(space: u32) -> impl Strategy<Value = (Change, bool)> {
    let insert = (0..space, 1u32..4, any::<u32>(), flags()).prop_map(|(cpos, clusters, place, flags)| Change::Insert {
        cpos,
        clusters,
        place,
        flags,
    });
    let near = (0..space, 1u32..4, flags()).prop_map(|(cpos, clusters, flags)| Change::Insert {
        cpos,
        clusters,
        // So that what is next to each other in the file is so on the device.
        place: cpos,
        flags,
    });
    let remove = (0..space, 1u32..60).prop_map(|(cpos, clusters)| Change::Remove { cpos, clusters });
    let flag = (0..space, 1u32..20, flags()).prop_map(|(cpos, clusters, flags)| Change::Flag { cpos, clusters, flags });
    let moved =
        (0..space, 1u32..8, any::<u32>()).prop_map(|(cpos, clusters, place)| Change::Move { cpos, clusters, place });
    let change = prop_oneof![6 => insert, 4 => near, 1 => remove, 2 => flag, 2 => moved];
    (change, prop::bool::weighted(0.95))
}

fn run(shape: Shape, changes: &[(Change, bool)]) {
    let mut trial = Trial::new(shape);
    for (index, &(change, commit)) in changes.iter().enumerate() {
        trial.apply(change, commit);
        if index % 8 == 0 {
            trial.check();
        }
    }
    trial.check();
    trial.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn small_blocks_hold_what_a_map_holds(changes in prop::collection::vec(changes(1500), 1..600)) {
        run(shape(512, 4096), &changes);
    }

    #[test]
    fn large_blocks_hold_what_a_map_holds(changes in prop::collection::vec(changes(3000), 1..900)) {
        run(shape(4096, 4096), &changes);
    }

    #[test]
    fn clusters_of_many_blocks_are_kept_whole(changes in prop::collection::vec(changes(1000), 1..400)) {
        run(shape(1024, 8192), &changes);
    }
}

#[test]
fn a_deep_tree_grows_and_shrinks_at_both_ends_and_in_the_middle() {
    let mut trial = Trial::new(shape(512, 4096));
    // Nothing merges: each lies apart from its neighbours.
    let one = |cpos: u32| Change::Insert {
        cpos,
        clusters: 1,
        place: cpos.wrapping_mul(7919),
        flags: UNWRITTEN,
    };
    for index in 0..16_000 {
        trial.apply(one(1000 + index * 2), true);
    }
    let inode = trial.core().read_inode(trial.inode()).unwrap();
    assert_eq!(inode.dinode().extent_list().l_tree_depth.get(), 3);
    trial.check();
    trial.apply(one(30_001), true);
    trial.check();
    trial.apply(
        Change::Remove {
            cpos: 32_990,
            clusters: 10,
        },
        true,
    );
    trial.check();
    // At the left end every leaf changes: the journal of a small volume takes a few hundred blocks at once.
    for cpos in (32_000..32_990).step_by(100) {
        trial.apply(
            Change::Flag {
                cpos,
                clusters: 50,
                flags: ExtentFlags::empty(),
            },
            true,
        );
        trial.apply(one(cpos + 3), true);
    }
    trial.check();
    trial.finish();
}

#[test]
fn an_extent_longer_than_a_record_can_be_is_put_in_several() {
    let mut trial = Trial::new(Shape {
        mib: 1024,
        ..shape(4096, 4096)
    });
    let extent = Change::Insert {
        cpos: 5,
        clusters: 70_000,
        place: 100,
        flags: ExtentFlags::empty(),
    };
    trial.apply(extent, true);
    trial.check();
    trial.apply(
        Change::Flag {
            cpos: 65_530,
            clusters: 20,
            flags: UNWRITTEN,
        },
        true,
    );
    trial.check();
    trial.finish();
}

/// Makes one change in steps, as if the journal were too small for more than a path.
fn step_by_step(trial: &mut Trial, cpos: u32, what: u32) {
    let (root, clusters) = (trial.root, 2);
    let mapped = trial.mapped(cpos, clusters);
    let (intent, from, len) = match mapped.first() {
        None => (Intent::Insert, cpos, clusters),
        Some(&(from, len)) => (Intent::Change, from, len),
    };
    let mut locks = LockSet::new(&trial.fs.core);
    locks.inode(root.inode(), Level::Exclusive).unwrap();
    // Only what lies in one record is one change.
    let len = match lookup(locks.core(), root, from).unwrap() {
        Lookup::Extent(extent) => len.min((extent.end() - u64::from(from)) as u32),
        Lookup::Gap { .. } => len,
    };
    let cost = prepare(&mut locks, root, from, len, intent).unwrap();
    let credits = locks
        .reserve(Need {
            blocks: cost.blocks,
            ..Need::default()
        })
        .unwrap();
    let mut txn = locks.begin(cost.credits + credits).unwrap();
    txn.set_tree_prepared(root);
    let bpc = u64::from(trial.fs.core.geometry().blocks_per_cluster());
    let blkno = trial.place(what.wrapping_mul(7919));
    let new = Extent {
        cpos: from,
        clusters: len,
        blkno,
        flags: ExtentFlags::empty(),
    };
    match (intent, what % 2) {
        (Intent::Insert, _) => insert(&mut txn, root, new).unwrap(),
        (Intent::Change, 0) => {
            let removed = remove(&mut txn, root, from, len).unwrap();
            assert_eq!(removed.len(), 1);
            for at in from..from + len {
                trial.model.remove(&at);
            }
        }
        (Intent::Change, _) => {
            replace(&mut txn, root, &[new]).unwrap();
        }
    }
    txn.commit().unwrap();
    if intent == Intent::Insert || what % 2 == 1 {
        trial.model.append(&mut clusters_of(&[new], bpc));
    }
    settle(&mut locks, root, from).unwrap();
}

#[test]
fn a_tree_too_large_for_one_transaction_is_changed_in_steps() {
    let mut trial = Trial::new(shape(512, 4096));
    for index in 0..1500u32 {
        let (cpos, place) = (10 + index * 5, index.wrapping_mul(7919));
        trial.apply(
            Change::Insert {
                cpos,
                clusters: 3,
                place,
                flags: UNWRITTEN,
            },
            true,
        );
    }
    trial.check();
    trial.is_merged = false;
    let mut random = fastrand::Rng::with_seed(7);
    for index in 0..300 {
        let cpos = match index % 3 {
            0 => random.u32(0..300),
            _ => random.u32(0..7600),
        };
        step_by_step(&mut trial, cpos, random.u32(..));
        trial.check();
    }
    trial.finish();
}
