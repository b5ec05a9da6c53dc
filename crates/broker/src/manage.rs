//! What an administrator sees of sessions, and does to them.

use crate::deliver::Fan;
use crate::message::Parts;
use crate::sending::Stage;
use crate::{Broker, Now};
use ravelin_event::{DisconnectCause, Principal};
use ravelin_mqtt::{QoS, ReasonCode, SubscribeOptions, Version};

/// Slots that are looked at for each session of a page, at most: after a peak, most are empty.
const SLOTS_PER_SESSION: usize = 16;

/// A session, connected or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Whose it is. Without an address if it was restored from disk and has had no connection since.
    pub who: Principal,
    /// The connection, if there is one.
    pub link: Option<LinkInfo>,
    /// The protocol version of the last connection.
    pub version: Version,
    /// Granted Session Expiry Interval, in seconds; `u32::MAX` never expires.
    pub expiry_s: u32,
    /// When it ends without a connection, in milliseconds since the Unix epoch.
    pub expires_wall_ms: Option<u64>,
    /// Subscriptions, shared ones included.
    pub subscriptions: usize,
    /// Messages that wait to be sent.
    pub queued: usize,
    /// Bytes of them.
    pub queued_bytes: usize,
    /// Messages sent and not yet acknowledged.
    pub inflight: usize,
    /// QoS 2 messages received and not yet released.
    pub received: usize,
    /// Whether it has a will.
    pub will: bool,
    /// Messages for it that were dropped.
    pub dropped: u64,
}

/// A connection of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// The shell's name for it.
    pub token: u64,
    /// When it began, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Keep Alive in force, in seconds; 0: none.
    pub keep_alive_s: u16,
    /// Clean Start.
    pub clean_start: bool,
    /// Messages accepted from the client.
    pub messages_in: u64,
    /// Bytes of their payloads.
    pub bytes_in: u64,
    /// PUBLISH packets sent to the client.
    pub messages_out: u64,
    /// Bytes written to the connection, of packets of all kinds.
    pub bytes_out: u64,
    /// Bytes that wait for the connection.
    pub outbound_bytes: usize,
}

/// Some sessions of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPage {
    /// The sessions, in no order that means anything.
    pub sessions: Vec<SessionInfo>,
    /// Where the next page begins; `None`: this was the last one.
    pub next: Option<u32>,
}

/// A subscription of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionInfo {
    /// The filter as it was subscribed to, with `$share/group/`.
    pub filter: String,
    /// Its options. Retain Handling is not remembered for subscriptions that are not shared.
    pub options: SubscribeOptions,
    /// Its Subscription Identifier.
    pub id: Option<u32>,
}

impl Broker {
    /// At most `max` sessions of this shard; `after` is the `next` of the page before. A session that lives through all calls
    /// is on exactly one page; one that begins or ends meanwhile may be missing. Each call looks at a bounded number of slots,
    /// so a page may be empty and not be the last.
    pub fn sessions_page(&self, now: Now, after: Option<u32>, max: usize) -> SessionPage {
        let mut page = SessionPage::default();
        let mut at = after.unwrap_or(0);
        let most = u32::try_from(max.saturating_mul(SLOTS_PER_SESSION)).unwrap_or(u32::MAX);
        let last = at.saturating_add(most).min(self.sessions.slots());
        while at < last && page.sessions.len() < max {
            page.sessions.extend(self.session_info(now, at));
            at += 1;
        }
        page.next = (at < self.sessions.slots()).then_some(at);
        page
    }

    /// The session of a Client Identifier, if it is on this shard.
    pub fn session(&self, now: Now, client_id: &str) -> Option<SessionInfo> {
        self.session_info(now, self.sessions.find(client_id)?)
    }

    fn session_info(&self, now: Now, index: u32) -> Option<SessionInfo> {
        let session = self.sessions.get(index)?;
        let link = session.link.as_deref().map(|link| {
            let counts = link.memo.as_ref().map_or_else(Default::default, |memo| memo.counts);
            LinkInfo {
                token: link.token,
                since_ms: link.since_ms,
                keep_alive_s: (link.keep_alive_ms / 1000) as u16,
                clean_start: link.clean_start,
                messages_in: link.traffic.messages_in + counts.messages(),
                bytes_in: link.traffic.bytes_in + counts.bytes,
                messages_out: link.traffic.messages_out,
                bytes_out: link.out.consumed(),
                outbound_bytes: link.out.len(),
            }
        });
        let sending = &session.sending;
        Some(SessionInfo {
            who: session.who.clone(),
            link,
            version: session.version,
            expiry_s: session.expiry_s,
            expires_wall_ms: session.expires_ms.map(|at| now.wall_of(at)),
            subscriptions: session.subscriptions.len() + session.shares.len(),
            queued: sending.queue.len(),
            queued_bytes: sending.queue_bytes,
            inflight: sending.window.iter().filter(|slot| slot.stage != Stage::Done).count(),
            received: session.received.len(),
            will: session.will.is_some(),
            dropped: session.dropped,
        })
    }

