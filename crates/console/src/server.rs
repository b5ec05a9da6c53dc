//! The listener of the lane: its own thread and runtime, TLS, and the bounds of a connection.
//!
//! HTTP/1.1 only: what administers a node needs no multiplexing, and each version of HTTP has attacks of its own.

use crate::peer::Peer;
use crate::state::ApiState;
use crate::stream::Patient;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ravelin_node::config::ControlLimits;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// After the kernel refused to accept (no descriptors), the next try comes so much later.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Connections by address, counted while they last.
pub(crate) type Counts = Arc<Mutex<HashMap<IpAddr, u64>>>;

/// One connection's place in the counts.
struct Place {
    state: ApiState,
    counts: Counts,
    address: IpAddr,
}

impl Place {
    /// A place, if there is one.
    fn take(state: &ApiState, counts: &Counts, address: SocketAddr, limits: &ControlLimits) -> Option<Place> {
        let address = crate::buckets::key(address.ip());
        let mut all = crate::state::lock(counts);
        let of_address = all.get(&address).copied().unwrap_or(0);
        let total: u64 = state.lane.counters.connections.load(Ordering::Relaxed);
        if total >= limits.connections_max || of_address >= limits.connections_per_address_max {
            return None;
        }
        all.insert(address, of_address + 1);
        state.control.lane_joined(address);
        state.lane.counters.connections.fetch_add(1, Ordering::Relaxed);
        Some(Place { state: state.clone(), counts: Arc::clone(counts), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = crate::state::lock(&self.counts);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
        self.state.control.lane_left(self.address);
        self.state.lane.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until told to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    state: ApiState,
    encrypted: bool,
    mut stop: watch::Receiver<bool>,
) {
    let counts = Counts::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
                {
                    tokio::time::sleep(ACCEPT_REST).await;
                }
                continue;
            }
        };
        let settings = state.settings();
        let Some(place) = Place::take(&state, &counts, address, &settings.limits) else {
            state.lane.counters.connections_refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (router, stop) = (router.clone(), stop.clone());
        tokio::spawn(async move {
            connection(stream, address, router, &place, encrypted, stop).await;
            drop(place);
        });
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    router: Router,
    place: &Place,
    encrypted: bool,
    stop: watch::Receiver<bool>,
) {
    let settings = place.state.settings();
    let limits = &settings.limits;
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, limits.write_timeout);
    let tls = if encrypted { settings.tls.clone() } else { None };
    let Some(tls) = tls else {
        let peer = Peer::new(address, Vec::new(), settings.generation);
        return speak(stream, peer, router, limits, stop).await;
    };
    let handshake = TlsAcceptor::from(tls).accept(stream);
    let Ok(Ok(stream)) = tokio::time::timeout(limits.header_timeout, handshake).await else {
        place.state.lane.counters.handshakes_failed.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
    let peer = Peer::new(address, chain, settings.generation);
    speak(stream, peer, router, limits, stop).await;
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    limits: &ControlLimits,
    mut stop: watch::Receiver<bool>,
) {
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request.map(Body::new)
    });
    // The time for a head runs from the end of the answer before: it bounds idle connections too.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(usize::try_from(limits.header_bytes_max).unwrap_or(usize::MAX).max(8 << 10))
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    tokio::select! {
        // How a client leaves is its own affair.
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(Duration::from_secs(1), connection).await;
}
