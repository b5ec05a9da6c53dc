//! Just enough of DER to walk through what is signed (revocation lists, requests, OCSP answers) and to write what is
//! asked. Strict: definite lengths in their shortest form, tags of one byte. No allocation, no recursion.

/// `SEQUENCE`.
pub(crate) const SEQUENCE: u8 = 0x30;
/// `INTEGER`.
pub(crate) const INTEGER: u8 = 0x02;
/// `BIT STRING`.
pub(crate) const BIT_STRING: u8 = 0x03;
/// `OCTET STRING`.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// `NULL`.
pub(crate) const NULL: u8 = 0x05;
/// `OBJECT IDENTIFIER`.
pub(crate) const OID: u8 = 0x06;
/// `ENUMERATED`.
pub(crate) const ENUMERATED: u8 = 0x0A;
/// `GeneralizedTime`.
pub(crate) const GENERALIZED_TIME: u8 = 0x18;

/// Reads elements one after another.
#[derive(Clone, Copy)]
pub(crate) struct Der<'a> {
    rest: &'a [u8],
}

/// An element.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub tag: u8,
    pub content: &'a [u8],
    /// With its tag and length.
    pub whole: &'a [u8],
}

/// A context-specific tag of a constructed element.
pub(crate) const fn context(number: u8) -> u8 {
    0xA0 | number
}

impl<'a> Der<'a> {
    pub fn new(bytes: &'a [u8]) -> Der<'a> {
        Der { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element, whatever it is.
    pub fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, after_tag) = self.rest.split_first()?;
        if tag & 0x1F == 0x1F {
            return None;
        }
        let (&first, after_first) = after_tag.split_first()?;
        let (length, body) = match first {
            0..=0x7F => (usize::from(first), after_first),
            0x81..=0x84 => {
                let (bytes, body) = after_first.split_at_checked(usize::from(first & 0x7F))?;
                let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                if length < 0x80 || bytes[0] == 0 {
                    return None;
                }
                (length, body)
            }
            _ => return None,
        };
        let (content, rest) = body.split_at_checked(length)?;
        let whole = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        Some(Element { tag, content, whole })
    }

    /// The next element, which must have this tag.
    pub fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.optional(tag)
    }

    /// The next element if it has this tag.
    pub fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        if self.rest.first() == Some(&tag) { self.any() } else { None }
    }

    /// The elements within the next one, which must have this tag.
    pub fn enter(&mut self, tag: u8) -> Option<Der<'a>> {
        self.expect(tag).map(|element| Der::new(element.content))
    }

    /// `Some` if nothing follows.
    pub fn end(&self) -> Option<()> {
        self.is_empty().then_some(())
    }
}

/// The bytes of a `BIT STRING` of whole bytes.
pub(crate) fn bits<'a>(element: &Element<'a>) -> Option<&'a [u8]> {
    match element.content.split_first()? {
        (0, bytes) if element.tag == BIT_STRING => Some(bytes),
        _ => None,
    }
}

/// Seconds since the Unix epoch of a `UTCTime` or `GeneralizedTime`.
pub(crate) fn time_s(element: &Element<'_>) -> Option<i64> {
    use x509_parser::prelude::{ASN1Time, FromDer};
    let (rest, time) = ASN1Time::from_der(element.whole).ok()?;
    rest.is_empty().then(|| time.timestamp())
}

/// An element with this tag and content.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    out.push(tag);
    match content.len() {
        length @ 0..=0x7F => out.push(length as u8),
        length => {
            let bytes = length.to_be_bytes();
            let skip = bytes.iter().take_while(|byte| **byte == 0).count();
            out.push(0x80 | (bytes.len() - skip) as u8);
            out.extend(&bytes[skip..]);
        }
    }
    out.extend(content);
    out
}

/// A `SEQUENCE` of these elements.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000] {
            let content = vec![7; length];
            let whole = element(OCTET_STRING, &content);
            let mut der = Der::new(&whole);
            let read = der.any().unwrap();
            assert_eq!((read.tag, read.content, read.whole), (OCTET_STRING, &content[..], &whole[..]));
            assert!(der.end().is_some() && der.any().is_none());
            for cut in 0..whole.len().min(300) {
                assert!(Der::new(&whole[..cut]).any().is_none());
            }
        }
    }

    #[test]
    fn only_the_shortest_definite_form_is_der() {
        for bad in [
            &b"\x30\x80\x00\x00"[..],
            b"\x30\x81\x01\x00",
            b"\x30\x82\x00\x80",
            b"\x1F\x81\x00",
            b"\x30\x85\x00\x00\x00\x00\x01\x00",
            b"\x30\xFF",
            b"",
        ] {
            assert!(Der::new(bad).any().is_none(), "{bad:02x?}");
        }
    }
}
