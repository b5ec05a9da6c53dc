//! A deployment on disk, as `init` lays it out and the other commands find it.
//!
//! ```text
//! DIR/ravelin.toml    the configuration
//! DIR/ca/             the private CA: ca.crt, ca.key, ca.crl (what was revoked)
//! DIR/tls/            the server's certificate and key
//! DIR/clients/        the clients' certificates and keys, to be handed out
//! DIR/passwords       the password file
//! DIR/access.rules    the access rules
//! DIR/store.key       the key that what is stored is encrypted with
//! DIR/data/           what is stored
//! ```

pub mod snippets;
pub mod template;

use anyhow::Context;
use ravelin_node::config::{Config, FILE_NAME, Listener};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the CA and its revocation lists are valid.
pub const CA_VALIDITY: Duration = Duration::from_secs(20 * 365 * 86_400);
/// How long the server's certificate is valid.
pub const SERVER_VALIDITY_DAYS: u32 = 2 * 365;
/// How long a client's certificate is valid unless said otherwise.
pub const CLIENT_VALIDITY_DAYS: u32 = 365;

/// Where everything is.
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    pub fn new(dir: &Path) -> Layout {
        Layout { dir: dir.into() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join(FILE_NAME)
    }

    pub fn ca_dir(&self) -> PathBuf {
        self.dir.join("ca")
    }

    pub fn ca_certificate(&self) -> PathBuf {
        self.dir.join("ca/ca.crt")
    }

    pub fn ca_key(&self) -> PathBuf {
        self.dir.join("ca/ca.key")
    }

    pub fn ca_crl(&self) -> PathBuf {
        self.dir.join("ca/ca.crl")
    }

    pub fn tls_dir(&self) -> PathBuf {
        self.dir.join("tls")
    }

    pub fn server_certificate(&self) -> PathBuf {
        self.dir.join("tls/server.crt")
    }

    pub fn server_key(&self) -> PathBuf {
        self.dir.join("tls/server.key")
    }

    pub fn clients_dir(&self) -> PathBuf {
        self.dir.join("clients")
    }

    pub fn client_certificate(&self, name: &str) -> PathBuf {
        self.dir.join("clients").join(format!("{name}.crt"))
    }

    pub fn client_key(&self, name: &str) -> PathBuf {
        self.dir.join("clients").join(format!("{name}.key"))
    }

    pub fn passwords(&self) -> PathBuf {
        self.dir.join("passwords")
    }

    pub fn access_rules(&self) -> PathBuf {
        self.dir.join("access.rules")
    }

    pub fn store_key(&self) -> PathBuf {
        self.dir.join("store.key")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }
}

/// A deployment whose configuration was read.
pub struct Deployment {
    pub layout: Layout,
    pub config: Config,
}

impl Deployment {
    pub fn open(dir: &Path) -> anyhow::Result<Deployment> {
        let layout = Layout::new(dir);
        if !layout.config().exists() {
            anyhow::bail!(
                "{} is not a deployment: there is no {FILE_NAME} (make one with `ravelin init`, or name it with --dir)",
                dir.display()
            );
        }
        let config = Config::load(&layout.config()).map_err(|errors| anyhow::anyhow!("{errors}"))?;
        Ok(Deployment { layout, config })
    }

    /// The password file that the configuration names.
    pub fn passwords(&self) -> anyhow::Result<PathBuf> {
        self.config.authentication.password_file.clone().context("the configuration names no `password_file`")
    }

    /// The rules file that the configuration names.
    pub fn access_rules(&self) -> anyhow::Result<PathBuf> {
        self.config.access.rules_file.clone().context("the configuration names no `rules_file`")
    }

    /// The first listener of which this holds.
    pub fn listener(&self, suits: impl Fn(&Listener) -> bool) -> Option<&Listener> {
        self.config.listeners.iter().find(|listener| suits(listener))
    }
}

/// The host by which clients on this machine, or those that have its certificate, reach a listener.
pub fn host_of(listener: &Listener) -> String {
    match listener.address.ip() {
        ip if ip.is_loopback() => "localhost".into(),
        ip if ip.is_unspecified() => hostname().unwrap_or_else(|| "localhost".into()),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => ip.to_string(),
    }
}

/// The machine's name, if it can stand in a certificate.
pub fn hostname() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_ascii_lowercase();
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    (plain && !name.is_empty() && name.len() < 64 && name != "localhost").then_some(name)
}

/// Seconds since the Unix epoch.
pub fn now_s() -> anyhow::Result<u64> {
    let since =
        SystemTime::now().duration_since(UNIX_EPOCH).context("the clock of this machine is before 1970")?;
    Ok(since.as_secs())
}

/// A validity of so many days.
pub fn days(days: u32) -> Duration {
    ravelin_protect::pki::DAY * days
}

/// Checks a name that becomes an identity, a file name and a part of commands to paste.
pub fn check_name(name: &str) -> anyhow::Result<()> {
    ravelin_protect::check_identity(name)
        .map_err(|error| anyhow::anyhow!("{name:?} cannot be the name of a client: {error}"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    if name.len() > 64 || !name.chars().all(plain) || name.starts_with(['-', '.', ':', '@']) {
        anyhow::bail!(
            "{name:?} cannot be the name of a client: use letters, digits and - _ . : @ (at most 64)"
        );
    }
    Ok(())
}

/// A random password that is easy to copy: 24 letters and digits, 142 bits.
pub fn random_password() -> anyhow::Result<ravelin_protect::Secret> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut password = Vec::with_capacity(24);
    while password.len() < 24 {
        for byte in ravelin_protect::random::<32>()? {
            // 248 is the largest multiple of 62: no letter is more likely than another.
            if byte < 248 && password.len() < 24 {
                password.push(LETTERS[usize::from(byte % 62)]);
            }
        }
    }
    Ok(ravelin_protect::Secret::new(password))
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
