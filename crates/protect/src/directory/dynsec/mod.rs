//! The commands of Mosquitto's dynamic security, as `mosquitto_ctrl dynsec` and other tools send them to
//! `$CONTROL/dynamic-security/v1`: those of 2.0, and `allowwildcardsubs` and the rest of 2.1.
//!
//! Pure: [`Batch::parse`] reads a request, [`Batch::hash_passwords`] does what is dear (not on a thread that serves), and
//! [`Batch::apply`] gives a changed directory, the answer, and what must happen to live sessions. A command is done whole or
//! not at all; one that fails does not stop those behind it. Whether whoever asks may do so is not decided here.
//!
//! Names of commands and types are taken in any case of their letters, as Mosquitto takes them.

mod answer;
mod clients;
mod field;
mod groups;
mod roles;

pub(super) use roles::file_role;

use super::{Change, Credentials, Directory, DirectoryError, Edit};
use crate::{Error, Secret};
use field::Command;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where commands go.
pub const TOPIC: &str = "$CONTROL/dynamic-security/v1";
/// Where their answers go.
pub const RESPONSE_TOPIC: &str = "$CONTROL/dynamic-security/v1/response";
/// Where questions about the broker go.
pub const BROKER_TOPIC: &str = "$CONTROL/broker/v1";
/// Where their answers go.
pub const BROKER_RESPONSE_TOPIC: &str = "$CONTROL/broker/v1/response";

/// How much a request may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynsecLimits {
    /// Bytes of a request.
    pub request_bytes_max: usize,
    /// Commands of a request.
    pub commands_max: usize,
    /// Passwords that a request sets: each costs a hash.
    pub passwords_max: usize,
    /// Bytes of an answer; a list is cut to fit, and says how many there are.
    pub response_bytes_max: usize,
}

impl Default for DynsecLimits {
    fn default() -> DynsecLimits {
        DynsecLimits {
            request_bytes_max: 1 << 20,
            commands_max: 1000,
            passwords_max: 100,
            response_bytes_max: 256 << 10,
        }
    }
}

/// A request that was read.
pub struct Batch {
    commands: Vec<Command>,
    /// What ends the request before its time.
    broken: Option<Value>,
    limits: DynsecLimits,
}

/// What a request did.
pub struct Outcome {
    /// The directory after it.
    pub directory: Directory,
    /// The records that changed; the last one of a key counts.
    pub changes: Vec<Change>,
    /// The answer.
    pub response: Value,
    /// What was done, for the record.
    pub done: Vec<Done>,
    /// Whose connections must end, and why.
    pub disconnect: BTreeMap<Arc<str>, &'static str>,
}

/// A command that was done or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The command.
    pub command: String,
    /// What it was about.
    pub subject: String,
    /// Why it was refused.
    pub error: Option<String>,
    /// Whether it would have changed something.
    pub changes: bool,
}

/// Where connected clients are, for [`Batch::apply`]: addresses by identity.
pub type Connections = BTreeMap<String, Vec<String>>;

/// While a command is done.
struct Work<'a> {
    edit: Edit,
    disconnect: BTreeSet<(Arc<str>, &'static str)>,
    connections: &'a Connections,
    room: usize,
}

/// What a command gives: data to answer with, or nothing.
type Given = Result<Option<Value>, Failure>;

/// Why a command was refused, in the words that Mosquitto has for it.
#[derive(Debug, PartialEq, Eq)]
struct Failure(String);

impl From<&str> for Failure {
    fn from(text: &str) -> Failure {
        Failure(text.into())
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Failure {
        Failure(match error {
            // Mosquitto says no more, and tools look for these words.
            DirectoryError::BadTopic(_) => "Invalid ACL topic".into(),
            error => error.to_string(),
        })
    }
}

impl Batch {
    /// Reads a request. The error is the answer to one that cannot be read.
    pub fn parse(payload: &[u8], limits: DynsecLimits) -> Result<Batch, Value> {
        let refuse = |error: &str| Err(responses(vec![answer::failed("Unknown command", error, None)]));
        if payload.len() > limits.request_bytes_max {
            return refuse(&format!("Payload larger than {} bytes", limits.request_bytes_max));
        }
        let Ok(Value::Object(mut request)) = serde_json::from_slice(payload) else {
            return refuse("Payload not valid JSON");
        };
        let Some(Value::Array(list)) = request.remove("commands") else {
            return refuse("Invalid/missing commands");
        };
        if list.len() > limits.commands_max {
            return refuse(&format!("More than {} commands", limits.commands_max));
        }
        let (mut commands, mut broken) = (Vec::new(), None);
        for command in list {
            match Command::read(command) {
                Ok(command) => commands.push(command),
                // As in Mosquitto: what is before it is done, what is behind it is not.
                Err(answer) => {
                    broken = Some(answer);
                    break;
                }
            }
        }
        if commands.iter().filter(|command| command.password().is_some()).count() > limits.passwords_max {
            return refuse(&format!("More than {} passwords", limits.passwords_max));
        }
        Ok(Batch { commands, broken, limits })
    }

    /// Hashes the passwords of the request. `hash` is what is dear in it.
    pub fn hash_passwords(&mut self, mut hash: impl FnMut(&Secret) -> Result<Credentials, Error>) {
        for command in &mut self.commands {
            if let Some(password) = command.password() {
                command.credentials = Some(hash(&password).map_err(|error| error.to_string()));
                command.forget_password();
            }
        }
    }

    /// Whether the answer tells where clients are connected.
    pub fn wants_connections(&self) -> bool {
        self.commands.iter().any(|command| {
            let name = command.name();
            name == "getclient" || (name == "listclients" && command.flag("verbose") == Some(true))
        })
    }

