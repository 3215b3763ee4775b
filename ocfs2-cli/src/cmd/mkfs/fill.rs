//! `mkfs --from`: filling what was made.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use ocfs2_format::device::FileDevice;
use ocfs2_fs::mkfs::{self, MkfsOptions, Plan};
use ocfs2_fs::{Atime, FileSystem, MountOptions, Timestamp};

use crate::cmd::cp::{Hearing, Report, note_lost};
use crate::cmd::import::{EVERYTHING, source};
use crate::import::{Importer, Policy, Source, measure};
use crate::progress::Progress;
use crate::target::Target;
use crate::ui::{Ui, usage_error};

use super::Args;

impl Args {
    /// Makes an empty image file where nothing is.
    pub(super) fn create_file(&self) -> anyhow::Result<()> {
        match File::create_new(&self.device) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error).with_context(|| format!("Could not make {}", self.device.display())),
        }
    }

    /// How large a file has to be for what goes into it.
    pub(super) fn needed_bytes(&self, options: &MkfsOptions) -> anyhow::Result<u64> {
        if let Some(blocks) = options.blocks {
            return Ok(blocks.saturating_mul(options.block_size.unwrap_or(4096).into()));
        }
        let Some(from) = &self.from else { return Ok(0) };
        if from.as_os_str() == "-" {
            return Err(usage_error(
                "an archive on standard input cannot be read twice: give the image file its size first",
            ));
        }
        let contents = measure(source(from, EVERYTHING)?.as_mut())?;
        Ok(contents.device_bytes(options)?)
    }

    /// Fills the volume.
    pub(super) fn fill(
        &self,
        from: &Path,
        device: &Arc<FileDevice>,
        plan: &Plan,
        quiet: bool,
        ui: &mut Ui,
    ) -> anyhow::Result<Report> {
        let mut options = MountOptions::default();
        options.no_cluster = true;
        options.atime = Atime::Never;
        let reproducible = self.seed.is_some();
        if reproducible {
            // Nothing may depend on how long it takes.
            options.commit_interval = None;
            options.fixed_time = Some(Timestamp {
                secs: plan.time() as i64,
                nanos: 0,
            });
            options.first_generation = Some(plan.geometry().generation.0.wrapping_add(1));
        }
        if !quiet {
            write!(ui, "Filling the volume: ")?;
            ui.flush()?;
        }
        let mut source = source(from, EVERYTHING)?;
        let named = || self.device.display().to_string();
        let fs = FileSystem::mount(device.clone(), &options).with_context(named)?;
        let filled = self.import(&fs, source.as_mut(), quiet, ui);
        let unmounted = fs.unmount().with_context(named);
        let report = filled?;
        unmounted?;
        if reproducible {
            mkfs::settle(device.as_ref(), plan).with_context(named)?;
        }
        if !quiet {
            writeln!(ui, "done")?;
        }
        Ok(report)
    }

    fn import(&self, fs: &FileSystem, source: &mut dyn Source, quiet: bool, ui: &mut Ui) -> anyhow::Result<Report> {
        let base = Target {
            image: self.device.clone(),
            path: b"/".to_vec(),
        };
        let policy = Policy {
            owner: self.owner.unwrap_or_default(),
            replace: true,
            reproducible: true,
        };
        let hearing = Hearing::new(ui, Progress::spinner(quiet));
        let hear = |event, counters: &_| hearing.hear(event, counters);
        let mut importer = Importer::new(fs.clone(), base, fs.root(), EVERYTHING, policy, hear);
        if let Err(error) = importer.take(source) {
            if matches!(error.downcast_ref(), Some(ocfs2_fs::Error::NoSpace)) {
                bail!("{error:#}: the volume is too small for all of it");
            }
            return Err(error);
        }
        let counters = importer.into_counters();
        let (ui, problems) = hearing.end();
        note_lost(&counters, quiet, ui);
        Ok(Report::new(&self.device, &counters, problems))
    }
}
