//! What the server keeps of a password for SCRAM: enough to verify a proof, not enough to make one.

use super::message::{ScramError, check_characters};
use crate::{Error, NodeSecret, Secret, random};
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// Iterations of a new verifier. It is the client, often a small device, that pays for them at each log-in.
pub const ITERATIONS: u32 = 16_384;
/// RFC 7677, section 4: at least 4096.
pub(super) const ITERATIONS_MIN: u32 = 4_096;
/// More would keep a device busy for minutes: a server must not be able to demand it.
pub(super) const ITERATIONS_MAX: u32 = 1_000_000;
const SALT_BYTES: std::ops::RangeInclusive<usize> = 8..=64;

/// What the server keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// Iterations of PBKDF2.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    pub(super) stored_key: [u8; 32],
    pub(super) server_key: [u8; 32],
}

impl Drop for ScramVerifier {
    /// The server key lets whoever has it pose as this server.
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}

impl ScramVerifier {
    /// A verifier for a new password, with a random salt and the default iterations.
    pub fn create(password: &Secret) -> Result<ScramVerifier, Error> {
        let salt = random::<16>()?;
        ScramVerifier::create_with(password, &salt, ITERATIONS)
            .map_err(|error| Error::Value(error.to_string()))
    }

    /// A verifier for a password with this salt and these iterations.
    pub fn create_with(password: &Secret, salt: &[u8], iterations: u32) -> Result<ScramVerifier, ScramError> {
        if !SALT_BYTES.contains(&salt.len()) {
            return Err(ScramError::Malformed);
        }
        let salted = salted_password(password, salt, iterations)?;
        let client_key = hmac(&salted[..], b"Client Key");
        Ok(ScramVerifier {
            iterations,
            salt: salt.into(),
            stored_key: sha256(&client_key[..]),
            server_key: *hmac(&salted[..], b"Server Key"),
        })
    }

    /// What an unknown user is answered with: derived from the node's secret, so that asking twice gives the same salt
    /// twice, with the iterations and the length of salt of a `model` that exists.
    pub(crate) fn made_up(user: &str, secret: &NodeSecret, model: Option<&ScramVerifier>) -> ScramVerifier {
        let (iterations, length) =
            model.map_or((ITERATIONS, 16), |model| (model.iterations, model.salt.len()));
        let mut salt = secret.derive("scram salt", user).to_vec();
        salt.extend(secret.derive("scram salt, more", user));
        salt.truncate(length);
        ScramVerifier {
            iterations,
            salt,
            stored_key: secret.derive("scram stored key", user),
            server_key: secret.derive("scram server key", user),
        }
    }

    /// Reads `i=..,s=..,sk=..,server=..`.
    pub(crate) fn parse(text: &str) -> Result<ScramVerifier, String> {
        let form = || "a SCRAM entry is written `$scram-sha-256$i=..,s=..,sk=..,server=..`".to_string();
        let mut fields = text.split(',');
        let mut next = |key: &str| fields.next().and_then(|field| field.strip_prefix(key)).ok_or_else(form);
        let digits = next("i=")?;
        let iterations = digits
            .parse()
            .ok()
            .filter(|count| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(count) && !digits.starts_with('+'))
            .ok_or_else(|| format!("the iterations are a number in {ITERATIONS_MIN}..{ITERATIONS_MAX}"))?;
        let salt = decode(next("s=")?, "salt")?;
        if !SALT_BYTES.contains(&salt.len()) {
            return Err("the salt has 8 to 64 bytes".into());
        }
        let key = |text: &str, what: &str| -> Result<[u8; 32], String> {
            decode(text, what)?.try_into().map_err(|_| format!("the {what} has 32 bytes"))
        };
        let stored_key = key(next("sk=")?, "stored key")?;
        let server_key = key(next("server=")?, "server key")?;
        if fields.next().is_some() {
            return Err(form());
        }
        Ok(ScramVerifier { iterations, salt, stored_key, server_key })
    }
}

/// The form in which it stands in a file.
impl std::fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "$scram-sha-256$i={},s={},sk={},server={}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }
}

fn decode(text: &str, what: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|_| format!("the {what} is not base64"))
}

/// RFC 5802, section 3: `SaltedPassword := Hi(Normalize(password), salt, i)`.
pub(super) fn salted_password(
    password: &Secret,
    salt: &[u8],
    iterations: u32,
) -> Result<Zeroizing<[u8; 32]>, ScramError> {
    check_characters(password.expose())?;
    if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
        return Err(ScramError::Iterations);
    }
    let iterations = NonZeroU32::new(iterations).ok_or(ScramError::Iterations)?;
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.expose(), &mut salted[..]);
    Ok(salted)
}

pub(super) fn hmac(key: &[u8], data: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    out.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref());
    out
}

pub(super) fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

pub(super) fn xor(a: &[u8; 32], b: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
        *out = a ^ b;
    }
    out
}