    /// Does the commands, one after the other.
    pub fn apply(self, directory: &Directory, connections: &Connections) -> Outcome {
        let mut outcome = Outcome {
            directory: directory.clone(),
            changes: Vec::new(),
            response: Value::Null,
            done: Vec::new(),
            disconnect: BTreeMap::new(),
        };
        let mut answers = Vec::new();
        let mut room = self.limits.response_bytes_max;
        for command in self.commands {
            let mut work =
                Work { edit: outcome.directory.edit(), disconnect: BTreeSet::new(), connections, room };
            let given = work.run(&command).and_then(|data| {
                let (directory, changes) = work.edit.finish()?;
                Ok((data, directory, changes, work.disconnect))
            });
            let error = given.as_ref().err().map(|failure| failure.0.clone());
            outcome.done.push(command.done(error));
            let answer = match given {
                Err(Failure(error)) => answer::failed(&command.given_name, &error, command.correlation()),
                Ok((data, directory, changes, disconnect)) => {
                    outcome.directory = directory;
                    outcome.changes.extend(changes);
                    outcome.disconnect.extend(disconnect);
                    answer::given(&command, data)
                }
            };
            room = room.saturating_sub(answer.to_string().len());
            answers.push(answer);
        }
        answers.extend(self.broken);
        outcome.response = responses(answers);
        outcome
    }
}

fn responses(answers: Vec<Value>) -> Value {
    json!({ "responses": answers })
}

impl Work<'_> {
    fn run(&mut self, command: &Command) -> Given {
        if command.password().is_some() {
            // It was not hashed: whoever drives this forgot it.
            return Err("Internal error".into());
        }
        match command.name() {
            "createclient" => self.create_client(command),
            "deleteclient" => self.delete_client(command),
            "getclient" => self.get_client(command),
            "listclients" => self.list_clients(command),
            "modifyclient" => self.modify_client(command),
            "setclientpassword" => self.set_client_password(command),
            "setclientid" => self.set_client_id(command),
            "addclientrole" => self.add_client_role(command),
            "removeclientrole" => self.remove_client_role(command),
            "enableclient" => self.enable_client(command, true),
            "disableclient" => self.enable_client(command, false),

            "creategroup" => self.create_group(command),
            "deletegroup" => self.delete_group(command),
            "getgroup" => self.get_group(command),
            "listgroups" => self.list_groups(command),
            "modifygroup" => self.modify_group(command),
            "addgroupclient" => self.add_group_client(command),
            "removegroupclient" => self.remove_group_client(command),
            "addgrouprole" => self.add_group_role(command),
            "removegrouprole" => self.remove_group_role(command),
            "setanonymousgroup" => self.set_anonymous_group(command),
            "getanonymousgroup" => self.get_anonymous_group(),

            "createrole" => self.create_role(command),
            "deleterole" => self.delete_role(command),
            "getrole" => self.get_role(command),
            "listroles" => self.list_roles(command),
            "modifyrole" => self.modify_role(command),
            "addroleacl" => self.add_role_acl(command),
            "removeroleacl" => self.remove_role_acl(command),

            "setdefaultaclaccess" => self.set_default_acl_access(command),
            "getdefaultaclaccess" => self.get_default_acl_access(),
            "getdetails" => self.get_details(),
            _ => Err("Unknown command".into()),
        }
    }

    fn set_default_acl_access(&mut self, command: &Command) -> Given {
        let Some(actions) = command.array("acls") else { return Err("Missing/invalid actions array".into()) };
        let mut defaults = self.edit.directory().defaults();
        for action in actions {
            let name = action.get("acltype").and_then(Value::as_str);
            // `mosquitto_ctrl` before 2.0.12 has it as a word, which Mosquitto itself never understood.
            let allow = match action.get("access").and_then(Value::as_str) {
                Some("allow") => Some(true),
                Some("deny") => Some(false),
                _ => action.get("allow").and_then(Value::as_bool),
            };
            if let (Some(name), Some(allow)) = (name, allow) {
                // As in Mosquitto, a type that is not known is passed over.
                defaults.set(name, allow);
            }
        }
        self.edit.set_defaults(defaults);
        Ok(None)
    }

    fn get_default_acl_access(&self) -> Given {
        let defaults = self.edit.directory().defaults().named();
        let acls = defaults.map(|(name, allow)| json!({ "acltype": name, "allow": allow }));
        Ok(Some(json!({ "acls": acls })))
    }

    fn get_details(&self) -> Given {
        let directory = self.edit.directory();
        Ok(Some(json!({
            "clientCount": directory.identity_count(),
            "groupCount": directory.group_count(),
            "roleCount": directory.role_count(),
            "changeIndex": directory.change_index(),
        })))
    }
}

/// Answers a question about the broker (`$CONTROL/broker/v1`): `plugins` and `listeners` are what there is to tell.
pub fn broker_response(payload: &[u8], limits: DynsecLimits, listeners: &Value) -> Value {
    let batch = match Batch::parse(payload, limits) {
        Ok(batch) => batch,
        Err(answer) => return answer,
    };
    let answers = batch.commands.iter().map(|command| match command.name() {
        "listplugins" => {
            let plugin = json!({
                "name": "dynamic-security",
                "version": env!("CARGO_PKG_VERSION"),
                "control-endpoints": [TOPIC],
            });
            answer::given(command, Some(json!({ "plugins": [plugin] })))
        }
        "listlisteners" => answer::given(command, Some(json!({ "listeners": listeners }))),
        _ => answer::failed(&command.given_name, "Unknown command", command.correlation()),
    });
    let mut answers: Vec<Value> = answers.collect();
    answers.extend(batch.broken);
    responses(answers)
}
