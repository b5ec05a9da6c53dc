//! The configuration: one TOML file, read strictly, with every error at once and at its place.
//!
//! Secure by default: a setting that lowers security has a name that begins with `dangerous_`, and without it the
//! configuration is refused. [`Config::load`] reads the file alone; [`Config::load_files`] reads what it names
//! (certificates, revocation lists, passwords, rules) and is what `serve`, a reload and `check` all use.

mod control;
mod control_files;
mod detect;
mod diagnostic;
mod directory;
mod drill;
mod files;
mod firewall;
mod inventory;
mod jwt;
mod keys;
mod limits;
mod listener;
mod outward;
mod outward_files;
mod playbook;
mod rates;
mod read;
mod record;
mod respond;
mod restrict;
mod sandbox;
mod sections;

pub use control::{CONTROL_LIMITS, ControlConfig, ControlLimits, ControlTls};
pub use control_files::ControlFiles;
pub use detect::DetectConfig;
pub use diagnostic::{ConfigErrors, Diagnostic, Severity};
pub use directory::DirectoryConfig;
pub use drill::DrillConfig;
pub use files::{Fetched, Files, ListenerFiles};
pub use firewall::FirewallConfig;
pub use inventory::InventoryConfig;
pub(crate) use inventory::places;
pub use jwt::JwtConfig;
pub use keys::{Ages, CaConfig, CertificatesConfig, CrlSource, StapleConfig};
pub use limits::{LIMITS, LimitEntry, Limits, MemoryMax};
pub use listener::{Listener, ListenerTls, Transport};
pub use outward::{
    MonitorConfig, OutwardConfig, OutwardKind, SyslogConfig, SyslogTransport, TlsConfig, WebhookConfig,
};
pub use ravelin_protect::Network;
pub use ravelin_protect::units::{
    Rate, format_bytes, format_duration, parse_bytes, parse_duration, parse_rate,
};
pub use record::RecordConfig;
pub use respond::RespondConfig;
pub use restrict::{RestrictConfig, Stage};
pub use sandbox::{SandboxConfig, SandboxMode};

use diagnostic::{Place, Source};
use ravelin_event::Level;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The file that a directory's configuration is in.
pub const FILE_NAME: &str = "ravelin.toml";

/// A configuration that was understood. Paths are absolute or relative to the working directory: those in the file
/// are relative to the file and were joined with its directory.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node itself.
    pub node: NodeConfig,
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Passwords.
    pub authentication: AuthenticationConfig,
    /// Whose tokens are accepted.
    pub jwt: Vec<JwtConfig>,
    /// Who may do what.
    pub access: AccessConfig,
    /// The private CA, if the node has its key.
    pub ca: Option<CaConfig>,
    /// How certificates and revocation lists are kept up to date.
    pub certificates: CertificatesConfig,
    /// Who administers the directory.
    pub directory: DirectoryConfig,
    /// What is kept on disk, and when it counts as kept.
    pub store: StoreConfig,
    /// What the process gives up before it serves.
    pub sandbox: SandboxConfig,
    /// What is recorded beyond denial.
    pub record: RecordConfig,
    /// Every limit.
    pub limits: Limits,
    /// Rates; `[[rate]]`.
    pub rates: Vec<ravelin_protect::rates::RateRule>,
    /// The event log.
    pub log: LogConfig,
    /// The `$SYS` topics.
    pub sys: SysConfig,
    /// The control lane; `None` if there is none.
    pub control: Option<ControlConfig>,
    /// What is kept of devices, and where things are.
    pub inventory: InventoryConfig,
    /// What detectors go by.
    pub detect: DetectConfig,
    /// The operating system's firewall.
    pub firewall: FirewallConfig,
    /// Whether attacks may be rehearsed.
    pub drill: DrillConfig,
    /// What actions take, and the playbooks.
    pub respond: RespondConfig,
    /// What restrictions mean here.
    pub restrict: Arc<RestrictConfig>,
    /// Who is told of alarms, actions and events; `[[outward]]`.
    pub outward: Vec<OutwardConfig>,
    /// What is allowed but deserves a warning: the dangerous settings.
    pub warnings: Vec<Diagnostic>,
    /// Every string of the file as a path.
    mentioned: Vec<PathBuf>,
    source: Arc<Source>,
    places: BTreeMap<String, Place>,
}

