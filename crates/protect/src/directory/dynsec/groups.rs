//! Commands on groups.

use super::field::{Command, membership};
use super::{Given, Work, answer};
use crate::directory::model::{Group, Membership};
use crate::directory::{Directory, DirectoryError};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

impl Work<'_> {
    pub(super) fn create_group(&mut self, command: &Command) -> Given {
        let groupname = command.groupname()?;
        if groupname.is_empty() {
            return Err("Empty groupname".into());
        }
        let mut group = Group::new(groupname);
        group.text_name = command.optional_text("textname", "Invalid/missing textname")?.map(Box::from);
        let description = command.optional_text("textdescription", "Invalid/missing textdescription")?;
        group.text_description = description.map(Box::from);
        if self.edit.group(groupname).is_some() {
            return Err(DirectoryError::GroupExists.into());
        }
        group.roles = command.roles()?.unwrap_or_default();
        self.edit.create_group(group)?;
        Ok(None)
    }

    pub(super) fn delete_group(&mut self, command: &Command) -> Given {
        self.edit.delete_group(command.groupname()?)?;
        Ok(None)
    }

    pub(super) fn get_group(&mut self, command: &Command) -> Given {
        let groupname = command.groupname()?;
        let members = self.edit.members(groupname).ok_or(DirectoryError::GroupNotFound)?;
        let group = self.edit.group(groupname).ok_or(DirectoryError::GroupNotFound)?;
        Ok(Some(json!({ "group": answer::group(group, &members) })))
    }

    pub(super) fn list_groups(&mut self, command: &Command) -> Given {
        let directory = self.edit.directory();
        let verbose = command.flag("verbose").unwrap_or(false);
        let members = if verbose { members_of_all(&directory) } else { HashMap::new() };
        let items = directory.groups().skip(command.offset()).map(|group| match verbose {
            true => answer::group(group, members.get(&*group.name).map_or(&[], Vec::as_slice)),
            false => Value::from(&*group.name),
        });
        Ok(Some(answer::list(command, "groups", directory.group_count(), self.room, items)))
    }

    pub(super) fn modify_group(&mut self, command: &Command) -> Given {
        let groupname = command.groupname()?;
        if self.edit.group(groupname).is_none() {
            return Err(DirectoryError::GroupNotFound.into());
        }
        let roles = command.roles()?;
        self.edit.modify_group(groupname, |group| {
            if let Some(name) = command.text_if_any("textname") {
                group.text_name = Some(name.into());
            }
            if let Some(description) = command.text_if_any("textdescription") {
                group.text_description = Some(description.into());
            }
            group.roles = roles.unwrap_or(std::mem::take(&mut group.roles));
            Ok(())
        })?;
        let Some(list) = command.array("clients") else { return Ok(None) };
        let mut members = Vec::new();
        for item in list.iter().filter(|item| item.is_object()) {
            let Some(member) = membership(item, "username") else {
                return Err("'clients' contains an object with an invalid 'username'".into());
            };
            if self.edit.identity(&member.name).is_none() {
                return Err("'clients' contains an object with a 'username' that does not exist".into());
            }
            members.push(member);
        }
        for member in self.edit.members(groupname).unwrap_or_default() {
            self.edit.remove_member(groupname, &member)?;
        }
        for member in members {
            match self.edit.add_member(groupname, &member.name, member.priority) {
                Ok(()) | Err(DirectoryError::AlreadyMember) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    pub(super) fn add_group_client(&mut self, command: &Command) -> Given {
        let (username, groupname) = (command.username()?, command.groupname()?);
        self.edit.add_member(groupname, username, command.priority())?;
        Ok(None)
    }

    pub(super) fn remove_group_client(&mut self, command: &Command) -> Given {
        let (username, groupname) = (command.username()?, command.groupname()?);
        self.edit.remove_member(groupname, username)?;
        Ok(None)
    }

    pub(super) fn add_group_role(&mut self, command: &Command) -> Given {
        let (groupname, rolename) = (command.groupname()?, command.rolename()?);
        let priority = command.priority();
        let known = self.edit.group(groupname).ok_or(DirectoryError::GroupNotFound)?;
        let name = self.edit.role(rolename).ok_or(DirectoryError::RoleNotFound)?.name.clone();
        if known.roles.iter().any(|role| role.name == name) {
            return Err(DirectoryError::AlreadyInRole.into());
        }
        self.edit.modify_group(groupname, |group| {
            group.roles.push(Membership { name, priority });
            Ok(())
        })?;
        Ok(None)
    }

    pub(super) fn remove_group_role(&mut self, command: &Command) -> Given {
        let (groupname, rolename) = (command.groupname()?, command.rolename()?);
        self.edit.group(groupname).ok_or(DirectoryError::GroupNotFound)?;
        self.edit.role(rolename).ok_or(DirectoryError::RoleNotFound)?;
        self.edit.modify_group(groupname, |group| {
            group.roles.retain(|role| *role.name != *rolename);
            Ok(())
        })?;
        Ok(None)
    }

    pub(super) fn set_anonymous_group(&mut self, command: &Command) -> Given {
        self.edit.set_anonymous_group(Some(command.groupname()?))?;
        Ok(None)
    }

    pub(super) fn get_anonymous_group(&self) -> Given {
        let directory = self.edit.directory();
        let name = directory.anonymous_group().unwrap_or_default();
        Ok(Some(json!({ "group": { "groupname": name } })))
    }
}

/// Who is in each group, by one look at every identity.
fn members_of_all(directory: &Directory) -> HashMap<Arc<str>, Vec<Arc<str>>> {
    let mut members: HashMap<Arc<str>, Vec<Arc<str>>> = HashMap::new();
    for identity in directory.identities_from(0) {
        for group in &identity.groups {
            members.entry(group.name.clone()).or_default().push(identity.name.clone());
        }
    }
    members
}
