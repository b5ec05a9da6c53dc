//! Takes over a `dynamic-security.json` of Mosquitto.
//!
//! Strict where Mosquitto is not: it passes over what it cannot read, this refuses the file, because a denial must not be
//! missing. Whoever could administer Mosquitto administers Ravelin only if that is asked for: a file must not be a way to
//! become an administrator.

use super::dynsec::file_role;
use super::limits::{PRIORITY_DEFAULT, clamp_priority};
use super::model::{ADMIN_ROLE, Group, Identity, Membership, Role};
use super::{Change, Credentials, Directory, DirectoryError, Edit};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// Largest file.
pub const IMPORT_BYTES_MAX: usize = 64 << 20;

/// How a file is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Take the place of what has the same name; otherwise that is an error.
    pub replace: bool,
    /// Give the role `admin` to whoever had it, or whose rules reached `$CONTROL`.
    pub administrators: bool,
    /// Take over the defaults where nothing says anything. Mosquitto's are broader than Ravelin's.
    pub defaults: bool,
}

/// What was taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Identities.
    pub clients: usize,
    /// Groups.
    pub groups: usize,
    /// Roles.
    pub roles: usize,
    /// Those who administered Mosquitto: they have the role `admin` now if that was asked for.
    pub administrators: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

impl Directory {
    /// Takes over a `dynamic-security.json`: all of it, or nothing.
    pub fn import(
        &self,
        file: &[u8],
        options: ImportOptions,
    ) -> Result<(Directory, Vec<Change>, Imported), DirectoryError> {
        if file.len() > IMPORT_BYTES_MAX {
            return Err(DirectoryError::LimitExceeded { what: "bytes in the file", max: IMPORT_BYTES_MAX });
        }
        let file: Value = serde_json::from_slice(file).map_err(|error| bad("the file", error.to_string()))?;
        if !file.is_object() {
            return Err(bad("the file", "it is no object"));
        }
        let mut import = Import { edit: self.edit(), options, done: Imported::default() };
        for role in list(&file, "roles")? {
            import.role(role)?;
        }
        for group in list(&file, "groups")? {
            import.group(group)?;
        }
        for client in list(&file, "clients")? {
            import.client(client)?;
        }
        for group in list(&file, "groups")? {
            import.members(group)?;
        }
        import.settings(&file)?;
        import.administrators()?;
        let (directory, changes) = import.edit.finish()?;
        Ok((directory, changes, import.done))
    }
}

struct Import {
    edit: Edit,
    options: ImportOptions,
    done: Imported,
}

impl Import {
    fn role(&mut self, value: &Value) -> Result<(), DirectoryError> {
        let role: Role = file_role(value).map_err(|error| bad("a role", error))?;
        if *role.name == *ADMIN_ROLE {
            self.done.notes.push("the rules of the role 'admin' were left out: it is built in".into());
            return Ok(());
        }
        self.done.roles += 1;
        if self.edit.role(&role.name).is_none() || !self.options.replace {
            return self.edit.create_role(role);
        }
        let name = role.name.clone();
        self.edit.modify_role(&name, |known| {
            *known = role;
            Ok(())
        })
    }

    fn group(&mut self, value: &Value) -> Result<(), DirectoryError> {
        let mut group = Group::new(name(value, "groupname")?);
        group.text_name = text(value, "textname")?;
        group.text_description = text(value, "textdescription")?;
        group.roles = self.memberships(value, "roles", "rolename")?;
        self.done.groups += 1;
        if self.edit.group(&group.name).is_none() || !self.options.replace {
            return self.edit.create_group(group);
        }
        let name = group.name.clone();
        self.edit.modify_group(&name, |known| {
            *known = group;
            Ok(())
        })
    }

    fn client(&mut self, value: &Value) -> Result<(), DirectoryError> {
        let mut identity = Identity::new(name(value, "username")?);
        let bound: Option<Box<str>> = text(value, "clientid")?;
        identity.client_id = bound.filter(|bound| !bound.is_empty()).map(Arc::from);
        identity.text_name = text(value, "textname")?;
        identity.text_description = text(value, "textdescription")?;
        identity.disabled = match value.get("disabled") {
            None => false,
            Some(disabled) => {
                disabled.as_bool().ok_or_else(|| bad(&identity.name, "`disabled` is no boolean"))?
            }
        };
        identity.credentials = credentials(value)?;
        if identity.credentials.user().password.as_ref().is_some_and(|hash| hash.is_weak()) {
            let note =
                format!("the password hash of {:?} is cheap to guess: set the password again", identity.name);
            self.note(note);
        }
        identity.roles = self.memberships(value, "roles", "rolename")?;
        self.done.clients += 1;
        if self.edit.identity(&identity.name).is_none() || !self.options.replace {
            return self.edit.create_identity(identity);
        }
        let name = identity.name.clone();
        self.edit.modify_identity(&name, |known| {
            // What Mosquitto knows nothing of stays.
            identity.class = known.class.take();
            identity.fingerprints = std::mem::take(&mut known.fingerprints);
            *known = identity;
            Ok(())
        })
    }

