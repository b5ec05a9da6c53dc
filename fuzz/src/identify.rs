//! Targets for the inventory, `ravelin-identify`.

use ravelin_identify::birth::sparkplug::{METRICS_MAX, metrics};
use ravelin_identify::declared::{export_csv, export_json, import_csv, import_json};
use ravelin_identify::{Declared, Error, Filter, Inventory, Places, Settings};

/// Sparkplug B payloads.
pub fn sparkplug(data: &[u8]) {
    if let Ok(metrics) = metrics(data) {
        assert!(metrics.len() <= METRICS_MAX && metrics.len() <= data.len());
        assert!(metrics.iter().all(|metric| metric.name.len() <= data.len()));
    }
}

/// Declared devices in CSV.
pub fn devices_csv(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    understood(text, import_csv(text));
}

/// Declared devices in JSON.
pub fn devices_json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    understood(text, import_json(text));
}

/// What was understood can be written and read again in both forms; what was not says where.
fn understood(text: &str, result: Result<Vec<Declared>, Error>) {
    match result {
        Ok(devices) => {
            assert_eq!(import_csv(&export_csv(devices.iter())).as_ref(), Ok(&devices));
            assert_eq!(import_json(&export_json(devices.iter())).as_ref(), Ok(&devices));
        }
        Err(Error::Import { place, what }) => {
            assert!((1..=text.matches('\n').count() + 1).contains(&place.line), "{place}");
            assert!(!what.is_empty());
        }
        Err(other) => panic!("{other}"),
    }
}

/// A record of the inventory, as the store has it: a key, a zero byte, a value.
pub fn inventory_record(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == 0) else { return };
    let (Ok(key), value) = (std::str::from_utf8(&data[..at]), &data[at + 1..]) else { return };
    let fresh = || Inventory::new(Settings::default(), Places::default(), 1, 0);
    let mut inventory = fresh();
    if inventory.restore(key, value).is_err() {
        return;
    }
    let mut again = fresh();
    inventory.dump(|key, value| again.restore(key, value).expect("what was kept is read again"));
    let page = |inventory: &Inventory| inventory.page(None, 10, &Filter::default(), 1_000_000);
    assert_eq!(page(&again), page(&inventory));
}
