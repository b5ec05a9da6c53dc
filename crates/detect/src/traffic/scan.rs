//! Who looks for topics: by subscribing, by publishing, by asking for everything.

use super::catalog as text;
use super::{Settings, State, Traffic, Who, flag, seen};
use crate::Operation;
use crate::Raise;
use crate::sight::{Metered, TopicMeter};
use ravelin_event::Severity;
use std::sync::Arc;

/// A new filter that is denied or matches nothing, against one that does: ln(0.8 / 0.2). Nine in a row make an alarm.
const FILTER_BAD: f32 = 1.386;
const FILTER_GOOD: f32 = -1.386;
/// A new topic that nobody subscribed to: ln(0.9 / 0.4). Fifteen in a row make an alarm.
const TOPIC_BAD: f32 = 0.811;
/// And one that somebody did: ln(0.1 / 0.6).
const TOPIC_GOOD: f32 = -1.792;
/// The CUSUMs are held here, so that a scan is over some time after it stopped.
const SCAN_MAX: f32 = 40.0;
/// After the start nobody knows what is alive: whoever is known gets the benefit of the doubt for so long.
const COLD_MS: u64 = 600_000;

/// Kinds of names in the table of what was seen.
const TOPIC: u8 = 0;
const FILTER: u8 = 1;
const DENIED: u8 = 2;

/// The client subscribed.
pub(super) fn handle_subscribed(
    traffic: &mut Traffic,
    settings: &Settings,
    who: Who<'_>,
    state: &mut State,
    at_ms: u64,
    filter: &Arc<str>,
    out: &mut Vec<Raise>,
) {
    state.decay(at_ms);
    let key = traffic.seen.key(FILTER, who.client_id, filter);
    let new = traffic.seen.insert(key, settings.seen_max);
    if handle_wide(traffic, settings, who, state, at_ms, (filter, new, false), out) || !new {
        return;
    }
    state.cold.filters = state.cold.filters.saturating_add(1);
    if state.cold.filters <= state.cold.learned_filters {
        // As many as before: after a restart nobody remembers which they were.
        return;
    }
    let matches = traffic.live.matches(at_ms, filter);
    let cold = at_ms < traffic.started_ms + COLD_MS && !who.is_anonymous();
    match (matches, cold) {
        (true, _) => state.cold.scan_subscribe = (state.cold.scan_subscribe + FILTER_GOOD).max(0.0),
        (false, true) => {}
        (false, false) => probe(settings, who, state, at_ms, (filter, false, 1), out),
    }
}

/// The client was denied.
pub(super) fn handle_denied(
    traffic: &mut Traffic,
    settings: &Settings,
    who: Who<'_>,
    state: &mut State,
    at_ms: u64,
    (operation, name, count): (Operation, &Arc<str>, u32),
    out: &mut Vec<Raise>,
) {
    state.decay(at_ms);
    let key = traffic.seen.key(DENIED, who.client_id, name);
    if !traffic.seen.insert(key, settings.seen_max) {
        // A device with a wrong rule tries the same again and again: that is no scan.
        return;
    }
    if operation == Operation::Subscribe
        && handle_wide(traffic, settings, who, state, at_ms, (name, true, true), out)
    {
        return;
    }
    if matches!(operation, Operation::Publish | Operation::Subscribe) {
        // Denials that were summed up name only the first.
        probe(settings, who, state, at_ms, (name, true, count.min(4)), out);
    }
}

fn probe(
    settings: &Settings,
    who: Who<'_>,
    state: &mut State,
    at_ms: u64,
    (name, denied, count): (&Arc<str>, bool, u32),
    out: &mut Vec<Raise>,
) {
    begin(state, at_ms);
    state.cold.probes = state.cold.probes.saturating_add(count as u16);
    state.cold.scan_subscribe = (state.cold.scan_subscribe + FILTER_BAD * count as f32).min(SCAN_MAX);
    if state.cold.scan_subscribe < settings.scan_threshold {
        return;
    }
    let (client, probes) = (who.client_id, state.cold.probes);
    let what = if denied { "it may not use" } else { "nobody publishes to" };
    out.push(
        Raise::of(&text::TOPIC_SCAN, who.subject(), at_ms)
            .measured(state.cold.scan_subscribe, settings.scan_threshold, "")
            .over(state.cold.scan_ms, at_ms, probes.into())
            .usual(state.cold.learned_filters)
            .with("probes", probes, "names")
            .with("filters", state.cold.filters, "filters")
            .on(name)
            .says(format!("{client} has tried {probes} new names that {what}, the last of them {name}")),
    );
}

