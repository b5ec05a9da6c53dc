//! Base32 (RFC 4648) as authenticators write it: capitals, no padding. Reading takes small letters and padding too.

use crate::Secret;
use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

pub(super) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(5) * 8));
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            out.push(char::from(ALPHABET[(bits >> held & 31) as usize]));
        }
    }
    if held > 0 {
        out.push(char::from(ALPHABET[(bits << (5 - held) & 31) as usize]));
    }
    out
}

/// `None`: a character that is none of the alphabet, a length that no encoder writes, or bits that are left over.
pub(super) fn decode(text: &str) -> Option<Secret> {
    let text = text.trim_end_matches('=');
    if matches!(text.len() % 8, 1 | 3 | 6) {
        return None;
    }
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() * 5 / 8));
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in text.bytes() {
        let value = match byte.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    let left_over = bits & ((1 << held) - 1);
    if left_over == 0 { Some(Secret::new(&out[..])) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10.
    #[test]
    fn the_vectors_of_rfc_4648() {
        for (plain, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(*encode(plain.as_bytes()), text);
            assert_eq!(decode(text).unwrap().expose(), plain.as_bytes());
            assert_eq!(decode(&text.to_lowercase()).unwrap().expose(), plain.as_bytes());
        }
        assert_eq!(decode("MZXW6YQ=").unwrap().expose(), b"foob");
        for bad in ["M", "MZX", "MZXW6Y", "M1", "MZ", "MY ", "MÄ", "M=Y"] {
            assert!(decode(bad).is_none(), "{bad}");
        }
    }
}
