//! The Variable Byte Integer (MQTT 5.0 section 1.5.5), also the Remaining Length of 3.1.1.

use crate::Error;

/// The largest value that four bytes hold.
pub(crate) const MAX: u32 = 268_435_455;

/// The value at the start of `bytes` and how many bytes it takes; `None` if they do not reach its end.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(u32, usize)>, Error> {
    let mut value = 0u32;
    for index in 0..4 {
        let Some(&byte) = bytes.get(index) else {
            return Ok(None);
        };
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            // MQTT-1.5.5-1: the encoded value must use the minimum number of bytes.
            if byte == 0 && index > 0 {
                return Err(Error::Malformed("variable byte integer is not minimal (MQTT-1.5.5-1)"));
            }
            return Ok(Some((value, index + 1)));
        }
    }
    Err(Error::Malformed("variable byte integer is longer than four bytes (MQTT-1.5.5-1)"))
}

/// How many bytes `value` takes.
#[inline]
pub(crate) const fn len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// `value` as bytes and how many of them count.
#[inline]
pub(crate) fn bytes(value: u32) -> ([u8; 4], usize) {
    debug_assert!(value <= MAX);
    let count = len(value);
    let mut bytes = [0u8; 4];
    for (index, byte) in bytes.iter_mut().enumerate().take(count) {
        let more = if index + 1 < count { 0x80 } else { 0 };
        *byte = (value >> (7 * index)) as u8 & 0x7F | more;
    }
    (bytes, count)
}

/// Appends `value`.
#[inline]
pub(crate) fn write(out: &mut Vec<u8>, value: u32) {
    if value < 0x80 {
        out.push(value as u8);
    } else {
        let (bytes, count) = bytes(value);
        out.extend_from_slice(&bytes[..count]);
    }
}

/// Writes `value` at `at`, moving what follows.
pub(crate) fn insert(out: &mut Vec<u8>, at: usize, value: u32) {
    let (bytes, count) = bytes(value);
    out.splice(at..at, bytes[..count].iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_each_length_round_trip() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, MAX] {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(out.len(), len(value));
            assert_eq!(read(&out), Ok(Some((value, out.len()))));
            for cut in 0..out.len() {
                assert_eq!(read(&out[..cut]), Ok(None));
            }
            let mut inserted = vec![1, 2];
            insert(&mut inserted, 1, value);
            assert_eq!(inserted[1..inserted.len() - 1], out);
        }
    }

    #[test]
    fn the_table_of_the_specification() {
        assert_eq!(read(&[0x80, 0x01]), Ok(Some((128, 2))));
        assert_eq!(read(&[0xFF, 0x7F]), Ok(Some((16_383, 2))));
        assert_eq!(read(&[0xFF, 0xFF, 0xFF, 0x7F]), Ok(Some((MAX, 4))));
    }

    #[test]
    fn long_and_padded_forms_are_refused() {
        assert!(read(&[0x80, 0x00]).is_err());
        assert!(read(&[0xFF, 0x80, 0x00]).is_err());
        assert!(read(&[0x80, 0x80, 0x80, 0x80]).is_err());
        assert!(read(&[0xFF, 0xFF, 0xFF, 0xFF, 0x01]).is_err());
    }
}
