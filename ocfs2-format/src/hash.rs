//! Hashes of names and of the volume UUID.
//!
//! Source: on-disk reference, sections 3.3 (s_uuid_hash), 18.3 (directory names) and 22.1 (xattr names).

/// How the bytes 0x80 and above of a name enter a hash.
///
/// The format leaves this to the C compiler that built the writer: `char` was signed on x86 up to Linux 6.1 and is in the
/// user-space tools there; it is unsigned on Arm and in all kernels since 6.2. Names of plain ASCII hash the same both
/// ways. A reader that misses a name under one convention has to try the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CharSign {
    /// Bytes are sign-extended.
    #[default]
    Signed,
    /// Bytes are zero-extended.
    Unsigned,
}

impl CharSign {
    /// Both conventions, the one of x86 up to Linux 6.1 first.
    pub const BOTH: [CharSign; 2] = [CharSign::Signed, CharSign::Unsigned];

    fn widen(self, byte: u8) -> u32 {
        match self {
            CharSign::Signed => i32::from(byte as i8) as u32,
            CharSign::Unsigned => u32::from(byte),
        }
    }
}

/// Hash of a directory entry's name, the key of the directory index (`ocfs2_dx_hinfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct DxHash {
    /// Selects the index leaf.
    pub major: u32,
    /// Tells entries of a leaf apart, and selects the block inside the leaf's cluster.
    pub minor: u32,
}
const _: () = assert!(size_of::<DxHash>() == 8);

impl DxHash {
    /// Hash of `.` and of `..`, whatever the seed.
    pub const DOT: DxHash = DxHash { major: 0, minor: 0 };

    /// Hash of `name` on a volume with the given `s_dx_seed`, of which only the first two words matter.
    ///
    /// Source: on-disk reference, section 18.3.
    #[must_use]
    pub fn of(name: &[u8], seed: &[u32; 3], sign: CharSign) -> DxHash {
        if matches!(name, b"." | b"..") {
            return DxHash::DOT;
        }
        let [mut major, mut minor, _] = *seed;
        let mut rest = name;
        while !rest.is_empty() {
            let key = pack(rest, sign);
            (major, minor) = tea(major, minor, key);
            rest = rest.get(16..).unwrap_or_default();
        }
        DxHash { major, minor }
    }
}

/// The `s_uuid_hash` of a volume with the given UUID, the seed of [`xattr_name_hash`].
///
/// It is computed once, when xattrs or indexed directories are first enabled, and keeps its value when the UUID changes.
///
/// Source: on-disk reference, section 3.3.
#[must_use]
pub fn uuid_hash(uuid: &[u8; 16]) -> u32 {
    rotate_in(0, uuid, CharSign::Unsigned)
}

/// Hash of an extended attribute's name (without the prefix that its name index stands for).
///
/// Source: on-disk reference, section 22.1.
#[must_use]
pub fn xattr_name_hash(uuid_hash: u32, name: &[u8], sign: CharSign) -> u32 {
    rotate_in(uuid_hash, name, sign)
}

fn rotate_in(start: u32, bytes: &[u8], sign: CharSign) -> u32 {
    bytes
        .iter()
        .fold(start, |hash, &byte| hash.rotate_left(5) ^ sign.widen(byte))
}

/// The next 16 bytes of a name as four words, padded with the number of bytes that are left.
fn pack(rest: &[u8], sign: CharSign) -> [u32; 4] {
    let left = rest.len() as u32;
    let pair = left | left << 8;
    let pad = pair | pair << 16;
    let mut words = [pad; 4];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        for &byte in bytes {
            *word = (*word << 8).wrapping_add(sign.widen(byte));
        }
    }
    words
}

