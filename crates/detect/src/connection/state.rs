//! What is kept of each client and each source, in fixed sizes.

use super::trail::{Causes, Step, Trail};
use crate::entities::Table;
use crate::statistics::{Cusum, Decayed, Hll, Top};
use ravelin_event::Counted;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// What is kept of each client.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientConnection {
    /// Connections that ended abnormally and soon.
    pub(crate) termination: Cusum,
    /// Connections that took over a live one.
    pub(crate) takeover: Cusum,
    /// Attempts in a minute.
    pub(crate) attempts: Decayed,
    /// When it last counted towards a storm.
    pub(crate) storm_ms: u64,
    /// When a success of it last spoke for its source.
    pub(crate) credited_ms: u64,
    /// When an hour of its activity last counted.
    pub(crate) hour_ms: u64,
    pub(crate) trail: Trail<4>,
    /// The source of its connection, if that counts it as idle.
    pub(crate) idle_at: Option<IdleAt>,
    pub(crate) causes: Causes,
    /// It has sent data at some time.
    pub(crate) has_acted: bool,
    /// It has sent data on this connection.
    pub(crate) acts: bool,
    /// When its connection began, nobody knew it.
    pub(crate) is_stranger: bool,
    /// Its last connection ended abnormally, or with the node.
    pub(crate) was_lost: bool,
    /// It has arrived while it was connected; the end of the old connection is still to be told.
    pub(crate) took_over: bool,
    /// Its last connection was taken over, and by whom is still to be told.
    pub(crate) was_taken_over: bool,
    /// The last source differs from the one before.
    pub(crate) moved: bool,
}

/// Where a connection is counted as one without data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleAt {
    pub source: u32,
    /// It has been so for long.
    pub is_held: bool,
}

/// What is kept of each source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceConnection {
    pub(crate) logins: Logins,
    pub(crate) termination: Cusum,
    pub(crate) malformed: Cusum,
    pub(crate) silent: Cusum,
    /// Attempts of strangers in a minute.
    pub(crate) strangers: Decayed,
    /// Strangers that came and were gone, in a minute.
    pub(crate) vanished: Decayed,
    /// Connections that were opened, in a second.
    pub(crate) opened: Decayed,
    /// Opened and not yet heard of.
    pub(crate) half_open: u32,
    /// Since when those are too many; 0: they are not.
    pub(crate) half_open_ms: u64,
    /// Connections of strangers that have been without data for long.
    pub(crate) idle_held: u32,
    /// Clients that are known and came from here.
    pub(crate) known: Hll,
    pub(crate) causes: Causes,
    pub(crate) trail: Trail<8>,
}

/// Failed log-ins of a source.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Logins {
    pub cusum: Cusum,
    /// The users that failed last, by hash, and how often: a success takes back its own user's failures and no other's.
    pub users: [(u32, u16); 4],
    /// Users that failed.
    pub seen: Hll,
}

/// What is kept of an identity that has logged in.
#[derive(Debug, Default)]
pub(crate) struct IdentityState {
    /// Client Identifiers with which it came in the last hour.
    pub clients: Hll,
    pub since_ms: u64,
}

/// What is kept of a User Name whose log-ins failed.
#[derive(Debug, Default)]
pub(crate) struct FailingUser {
    pub cusum: Cusum,
    pub sources: Hll,
    pub trail: Trail<8>,
    pub last: Option<IpAddr>,
}

/// What is kept beside clients and sources.
pub(crate) struct Shared {
    pub identities: Table<Arc<str>, IdentityState>,
    pub failing: Top<Arc<str>, FailingUser>,
    pub aged_ms: u64,
    /// Sources whose first log-in failed, in an hour, and in days.
    pub failing_sources: Decayed,
    pub failing_sources_slow: Decayed,
    pub failing_since_ms: u64,
    /// Somebody tells of connections when they are opened.
    pub sees_openings: bool,
    /// Clients that lost their connection or came back, in the last minute.
    pub storm: VecDeque<(u64, u32)>,
    /// Connections of strangers that will have to have sent something: when, slot, since when.
    pub watched: VecDeque<(u64, u32, u64)>,
    /// Those that found no place there.
    pub unwatched: u64,
}

/// Connections that are watched for data at once.
pub(crate) const WATCHED_MAX: usize = 65_536;

impl Shared {
    pub fn new(settings: &crate::Settings, seed: u64) -> Shared {
        Shared {
            identities: Table::new(settings.limits.identities, seed ^ 11),
            failing: Top::new(settings.limits.failing_users, seed ^ 12),
            aged_ms: 0,
            failing_sources: Decayed::default(),
            failing_sources_slow: Decayed::default(),
            failing_since_ms: 0,
            sees_openings: false,
            storm: VecDeque::new(),
            watched: VecDeque::new(),
            unwatched: 0,
        }
    }
}

impl SourceConnection {
    /// The failed log-ins that are remembered.
    pub(crate) fn logins_counted(&self, from_ms: u64) -> Vec<Counted> {
        self.trail.counted(from_ms, &[Step::BadLogin])
    }
}
