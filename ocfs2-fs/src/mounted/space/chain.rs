//! Chain allocators: their groups, and bits that are taken and given back.
//!
//! The order of chains and of groups in a chain means nothing, so a search starts where the last one ended and may move a
//! group that has room to the front of its chain.
//!
//! Source: on-disk reference, section 11.

use ocfs2_format::{BlockNo, Contents, Corrupt, Dinode, GroupDesc, GroupParent, InodeNo, Structure, Violation};

use super::bits::{self, BitRun};
use super::read_dinode;
use crate::error::{Error, Result};
use crate::meta::{BlockBuf, Blocks, Locality, view};
use crate::mounted::Txn;

/// An allocator as its dinode has it.
#[derive(Clone, Debug)]
pub(super) struct Allocator {
    pub(super) inode: InodeNo,
    pub(super) parent: GroupParent,
    pub(super) total: u32,
    pub(super) used: u32,
    /// Clusters of all groups; of the whole volume for the global bitmap.
    pub(super) clusters: u32,
    /// Free bits and first group of every chain.
    pub(super) chains: Vec<(u32, BlockNo)>,
}

/// A group, checked against its allocator.
#[derive(Clone, Debug)]
pub(super) struct Group {
    block: BlockBuf,
    pub(super) at: BlockNo,
}

impl Group {
    pub(super) fn desc(&self) -> &GroupDesc {
        view(&self.block)
    }

    pub(super) fn free(&self) -> u16 {
        self.desc().bg_free_bits_count.get()
    }

    pub(super) fn bits(&self) -> u16 {
        self.desc().bg_bits.get()
    }

    pub(super) fn next(&self) -> Option<BlockNo> {
        let next = self.desc().bg_next_group.get();
        (next != 0).then_some(BlockNo(next))
    }
}

impl Allocator {
    pub(super) fn read(meta: &dyn Blocks, inode: InodeNo) -> Result<Allocator> {
        let block = read_dinode(meta, inode)?;
        let dinode = view::<Dinode>(&block);
        let Contents::Chains(list) = dinode.check(inode.block(), meta.geometry())? else {
            return Err(Error::WrongKind {
                inode,
                wanted: "chain allocator",
            });
        };
        let counts = dinode.bitmap();
        let (total, used) = (counts.i_total.get(), counts.i_used.get());
        if used > total {
            let violation = Violation::TooLarge {
                field: "i_used",
                found: used.into(),
                limit: total.into(),
            };
            return Err(Corrupt::new(Structure::Dinode, violation).in_inode(inode).into());
        }
        Ok(Allocator {
            inode,
            parent: GroupParent {
                inode,
                clusters_per_group: list.cl_cpg.get(),
                bits_per_cluster: list.cl_bpc.get(),
                chains: list.cl_next_free_rec.get(),
            },
            total,
            used,
            clusters: dinode.i_clusters.get(),
            chains: list
                .chains()
                .iter()
                .map(|chain| (chain.c_free.get(), BlockNo(chain.c_blkno.get())))
                .collect(),
        })
    }

    /// Credits for taking so many bits of a suballocator one by one: their groups, the allocator, and a group whose
    /// successor moves to the front of its chain.
    pub(super) fn credits(&self, bits: u32) -> u32 {
        if bits == 0 { 0 } else { bits.min(self.max_groups()) + 2 }
    }

    pub(super) fn free(&self) -> u32 {
        self.total - self.used
    }

    /// Reads a group of this allocator; of that chain if one is given.
    pub(super) fn group(&self, meta: &dyn Blocks, at: BlockNo, chain: Option<u16>) -> Result<Group> {
        let structure = Structure::GroupDesc;
        let locality = if self.parent.bits_per_cluster == 1 {
            Locality::Scattered
        } else {
            Locality::Clustered
        };
        let block = meta.verified(at, structure, GroupDesc::CHECK_OFFSET, locality)?;
        let desc = view::<GroupDesc>(&block);
        desc.check(at, meta.geometry(), &self.parent)
            .map_err(|corrupt| corrupt.in_inode(self.inode))?;
        if let Some(chain) = chain.filter(|&chain| chain != desc.bg_chain.get()) {
            let violation = Violation::Unexpected {
                field: "bg_chain",
                found: desc.bg_chain.get().into(),
                expected: chain.into(),
            };
            return Err(self.corrupt(structure, violation, at));
        }
        Ok(Group { block, at })
    }

    /// Chains with free bits, those with the most first.
    pub(super) fn by_room(&self) -> Vec<u16> {
        let mut order: Vec<(u32, u16)> = (0..)
            .zip(&self.chains)
            .filter(|(_, (free, _))| *free > 0)
            .map(|(index, (free, _))| (*free, index))
            .collect();
        order.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        order.into_iter().map(|(_, index)| index).collect()
    }

