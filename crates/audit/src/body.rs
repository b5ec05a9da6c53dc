//! The body of a frame: entries, each a salt, a length and a text.

use crate::chain::Salt;

const SALT_BYTES: usize = 16;
const PREFIX_BYTES: usize = SALT_BYTES + 4;
/// No entry is longer: a topic has at most 64 KiB, which JSON makes at most six times as long.
pub(crate) const TEXT_BYTES_MAX: usize = 2 << 20;

/// Adds an entry.
pub(crate) fn push(body: &mut Vec<u8>, salt: &Salt, text: &[u8]) {
    body.extend_from_slice(salt);
    body.extend_from_slice(&(text.len() as u32).to_le_bytes());
    body.extend_from_slice(text);
}

/// One entry of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    pub salt: Salt,
    pub text: &'a str,
}

/// The entries of a body. An `Err` is the last item: what follows is no entry.
pub(crate) fn items(mut body: &[u8]) -> impl Iterator<Item = Result<Item<'_>, ()>> {
    std::iter::from_fn(move || {
        if body.is_empty() {
            return None;
        }
        let item = take(&mut body);
        if item.is_none() {
            body = &[];
        }
        Some(item.ok_or(()))
    })
}

fn take<'a>(body: &mut &'a [u8]) -> Option<Item<'a>> {
    let (prefix, rest) = body.split_first_chunk::<PREFIX_BYTES>()?;
    let (salt, length) = prefix.split_first_chunk::<SALT_BYTES>()?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    if length > TEXT_BYTES_MAX {
        return None;
    }
    let (text, rest) = rest.split_at_checked(length)?;
    *body = rest;
    Some(Item { salt: *salt, text: std::str::from_utf8(text).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_back_and_what_is_none_ends_them() {
        let mut body = Vec::new();
        push(&mut body, &[1; 16], b"first");
        push(&mut body, &[2; 16], b"");
        let read: Vec<_> = items(&body).collect();
        assert_eq!(read, [Ok(Item { salt: [1; 16], text: "first" }), Ok(Item { salt: [2; 16], text: "" })]);
        for end in 1..body.len() {
            let cut: Vec<_> = items(&body[..end]).collect();
            assert!(end == 25 || cut.last() == Some(&Err(())), "{end}");
        }
        push(&mut body, &[3; 16], &[0xff]);
        assert_eq!(items(&body).last(), Some(Err(())));
    }
}
