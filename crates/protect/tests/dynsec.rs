//! The commands of Mosquitto's dynamic security: what they answer, word for word, and what they do.

use ravelin_event::Principal;
use ravelin_protect::directory::dynsec::*;
use ravelin_protect::directory::*;
use ravelin_protect::{AccessRules, Rights, Secret};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A directory that is administered by text.
struct Desk {
    directory: Directory,
    records: BTreeMap<String, Value>,
}

impl Desk {
    fn new() -> Desk {
        Desk { directory: Directory::new(DirectoryLimits::default()), records: BTreeMap::new() }
    }

    fn outcome(&mut self, request: &str) -> Result<Outcome, Value> {
        let mut batch = Batch::parse(request.as_bytes(), DynsecLimits::default())?;
        // What is cheap to try with: the hash is verified elsewhere.
        batch.hash_passwords(|password: &Secret| {
            assert!(!password.expose().is_empty());
            let verifier = ravelin_protect::password::StoredHash::create_with(
                password,
                b"salt salt",
                ravelin_protect::password::Argon2Params { memory_kib: 4096, passes: 1, lanes: 1 },
            )?;
            Ok(Credentials::parse([verifier.to_string().as_str()]).unwrap())
        });
        let connections = BTreeMap::from([("alice".to_string(), vec!["192.0.2.7".to_string()])]);
        let outcome = batch.apply(&self.directory, &connections);
        for change in &outcome.changes {
            match change.value() {
                Some(value) => self.records.insert(change.key().into(), value.clone()),
                None => self.records.remove(change.key()),
            };
        }
        self.directory = outcome.directory.clone();
        Ok(outcome)
    }

    /// The answer to one command.
    fn ask(&mut self, command: Value) -> Value {
        let outcome =
            self.outcome(&json!({ "commands": [command] }).to_string()).unwrap_or_else(|v| panic!("{v}"));
        let mut answers = outcome.response["responses"].as_array().unwrap().clone();
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    #[track_caller]
    fn done(&mut self, command: Value) -> Value {
        let name = command["command"].clone();
        let answer = self.ask(command);
        assert_eq!(answer.get("error"), None, "{answer}");
        assert_eq!(answer["command"], name);
        answer.get("data").cloned().unwrap_or_default()
    }

    #[track_caller]
    fn refused(&mut self, command: Value, error: &str) {
        let name = command["command"].clone();
        assert_eq!(self.ask(command), json!({ "command": name, "error": error }));
    }

    fn may(&self, identity: &str, action: Action<'_>) -> bool {
        let mut who = Principal::anonymous("c");
        who.identity = Some(identity.into());
        self.directory.decide(&who, action).allowed
    }
}

fn publish(topic: &str) -> Action<'_> {
    Action::Publish { topic, qos: 0, retain: false }
}

