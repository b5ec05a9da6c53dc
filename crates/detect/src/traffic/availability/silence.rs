//! When silence counts: of a client, by what is expected of it or was learned, and of one of its topics.

use super::{Availability, Client, LATE_EVERY_MS, Watched, expectation};
use crate::Raise;
use crate::traffic::catalog as text;
use crate::traffic::{Expectation, Settings, Who};
use ravelin_event::Subject;

/// A learned rhythm says nothing of a client that has left before this is over.
const AWAY_MS: u64 = 900_000;
/// Gaps of a topic's own rhythm before a message is missed on it. Of many topics that are used now and then, some look regular by
/// chance for a few gaps; for twelve they do not.
const TOPIC_GAPS: u16 = 12;
/// Silence waits so long to be told, for others that fall silent too.
pub(super) const PENDING_MS: u64 = 30_000;

impl Availability {
    pub(super) fn look_at_client(
        &mut self,
        settings: &Settings,
        expect: &[Expectation],
        key: u64,
        at_ms: u64,
    ) {
        let Some(client) = self.clients.get(&key) else { return };
        let again = match silent_at(settings, expect, client, self.blind_ms) {
            Some(due_ms) if due_ms > at_ms => due_ms,
            Some(_) if client.silent || self.pending.iter().any(|(_, pending)| *pending == key) => {
                at_ms + PENDING_MS
            }
            Some(_) => {
                self.pending.push_back((at_ms, key));
                at_ms + PENDING_MS
            }
            None => at_ms + PENDING_MS,
        };
        self.wheel.insert(Watched::Client(key), again);
    }

    pub(super) fn look_at_topic(&mut self, settings: &Settings, key: u64, at_ms: u64, out: &mut Vec<Raise>) {
        let Some(topic) = self.topics.get_mut(&key) else { return };
        let Some(client) = self.clients.get(&topic.client) else { return };
        let since_ms = topic.rhythm.last_ms.max(self.blind_ms).max(client.arrived_ms);
        let after = topic.rhythm.silent_after_ms(floor_ms(client.keep_alive_s));
        let due_ms = after.map(|after| since_ms + after);
        // Others came meanwhile, and lately: the client is well. What it has not sent since it connected is not missed: new
        // firmware has other topics.
        let period = topic.rhythm.gap.mean as u64;
        let sent = topic.rhythm.last_ms >= client.arrived_ms;
        let known = topic.rhythm.gap.count >= TOPIC_GAPS;
        let others = known && sent && client.rhythm.last_ms > since_ms + period && !client.silent;
        let again = match due_ms {
            Some(due_ms) if due_ms > at_ms => due_ms,
            Some(_) if others && client.connected && !topic.silent && settings.learn_silence => {
                topic.silent = true;
                let missing = topic.rhythm.missing(at_ms);
                let (name, topic_name) = (&client.client_id, &topic.topic);
                out.push(
                    Raise::of(&text::MISSING, Subject::Client(name.clone()), at_ms)
                        .measured((at_ms - since_ms) as f32, after.unwrap_or(0) as f32, "ms")
                        .over(since_ms, at_ms, missing)
                        .usual(topic.rhythm.gap.mean)
                        .on(topic_name)
                        .says(format!(
                            "{missing} messages of {name} to {topic_name} are missing, while others come"
                        ))
                        .until_cleared(),
                );
                topic.rhythm.silences = topic.rhythm.silences.saturating_add(1);
                at_ms + PENDING_MS
            }
            _ => at_ms + PENDING_MS,
        };
        self.wheel.insert(Watched::Topic(key), again);
    }
}

/// While a connection may be lost without anybody knowing, Keep Alive decides, not silence.
fn floor_ms(keep_alive_s: u16) -> u64 {
    // MQTT-3.1.2-22: no packet within 1.5 x keep alive ends the connection.
    if keep_alive_s == 0 {
        300_000
    } else {
        (u64::from(keep_alive_s) * 1_500 + 10_000).clamp(30_000, 300_000)
    }
}

