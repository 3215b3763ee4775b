//! Random operations on one file, beside the bytes in memory that they should lead to.

use ocfs2_fs::{AllocateMode, Error};
use proptest::prelude::*;

use crate::bed::{Bed, SHAPES, Shape};
use crate::data::{new_file, pattern, read_all, read_offline};

#[derive(Clone, Debug)]
enum Op {
    Write { offset: u64, len: usize },
    Append { len: usize },
    SetLen { len: u64 },
    Allocate { start: u64, len: u64, mode: AllocateMode },
    Remount,
}

/// Places and lengths: near the start, near borders of clusters, anywhere in 12 clusters.
fn place(cluster: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        0..5000u64,
        (0..12u64, 0..1024u64).prop_map(move |(n, d)| (n * cluster + d).saturating_sub(512)),
        (0..12u64).prop_map(move |n| n * cluster),
        0..12 * cluster,
    ]
}

fn ops(cluster: u64) -> impl Strategy<Value = Vec<Op>> {
    let mode = prop_oneof![
        Just(AllocateMode::Extend),
        Just(AllocateMode::KeepSize),
        Just(AllocateMode::PunchHole),
        Just(AllocateMode::PunchHole),
        Just(AllocateMode::ZeroRange),
        Just(AllocateMode::ZeroRangeKeepSize),
    ];
    let len = move || prop_oneof![1..600u64, 1..3 * cluster];
    let op = prop_oneof![
        6 => (place(cluster), len()).prop_map(|(offset, len)| Op::Write { offset, len: len as usize }),
        2 => len().prop_map(|len| Op::Append { len: len as usize }),
        3 => place(cluster).prop_map(|len| Op::SetLen { len }),
        4 => (place(cluster), len(), mode).prop_map(|(start, len, mode)| Op::Allocate { start, len, mode }),
        1 => Just(Op::Remount),
    ];
    prop::collection::vec(op, 1..40)
}

fn run(shape: Shape, ops: &[Op]) {
    let dense = shape.features.contains("nosparse");
    let bed = Bed::new(shape);
    let mut fs = bed.mount();
    let mut file = new_file(&fs, "model");
    let inode = file.inode();
    let mut model: Vec<u8> = Vec::new();
    for (seed, op) in ops.iter().enumerate() {
        match *op {
            Op::Write { offset, len } => {
                let bytes = pattern(seed as u64, len);
                assert_eq!(fs.write_at(&file, offset, &bytes).unwrap(), len);
                let end = offset as usize + len;
                model.resize(model.len().max(end), 0);
                model[offset as usize..end].copy_from_slice(&bytes);
            }
            Op::Append { len } => {
                let bytes = pattern(seed as u64, len);
                assert_eq!(fs.append(&file, &bytes).unwrap(), (model.len() as u64, len));
                model.extend(&bytes);
            }
            Op::SetLen { len } => {
                fs.set_len(&file, len).unwrap();
                model.resize(len as usize, 0);
            }
            Op::Allocate { start, len, mode } => {
                let done = fs.allocate(&file, start..start + len, mode);
                if dense {
                    assert!(matches!(done, Err(Error::NoFeature { .. })), "{done:?}");
                    continue;
                }
                done.unwrap();
                let (start, end) = (start as usize, (start + len) as usize);
                if matches!(mode, AllocateMode::Extend | AllocateMode::ZeroRange) {
                    model.resize(model.len().max(end), 0);
                }
                if !matches!(mode, AllocateMode::Extend | AllocateMode::KeepSize) {
                    let (start, end) = (start.min(model.len()), end.min(model.len()));
                    model[start..end].fill(0);
                }
            }
            Op::Remount => {
                drop(file);
                fs.unmount().unwrap();
                fs = bed.mount();
                file = fs.use_inode(&fs.inode(inode).unwrap()).unwrap();
            }
        }
        let bytes = read_all(&fs, &file);
        assert_eq!(bytes.len(), model.len(), "size after {op:?}");
        if let Some(at) = bytes.iter().zip(&model).position(|(a, b)| a != b) {
            panic!("byte {at} is {:#x}, not {:#x}, after {op:?}", bytes[at], model[at]);
        }
        let mut at = 0;
        while let Some(data) = fs.seek_data(&file, at).unwrap() {
            assert!(
                model[at as usize..data as usize].iter().all(|&byte| byte == 0),
                "a hole has data"
            );
            at = fs.seek_hole(&file, data).unwrap().expect("the end is a hole");
        }
        assert!(model[(at as usize).min(model.len())..].iter().all(|&byte| byte == 0));
    }
    drop(file);
    fs.unmount().unwrap();
    assert!(read_offline(&bed, inode) == model, "another reader sees the same");
    // fsck.ocfs2 complains of clusters behind the end, which KeepSize makes and nothing else may leave.
    let keeps = |op: &Op| matches!(op, Op::Allocate { mode, .. } if matches!(mode, AllocateMode::KeepSize | AllocateMode::ZeroRangeKeepSize));
    if !ops.iter().any(keeps) {
        bed.assert_clean();
    } else {
        let fs = bed.mount();
        let file = fs.use_inode(&fs.inode(inode).unwrap()).unwrap();
        fs.set_len(&file, model.len() as u64).unwrap();
        drop(file);
        fs.unmount().unwrap();
        bed.assert_clean();
    }
}

macro_rules! models {
    ($($name:ident: $index:expr;)*) => {$(
        proptest! {
            #![proptest_config(ProptestConfig {
                cases: std::env::var("OCFS2_MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(6),
                failure_persistence: None,
                max_shrink_iters: 200,
                ..ProptestConfig::default()
            })]
            #[test]
            fn $name(ops in ops(SHAPES[$index].cluster.into())) {
                run(SHAPES[$index], &ops);
            }
        }
    )*};
}

models! {
    random_operations_leave_the_bytes_of_the_model: 0;
    random_operations_leave_the_bytes_of_the_model_in_blocks_of_512: 1;
    random_operations_leave_the_bytes_of_the_model_with_checks: 2;
    random_operations_leave_the_bytes_of_the_model_with_quotas: 3;
    random_operations_leave_the_bytes_of_the_model_in_clusters_of_1_mib: 4;
    random_operations_leave_the_bytes_of_the_model_without_holes: 7;
}
