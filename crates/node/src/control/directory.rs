//! The directory, as it is administered: by the API, and by Mosquitto's commands on `$CONTROL`.
//!
//! A change is applied to a copy, its records go to the store, and then every shard goes by the new directory: rights are
//! checked again on what is subscribed, queued and under way. Who must not stay connected is disconnected after that.

use super::{Actor, Changed, Control, RecordsError, Role, Space, Unavailable, Via, Watched, Watcher};
use crate::error::Error;
use crate::policy::Policy;
use ravelin_broker::{Now, Observed, home_shard};
use ravelin_mqtt::{QoS, ReasonCode};
use ravelin_protect::Secret;
use ravelin_protect::directory::dynsec::{self, Batch, Connections, DynsecLimits};
use ravelin_protect::directory::{
    Change, Credentials, Directory, DirectoryError, DirectoryLimits, Edit, ImportOptions, Imported,
    UsageClock,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of one identity that an answer tells of.
const CONNECTIONS_MAX: usize = 100;

/// Why the directory was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryFailure {
    /// It cannot be so.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The password cannot be used.
    #[error(transparent)]
    Password(#[from] ravelin_protect::Error),
    /// It could not be stored.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// A shard did not answer: a session may still be connected.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Whose connections must end, and why.
pub type Ends = BTreeMap<Arc<str>, &'static str>;

/// The directory in force; held while it and its records change, and while they are written for a checkpoint.
pub(crate) struct Held(Mutex<Directory>);

impl Held {
    pub fn new(directory: Directory) -> Held {
        Held(Mutex::new(directory))
    }

    fn lock(&self) -> MutexGuard<'_, Directory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// The directory in force.
    pub fn directory(&self) -> Directory {
        // Not the one that is held while a change is stored: that may take its time.
        self.policy().programme.directory.clone()
    }

    /// Changes the directory: all of `change`, or nothing. Who is named in what it returns is disconnected. Returns when the
    /// shards go by it and it is stored. For a thread that may wait.
    pub fn change_directory(
        &self,
        actor: &Actor,
        action: &str,
        subject: &str,
        change: impl FnOnce(&mut Edit) -> Result<Ends, DirectoryFailure>,
    ) -> Result<(), DirectoryFailure> {
        let result = self.replace_directory(|directory| {
            let mut edit = directory.edit();
            let ends = change(&mut edit)?;
            let (directory, changes) = edit.finish()?;
            Ok((directory, changes, ends))
        });
        let result = result.and_then(|(ends, stored)| self.settle(ends, stored));
        self.administered(
            actor,
            action,
            subject,
            outcome(&result).as_ref().map(|()| "").map_err(|e| e.as_str()),
        );
        result
    }

    /// Takes over a `dynamic-security.json` of Mosquitto. For a thread that may wait.
    pub fn import_directory(
        &self,
        actor: &Actor,
        file: &[u8],
        options: ImportOptions,
    ) -> Result<Imported, DirectoryFailure> {
        let mut done = Imported::default();
        let result = self.replace_directory(|directory| {
            let (directory, changes, imported) = directory.import(file, options)?;
            done = imported;
            Ok((directory, changes, Ends::new()))
        });
        let result = result.and_then(|(ends, stored)| self.settle(ends, stored));
        let told = outcome(&result);
        let counts = format!("{} clients, {} groups, {} roles", done.clients, done.groups, done.roles);
        let told = told.as_ref().map(|()| counts.as_str()).map_err(|error| error.as_str());
        self.administered(actor, "directory.import", "directory", told);
        result.map(|()| done)
    }

    /// Hashes a password as the directory keeps it. Takes a tenth of a second.
    pub fn hash_password(password: &Secret) -> Result<Credentials, DirectoryFailure> {
        Ok(Credentials::create(password)?)
    }

    /// Carries out commands of dynamic security, and answers them. For a thread that may wait.
    pub fn dynamic_security(&self, actor: &Actor, payload: &[u8]) -> Value {
        let mut batch = match Batch::parse(payload, DynsecLimits::default()) {
            Ok(batch) => batch,
            Err(response) => {
                let error = response["responses"][0]["error"].as_str().unwrap_or_default();
                self.administered(actor, "dynsec", "request", Err(error));
                return response;
            }
        };
        // Before anything is locked: it takes its time.
        batch.hash_passwords(Credentials::create);
        let connections = match batch.wants_connections() {
            true => self.connections().unwrap_or_default(),
            false => Connections::new(),
        };
        let (mut response, mut done) = (Value::Null, Vec::new());
        let result = self.replace_directory(|directory| {
            let outcome = batch.apply(directory, &connections);
            (response, done) = (outcome.response, outcome.done);
            Ok((outcome.directory, outcome.changes, outcome.disconnect))
        });
        let result = result.and_then(|(ends, stored)| self.settle(ends, stored));
        for done in done.iter().filter(|done| done.changes) {
            let failed = done.error.clone().or_else(|| result.as_ref().err().map(ToString::to_string));
            let told = failed.as_deref().map_or(Ok(""), Err);
            self.administered(actor, &format!("dynsec.{}", done.command), &done.subject, told);
        }
        if let Err(error) = result {
            // What is not stored is not done.
            for answer in response["responses"].as_array_mut().into_iter().flatten() {
                if answer.get("data").is_none() {
                    answer["error"] = error.to_string().into();
                }
            }
        }
        response
    }

    /// Applies a change, stores it and has every shard go by it; what is returned is still to be settled.
    fn replace_directory(
        &self,
        change: impl FnOnce(&Directory) -> Result<(Directory, Vec<Change>, Ends), DirectoryFailure>,
    ) -> Result<(Ends, u64), DirectoryFailure> {
        let mut held = self.0.directory.lock();
        let (new, changes, ends) = change(&held)?;
        let stored = self.store(&changes)?;
        let scope = scope(&held, &changes);
        *held = new.clone();
        self.change_policy(scope, |policy| policy.set_directory(new));
        Ok((ends, stored))
    }

    fn store(&self, changes: &[Change]) -> Result<u64, RecordsError> {
        // The last one of a key counts; the others need not be written.
        let last: BTreeMap<&str, Option<&Value>> =
            changes.iter().map(|change| (change.key(), change.value())).collect();
        let mut stored = 0;
        for (key, value) in last {
            stored = match value {
                Some(value) => self.records().put(Space::Directory, key, value.to_string().as_bytes())?,
                None => self.records().delete(Space::Directory, key)?,
            };
        }
        Ok(stored)
    }

    /// Disconnects whom a change is about, and waits until it is stored.
    fn settle(&self, ends: Ends, stored: u64) -> Result<(), DirectoryFailure> {
        if !ends.is_empty() {
            self.blocking_ask_all(move |view| {
                let mut ended = 0;
                for (name, why) in &ends {
                    ended += view.disconnect_where(ReasonCode::NOT_AUTHORIZED, why, |conn| {
                        conn.principal.identity.as_deref() == Some(&**name)
                    });
                }
                ended
            })?;
        }
        if stored > 0 {
            self.records().blocking_settled(stored)?;
        }
        Ok(())
    }

    /// Takes up what the store held of the directory, and begins to answer commands. A directory that cannot be read is an
    /// error: the node must not serve without its denials.
    pub(crate) fn open_directory(&self) -> Result<(), Error> {
        let loaded = self.records().load(Space::Directory);
        let records = loaded.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        let read = Directory::from_records(DirectoryLimits::default(), records);
        let read = read.map_err(|error| Error::Records { detail: error.to_string() })?;
        let config = self.config();
        {
            let mut held = self.0.directory.lock();
            *held = read
                .with_usage_clock(held.usage_clock().clone())
                .with_administrators(config.directory.administrators.iter().map(String::as_str));
            let directory = held.clone();
            self.change_policy(Changed::Everything, |policy| policy.set_directory(directory));
        }
        let inner = Arc::downgrade(&self.0);
        self.records().register(Space::Directory, move |dump| {
            let Some(inner) = inner.upgrade() else { return };
            let held = inner.directory.lock();
            for record in held.records() {
                if let Some(value) = record.value() {
                    dump.write(record.key(), value.to_string().as_bytes());
                }
            }
        });
        self.0.watch.add(Box::new(Clock(self.directory().usage_clock().clone())));
        self.0.watch.add(Box::new(super::acl::Recorder(Arc::downgrade(&self.0))));
        self.answer_tree(Box::new(answer)).map_err(Error::system("start the thread that answers $CONTROL"))
    }

    /// Changes the policy as a reload does, with the administrators of the new configuration.
    pub(crate) fn reload_policy(&self, administrators: &[String], change: impl FnOnce(&mut Policy)) {
        let mut held = self.0.directory.lock();
        *held = held.with_administrators(administrators.iter().map(String::as_str));
        let directory = held.clone();
        self.change_policy(Changed::Everything, |policy| {
            change(policy);
            policy.set_directory(directory);
        });
    }

    /// Where the clients with an identity are connected.
    fn connections(&self) -> Result<Connections, Unavailable> {
        let mut connections = Connections::new();
        self.blocking_each_session(
            |_, session| {
                let address = session.who.address.filter(|_| session.link.is_some())?;
                Some((session.who.identity?.to_string(), address.ip().to_string()))
            },
            |(identity, address)| {
                let addresses = connections.entry(identity).or_default();
                if addresses.len() < CONNECTIONS_MAX {
                    addresses.push(address);
                }
            },
        )?;
        Ok(connections)
    }
}

/// What must be checked again after these changes: nothing, if they only add what nobody has yet.
fn scope(before: &Directory, changes: &[Change]) -> Changed {
    let is_new = |change: &Change| match change.key().split_once('/') {
        Some(("role", name)) => before.role(name).is_none(),
        Some(("group", name)) => before.group(name).is_none(),
        Some(("class", name)) => before.class(name).is_none(),
        _ => false,
    };
    let (settings, others): (Vec<&Change>, Vec<_>) =
        changes.iter().partition(|change| change.key() == "settings/");
    // The settings change with every change: they count them. Only if nothing else did, they are what changed.
    if !others.is_empty() && settings.len() <= 1 && others.iter().all(|change| is_new(change)) {
        Changed::Ahead
    } else {
        Changed::Rights
    }
}

fn outcome<E: ToString>(result: &Result<(), E>) -> Result<(), String> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Answers what was published to `$CONTROL/...`, on a thread of its own.
fn answer(control: &Control, request: Observed) {
    let Some(identity) = request.who.identity.as_deref() else { return };
    let address = request.who.address;
    let actor = Actor { name: identity.into(), role: Role::Admin, via: Via::Mqtt, address };
    // It was asked when the request was published; what was taken away since counts.
    if !control.directory().is_administrator(identity) {
        return control.administered(
            &actor,
            "control.request",
            &request.topic,
            Err("it is no administrator"),
        );
    }
    // The last word of a client that is gone is no order.
    if request.will {
        return control.administered(&actor, "control.request", &request.topic, Err("a will is no order"));
    }
    let limits = DynsecLimits::default();
    let (topic, response) = match &*request.topic {
        dynsec::TOPIC => {
            (dynsec::RESPONSE_TOPIC.to_string(), control.dynamic_security(&actor, &request.payload))
        }
        dynsec::BROKER_TOPIC => {
            let response = dynsec::broker_response(&request.payload, limits, &listeners(control));
            (dynsec::BROKER_RESPONSE_TOPIC.to_string(), response)
        }
        other => (format!("{other}/response"), json!({ "error": "endpoint not available" })),
    };
    let (client_id, payload) = (request.who.client_id.clone(), response.to_string());
    let shard = home_shard(&client_id, control.shards());
    // Whoever asked may be gone.
    let _ = control.blocking_ask(shard, move |view| {
        let now = view.now();
        view.broker().publish_direct(now, &client_id, &topic, payload.as_bytes(), QoS::AtLeastOnce)
    });
}

fn listeners(control: &Control) -> Value {
    let config = control.config();
    let listeners = config.listeners.iter().zip(&control.0.addresses).map(|(listener, address)| {
        let protocol = if listener.transport.is_websocket() { "mqtt+websockets" } else { "mqtt" };
        json!({
            "port": address.port(),
            "protocol": protocol,
            "bind-address": address.ip().to_string(),
            "tls": listener.transport.is_encrypted(),
        })
    });
    listeners.collect()
}

/// Sets the clock by which the use of rules is marked.
struct Clock(Arc<UsageClock>);

impl Watcher for Clock {
    fn watch(&mut self, now: Now, _: &[Watched], _: u64) {
        self.0.set(u32::try_from(now.wall_ms / 1000).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_protect::directory::{Identity, Role as Rules, Rule, RuleType};

    #[test]
    fn only_what_somebody_may_have_is_checked_again() {
        let mut edit = Directory::default().edit();
        edit.create_role(Rules::new("r")).unwrap();
        let (before, changes) = edit.finish().unwrap();
        assert_eq!(scope(&Directory::default(), &changes), Changed::Ahead, "nobody has a new role");

        let mut edit = before.edit();
        edit.add_rule("r", Rule::new(RuleType::PublishClientSend, "a", false)).unwrap();
        let (_, changes) = edit.finish().unwrap();
        assert_eq!(scope(&before, &changes), Changed::Rights, "somebody may have it");

        let mut edit = before.edit();
        edit.create_identity(Identity::new("u")).unwrap();
        let (_, changes) = edit.finish().unwrap();
        assert_eq!(scope(&before, &changes), Changed::Rights, "it may be connected, by its certificate");

        let mut edit = before.edit();
        edit.set_default_group(None).unwrap();
        let (_, changes) = edit.finish().unwrap();
        assert_eq!(scope(&before, &changes), Changed::Rights, "the settings");
    }
}
