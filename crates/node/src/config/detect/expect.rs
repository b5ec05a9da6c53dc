//! `[[behaviour]]`, `[[expect]]`, `[[physical]]` and `[[value]]`: what clients, classes, sensors and values are expected to do.

use super::super::read::Table;
use super::fields::wrong;
use ravelin_detect::Settings;
use ravelin_detect::behaviour::Behaviour;
use ravelin_detect::physical::PhysicalRule;
use ravelin_detect::traffic::Expectation;
use ravelin_detect::value::ValueRule;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Reads the sections into `settings`.
pub(super) fn read(root: &mut Table<'_, '_>, settings: &mut Settings) {
    settings.behaviours = behaviours(root);
    settings.expect = root.tables("expect", |table, _| expectation(table));
    settings.physical = checked(root, "physical", PhysicalRule::check);
    settings.value = checked(root, "value", ValueRule::check);
}

fn checked<T: serde::de::DeserializeOwned>(
    root: &mut Table<'_, '_>,
    name: &'static str,
    check: impl Fn(&T) -> Result<(), String>,
) -> Vec<T> {
    let read = root.typed_tables::<T>(name);
    for (place, section) in &read {
        if let Err(what) = check(section) {
            root.reader.error_at(place, what, "");
        }
    }
    read.into_iter().map(|(_, section)| section).collect()
}

fn behaviours(root: &mut Table<'_, '_>) -> Vec<Behaviour> {
    let all = checked(root, "behaviour", Behaviour::check);
    for (index, behaviour) in all.iter().enumerate() {
        if all[..index].iter().any(|other| other.name == behaviour.name) {
            let what = format!("two behaviours are called \"{}\"", behaviour.name.escape_debug());
            root.reader.error_at(&format!("behaviour.{index}.name"), what, "give each its own name");
        }
    }
    all
}

fn expectation(table: &mut Table<'_, '_>) -> Expectation {
    let class: String = table.take("class").unwrap_or_default();
    if class.is_empty() {
        wrong(table, "class", "an expectation is one of a class".into(), "write `class = \"meters\"`");
    }
    let mut time = |name| {
        let read = table.take_between(name, Duration::from_millis(100), 365 * DAY);
        read.map(|time| time.as_secs_f64())
    };
    let (interval_s, grace_s) = (time("interval"), time("grace"));
    let inspection = table.take_between("inspection_every", DAY, 3_650 * DAY);
    Expectation {
        class: class.into(),
        interval_s,
        grace_s,
        connected: table.take("connected").unwrap_or_default(),
        watch: table.take("watch"),
        inspection_days: inspection.and_then(|every| u32::try_from(every.as_secs() / DAY.as_secs()).ok()),
    }
}
