//! Playbooks as files: `[[playbook]]` with `[playbook.when]`, `[[playbook.do]]` and `[playbook.bound]`.

use super::diagnostic::{ConfigErrors, Severity, Source};
use super::read::{Reader, Table};
use ravelin_event::{Severity as Grade, Verification};
use ravelin_respond::{
    Action, Bound, Conditions, Direction, Frozen, Mode, Playbook, Posture, Retained, Step,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use toml::de::DeTable;

/// Actions of one playbook.
const STEPS_MAX: usize = 16;
const DAY: Duration = Duration::from_secs(86_400);
const MINUTES: Duration = Duration::from_secs(600);

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        /// The shipped playbooks: what each file is called, and its text.
        pub(super) const SHIPPED: &[(&str, &str)] = &[
            $((concat!("framework/playbooks/", $name), include_str!(concat!("../../../../framework/playbooks/", $name))),)*
        ];
    };
}

shipped! {
    "certificates.toml",
    "credentials.toml",
    "end-devices.toml",
    "channels.toml",
    "firewall.toml",
    "shutdown.toml",
    "network.toml",
    "physical.toml",
    "intrusion.toml",
}

/// Reads playbooks; every error is at its line and key.
pub(super) fn read(name: &str, text: &str) -> Result<Vec<Playbook>, ConfigErrors> {
    let source = Source::new(name, text);
    let document = DeTable::parse(text).map_err(|error| {
        let what = error.message().trim().to_owned();
        ConfigErrors(vec![source.diagnostic(Severity::Error, error.span().as_ref(), what, "")])
    })?;
    let mut reader = Reader { source: &source, found: Vec::new(), places: BTreeMap::new() };
    let mut root = Table::new(&mut reader, Some(document.get_ref()), "");
    let playbooks = root.tables("playbook", playbook);
    root.finish();
    let Reader { mut found, .. } = reader;
    if found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        found.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        return Err(ConfigErrors(found));
    }
    Ok(playbooks)
}

fn wrong(table: &mut Table<'_, '_>, key: &str, what: String, help: &str) {
    let key = format!("{}.{key}", table.path);
    table.reader.error_at(&key, what, help);
}

fn names(table: &mut Table<'_, '_>, key: &'static str) -> Vec<Arc<str>> {
    let names = table.take::<Vec<String>>(key).unwrap_or_default();
    names.into_iter().map(Arc::from).collect()
}

fn playbook(table: &mut Table<'_, '_>, _: usize) -> Playbook {
    let name: String = table.take("name").unwrap_or_default();
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
        wrong(table, "name", "a playbook has a `name` of small letters, digits and `-`".into(), "");
    }
    let modes = [Mode::Automatic, Mode::Ask, Mode::Observe].map(|mode| (mode.name(), mode));
    let mode = table.choice("mode", &modes).unwrap_or_default();
    let description = table.take::<String>("description").unwrap_or_default();
    let core = names(table, "core");
    let notify = table.take::<String>("notify").unwrap_or_default();
    let when = table.table("when", conditions);
    let steps = table.tables("do", step);
    if steps.is_empty() || steps.len() > STEPS_MAX {
        let what = format!("a playbook has from 1 to {STEPS_MAX} actions");
        wrong(table, "do", what, "write `[[playbook.do]]` with `action = \"ban\"` and its keys below it");
    }
    let bound = table.table("bound", bound);
    Playbook {
        name: name.into(),
        description: description.into(),
        core,
        mode,
        when,
        steps: steps.into_iter().flatten().collect(),
        bound,
        notify: notify.into(),
    }
}

fn conditions(table: &mut Table<'_, '_>) -> Conditions {
    let default = Conditions::default();
    let grades = [Grade::Informational, Grade::Low, Grade::Medium, Grade::High, Grade::Critical];
    let subjects = names(table, "subject");
    const KINDS: [&str; 8] = ["client", "source", "identity", "topic", "device", "class", "fleet", "node"];
    if let Some(bad) = subjects.iter().find(|name| !KINDS.contains(&&***name)) {
        let what = format!("`{}` is no subject of an alarm", bad.escape_debug());
        wrong(table, "subject", what, &format!("there are: {}", KINDS.join(", ")));
    }
    let verification = match table.take::<Vec<String>>("verification") {
        None => default.verification,
        Some(words) => {
            let read = |word: &String| {
                Some(match word.as_str() {
                    "unknown" => Verification::Unknown,
                    "true_positive" => Verification::TruePositive,
                    "benign_positive" => Verification::BenignPositive,
                    "false_positive" => Verification::FalsePositive,
                    _ => return None,
                })
            };
            let all: Vec<_> = words.iter().filter_map(read).collect();
            if all.len() < words.len() {
                let help = "there are: unknown, true_positive, benign_positive, false_positive";
                wrong(table, "verification", "`verification` has a word that is none".into(), help);
            }
            all
        }
    };
    let alarms = table.take_between::<u64>("alarms", 1, u64::from(Conditions::ALARMS_MAX));
    Conditions {
        detectors: names(table, "detector"),
        severity: table.choice("severity", &grades.map(|one| (one.name(), one))).unwrap_or(default.severity),
        confidence: table.take_between::<u64>("confidence", 0, 100).unwrap_or(0) as u8,
        classes: names(table, "class"),
        subjects,
        verification,
        alarms: alarms.and_then(|count| u32::try_from(count).ok()).unwrap_or(default.alarms),
        within_ms: within(table),
        posture: posture(table, "posture").unwrap_or_default(),
    }
}

