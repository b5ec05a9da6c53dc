//! The client's side of the exchange.

use super::Mechanism;
use super::mechanism::xor;
use super::message::{ScramError, attribute, check_characters, check_nonce, decode, encode, escape, text};
use super::verifier::salted_password;
use crate::Secret;
use aws_lc_rs::constant_time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// GS2 header: no channel binding, no other identity.
const GS2_HEADER: &str = "n,,";

/// A client that logs in.
pub struct ScramClient {
    mechanism: Mechanism,
    password: Secret,
    nonce: String,
    first_bare: String,
    /// What the server must answer, once the proof was sent.
    server_signature: Option<Zeroizing<Vec<u8>>>,
}

impl ScramClient {
    /// Starts the exchange; gives `client-first`.
    pub fn begin(
        mechanism: Mechanism,
        user: &str,
        password: Secret,
        nonce: &str,
    ) -> Result<(ScramClient, Vec<u8>), ScramError> {
        check_characters(user.as_bytes())?;
        check_characters(password.expose())?;
        check_nonce(nonce)?;
        let first_bare = format!("n={},r={nonce}", escape(user));
        let message = format!("{GS2_HEADER}{first_bare}").into_bytes();
        let nonce = nonce.into();
        Ok((ScramClient { mechanism, password, nonce, first_bare, server_signature: None }, message))
    }

    /// Answers `server-first` with `client-final`, the proof.
    pub fn prove(&mut self, server_first: &[u8]) -> Result<Vec<u8>, ScramError> {
        let server_first = text(server_first)?;
        let mut rest = Some(server_first);
        let nonce = attribute(&mut rest, 'r')?;
        let salt = STANDARD.decode(attribute(&mut rest, 's')?).map_err(|_| ScramError::Malformed)?;
        let iterations = attribute(&mut rest, 'i')?.parse().map_err(|_| ScramError::Malformed)?;
        check_nonce(nonce)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let mechanism = self.mechanism;
        let salted = salted_password(mechanism, &self.password, &salt, iterations)?;
        let client_key = mechanism.hmac(&salted, b"Client Key");
        let without_proof = format!("c={},r={nonce}", encode(GS2_HEADER.as_bytes()));
        let auth_message = format!("{},{server_first},{without_proof}", self.first_bare);
        let signature = mechanism.hmac(&mechanism.hash(&client_key), auth_message.as_bytes());
        let proof = xor(&client_key, &signature);
        let server_key = mechanism.hmac(&salted, b"Server Key");
        self.server_signature = Some(mechanism.hmac(&server_key, auth_message.as_bytes()));
        Ok(format!("{without_proof},p={}", encode(&proof)).into_bytes())
    }

    /// Verifies `server-final`: whether the server knew the password too.
    pub fn verify(self, server_final: &[u8]) -> Result<(), ScramError> {
        let mut rest = Some(text(server_final)?);
        let signature = decode(attribute(&mut rest, 'v')?, self.mechanism.bytes())?;
        let expected = self.server_signature.ok_or(ScramError::Malformed)?;
        constant_time::verify_slices_are_equal(&signature, &expected).map_err(|_| ScramError::Proof)
    }
}
