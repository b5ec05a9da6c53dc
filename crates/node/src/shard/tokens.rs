//! The clients that were let in by a token, and when each must have shown another one. Most connections have none: what
//! only some need is kept beside the connections, not in them.

use super::Shard;
use super::conn::Conn;
use super::slab::Key;
use ravelin_event::DisconnectCause;
use ravelin_mqtt::ReasonCode;
use ravelin_protect::{Standing, TokenTerms};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

#[derive(Default)]
pub(crate) struct Tokens {
    held: HashMap<Key, (TokenTerms, u64)>,
    /// By deadline. Entries of tokens that were replaced, or whose connection is gone, are skipped when they come up.
    due: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Tokens {
    /// The token of `key` counts until `due_ms`.
    pub fn hold(&mut self, key: Key, terms: TokenTerms, due_ms: u64) {
        self.held.insert(key, (terms, due_ms));
        self.due.push(Reverse((due_ms, key.0)));
        // A client that proves itself again and again must not make the heap grow: it holds at most twice what is held.
        if self.due.len() > 64 && self.due.len() > 2 * self.held.len() {
            self.due = self.held.iter().map(|(key, (_, due_ms))| Reverse((*due_ms, key.0))).collect();
        }
    }

    pub fn release(&mut self, key: Key) {
        self.held.remove(&key);
    }

    /// The next deadline, or an earlier time.
    pub fn next_ms(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((due_ms, _))| *due_ms)
    }

    fn pop_due(&mut self, now_ms: u64) -> Option<Key> {
        while let Some(Reverse((due_ms, _))) = self.due.peek().filter(|next| next.0.0 <= now_ms) {
            let due_ms = *due_ms;
            let Some(Reverse((_, key))) = self.due.pop() else { break };
            let key = Key(key);
            if self.held.get(&key).is_some_and(|(_, at_ms)| *at_ms == due_ms) {
                self.held.remove(&key);
                return Some(key);
            }
        }
        None
    }

    /// How a connected client proved who it is.
    pub fn standing(&self, key: Key, conn: &Conn) -> Standing {
        let token = self.held.get(&key).map(|(terms, _)| *terms);
        Standing { proof: conn.proof, tag: conn.proof_tag, token }
    }
}

impl Shard {
    /// Keeps how a client proved who it is, when it is let in and when it has proven it again.
    pub(super) fn keep_standing(&mut self, key: Key, standing: &Standing) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.proof = standing.proof;
        conn.proof_tag = standing.tag;
        match standing.token {
            Some(terms) => {
                let left_ms = terms.until_s.saturating_mul(1000).saturating_sub(self.now.wall_ms);
                self.tokens.hold(key, terms, self.now.mono_ms.saturating_add(left_ms));
            }
            None => self.tokens.release(key),
        }
    }

    /// Ends the connections whose token has expired.
    pub(super) fn expire_tokens(&mut self) {
        while let Some(key) = self.tokens.pop_due(self.now.mono_ms) {
            let Some(link) = self.conns.get(key).and_then(Conn::link) else { continue };
            // MQTT 5.0, 3.14.2.1: "the maximum connection time authorized for this connection has been exceeded".
            let reason = ReasonCode::MAXIMUM_CONNECT_TIME;
            let detail = Some("its token has expired".into());
            self.broker.disconnect(self.now, link, reason, DisconnectCause::Expired, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_protect::jwt::KeyId;

    fn terms(until_s: u64) -> TokenTerms {
        TokenTerms { until_s, key: KeyId::default() }
    }

    #[test]
    fn a_token_is_due_once_and_one_that_was_replaced_is_not() {
        let mut tokens = Tokens::default();
        tokens.hold(Key(1), terms(1), 100);
        tokens.hold(Key(2), terms(2), 50);
        tokens.hold(Key(1), terms(3), 300);
        tokens.hold(Key(3), terms(4), 60);
        tokens.release(Key(3));
        assert_eq!((tokens.next_ms(), tokens.pop_due(49)), (Some(50), None));
        assert_eq!((tokens.pop_due(250), tokens.pop_due(250)), (Some(Key(2)), None));
        assert_eq!((tokens.pop_due(300), tokens.pop_due(900)), (Some(Key(1)), None));
        assert!(tokens.held.is_empty() && tokens.due.is_empty());
    }

    #[test]
    fn proving_again_does_not_make_the_list_grow() {
        let mut tokens = Tokens::default();
        for round in 0..10_000 {
            tokens.hold(Key(round % 10), terms(round), round);
        }
        assert!(tokens.held.len() == 10 && tokens.due.len() <= 65, "{}", tokens.due.len());
        let mut left = 0;
        while tokens.pop_due(u64::MAX).is_some() {
            left += 1;
        }
        assert_eq!(left, 10);
    }
}