    /// Walks the groups of a chain.
    pub(super) fn walk<'a>(&'a self, meta: &'a dyn Blocks, chain: u16) -> impl Iterator<Item = Result<Group>> + 'a {
        let head = self.chains.get(usize::from(chain)).map(|&(_, head)| head);
        let mut next = head.filter(|head| head.0 != 0);
        let mut left = self.max_groups();
        std::iter::from_fn(move || {
            let at = next.take()?;
            if left == 0 {
                let violation = Violation::Loop {
                    field: "bg_next_group",
                    found: at.0,
                };
                return Some(Err(self.corrupt(Structure::GroupDesc, violation, at)));
            }
            left -= 1;
            let group = self.group(meta, at, Some(chain));
            if let Ok(group) = &group {
                next = group.next();
            }
            Some(group)
        })
    }

    /// More groups than this cannot be in a chain.
    fn max_groups(&self) -> u32 {
        self.clusters.div_ceil(self.parent.clusters_per_group.into()).max(1)
    }

    pub(super) fn corrupt(&self, structure: Structure, violation: Violation, at: BlockNo) -> Error {
        Corrupt::new(structure, violation)
            .at_block(at)
            .in_inode(self.inode)
            .into()
    }
}

impl Txn<'_> {
    /// Sets a run of clear bits of a group.
    pub(super) fn take_bits(&mut self, allocator: InodeNo, group: BlockNo, run: BitRun) -> Result<()> {
        self.flip_bits(allocator, group, run, true)
    }

    /// Clears a run of set bits of a group.
    pub(super) fn return_bits(&mut self, allocator: InodeNo, group: BlockNo, run: BitRun) -> Result<()> {
        self.flip_bits(allocator, group, run, false)
    }

    /// Bitmap, `bg_free_bits_count`, `c_free` and `i_used` change together.
    fn flip_bits(&mut self, allocator: InodeNo, group: BlockNo, run: BitRun, set: bool) -> Result<()> {
        let count = run.1;
        let desc = self.edit::<GroupDesc>(group)?;
        let chain = desc.bg_chain.get();
        let bits = desc.bg_bits.get();
        let inside = run.0.checked_add(count).is_some_and(|end| end <= bits);
        let free = checked_change(desc.bg_free_bits_count.get().into(), count.into(), set, bits.into());
        let Some(free) = free.filter(|_| inside && bits::flip(desc.bitmap_mut(), run, set)) else {
            let why = if set {
                "the bits to be taken are not all free"
            } else {
                "the bits to be freed are not all in use"
            };
            let corrupt = Corrupt::new(Structure::GroupDesc, Violation::Rule(why));
            return Err(corrupt.at_block(group).in_inode(allocator).into());
        };
        // Not more than `bg_bits`.
        desc.bg_free_bits_count.set(free as u16);

        let dinode = self.dinode(allocator)?;
        let total = dinode.bitmap().i_total.get();
        let used = checked_change(dinode.bitmap().i_used.get(), count.into(), !set, total);
        let record = dinode.chain_list_mut().cl_recs.get_mut(usize::from(chain));
        let chain_free = record.map(|record| {
            let free = checked_change(record.c_free.get(), count.into(), set, record.c_total.get());
            record.c_free.set(free.unwrap_or_default());
            free
        });
        let (Some(used), Some(Some(_))) = (used, chain_free) else {
            let why = "the counts of an allocator and its groups do not agree";
            let corrupt = Corrupt::new(Structure::ChainList, Violation::Rule(why));
            return Err(corrupt.at_block(allocator.block()).in_inode(allocator).into());
        };
        self.dinode(allocator)?.bitmap_mut().i_used.set(used);
        Ok(())
    }

    /// Makes a group the first of its chain. `previous` is the group before it.
    pub(super) fn relink(&mut self, allocator: InodeNo, previous: BlockNo, group: BlockNo) -> Result<()> {
        let desc = self.edit::<GroupDesc>(group)?;
        let (chain, after) = (desc.bg_chain.get(), desc.bg_next_group.get());
        self.edit::<GroupDesc>(previous)?.bg_next_group.set(after);
        let dinode: &mut Dinode = self.dinode(allocator)?;
        let Some(record) = dinode.chain_list_mut().cl_recs.get_mut(usize::from(chain)) else {
            let violation = Violation::TooLarge {
                field: "bg_chain",
                found: chain.into(),
                limit: u16::MAX.into(),
            };
            return Err(Corrupt::new(Structure::GroupDesc, violation).at_block(group).into());
        };
        let head = record.c_blkno.get();
        record.c_blkno.set(group.0);
        self.edit::<GroupDesc>(group)?.bg_next_group.set(head);
        Ok(())
    }
}

/// A count with so many fewer, or more up to a limit; `None` where the disk's numbers do not add up.
fn checked_change(count: u32, change: u32, fewer: bool, limit: u32) -> Option<u32> {
    if fewer {
        count.checked_sub(change)
    } else {
        count.checked_add(change).filter(|&count| count <= limit)
    }
}
