//! User names, passwords and one-time codes: the password file, the hashes in it, and their verification as a bounded
//! job.

pub(crate) mod edit;
mod file;
mod hash;
mod job;

pub use edit::{DeleteOutcome, Edit};
pub use file::{FILE_BYTES_MAX, LINES_MAX, PasswordFile, User};
pub use hash::{Argon2Params, StoredHash};
pub(crate) use job::CodeWork;
pub use job::{HashJob, Unproven};

use crate::Error;

/// Longest password, in bytes; a longer one is refused before it is hashed.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Whether `name` can be a user name in a password file.
pub fn check_user(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > 256 {
        return Err(Error::Value("a user name has 1 to 256 bytes".into()));
    }
    if name.contains(|c: char| c == ':' || c.is_control()) || name.trim() != name || name.starts_with('#') {
        return Err(Error::Value(format!(
            "{name:?} cannot be a user name: no `:`, no control character, no space at an end, no `#` in front"
        )));
    }
    Ok(())
}
