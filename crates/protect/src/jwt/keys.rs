//! The keys of an issuer: a JSON Web Key Set (RFC 7517), strictly.

use super::json::{self, JsonError};
use super::{Algorithm, KEY_SET_BYTES_MAX};
use aws_lc_rs::digest;
use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Keys in one set.
const KEYS_MAX: usize = 64;
const KID_BYTES_MAX: usize = 256;
/// The public exponent: 3 has a history, more than 32 bits is an attack on our time.
const EXPONENT_BYTES_MAX: usize = 4;

/// Why a key set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// It is larger than any should be.
    #[error("the key set is larger than {KEY_SET_BYTES_MAX} bytes")]
    TooLarge,
    /// It is not a key set.
    #[error("not a JSON Web Key Set: {0}")]
    Malformed(&'static str),
    /// One of its keys is wrong.
    #[error("key {index} of the set{}: {what}", kid.as_deref().map(|kid| format!(" ({kid:?})")).unwrap_or_default())]
    Key {
        /// Which, from 0.
        index: usize,
        /// Its name.
        kid: Option<String>,
        /// What is wrong with it.
        what: &'static str,
    },
    /// No key in it could verify a token.
    #[error("the key set has no key that could verify a token")]
    NoKeys,
}

/// Which key signed a token: the first bytes of a digest of the public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct KeyId(pub(crate) u64);

/// The keys of an issuer. They are public, and still have no `Debug`: a log of them would help nobody.
pub struct KeySet {
    keys: Vec<Key>,
}

struct Key {
    kid: Option<Box<str>>,
    id: KeyId,
    /// What the key set says that the key is for; `None`: whatever its type can.
    algorithm: Option<Algorithm>,
    material: Material,
}

enum Material {
    Rsa { modulus: Box<[u8]>, exponent: Box<[u8]> },
    P256(ParsedPublicKey),
    P384(ParsedPublicKey),
    Ed25519(ParsedPublicKey),
}

impl KeySet {
    /// Parses a key set. Keys that are not for signatures, and types of key that are not known, are left out; a shared
    /// secret or a private key in it makes the whole set refused: it was never meant to be here. Never panics, whatever
    /// the bytes.
    pub fn parse(bytes: &[u8]) -> Result<KeySet, KeySetError> {
        if bytes.len() > KEY_SET_BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let set = json::object(bytes).map_err(|error| {
            KeySetError::Malformed(match error {
                JsonError::Malformed => "not a JSON object of bounded size",
                JsonError::Duplicate => "a member stands in it twice",
            })
        })?;
        let Some(Value::Array(list)) = set.get("keys") else {
            return Err(KeySetError::Malformed("there is no list `keys`"));
        };
        if list.len() > KEYS_MAX {
            return Err(KeySetError::Malformed("it has more than 64 keys"));
        }
        let mut keys: Vec<Key> = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let kid = value.get("kid").and_then(Value::as_str).map(|kid| kid.chars().take(64).collect());
            let wrong = |what| KeySetError::Key { index, kid, what };
            match Key::read(value) {
                Ok(Some(key)) if key.kid.is_some() && keys.iter().any(|other| other.kid == key.kid) => {
                    return Err(wrong("another key has the same `kid`"));
                }
                Ok(key) => keys.extend(key),
                Err(what) => return Err(wrong(what)),
            }
        }
        if keys.is_empty() { Err(KeySetError::NoKeys) } else { Ok(KeySet { keys }) }
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has none: never.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key is in it.
    pub fn has(&self, id: KeyId) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// Verifies a signature with the key that is named, or with the only one that fits. `None`: there is no such key.
    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        signed: &[u8],
        signature: &[u8],
    ) -> Option<Result<KeyId, ()>> {
        let mut fitting = self.keys.iter().filter(|key| key.fits(algorithm));
        let key = match kid {
            Some(kid) => fitting.find(|key| key.kid.as_deref() == Some(kid))?,
            None => {
                let key = fitting.next()?;
                // A token that does not say which is verified by one key, not by all that there are.
                if fitting.next().is_some() {
                    return None;
                }
                key
            }
        };
        Some(key.verify(algorithm, signed, signature).map(|()| key.id))
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeySet({} keys)", self.keys.len())
    }
}

/// Whether two sets have the same keys, in whatever order.
impl PartialEq for KeySet {
    fn eq(&self, other: &KeySet) -> bool {
        self.keys.len() == other.keys.len() && self.keys.iter().all(|key| other.has(key.id))
    }
}

