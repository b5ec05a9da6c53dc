//! The compact form of a signed token (RFC 7515, 7.1): three parts, what the header says, and what was signed.

use super::json::{self, JsonError};
use super::{Algorithm, TOKEN_BYTES_MAX, TokenError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// A token, taken apart; nothing of it is trusted yet.
pub(super) struct Compact<'a> {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    /// Header and payload as they were signed.
    pub signed: &'a [u8],
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    pub fn parse(token: &'a [u8]) -> Result<Compact<'a>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let malformed = TokenError::Malformed;
        let text = std::str::from_utf8(token).map_err(|_| malformed("it is not text"))?;
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed("it does not have three parts"));
        };
        let decode =
            |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed("a part is not base64url"));
        let members = object(&decode(header)?)?;
        let signed = &token[..header.len() + 1 + payload.len()];
        let (algorithm, kid) = read_header(&members)?;
        Ok(Compact { algorithm, kid, signed, payload: decode(payload)?, signature: decode(signature)? })
    }
}

pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, TokenError> {
    json::object(bytes).map_err(|error| match error {
        JsonError::Malformed => TokenError::Malformed("a part is not a JSON object of bounded size"),
        JsonError::Duplicate => TokenError::Duplicate,
    })
}

fn read_header(members: &Map<String, Value>) -> Result<(Algorithm, Option<String>), TokenError> {
    let text = |name: &'static str| match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(TokenError::Malformed("a member of the header is not a string")),
    };
    // RFC 7515, 4.1.11: who does not understand an extension that is critical must refuse. `b64` is one.
    if members.contains_key("crit") || members.contains_key("b64") {
        return Err(TokenError::Critical);
    }
    let typ = text("typ")?.map(str::to_ascii_lowercase);
    if !matches!(typ.as_deref(), None | Some("jwt" | "at+jwt" | "application/at+jwt")) {
        return Err(TokenError::Malformed("its type is not that of a token for access"));
    }
    let name = text("alg")?.ok_or(TokenError::Malformed("the header has no `alg`"))?;
    let algorithm = Algorithm::from_name(name).ok_or(TokenError::Algorithm)?;
    // `jwk`, `jku`, `x5u` and `x5c` name the key that the token wants to be verified by: they are never looked at.
    Ok((algorithm, text("kid")?.map(str::to_owned)))
}
