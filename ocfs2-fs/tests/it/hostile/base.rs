//! Golden images in memory, with all their metadata blocks known, and copies of them to be damaged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ocfs2_format::device::{BlockDevice, Durability, MemDevice};
use ocfs2_format::jbd2::Superblock;
use ocfs2_format::{BlockCheck, Geometry};
use ocfs2_fs::{OpenOptions, Result, SurveyOptions, SurveyedBlock, Volume};
use ocfs2_testkit::golden::{self, Golden};
use zerocopy::FromBytes;

/// An undamaged volume. Loaded once for all tests of the process.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) name: &'static str,
    pub(crate) device: MemDevice,
    pub(crate) geometry: Geometry,
    /// Every metadata block, in no particular order.
    pub(crate) blocks: Vec<SurveyedBlock>,
}

impl Base {
    /// The golden image of that name.
    pub(crate) fn named(name: &str) -> Arc<Base> {
        Base::of(golden::named(name))
    }

    pub(crate) fn of(golden: &'static Golden) -> Arc<Base> {
        type Loaded = Mutex<BTreeMap<&'static str, Arc<OnceLock<Arc<Base>>>>>;
        static LOADED: Loaded = Mutex::new(BTreeMap::new());
        let entry = {
            let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
            loaded.entry(&golden.name).or_default().clone()
        };
        entry.get_or_init(|| Arc::new(Base::load(golden))).clone()
    }

    fn load(golden: &'static Golden) -> Base {
        let device = MemDevice::new(golden.size);
        golden
            .for_each_piece(|at, piece| {
                device
                    .write(at, piece, Durability::Cached)
                    .expect("memory does not fail");
                Ok(())
            })
            .expect("a golden image unpacks");
        let volume = open(&device).expect("a golden image opens");
        let mut options = SurveyOptions::default();
        options.list_blocks = true;
        let report = volume.survey(&options, &mut |finding| panic!("{}: {finding}", golden.name));
        Base {
            name: &golden.name,
            geometry: *volume.geometry(),
            device,
            blocks: report.blocks,
        }
    }

    /// The volume with its journals replayed for real, so that no copy in a journal hides the block itself.
    pub(crate) fn recovered(&self) -> Base {
        let device = self.device.snapshot();
        let volume = open(&device).expect("it opened before");
        let (mut shown, mut stored) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        for at in (0..device.geometry().len).step_by(shown.len()) {
            let len = shown.len().min((device.geometry().len - at) as usize);
            volume
                .device()
                .read(at, &mut shown[..len])
                .expect("memory does not fail");
            device.read(at, &mut stored[..len]).expect("memory does not fail");
            if shown[..len] != stored[..len] {
                device
                    .write(at, &shown[..len], Durability::Cached)
                    .expect("memory does not fail");
            }
        }
        for slot in volume.slots() {
            let log = volume.journal_map(slot).expect("it opened before");
            let at = log.block(0).expect("a journal has blocks").0 << self.geometry.block_size_bits;
            let mut bytes = [0; size_of::<Superblock>()];
            device.read(at, &mut bytes).expect("memory does not fail");
            let superblock = Superblock::mut_from_bytes(&mut bytes).expect("the sizes are the same");
            superblock.s_start.set(0);
            superblock.seal();
            device
                .write(at, &bytes, Durability::Cached)
                .expect("memory does not fail");
        }
        Base {
            name: self.name,
            geometry: self.geometry,
            device,
            blocks: self.blocks.clone(),
        }
    }

    /// A copy to be damaged; what is not written is shared.
    pub(crate) fn copy(&self) -> Copy {
        Copy {
            device: self.device.snapshot(),
            geometry: self.geometry,
        }
    }
}

/// A volume to be damaged.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) device: MemDevice,
    pub(crate) geometry: Geometry,
}

impl Copy {
    pub(crate) fn open(&self) -> Result<Volume> {
        open(&self.device)
    }

    pub(crate) fn read(&self, block: &SurveyedBlock) -> Vec<u8> {
        let mut bytes = vec![0; block.len];
        let offset = block.block.0 << self.geometry.block_size_bits;
        self.device
            .read(offset, &mut bytes)
            .expect("metadata lies inside the image");
        bytes
    }

    pub(crate) fn write(&self, block: &SurveyedBlock, bytes: &[u8]) {
        let offset = block.block.0 << self.geometry.block_size_bits;
        self.device
            .write(offset, bytes, Durability::Cached)
            .expect("metadata lies inside the image");
    }

    /// Changes a block behind the back of its check field.
    pub(crate) fn damage(&self, block: &SurveyedBlock, change: impl FnOnce(&mut [u8])) {
        let mut bytes = self.read(block);
        change(&mut bytes);
        self.write(block, &bytes);
    }

    /// Changes a block and makes its check field right again, as an attacker would.
    pub(crate) fn forge(&self, block: &SurveyedBlock, change: impl FnOnce(&mut [u8])) {
        self.damage(block, |bytes| {
            change(bytes);
            if self.geometry.features.metaecc() {
                BlockCheck::set(bytes, block.check_offset);
            }
        });
    }
}

fn open(device: &MemDevice) -> Result<Volume> {
    let mut options = OpenOptions::default();
    // Small volumes, opened by the hundred thousand.
    options.cache_bytes = 4 << 20;
    Volume::open(Arc::new(device.snapshot()), &options)
}
