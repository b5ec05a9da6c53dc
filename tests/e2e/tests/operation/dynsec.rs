//! Debian's `mosquitto_ctrl dynsec` administers a node, over TLS.

use crate::{mosquitto, subscribe};
use ravelin_e2e::{Deployment, Node, Process, output};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// Mosquitto's broker with its own plugin: what it answers is what is expected.
struct Model {
    port: u16,
    _process: Process,
    _folder: tempfile::TempDir,
}

const WARNING: &str = "Warning: You are running mosquitto_ctrl without encryption.\nThis means all of the configuration changes you are \
    making are visible on the network, including passwords.\n\n";
const PLUGIN: &str = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so";

impl Model {
    fn start() -> Model {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, config) = (folder.path().join("dynsec.json"), folder.path().join("mosquitto.conf"));
        let mut init = Command::new("mosquitto_ctrl");
        succeed(output(init.args(["dynsec", "init"]).arg(&file).args(["admin", "admin-password"]), b""));
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let text = format!(
            "listener {port} 127.0.0.1\nuser root\nallow_anonymous false\nplugin {PLUGIN}\nplugin_opt_config_file {}\n",
            file.display()
        );
        std::fs::write(&config, text).expect("the configuration");
        let process = Process::start(Command::new("mosquitto").arg("-c").arg(&config));
        process.wait_for(0, "that it runs", |line| line.contains("running").then_some(()));
        Model { port, _process: process, _folder: folder }
    }

    fn ctrl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("mosquitto_ctrl");
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-u",
            "admin",
            "-P",
            "admin-password",
        ]);
        output(command.arg("dynsec").args(arguments), b"")
    }
}

