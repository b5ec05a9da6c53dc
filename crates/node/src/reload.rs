//! From a configuration and its files to what the shards go by.

use crate::config::{Config, Files, Limits, Listener, MemoryMax, Rate, RecordConfig, Stage};
use crate::ladder::LadderLimits;
use crate::memory;
use crate::policy::{Entrance, Policy, Programme, ShellLimits, Watches};
use crate::rates::Rates;
use crate::ws::handshake::Rules;
use ravelin_broker::Watch;
use ravelin_mqtt::DecodeLimits;
use ravelin_protect::LockoutLimits;
use ravelin_protect::rates::RateRule;
use std::sync::Arc;
use std::time::Duration;

/// What every shard goes by from now on.
///
/// `before` are the rates that were in force: what was taken from them counts on.
pub(crate) fn policy(
    config: &Config,
    files: Files,
    shards: usize,
    programme: Programme,
    before: Option<&Arc<Rates>>,
) -> Policy {
    let Files { authenticator, access, listeners, .. } = files;
    let entrances = config.listeners.iter().zip(listeners).map(|(listener, files)| Entrance {
        name: listener.name.as_str().into(),
        files,
        ages: listener.ages,
        listener: listener.policy,
        websocket: listener.transport.is_websocket().then(|| Rules {
            path: listener.websocket_path.clone(),
            origins: listener.allowed_origins.clone(),
            frame_bytes_max: config.limits.websocket_frame_bytes_max,
        }),
        proxies: listener.proxy_trusted.clone(),
        connections_max: listener.connections_max.map_or(0, narrow),
    });
    let restrictions = programme.restrictions.with_settings(Arc::clone(&config.restrict));
    let programme = Programme { restrictions, ..programme };
    let rates = rates(config, programme.restrictions.stage(), before);
    Policy {
        authenticator,
        access: Arc::new(access.with_clock(programme.directory.usage_clock().clone())),
        entrances: entrances.collect(),
        core: core_limits(&config.limits, shards),
        shell: shell_limits(&config.limits),
        watches: watches(config, rates.as_ref()),
        rates,
        programme,
    }
}

/// The rates of a configuration, as the posture has them.
pub(crate) fn rates(
    config: &Config,
    stage: Option<&Stage>,
    before: Option<&Arc<Rates>>,
) -> Option<Arc<Rates>> {
    let names = config.listeners.iter().map(|listener| listener.name.as_str().into()).collect();
    let divisor = stage.map_or(1, |stage| stage.divide);
    let divided = |rule: &RateRule| {
        let limits =
            rule.limits.iter().map(|(measure, windows)| (*measure, windows.divided(divisor))).collect();
        RateRule { limits, ..rule.clone() }
    };
    match divisor {
        1 => Rates::new(&config.rates, names, before),
        _ => Rates::new(&config.rates.iter().map(divided).collect::<Vec<_>>(), names, before),
    }
}

/// The limits on new connections, as the posture has them. Those that are connected stay.
pub(crate) fn stricter(limits: &Limits, stage: Option<&Stage>) -> Limits {
    let Some(stage) = stage else { return limits.clone() };
    let part = |count: u64| (count / stage.divide.max(1)).max(1);
    let slower = |rate: Rate| Rate { events: part(rate.events), ..rate };
    let longer = |pause: Duration| pause * u32::try_from(stage.pause_factor).unwrap_or(1);
    Limits {
        connections_max: part(limits.connections_max),
        connections_per_address_max: part(limits.connections_per_address_max),
        connection_rate: slower(limits.connection_rate),
        connection_burst: part(limits.connection_burst),
        connection_rate_per_address: slower(limits.connection_rate_per_address),
        connection_burst_per_address: part(limits.connection_burst_per_address),
        pre_auth_max: part(limits.pre_auth_max),
        pre_auth_per_address_max: part(limits.pre_auth_per_address_max),
        lockout_pause: longer(limits.lockout_pause),
        lockout_pause_max: longer(limits.lockout_pause_max),
        lockout_pause_known_max: longer(limits.lockout_pause_known_max),
        ..limits.clone()
    }
}

