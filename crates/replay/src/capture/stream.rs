//! One direction of a TCP connection: segments in, bytes in order out.

use std::collections::BTreeMap;

/// Bytes and segments that wait for one that is missing.
const WAITING_BYTES_MAX: usize = 256 << 10;
const WAITING_MAX: usize = 256;
/// A segment that has not come after this time was lost: to the capture, not to the broker.
const LOST_US: u64 = 2_000_000;

/// What comes out.
pub(super) enum Piece<'a> {
    /// Bytes, in order.
    Bytes(&'a [u8]),
    /// Something is missing here.
    Gap,
    /// The end: there is nothing after it.
    Fin,
}

/// A direction.
#[derive(Default)]
pub(super) struct Stream {
    /// The sequence number of the next byte.
    next: Option<u32>,
    /// Segments that came early, by their distance from [`Stream::next`] when the first of them came.
    waiting: BTreeMap<u32, Vec<u8>>,
    /// The sequence number from which the distances count.
    base: u32,
    waiting_bytes: usize,
    waiting_since_us: u64,
    fin: Option<u32>,
}

impl Stream {
    /// Begins after a SYN with this sequence number.
    pub fn begin(&mut self, sequence: u32) {
        *self = Stream { next: Some(sequence.wrapping_add(1)), ..Stream::default() };
    }

    /// Takes a segment.
    pub fn handle(
        &mut self,
        at_us: u64,
        sequence: u32,
        payload: &[u8],
        missing: u32,
        fin: bool,
        mut out: impl FnMut(Piece<'_>),
    ) {
        let mut next = *self.next.get_or_insert(sequence);
        let end = sequence.wrapping_add(payload.len() as u32).wrapping_add(missing);
        if fin {
            self.fin = Some(end);
        }
        if distance(next, sequence) > 0 {
            if !payload.is_empty() {
                self.keep(at_us, next, sequence, payload);
            }
            if self.is_full()
                || at_us.saturating_sub(self.waiting_since_us) >= LOST_US && !self.waiting.is_empty()
            {
                self.skip(&mut out);
            } else if self.waiting.is_empty() && fin {
                // Nothing but the end is there, and something before it is not.
                self.next = Some(sequence);
                out(Piece::Gap);
            }
        } else {
            // Bytes that came before are left out: a retransmission, or an overlap.
            let known = next.wrapping_sub(sequence) as usize;
            if let Some(fresh) = payload.get(known..).filter(|fresh| !fresh.is_empty()) {
                out(Piece::Bytes(fresh));
                next = next.wrapping_add(fresh.len() as u32);
            }
            if missing > 0 && distance(next, end) > 0 {
                out(Piece::Gap);
                next = end;
            }
            self.next = Some(next);
            self.deliver(&mut out);
        }
        if self.fin.is_some() && self.fin == self.next {
            self.fin = None;
            out(Piece::Fin);
        }
    }

    /// Nothing more will come: what waits is as good as it gets.
    pub fn flush(&mut self, mut out: impl FnMut(Piece<'_>)) {
        while !self.waiting.is_empty() {
            self.skip(&mut out);
        }
    }

    fn keep(&mut self, at_us: u64, next: u32, sequence: u32, payload: &[u8]) {
        if self.waiting.is_empty() {
            self.base = next;
            self.waiting_since_us = at_us;
        }
        let place = sequence.wrapping_sub(self.base);
        // What is megabytes ahead is of another connection, or made up.
        if place > 1 << 24 || self.waiting.get(&place).is_some_and(|known| known.len() >= payload.len()) {
            return;
        }
        self.waiting_bytes += payload.len();
        if let Some(shorter) = self.waiting.insert(place, payload.to_vec()) {
            self.waiting_bytes -= shorter.len();
        }
    }

    fn is_full(&self) -> bool {
        self.waiting_bytes > WAITING_BYTES_MAX || self.waiting.len() > WAITING_MAX
    }

    /// Gives up what is missing, and goes on with what waits.
    fn skip(&mut self, out: &mut impl FnMut(Piece<'_>)) {
        let Some((place, _)) = self.waiting.first_key_value() else { return };
        let sequence = self.base.wrapping_add(*place);
        if self.next.is_none_or(|next| distance(next, sequence) > 0) {
            out(Piece::Gap);
            self.next = Some(sequence);
        }
        self.deliver(out);
    }

    /// Hands out what waits and follows.
    fn deliver(&mut self, out: &mut impl FnMut(Piece<'_>)) {
        while let (Some(next), Some((place, _))) = (self.next, self.waiting.first_key_value()) {
            let sequence = self.base.wrapping_add(*place);
            if distance(next, sequence) > 0 {
                return;
            }
            let Some((_, bytes)) = self.waiting.pop_first() else { return };
            self.waiting_bytes -= bytes.len();
            let known = next.wrapping_sub(sequence) as usize;
            if let Some(fresh) = bytes.get(known..).filter(|fresh| !fresh.is_empty()) {
                out(Piece::Bytes(fresh));
                self.next = Some(next.wrapping_add(fresh.len() as u32));
            }
        }
    }
}

/// How far `to` is after `from` (RFC 9293 section 3.4: numbers go round).
fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen(String);

    impl Seen {
        fn take(&mut self, piece: &Piece<'_>) {
            match piece {
                Piece::Bytes(bytes) => self.0.push_str(std::str::from_utf8(bytes).unwrap()),
                Piece::Gap => self.0.push('_'),
                Piece::Fin => self.0.push('.'),
            }
        }
    }

    fn played(segments: &[(u64, u32, &str, bool)]) -> String {
        let (mut stream, mut seen) = (Stream::default(), Seen::default());
        stream.begin(u32::MAX - 2);
        for (at_us, offset, text, fin) in segments {
            let sequence = (u32::MAX - 1).wrapping_add(*offset);
            stream.handle(*at_us, sequence, text.as_bytes(), 0, *fin, |piece| seen.take(&piece));
        }
        stream.flush(|piece| seen.take(&piece));
        seen.0
    }

    #[test]
    fn reordered_repeated_and_overlapping_segments_are_one_stream_also_where_numbers_go_round() {
        assert_eq!(played(&[(0, 0, "ab", false), (0, 2, "cd", false), (0, 4, "", true)]), "abcd.");
        assert_eq!(played(&[(0, 2, "cd", true), (0, 0, "ab", false)]), "abcd.");
        assert_eq!(played(&[(0, 4, "ef", false), (0, 2, "cd", false), (0, 0, "ab", false)]), "abcdef");
        assert_eq!(played(&[(0, 0, "abc", false), (0, 0, "abc", false), (0, 1, "bcde", false)]), "abcde");
    }

    #[test]
    fn what_is_lost_is_a_gap_after_a_while_or_at_the_end() {
        assert_eq!(played(&[(0, 0, "ab", false), (0, 4, "ef", false)]), "ab_ef");
        let late =
            [(0, 0, "ab", false), (0, 4, "ef", false), (LOST_US, 6, "gh", false), (LOST_US, 8, "ij", false)];
        assert_eq!(played(&late), "ab_efghij");
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut stream, mut gaps) = (Stream::default(), 0);
        stream.begin(0);
        for number in 1..2000_u32 {
            stream.handle(0, number * 1000, &[0; 500], 0, false, |piece| {
                gaps += usize::from(matches!(piece, Piece::Gap));
            });
            assert!(
                stream.waiting_bytes <= WAITING_BYTES_MAX + 500 && stream.waiting.len() <= WAITING_MAX + 1
            );
        }
        assert!(gaps > 0);
    }
}
