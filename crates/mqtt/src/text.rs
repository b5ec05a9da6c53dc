//! The UTF-8 Encoded String (section 1.5.4): what text may contain.
//!
//! Two strengths. Every string must be well-formed UTF-8 without U+0000; a receiver has no choice there. Control characters
//! and non-characters are a choice ("SHOULD NOT", and a receiver MAY close the connection). Ravelin refuses them in what
//! names something and later appears in rules, logs and screens: topic names, topic filters, client identifiers and
//! user names. It lets them pass in what is carried for others: user properties, reason strings, content types.

use crate::Error;

/// Well-formed UTF-8 without U+0000, as every string of the protocol must be.
#[inline]
pub fn check_text(bytes: &[u8]) -> Result<&str, Error> {
    // MQTT-1.5.4-1: ill-formed UTF-8, which includes the surrogates U+D800 to U+DFFF, is a Malformed Packet. `from_utf8`
    // also refuses overlong forms. MQTT-1.5.4-3: a byte order mark is a character like any other and stays.
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Error::Malformed("string is not well-formed UTF-8 (MQTT-1.5.4-1)"))?;
    if has_nul(bytes) {
        return Err(Error::Malformed("string contains U+0000 (MQTT-1.5.4-2)"));
    }
    Ok(text)
}

/// Whether a zero byte, which in UTF-8 can only be U+0000, is among `bytes`. Written so that it is vectorised.
#[inline]
fn has_nul(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, &byte| found | (byte == 0))
}

/// Whether `text` has a control character (U+0000 to U+001F, U+007F to U+009F) or a Unicode non-character
/// (U+FDD0 to U+FDEF and the last two of every plane).
#[inline]
pub(crate) fn has_unprintable(text: &str) -> bool {
    let (control, high) = text
        .bytes()
        .fold((false, 0u8), |(control, high), byte| (control | (byte < 0x20) | (byte == 0x7F), high | byte));
    control || (high >= 0x80 && text.chars().any(is_unprintable))
}

/// One character of [`has_unprintable`].
pub(crate) fn is_unprintable(character: char) -> bool {
    let code = character as u32;
    character.is_control() || matches!(code, 0xFDD0..=0xFDEF) || code & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ill_formed_utf8_is_malformed() {
        // Overlong slash, lone continuation, cut sequence, surrogate U+D800 (MQTT-1.5.4-1), beyond U+10FFFF.
        for bytes in
            [&[0xC0, 0xAF][..], &[0x80], &[0xE2, 0x82], &[0xED, 0xA0, 0x80], &[0xF4, 0x90, 0x80, 0x80]]
        {
            assert!(matches!(check_text(bytes), Err(Error::Malformed(_))), "{bytes:?}");
        }
    }

    #[test]
    fn nul_is_malformed_wherever_it_stands() {
        for length in 1..70 {
            for at in 0..length {
                let mut bytes = vec![b'a'; length];
                bytes[at] = 0;
                assert!(check_text(&bytes).is_err());
            }
        }
    }

    #[test]
    fn byte_order_mark_and_controls_are_carried() {
        assert_eq!(check_text("\u{FEFF}a".as_bytes()), Ok("\u{FEFF}a"));
        assert_eq!(check_text(b"line\nbreak"), Ok("line\nbreak"));
        assert_eq!(check_text(b""), Ok(""));
    }

    #[test]
    fn unprintable_is_what_the_specification_lists() {
        for code in 0..=0x10_FFFFu32 {
            let Some(character) = char::from_u32(code) else { continue };
            let listed = (0x01..=0x1F).contains(&code)
                || (0x7F..=0x9F).contains(&code)
                || code == 0
                || (0xFDD0..=0xFDEF).contains(&code)
                || code % 0x1_0000 >= 0xFFFE;
            let mut buffer = [0u8; 4];
            assert_eq!(has_unprintable(character.encode_utf8(&mut buffer)), listed, "U+{code:04X}");
        }
    }
}
