//! Changes of a directory, each checked whole before anything of it is done.

use super::compile::Compiled;
use super::limits::{check_count, check_name};
use super::model::{ADMIN_ROLE, Class, Defaults, Group, Identity, Membership, Role, Rule, RuleType};
use super::record::{Change, Settings};
use super::{Directory, DirectoryError, GroupEntry, IdentityEntry, Inner, RoleEntry};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A directory that is being changed. Dropped, nothing changed.
pub struct Edit {
    inner: Inner,
    /// The last change of each record.
    changes: BTreeMap<String, Change>,
}

/// What the administrators' role allows.
pub(super) fn admin_role() -> Role {
    let mut role = Role::new(ADMIN_ROLE);
    role.text_description = Some("Administers the node. Built in.".into());
    for topic in ["$CONTROL/dynamic-security/#", "$CONTROL/broker/#"] {
        for rule_type in [
            RuleType::PublishClientSend,
            RuleType::PublishClientReceive,
            RuleType::SubscribePattern,
            RuleType::UnsubscribePattern,
        ] {
            role.rules.push(Rule::new(rule_type, topic, true));
        }
    }
    role
}

impl Edit {
    pub(super) fn new(inner: Inner) -> Edit {
        Edit { inner, changes: BTreeMap::new() }
    }

    /// The directory as it is so far.
    pub fn directory(&self) -> Directory {
        Directory(Arc::new(self.inner.clone()))
    }

    /// The changed directory, and the records that changed.
    pub fn finish(mut self) -> Result<(Directory, Vec<Change>), DirectoryError> {
        if !self.changes.is_empty() {
            self.inner.settings.change_index += 1;
            self.note(Change::settings(&self.inner.settings));
        }
        Ok((Directory(Arc::new(self.inner)), self.changes.into_values().collect()))
    }

    fn note(&mut self, change: Change) {
        self.changes.insert(change.key().into(), change);
    }

    // --- Identities ---

    /// The identity of that name.
    pub fn identity(&self, name: &str) -> Option<&Identity> {
        self.inner.identities.get(name).map(|entry| &entry.identity)
    }

    /// Adds an identity.
    pub fn create_identity(&mut self, identity: Identity) -> Result<(), DirectoryError> {
        if self.identity(&identity.name).is_some() {
            return Err(DirectoryError::IdentityExists);
        }
        check_count("clients", self.inner.identities.len() + 1, self.inner.limits.identities_max)?;
        self.put_identity(identity)
    }