#[test]
fn clients_are_administered_as_with_mosquitto() {
    let mut desk = Desk::new();
    desk.done(json!({"command": "createRole", "rolename": "r", "acls": [
        {"acltype": "publishClientSend", "topic": "a/#", "priority": 3, "allow": true}]}));
    desk.done(json!({"command": "createGroup", "groupname": "g", "roles": [{"rolename": "r"}]}));
    desk.done(json!({"command": "createClient", "username": "alice", "password": "pw", "clientid": "c1", "textname": "A",
        "textdescription": "AA", "groups": [{"groupname": "g", "priority": 4}], "roles": [{"rolename": "r", "priority": 2}]}));
    desk.done(json!({"command": "createClient", "username": "bob"}));
    assert_eq!(
        desk.done(json!({"command": "getClient", "username": "alice"})),
        json!({"client": {"username": "alice", "clientid": "c1", "textname": "A", "textdescription": "AA",
            "roles": [{"rolename": "r", "priority": 2}], "groups": [{"groupname": "g", "priority": 4}],
            "connections": [{"address": "192.0.2.7"}]}})
    );
    assert_eq!(
        desk.done(json!({"command": "listClients"})),
        json!({"totalCount": 2, "clients": ["alice", "bob"]})
    );
    assert_eq!(
        desk.done(json!({"command": "listClients", "count": 1, "offset": 1})),
        json!({"totalCount": 2, "clients": ["bob"]})
    );
    let verbose = desk.done(json!({"command": "listClients", "verbose": true, "count": 1, "offset": 1}));
    assert_eq!(
        verbose["clients"],
        json!([{"username": "bob", "roles": [], "groups": [], "connections": []}])
    );
    assert!(desk.may("alice", publish("a/1")) && !desk.may("bob", publish("a/1")));

    let hash =
        |desk: &Desk| desk.directory.identity("alice").unwrap().credentials.user().password.clone().unwrap();
    assert!(hash(&desk).verify(&Secret::new("pw")));
    desk.done(json!({"command": "setClientPassword", "username": "alice", "password": "other"}));
    assert!(hash(&desk).verify(&Secret::new("other")) && !hash(&desk).verify(&Secret::new("pw")));
    desk.done(json!({"command": "setClientId", "username": "alice", "clientid": "c2"}));
    desk.done(json!({"command": "disableClient", "username": "alice"}));
    let shown = desk.done(json!({"command": "getClient", "username": "alice"}));
    assert_eq!((&shown["client"]["clientid"], &shown["client"]["disabled"]), (&json!("c2"), &json!(true)));
    assert!(!desk.may("alice", publish("a/1")));
    desk.done(json!({"command": "enableClient", "username": "alice"}));
    desk.done(json!({"command": "setClientId", "username": "alice", "clientid": ""}));
    desk.done(json!({"command": "removeClientRole", "username": "alice", "rolename": "r"}));
    assert!(desk.may("alice", publish("a/1")), "by its group");
    desk.done(json!({"command": "addClientRole", "username": "bob", "rolename": "r", "priority": 9}));
    assert!(desk.may("bob", publish("a/1")));
    desk.done(json!({"command": "modifyClient", "username": "bob", "textname": "B", "roles": [], "groups": [{"groupname": "g"}]}));
    let shown = desk.done(json!({"command": "getClient", "username": "bob"}));
    assert_eq!(
        shown["client"],
        json!({"username": "bob", "textname": "B", "roles": [], "groups": [{"groupname": "g"}], "connections": []})
    );
    desk.done(json!({"command": "deleteClient", "username": "alice"}));
    assert_eq!(
        desk.done(json!({"command": "getDetails"})),
        json!({"clientCount": 1, "groupCount": 1, "roleCount": 2, "changeIndex": 13})
    );
    assert!(desk.records.contains_key("identity/bob") && !desk.records.contains_key("identity/alice"));
    let text = serde_json::to_string(&desk.records).unwrap();
    assert!(!text.contains("other") && !text.contains("\"pw\""), "no password is stored as it is");
}

