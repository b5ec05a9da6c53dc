//! Tokens: JWT signed by an identity provider (RFC 7519, RFC 7515, and the advice of RFC 8725).
//!
//! * The keys are the provider's, as a JSON Web Key Set (RFC 7517) from a file or an address. Which algorithm a key
//!   verifies is decided by the configuration and by the key, never by the token alone. There is no HMAC and no `none`
//!   in this module, so a public key can never be taken for a shared secret.
//! * Issuer, audience and expiry are demanded; what a token says twice, or in the wrong type, makes it no token.
//! * Own code over aws-lc-rs, because what libraries leave to their users is what matters here: duplicate claims, sizes,
//!   `crit`, and errors that name what is wrong without the token.
//!
//! Pure: the time is an argument, and keys are fetched by whoever has a network.

mod algorithm;
mod claims;
mod compact;
mod issuer;
mod json;
mod keys;

pub use algorithm::Algorithm;
pub use claims::{ClaimNames, Claims};
pub use issuer::{Freshness, Issuer, IssuerSettings, KeyCell};
pub use keys::{KeyId, KeySet, KeySetError};

/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Largest key set, in bytes.
pub const KEY_SET_BYTES_MAX: usize = 256 << 10;

/// The names of the method in MQTT 5.0's enhanced authentication: our own, and Azure Event Grid's, which clients know.
pub const METHODS: [&str; 2] = ["JWT", "OAUTH2-JWT"];

/// Whether a password is meant as a token: three parts of base64url, the first of them a JSON object. No password that
/// a person or a generator makes up looks so.
pub fn looks_like_token(password: &[u8]) -> bool {
    password.starts_with(b"eyJ") && password.iter().filter(|byte| **byte == b'.').count() == 2
}

/// What is wrong with a token: for the log, never for the peer, and never with a part of the token that is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is longer than any should be.
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// It is not a signed token in compact form.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// A member of the header or a claim stands in it twice.
    #[error("the token has a member twice")]
    Duplicate,
    /// The algorithm is not one that is accepted.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// The header demands an extension.
    #[error("the token demands an extension (`crit`)")]
    Critical,
    /// It is from none of the issuers.
    #[error("the token's issuer is not one of those configured")]
    Issuer,
    /// There are no keys of the issuer, or they are too old to be trusted.
    #[error("there are no keys of the issuer that are young enough to be trusted")]
    NoKeys,
    /// No key of the issuer fits.
    #[error("the issuer has no such key")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// It is valid for longer than is accepted.
    #[error("the token is valid for longer than is accepted")]
    Lifetime,
    /// A claim that is needed is missing or cannot be used.
    #[error("the token's claim {name:?} {what}")]
    Claim {
        /// The claim, as the configuration names it.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
}
