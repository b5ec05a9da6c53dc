//! The control lane as an operator meets it: by curl, by Python and by `ravelin ctl`, over mutual TLS, against a deployment
//! that `ravelin init` made.

mod bans;
mod directory;
mod drill;
mod identity;

use ravelin_e2e::{Deployment, Node, Process, output, ravelin};
use serde_json::Value;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What curl got: the status, the head and the body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// curl, as somebody who has this certificate (or none), with more arguments.
fn curl(node: &Node, deployment: &Deployment, name: Option<&str>, path: &str, more: &[&str]) -> Answer {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--include", "--max-time", "20"]);
    command.arg("--cacert").arg(deployment.ca());
    if let Some(name) = name {
        let (certificate, key) = deployment.certificate(name);
        command.arg("--cert").arg(certificate).arg("--key").arg(key);
    }
    command.args(more).arg(format!("https://localhost:{}{path}", node.port("control")));
    let output = output(&mut command, b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.into() }
}

fn operator(node: &Node, deployment: &Deployment, method: &str, path: &str, body: &str) -> Answer {
    let json = ["-X", method, "-H", "Content-Type: application/json", "-d", body];
    let more: &[&str] = if method == "GET" { &[] } else { &json };
    curl(node, deployment, Some("operator"), path, more)
}

/// `ravelin ctl` as the deployment's admin; exit code, standard output, standard error.
fn ctl(node: &Node, deployment: &Deployment, arguments: &[&str]) -> (i32, String, String) {
    let mut command = ravelin(["ctl"]);
    command.arg("--dir").arg(deployment.dir());
    command.args(["--url", &format!("https://localhost:{}", node.port("control"))]).args(arguments);
    run(&mut command)
}

fn run(command: &mut Command) -> (i32, String, String) {
    let output = output(command, b"");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}

/// The Python client on its one connection.
struct Python {
    child: Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Python {
    fn start(node: &Node, deployment: &Deployment, name: &str) -> Python {
        let (certificate, key) = deployment.certificate(name);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/control.py");
        let mut command = Command::new("python3");
        command
            .arg(script)
            .arg(node.port("control").to_string())
            .arg(deployment.ca())
            .arg(certificate)
            .arg(key);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let stdout = child.stdout.take().expect("a pipe");
        Python { child, lines: std::io::BufRead::lines(std::io::BufReader::new(stdout)) }
    }

    fn ask(&mut self, command: &str) -> Value {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{command}").and_then(|()| stdin.flush()).expect("Python reads");
        let line = self.lines.next().expect("Python answers").expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that subscribes, as the operator.
fn subscriber(node: &Node, deployment: &Deployment, id: &str) -> Process {
    let (certificate, key) = deployment.certificate("operator");
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &node.port("mutual-tls").to_string(), "-V", "mqttv5", "-i", id]);
    command.arg("--cafile").arg(deployment.ca()).arg("--cert").arg(certificate).arg("--key").arg(key);
    let start = node.mark();
    let process = Process::start(command.args(["-t", "plant/#", "-q", "1", "-c", "-x", "3600"]));
    node.wait_subscribed(start, id, "plant/#");
    process
}

#[test]
fn a_fresh_deployment_is_administered_by_its_operator_and_nobody_else() {
    let deployment = Deployment::new();
    deployment.add_client("meter-7", &[]);
    let node = Node::serve(&deployment);

    let answer = curl(&node, &deployment, Some("operator"), "/v1/status", &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["ready"], true);
    let who = curl(&node, &deployment, Some("operator"), "/v1/whoami", &[]).json();
    assert!(who["name"] == "operator" && who["role"] == "admin", "{who}");

    for path in ["/v1/status", "/v1/openapi.json", "/metrics", "/", "/v1/nowhere"] {
        let stranger = curl(&node, &deployment, None, path, &[]);
        assert_eq!(stranger.status, 401, "{path}");
        assert!(stranger.head.contains("application/problem+json"), "{}", stranger.head);
        let told = format!("{}{}", stranger.head, stranger.body).to_lowercase();
        assert!(!told.contains("0.1.0") && !told.contains("server:"), "attack 46: {told}");
    }
    for (path, body) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let stranger = curl(&node, &deployment, None, path, &[]);
        assert_eq!((stranger.status, stranger.body.as_str()), (200, body));
    }
    let start = node.mark();
    let device = curl(&node, &deployment, Some("meter-7"), "/v1/status", &[]);
    assert_eq!(device.status, 403, "a device's certificate is of the same CA and has no role");
    node.wait_for(start, "admin.refused", |fields| fields["why"].to_string().contains("no role"));
}

