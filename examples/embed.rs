//! Keeping files in a volume of one's own: made, mounted and written to inside the program.
//!
//!     cargo run --release --example embed

use std::error::Error;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use ocfs2_format::device::{BlockDevice, MemDevice};
use ocfs2_fs::mkfs::{self, MkfsOptions, MountMode, Plan};
use ocfs2_fs::{FileSystem, MountOptions, OpenHow};

fn main() -> Result<(), Box<dyn Error>> {
    // A file or a block device (`FileDevice`) serves as well as memory.
    let device = Arc::new(MemDevice::new(256 << 20));
    let mut options = MkfsOptions::default();
    options.mount = MountMode::Local;
    let plan = Plan::new(device.geometry().len, &options)?;
    mkfs::format(&device, &plan, &mut |_| {})?;

    let fs = FileSystem::mount(device, &MountOptions::default())?;
    fs.create_dir_all("/logs/2026")?;
    fs.write("/logs/2026/a.txt", b"hello")?;

    let mut file = fs.open("/logs/2026/a.txt", OpenHow::new().read(true).write(true))?;
    file.seek(SeekFrom::End(0))?;
    write!(file, ", world")?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    println!("/logs/2026/a.txt: {text}");
    file.close()?;

    // A snapshot takes no space until one of the two changes.
    fs.reflink("/logs/2026/a.txt", "/logs/snapshot.txt")?;
    for entry in fs.read_dir("/logs")? {
        println!("/logs/{}", entry?.name().escape_ascii());
    }
    fs.unmount()?;
    Ok(())
}
