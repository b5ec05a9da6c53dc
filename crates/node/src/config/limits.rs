//! Every limit of the node, in one place, with a default that is safe and generous enough for a plant.

use super::read::{Table, Typed};
use ravelin_protect::units::{Rate, format_bytes, format_duration};
use std::time::Duration;
use toml::de::DeValue;

/// One line of the list of limits, for the commented configuration and the documentation.
#[derive(Clone, Copy, Debug)]
pub struct LimitEntry {
    /// The key in `[limits]`.
    pub name: &'static str,
    /// What it limits.
    pub meaning: &'static str,
    /// The default as it is written in a configuration.
    pub default: fn() -> String,
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr, $min:expr => $max:expr;)*) => {
        /// Every limit of the node; `[limits]` in the configuration.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: $type,)*
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: $default,)* }
            }
        }

        impl Limits {
            /// Reads `[limits]`.
            pub(super) fn read(table: &mut Table<'_, '_>) -> Limits {
                let mut limits = Limits::default();
                $(if let Some(value) = table.take_between::<$type>(stringify!($name), $min, $max) {
                    limits.$name = value;
                })*
                limits
            }

            /// Each limit as it is set: its key, the value as a configuration has it, and as a number in its own unit
            /// (bytes, seconds, events a second, things; a switch is 0 or 1).
            pub fn values(&self) -> Vec<(&'static str, String, f64)> {
                vec![$((
                    stringify!($name),
                    <$type as Shown>::show(stringify!($name), self.$name.clone()),
                    <$type as Shown>::number(&self.$name),
                ),)*]
            }
        }

        /// All limits, in the order in which they are documented.
        pub const LIMITS: &[LimitEntry] = &[
            $(LimitEntry {
                name: stringify!($name),
                meaning: concat!($($doc,)+),
                default: || <$type as Shown>::show(stringify!($name), Limits::default().$name),
            },)*
        ];
    };
}

/// How a default is written in a configuration.
trait Shown: Typed {
    fn show(name: &str, value: Self) -> String;

    /// The value in its own unit.
    fn number(&self) -> f64;
}

impl Shown for u64 {
    fn show(name: &str, value: u64) -> String {
        if name.contains("bytes") {
            return format!("\"{}\"", format_bytes(value));
        }
        // 1_000_000 is read more easily than 1000000.
        let digits = value.to_string();
        let mut out = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                out.push('_');
            }
            out.push(digit);
        }
        out
    }

    fn number(&self) -> f64 {
        *self as f64
    }
}

impl Shown for Duration {
    fn show(_: &str, value: Duration) -> String {
        format!("\"{}\"", format_duration(value))
    }

    fn number(&self) -> f64 {
        self.as_secs_f64()
    }
}

impl Shown for Rate {
    fn show(_: &str, value: Rate) -> String {
        format!("\"{value}\"")
    }

    fn number(&self) -> f64 {
        self.events as f64 / self.per.as_secs_f64().max(0.001)
    }
}

impl Shown for bool {
    fn show(_: &str, value: bool) -> String {
        value.to_string()
    }

    fn number(&self) -> f64 {
        f64::from(u8::from(*self))
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn per_second(events: u64) -> Rate {
    Rate { events, per: Duration::from_secs(1) }
}

const MIB: u64 = 1 << 20;
const COUNT_MAX: u64 = 1_000_000_000;
const BYTES_MAX: u64 = 1 << 44;
const PACKET_BYTES_MAX: u64 = 268_435_455 + 5;
const RATE_MAX: Rate = Rate { events: COUNT_MAX, per: Duration::from_millis(1) };
const RATE_MIN: Rate = Rate { events: 1, per: Duration::from_secs(86_400) };

/// The ceiling of the node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryMax {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of what the machine has, or its control group may have.
    Percent(u8),
    /// None.
    Infinity,
}

impl Typed for MemoryMax {
    fn read(value: &DeValue<'_>) -> Result<MemoryMax, String> {
        let text = value.as_str().map(str::trim);
        let percent = text.and_then(|text| text.strip_suffix('%')?.trim_end().parse().ok());
        match (text, percent) {
            (Some("infinity"), _) => Some(MemoryMax::Infinity),
            (_, Some(percent)) => (10..=100).contains(&percent).then_some(MemoryMax::Percent(percent)),
            _ => u64::read(value).ok().filter(|bytes| *bytes >= 16 * MIB).map(MemoryMax::Bytes),
        }
        .ok_or_else(|| "a size from \"16MiB\" on, a share (\"75%\", from 10%) or \"infinity\"".into())
    }
}

impl Shown for MemoryMax {
    fn show(_: &str, value: MemoryMax) -> String {
        match value {
            MemoryMax::Bytes(bytes) => format!("\"{}\"", format_bytes(bytes)),
            MemoryMax::Percent(percent) => format!("\"{percent}%\""),
            MemoryMax::Infinity => "\"infinity\"".into(),
        }
    }