#[test]
fn clients_are_seen_and_disconnected_and_who_did_it_is_told() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let name = "operator-\u{1b}[31m/ü #1".replace(['#', '\u{1b}'], "x");
    let _subscriber = subscriber(&node, &deployment, &name);

    let listed = operator(&node, &deployment, "GET", "/v1/clients?limit=10", "").json();
    let client = &listed["items"][0];
    assert!(client["client_id"] == name && client["connected"] == true, "{listed}");
    assert!(client["identity"] == "operator" && listed["next"].is_null(), "{listed}");
    let (code, out, _) = ctl(&node, &deployment, &["clients", "subscriptions", &name, "--json"]);
    assert_eq!(code, 0);
    assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON")[0]["filter"], "plant/#");
    let (code, out, _) = ctl(&node, &deployment, &["clients", "list"]);
    assert!(code == 0 && out.starts_with("CLIENT") && out.contains("5.0"), "{out}");

    let start = node.mark();
    let (code, out, _) = ctl(&node, &deployment, &["clients", "disconnect", &name]);
    assert!(code == 0 && out.contains("is disconnected"), "{out}");
    node.wait_for(start, "client.disconnected", |fields| fields["client_id"] == name.as_str());
    node.wait_for(start, "admin.order", |fields| {
        fields["action"] == "client.disconnect"
            && fields["subject"] == name.as_str()
            && fields["actor"] == "operator"
    });
    let (code, _, err) = ctl(&node, &deployment, &["clients", "disconnect", "nobody"]);
    assert!(code == 1 && err.contains("there is no session"), "{err}");
    let gone = operator(&node, &deployment, "DELETE", "/v1/sessions/nobody?wipe=true", "");
    assert_eq!(gone.status, 404);
}

#[test]
fn a_token_works_until_it_is_revoked_also_after_a_restart() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let create = ["tokens", "create", "prometheus", "--role", "viewer", "--expires-in", "30d", "--json"];
    let (code, out, err) = ctl(&node, &deployment, &create);
    assert_eq!(code, 0, "{err}");
    let created: Value = serde_json::from_str(&out).expect("JSON");
    let secret = created["secret"].as_str().expect("a secret").to_owned();
    let header = format!("Authorization: Bearer {secret}");
    let as_token = |node: &Node, path: &str| curl(node, &deployment, None, path, &["-H", &header]);
    assert_eq!(as_token(&node, "/metrics").status, 200);
    assert_eq!(as_token(&node, "/v1/tokens").status, 403);
    assert!(node.stop().success());

    for (path, content) in std::fs::read_dir(deployment.path("data")).expect("data").map(|entry| {
        let path = entry.expect("an entry").path();
        (path.clone(), std::fs::read(path).unwrap_or_default())
    }) {
        let found = content.windows(16).any(|window| window == &secret.as_bytes()[8..24]);
        assert!(!found, "the token is in {}", path.display());
    }
    let node = Node::serve(&deployment);
    assert_eq!(as_token(&node, "/v1/whoami").json()["name"], "token:prometheus");
    // The command line takes it from the environment, and says what it lacks.
    let url = format!("https://localhost:{}", node.port("control"));
    let mut command = ravelin(["ctl", "status", "--json", "--url", &url, "--ca"]);
    let (code, out, _) = run(command.arg(deployment.ca()).env("RAVELIN_TOKEN", &secret));
    assert!(code == 0 && out.contains("\"ready\": true"), "{out}");
    let mut command = ravelin(["ctl", "reload", "--url", &url, "--ca"]);
    let (code, _, err) = run(command.arg(deployment.ca()).env("RAVELIN_TOKEN", &secret));
    assert!(code == 1 && err.contains("takes the role admin"), "{err}");

    let id = created["token"]["id"].as_str().expect("an id");
    assert_eq!(ctl(&node, &deployment, &["tokens", "revoke", id]).0, 0);
    assert_eq!(as_token(&node, "/v1/whoami").status, 401);
    assert!(node.stop().success());
    let node = Node::serve(&deployment);
    assert_eq!(as_token(&node, "/v1/whoami").status, 401, "it stays revoked");
}