    fn members(&mut self, value: &Value) -> Result<(), DirectoryError> {
        let group = name(value, "groupname")?;
        for member in self.memberships(value, "clients", "username")? {
            match self.edit.add_member(group, &member.name, member.priority) {
                Ok(()) | Err(DirectoryError::AlreadyMember) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn settings(&mut self, file: &Value) -> Result<(), DirectoryError> {
        if let Some(group) = text::<Box<str>>(file, "anonymousGroup")? {
            self.edit.set_anonymous_group(Some(&group))?;
        }
        let Some(Value::Object(access)) = file.get("defaultACLAccess") else { return Ok(()) };
        let mut defaults = self.edit.directory().defaults();
        for (name, allow) in access {
            let allow =
                allow.as_bool().ok_or_else(|| bad("defaultACLAccess", "it has what is no boolean"))?;
            if self.options.defaults && !defaults.set(name, allow) {
                return Err(bad("defaultACLAccess", format!("{name:?} is not known")));
            }
        }
        if self.options.defaults {
            self.edit.set_defaults(defaults);
        } else {
            self.note("the defaults (defaultACLAccess) were left as they are".into());
        }
        Ok(())
    }

    /// Who administered Mosquitto: by a rule that allows to publish to the topic of the commands.
    fn administrators(&mut self) -> Result<(), DirectoryError> {
        let directory = self.edit.directory();
        let reaches = |memberships: &[Membership]| {
            memberships.iter().any(|known| {
                let rules = directory.role(&known.name).into_iter().flat_map(|role| &role.rules);
                let reach = rules.filter(|rule| rule.allow && rule.topic.starts_with("$CONTROL/"));
                reach.count() > 0
            })
        };
        for identity in directory.identities_from(0) {
            let by_group =
                |known: &Membership| directory.group(&known.name).is_some_and(|group| reaches(&group.roles));
            let was = self.done.administrators.contains(&identity.name.to_string());
            if !was
                && (reaches(&identity.roles) || identity.groups.iter().any(by_group))
                && !directory.is_administrator(&identity.name)
            {
                self.done.administrators.push(identity.name.to_string());
            }
        }
        if !self.options.administrators {
            return Ok(());
        }
        for name in self.done.administrators.clone() {
            self.edit.modify_identity(&name, |identity| {
                identity.roles.push(Membership::new(ADMIN_ROLE));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The memberships of a list. The role `admin` is not taken over by its name: [`Import::administrators`] decides.
    fn memberships(
        &mut self,
        value: &Value,
        field: &str,
        key: &str,
    ) -> Result<Vec<Membership>, DirectoryError> {
        let mut memberships = Vec::new();
        for item in list(value, field)? {
            let known = name(item, key)?;
            let priority = match item.get("priority") {
                None => PRIORITY_DEFAULT,
                Some(priority) => {
                    clamp_priority(priority.as_i64().ok_or_else(|| bad(known, "its priority is no number"))?)
                }
            };
            if key == "rolename" && known == ADMIN_ROLE {
                match text::<Box<str>>(value, "username")? {
                    Some(user) => self.done.administrators.push(user.into()),
                    None => self.note("the role 'admin' of a group was left out: give it to clients".into()),
                }
                continue;
            }
            memberships.push(Membership { name: known.into(), priority });
        }
        Ok(memberships)
    }

    fn note(&mut self, note: String) {
        if self.done.notes.len() < 100 && !self.done.notes.contains(&note) {
            self.done.notes.push(note);
        }
    }
}

fn bad(what: &str, detail: impl Into<String>) -> DirectoryError {
    DirectoryError::Record { key: what.into(), detail: detail.into() }
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a [Value], DirectoryError> {
    match value.get(field) {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(bad(field, "it is no list")),
    }
}

fn name<'a>(value: &'a Value, field: &str) -> Result<&'a str, DirectoryError> {
    value.get(field).and_then(Value::as_str).ok_or_else(|| bad(field, "it is missing or no text"))
}

fn text<T: for<'a> From<&'a str>>(value: &Value, field: &str) -> Result<Option<T>, DirectoryError> {
    match value.get(field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str().into())),
        Some(_) => Err(bad(field, "it is no text")),
    }
}

/// `encoded_password` of 2.1, or `password`, `salt` and `iterations` of 2.0.
fn credentials(value: &Value) -> Result<Credentials, DirectoryError> {
    if let Some(encoded) = text::<Box<str>>(value, "encoded_password")? {
        return Credentials::parse([&*encoded]);
    }
    let (Some(hash), Some(salt)) = (text::<Box<str>>(value, "password")?, text::<Box<str>>(value, "salt")?)
    else {
        return Ok(Credentials::default());
    };
    let iterations = value.get("iterations").and_then(Value::as_u64);
    let iterations = iterations.ok_or_else(|| bad("iterations", "it is missing or no number"))?;
    Credentials::parse([format!("$7${iterations}${salt}${hash}").as_str()])
}
