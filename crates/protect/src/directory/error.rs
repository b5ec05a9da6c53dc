//! Why a change of the directory was refused. The texts are those that `mosquitto_ctrl` prints.

use super::limits::{NAME_BYTES_MAX, PRIORITY_MAX, TEXT_BYTES_MAX};

/// Why a change of the directory, or a record of it, was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// There is no identity of that name.
    #[error("Client not found")]
    IdentityNotFound,
    /// There is no group of that name.
    #[error("Group not found")]
    GroupNotFound,
    /// There is no role of that name.
    #[error("Role not found")]
    RoleNotFound,
    /// There is no class of that name.
    #[error("Class not found")]
    ClassNotFound,
    /// An identity of that name exists.
    #[error("Client already exists")]
    IdentityExists,
    /// A group of that name exists.
    #[error("Group already exists")]
    GroupExists,
    /// A role of that name exists.
    #[error("Role already exists")]
    RoleExists,
    /// A class of that name exists.
    #[error("Class already exists")]
    ClassExists,
    /// The role has a rule of that type and topic.
    #[error("ACL with this topic already exists")]
    RuleExists,
    /// The role has no rule of that type and topic.
    #[error("ACL not found")]
    RuleNotFound,
    /// The identity is in the group already.
    #[error("Client is already in this group")]
    AlreadyMember,
    /// The group has the role already.
    #[error("Group is already in this role")]
    AlreadyInRole,
    /// The anonymous group must not be deleted.
    #[error("Deleting the anonymous group is forbidden")]
    AnonymousGroup,
    /// The role is part of the software.
    #[error("The role 'admin' is built in and cannot be changed or deleted")]
    BuiltInRole,
    /// Identities are of the class.
    #[error("The class is in use")]
    ClassInUse,
    /// A name is empty.
    #[error("Empty {0}")]
    EmptyName(&'static str),
    /// A name cannot be used.
    #[error("Invalid {0}: at most {NAME_BYTES_MAX} bytes, no control characters")]
    BadName(&'static str),
    /// A text is too long.
    #[error("{0} is longer than {TEXT_BYTES_MAX} bytes")]
    TextTooLong(&'static str),
    /// A priority is out of range.
    #[error("The priority is within -{PRIORITY_MAX} and {PRIORITY_MAX}")]
    BadPriority,
    /// The topic of a rule is not one.
    #[error("Invalid ACL topic: {0}")]
    BadTopic(String),
    /// What a rule demands does not go with its type.
    #[error("Invalid ACL: {0}")]
    BadRule(&'static str),
    /// A credential line cannot be read.
    #[error("Invalid credentials: {0}")]
    BadCredentials(String),
    /// A password is empty.
    #[error("Empty password is not allowed")]
    EmptyPassword,
    /// A fingerprint is none.
    #[error("A fingerprint is a SHA-256 in 64 lower-case hexadecimal digits")]
    BadFingerprint,
    /// Another identity has the certificate.
    #[error("Another client has this certificate")]
    FingerprintTaken,
    /// A limit of the directory was reached.
    #[error("There are too many {what} (at most {max})")]
    LimitExceeded {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// A record of the store cannot be read.
    #[error("the record {key:?} of the directory cannot be read: {detail}")]
    Record {
        /// Its key.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
}
