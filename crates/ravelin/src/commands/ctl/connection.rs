//! Where the control lane is and who asks: from the command line, the environment, or a deployment on disk.

use crate::deployment::Deployment;
use ravelin_console::client::{ClientError, Target};
use ravelin_protect::Secret;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The options that every `ctl` command has. No `Debug`: it may lead to a token.
#[derive(clap::Args, Clone, Default)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// The deployment that `ravelin init` made [default: RAVELIN_DIR, or the current directory]
    #[arg(long, value_name = "DIR", global = true)]
    pub dir: Option<PathBuf>,
    /// The control lane: https://HOST:PORT [default: RAVELIN_URL, or what the deployment says]
    #[arg(long, value_name = "URL", global = true)]
    pub url: Option<String>,
    /// The CA certificates (PEM) that vouch for the node [default: RAVELIN_CA, or the deployment's]
    #[arg(long, value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// Your certificate chain (PEM) [default: RAVELIN_CERT, or the deployment's first admin]
    #[arg(long, value_name = "FILE", global = true, requires = "key")]
    pub cert: Option<PathBuf>,
    /// Your private key (PEM) [default: RAVELIN_KEY]
    #[arg(long, value_name = "FILE", global = true, requires = "cert")]
    pub key: Option<PathBuf>,
    /// A file with your API token [default: the token in RAVELIN_TOKEN]
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// Seconds that a request may take
    #[arg(long, value_name = "SECONDS", global = true, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

impl ConnectionArgs {
    /// What the command line says, completed by the environment and the deployment.
    pub fn target(&self) -> Result<Target, ClientError> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let path =
            |given: &Option<PathBuf>, name: &str| given.clone().or_else(|| variable(name).map(PathBuf::from));
        let text = |name: &str| variable(name).and_then(|value| value.into_string().ok());
        let token = match &self.token_file {
            Some(file) => Some(read_token(file)?),
            None => text("RAVELIN_TOKEN").map(Secret::new),
        };
        let certificate = path(&self.cert, "RAVELIN_CERT").zip(path(&self.key, "RAVELIN_KEY"));
        let mut target = Target {
            url: self.url.clone().or_else(|| text("RAVELIN_URL")).unwrap_or_default(),
            ca: path(&self.ca, "RAVELIN_CA"),
            certificate,
            token,
            timeout: Some(Duration::from_secs(self.timeout)),
        };
        let dir = path(&self.dir, "RAVELIN_DIR");
        let complete = !target.url.is_empty() && (target.ca.is_some() || target.url.starts_with("http://"));
        // A deployment that was named is used; the current directory only for what is missing.
        if dir.is_some() || !complete {
            complete_from(&dir.unwrap_or_else(|| ".".into()), &mut target)?;
        }
        Ok(target)
    }
}

fn read_token(path: &Path) -> Result<Secret, ClientError> {
    let text = ravelin_protect::file::read_text(path, 4096)
        .map_err(|error| ClientError::Usage(error.to_string()))?;
    Ok(Secret::new(text.trim()))
}

/// Fills in what is missing from the deployment in `dir`.
fn complete_from(dir: &Path, target: &mut Target) -> Result<(), ClientError> {
    let usage = |what: String| ClientError::Usage(what);
    let deployment = Deployment::open(dir).map_err(|error| {
        usage(format!(
            "{error:#}\nsay where the node is: --dir DIR, or --url with --ca and a certificate or token"
        ))
    })?;
    let Some(control) = &deployment.config.control else {
        return Err(usage(format!(
            "{} has no control lane: add a `[control]` section (see docs/guide/control.md)",
            deployment.layout.config().display()
        )));
    };
    if target.url.is_empty() {
        if control.address.port() == 0 {
            return Err(usage(
                "the control lane's port is chosen when the node starts: give it with --url".into(),
            ));
        }
        let host = match control.address.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let scheme = if control.tls.is_some() { "https" } else { "http" };
        target.url = format!("{scheme}://{host}:{}", control.address.port());
    }
    if target.ca.is_none() {
        target.ca = Some(deployment.layout.ca_certificate());
    }
    if target.certificate.is_none() && target.token.is_none() {
        let paths =
            |name: &String| (deployment.layout.client_certificate(name), deployment.layout.client_key(name));
        let names = control.admins.iter().chain(&control.operators).chain(&control.viewers);
        target.certificate = names.map(paths).find(|(chain, key)| chain.exists() && key.exists());
    }
    Ok(())
}
