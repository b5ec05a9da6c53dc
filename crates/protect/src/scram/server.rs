//! The server's side of the exchange.

use super::Mechanism;
use super::mechanism::xor;
use super::message::{ScramError, attribute, check_characters, check_nonce, decode, encode, text, unescape};
use super::verifier::ScramVerifier;
use aws_lc_rs::constant_time;
use std::sync::Arc;

/// The client's first message, read.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientFirst {
    /// Who the client says it is.
    pub user: String,
    /// The GS2 header, which the client must repeat.
    gs2_header: String,
    bare: String,
    nonce: String,
}

impl ClientFirst {
    /// Reads `n,,n=user,r=nonce`. Never panics, whatever the bytes.
    pub fn parse(message: &[u8]) -> Result<ClientFirst, ScramError> {
        let message = text(message)?;
        let mut parts = message.splitn(3, ',');
        let (binding, authzid) =
            (parts.next().unwrap_or_default(), parts.next().ok_or(ScramError::Malformed)?);
        let bare = parts.next().ok_or(ScramError::Malformed)?;
        match binding {
            "n" | "y" => {}
            binding if binding.starts_with("p=") => return Err(ScramError::Unsupported),
            _ => return Err(ScramError::Malformed),
        }
        let mut rest = Some(bare);
        let user = unescape(attribute(&mut rest, 'n')?)?;
        check_characters(user.as_bytes())?;
        let nonce = attribute(&mut rest, 'r')?;
        check_nonce(nonce)?;
        // Whoever logs in acts as itself: another name to act as is refused.
        if !authzid.is_empty() {
            let name = authzid.strip_prefix("a=").ok_or(ScramError::Malformed)?;
            if unescape(name)? != user {
                return Err(ScramError::Unsupported);
            }
        }
        Ok(ClientFirst {
            user,
            gs2_header: format!("{binding},{authzid},"),
            bare: bare.into(),
            nonce: nonce.into(),
        })
    }
}

/// The server after its first message: it waits for the proof.
#[derive(Clone)]
pub struct ScramServer {
    client_first: ClientFirst,
    server_first: String,
    nonce: String,
    verifier: Arc<ScramVerifier>,
    known: bool,
}

impl ScramServer {
    /// Answers the first message with `server-first`. `known` says whether `verifier` is the user's or was made up.
    pub fn begin(
        client_first: ClientFirst,
        verifier: Arc<ScramVerifier>,
        known: bool,
        server_nonce: &str,
    ) -> Result<(ScramServer, Vec<u8>), ScramError> {
        check_nonce(server_nonce)?;
        let nonce = format!("{}{server_nonce}", client_first.nonce);
        let server_first = format!("r={nonce},s={},i={}", encode(&verifier.salt), verifier.iterations);
        let message = server_first.clone().into_bytes();
        Ok((ScramServer { client_first, server_first, nonce, verifier, known }, message))
    }

    /// Who is logging in.
    pub fn user(&self) -> &str {
        &self.client_first.user
    }

    /// The mechanism of the exchange.
    pub fn mechanism(&self) -> Mechanism {
        self.verifier.mechanism
    }

    /// Verifies `client-final`; gives `server-final`, which proves the server to the client.
    pub fn finish(self, client_final: &[u8]) -> Result<Vec<u8>, ScramError> {
        let message = text(client_final)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut rest = Some(without_proof);
        if attribute(&mut rest, 'c')? != encode(self.client_first.gs2_header.as_bytes()) {
            return Err(ScramError::Unsupported);
        }
        if attribute(&mut rest, 'r')? != self.nonce {
            return Err(ScramError::Nonce);
        }
        let (verifier, mechanism) = (&self.verifier, self.verifier.mechanism);
        let proof = decode(proof, mechanism.bytes())?;
        let auth_message = format!("{},{},{without_proof}", self.client_first.bare, self.server_first);
        let client_signature = mechanism.hmac(&verifier.stored_key, auth_message.as_bytes());
        let client_key = xor(&proof, &client_signature);
        let stored_key = mechanism.hash(&client_key);
        let proven = constant_time::verify_slices_are_equal(&stored_key, &verifier.stored_key).is_ok();
        let server_signature = mechanism.hmac(&verifier.server_key, auth_message.as_bytes());
        if proven & self.known {
            Ok(format!("v={}", encode(&server_signature)).into_bytes())
        } else {
            Err(ScramError::Proof)
        }
    }
}