#[test]
fn groups_are_administered_as_with_mosquitto() {
    let mut desk = Desk::new();
    for name in ["r", "s"] {
        desk.done(json!({"command": "createRole", "rolename": name}));
    }
    for name in ["alice", "bob"] {
        desk.done(json!({"command": "createClient", "username": name}));
    }
    desk.done(json!({"command": "createGroup", "groupname": "g", "textname": "G", "textdescription": "GG"}));
    desk.done(json!({"command": "addGroupRole", "groupname": "g", "rolename": "r", "priority": 5}));
    desk.done(json!({"command": "addGroupClient", "groupname": "g", "username": "alice", "priority": 1}));
    desk.done(json!({"command": "addGroupClient", "groupname": "g", "username": "bob"}));
    desk.refused(
        json!({"command": "addGroupClient", "groupname": "g", "username": "bob"}),
        "Client is already in this group",
    );
    desk.refused(
        json!({"command": "addGroupRole", "groupname": "g", "rolename": "r"}),
        "Group is already in this role",
    );
    let group = json!({"groupname": "g", "textname": "G", "textdescription": "GG",
        "clients": [{"username": "alice"}, {"username": "bob"}], "roles": [{"rolename": "r", "priority": 5}]});
    assert_eq!(desk.done(json!({"command": "getGroup", "groupname": "g"})), json!({ "group": group }));
    assert_eq!(desk.done(json!({"command": "listGroups"})), json!({"totalCount": 1, "groups": ["g"]}));
    assert_eq!(
        desk.done(json!({"command": "listGroups", "verbose": true})),
        json!({"totalCount": 1, "groups": [group]})
    );
    desk.done(json!({"command": "removeGroupClient", "groupname": "g", "username": "bob"}));
    desk.done(json!({"command": "removeGroupRole", "groupname": "g", "rolename": "r"}));
    desk.done(json!({"command": "modifyGroup", "groupname": "g", "textname": "H", "roles": [{"rolename": "s"}], "clients": [{"username": "bob"}]}));
    assert_eq!(
        desk.done(json!({"command": "getGroup", "groupname": "g"}))["group"],
        json!({"groupname": "g", "textname": "H", "textdescription": "GG", "clients": [{"username": "bob"}], "roles": [{"rolename": "s"}]})
    );
    assert_eq!(desk.done(json!({"command": "getAnonymousGroup"})), json!({"group": {"groupname": ""}}));
    desk.done(json!({"command": "setAnonymousGroup", "groupname": "g"}));
    assert_eq!(desk.done(json!({"command": "getAnonymousGroup"})), json!({"group": {"groupname": "g"}}));
    desk.refused(
        json!({"command": "deleteGroup", "groupname": "g"}),
        "Deleting the anonymous group is forbidden",
    );
    desk.done(json!({"command": "createGroup", "groupname": "h"}));
    desk.done(json!({"command": "setAnonymousGroup", "groupname": "h"}));
    desk.done(json!({"command": "deleteGroup", "groupname": "g"}));
    assert_eq!(desk.done(json!({"command": "getClient", "username": "bob"}))["client"]["groups"], json!([]));
}

#[test]
fn roles_and_defaults_are_administered_as_with_mosquitto() {
    let mut desk = Desk::new();
    desk.done(json!({"command": "createRole", "rolename": "r", "textname": "R"}));
    for (acltype, topic, priority, allow) in [
        ("subscribePattern", "a/#", 1, true),
        ("publishClientSend", "a/b", 0, false),
        ("publishClientSend", "a/#", 4, true),
        ("unsubscribeLiteral", "x", 0, false),
    ] {
        desk.done(json!({"command": "addRoleACL", "rolename": "r", "acltype": acltype, "topic": topic, "priority": priority, "allow": allow}));
    }
    let role = json!({"rolename": "r", "textname": "R", "allowwildcardsubs": true, "acls": [
        {"acltype": "publishClientSend", "topic": "a/#", "priority": 4, "allow": true},
        {"acltype": "publishClientSend", "topic": "a/b", "priority": 0, "allow": false},
        {"acltype": "subscribePattern", "topic": "a/#", "priority": 1, "allow": true},
        {"acltype": "unsubscribeLiteral", "topic": "x", "priority": 0, "allow": false}]});
    assert_eq!(desk.done(json!({"command": "getRole", "rolename": "r"})), json!({ "role": role }));
    assert_eq!(desk.done(json!({"command": "listRoles"})), json!({"totalCount": 2, "roles": ["admin", "r"]}));
    assert_eq!(
        desk.done(json!({"command": "listRoles", "verbose": true, "offset": 1})),
        json!({"totalCount": 2, "roles": [role]})
    );
    desk.done(
        json!({"command": "removeRoleACL", "rolename": "r", "acltype": "publishClientSend", "topic": "a/#"}),
    );
    desk.refused(
        json!({"command": "removeRoleACL", "rolename": "r", "acltype": "publishClientSend", "topic": "a/#"}),
        "ACL not found",
    );
    desk.done(json!({"command": "modifyRole", "rolename": "r", "textname": "S", "textdescription": "T", "allowwildcardsubs": false,
        "acls": [{"acltype": "publishclientsend", "topic": "z", "allow": true, "qosmax": 1, "retain": false}]}));
    assert_eq!(
        desk.done(json!({"command": "getRole", "rolename": "r"}))["role"],
        json!({"rolename": "r", "textname": "S", "textdescription": "T", "allowwildcardsubs": false, "acls": [
            {"acltype": "publishClientSend", "topic": "z", "priority": 0, "allow": true, "qosmax": 1, "retain": false}]})
    );
    desk.done(json!({"command": "deleteRole", "rolename": "r"}));
    desk.refused(json!({"command": "deleteRole", "rolename": "r"}), "Role not found");

    let defaults = |send, receive, subscribe, unsubscribe| {
        json!({"acls": [{"acltype": "publishClientSend", "allow": send}, {"acltype": "publishClientReceive", "allow": receive},
            {"acltype": "subscribe", "allow": subscribe}, {"acltype": "unsubscribe", "allow": unsubscribe}]})
    };
    assert_eq!(desk.done(json!({"command": "getDefaultACLAccess"})), defaults(false, false, false, true));
    desk.done(json!({"command": "setDefaultACLAccess", "acls": [{"acltype": "publishClientReceive", "allow": true}, {"acltype": "unsubscribe", "allow": false}]}));
    assert_eq!(desk.done(json!({"command": "getDefaultACLAccess"})), defaults(false, true, false, false));
}

