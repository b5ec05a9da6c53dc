//! As many connections as one core can open, each refused.

use rustix::net::{AddressFamily, SocketType, bind, connect, sockopt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a connection says before it is refused.
#[derive(Clone)]
pub enum Say {
    /// These bytes, perhaps none.
    Bytes(Arc<[u8]>),
    /// A TLS handshake, without a certificate.
    Handshake(Arc<ClientConfig>),
}

/// How large a flood is.
#[derive(Clone, Copy)]
pub struct Size {
    /// Connections at once.
    pub threads: usize,
    /// Addresses of the loopback network that they come from.
    pub sources: u64,
}

/// A flood that runs, or what it did.
pub struct Flood {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Connections that the node has closed.
    pub ended: u64,
}

struct Shared {
    stop: AtomicBool,
    ended: AtomicU64,
}

impl Flood {
    /// Runs for a time.
    pub fn run(node: SocketAddr, say: Say, time: Duration, size: Size) -> anyhow::Result<Flood> {
        let flood = Flood::start(node, say, size)?;
        std::thread::sleep(time);
        flood.stop()
    }

    /// Begins.
    pub fn start(node: SocketAddr, say: Say, size: Size) -> anyhow::Result<Flood> {
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), ended: AtomicU64::new(0) });
        let thread = |number: u64| {
            let (shared, say) = (Arc::clone(&shared), say.clone());
            std::thread::Builder::new().spawn(move || {
                // Whoever is served is served first, also by this core.
                let _ = rustix::process::nice(19);
                let mut next = number * 97;
                while !shared.stop.load(Ordering::Relaxed) {
                    next += 1;
                    if attack(node, source(next % size.sources), &say).is_ok() {
                        shared.ended.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        let threads = (0..size.threads as u64).map(thread).collect::<Result<_, _>>()?;
        Ok(Flood { shared, threads, ended: 0 })
    }

    /// Connections that the node has closed so far.
    pub fn ended(&self) -> u64 {
        self.shared.ended.load(Ordering::Relaxed)
    }

    /// Ends.
    pub fn stop(mut self) -> anyhow::Result<Flood> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow::anyhow!("the flood has failed"))?;
        }
        self.ended = self.ended();
        Ok(self)
    }
}

/// Pins the process to a core, if there is such a one.
pub fn pin(core: usize) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let mut set = rustix::thread::CpuSet::new();
    set.set(core.min(cores.saturating_sub(1)));
    rustix::thread::sched_setaffinity(None, &set)?;
    Ok(())
}

/// The address of the flood's connection `number`: all of them in 127.64.0.0/10.
fn source(number: u64) -> Ipv4Addr {
    Ipv4Addr::from(0x7F40_0001 + number as u32)
}

/// One connection from an address of the loopback network.
pub fn open(node: SocketAddr, from: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(from, 0))?;
    connect(&socket, &node)?;
    // Whoever is refused does not linger: ports would run out.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens, says what is to be said, and waits until the node has closed.
fn attack(node: SocketAddr, from: Ipv4Addr, say: &Say) -> anyhow::Result<()> {
    let mut stream = open(node, from)?;
    match say {
        Say::Bytes(bytes) => {
            // It may have been closed already.
            let _ = stream.write_all(bytes);
        }
        Say::Handshake(config) => {
            let name = ServerName::try_from("localhost")?;
            let mut connection = ClientConnection::new(Arc::clone(config), name)?;
            // In TLS 1.3 the client is done before the server asks what it has not shown.
            let _ = connection.complete_io(&mut stream);
        }
    }
    let (mut buffer, started) = ([0; 1024], Instant::now());
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        anyhow::ensure!(started.elapsed() < PATIENCE, "the node does not close");
    }
}