#[test]
fn metrics_are_served_beside_on_loopback_and_nothing_else_is() {
    let deployment = Deployment::new();
    deployment.edit("#metrics_address = \"127.0.0.1:9234\"", "metrics_address = \"127.0.0.1:0\"");
    let node = Node::serve(&deployment);
    let told = node.wait_for(0, "node.listening", |fields| fields["listener"] == "metrics");
    let address = told["fields"]["address"].as_str().expect("an address").to_owned();
    let get = |path: &str| {
        let url = format!("http://{address}{path}");
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "20", "--write-out", "%{http_code}", &url]);
        String::from_utf8_lossy(&output(&mut command, b"").stdout).into_owned()
    };
    let metrics = get("/metrics");
    assert!(metrics.contains("\nravelin_sessions ") && metrics.ends_with("200"), "{metrics}");
    for path in ["/v1/status", "/v1/clients", "/healthz"] {
        assert!(get(path).ends_with("404"), "{path}");
    }
}

#[test]
fn a_ban_ends_the_connection_and_keeps_the_client_away_until_it_is_lifted() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let _subscriber = subscriber(&node, &deployment, "operator-7");
    let publish = || {
        let (certificate, key) = deployment.certificate("operator");
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &node.port("mutual-tls").to_string(), "-V", "mqttv5"]);
        command.arg("--cafile").arg(deployment.ca()).arg("--cert").arg(certificate).arg("--key").arg(key);
        output(command.args(["-i", "operator-7", "-t", "plant/x", "-m", "x"]), b"").status.success()
    };
    let start = node.mark();
    let body = "{\"subject\":\"client_id:operator-7\",\"reason\":\"a test\",\"duration\":\"1h\"}";
    let made = operator(&node, &deployment, "POST", "/v1/bans", body);
    assert_eq!(made.status, 201, "{}", made.body);
    node.wait_for(start, "client.disconnected", |fields| fields["client_id"] == "operator-7");
    let listed = operator(&node, &deployment, "GET", "/v1/bans", "").json();
    assert_eq!(listed["items"][0]["subject"], "client_id:operator-7", "{listed}");
    assert!(!publish(), "it is banned");
    assert_eq!(operator(&node, &deployment, "DELETE", "/v1/bans/client_id%3Aoperator-7", "").status, 204);
    assert!(publish(), "the ban was lifted");
}

/// Asks on the kept connection until the answer has this status.
fn until(python: &mut Python, path: &str, status: u64) -> Value {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = python.ask(&format!("get {path}"));
        if answer["status"] == status {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer}");
    }
}

#[test]
fn a_reload_holds_for_connections_that_are_open() {
    let deployment = Deployment::new();
    deployment.add_client("auditor", &[]);
    deployment.edit("#viewers = []", "viewers = [\"auditor\"]");
    let node = Node::serve(&deployment);
    let mut python = Python::start(&node, &deployment, "auditor");
    let first = python.ask("get /v1/status");
    assert_eq!(first["status"], 200, "{first}");

    deployment.edit("viewers = [\"auditor\"]", "operators = [\"auditor\"]");
    assert_eq!(node.reload()["id"], "node.reloaded");
    let mut role = Value::Null;
    let deadline = Instant::now() + Duration::from_secs(10);
    while role != "operator" && Instant::now() < deadline {
        let who = python.ask("get /v1/whoami");
        assert_eq!(who["local"], first["local"], "the same connection");
        let body: Value = serde_json::from_str(who["body"].as_str().expect("a body")).expect("JSON");
        role = body["role"].clone();
    }
    assert_eq!(role, "operator");

    let removed = output(ravelin(["client", "remove", "auditor", "--dir"]).arg(deployment.dir()), b"");
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    assert_eq!(node.reload()["id"], "node.reloaded");
    let refused = until(&mut python, "/v1/status", 401);
    assert!(refused["body"].to_string().contains("not trusted any more"), "{refused}");
    assert_eq!(refused["local"], first["local"], "the same connection");
}

