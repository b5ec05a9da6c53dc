//! `pub`, `sub` and `bench` against Mosquitto, and beside its own clients: what its users expect must hold here too.

use ravelin_protect::pki::{Ca, DAY};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Both versions, as the command line names them.
const VERSIONS: [&str; 2] = ["mqttv5", "mqttv311"];
/// No test waits longer than this for a message.
const PATIENCE_S: &str = "20";

/// A broker with an open listener, one with a password and rules, TLS, WebSocket, and both together.
struct Mosquitto {
    process: Child,
    dir: tempfile::TempDir,
    open: String,
    closed: String,
    tls: String,
    ws: String,
    wss: String,
}

impl Mosquitto {
    fn start() -> Mosquitto {
        let dir = tempfile::tempdir().unwrap();
        Certificates::create(dir.path());
        run_tool("mosquitto_passwd", &["-b", "-c", path(&dir.path().join("passwords")), "meter", "right"]);
        fs::write(dir.path().join("rules"), "user meter\ntopic readwrite own/#\n").unwrap();
        let mut told = String::new();
        // Another process may take a port between our looking and Mosquitto's binding.
        for _ in 0..10 {
            let ports = free_ports();
            let config = dir.path().join("mosquitto.conf");
            fs::write(&config, configuration(dir.path(), &ports)).unwrap();
            let mut process = Command::new(tool("mosquitto"))
                .args(["-c", path(&config)])
                .stderr(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            match wait_for(process.stderr.take().unwrap(), "running") {
                Ok(()) => {
                    let [open, closed, tls, ws, wss] = ports;
                    return Mosquitto { process, dir, open, closed, tls, ws, wss };
                }
                Err(output) => told = output,
            }
            let _ = process.wait();
        }
        panic!("Mosquitto does not start:\n{told}");
    }

    fn file(&self, name: &str) -> String {
        path(&self.dir.path().join(name)).to_owned()
    }

    fn process_id(&self) -> String {
        self.process.id().to_string()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(dir: &Path, [open, closed, tls, ws, wss]: &[String; 5]) -> String {
    let dir = dir.display();
    let certificate = format!("certfile {dir}/server.crt\nkeyfile {dir}/server.key\n");
    format!(
        "per_listener_settings true\n\
         listener {open} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n\
         listener {closed} 127.0.0.1\nallow_anonymous false\npassword_file {dir}/passwords\nacl_file {dir}/rules\n\
         listener {tls} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\ncafile {dir}/ca.crt\n{certificate}\
         listener {ws} 127.0.0.1\nallow_anonymous true\nprotocol websockets\n\
         listener {wss} 127.0.0.1\nallow_anonymous true\nprotocol websockets\n{certificate}"
    )
}

/// The files that certificates are in.
struct Certificates;

impl Certificates {
    fn create(dir: &Path) {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        // As root, Mosquitto becomes a user who must be able to read its files.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        let write = |name: &str, text: &str| {
            let file = dir.join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        };
        let (ca, issued) = Ca::create("Test CA", now_s, DAY).unwrap();
        let server = ca.issue_server(&["127.0.0.1".into(), "localhost".into()], now_s, DAY).unwrap();
        let client = ca.issue_client("meter", now_s, DAY).unwrap();
        let (_, other) = Ca::create("Another CA", now_s, DAY).unwrap();
        write("ca.crt", &issued.certificate);
        write("server.crt", &server.certificate);
        write("server.key", &server.key);
        write("client.crt", &client.certificate);
        write("client.key", &client.key);
        write("other.crt", &other.certificate);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Ports that nobody listens on, below those that outgoing connections get: one of them could otherwise be taken by a
/// connection that has just ended.
fn free_ports<const N: usize>() -> [String; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    std::array::from_fn(|_| {
        loop {
            let number = NEXT
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_add((std::process::id() as u16).wrapping_mul(61));
            let port = 10_000 + number % 20_000;
            if TcpListener::bind(("0.0.0.0", port)).is_ok() {
                return port.to_string();
            }
        }
    })
}

fn tool(name: &str) -> PathBuf {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not installed: apt-get install mosquitto mosquitto-clients"))
}

fn run_tool(name: &str, args: &[&str]) -> Output {
    let output = Command::new(tool(name)).args(args).output().unwrap();
    assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Reads lines until one contains `words`, then goes on reading so that the writer never blocks. An error is all that was
/// written, if it ended before.
fn wait_for(stderr: ChildStderr, words: &str) -> Result<(), String> {
    let mut lines = BufReader::new(stderr);
    let mut all = String::new();
    loop {
        let start = all.len();
        if lines.read_line(&mut all).unwrap() == 0 {
            return Err(all);
        }
        if all[start..].contains(words) {
            std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
            return Ok(());
        }
    }
}

fn ravelin(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ravelin"));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = ravelin(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn publish(port: &str, args: &[&str]) {
    let (code, _, error) = run(&[&["pub", "-h", "127.0.0.1", "-p", port], args].concat());
    assert_eq!(code, Some(0), "pub {args:?}: {error}");
}

/// A `ravelin sub` whose subscriptions are acknowledged.
struct Subscriber(Child);

impl Subscriber {
    fn start(port: &str, args: &[&str]) -> Subscriber {
        let all = [&["sub", "-h", "127.0.0.1", "-p", port, "-d", "-W", PATIENCE_S], args].concat();
        let mut child = ravelin(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(child.stderr.take().unwrap(), "received SubAck").unwrap();
        Subscriber(child)
    }

    fn output(self) -> (Option<i32>, Vec<u8>) {
        let output = self.0.wait_with_output().unwrap();
        (output.status.code(), output.stdout)
    }

    fn text(self) -> String {
        let (code, output) = self.output();
        assert_eq!(code, Some(0));
        String::from_utf8(output).unwrap()
    }
}

#[test]
fn messages_arrive_at_every_qos_in_both_versions() {
    let broker = Mosquitto::start();
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            let subscriber = Subscriber::start(
                &broker.open,
                &["-t", "a/+", "-q", qos, "-V", version, "-C", "2", "-F", "%t %q %p"],
            );
            publish(&broker.open, &["-t", "a/1", "-m", "one", "-q", qos, "-V", version]);
            publish(&broker.open, &["-t", "a/2", "-m", "two", "-q", qos, "-V", version]);
            assert_eq!(subscriber.text(), format!("a/1 {qos} one\na/2 {qos} two\n"), "{version}");
        }
    }
}

#[test]
fn mosquittos_clients_and_ours_understand_each_other() {
    let broker = Mosquitto::start();
    for version in VERSIONS {
        let subscriber =
            Subscriber::start(&broker.open, &["-t", "to/us", "-V", version, "-q", "2", "-C", "1"]);
        run_tool(
            "mosquitto_pub",
            &["-p", &broker.open, "-t", "to/us", "-m", "hello", "-q", "2", "-V", version],
        );
        assert_eq!(subscriber.text(), "hello\n");
        publish(&broker.open, &["-t", "to/them", "-m", "hello back", "-r", "-q", "2", "-V", version]);
        let args = ["-p", &broker.open, "-t", "to/them", "-C", "1", "-W", PATIENCE_S, "-V", version];
        assert_eq!(run_tool("mosquitto_sub", &args).stdout, b"hello back\n");
    }
}

#[test]
fn formats_are_those_of_mosquitto_sub() {
    let broker = Mosquitto::start();
    let properties = "-D publish content-type text/plain -D publish user-property k v -D publish user-property k w \
                      -D publish correlation-data c -D publish payload-format-indicator 1 -D publish response-topic r/t";
    let mut args = vec!["-t", "f/1", "-m", "{\"x\":1}", "-r", "-q", "1"];
    args.extend(properties.split_whitespace());
    publish(&broker.open, &args);
    let format = "%A|%C|%D|%F|%l|%P|%p|%q|%R|%r|%S|%t|%x|%X|%%|%10l|%-10t|%.3t|@@|\\t\\\\";
    let subscribe = ["-p", &broker.open, "-t", "f/1", "-q", "1", "-C", "1", "-V", "mqttv5", "-W", PATIENCE_S];
    // 2.0 has no widths yet: they are compared by our own tests only.
    let common = format.replace("|%10l|%-10t|%.3t", "");
    let theirs = run_tool("mosquitto_sub", &[&subscribe[..], &["-F", &common]].concat()).stdout;
    let (code, ours, _) = run(&[&["sub"], &subscribe[..], &["-F", &common]].concat());
    assert_eq!((code, ours.as_str()), (Some(0), String::from_utf8(theirs).unwrap().as_str()));

    let (_, line, _) = run(&[&["sub"], &subscribe[..], &["--json"]].concat());
    let message: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(message["topic"], "f/1");
    assert_eq!(message["payload"], "{\"x\":1}");
    assert_eq!((&message["qos"], &message["retain"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(message["properties"]["user-properties"], serde_json::json!([{"k": "v"}, {"k": "w"}]));
    assert_eq!(message["properties"]["response-topic"], "r/t");
    let (_, line, _) = run(&[&["sub"], &subscribe[..], &["-F", "%J"]].concat());
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["payload"]["x"], 1);
    let (_, verbose, _) = run(&[&["sub"], &subscribe[..], &["-v", "-N"]].concat());
    assert_eq!(verbose, "f/1 {\"x\":1}");
}

#[test]
fn every_line_of_standard_input_arrives_in_order() {
    let broker = Mosquitto::start();
    let lines: String = (0..3000).map(|number| format!("line {number}\n")).collect();
    for (version, qos) in [("mqttv5", "2"), ("mqttv311", "1"), ("mqttv5", "0")] {
        let subscriber =
            Subscriber::start(&broker.open, &["-t", "l", "-q", qos, "-C", "3000", "-V", version]);
        let mut publisher = ravelin(&[
            "pub",
            "-h",
            "127.0.0.1",
            "-p",
            &broker.open,
            "-t",
            "l",
            "-l",
            "-q",
            qos,
            "-V",
            version,
        ])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
        publisher.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(publisher.wait().unwrap().success());
        assert_eq!(subscriber.text(), lines, "QoS {qos}");
    }
}

#[test]
fn contents_from_file_standard_input_nothing_and_repetition() {
    let broker = Mosquitto::start();
    let payload: Vec<u8> = (0..300_000u32).map(|number| (number * 7) as u8).collect();
    let file = broker.file("payload");
    fs::write(&file, &payload).unwrap();
    let subscriber = Subscriber::start(&broker.open, &["-t", "c", "-C", "5", "-N", "-q", "1"]);
    publish(&broker.open, &["-t", "c", "-f", &file, "-q", "1"]);
    let status = ravelin(&["pub", "-p", &broker.open, "-t", "c", "-s", "-q", "1"])
        .stdin(fs::File::open(&file).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    publish(&broker.open, &["-t", "c", "-n"]);
    publish(&broker.open, &["-t", "c", "-m", "again", "--repeat", "2", "--repeat-delay", "0.01", "-q", "2"]);
    let (code, output) = subscriber.output();
    assert_eq!(code, Some(0));
    assert!(output == [&payload[..], &payload[..], b"againagain"].concat(), "{} bytes", output.len());
}

#[test]
fn retained_messages_are_kept_shown_hidden_and_removed() {
    let broker = Mosquitto::start();
    let sub = |args: &[&str]| run(&[&["sub", "-p", &broker.open, "-W", "1"], args].concat());
    publish(&broker.open, &["-t", "r/1", "-m", "kept", "-r"]);
    publish(&broker.open, &["-t", "r/2", "-m", "too", "-r"]);
    let (code, output, _) = sub(&["-t", "r/1", "-F", "%r %p", "-C", "1"]);
    assert_eq!((code, output.as_str()), (Some(0), "1 kept\n"));
    let (code, output, _) = sub(&["-t", "r/1", "-R"]);
    assert_eq!((code, output.as_str()), (Some(27), ""));
    let (code, output, _) = sub(&["-t", "r/1", "--retain-handling", "never"]);
    assert_eq!((code, output.as_str()), (Some(27), ""));
    publish(&broker.open, &["-t", "r/1", "-n", "-r"]);
    let (code, output, _) = sub(&["-t", "r/#", "-T", "r/2", "--remove-retained"]);
    assert_eq!((code, output.as_str()), (Some(27), ""));
    let (code, output, _) = sub(&["-t", "r/#", "--remove-retained", "-C", "1"]);
    assert_eq!((code, output.as_str()), (Some(0), "too\n"));
    assert_eq!(sub(&["-t", "r/#"]).0, Some(27));
}

#[test]
fn retained_only_ends_at_the_first_message_that_is_not() {
    let broker = Mosquitto::start();
    publish(&broker.open, &["-t", "o/1", "-m", "kept", "-r"]);
    let subscriber = Subscriber::start(&broker.open, &["-t", "o/#", "--retained-only"]);
    publish(&broker.open, &["-t", "o/2", "-m", "new"]);
    assert_eq!(subscriber.text(), "kept\n");
}

#[test]
fn retain_as_published_keeps_the_flag() {
    let broker = Mosquitto::start();
    for (flag, expected) in [(&["--retain-as-published"][..], "1\n"), (&[], "0\n")] {
        let common = ["-t", "p", "-F", "%r", "-C", "1", "--retain-handling", "never"];
        let subscriber = Subscriber::start(&broker.open, &[&common[..], flag].concat());
        publish(&broker.open, &["-t", "p", "-m", "x", "-r"]);
        assert_eq!(subscriber.text(), expected);
    }
}

#[test]
fn the_will_of_a_client_that_is_killed_is_published() {
    let broker = Mosquitto::start();
    for version in VERSIONS {
        let mut args = vec![
            "-t",
            "nothing",
            "--will-topic",
            "will/1",
            "--will-payload",
            "gone",
            "--will-qos",
            "1",
            "-V",
            version,
        ];
        if version == "mqttv5" {
            args.extend(["-D", "will", "content-type", "text/plain"]);
        }
        let watcher =
            Subscriber::start(&broker.open, &["-t", "will/#", "-q", "1", "-C", "1", "-F", "%t %p %q %C"]);
        let mut victim = Subscriber::start(&broker.open, &args);
        victim.0.kill().unwrap();
        victim.0.wait().unwrap();
        let content_type = if version == "mqttv5" { "text/plain" } else { "" };
        assert_eq!(watcher.text(), format!("will/1 gone 1 {content_type}\n"));
    }
}

#[test]
fn a_kept_session_has_what_came_meanwhile() {
    let broker = Mosquitto::start();
    for version in VERSIONS {
        let session = [
            "-h",
            "127.0.0.1",
            "-p",
            &broker.open,
            "-i",
            "me",
            "-c",
            "-q",
            "2",
            "-V",
            version,
            "-W",
            PATIENCE_S,
        ];
        let (code, _, error) = run(&[&["sub", "-t", "k/#", "-E"], &session[..]].concat());
        assert_eq!(code, Some(0), "{error}");
        publish(&broker.open, &["-t", "k/1", "-m", "first", "-q", "2"]);
        publish(&broker.open, &["-t", "k/2", "-m", "second", "-q", "1"]);
        let (code, output, _) = run(&[&["sub", "-t", "k/#", "-C", "2"], &session[..]].concat());
        assert_eq!((code, output.as_str()), (Some(0), "first\nsecond\n"), "{version}");
        let (code, _, _) = run(&[&["sub", "-U", "k/#"], &session[..]].concat());
        assert_eq!(code, Some(0));
    }
}

#[test]
fn exit_codes_say_what_happened() {
    let broker = Mosquitto::start();
    let [nobody] = free_ports();
    let cases: [(&[&str], i32, &str); 9] = [
        (&["sub", "-p", &broker.open, "-t", "x", "-W", "1"], 27, "timed out"),
        (&["sub", "-p", &nobody, "-t", "x"], 1, "failed to connect"),
        (&["pub", "-p", &nobody, "-t", "x", "-m", "y"], 1, "Connection refused"),
        (&["pub", "-p", &broker.open, "-t", "x/#", "-m", "y"], 2, "wildcard"),
        (&["pub", "-p", &broker.open, "-t", "x"], 2, "required"),
        (&["sub", "-p", &broker.open, "-t", "x", "-F", "%z"], 2, "unknown field %z"),
        (&["sub", "-p", &broker.closed, "-t", "x"], 1, "connection refused: Not authorized (0x87)"),
        (&["sub", "-p", &broker.closed, "-t", "x", "-u", "meter", "-P", "wrong"], 1, "Not authorized (0x87)"),
        (
            &["sub", "-p", &broker.closed, "-t", "x", "-u", "meter", "-P", "wrong", "-V", "mqttv311"],
            1,
            "refused",
        ),
    ];
    for (args, code, words) in cases {
        let (found, output, error) = run(args);
        assert_eq!(found, Some(code), "{args:?}: {output}{error}");
        assert!(error.contains(words), "{args:?}: {error}");
    }
    let (code, output, error) = run(&["sub", "-p", &nobody, "-t", "x", "--quiet"]);
    assert_eq!((code, output.as_str(), error.as_str()), (Some(1), "", ""));
}

#[test]
fn a_publish_that_is_refused_fails_with_its_reason() {
    let broker = Mosquitto::start();
    let account = ["-h", "127.0.0.1", "-p", &broker.closed, "-u", "meter", "-P", "right"];
    for qos in ["1", "2"] {
        let (code, _, error) = run(&[&["pub", "-t", "own/1", "-m", "x", "-q", qos], &account[..]].concat());
        assert_eq!(code, Some(0), "{error}");
        let (code, _, error) = run(&[&["pub", "-t", "other/1", "-m", "x", "-q", qos], &account[..]].concat());
        assert_eq!(code, Some(1));
        assert!(error.contains("message 1 to 'other/1' was refused: Not authorized (0x87)"), "{error}");
    }
    // The variable is for passwords that others must not see.
    let output = ravelin(&["pub", "-t", "own/1", "-m", "x", "-q", "1", "-p", &broker.closed, "-u", "meter"])
        .env("RAVELIN_PASSWORD", "right")
        .output()
        .unwrap();
    assert!(output.status.success());
}

#[test]
fn tls_checks_the_server_and_shows_the_clients_certificate() {
    let broker = Mosquitto::start();
    let (ca, cert, key) = (broker.file("ca.crt"), broker.file("client.crt"), broker.file("client.key"));
    let own = ["--cert", &cert, "--key", &key];
    let publish =
        |args: &[&str]| run(&[&["pub", "-p", &broker.tls, "-t", "t", "-m", "x", "-q", "1"], args].concat());
    let good = [&["-h", "127.0.0.1", "--cafile", &ca], &own[..]].concat();
    assert_eq!(publish(&good).0, Some(0));
    for version in ["tlsv1.2", "tlsv1.3"] {
        let (code, _, error) = publish(&[&good[..], &["--tls-version", version]].concat());
        assert_eq!(code, Some(0), "{version}: {error}");
    }
    assert_eq!(
        publish(&[&["-h", "localhost", "--capath", &broker.file("cas")], &own[..]].concat()).0,
        Some(1)
    );
    fs::create_dir(broker.file("cas")).unwrap();
    fs::copy(&ca, broker.file("cas/ca.crt")).unwrap();
    assert_eq!(
        publish(&[&["-h", "localhost", "--capath", &broker.file("cas")], &own[..]].concat()).0,
        Some(0)
    );
    let (code, _, error) =
        publish(&[&["-h", "127.0.0.1", "--cafile", &broker.file("other.crt")], &own[..]].concat());
    assert_eq!(code, Some(1));
    assert!(error.contains("TLS failed: invalid peer certificate"), "{error}");
    assert_eq!(publish(&[&["-h", "127.0.0.1", "--dangerous-insecure"], &own[..]].concat()).0, Some(0));
    assert_eq!(publish(&["-h", "127.0.0.1", "--cafile", &ca]).0, Some(1), "without a certificate of its own");
    let url = format!("mqtts://127.0.0.1:{}/from/url", broker.tls);
    let (code, _, error) =
        run(&[&["pub", "-L", &url, "-m", "x", "-q", "1", "--cafile", &ca], &own[..]].concat());
    assert_eq!(code, Some(0), "{error}");
}

#[test]
fn web_socket_carries_both_ways_with_and_without_tls() {
    let broker = Mosquitto::start();
    let ca = broker.file("ca.crt");
    let plain = format!("ws://127.0.0.1:{}/mqtt", broker.ws);
    let secure = format!("wss://127.0.0.1:{}/mqtt", broker.wss);
    for (url, trust) in [(&plain, &[][..]), (&secure, &["--cafile", &ca])] {
        let args =
            [&["sub", "-L", url, "-t", "w", "-C", "2", "-d", "-W", PATIENCE_S, "-q", "2", "-N"][..], trust]
                .concat();
        let mut subscriber = ravelin(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(subscriber.stderr.take().unwrap(), "received SubAck").unwrap();
        let large = "x".repeat(70_000);
        for payload in ["small", &large] {
            let (code, _, error) =
                run(&[&["pub", "-L", url, "-t", "w", "-m", payload, "-q", "2"][..], trust].concat());
            assert_eq!(code, Some(0), "{error}");
        }
        let (code, output) = Subscriber(subscriber).output();
        assert_eq!((code, output.len()), (Some(0), 5 + 70_000), "{url}");
    }
    assert_eq!(run(&["pub", "--ws", "-h", "127.0.0.1", "-p", &broker.ws, "-t", "w", "-m", "x"]).0, Some(0));
    let (code, _, error) = run(&["pub", "--ws", "-h", "127.0.0.1", "-p", &broker.open, "-t", "w", "-m", "x"]);
    assert_eq!(code, Some(1), "{error}");
}

/// Runs a scenario and gives its JSON; nothing may be wrong.
fn bench(args: &[&str]) -> Value {
    let (code, output, error) = run(&[&["bench"], args, &["--json"]].concat());
    let report: Value = serde_json::from_str(&output).unwrap_or_else(|_| panic!("{args:?}: {output}{error}"));
    assert_eq!(code, Some(0), "{args:?}: {report:#}");
    assert_eq!(report["faults"], serde_json::json!([]));
    assert_eq!(error, "", "no progress line where nobody looks");
    report
}

#[test]
fn bench_pairs_loses_nothing_and_its_figures_fit_together() {
    let broker = Mosquitto::start();
    let process_id = broker.process_id();
    for (qos, mqtt) in [("0", "4"), ("1", "5"), ("2", "4"), ("2", "5")] {
        let report = bench(&[
            "pairs",
            "--pairs",
            "4",
            "--port",
            &broker.open,
            "--duration",
            "0.5",
            "--warmup",
            "0.1",
            "--qos",
            qos,
            "--mqtt",
            mqtt,
            "--broker-pid",
            &process_id,
            "--window",
            "16",
        ]);
        let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key}: {report:#}"));
        assert!(number("delivered") > 100.0, "{report:#}");
        for key in ["lost", "duplicated", "out_of_order", "connections_lost"] {
            assert_eq!(number(key), 0.0, "{key}");
        }
        assert_eq!(report["published"], report["delivered"]);
        assert!((0.45..1.5).contains(&number("measured_s")));
        let latency = |key: &str| report["latency_us"][key].as_f64().unwrap();
        assert!(0.0 < latency("p50") && latency("p50") <= latency("p99") && latency("p99") <= latency("max"));
        // Little's law: what is under way is what comes a second times how long it takes.
        assert!(number("delivered_per_s") * latency("p50") / 1e6 < 4.0 * 16.0 * 2.0);
        let product = number("broker_cpu_us_per_delivery") * number("delivered_per_broker_cpu_s");
        assert!((0.9e6..1.1e6).contains(&product), "{report:#}");
    }
}

#[test]
fn bench_holds_a_rate() {
    let broker = Mosquitto::start();
    let report = bench(&[
        "fan-in",
        "--pubs",
        "5",
        "--port",
        &broker.open,
        "--duration",
        "1",
        "--warmup",
        "0.1",
        "--rate",
        "500",
    ]);
    let rate = report["delivered_per_s"].as_f64().unwrap();
    assert!((450.0..550.0).contains(&rate), "{report:#}");
}

#[test]
fn bench_runs_every_scenario() {
    let broker = Mosquitto::start();
    let (ca, cert, key) = (broker.file("ca.crt"), broker.file("client.crt"), broker.file("client.key"));
    let brief = ["--port", &broker.open, "--duration", "0.2", "--warmup", "0.05"];
    let with = |args: &[&'static str]| -> Vec<String> {
        args.iter().chain(&brief).map(|word| (*word).to_owned()).collect()
    };
    for args in [
        with(&["fan-out", "--subs", "10"]),
        with(&["exchange", "--pubs", "5", "--subs", "10", "--groups", "2", "--qos", "1", "--window", "8"]),
        with(&["subs", "--subscriptions", "1000", "--settle", "1"]),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        assert!(bench(&args)["delivered"].as_u64().unwrap() > 0);
    }
    let port = ["--port", &broker.open];
    assert_eq!(
        bench(&[&["idle", "--connections", "100", "--hold", "0.1"], &port[..]].concat())["connected"],
        100
    );
    assert!(bench(&[&["churn", "--duration", "0.2"], &port[..]].concat())["accepted"].as_u64().unwrap() > 0);
    let retained = bench(&[&["retained", "--count", "500", "--repeat", "1"], &port[..]].concat());
    assert!(retained["fetched_per_s"].as_f64().unwrap() > 0.0);
    let queue =
        bench(&[&["queue", "--clients", "8", "--per-client", "50", "--mqtt", "5"], &port[..]].concat());
    assert_eq!((&queue["queued"], &queue["sessions_present"]), (&Value::from(400), &Value::from(8)));
    let tls = ["--port", &broker.tls, "--tls", "--cafile", &ca, "--cert", &cert, "--key", &key];
    let pairs =
        [&["pairs", "--pairs", "3", "--duration", "0.2", "--warmup", "0.05", "--size", "3000"], &tls[..]]
            .concat();
    assert!(bench(&pairs)["delivered"].as_u64().unwrap() > 0);
    let churn = [&["churn", "--duration", "0.2", "--concurrency", "4"], &tls[..]].concat();
    assert!(bench(&churn)["accepted"].as_u64().unwrap() > 0);
}

#[test]
fn bench_refuses_a_stranger_and_reports_a_broker_that_is_not_there() {
    let (code, _, error) = run(&["bench", "pairs", "--host", "192.0.2.1"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("--dangerous-remote-target"), "{error}");
    let [nobody] = free_ports();
    let args = [
        "bench",
        "pairs",
        "--port",
        &nobody,
        "--pairs",
        "1",
        "--duration",
        "0.1",
        "--warmup",
        "0",
        "--drain",
        "0.1",
    ];
    let (code, output, _) = run(&args);
    assert_eq!(code, Some(1));
    assert!(output.contains("failed to connect"), "{output}");
}