/// Sixteen rounds of the Tiny Encryption Algorithm, added to the state.
fn tea(a: u32, b: u32, key: [u32; 4]) -> (u32, u32) {
    const DELTA: u32 = 0x9E37_79B9;
    let (mut x, mut y, mut sum) = (a, b, 0u32);
    let half =
        |v: u32, sum: u32, k: u32, l: u32| (v << 4).wrapping_add(k) ^ v.wrapping_add(sum) ^ (v >> 5).wrapping_add(l);
    for _ in 0..16 {
        sum = sum.wrapping_add(DELTA);
        x = x.wrapping_add(half(y, sum, key[0], key[1]));
        y = y.wrapping_add(half(x, sum, key[2], key[3]));
    }
    (a.wrapping_add(x), b.wrapping_add(y))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u32; 3] = [0x7A60_C91A, 0xDB69_CFE7, 0xBFC1_2B83];
    const UUID: [u8; 16] = 0xA2DD_8963_23EE_4D24_B7FD_5FC4_1B8F_624A_u128.to_be_bytes();
    const UUID_HASH: u32 = 0xD07B_17D9;

    #[test]
    fn uuid_has_the_documented_hash() {
        assert_eq!(uuid_hash(&UUID), UUID_HASH);
    }

    #[test]
    fn directory_names_have_the_documented_hashes() {
        let rows: [(&str, u32, u32); 6] = [
            ("a", 0xAA1D_F280, 0x4869_795A),
            ("abc", 0x809E_2BC1, 0x46C8_A162),
            ("lost+found", 0x383C_F59B, 0xC6A9_9357),
            ("name-of-a-file-1199", 0x5A8E_3217, 0x793E_D93E),
            ("0123456789abcdef", 0xB34A_73FE, 0x1F38_78E3),
            ("0123456789abcdefg", 0xE539_792E, 0x8E30_1E78),
        ];
        for (name, major, minor) in rows {
            for sign in CharSign::BOTH {
                assert_eq!(
                    DxHash::of(name.as_bytes(), &SEED, sign),
                    DxHash { major, minor },
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn names_beyond_ascii_hash_by_the_sign_of_char() {
        let name = "naïve-é-file".as_bytes();
        let signed = DxHash {
            major: 0x26AB_6C21,
            minor: 0x6DBD_FCA7,
        };
        let unsigned = DxHash {
            major: 0x8CD0_E104,
            minor: 0x5335_7F36,
        };
        assert_eq!(DxHash::of(name, &SEED, CharSign::Signed), signed);
        assert_eq!(DxHash::of(name, &SEED, CharSign::Unsigned), unsigned);
    }

    #[test]
    fn dot_entries_hash_to_zero() {
        for name in [&b"."[..], b".."] {
            assert_eq!(DxHash::of(name, &SEED, CharSign::Signed), DxHash::DOT);
        }
        assert_ne!(DxHash::of(b"...", &SEED, CharSign::Signed), DxHash::DOT);
    }

    #[test]
    fn third_seed_word_has_no_influence() {
        let other = [SEED[0], SEED[1], !SEED[2]];
        let name = [b'x'; 255];
        assert_eq!(
            DxHash::of(&name, &SEED, CharSign::Signed),
            DxHash::of(&name, &other, CharSign::Signed)
        );
    }

    #[test]
    fn xattr_names_have_the_documented_hashes() {
        let rows: [(&[u8], u32); 6] = [
            (b"", UUID_HASH),
            (b"a", 0x0F62_FB5B),
            (b"abc", 0x8BED_601E),
            (b"tt", 0xEC5F_69B5),
            (b"bigval", 0xB6BC_91BA),
            (b"0123456789abcdef", 0xB91A_B654),
        ];
        for (name, hash) in rows {
            for sign in CharSign::BOTH {
                assert_eq!(xattr_name_hash(UUID_HASH, name, sign), hash);
            }
        }
    }

    #[test]
    fn xattr_names_beyond_ascii_hash_by_the_sign_of_char() {
        let byte = 0xE9;
        let rotated = UUID_HASH.rotate_left(5);
        assert_eq!(
            xattr_name_hash(UUID_HASH, &[byte], CharSign::Signed),
            rotated ^ 0xFFFF_FFE9
        );
        assert_eq!(xattr_name_hash(UUID_HASH, &[byte], CharSign::Unsigned), rotated ^ 0xE9);
    }
}
