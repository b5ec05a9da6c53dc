//! What the node says while it is attacked.

use super::report::{Answer, Result};
use super::scenario::Attack;
use super::stage::Stage;
use ravelin_console::api::events::{EventItem, EventsPage};
use ravelin_event::{Alarm, Subject};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Between two questions.
const EVERY: Duration = Duration::from_millis(100);
/// Alarms and orders that are looked at.
const LAST: usize = 200;

/// From where on to look.
pub struct Watch {
    event: u64,
    /// The check that stopped the attack, and when.
    stopped: Option<(String, u64)>,
    missed: u64,
}

impl Watch {
    pub fn begin(stage: &Stage, _attack: &Attack) -> anyhow::Result<Watch> {
        let page: EventsPage = stage.client.get("/v1/events?limit=1&level=info")?;
        Ok(Watch { event: page.next, stopped: None, missed: 0 })
    }

    /// Waits for what must come of the attack.
    pub fn conclude(
        &mut self,
        stage: &Stage,
        attack: &Attack,
        result: &mut Result,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        let mut found = None;
        loop {
            self.read_events(stage, attack)?;
            if found.is_none() && !attack.alarms.is_empty() {
                found = alarm_of(stage, attack, result.started_ms)?;
            }
            let stopped = self.stopped.is_some();
            let done = if attack.alarms.is_empty() { stopped } else { found.is_some() };
            if done || Instant::now() >= until {
                break;
            }
            std::thread::sleep(EVERY);
        }
        result.stopped(self.stopped.take());
        if let Some(alarm) = found {
            // A playbook has had its time: it is told of the alarm before we are.
            std::thread::sleep(EVERY);
            result.alarmed(&alarm, answers(stage, alarm.id)?);
        }
        result.missed_events = self.missed;
        Ok(())
    }

    fn read_events(&mut self, stage: &Stage, attack: &Attack) -> anyhow::Result<()> {
        loop {
            let path = format!("/v1/events?limit=1000&level=info&after={}", self.event);
            let page: EventsPage = stage.client.get(&path)?;
            self.missed += page.missed;
            for item in page.items.iter().filter(|item| concerns(stage, &item.fields)) {
                self.look(attack, item);
            }
            if page.items.is_empty() || page.next == self.event {
                return Ok(());
            }
            self.event = page.next;
        }
    }

    fn look(&mut self, attack: &Attack, item: &EventItem) {
        let why = item.fields["why"].as_str();
        let stop =
            attack.stops.iter().find(|stop| stop.event == item.id && (stop.why.is_none() || stop.why == why));
        if let Some(stop) = stop.filter(|_| self.stopped.is_none()) {
            self.stopped = Some((stop.check.into(), item.at_ms));
        }
    }
}

/// Whether an event is about one of the attackers.
fn concerns(stage: &Stage, fields: &Value) -> bool {
    let named = ["client_id", "identity"].iter().filter_map(|name| fields[*name].as_str());
    let from = fields["address"].as_str().and_then(|text| text.parse::<std::net::SocketAddr>().ok());
    named.into_iter().any(|name| stage.is_ours(name))
        || from.is_some_and(|from| Some(from.ip()) == stage.source())
}

/// The first alarm that was raised for the attack, or an open one that it has kept going.
fn alarm_of(stage: &Stage, attack: &Attack, since_ms: u64) -> anyhow::Result<Option<Alarm>> {
    let page: Value = stage.client.get(&format!("/v1/alarms?limit={LAST}"))?;
    let items = page["items"].as_array().cloned().unwrap_or_default();
    let alarms = items.into_iter().filter_map(|item| serde_json::from_value::<Alarm>(item).ok());
    let mut fitting: Vec<Alarm> = alarms
        .filter(|alarm| attack.alarms.contains(&&*alarm.subcategory))
        .filter(|alarm| alarm.last_ms.max(alarm.raised_ms) >= since_ms && is_about(stage, alarm))
        .collect();
    fitting.sort_by_key(|alarm| (alarm.raised_ms < since_ms, alarm.raised_ms));
    Ok(fitting.into_iter().next())
}

fn is_about(stage: &Stage, alarm: &Alarm) -> bool {
    let names = [&alarm.client_id, &alarm.identity];
    let source = stage.source();
    names.into_iter().flatten().any(|name| stage.is_ours(name))
        || alarm.address.is_some_and(|address| Some(address.ip()) == source)
        || match &alarm.subject {
            Subject::Source(address) => source.is_none_or(|source| source == *address),
            Subject::Client(name) | Subject::Identity(name) | Subject::Device(name) => stage.is_ours(name),
            Subject::Topic(topic) => topic.starts_with("drill/") || topic.starts_with("field/"),
            Subject::Fleet => true,
            _ => false,
        }
}

/// What was done about an alarm.
fn answers(stage: &Stage, alarm: u64) -> anyhow::Result<Vec<Answer>> {
    let page: Value = stage.client.get(&format!("/v1/orders?limit={LAST}"))?;
    let items = page["items"].as_array().cloned().unwrap_or_default();
    let ours = items.iter().filter(|item| item["alarm"].as_u64() == Some(alarm));
    Ok(ours.map(Answer::of).collect())
}
