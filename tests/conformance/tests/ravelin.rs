//! The whole suite against this repository's own broker, with no failure, no gap and no deviation allowed.
//!
//! `RAVELIN_BIN` names the binary; without it, the one in the workspace's target folder is taken.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ravelin_conformance::{Options, run};

struct Broker {
    child: Child,
    data: PathBuf,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.data).ok();
    }
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RAVELIN_BIN") {
        let path = PathBuf::from(path);
        assert!(path.exists(), "RAVELIN_BIN is {}, which does not exist", path.display());
        return path;
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let built = ["release", "debug"].map(|profile| target.join(profile).join("ravelin"));
    built.into_iter().find(|path| path.exists()).unwrap_or_else(|| {
        panic!(
            "there is no ravelin in {}: run `cargo build -p ravelin`, or set RAVELIN_BIN",
            target.display()
        )
    })
}

fn start(port: u16) -> Broker {
    let data = std::env::temp_dir().join(format!("ravelin-conformance-data-{}", std::process::id()));
    fs::create_dir_all(&data).expect("a data folder");
    let child = Command::new(binary())
        .args(["serve", "--dangerous-open", &format!("127.0.0.1:{port}"), "--data"])
        .arg(&data)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("ravelin starts");
    Broker { child, data }
}

fn wait_for(broker: &mut Broker, port: u16) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = broker.child.try_wait().expect("its status") {
            panic!("ravelin ended with {status} before it listened");
        }
        assert!(Instant::now() < deadline, "ravelin does not listen on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn ravelin_conforms() {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let mut broker = start(port);
    wait_for(&mut broker, port);
    let report = run(&Options::new(format!("127.0.0.1:{port}"))).expect("the suite runs");
    println!("{report}");
    assert!(report.is_success(), "ravelin does not conform:\n{report}");
}
