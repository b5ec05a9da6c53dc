//! `[quarantine]`, `[posture.elevated]`, `[posture.lockdown]` and `[[trust]]`: what restrictions mean on this node.

use super::Config;
use super::read::{Reader, Table};
use ravelin_protect::restraints::{Denial, Pattern, Quarantine, TRUST_RULES_MAX, TrustRule};
use ravelin_respond::Posture;

/// What is divided is divided by no more.
const DIVIDE_MAX: u64 = 1000;

/// What restrictions mean on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestrictConfig {
    /// What a client in quarantine may still do.
    pub quarantine: Quarantine,
    /// What the posture "elevated" closes.
    pub elevated: Stage,
    /// What the posture "lockdown" closes.
    pub lockdown: Stage,
    /// What is taken from clients that are trusted too little.
    pub trust: Vec<TrustRule>,
}

/// What a posture closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Rates, and the limits on new connections, are divided by this.
    pub divide: u64,
    /// The pause after failed log-ins is so many times as long.
    pub pause_factor: u64,
    /// Devices that the inventory has neither declared nor seen are refused.
    pub refuse_new_devices: bool,
    /// Who has no session is refused, unless it is declared or of a class that is never cut off.
    pub refuse_new_sessions: bool,
    /// Nobody subscribes anew to a filter that ends with `#`.
    pub refuse_multi_level: bool,
    /// Clients without an identity are refused.
    pub refuse_anonymous: bool,
    /// Names of listeners that let in only who is of a class that is never cut off.
    pub closed_listeners: Vec<String>,
}

impl Default for RestrictConfig {
    fn default() -> RestrictConfig {
        let elevated = Stage {
            divide: 2,
            pause_factor: 2,
            refuse_new_devices: true,
            refuse_new_sessions: false,
            refuse_multi_level: false,
            refuse_anonymous: false,
            closed_listeners: Vec::new(),
        };
        let lockdown = Stage {
            divide: 4,
            pause_factor: 4,
            refuse_new_sessions: true,
            refuse_multi_level: true,
            refuse_anonymous: true,
            ..elevated.clone()
        };
        RestrictConfig { quarantine: Quarantine::default(), elevated, lockdown, trust: Vec::new() }
    }
}

impl RestrictConfig {
    /// What a posture closes; `None`: nothing.
    pub fn stage(&self, posture: Posture) -> Option<&Stage> {
        match posture {
            Posture::Normal => None,
            Posture::Elevated => Some(&self.elevated),
            Posture::Lockdown => Some(&self.lockdown),
        }
    }

    /// What a posture closes, in words.
    pub fn closes(&self, posture: Posture) -> String {
        self.stage(posture).map_or_else(|| "nothing: everything is as configured".into(), Stage::closes)
    }
}

impl Stage {
    /// What it closes, in words.
    pub fn closes(&self) -> String {
        let mut closes: Vec<String> = Vec::new();
        if self.divide > 1 {
            closes.push(format!("rates and the limits on new connections are divided by {}", self.divide));
        }
        if self.pause_factor > 1 {
            closes.push(format!("pauses after failed log-ins are {} times as long", self.pause_factor));
        }
        if self.refuse_new_devices {
            closes.push("devices that are neither declared nor seen before are refused".into());
        }
        if self.refuse_new_sessions {
            closes
                .push("who has no session is refused, but declared devices and classes never cut off".into());
        }
        if self.refuse_multi_level {
            closes.push("new subscriptions with # are refused".into());
        }
        if self.refuse_anonymous {
            closes.push("clients without an identity are refused".into());
        }
        if !self.closed_listeners.is_empty() {
            let names = self.closed_listeners.join(", ");
            closes.push(format!(
                "new connections of the listeners {names} are refused, but of classes never cut off"
            ));
        }
        match closes.is_empty() {
            true => "nothing".into(),
            false => closes.join("; "),
        }
    }

    fn read(table: &mut Table<'_, '_>, default: Stage) -> Stage {
        Stage {
            divide: table.take_between("divide", 1, DIVIDE_MAX).unwrap_or(default.divide),
            pause_factor: table.take_between("pause_factor", 1, DIVIDE_MAX).unwrap_or(default.pause_factor),
            refuse_new_devices: table.take("refuse_new_devices").unwrap_or(default.refuse_new_devices),
            refuse_new_sessions: table.take("refuse_new_sessions").unwrap_or(default.refuse_new_sessions),
            refuse_multi_level: table.take("refuse_multi_level").unwrap_or(default.refuse_multi_level),
            refuse_anonymous: table.take("refuse_anonymous").unwrap_or(default.refuse_anonymous),
            closed_listeners: table.take("closed_listeners").unwrap_or(default.closed_listeners),
        }
    }
}

/// Reads the sections out of the file.
pub(super) fn read(root: &mut Table<'_, '_>) -> RestrictConfig {
    let default = RestrictConfig::default();
    let quarantine = root.table("quarantine", |table| Quarantine {
        class: table.take::<String>("class").map(Into::into),
        publish: patterns(table, "publish").unwrap_or(default.quarantine.publish),
        receive: patterns(table, "receive").unwrap_or(default.quarantine.receive),
    });
    let (elevated, lockdown) = root.table("posture", |table| {
        let elevated = table.table("elevated", |table| Stage::read(table, default.elevated));
        (elevated, table.table("lockdown", |table| Stage::read(table, default.lockdown)))
    });
    let trust = root.tables("trust", |table, index| trust(table, index));
    RestrictConfig { quarantine, elevated, lockdown, trust }
}

