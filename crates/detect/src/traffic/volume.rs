//! Volumes: floods, abuse of what a node must keep, messages that nobody wants, payloads that are too large.

use super::catalog as text;
use super::{Settings, State, Traffic, Who};
use crate::Raise;
use crate::baseline::TRAINED_WINDOWS;
use crate::sight::Metered;
use ravelin_event::{Severity, Subject};

/// What an outlier of size adds to its CUSUM: ln(0.5 / 0.001). Two make an alarm.
const ODD: f32 = 6.215;
/// And a payload that is not: ln(0.5 / 0.999).
const NOT_ODD: f32 = -0.692;
/// From here on outliers of size are an alarm.
const ODD_THRESHOLD: f32 = 11.5;
/// Spans after which the largest usual payload is known.
const SIZES_MIN: u16 = 16;

/// Adds what came.
pub(super) fn count(state: &mut State, metered: &Metered) {
    let messages = metered.messages as f32;
    state.messages += messages;
    state.bytes += metered.bytes as f32;
    state.cold.costly += (metered.retained + metered.qos[2]) as f32;
    state.recent += messages;
    state.undelivered += metered.undelivered as f32;
    // Of a QoS 2 message two packets come, PUBLISH and PUBREL. What more came may be anything, so this is a lower bound;
    // what comes in the next span makes up for it.
    if metered.packets >= metered.messages && metered.packets > 0 {
        let released = (metered.packets - metered.messages) as f32;
        state.cold.unreleased = (state.cold.unreleased + metered.qos[2] as f32 - released).max(0.0);
    }
}

/// From where on a client floods: messages and bytes of a window.
pub(super) fn flood_thresholds(
    traffic: &mut Traffic,
    settings: &Settings,
    who: Who<'_>,
    state: &State,
) -> (f32, f32) {
    let class_floor = who.class.and_then(|class| settings.flood_messages_by_class.get(class)).copied();
    let floor = (settings.flood_messages_floor.max(class_floor.unwrap_or(0))) as f32;
    let bytes_floor = settings.flood_bytes_floor as f32;
    let (messages, bytes) = if state.cold.windows >= TRAINED_WINDOWS {
        let peak = state.cold.peak_messages.peak;
        ((peak * settings.flood_multiple).max(floor), state.cold.peak_bytes.peak * settings.flood_multiple)
    } else if let Some((messages, bytes)) = who.class.and_then(|class| traffic.classes.medians(class)) {
        ((messages * settings.flood_multiple).max(floor), bytes * settings.flood_multiple)
    } else {
        ((settings.flood_messages_new as f32).max(floor), settings.flood_bytes_new as f32)
    };
    let messages = (messages + state.cold.catch_up * 1.5).min(settings.flood_messages_quota as f32);
    // What may come at once in messages may come in bytes.
    let bytes = bytes.max(bytes_floor) * (1.0 + state.cold.catch_up / state.cold.peak_messages.peak.max(1.0));
    (messages, bytes.min(settings.flood_bytes_quota as f32))
}

fn costly_threshold(settings: &Settings, who: Who<'_>, state: &State) -> f32 {
    let floor = settings.costly_floor as f32;
    match (state.cold.windows >= TRAINED_WINDOWS, who.declared) {
        (true, _) => (state.cold.peak_costly.peak * settings.flood_multiple).max(floor),
        (false, true) => settings.costly_declared as f32,
        (false, false) => floor,
    }
}

/// Says what is too much.
pub(super) fn judge(
    traffic: &mut Traffic,
    settings: &Settings,
    who: Who<'_>,
    state: &mut State,
    metered: &Metered,
    out: &mut Vec<Raise>,
) {
    if metered.messages == 0 {
        return;
    }
    let (messages, bytes) = flood_thresholds(traffic, settings, who, state);
    if state.messages >= messages {
        out.push(flood(
            who,
            state,
            metered,
            (state.messages, messages, "messages"),
            state.cold.peak_messages.peak,
        ));
    } else if state.bytes >= bytes {
        out.push(flood(who, state, metered, (state.bytes, bytes, "bytes"), state.cold.peak_bytes.peak));
    }
    judge_costly(settings, who, state, metered, out);
    judge_undeliverable(traffic, settings, who, state, metered, out);
    judge_size(settings, who, state, metered, out);
}

