//! Listeners that are closed by an order, and the end of their connections.

use super::Shard;
use super::slab::Key;
use crate::control::ShardView;
use ravelin_event::{DisconnectCause, Refusal};
use ravelin_mqtt::ReasonCode;

impl ShardView<'_> {
    /// Closes a listener (its index in the configuration): it lets go whoever connects.
    pub(crate) fn close_listener(&mut self, listener: u16) {
        for bound in self.shard.bound.iter_mut().filter(|bound| bound.entrance == listener) {
            bound.closed = true;
        }
        self.shard.refuse_unauthenticated(listener);
    }

    /// Opens listeners again. Whoever is still connected from before the close got half way is let go: nothing is taken of what
    /// it publishes, and on a new connection it sends again what was not acknowledged.
    pub(crate) fn open_listeners(&mut self, is_meant: &impl Fn(u16) -> bool) {
        let shard = &mut *self.shard;
        for bound in shard.bound.iter_mut().filter(|bound| is_meant(bound.entrance)) {
            bound.closed = false;
        }
        let draining = shard.conns.keys().filter(|key| {
            shard.conns.get(*key).is_some_and(|conn| conn.flags.draining && is_meant(conn.entrance))
        });
        let draining: Vec<Key> = draining.collect();
        for key in draining {
            let Some(link) = shard.conns.get(key).and_then(|conn| conn.link()) else { continue };
            let (reason, cause) = (ReasonCode::SERVER_SHUTTING_DOWN, DisconnectCause::Administrative);
            let detail = Some("the listener was closed".into());
            shard.broker.disconnect(shard.now, link, reason, cause, detail);
        }
    }

    /// From now on nothing is taken of what these listeners' clients publish; those of classes that are never cut off only if it
    /// is their turn. Returns how many of their messages are not acknowledged yet, by them or by us.
    pub(crate) fn drain_listeners(&mut self, is_meant: &impl Fn(u16) -> bool, never_cut: bool) -> usize {
        let shard = &mut *self.shard;
        let keys: Vec<Key> = shard.conns.keys().collect();
        let mut unsettled = 0;
        for key in keys {
            let Some(conn) = shard.conns.get_mut(key).filter(|conn| is_meant(conn.entrance)) else {
                continue;
            };
            let Some(link) = conn.link() else { continue };
            let class = shard.broker.principal(link).and_then(|principal| principal.class.as_deref());
            let class = class.and_then(|name| shard.policy.programme.directory.class(name));
            if class.is_some_and(|class| class.never_cut) <= never_cut {
                conn.flags.draining = true;
                shard.draining = true;
                unsettled += shard.broker.unsettled(link);
            }
        }
        unsettled
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
    pub(super) fn is_closed(&self, listener: u16) -> bool {
        self.bound.iter().any(|bound| bound.entrance == listener && bound.closed)
    }

    #[cold]
    pub(super) fn is_draining(&self, key: Key) -> bool {
        self.conns.get(key).is_some_and(|conn| conn.flags.draining)
    }

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

#[cfg(test)]
mod tests {
    use crate::Node;
    use crate::config::Config;
    use ravelin_respond::Action;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    /// A client's connection, once it is served.
    fn served(node: &Node) -> TcpStream {
        let mut socket = TcpStream::connect(node.addresses()[0]).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket.write_all(b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01a").unwrap();
        let mut head = [0; 2];
        socket.read_exact(&mut head).unwrap();
        let mut rest = vec![0; usize::from(head[1])];
        socket.read_exact(&mut rest).unwrap();
        assert_eq!((head[0], rest[1]), (0x20, 0));
        socket
    }

    #[test]
    fn whoever_was_being_drained_is_let_go_when_the_listener_opens_again() {
        let config = Config::dangerous_open(([127, 0, 0, 1], 0).into(), None, 1).unwrap();
        let listener = config.listeners[0].name.as_str().into();
        let node = Node::start_with_log(config, Box::new(std::io::sink())).unwrap();
        let control = node.control();
        let mut draining = served(&node);
        // So far a close has come when something fails.
        let half_way = control.blocking_ask(0, |view| {
            view.close_listener(0);
            view.drain_listeners(&|_| true, true)
        });
        assert_eq!(half_way, Ok(0));
        control.blocking_unfence(1, &Action::StopListener { listener }).unwrap();
        let mut told = Vec::new();
        draining.read_to_end(&mut told).unwrap();
        assert_eq!((told[0], told[2]), (0xE0, 0x8B), "{told:?}");
        drop(served(&node));
        node.shutdown().unwrap();
    }
}
