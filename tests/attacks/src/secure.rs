//! A private CA, certificates of any shape, and TLS clients.

use crate::peer::Peer;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, in PEM.
    pub certificate: String,
}

/// A certificate and its key, in PEM.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Default for Authority {
    fn default() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Authority { issuer: Issuer::new(params, key), certificate }
    }
}

impl Authority {
    /// A certificate for 127.0.0.1.
    pub fn server(&self) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "node");
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        self.issue(params)
    }

    /// A client's certificate with this common name, and `extra` names that make it longer.
    pub fn client(&self, name: &str, extra: usize) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        for number in 0..extra {
            let name = format!("{number}.{}.example", "a".repeat(50));
            params.subject_alt_names.push(SanType::DnsName(name.try_into().expect("a name")));
        }
        self.issue(params)
    }

    /// A certificate with these names.
    pub fn issue(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    /// How a client that trusts this authority connects, with a certificate and whatever is put behind it.
    pub fn config(&self, client: Option<(&Identity, &[&str])>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(der(&self.certificate)).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some((identity, behind)) => {
                let chain =
                    [identity.certificate.as_str()].iter().chain(behind).map(|pem| der(pem)).collect();
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a certificate with its key")
            }
        };
        Arc::new(config)
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

/// The keys of a listener of this transport with this server certificate, whose files the test must write.
pub fn listener(transport: &str, client_certificate: &str) -> String {
    let authority = if client_certificate == "none" { "" } else { "client_ca = \"ca.crt\"\n" };
    format!(
        "transport = \"{transport}\"\ncertificate = \"server.crt\"\nkey = \"server.key\"\n\
         client_certificate = \"{client_certificate}\"\n{authority}"
    )
}

/// A connection with TLS, whose handshake takes place with the first bytes.
pub fn tls(node: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Peer> {
    let socket = TcpStream::connect(node)?;
    let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
    let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let stream = StreamOwned::new(connection, socket.try_clone()?);
    Ok(Peer::over(Box::new(stream), socket))
}
