//! `[respond]`: what actions take, which playbooks there are and how far each goes.

use super::Config;
use super::playbook::{self, SHIPPED};
use super::read::{Reader, Table};
use super::{ConfigErrors, Diagnostic, Severity};
use ravelin_respond::{APPROVALS_MAX, ActionKind, Mode, Playbook, Policy, Role, Settings};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest file of playbooks.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files of playbooks in a directory, and playbooks in all.
const FILES_MAX: usize = 1000;
const PLAYBOOKS_MAX: usize = 1000;
const DAY: Duration = Duration::from_secs(86_400);

/// `[respond]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RespondConfig {
    /// What actions take, and how much is kept.
    pub settings: Settings,
    /// Playbooks beside the shipped ones; one of the same name takes the place of a shipped one.
    pub playbooks: Option<PathBuf>,
    /// Names of playbooks by the mode that they are given here.
    pub modes: Vec<(Mode, String)>,
    /// Names of playbooks that are left out.
    pub off: Vec<String>,
}

/// Reads the section out of the file.
pub(super) fn read(table: &mut Table<'_, '_>, base: &Path) -> RespondConfig {
    let mut settings = Settings::default();
    let time = |table: &mut Table<'_, '_>, name, default_ms: u64| {
        let read = table.take_between(name, Duration::from_secs(1), 30 * DAY);
        read.map_or(default_ms, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    };
    settings.proposal_ms = time(table, "approve_within", settings.proposal_ms);
    settings.retry_ms = time(table, "retry_after", settings.retry_ms);
    let limits = &mut settings.limits;
    let mut count = |name, max: u64, default: usize| {
        let read = table.take_between::<u64>(name, 1, max);
        read.and_then(|count| usize::try_from(count).ok()).unwrap_or(default)
    };
    limits.live_max = count("orders_max", 100_000, limits.live_max);
    limits.proposed_max = count("proposed_max", 100_000, limits.proposed_max);
    limits.kept_max = count("kept_max", 1_000_000, limits.kept_max);
    let automatic = count("automatic_max", 100_000, limits.automatic_max as usize);
    limits.automatic_max = u32::try_from(automatic).unwrap_or(limits.automatic_max);
    limits.automatic_window_ms = time(table, "automatic_window", limits.automatic_window_ms);
    for kind in ActionKind::ALL {
        let policy = table.table(kind.name(), |table| policy(table, kind));
        settings.set_policy(kind, policy);
    }
    let mut modes = Vec::new();
    for mode in [Mode::Automatic, Mode::Ask, Mode::Observe] {
        let names = table.take::<Vec<String>>(mode.name()).unwrap_or_default();
        modes.extend(names.into_iter().map(|name| (mode, name)));
    }
    RespondConfig {
        settings,
        playbooks: table.take::<String>("playbooks").map(|path| base.join(path)),
        modes,
        off: table.take("off").unwrap_or_default(),
    }
}

/// `[respond.ban]`: what an action takes.
fn policy(table: &mut Table<'_, '_>, kind: ActionKind) -> Policy {
    let default = Policy::of(kind);
    let least = u64::from(Policy::approvals_min(kind));
    let approvals = table.take_between::<u64>("approvals", least, u64::from(APPROVALS_MAX));
    let roles = [("operator", Role::Operator), ("admin", Role::Admin)];
    let second = Duration::from_secs(1);
    let time_max = table.take_between("time_max", second, 3650 * DAY).map(|time| time.as_secs());
    let time = table.take_between("time", second, 3650 * DAY).map(|time| time.as_secs());
    let time_max_s = time_max.unwrap_or(default.time_max_s.max(time.unwrap_or(0)));
    let policy = Policy {
        approvals: approvals.and_then(|count| u8::try_from(count).ok()).unwrap_or(default.approvals),
        ordered_by: table.choice("ordered_by", &roles).unwrap_or(default.ordered_by),
        approved_by: table.choice("approved_by", &roles).unwrap_or(default.approved_by),
        time_s: time.or(default.time_s.map(|time_s| time_s.min(time_max_s))),
        time_max_s,
        until_lifted: table.take("until_lifted").unwrap_or(default.until_lifted),
    };
    if time.is_some_and(|time_s| time_s > time_max_s) {
        let key = format!("{}.time", table.path);
        table.reader.error_at(&key, "`time` is longer than `time_max`".into(), "raise `time_max`");
    }
    policy
}

/// What the file alone tells to be wrong.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    let respond = &config.respond;
    let mut seen: Vec<&str> = Vec::new();
    for name in respond.modes.iter().map(|(_, name)| name).chain(&respond.off) {
        if seen.contains(&name.as_str()) {
            let what = format!("the playbook \"{}\" is given two modes", name.escape_debug());
            reader.error_at("respond", what, "name it in one of `automatic`, `ask`, `observe` and `off`");
        }
        seen.push(name);
    }
}

impl Config {
    /// The playbooks: those that are shipped, and those of the directory, with the modes that the configuration gives them.
    pub(super) fn load_playbooks(&self, found: &mut Vec<Diagnostic>) -> Vec<Playbook> {
        let respond = &self.respond;
        let mut playbooks: Vec<Playbook> = Vec::new();
        let mut add = |name: &str, text: &str, found: &mut Vec<Diagnostic>| match playbook::read(name, text) {
            Ok(read) => {
                for playbook in read {
                    playbooks.retain(|one| one.name != playbook.name);
                    playbooks.push(playbook);
                }
            }
            Err(ConfigErrors(wrong)) => found.extend(wrong),
        };
        for (name, text) in SHIPPED {
            add(name, text, found);
        }
        if let Some(directory) = &respond.playbooks {
            match files(directory) {
                Ok(paths) => {
                    for path in paths {
                        let name = path.display().to_string();
                        match ravelin_protect::file::read_text(&path, FILE_BYTES_MAX) {
                            Ok(text) => add(&name, &text, found),
                            Err(error) => found.push(Diagnostic::error(name, error.to_string(), "")),
                        }
                    }
                }
                Err(error) => {
                    let what = format!("failed to read {}: {error}", directory.display());
                    let help = "`playbooks` is a directory of .toml files";
                    found.push(self.diagnostic(Severity::Error, "respond.playbooks", what, help));
                }
            }
        }
        if playbooks.len() > PLAYBOOKS_MAX {
            let what = format!("{} playbooks; at most {PLAYBOOKS_MAX} are taken", playbooks.len());
            found.push(self.diagnostic(Severity::Error, "respond.playbooks", what, ""));
        }
        let named = respond.modes.iter().map(|(mode, name)| (mode.name(), name));
        for (key, name) in named.chain(respond.off.iter().map(|name| ("off", name))) {
            if playbooks.iter().all(|playbook| *playbook.name != **name) {
                let what = format!("there is no playbook \"{}\"", name.escape_debug());
                let help = "`ravelin respond playbooks` lists them";
                found.push(self.diagnostic(Severity::Error, &format!("respond.{key}"), what, help));
            }
        }
        playbooks.retain(|playbook| respond.off.iter().all(|name| **name != *playbook.name));
        for playbook in &mut playbooks {
            if let Some((mode, _)) = respond.modes.iter().find(|(_, name)| **name == *playbook.name) {
                playbook.mode = *mode;
            }
        }
        playbooks
    }
}

/// The .toml files of a directory, by name.
fn files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
        if paths.len() > FILES_MAX {
            return Err(std::io::Error::other(format!("more than {FILES_MAX} files")));
        }
    }
    paths.sort();
    Ok(paths)
}
