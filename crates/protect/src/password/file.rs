//! Reads password files: those of `mosquitto_passwd`, argon2id in PHC form, and SCRAM entries.
//!
//! ```text
//! # a comment
//! alice:$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>
//! alice:$scram-sha-256$i=16384,s=<salt>,sk=<stored key>,server=<server key>
//! alice:$scram-sha-512$i=16384,s=<salt>,sk=<stored key>,server=<server key>
//! alice:$totp$alg=SHA1,digits=6,period=30,s=<secret in base32>
//! bob:$7$101$<salt>$<hash>
//! carol:$6$<salt>$<hash>
//! ```
//!
//! Strict: a line that is blank, malformed or says something twice is an error that names its place, and a file with
//! an error is not used at all (CVE-2018-12551 let such a line admit anyone).

use super::hash::StoredHash;
use super::job::HashJob;
use crate::scram::{Mechanism, ScramVerifier};
use crate::totp::Totp;
use crate::{Error, FileError, FileErrors, NodeSecret, Secret, file};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Largest password file.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Most lines in a password file.
pub const LINES_MAX: usize = 500_000;
const LINE_BYTES_MAX: usize = 1024;
/// More errors than these are not collected.
const ERRORS_MAX: usize = 100;

/// What the file knows of one user.
#[derive(Clone, Default)]
pub struct User {
    /// The hash for user name and password.
    pub password: Option<Arc<StoredHash>>,
    /// The verifier for SCRAM-SHA-256.
    pub scram_sha_256: Option<Arc<ScramVerifier>>,
    /// The verifier for SCRAM-SHA-512.
    pub scram_sha_512: Option<Arc<ScramVerifier>>,
    /// The secret of one-time codes, for a second factor.
    pub totp: Option<Arc<Totp>>,
}

impl User {
    /// The verifier for one member of the SCRAM family.
    pub fn scram(&self, mechanism: Mechanism) -> Option<&Arc<ScramVerifier>> {
        match mechanism {
            Mechanism::Sha256 => self.scram_sha_256.as_ref(),
            Mechanism::Sha512 => self.scram_sha_512.as_ref(),
        }
    }
}

/// The users of a password file.
#[derive(Clone)]
pub struct PasswordFile {
    users: HashMap<Box<str>, User>,
    /// All hashes and verifiers, in file order: an unknown user is answered with the cost of one of them.
    hashes: Vec<Arc<StoredHash>>,
    verifiers: Vec<Arc<ScramVerifier>>,
}

impl PasswordFile {
    /// A file without users: nobody can log in.
    pub fn empty() -> PasswordFile {
        PasswordFile { users: HashMap::new(), hashes: Vec::new(), verifiers: Vec::new() }
    }

    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<PasswordFile, Error> {
        let text = file::read_text(path, FILE_BYTES_MAX)?;
        Ok(PasswordFile::parse(&text, &path.display().to_string())?)
    }

    /// Parses the text of a password file; `name` is what errors call it. Never panics, whatever the text.
    pub fn parse(text: &str, name: &str) -> Result<PasswordFile, FileErrors> {
        let mut parsed = PasswordFile::empty();
        let mut errors = Vec::new();
        let name: Arc<str> = name.into();
        for (index, line) in text.lines().enumerate() {
            let result = if index >= LINES_MAX {
                Err((1, format!("the file has more than {LINES_MAX} lines"), "split it".to_string()))
            } else {
                parsed.line(line)
            };
            if let Err((column, what, help)) = result {
                errors.push(FileError { file: name.clone(), line: index + 1, column, what, help });
                if errors.len() >= ERRORS_MAX || index >= LINES_MAX {
                    break;
                }
            }
        }
        if errors.is_empty() { Ok(parsed) } else { Err(FileErrors(errors)) }
    }

