//! A node of its own for a test: the real binary, a free port, a directory that goes with it.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long an event may take to be logged, on a machine that is busy.
const LOGGED: Duration = Duration::from_secs(20);
/// How long a node may take to start or stop.
const STARTED: Duration = Duration::from_secs(20);

/// The binary under test: `RAVELIN_BIN`, or what is in the workspace's target folder.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RAVELIN_BIN") {
        let path = PathBuf::from(path);
        assert!(path.exists(), "RAVELIN_BIN is {}, which does not exist", path.display());
        return path;
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let built = ["release", "debug"].map(|profile| target.join(profile).join("ravelin"));
    built.into_iter().find(|path| path.exists()).unwrap_or_else(|| {
        let target = target.display();
        panic!("there is no ravelin in {target}: run `cargo build -p ravelin`, or set RAVELIN_BIN")
    })
}

/// A line of the event log.
#[derive(Clone, Debug)]
pub struct Event(Value);

impl Event {
    /// The event's id.
    pub fn id(&self) -> &str {
        self.0["id"].as_str().unwrap_or_default()
    }

    /// The level.
    pub fn level(&self) -> &str {
        self.0["level"].as_str().unwrap_or_default()
    }

    /// A field that is text; empty if it is not there.
    pub fn text(&self, field: &str) -> &str {
        self.0["fields"][field].as_str().unwrap_or_default()
    }

    /// A field that is a number; 0 if it is not there.
    pub fn number(&self, field: &str) -> u64 {
        self.0["fields"][field].as_u64().unwrap_or_default()
    }

    /// Whether it has this id and these fields.
    pub fn is(&self, id: &str, fields: &[(&str, &str)]) -> bool {
        self.id() == id && fields.iter().all(|(name, value)| self.text(name) == *value)
    }
}

/// What a node is started with.
pub struct Setup {
    directory: TempDir,
    listeners: String,
    sections: String,
    access: String,
    limits: String,
    data: bool,
    file_bytes_max: Option<u64>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            directory: tempfile::tempdir().expect("a directory"),
            listeners: String::new(),
            sections: String::new(),
            access: "dangerous_allow_everything = true".into(),
            limits: String::new(),
            data: false,
            file_bytes_max: None,
        }
    }
}

impl Setup {
    /// Keys of `[limits]`.
    pub fn limits(mut self, keys: &str) -> Setup {
        self.limits.push_str(keys);
        self.limits.push('\n');
        self
    }

    /// A listener that replaces the open one: its keys but for `address`.
    pub fn listener(mut self, keys: &str) -> Setup {
        let number = self.listeners.matches("[[listener]]").count();
        self.listeners
            .push_str(&format!("[[listener]]\nname = \"l{number}\"\naddress = \"127.0.0.1:0\"\n{keys}\n"));
        self
    }

    /// The open listener next to others.
    pub fn open_listener(self) -> Setup {
        self.listener("transport = \"tcp\"\nbind_client_id = \"none\"\ndangerous_anonymous = true")
    }

    /// A whole section.
    pub fn section(mut self, text: &str) -> Setup {
        self.sections.push_str(text);
        self.sections.push('\n');
        self
    }

    /// Access rules instead of none.
    pub fn rules(mut self, rules: &str) -> Setup {
        self.access = "rules_file = \"access.rules\"".into();
        self.file("access.rules", rules.as_bytes())
    }

    /// A file in the node's directory, for its eyes only.
    pub fn file(self, name: &str, content: &[u8]) -> Setup {
        write_private(&self.directory.path().join(name), content);
        self
    }

    /// A password file with these users.
    pub fn passwords(self, users: &[(&str, &str)]) -> Setup {
        let path = self.directory.path().join("passwords");
        for (name, password) in users {
            let mut child = Command::new(binary())
                .arg("passwd")
                .arg(&path)
                .arg(name)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .expect("ravelin passwd starts");
            let mut stdin = child.stdin.take().expect("a pipe");
            std::io::Write::write_all(&mut stdin, format!("{password}\n").as_bytes()).expect("it reads");
            drop(stdin);
            assert!(child.wait().expect("its status").success(), "ravelin passwd");
        }
        self.section("[authentication]\npassword_file = \"passwords\"")
    }