/// From when on the client's silence counts.
pub(super) fn silent_at(
    settings: &Settings,
    expect: &[Expectation],
    client: &Client,
    blind_ms: u64,
) -> Option<u64> {
    let expected = expectation(expect, client.class.as_ref());
    if expected.is_some_and(|expected| expected.watch == Some(false)) {
        return None;
    }
    let last = client.rhythm.last_ms.max(blind_ms).max(client.arrived_ms);
    if let Some(interval_s) = expected.and_then(|expected| expected.interval_s) {
        let grace_s = expected.and_then(|expected| expected.grace_s).unwrap_or(interval_s);
        return Some(last + ((interval_s + grace_s) * 1_000.0) as u64);
    }
    if let Some(expected) = expected.filter(|expected| expected.connected && !client.connected) {
        return Some(client.left_ms.max(blind_ms) + (expected.grace_s.unwrap_or(300.0) * 1_000.0) as u64);
    }
    if !settings.learn_silence {
        return None;
    }
    let after = client.rhythm.silent_after_ms(floor_ms(client.keep_alive_s))?;
    // A device that sleeps between its messages is away for longer than it is there.
    let stayed_ms = client.left_ms.saturating_sub(client.arrived_ms);
    let sleeps = client.connections >= 3 && (stayed_ms as f32) < client.rhythm.gap.mean;
    match (client.connected, client.dismissed && !sleeps) {
        (true, _) => Some(last + after),
        // It said goodbye, and does not come and go.
        (false, true) => None,
        (false, false) => Some(last + after.max(AWAY_MS)),
    }
}

/// A finding: a message of a rhythm came late.
pub(super) fn late(client: &mut Client, who: Who<'_>, at_ms: u64) -> Option<Raise> {
    let (gap, period) = (at_ms.saturating_sub(client.rhythm.last_ms) as f32, client.rhythm.gap.mean);
    let judged = client.rhythm.is_regular() && client.rhythm.gap.count >= 8 && client.rhythm.last_ms > 0;
    let connected = client.arrived_ms <= client.rhythm.last_ms;
    if !judged || !connected || client.silent || gap < period * 1.5 || gap < 10_000.0 {
        return None;
    }
    if at_ms < client.late_ms + LATE_EVERY_MS && client.late_ms > 0 {
        return None;
    }
    client.late_ms = at_ms;
    let name = &client.client_id;
    Some(
        Raise::of(&text::LATE, who.subject(), at_ms)
            .measured(gap, period * 1.5, "ms")
            .over(client.rhythm.last_ms, at_ms, client.rhythm.missing(at_ms))
            .usual(period)
            .says(format!("{name} sends every {:.1} s, and now {:.1} s passed", period / 1e3, gap / 1e3)),
    )
}

/// The alarm about one client.
pub(super) fn silent(settings: &Settings, expect: &[Expectation], client: &Client, at_ms: u64) -> Raise {
    let name = &client.client_id;
    let last =
        client.rhythm.last_ms.max(client.arrived_ms).max(if client.connected { 0 } else { client.left_ms });
    let gone = at_ms.saturating_sub(last) as f32;
    let expected = expectation(expect, client.class.as_ref());
    let interval = expected.and_then(|expected| expected.interval_s).map(|seconds| seconds as f32 * 1_000.0);
    let period = interval.unwrap_or(client.rhythm.gap.mean);
    let there = if client.connected { "is connected and silent" } else { "has left and is silent" };
    Raise::of(&text::SILENT, Subject::Client(name.clone()), at_ms)
        .measured(
            gone,
            silent_at(settings, expect, client, 0).map_or(0, |due| due.saturating_sub(last)) as f32,
            "ms",
        )
        .over(last, at_ms, client.rhythm.missing(at_ms).max(1))
        .usual(period)
        .with("wills", client.wills, "messages")
        .says(format!("{name} {there} for {:.0} s; it sends every {:.0} s", gone / 1e3, period / 1e3))
        .until_cleared()
}