/// Who looks on at which topics. Each subject adds its filters.
fn watches(config: &Config, rates: Option<&Arc<Rates>>) -> Watches {
    let mut watches = Watches::default();
    for filter in &config.record.topics {
        watches.add(filter, Watch::RECORD);
    }
    for birth in &config.inventory.settings.births {
        watches.add(&birth.filter, Watch::OBSERVE);
    }
    for filter in config.detect.settings.topics() {
        watches.add(filter, Watch::DETECT);
    }
    for (filter, limit) in rates.iter().flat_map(|rates| rates.topic_filters()) {
        watches.add(filter, Watch::NONE.with_limit(limit));
    }
    let taps = config.outward.iter().filter_map(|destination| destination.monitor());
    for filter in taps.flat_map(|monitor| &monitor.tap) {
        watches.add(filter, Watch::TAP);
    }
    watches
}

/// Why a configuration cannot take effect without a restart.
pub(crate) fn needs_restart(old: &Config, new: &Config) -> Option<String> {
    let place = |listener: &Listener| (listener.name.clone(), listener.address, listener.transport);
    if !old.listeners.iter().map(place).eq(new.listeners.iter().map(place)) {
        return Some("the listeners (names, addresses, transports) have changed; restart to apply it".into());
    }
    if old.node.workers != new.node.workers {
        return Some("`workers` has changed; restart to apply it".into());
    }
    if old.node.data != new.node.data || old.store != new.store {
        return Some("`data` or `[store]` has changed; restart to apply it".into());
    }
    if old.sandbox != new.sandbox {
        return Some("`[sandbox]` has changed; restart to apply it".into());
    }
    if old.firewall != new.firewall {
        return Some("`[firewall]` has changed; restart to apply it".into());
    }
    // Which topics are recorded may change; how the record is kept may not.
    let kept = |config: &Config| RecordConfig { topics: Vec::new(), ..config.record.clone() };
    if kept(old) != kept(new) {
        return Some("`[record]` (other than `topics`) has changed; restart to apply it".into());
    }
    let lane = |config: &Config| {
        config.control.as_ref().map(|control| {
            let limits = &control.limits;
            let kept = (limits.requests_in_flight_max, limits.events_max, limits.body_bytes_max);
            (control.address, control.metrics_address, control.tls.is_some(), kept)
        })
    };
    if lane(old) != lane(new) {
        let what = "whether there is a control lane, its addresses, whether it has TLS, or its `requests_in_flight_max`, `events_max` or \
                    `body_bytes_max` have changed; restart to apply it";
        return Some(what.into());
    }
    None
}

/// The core's limits for one of `shards` shards.
pub(crate) fn core_limits(limits: &Limits, shards: usize) -> ravelin_broker::Limits {
    let share = |all: u64| usize::try_from(all.div_ceil(shards as u64)).unwrap_or(usize::MAX);
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let decode = DecodeLimits::default();
    ravelin_broker::Limits {
        decode: DecodeLimits {
            topic_levels_max: narrow(limits.topic_levels_max),
            topic_bytes_max: narrow(limits.topic_bytes_max),
            user_properties_max: narrow(limits.user_properties_max),
            filters_max: narrow(limits.filters_per_packet_max),
            client_id_bytes_max: narrow(limits.client_id_bytes_max),
            ..decode
        },
        packet_bytes_max: narrow(limits.packet_bytes_max),
        sessions_max: share(limits.sessions_max),
        session_expiry_s_max: seconds(limits.session_expiry_max),
        subscriptions_per_session_max: size(limits.subscriptions_per_session_max),
        subscriptions_max: share(limits.subscriptions_max),
        shared_groups_max: share(limits.shared_groups_max),
        // Retained messages are on every shard.
        retained_count_max: size(limits.retained_count_max),
        retained_bytes_max: size(limits.retained_bytes_max),
        retained_message_bytes_max: size(limits.retained_message_bytes_max),
        queue_messages_max: size(limits.queue_messages_max),
        queue_bytes_max: size(limits.queue_bytes_max),
        queue_bytes_total_max: share(limits.queue_bytes_total_max),
        held_messages_max: share(limits.held_messages_max),
        held_bytes_max: share(limits.held_bytes_max),
        inflight_max: narrow(limits.inflight_max),
        receive_max: narrow(limits.receive_max),
        topic_alias_max: narrow(limits.topic_alias_max),
        topic_alias_bytes_max: size(limits.topic_alias_bytes_max),
        outbound_bytes_max: size(limits.outbound_bytes_max),
        outbound_bytes_total_max: share(limits.outbound_bytes_total_max),
        will_bytes_max: size(limits.will_bytes_max),
        will_delay_s_max: seconds(limits.will_delay_max),
        keep_alive_s_max: narrow(limits.keep_alive_max.as_secs()),
        route_cache_max: size(limits.route_cache_max),
        ..ravelin_broker::Limits::default()
    }
}