    /// State that outlives the process.
    pub fn durable(mut self) -> Setup {
        let deployment = self.directory.path().join("deployment");
        let status = Command::new(binary()).arg("init").arg(&deployment).stdout(Stdio::null()).status();
        assert!(status.expect("ravelin init starts").success(), "ravelin init");
        let key = fs::read(deployment.join("store.key")).expect("the key that init made");
        self.data = true;
        self.section("[store]\nkey_file = \"store.key\"").file("store.key", &key)
    }

    /// No file may grow beyond so many bytes: what a full disk is to a process.
    pub fn file_bytes_max(mut self, bytes: u64) -> Setup {
        self.file_bytes_max = Some(bytes);
        self
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn config(&self) -> String {
        let Setup { listeners, sections, access, limits, data, .. } = self;
        let data = if *data { "data = \"data\"\n" } else { "" };
        format!(
            "[node]\nworkers = 2\n{data}{listeners}\n[access]\n{access}\n{sections}\n\
             [log]\nformat = \"json\"\n[sys]\ninterval = \"0s\"\n[limits]\n{limits}"
        )
    }

    fn write(&self) {
        write_private(&self.path().join("ravelin.toml"), self.config().as_bytes());
    }

    fn command(&self) -> Command {
        let mut command = match self.file_bytes_max {
            None => Command::new(binary()),
            Some(bytes) => {
                // With the signal ignored, a write beyond the limit fails as one to a full disk does.
                let mut command = Command::new("sh");
                let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 512);
                command.arg("-c").arg(script).arg(binary());
                command
            }
        };
        command.arg("serve").arg(self.path()).env("TMPDIR", self.path()).stdout(Stdio::null());
        command.env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET");
        command
    }

    /// Starts the node and waits until it serves.
    pub fn start(mut self) -> Node {
        if self.listeners.is_empty() {
            self = self.open_listener();
        }
        self.write();
        Node::run(self)
    }

    /// Starts a node that must refuse to: its exit code and what it says.
    pub fn refuses_to_start(&self) -> (Option<i32>, String) {
        self.write();
        end_of(self.command().stderr(Stdio::piped()).spawn().expect("ravelin starts"))
    }
}

fn write_private(path: &Path, content: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, content).expect("a file in the test's directory");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its permissions");
}

