//! `init`, `client`, `passwd` and `check`, as an operator uses them, against Mosquitto's tools where they apply.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Plant {
    dir: tempfile::TempDir,
    port: u16,
}

fn ravelin(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ravelin"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ok(output: Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Standard error of a command that must fail with this exit code.
fn fails(code: i32, output: Output) -> String {
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().min(65_000)
}

impl Plant {
    fn new() -> Plant {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let plant = Plant { dir, port };
        ok(ravelin(&["init", plant.root(), "--address", &format!("127.0.0.1:{port}")], ""));
        plant
    }

    fn root(&self) -> &str {
        // Named once; `tempdir` gives plain ASCII.
        Box::leak(self.dir.path().join("a plant").display().to_string().into_boxed_str())
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.root()).join(name)
    }

    fn client(&self, args: &[&str], input: &str) -> Output {
        let mut all = vec!["client"];
        all.extend(args);
        all.extend(["--dir", self.root()]);
        ravelin(&all, input)
    }

    fn add(&self, args: &[&str], input: &str) -> serde_json::Value {
        let mut all = vec!["add", "--json"];
        all.extend(args);
        serde_json::from_str(&ok(self.client(&all, input))).unwrap()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

/// Debian's Mosquitto on the port of the deployment, with its certificates, revocation list and rules.
struct Mosquitto(Child);

impl Mosquitto {
    fn start(plant: &Plant) -> Mosquitto {
        let path = |name: &str| plant.path(name).display().to_string();
        let configuration = format!(
            "listener {} 127.0.0.1\nuser root\ncafile {}\ncertfile {}\nkeyfile {}\ncrlfile {}\nacl_file {}\n\
             require_certificate true\nuse_identity_as_username true\n",
            plant.port,
            path("ca/ca.crt"),
            path("tls/server.crt"),
            path("tls/server.key"),
            path("ca/ca.crl"),
            path("access.rules"),
        );
        let file = plant.path("mosquitto.conf");
        std::fs::write(&file, configuration).unwrap();
        let mosquitto =
            if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let child = Command::new(mosquitto).arg("-c").arg(&file).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", plant.port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "Mosquitto does not listen");
            std::thread::yield_now();
        }
        Mosquitto(child)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn shell(command: &str) -> Output {
    Command::new("sh").args(["-c", command]).output().unwrap()
}

#[test]
fn init_makes_a_deployment_that_check_accepts_and_is_private() {
    let plant = Plant::new();
    for entry in
        ["ca/ca.key", "tls/server.key", "clients/operator.key", "passwords", "store.key", "ravelin.toml"]
    {
        let mode = std::fs::metadata(plant.path(entry)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{entry}");
    }
    for dir in ["", "ca", "tls", "clients", "data"] {
        assert_eq!(std::fs::metadata(plant.path(dir)).unwrap().permissions().mode() & 0o777, 0o700, "{dir}");
    }
    assert!(ok(ravelin(&["check", plant.root()], "")).starts_with("ok: tls on 127.0.0.1:"));
    let json: serde_json::Value =
        serde_json::from_str(&ok(ravelin(&["check", plant.root(), "--json"], ""))).unwrap();
    assert_eq!(json, serde_json::json!({ "ok": true, "errors": 0, "findings": [] }));
}

#[test]
fn init_never_overwrites() {
    let plant = Plant::new();
    let before = plant.read("ravelin.toml");
    assert!(fails(1, ravelin(&["init", plant.root()], "")).contains("not empty"));
    assert_eq!(plant.read("ravelin.toml"), before);
    let file = plant.path("a file");
    std::fs::write(&file, "x").unwrap();
    fails(1, ravelin(&["init", file.to_str().unwrap()], ""));
    assert_eq!(plant.read("a file"), "x");
    fails(1, ravelin(&["init", plant.path("new").to_str().unwrap(), "--address", "nowhere"], ""));
    fails(1, ravelin(&["init", plant.path("new").to_str().unwrap(), "--name", "a\"b"], ""));
    assert!(!plant.path("new").exists(), "what is wrong is found before anything is made");
    fails(2, ravelin(&["init"], ""));
}

#[test]
fn every_key_of_the_configuration_can_be_switched_on() {
    let plant = Plant::new();
    // Take the `#` away from each commented key, as an operator would.
    let key = |line: &str| {
        let name = line.strip_prefix('#').and_then(|rest| rest.split_once(" = ")).map(|(name, _)| name);
        name.is_some_and(|name| {
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
        })
    };
    let config: Vec<String> = plant
        .read("ravelin.toml")
        .lines()
        .map(|line| match line {
            line if line.starts_with("#[") => line[1..].to_string(),
            // The other of the two places where keys can be.
            line if line.contains("jwks_file") => line.to_string(),
            line if line.contains("proxy_") || line.contains("dangerous_") => line.to_string(),
            line if key(line) => line[1..].to_string(),
            line => line.to_string(),
        })
        .collect();
    std::fs::write(plant.path("ravelin.toml"), config.join("\n")).unwrap();
    let shown = ok(ravelin(&["check", plant.root()], ""));
    assert!(shown.contains("wss on 127.0.0.1:"), "{shown}");
}

#[test]
fn check_points_at_what_is_wrong() {
    let plant = Plant::new();
    let config = plant.read("ravelin.toml").replacen("transport = \"tls\"", "transport = \"tsl\"", 1);
    let line = config.lines().position(|line| line.contains("tsl")).unwrap() + 1;
    std::fs::write(plant.path("ravelin.toml"), config).unwrap();
    let shown = fails(1, ravelin(&["check", plant.root()], ""));
    assert!(
        shown.contains(&format!("ravelin.toml:{line}:13")) && shown.contains("did you mean \"tls\"?"),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}'), "colour only on a terminal");
    let output = ravelin(&["check", plant.root(), "--json"], "");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["findings"][0]["line"], &json["ok"]), (&line.into(), &false.into()));
    fails(1, ravelin(&["check", "/nowhere"], ""));
    fails(2, ravelin(&["check", "--frobnicate"], ""));
}

#[test]
fn a_client_gets_a_certificate_with_which_its_snippet_works() {
    let plant = Plant::new();
    let added =
        plant.add(&["meter-7", "--publish", "meters/meter-7/#", "--subscribe", "commands/meter-7/+"], "");
    assert!(added["password"].is_null());
    assert!(
        plant
            .read("access.rules")
            .ends_with("\nuser meter-7\ntopic write meters/meter-7/#\ntopic read commands/meter-7/+\n")
    );
    let _mosquitto = Mosquitto::start(&plant);
    let snippet = added["connections"][0]["snippets"]["mosquitto_pub"].as_str().unwrap();
    ok(shell(snippet));
    // The same certificate with the operator's name in it is not to be had.
    fails(1, plant.client(&["add", "operator"], ""));
    ok(ravelin(&["check", plant.root()], ""));
}

#[test]
fn a_removed_client_is_revoked_and_its_rules_are_kept_as_comments() {
    let plant = Plant::new();
    let added = plant.add(&["meter-7", "--certificate", "--password", "--publish", "m/#"], "");
    plant.add(&["meter-8", "--publish", "m/8"], "");
    let certificate = added["certificate"].as_str().unwrap();
    let kept = plant.path("kept.crt");
    std::fs::copy(certificate, &kept).unwrap();
    std::fs::copy(added["key"].as_str().unwrap(), plant.path("kept.key")).unwrap();
    let shown = ok(plant.client(&["remove", "meter-7"], ""));
    assert!(shown.contains("certificate revoked, password deleted, 2 lines of rules"), "{shown}");
    let rules = plant.read("access.rules");
    assert!(
        rules.contains("\n#user meter-7\n#topic write m/#\n")
            && rules.contains("\nuser meter-8\ntopic write m/8\n")
    );
    assert!(!plant.read("passwords").contains("meter-7") && !Path::new(certificate).exists());
    let _mosquitto = Mosquitto::start(&plant);
    let publish = |certificate: &Path, key: &Path| {
        Command::new("mosquitto_pub")
            .args([
                "-h",
                "localhost",
                "-p",
                &plant.port.to_string(),
                "-t",
                "m/8",
                "-m",
                "x",
                "-q",
                "1",
                "--cafile",
            ])
            .arg(plant.path("ca/ca.crt"))
            .arg("--cert")
            .arg(certificate)
            .arg("--key")
            .arg(key)
            .output()
            .unwrap()
    };
    assert!(!publish(&kept, &plant.path("kept.key")).status.success(), "revoked");
    assert!(publish(&plant.path("clients/meter-8.crt"), &plant.path("clients/meter-8.key")).status.success());
    assert!(fails(1, plant.client(&["remove", "meter-7"], "")).contains("has no client"));
    ok(ravelin(&["check", plant.root()], ""));
    // The name is free again.
    plant.add(&["meter-7"], "");
}

#[test]
fn a_client_gets_a_password_that_only_its_hash_is_kept_of() {
    let plant = Plant::new();
    let made_up = plant.add(&["tablet", "--password"], "")["password"].as_str().unwrap().to_string();
    assert_eq!(made_up.len(), 24);
    let given = plant.add(&["display", "--password=stdin"], "pass word\n");
    assert!(given["certificate"].is_null() && given["connections"][0]["by"] == "password");
    let passwords = plant.path("passwords");
    let verify = |user: &str, password: &str| {
        ravelin(&["passwd", passwords.to_str().unwrap(), user, "--verify"], password).status.code()
    };
    assert_eq!((verify("tablet", &made_up), verify("tablet", "other")), (Some(0), Some(1)));
    assert_eq!((verify("display", "pass word"), verify("nobody", "pass word")), (Some(0), Some(1)));
    let file = plant.read("passwords");
    assert!(
        !file.contains(&made_up)
            && file.contains("\ntablet:$argon2id$")
            && file.contains("\ntablet:$scram-sha-256$")
            && file.contains("\ntablet:$scram-sha-512$")
    );
    assert!(fails(1, plant.client(&["add", "tablet", "--password"], "")).contains("has a password"));
    fails(1, plant.client(&["add", "empty", "--password=stdin"], "\n"));
    fails(2, plant.client(&["add", "x", "--password=secret"], ""));
}

#[test]
fn nothing_is_written_when_something_is_wrong() {
    let plant = Plant::new();
    let state = || {
        (
            plant.read("access.rules"),
            plant.read("passwords"),
            std::fs::read_dir(plant.path("clients")).unwrap().count(),
        )
    };
    let before = state();
    for args in [
        &["add", "a/b"][..],
        &["add", "+"],
        &["add", "../x"],
        &["add", "a b"],
        &["add", ""],
        &["add", "x", "--publish", "a/#/b"],
        &["add", "x", "--publish", "a\nuser operator\ntopic readwrite #"],
        &["add", "x", "--subscribe", ""],
        &["add", "x", "--client-id", "a b"],
        &["add", "operator", "--password"],
    ] {
        fails(1, plant.client(args, ""));
        assert_eq!(state(), before, "{args:?}");
    }
    fails(1, ravelin(&["client", "list", "--dir", "/nowhere"], ""));
}

#[test]
fn clients_are_listed() {
    let plant = Plant::new();
    plant.add(&["tablet", "--password"], "");
    let json: serde_json::Value = serde_json::from_str(&ok(plant.client(&["list", "--json"], ""))).unwrap();
    let names: Vec<_> =
        json.as_array().unwrap().iter().map(|client| client["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["operator", "tablet"]);
    assert_eq!(
        (&json[1]["password"], &json[1]["certificate_days"]),
        (&"argon2id".into(), &serde_json::Value::Null)
    );
    assert!(ok(plant.client(&["list"], "")).contains("argon2id, scram"));
}

#[test]
fn passwd_changes_files_of_mosquitto() {
    let plant = Plant::new();
    let file = plant.path("theirs");
    let name = file.to_str().unwrap();
    ok(Command::new("mosquitto_passwd").args(["-c", "-b", name, "bob", "bobs"]).output().unwrap());
    let bob = plant.read("theirs");
    ok(ravelin(&["passwd", name, "alice"], "hers\n"));
    assert!(plant.read("theirs").starts_with(&bob), "other lines are kept as they are");
    ok(ravelin(&["passwd", name, "bob", "--verify"], "bobs"));
    ok(ravelin(&["passwd", name, "alice", "--verify"], "hers"));
    ok(ravelin(&["passwd", name, "alice", "--delete"], ""));
    assert_eq!(plant.read("theirs"), bob);
    fails(1, ravelin(&["passwd", name, "alice", "--delete"], ""));
    let random = ok(ravelin(&["passwd", name, "carol", "--random"], ""));
    ok(ravelin(&["passwd", name, "carol", "--verify"], &random));
}

#[test]
fn a_node_that_an_order_has_stopped_does_not_start_and_has_an_exit_code_of_its_own() {
    const FENCED: i32 = 78;
    let plant = Plant::new();
    std::fs::create_dir_all(plant.path("data")).unwrap();
    let mark = plant.path("data").join("fenced.json");
    std::fs::write(&mark, "{\"order\":9,\"by\":\"olga\",\"approved_by\":[\"ada\"]}\n").unwrap();
    let told = fails(FENCED, ravelin(&["serve", plant.root()], ""));
    for part in ["stopped by an order", "--release-fence", "fenced.json", "\"approved_by\":[\"ada\"]"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(mark.exists(), "it says so as often as it is started");
    fails(FENCED, ravelin(&["serve", plant.root()], ""));
    // A reason is needed; without one it stays as it is, and that is an ordinary failure.
    fails(1, ravelin(&["serve", plant.root(), "--release-fence", " "], ""));
    assert!(mark.exists());

    assert!(ok(ravelin(&["serve", "--help"], "")).contains(&FENCED.to_string()));
    let unit = include_str!("../../../packaging/systemd/ravelin.service");
    assert!(unit.lines().any(|line| line == format!("RestartPreventExitStatus={FENCED}")), "{unit}");
}
