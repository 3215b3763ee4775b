//! Finding and judging the superblock, or one of its backups, before anything else about the volume is known.
//!
//! Source: on-disk reference, sections 2, 3 and 4.

use ocfs2_format::device::BlockDevice;
use ocfs2_format::{
    BACKUP_OFFSETS, BlockCheck, BlockNo, Corrupt, Dinode, Geometry, ImageHeader, Signature, Structure, SuperBlockError,
    Unsupported, Verdict, Violation, check_superblock, claimed_geometry, is_ocfs1,
};

use crate::error::{Error, Result};
use crate::file::read_bytes;
use crate::meta::{Correction, view};

/// A superblock that has been judged.
#[derive(Clone, Debug)]
pub(crate) struct FoundSuper {
    pub(crate) block: Vec<u8>,
    pub(crate) geometry: Geometry,
    pub(crate) correction: Option<Correction>,
}

/// Finds the superblock, trying every block size.
pub(crate) fn find_primary(device: &dyn BlockDevice) -> Result<FoundSuper> {
    refuse_other_formats(device)?;
    let mut first_error = None;
    for bits in 9..=12u8 {
        let at = Geometry::SUPER_BLOCK;
        match read_super(device, at.0 << bits, at, bits) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    let backups = device.geometry().len > 1 << 30;
    Err(first_error.unwrap_or(Error::NotOcfs2 { backups }))
}

/// Reads backup `number`, counted from 1.
pub(crate) fn find_backup(device: &dyn BlockDevice, number: u32) -> Result<FoundSuper> {
    let len = device.geometry().len;
    let available = BACKUP_OFFSETS.iter().filter(|&&offset| offset + 512 <= len).count() as u32;
    let missing = Error::NoSuchBackup { number, available };
    let index = number.checked_sub(1).filter(|&index| index < available);
    let Some(&offset) = index.and_then(|index| BACKUP_OFFSETS.get(index as usize)) else {
        return Err(missing);
    };
    let mut first_error = None;
    for bits in 9..=12u8 {
        match read_super(device, offset, BlockNo(offset >> bits), bits) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.unwrap_or(missing))
}

/// The superblock, or backup `number`, of any block size, as long as it is one at all.
pub(crate) fn find_damaged(device: &dyn BlockDevice, backup: Option<u32>) -> Option<FoundSuper> {
    let backup = match backup {
        None => None,
        Some(number) => Some(*BACKUP_OFFSETS.get(number.checked_sub(1)? as usize)?),
    };
    (9..=12u8).find_map(|bits| {
        let mut block = vec![0; 1 << bits];
        let offset = backup.unwrap_or(Geometry::SUPER_BLOCK.0 << bits);
        read_bytes(device, offset, &mut block).ok()?;
        let geometry = claimed_geometry(view::<Dinode>(&block)).ok()?;
        Some(FoundSuper {
            block,
            geometry,
            correction: None,
        })
    })
}

/// The superblock of block size `2^bits` at a place; `None` when nothing there looks like one.
fn read_super(device: &dyn BlockDevice, offset: u64, at: BlockNo, bits: u8) -> Result<Option<FoundSuper>> {
    let size = 1usize << bits;
    if offset + size as u64 > device.geometry().len {
        return Ok(None);
    }
    let mut block = vec![0; size];
    read_bytes(device, offset, &mut block)?;
    let mut error = None;
    match check_superblock(view::<Dinode>(&block), at) {
        Ok(geometry) if !geometry.features.metaecc() => {
            return Ok(Some(FoundSuper {
                block,
                geometry,
                correction: None,
            }));
        }
        Ok(_) => {}
        Err(reason) => error = Some(reason),
    }
    // The block may still be a superblock with one flipped bit, or one whose fields are sound and whose check is not.
    let corrected = if BlockCheck::is_good(&block, Dinode::CHECK_OFFSET) {
        Ok(Verdict::Good)
    } else {
        BlockCheck::verify_and_correct(&mut block, Dinode::CHECK_OFFSET)
    };
    let dinode = view::<Dinode>(&block);
    match (corrected, check_superblock(dinode, at)) {
        (Ok(verdict), Ok(geometry)) if geometry.features.metaecc() => {
            let correction = (verdict != Verdict::Good).then_some(Correction {
                block: at,
                structure: Structure::Superblock,
                verdict,
            });
            Ok(Some(FoundSuper {
                block,
                geometry,
                correction,
            }))
        }
        // The check comes before all other fields: a block that fails it says nothing reliable about them.
        (Err(bad), _) if dinode.i_signature == Signature::SUPER_BLOCK && dinode.super_block().features().metaecc() => {
            Err(Corrupt::new(Structure::Superblock, bad.into()).at_block(at).into())
        }
        _ if dinode.i_signature != Signature::SUPER_BLOCK => Ok(None),
        // A stale superblock of a smaller block size may lie where another block size is probed.
        _ => match error {
            Some(SuperBlockError::Corrupt(Corrupt {
                violation:
                    Violation::Unexpected {
                        field: "s_blocksize_bits",
                        ..
                    },
                ..
            })) if matches!(dinode.super_block().s_blocksize_bits.get(), 9..=12) => Ok(None),
            Some(error) => Err(error.into()),
            None => Ok(None),
        },
    }
}

/// Refuses, by name, what looks like something this library will never read.
fn refuse_other_formats(device: &dyn BlockDevice) -> Result<()> {
    let mut sector = [0; 512];
    if device.geometry().len < sector.len() as u64 {
        return Err(Error::NotOcfs2 { backups: false });
    }
    read_bytes(device, 0, &mut sector)?;
    if is_ocfs1(&sector) {
        return Err(Unsupported::Ocfs1.into());
    }
    if ImageHeader::is_packed_image(&sector) {
        return Err(Unsupported::PackedImage.into());
    }
    Ok(())
}

impl FoundSuper {
    pub(crate) fn dinode(&self) -> &Dinode {
        view(&self.block)
    }
}