    fn line(&mut self, line: &str) -> Result<(), (usize, String, String)> {
        if line.starts_with('#') {
            return Ok(());
        }
        let at_start = |what: &str, help: &str| (1, what.to_string(), help.to_string());
        if line.trim().is_empty() {
            return Err(at_start("the line is blank", "delete it"));
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(at_start(&format!("the line is longer than {LINE_BYTES_MAX} bytes"), "delete it"));
        }
        let Some((user, hash)) = line.split_once(':') else {
            return Err(at_start(
                "there is no `:`",
                "write `user:hash`, with `ravelin passwd` or `mosquitto_passwd`",
            ));
        };
        super::check_user(user).map_err(|error| at_start(&error.to_string(), "choose another name"))?;
        let column = user.chars().count() + 2;
        let help = || "set it again with `ravelin passwd` or `mosquitto_passwd`".to_string();
        let twice =
            || (1, format!("{user:?} stands twice in the file"), "delete one of the lines".to_string());
        if hash.is_empty() {
            return Err((column, "the hash is empty".into(), help()));
        }
        let wrong = |what| (column, what, help());
        let known = self.users.entry(user.into()).or_default();
        let is_new = if let Some(verifier) = ScramVerifier::parse(hash) {
            let verifier = Arc::new(verifier.map_err(wrong)?);
            self.verifiers.push(verifier.clone());
            match verifier.mechanism {
                Mechanism::Sha256 => known.scram_sha_256.replace(verifier).is_none(),
                Mechanism::Sha512 => known.scram_sha_512.replace(verifier).is_none(),
            }
        } else if let Some(totp) = Totp::parse(hash) {
            known.totp.replace(Arc::new(totp.map_err(wrong)?)).is_none()
        } else {
            let stored = Arc::new(StoredHash::parse(hash).map_err(wrong)?);
            self.hashes.push(stored.clone());
            known.password.replace(stored).is_none()
        };
        if is_new { Ok(()) } else { Err(twice()) }
    }

    /// What the file knows of `name`.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// How many users it has.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The users, in the order of their names.
    pub fn users(&self) -> Vec<(&str, &User)> {
        let mut users: Vec<_> = self.users.iter().map(|(name, user)| (&**name, user)).collect();
        users.sort_unstable_by_key(|(name, _)| *name);
        users
    }

    /// The job that says whether `password` is the password of `user`. A user who does not exist costs as much as one
    /// of those who do, always the same one.
    pub fn job(&self, user: &str, password: Secret, secret: &NodeSecret) -> HashJob {
        if let Some(stored) = self.user(user).and_then(|known| known.password.clone()) {
            return HashJob::known(password, stored);
        }
        let stored = self.model_hash(user, secret).unwrap_or_else(|| Arc::new(StoredHash::dummy()));
        HashJob::unknown(password, stored)
    }

    /// The hash that an unknown user is verified against: one of those in the file, always the same.
    pub(crate) fn model_hash(&self, user: &str, secret: &NodeSecret) -> Option<Arc<StoredHash>> {
        let count = self.hashes.len();
        (count > 0).then(|| self.hashes[secret.pick("password", user, count)].clone())
    }

    /// The verifier for `user`, and whether the user exists. For one who does not it is made up, always the same, and
    /// looks like one of those who do.
    pub fn verifier(
        &self,
        mechanism: Mechanism,
        user: &str,
        secret: &NodeSecret,
    ) -> (Arc<ScramVerifier>, bool) {
        if let Some(verifier) = self.user(user).and_then(|known| known.scram(mechanism)) {
            return (verifier.clone(), true);
        }
        let model = self.model_verifier(user, secret);
        (Arc::new(ScramVerifier::made_up(mechanism, user, secret, model.as_deref())), false)
    }

    /// The verifier that one for an unknown user is made up after.
    pub(crate) fn model_verifier(&self, user: &str, secret: &NodeSecret) -> Option<Arc<ScramVerifier>> {
        let count = self.verifiers.len();
        (count > 0).then(|| self.verifiers[secret.pick("scram", user, count)].clone())
    }
}
