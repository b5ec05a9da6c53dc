//! The sections of the file, and what must agree between them.

use super::diagnostic::{ConfigErrors, Severity, Source};
use super::read::{Reader, Table};
use super::{
    AccessConfig, AuthenticationConfig, Config, DrillConfig, Durability, FirewallConfig, Limits, LogConfig,
    LogFormat, NodeConfig, RecordConfig, SandboxConfig, StoreConfig, SysConfig, control, detect, directory,
    inventory, jwt, keys, listener, outward, rates, record, respond, restrict,
};
use ravelin_broker::SHARDS_MAX;
use ravelin_event::Level;
use ravelin_protect::SecondFactor;
use ravelin_protect::rates::RateScope;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// What `serve --dangerous-open` runs; the address is put in.
pub(super) const OPEN: &str = "\
[[listener]]
name = \"open\"
transport = \"tcp\"
address = \"127.0.0.1:1883\"
bind_client_id = \"none\"
dangerous_anonymous = true
[access]
dangerous_allow_everything = true
";

/// A configuration that a node can serve with.
pub(super) fn parse(source: Arc<Source>, base: &Path) -> Result<Config, ConfigErrors> {
    read(source, base, true)
}

/// A configuration of which some sections may not be there, and what must agree between sections is not looked at.
pub(super) fn parse_part(source: Arc<Source>, base: &Path) -> Result<Config, ConfigErrors> {
    read(source, base, false)
}

fn read(source: Arc<Source>, base: &Path, whole: bool) -> Result<Config, ConfigErrors> {
    let (document, syntax) = DeTable::parse_recoverable(&source.text);
    let mut reader = Reader { source: &source, found: Vec::new(), places: BTreeMap::new() };
    for error in &syntax {
        reader.error(error.span().as_ref(), error.message().to_string(), "");
    }
    // After a syntax error, what was read is not what was meant: more findings would mislead.
    if !syntax.is_empty() {
        return Err(ConfigErrors(reader.found));
    }
    let mut root = Table::new(&mut reader, Some(document.get_ref()), "");
    let node = root.table("node", |table| NodeConfig {
        name: table.take("name").unwrap_or_else(|| "ravelin".into()),
        data: table.take::<String>("data").map(|path| base.join(path)),
        workers: table.take_between("workers", 0, u64::from(SHARDS_MAX)).unwrap_or(0) as usize,
        site: table.take("site"),
    });
    let listeners = root.tables("listener", |table, _| listener::read(table, base));
    let authentication = root.table("authentication", |table| AuthenticationConfig {
        password_file: table.take::<String>("password_file").map(|path| base.join(path)),
        hash_workers: table.take_between("hash_workers", 1, 64).unwrap_or(2) as usize,
        hash_queue_max: table.take_between("hash_queue_max", 1, 65_536).unwrap_or(64) as usize,
    });
    let jwt = root.tables("jwt", |table, _| jwt::read(table, base));
    let access = root.table("access", |table| AccessConfig {
        rules_file: table.take::<String>("rules_file").map(|path| base.join(path)),
        dangerous_allow_everything: table.take("dangerous_allow_everything").unwrap_or(false),
    });
    let ca = root.table("ca", |table| keys::read_ca(table, base));
    let certificates = root.table("certificates", |table| keys::read_certificates(table, base));
    let directory = root.table("directory", directory::read);
    let store = root.table("store", |table| StoreConfig {
        durability: table
            .choice(
                "durability",
                &[
                    ("commit", Durability::Commit),
                    ("interval", Durability::Interval),
                    ("none", Durability::None),
                ],
            )
            .unwrap_or_default(),
        interval: table
            .take_between("interval", Duration::from_millis(1), Duration::from_secs(60))
            .unwrap_or(Duration::from_millis(100)),
        key_file: table.take::<String>("key_file").map(|path| base.join(path)),
    });
    let sandbox = root.table("sandbox", SandboxConfig::read);
    let drill = root.table("drill", DrillConfig::read);
    let firewall = root.table("firewall", FirewallConfig::read);
    let record = root.table("record", |table| RecordConfig::read(table, base));
    let limits = root.table("limits", Limits::read);
    let rates = root.tables("rate", rates::read);
    let log = root.table("log", |table| LogConfig {
        format: table
            .choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)])
            .unwrap_or_default(),
        level: table
            .choice(
                "level",
                &[
                    ("trace", Level::Trace),
                    ("debug", Level::Debug),
                    ("info", Level::Info),
                    ("warn", Level::Warn),
                ],
            )
            .unwrap_or(Level::Info),
    });
    let sys = root.table("sys", |table| SysConfig {
        interval: table
            .take_between("interval", Duration::ZERO, Duration::from_secs(86_400))
            .unwrap_or(Duration::from_secs(10)),
    });
    let control = root.table("control", |table| control::read(table, base));
    let inventory = inventory::read(&mut root);
    let detect = detect::read(&mut root);
    let respond = root.table("respond", |table| respond::read(table, base));
    let restrict = Arc::new(restrict::read(&mut root));
    let outward = root.tables("outward", |table, _| outward::read(table, base));
    root.finish();

    let complete = listeners.iter().all(Option::is_some)
        && jwt.iter().all(Option::is_some)
        && rates.iter().all(Option::is_some)
        && outward.iter().all(Option::is_some);
    let config = Config {
        node,
        listeners: listeners.into_iter().flatten().collect(),
        authentication,
        jwt: jwt.into_iter().flatten().collect(),
        access,
        ca,
        certificates,
        directory,
        store,
        sandbox,
        record,
        limits,
        rates: rates.into_iter().flatten().collect(),
        log,
        sys,
        control,
        inventory,
        detect,
        drill,
        firewall,
        respond,
        restrict,
        outward: outward.into_iter().flatten().collect(),
        warnings: Vec::new(),
        mentioned: mentioned(&document, &source.name, base),
        source: source.clone(),
        places: BTreeMap::new(),
    };
    if complete && whole {
        check(&config, &mut reader);
    }
    let Reader { mut found, places, .. } = reader;
    found.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    if found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(ConfigErrors(found));
    }
    Ok(Config { warnings: found, places, ..config })
}