fn shell_limits(limits: &Limits) -> ShellLimits {
    ShellLimits {
        connect_bytes_max: narrow(limits.connect_bytes_max),
        connect_deadline_ms: limits.connect_deadline.as_millis() as u64,
        stall_timeout_ms: limits.stall_timeout.as_millis() as u64,
    }
}

/// The ceiling of the node's memory in bytes; 0: none.
pub(crate) fn memory_max(limits: &Limits) -> u64 {
    match limits.memory_max {
        MemoryMax::Bytes(bytes) => bytes,
        MemoryMax::Percent(percent) => memory::machine_bytes() / 100 * u64::from(percent),
        MemoryMax::Infinity => 0,
    }
}

pub(crate) fn ladder_limits(limits: &Limits) -> LadderLimits {
    LadderLimits {
        connections_max: narrow(limits.connections_max),
        connections_per_address_max: narrow(limits.connections_per_address_max),
        preauth_max: narrow(limits.pre_auth_max),
        preauth_per_address_max: narrow(limits.pre_auth_per_address_max),
        accept_per_s: narrow(limits.connection_rate.per_second()),
        accept_burst: narrow(limits.connection_burst),
        accept_per_address_per_s: narrow(limits.connection_rate_per_address.per_second()),
        accept_per_address_burst: narrow(limits.connection_burst_per_address),
        addresses_max: usize::try_from(limits.addresses_max).unwrap_or(usize::MAX),
        exempt_loopback: limits.exempt_loopback,
        bans_max: usize::try_from(limits.bans_max).unwrap_or(usize::MAX),
        lockout: LockoutLimits {
            enabled: limits.lockout,
            free: narrow(limits.lockout_failures),
            free_per_address: narrow(limits.lockout_failures_per_address),
            free_per_user: narrow(limits.lockout_failures_per_user),
            pause_first_ms: millis(limits.lockout_pause),
            pause_max_ms: millis(limits.lockout_pause_max),
            pause_known_max_ms: millis(limits.lockout_pause_known_max),
            forget_ms: millis(limits.lockout_forget),
            known_ms: millis(limits.lockout_known),
            entries_max: usize::try_from(limits.lockout_entries_max).unwrap_or(usize::MAX),
        },
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(duration: Duration) -> u32 {
    narrow(duration.as_secs())
}

/// A limit in the width that the protocol has; the configuration has checked its range.
fn narrow<T: TryFrom<u64> + Bounded>(value: u64) -> T {
    T::try_from(value).unwrap_or(T::MAX)
}

trait Bounded {
    const MAX: Self;
}

impl Bounded for u16 {
    const MAX: u16 = u16::MAX;
}

impl Bounded for u32 {
    const MAX: u32 = u32::MAX;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn node_wide_limits_are_divided_and_the_others_are_not() {
        let limits = Limits::default();
        let (one, four) = (core_limits(&limits, 1), core_limits(&limits, 4));
        assert_eq!(one.sessions_max, 4 * four.sessions_max);
        assert_eq!(one.queue_bytes_max, four.queue_bytes_max);
        assert_eq!(one.retained_count_max, four.retained_count_max);
        assert_eq!(u64::from(one.packet_bytes_max), limits.packet_bytes_max);
    }

    #[test]
    fn what_cannot_change_while_running_is_said() {
        let open = |port: u16| Config::dangerous_open(([127, 0, 0, 1], port).into(), None, 1).unwrap();
        assert_eq!(needs_restart(&open(1), &open(1)), None);
        assert!(needs_restart(&open(1), &open(2)).is_some());
        let mut moved = open(1);
        moved.node.data = Some(Path::new("elsewhere").into());
        assert!(needs_restart(&open(1), &moved).is_some());
    }
}
