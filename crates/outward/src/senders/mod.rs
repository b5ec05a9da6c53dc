//! How what waits gets to a destination. Blocking, each on the thread of its destination, everything within a time.

mod file;
mod stream;
mod webhook;

pub use file::FileTarget;
pub use stream::{SyslogTarget, Transport};
pub use webhook::WebhookTarget;

use crate::{Entry, Error, Origin};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// Where it goes.
#[derive(Clone)]
pub enum Target {
    /// HTTP POST.
    Webhook(Box<WebhookTarget>),
    /// Syslog over TLS, or plain.
    Syslog(Box<SyslogTarget>),
    /// Lines in a file.
    File(FileTarget),
}

impl Target {
    /// Where it is, without anything secret.
    pub fn shown(&self) -> String {
        match self {
            // What is after the `?` may be a secret.
            Target::Webhook(webhook) => webhook.url.split(['?', '#']).next().unwrap_or_default().into(),
            Target::Syslog(syslog) => syslog.shown(),
            Target::File(file) => file.path.display().to_string(),
        }
    }

    pub(crate) fn sender(&self, origin: &Origin, name: &str) -> Result<Box<dyn Sender>, Error> {
        Ok(match self {
            Target::Webhook(webhook) => Box::new(webhook::Webhook::new(webhook, origin, name)?),
            Target::Syslog(syslog) => Box::new(stream::Syslog::new(syslog)?),
            Target::File(file) => Box::new(file::File::new(file)),
        })
    }
}

/// Sends. An error means that nothing, a part or all of `batch` has arrived: it is sent again.
pub(crate) trait Sender {
    /// `now_ms`: milliseconds since the Unix epoch.
    fn send(&mut self, batch: &[Entry], now_ms: u64) -> Result<(), Error>;

    /// Most entries and bytes at once.
    fn batch_max(&self) -> (usize, usize);
}

/// By whom a server is verified, and how it is told who asks.
#[derive(Clone)]
pub struct ClientTls {
    /// The algorithms.
    pub provider: Arc<CryptoProvider>,
    /// The CAs that vouch for the server.
    pub authorities: Vec<CertificateDer<'static>>,
    /// A certificate with what leads to its CA, and its key.
    pub identity: Option<(Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>)>,
}

impl ClientTls {
    fn config(&self) -> Result<Arc<rustls::ClientConfig>, Error> {
        let told = |error: rustls::Error| Error::Settings(format!("TLS: {error}"));
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(self.authorities.iter().cloned());
        if added == 0 {
            return Err(Error::Settings("there is no CA to verify the server by".into()));
        }
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder =
            builder.with_safe_default_protocol_versions().map_err(told)?.with_root_certificates(roots);
        let config = match &self.identity {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(told)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}
