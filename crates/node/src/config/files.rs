//! Reads what the configuration names, and checks it: what `serve`, a reload and `check` have in common.

use super::diagnostic::{ConfigErrors, Diagnostic, Severity};
use super::{Config, CrlSource, Listener, ListenerTls};
use ravelin_protect::jwt::{Issuer, KeyCell, KeySet};
use ravelin_protect::tls::ServerConfig;
use ravelin_protect::tls::{self, Protocol, ServerIdentity, ServerSettings};
use ravelin_protect::{
    AccessRules, Authenticator, CertificateFacts, ClientCertificate, Error, NodeSecret, PasswordFile,
    Sources, Trust, file, jwt, trust,
};
use rustls::pki_types::CertificateRevocationListDer;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A certificate that ends sooner than this is warned of.
const EXPIRY_WARNING_S: i64 = 30 * 86_400;

/// What the files hold, ready for use. Each load is fresh: new verifiers, new ticket keys.
pub struct Files {
    /// Who may log in.
    pub authenticator: Authenticator,
    /// Who may do what.
    pub access: AccessRules,
    /// For each listener of the configuration: its TLS, if it has any.
    pub listeners: Vec<Option<ListenerFiles>>,
    /// The playbooks.
    pub playbooks: Vec<ravelin_respond::Playbook>,
    /// What deserves a warning: certificates that end soon, weak hashes.
    pub warnings: Vec<Diagnostic>,
}

/// The certificates of a listener, ready for use.
#[derive(Clone)]
pub struct ListenerFiles {
    /// Its TLS.
    pub tls: Arc<ServerConfig>,
    /// Whose client certificates it accepts.
    pub trust: Option<Trust>,
    /// Its own certificate and key.
    pub identity: ServerIdentity,
}

/// The revocation lists that were fetched, by their URL.
pub type Fetched = BTreeMap<String, Vec<CertificateRevocationListDer<'static>>>;

/// Trust that listeners have in common: a list of a million serial numbers is parsed and held once.
type Trusts = BTreeMap<(PathBuf, Vec<CrlSource>), Trust>;

impl Config {
    /// Reads every file that the configuration names. `secret` is the node's own; `now_s` is the time in seconds since
    /// the Unix epoch. All errors are collected, each at the key that names the file and at the file's own line.
    pub fn load_files(&self, secret: NodeSecret, now_s: u64) -> Result<Files, ConfigErrors> {
        self.load_files_with(secret, now_s, &Fetched::new())
    }

