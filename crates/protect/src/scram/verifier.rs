//! What the server keeps of a password for SCRAM: enough to verify a proof, not enough to make one.

use super::Mechanism;
use super::message::{ScramError, check_characters};
use crate::{Error, NodeSecret, Secret, random};
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

/// What the server keeps of a password. Its keys are wiped when it is dropped: the server key lets whoever has it pose
/// as this server.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// For which member of the family it is.
    pub mechanism: Mechanism,
    /// Iterations of PBKDF2.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    pub(super) stored_key: Zeroizing<Vec<u8>>,
    pub(super) server_key: Zeroizing<Vec<u8>>,
}

impl ScramVerifier {
    /// A verifier for a new password, with a random salt and the default iterations.
    pub fn create(mechanism: Mechanism, password: &Secret) -> Result<ScramVerifier, Error> {
        let salt = random::<16>()?;
        ScramVerifier::create_with(mechanism, password, &salt, ITERATIONS)
            .map_err(|error| Error::Value(error.to_string()))
    }

    /// A verifier for a password with this salt and these iterations.
    pub fn create_with(
        mechanism: Mechanism,
        password: &Secret,
        salt: &[u8],
        iterations: u32,
    ) -> Result<ScramVerifier, ScramError> {
        if !SALT_BYTES.contains(&salt.len()) {
            return Err(ScramError::Malformed);
        }
        let salted = salted_password(mechanism, password, salt, iterations)?;
        let client_key = mechanism.hmac(&salted, b"Client Key");
        Ok(ScramVerifier {
            mechanism,
            iterations,
            salt: salt.into(),
            stored_key: mechanism.hash(&client_key),
            server_key: mechanism.hmac(&salted, b"Server Key"),
        })
    }

    /// What an unknown user is answered with: derived from the node's secret, so that asking twice gives the same salt
    /// twice, with the iterations and the length of salt of a `model` that exists.
    pub(crate) fn made_up(
        mechanism: Mechanism,
        user: &str,
        secret: &NodeSecret,
        model: Option<&ScramVerifier>,
    ) -> ScramVerifier {
        let (iterations, length) =
            model.map_or((ITERATIONS, 16), |model| (model.iterations, model.salt.len()));
        // Another salt for each mechanism, as every user who exists has.
        let derive = |what: &str| secret.derive(&format!("{} {what}", mechanism.prefix()), user);
        let mut salt = derive("salt").to_vec();
        salt.extend(derive("salt, more"));
        salt.truncate(length);
        let key = |what: &str| {
            let mut key = Zeroizing::new(Vec::with_capacity(mechanism.bytes()));
            key.extend(derive(what));
            key.extend(derive(&format!("{what}, more")));
            key.truncate(mechanism.bytes());
            key
        };
        ScramVerifier {
            mechanism,
            iterations,
            salt,
            stored_key: key("stored key"),
            server_key: key("server key"),
        }
    }

    /// Reads the form in which it stands in a file, `$scram-sha-256$i=..,s=..,sk=..,server=..`; `None` if it is no SCRAM
    /// entry at all.
    pub(crate) fn parse(text: &str) -> Option<Result<ScramVerifier, String>> {
        Mechanism::ALL.into_iter().find_map(|mechanism| {
            let fields = text.strip_prefix(mechanism.prefix())?;
            Some(ScramVerifier::parse_fields(mechanism, fields))
        })
    }

    fn parse_fields(mechanism: Mechanism, text: &str) -> Result<ScramVerifier, String> {
        let form = || format!("a SCRAM entry is written `{}i=..,s=..,sk=..,server=..`", mechanism.prefix());
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
        let key = |text: &str, what: &str| -> Result<Zeroizing<Vec<u8>>, String> {
            let key = Zeroizing::new(decode(text, what)?);
            let bytes = mechanism.bytes();
            if key.len() == bytes { Ok(key) } else { Err(format!("the {what} has {bytes} bytes")) }
        };
        let stored_key = key(next("sk=")?, "stored key")?;
        let server_key = key(next("server=")?, "server key")?;
        if fields.next().is_some() {
            return Err(form());
        }
        Ok(ScramVerifier { mechanism, iterations, salt, stored_key, server_key })
    }
}

/// The form in which it stands in a file.
impl std::fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}i={},s={},sk={},server={}",
            self.mechanism.prefix(),
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(&self.stored_key),
            STANDARD.encode(&self.server_key)
        )
    }
}

/// Reads the form in which it stands in a file.
impl std::str::FromStr for ScramVerifier {
    type Err = Error;

    fn from_str(text: &str) -> Result<ScramVerifier, Error> {
        ScramVerifier::parse(text).unwrap_or_else(|| Err("not a SCRAM entry".into())).map_err(Error::Value)
    }
}

fn decode(text: &str, what: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|_| format!("the {what} is not base64"))
}

/// RFC 5802, section 3: `SaltedPassword := Hi(Normalize(password), salt, i)`.
pub(super) fn salted_password(
    mechanism: Mechanism,
    password: &Secret,
    salt: &[u8],
    iterations: u32,
) -> Result<Zeroizing<Vec<u8>>, ScramError> {
    check_characters(password.expose())?;
    if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
        return Err(ScramError::Iterations);
    }
    let iterations = NonZeroU32::new(iterations).ok_or(ScramError::Iterations)?;
    Ok(mechanism.stretch(password.expose(), salt, iterations))
}
