//! Changes a password file: one user's lines, everything else as it was.

use super::file::{FILE_BYTES_MAX, PasswordFile};
use super::hash::StoredHash;
use crate::scram::ScramVerifier;
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

    /// Sets the password of `user`: an argon2id line and a SCRAM-SHA-256 line. A password that SCRAM cannot carry
    /// (anything but printable ASCII) gets the first only; whether it got both is returned.
    pub fn set(&mut self, user: &str, password: &Secret) -> Result<bool, Error> {
        super::check_user(user)?;
        let hash = StoredHash::create(password)?;
        let scram = ScramVerifier::create(password).ok();
        let mut lines = Zeroizing::new(format!("{user}:{hash}\n"));
        if let Some(verifier) = &scram {
            lines.push_str(&format!("{user}:{verifier}\n"));
        }
        self.rewrite(user, &lines);
        Ok(scram.is_some())
    }

    /// Deletes `user`.
    pub fn delete(&mut self, user: &str) -> DeleteOutcome {
        if !self.has(user) {
            return DeleteOutcome::NoSuchUser;
        }
        self.rewrite(user, "");
        DeleteOutcome::Deleted
    }

    /// Writes the file, whole or not at all.
    pub fn save(self) -> Result<(), Error> {
        PasswordFile::parse(&self.text, &self.path.display().to_string())?;
        file::replace(&self.path, self.text.as_bytes())
    }

    /// Replaces the lines of `user` by `lines`, at the place of the first of them, or at the end.
    fn rewrite(&mut self, user: &str, lines: &str) {
        let mut text = Zeroizing::new(String::with_capacity(self.text.len() + lines.len() + 1));
        let mut written = false;
        for line in self.text.lines() {
            if !is_line_of(line, user) {
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