fn begin(state: &mut State, at_ms: u64) {
    if state.cold.scan_subscribe < 0.5 && state.cold.scan_publish < 0.5 {
        (state.cold.scan_ms, state.cold.probes) = (at_ms, 0);
    }
}

/// Whether `filter` asks for all there is, and whether of the node itself.
fn width(filter: &str) -> Option<u8> {
    let filter = seen::without_share(filter);
    if let Some(rest) = filter.strip_prefix("$SYS/") {
        return rest.ends_with('#').then_some(flag::SYS);
    }
    let all = filter.ends_with('#') && filter.split('/').all(|level| matches!(level, "+" | "#"));
    all.then_some(flag::WIDE)
}

/// A subscription to everything is a matter of policy: a finding. It is an alarm if it is denied, or if somebody whom nobody
/// knows goes on from there: to `$SYS/#` as well, or to parts of what it has already. Whether it was wide.
///
/// A Client Identifier that nobody vouches for costs nothing: with as many as he likes, a stranger is one subject, his address.
fn handle_wide(
    traffic: &mut Traffic,
    settings: &Settings,
    who: Who<'_>,
    state: &mut State,
    at_ms: u64,
    (filter, new, denied): (&Arc<str>, bool, bool),
    out: &mut Vec<Raise>,
) -> bool {
    if who.class.is_some_and(|class| settings.wide_classes.contains(class)) {
        return width(filter).is_some();
    }
    let before = state.flags & (flag::WIDE | flag::SYS);
    let width = width(filter);
    state.flags |= width.unwrap_or(0);
    let now = state.flags & (flag::WIDE | flag::SYS);
    if width == Some(flag::WIDE) && state.cold.wide_ms == 0 && !denied {
        state.cold.wide_ms = at_ms;
    }
    let beyond = before & flag::WIDE != 0 && width.is_none() && !filter.starts_with('$') && new;
    let both = now == flag::WIDE | flag::SYS && before != now;
    if width.is_none() && !beyond {
        return false;
    }
    let client = who.client_id;
    let verdict = Raise::of(&text::WIDE_SUBSCRIPTION, who.subject(), at_ms)
        .measured(now.count_ones() as f32 + f32::from(u8::from(beyond)), 2.0, "filters")
        .on(filter);
    let is_alarm = denied || (both || beyond) && who.is_anonymous();
    let verdict = match who.stranger_at().filter(|_| is_alarm) {
        Some(source) => traffic.strangers.count(verdict, source, who.client_id, at_ms),
        None => verdict,
    };
    if denied {
        let verdict = verdict.severity(Severity::Medium);
        out.push(verdict.says(format!("{client} tried to subscribe to {filter}, which it may not")));
    } else if (both || beyond) && who.is_anonymous() {
        let says = format!("{client}, whom nobody knows, subscribed to everything and then to {filter}");
        out.push(verdict.severity(Severity::Medium).says(says));
    } else if width.is_some() && before & width.unwrap_or(0) == 0 {
        out.push(verdict.only_kept().says(format!("{client} subscribed to {filter}")));
    }
    width.is_some()
}

/// Somebody takes everything and gives nothing: an alarm if nobody knows him.
pub(super) fn judge_wide(
    settings: &Settings,
    who: Who<'_>,
    state: &mut State,
    metered: &Metered,
    out: &mut Vec<Raise>,
) {
    let at_ms = metered.to_ms;
    let silent = state.cold.wide_ms > 0 && state.flags & flag::PUBLISHED == 0;
    let long = at_ms.saturating_sub(state.cold.wide_ms) >= u64::from(settings.wide_silent_s) * 1_000;
    if !silent || !long {
        return;
    }
    let (client, seconds) = (who.client_id, (at_ms - state.cold.wide_ms) as f32 / 1_000.0);
    let raise = Raise::of(&text::SILENT_WIDE_SUBSCRIBER, who.subject(), at_ms)
        .measured(seconds, settings.wide_silent_s as f32, "s")
        .over(state.cold.wide_ms, at_ms, 1)
        .with("sent_to_it", metered.sent as f32, "messages");
    let takes = format!("takes every message and has sent none for {seconds:.0} s");
    // Dashboards and historians do so too.
    out.push(match who.is_anonymous() {
        true => raise.says(format!("{client}, whom nobody knows, {takes}")),
        false => raise.only_kept().says(format!("{client} {takes}")),
    });
    // Once a connection is enough.
    state.cold.wide_ms = 0;
}

