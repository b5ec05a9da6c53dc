//! Changes a password file: one user's lines, everything else as it was.

use super::file::{FILE_BYTES_MAX, PasswordFile};
use super::hash::StoredHash;
use crate::scram::{Mechanism, ScramVerifier};
use crate::totp::Totp;
use crate::{Error, Secret, file};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Whether there was something to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The user's lines are gone.
    Deleted,
    /// The file has no such user.
    NoSuchUser,
}

/// A password file to be changed. The file must be without errors: what cannot be read is not rewritten.
pub struct Edit {
    path: PathBuf,
    text: Zeroizing<String>,
}

impl Edit {
    /// Opens the file at `path`; one that does not exist is created when it is saved.
    pub fn open(path: &Path) -> Result<Edit, Error> {
        let text = match file::read_text(path, FILE_BYTES_MAX) {
            Err(Error::Io { kind: std::io::ErrorKind::NotFound, .. }) => Zeroizing::default(),
            other => other?,
        };
        PasswordFile::parse(&text, &path.display().to_string())?;
        Ok(Edit { path: path.into(), text })
    }

    /// Whether the file has `user`.
    pub fn has(&self, user: &str) -> bool {
        self.text.lines().any(|line| is_line_of(line, user))
    }

    /// Sets the password of `user`: an argon2id line, and one each for SCRAM-SHA-256 and SCRAM-SHA-512. A password that
    /// SCRAM cannot carry (anything but printable ASCII) gets the first only; whether it got all is returned. A secret of
    /// one-time codes stays.
    pub fn set(&mut self, user: &str, password: &Secret) -> Result<bool, Error> {
        super::check_user(user)?;
        let hash = StoredHash::create(password)?;
        let mut lines = Zeroizing::new(format!("{user}:{hash}\n"));
        let mut scram = true;
        for mechanism in Mechanism::ALL {
            match ScramVerifier::create(mechanism, password) {
                Ok(verifier) => lines.push_str(&format!("{user}:{verifier}\n")),
                Err(_) => scram = false,
            }
        }
        self.rewrite(&lines, |line| is_line_of(line, user) && !is_totp(line));
        Ok(scram)
    }

    /// Sets the secret of `user`'s one-time codes; its password stays.
    pub fn set_totp(&mut self, user: &str, totp: &Totp) -> Result<(), Error> {
        super::check_user(user)?;
        let line = Zeroizing::new(format!("{user}:{}\n", *totp.to_entry()));
        self.rewrite(&line, |line| is_line_of(line, user) && is_totp(line));
        Ok(())
    }

    /// Deletes `user`.
    pub fn delete(&mut self, user: &str) -> DeleteOutcome {
        if !self.has(user) {
            return DeleteOutcome::NoSuchUser;
        }
        self.rewrite("", |line| is_line_of(line, user));
        DeleteOutcome::Deleted
    }

    /// Writes the file, whole or not at all.
    pub fn save(self) -> Result<(), Error> {
        PasswordFile::parse(&self.text, &self.path.display().to_string())?;
        file::replace(&self.path, self.text.as_bytes())
    }

    /// Replaces what is `theirs` by `lines`, at the place of the first of them, or at the end.
    fn rewrite(&mut self, lines: &str, theirs: impl Fn(&str) -> bool) {
        let mut text = Zeroizing::new(String::with_capacity(self.text.len() + lines.len() + 1));
        let mut written = false;
        for line in self.text.lines() {
            if !theirs(line) {
                text.push_str(line);
                text.push('\n');
            } else if !written {
                text.push_str(lines);
                written = true;
            }
        }
        if !written {
            text.push_str(lines);
        }
        self.text = text;
    }
}

fn is_line_of(line: &str, user: &str) -> bool {
    !line.starts_with('#') && line.strip_prefix(user).is_some_and(|rest| rest.starts_with(':'))
}

fn is_totp(line: &str) -> bool {
    line.split_once(':').is_some_and(|(_, entry)| entry.starts_with("$totp$"))
}