#[test]
fn the_certificate_of_the_lane_is_renewed_without_a_restart() {
    let (deployment, other) = (Deployment::new(), Deployment::new());
    let node = Node::serve(&deployment);
    assert_eq!(curl(&node, &deployment, Some("operator"), "/v1/status", &[]).status, 200);
    for name in ["tls/server.crt", "tls/server.key"] {
        std::fs::copy(other.path(name), deployment.path(name)).expect("a copy");
    }
    let (code, _, err) = ctl(&node, &deployment, &["reload"]);
    assert_eq!(code, 0, "{err}");
    // Who trusts only the old CA finds the new certificate in its place, at the latest now.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (code, _, err) = ctl(&node, &deployment, &["status"]);
        if code == 3 {
            assert!(err.contains("cannot be reached"), "{err}");
            break;
        }
        assert!(Instant::now() < deadline, "the old certificate is still served");
    }
    let trusting = curl(&node, &other, None, "/healthz", &[]);
    assert_eq!(trusting.status, 200);
}

#[test]
fn who_is_slow_or_many_is_let_go_and_the_others_are_served() {
    let deployment = Deployment::new();
    deployment.edit("#header_timeout = \"10s\"", "header_timeout = \"1s\"");
    deployment.edit("#request_timeout = \"30s\"", "request_timeout = \"2s\"");
    deployment.edit("#connections_per_address_max = 64", "connections_per_address_max = 8");
    let node = Node::serve(&deployment);
    let mut python = Python::start(&node, &deployment, "operator");
    assert_eq!(python.ask("get /healthz")["status"], 200);
    let idle = python.ask("idle");
    assert!(idle["seconds"].as_f64().expect("seconds") < 10.0, "{idle}");
    let slow = python.ask("slow");
    assert!(slow["seconds"].as_f64().expect("seconds") < 10.0, "{slow}");
    let body = python.ask("body 100");
    assert!(body["answer"].as_str().expect("a line").contains(" 408 "), "{body}");
    let large = python.ask("body 99999999");
    assert!(large["answer"].as_str().expect("a line").contains(" 413 "), "{large}");
    let crowd = python.ask("crowd 40");
    assert!(crowd["alive"].as_u64().expect("a count") <= 8, "{crowd}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while ctl(&node, &deployment, &["status"]).0 != 0 {
        assert!(Instant::now() < deadline, "nobody is served any more");
    }
}

#[test]
fn the_command_line_says_what_is_wrong_by_its_exit_code() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let (code, out, _) = ctl(&node, &deployment, &["status"]);
    assert!(code == 0 && out.contains("state") && out.contains("ready"), "{out}");
    let (code, out, _) = ctl(&node, &deployment, &["limits", "--json"]);
    let limits: Value = serde_json::from_str(&out).expect("JSON");
    assert!(code == 0 && limits.as_array().is_some_and(|all| all.len() > 30), "{out}");
    let (code, out, _) = ctl(&node, &deployment, &["events", "--id", "node.listening", "--json"]);
    assert!(code == 0 && out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{out}");
    assert_eq!(ctl(&node, &deployment, &["loglevel", "loud"]).0, 2, "clap's own");
    let mut command = ravelin(["ctl", "status", "--url", "https://localhost:1", "--dir"]);
    let (code, _, err) = run(command.arg(deployment.dir()));
    assert!(code == 3 && err.contains("cannot be reached"), "{err}");
    let mut command = ravelin(["ctl", "status", "--dir", "/nonexistent"]);
    let (code, _, err) = run(&mut command);
    assert!(code == 2 && err.contains("not a deployment"), "{err}");

    let rules = std::fs::read_to_string(deployment.path("access.rules")).expect("rules");
    std::fs::write(deployment.path("access.rules"), "topic wirte a\n").expect("rules");
    let (code, _, err) = ctl(&node, &deployment, &["reload"]);
    assert!(code == 1 && err.contains("access.rules:1"), "{err}");
    std::fs::write(deployment.path("access.rules"), rules).expect("rules");
    assert_eq!(ctl(&node, &deployment, &["reload"]).0, 0);
    let (code, out, _) = ctl(&node, &deployment, &["shutdown"]);
    assert!(code == 0 && out.contains("stops"), "{out}");
    assert!(node.ended().success());
}
