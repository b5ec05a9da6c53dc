//! Tests of the configuration as a whole: what is refused, where the error points, and what the files must hold.

use super::*;
use ravelin_protect::pki::{Ca, DAY};
use ravelin_protect::{BindClientId, ClientCertificate, NodeSecret};

const NOW_S: u64 = 1_800_000_000;

const GOOD: &str = r#"
[node]
name = "plant-1"
data = "data"
workers = 2
[[listener]]
name = "mtls"
transport = "tls"
address = "0.0.0.0:8883"
certificate = "server.crt"
key = "server.key"
client_ca = "ca.crt"
crl = ["ca.crl"]
bind_client_id = "prefix"
authentication = ["certificate"]
[[listener]]
transport = "wss"
address = "[::1]:8884"
certificate = "server.crt"
key = "server.key"
client_certificate = "none"
authentication = ["password", "scram-sha-256"]
websocket_path = "/bus"
allowed_origins = ["https://plant.example"]
proxy_protocol = true
proxy_trusted = ["10.0.0.0/8"]
[authentication]
password_file = "passwords"
[access]
rules_file = "access.rules"
[store]
durability = "interval"
interval = "50ms"
key_file = "store.key"
[limits]
packet_bytes_max = "256KiB"
connection_rate = "1000/s"
sessions_max = 5000
keep_alive_max = "5m"
[log]
format = "json"
level = "debug"
[sys]
interval = "0s"
"#;

fn errors(text: &str) -> Vec<Diagnostic> {
    Config::parse(text, Path::new("/etc/ravelin")).err().unwrap_or_else(|| panic!("accepted: {text}")).0
}

/// The one error: its line, what is wrong, what to do.
fn error(text: &str) -> (usize, String, String) {
    let mut found = errors(text);
    found.retain(|diagnostic| diagnostic.severity == Severity::Error);
    assert_eq!(found.len(), 1, "{}", ConfigErrors(found.clone()));
    let only = found.remove(0);
    (only.line, only.what, only.help)
}

fn listener(keys: &str) -> String {
    format!("[[listener]]\n{keys}\n[access]\nrules_file = \"r\"\n[authentication]\npassword_file = \"p\"\n")
}

#[test]
fn a_configuration_is_read() {
    let config = Config::parse(GOOD, Path::new("/etc/ravelin")).unwrap();
    assert_eq!(config.node.data.as_deref(), Some(Path::new("/etc/ravelin/data")));
    assert_eq!((config.node.name.as_str(), config.node.workers), ("plant-1", 2));
    let [mtls, wss] = &config.listeners[..] else { panic!() };
    assert_eq!(mtls.policy.client_certificate, ClientCertificate::Required);
    assert_eq!(mtls.policy.bind_client_id, BindClientId::Prefix);
    assert!(mtls.policy.methods.certificate && !mtls.policy.methods.password && !mtls.policy.anonymous);
    assert_eq!(mtls.tls.as_ref().unwrap().crl, [CrlSource::File("/etc/ravelin/ca.crl".into())]);
    assert_eq!((wss.name.as_str(), wss.websocket_path.as_str()), ("wss-8884", "/bus"));
    assert!(
        wss.policy.methods.scram_sha_256
            && wss.proxy_trusted.as_ref().unwrap()[0].contains([10, 1, 2, 3].into())
    );
    assert_eq!(config.store.durability, Durability::Interval);
    assert_eq!(config.limits.packet_bytes_max, 256 << 10);
    assert_eq!(config.limits.connection_rate.per_second(), 1000);
    assert_eq!(config.limits.keep_alive_max, Duration::from_secs(300));
    assert_eq!(config.limits.inflight_max, Limits::default().inflight_max);
    assert_eq!(config.log, LogConfig { format: LogFormat::Json, level: Level::Debug });
    assert!(config.sys.interval.is_zero() && config.warnings.is_empty());
}

