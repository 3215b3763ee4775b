//! The two blocks in front of the superblock: what OCFS version 1 kept there, and what OCFS2 puts there instead.
//!
//! Source: on-disk reference, section 2 (Leading area and OCFS1 detection).

/// Whether the first sector of a device is that of an OCFS version 1 volume, which only its own tools can read.
#[must_use]
pub fn is_ocfs1(sector: &[u8]) -> bool {
    let major = sector.get(MAJOR_VERSION..MAJOR_VERSION + 4);
    major == Some(&OCFS1_MAJOR_VERSION.to_le_bytes())
        || sector
            .get(SIGNATURE..)
            .is_some_and(|field| field.starts_with(OCFS1_SIGNATURE))
}

/// Fills the area in front of the superblock (bytes 0 to `2 * block_size`) as mkfs does, so that the tools of OCFS
/// version 1 refuse the volume and say why.
pub fn fill_leading_area(area: &mut [u8]) {
    area.fill(LEADING_FILL);
    for at in LEADING_TEXT_OFFSETS {
        if let Some(field) = area.get_mut(at..at + LEADING_TEXT.len()) {
            field.copy_from_slice(LEADING_TEXT);
        }
    }
}

/// Text in the fields that OCFS version 1 tools print.
pub const LEADING_TEXT: &[u8; 24] = b"this is an ocfs2 volume\0";

/// Where the text stands: signature, mount point, volume label and cluster name of OCFS version 1.
pub const LEADING_TEXT_OFFSETS: [usize; 4] = [0x008, 0x088, 0x230, 0x284];

/// Every other byte of the area.
pub const LEADING_FILL: u8 = 2;

const MAJOR_VERSION: usize = 4;
const SIGNATURE: usize = 8;
const OCFS1_MAJOR_VERSION: u32 = 2;
const OCFS1_SIGNATURE: &[u8] = b"OracleCFS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ocfs1_is_known_by_version_or_signature() {
        let mut sector = [0; 512];
        assert!(!is_ocfs1(&sector));
        sector[4] = 2;
        assert!(is_ocfs1(&sector));
        sector[7] = 1;
        assert!(!is_ocfs1(&sector));
        sector[8..17].copy_from_slice(b"OracleCFS");
        assert!(is_ocfs1(&sector));
        assert!(!is_ocfs1(&sector[..6]));
    }

    #[test]
    fn leading_area_is_no_ocfs1_volume() {
        for block_size in [512, 4096] {
            let mut area = vec![0; 2 * block_size];
            fill_leading_area(&mut area);
            assert!(!is_ocfs1(&area));
            assert_eq!(area[4..8], [2; 4]);
            assert!(area[0x284..].starts_with(b"this is an ocfs2 volume\0\x02"));
        }
    }
}