/// `[node]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// What the node is called in logs.
    pub name: String,
    /// Where state is kept; `None` keeps nothing.
    pub data: Option<PathBuf>,
    /// How many shards; 0 is one for each core.
    pub workers: usize,
    /// The `[[site]]` that it is at.
    pub site: Option<String>,
}

/// `[authentication]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationConfig {
    /// The password file.
    pub password_file: Option<PathBuf>,
    /// How many passwords are hashed at once.
    pub hash_workers: usize,
    /// How many clients may wait for that; more are refused.
    pub hash_queue_max: usize,
}

/// `[access]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessConfig {
    /// The access rules; without a file everything is denied.
    pub rules_file: Option<PathBuf>,
    /// Everyone may do everything.
    pub dangerous_allow_everything: bool,
}

/// When an acknowledged message is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Before it is acknowledged.
    #[default]
    Commit,
    /// Within [`StoreConfig::interval`].
    Interval,
    /// Whenever the operating system writes it.
    None,
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// When an acknowledged message is on disk.
    pub durability: Durability,
    /// How often the disk is synced with [`Durability::Interval`].
    pub interval: Duration,
    /// The key that what is stored is encrypted with.
    pub key_file: Option<PathBuf>,
}

/// How the event log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Text or JSON.
    pub format: LogFormat,
    /// Events below are left out.
    pub level: Level,
}

/// `[sys]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysConfig {
    /// How often `$SYS` is published; zero is never.
    pub interval: Duration,
}

impl Config {
    /// The text of the file that it was read from.
    pub(crate) fn text(&self) -> &str {
        &self.source.text
    }

    /// Reads the file at `path` (or `ravelin.toml` in the directory at `path`).
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        let (source, base) = Source::load(path, "make one with `ravelin init DIR`, or name another file")?;
        sections::parse(source, &base)
    }

    /// Parses a configuration; the paths in it are relative to `base_dir`. Never panics, whatever the text.
    pub fn parse(text: &str, base_dir: &Path) -> Result<Config, ConfigErrors> {
        sections::parse(Arc::new(Source::new(FILE_NAME, text)), base_dir)
    }

    /// What may be the path of a file that the configuration names, and of itself. Whether there is one is another question.
    pub(crate) fn mentioned(&self) -> &[PathBuf] {
        &self.mentioned
    }

    /// One plain listener on loopback where everyone may do everything, with the limits that a benchmark needs. The
    /// caller says so loudly; an address beyond loopback is an error.
    pub fn dangerous_open(
        address: SocketAddr,
        data: Option<PathBuf>,
        workers: usize,
    ) -> Result<Config, ConfigErrors> {
        if !address.ip().to_canonical().is_loopback() {
            return Err(ConfigErrors::of(Diagnostic::error(
                "--dangerous-open".into(),
                format!("{address} is not a loopback address"),
                "use 127.0.0.1 or [::1]; to serve a network, `ravelin init` makes a secure configuration",
            )));
        }
        let base = sections::parse(Arc::new(Source::new("--dangerous-open", sections::OPEN)), Path::new(""))?;
        let mut config = base;
        config.node.data = data;
        config.node.workers = workers;
        for listener in &mut config.listeners {
            listener.address = address;
        }
        // A load generator is one session with many subscriptions, and one address with many connections.
        config.limits = Limits {
            subscriptions_per_session_max: 1_000_000,
            connections_max: 1_000_000,
            connection_rate: Rate { events: 1_000_000, per: Duration::from_secs(1) },
            connection_burst: 1_000_000,
            ..Limits::default()
        };
        Ok(config)
    }

    /// A diagnostic at the place of a key (`listener.0.certificate`), or at the file if the key is not written.
    fn diagnostic(&self, severity: Severity, key: &str, what: String, help: &str) -> Diagnostic {
        self.source.diagnostic(severity, self.places.get(key), what, help)
    }
}

#[cfg(test)]
mod tests;
