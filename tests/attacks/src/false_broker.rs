//! A broker that lies, for the clients that Ravelin brings along.

use crate::node::binary;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A client that meets a malicious broker may not take longer to give up.
const GIVES_UP: Duration = Duration::from_secs(15);

/// How a client of ours ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The most memory it used.
    pub memory_peak: u64,
}

/// Listens, and gives every connection to `behave`, on a thread of its own.
pub fn listen(behave: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let mut socket = socket;
            socket.set_read_timeout(Some(GIVES_UP)).ok();
            behave(&mut socket);
        }
    });
    address
}

/// Reads a packet and throws it away; returns its first byte, 0 if there is none.
pub fn read_packet(socket: &mut TcpStream) -> u8 {
    let mut byte = [0];
    let mut next = |socket: &mut TcpStream| socket.read_exact(&mut byte).map(|()| byte[0]);
    let Ok(first) = next(socket) else { return 0 };
    let (mut length, mut shift) = (0usize, 0);
    loop {
        let Ok(byte) = next(socket) else { return 0 };
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if socket.read_exact(&mut vec![0; length]).is_err() { 0 } else { first }
}

/// Runs `ravelin` with these arguments against `broker` until it ends by itself.
pub fn run(broker: SocketAddr, arguments: &[&str]) -> Outcome {
    let mut child = Command::new(binary())
        .args(arguments)
        .args(["-h", "127.0.0.1", "-p", &broker.port().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ravelin starts");
    let deadline = Instant::now() + GIVES_UP;
    let mut memory_peak = 0;
    while child.try_wait().expect("its status").is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok());
        memory_peak = peak.map_or(memory_peak, |kilobytes| kilobytes << 10);
        if Instant::now() > deadline {
            child.kill().ok();
            let output = child.wait_with_output().expect("its output");
            panic!("{arguments:?} does not give up: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("its output");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        memory_peak,
    }
}
