//! The nodes that refuse: this binary again, as another process, so that its CPU time can be told from the flood's.

use ravelin_node::config::Config;
use ravelin_node::control::Actor;
use ravelin_node::{Node, Rung};
use ravelin_protect::{Ban, BanSubject};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Figures are published once a second.
const PUBLISHED: Duration = Duration::from_millis(1100);

/// A node in a process of its own; it ends when this is dropped.
pub struct Child {
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// Where its first listener is.
    pub address: SocketAddr,
}

impl Child {
    /// Starts a node with a configuration, on a core of its own.
    pub fn start(config: &Path, ban: Option<&str>, core: usize) -> anyhow::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "reject", "--node"]).arg(config).args(["--node-core", &core.to_string()]);
        if let Some(subject) = ban {
            command.args(["--ban", subject]);
        }
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let mut stdout = BufReader::new(stdout.ok_or_else(|| anyhow::anyhow!("no pipe"))?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let address =
            line.trim().parse().map_err(|_| anyhow::anyhow!("the node did not start: {}", line.trim()))?;
        Ok(Child { process, stdin, stdout, address })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How many connections a rung has refused.
    pub fn refused(&mut self, rung: &str) -> anyhow::Result<u64> {
        if let Some(stdin) = &mut self.stdin {
            writeln!(stdin, "figures")?;
        }
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let figures: Value = serde_json::from_str(&line)?;
        figures[rung].as_u64().ok_or_else(|| anyhow::anyhow!("the node has no rung `{rung}`"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.process.wait();
    }
}

/// Is a node until standard input ends.
pub fn serve(config: &Path, ban: Option<&str>, core: usize) -> anyhow::Result<()> {
    super::flood::pin(core)?;
    let text = std::fs::read_to_string(config)?;
    let base = config.parent().unwrap_or(Path::new("."));
    let config = Config::parse(&text, base).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let node = Node::start_with_log(config, Box::new(std::io::sink()))?;
    let control = node.control();
    if let Some(subject) = ban {
        let subject = BanSubject::parse(subject)?;
        let ban = Ban { subject, reason: "a benchmark".into(), by: "bench".into(), at_s: 0, until_s: None };
        control.blocking_ban(&Actor::node(), ban)?;
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", node.addresses()[0])?;
    for line in std::io::stdin().lines() {
        line?;
        std::thread::sleep(PUBLISHED);
        let rungs = control.figures().rungs;
        let all = Rung::ALL.iter().map(|rung| (rung.name().to_owned(), json!(rungs.of(*rung).refused)));
        writeln!(stdout, "{}", Value::Object(all.collect()))?;
    }
    node.shutdown()?;
    Ok(())
}