fn flood(
    who: Who<'_>,
    state: &State,
    metered: &Metered,
    (value, threshold, unit): (f32, f32, &'static str),
    peak: f32,
) -> Raise {
    let severity = if value >= threshold * 10.0 { Severity::Critical } else { Severity::High };
    let name = who.client_id;
    let mut verdict = Raise::of(&text::FLOOD, who.subject(), metered.to_ms)
        .measured(value, threshold, unit)
        .over(state.cold.window_ms, metered.to_ms, state.messages as u64)
        .severity(severity)
        .with("messages", state.messages, "messages")
        .with("bytes", state.bytes, "bytes")
        .says(format!(
            "{name} sent {value:.0} {unit} within 10 s; {threshold:.0} are the most that is expected of it"
        ));
    if state.cold.windows >= TRAINED_WINDOWS {
        verdict = verdict.usual(peak);
    }
    match metered.topics.first() {
        Some(topic) => verdict.on(&topic.topic),
        None => verdict,
    }
}

fn judge_costly(settings: &Settings, who: Who<'_>, state: &State, metered: &Metered, out: &mut Vec<Raise>) {
    let at_ms = metered.to_ms;
    let threshold = costly_threshold(settings, who, state);
    let found = [
        (state.cold.costly, threshold, "messages", "messages that are retained or of QoS 2 within 10 s"),
        (
            state.cold.retained_new,
            settings.retained_new_max,
            "topics",
            "retained messages on topics it never used",
        ),
        (
            state.cold.unreleased,
            settings.unreleased_max,
            "messages",
            "QoS 2 messages that it began and did not release",
        ),
    ];
    let Some((value, threshold, unit, what)) = found.into_iter().find(|(value, most, ..)| value >= most)
    else {
        return;
    };
    let name = who.client_id;
    out.push(
        Raise::of(&text::RETAINED_QOS_ABUSE, who.subject(), at_ms)
            .measured(value, threshold, unit)
            .over(state.cold.window_ms.min(metered.from_ms), at_ms, value as u64)
            .usual(state.cold.peak_costly.peak)
            .with("retained_or_qos2", state.cold.costly, "messages")
            .with("retained_on_new_topics", state.cold.retained_new, "topics")
            .with("unreleased", state.cold.unreleased, "messages")
            .says(format!(
                "{name} sent {value:.0} {what}; {threshold:.0} are the most that is expected of it"
            )),
    );
}

fn judge_undeliverable(
    traffic: &Traffic,
    settings: &Settings,
    who: Who<'_>,
    state: &State,
    metered: &Metered,
    out: &mut Vec<Raise>,
) {
    let at_ms = metered.to_ms;
    let usual = if state.cold.windows >= TRAINED_WINDOWS { state.cold.usual_undelivered } else { 0.0 };
    let threshold = (usual * settings.flood_multiple).max(settings.undeliverable_max);
    // Half of what it sends must be in vain: a device with one topic that nobody wants yet is no alarm.
    if metered.undelivered == 0 || state.undelivered < threshold || state.undelivered < state.recent * 0.5 {
        return;
    }
    if let Some(share) = traffic.fleet.share().filter(|share| *share > settings.undeliverable_fleet_share) {
        let percent = share * 100.0;
        out.push(
            Raise::of(&text::UNDELIVERABLE, Subject::Fleet, at_ms)
                .measured(share, settings.undeliverable_fleet_share, "share")
                .says(format!("{percent:.0} % of the clients publish mostly without any subscriber: a consumer is missing"))
                .only_kept(),
        );
        return;
    }
    let (name, value) = (who.client_id, state.undelivered);
    let worst = metered.topics.iter().max_by_key(|topic| topic.undelivered);
    let verdict = Raise::of(&text::UNDELIVERABLE, who.subject(), at_ms)
        .measured(value, threshold, "messages/min")
        .over(at_ms.saturating_sub(60_000).max(state.cold.active_ms), at_ms, value as u64)
        .usual(usual)
        .with("messages", state.recent, "messages/min")
        .says(format!("{name} sends about {value:.0} messages a minute that no subscription matches"));
    out.push(match worst {
        Some(topic) => verdict.on(&topic.topic),
        None => verdict,
    });
}

fn judge_size(settings: &Settings, who: Who<'_>, state: &mut State, metered: &Metered, out: &mut Vec<Raise>) {
    let (largest, usual) = (metered.largest as f32, state.cold.peak_size.peak);
    let learned = state.cold.sizes >= SIZES_MIN;
    let threshold = (usual * settings.size_multiple).max(settings.size_floor as f32);
    let odd = learned && largest >= threshold;
    if !odd {
        state.cold.odd_size = (state.cold.odd_size + NOT_ODD).max(0.0);
        if metered.to_ms >= state.cold.hold_until_ms && (!learned || largest <= threshold * 0.5) {
            state.cold.peak_size.learn(largest, state.cold.sizes);
            state.cold.sizes = state.cold.sizes.saturating_add(1);
        }
        return;
    }
    state.cold.odd_size = (state.cold.odd_size + ODD).min(2.0 * ODD_THRESHOLD);
    let name = who.client_id;
    let verdict = Raise::of(&text::PAYLOAD_SIZE, who.subject(), metered.to_ms)
        .measured(largest, threshold, "bytes")
        .over(metered.from_ms, metered.to_ms, 1)
        .usual(usual)
        .with("cusum", state.cold.odd_size, "")
        .says(format!("{name} sent a payload of {largest:.0} bytes; its largest usual one has {usual:.0}"));
    let verdict = match metered.topics.first() {
        Some(topic) => verdict.on(&topic.topic),
        None => verdict,
    };
    out.push(if state.cold.odd_size >= ODD_THRESHOLD { verdict } else { verdict.only_kept() });
}

/// The window becomes usual, if no test is above half its threshold and no alarm is open. Whether it did.
pub(super) fn learn(
    traffic: &mut Traffic,
    settings: &Settings,
    who: Who<'_>,
    state: &mut State,
    at_ms: u64,
) -> bool {
    if state.messages == 0.0 || at_ms < state.cold.hold_until_ms {
        return false;
    }
    let (messages, bytes) = flood_thresholds(traffic, settings, who, state);
    let costly = costly_threshold(settings, who, state);
    let undeliverable =
        (state.cold.usual_undelivered * settings.flood_multiple).max(settings.undeliverable_max);
    let calm = state.messages <= messages * 0.5
        && state.bytes <= bytes * 0.5
        && state.cold.costly <= costly * 0.5
        && state.undelivered <= undeliverable * 0.75
        && state.cold.unreleased <= settings.unreleased_max * 0.5
        && state.cold.scan_subscribe.max(state.cold.scan_publish) <= settings.scan_threshold * 0.5;
    if !calm {
        return false;
    }
    let windows = state.cold.windows;
    state.cold.peak_messages.learn(state.messages, windows);
    state.cold.peak_bytes.learn(state.bytes, windows);
    state.cold.peak_costly.learn(state.cold.costly, windows);
    state.cold.usual_undelivered += (state.undelivered - state.cold.usual_undelivered) / 16.0;
    state.cold.windows = windows.saturating_add(1);
    if state.cold.windows >= TRAINED_WINDOWS && state.flags & super::flag::TAUGHT == 0 {
        state.flags |= super::flag::TAUGHT;
        if let Some(class) = who.class {
            traffic.classes.learn(class, state.cold.peak_messages.peak, state.cold.peak_bytes.peak);
        }
    }
    true
}
