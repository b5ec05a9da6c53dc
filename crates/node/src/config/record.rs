//! `[record]`: what is recorded beyond denial, where, and for how long.

use super::Config;
use super::read::{Reader, Table};
use ravelin_audit::OnFull;
use ravelin_mqtt::check_filter;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// So many filters may ask for the record; they are compared once for each topic.
const TOPICS_MAX: usize = 1024;

/// `[record]`. Administration and refusals are recorded always, wherever the node keeps its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordConfig {
    /// Filters of the topics whose messages are recorded.
    pub topics: Vec<String>,
    /// Where; `None` is `record` in the directory of the node's state.
    pub directory: Option<PathBuf>,
    /// What ended so long ago is deleted; zero keeps everything.
    pub retention: Duration,
    /// The largest size.
    pub bytes_max: u64,
    /// What happens to what cannot be recorded.
    pub on_full: OnFull,
    /// So long after an entry, at most, it is signed for.
    pub checkpoint_interval: Duration,
}

impl RecordConfig {
    pub(super) fn read(table: &mut Table<'_, '_>, base: &Path) -> RecordConfig {
        RecordConfig {
            topics: table.take("topics").unwrap_or_default(),
            directory: table.take::<String>("directory").map(|path| base.join(path)),
            retention: table.take_between("retention", Duration::ZERO, 36_500 * DAY).unwrap_or(90 * DAY),
            bytes_max: table.take_between("bytes_max", 64 << 20, 1 << 50).unwrap_or(8 << 30),
            on_full: table
                .choice(
                    "on_full",
                    &[("refuse", OnFull::Refuse), ("gap", OnFull::Gap), ("prune", OnFull::Prune)],
                )
                .unwrap_or_default(),
            checkpoint_interval: table
                .take_between("checkpoint_interval", Duration::from_millis(100), Duration::from_secs(3600))
                .unwrap_or(Duration::from_secs(5)),
        }
    }
}

impl Config {
    /// The directory of the record; `None` where the node keeps no state.
    pub fn record_directory(&self) -> Option<PathBuf> {
        let data = self.node.data.as_ref()?;
        Some(self.record.directory.clone().unwrap_or_else(|| data.join("record")))
    }
}

pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    let record = &config.record;
    if record.topics.len() > TOPICS_MAX {
        reader.error_at("record.topics", format!("more than {TOPICS_MAX} filters"), "use wildcards");
    }
    for topic in &record.topics {
        if !matches!(check_filter(topic, u16::MAX), Ok(None)) {
            let what = format!("\"{}\" is not a topic filter", topic.escape_debug());
            reader.error_at("record.topics", what, "write filters such as \"commands/#\"");
        }
    }
    if !record.topics.is_empty() && config.node.data.is_none() {
        let what = "topics are to be recorded, but the node keeps nothing".into();
        reader.error_at("record.topics", what, "write `data = \"data\"` in `[node]`");
    }
}
