//! The TLS side of a client: trust, own certificate, versions. TLS 1.3 and 1.2 by rustls with aws-lc-rs, and nothing of the
//! process-wide default provider.

use super::Error;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where Linux distributions keep the certificates that the system trusts.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The TLS options that every client command has.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Trust the CA certificates in this PEM file; turns TLS on
    #[arg(long, value_name = "FILE")]
    pub cafile: Option<PathBuf>,
    /// Trust the CA certificates in the PEM files of this directory; turns TLS on
    #[arg(long, value_name = "DIR")]
    pub capath: Option<PathBuf>,
    /// This client's certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// This client's private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Offer only this version: tlsv1.2 or tlsv1.3
    #[arg(long, value_name = "VERSION", value_parser = ["tlsv1.2", "tlsv1.3"])]
    pub tls_version: Option<String>,
    /// Offer this application protocol (ALPN), for example mqtt
    #[arg(long, value_name = "PROTOCOL")]
    pub tls_alpn: Option<String>,
    /// Accept any server certificate: whoever answers can read and change everything
    #[arg(long)]
    pub dangerous_insecure: bool,
}

impl TlsArgs {
    /// Whether an option was given that means nothing without TLS.
    pub fn asks_for_tls(&self) -> bool {
        self.cafile.is_some()
            || self.capath.is_some()
            || self.cert.is_some()
            || self.tls_version.is_some()
            || self.tls_alpn.is_some()
            || self.dangerous_insecure
    }

    /// The rustls configuration. Without `--cafile` and `--capath` the system's certificates are trusted.
    pub fn config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions())
            .map_err(Error::Tls)?;
        let builder = if self.dangerous_insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let mut config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|why| Error::File { path: key.display().to_string(), why: why.to_string() })?;
                builder.with_client_auth_cert(chain, key).map_err(Error::Tls)?
            }
            _ => builder.with_no_client_auth(),
        };
        if let Some(protocol) = &self.tls_alpn {
            config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        }
        Ok(config)
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        static ONLY_12: [&SupportedProtocolVersion; 1] = [&TLS12];
        static ONLY_13: [&SupportedProtocolVersion; 1] = [&TLS13];
        match self.tls_version.as_deref() {
            Some("tlsv1.2") => &ONLY_12,
            Some("tlsv1.3") => &ONLY_13,
            _ => rustls::DEFAULT_VERSIONS,
        }
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = &self.cafile {
            trust(&mut roots, file)?;
        }
        if let Some(directory) = &self.capath {
            let failed = |why: std::io::Error| Error::File {
                path: directory.display().to_string(),
                why: why.to_string(),
            };
            for entry in std::fs::read_dir(directory).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                // A directory of a system has more than certificates in it.
                if path.is_file()
                    && CertificateDer::pem_file_iter(&path)
                        .is_ok_and(|mut all| matches!(all.next(), Some(Ok(_))))
                {
                    trust(&mut roots, &path)?;
                }
            }
        }
        if self.cafile.is_none() && self.capath.is_none() {
            let system = SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists()).ok_or_else(|| {
                Error::Usage(
                    "this system has no certificates to trust: give the broker's CA with --cafile".into(),
                )
            })?;
            // One certificate that cannot be read is not a reason to trust none of the others.
            roots.add_parsable_certificates(certificates(system)?);
        }
        if roots.is_empty() {
            return Err(Error::Usage(
                "there is no CA certificate to trust: give the broker's with --cafile".into(),
            ));
        }
        Ok(roots)
    }
}

/// The name that the server's certificate must have.
pub fn server_name(host: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| Error::Usage(format!("{host} is not a name that a certificate can have")))
}

fn trust(roots: &mut RootCertStore, path: &Path) -> Result<(), Error> {
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|why| Error::File { path: path.display().to_string(), why: why.to_string() })?;
    }
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |why: String| Error::File { path: path.display().to_string(), why };
    let all = CertificateDer::pem_file_iter(path).map_err(|why| failed(why.to_string()))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|why| failed(why.to_string()))?;
    if all.is_empty() {
        return Err(failed("it has no certificate".into()));
    }
    Ok(all)
}

/// Accepts any certificate; signatures are still checked, so that the handshake fails where it should.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let args = TlsArgs { cafile: Some("/nonexistent/ca.crt".into()), ..TlsArgs::default() };
        let Err(Error::File { path, .. }) = args.config() else {
            panic!("a file that does not exist was trusted")
        };
        assert_eq!(path, "/nonexistent/ca.crt");
    }

    #[test]
    fn a_file_without_certificate_trusts_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let args = TlsArgs { cafile: Some(file.path().into()), ..TlsArgs::default() };
        assert!(matches!(args.config(), Err(Error::File { .. })));
    }

    #[test]
    fn names_and_addresses_are_server_names() {
        assert!(server_name("bus.example").is_ok());
        assert!(server_name("127.0.0.1").is_ok());
        assert!(server_name("::1").is_ok());
        assert!(matches!(server_name("no spaces"), Err(Error::Usage(_))));
    }
}
