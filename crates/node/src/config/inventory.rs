//! `[inventory]`, `[[birth]]`, `[[site]]`, `[[infrastructure]]` and `[[conduit]]`: what is kept of devices, and where things are.

use super::read::{Reader, Table, Typed};
use super::{Config, Listener};
use ravelin_identify::birth::{BirthFormat, BirthRule};
use ravelin_identify::{
    Conduit, Infrastructure, KeyedBy, Network, Places, Position, Settings, Site, Thresholds, Unknown,
};
use std::net::SocketAddr;
use std::time::Duration;
use toml::de::DeValue;

/// What is kept of devices, and where things are.
#[derive(Clone, Debug, PartialEq)]
pub struct InventoryConfig {
    /// Rules of the inventory.
    pub settings: Settings,
    /// How often what was seen goes to disk, a little each time.
    pub write_interval: Duration,
    /// Records that go to disk each time, at most.
    pub write_max: usize,
    /// The sites.
    pub sites: Vec<Site>,
    /// What is on the way to them.
    pub infrastructure: Vec<Infrastructure>,
    /// The allowed ways between zones.
    pub conduits: Vec<Conduit>,
}

/// Degrees, with or without a fraction.
struct Degrees(f64);

impl Typed for Degrees {
    fn read(value: &DeValue<'_>) -> Result<Degrees, String> {
        let number = match value {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(integer) => integer.as_str().parse::<f64>().ok(),
            _ => None,
        };
        let degrees = number.filter(|number| number.abs() <= 180.0).map(Degrees);
        degrees.ok_or_else(|| "a number of degrees (48.2082)".into())
    }
}

/// A list of networks.
struct Networks(Vec<Network>);

impl Typed for Networks {
    fn read(value: &DeValue<'_>) -> Result<Networks, String> {
        let texts = Vec::<String>::read(value)?;
        texts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map(Networks)
    }
}

/// Reads the sections out of the file.
pub(super) fn read(root: &mut Table<'_, '_>) -> InventoryConfig {
    let mut inventory = root.table("inventory", section);
    let births = root.tables("birth", |table, _| birth(table));
    // Sparkplug's stay: their topics are of no other use.
    inventory.settings.births.splice(0..0, births);
    inventory.sites = root.tables("site", |table, index| site(table, index));
    inventory.infrastructure = root.tables("infrastructure", |table, index| infrastructure(table, index));
    inventory.conduits = root.tables("conduit", |table, index| conduit(table, index));
    inventory
}

fn section(table: &mut Table<'_, '_>) -> InventoryConfig {
    let default = Settings::default();
    let mut settings = default.clone();
    let words = [("identity", KeyedBy::Identity), ("client_id", KeyedBy::ClientId)];
    settings.keyed_by = table.choice("keyed_by", &words).unwrap_or_default();
    let words = [("admit", Unknown::Admit), ("quarantine", Unknown::Quarantine), ("refuse", Unknown::Refuse)];
    settings.unknown = table.choice("unknown", &words).unwrap_or_default();
    settings.quarantine_class = table.take("quarantine_class").unwrap_or(default.quarantine_class);
    let day = Duration::from_secs(86_400);
    let dormant = table.take_between("dormant_after", Duration::from_secs(60), 3_650 * day);
    settings.dormant_after_s = dormant.map_or(default.dormant_after_s, seconds);
    settings.library_properties = table.take("library_properties").unwrap_or(default.library_properties);
    settings.firmware_properties = table.take("firmware_properties").unwrap_or(default.firmware_properties);
    settings.model_properties = table.take("model_properties").unwrap_or(default.model_properties);
    let limits = &mut settings.limits;
    let mut count = |name, max: u64, default: usize| {
        let read = table.take_between::<u64>(name, 1, max);
        read.and_then(|count| usize::try_from(count).ok()).unwrap_or(default)
    };
    limits.devices_max = count("devices_max", 10_000_000, limits.devices_max);
    limits.declared_max = count("declared_max", 10_000_000, limits.declared_max);
    limits.clients_per_device_max = count("clients_per_device_max", 256, limits.clients_per_device_max);
    limits.addresses_per_device_max = count("addresses_per_device_max", 256, limits.addresses_per_device_max);
    limits.topics_per_device_max = count("topics_per_device_max", 256, limits.topics_per_device_max);
    limits.birth_bytes_max = count("birth_bytes_max", 1 << 20, limits.birth_bytes_max);
    limits.findings_max = count("findings_max", 1_000_000, limits.findings_max);
    let write_max = count("write_max", 100_000, 200);
    settings.thresholds = thresholds(table);
    let write_interval = table.take_between("write_interval", Duration::from_secs(1), day);
    InventoryConfig {
        settings,
        write_interval: write_interval.unwrap_or(Duration::from_secs(10)),
        write_max,
        sites: Vec::new(),
        infrastructure: Vec::new(),
        conduits: Vec::new(),
    }
}

