//! The messages of the exchange: attributes, escapes, and what is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Why an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScramError {
    /// The bytes are not a message of this exchange.
    #[error("the message is malformed")]
    Malformed,
    /// The message is longer than any should be.
    #[error("the message is too long")]
    TooLong,
    /// The peer demands an extension or a channel binding.
    #[error("the peer demands what is not offered")]
    Unsupported,
    /// The user name or password has characters that are not accepted.
    #[error("only printable ASCII is accepted in user names and passwords")]
    Characters,
    /// The nonce is not the one that was sent.
    #[error("the nonce is not the one that was sent")]
    Nonce,
    /// The number of iterations is too small to protect the password, or too large to compute.
    #[error("the number of iterations is not acceptable")]
    Iterations,
    /// The proof is wrong: the peer does not know the password.
    #[error("the proof is wrong")]
    Proof,
}

/// Whether the text can be a user name or a password here (see the module).
pub(super) fn check_characters(text: &[u8]) -> Result<(), ScramError> {
    let printable = !text.is_empty() && text.iter().all(|byte| (0x20..0x7F).contains(byte));
    if printable { Ok(()) } else { Err(ScramError::Characters) }
}

/// The message as text, if it is not too long.
pub(super) fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > super::MESSAGE_BYTES_MAX {
        return Err(ScramError::TooLong);
    }
    let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
    if text.contains(char::is_control) { Err(ScramError::Malformed) } else { Ok(text) }
}

/// Takes the next attribute, which must be `name`, off the front.
pub(super) fn attribute<'a>(rest: &mut Option<&'a str>, name: char) -> Result<&'a str, ScramError> {
    let (first, left) = match rest.ok_or(ScramError::Malformed)?.split_once(',') {
        Some((first, left)) => (first, Some(left)),
        None => (rest.unwrap_or_default(), None),
    };
    // RFC 5802, 5.1: `m=` announces a mandatory extension; who does not know it must fail.
    if first.starts_with("m=") {
        return Err(ScramError::Unsupported);
    }
    let value = first.strip_prefix(name).and_then(|value| value.strip_prefix('='));
    *rest = left;
    value.filter(|value| !value.is_empty()).ok_or(ScramError::Malformed)
}

/// `=2C` and `=3D` back to `,` and `=`; any other `=` is refused.
pub(super) fn unescape(name: &str) -> Result<String, ScramError> {
    let mut out = String::with_capacity(name.len());
    let mut parts = name.split('=');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (character, rest) = if let Some(rest) = part.strip_prefix("2C") {
            (',', rest)
        } else if let Some(rest) = part.strip_prefix("3D") {
            ('=', rest)
        } else {
            return Err(ScramError::Malformed);
        };
        out.push(character);
        out.push_str(rest);
    }
    Ok(out)
}

pub(super) fn escape(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

pub(super) fn check_nonce(nonce: &str) -> Result<(), ScramError> {
    let printable = !nonce.is_empty() && nonce.bytes().all(|byte| (0x21..0x7F).contains(&byte));
    if printable { Ok(()) } else { Err(ScramError::Malformed) }
}

/// Base64 of exactly `length` bytes.
pub(super) fn decode(text: &str, length: usize) -> Result<Vec<u8>, ScramError> {
    let bytes = STANDARD.decode(text).map_err(|_| ScramError::Malformed)?;
    if bytes.len() == length { Ok(bytes) } else { Err(ScramError::Malformed) }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_back() {
        assert_eq!(escape("a=b,c"), "a=3Db=2Cc");
        assert_eq!(unescape("a=3Db=2Cc").unwrap(), "a=b,c");
        assert_eq!(unescape("=3D2C").unwrap(), "=2C");
        for bad in ["a=", "a=3d", "a=2", "a=zz", "=="] {
            assert_eq!(unescape(bad), Err(ScramError::Malformed), "{bad}");
        }
    }
}
