//! Listeners that are closed by an order, and the end of their connections.

use super::Shard;
use super::slab::Key;
use crate::control::ShardView;
use ravelin_event::Refusal;
use ravelin_mqtt::ReasonCode;

impl ShardView<'_> {
    /// Closes a listener (its index in the configuration), or opens it again. A closed one lets go whoever connects.
    pub(crate) fn close_listener(&mut self, listener: u16, closed: bool) {
        for bound in self.shard.bound.iter_mut().filter(|bound| bound.entrance == listener) {
            bound.closed = closed;
        }
        if closed {
            self.shard.refuse_unauthenticated(listener);
        }
    }

    /// Messages of these listeners' clients that are not acknowledged yet, by them or by us.
    pub(crate) fn unsettled(&mut self, is_meant: &impl Fn(u16) -> bool) -> usize {
        let shard = &*self.shard;
        let links = shard.conns.keys().filter_map(|key| shard.conns.get(key));
        let links = links.filter(|conn| is_meant(conn.entrance)).filter_map(|conn| conn.link());
        links.map(|link| shard.broker.unsettled(link)).sum()
    }

    /// Ends these listeners' connections; those of classes that are never cut off only if it is their turn. How many.
    pub(crate) fn cut_listeners(
        &mut self,
        is_meant: &impl Fn(u16) -> bool,
        never_cut: bool,
        detail: &str,
    ) -> usize {
        let policy = std::sync::Arc::clone(&self.shard.policy);
        self.shard.disconnect_where(ReasonCode::SERVER_SHUTTING_DOWN, detail, |conn| {
            let class = conn.principal.class.as_deref();
            let class = class.and_then(|name| policy.programme.directory.class(name));
            is_meant(conn.listener) && class.is_some_and(|class| class.never_cut) <= never_cut
        })
    }
}

impl Shard {
    /// Whoever has not logged in yet at a listener that is closed does not come further.
    fn refuse_unauthenticated(&mut self, listener: u16) {
        let keys: Vec<Key> = self.conns.keys().collect();
        for key in keys {
            if self.pre(key).is_some() && self.conns.get(key).is_some_and(|conn| conn.entrance == listener) {
                self.refuse_pending(key, Refusal::ShuttingDown, ReasonCode::SERVER_SHUTTING_DOWN);
            }
        }
    }

    /// Lets somebody go who has come to a closed listener.
    pub(super) fn let_go(&mut self, address: std::net::SocketAddr) {
        self.counters.refused_ladder += 1;
        self.tell_refused(address, Refusal::ShuttingDown);
    }
}
