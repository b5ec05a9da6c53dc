//! What the lane goes by at the moment: roles, trust, TLS, limits. A reload makes another one.

use ravelin_node::config::{Config, ConfigErrors, ControlFiles, ControlLimits};
use ravelin_node::control::Role;
use ravelin_protect::{CertificateFacts, IdentityFrom, Trust};
use rustls::ServerConfig;
use std::collections::HashMap;
use std::sync::Arc;

/// One state of the settings.
pub(crate) struct Settings {
    /// Counts up with every reload: what was checked against an older one is checked again.
    pub generation: u64,
    pub limits: ControlLimits,
    /// `None`: plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// Whose certificates are accepted.
    pub trust: Option<Trust>,
    /// By identity, or `sha256:` and the fingerprint.
    roles: HashMap<String, Role>,
}

impl Settings {
    /// Reads what the configuration's `[control]` says and names; `None` if there is no such section.
    pub fn load(config: &Config, generation: u64, now_s: u64) -> Result<Option<Settings>, ConfigErrors> {
        let Some(control) = &config.control else { return Ok(None) };
        let files = config.load_control_files(now_s)?;
        let (tls, trust) = files.map(|ControlFiles { tls, trust }| (tls, trust)).unzip();
        let mut roles = HashMap::new();
        let lists = [
            (&control.viewers, Role::Viewer),
            (&control.operators, Role::Operator),
            (&control.admins, Role::Admin),
        ];
        for (names, role) in lists {
            roles.extend(names.iter().map(|name| (name.clone(), role)));
        }
        let limits = control.limits.clone();
        Ok(Some(Settings { generation, limits, tls, trust: trust.flatten(), roles }))
    }

    /// What the holder of a certificate may do: as its fingerprint says, else as its Common Name does.
    pub fn role_of(&self, facts: &CertificateFacts) -> Option<(String, Role)> {
        let name = facts.identity(IdentityFrom::CommonName).ok();
        let by_print = self.roles.get(&format!("sha256:{}", facts.fingerprint));
        let role = by_print.or_else(|| self.roles.get(name.as_deref()?))?;
        let shown = name.map_or_else(|| format!("sha256:{}", facts.fingerprint), |name| name.to_string());
        Some((shown, *role))
    }
}
