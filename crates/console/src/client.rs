//! A client of the API: blocking, one connection kept for the next request, every answer that is not one a typed error.

use crate::problem::ProblemBody;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body, http};

/// Largest answer.
const BODY_BYTES_MAX: u64 = 256 << 20;

/// How to reach a control lane, and as who. No `Debug`: it may hold a token.
#[derive(Clone, Default)]
pub struct Target {
    /// `https://localhost:8886`.
    pub url: String,
    /// The CAs (PEM) that vouch for the node.
    pub ca: Option<PathBuf>,
    /// Certificate chain and private key (PEM) of whoever asks.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A token of whoever asks.
    pub token: Option<ravelin_protect::Secret>,
    /// How long a request may take; `None` is 60 s.
    pub timeout: Option<Duration>,
}

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// What was given to reach the node cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The node cannot be reached, or is not who it should be.
    #[error("{url} cannot be reached: {detail}")]
    Unreachable {
        /// What was tried.
        url: String,
        /// What went wrong.
        detail: String,
    },
    /// The node answered, and refused.
    #[error("{}", shown(.0))]
    Refused(Box<ProblemBody>),
    /// The node answered, and the answer is not what was hoped for.
    #[error("{0}")]
    Unmet(String),
    /// The answer is not one of this API.
    #[error("{url} did not answer as a control lane does: {detail}")]
    NotOurs {
        /// What was asked for.
        url: String,
        /// What was wrong with the answer.
        detail: String,
    },
}

fn shown(problem: &ProblemBody) -> String {
    let help = if problem.help.is_empty() { String::new() } else { format!(" ({})", problem.help) };
    format!("{}{help}", problem.detail)
}

/// Speaks to one control lane.
pub struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
}

impl Client {
    /// A client; nothing is sent yet.
    pub fn new(target: &Target) -> Result<Client, ClientError> {
        let url = target.url.trim_end_matches('/').to_owned();
        let encrypted = url.starts_with("https://");
        if !encrypted && !url.starts_with("http://") {
            return Err(ClientError::Usage(format!("{url:?} is not a URL of https")));
        }
        let mut tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(ravelin_protect::tls::provider());
        if encrypted {
            let ca = target
                .ca
                .as_deref()
                .ok_or_else(|| ClientError::Usage("the CA that vouches for the node is not given".into()))?;
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates(ca)?));
            if let Some((chain, key)) = &target.certificate {
                tls = tls
                    .client_cert(Some(ClientCert::new_with_certs(&certificates(chain)?, private_key(key)?)));
            }
        }
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .proxy(None)
            // A control lane sends nobody elsewhere, least of all with a token.
            .max_redirects(0)
            .timeout_global(Some(target.timeout.unwrap_or(Duration::from_secs(60))))
            .user_agent("ravelin");
        let token = target
            .token
            .as_ref()
            .map(|secret| std::str::from_utf8(secret.expose()).map(|text| format!("Bearer {}", text.trim())));
        let token = token.transpose().map_err(|_| ClientError::Usage("the token is not text".into()))?;
        Ok(Client { agent: Agent::new_with_config(config.build()), url, token })
    }

    /// What there is at a path.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(path, self.send::<()>("GET", path, None)?)
    }

    /// The text that there is at a path.
    pub fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let mut answer = self.send::<()>("GET", path, None)?;
        let text = answer.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string();
        text.map_err(|error| self.not_ours(path, &error.to_string()))
    }

    /// Sends a body by a method, for an answer.
    pub fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.read(path, self.send(method, path, Some(body))?)
    }

    /// Has something done that has no answer but that it was done.
    pub fn order<B: Serialize>(&self, method: &str, path: &str, body: Option<&B>) -> Result<(), ClientError> {
        let mut answer = self.send(method, path, body)?;
        // Read to its end, so that the connection can be used again.
        let rest = answer.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_vec();
        rest.map(drop).map_err(|error| self.not_ours(path, &error.to_string()))
    }

    /// Has something done that takes no body and has no answer.
    pub fn order_plain(&self, method: &str, path: &str) -> Result<(), ClientError> {
        self.order::<()>(method, path, None)
    }

    fn send<B: Serialize>(
        &self,
        method: &str,
        path: &str,
        body: Option<&B>,
    ) -> Result<http::Response<Body>, ClientError> {
        let url = format!("{}{path}", self.url);
        let mut request = http::Request::builder().method(method).uri(&url);
        if let Some(token) = &self.token {
            request = request.header("authorization", token);
        }
        let usage = |error: http::Error| ClientError::Usage(format!("{url}: {error}"));
        let answer = match body {
            Some(body) => {
                let text = serde_json::to_vec(body)
                    .map_err(|error| ClientError::Usage(format!("{url}: {error}")))?;
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(text).map_err(usage)?)
            }
            None => self.agent.run(request.body(()).map_err(usage)?),
        };
        let answer = answer
            .map_err(|error| ClientError::Unreachable { url: url.clone(), detail: error.to_string() })?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refused(path, answer)) }
    }

    fn refused(&self, path: &str, mut answer: http::Response<Body>) -> ClientError {
        let status = answer.status();
        match answer.body_mut().with_config().limit(1 << 20).read_to_vec() {
            Ok(body) => match serde_json::from_slice::<ProblemBody>(&body) {
                Ok(problem) => ClientError::Refused(Box::new(problem)),
                Err(_) => self.not_ours(path, &format!("status {status}")),
            },
            Err(error) => self.not_ours(path, &error.to_string()),
        }
    }

    fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        mut answer: http::Response<Body>,
    ) -> Result<T, ClientError> {
        let body = answer.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| self.not_ours(path, &error.to_string()))?;
        serde_json::from_slice(&body).map_err(|error| self.not_ours(path, &error.to_string()))
    }

    fn not_ours(&self, path: &str, detail: &str) -> ClientError {
        ClientError::NotOurs { url: format!("{}{path}", self.url), detail: detail.into() }
    }
}

/// A part of a path: what is not plain is escaped.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, ClientError> {
    let loaded = ravelin_protect::trust::load_certificates(path);
    let loaded = loaded.map_err(|error| ClientError::Usage(error.to_string()))?;
    Ok(loaded.iter().map(|der| Certificate::from_der(der).to_owned()).collect())
}

fn private_key(path: &Path) -> Result<PrivateKey<'static>, ClientError> {
    let usage = |what: String| ClientError::Usage(format!("{}: {what}", path.display()));
    let bytes =
        ravelin_protect::file::read(path, 1 << 20).map_err(|error| ClientError::Usage(error.to_string()))?;
    PrivateKey::from_pem(&bytes).map_err(|error| usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_chose_stays_one_part_of_a_path() {
        assert_eq!(segment("meter-7"), "meter-7");
        assert_eq!(segment("a/../b?c#d%é"), "a%2F%2E%2E%2Fb%3Fc%23d%25%C3%A9");
        assert_eq!(segment(".."), "%2E%2E");
    }

    #[test]
    fn what_cannot_be_a_target_is_said_before_anything_is_sent() {
        let new = |url: &str| Client::new(&Target { url: url.into(), ..Target::default() });
        assert!(matches!(new("ftp://x"), Err(ClientError::Usage(_))));
        assert!(matches!(new("https://localhost:1"), Err(ClientError::Usage(_))), "no CA");
        let refused = new("http://127.0.0.1:1").unwrap().get::<u8>("/v1/status");
        assert!(matches!(refused, Err(ClientError::Unreachable { .. })), "{refused:?}");
    }
}