/// Waits for a process that must end by itself.
fn end_of(mut child: Child) -> (Option<i32>, String) {
    let deadline = Instant::now() + STARTED;
    while child.try_wait().expect("its status").is_none() {
        if Instant::now() > deadline {
            child.kill().ok();
            panic!("the process does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("its output");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[derive(Default)]
struct Log {
    lines: Vec<String>,
    ended: bool,
}

type Shared = Arc<(Mutex<Log>, Condvar)>;

/// A node that serves. Killed when dropped.
pub struct Node {
    child: Child,
    log: Shared,
    setup: Option<Setup>,
    /// Where each listener is, in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
}

impl Node {
    /// A node with one open listener and these limits.
    pub fn open(limits: &str) -> Node {
        Setup::default().limits(limits).start()
    }

    fn run(setup: Setup) -> Node {
        let mut child = setup.command().stderr(Stdio::piped()).spawn().expect("ravelin starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let log = Shared::default();
        let writer = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                writer.0.lock().unwrap_or_else(PoisonError::into_inner).lines.push(line);
                writer.1.notify_all();
            }
            writer.0.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            writer.1.notify_all();
        });
        let listeners = setup.listeners.matches("[[listener]]").count();
        let mut node = Node { child, log, setup: Some(setup), addresses: Vec::new() };
        let listening = node.wait_for(STARTED, "node.listening", |events| {
            let found: Vec<Event> =
                events.iter().filter(|event| event.id() == "node.listening").cloned().collect();
            (found.len() == listeners).then_some(found)
        });
        let address = |event: &Event| event.text("address").parse().expect("an address");
        node.addresses = listening.iter().map(address).collect();
        node
    }

    /// Where the first listener is.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The node's directory.
    pub fn path(&self) -> &Path {
        self.setup.as_ref().expect("until it is stopped").path()
    }

    /// The lines of the log so far.
    pub fn lines(&self) -> Vec<String> {
        self.log.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// The events so far.
    pub fn events(&self) -> Vec<Event> {
        parse(&self.lines())
    }

    /// Events of an id so far.
    pub fn count(&self, id: &str) -> usize {
        self.events().iter().filter(|event| event.id() == id).count()
    }

    /// Waits for an event with an id and fields that are text.
    pub fn expect(&self, id: &str, fields: &[(&str, &str)]) -> Event {
        let what = format!("{id} {fields:?}");
        self.expect_where(&what, |event| event.is(id, fields))
    }

    /// Waits for an event.
    pub fn expect_where(&self, what: &str, is: impl Fn(&Event) -> bool) -> Event {
        self.wait_for(LOGGED, what, |events| events.iter().find(|event| is(event)).cloned())
    }

    /// Waits for the refusal of a connection that was not accepted yet, for one of these reasons.
    pub fn expect_refused(&self, from: SocketAddr, whys: &[&str]) {
        let address = from.to_string();
        self.expect_where(&format!("refusal of {address} for {whys:?}"), |event| {
            event.is("connection.refused", &[("address", &address)]) && whys.contains(&event.text("why"))
        });
    }

    /// Waits for the end of a client's connection, for this cause.
    pub fn expect_disconnected(&self, from: SocketAddr, cause: &str) {
        self.expect("client.disconnected", &[("address", &from.to_string()), ("cause", cause)]);
    }

    fn wait_for<T>(&self, time: Duration, what: &str, find: impl Fn(&[Event]) -> Option<T>) -> T {
        let deadline = Instant::now() + time;
        let mut log = self.log.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = find(&parse(&log.lines)) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || log.ended {
                let tail = log.lines[log.lines.len().saturating_sub(30)..].join("\n");
                panic!("no event: {what}. The end of the log:\n{tail}");
            }
            log = self.log.1.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process lives");
    }

    /// At most so many open files from now on.
    pub fn limit_files(&self, files: u64) {
        let limit = rustix::process::Rlimit { current: Some(files), maximum: Some(files) };
        rustix::process::prlimit(Some(self.pid()), rustix::process::Resource::Nofile, limit)
            .expect("a limit");
    }

    /// Open files now.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the process lives").count()
    }

    /// Bytes of memory that are in use.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory that was in use since [`Node::forget_memory_peak`].
    pub fn memory_peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// The peak begins again.
    pub fn forget_memory_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("the process lives");
    }

    fn status(&self, key: &str) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a line of its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") << 10
    }

    /// Processor time that was used.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the process lives");
        let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 2..].split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("ticks");
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// The node must live, and nothing in it may have panicked.
    pub fn assert_healthy(&mut self) {
        let status = self.child.try_wait().expect("its status");
        let lines = self.lines();
        let panicked = lines
            .iter()
            .find(|line| line.contains("internal error at") || line.contains("node.internal_error"));
        assert_eq!(panicked, None, "the node panicked");
        assert_eq!(status, None, "the node ended: {:?}", lines.last());
    }

    /// Stops the node in order. What remains can be started again.
    pub fn stop(mut self) -> (ExitStatus, Setup) {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Ends the node as a crash does.
    pub fn kill(mut self) -> (ExitStatus, Setup) {
        self.signal(Signal::KILL);
        self.wait()
    }

    fn wait(&mut self) -> (ExitStatus, Setup) {
        let deadline = Instant::now() + STARTED;
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return (status, self.setup.take().expect("it is taken here only"));
            }
            assert!(Instant::now() < deadline, "the node does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            let lines = self.lines();
            eprintln!("the end of the node's log:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
    }
}

fn parse(lines: &[String]) -> Vec<Event> {
    lines.iter().filter_map(|line| serde_json::from_str(line).ok()).map(Event).collect()
}
