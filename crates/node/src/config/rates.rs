//! `[[rate]]`: how much of what is too much, for whom, and what happens then.

use super::read::{Table, Typed};
use ravelin_mqtt::check_filter;
use ravelin_protect::Network;
use ravelin_protect::rates::{Excess, Measure, RateRule, RateScope, Windows};
use toml::de::DeValue;

/// Levels of a filter.
const LEVELS_MAX: u16 = 128;

/// One string, or a list of them.
struct Written(Windows);

impl Typed for Written {
    fn read(value: &DeValue<'_>) -> Result<Written, String> {
        let wanted = "a rate (\"1000/s\", \"500KB/10s\", \"infinity\") or a list of them";
        let texts: Option<Vec<&str>> = match value {
            DeValue::Array(items) => items.iter().map(|item| item.get_ref().as_str()).collect(),
            value => value.as_str().map(|text| vec![text]),
        };
        let windows = Windows::parse(texts.ok_or(wanted)?);
        windows.map(Written).map_err(|error| format!("{wanted}; {error}"))
    }
}

/// Reads one section.
pub(super) fn read(table: &mut Table<'_, '_>, index: usize) -> Option<RateRule> {
    let name = table.take::<String>("name").unwrap_or_else(|| format!("rate{}", index + 1));
    let scope = table.choice(
        "scope",
        &[
            ("client", RateScope::Client),
            ("identity", RateScope::Identity),
            ("class", RateScope::Class),
            ("address", RateScope::Address),
            ("listener", RateScope::Listener),
            ("topic", RateScope::Topic),
        ],
    );
    let of = table.take::<String>("of");
    let mut limits = Vec::new();
    let bursts = [
        (Measure::Messages, "messages", Some("messages_burst")),
        (Measure::Bytes, "bytes", Some("bytes_burst")),
        (Measure::Subscribes, "subscribes", None),
        (Measure::Connects, "connects", None),
    ];
    for (measure, key, burst) in bursts {
        let windows = table.take::<Written>(key);
        let burst = burst.and_then(|burst| table.take::<u64>(burst));
        if let Some(Written(windows)) = windows
            && !windows.is_infinite()
        {
            limits.push((measure, windows.with_burst(burst)));
        }
    }
    let on_exceed = table
        .choice(
            "on_exceed",
            &[
                ("delay", Excess::Delay),
                ("drop", Excess::Drop),
                ("refuse", Excess::Refuse),
                ("disconnect", Excess::Disconnect),
            ],
        )
        .unwrap_or_default();
    let Some(scope) = scope else {
        // A word that is no scope was reported already.
        if !table.reader.places.contains_key(&format!("{}.scope", table.path)) {
            let help = "write `scope = \"client\"` (or identity, class, address, listener, topic)";
            wrong(table, "scope", "a rate needs a `scope`: who shares it".into(), help);
        }
        return None;
    };
    check(table, scope, of.as_deref(), &limits);
    Some(RateRule { name: name.into(), scope, of: of.map(Into::into), limits, on_exceed })
}

/// What must agree within a section.
fn check(table: &mut Table<'_, '_>, scope: RateScope, of: Option<&str>, limits: &[(Measure, Windows)]) {
    if scope == RateScope::Topic {
        match of {
            None => {
                let help = "write `of = \"plant/+/telemetry/#\"`: the topics that share it";
                wrong(table, "scope", "a rate of topics needs a filter".into(), help);
            }
            Some(filter) if !matches!(check_filter(filter, LEVELS_MAX), Ok(None)) => {
                wrong(table, "of", format!("`{}` is not a topic filter", filter.escape_debug()), "");
            }
            Some(_) => {}
        }
        if limits.iter().any(|(measure, _)| matches!(measure, Measure::Subscribes | Measure::Connects)) {
            let help = "use another scope for `subscribes` and `connects`";
            wrong(table, "scope", "topics are published to, nothing else".into(), help);
        }
    }
    if scope == RateScope::Address
        && let Some(of) = of
        && of.parse::<Network>().is_err()
    {
        wrong(table, "of", format!("`{}` is not a network", of.escape_debug()), "write `10.0.0.0/8`");
    }
    if limits.is_empty() {
        let help = "write `messages`, `bytes`, `subscribes` or `connects`";
        wrong(table, "scope", "this rate limits nothing".into(), help);
    }
}

fn wrong(table: &mut Table<'_, '_>, key: &str, what: String, help: &str) {
    let place = format!("{}.{key}", table.path);
    table.reader.error_at(&place, what, help);
}
