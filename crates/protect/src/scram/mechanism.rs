//! The hash that an exchange goes by: all that differs between SCRAM-SHA-256 and SCRAM-SHA-512.

use aws_lc_rs::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// A member of the SCRAM family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// SCRAM-SHA-256 (RFC 7677).
    Sha256,
    /// SCRAM-SHA-512 (draft-melnikov-scram-sha-512; the same exchange).
    Sha512,
}

impl Mechanism {
    /// Both, the weaker first.
    pub const ALL: [Mechanism; 2] = [Mechanism::Sha256, Mechanism::Sha512];

    /// The name, as MQTT's Authentication Method carries it.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Sha256 => "SCRAM-SHA-256",
            Mechanism::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// What an entry of a password file begins with.
    pub fn prefix(self) -> &'static str {
        match self {
            Mechanism::Sha256 => "$scram-sha-256$",
            Mechanism::Sha512 => "$scram-sha-512$",
        }
    }

    /// Bytes of a key and of a proof.
    pub(super) fn bytes(self) -> usize {
        match self {
            Mechanism::Sha256 => 32,
            Mechanism::Sha512 => 64,
        }
    }

    /// `HMAC(key, data)`.
    pub(super) fn hmac(self, key: &[u8], data: &[u8]) -> Zeroizing<Vec<u8>> {
        let algorithm = match self {
            Mechanism::Sha256 => hmac::HMAC_SHA256,
            Mechanism::Sha512 => hmac::HMAC_SHA512,
        };
        Zeroizing::new(hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec())
    }

    /// `H(data)`.
    pub(super) fn hash(self, data: &[u8]) -> Zeroizing<Vec<u8>> {
        let algorithm = match self {
            Mechanism::Sha256 => &digest::SHA256,
            Mechanism::Sha512 => &digest::SHA512,
        };
        Zeroizing::new(digest::digest(algorithm, data).as_ref().to_vec())
    }

    /// `Hi(password, salt, iterations)`.
    pub(super) fn stretch(self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Zeroizing<Vec<u8>> {
        let algorithm = match self {
            Mechanism::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Mechanism::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut out = Zeroizing::new(vec![0; self.bytes()]);
        pbkdf2::derive(algorithm, iterations, salt, password, &mut out);
        out
    }
}

pub(super) fn xor(a: &[u8], b: &[u8]) -> Zeroizing<Vec<u8>> {
    debug_assert_eq!(a.len(), b.len());
    Zeroizing::new(a.iter().zip(b).map(|(a, b)| a ^ b).collect())
}