    /// In bytes; a share is told as one, since what it is of is not known here; 0 is none.
    fn number(&self) -> f64 {
        match self {
            MemoryMax::Bytes(bytes) => *bytes as f64,
            MemoryMax::Percent(percent) => f64::from(*percent) / 100.0,
            MemoryMax::Infinity => 0.0,
        }
    }
}

limits! {
    /// The node's memory: a size, a share of the machine's or of the control group's, or "infinity". Near it new connections are
    /// refused, then QoS 0 is dropped and publishers are slowed down, then slow readers are disconnected.
    memory_max: MemoryMax = MemoryMax::Percent(75), MemoryMax::Infinity => MemoryMax::Infinity;
    /// Largest packet that is accepted, and told to MQTT 5 clients.
    packet_bytes_max: u64 = MIB, 1024 => PACKET_BYTES_MAX;
    /// Largest CONNECT: what somebody may make the node keep before it has proven who it is.
    connect_bytes_max: u64 = 16 << 10, 256 => MIB;
    /// How long a new connection may take until its CONNECT is complete, TLS handshake included.
    connect_deadline: Duration = seconds(10), Duration::from_millis(100) => seconds(300);
    /// Levels of a topic or filter.
    topic_levels_max: u64 = 128, 1 => 32_768;
    /// Length of a topic or filter.
    topic_bytes_max: u64 = 4096, 16 => 65_535;
    /// User properties of a packet.
    user_properties_max: u64 = 64, 0 => 65_535;
    /// Filters of a SUBSCRIBE or UNSUBSCRIBE.
    filters_per_packet_max: u64 = 1024, 1 => 65_535;
    /// Length of a Client Identifier.
    client_id_bytes_max: u64 = 256, 23 => 65_535;
    /// Longest keep alive; a client that asks for more, or for none, is given this one. One of 3.1.1 cannot be told, and is
    /// disconnected after 1.5 times it in silence.
    keep_alive_max: Duration = seconds(3600), seconds(1) => seconds(65_535);

    /// Connections of the node.
    connections_max: u64 = 100_000, 1 => COUNT_MAX;
    /// Connections of one address (of one /64 for IPv6).
    connections_per_address_max: u64 = 10_000, 1 => COUNT_MAX;
    /// New connections of the node.
    connection_rate: Rate = per_second(5000), RATE_MIN => RATE_MAX;
    /// How many of them may come at once.
    connection_burst: u64 = 10_000, 1 => COUNT_MAX;
    /// New connections of one address.
    connection_rate_per_address: Rate = per_second(200), RATE_MIN => RATE_MAX;
    /// How many of them may come at once.
    connection_burst_per_address: u64 = 2000, 1 => COUNT_MAX;
    /// Connections that have not proven yet who they are.
    pre_auth_max: u64 = 1024, 1 => COUNT_MAX;
    /// The same for one address.
    pre_auth_per_address_max: u64 = 64, 1 => COUNT_MAX;
    /// Whether connections from the node itself (loopback) are exempt from the limits per address.
    exempt_loopback: bool = true, false => true;
    /// Addresses that are remembered for the limits per address.
    addresses_max: u64 = 65_536, 16 => COUNT_MAX;

    /// Bans, of whatever kind.
    bans_max: u64 = 100_000, 1 => COUNT_MAX;
    /// Whether repeated failures to log in lead to a pause.
    lockout: bool = true, false => true;
    /// Failures of one user name from one address until it must wait.
    lockout_failures: u64 = 5, 1 => 1_000_000;
    /// The same for all names from one address; names that logged in from there before do not wait.
    lockout_failures_per_address: u64 = 20, 1 => 1_000_000;
    /// The same for one name from all addresses from which it never logged in.
    lockout_failures_per_user: u64 = 50, 1 => 1_000_000;
    /// The first pause; each one after it is twice as long.
    lockout_pause: Duration = seconds(1), Duration::from_millis(100) => seconds(86_400);
    /// The longest pause.
    lockout_pause_max: Duration = seconds(900), Duration::from_millis(100) => seconds(86_400);
    /// The longest pause of a client that logged in from its address before, and of a name that is tried from everywhere.
    lockout_pause_known_max: Duration = seconds(30), Duration::from_millis(100) => seconds(86_400);
    /// After so long without a failure or a pause, one failure is forgotten.
    lockout_forget: Duration = seconds(120), seconds(1) => seconds(86_400);
    /// How long a log-in makes a client known at its address.
    lockout_known: Duration = seconds(30 * 86_400), seconds(60) => seconds(366 * 86_400);
    /// User names and addresses that are remembered for lock-out.
    lockout_entries_max: u64 = 65_536, 16 => COUNT_MAX;

    /// Sessions, connected or not.
    sessions_max: u64 = 1_000_000, 1 => COUNT_MAX;
    /// Longest session expiry; a client that asks for more is given this one.
    session_expiry_max: Duration = seconds(7 * 86_400), Duration::ZERO => seconds(u32::MAX as u64);
    /// Subscriptions of one session.
    subscriptions_per_session_max: u64 = 10_000, 1 => COUNT_MAX;
    /// Subscriptions of the node.
    subscriptions_max: u64 = 10_000_000, 1 => COUNT_MAX;
    /// Groups of shared subscriptions.
    shared_groups_max: u64 = 10_000, 0 => COUNT_MAX;
    /// Topics whose matching subscribers are remembered, for each worker.
    route_cache_max: u64 = 65_536, 0 => COUNT_MAX;

    /// Retained messages.
    retained_count_max: u64 = 1_000_000, 0 => COUNT_MAX;
    /// Bytes of all retained messages.
    retained_bytes_max: u64 = 1 << 30, 0 => BYTES_MAX;
    /// Payload of one retained message.
    retained_message_bytes_max: u64 = MIB, 0 => PACKET_BYTES_MAX;

    /// Messages that wait for one session.
    queue_messages_max: u64 = 100_000, 1 => COUNT_MAX;
    /// Bytes that wait for one session.
    queue_bytes_max: u64 = 64 * MIB, 1024 => BYTES_MAX;
    /// Bytes that wait for all sessions.
    queue_bytes_total_max: u64 = 2048 * MIB, MIB => BYTES_MAX;
    /// Messages to frozen topics that wait for the end of the freeze. Beyond, QoS 0 is dropped and what is above is refused.
    held_messages_max: u64 = 100_000, 0 => COUNT_MAX;
    /// Bytes of them.
    held_bytes_max: u64 = 64 * MIB, 0 => BYTES_MAX;
    /// Messages that a client is sent before it has acknowledged any; an MQTT 5 client may ask for fewer.
    inflight_max: u64 = 1024, 1 => 65_535;
    /// QoS 1 and 2 messages that a client may send before they are acknowledged (Receive Maximum).
    receive_max: u64 = 1024, 1 => 65_535;
    /// Topic aliases that a client may set, and that it is sent.
    topic_alias_max: u64 = 64, 0 => 65_535;
    /// Bytes of the topics that one connection's aliases stand for.
    topic_alias_bytes_max: u64 = 64 << 10, 0 => 64 * MIB;
    /// Bytes that wait in one connection's outbound buffer; QoS 0 messages beyond are dropped.
    outbound_bytes_max: u64 = 8 * MIB, 64 << 10 => BYTES_MAX;
    /// The same for all connections.
    outbound_bytes_total_max: u64 = 512 * MIB, MIB => BYTES_MAX;
    /// How long a client may take nothing of what waits for it until it is disconnected.
    stall_timeout: Duration = seconds(60), seconds(1) => seconds(86_400);
    /// Payload of a will message.
    will_bytes_max: u64 = 64 << 10, 0 => PACKET_BYTES_MAX;
    /// Longest delay of a will.
    will_delay_max: Duration = seconds(86_400), Duration::ZERO => seconds(u32::MAX as u64);
    /// Largest WebSocket frame.
    websocket_frame_bytes_max: u64 = MIB, 1024 => PACKET_BYTES_MAX;
}

impl Limits {
    /// Contradictions between limits: the key, what is wrong, what to do.
    pub(super) fn contradictions(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut found = Vec::new();
        let mut at_most = |name, value: u64, other: &str, bound: u64| {
            if value > bound {
                found.push((
                    name,
                    format!("`{name}` is greater than `{other}`"),
                    "lower the one or raise the other",
                ));
            }
        };
        at_most("connect_bytes_max", self.connect_bytes_max, "packet_bytes_max", self.packet_bytes_max);
        at_most("topic_bytes_max", self.topic_bytes_max, "packet_bytes_max", self.packet_bytes_max);
        at_most("queue_bytes_max", self.queue_bytes_max, "queue_bytes_total_max", self.queue_bytes_total_max);
        at_most(
            "outbound_bytes_max",
            self.outbound_bytes_max,
            "outbound_bytes_total_max",
            self.outbound_bytes_total_max,
        );
        at_most("packet_bytes_max", self.packet_bytes_max, "outbound_bytes_max", self.outbound_bytes_max);
        at_most("packet_bytes_max", self.packet_bytes_max, "queue_bytes_max", self.queue_bytes_max);
        found
    }
}
