//! Fetches a document over HTTP or HTTPS: revocation lists, OCSP answers, JSON Web Key Sets.
//!
//! Blocking, for a thread that may wait; never on a shard. Everything is bounded: the bytes, the whole time (name
//! resolution, handshake and every redirect included), the redirects. What began encrypted stays encrypted. Nothing is
//! decompressed, no cookie is kept, no proxy is taken from the environment.

use ravelin_protect::{tls, trust};
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body, http};

/// Longest URL.
const URL_BYTES_MAX: usize = 2048;
/// Largest header of an answer.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Where systems keep the CAs that they trust: Debian, Red Hat, Alpine, SUSE.
const SYSTEM_CAS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// What a fetch may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// Largest body, in bytes.
    pub bytes_max: u64,
    /// From the first step to the last byte.
    pub timeout: Duration,
    /// Redirects that are followed.
    pub redirects_max: u32,
    /// The CAs (PEM) that vouch for servers of `https`; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
}

impl Default for FetchLimits {
    /// 1 MiB in ten seconds over three redirects, with the CAs of the system.
    fn default() -> FetchLimits {
        FetchLimits { bytes_max: 1 << 20, timeout: Duration::from_secs(10), redirects_max: 3, ca: None }
    }
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Not `http://` or `https://`, or with a user name in it (which would end up in logs).
    #[error("{0:?} is not a URL of http or https without user name")]
    Url(String),
    /// The CAs that vouch for servers cannot be read.
    #[error("no CAs to verify the server by: {0}")]
    Trust(String),
    /// The answer is not 200.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The code of the answer.
        status: u16,
    },
    /// The document is larger than it may be.
    #[error("the document at {url} is larger than {bytes_max} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// What it may have.
        bytes_max: u64,
    },
    /// It took too long.
    #[error("{url} did not answer in full within {} ms", timeout.as_millis())]
    TimedOut {
        /// What was asked for.
        url: String,
        /// The time it had.
        timeout: Duration,
    },
    /// The server could not be reached, or is not who it should be, or does not speak HTTP.
    #[error("failed to fetch {url}: {detail}")]
    Failed {
        /// What was asked for.
        url: String,
        /// What went wrong.
        detail: String,
    },
}

/// Whether a configured source is a URL rather than the name of a file.
pub fn is_url(source: &str) -> bool {
    scheme_of(source).is_some()
}

/// Whether this can be fetched: `http` or `https`, a host, no user name.
pub fn check_url(url: &str) -> Result<(), FetchError> {
    let invalid = || FetchError::Url(url.chars().take(200).collect());
    let uri: http::Uri = url.parse().map_err(|_| invalid())?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
    let has_host = authority.is_some_and(|authority| !authority.host().is_empty());
    if url.len() > URL_BYTES_MAX || scheme_of(url).is_none() || !has_host {
        return Err(invalid());
    }
    Ok(())
}

/// The document at `url`.
pub fn get(url: &str, limits: &FetchLimits) -> Result<Vec<u8>, FetchError> {
    let agent = agent(url, limits)?;
    let answer = agent.get(url).call();
    body(url, limits, answer)
}

/// What the server at `url` answers to `request`.
pub fn post(
    url: &str,
    content_type: &str,
    request: &[u8],
    limits: &FetchLimits,
) -> Result<Vec<u8>, FetchError> {
    let agent = agent(url, limits)?;
    let answer = agent.post(url).header("content-type", content_type).send(request);
    body(url, limits, answer)
}

fn scheme_of(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once("://")?;
    ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some(scheme)
}

