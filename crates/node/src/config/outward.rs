//! `[[outward]]`: who is told of alarms, actions and events, and how.

use super::Config;
use super::read::{Reader, Table};
use crate::fetch;
use ravelin_event::{Level, Severity};
use ravelin_outward::{Backoff, Form, Selection, SpoolLimits, syslog};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many destinations, each with a thread.
const DESTINATIONS_MAX: usize = 32;
/// So many filters of taps; they are compared once for each topic.
const TAPS_MAX: usize = 256;
const SECOND: Duration = Duration::from_secs(1);

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutwardConfig {
    /// Its name, in the API, in metrics and on disk.
    pub name: String,
    /// How.
    pub kind: OutwardKind,
    /// Of what.
    pub selection: Selection,
    /// In which form; of monitors it is JSON of our own.
    pub form: Form,
    /// How much may wait.
    pub limits: SpoolLimits,
    /// When it is tried again.
    pub backoff: Backoff,
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the keys of the configuration, which the guide explains")]
pub enum OutwardKind {
    Webhook(WebhookConfig),
    Syslog(SyslogConfig),
    /// Lines in a file: JSON, or for fail2ban.
    File(PathBuf),
    Monitor(MonitorConfig),
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the keys of the configuration, which the guide explains")]
pub struct WebhookConfig {
    pub url: String,
    pub tls: TlsConfig,
    pub secret_file: Option<PathBuf>,
    pub header_file: Option<PathBuf>,
    pub timeout: Duration,
    pub batch_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the keys of the configuration, which the guide explains")]
pub struct SyslogConfig {
    pub host: String,
    pub port: u16,
    pub transport: SyslogTransport,
    pub tls: TlsConfig,
    pub timeout: Duration,
    pub settle: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names say it")]
pub enum SyslogTransport {
    Tls,
    Tcp,
    Udp,
}

/// By whom a server is verified, and what it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the keys of the configuration, which the guide explains")]
pub struct TlsConfig {
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// What the node publishes below `$MONITOR`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MonitorConfig {
    /// Topics whose publishes are told of, without payload.
    pub tap: Vec<String>,
    /// Those among them that are told of with their payload.
    pub payload: Vec<String>,
    /// Largest payload that is told of, in bytes; what is longer is cut.
    pub payload_bytes_max: usize,
}

impl OutwardConfig {
    /// What is published for monitors, if that is what it is.
    pub fn monitor(&self) -> Option<&MonitorConfig> {
        match &self.kind {
            OutwardKind::Monitor(monitor) => Some(monitor),
            _ => None,
        }
    }

    /// The file that is written to, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match &self.kind {
            OutwardKind::File(path) => Some(path),
            _ => None,
        }
    }

    /// The word of the configuration for how it is told.
    pub fn kind_name(&self) -> &'static str {
        match (&self.kind, self.form) {
            (OutwardKind::Webhook(_), _) => "webhook",
            (OutwardKind::Syslog(_), _) => "syslog",
            (OutwardKind::File(_), Form::Fail2ban) => "fail2ban",
            (OutwardKind::File(_), _) => "file",
            (OutwardKind::Monitor(_), _) => "mqtt",
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Webhook,
    Syslog,
    Fail2ban,
    File,
    Mqtt,
}

const KINDS: [(&str, Kind); 5] = [
    ("webhook", Kind::Webhook),
    ("syslog", Kind::Syslog),
    ("fail2ban", Kind::Fail2ban),
    ("file", Kind::File),
    ("mqtt", Kind::Mqtt),
];

/// Reads one; `None` if it lacks what nothing can stand in for.
pub(super) fn read(table: &mut Table<'_, '_>, base: &Path) -> Option<OutwardConfig> {
    let words = KINDS.map(|(word, _)| word);
    let Some(kind) = table.choice("kind", &KINDS) else {
        if !table.reader.places.contains_key(&format!("{}.kind", table.path)) {
            let what = "`kind` is missing".into();
            table.reader.error_at(&table.path.clone(), what, &format!("it is one of {}", words.join(", ")));
        }
        // Its keys cannot be checked; each would be reported as unknown.
        skip(table);
        return None;
    };
    let name = table.take::<String>("name");
    let name = name.unwrap_or_else(|| {
        KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(word, _)| word).into()
    });
    if !is_name(&name) {
        let what = format!("`{}` is not a name", name.escape_debug());
        wrong(table, "name", what, "use at most 64 letters, digits, `.`, `_` and `-`");
    }
    let form = form(table, kind);
    let selection = selection(table, kind);
    let limits = SpoolLimits {
        entries_max: table.take_between("entries_max", 1, 10_000_000).unwrap_or(10_000_u64) as usize,
        bytes_max: table.take_between("bytes_max", 64 << 10, 4 << 30).unwrap_or(16_u64 << 20) as usize,
    };
    let default = Backoff::default();
    let retry = table.take_between("retry", SECOND / 100, 3600 * SECOND).unwrap_or(default.first);
    let retry_max = table.take_between("retry_max", SECOND / 100, 86_400 * SECOND).unwrap_or(default.max);
    let kind = match kind {
        Kind::Webhook => OutwardKind::Webhook(webhook(table, base)?),
        Kind::Syslog => OutwardKind::Syslog(syslog_receiver(table, base)?),
        Kind::Fail2ban | Kind::File => {
            OutwardKind::File(base.join(needed(table, "path", "/var/log/ravelin/x.log")?))
        }
        Kind::Mqtt => OutwardKind::Monitor(monitor(table)),
    };
    Some(OutwardConfig {
        name,
        kind,
        selection,
        form,
        limits,
        backoff: Backoff { first: retry, max: retry_max.max(retry) },
    })
}

fn skip(table: &mut Table<'_, '_>) {
    for name in [
        "name",
        "format",
        "events",
        "alarms",
        "level",
        "entries_max",
        "bytes_max",
        "retry",
        "retry_max",
        "url",
        "ca",
        "certificate",
        "key",
        "secret_file",
        "header_file",
        "timeout",
        "batch_max",
        "address",
        "transport",
        "settle",
        "facility",
        "enterprise",
        "path",
        "tap",
        "payload",
        "payload_bytes_max",
        "dangerous_plain",
    ] {
        table.raw(name);
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}

fn form(table: &mut Table<'_, '_>, kind: Kind) -> Form {
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Ocsf,
        Native,
    }
    match kind {
        Kind::Fail2ban => Form::Fail2ban,
        Kind::Mqtt => Form::Native,
        Kind::Webhook | Kind::File => {
            match table.choice("format", &[("ocsf", Word::Ocsf), ("native", Word::Native)]) {
                Some(Word::Native) => Form::Native,
                _ => Form::Ocsf,
            }
        }
        Kind::Syslog => {
            let word = table.choice("format", &[("ocsf", Word::Ocsf), ("native", Word::Native)]);
            let facility = table.choice("facility", &FACILITIES).unwrap_or(16);
            let enterprise = table.take_between("enterprise", 1, u64::from(u32::MAX));
            Form::Syslog(syslog::Style {
                facility,
                enterprise: enterprise
                    .and_then(|number| u32::try_from(number).ok())
                    .unwrap_or(syslog::ENTERPRISE),
                ocsf: word == Some(Word::Ocsf),
            })
        }
    }
}

const FACILITIES: [(&str, u8); 12] = [
    ("daemon", 3),
    ("auth", 4),
    ("authpriv", 10),
    ("audit", 13),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

fn selection(table: &mut Table<'_, '_>, kind: Kind) -> Selection {
    let mut selection = Selection::default();
    if kind == Kind::Fail2ban {
        selection.events = Selection::REFUSALS.map(str::to_owned).to_vec();
        (selection.each, selection.with_address) = (true, true);
        selection.alarms = Some(Severity::Medium);
    }
    if kind == Kind::Mqtt {
        selection.events = ["action.*", "posture.*", "trust.changed"].map(str::to_owned).to_vec();
    }
    let words = [
        ("none", None),
        ("informational", Some(Severity::Informational)),
        ("low", Some(Severity::Low)),
        ("medium", Some(Severity::Medium)),
        ("high", Some(Severity::High)),
        ("critical", Some(Severity::Critical)),
    ];
    if let Some(alarms) = table.choice("alarms", &words) {
        selection.alarms = alarms;
    }
    if let Some(events) = table.take::<Vec<String>>("events") {
        if let Some(unknown) = Selection::unknown_pattern(&events) {
            let what = format!("there is no event \"{}\"", unknown.escape_debug());
            wrong(
                table,
                "events",
                what,
                "write ids such as \"record.signed\", or beginnings such as \"action.*\"",
            );
        }
        selection.events = events;
    }
    let words = [("debug", Level::Debug), ("info", Level::Info), ("warn", Level::Warn)];
    selection.level = table.choice("level", &words).unwrap_or(Level::Info);
    selection
}

fn webhook(table: &mut Table<'_, '_>, base: &Path) -> Option<WebhookConfig> {
    let url = needed(table, "url", "https://siem.example/hook");
    let plain = table.take("dangerous_plain").unwrap_or(false);
    let config = WebhookConfig {
        url: url.clone().unwrap_or_default(),
        tls: tls(table, base),
        secret_file: table.take::<String>("secret_file").map(|path| base.join(path)),
        header_file: table.take::<String>("header_file").map(|path| base.join(path)),
        timeout: table.take_between("timeout", SECOND / 10, 120 * SECOND).unwrap_or(10 * SECOND),
        batch_max: table.take_between("batch_max", 1, 1000).unwrap_or(100_u64) as usize,
    };
    let url = url?;
    if fetch::check_url(&url).is_err() {
        let what = format!("`{}` is not a URL of https without user name", url.escape_debug());
        wrong(table, "url", what, "write `url = \"https://siem.example/hook\"`");
    } else if config.is_plain() {
        plain_way(table, plain, "url", "what is told, and by what signature, can be read on the way");
    }
    Some(config)
}

impl WebhookConfig {
    /// Whether everybody on the way can read it.
    pub fn is_plain(&self) -> bool {
        self.url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
    }
}

/// What is not encrypted must have been asked for by name.
fn plain_way(table: &mut Table<'_, '_>, asked: bool, key: &str, what: &str) {
    if asked {
        let key = format!("{}.dangerous_plain", table.path);
        return table.reader.warning_at(&key, format!("{what}, and changed"), "");
    }
    wrong(table, key, format!("it is not encrypted: {what}"), "use TLS, or write `dangerous_plain = true`");
}

fn syslog_receiver(table: &mut Table<'_, '_>, base: &Path) -> Option<SyslogConfig> {
    let address = needed(table, "address", "siem.example:6514");
    let words = [("tls", SyslogTransport::Tls), ("tcp", SyslogTransport::Tcp), ("udp", SyslogTransport::Udp)];
    let transport = table.choice("transport", &words).unwrap_or(SyslogTransport::Tls);
    let plain = table.take("dangerous_plain").unwrap_or(false);
    let tls = tls(table, base);
    let timeout = table.take_between("timeout", SECOND / 10, 120 * SECOND).unwrap_or(10 * SECOND);
    let settle = table.take_between("settle", SECOND / 1000, 10 * SECOND).unwrap_or(SECOND / 10);
    if transport != SyslogTransport::Tls {
        plain_way(table, plain, "transport", "what is told can be read on the way");
    }
    let address = address?;
    let split = address.rsplit_once(':').and_then(|(host, port)| {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some((host.to_owned(), port.parse::<u16>().ok().filter(|port| *port > 0)?))
            .filter(|(host, _)| !host.is_empty())
    });
    let Some((host, port)) = split else {
        let what = format!("`{}` is not a name or address and a port", address.escape_debug());
        wrong(table, "address", what, "write `address = \"siem.example:6514\"`");
        return None;
    };
    Some(SyslogConfig { host, port, transport, tls, timeout, settle })
}

fn tls(table: &mut Table<'_, '_>, base: &Path) -> TlsConfig {
    let mut path = |name| table.take::<String>(name).map(|path| base.join(path));
    let config = TlsConfig { ca: path("ca"), certificate: path("certificate"), key: path("key") };
    if config.certificate.is_some() != config.key.is_some() {
        let (has, lacks) = if config.key.is_some() { ("key", "certificate") } else { ("certificate", "key") };
        wrong(table, has, format!("`{has}` is of no use without `{lacks}`"), "write both, or neither");
    }
    config
}

fn monitor(table: &mut Table<'_, '_>) -> MonitorConfig {
    let tap = table.take::<Vec<String>>("tap").unwrap_or_default();
    let payload = table.take::<Vec<String>>("payload").unwrap_or_default();
    let bytes = table.take_between("payload_bytes_max", 1, 1 << 20).unwrap_or(4096_u64) as usize;
    for (name, filters) in [("tap", &tap), ("payload", &payload)] {
        let bad = |filter: &&String| {
            !matches!(ravelin_mqtt::check_filter(filter, 128), Ok(None)) || filter.starts_with('$')
        };
        if let Some(filter) = filters.iter().find(bad) {
            let what = format!("\"{}\" is not a topic filter of clients' messages", filter.escape_debug());
            wrong(table, name, what, "write filters such as \"meters/#\"");
        }
        if filters.len() > TAPS_MAX {
            wrong(table, name, format!("more than {TAPS_MAX} filters"), "use wildcards");
        }
    }
    if !payload.is_empty() {
        let key = format!("{}.payload", table.path);
        let what = "whoever may subscribe to `$MONITOR/tap/...` reads the payload of these topics".into();
        table.reader.warning_at(&key, what, "");
    }
    MonitorConfig { tap, payload, payload_bytes_max: bytes }
}

fn needed(table: &mut Table<'_, '_>, name: &'static str, example: &str) -> Option<String> {
    let text = table.take::<String>(name).filter(|text| !text.is_empty());
    if text.is_none() {
        wrong(table, name, format!("`{name}` is missing"), &format!("write `{name} = \"{example}\"`"));
    }
    text
}

fn wrong(table: &mut Table<'_, '_>, name: &str, what: String, help: &str) {
    let key = format!("{}.{name}", table.path);
    table.reader.error_at(&key, what, help);
}

/// What must agree between them.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    if config.outward.len() > DESTINATIONS_MAX {
        let what = format!("more than {DESTINATIONS_MAX} destinations");
        reader.error_at("outward", what, "have one of them pass on what it gets");
    }
    let mut monitors = 0;
    for (index, destination) in config.outward.iter().enumerate() {
        let name = &destination.name;
        if config.outward[..index].iter().any(|other| other.name == *name) {
            let what = format!("two destinations are called \"{name}\"");
            reader.error_at(&format!("outward.{index}.name"), what, "give each its own `name`");
        }
        monitors += u32::from(destination.monitor().is_some());
        if monitors > 1 && destination.monitor().is_some() {
            let what = "there is another destination of kind \"mqtt\"".into();
            reader.error_at(&format!("outward.{index}.kind"), what, "put its keys into one");
        }
    }
}