fn patterns(table: &mut Table<'_, '_>, key: &'static str) -> Option<Vec<Pattern>> {
    let texts: Vec<String> = table.take(key)?;
    let mut patterns = Vec::new();
    for text in &texts {
        match Pattern::parse(text) {
            Some(pattern) => patterns.push(pattern),
            None => {
                let what = format!("`{}` is not a topic filter", text.escape_debug());
                wrong(
                    table,
                    key,
                    what,
                    "write filters such as \"quarantine/%c\"; %c is the Client Identifier",
                );
            }
        }
    }
    Some(patterns)
}

fn trust(table: &mut Table<'_, '_>, index: usize) -> TrustRule {
    if index == TRUST_RULES_MAX {
        wrong(table, "below", format!("there are more than {TRUST_RULES_MAX} rules for trust"), "");
    }
    let below: Option<u64> = table.take_between("below", 1, 100);
    if below.is_none() && !table.reader.places.contains_key(&format!("{}.below", table.path)) {
        let help = "write `below = 30`: the score, 0 to 100, under which it holds";
        wrong(table, "below", "a rule for trust needs `below`".into(), help);
    }
    let hysteresis: u64 = table.take_between("hysteresis", 0, 100).unwrap_or(10);
    let texts: Vec<String> = table.take("deny").unwrap_or_default();
    let mut deny = Vec::new();
    for text in &texts {
        match Denial::parse(text) {
            Some(denial) => deny.push(denial),
            None => {
                let what = format!("`{}` denies nothing that is known", text.escape_debug());
                let help = "write `deny = [\"publish plant/+/cmd/#\"]`; also `subscribe` and `receive`";
                wrong(table, "deny", what, help);
            }
        }
    }
    let class = table.take::<String>("class").map(Into::into);
    let quarantine: bool = table.take("quarantine").unwrap_or(false);
    let qos_max: Option<u64> = table.take_between("qos_max", 0, 2);
    if texts.is_empty() && class.is_none() && !quarantine && qos_max.is_none() {
        let help = "write `deny`, `class`, `quarantine` or `qos_max`";
        wrong(table, "below", "this rule for trust takes nothing".into(), help);
    }
    let small = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
    TrustRule {
        below: below.map_or(0, small),
        hysteresis: small(hysteresis),
        deny,
        class,
        quarantine,
        qos_max: qos_max.map(small),
    }
}

fn wrong(table: &mut Table<'_, '_>, key: &str, what: String, help: &str) {
    let place = format!("{}.{key}", table.path);
    table.reader.error_at(&place, what, help);
}

/// What must agree between these sections and the others.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    let stages = [("elevated", &config.restrict.elevated), ("lockdown", &config.restrict.lockdown)];
    for (name, stage) in stages {
        let unknown = |closed: &&String| config.listeners.iter().all(|listener| listener.name != **closed);
        if let Some(closed) = stage.closed_listeners.iter().find(unknown) {
            let what = format!("there is no listener \"{}\"", closed.escape_debug());
            reader.error_at(&format!("posture.{name}.closed_listeners"), what, "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const LISTENER: &str = "[[listener]]\nname = \"field\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
        dangerous_anonymous = true\n[access]\ndangerous_allow_everything = true\n";

    fn parse(text: &str) -> Result<RestrictConfig, String> {
        let config = Config::parse(&format!("{LISTENER}{text}"), Path::new("/"));
        config.map(|config| RestrictConfig::clone(&config.restrict)).map_err(|errors| errors.to_string())
    }

    #[test]
    fn what_is_not_written_is_safe() {
        let config = parse("").unwrap();
        assert_eq!(config, RestrictConfig::default());
        assert!(config.closes(Posture::Elevated).contains("divided by 2; pauses"));
        assert!(config.closes(Posture::Lockdown).contains("who has no session is refused"));
        assert!(config.closes(Posture::Normal).contains("as configured"));
    }

    #[test]
    fn sections_are_read_and_mistakes_are_at_their_lines() {
        let config = parse(
            "[quarantine]\nclass = \"apart\"\npublish = [\"q/%c\"]\n[posture.lockdown]\ndivide = 8\n\
             closed_listeners = [\"field\"]\n[[trust]]\nbelow = 30\ndeny = [\"publish plant/+/cmd/#\"]\nqos_max = 0\n",
        )
        .unwrap();
        assert_eq!(config.quarantine.class.as_deref(), Some("apart"));
        assert_eq!((config.lockdown.divide, config.elevated.divide), (8, 2));
        assert!(config.closes(Posture::Lockdown).contains("listeners field"));
        assert_eq!(
            (config.trust[0].below, config.trust[0].hysteresis, config.trust[0].qos_max),
            (30, 10, Some(0))
        );
        for (text, line, what) in [
            ("[posture.lockdown]\nclosed_listeners = [\"fild\"]\n", 9, "no listener"),
            ("[[trust]]\ndeny = [\"publish a\"]\n", 8, "needs `below`"),
            ("[[trust]]\nbelow = 30\n", 9, "takes nothing"),
            ("[[trust]]\nbelow = 30\ndeny = [\"write a\"]\n", 10, "denies nothing"),
            ("[quarantine]\nreceive = [\"a/#/b\"]\n", 9, "not a topic filter"),
            ("[posture.high]\n", 8, "no key `high`"),
        ] {
            let errors = parse(text).unwrap_err();
            assert!(errors.contains(what) && errors.contains(&format!(":{line}:")), "{text}: {errors}");
        }
    }
}