/// An agent for one exchange. The algorithms are ours, never the process-wide default.
fn agent(url: &str, limits: &FetchLimits) -> Result<Agent, FetchError> {
    check_url(url)?;
    let encrypted = scheme_of(url).is_some_and(|scheme| scheme.len() == 5);
    let mut tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(tls::provider());
    if encrypted {
        tls = tls.root_certs(roots(limits.ca.as_deref())?);
    }
    let config = Agent::config_builder()
        .tls_config(tls.build())
        // A redirect to `http` would show an eavesdropper what was asked for, and let him answer.
        .https_only(encrypted)
        .proxy(None)
        .max_redirects(limits.redirects_max)
        .max_redirects_will_error(true)
        .timeout_global(Some(limits.timeout))
        .max_response_header_size(HEADER_BYTES_MAX)
        .max_idle_connections(0)
        .user_agent("ravelin");
    Ok(Agent::new_with_config(config.build()))
}

/// The CAs in the file at `ca`; without one, those that the system trusts.
pub(crate) fn authorities(ca: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, FetchError> {
    let path = ca.or_else(|| SYSTEM_CAS.iter().map(Path::new).find(|path| path.exists()));
    let path = path.ok_or_else(|| {
        FetchError::Trust("this system has no bundle of CAs; name one in the configuration".into())
    })?;
    trust::load_certificates(path).map_err(|error| FetchError::Trust(error.to_string()))
}

fn roots(ca: Option<&Path>) -> Result<RootCerts, FetchError> {
    let certificates = authorities(ca)?;
    let certificates: Vec<_> = certificates.iter().map(|der| Certificate::from_der(der)).collect();
    Ok(RootCerts::new_with_certs(&certificates.iter().map(Certificate::to_owned).collect::<Vec<_>>()))
}

fn body(
    url: &str,
    limits: &FetchLimits,
    answer: Result<http::Response<Body>, ureq::Error>,
) -> Result<Vec<u8>, FetchError> {
    let failed = |error: ureq::Error| {
        // What is after the `?` may be a secret.
        let url = url.split(['?', '#']).next().unwrap_or_default().to_owned();
        match error {
            ureq::Error::StatusCode(status) => FetchError::Status { url, status },
            ureq::Error::BodyExceedsLimit(_) => FetchError::TooLarge { url, bytes_max: limits.bytes_max },
            ureq::Error::Timeout(_) => FetchError::TimedOut { url, timeout: limits.timeout },
            error => FetchError::Failed { url, detail: error.to_string() },
        }
    };
    let mut answer = answer.map_err(failed)?;
    match answer.status().as_u16() {
        200 => answer.body_mut().with_config().limit(limits.bytes_max).read_to_vec().map_err(failed),
        status => Err(failed(ureq::Error::StatusCode(status))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_protect::pki::{Ca, DAY};
    use ravelin_protect::tls::{Protocol, ServerIdentity, ServerSettings, TlsVersion, server_config};
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Instant;

    /// Serves the answers one after another, each to a connection of its own; gives the address and the requests.
    fn serve(
        tls: Option<Arc<rustls::ServerConfig>>,
        answers: Vec<Vec<u8>>,
    ) -> (String, std::sync::mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut socket, _) = listener.accept().unwrap();
                let handle = |stream: &mut dyn ReadWrite| {
                    let mut request = Vec::new();
                    let mut byte = [0];
                    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                        request.push(byte[0]);
                    }
                    let _ = stream.write_all(&answer);
                    let _ = stream.flush();
                    let _ = sender.send(String::from_utf8_lossy(&request).into_owned());
                };
                match &tls {
                    None => handle(&mut socket),
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                        let mut stream = rustls::StreamOwned::new(connection, socket);
                        handle(&mut stream);
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                    }
                }
            }
        });
        (address, receiver)
    }

    trait ReadWrite: Read + Write {}
    impl<T: Read + Write> ReadWrite for T {}

    fn ok(body: &[u8]) -> Vec<u8> {
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend(body);
        answer
    }

    fn limits() -> FetchLimits {
        FetchLimits { bytes_max: 1000, timeout: Duration::from_millis(1500), ..FetchLimits::default() }
    }

    #[test]
    fn a_document_comes_whole_or_not_at_all() {
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";
        let (address, requests) = serve(
            None,
            vec![ok(&[7; 1000]), chunked.to_vec(), ok(&[7; 1001]), cut.to_vec(), b"rubbish\r\n\r\n".to_vec()],
        );
        let url = format!("http://{address}/a?token=secret");
        assert_eq!(get(&url, &limits()).unwrap(), [7; 1000]);
        assert!(requests.recv().unwrap().starts_with("GET /a?token=secret HTTP/1.1\r\n"));
        assert_eq!(get(&url, &limits()).unwrap(), b"abcde");
        assert!(matches!(get(&url, &limits()), Err(FetchError::TooLarge { bytes_max: 1000, .. })));
        for _ in 0..2 {
            let error = get(&url, &limits()).unwrap_err().to_string();
            assert!(error.contains(&address) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_endless_body_and_a_silent_server_end() {
        let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        endless.resize(1 << 20, b'x');
        let (address, _requests) = serve(None, vec![endless]);
        let url = format!("http://{address}/");
        assert!(matches!(get(&url, &limits()), Err(FetchError::TooLarge { .. })));
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let start = Instant::now();
        let limits = FetchLimits { timeout: Duration::from_millis(200), ..limits() };
        let url = format!("http://127.0.0.1:{}/", silent.local_addr().unwrap().port());
        assert!(matches!(get(&url, &limits), Err(FetchError::TimedOut { .. })));
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn redirects_are_followed_and_counted() {
        let to = |target: &str| {
            format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n").into_bytes()
        };
        let (address, _requests) = serve(None, vec![to("/b"), ok(b"there")]);
        assert_eq!(get(&format!("http://{address}/a"), &limits()).unwrap(), b"there");
        let (address, _requests) = serve(None, vec![to("/a"); 5]);
        assert!(get(&format!("http://{address}/a"), &limits()).is_err());
        let (address, _requests) =
            serve(None, vec![b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()]);
        let error = get(&format!("http://{address}/a"), &limits()).unwrap_err();
        assert!(matches!(error, FetchError::Status { status: 404, .. }));
    }

    #[test]
    fn https_is_verified_and_stays_https() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let (ca, issued) = Ca::create("CA", now_s, DAY).unwrap();
        issued.save(&path("ca.crt"), &path("ca.key")).unwrap();
        let server = ca.issue_server(&["localhost".into()], now_s, DAY).unwrap();
        server.save(&path("server.crt"), &path("server.key")).unwrap();
        let identity = ServerIdentity::load(&path("server.crt"), &path("server.key")).unwrap();
        let settings = ServerSettings {
            identity: &identity,
            trust: None,
            client_certificate: ravelin_protect::ClientCertificate::None,
            version_min: TlsVersion::Tls12,
            ticket_lifetime: None,
            protocol: Protocol::WebSocket,
        };
        let config = Arc::new(server_config(&settings).unwrap());
        let (plain, _plain_requests) = serve(None, vec![ok(b"plain")]);
        let away = format!("HTTP/1.1 302 Found\r\nLocation: http://{plain}/\r\nContent-Length: 0\r\n\r\n");
        let answers = vec![ok(b"secret"), away.into_bytes(), ok(b"to a stranger")];
        let (address, _requests) = serve(Some(config), answers);
        let url = format!("https://{address}/jwks");
        let trusting = FetchLimits { ca: Some(path("ca.crt")), ..limits() };
        assert_eq!(get(&url, &trusting).unwrap(), b"secret");
        assert!(get(&url, &trusting).is_err(), "a redirect to http");
        // The system does not know our CA.
        assert!(get(&url, &limits()).is_err());
    }

    #[test]
    fn what_is_no_url_is_not_fetched() {
        for bad in [
            "",
            "ca.crl",
            "file:///etc/passwd",
            "ftp://a/",
            "http://",
            "http:///a",
            "https://user:pw@host/",
            "http://a b/",
            &format!("http://a/{}", "x".repeat(3000)),
        ] {
            assert!(matches!(get(bad, &limits()), Err(FetchError::Url(_))), "{bad}");
        }
        assert!(is_url("HTTPS://a/b.crl") && !is_url("lists/b.crl"));
    }
}
