//! The whole suite against this repository's own broker, with no failure, no gap and nothing left out.
//!
//! `RAVELIN_BIN` names the binary; without it, the one in the workspace's target folder is taken. The node keeps its
//! state on disk, as in a plant. It runs once with a single shard and once with three: a subscriber and its publisher
//! are then mostly on different ones.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use ravelin_conformance::{Options, ScramCredential, run};

const USER: &str = "conformance";
const PASSWORD: &str = "correct horse battery staple";

const CONFIGURATION: &str = r#"[node]
data = "data"

[[listener]]
name = "plain"
transport = "tcp"
address = "127.0.0.1:0"
bind_client_id = "none"
authentication = ["scram-sha-256"]
dangerous_anonymous = true

[[listener]]
name = "websocket"
transport = "ws"
address = "127.0.0.1:0"
bind_client_id = "none"
dangerous_anonymous = true

[authentication]
password_file = "passwords"

[access]
dangerous_allow_everything = true

[store]
key_file = "store.key"

[log]
format = "json"
"#;

/// One run at a time: what a test waits for is measured in seconds, and two nodes on few cores are late.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn ravelin_with_one_worker_conforms() {
    conforms(1);
}

#[test]
fn ravelin_with_three_workers_conforms() {
    conforms(3);
}

fn conforms(workers: u16) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Folder::new(workers);
    let node = Node::start(&folder, workers);
    let mut options = Options::new(node.address("plain"));
    options.websocket = Some(node.address("websocket"));
    options.scram = Some(ScramCredential { user: USER.into(), password: PASSWORD.into() });
    options.strict = true;
    let report = run(&options).expect("the suite runs");
    println!("{report}");
    assert!(report.is_success(), "ravelin with {workers} workers does not conform:\n{report}");
}

/// A deployment, deleted with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(workers: u16) -> Self {
        let name = format!("ravelin-conformance-{}-{workers}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        // `init` makes the key of the store; its configuration, which lets nobody in, gives way.
        succeed(Command::new(binary()).arg("init").arg(&folder.0), "");
        let mut file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(folder.0.join("ravelin.toml"))
            .expect("the configuration that init wrote");
        file.write_all(CONFIGURATION.as_bytes()).expect("the configuration");
        let mut add = Command::new(binary());
        add.args(["client", "add", USER, "--password=stdin", "--dir"]).arg(&folder.0);
        succeed(&mut add, PASSWORD);
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A node that serves, ended with the value.
struct Node {
    child: Child,
    addresses: BTreeMap<String, String>,
}

impl Node {
    fn start(folder: &Folder, workers: u16) -> Self {
        let mut child = Command::new(binary())
            .arg("serve")
            .arg(&folder.0)
            .args(["--workers", &workers.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("ravelin starts");
        let mut log = BufReader::new(child.stderr.take().expect("its log")).lines();
        let mut node = Self { child, addresses: BTreeMap::new() };
        while node.addresses.len() < 2 {
            let line = log.next().expect("ravelin ended before it listened").expect("its log");
            let event = event_or_print(&line);
            let field = |name: &str| event["fields"][name].as_str().unwrap_or_default().to_owned();
            if event["id"] == "node.listening" {
                node.addresses.insert(field("listener"), field("address"));
            }
        }
        // The rest must be read too, since a full pipe would stop the node.
        std::thread::spawn(move || {
            for line in log.map_while(Result::ok) {
                event_or_print(&line);
            }
        });
        node
    }

    fn address(&self, listener: &str) -> String {
        self.addresses[listener].clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What is no event is for whoever reads the test: an error of the configuration, or an internal one.
fn event_or_print(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|_| {
        println!("{line}");
        serde_json::Value::Null
    })
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

/// Runs a command to its end.
fn succeed(command: &mut Command, input: &str) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("ravelin starts");
    let mut stdin: ChildStdin = child.stdin.take().expect("its input");
    // One that wants no input may have ended.
    stdin.write_all(input.as_bytes()).ok();
    drop(stdin);
    let status = child.wait().expect("its status");
    assert!(status.success(), "{command:?} ended with {status}");
}
