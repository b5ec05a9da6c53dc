//! What a token claims, once its signature is known to be right.

use super::TokenError;
use crate::check_identity;
use serde_json::{Map, Value};

/// Groups, roles and audiences that are looked at.
const NAMES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 256;

/// Which claims say what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// Who the client is.
    pub identity: String,
    /// The Client Identifier that it must use; `None`: the token does not say.
    pub client_id: Option<String>,
    /// Its class.
    pub class: Option<String>,
    /// Groups that it is a member of while the token is valid.
    pub groups: Option<String>,
    /// Roles that it has while the token is valid.
    pub roles: Option<String>,
}

impl Default for ClaimNames {
    fn default() -> ClaimNames {
        ClaimNames { identity: "sub".into(), client_id: None, class: None, groups: None, roles: None }
    }
}

/// What a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who the client is.
    pub identity: String,
    /// The Client Identifier that it must use.
    pub client_id: Option<String>,
    /// Its class.
    pub class: Option<String>,
    /// Its groups.
    pub groups: Vec<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// When the token is no longer accepted, in seconds since the Unix epoch, leeway included.
    pub until_s: u64,
}

/// The claims of time and place (RFC 7519, 4.1), before they are compared.
pub(super) struct Registered {
    pub issuer: String,
    pub audience: Vec<String>,
    pub expires_s: u64,
    pub not_before_s: Option<u64>,
    pub issued_s: Option<u64>,
}

impl Registered {
    pub fn read(claims: &Map<String, Value>) -> Result<Registered, TokenError> {
        Ok(Registered {
            issuer: needed(claims, "iss")?.to_owned(),
            audience: names(claims, "aud")?,
            expires_s: time(claims, "exp")?.ok_or_else(|| wrong("exp", "is missing"))?,
            not_before_s: time(claims, "nbf")?,
            issued_s: time(claims, "iat")?,
        })
    }
}

impl Claims {
    pub(super) fn read(
        claims: &Map<String, Value>,
        wanted: &ClaimNames,
        until_s: u64,
    ) -> Result<Claims, TokenError> {
        let identity = needed(claims, &wanted.identity)?;
        // CVE-2017-7650: an identity with a wildcard in it would change what a rule with `%u` means.
        check_identity(identity).map_err(|_| wrong(&wanted.identity, "cannot be an identity"))?;
        // A Client Identifier or a class that is configured is demanded: without it the client would be bound to nothing.
        let text = |name: &Option<String>| match name {
            Some(name) => needed(claims, name).map(|text| Some(text.to_owned())),
            None => Ok(None),
        };
        let list = |name: &Option<String>| name.as_ref().map_or(Ok(Vec::new()), |name| names(claims, name));
        Ok(Claims {
            identity: identity.to_owned(),
            client_id: text(&wanted.client_id)?,
            class: match &wanted.class {
                Some(name) if claims.contains_key(name) => Some(needed(claims, name)?.to_owned()),
                _ => None,
            },
            groups: list(&wanted.groups)?,
            roles: list(&wanted.roles)?,
            until_s,
        })
    }
}

fn wrong(name: &str, what: &'static str) -> TokenError {
    TokenError::Claim { name: name.into(), what }
}

fn needed<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<&'c str, TokenError> {
    match claims.get(name) {
        Some(Value::String(text)) if text.is_empty() => Err(wrong(name, "is empty")),
        Some(Value::String(text)) if text.len() > NAME_BYTES_MAX => Err(wrong(name, "is too long")),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(wrong(name, "is not a string")),
        None => Err(wrong(name, "is missing")),
    }
}

/// A string or a list of strings; a claim that is missing names nothing.
fn names(claims: &Map<String, Value>, name: &str) -> Result<Vec<String>, TokenError> {
    match claims.get(name) {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(list)) if list.len() > NAMES_MAX => Err(wrong(name, "names too many")),
        Some(Value::Array(list)) => {
            let text = |item: &Value| item.as_str().map(str::to_owned);
            list.iter()
                .map(text)
                .collect::<Option<_>>()
                .ok_or_else(|| wrong(name, "is not a list of strings"))
        }
        Some(_) => Err(wrong(name, "is not a list of strings")),
    }
}

/// RFC 7519, 2: NumericDate, which may have a fraction. Negative times and such that no clock will show are refused.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, TokenError> {
    const FAR_S: u64 = 1 << 40;
    let seconds = match claims.get(name) {
        None => return Ok(None),
        Some(Value::Number(number)) => {
            let whole = number.as_f64().filter(|seconds| (0.0..FAR_S as f64).contains(seconds));
            number.as_u64().or(whole.map(|seconds| seconds as u64))
        }
        Some(_) => None,
    };
    match seconds {
        Some(seconds) if seconds < FAR_S => Ok(Some(seconds)),
        _ => Err(wrong(name, "is not a time in seconds")),
    }
}
