//! The files that `[[outward]]` names: CAs, certificates, secrets, and the folders of those that are written.

use super::diagnostic::{Diagnostic, Severity};
use super::outward::{OutwardConfig, OutwardKind, SyslogTransport, TlsConfig};
use super::{Config, OutwardKind as Kind};
use crate::fetch;
use ravelin_outward::Settings;
use ravelin_outward::senders::{ClientTls, FileTarget, SyslogTarget, Target, Transport, WebhookTarget};
use ravelin_outward::sign::Secret;
use ravelin_protect::{Error, file, tls, trust};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::sync::Arc;

/// Longest file of a key.
const KEY_BYTES_MAX: u64 = 1 << 20;
/// Longest file of a secret or a header.
const SECRET_BYTES_MAX: u64 = 16 << 10;

impl Config {
    /// What each destination needs to be told, with what its files hold; what is wrong with one is in `found`. Monitors are
    /// not among them: what they get goes by no other way than MQTT.
    pub(crate) fn outward_settings(&self, found: &mut Vec<Diagnostic>) -> Vec<Settings> {
        let destinations = self.outward.iter().enumerate();
        destinations
            .filter_map(|(index, destination)| self.outward_setting(index, destination, found))
            .collect()
    }

    fn outward_setting(
        &self,
        index: usize,
        destination: &OutwardConfig,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Settings> {
        let target = match &destination.kind {
            OutwardKind::Webhook(webhook) => {
                let tls = match webhook.is_plain() {
                    true => None,
                    false => Some(self.outward_tls(index, &webhook.tls, found)?),
                };
                let secret = match &webhook.secret_file {
                    Some(path) => Some(self.outward_secret(index, path, found)?),
                    None => None,
                };
                let header = match &webhook.header_file {
                    Some(path) => Some(self.outward_header(index, path, found)?),
                    None => None,
                };
                Target::Webhook(Box::new(WebhookTarget {
                    url: webhook.url.clone(),
                    tls,
                    secret,
                    header,
                    timeout: webhook.timeout,
                    batch_max: webhook.batch_max,
                }))
            }
            OutwardKind::Syslog(syslog) => {
                let transport = match syslog.transport {
                    SyslogTransport::Tls => Transport::Tls(self.outward_tls(index, &syslog.tls, found)?),
                    SyslogTransport::Tcp => Transport::DangerousTcp,
                    SyslogTransport::Udp => Transport::DangerousUdp,
                };
                Target::Syslog(Box::new(SyslogTarget {
                    host: syslog.host.clone(),
                    port: syslog.port,
                    transport,
                    timeout: syslog.timeout,
                    settle: syslog.settle,
                }))
            }
            OutwardKind::File(path) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                if !folder.unwrap_or(Path::new(".")).is_dir() {
                    let what = format!("the folder of {} does not exist", path.display());
                    let help = "make it, writable for the user that the node runs as";
                    self.report(&format!("outward.{index}.path"), Severity::Error, what, help, found);
                }
                Target::File(FileTarget { path: path.clone() })
            }
            Kind::Monitor(_) => return None,
        };
        Some(Settings {
            name: destination.name.clone(),
            kind: destination.kind_name(),
            selection: Arc::new(destination.selection.clone()),
            form: destination.form,
            target,
            limits: destination.limits,
            backoff: destination.backoff,
        })
    }

    fn outward_tls(&self, index: usize, paths: &TlsConfig, found: &mut Vec<Diagnostic>) -> Option<ClientTls> {
        let key = |name: &str| format!("outward.{index}.{name}");
        let authorities = match fetch::authorities(paths.ca.as_deref()) {
            Ok(authorities) => authorities,
            Err(error) => {
                let help = "write `ca = \"ca.crt\"`: the CA that vouches for the receiver";
                self.report(&key("ca"), Severity::Error, error.to_string(), help, found);
                return None;
            }
        };
        let mut identity = None;
        if let (Some(certificate), Some(private)) = (&paths.certificate, &paths.key) {
            self.check_private(&key("key"), private, "the private key", found);
            // The one place that knows whether the two belong together.
            let whole = tls::ServerIdentity::load(certificate, private);
            self.loaded(&key("certificate"), whole, found)?;
            let chain = self.loaded(&key("certificate"), trust::load_certificates(certificate), found)?;
            let bytes = self.loaded(&key("key"), file::read(private, KEY_BYTES_MAX), found)?;
            let parsed = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| Error::Tls(error.to_string()));
            identity = Some((chain, Arc::new(self.loaded(&key("key"), parsed, found)?)));
        }
        Some(ClientTls { provider: tls::provider(), authorities, identity })
    }

    fn outward_secret(&self, index: usize, path: &Path, found: &mut Vec<Diagnostic>) -> Option<Secret> {
        let key = format!("outward.{index}.secret_file");
        self.check_private(&key, path, "the secret", found);
        let text = self.loaded(&key, file::read_text(path, SECRET_BYTES_MAX), found)?;
        match Secret::parse(&text) {
            Ok(secret) => Some(secret),
            Err(why) => {
                let what = format!("the secret in {} cannot be used: {why}", path.display());
                let help = "write `whsec_` and 32 random bytes in base64";
                self.report(&key, Severity::Error, what, help, found);
                None
            }
        }
    }

    /// `Authorization: Splunk 1234`, in a file because it is a secret.
    fn outward_header(
        &self,
        index: usize,
        path: &Path,
        found: &mut Vec<Diagnostic>,
    ) -> Option<(String, String)> {
        let key = format!("outward.{index}.header_file");
        self.check_private(&key, path, "the header", found);
        let text = self.loaded(&key, file::read_text(path, SECRET_BYTES_MAX), found)?;
        let header = text.trim().split_once(':').map(|(name, value)| (name.trim(), value.trim()));
        let token = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        let plain = |value: &str| value.bytes().all(|b| (b' '..=b'~').contains(&b));
        match header.filter(|(name, value)| token(name) && plain(value)) {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => {
                let what = format!("{} does not hold one header", path.display());
                self.report(
                    &key,
                    Severity::Error,
                    what,
                    "write one line: `Authorization: Bearer ...`",
                    found,
                );
                None
            }
        }
    }
}
