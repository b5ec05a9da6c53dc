//! Bytes waiting to be written to one connection: small packets copied together, large payloads shared.

use std::collections::VecDeque;
use std::rc::Rc;

/// Bytes that wait for a connection, in order. Small packets are copied into one buffer; a large payload is shared
/// among all its receivers and only referred to.
#[derive(Default)]
pub struct Outbound {
    /// Copied bytes.
    copied: Vec<u8>,
    /// How far `copied` was consumed.
    copied_at: usize,
    /// Shared payloads, each standing at a place in `copied`.
    shared: VecDeque<Shared>,
    /// Bytes of `shared` not yet consumed.
    shared_bytes: usize,
    /// Bytes consumed since the beginning.
    consumed: u64,
}

struct Shared {
    /// The payload is sent when `copied` has been consumed up to here.
    at: usize,
    bytes: Rc<[u8]>,
    from: usize,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outbound({} bytes)", self.len())
    }
}

impl Outbound {
    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.copied.len() - self.copied_at + self.shared_bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The waiting bytes, in order, as slices for a vectored write. At most `slices.len()` are filled; returns how many.
    pub fn slices<'a>(&'a self, slices: &mut [&'a [u8]]) -> usize {
        let mut filled = 0;
        let mut at = self.copied_at;
        for shared in &self.shared {
            if shared.at > at {
                if filled == slices.len() {
                    return filled;
                }
                slices[filled] = &self.copied[at..shared.at];
                filled += 1;
                at = shared.at;
            }
            if filled == slices.len() {
                return filled;
            }
            slices[filled] = &shared.bytes[shared.from..];
            filled += 1;
        }
        if at < self.copied.len() && filled < slices.len() {
            slices[filled] = &self.copied[at..];
            filled += 1;
        }
        filled
    }

    /// Says that the first `n` waiting bytes were written.
    pub fn consume(&mut self, mut n: usize) {
        debug_assert!(n <= self.len());
        self.consumed += n as u64;
        while n > 0 {
            let limit = self.shared.front().map_or(self.copied.len(), |shared| shared.at);
            let step = n.min(limit - self.copied_at);
            self.copied_at += step;
            n -= step;
            if n == 0 {
                break;
            }
            let Some(front) = self.shared.front_mut() else { break };
            let step = n.min(front.bytes.len() - front.from);
            front.from += step;
            self.shared_bytes -= step;
            n -= step;
            if front.from == front.bytes.len() {
                self.shared.pop_front();
            }
        }
        if self.is_empty() {
            self.copied.clear();
            self.copied_at = 0;
        } else if self.copied_at > 1 << 20 && self.copied_at * 2 > self.copied.len() {
            self.copied.drain(..self.copied_at);
            for shared in &mut self.shared {
                shared.at -= self.copied_at;
            }
            self.copied_at = 0;
        }
    }

    /// Bytes that were written since the beginning.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The buffer that packets are encoded into.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.copied
    }

    /// Appends the bytes of a shared block from `from` on.
    pub fn push_shared(&mut self, bytes: Rc<[u8]>, from: usize) {
        if from < bytes.len() {
            self.shared_bytes += bytes.len() - from;
            self.shared.push_back(Shared { at: self.copied.len(), bytes, from });
        }
    }

    /// Gives an empty outbound a buffer to reuse.
    pub fn adopt(&mut self, buffer: Vec<u8>) {
        debug_assert!(self.copied.capacity() == 0 && buffer.is_empty());
        self.copied = buffer;
    }

    /// Takes the buffer of an empty outbound back, so that an idle connection holds none.
    pub fn release(&mut self) -> Option<Vec<u8>> {
        if !self.is_empty() || self.copied.capacity() == 0 {
            return None;
        }
        self.copied.clear();
        self.copied_at = 0;
        Some(std::mem::take(&mut self.copied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(outbound: &Outbound) -> Vec<u8> {
        let mut slices = [&[][..]; 16];
        let n = outbound.slices(&mut slices);
        slices[..n].concat()
    }

    #[test]
    fn copied_and_shared_bytes_keep_their_order_through_any_consumption() {
        for step in 1..9 {
            let mut outbound = Outbound::default();
            outbound.buffer().extend_from_slice(b"ab");
            outbound.push_shared(Rc::from(&b"xCDE"[..]), 1);
            outbound.push_shared(Rc::from(&b"FG"[..]), 0);
            outbound.buffer().extend_from_slice(b"hij");
            let mut got = Vec::new();
            while !outbound.is_empty() {
                let n = step.min(outbound.len());
                got.extend_from_slice(&all(&outbound)[..n]);
                outbound.consume(n);
            }
            assert_eq!(got, b"abCDEFGhij", "step {step}");
            assert!(outbound.release().is_some());
        }
    }
}
