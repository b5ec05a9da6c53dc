//! Who may connect and do what: passwords, certificates, one-time codes, SCRAM, tokens, access rules, private
//! CA.
//!
//! * [`Authenticator`] turns a connection attempt into a [`Principal`](ravelin_event::Principal) or a refusal, by the
//!   policy of the listener. It is an immutable snapshot: a reload builds another one and swaps it in.
//! * [`AccessRules`] says what a principal may publish, receive and subscribe to.
//! * [`Directory`] has the identities, groups, roles and classes that are administered while the node runs.
//! * [`Bans`], [`Lockout`] and [`rates`] say who may not even try, who must wait, and how much is too much.
//! * [`PasswordFile`], [`scram`], [`totp`], [`jwt`], [`CertificateFacts`] are what the authenticator knows.
//! * [`pki`] issues certificates, [`Trust`] says which are accepted, [`tls`] makes the configuration of a listener.
//!
//! No socket, no thread, no clock: files are read when asked to, time and random bytes are arguments where a test
//! needs to choose them. Everything fails closed, and no secret has a `Debug` or outlives its use.

pub mod access;
mod authenticate;
pub mod bans;
mod certificate;
mod der;
pub mod directory;
mod error;
pub mod file;
pub mod jwt;
pub mod lockout;
mod network;
pub mod ocsp;
pub mod password;
pub mod pki;
mod policy;
pub mod rates;
pub mod restraints;
pub mod revocation;
pub mod rights;
pub mod scram;
mod secret;
mod signed;
pub mod table;
pub mod tls;
pub mod totp;
pub mod trust;
pub mod units;

pub use access::AccessRules;
pub use authenticate::{
    Admission, Attempt, Authenticator, Denied, Exchange, Finding, Pending, Proof, Sources, Standing, Step,
    TokenTerms, With,
};
pub use bans::{Ban, BanError, BanSubject, Bans};
pub use certificate::{CertificateFacts, IdentityError, KeyFacts, KeyType, check_identity, hex, serial_of};
pub use directory::Directory;
pub use error::{Error, FileError, FileErrors};
pub use lockout::{Lockout, LockoutLimits};
pub use network::{Network, address_key};
pub use password::{HashJob, PasswordFile, Unproven};
pub use policy::{BindClientId, ClientCertificate, IdentityFrom, ListenerPolicy, Methods, SecondFactor};
pub use restraints::Restraints;
pub use revocation::{Revocation, RevocationError, RevocationSubject, Revocations};
pub use rights::Rights;
pub use secret::{NodeSecret, Secret, random};
pub use trust::Trust;
