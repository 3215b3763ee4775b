//! Mounting and unmounting.

use crate::bed::{Bed, SHAPES};

#[test]
fn a_mount_takes_a_slot_and_marks_its_journal_and_unmount_undoes_both() {
    for &shape in SHAPES {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let volume = bed.volume();
        assert!(volume.slot_map().unwrap().node(fs.slot()).is_some());
        assert!(volume.journals().unwrap()[usize::from(fs.slot().0)].dirty);
        fs.unmount().unwrap();
        let volume = bed.volume();
        assert_eq!(volume.slot_map().unwrap().used().count(), 0);
        assert!(volume.journals().unwrap().iter().all(|journal| !journal.dirty));
        bed.assert_clean();
    }
}

#[test]
fn a_volume_that_was_not_unmounted_is_recovered_by_the_next_mount() {
    for &shape in SHAPES {
        let bed = Bed::new(shape);
        let fs = bed.mount();
        let crashed = bed.snapshot();
        fs.unmount().unwrap();
        let fs = crashed.mount();
        fs.unmount().unwrap();
        let journal = crashed.volume().journals().unwrap()[0];
        assert!(!journal.dirty);
        assert_eq!(journal.recovery_generation, 1);
        crashed.assert_clean();
    }
}
