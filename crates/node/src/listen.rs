//! Opening the listeners: one socket a shard on each address, among which the kernel shares connections out.

use crate::config::{Config, Listener};
use crate::error::Error;
use crate::shard::Bound;
use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// All listeners of a node.
pub(crate) struct BoundAll {
    /// For each shard, its sockets.
    pub shards: Vec<Vec<Bound>>,
    /// For each listener, its address.
    pub addresses: Vec<SocketAddr>,
}

pub(crate) fn bind_all(config: &Config, shards: usize) -> Result<BoundAll, Error> {
    let mut all = BoundAll { shards: (0..shards).map(|_| Vec::new()).collect(), addresses: Vec::new() };
    for (index, listener) in config.listeners.iter().enumerate() {
        let sockets = bind(listener, shards).map_err(|source| Error::Listen {
            listener: listener.name.clone(),
            address: listener.address,
            source,
        })?;
        for (shard, (socket, address)) in sockets.into_iter().enumerate() {
            if shard == 0 {
                all.addresses.push(address);
            }
            let listener = mio::net::TcpListener::from_std(socket);
            all.shards[shard].push(Bound {
                listener,
                entrance: index as u16,
                pending: true,
                not_before_ms: 0,
                closed: false,
            });
        }
    }
    Ok(all)
}

fn bind(listener: &Listener, shards: usize) -> io::Result<Vec<(std::net::TcpListener, SocketAddr)>> {
    let mut address = listener.address;
    if shards == 1 {
        return open(address, false).map(|one| vec![one]);
    }
    // With SO_REUSEPORT a second node would share the port instead of failing: ask without it first.
    let (probe, found) = open(address, false)?;
    address.set_port(found.port());
    drop(probe);
    (0..shards).map(|_| open(address, true)).collect()
}

fn open(address: SocketAddr, shared: bool) -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// As many file descriptors as the system allows: each connection is one.
pub(crate) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Without it the node serves fewer clients, and says so when it runs out.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_node_does_not_share_the_port() {
        let config = Config::dangerous_open(([127, 0, 0, 1], 0).into(), None, 2).unwrap();
        let first = bind_all(&config, 2).unwrap();
        assert_eq!(first.shards.len(), 2);
        let taken = Config::dangerous_open(first.addresses[0], None, 2).unwrap();
        assert!(matches!(bind_all(&taken, 2), Err(Error::Listen { .. })));
        assert!(matches!(bind_all(&taken, 1), Err(Error::Listen { .. })));
    }
}