    /// Changes an identity. It keeps its name.
    pub fn modify_identity(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut Identity) -> Result<(), DirectoryError>,
    ) -> Result<(), DirectoryError> {
        let entry = self.inner.identities.get(name).ok_or(DirectoryError::IdentityNotFound)?;
        let mut identity = entry.identity.clone();
        change(&mut identity)?;
        identity.name = entry.identity.name.clone();
        self.put_identity(identity)
    }

    /// Removes an identity.
    pub fn delete_identity(&mut self, name: &str) -> Result<Identity, DirectoryError> {
        let entry = self.inner.identities.remove(name).ok_or(DirectoryError::IdentityNotFound)?;
        for fingerprint in &entry.identity.fingerprints {
            self.inner.fingerprints.remove(fingerprint);
        }
        self.note(Change::gone("identity", name));
        Ok(entry.identity.clone())
    }

    fn put_identity(&mut self, mut identity: Identity) -> Result<(), DirectoryError> {
        identity.check()?;
        let limits = self.inner.limits;
        check_count("roles of a client", identity.roles.len(), limits.roles_each_max)?;
        check_count("groups of a client", identity.groups.len(), limits.groups_each_max)?;
        if let Some(class) = &identity.class
            && !self.inner.classes.contains_key(class)
        {
            return Err(DirectoryError::ClassNotFound);
        }
        let roles = self.role_slots(&mut identity.roles)?;
        tidy(&mut identity.groups)?;
        let slot =
            |group: &Membership| self.inner.groups.slot(&group.name).ok_or(DirectoryError::GroupNotFound);
        let groups = identity.groups.iter().map(slot).collect::<Result<_, _>>()?;
        let name = identity.name.clone();
        let taken = |fingerprint: &Arc<str>| {
            self.inner.fingerprints.get(fingerprint).is_some_and(|owner| *owner != name)
        };
        if identity.fingerprints.iter().any(taken) {
            return Err(DirectoryError::FingerprintTaken);
        }
        if let Some(before) = self.inner.identities.get(&name) {
            for fingerprint in &before.identity.fingerprints {
                self.inner.fingerprints.remove(fingerprint);
            }
        }
        for fingerprint in &identity.fingerprints {
            self.inner.fingerprints.insert(fingerprint.clone(), name.clone());
        }
        self.note(Change::identity(&identity));
        self.inner.identities.insert(name, Arc::new(IdentityEntry { identity, roles, groups }));
        Ok(())
    }

    fn role_slots(&self, roles: &mut Vec<Membership>) -> Result<Box<[u32]>, DirectoryError> {
        tidy(roles)?;
        let slot = |role: &Membership| self.inner.roles.slot(&role.name).ok_or(DirectoryError::RoleNotFound);
        roles.iter().map(slot).collect()
    }

    // --- Groups ---

    /// The group of that name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.inner.groups.get(name).map(|entry| &entry.group)
    }

    /// Adds a group.
    pub fn create_group(&mut self, group: Group) -> Result<(), DirectoryError> {
        if self.group(&group.name).is_some() {
            return Err(DirectoryError::GroupExists);
        }
        check_count("groups", self.inner.groups.len() + 1, self.inner.limits.groups_max)?;
        self.put_group(group)
    }

    /// Changes a group. It keeps its name.
    pub fn modify_group(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut Group) -> Result<(), DirectoryError>,
    ) -> Result<(), DirectoryError> {
        let entry = self.inner.groups.get(name).ok_or(DirectoryError::GroupNotFound)?;
        let mut group = entry.group.clone();
        change(&mut group)?;
        group.name = entry.group.name.clone();
        self.put_group(group)
    }

    /// Removes a group; gives the names of those who were in it.
    pub fn delete_group(&mut self, name: &str) -> Result<Vec<Arc<str>>, DirectoryError> {
        let slot = self.inner.groups.slot(name).ok_or(DirectoryError::GroupNotFound)?;
        if self.inner.anonymous_group == Some(slot) {
            return Err(DirectoryError::AnonymousGroup);
        }
        let members = self.holders(|entry| entry.groups.contains(&slot));
        for member in &members {
            self.modify_identity(member, |identity| {
                identity.groups.retain(|group| *group.name != *name);
                Ok(())
            })?;
        }
        if self.inner.default_group == Some(slot) {
            self.inner.default_group = None;
            self.inner.settings.default_group = None;
        }
        self.inner.groups.remove(name);
        self.note(Change::gone("group", name));
        Ok(members)
    }

    fn put_group(&mut self, mut group: Group) -> Result<(), DirectoryError> {
        group.check()?;
        check_count("roles of a group", group.roles.len(), self.inner.limits.roles_each_max)?;
        let roles = self.role_slots(&mut group.roles)?;
        self.note(Change::group(&group));
        self.inner.groups.insert(group.name.clone(), Arc::new(GroupEntry { group, roles }));
        Ok(())
    }

    /// Who is in the group; `None` if there is no such group.
    pub fn members(&self, group: &str) -> Option<Vec<Arc<str>>> {
        let slot = self.inner.groups.slot(group)?;
        Some(self.holders(|entry| entry.groups.contains(&slot)))
    }

    fn holders(&self, holds: impl Fn(&IdentityEntry) -> bool) -> Vec<Arc<str>> {
        let all = self.inner.identities.iter();
        all.filter(|(_, entry)| holds(entry)).map(|(name, _)| name.clone()).collect()
    }

    /// Puts an identity into a group.
    pub fn add_member(&mut self, group: &str, identity: &str, priority: i32) -> Result<(), DirectoryError> {
        let known = self.identity(identity).ok_or(DirectoryError::IdentityNotFound)?;
        let name = self.group(group).ok_or(DirectoryError::GroupNotFound)?.name.clone();
        if known.groups.iter().any(|known| known.name == name) {
            return Err(DirectoryError::AlreadyMember);
        }
        self.modify_identity(identity, |identity| {
            identity.groups.push(Membership { name, priority });
            Ok(())
        })
    }

    /// Takes an identity out of a group.
    pub fn remove_member(&mut self, group: &str, identity: &str) -> Result<(), DirectoryError> {
        self.identity(identity).ok_or(DirectoryError::IdentityNotFound)?;
        self.group(group).ok_or(DirectoryError::GroupNotFound)?;
        self.modify_identity(identity, |identity| {
            identity.groups.retain(|known| *known.name != *group);
            Ok(())
        })
    }

    /// Sets the group of clients without an identity; `None`: they have none.
    pub fn set_anonymous_group(&mut self, group: Option<&str>) -> Result<(), DirectoryError> {
        let (slot, name) = self.settings_group(group)?;
        self.inner.anonymous_group = slot;
        self.inner.settings.anonymous_group = name;
        self.note(Change::settings(&self.inner.settings));
        Ok(())
    }

    /// Sets the group that everyone with an identity is in, after all of its own; `None`: there is none.
    pub fn set_default_group(&mut self, group: Option<&str>) -> Result<(), DirectoryError> {
        let (slot, name) = self.settings_group(group)?;
        self.inner.default_group = slot;
        self.inner.settings.default_group = name;
        self.note(Change::settings(&self.inner.settings));
        Ok(())
    }

    fn settings_group(&self, group: Option<&str>) -> Result<(Option<u32>, Option<Arc<str>>), DirectoryError> {
        let Some(name) = group else { return Ok((None, None)) };
        let slot = self.inner.groups.slot(name).ok_or(DirectoryError::GroupNotFound)?;
        Ok((Some(slot), self.group(name).map(|group| group.name.clone())))
    }

    // --- Roles ---

    /// The role of that name.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.inner.roles.get(name).map(|entry| &entry.role)
    }

    /// Adds a role.
    pub fn create_role(&mut self, role: Role) -> Result<(), DirectoryError> {
        if self.role(&role.name).is_some() {
            return Err(DirectoryError::RoleExists);
        }
        check_count("roles", self.inner.roles.len() + 1, self.inner.limits.roles_max)?;
        self.put_role(role)
    }

    /// Changes a role. It keeps its name, and a rule that stays keeps when it was used.
    pub fn modify_role(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut Role) -> Result<(), DirectoryError>,
    ) -> Result<(), DirectoryError> {
        let entry = self.inner.roles.get(name).ok_or(DirectoryError::RoleNotFound)?.clone();
        if name == ADMIN_ROLE {
            return Err(DirectoryError::BuiltInRole);
        }
        let mut role = entry.role.clone();
        change(&mut role)?;
        role.name = entry.role.name.clone();
        let before: std::collections::HashMap<_, _> =
            entry.role.rules.iter().map(|rule| (rule.key(), rule)).collect();
        for rule in &mut role.rules {
            if let Some(known) = before.get(&rule.key()).filter(|known| ***known == *rule) {
                rule.usage = known.usage.clone();
            }
        }
        self.put_role(role)
    }

    /// Removes a role from whoever has it, and then itself.
    pub fn delete_role(&mut self, name: &str) -> Result<(), DirectoryError> {
        let slot = self.inner.roles.slot(name).ok_or(DirectoryError::RoleNotFound)?;
        if name == ADMIN_ROLE {
            return Err(DirectoryError::BuiltInRole);
        }
        for holder in self.holders(|entry| entry.roles.contains(&slot)) {
            self.modify_identity(&holder, |identity| {
                identity.roles.retain(|role| *role.name != *name);
                Ok(())
            })?;
        }
        let groups = self.inner.groups.iter().filter(|(_, entry)| entry.roles.contains(&slot));
        for group in groups.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.modify_group(&group, |group| {
                group.roles.retain(|role| *role.name != *name);
                Ok(())
            })?;
        }
        if let Some(removed) = self.inner.roles.remove(name) {
            self.inner.rules -= removed.role.rules.len();
        }
        self.note(Change::gone("role", name));
        Ok(())
    }

    /// Adds a rule to a role.
    pub fn add_rule(&mut self, role: &str, rule: Rule) -> Result<(), DirectoryError> {
        self.modify_role(role, |role| {
            if role.rule(rule.rule_type, &rule.topic).is_some() {
                return Err(DirectoryError::RuleExists);
            }
            role.rules.push(rule);
            Ok(())
        })
    }

    /// Removes a rule from a role.
    pub fn remove_rule(
        &mut self,
        role: &str,
        rule_type: RuleType,
        topic: &str,
    ) -> Result<(), DirectoryError> {
        self.modify_role(role, |role| {
            let before = role.rules.len();
            role.rules.retain(|rule| rule.key() != (rule_type, topic));
            if role.rules.len() == before { Err(DirectoryError::RuleNotFound) } else { Ok(()) }
        })
    }

    fn put_role(&mut self, role: Role) -> Result<(), DirectoryError> {
        role.check()?;
        let limits = self.inner.limits;
        check_count("ACLs of a role", role.rules.len(), limits.rules_per_role_max)?;
        let before = self.role(&role.name).map_or(0, |role| role.rules.len());
        let rules = self.inner.rules - before + role.rules.len();
        check_count("ACLs", rules, limits.rules_max)?;
        let mut seen = std::collections::HashSet::new();
        if !role.rules.iter().all(|rule| seen.insert(rule.key())) {
            return Err(DirectoryError::RuleExists);
        }
        let compiled = Compiled::new(&role)?;
        self.note(Change::role(&role));
        self.inner.rules = rules;
        self.inner.roles.insert(role.name.clone(), Arc::new(RoleEntry { role, compiled }));
        Ok(())
    }

    // --- Classes and settings ---

    /// Adds a class, or changes it.
    pub fn set_class(&mut self, class: Class) -> Result<(), DirectoryError> {
        check_name("classname", &class.name)?;
        super::limits::check_text("textdescription", class.text_description.as_deref())?;
        if let Some(limits) = &class.limits {
            check_name("limits", limits)?;
        }
        let is_new = !self.inner.classes.contains_key(&class.name);
        check_count(
            "classes",
            self.inner.classes.len() + usize::from(is_new),
            self.inner.limits.classes_max,
        )?;
        self.note(Change::class(&class));
        self.inner.classes.insert(class.name.clone(), Arc::new(class));
        Ok(())
    }

    /// Removes a class that nobody is of.
    pub fn delete_class(&mut self, name: &str) -> Result<(), DirectoryError> {
        if !self.inner.classes.contains_key(name) {
            return Err(DirectoryError::ClassNotFound);
        }
        let of_it = |entry: &IdentityEntry| entry.identity.class.as_deref() == Some(name);
        if self.inner.identities.iter().any(|(_, entry)| of_it(entry)) {
            return Err(DirectoryError::ClassInUse);
        }
        self.inner.classes.remove(name);
        self.note(Change::gone("class", name));
        Ok(())
    }

    /// Sets what holds where no rule says anything.
    pub fn set_defaults(&mut self, defaults: Defaults) {
        self.inner.settings.defaults = defaults;
        self.note(Change::settings(&self.inner.settings));
    }

    pub(super) fn restore_settings(&mut self, settings: Settings) -> Result<(), DirectoryError> {
        self.set_anonymous_group(settings.anonymous_group.as_deref())?;
        self.set_default_group(settings.default_group.as_deref())?;
        self.inner.settings = settings;
        // Nothing changes by being read.
        self.changes.clear();
        Ok(())
    }
}

/// In the order in which they are asked; a name that stands twice counts where it stands first.
fn tidy(memberships: &mut Vec<Membership>) -> Result<(), DirectoryError> {
    let mut seen = std::collections::HashSet::new();
    memberships.retain(|membership| seen.insert(membership.name.clone()));
    if memberships.iter().any(|known| known.priority.abs() > super::limits::PRIORITY_MAX) {
        return Err(DirectoryError::BadPriority);
    }
    Membership::sort(memberships);
    Ok(())
}
