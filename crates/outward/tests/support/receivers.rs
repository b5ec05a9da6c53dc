//! Receivers that fail in the ways that receivers do, and a host that keeps in memory.

#![allow(dead_code, reason = "each test uses a part")]

use ravelin_event::Event;
use ravelin_outward::Host;
use ravelin_outward::senders::ClientTls;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Keeps in memory what a node keeps on disk.
#[derive(Default)]
pub struct Memory {
    pub kept: Mutex<BTreeMap<String, Vec<u8>>>,
    pub events: Mutex<Vec<Event>>,
}

impl Host for Memory {
    fn keep(&self, key: &str, value: &[u8]) {
        self.kept.lock().unwrap().insert(key.into(), value.into());
    }

    fn forget(&self, key: &str) {
        self.kept.lock().unwrap().remove(key);
    }

    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
    }

    fn emit(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

/// Waits until `done`, or fails after a time that no machine needs.
pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < end, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A CA, and what a server of `localhost` needs.
pub struct Certificates {
    pub client: ClientTls,
    pub server: Arc<rustls::ServerConfig>,
}

pub fn certificates() -> Certificates {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = ca.self_signed(&ca_key).unwrap().der().clone();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(leaf.der().to_vec())], private)
        .unwrap();
    let client = ClientTls { provider, authorities: vec![authority], identity: None };
    Certificates { client, server: Arc::new(server) }
}

/// What a receiver does with one connection or request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Takes it.
    Take,
    /// Closes the connection before anything was said.
    Reset,
    /// Reads, and never answers.
    Stall,
    /// Answers with this status.
    Status(u16),
    /// Takes so many messages and closes.
    TakeSome(usize),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

pub trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Accepts; `turn` says what is done with the first connections, then all are taken.
pub struct Receiver {
    pub address: SocketAddr,
    pub turns: Arc<AtomicUsize>,
}

fn listen(
    server: Arc<rustls::ServerConfig>,
    script: Vec<Turn>,
    handle: impl Fn(&mut dyn ReadWrite, Turn) + Send + Sync + 'static,
) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let turns = Arc::new(AtomicUsize::new(0));
    let (counted, handle) = (Arc::clone(&turns), Arc::new(handle));
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let turn = script.get(counted.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(Turn::Take);
            let (server, handle) = (Arc::clone(&server), Arc::clone(&handle));
            std::thread::spawn(move || serve(socket.unwrap(), server, turn, &*handle));
        }
    });
    Receiver { address, turns }
}

fn serve(
    socket: TcpStream,
    server: Arc<rustls::ServerConfig>,
    turn: Turn,
    handle: &dyn Fn(&mut dyn ReadWrite, Turn),
) {
    if turn == Turn::Reset {
        return;
    }
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let connection = rustls::ServerConnection::new(server).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, socket);
    handle(&mut stream, turn);
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

/// HTTPS: `judge` may refuse what it gets with a status.
pub fn https(
    server: Arc<rustls::ServerConfig>,
    script: Vec<Turn>,
    judge: impl Fn(&Request) -> u16 + Send + Sync + 'static,
) -> (Receiver, Arc<Mutex<Vec<Request>>>) {
    let taken: Arc<Mutex<Vec<Request>>> = Arc::default();
    let got = Arc::clone(&taken);
    let receiver = listen(server, script, move |stream, turn| {
        while let Some(request) = read_request(stream) {
            let status = match turn {
                Turn::Stall => return std::thread::sleep(Duration::from_secs(30)),
                Turn::Status(status) => status,
                _ => judge(&request),
            };
            if status == 200 {
                got.lock().unwrap().push(request);
            }
            let _ = write!(stream, "HTTP/1.1 {status} Said\r\nContent-Length: 2\r\n\r\nok");
            let _ = stream.flush();
            if matches!(turn, Turn::Status(_)) {
                return;
            }
        }
    });
    (receiver, taken)
}

fn read_request(stream: &mut dyn ReadWrite) -> Option<Request> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let headers: BTreeMap<String, String> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut body = vec![0; headers.get("content-length")?.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(Request { headers, body: String::from_utf8(body).unwrap() })
}

/// Syslog over TLS, by octet counting.
pub fn syslog(server: Arc<rustls::ServerConfig>, script: Vec<Turn>) -> (Receiver, Arc<Mutex<Vec<String>>>) {
    let taken: Arc<Mutex<Vec<String>>> = Arc::default();
    let got = Arc::clone(&taken);
    let receiver = listen(server, script, move |stream, turn| {
        let most = if let Turn::TakeSome(most) = turn { most } else { usize::MAX };
        for _ in 0..most {
            if turn == Turn::Stall {
                return std::thread::sleep(Duration::from_secs(30));
            }
            let Some(message) = read_frame(stream) else { return };
            got.lock().unwrap().push(message);
        }
    });
    (receiver, taken)
}

fn read_frame(stream: &mut dyn ReadWrite) -> Option<String> {
    let (mut length, mut byte) = (String::new(), [0]);
    loop {
        stream.read_exact(&mut byte).ok()?;
        match byte[0] {
            b' ' => break,
            digit => length.push(digit as char),
        }
    }
    let mut message = vec![0; length.parse().expect("octets are counted")];
    stream.read_exact(&mut message).ok()?;
    Some(String::from_utf8(message).unwrap())
}
