//! What proves an identity: the lines of a password file, without the name in front.

use super::DirectoryError;
use crate::password::{PasswordFile, StoredHash, User};
use crate::scram::{Mechanism, ScramVerifier};
use crate::totp::Totp;
use crate::{Error, Secret};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Most lines of one identity: a password hash, SCRAM verifiers, the secret of one-time codes.
const LINES_MAX: usize = 8;

/// What proves an identity. There is no `Debug`, and only the store is told what it is.
#[derive(Clone, Default)]
pub struct Credentials {
    lines: Arc<Vec<Zeroizing<String>>>,
    user: User,
}

impl Credentials {
    /// Reads lines as they stand behind `user:` in a password file.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Credentials, DirectoryError> {
        let lines: Vec<_> = lines.into_iter().map(|line| Zeroizing::new(line.to_string())).collect();
        if lines.len() > LINES_MAX {
            return Err(DirectoryError::LimitExceeded { what: "credentials of a client", max: LINES_MAX });
        }
        let mut text = Zeroizing::new(String::new());
        for line in &lines {
            if line.contains(['\n', '\r']) {
                return Err(DirectoryError::BadCredentials("a line is longer than a line".into()));
            }
            text.push_str("x:");
            text.push_str(line);
            text.push('\n');
        }
        let file = PasswordFile::parse(&text, "credentials").map_err(|errors| {
            let what = errors.0.into_iter().next().map_or(String::new(), |error| error.what);
            DirectoryError::BadCredentials(what)
        })?;
        let user = file.user("x").cloned().unwrap_or_default();
        Ok(Credentials { lines: Arc::new(lines), user })
    }

    /// Hashes a new password: argon2id for log-ins by password, and what SCRAM needs where it can carry the password.
    /// Takes a tenth of a second: not on a thread that serves connections.
    pub fn create(password: &Secret) -> Result<Credentials, Error> {
        let mut lines = vec![Zeroizing::new(StoredHash::create(password)?.to_string())];
        let scram = Mechanism::ALL.into_iter().filter_map(|each| ScramVerifier::create(each, password).ok());
        lines.extend(scram.map(|verifier| Zeroizing::new(verifier.to_string())));
        let parsed = Credentials::parse(lines.iter().map(|line| line.as_str()));
        parsed.map_err(|error| Error::Value(error.to_string()))
    }

    /// These credentials with the password of `new`; what is no password (the secret of one-time codes) stays.
    pub fn with_password_of(&self, new: &Credentials) -> Result<Credentials, DirectoryError> {
        let kept = self.lines.iter().filter(|line| line.starts_with("$totp$"));
        let set = new.lines.iter().filter(|line| !line.starts_with("$totp$"));
        Credentials::parse(set.chain(kept).map(|line| line.as_str()))
    }

    /// These credentials with another secret of one-time codes, or without one.
    pub fn with_totp(&self, totp: Option<&Totp>) -> Result<Credentials, DirectoryError> {
        let entry = totp.map(|totp| totp.to_entry());
        let kept = self.lines.iter().filter(|line| !line.starts_with("$totp$")).map(|line| line.as_str());
        Credentials::parse(kept.chain(entry.as_ref().map(|entry| entry.as_str())))
    }

    /// What the authenticator asks.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The lines, for the store.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| line.as_str())
    }

    /// Whether there is nothing by which it could prove itself (a certificate always can).
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The scheme of each line, for whoever may not see more.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| match line.split('$').nth(1) {
            Some("7") => "sha512-pbkdf2",
            Some("6") => "sha512",
            Some(scheme) => scheme,
            None => "unknown",
        })
    }
}
