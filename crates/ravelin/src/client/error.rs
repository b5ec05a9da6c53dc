//! Why a client command failed, and with which exit code it ends.

use ravelin_mqtt::ReasonCode;
use std::process::ExitCode;
use std::{fmt, io};

/// The exit code of a command that was used wrongly.
pub const EXIT_USAGE: u8 = 2;
/// The exit code of a command that ran into its own time limit; the one of `mosquitto_sub -W`.
pub const EXIT_TIMED_OUT: u8 = 27;

/// Why a client command failed.
#[non_exhaustive]
#[derive(Debug)]
pub enum Error {
    /// The command line asks for something that does not exist or does not go together.
    Usage(String),
    /// The host name has no address.
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// No connection to the broker.
    Connect {
        /// Where to.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A file that the connection needs could not be used.
    File {
        /// Its path.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// TLS could not be set up, or the peer broke it.
    Tls(rustls::Error),
    /// The WebSocket handshake or its framing failed.
    WebSocket(String),
    /// The broker answered CONNECT, or the authentication exchange, with a refusal.
    Refused {
        /// Its reason.
        reason: ReasonCode,
        /// Its words, if it has some.
        text: Option<String>,
    },
    /// The authentication exchange failed on this side.
    Authentication(String),
    /// The connection ended.
    Closed {
        /// The reason in the broker's DISCONNECT, if it sent one.
        reason: Option<ReasonCode>,
        /// Its words, if it has some.
        text: Option<String>,
    },
    /// The broker did not answer in time.
    NoAnswer(&'static str),
    /// The broker sent what MQTT does not allow.
    Protocol(String),
    /// The broker announced that it does not take what was asked for.
    NotOffered(String),
    /// The connection failed underneath.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(what) => f.write_str(what),
            Error::Resolve { host, .. } => write!(f, "failed to resolve host {host}"),
            Error::Connect { address, .. } => write!(f, "failed to connect to {address}"),
            Error::File { path, why } => write!(f, "failed to use {path}: {why}"),
            Error::Tls(_) => f.write_str("TLS failed"),
            Error::WebSocket(what) => write!(f, "WebSocket failed: {what}"),
            Error::Refused { reason, text } => {
                write!(f, "connection refused: {reason}")?;
                words(f, text)
            }
            Error::Authentication(what) => write!(f, "authentication failed: {what}"),
            Error::Closed { reason: Some(reason), text } => {
                write!(f, "the broker ended the connection: {reason}")?;
                words(f, text)
            }
            Error::Closed { reason: None, .. } => f.write_str("the broker closed the connection"),
            Error::NoAnswer(to) => write!(f, "the broker did not answer {to} in time"),
            Error::Protocol(what) => write!(f, "the broker broke the protocol: {what}"),
            Error::NotOffered(what) => f.write_str(what),
            Error::Io(_) => f.write_str("the connection failed"),
        }
    }
}

fn words(f: &mut fmt::Formatter<'_>, text: &Option<String>) -> fmt::Result {
    match text {
        Some(text) => write!(f, ", \"{}\"", text.escape_debug()),
        None => Ok(()),
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Resolve { source, .. } | Error::Connect { source, .. } | Error::Io(source) => Some(source),
            Error::Tls(source) => Some(source),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Error {
        // rustls hands its errors through `io::Error` where it reads for us.
        match source.downcast::<rustls::Error>() {
            Ok(tls) => Error::Tls(tls),
            Err(source) => Error::Io(source),
        }
    }
}

impl From<rustls::Error> for Error {
    fn from(source: rustls::Error) -> Error {
        Error::Tls(source)
    }
}

impl From<ravelin_mqtt::Error> for Error {
    fn from(source: ravelin_mqtt::Error) -> Error {
        Error::Protocol(source.to_string())
    }
}

/// Ends a client command: wrong usage is exit code 2, every other failure is left to the caller's caller, which makes it 1.
/// With `quiet` nothing is printed.
pub fn finish(command: &str, quiet: bool, result: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let Err(error) = result else { return result };
    if matches!(error.downcast_ref::<Error>(), Some(Error::Usage(_))) {
        if !quiet {
            eprintln!("ravelin {command}: {error:#}\n\nSee `ravelin {command} --help`.");
        }
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    if quiet { Ok(ExitCode::FAILURE) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_names_the_reason_and_escapes_the_brokers_words() {
        let error = Error::Refused { reason: ReasonCode::NOT_AUTHORIZED, text: Some("no\x1b[2J".into()) };
        assert_eq!(error.to_string(), "connection refused: Not authorized (0x87), \"no\\u{1b}[2J\"");
    }

    #[test]
    fn usage_is_exit_code_2_and_the_rest_is_an_error() {
        let usage = finish("pub", true, Err(Error::Usage("no topic".into()).into()));
        assert_eq!(format!("{:?}", usage.unwrap()), format!("{:?}", ExitCode::from(2)));
        assert!(finish("pub", false, Err(Error::NoAnswer("CONNECT").into())).is_err());
    }
}
