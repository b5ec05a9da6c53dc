//! Labelled recordings. They are not part of the repository: their licences say so.

use crate::{Played, play};
use ravelin_detect::Sight;
use ravelin_replay::{Options, Row, Sink, Warning, What, read};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// Names the folder of the recordings.
pub const VARIABLE: &str = "RAVELIN_DETECTION_DATA";

/// The recordings, in the order of their names; `None`, and why, if they are not there.
pub fn recordings() -> Result<Vec<PathBuf>, String> {
    let folder = std::env::var_os(VARIABLE).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/detection"),
        PathBuf::from,
    );
    let entries = std::fs::read_dir(&folder).map_err(|error| {
        format!(
            "labelled recordings are not in {} ({error}); {VARIABLE} names their folder",
            folder.display()
        )
    })?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(".csv.gz"))
        .collect();
    found.sort();
    if found.is_empty() { Err(format!("no recording is in {}", folder.display())) } else { Ok(found) }
}

/// `mqttset_flood` of `.../mqttset_flood.csv.gz`.
pub fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.trim_end_matches(".csv.gz").to_owned()
}

/// Runs a recording through the detectors.
pub fn replay(path: &Path) -> Played {
    let mut played = play(|see| each(path, see));
    if name(path) == "dad_tue" {
        removed(path, &mut played);
    }
    played
}

/// On DAD's Tuesday messages of the attacked machine were taken away: no row can carry a label of that. It publishes every
/// five minutes, so twice that without a message is an attack.
fn removed(path: &Path, played: &mut Played) {
    const ATTACKED: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 6, 56, 41));
    const LONGEST_US: u64 = 600_000_000;
    let mut last = BTreeMap::new();
    each(path, &mut |row, _| {
        if row.what != What::Publish || !row.from_client || row.source.ip() != ATTACKED {
            return;
        }
        if let Some(before) =
            last.insert(row.client_id.to_owned(), row.at_us).filter(|at| row.at_us - at > LONGEST_US)
        {
            played.truth.missing("removed", row.client_id, ATTACKED, before, row.at_us);
        }
    });
}

/// Hands out the rows of a recording and their labels.
pub fn each(path: &Path, see: &mut dyn FnMut(&Row<'_>, &str)) {
    struct Rows<'a>(&'a mut dyn FnMut(&Row<'_>, &str), &'a str);
    impl Sink for Rows<'_> {
        fn row(&mut self, row: &Row<'_>, label: Option<&str>) {
            let label = label.expect("a recording with labels");
            (self.0)(row, if label == "attack" { self.1 } else { label });
        }

        fn sight(&mut self, _: u64, _: Sight) {}

        fn warn(&mut self, warning: Warning) {
            panic!("{warning}");
        }
    }
    // DAD calls all attacks so; what they are is said of the days.
    let attack = match name(path).as_str() {
        "dad_wed" => "values_modified",
        "dad_thu" => "messages_inserted",
        _ => "attack",
    };
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    read(file, &Options::default(), &mut Rows(see, attack))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