#[test]
fn plain_transport_beyond_loopback_must_be_called_dangerous() {
    let plain = "transport = \"tcp\"\naddress = \"0.0.0.0:1883\"";
    let (line, what, help) = error(&listener(plain));
    assert_eq!(line, 3);
    assert!(what.contains("not loopback") && help.contains("dangerous_plaintext = true"), "{what} {help}");
    for (address, refused) in [
        ("127.0.0.1:1883", false),
        ("127.9.9.9:1883", false),
        ("[::1]:1883", false),
        ("[::ffff:127.0.0.1]:1883", false),
        ("[::]:1883", true),
        ("10.0.0.1:1883", true),
        ("[::ffff:10.0.0.1]:1883", true),
    ] {
        for transport in ["tcp", "ws"] {
            let text = listener(&format!("transport = \"{transport}\"\naddress = \"{address}\""));
            assert_eq!(Config::parse(&text, Path::new("")).is_err(), refused, "{transport} {address}");
        }
    }
    let config =
        Config::parse(&listener(&format!("{plain}\ndangerous_plaintext = true")), Path::new("")).unwrap();
    assert_eq!(config.warnings.len(), 1);
    assert_eq!(config.warnings[0].line, 4);
}

#[test]
fn letting_anyone_in_or_do_anything_must_be_called_dangerous() {
    let text = "[[listener]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:1\"\nauthentication = []\n[access]\nrules_file = \"r\"";
    let (line, what, _) = error(text);
    assert!(line == 4 && what.contains("nobody can log in"), "{what}");
    let (_, what, help) = error(
        &text
            .replace("[]", "[\"anonymous\", \"certificate\"]")
            .replace(", \"certificate\"", ", \"password\"")
            .replace("[access]", "[authentication]\npassword_file=\"p\"\n[access]"),
    );
    assert!(what.contains("not a method") && help.contains("dangerous_anonymous"), "{what} {help}");
    let open = text.replace("authentication = []", "dangerous_anonymous = true");
    let config = Config::parse(&open, Path::new("")).unwrap();
    assert!(config.listeners[0].policy.anonymous && config.warnings.len() == 1);
    let without_rules = open.replace("rules_file = \"r\"", "");
    let config = Config::parse(&without_rules, Path::new("")).unwrap();
    assert!(!config.access.dangerous_allow_everything);
    assert!(config.warnings.iter().any(|warning| warning.what.contains("nobody may publish")));
    let both = format!("{open}\ndangerous_allow_everything = true");
    assert!(error(&both).1.contains("no effect"));
}

#[test]
fn dangerous_open_is_for_loopback_only() {
    let config = Config::dangerous_open("127.0.0.1:1883".parse().unwrap(), None, 3).unwrap();
    assert_eq!((config.node.workers, config.listeners[0].address.port()), (3, 1883));
    assert!(config.listeners[0].policy.anonymous && config.access.dangerous_allow_everything);
    assert_eq!(config.store.durability, Durability::Commit);
    assert_eq!(config.limits.subscriptions_per_session_max, 1_000_000);
    assert!(config.load_files(NodeSecret::new([0; 32]), NOW_S).is_ok());
    assert_eq!(config.warnings.len(), 2);
    for address in ["0.0.0.0:1883", "10.0.0.1:1883", "[::]:1883"] {
        assert!(Config::dangerous_open(address.parse().unwrap(), None, 0).is_err(), "{address}");
    }
}

