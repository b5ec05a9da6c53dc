//! Identities, groups, roles and classes, and what they may do: what Mosquitto's dynamic security has, and more.
//!
//! A [`Directory`] is a snapshot. A copy of it is a pointer; a changed one shares with the old one whatever did not
//! change, so that one of a hundred thousand identities changes without the rest being copied. [`Directory::edit`]
//! makes a changed one and says which records of the store changed with it.
//!
//! # How a question is answered
//!
//! As Mosquitto answers it: the rules of the identity's own roles, the role with the highest priority first; then those of
//! its groups, likewise; then those of the default group (for whoever has an identity) or of the anonymous group (for
//! whoever has none). Within a role the rule with the highest priority comes first. The first rule that is about what is
//! asked decides. If there is none, the default of the directory does.
//!
//! Where this is stricter than Mosquitto:
//! * Every default but the one on unsubscribing is to deny. A rule that allows to subscribe also allows to receive, and one
//!   that denies to subscribe denies to receive, through however broad a filter.
//! * At the same priority a denial comes before an allowance.
//! * A disabled identity may do nothing.
//! * Nobody publishes to `$SYS`, and `$CONTROL` is for administrators: identities with the built-in role `admin`, and those
//!   that the configuration names. No rule on `#` reaches a topic that begins with `$`.
//! * A name with `+`, `#` or `/` never makes an allowance, and a denial that it stands in holds in any case.
//! * The defaults hold for identities of the directory, and for anonymous clients only where there is an anonymous group.
//!
//! How the answer goes together with that of the access-rules file is said in [`crate::rights`].
//!

mod compile;
mod credentials;
mod decide;
pub mod dynsec;
mod edit;
mod error;
mod explain;
mod import;
mod limits;
mod model;
mod record;
mod review;
mod table;
mod template;
mod traffic;
mod usage;

pub use credentials::Credentials;
pub use decide::{Action, Reason, Verdict};
pub use edit::Edit;
pub use error::DirectoryError;
pub use explain::{Reasoning, Step};
pub use import::{IMPORT_BYTES_MAX, ImportOptions, Imported};
pub use limits::{
    DirectoryLimits, NAME_BYTES_MAX, PRIORITY_DEFAULT, PRIORITY_MAX, TEXT_BYTES_MAX, TOPIC_BYTES_MAX,
};
pub use model::{ADMIN_ROLE, Class, Defaults, Group, Identity, Membership, Role, Rule, RuleType};
pub use record::Change;
pub use review::{Grant, Traffic, TrafficKind, WouldRefuse, dry_run};
pub use traffic::{Listening, Published, TrafficLog, received};
pub use usage::{Usage, UsageClock};

use compile::Compiled;
use record::{Loaded, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use table::{Slots, Table};

/// A snapshot of who there is and what they may do. Cheap to copy.
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    limits: DirectoryLimits,
    identities: Table<Arc<IdentityEntry>>,
    /// Whose certificate it is.
    fingerprints: Table<Arc<str>>,
    groups: Slots<GroupEntry>,
    roles: Slots<RoleEntry>,
    classes: BTreeMap<Arc<str>, Arc<Class>>,
    settings: Settings,
    anonymous_group: Option<u32>,
    default_group: Option<u32>,
    /// Who is an administrator by the configuration.
    administrators: Arc<BTreeSet<Box<str>>>,
    /// Rules of all roles.
    rules: usize,
    clock: Arc<UsageClock>,
}

/// A directory that knows nobody, with the default limits.
impl Default for Directory {
    fn default() -> Directory {
        Directory::new(DirectoryLimits::default())
    }
}

/// An identity, and its roles and groups by number, in the order in which they are asked.
#[derive(Clone)]
struct IdentityEntry {
    identity: Identity,
    roles: Box<[u32]>,
    groups: Box<[u32]>,
}

struct GroupEntry {
    group: Group,
    roles: Box<[u32]>,
}

struct RoleEntry {
    role: Role,
    compiled: Compiled,
}

impl Directory {
    /// A directory that knows nobody, and has the built-in role alone.
    pub fn new(limits: DirectoryLimits) -> Directory {
        let mut roles = Slots::new();
        let admin = edit::admin_role();
        let rules = admin.rules.len();
        if let Ok(compiled) = Compiled::new(&admin) {
            roles.insert(admin.name.clone(), Arc::new(RoleEntry { role: admin, compiled }));
        }
        Directory(Arc::new(Inner {
            limits,
            identities: Table::new(),
            fingerprints: Table::new(),
            groups: Slots::new(),
            roles,
            classes: BTreeMap::new(),
            settings: Settings::default(),
            anonymous_group: None,
            default_group: None,
            administrators: Arc::default(),
            rules,
            clock: Arc::default(),
        }))
    }

    /// The directory of these records, as [`Edit::finish`] gave them. An error is about the first that cannot be read: a
    /// denial must not be missing.
    pub fn from_records<'a>(
        limits: DirectoryLimits,
        records: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Directory, DirectoryError> {
        let mut identities = Vec::new();
        let mut groups = Vec::new();
        let mut settings = None;
        let mut edit = Directory::new(limits).edit();
        for (key, value) in records {
            match record::load(key, value)? {
                // What the others refer to comes first, whatever the order of the keys.
                Loaded::Role(role) => edit.create_role(role)?,
                Loaded::Class(class) => edit.set_class(class)?,
                Loaded::Group(group) => groups.push(group),
                Loaded::Identity(identity) => identities.push(identity),
                Loaded::Settings(read) => settings = Some(read),
            }
        }
        for group in groups {
            edit.create_group(group)?;
        }
        for identity in identities {
            edit.create_identity(identity)?;
        }
        if let Some(settings) = settings {
            edit.restore_settings(settings)?;
        }
        Ok(edit.finish()?.0)
    }

