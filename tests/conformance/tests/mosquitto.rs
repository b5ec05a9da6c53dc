//! The whole suite against Mosquitto 2.0.11, whose deviations are listed with their reasons.
//!
//! It shows that the tests are right about a broker that thousands use; a failure that the list does not have is
//! a fault of a test, or a deviation to study.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ravelin_conformance::{Deviation, Options, run};

const PROGRAM: &str = "/usr/sbin/mosquitto";
const DEVIATIONS: &str = include_str!("../data/mosquitto-2.0.11-deviations.txt");

struct Broker {
    child: Child,
    folder: std::path::PathBuf,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// Two ports that are free just now, and differ: both are held until both are known.
fn free_ports() -> (u16, u16) {
    let bind = || TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (one, other) = (bind(), bind());
    let port = |listener: &TcpListener| listener.local_addr().expect("its address").port();
    (port(&one), port(&other))
}

/// Somebody else may take a port between the moment that it is found and the moment that it is used: then other ones.
fn start_on_free_ports() -> (Broker, u16, u16) {
    for _ in 0..5 {
        let (plain, websocket) = free_ports();
        let mut broker = start(plain, websocket);
        if listens(&mut broker, plain) && listens(&mut broker, websocket) {
            return (broker, plain, websocket);
        }
    }
    panic!("mosquitto does not listen on any of five pairs of ports");
}

fn start(plain: u16, websocket: u16) -> Broker {
    assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is missing: apt-get install mosquitto");
    let folder = std::env::temp_dir().join(format!("ravelin-conformance-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the configuration");
    let configuration = folder.join("mosquitto.conf");
    let text = format!(
        "listener {plain} 127.0.0.1\nallow_anonymous true\n\
         listener {websocket} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n"
    );
    fs::write(&configuration, text).expect("the configuration");
    let child = Command::new(PROGRAM)
        .arg("-c")
        .arg(&configuration)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mosquitto starts");
    Broker { child, folder }
}

/// Waits until the broker listens. False: it has ended.
fn listens(broker: &mut Broker, port: u16) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = broker.child.try_wait().expect("the state of mosquitto").is_some();
        if ended || Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

#[test]
fn mosquitto_fails_only_where_it_is_known_to() {
    let (_broker, plain, websocket) = start_on_free_ports();
    let mut options = Options::new(format!("127.0.0.1:{plain}"));
    options.websocket = Some(format!("127.0.0.1:{websocket}"));
    options.expected = Deviation::parse_all(DEVIATIONS).expect("the list of deviations");
    let report = run(&options).expect("the suite runs");
    println!("{report}");
    assert!(report.is_success(), "mosquitto fails where it was not expected to:\n{report}");
}
