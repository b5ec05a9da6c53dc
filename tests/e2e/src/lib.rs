//! What the end-to-end tests stand on: a deployment made by `ravelin init`, a node run by `ravelin serve`, and other
//! programs whose output is followed.
//!
//! Nothing here sleeps: a test waits for a line of the node's log or of a client's output, and fails with what was there
//! instead. Everything that was started ends with the value that stands for it.

mod deployment;
mod node;
mod process;
mod provider;

pub use deployment::Deployment;
pub use node::Node;
pub use process::{Process, output, target};
pub use provider::{Provider, code};

use std::path::PathBuf;
use std::time::Duration;

/// What has not happened by then does not.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The binary under test: `RAVELIN_BIN`, or the one in the target folder.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RAVELIN_BIN") {
        let path = PathBuf::from(path);
        assert!(path.exists(), "RAVELIN_BIN is {}, which does not exist", path.display());
        return path;
    }
    let built = ["release", "debug"].map(|profile| target().join(profile).join("ravelin"));
    built.into_iter().find(|path| path.exists()).unwrap_or_else(|| {
        panic!("there is no ravelin in {}: build it, or set RAVELIN_BIN", target().display())
    })
}

/// `ravelin` with these arguments.
pub fn ravelin<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> std::process::Command {
    let mut command = std::process::Command::new(binary());
    command.args(arguments);
    command
}

/// The time in seconds since the Unix epoch.
pub fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs()
}
