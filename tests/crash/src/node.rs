//! A real `ravelin serve` process: started, watched, killed.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longer than any start takes, on any machine that builds the workspace.
const START_MAX: Duration = Duration::from_secs(60);

/// When a node counts a message as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The default.
    Commit,
    /// Synced now and then.
    Interval,
    /// Synced by the operating system.
    None,
}

/// A running node.
pub struct Node {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    lines: Receiver<String>,
    /// What it has written to standard error so far.
    pub log: Vec<String>,
}

/// How a process ended that was not killed.
#[derive(Debug)]
pub struct Refusal {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its standard error.
    pub log: String,
}

/// The binary that is tested: `RAVELIN_BIN`, else the newer of the release and the debug build.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RAVELIN_BIN") {
        return path.into();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target"),
    };
    let built = |profile: &str| {
        let path = target.join(profile).join("ravelin");
        let at = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok()?;
        Some((at, path))
    };
    let newest = built("release").into_iter().chain(built("debug")).max();
    newest.expect("`cargo build -p ravelin` comes first, or RAVELIN_BIN names the binary").1
}

impl Node {
    /// Starts a node on the data directory and waits until it listens. `Err(Refusal)` if it ended instead.
    pub fn start(data: &Path, workers: u16, durability: Durability) -> Result<Node, Refusal> {
        let mut node = Node::spawn(data, workers, durability);
        match node.await_listening() {
            Some(address) => {
                node.address = address;
                Ok(node)
            }
            None => {
                let _ = node.child.kill();
                let code = node.child.wait().ok().and_then(|status| status.code());
                Err(Refusal { code, log: std::mem::take(&mut node.log).join("\n") })
            }
        }
    }

    /// Starts a node and kills it after so long, however far it is.
    pub fn start_and_kill(data: &Path, workers: u16, durability: Durability, after: Duration) {
        let mut node = Node::spawn(data, workers, durability);
        std::thread::sleep(after);
        node.kill();
    }

    fn spawn(data: &Path, workers: u16, durability: Durability) -> Node {
        let mut command = Command::new(binary());
        command.arg("serve");
        match durability {
            Durability::Commit => {
                command.arg("--dangerous-open").arg("127.0.0.1:0").arg("--data").arg(data);
            }
            _ => {
                command.arg(configure(data, durability).expect("the configuration is written"));
            }
        }
        command.arg("--workers").arg(workers.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let stderr = child.stderr.take().expect("standard error is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        Node { child, address: ([127, 0, 0, 1], 0).into(), lines, log: Vec::new() }
    }

    fn await_listening(&mut self) -> Option<SocketAddr> {
        let until = Instant::now() + START_MAX;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let address = line.contains("node.listening").then(|| address_in(&line)).flatten();
                    self.log.push(line);
                    if address.is_some() {
                        return address;
                    }
                }
                Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => return None,
            }
        }
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        // `Child::kill` is SIGKILL: the process has no say in it. It fails only if there is no process any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read_log();
    }

    /// Takes what the process has written since.
    pub fn read_log(&mut self) {
        self.log.extend(self.lines.try_iter());
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The first `127.0.0.1:PORT` in a line.
fn address_in(line: &str) -> Option<SocketAddr> {
    let at = line.find("127.0.0.1:")?;
    let end = line[at..].find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
    line[at..].get(..end.unwrap_or(line.len() - at))?.parse().ok()
}

/// Writes a configuration with another durability beside the data directory. The key is the one that an open node has
/// made in it before.
fn configure(data: &Path, durability: Durability) -> io::Result<PathBuf> {
    let path = data.with_extension("toml");
    let durability = if durability == Durability::None { "none" } else { "interval" };
    let data = data.display();
    let text = format!(
        "[node]\ndata = \"{data}\"\n\
         [[listener]]\nname = \"open\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
         bind_client_id = \"none\"\ndangerous_anonymous = true\n\
         [access]\ndangerous_allow_everything = true\n\
         [store]\nkey_file = \"{data}/store.key\"\ndurability = \"{durability}\"\n"
    );
    fs::write(&path, text)?;
    Ok(path)
}

/// The segments of the log in a data directory, oldest first.
pub fn segments(data: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(data.join("log")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("segment-")));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

/// The files below a directory that hold one of the texts in the clear.
pub fn files_with(directory: &Path, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else { return found };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            found.extend(files_with(&path, texts));
            continue;
        }
        let bytes = fs::read(&path).unwrap_or_default();
        for text in texts {
            if contains(&bytes, text.as_bytes()) {
                found.push(format!("{} holds \"{text}\"", path.display()));
            }
        }
    }
    found
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let (Some(&first), len) = (wanted.first(), wanted.len()) else { return true };
    bytes.windows(len).any(|window| window[0] == first && window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_a_line_of_the_log() {
        let line = "INFO node.listening listener=open address=127.0.0.1:40123 transport=tcp";
        assert_eq!(address_in(line), Some(([127, 0, 0, 1], 40123).into()));
        assert_eq!(address_in("nothing"), None);
    }

    #[test]
    fn a_text_is_found_wherever_it_stands() {
        assert!(contains(b"xxabc", b"abc") && contains(b"abc", b"abc"));
        assert!(!contains(b"ab", b"abc") && !contains(b"xxabx", b"abc"));
    }
}
