//! One command of a request, and what stands in it.

use super::answer;
use super::{Done, Failure};
use crate::Secret;
use crate::directory::limits::{PRIORITY_DEFAULT, clamp_priority};
use crate::directory::model::Membership;
use crate::directory::{Credentials, DirectoryError};
use serde_json::{Map, Value};
use zeroize::Zeroize;

/// One command of a request.
pub(super) struct Command {
    /// The command, as it was written.
    pub given_name: String,
    lower_name: String,
    fields: Map<String, Value>,
    /// What became of its password.
    pub credentials: Option<Result<Credentials, String>>,
}

/// Commands that change nothing.
const QUESTIONS: [&str; 8] = [
    "getclient",
    "listclients",
    "getgroup",
    "listgroups",
    "getanonymousgroup",
    "getrole",
    "listroles",
    "getdefaultaclaccess",
];

impl Command {
    /// Reads a command. The error is the answer to what is none, after which Mosquitto reads no further.
    pub fn read(value: Value) -> Result<Command, Value> {
        let refuse = |name: &str, error: &str| Err(answer::failed(name, error, None));
        let Value::Object(fields) = value else { return refuse("Unknown command", "Command not an object") };
        let Some(Value::String(name)) = fields.get("command") else {
            return refuse("Unknown command", "Missing command");
        };
        let given_name = name.clone();
        if fields.get("correlationData").is_some_and(|data| !data.is_string()) {
            return refuse(&given_name, "Invalid correlationData data type.");
        }
        let lower_name = given_name.to_ascii_lowercase();
        Ok(Command { given_name, lower_name, fields, credentials: None })
    }

    /// The command in small letters.
    pub fn name(&self) -> &str {
        &self.lower_name
    }

    pub fn correlation(&self) -> Option<&str> {
        self.fields.get("correlationData").and_then(Value::as_str)
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// A text that must be there; `error` is what is said if it is not.
    pub fn text(&self, name: &str, error: &str) -> Result<&str, Failure> {
        self.get(name).and_then(Value::as_str).ok_or_else(|| error.into())
    }

    /// A text that may be there, but nothing else in its place.
    pub fn optional_text(&self, name: &str, error: &str) -> Result<Option<&str>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(error.into()),
        }
    }

    /// A text, if that is what is there.
    pub fn text_if_any(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).and_then(Value::as_bool)
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        number(self.get(name))
    }

    /// Where a list begins.
    pub fn offset(&self) -> usize {
        usize::try_from(self.number("offset").unwrap_or(0)).unwrap_or(0)
    }

    pub fn array(&self, name: &str) -> Option<&Vec<Value>> {
        self.get(name).and_then(Value::as_array)
    }

    pub fn username(&self) -> Result<&str, Failure> {
        self.text("username", "Invalid/missing username")
    }

    pub fn groupname(&self) -> Result<&str, Failure> {
        self.text("groupname", "Invalid/missing groupname")
    }

    pub fn rolename(&self) -> Result<&str, Failure> {
        self.text("rolename", "Invalid/missing rolename")
    }

    /// The priority of a membership.
    pub fn priority(&self) -> i32 {
        self.number("priority").map_or(PRIORITY_DEFAULT, clamp_priority)
    }

    /// The list of roles; `None` if there is none.
    pub fn roles(&self) -> Result<Option<Vec<Membership>>, Failure> {
        let bad = "'roles' not an array or missing/invalid rolename";
        let roles = match self.get("roles") {
            None => return Ok(None),
            Some(Value::Array(roles)) => roles,
            Some(_) => return Err(bad.into()),
        };
        roles
            .iter()
            .map(|role| membership(role, "rolename").ok_or_else(|| bad.into()))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The password that the command sets, until it was hashed. An empty one is none.
    pub fn password(&self) -> Option<Secret> {
        let sets = matches!(self.name(), "createclient" | "modifyclient" | "setclientpassword");
        let password = self.text_if_any("password").filter(|password| sets && !password.is_empty())?;
        Some(Secret::new(password))
    }

    /// Wipes the password.
    pub fn forget_password(&mut self) {
        if let Some(Value::String(password)) = self.fields.get_mut("password") {
            password.zeroize();
        }
    }

    /// What its password became; `None` if it sets none.
    pub fn new_credentials(&self) -> Result<Option<&Credentials>, Failure> {
        match &self.credentials {
            None => Ok(None),
            Some(Ok(credentials)) => Ok(Some(credentials)),
            Some(Err(error)) => Err(DirectoryError::BadCredentials(error.clone()).into()),
        }
    }

    /// For the record: what was done, to what.
    pub fn done(&self, error: Option<String>) -> Done {
        let subject: Vec<&str> = ["username", "groupname", "rolename", "acltype", "topic"]
            .into_iter()
            .filter_map(|field| self.text_if_any(field))
            .collect();
        let changes = !QUESTIONS.contains(&self.name()) && self.name() != "getdetails";
        Done { command: self.given_name.clone(), subject: subject.join(" "), error, changes }
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.forget_password();
    }
}

fn number(value: Option<&Value>) -> Option<i64> {
    let value = value?;
    value.as_i64().or_else(|| value.as_f64().map(|number| number as i64))
}

/// `{"rolename":"r","priority":1}`.
pub(super) fn membership(value: &Value, name: &str) -> Option<Membership> {
    let name = value.get(name)?.as_str()?;
    let priority = number(value.get("priority")).map_or(PRIORITY_DEFAULT, clamp_priority);
    Some(Membership { name: name.into(), priority })
}

/// The priority of a rule, as Mosquitto takes it.
pub(super) fn rule_priority(value: Option<&Value>) -> i32 {
    number(value).map_or(0, clamp_priority)
}