    /// The same with the revocation lists that were fetched from their URLs. Of which there is none, nobody could say
    /// who is revoked: no client of that CA is accepted, and a warning says so.
    pub fn load_files_with(
        &self,
        secret: NodeSecret,
        now_s: u64,
        fetched: &Fetched,
    ) -> Result<Files, ConfigErrors> {
        let mut found = Vec::new();
        let passwords = self.load_passwords(&mut found);
        let issuers = self.load_issuers(now_s, &mut found);
        let access = self.load_rules(&mut found);
        if let Some(key_file) = &self.store.key_file {
            self.check_private("store.key_file", key_file, "the store's key", &mut found);
            if let Err(error) = ravelin_store::Keys::load(key_file) {
                self.report(
                    "store.key_file",
                    Severity::Error,
                    error.to_string(),
                    "`ravelin init` makes a key",
                    &mut found,
                );
            }
        }
        let playbooks = self.load_playbooks(&mut found);
        let listeners = self.load_all_tls(now_s, fetched, &mut found);
        let _ = self.outward_settings(&mut found);
        // The control lane loads its own again; what is wrong with it is found here, before anything changes.
        let _ = self.control_files(now_s, &mut found);
        if found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return Err(ConfigErrors(found));
        }
        let passwords = passwords.map(Arc::new);
        let sources = Sources { passwords, issuers: issuers.into(), ..Sources::default() };
        let authenticator = Authenticator::new(sources, secret);
        Ok(Files { authenticator, access, listeners, playbooks, warnings: found })
    }

    /// Reads what [`Config::load_files`] reads for the listeners' TLS, and no more; gives warnings beside it.
    #[allow(clippy::type_complexity, reason = "two lists of what is named above")]
    pub fn load_listeners(
        &self,
        now_s: u64,
        fetched: &Fetched,
    ) -> Result<(Vec<Option<ListenerFiles>>, Vec<Diagnostic>), ConfigErrors> {
        let mut found = Vec::new();
        let listeners = self.load_all_tls(now_s, fetched, &mut found);
        match found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            true => Err(ConfigErrors(found)),
            false => Ok((listeners, found)),
        }
    }

    fn load_all_tls(
        &self,
        now_s: u64,
        fetched: &Fetched,
        found: &mut Vec<Diagnostic>,
    ) -> Vec<Option<ListenerFiles>> {
        let mut trusts = Trusts::new();
        let listeners = self.listeners.iter().enumerate();
        listeners
            .map(|(index, listener)| self.load_tls(index, listener, now_s, fetched, &mut trusts, found))
            .collect()
    }

    fn load_passwords(&self, found: &mut Vec<Diagnostic>) -> Option<PasswordFile> {
        let path = self.authentication.password_file.as_ref()?;
        self.check_private("authentication.password_file", path, "the password file", found);
        let passwords = self.loaded("authentication.password_file", PasswordFile::load(path), found)?;
        let weak = passwords
            .users()
            .into_iter()
            .filter(|(_, user)| user.password.as_ref().is_some_and(|hash| hash.is_weak()));
        let weak: Vec<_> = weak.map(|(name, _)| name.to_owned()).collect();
        if let Some(first) = weak.first() {
            let what = format!(
                "the passwords of {} users (the first is \"{first}\") have a hash that is cheap to guess",
                weak.len()
            );
            self.report(
                "authentication.password_file",
                Severity::Warning,
                what,
                "set them again with `ravelin passwd`",
                found,
            );
        }
        Some(passwords)
    }

    /// The issuers of tokens. Keys in a file are read here; those at an address are fetched while the node runs, and until
    /// then nobody gets in by them.
    fn load_issuers(&self, now_s: u64, found: &mut Vec<Diagnostic>) -> Vec<Issuer> {
        let mut issuers = Vec::new();
        for (index, provider) in self.jwt.iter().enumerate() {
            let keys = KeyCell::default();
            if let Some(path) = &provider.jwks_file {
                let key = format!("jwt.{index}.jwks_file");
                let read = file::read(path, jwt::KEY_SET_BYTES_MAX as u64);
                let Some(bytes) = self.loaded(&key, read, found) else { continue };
                match KeySet::parse(&bytes) {
                    Ok(set) => drop(keys.set(set, now_s)),
                    Err(error) => self.report(&key, Severity::Error, error.to_string(), "", found),
                }
            }
            if let Some(path) = &provider.jwks_ca {
                self.loaded(&format!("jwt.{index}.jwks_ca"), trust::load_certificates(path), found);
            }
            issuers.push(Issuer::new(provider.settings.clone(), keys));
        }
        issuers
    }

    fn load_rules(&self, found: &mut Vec<Diagnostic>) -> AccessRules {
        if self.access.dangerous_allow_everything {
            return AccessRules::allow_everything();
        }
        let Some(path) = &self.access.rules_file else { return AccessRules::deny_everything() };
        let rules = self.loaded("access.rules_file", AccessRules::load(path), found);
        rules.unwrap_or_else(AccessRules::deny_everything)
    }

    fn load_tls(
        &self,
        index: usize,
        listener: &Listener,
        now_s: u64,
        fetched: &Fetched,
        trusts: &mut Trusts,
        found: &mut Vec<Diagnostic>,
    ) -> Option<ListenerFiles> {
        let paths = listener.tls.as_ref()?;
        let key = |name: &str| format!("listener.{index}.{name}");
        self.check_private(&key("key"), &paths.key, "the private key", found);
        let identity = self.load_identity(index, paths, now_s, found);
        let mut trust = None;
        if let Some(client_ca) = &paths.client_ca
            && listener.policy.client_certificate != ClientCertificate::None
        {
            trust = Some(self.load_trust(index, client_ca, &paths.crl, fetched, trusts, found)?);
        }
        if let Some(trust) = &trust {
            self.warn_of_lists(&key("crl"), trust, now_s, found);
        }
        let identity = identity?;
        let settings = ServerSettings {
            identity: &identity,
            trust: trust.as_ref(),
            client_certificate: listener.policy.client_certificate,
            version_min: paths.version_min,
            ticket_lifetime: paths.session_tickets.then_some(paths.ticket_lifetime),
            protocol: if listener.transport.is_websocket() { Protocol::WebSocket } else { Protocol::Mqtt },
        };
        let tls = self.loaded(&key("certificate"), tls::server_config(&settings), found)?;
        Some(ListenerFiles { tls: Arc::new(tls), trust, identity })
    }

    fn load_trust(
        &self,
        index: usize,
        client_ca: &Path,
        sources: &[CrlSource],
        fetched: &Fetched,
        trusts: &mut Trusts,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Trust> {
        let cached = (client_ca.to_path_buf(), sources.to_vec());
        if let Some(trust) = trusts.get(&cached) {
            return Some(trust.clone());
        }
        let name = client_ca.display().to_string();
        let key = |name: &str| format!("listener.{index}.{name}");
        // The CAs on their own first, so that an error points at the key it belongs to.
        let authorities = self.loaded(&key("client_ca"), trust::load_certificates(client_ca), found)?;
        self.loaded(&key("client_ca"), Trust::new(authorities.clone(), Vec::new(), &name), found)?;
        let (mut lists, mut missing) = (Vec::new(), Vec::new());
        for source in sources {
            match source {
                CrlSource::File(path) => {
                    lists.extend(self.loaded(&key("crl"), trust::load_crls(path), found)?);
                }
                CrlSource::Url(url) => match fetched.get(url) {
                    Some(fetched) => lists.extend(fetched.iter().cloned()),
                    None => missing.push(source.to_string()),
                },
            }
        }
        let trust =
            self.loaded(&key("crl"), Trust::with_missing(authorities, lists, missing, &name), found)?;
        trusts.insert(cached, trust.clone());
        Some(trust)
    }

    fn warn_of_lists(&self, key: &str, trust: &Trust, now_s: u64, found: &mut Vec<Diagnostic>) {
        if let Some(what) = trust.expired_list(now_s) {
            let help = "fetch the list again: until then no client of that CA can connect";
            self.report(key, Severity::Warning, what, help, found);
        }
        if let Some(first) = trust.missing().first() {
            let what = format!("the revocation list at {first} was not fetched yet");
            let help = "until it is, no client whose CA has no other list can connect";
            self.report(key, Severity::Warning, what, help, found);
        }
    }

    fn load_identity(
        &self,
        index: usize,
        paths: &ListenerTls,
        now_s: u64,
        found: &mut Vec<Diagnostic>,
    ) -> Option<ServerIdentity> {
        let loaded = ServerIdentity::load(&paths.certificate, &paths.key);
        // An error of the certificate's file belongs to `certificate`, any other to `key`.
        let of_certificate = matches!(&loaded,
            Err(Error::Io { path, .. } | Error::Content { path, .. }) if *path == paths.certificate);
        let key = format!("listener.{index}.{}", if of_certificate { "certificate" } else { "key" });
        let identity = self.loaded(&key, loaded, found)?;
        let facts = identity.end_entity().and_then(|der| CertificateFacts::parse(der).ok());
        if let Some(facts) = facts {
            let left = facts.not_after_s - now_s as i64;
            let what = match left {
                ..=0 => Some("the server's certificate has expired: clients will not connect".to_string()),
                1..EXPIRY_WARNING_S => {
                    Some(format!("the server's certificate expires in {} days", left / 86_400))
                }
                _ => None,
            };
            if let Some(what) = what {
                let key = format!("listener.{index}.certificate");
                self.report(&key, Severity::Warning, what, "issue another one, then reload", found);
            }
        }
        Some(identity)
    }

    /// The value, or a report of why there is none.
    pub(super) fn loaded<T>(
        &self,
        key: &str,
        result: Result<T, Error>,
        found: &mut Vec<Diagnostic>,
    ) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        match error {
            // A file with lines of its own: its lines are what the operator must look at.
            Error::File(errors) => found.extend(errors.0.into_iter().map(|error| Diagnostic {
                severity: Severity::Error,
                file: error.file.to_string(),
                line: error.line,
                column: error.column,
                width: 1,
                source_line: String::new(),
                what: error.what,
                help: error.help,
            })),
            error => self.report(key, Severity::Error, error.to_string(), "", found),
        }
        None
    }

    pub(super) fn check_private(&self, key: &str, path: &Path, name: &str, found: &mut Vec<Diagnostic>) {
        if matches!(file::is_exposed(path), Ok(true)) {
            let what = format!("{name} can be read or changed by others: {}", path.display());
            let help = format!("chmod 600 {}", path.display());
            self.report(key, Severity::Error, what, &help, found);
        }
    }

    pub(super) fn report(
        &self,
        key: &str,
        severity: Severity,
        what: String,
        help: &str,
        found: &mut Vec<Diagnostic>,
    ) {
        found.push(self.diagnostic(severity, key, what, help));
    }
}