/// The topics of a meter: new ones, and what became of them.
pub(super) fn handle_topics(
    traffic: &mut Traffic,
    settings: &Settings,
    who: Who<'_>,
    state: &mut State,
    metered: &Metered,
    out: &mut Vec<Raise>,
) {
    let at_ms = metered.to_ms;
    let fleet_blind = traffic.fleet.share().is_some_and(|share| share > settings.undeliverable_fleet_share);
    for topic in &metered.topics {
        let key = traffic.seen.key(TOPIC, who.client_id, &topic.topic);
        if !traffic.seen.insert(key, settings.seen_max) {
            continue;
        }
        traffic.live.insert(at_ms, &topic.topic, settings.live_max);
        handle_new_topic(state, at_ms, topic, fleet_blind);
    }
    // Topics beyond those that are told apart count as new as far as the client never had so many.
    let told: u64 = metered.topics.iter().map(|topic| topic.undelivered).sum();
    let untold = metered.undelivered.saturating_sub(told).min(metered.other_topics.into()) as f32;
    let beyond = f32::from(metered.other_topics.min(u16::MAX.into()) as u16) + metered.topics.len() as f32
        - f32::from(state.cold.topics.max(state.cold.learned_topics));
    if untold > 0.0 && beyond > 0.0 && !fleet_blind {
        begin(state, at_ms);
        let new = untold.min(beyond);
        state.cold.topics = state.cold.topics.saturating_add(new as u16);
        state.cold.probes = state.cold.probes.saturating_add(new as u16);
        state.cold.scan_publish = (state.cold.scan_publish + TOPIC_BAD * new).min(SCAN_MAX);
    }
    if state.cold.scan_publish < settings.scan_threshold {
        return;
    }
    let Some(last) = metered.topics.iter().find(|topic| topic.undelivered > 0) else { return };
    let (client, probes) = (who.client_id, state.cold.probes);
    out.push(
        Raise::of(&text::TOPIC_SCAN, who.subject(), at_ms)
            .measured(state.cold.scan_publish, settings.scan_threshold, "")
            .over(state.cold.scan_ms, at_ms, probes.into())
            .usual(state.cold.learned_topics)
            .with("probes", probes, "topics")
            .with("topics", state.cold.topics, "topics")
            .on(&last.topic)
            .says(format!("{client} has published to {probes} new topics that nobody subscribed to")),
    );
}

fn handle_new_topic(state: &mut State, at_ms: u64, topic: &TopicMeter, fleet_blind: bool) {
    state.cold.topics = state.cold.topics.saturating_add(1);
    if state.cold.topics <= state.cold.learned_topics {
        return;
    }
    if topic.retained > 0 {
        state.cold.retained_new += 1.0;
    }
    if topic.undelivered < topic.messages {
        state.cold.scan_publish = (state.cold.scan_publish + TOPIC_GOOD).max(0.0);
    } else if !fleet_blind {
        begin(state, at_ms);
        state.cold.probes = state.cold.probes.saturating_add(1);
        state.cold.scan_publish = (state.cold.scan_publish + TOPIC_BAD).min(SCAN_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_everything() {
        for filter in ["#", "+/#", "+/+/#", "$share/g/#"] {
            assert_eq!(width(filter), Some(flag::WIDE), "{filter}");
        }
        for filter in ["$SYS/#", "$SYS/broker/#"] {
            assert_eq!(width(filter), Some(flag::SYS), "{filter}");
        }
        for filter in ["a/#", "+", "+/a/#", "$SYS/broker/version", "a", "$share/g/a/#"] {
            assert_eq!(width(filter), None, "{filter}");
        }
    }
}