fn within(table: &mut Table<'_, '_>) -> u64 {
    let within = table.take_between("within", Duration::from_secs(1), 30 * DAY).unwrap_or(MINUTES);
    u64::try_from(within.as_millis()).unwrap_or(u64::MAX)
}

fn posture(table: &mut Table<'_, '_>, key: &'static str) -> Option<Posture> {
    let levels = [Posture::Normal, Posture::Elevated, Posture::Lockdown];
    table.choice(key, &levels.map(|level| (level.name(), level)))
}

fn bound(table: &mut Table<'_, '_>) -> Bound {
    let default = Bound::default();
    let clients = table.take_between::<u64>("clients", 1, u64::from(Bound::CLIENTS_MAX));
    Bound {
        clients: clients.and_then(|count| u32::try_from(count).ok()).unwrap_or(default.clients),
        within_ms: within(table),
        percent: table.take_between::<u64>("percent", 1, 100).map_or(default.percent, |share| share as u8),
    }
}

fn step(table: &mut Table<'_, '_>, _: usize) -> Option<Step> {
    let kinds = ravelin_respond::ActionKind::ALL.map(|kind| (kind.name(), kind));
    let Some(kind) = table.choice("action", &kinds) else {
        wrong(table, "action", "an action has its `action`".into(), "");
        return None;
    };
    let errors = table.reader.found.len();
    let action = action(table, kind.name());
    let time = table.take_between("for", Duration::from_secs(1), 3650 * DAY);
    // What is missing has been told.
    let action = action.filter(|_| table.reader.found.len() == errors)?;
    if time.is_some() && !action.has_undo() {
        let what = format!("`{}` takes no time limit: nothing of it stays, or it is final", action.name());
        wrong(table, "for", what, "delete the key");
    }
    let step = Step { action, time_s: time.map(|time| time.as_secs()) };
    if let Err(error) = step.check() {
        wrong(table, "action", error.to_string(), "");
    }
    Some(step)
}