#[test]
fn errors_say_where_what_and_what_to_do() {
    let base = "transport = \"tcp\"\naddress = \"127.0.0.1:1\"";
    for (keys, line, what, help) in [
        ("packet_byte_max = 5", 9, "has no key `packet_byte_max`", "did you mean `packet_bytes_max`?"),
        ("packet_bytes_max = \"5 apples\"", 9, "a size", ""),
        ("packet_bytes_max = 5", 9, "not within 1KiB and", ""),
        ("packet_bytes_max = -5", 9, "a count", ""),
        ("packet_bytes_max = 1.5", 9, "number with a fraction", ""),
        ("connect_deadline = 10", 9, "a duration", ""),
        ("connection_rate = \"10\"", 9, "a rate", ""),
        ("exempt_loopback = \"yes\"", 9, "true or false", ""),
        ("connect_bytes_max = \"64KiB\"\npacket_bytes_max = \"32KiB\"", 9, "greater than", "lower"),
        ("xyzzy = 1", 9, "has no key `xyzzy`", "`[limits]` has: memory_max, packet_bytes_max"),
    ] {
        let found = error(&format!("{}[limits]\n{keys}\n", listener(base)));
        assert!(found.0 == line && found.1.contains(what) && found.2.contains(help), "{keys}: {found:?}");
    }
    for (keys, line, what, help) in [
        ("address = \"127.0.0.1:1\"", 1, "no `transport`", "transport = \"tls\""),
        ("transport = \"tcp\"", 1, "no `address`", "address = "),
        ("transport = \"tpc\"\naddress = \"127.0.0.1:1\"", 2, "one of \"tls\"", "did you mean \"tcp\"?"),
        ("transport = \"tcp\"\naddress = \"localhost:1\"", 3, "not an address and a port", "127.0.0.1:8883"),
        ("transport = \"tcp\"\naddress = \"127.0.0.1:1\"\nkey = \"k\"", 4, "no effect", "\"tls\""),
        ("transport = \"tcp\"\naddress = \"127.0.0.1:1\"\nallowed_origins = []", 4, "no effect", "\"ws\""),
        (
            "transport = \"ws\"\naddress = \"127.0.0.1:1\"\nallowed_origins = [\"*\"]",
            4,
            "not the origin",
            "https",
        ),
        (
            "transport = \"ws\"\naddress = \"127.0.0.1:1\"\nwebsocket_path = \"mqtt\"",
            4,
            "begins with `/`",
            "",
        ),
        (
            "transport = \"tcp\"\naddress = \"127.0.0.1:1\"\nclient_certificate = \"required\"\nauthentication=[\"password\"]",
            4,
            "without TLS",
            "",
        ),
        (
            "transport = \"tcp\"\naddress = \"127.0.0.1:1\"\nauthentication = [\"certificate\"]",
            4,
            "cannot succeed",
            "",
        ),
        (
            "transport = \"tcp\"\naddress = \"127.0.0.1:1\"\nproxy_protocol = true",
            4,
            "needs `proxy_trusted`",
            "",
        ),
        (
            "transport = \"tcp\"\naddress = \"127.0.0.1:1\"\nproxy_trusted = [\"10.0.0.0/8\"]",
            4,
            "no effect",
            "",
        ),
        (
            "transport = \"tcp\"\naddress = \"127.0.0.1:1\"\nproxy_protocol = true\nproxy_trusted = [\"0.0.0.0/0\"]",
            5,
            "believes everyone",
            "",
        ),
        (
            "transport = \"tls\"\naddress = \"127.0.0.1:1\"\nkey = \"k\"\nclient_ca = \"c\"",
            1,
            "`certificate` is missing",
            "",
        ),
        (
            "transport = \"tls\"\naddress = \"127.0.0.1:1\"\ncertificate = \"c\"\nkey = \"k\"",
            1,
            "`client_ca` is missing",
            "",
        ),
    ] {
        let found = error(&listener(keys));
        assert!(found.0 == line && found.1.contains(what) && found.2.contains(help), "{keys}: {found:?}");
    }
    assert!(error("").1.contains("no listener"));
    assert!(error("[listener]\nname = \"x\"").2.contains("[[listener]]"));
    assert!(error("[[listener]\n").0 == 1);
    let twice = format!(
        "{}[[listener]]\nname=\"tcp-1\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:1\"\n",
        listener(base)
    );
    let found = errors(&twice);
    assert_eq!(found.iter().map(|error| error.line).collect::<Vec<_>>(), [9, 11]);
    let no_passwords =
        "[[listener]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:1\"\n[access]\nrules_file = \"r\"";
    assert!(error(no_passwords).1.contains("no password file"));
    assert!(error(&format!("{}[node]\ndata = \"d\"\n", listener(base))).1.contains("needs a key"));
}

#[test]
fn there_are_not_more_workers_than_the_core_has_shards_for() {
    let base = "transport = \"tcp\"\naddress = \"127.0.0.1:1\"\n";
    let with = |workers: u32| {
        Config::parse(&format!("[node]\nworkers = {workers}\n{}", listener(base)), Path::new(""))
    };
    assert!(with(64).is_ok());
    assert!(with(65).unwrap_err().to_string().contains("workers"));
}