impl Key {
    /// `None`: a key that is not for us.
    fn read(value: &Value) -> Result<Option<Key>, &'static str> {
        let Value::Object(members) = value else { return Err("it is not an object") };
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err("a member that must be a string is none"),
        };
        let kind = text("kty")?.ok_or("it has no `kty`")?;
        if kind == "oct" {
            return Err("a shared secret does not belong into a key set that is published");
        }
        if members.contains_key("d") {
            return Err("it is a private key: whoever can read the set can make tokens");
        }
        let for_signatures = text("use")?.is_none_or(|purpose| purpose == "sig")
            && match members.get("key_ops") {
                None => true,
                Some(Value::Array(operations)) => operations.iter().any(|one| one == "verify"),
                Some(_) => return Err("`key_ops` is not a list"),
            };
        let kid = text("kid")?;
        if kid.is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err("its `kid` is too long");
        }
        let algorithm = match text("alg")? {
            None => None,
            Some(name) => match Algorithm::from_name(name) {
                Some(algorithm) => Some(algorithm),
                // An algorithm that we do not have, or one of encryption.
                None => return Ok(None),
            },
        };
        if !for_signatures {
            return Ok(None);
        }
        let Some((material, id)) = Material::read(kind, members)? else { return Ok(None) };
        let key = Key { kid: kid.map(Into::into), id, algorithm, material };
        if algorithm.is_some_and(|algorithm| !key.fits(algorithm)) {
            return Err("its `alg` does not go with its type");
        }
        Ok(Some(key))
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let by_type = match self.material {
            Material::Rsa { .. } => algorithm.rsa().is_some(),
            Material::P256(_) => algorithm == Algorithm::Es256,
            Material::P384(_) => algorithm == Algorithm::Es384,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        by_type && self.algorithm.is_none_or(|only| only == algorithm)
    }

    fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Result<(), ()> {
        match &self.material {
            Material::Rsa { modulus, exponent } => {
                let parameters = algorithm.rsa().ok_or(())?;
                let key = RsaPublicKeyComponents { n: &**modulus, e: &**exponent };
                key.verify(parameters, signed, signature).map_err(|_| ())
            }
            Material::P256(key) | Material::P384(key) | Material::Ed25519(key) => {
                key.verify_sig(signed, signature).map_err(|_| ())
            }
        }
    }
}

impl Material {
    fn read(kind: &str, members: &Map<String, Value>) -> Result<Option<(Material, KeyId)>, &'static str> {
        let bytes = |name: &str| -> Result<Vec<u8>, &'static str> {
            let text = members.get(name).and_then(Value::as_str).ok_or("a member of the key is missing")?;
            URL_SAFE_NO_PAD.decode(text).map_err(|_| "a member of the key is not base64url")
        };
        let curve = members.get("crv").and_then(Value::as_str);
        let (material, public) = match (kind, curve) {
            ("RSA", _) => {
                let (modulus, exponent) = (trim(bytes("n")?), trim(bytes("e")?));
                if !(256..=1024).contains(&modulus.len()) || modulus[0] < 0x80 && modulus.len() == 256 {
                    return Err("an RSA key has 2048 to 8192 bits");
                }
                let odd = exponent.last().is_some_and(|last| last % 2 == 1);
                if !odd || exponent.len() > EXPONENT_BYTES_MAX || *exponent == [1] {
                    return Err("its exponent cannot be one");
                }
                let public = [&*modulus, &*exponent].concat();
                (Material::Rsa { modulus, exponent }, public)
            }
            ("EC", Some("P-256")) => {
                let point = point(bytes("x")?, bytes("y")?, 32)?;
                (Material::P256(parsed(Algorithm::Es256, &point)?), point)
            }
            ("EC", Some("P-384")) => {
                let point = point(bytes("x")?, bytes("y")?, 48)?;
                (Material::P384(parsed(Algorithm::Es384, &point)?), point)
            }
            ("OKP", Some("Ed25519")) => {
                let x = bytes("x")?;
                if x.len() != 32 {
                    return Err("an Ed25519 key has 32 bytes");
                }
                (Material::Ed25519(parsed(Algorithm::EdDsa, &x)?), x)
            }
            _ => return Ok(None),
        };
        let hash = digest::digest(&digest::SHA256, &public);
        let first: [u8; 8] = hash.as_ref()[..8].try_into().unwrap_or_default();
        Ok(Some((material, KeyId(u64::from_be_bytes(first)))))
    }
}

/// RFC 7518, 6.3.1: no zero octets in front; some write one.
fn trim(bytes: Vec<u8>) -> Box<[u8]> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    bytes[start..].into()
}

/// The uncompressed form. RFC 7518, 6.2.1.2: a coordinate has the full length.
fn point(x: Vec<u8>, y: Vec<u8>, bytes: usize) -> Result<Vec<u8>, &'static str> {
    if x.len() != bytes || y.len() != bytes {
        return Err("a coordinate has the wrong length");
    }
    Ok([&[4][..], &x, &y].concat())
}

/// Whether the point is on the curve is found out here, not with the first token.
fn parsed(algorithm: Algorithm, public: &[u8]) -> Result<ParsedPublicKey, &'static str> {
    let curve = algorithm.curve().ok_or("no curve")?;
    ParsedPublicKey::new(curve, public).map_err(|_| "it is not a point of its curve")
}

/// Shared by all who verify.
pub(super) type Shared = Arc<KeySet>;