fn action(table: &mut Table<'_, '_>, name: &str) -> Option<Action> {
    let mut text = |key: &'static str| {
        let value = table.take::<String>(key).map(Arc::<str>::from);
        if value.is_none() {
            wrong(
                table,
                key,
                format!("`{name}` needs `{key}`"),
                "write it, with `{...}` where the alarm has the name",
            );
        }
        value
    };
    Some(match name {
        "disconnect" => Action::Disconnect { client_id: text("client_id")? },
        "ban" => Action::Ban { subject: text("subject")? },
        "quarantine" => Action::Quarantine { client_id: text("client_id")? },
        "revoke_certificate" => Action::RevokeCertificate { certificate: text("certificate")? },
        "revoke_credential" => Action::RevokeCredential { identity: text("identity")? },
        "firewall" => Action::Firewall { network: text("network")? },
        "stop_listener" => Action::StopListener { listener: text("listener")? },
        "stop_node" => Action::StopNode {},
        "throttle" => {
            let client_id = text("client_id")?;
            let rate = table.take_between::<u64>("messages_per_s", 1, 1_000_000).unwrap_or(1);
            Action::Throttle { client_id, messages_per_s: u32::try_from(rate).unwrap_or(1) }
        }
        "posture" => match posture(table, "level") {
            Some(level) => Action::Posture { level },
            None => {
                wrong(table, "level", "`posture` needs `level`".into(), "");
                return None;
            }
        },
        _ => {
            let filter = text("filter")?;
            let messages = [("drop", Frozen::Drop), ("hold", Frozen::Hold)];
            let directions =
                [("both", Direction::Both), ("publish", Direction::Publish), ("receive", Direction::Receive)];
            let retained = [("withhold", Retained::Withhold), ("serve", Retained::Serve)];
            Action::Freeze {
                filter,
                messages: table.choice("messages", &messages).unwrap_or_default(),
                direction: table.choice("direction", &directions).unwrap_or_default(),
                retained: table.choice("retained", &retained).unwrap_or_default(),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_event::{Alarm, Notice, Severity as Grade, Subject, Verification};
    use ravelin_respond::{Desk, Facts, Settings, Verdict};

    fn shipped() -> Vec<Playbook> {
        let read = |(name, text): &(&str, &str)| read(name, text).unwrap_or_else(|error| panic!("{error}"));
        SHIPPED.iter().flat_map(read).collect()
    }

    fn alarm(id: u64, detector: &str, subject: Subject) -> Alarm {
        Alarm {
            id,
            detector: detector.into(),
            subcategory: "DE.ID-1".into(),
            technique: None,
            severity: Grade::Critical,
            confidence: 100,
            subject,
            client_id: Some("meter-7".into()),
            identity: Some("meter-7".into()),
            class: Some("meter".into()),
            address: Some("192.0.2.7:4711".parse().unwrap()),
            topic: Some("plant/a".into()),
            first_ms: 1,
            raised_ms: 2,
            last_ms: 2,
            cleared_ms: None,
            statistic: "".into(),
            value: 2.0,
            threshold: 1.0,
            baseline: None,
            unit: "".into(),
            window_ms: 1,
            events: 1,
            counted: Vec::new(),
            figures: Vec::new(),
            summary: "a test".into(),
            false_alarms: "".into(),
            verification: Verification::TruePositive,
            suppressed: false,
        }
    }

    /// Every detector of the list of the note, and those beside it.
    fn detectors() -> Vec<String> {
        let mut names: Vec<String> =
            ravelin_detect::Engine::detectors().iter().map(|one| one.name.to_string()).collect();
        names.extend(shipped().iter().flat_map(|one| one.when.detectors.iter().map(ToString::to_string)));
        names.sort();
        names.dedup();
        names
    }

    #[test]
    fn shipped_playbooks_only_observe_or_ask_and_serve_every_row() {
        let playbooks = shipped();
        let mut names: Vec<_> = playbooks.iter().map(|one| one.name.to_string()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), playbooks.len(), "each has a name of its own");
        for playbook in &playbooks {
            let cuts = playbook.steps.iter().any(|step| step.action.is_against_clients());
            assert!(playbook.mode != Mode::Automatic || !cuts, "{} cuts off by itself", playbook.name);
            assert!(!playbook.description.is_empty() && !playbook.core.is_empty(), "{}", playbook.name);
        }
        for row in 1..=6 {
            let row: Arc<str> = format!("RS.RP-{row}").into();
            assert!(playbooks.iter().any(|one| one.core.contains(&row)), "nobody serves {row}");
        }
        for name in detectors() {
            let answered = playbooks.iter().any(|one| one.when.detectors.iter().any(|one| **one == *name));
            assert!(answered, "no shipped playbook answers {name}");
        }
    }

    #[test]
    fn shipped_playbooks_can_answer_the_alarm_of_every_detector() {
        let mut playbooks = shipped();
        for playbook in &mut playbooks {
            playbook.mode = Mode::Ask;
        }
        let mut desk = Desk::new(Settings::default(), playbooks);
        let (mut id, mut orders) = (0, 0);
        for detector in detectors() {
            for subject in [
                Subject::Client("meter-7".into()),
                Subject::Source([192, 0, 2, 7].into()),
                Subject::Topic("plant/a".into()),
                Subject::Fleet,
            ] {
                let fleet = subject == Subject::Fleet;
                for _ in 0..3 {
                    id += 1;
                    let notice = Notice::Raised(Arc::new(alarm(id, &detector, subject.clone())));
                    for wanted in desk.handle_notice(id, &notice, Some("ab".repeat(32).into())) {
                        assert!(!fleet || !wanted.action.is_against_clients(), "{wanted:?}");
                        let facts = Facts { clients: 1, connected: 100, ..Facts::default() };
                        let verdict = desk.handle_wanted(id, &wanted, &facts);
                        // Two playbooks may freeze the same topic in two ways; the first is asked for.
                        assert!(matches!(verdict, Verdict::Ordered(_)), "{wanted:?}: {verdict:?}");
                        orders += 1;
                    }
                }
            }
        }
        assert!(orders > 50, "{orders}");
        assert!(desk.poll_job().is_none(), "nothing is done before somebody agrees");
    }

    #[test]
    fn an_error_is_at_its_line_and_key() {
        let text = "[[playbook]]\nname = \"a\"\nmode = \"observ\"\n[playbook.when]\nseverity = \"hgih\"\n\
                    [[playbook.do]]\naction = \"ban\"\nsubject = \"client_id:{client}\"\nfor = \"1h\"\n\
                    [[playbook.do]]\naction = \"disconnect\"\nclient_id = \"{client_id}\"\nfor = \"1h\"\nuntil = 3\n";
        let ConfigErrors(found) = read("a.toml", text).unwrap_err();
        let told: Vec<_> = found.iter().map(|one| (one.line, one.what.as_str())).collect();
        for (line, word) in
            [(3, "mode"), (5, "severity"), (7, "{client}"), (13, "no time limit"), (14, "until")]
        {
            assert!(
                told.iter().any(|(at, what)| *at == line && what.contains(word)),
                "{line} {word}: {told:?}"
            );
        }
        assert!(read("b.toml", "[[playbook]\n").is_err());
    }
}
