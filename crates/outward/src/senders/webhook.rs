//! A webhook: HTTPS POST of a JSON array.
//!
//! Headers, after Standard Webhooks 1.0:
//! * `webhook-id`: the batch; the same when it is sent again, so that a receiver takes it once;
//! * `webhook-timestamp`: when it is sent, in seconds since the Unix epoch;
//! * `webhook-signature`: `v1,` and HMAC-SHA256 over `id.timestamp.body` in base64, where there is a secret.
//!
//! Any status of 200 to 299 is a receipt. 400, 413, 415 and 422 say that the body will never be taken: it is cut to single
//! entries, and the one that is refused is left out and counted. Anything else is tried again; redirects are not followed.

use super::{ClientTls, Sender};
use crate::sign::Secret;
use crate::text::name;
use crate::{Entry, Error, Origin};
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, http};

const BATCH_BYTES_MAX: usize = 1 << 20;
/// Of an answer, which is not looked at.
const ANSWER_BYTES_MAX: u64 = 16 << 10;
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// A webhook.
#[derive(Clone)]
pub struct WebhookTarget {
    /// Where it is: `https`, or `http` if that was allowed.
    pub url: String,
    /// By whom the server is verified; `None` only for `http`.
    pub tls: Option<ClientTls>,
    /// What it is signed with.
    pub secret: Option<Secret>,
    /// A header that says who asks, as `authorization: Splunk ...` does.
    pub header: Option<(String, String)>,
    /// From the first step to the end of the answer.
    pub timeout: Duration,
    /// Most entries at once.
    pub batch_max: usize,
}

pub(crate) struct Webhook {
    target: WebhookTarget,
    agent: Agent,
    /// What the ids of its batches begin with.
    prefix: String,
    /// After a refusal, entries go one by one until this one.
    single_until: u64,
}

impl Webhook {
    pub fn new(target: &WebhookTarget, origin: &Origin, destination: &str) -> Result<Webhook, Error> {
        let mut builder = Agent::config_builder();
        if let Some(tls) = &target.tls {
            // The same check of the CAs as for syslog.
            tls.config()?;
            let roots: Vec<_> =
                tls.authorities.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
            let mut config = TlsConfig::builder()
                .provider(TlsProvider::Rustls)
                .unversioned_rustls_crypto_provider(tls.provider.clone())
                .root_certs(RootCerts::new_with_certs(&roots));
            if let Some((chain, key)) = &tls.identity {
                let chain: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
                config = config.client_cert(Some(client_certificate(&chain, key)?));
            }
            builder = builder.tls_config(config.build()).https_only(true);
        }
        let config = builder
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(target.timeout))
            .max_idle_connections(1)
            .user_agent("ravelin")
            .build();
        let prefix = format!("{}.{}", name(&origin.node, 64), name(destination, 64));
        Ok(Webhook { target: target.clone(), agent: Agent::new_with_config(config), prefix, single_until: 0 })
    }

    fn post(&self, id: &str, body: &str, now_ms: u64) -> Result<http::Response<ureq::Body>, Error> {
        let timestamp_s = now_ms / 1000;
        let mut request = self
            .agent
            .post(&self.target.url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp_s.to_string());
        if let Some(secret) = &self.target.secret {
            request = request.header("webhook-signature", secret.sign(id, timestamp_s, body.as_bytes()));
        }
        if let Some((header, value)) = &self.target.header {
            request = request.header(header, value);
        }
        request.send(body).map_err(|error| Error::Unreachable(format!("failed to post: {error}")))
    }
}

fn client_certificate(
    chain: &[Certificate<'static>],
    key: &rustls::pki_types::PrivateKeyDer<'static>,
) -> Result<ureq::tls::ClientCert, Error> {
    use base64::Engine;
    use rustls::pki_types::PrivateKeyDer;
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        PrivateKeyDer::Pkcs8(_) => "PRIVATE KEY",
        _ => return Err(Error::Settings("the key is of a kind that is not known".into())),
    };
    // The only way in: the constructor from DER takes a type that is not public.
    let encoded = base64::prelude::BASE64_STANDARD.encode(key.secret_der());
    let pem = format!("-----BEGIN {label}-----\n{encoded}\n-----END {label}-----\n");
    let key = ureq::tls::PrivateKey::from_pem(pem.as_bytes());
    let key = key.map_err(|error| Error::Settings(format!("the key cannot be used: {error}")))?;
    Ok(ureq::tls::ClientCert::new_with_certs(chain, key))
}

impl Sender for Webhook {
    fn send(&mut self, batch: &[Entry], now_ms: u64) -> Result<(), Error> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
        let id = format!("{}.{}-{}", self.prefix, first.seq, last.seq);
        let bodies: Vec<&str> = batch.iter().map(|entry| &*entry.body).collect();
        let mut answer = self.post(&id, &format!("[{}]", bodies.join(",")), now_ms)?;
        let status = answer.status().as_u16();
        let pause = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        // Read, so that the connection can be used again.
        let _ = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        match status {
            200..300 => {
                if last.seq >= self.single_until {
                    self.single_until = 0;
                }
                Ok(())
            }
            400 | 413 | 415 | 422 => {
                self.single_until = self.single_until.max(last.seq);
                Err(Error::Refused { status })
            }
            status => {
                let pause = pause.map(|seconds| Duration::from_secs(seconds).min(PAUSE_MAX));
                Err(Error::Busy { status, pause })
            }
        }
    }

    fn batch_max(&self) -> (usize, usize) {
        (if self.single_until > 0 { 1 } else { self.target.batch_max }, BATCH_BYTES_MAX)
    }
}