fn thresholds(table: &mut Table<'_, '_>) -> Thresholds {
    let mut thresholds = Thresholds::default();
    let mut times = |name, default: u8| {
        let read = table.take_between::<u64>(name, 1, 250);
        read.and_then(|count| u8::try_from(count).ok()).unwrap_or(default)
    };
    thresholds.duplicate_returns = times("duplicate_returns", thresholds.duplicate_returns);
    thresholds.duplicate_returns_declared =
        times("duplicate_returns_declared", thresholds.duplicate_returns_declared);
    let mut time = |name, default: u32| {
        let read = table.take_between(name, Duration::from_secs(1), Duration::from_secs(365 * 86_400));
        read.map_or(default, seconds)
    };
    thresholds.duplicate_window_s = time("duplicate_window", thresholds.duplicate_window_s);
    thresholds.clone_overlap_s = time("clone_overlap", thresholds.clone_overlap_s);
    thresholds.settled_after_s = time("settled_after", thresholds.settled_after_s);
    thresholds.again_after_s = time("finding_again_after", thresholds.again_after_s);
    thresholds
}

fn birth(table: &mut Table<'_, '_>) -> BirthRule {
    let filter: String = table.take("filter").unwrap_or_default();
    if ravelin_mqtt::check_filter(&filter, 128).is_err() || filter.starts_with("$share/") {
        let what = format!("`{}` is not a topic filter", filter.escape_debug());
        wrong(table, "filter", what, "write `filter = \"devices/+/birth\"`");
    }
    let words = [("json", BirthFormat::Json), ("sparkplug", BirthFormat::Sparkplug)];
    let format = table.choice("format", &words).unwrap_or(BirthFormat::Json);
    let mut places = |name| {
        let places = table.take::<Vec<String>>(name).unwrap_or_default();
        if format == BirthFormat::Json
            && let Some(bad) = places.iter().find(|place| !place.is_empty() && !place.starts_with('/'))
        {
            let what = format!("`{}` is not a JSON pointer", bad.escape_debug());
            wrong(table, name, what, "write it as `/device/firmware`");
        }
        places
    };
    let [library, firmware, model, latitude, longitude] =
        ["library", "firmware", "model", "latitude", "longitude"].map(&mut places);
    BirthRule { filter, format, library, firmware, model, latitude, longitude }
}

fn site(table: &mut Table<'_, '_>, index: usize) -> Site {
    Site {
        name: name(table, "site", index),
        position: position(table),
        networks: table.take::<Networks>("networks").map(|networks| networks.0).unwrap_or_default(),
        zone: table.take("zone"),
    }
}

fn infrastructure(table: &mut Table<'_, '_>, index: usize) -> Infrastructure {
    Infrastructure {
        name: name(table, "infrastructure", index),
        kind: table.take("kind").unwrap_or_else(|| "gateway".into()),
        position: position(table),
        site: table.take("site"),
        networks: table.take::<Networks>("networks").map(|networks| networks.0).unwrap_or_default(),
    }
}

fn conduit(table: &mut Table<'_, '_>, index: usize) -> Conduit {
    let mut zone = |key| {
        table.take::<String>(key).unwrap_or_else(|| {
            wrong(table, key, format!("a conduit needs `{key}`"), "name the zone");
            String::new()
        })
    };
    let (from, to) = (zone("from"), zone("to"));
    Conduit {
        name: name(table, "conduit", index),
        from,
        to,
        topics: table.take("topics").unwrap_or_default(),
    }
}

fn name(table: &mut Table<'_, '_>, kind: &str, index: usize) -> String {
    table.take("name").unwrap_or_else(|| format!("{kind}{}", index + 1))
}

fn position(table: &mut Table<'_, '_>) -> Option<Position> {
    let latitude = table.take::<Degrees>("latitude").map(|degrees| degrees.0);
    let longitude = table.take::<Degrees>("longitude").map(|degrees| degrees.0);
    let (Some(latitude), Some(longitude)) = (latitude, longitude) else {
        if latitude.is_some() != longitude.is_some() {
            let key = if latitude.is_some() { "latitude" } else { "longitude" };
            wrong(table, key, "`latitude` and `longitude` go together".into(), "write both, or neither");
        }
        return None;
    };
    let position = Position::new(latitude, longitude);
    if position.is_none() {
        wrong(table, "latitude", "`latitude` is not within -90 and 90".into(), "");
    }
    position
}

fn wrong(table: &mut Table<'_, '_>, key: &str, what: String, help: &str) {
    let place = format!("{}.{key}", table.path);
    table.reader.error_at(&place, what, help);
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// What must agree between these sections and the others.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    for problem in places(config, &[]).problems() {
        reader.error_at("site", problem, "");
    }
}

/// Where everything is. `addresses` are those that the listeners have.
pub(crate) fn places(config: &Config, addresses: &[SocketAddr]) -> Places {
    let listener = |(index, listener): (usize, &Listener)| ravelin_identify::Listener {
        name: listener.name.clone(),
        address: addresses.get(index).unwrap_or(&listener.address).to_string(),
        transport: listener.transport.name().into(),
        zone: listener.zone.clone(),
    };
    Places {
        node: config.node.name.clone(),
        node_site: config.node.site.clone(),
        listeners: config.listeners.iter().enumerate().map(listener).collect(),
        sites: config.inventory.sites.clone(),
        infrastructure: config.inventory.infrastructure.clone(),
        conduits: config.inventory.conduits.clone(),
    }
}