/// Every string as a path, and the path of the file itself.
fn mentioned(document: &toml::Spanned<DeTable<'_>>, name: &str, base: &Path) -> Vec<PathBuf> {
    fn walk(value: &DeValue<'_>, base: &Path, paths: &mut Vec<PathBuf>) {
        match value {
            DeValue::String(text) if !text.contains('\0') => paths.push(base.join(text.as_ref())),
            DeValue::Array(items) => items.iter().for_each(|item| walk(item.get_ref(), base, paths)),
            DeValue::Table(table) => table.iter().for_each(|(_, value)| walk(value.get_ref(), base, paths)),
            _ => {}
        }
    }
    let mut paths = vec![PathBuf::from(name)];
    document.get_ref().iter().for_each(|(_, value)| walk(value.get_ref(), base, &mut paths));
    paths
}

/// What must agree between sections.
fn check(config: &Config, reader: &mut Reader<'_>) {
    if config.listeners.is_empty() && !reader.places.contains_key("listener") {
        let help = "add a `[[listener]]`, or make a configuration with `ravelin init DIR`";
        reader.error(None, "no client could connect: there is no listener".into(), help);
    }
    for (index, listener) in config.listeners.iter().enumerate() {
        let earlier = &config.listeners[..index];
        if earlier.iter().any(|other| other.name == listener.name) {
            let what = format!("two listeners are called \"{}\"", listener.name.escape_debug());
            reader.error_at(&format!("listener.{index}.name"), what, "give each its own name");
        }
        let same = |a: std::net::SocketAddr, b: std::net::SocketAddr| {
            let overlap = a.ip() == b.ip()
                || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified()));
            overlap && a.port() == b.port() && a.port() != 0
        };
        if let Some(other) = earlier.iter().find(|other| same(other.address, listener.address)) {
            let what = format!("\"{}\" listens on this address already", other.name.escape_debug());
            reader.error_at(&format!("listener.{index}.address"), what, "use another port");
        }
        check_credentials(config, index, reader);
    }
    for (index, provider) in config.jwt.iter().enumerate() {
        if config.jwt[..index].iter().any(|other| other.settings.issuer == provider.settings.issuer) {
            let what = "another `[[jwt]]` has the same `issuer`".into();
            reader.error_at(&format!("jwt.{index}.issuer"), what, "put its keys and audiences into one");
        }
    }
    if config.access.dangerous_allow_everything {
        if config.access.rules_file.is_some() {
            let what = "`rules_file` has no effect: everything is allowed".into();
            reader.error_at("access.rules_file", what, "delete one of the two keys");
        }
        let what = "every client may read and write every topic".into();
        reader.warning_at("access.dangerous_allow_everything", what, "");
    } else if config.access.rules_file.is_none() {
        let what = "nobody may publish or subscribe: there are no access rules".into();
        reader.warning_at("access", what, "write `rules_file = \"access.rules\"` in `[access]`");
    }
    if config.node.data.is_some() && config.store.key_file.is_none() {
        let what = "`data` needs a key: what is stored is encrypted".into();
        reader.error_at(
            "node.data",
            what,
            "write `key_file = \"store.key\"` in `[store]`; `ravelin init` makes one",
        );
    }
    if config.store.durability == Durability::None && config.node.data.is_some() {
        let what = "an acknowledged message can be lost when the machine fails".into();
        reader.warning_at("store.durability", what, "use \"commit\"");
    }
    for (index, rate) in config.rates.iter().enumerate() {
        let unknown = |name: &str| config.listeners.iter().all(|listener| listener.name != name);
        if let Some(name) =
            rate.of.as_deref().filter(|name| rate.scope == RateScope::Listener && unknown(name))
        {
            let what = format!("there is no listener \"{}\"", name.escape_debug());
            reader.error_at(&format!("rate.{index}.of"), what, "");
        }
        if config.rates[..index].iter().any(|other| other.name == rate.name) {
            let what = format!("two rates are called \"{}\"", rate.name.escape_debug());
            reader.error_at(&format!("rate.{index}.name"), what, "give each its own name");
        }
    }
    inventory::check(config, reader);
    respond::check(config, reader);
    restrict::check(config, reader);
    record::check(config, reader);
    outward::check(config, reader);
    for (key, what, help) in config.limits.contradictions() {
        reader.error_at(&format!("limits.{key}"), what, help);
    }
}

/// Whether there is anything that a listener's ways to log in could be checked against.
fn check_credentials(config: &Config, index: usize, reader: &mut Reader<'_>) {
    let listener = &config.listeners[index];
    let (name, policy) = (listener.name.escape_debug(), listener.policy);
    let (methods, second) = (policy.methods, policy.second_factor);
    let by_password = methods.password || methods.scram_sha_256 || methods.scram_sha_512;
    let by_secret = by_password || matches!(second, SecondFactor::Password | SecondFactor::Totp);
    // Identities that are administered while the node runs have theirs in the store.
    if by_secret && config.authentication.password_file.is_none() && config.node.data.is_none() {
        let what = format!("the listener \"{name}\" takes passwords, but there is no password file");
        let help = "write `password_file = \"passwords\"` in `[authentication]`, or take the methods out";
        reader.error_at(&format!("listener.{index}.authentication"), what, help);
    }
    if (methods.jwt || second == SecondFactor::Token) && config.jwt.is_empty() {
        let what = format!("the listener \"{name}\" takes tokens, but nobody's are accepted");
        let help = "add a `[[jwt]]` with `issuer`, `audience` and `jwks_url`, or take the method out";
        reader.error_at(&format!("listener.{index}.authentication"), what, help);
    }
}