#[test]
fn all_errors_are_shown_at_once_with_the_line_and_a_caret() {
    let text = "[node]\nwrokers = 2\n[[listener]]\n\ttransport = 5\n";
    let shown = Config::parse(text, Path::new("")).unwrap_err().to_string();
    assert!(shown.contains("did you mean `workers`?"), "{shown}");
    let expected = " 2 | wrokers = 2\n   | ^^^^^^^";
    assert!(shown.contains(expected), "{shown}");
    assert!(shown.contains(" 4 | \ttransport = 5\n   | \t            ^"), "{shown}");
    assert!(shown.contains("ravelin.toml:2:1"), "{shown}");
}

#[test]
fn no_text_makes_the_parser_panic() {
    // Cut and altered at every place; a property over random text would hardly get past the first bracket.
    for end in 0..GOOD.len() {
        let _ = Config::parse(&GOOD[..end], Path::new(""));
        let mut altered = GOOD.as_bytes().to_vec();
        for byte in [b'"', b'[', b'\n', b'=', 0, b'9'] {
            altered[end] = byte;
            let _ = Config::parse(std::str::from_utf8(&altered).unwrap(), Path::new(""))
                .map_err(|e| e.to_string());
        }
    }
    for text in [
        "\u{feff}",
        "é = 1",
        "[[listener]]\naddress = \"é\"",
        "node = 1",
        "limits = []",
        "listener = [1, {}]",
        "a.b.c = 1",
    ] {
        let _ = Config::parse(text, Path::new("")).map_err(|errors| errors.to_string());
    }
}

struct Deployment(tempfile::TempDir);

impl Deployment {
    fn new() -> Deployment {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (ca, issued) = Ca::create("CA", NOW_S, DAY * 400).unwrap();
        issued.save(&at("ca.crt"), &at("ca.key")).unwrap();
        std::fs::write(at("ca.crl"), ca.issue_crl(&[], 1, NOW_S, DAY * 300).unwrap()).unwrap();
        let server = ca.issue_server(&["localhost".into()], NOW_S, DAY * 90).unwrap();
        server.save(&at("server.crt"), &at("server.key")).unwrap();
        for (name, text) in
            [("passwords", "# none\n"), ("access.rules", "user a\ntopic read x\n"), ("ravelin.toml", GOOD)]
        {
            ravelin_protect::file::create(&at(name), text.as_bytes(), ravelin_protect::file::Mode::Private)
                .unwrap();
        }
        ravelin_store::Keys::create(at("store.key")).unwrap();
        Deployment(dir)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn load_at(&self, now_s: u64) -> Result<Files, ConfigErrors> {
        Config::load(self.0.path()).unwrap().load_files(NodeSecret::new([0; 32]), now_s)
    }

    /// The line of `ravelin.toml` and what is wrong.
    fn failure(&self) -> (usize, String) {
        let errors = self.load_at(NOW_S).err().expect("an error").0;
        (errors[0].line, errors[0].what.clone())
    }
}

#[test]
fn the_files_are_loaded() {
    let files = Deployment::new().load_at(NOW_S).unwrap();
    assert_eq!(files.listeners.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true]);
    assert_eq!(
        files.listeners.iter().flatten().map(|one| one.trust.is_some()).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(files.access.len(), 1);
    assert!(files.warnings.is_empty(), "{:?}", files.warnings);
}

#[test]
fn a_file_that_is_missing_or_broken_is_reported_at_the_line_that_names_it() {
    for (name, line, what) in [
        ("server.crt", 10, "failed to read"),
        ("server.key", 11, "failed to read"),
        ("ca.crt", 12, "failed to read"),
        ("ca.crl", 13, "failed to read"),
        ("passwords", 28, "failed to read"),
        ("access.rules", 30, "failed to read"),
        ("store.key", 34, ""),
    ] {
        let deployment = Deployment::new();
        std::fs::remove_file(deployment.0.path().join(name)).unwrap();
        let found = deployment.failure();
        assert!(found.0 == line && found.1.contains(what), "{name}: {found:?}");
        if !matches!(name, "passwords" | "access.rules") {
            deployment.write(name, "rubbish");
            assert_eq!(deployment.failure().0, line, "{name}: rubbish");
        }
    }
}

#[test]
fn an_error_in_a_file_with_lines_points_into_that_file() {
    let deployment = Deployment::new();
    deployment.write("access.rules", "user a\ntopic reed x\n");
    deployment.write("passwords", "alice:plain\n");
    let errors = deployment.load_at(NOW_S).err().unwrap().0;
    assert!(errors[0].file.ends_with("passwords") && errors[0].line == 1, "{errors:?}");
    assert!(errors[1].file.ends_with("access.rules") && errors[1].line == 2, "{errors:?}");
    assert!(errors[0].source_line.is_empty(), "a password file is never shown");
}

#[test]
fn secrets_that_others_can_read_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    for (name, line) in [("server.key", 11), ("passwords", 28), ("store.key", 34)] {
        let deployment = Deployment::new();
        let path = deployment.0.path().join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let found = deployment.failure();
        assert!(found.0 == line && found.1.contains("by others"), "{name}: {found:?}");
    }
}