    /// Every record, as it is in the store: for a checkpoint.
    pub fn records(&self) -> impl Iterator<Item = Change> {
        let Inner { identities, groups, roles, classes, settings, .. } = &*self.0;
        let roles = roles.iter().filter(|(name, _)| &***name != ADMIN_ROLE);
        std::iter::once(Change::settings(settings))
            .chain(classes.values().map(|class| Change::class(class)))
            .chain(roles.map(|(_, entry)| Change::role(&entry.role)))
            .chain(groups.iter().map(|(_, entry)| Change::group(&entry.group)))
            .chain(identities.iter().map(|(_, entry)| Change::identity(&entry.identity)))
    }

    /// Begins a change. This snapshot stays as it is.
    pub fn edit(&self) -> Edit {
        Edit::new(Inner::clone(&self.0))
    }

    /// This directory with these names as administrators, whatever roles they have.
    pub fn with_administrators<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Directory {
        let administrators = Arc::new(names.into_iter().map(Box::from).collect());
        Directory(Arc::new(Inner { administrators, ..Inner::clone(&self.0) }))
    }

    /// This directory, with the use of its rules marked by another clock.
    pub fn with_usage_clock(&self, clock: Arc<UsageClock>) -> Directory {
        Directory(Arc::new(Inner { clock, ..Inner::clone(&self.0) }))
    }

    /// The clock by which the use of rules is marked; it is the same for all that came of one directory.
    pub fn usage_clock(&self) -> &Arc<UsageClock> {
        &self.0.clock
    }

    /// How much there may be.
    pub fn limits(&self) -> &DirectoryLimits {
        &self.0.limits
    }

    /// The identity of that name.
    pub fn identity(&self, name: &str) -> Option<&Identity> {
        self.0.identities.get(name).map(|entry| &entry.identity)
    }

    /// The identity whose certificate has this fingerprint.
    pub fn identity_by_fingerprint(&self, fingerprint: &str) -> Option<&Identity> {
        self.identity(self.0.fingerprints.get(fingerprint)?)
    }

    /// The group of that name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.0.groups.get(name).map(|entry| &entry.group)
    }

    /// The role of that name.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.0.roles.get(name).map(|entry| &entry.role)
    }

    /// The class of that name.
    pub fn class(&self, name: &str) -> Option<&Class> {
        self.0.classes.get(name).map(|class| &**class)
    }

    /// The class of an identity, if it has one.
    pub fn class_of(&self, identity: &str) -> Option<&Class> {
        self.class(self.identity(identity)?.class.as_deref()?)
    }

    /// How many identities there are.
    pub fn identity_count(&self) -> usize {
        self.0.identities.len()
    }

    /// How many groups there are.
    pub fn group_count(&self) -> usize {
        self.0.groups.len()
    }

    /// How many roles there are, the built-in one among them.
    pub fn role_count(&self) -> usize {
        self.0.roles.len()
    }

    /// How often the directory was changed.
    pub fn change_index(&self) -> u64 {
        self.0.settings.change_index
    }

    /// The identities in the order of their names, from the `offset`-th on.
    pub fn identities_from(&self, offset: usize) -> impl Iterator<Item = &Identity> {
        self.0.identities.names_from(offset).filter_map(|name| self.identity(name))
    }

    /// The identities whose names come after `after`, in order.
    pub fn identities_after<'a>(&'a self, after: Option<&str>) -> impl Iterator<Item = &'a Identity> {
        self.0.identities.names_after(after).filter_map(|name| self.identity(name))
    }

    /// The groups in the order of their names.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.0.groups.iter().map(|(_, entry)| &entry.group)
    }

    /// The roles in the order of their names.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.0.roles.iter().map(|(_, entry)| &entry.role)
    }

    /// The classes in the order of their names.
    pub fn classes(&self) -> impl Iterator<Item = &Class> {
        self.0.classes.values().map(|class| &**class)
    }

    /// Who is in a group, in the order of their names. Looks at every identity.
    pub fn members<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Identity> + use<'a> {
        self.identities_from(0).filter(|identity| identity.groups.iter().any(|known| *known.name == *group))
    }

    /// The group of clients without an identity.
    pub fn anonymous_group(&self) -> Option<&str> {
        self.0.settings.anonymous_group.as_deref()
    }

    /// The group that everyone with an identity is in, after all of its own.
    pub fn default_group(&self) -> Option<&str> {
        self.0.settings.default_group.as_deref()
    }

    /// What holds where no rule says anything.
    pub fn defaults(&self) -> Defaults {
        self.0.settings.defaults
    }

    /// The names of those who are administrators by the configuration.
    pub fn configured_administrators(&self) -> impl Iterator<Item = &str> {
        self.0.administrators.iter().map(|name| &**name)
    }

    /// Whether whoever has this name administers the node: it has the role `admin`, itself or by a group, or the
    /// configuration names it; and it is not disabled.
    pub fn is_administrator(&self, identity: &str) -> bool {
        let entry = self.0.identities.get(identity);
        if entry.is_some_and(|entry| entry.identity.disabled) {
            return false;
        }
        if self.0.administrators.contains(identity) {
            return true;
        }
        let Some(admin) = self.0.roles.slot(ADMIN_ROLE) else { return false };
        entry.is_some_and(|entry| {
            let by_group =
                |slot: &u32| self.0.groups.at(*slot).is_some_and(|group| group.roles.contains(&admin));
            entry.roles.contains(&admin) || entry.groups.iter().any(by_group)
        })
    }
}
