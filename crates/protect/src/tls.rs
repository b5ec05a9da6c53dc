//! The TLS configuration of a listener: TLS 1.3 and 1.2 by rustls and aws-lc-rs, with nothing left to a default that
//! could change under us.
//!
//! * Key exchange prefers X25519MLKEM768: what is recorded today cannot be read once a quantum computer exists.
//! * No early data (it can be replayed), no half-RTT data (the client would not be authenticated yet).
//! * A configuration has its own ticket keys. A ticket is therefore worth something only as long as the
//!   configuration, and with it the trust that it was issued under: a revoked client cannot resume. Nothing is kept
//!   for stateful resumption.
//! * `max_fragment_size` stays unset: small records would cost throughput; rustls allocates as it receives, and an
//!   idle connection holds no buffer.

use crate::{ClientCertificate, Error, Trust, file, trust};
pub use rustls::ServerConfig;
use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a session ticket is good for at most, unless configured otherwise.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// TLS 1.2, with AEAD suites and ephemeral keys only.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What runs inside TLS, which ALPN tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// MQTT: `mqtt`.
    #[default]
    Mqtt,
    /// WebSocket: `http/1.1`.
    WebSocket,
}

/// A certificate chain and its key, which match.
#[derive(Clone)]
pub struct ServerIdentity(Arc<CertifiedKey>);

impl ServerIdentity {
    /// Reads the chain (PEM, end entity first) and the key (PEM: PKCS#8, SEC1 or PKCS#1).
    pub fn load(certificate: &Path, key: &Path) -> Result<ServerIdentity, Error> {
        let chain = trust::load_certificates(certificate)?;
        let bytes = file::read(key, trust::CERTIFICATES_BYTES_MAX)?;
        let key_der = PrivateKeyDer::from_pem_slice(&bytes)
            .map_err(|error| Error::content(key, format!("holds no private key in PEM: {error}")))?;
        ServerIdentity::new(chain, key_der).map_err(|error| match error {
            Error::Tls(detail) => Error::content(key, detail),
            other => other,
        })
    }

    /// A chain and its key.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<ServerIdentity, Error> {
        let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|_| {
            Error::Tls("is not a private key of a supported type (ECDSA, Ed25519, RSA)".into())
        })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(ServerIdentity(Arc::new(certified))),
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                Err(Error::Tls("is not the key of the certificate".into()))
            }
            Err(error) => Err(Error::Tls(error.to_string())),
        }
    }

    /// The whole chain, end entity first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.cert
    }

    /// The end entity's certificate.
    pub fn end_entity(&self) -> Option<&CertificateDer<'static>> {
        self.0.cert.first()
    }
}

/// How a listener speaks TLS.
pub struct ServerSettings<'a> {
    /// Certificate and key.
    pub identity: &'a ServerIdentity,
    /// Whose clients are accepted; needed unless no client certificate is asked for.
    pub trust: Option<&'a Trust>,
    /// Whether a client certificate is asked for.
    pub client_certificate: ClientCertificate,
    /// The oldest version.
    pub version_min: TlsVersion,
    /// How long a client that returns is spared the full handshake; `None`: no tickets are issued.
    pub ticket_lifetime: Option<Duration>,
    /// What runs inside.
    pub protocol: Protocol,
}

/// Builds the configuration of a listener, with fresh ticket keys and a fresh verifier.
pub fn server_config(settings: &ServerSettings<'_>) -> Result<ServerConfig, Error> {
    const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
    let versions = match settings.version_min {
        TlsVersion::Tls12 => TLS12,
        TlsVersion::Tls13 => TLS13,
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| Error::Tls(error.to_string()))?;
    let builder = match (settings.client_certificate, settings.trust) {
        (ClientCertificate::None, _) => builder.with_no_client_auth(),
        (_, None) => {
            return Err(Error::Tls("client certificates need a CA that they are verified by".into()));
        }
        (demand, Some(trust)) => match trust.verifier(demand) {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => return Err(Error::Tls("no verifier for client certificates".into())),
        },
    };
    let resolver = SingleCertAndKey::from(settings.identity.0.clone());
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    config.send_tls13_tickets = 0;
    if let Some(lifetime) = settings.ticket_lifetime {
        config.ticketer = ticketer(lifetime)?;
        config.send_tls13_tickets = 1;
    }
    config.alpn_protocols = match settings.protocol {
        Protocol::Mqtt => vec![b"mqtt".to_vec()],
        Protocol::WebSocket => vec![b"http/1.1".to_vec()],
    };
    Ok(config)
}

/// The same configuration with ticket keys that nobody has seen: what was issued before resumes nothing.
pub fn with_new_tickets(config: &ServerConfig) -> Result<ServerConfig, Error> {
    let mut config = config.clone();
    if config.ticketer.enabled() {
        config.ticketer = ticketer(Duration::from_secs(u64::from(config.ticketer.lifetime())))?;
    }
    Ok(config)
}

/// The same configuration with an OCSP answer stapled to its certificate, or with none.
pub fn with_staple(
    config: &ServerConfig,
    identity: &ServerIdentity,
    answer: Option<Vec<u8>>,
) -> ServerConfig {
    let stapled = CertifiedKey { ocsp: answer, ..CertifiedKey::clone(&identity.0) };
    let mut config = config.clone();
    config.cert_resolver = Arc::new(SingleCertAndKey::from(stapled));
    config
}

/// Keys for tickets, which change twice in a lifetime and are then forgotten.
fn ticketer(lifetime: Duration) -> Result<Arc<dyn ProducesTickets>, Error> {
    let half_s = u32::try_from(lifetime.as_secs() / 2).unwrap_or(u32::MAX).clamp(1, 6 * 3600);
    let rotator = rustls::TicketRotator::new(half_s, || {
        let keys = aws_lc_rs::Ticketer::new().map_err(|_| rustls::crypto::GetRandomFailed)?;
        Ok(Box::new(Keys(keys)))
    });
    Ok(Arc::new(rotator.map_err(|error| Error::Tls(error.to_string()))?))
}

/// One set of ticket keys. It would change by itself after six hours, when the rotator has forgotten it.
#[derive(Debug)]
struct Keys(Arc<dyn ProducesTickets>);

impl ProducesTickets for Keys {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(cipher)
    }
}

/// The algorithms: aws-lc-rs, never the process-wide default, with the post-quantum group first.
pub fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    Arc::new(CryptoProvider {
        kx_groups: vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1],
        ..aws_lc_rs::default_provider()
    })
}
