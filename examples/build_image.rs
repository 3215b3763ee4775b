//! Builds an image from a program: formats it in memory, mounts it, fills it, and has the same bytes every time.
//!
//!     cargo run --release --example build_image            # says what is in it
//!     cargo run --release --example build_image -- new.img # and keeps it

use std::error::Error;
use std::sync::Arc;

use ocfs2_format::device::{BlockDevice, MemDevice};
use ocfs2_fs::mkfs::{self, MkfsOptions, MountMode, Plan};
use ocfs2_fs::{FileSystem, MountOptions, SetAttributes, Timestamp};

/// Bytes of the volume.
const SIZE: u64 = 64 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let (first, second) = (build()?, build()?);
    assert!(first == second, "the same bytes every time");
    if let Some(path) = std::env::args_os().nth(1) {
        std::fs::write(path, &first)?;
    }
    Ok(())
}

fn build() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut options = MkfsOptions::default();
    options.mount = MountMode::Local;
    options.seed = Some(7);
    let device = Arc::new(MemDevice::new(SIZE));
    let plan = Plan::new(SIZE, &options)?;
    mkfs::format(device.as_ref(), &plan, &mut |_| {})?;

    let mut mount = MountOptions::default();
    // Neither the clock nor chance have a say.
    mount.fixed_time = Some(Timestamp {
        secs: plan.time() as i64,
        nanos: 0,
    });
    mount.first_generation = Some(1);
    mount.commit_interval = None;
    let fs = FileSystem::mount(device.clone(), &mount)?;
    fs.create_dir_all("/etc/init.d")?;
    fs.write("/etc/motd", "Welcome.\n")?;
    fs.write("/etc/init.d/start", "#!/bin/sh\n")?;
    let script = fs.metadata("/etc/init.d/start")?;
    let executable = SetAttributes {
        mode: Some(0o755),
        ..SetAttributes::default()
    };
    fs.set_attributes(script.number(), &executable)?;
    fs.symlink("etc/init.d/start", "/init")?;
    for entry in fs.read_dir("/etc")? {
        println!("{}", entry?.name().escape_ascii());
    }
    fs.unmount()?;
    // The log still tells the story.
    mkfs::settle(device.as_ref(), &plan)?;

    let mut image = vec![0; usize::try_from(SIZE)?];
    device.read(0, &mut image)?;
    Ok(image)
}