#[test]
fn what_is_wrong_is_answered_in_mosquittos_words() {
    let mut desk = Desk::new();
    desk.done(json!({"command": "createRole", "rolename": "r"}));
    desk.done(json!({"command": "createGroup", "groupname": "g"}));
    desk.done(json!({"command": "createClient", "username": "u"}));
    let before = desk.records.clone();
    for (command, error) in [
        (json!({"command": "createClient"}), "Invalid/missing username"),
        (json!({"command": "createClient", "username": 5}), "Invalid/missing username"),
        (json!({"command": "createClient", "username": ""}), "Empty username"),
        (json!({"command": "createClient", "username": "v", "password": 5}), "Invalid/missing password"),
        (json!({"command": "createClient", "username": "v", "clientid": 5}), "Invalid/missing client id"),
        (json!({"command": "createClient", "username": "v", "textname": 5}), "Invalid/missing textname"),
        (
            json!({"command": "createClient", "username": "v", "textdescription": 5}),
            "Invalid/missing textdescription",
        ),
        (json!({"command": "createClient", "username": "u"}), "Client already exists"),
        (
            json!({"command": "createClient", "username": "v", "roles": 5}),
            "'roles' not an array or missing/invalid rolename",
        ),
        (
            json!({"command": "createClient", "username": "v", "roles": [{}]}),
            "'roles' not an array or missing/invalid rolename",
        ),
        (json!({"command": "createClient", "username": "v", "roles": [{"rolename": "x"}]}), "Role not found"),
        (
            json!({"command": "createClient", "username": "v", "groups": [{"groupname": "x"}]}),
            "Group not found",
        ),
        (json!({"command": "deleteClient"}), "Invalid/missing username"),
        (json!({"command": "deleteClient", "username": "x"}), "Client not found"),
        (json!({"command": "getClient", "username": "x"}), "Client not found"),
        (json!({"command": "disableClient", "username": "x"}), "Client not found"),
        (json!({"command": "enableClient", "username": "x"}), "Client not found"),
        (json!({"command": "modifyClient", "username": "x"}), "Client not found"),
        (
            json!({"command": "modifyClient", "username": "u", "groups": [{"groupname": "x"}]}),
            "'groups' contains an object with a 'groupname' that does not exist",
        ),
        (
            json!({"command": "modifyClient", "username": "u", "groups": [{"groupname": 5}]}),
            "'groups' contains an object with an invalid 'groupname'",
        ),
        (json!({"command": "setClientPassword", "username": "u"}), "Invalid/missing password"),
        (
            json!({"command": "setClientPassword", "username": "u", "password": ""}),
            "Empty password is not allowed",
        ),
        (json!({"command": "setClientPassword", "username": "x", "password": "p"}), "Client not found"),
        (json!({"command": "setClientId", "username": "u", "clientid": 5}), "Invalid/missing client ID"),
        (json!({"command": "addClientRole", "username": "u"}), "Invalid/missing rolename"),
        (json!({"command": "addClientRole", "username": "u", "rolename": "x"}), "Role not found"),
        (json!({"command": "createGroup"}), "Invalid/missing groupname"),
        (json!({"command": "createGroup", "groupname": ""}), "Empty groupname"),
        (json!({"command": "createGroup", "groupname": "g"}), "Group already exists"),
        (json!({"command": "deleteGroup", "groupname": "x"}), "Group not found"),
        (json!({"command": "getGroup", "groupname": "x"}), "Group not found"),
        (json!({"command": "modifyGroup", "groupname": "x"}), "Group not found"),
        (
            json!({"command": "modifyGroup", "groupname": "g", "textname": "no", "clients": [{"username": "x"}]}),
            "'clients' contains an object with a 'username' that does not exist",
        ),
        (
            json!({"command": "modifyGroup", "groupname": "g", "clients": [{}]}),
            "'clients' contains an object with an invalid 'username'",
        ),
        (json!({"command": "addGroupClient", "groupname": "g", "username": "x"}), "Client not found"),
        (json!({"command": "addGroupClient", "groupname": "x", "username": "u"}), "Group not found"),
        (json!({"command": "setAnonymousGroup", "groupname": "x"}), "Group not found"),
        (json!({"command": "createRole", "rolename": ""}), "Empty rolename"),
        (json!({"command": "createRole", "rolename": "r"}), "Role already exists"),
        (
            json!({"command": "createRole", "rolename": "s", "allowwildcardsubs": 5}),
            "Invalid allowwildcardsubs",
        ),
        (
            json!({"command": "createRole", "rolename": "s", "acls": [{"acltype": "publishClientSnd", "topic": "a", "allow": false}]}),
            "Unknown acltype",
        ),
        (json!({"command": "modifyRole", "rolename": "x"}), "Role does not exist"),
        (json!({"command": "getRole", "rolename": "x"}), "Role not found"),
        (json!({"command": "addRoleACL", "rolename": "r"}), "Invalid/missing acltype"),
        (json!({"command": "addRoleACL", "rolename": "r", "acltype": "x"}), "Unknown acltype"),
        (json!({"command": "addRoleACL", "rolename": "r", "acltype": "subscribe"}), "Unknown acltype"),
        (
            json!({"command": "addRoleACL", "rolename": "r", "acltype": "subscribePattern"}),
            "Invalid/missing topic",
        ),
        (
            json!({"command": "addRoleACL", "rolename": "r", "acltype": "subscribePattern", "topic": "a#"}),
            "Invalid ACL topic",
        ),
        (
            json!({"command": "addRoleACL", "rolename": "x", "acltype": "subscribePattern", "topic": "a"}),
            "Role not found",
        ),
        (json!({"command": "setDefaultACLAccess"}), "Missing/invalid actions array"),
        (json!({"command": "launch"}), "Unknown command"),
    ] {
        desk.refused(command, error);
    }
    assert_eq!(desk.records, before, "what is refused changes nothing");
    let answer = desk.ask(json!({"command": "getRole", "rolename": "x", "correlationData": "77"}));
    assert_eq!(answer, json!({"command": "getRole", "error": "Role not found", "correlationData": "77"}));
    let answer = desk.ask(json!({"command": "GETDETAILS", "correlationData": "78"}));
    assert_eq!((&answer["command"], &answer["correlationData"]), (&json!("getDetails"), &json!("78")));
}

