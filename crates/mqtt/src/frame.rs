//! Where a packet ends: the fixed header (section 2.1), before anything of the packet itself has arrived.

use crate::{Error, varint};

/// The fixed header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The first byte: packet type and flags.
    pub first: u8,
    /// Bytes of the fixed header, 2 to 5.
    pub header_len: usize,
    /// Bytes of the whole packet, fixed header included. May be more than have arrived.
    pub total_len: usize,
}

/// Reads the fixed header at the start of `buf`.
///
/// `None` means that its end has not arrived yet. `packet_bytes_max` bounds the whole packet, fixed header included, as
/// Maximum Packet Size does (section 3.1.2.11.4), so a packet that is too large is refused before any of its body is
/// kept. Type 15 is passed on: whether it exists depends on the version, which [`crate::decode`] knows.
#[inline]
pub fn peek(buf: &[u8], packet_bytes_max: u32) -> Result<Option<Frame>, Error> {
    let Some(&first) = buf.first() else {
        return Ok(None);
    };
    if first < 0x10 {
        return Err(Error::Malformed("packet type 0 is reserved (section 2.1.2)"));
    }
    let (remaining, length_len) = match buf.get(1) {
        None => return Ok(None),
        Some(&byte) if byte < 0x80 => (u32::from(byte), 1),
        Some(_) => match varint::read(&buf[1..])? {
            Some(read) => read,
            None => return Ok(None),
        },
    };
    let total = remaining + length_len as u32 + 1;
    if total > packet_bytes_max {
        return Err(Error::PacketTooLarge { bytes: total, bytes_max: packet_bytes_max });
    }
    Ok(Some(Frame { first, header_len: length_len + 1, total_len: total as usize }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_whole_header() {
        assert_eq!(peek(&[], 100), Ok(None));
        assert_eq!(peek(&[0x30], 100), Ok(None));
        assert_eq!(peek(&[0x30, 0x80], 100), Ok(None));
        assert_eq!(peek(&[0x30, 0x80, 0x80], 100), Ok(None));
    }

    #[test]
    fn total_len_may_exceed_what_arrived() {
        assert_eq!(peek(&[0x30, 5], 100), Ok(Some(Frame { first: 0x30, header_len: 2, total_len: 7 })));
        assert_eq!(
            peek(&[0x30, 0x80, 1], 131),
            Ok(Some(Frame { first: 0x30, header_len: 3, total_len: 131 }))
        );
        assert_eq!(peek(&[0xF0, 0], 2), Ok(Some(Frame { first: 0xF0, header_len: 2, total_len: 2 })));
    }

    #[test]
    fn too_large_is_known_from_the_header() {
        assert_eq!(peek(&[0x30, 0x80, 1], 130), Err(Error::PacketTooLarge { bytes: 131, bytes_max: 130 }));
        let largest = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
        assert_eq!(peek(&largest, u32::MAX).map(|f| f.map(|f| f.total_len)), Ok(Some(268_435_460)));
        assert!(matches!(peek(&largest, 1 << 20), Err(Error::PacketTooLarge { .. })));
    }

    #[test]
    fn reserved_type_and_bad_lengths_are_refused_at_once() {
        for flags in 0..16 {
            assert!(matches!(peek(&[flags], 100), Err(Error::Malformed(_))));
        }
        assert!(matches!(peek(&[0x30, 0x80, 0x00], 100), Err(Error::Malformed(_))));
        assert!(matches!(peek(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], u32::MAX), Err(Error::Malformed(_))));
        assert!(matches!(peek(&[0x30, 0x80, 0x80, 0x80, 0x80, 0x01], u32::MAX), Err(Error::Malformed(_))));
    }
}
