//! Commands on clients, which are identities.

use super::field::{Command, membership};
use super::{Failure, Given, Work, answer};
use crate::directory::model::{Identity, Membership};
use crate::directory::{Directory, DirectoryError};
use serde_json::{Value, json};
use std::sync::Arc;

/// An empty Client Identifier is none.
fn client_id(text: Option<&str>) -> Option<Arc<str>> {
    text.filter(|text| !text.is_empty()).map(Arc::from)
}

/// The fingerprints of its certificates, of which Mosquitto knows nothing; `None` if nothing is said of them.
fn fingerprints(command: &Command) -> Result<Option<Vec<Arc<str>>>, Failure> {
    let Some(list) = command.get("fingerprints") else { return Ok(None) };
    let text = |item: &Value| item.as_str().map(Arc::from);
    let read = list.as_array().and_then(|list| list.iter().map(text).collect());
    read.map(Some).ok_or_else(|| "Invalid fingerprints".into())
}

impl Work<'_> {
    pub(super) fn create_client(&mut self, command: &Command) -> Given {
        let username = command.username()?;
        if username.is_empty() {
            return Err("Empty username".into());
        }
        command.optional_text("password", "Invalid/missing password")?;
        let bound = command.optional_text("clientid", "Invalid/missing client id")?;
        let mut identity = Identity::new(username);
        identity.client_id = client_id(bound);
        identity.text_name = command.optional_text("textname", "Invalid/missing textname")?.map(Box::from);
        let description = command.optional_text("textdescription", "Invalid/missing textdescription")?;
        identity.text_description = description.map(Box::from);
        if self.edit.identity(username).is_some() {
            return Err(DirectoryError::IdentityExists.into());
        }
        if let Some(credentials) = command.new_credentials()? {
            identity.credentials = credentials.clone();
        }
        identity.roles = command.roles()?.unwrap_or_default();
        // What is no group is passed over here, as in Mosquitto.
        let groups = command.array("groups").into_iter().flatten();
        identity.groups = groups.filter_map(|group| membership(group, "groupname")).collect();
        identity.class = command.text_if_any("class").map(Arc::from);
        identity.fingerprints = fingerprints(command)?.unwrap_or_default();
        self.edit.create_identity(identity)?;
        Ok(None)
    }

    pub(super) fn delete_client(&mut self, command: &Command) -> Given {
        let removed = self.edit.delete_identity(command.username()?)?;
        self.disconnect.insert((removed.name, "the identity was deleted"));
        Ok(None)
    }

    pub(super) fn get_client(&mut self, command: &Command) -> Given {
        let identity = self.edit.identity(command.username()?).ok_or(DirectoryError::IdentityNotFound)?;
        Ok(Some(json!({ "client": answer::client(identity, self.addresses(identity)) })))
    }

    pub(super) fn list_clients(&mut self, command: &Command) -> Given {
        let directory: Directory = self.edit.directory();
        let verbose = command.flag("verbose").unwrap_or(false);
        let all = directory.identities_from(command.offset());
        let items = all.map(|identity| match verbose {
            true => answer::client(identity, self.addresses(identity)),
            false => Value::from(&*identity.name),
        });
        Ok(Some(answer::list(command, "clients", directory.identity_count(), self.room, items)))
    }

    fn addresses(&self, identity: &Identity) -> &[String] {
        self.connections.get(&*identity.name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn modify_client(&mut self, command: &Command) -> Given {
        let username = command.username()?;
        if self.edit.identity(username).is_none() {
            return Err(DirectoryError::IdentityNotFound.into());
        }
        let new = command.new_credentials()?;
        let roles = command.roles()?;
        let groups = self.new_groups(command)?;
        let bound = command.text_if_any("clientid").map(|text| client_id(Some(text)));
        let certificates = fingerprints(command)?;
        let class = command.text_if_any("class").map(|class| client_id(Some(class)));
        let before = self.edit.identity(username).cloned();
        self.edit.modify_identity(username, |identity| {
            if let Some(new) = new {
                identity.credentials = identity.credentials.with_password_of(new)?;
            }
            if let Some(name) = command.text_if_any("textname") {
                identity.text_name = Some(name.into());
            }
            if let Some(description) = command.text_if_any("textdescription") {
                identity.text_description = Some(description.into());
            }
            identity.client_id = bound.unwrap_or(identity.client_id.take());
            identity.class = class.unwrap_or(identity.class.take());
            identity.fingerprints = certificates.unwrap_or(std::mem::take(&mut identity.fingerprints));
            identity.roles = roles.unwrap_or(std::mem::take(&mut identity.roles));
            identity.groups = groups.unwrap_or(std::mem::take(&mut identity.groups));
            Ok(())
        })?;
        if new.is_some() {
            self.disconnect.insert((username.into(), "the password was changed"));
        } else if before
            .zip(self.edit.identity(username))
            .is_some_and(|(before, after)| !after.is_bound_as(&before))
        {
            self.disconnect.insert((username.into(), "the client id, class or certificates were changed"));
        }
        Ok(None)
    }

    /// The groups that a client is to be in; `None` if nothing is said of them.
    fn new_groups(&self, command: &Command) -> Result<Option<Vec<Membership>>, Failure> {
        let Some(list) = command.array("groups") else { return Ok(None) };
        let mut groups = Vec::new();
        for item in list.iter().filter(|item| item.is_object()) {
            let Some(group) = membership(item, "groupname") else {
                return Err("'groups' contains an object with an invalid 'groupname'".into());
            };
            if self.edit.group(&group.name).is_none() {
                return Err("'groups' contains an object with a 'groupname' that does not exist".into());
            }
            groups.push(group);
        }
        Ok(Some(groups))
    }

    pub(super) fn set_client_password(&mut self, command: &Command) -> Given {
        let username = command.username()?;
        let given = command.optional_text("password", "Invalid/missing password")?;
        // A password that was hashed was wiped.
        let Some(new) = command.new_credentials()? else {
            return Err(match given {
                Some(_) => DirectoryError::EmptyPassword.into(),
                None => "Invalid/missing password".into(),
            });
        };
        self.edit.modify_identity(username, |identity| {
            identity.credentials = identity.credentials.with_password_of(new)?;
            Ok(())
        })?;
        self.disconnect.insert((username.into(), "the password was changed"));
        Ok(None)
    }

    pub(super) fn set_client_id(&mut self, command: &Command) -> Given {
        let username = command.username()?;
        let bound = client_id(command.optional_text("clientid", "Invalid/missing client ID")?);
        self.edit.modify_identity(username, |identity| {
            identity.client_id = bound;
            Ok(())
        })?;
        self.disconnect.insert((username.into(), "the client id was changed"));
        Ok(None)
    }

    pub(super) fn add_client_role(&mut self, command: &Command) -> Given {
        let (username, rolename) = (command.username()?, command.rolename()?);
        let priority = command.priority();
        let known = self.edit.identity(username).ok_or(DirectoryError::IdentityNotFound)?;
        let name = self.edit.role(rolename).ok_or(DirectoryError::RoleNotFound)?.name.clone();
        // Mosquitto has no better word for it.
        if known.roles.iter().any(|role| role.name == name) {
            return Err("Internal error".into());
        }
        self.edit.modify_identity(username, |identity| {
            identity.roles.push(Membership { name, priority });
            Ok(())
        })?;
        Ok(None)
    }

    pub(super) fn remove_client_role(&mut self, command: &Command) -> Given {
        let (username, rolename) = (command.username()?, command.rolename()?);
        self.edit.identity(username).ok_or(DirectoryError::IdentityNotFound)?;
        self.edit.role(rolename).ok_or(DirectoryError::RoleNotFound)?;
        self.edit.modify_identity(username, |identity| {
            identity.roles.retain(|role| *role.name != *rolename);
            Ok(())
        })?;
        Ok(None)
    }

    pub(super) fn enable_client(&mut self, command: &Command, enable: bool) -> Given {
        let username = command.username()?;
        self.edit.modify_identity(username, |identity| {
            identity.disabled = !enable;
            Ok(())
        })?;
        if !enable {
            self.disconnect.insert((username.into(), "the identity was disabled"));
        }
        Ok(None)
    }
}
