//! Who is at the other end of a connection, as far as TLS knows.

use crate::settings::Settings;
use ravelin_protect::CertificateFacts;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The other end of a connection; each of its requests has it.
#[derive(Clone)]
pub(crate) struct Peer(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    /// What TLS verified, end entity first; empty without a certificate.
    chain: Vec<CertificateDer<'static>>,
    facts: Option<CertificateFacts>,
    /// The settings under which the chain was last found good.
    trusted_by: AtomicU64,
}

impl Peer {
    /// A peer whose chain TLS has verified under the settings `generation`.
    pub fn new(address: SocketAddr, chain: Vec<CertificateDer<'static>>, generation: u64) -> Peer {
        let facts = chain.first().and_then(|end| CertificateFacts::parse(end).ok());
        Peer(Arc::new(Inner { address, chain, facts, trusted_by: AtomicU64::new(generation) }))
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Its certificate, if it has shown one that is good now: a connection may be older than the last reload, and older
    /// than the end of its certificate.
    ///
    /// # Errors
    /// Why the certificate is not good any more.
    pub fn certificate(
        &self,
        settings: &Settings,
        now_ms: u64,
    ) -> Result<Option<&CertificateFacts>, &'static str> {
        if self.0.chain.is_empty() {
            return Ok(None);
        }
        let facts = self.0.facts.as_ref().ok_or("the certificate cannot be read")?;
        if facts.not_after_s.saturating_mul(1000) <= now_ms as i64 {
            return Err("the certificate has expired");
        }
        if self.0.trusted_by.load(Ordering::Relaxed) != settings.generation {
            let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
            let trust = settings.trust.as_ref().ok_or("certificates are not accepted any more")?;
            if !trust.accepts(&self.0.chain, now) {
                return Err("the certificate is not trusted any more");
            }
            self.0.trusted_by.store(settings.generation, Ordering::Relaxed);
        }
        Ok(Some(facts))
    }
}
