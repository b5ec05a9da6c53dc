//! What `[control]` names: certificate, key, CAs and revocation lists of the control lane.

use super::diagnostic::{ConfigErrors, Diagnostic, Severity};
use super::{Config, ControlTls};
use ravelin_protect::tls::{self, Protocol, ServerConfig, ServerIdentity, ServerSettings};
use ravelin_protect::{CertificateFacts, ClientCertificate, Error, Trust};
use std::sync::Arc;

/// A certificate that ends sooner than this is warned of.
const EXPIRY_WARNING_S: i64 = 30 * 86_400;

/// The TLS side of the control lane, ready for use. Each load is fresh.
#[derive(Clone)]
pub struct ControlFiles {
    /// How the listener speaks TLS.
    pub tls: Arc<ServerConfig>,
    /// Whose client certificates are accepted, if any is asked for.
    pub trust: Option<Trust>,
}

impl Config {
    /// Reads the files of the control lane; `None` if there is no lane, or if it has no TLS. `now_s` is the time in
    /// seconds since the Unix epoch.
    ///
    /// # Errors
    /// What is wrong, each at the key that names the file.
    pub fn load_control_files(&self, now_s: u64) -> Result<Option<ControlFiles>, ConfigErrors> {
        let mut found = Vec::new();
        let files = self.control_files(now_s, &mut found);
        if found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return Err(ConfigErrors(found));
        }
        Ok(files)
    }

    pub(super) fn control_files(&self, now_s: u64, found: &mut Vec<Diagnostic>) -> Option<ControlFiles> {
        let paths = self.control.as_ref()?.tls.as_ref()?;
        self.check_private("control.key", &paths.key, "the private key", found);
        let identity = self.control_identity(paths, now_s, found);
        let mut trust = None;
        if let Some(client_ca) = &paths.client_ca
            && paths.client_certificate != ClientCertificate::None
        {
            // Each list on its own first, so that an error points at the key it belongs to.
            let authorities = self.loaded("control.client_ca", Trust::load(client_ca, &[]), found);
            let lists = authorities
                .and_then(|_| self.loaded("control.crl", Trust::load(client_ca, &paths.crl), found));
            if let Some(what) = lists.as_ref().and_then(|loaded| loaded.expired_list(now_s)) {
                let help = "fetch the list again: until then nobody of that CA can administer";
                self.report("control.crl", Severity::Warning, what, help, found);
            }
            trust = Some(lists?);
        }
        let settings = ServerSettings {
            identity: &identity?,
            trust: trust.as_ref(),
            client_certificate: paths.client_certificate,
            version_min: paths.version_min,
            // Who administers connects seldom; a ticket would outlive a revocation.
            ticket_lifetime: None,
            protocol: Protocol::WebSocket,
        };
        let config = self.loaded("control.certificate", tls::server_config(&settings), found)?;
        Some(ControlFiles { tls: Arc::new(config), trust })
    }

    fn control_identity(
        &self,
        paths: &ControlTls,
        now_s: u64,
        found: &mut Vec<Diagnostic>,
    ) -> Option<ServerIdentity> {
        let loaded = ServerIdentity::load(&paths.certificate, &paths.key);
        let of_certificate = matches!(&loaded,
            Err(Error::Io { path, .. } | Error::Content { path, .. }) if *path == paths.certificate);
        let key = if of_certificate { "control.certificate" } else { "control.key" };
        let identity = self.loaded(key, loaded, found)?;
        let facts = identity.end_entity().and_then(|der| CertificateFacts::parse(der).ok());
        let left = facts.map_or(i64::MAX, |facts| facts.not_after_s - now_s as i64);
        if left < EXPIRY_WARNING_S {
            let what = match left {
                ..=0 => "the control lane's certificate has expired".to_owned(),
                left => format!("the control lane's certificate expires in {} days", left / 86_400),
            };
            let help = "issue another one, then reload";
            self.report("control.certificate", Severity::Warning, what, help, found);
        }
        Some(identity)
    }
}