#[test]
fn certificates_that_do_not_fit_or_end_soon_are_noticed() {
    let deployment = Deployment::new();
    let other = Deployment::new();
    std::fs::copy(other.0.path().join("server.key"), deployment.0.path().join("server.key")).unwrap();
    let (line, what) = deployment.failure();
    assert!(line == 11 && what.contains("is not the key of the certificate"), "{what}");
    let soon = Deployment::new().load_at(NOW_S + 86_400 * 80).unwrap().warnings;
    assert!(soon[0].line == 10 && soon[0].what.contains("expires in 10 days"), "{soon:?}");
    let late = Deployment::new().load_at(NOW_S + 86_400 * 100).unwrap().warnings;
    assert!(late[0].what.contains("has expired"), "{late:?}");
    let stale = Deployment::new().load_at(NOW_S + 86_400 * 310).unwrap().warnings;
    assert!(
        stale.iter().any(|warning| warning.line == 13 && warning.what.contains("out of date")),
        "{stale:?}"
    );
}

#[test]
fn weak_hashes_are_warned_of() {
    let deployment = Deployment::new();
    deployment.write("passwords", &format!("bob:$6$c2FsdHNhbHQ=${}==\n", "A".repeat(86)));
    let warnings = deployment.load_at(NOW_S).unwrap().warnings;
    assert!(warnings[0].line == 28 && warnings[0].what.contains("\"bob\""), "{warnings:?}");
}

#[test]
fn every_limit_is_documented_and_its_default_is_read_back() {
    let mut text = listener("transport = \"tcp\"\naddress = \"127.0.0.1:1\"");
    text += "[limits]\n";
    for limit in LIMITS {
        assert!(!limit.meaning.trim().is_empty(), "{}", limit.name);
        text += &format!("{} = {}\n", limit.name, (limit.default)());
    }
    assert_eq!(Config::parse(&text, Path::new("")).unwrap().limits, Limits::default());
}

