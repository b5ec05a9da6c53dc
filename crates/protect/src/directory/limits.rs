//! How much a directory holds at most, and what can be a name.

use super::DirectoryError;

/// Longest name of an identity, a group, a role or a class, and longest Client Identifier that one is bound to.
pub const NAME_BYTES_MAX: usize = 256;
/// Longest text name or description.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Highest priority; the lowest is its negative.
pub const PRIORITY_MAX: i32 = 100_000;
/// The priority where none is told, as in Mosquitto.
pub const PRIORITY_DEFAULT: i32 = -1;
/// Longest topic of a rule.
pub const TOPIC_BYTES_MAX: usize = 4096;
/// Certificates of one identity.
pub(super) const FINGERPRINTS_MAX: usize = 16;
/// Levels of a rule's topic. Deeper topics are matched by `#`.
pub const LEVELS_MAX: u16 = 128;

/// How much a directory holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryLimits {
    /// Identities.
    pub identities_max: usize,
    /// Groups.
    pub groups_max: usize,
    /// Roles.
    pub roles_max: usize,
    /// Classes.
    pub classes_max: usize,
    /// Rules of one role.
    pub rules_per_role_max: usize,
    /// Rules of all roles.
    pub rules_max: usize,
    /// Roles of one identity or one group. A decision asks each of them until one answers.
    pub roles_each_max: usize,
    /// Groups of one identity.
    pub groups_each_max: usize,
}

impl Default for DirectoryLimits {
    fn default() -> DirectoryLimits {
        DirectoryLimits {
            identities_max: 1_000_000,
            groups_max: 10_000,
            roles_max: 10_000,
            classes_max: 256,
            rules_per_role_max: 10_000,
            rules_max: 1_000_000,
            roles_each_max: 64,
            groups_each_max: 64,
        }
    }
}

pub(super) fn check_count(what: &'static str, count: usize, max: usize) -> Result<(), DirectoryError> {
    if count > max { Err(DirectoryError::LimitExceeded { what, max }) } else { Ok(()) }
}

/// Whether `name` can be the name of a `what` ("username", "groupname").
pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), DirectoryError> {
    if name.is_empty() {
        return Err(DirectoryError::EmptyName(what));
    }
    if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(DirectoryError::BadName(what));
    }
    Ok(())
}

pub(super) fn check_text(what: &'static str, text: Option<&str>) -> Result<(), DirectoryError> {
    match text {
        Some(text) if text.len() > TEXT_BYTES_MAX => Err(DirectoryError::TextTooLong(what)),
        _ => Ok(()),
    }
}

/// A priority as Mosquitto takes it: what is beyond the range is the end of the range.
pub(super) fn clamp_priority(priority: i64) -> i32 {
    priority.clamp(-i64::from(PRIORITY_MAX), i64::from(PRIORITY_MAX)) as i32
}