    /// The subscriptions of a Client Identifier's session, if it is on this shard; as many as one session may have.
    pub fn subscriptions_of(&self, client_id: &str) -> Option<Vec<SubscriptionInfo>> {
        let index = self.sessions.find(client_id)?;
        let info = |(filter, options, id)| SubscriptionInfo { filter, options, id: (id != 0).then_some(id) };
        Some(self.subscriptions_at(index).into_iter().map(info).collect())
    }

    pub(crate) fn subscriptions_at(&self, index: u32) -> Vec<(String, SubscribeOptions, u32)> {
        let Some(session) = self.sessions.get(index) else { return Vec::new() };
        let nodes = session.subscriptions.nodes();
        let placed = nodes.into_iter().filter_map(|node| {
            let entry = self.trie.entry(node, session.subscriptions.get(node)?);
            let options = SubscribeOptions {
                qos: QoS::from_u8(entry.qos).unwrap_or_default(),
                no_local: entry.no_local,
                retain_as_published: entry.retain_as_published,
                retain_handling: Default::default(),
            };
            Some((self.trie.filter(node), options, entry.subscription_id))
        });
        let shared = session.shares.iter();
        let shared = shared.map(|share| (share.filter.to_string(), share.options, share.subscription_id));
        placed.chain(shared).collect()
    }

    /// Ends the connection of a Client Identifier. Its session stays as long as it would after any other end of a connection,
    /// and its will is published. False: it has no connection on this shard.
    pub fn disconnect_session(
        &mut self,
        now: Now,
        client_id: &str,
        reason: ReasonCode,
        detail: Option<String>,
    ) -> bool {
        let index = self.sessions.find(client_id);
        let Some(index) = index.filter(|index| self.link_mut(*index).is_some()) else { return false };
        self.close_link(now, index, Some(reason), DisconnectCause::Administrative, detail);
        true
    }

    /// Ends the connection of a Client Identifier, if it has one; with `wipe` also its session: subscriptions, messages under
    /// way and queued ones go, here and on the disk, and its will is published at once, as with any end of a session
    /// (MQTT-3.1.3-9). False: there is no session on this shard.
    pub fn end_session(&mut self, now: Now, client_id: &str, wipe: bool) -> bool {
        let Some(index) = self.sessions.find(client_id) else { return false };
        let detail = Some(if wipe { "the session was ended" } else { "the connection was ended" }.to_owned());
        self.disconnect_session(now, client_id, ReasonCode::ADMINISTRATIVE_ACTION, detail);
        // A session that does not outlive its connection is gone by now.
        if wipe && self.sessions.find(client_id) == Some(index) {
            self.close_session(now, index, false);
        }
        true
    }

    /// Sends a message to one session, whatever it has subscribed to; the answers to what was published to `$CONTROL/`. It is
    /// queued as any other message, and dropped where any other would be. False: no session of this shard has taken it.
    pub fn publish_direct(
        &mut self,
        now: Now,
        client_id: &str,
        topic: &str,
        payload: &[u8],
        qos: QoS,
    ) -> bool {
        let Some(index) = self.sessions.find(client_id) else { return false };
        let parts = Parts { topic, forward: &[], payload, qos, retain: false, expires_ms: None, record: 0 };
        let mut fan = Fan::new(parts, None, self.buffers.pop().unwrap_or_default());
        let dropped = self.stats.publish_dropped;
        self.deliver_to(now, index, qos, false, None, &mut fan);
        if !fan.durable.is_empty() {
            self.journal_published(now, &mut fan, None, 0, None);
        }
        for index in std::mem::take(&mut fan.pump) {
            self.pump(now, index);
        }
        let taken = fan.receivers > 0 && self.stats.publish_dropped == dropped;
        self.recycle(fan.take_buffer());
        taken
    }
}
