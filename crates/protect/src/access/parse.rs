//! Reads a rules file, as Mosquitto 2.0 reads it. All errors are collected.

use super::trie::{Effect, READ, SUBSCRIBE, WRITE};
use super::{AccessRules, Rule};
use crate::{FileError, FileErrors};
use std::sync::Arc;

const ERRORS_MAX: usize = 100;
const LINE_BYTES_MAX: usize = 70_000;
const RULES_MAX: usize = 1_000_000;
/// Levels of a rule. Deeper topics are matched by wildcards.
const LEVELS_MAX: u16 = 128;

/// What is wrong with a line: where in it, what, what to do.
type LineError = (usize, String, String);

pub(super) fn parse(text: &str, name: &str) -> Result<AccessRules, FileErrors> {
    let mut rules = AccessRules::deny_everything();
    let mut errors = Vec::new();
    let mut user: Option<Box<str>> = None;
    let name: Arc<str> = name.into();
    for (index, line) in text.lines().enumerate() {
        let Err((at, what, help)) = parse_line(&mut rules, &mut user, index + 1, line) else { continue };
        let column = line.get(..at).map_or(1, |before| before.chars().count() + 1);
        errors.push(FileError { file: name.clone(), line: index + 1, column, what, help });
        if errors.len() >= ERRORS_MAX {
            break;
        }
    }
    if errors.is_empty() { Ok(rules) } else { Err(FileErrors(errors)) }
}

fn parse_line(
    rules: &mut AccessRules,
    user: &mut Option<Box<str>>,
    number: usize,
    line: &str,
) -> Result<(), LineError> {
    if line.len() > LINE_BYTES_MAX {
        return Err((0, format!("the line is longer than {LINE_BYTES_MAX} bytes"), "delete it".into()));
    }
    // A comment begins the line, as in Mosquitto: a `#` further on belongs to a topic.
    let line = line.trim_end();
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    if let Some(at) = line.find(|c: char| c.is_control() && c != '\t') {
        return Err((at, "there is a control character".into(), "delete it".into()));
    }
    let start = line.len() - line.trim_start().len();
    let (keyword, value) = word(line, start);
    match keyword {
        "user" => {
            let Some(at) = value else {
                return Err((line.len(), "the user's name is missing".into(), "write `user NAME`".into()));
            };
            *user = Some(line[at..].into());
            Ok(())
        }
        "topic" | "pattern" => {
            let (effect, at) = access(line, value)?;
            let filter = &line[at..];
            check_filter(filter).map_err(|what| {
                (
                    at,
                    format!("`{filter}` is not a topic filter: {what}"),
                    "see MQTT 5.0, section 4.7".to_string(),
                )
            })?;
            if rules.rules.len() >= RULES_MAX {
                return Err((0, format!("there are more than {RULES_MAX} rules"), "use patterns".into()));
            }
            let rule = rules.rules.len() as u32;
            let section = user.as_deref().filter(|_| keyword == "topic").map(Arc::from);
            let text = line.trim_start().into();
            rules.rules.push(Rule { line: number, text, user: section, usage: Arc::default() });
            match (keyword, user) {
                ("pattern", _) => rules.patterns.add(filter, true, effect, rule),
                (_, None) => rules.anonymous.add(filter, false, effect, rule),
                (_, Some(user)) => {
                    rules.users.entry(user.clone()).or_default().add(filter, false, effect, rule);
                }
            }
            Ok(())
        }
        other => Err((
            start,
            format!("`{other}` is not a rule"),
            "a line begins with `user`, `topic`, `pattern` or `#`".into(),
        )),
    }
}

/// The access and where the topic begins. One word is a topic, with the access `readwrite`.
fn access(line: &str, value: Option<usize>) -> Result<(Effect, usize), LineError> {
    let Some(at) = value else {
        return Err((line.len(), "the topic is missing".into(), "write `topic read a/b`".into()));
    };
    let (first, topic) = word(line, at);
    let Some(topic) = topic else { return Ok((Effect::Allow(READ | WRITE), at)) };
    let effect = match first {
        "read" => Effect::Allow(READ),
        "write" => Effect::Allow(WRITE),
        "readwrite" => Effect::Allow(READ | WRITE),
        "subscribe" => Effect::Allow(SUBSCRIBE),
        "deny" => Effect::Deny,
        other => {
            return Err((
                at,
                format!("`{other}` is not an access"),
                "it is `read`, `write`, `readwrite`, `subscribe` or `deny`; a topic with a space needs one in front"
                    .into(),
            ));
        }
    };
    Ok((effect, topic))
}

/// The word at `start`, and where what follows begins.
fn word(line: &str, start: usize) -> (&str, Option<usize>) {
    let rest = &line[start..];
    match rest.find([' ', '\t']) {
        None => (rest, None),
        Some(end) => {
            let after = &rest[end..];
            let spaces = after.len() - after.trim_start_matches([' ', '\t']).len();
            (&rest[..end], Some(start + end + spaces))
        }
    }
}

fn check_filter(filter: &str) -> Result<(), String> {
    if filter.starts_with("$share/") {
        return Err("a rule is about the topics, not about the group of a shared subscription".into());
    }
    ravelin_mqtt::check_filter(filter, LEVELS_MAX).map(drop).map_err(|error| error.to_string())
}
