//! Sessions, subscriptions, routing, retained messages, queues, wills and expiry.
//!
//! Pure: no socket, clock, file, lock, thread or randomness; time and seeds are arguments. A [`Broker`] is one shard:
//! it owns the sessions whose Client Identifier hashes to it and talks to its sister shards by [`ShardMessage`]s that
//! the shell carries. Bytes for clients gather in each link's [`Outbound`]; what must survive gathers in a journal.
//!
//! The shell drives it in turns:
//!
//! 1. feed what arrived: `handle_*`;
//! 2. [`Broker::take_journal`] and hand the bytes to the store;
//! 3. drain [`Broker::poll_output`]; write out every link of [`Broker::poll_flush`];
//! 4. sleep until [`Broker::poll_timeout`], a socket, a sister shard or the store has something.

mod acknowledge;
mod author;
mod authorize;
mod broker;
mod check;
mod checkpoint;
mod clock;
mod close;
mod connect;
mod deliver;
mod flows;
mod freeze;
mod journal;
mod limits;
mod link;
mod manage;
mod message;
mod observe;
mod outbound;
mod output;
mod publish;
mod recheck;
mod recording;
mod restore;
mod retained;
mod route;
mod sending;
mod session;
mod shards;
mod share;
mod shed;
mod subscribe;
mod taken;
mod timers;
mod trie;
mod walk;
mod wills;

pub use authorize::{Authorizer, Meter, Metered, Publishing, Subscribing, TAP, Verdict, Watch};
pub use broker::{Broker, Connecting, LinkId, SHARDS_MAX, home_shard};
#[doc(hidden)]
pub use check::Held;
pub use clock::Now;
pub use flows::{Flow, Reading};
pub use limits::Limits;
pub use manage::{LinkInfo, SessionInfo, SessionPage, SubscriptionInfo};
pub use outbound::Outbound;
pub use output::{Close, Delivered, How, Observed, Output, RestoreSummary, ShardMessage, Stats};
pub use restore::RestoreError;