fn succeed(output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// `mosquitto_ctrl dynsec` as the operator, whom `ravelin init` made an administrator.
fn ctrl(node: &Node, deployment: &Deployment, arguments: &[&str]) -> Output {
    output(control(node, deployment).args(["dynsec"]).args(arguments), b"")
}

fn control(node: &Node, deployment: &Deployment) -> Command {
    let mut command = Command::new("mosquitto_ctrl");
    let (certificate, key) = deployment.certificate("operator");
    command.args(["-h", "127.0.0.1", "-p", &node.port("mutual-tls").to_string(), "-i", "operator-ctrl"]);
    command.arg("--cafile").arg(deployment.ca()).arg("--cert").arg(certificate).arg("--key").arg(key);
    command
}

#[track_caller]
fn done(node: &Node, deployment: &Deployment, arguments: &[&str]) -> String {
    let output = ctrl(node, deployment, arguments);
    assert!(output.stderr.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    succeed(output)
}

/// Every subcommand, also where it fails. What each prints, and its exit code, are Mosquitto's.
const SESSION: &[&str] = &[
    "setDefaultACLAccess publishClientReceive allow",
    "setDefaultACLAccess subscribe deny",
    "getDefaultACLAccess",
    "createRole meter",
    "createRole meter",
    "createRole other",
    "addRoleACL meter publishClientSend meters/%u/# allow 5",
    "addRoleACL meter publishClientSend meters/%u/# allow 5",
    "addRoleACL meter publishClientReceive commands/# allow",
    "addRoleACL meter subscribeLiteral commands/all allow 1",
    "addRoleACL meter subscribePattern commands/%c/# allow 2",
    "addRoleACL meter unsubscribeLiteral commands/all deny",
    "addRoleACL meter unsubscribePattern commands/# allow -3",
    "addRoleACL nobody publishClientSend a allow",
    "addRoleACL meter publishClientSend a#b allow",
    "getRole meter",
    "getRole nobody",
    "listRoles",
    "listRoles 1",
    "listRoles 5 1",
    "removeRoleACL meter unsubscribeLiteral commands/all",
    "removeRoleACL meter unsubscribeLiteral commands/all",
    "getRole meter",
    "createGroup meters",
    "createGroup meters",
    "createGroup more",
    "addGroupRole meters meter 3",
    "addGroupRole meters other",
    "addGroupRole meters nobody",
    "addGroupRole nobody meter",
    "createClient m1 -c m1-id -p secret",
    "createClient m1 -p secret",
    "createClient m2 -p secret",
    "addClientRole m1 meter 7",
    "addClientRole m1 other",
    "addClientRole m1 nobody",
    "addClientRole nobody meter",
    "addGroupClient meters m1 4",
    "addGroupClient meters m2",
    "addGroupClient meters m2",
    "addGroupClient meters nobody",
    "addGroupClient nobody m1",
    "getClient m1",
    "getClient nobody",
    "getGroup meters",
    "getGroup nobody",
    "listClients",
    "listClients 2 1",
    "listGroups",
    "listGroups 1 1",
    "setClientId m1 other-id",
    "getClient m1",
    "setClientId m1",
    "getClient m1",
    "setClientPassword m1 another",
    "setClientPassword nobody another",
    "disableClient m1",
    "getClient m1",
    "enableClient m1",
    "disableClient nobody",
    "getClient m1",
    "removeClientRole m1 other",
    "removeClientRole m1 nobody",
    "removeGroupClient meters m2",
    "removeGroupClient meters nobody",
    "removeGroupRole meters other",
    "getGroup meters",
    "setAnonymousGroup more",
    "getAnonymousGroup",
    "setAnonymousGroup nobody",
    "deleteGroup meters",
    "deleteGroup meters",
    "deleteRole meter",
    "deleteRole meter",
    "getClient m1",
    "deleteClient m1",
    "deleteClient m1",
    "listClients",
    "listGroups",
    "listRoles",
];

#[test]
fn every_subcommand_prints_what_it_prints_with_mosquitto() {
    assert!(Path::new(PLUGIN).exists(), "Debian's package `mosquitto` is not there");
    let model = Model::start();
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    // It is there where Mosquitto's file was made.
    done(&node, &deployment, &["createClient", "admin", "-p", "admin-password"]);
    done(&node, &deployment, &["addClientRole", "admin", "admin"]);
    let shown = |output: &Output| {
        // The model is reached without TLS.
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(WARNING, "");
        (text(&output.stdout), text(&output.stderr), output.status.code())
    };
    for line in SESSION {
        let arguments: Vec<&str> = line.split(' ').collect();
        let (expected, given) = (model.ctrl(&arguments), ctrl(&node, &deployment, &arguments));
        assert_eq!(shown(&given), shown(&expected), "{line}");
    }
}

/// A client that connects by its password.
fn by_password(what: &str, node: &Node, deployment: &Deployment, name: &str, password: &str) -> Command {
    let mut command = Command::new(format!("mosquitto_{what}"));
    command.args(["-h", "127.0.0.1", "-p", &node.port("password-tls").to_string(), "-V", "mqttv5"]);
    command.arg("--cafile").arg(deployment.ca()).args(["-i", name, "-u", name, "-P", password]);
    command
}

#[test]
fn what_is_administered_takes_effect_on_live_clients_and_is_kept() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let ctrl = |line: &str| done(&node, &deployment, &line.split(' ').collect::<Vec<_>>());
    let publish = |node: &Node, topic: &str| {
        let mut command = by_password("pub", node, &deployment, "m1", "secret");
        let output = output(command.args(["-q", "1", "-t", topic, "-m", "x"]), b"");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    assert!(publish(&node, "meters/m1/a").contains("Connection error"), "nobody knows it");
    ctrl("createClient m1 -p secret");
    assert!(publish(&node, "meters/m1/a").contains("Not authorized"), "it may connect, and do nothing");
    ctrl("createRole meter");
    ctrl("addRoleACL meter publishClientSend meters/%u/# allow");
    ctrl("addClientRole m1 meter");
    assert_eq!(publish(&node, "meters/m1/a"), "");
    assert!(publish(&node, "meters/m2/a").contains("Not authorized"));

    // A subscriber that is connected loses a right, and another ends.
    ctrl("createClient m2 -p secret");
    ctrl("createRole reader");
    ctrl("addRoleACL reader subscribePattern meters/# allow");
    ctrl("addClientRole m2 reader");
    let start = node.mark();
    let mut command = by_password("sub", &node, &deployment, "m2", "secret");
    let reader = Process::start(command.args(["-v", "-t", "meters/#"]));
    node.wait_subscribed(start, "m2", "meters/#");
    publish(&node, "meters/m1/a");
    assert_eq!(reader.wait_for_lines(1), ["meters/m1/a x"]);
    ctrl("addRoleACL reader publishClientReceive meters/m1/secret deny");
    publish(&node, "meters/m1/secret");
    publish(&node, "meters/m1/b");
    assert_eq!(reader.wait_for_lines(2)[1], "meters/m1/b x", "what is denied is not sent");
    let shown = ctrl("getClient m2");
    assert!(shown.contains("Username:"), "{shown}");
    ctrl("removeClientRole m2 reader");
    publish(&node, "meters/m1/c");
    ctrl("addClientRole m2 reader");
    let start = node.mark();
    ctrl("disableClient m2");
    node.wait_for(start, "client.disconnected", |fields| fields["client_id"] == "m2");
    assert!(reader.lines(0).iter().all(|line| !line.contains("/c ")), "{:?}", reader.lines(0));
    drop(reader);

    // A password that is changed ends the sessions that were let in by the old one.
    let start = node.mark();
    let idle = Process::start(by_password("sub", &node, &deployment, "m1", "secret").args(["-t", "none"]));
    node.wait_for(start, "client.connected", |fields| fields["client_id"] == "m1");
    ctrl("setClientPassword m1 changed");
    node.wait_for(start, "client.disconnected", |fields| fields["client_id"] == "m1");
    drop(idle);
    assert!(publish(&node, "meters/m1/a").contains("Connection error"), "the old password");

    // All of it is kept.
    assert!(node.stop().success());
    let node = Node::serve(&deployment);
    let mut command = by_password("pub", &node, &deployment, "m1", "changed");
    succeed(output(command.args(["-q", "1", "-t", "meters/m1/a", "-m", "x"]), b""));
    let shown = done(&node, &deployment, &["getClient", "m2"]);
    assert!(shown.contains("Disabled:") && shown.contains("true"), "{shown}");
}

#[test]
fn only_administrators_reach_the_commands() {
    let deployment = Deployment::new();
    deployment.add_client(
        "other",
        &["--publish", "#", "--publish", "$CONTROL/#", "--subscribe", "#", "--subscribe", "$CONTROL/#"],
    );
    let node = Node::serve(&deployment);
    // The rules name the topic, and that is not enough.
    let start = node.mark();
    let mut command = mosquitto("pub", node.port("mutual-tls"), &deployment, "other", "other");
    let payload = r#"{"commands":[{"command":"createClient","username":"intruder","password":"x"}]}"#;
    let refused = output(command.args(["-q", "1", "-t", "$CONTROL/dynamic-security/v1", "-m", payload]), b"");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Not authorized"), "{refused:?}");
    node.wait_for(start, "publish.refused", |fields| fields["identity"] == "other");
    assert_eq!(done(&node, &deployment, &["listClients"]), "");

    // With the role it may; an answer comes to nobody else.
    done(&node, &deployment, &["createClient", "other", "-p", "unused"]);
    done(&node, &deployment, &["addClientRole", "other", "admin"]);
    let watcher = subscribe(&node, &deployment, "other", "$CONTROL/dynamic-security/v1/response", &[]);
    let start = node.mark();
    done(&node, &deployment, &["createRole", "r"]);
    let event = node.wait_for(start, "admin.order", |fields| fields["action"] == "dynsec.createRole");
    assert_eq!(
        (&event["fields"]["actor"], &event["fields"]["subject"], &event["fields"]["via"]),
        (&"operator".into(), &"r".into(), &"mqtt".into())
    );
    let mut command = mosquitto("pub", node.port("mutual-tls"), &deployment, "other", "other-pub");
    succeed(output(
        command.args([
            "-q",
            "1",
            "-t",
            "$CONTROL/dynamic-security/v1",
            "-m",
            r#"{"commands":[{"command":"deleteRole","rolename":"r"}]}"#,
        ]),
        b"",
    ));
    node.wait_for(start, "admin.order", |fields| fields["action"] == "dynsec.deleteRole");
    done(&node, &deployment, &["createRole", "r"]);
    assert!(watcher.lines(0).is_empty(), "{:?}", watcher.lines(0));
}

#[test]
fn hostile_requests_are_answered_and_a_will_is_no_order() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let ask = |payload: &str| {
        let mut command = mosquitto("rr", node.port("mutual-tls"), &deployment, "operator", "operator-rr");
        command.args(["-t", "$CONTROL/dynamic-security/v1", "-e", "$CONTROL/dynamic-security/v1/response"]);
        // It sends nothing of a file and of its standard input.
        succeed(output(command.args(["-q", "1", "-W", "20", "-m", payload]), b""))
    };
    let many = vec![r#"{"command":"getDetails"}"#; 1001].join(",");
    for (payload, error) in [
        ("[".repeat(100_000), "Payload not valid JSON"),
        (r#"{"commands":"#.repeat(200), "Payload not valid JSON"),
        ("{}".into(), "Invalid/missing commands"),
        (format!(r#"{{"commands":[{many}]}}"#), "More than 1000 commands"),
        (r#"{"commands":[{"command":"fly"}]}"#.into(), "Unknown command"),
    ] {
        let answer = ask(&payload);
        assert!(answer.contains(error), "{payload:.40}: {answer}");
    }
    let wild = r#"{"commands":[{"command":"createClient","username":"a\nb\u001b[31m"}]}"#;
    assert!(ask(wild).contains("Invalid username"), "a name that would forge a line of the log");
    assert_eq!(done(&node, &deployment, &["listClients"]), "");

    let start = node.mark();
    let mut command = mosquitto("sub", node.port("mutual-tls"), &deployment, "operator", "operator-will");
    let will = r#"{"commands":[{"command":"createRole","rolename":"late"}]}"#;
    command.args(["-t", "none", "--will-topic", "$CONTROL/dynamic-security/v1", "--will-payload", will]);
    assert!(!output(&mut command, b"").status.success());
    node.wait_for(start, "will.refused", |fields| fields["client_id"] == "operator-will");
    assert_eq!(done(&node, &deployment, &["listRoles"]), "admin\n");
}

#[test]
fn a_password_is_asked_for_on_the_terminal() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let mut command = Command::new("python3");
    command.arg("-c").arg(TERMINAL).arg("secret").arg("mosquitto_ctrl");
    let control = control(&node, &deployment);
    command.args(control.get_args()).args(["dynsec", "createClient", "m1"]);
    let text = succeed(output(&mut command, b""));
    assert!(text.contains("New password for m1"), "{text}");
    let mut command = by_password("pub", &node, &deployment, "m1", "secret");
    let refused = output(command.args(["-V", "mqttv5", "-q", "1", "-t", "a", "-m", "x"]), b"");
    assert!(!String::from_utf8_lossy(&refused.stderr).contains("Connection error"), "{refused:?}");
    let mut command = by_password("pub", &node, &deployment, "m1", "wrong");
    let refused = output(command.args(["-V", "mqttv5", "-q", "1", "-t", "a", "-m", "x"]), b"");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Connection error"), "{refused:?}");
}

/// Runs a command on a terminal, and types the first argument at each prompt.
const TERMINAL: &str = r#"
import os, pty, sys
secret, command = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
seen, typed = b"", 0
while True:
    try:
        read = os.read(terminal, 1000)
    except OSError:
        break
    if not read:
        break
    seen += read
    if seen.count(b"assword for m1: ") > typed:
        typed += 1
        os.write(terminal, secret.encode() + b"\n")
sys.stdout.write(seen.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;
