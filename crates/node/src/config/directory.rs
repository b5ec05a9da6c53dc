//! `[directory]`: who may administer the directory over MQTT, beside those who have the role `admin` in it.

use super::read::Table;

/// `[directory]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryConfig {
    /// Identities that are administrators whatever roles they have.
    pub administrators: Vec<String>,
}

/// Longest list: administrators are few, and whoever needs more gives them the role.
const ADMINISTRATORS_MAX: usize = 100;

pub(super) fn read(table: &mut Table<'_, '_>) -> DirectoryConfig {
    let administrators: Vec<String> = table.take("administrators").unwrap_or_default();
    if administrators.len() > ADMINISTRATORS_MAX {
        table.reader.error_at(
            "directory.administrators",
            format!("there are more than {ADMINISTRATORS_MAX} administrators"),
            "give the role `admin` to those who are in the directory",
        );
    }
    if administrators.iter().any(|name| name.is_empty() || name.chars().any(char::is_control)) {
        table.reader.error_at(
            "directory.administrators",
            "a name is empty or has a control character".into(),
            "write the identity as its certificate or user name has it",
        );
    }
    DirectoryConfig { administrators }
}