#[test]
fn a_request_that_is_none_is_answered_and_everything_is_bounded() {
    let one = |error: &str| json!({"responses": [{"command": "Unknown command", "error": error}]});
    let parse = |text: &str| Batch::parse(text.as_bytes(), DynsecLimits::default()).err();
    for text in ["", "{", "[]", "7", "\"commands\"", &"[".repeat(100_000), &"{\"commands\":".repeat(200)] {
        assert_eq!(parse(text), Some(one("Payload not valid JSON")), "{:.20}", text);
    }
    for text in ["{}", r#"{"commands":5}"#, r#"{"commands":{}}"#] {
        assert_eq!(parse(text), Some(one("Invalid/missing commands")));
    }
    let many = json!({ "commands": vec![json!({"command": "getDetails"}); 1001] }).to_string();
    assert_eq!(parse(&many), Some(one("More than 1000 commands")));
    let many = json!({ "commands": vec![json!({"command": "createClient", "username": "u", "password": "p"}); 101] }).to_string();
    assert_eq!(parse(&many), Some(one("More than 100 passwords")));
    assert_eq!(parse(&" ".repeat(2 << 20)), Some(one("Payload larger than 1048576 bytes")));

    let mut desk = Desk::new();
    let answers = |desk: &mut Desk, text: &str| desk.outcome(text).unwrap_or_else(|v| panic!("{v}")).response;
    assert_eq!(answers(&mut desk, r#"{"commands":[]}"#), json!({"responses": []}));
    assert_eq!(
        answers(
            &mut desk,
            r#"{"commands":[{"command":"createRole","rolename":"a"},5,{"command":"createRole","rolename":"b"}]}"#
        ),
        json!({"responses": [{"command": "createRole"}, {"command": "Unknown command", "error": "Command not an object"}]})
    );
    assert!(
        desk.directory.role("a").is_some() && desk.directory.role("b").is_none(),
        "as Mosquitto: no further"
    );
    assert_eq!(answers(&mut desk, r#"{"commands":[{}]}"#), one("Missing command"));
    assert_eq!(
        answers(&mut desk, r#"{"commands":[{"command":"getDetails","correlationData":5}]}"#),
        json!({"responses": [{"command": "getDetails", "error": "Invalid correlationData data type."}]})
    );
    assert_eq!(
        answers(
            &mut desk,
            r#"{"commands":[{"command":"deleteRole","rolename":"x"},{"command":"deleteRole","rolename":"a"}]}"#
        ),
        json!({"responses": [{"command": "deleteRole", "error": "Role not found"}, {"command": "deleteRole"}]}),
    );

    // A list that would not fit is cut, and says how many there are.
    for block in 0..20 {
        let commands: Vec<Value> = (0..500)
            .map(|n| json!({"command": "createClient", "username": format!("a-client-with-a-name-of-some-length-{block:03}-{n:03}")}))
            .collect();
        answers(&mut desk, &json!({ "commands": commands }).to_string());
    }
    let list = desk.done(json!({"command": "listClients", "verbose": true}));
    let listed = list["clients"].as_array().unwrap().len();
    assert_eq!(list["totalCount"], 10_000);
    assert!(listed > 1_000 && listed < 10_000 && list.to_string().len() < 300_000, "{listed}");
}

#[test]
fn live_sessions_end_where_they_must() {
    let mut desk = Desk::new();
    let mut ends = |command: Value| -> Vec<String> {
        let outcome =
            desk.outcome(&json!({ "commands": [command] }).to_string()).unwrap_or_else(|v| panic!("{v}"));
        assert!(outcome.done[0].error.is_none(), "{:?}", outcome.done);
        outcome.disconnect.keys().map(|name| name.to_string()).collect()
    };
    assert!(ends(json!({"command": "createRole", "rolename": "r"})).is_empty());
    assert!(ends(json!({"command": "createClient", "username": "u", "password": "a"})).is_empty());
    assert!(
        ends(json!({"command": "addClientRole", "username": "u", "rolename": "r"})).is_empty(),
        "rights are checked again"
    );
    assert_eq!(ends(json!({"command": "setClientPassword", "username": "u", "password": "b"})), ["u"]);
    assert_eq!(ends(json!({"command": "modifyClient", "username": "u", "password": "c"})), ["u"]);
    assert_eq!(ends(json!({"command": "modifyClient", "username": "u", "clientid": "c"})), ["u"]);
    assert!(ends(json!({"command": "modifyClient", "username": "u", "textname": "c"})).is_empty());
    assert_eq!(ends(json!({"command": "disableClient", "username": "u"})), ["u"]);
    assert!(ends(json!({"command": "enableClient", "username": "u"})).is_empty());
    assert_eq!(ends(json!({"command": "deleteClient", "username": "u"})), ["u"]);
}

#[test]
fn the_broker_tells_what_it_has() {
    let listeners = json!([{"port": 8883, "protocol": "mqtt", "tls": true}]);
    let ask = |text: &str| broker_response(text.as_bytes(), DynsecLimits::default(), &listeners);
    let answer = ask(
        r#"{"commands":[{"command":"listPlugins","correlationData":"1"},{"command":"listListeners"},{"command":"x"}]}"#,
    );
    let answers = answer["responses"].as_array().unwrap();
    assert_eq!(answers[0]["correlationData"], "1");
    assert_eq!(
        answers[0]["data"]["plugins"][0]["control-endpoints"],
        json!(["$CONTROL/dynamic-security/v1"])
    );
    assert_eq!(answers[1]["data"]["listeners"], listeners);
    assert_eq!(answers[2], json!({"command": "x", "error": "Unknown command"}));
    assert_eq!(ask("{")["responses"][0]["error"], "Payload not valid JSON");
}

/// A file that Mosquitto 2.0 wrote (`mosquitto_ctrl dynsec init` and some commands), and one of 2.1.
const FILE: &str = r##"{
    "defaultACLAccess": {"publishClientSend": false, "publishClientReceive": true, "subscribe": false, "unsubscribe": true},
    "anonymousGroup": "unauthenticated",
    "clients": [
        {"username": "admin", "textname": "Dynsec admin user", "roles": [{"rolename": "admin"}],
         "password": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", "salt": "c2FsdHNhbHQ=", "iterations": 101},
        {"username": "meter", "clientid": "m-1", "disabled": true, "roles": [{"rolename": "client", "priority": 3}],
         "encoded_password": "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
        {"username": "super", "roles": [{"rolename": "super-admin"}]}
    ],
    "groups": [{"groupname": "unauthenticated", "textname": "Unauthenticated group", "roles": []},
               {"groupname": "g", "roles": [{"rolename": "client"}], "clients": [{"username": "meter", "priority": 7}]}],
    "roles": [{"rolename": "admin", "acls": [{"acltype": "publishClientSend", "topic": "$CONTROL/dynamic-security/#", "priority": 0, "allow": true}]},
              {"rolename": "super-admin", "textdescription": "all", "acls": [{"acltype": "publishClientSend", "topic": "$CONTROL/#", "priority": 0, "allow": true}]},
              {"rolename": "client", "allowwildcardsubs": false, "acls": [{"acltype": "subscribePattern", "topic": "#", "priority": 0, "allow": true}]}]
}"##;

#[test]
fn a_file_of_mosquittos_is_taken_over_and_makes_nobody_an_administrator() {
    let empty = Directory::new(DirectoryLimits::default());
    let (directory, changes, done) = empty.import(FILE.as_bytes(), ImportOptions::default()).unwrap();
    assert_eq!((done.clients, done.groups, done.roles), (3, 2, 2));
    assert_eq!(done.administrators, ["admin", "super"]);
    assert!(!directory.is_administrator("admin") && !directory.is_administrator("super"));
    assert_eq!(done.notes.len(), 3, "{:?}", done.notes);
    assert_eq!(directory.defaults(), Defaults::default());
    let meter = directory.identity("meter").unwrap();
    assert!(meter.disabled && meter.credentials.user().password.is_some());
    assert_eq!((meter.client_id.as_deref(), meter.groups[0].priority), (Some("m-1"), 7));
    assert!(directory.identity("admin").unwrap().credentials.user().password.is_some());
    assert_eq!(directory.anonymous_group(), Some("unauthenticated"));
    assert_eq!(changes.len(), 8, "and the settings");

    assert_eq!(
        directory.import(FILE.as_bytes(), ImportOptions::default()).err(),
        Some(DirectoryError::RoleExists)
    );
    let options = ImportOptions { replace: true, administrators: true, defaults: true };
    let (directory, _, done) = directory.import(FILE.as_bytes(), options).unwrap();
    assert_eq!(done.administrators, ["admin", "super"]);
    assert!(directory.is_administrator("admin") && directory.is_administrator("super"));
    assert!(directory.defaults().publish_client_receive);

    for (bad, with) in [
        (r#""allow": true"#, r#""allow": "yes""#),
        ("subscribePattern", "subscribePatern"),
        (r#""iterations": 101"#, r#""iterations": 99999999"#),
        (r#"[{"rolename": "client"}]"#, r#"[{"rolename": "nobody"}]"#),
        (r##""topic": "#""##, r##""topic": "a#""##),
        ("argon2id", "argon2x"),
    ] {
        let file = FILE.replacen(bad, with, 1);
        assert_ne!(file, FILE);
        assert!(empty.import(file.as_bytes(), ImportOptions::default()).is_err(), "{with}");
    }
    for bad in ["", "[]", r#"{"roles":5}"#, r#"{"clients":[5]}"#] {
        assert!(empty.import(bad.as_bytes(), ImportOptions::default()).is_err(), "{bad}");
    }
}

#[test]
fn unused_grants_and_whom_new_rules_would_refuse() {
    let mut desk = Desk::new();
    desk.done(json!({"command": "createRole", "rolename": "r", "acls": [
        {"acltype": "publishClientSend", "topic": "used", "allow": true},
        {"acltype": "publishClientSend", "topic": "idle", "allow": true},
        {"acltype": "publishClientSend", "topic": "denied", "allow": false}]}));
    desk.done(json!({"command": "createClient", "username": "u", "roles": [{"rolename": "r"}]}));
    let access =
        AccessRules::parse("user u\ntopic write filed\ntopic filed-too\ntopic deny never\n", "test").unwrap();
    let access = access.with_clock(desk.directory.usage_clock().clone());
    let rights = Rights {
        access: Arc::new(access),
        directory: desk.directory.clone(),
        restraints: Default::default(),
    };
    let mut u = Principal::anonymous("c");
    u.identity = Some("u".into());
    desk.directory.usage_clock().set(1_000);
    assert!(rights.may(&u, publish("used")) && rights.may(&u, publish("filed")));
    let names = |grants: Vec<Grant>| grants.into_iter().map(|grant| grant.rule).collect::<Vec<_>>();
    assert_eq!(
        names(rights.unused(1_000)),
        ["line 3: topic filed-too", "allow publishClientSend idle (priority 0)"]
    );
    assert_eq!(rights.unused(1_001).len(), 4);

    let traffic = |topic: &str, count| Traffic {
        who: u.clone(),
        kind: TrafficKind::Publish,
        topic: topic.into(),
        qos: 0,
        retain: false,
        group: None,
        count,
        last_s: 999,
    };
    let seen = [traffic("used", 5), traffic("filed", 7), traffic("idle", 1)];
    assert!(dry_run(&rights, &rights, &seen, 9).is_empty());
    desk.done(
        json!({"command": "removeRoleACL", "rolename": "r", "acltype": "publishClientSend", "topic": "used"}),
    );
    let new = Rights {
        access: Arc::new(AccessRules::deny_everything()),
        directory: desk.directory.clone(),
        restraints: Default::default(),
    };
    let refused = dry_run(&rights, &new, &seen, 9);
    assert!(dry_run(&new, &new, &seen, 9).is_empty(), "it is refused already");
    let told: Vec<_> = refused.iter().map(|one| (one.topic.as_str(), one.count)).collect();
    assert_eq!(told, [("filed", 7), ("used", 5)]);
    assert_eq!(refused[0].why, "default for publishClientSend: denies");
}