#[test]
fn rates_are_read_and_what_is_wrong_with_them_is_said() {
    let parse = |rates: &str| {
        let text = listener("transport = \"tcp\"\naddress = \"127.0.0.1:1\"");
        Config::parse(&format!("{text}{rates}"), Path::new(""))
    };
    let config = parse(
        "[[rate]]\nscope = \"class\"\nmessages = [\"10/s\", \"100/m\"]\nmessages_burst = 3\nbytes = \"64KiB/s\"\n\
         [[rate]]\nname = \"t\"\nscope = \"topic\"\nof = \"a/#\"\nmessages = \"5/s\"\non_exceed = \"drop\"\n",
    )
    .unwrap();
    assert_eq!((&*config.rates[0].name, &*config.rates[1].name), ("rate1", "t"));
    assert_eq!(serde_json::to_string(&config.rates[0].limits[0].1).unwrap(), "[\"10/s\",\"100/m\"]");
    assert_eq!(config.rates[0].limits[0].1.burst(), Some(3));
    for (rates, what) in [
        ("[[rate]]\nmessages = \"5/s\"\n", "needs a `scope`"),
        ("[[rate]]\nscope = \"clients\"\nmessages = \"5/s\"\n", "`scope` is one of"),
        ("[[rate]]\nscope = \"client\"\n", "limits nothing"),
        ("[[rate]]\nscope = \"client\"\nmessages = \"infinity\"\n", "limits nothing"),
        ("[[rate]]\nscope = \"client\"\nmessages = \"5\"\n", "`messages` is a rate"),
        ("[[rate]]\nscope = \"client\"\nmessages = 5\n", "`messages` is a rate"),
        ("[[rate]]\nscope = \"topic\"\nmessages = \"5/s\"\n", "needs a filter"),
        ("[[rate]]\nscope = \"topic\"\nof = \"a/#/b\"\nmessages = \"5/s\"\n", "not a topic filter"),
        ("[[rate]]\nscope = \"topic\"\nof = \"a\"\nconnects = \"5/s\"\n", "published to"),
        ("[[rate]]\nscope = \"address\"\nof = \"pump\"\nmessages = \"5/s\"\n", "not a network"),
        ("[[rate]]\nscope = \"listener\"\nof = \"none\"\nmessages = \"5/s\"\n", "no listener \"none\""),
        ("[[rate]]\nscope = \"client\"\nmessage = \"5/s\"\n", "no key `message`"),
    ] {
        let errors = parse(rates).err().unwrap_or_else(|| panic!("{rates}"));
        assert!(errors.0.iter().any(|error| error.what.contains(what)), "{rates}: {errors}");
    }
}

#[test]
fn the_life_of_keys_is_configured() {
    let tls = "transport = \"tls\"\naddress = \"127.0.0.1:1\"\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\n";
    let parse = |keys: &str, sections: &str| {
        Config::parse(&(listener(&format!("{tls}{keys}")) + sections), Path::new("/etc/ravelin"))
    };
    let default = parse("", "").unwrap();
    let one = &default.listeners[0];
    assert_eq!((one.ages.key, one.ages.session), (Duration::from_secs(86_400), Duration::ZERO));
    assert!(default.ca.is_none() && !one.tls.as_ref().unwrap().staple.is_wanted());
    let config = parse(
        "crl = [\"a.crl\", \"https://pki.example/a.crl?token=x\"]\nticket_lifetime = \"1h\"\nocsp_fetch = true\nkey_age_max = \"1h\"",
        "[ca]\ncertificate = \"ca.crt\"\nkey = \"ca.key\"\nvalidity = \"7d\"\nsan_uri = [\"urn:plant:%u\"]\n[certificates]\nwatch = \"0s\"",
    )
    .unwrap();
    let tls_of = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!(tls_of.crl[0], CrlSource::File("/etc/ravelin/a.crl".into()));
    assert_eq!(tls_of.crl[1].to_string(), "https://pki.example/a.crl", "a secret in a URL is not shown");
    assert_eq!(tls_of.ticket_lifetime, Duration::from_secs(3600));
    let ca = config.ca.unwrap();
    assert_eq!((ca.rules.validity, ca.rules.rsa_bits_min), (Duration::from_secs(7 * 86_400), 3072));
    assert_eq!(ca.rules.names.uri, ["urn:plant:%u"]);
    assert!(config.certificates.watch.is_zero());
    for (keys, sections, wanted) in [
        ("crl = [\"http://user:pw@host/a\"]", "", "not a URL"),
        ("ticket_lifetime = \"2d\"", "", "is not within"),
        ("", "[ca]\ncertificate = \"c\"\n", "no `key`"),
        ("", "[ca]\ncertificate = \"c\"\nkey = \"k\"\nrsa_bits_min = 1024\n", "is not within"),
        (
            "",
            "[ca]\ncertificate = \"c\"\nkey = \"k\"\nsan_dns = [\"bus.example\"]\n",
            "everyone's certificate",
        ),
    ] {
        let what = parse(keys, sections).err().unwrap_or_else(|| panic!("{keys}{sections}")).to_string();
        assert!(what.contains(wanted), "{what}");
    }
    let plain = listener("transport = \"tcp\"\naddress = \"127.0.0.1:1\"\nkey_age_max = \"1h\"");
    assert!(error(&plain).1.contains("no effect"));
}
