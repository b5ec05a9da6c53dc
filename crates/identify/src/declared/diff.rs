//! What was declared against what was seen.

use super::Declared;
use crate::certificate::hex;
use crate::device::{Device, Key};
use crate::place::Places;
use crate::topics::{Own, Topics, covers};
use serde::{Deserialize, Serialize};

/// One fact that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mismatch {
    /// The name that the device is declared by.
    pub device: String,
    /// The record it was seen as.
    pub key: String,
    /// What differs: a field of the declaration.
    pub field: String,
    /// As declared.
    pub declared: String,
    /// As seen.
    pub observed: String,
}

/// Declared and discovered, compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Declared devices that were never seen.
    pub missing: Vec<String>,
    /// Devices that were seen and are not declared.
    pub unknown: Vec<String>,
    /// What is not as it was declared.
    pub mismatched: Vec<Mismatch>,
    /// Declared devices that are as they were declared.
    pub agreeing: u64,
    /// More differences than are listed.
    pub truncated: bool,
}

/// Everything in which `device` is not as declared.
pub(crate) fn mismatches(declared: &Declared, key: &Key, device: &Device, places: &Places) -> Vec<Mismatch> {
    let mut found = Vec::new();
    let mut differ = |field: &str, declared_text: String, observed: String| {
        found.push(Mismatch {
            device: declared.name.to_string(),
            key: key.to_string(),
            field: field.into(),
            declared: declared_text,
            observed,
        });
    };
    if let Some(address) = device.address() {
        if declared.expects(address) == Some(false) {
            let networks: Vec<String> = declared.networks.iter().map(ToString::to_string).collect();
            differ("networks", networks.join(", "), address.to_string());
        }
        if let (Some(expected), Some(site)) = (&declared.site, places.site_of(address))
            && **expected != *site.name
        {
            differ("site", expected.to_string(), site.name.clone());
        }
    }
    let certificate = device.certificate.as_ref().map(|certificate| hex(&certificate.fingerprint));
    let told = &*device.facts;
    let own = device.own(key);
    let seen = [
        ("certificate", declared.certificate.as_deref(), certificate.as_deref()),
        ("class", declared.class.as_deref(), told.class.as_deref()),
        ("identity", declared.identity.as_deref(), own.identity),
        ("version", declared.version.as_deref(), Some(device.version.as_str())),
        ("model", declared.model.as_deref(), told.model.as_deref()),
    ];
    for (field, expected, observed) in seen {
        let Some(expected) = expected else { continue };
        match observed {
            // A model that the device does not tell is no contradiction; neither is a version before the first sight.
            None | Some("") if matches!(field, "model" | "version") => {}
            Some(observed) if observed == expected => {}
            observed => differ(field, expected.into(), observed.unwrap_or("none").into()),
        }
    }
    if let (Some(expected), Some(observed)) = (&declared.firmware, told.firmware.as_deref())
        && !firmware_fits(expected, observed)
    {
        differ("firmware", expected.to_string(), observed.into());
    }
    let ids = device.clients.iter().map(|client| &client.id);
    for id in ids.filter(|id| !declared.client_ids.is_empty() && !declared.client_ids.contains(id)) {
        differ("client_ids", declared.client_ids.join(", "), id.to_string());
    }
    topics("publishes", &declared.publishes, &device.published, own, &mut differ);
    topics("subscribes", &declared.subscribes, &device.subscribed, own, &mut differ);
    found
}

fn topics(
    field: &str,
    declared: &[std::sync::Arc<str>],
    seen: &Topics,
    own: Own<'_>,
    differ: &mut impl FnMut(&str, String, String),
) {
    if declared.is_empty() {
        return;
    }
    let expected: Vec<String> = declared.iter().map(|filter| own.expand(filter)).collect();
    for topic in seen.iter() {
        let observed = own.expand(&topic.pattern);
        let plain = without_share(&observed);
        if !expected.iter().any(|filter| covers(without_share(filter), plain)) {
            differ(field, expected.join(", "), observed);
        }
    }
}

/// The filter of a shared subscription.
pub(crate) fn without_share(filter: &str) -> &str {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    shared.map_or(filter, |(_, filter)| filter)
}

/// Whether the firmware is what was declared: that version, or with `>=` that one or a later.
fn firmware_fits(declared: &str, observed: &str) -> bool {
    match declared.strip_prefix(">=") {
        None => declared == observed,
        Some(least) => numbers(observed) >= numbers(least),
    }
}

/// The numbers in a version: `v2.10-rc1` is 2, 10, 1.
fn numbers(version: &str) -> Vec<u64> {
    let digits = version.split(|character: char| !character.is_ascii_digit());
    let mut numbers: Vec<u64> =
        digits.filter(|run| !run.is_empty()).map(|run| run.parse().unwrap_or(u64::MAX)).collect();
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_is_compared_by_its_numbers() {
        for (declared, observed, fits) in [
            ("1.2", "1.2", true),
            ("1.2", "1.20", false),
            (">=1.2", "1.10", true),
            (">=1.2", "v1.1.9", false),
            (">=1.2.0", "1.2", true),
        ] {
            assert_eq!(firmware_fits(declared, observed), fits, "{declared} {observed}");
        }
    }
}
