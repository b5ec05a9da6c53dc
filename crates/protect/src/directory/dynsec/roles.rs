//! Commands on roles and their rules.

use super::field::{Command, rule_priority};
use super::{Failure, Given, Work, answer};
use crate::directory::DirectoryError;
use crate::directory::model::{Role, Rule, RuleType};
use serde_json::{Value, json};

impl Work<'_> {
    pub(super) fn create_role(&mut self, command: &Command) -> Given {
        let rolename = command.rolename()?;
        if rolename.is_empty() {
            return Err("Empty rolename".into());
        }
        let mut role = Role::new(rolename);
        role.text_name = command.optional_text("textname", "Invalid/missing textname")?.map(Box::from);
        let description = command.optional_text("textdescription", "Invalid/missing textdescription")?;
        role.text_description = description.map(Box::from);
        if let Some(allow) = command.get("allowwildcardsubs") {
            role.allow_wildcard_subscriptions = allow.as_bool().ok_or("Invalid allowwildcardsubs")?;
        }
        if self.edit.role(rolename).is_some() {
            return Err(DirectoryError::RoleExists.into());
        }
        if let Some(list) = command.array("acls") {
            role.rules = rules(list)?;
        }
        self.edit.create_role(role)?;
        Ok(None)
    }

    pub(super) fn delete_role(&mut self, command: &Command) -> Given {
        self.edit.delete_role(command.rolename()?)?;
        Ok(None)
    }

    pub(super) fn get_role(&mut self, command: &Command) -> Given {
        let role = self.edit.role(command.rolename()?).ok_or(DirectoryError::RoleNotFound)?;
        Ok(Some(json!({ "role": answer::role(role) })))
    }

    pub(super) fn list_roles(&mut self, command: &Command) -> Given {
        let directory = self.edit.directory();
        let verbose = command.flag("verbose").unwrap_or(false);
        let items = directory.roles().skip(command.offset()).map(|role| match verbose {
            true => answer::role(role),
            false => Value::from(&*role.name),
        });
        Ok(Some(answer::list(command, "roles", directory.role_count(), self.room, items)))
    }

    pub(super) fn modify_role(&mut self, command: &Command) -> Given {
        let rolename = command.rolename()?;
        if self.edit.role(rolename).is_none() {
            return Err("Role does not exist".into());
        }
        let new = command.array("acls").map(|list| rules(list)).transpose()?;
        self.edit.modify_role(rolename, |role| {
            if let Some(name) = command.text_if_any("textname") {
                role.text_name = Some(name.into());
            }
            if let Some(description) = command.text_if_any("textdescription") {
                role.text_description = Some(description.into());
            }
            if let Some(allow) = command.flag("allowwildcardsubs") {
                role.allow_wildcard_subscriptions = allow;
            }
            role.rules = new.unwrap_or(std::mem::take(&mut role.rules));
            Ok(())
        })?;
        Ok(None)
    }

    pub(super) fn add_role_acl(&mut self, command: &Command) -> Given {
        let (rolename, rule_type) = self.role_and_type(command)?;
        let topic = command.text("topic", "Invalid/missing topic")?;
        let mut rule = Rule::new(rule_type, topic, command.flag("allow").unwrap_or(false));
        rule.priority = rule_priority(command.get("priority"));
        let conditions = (command.get("qosmax"), command.get("retain"), command.get("sharedgroup"));
        set_conditions(&mut rule, conditions)?;
        self.edit.add_rule(rolename, rule)?;
        Ok(None)
    }

    pub(super) fn remove_role_acl(&mut self, command: &Command) -> Given {
        let (rolename, rule_type) = self.role_and_type(command)?;
        let topic = command.text("topic", "Invalid/missing topic")?;
        self.edit.remove_rule(rolename, rule_type, topic)?;
        Ok(None)
    }

    fn role_and_type<'a>(&self, command: &'a Command) -> Result<(&'a str, RuleType), Failure> {
        let rolename = command.rolename()?;
        self.edit.role(rolename).ok_or(DirectoryError::RoleNotFound)?;
        let name = command.text("acltype", "Invalid/missing acltype")?;
        let rule_type = RuleType::parse(name).ok_or("Unknown acltype")?;
        Ok((rolename, rule_type))
    }
}

/// A role as it stands in a file of Mosquitto's.
pub(in crate::directory) fn file_role(value: &Value) -> Result<Role, String> {
    let text = |name: &str| match value.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("{name} is no text")),
    };
    let mut role = Role::new(text("rolename")?.ok_or("rolename is missing")?);
    role.text_name = text("textname")?.map(Box::from);
    role.text_description = text("textdescription")?.map(Box::from);
    if let Some(allow) = value.get("allowwildcardsubs") {
        role.allow_wildcard_subscriptions = allow.as_bool().ok_or("allowwildcardsubs is no boolean")?;
    }
    if let Some(acls) = value.get("acls") {
        role.rules = rules(acls.as_array().ok_or("acls is no list")?).map_err(|failure| failure.0)?;
    }
    Ok(role)
}

/// The rules of a list. What Mosquitto passes over in silence is an error here: a denial that is misspelt must not be
/// missing.
fn rules(list: &[Value]) -> Result<Vec<Rule>, Failure> {
    let mut rules: Vec<Rule> = Vec::new();
    for item in list {
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        let name = text("acltype").ok_or("Invalid/missing acltype")?;
        let rule_type = RuleType::parse(name).ok_or("Unknown acltype")?;
        let topic = text("topic").ok_or("Invalid/missing topic")?;
        let allow = match item.get("allow") {
            None => false,
            Some(allow) => allow.as_bool().ok_or("Invalid allow")?,
        };
        let mut rule = Rule::new(rule_type, topic, allow);
        rule.priority = rule_priority(item.get("priority"));
        set_conditions(&mut rule, (item.get("qosmax"), item.get("retain"), item.get("sharedgroup")))?;
        rules.push(rule);
    }
    Ok(rules)
}

type Conditions<'a> = (Option<&'a Value>, Option<&'a Value>, Option<&'a Value>);

/// Ravelin's additions to a rule.
fn set_conditions(rule: &mut Rule, (qos_max, retain, shared_group): Conditions<'_>) -> Result<(), Failure> {
    if let Some(qos) = qos_max {
        let qos = qos.as_u64().and_then(|qos| u8::try_from(qos).ok());
        rule.qos_max = Some(qos.ok_or("Invalid qosmax")?);
    }
    if let Some(retain) = retain {
        rule.retain = Some(retain.as_bool().ok_or("Invalid retain")?);
    }
    if let Some(group) = shared_group {
        rule.shared_group = Some(group.as_str().ok_or("Invalid sharedgroup")?.into());
    }
    Ok(())
}
