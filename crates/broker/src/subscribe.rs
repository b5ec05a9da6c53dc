//! SUBSCRIBE and UNSUBSCRIBE.

use crate::broker::LinkId;
use crate::journal::Kind;
use crate::link::PendingAck;
use crate::session::{Share, extra_weight};
use crate::trie::{Entry, NodeId};
use crate::{Broker, Now, Subscribing};
use ravelin_event::{Event, Refusal};
use ravelin_mqtt::{
    QoS, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeOptions, Subscription, Unsubscribe,
    check_filter, encode_suback, encode_unsuback,
};

impl Broker {
    pub(crate) fn handle_subscribe(&mut self, now: Now, index: u32, subscribe: &Subscribe<'_>) {
        let id = subscribe.subscription_id.unwrap_or(0);
        let link = LinkId::new(index, self.sessions.generation(index));
        let mut reasons = Vec::new();
        let mut retained: Vec<(String, SubscribeOptions)> = Vec::new();
        let mut homes = 0;
        for subscription in subscribe.filters() {
            let result = self.subscribe(index, &subscription, id, &mut retained);
            reasons.push(match result {
                Ok(qos) => {
                    homes |= self.home_elsewhere(subscription.filter);
                    qos as u8
                }
                Err((reason, why)) => {
                    self.refused_subscribe(index, subscription.filter, why);
                    reason.0
                }
            });
        }
        let Some(version) = self.sessions.get(index).map(|session| session.version) else { return };
        let mut packet = Vec::new();
        let suback = SubAck {
            packet_id: subscribe.packet_id,
            reason_string: None,
            properties: Default::default(),
            reasons: &reasons,
        };
        encode_suback(&mut packet, version, &suback);
        let durable = self.sessions.get(index).is_some_and(|session| session.durable);
        let seq = if durable { self.journal.seq() } else { 0 };
        // SUBACK says that what anybody publishes from now on is matched: the sister shards must know.
        let asked = self.ask_sisters(homes);
        let number = self.defer(index, seq, asked.shards, PendingAck::Packet(packet));
        self.expect_answers(index, number, asked);
        for (filter, options) in retained {
            if self.session_of(link).is_some() {
                self.owe_retained(now, index, filter, options, id);
            }
        }
    }

    fn subscribe(
        &mut self,
        index: u32,
        subscription: &Subscription<'_>,
        id: u32,
        retained: &mut Vec<(String, SubscribeOptions)>,
    ) -> Result<QoS, (ReasonCode, Refusal)> {
        let Subscription { filter, options } = *subscription;
        let shared = check_filter(filter, self.limits.decode.topic_levels_max)
            .map_err(|_| (ReasonCode::TOPIC_FILTER_INVALID, Refusal::BadName))?;
        let plain = shared.as_ref().map_or(filter, |shared| shared.filter);
        let Some(session) = self.sessions.get(index) else {
            return Err((ReasonCode::UNSPECIFIED_ERROR, Refusal::Protocol));
        };
        let what = Subscribing {
            filter: plain,
            group: shared.as_ref().map(|shared| shared.group),
            qos: options.qos,
        };
        if !self.authorizer.may_subscribe(&session.who, &what) {
            return Err((ReasonCode::NOT_AUTHORIZED, Refusal::AccessRule));
        }
        let weight = extra_weight(filter) as usize;
        let own = session.subscriptions.len() + session.shares.len() + session.extra_weight as usize;
        let full = own + weight >= self.limits.subscriptions_per_session_max
            || self.subscriptions + self.extra_weight + weight >= self.limits.subscriptions_max;
        let exists = match shared {
            Some(_) => session.shares.iter().any(|share| *share.filter == *filter),
            None => self.trie.find(filter).is_some_and(|node| session.subscriptions.get(node).is_some()),
        };
        let no_group = shared.is_some() && self.groups.refuses(filter, self.limits.shared_groups_max);
        if !exists && !self.authorizer.may_subscribe_anew(&session.who, &what) {
            return Err((ReasonCode::NOT_AUTHORIZED, Refusal::Posture));
        }
        if (full || no_group) && !exists {
            return Err((ReasonCode::QUOTA_EXCEEDED, Refusal::TooManySubscriptions));
        }
        if shared.is_some() {
            // Retained messages are not sent to a shared subscription (section 4.8.2).
            self.share(index, filter, options, id, exists);
        } else {
            self.place(index, filter, options, id);
            let send = match options.retain_handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => !exists,
                RetainHandling::DoNotSend => false,
            };
            if send && self.retained.count() > 0 {
                retained.push((filter.to_owned(), options));
            }
        }
        self.journal_subscribed(index, filter, options, id);
        if let Some(session) = self.sessions.get(index) {
            let client_id = session.who.client_id.to_string();
            self.event(Event::Subscribed { client_id, filter: filter.to_owned(), qos: options.qos as u8 });
        }
        Ok(options.qos)
    }

    /// Puts a subscription that is not shared into the trie, or changes its options (MQTT-3.8.4-3).
    pub(crate) fn place(&mut self, index: u32, filter: &str, options: SubscribeOptions, id: u32) {
        let node = self.trie.insert(filter);
        let entry = Entry {
            session: index,
            subscription_id: id,
            qos: options.qos as u8,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
        };
        let Some(session) = self.sessions.get_mut(index) else { return };
        match session.subscriptions.get(node) {
            Some(position) => *self.trie.entry_mut(node, position) = entry,
            None => {
                let first = !self.trie.wanted_here(node);
                let position = self.trie.add(node, entry);
                session.subscriptions.set(node, position);
                self.subscriptions += 1;
                self.weigh(index, filter, true);
                if first {
                    self.tell_interest(filter, true);
                }
            }
        }
        self.changed(filter);
    }

    /// Routes that a change to a filter's subscriptions may touch are computed anew.
    pub(crate) fn changed(&mut self, filter: &str) {
        if filter.contains(['+', '#']) {
            self.generation += 1;
        } else {
            self.routes.forget(filter);
            // Whoever publishes there is perhaps watched from now on, or no more.
            if let Some(tapped) = filter.strip_prefix(crate::authorize::TAP) {
                self.routes.forget(tapped);
            }
            self.exact_generation += 1;
        }
    }

    fn journal_subscribed(&mut self, index: u32, filter: &str, options: SubscribeOptions, id: u32) {
        let Some(session) = self.sessions.get(index).filter(|session| session.durable) else { return };
        let uid = session.uid;
        self.journal.record(Kind::Subscribed, |record| {
            record.int(uid);
            record.text(filter);
            record.options(options);
            record.int(id as u64);
        });
    }

    pub(crate) fn refused_subscribe(&mut self, index: u32, filter: &str, why: Refusal) {
        let Some(session) = self.sessions.get(index) else { return };
        let event = Event::SubscribeRefused {
            client_id: session.who.client_id.to_string(),
            identity: session.who.identity.as_deref().map(str::to_owned),
            address: session.who.address,
            filter: filter.to_owned(),
            why,
        };
        self.stats.denied += 1;
        self.event(event);
    }

    pub(crate) fn handle_unsubscribe(&mut self, index: u32, unsubscribe: &Unsubscribe<'_>) {
        let mut reasons = Vec::new();
        for filter in unsubscribe.filters() {
            let reason = match check_filter(filter, self.limits.decode.topic_levels_max) {
                Err(_) => ReasonCode::TOPIC_FILTER_INVALID,
                Ok(shared) if !self.may_unsubscribe(index, shared.map_or(filter, |shared| shared.filter)) => {
                    self.refused_unsubscribe(index, filter);
                    ReasonCode::NOT_AUTHORIZED
                }
                Ok(_) if self.unsubscribe(index, filter) => ReasonCode::SUCCESS,
                Ok(_) => ReasonCode::NO_SUBSCRIPTION_EXISTED,
            };
            reasons.push(reason.0);
        }
        let Some(session) = self.sessions.get(index) else { return };
        let mut packet = Vec::new();
        let unsuback = SubAck {
            packet_id: unsubscribe.packet_id,
            reason_string: None,
            properties: Default::default(),
            reasons: &reasons,
        };
        encode_unsuback(&mut packet, session.version, &unsuback);
        let seq = if session.durable { self.journal.seq() } else { 0 };
        self.defer(index, seq, 0, PendingAck::Packet(packet));
    }

    fn may_unsubscribe(&self, index: u32, plain: &str) -> bool {
        let session = self.sessions.get(index);
        session.is_some_and(|session| self.authorizer.may_unsubscribe(&session.who, plain))
    }

    fn refused_unsubscribe(&mut self, index: u32, filter: &str) {
        let Some(session) = self.sessions.get(index) else { return };
        let event = Event::UnsubscribeRefused {
            client_id: session.who.client_id.to_string(),
            identity: session.who.identity.as_deref().map(str::to_owned),
            address: session.who.address,
            filter: filter.to_owned(),
            why: Refusal::AccessRule,
        };
        self.stats.denied += 1;
        self.event(event);
    }

    pub(crate) fn unsubscribe(&mut self, index: u32, filter: &str) -> bool {
        let removed = if filter.starts_with("$share/") {
            self.unshare(index, filter)
        } else {
            self.trie.find(filter).is_some_and(|node| self.unplace(index, node))
        };
        let Some(session) = self.sessions.get(index) else { return removed };
        if removed {
            self.walks.forget(session.uid, filter);
            if session.durable {
                let uid = session.uid;
                self.journal.record(Kind::Unsubscribed, |record| {
                    record.int(uid);
                    record.text(filter);
                });
            }
            let client_id = session.who.client_id.to_string();
            self.event(Event::Unsubscribed { client_id, filter: filter.to_owned() });
        }
        removed
    }

    /// Takes a session's subscription out of the trie.
    pub(crate) fn unplace(&mut self, index: u32, node: NodeId) -> bool {
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let Some(position) = session.subscriptions.remove(node) else { return false };
        let moved = self.trie.remove(node, position).moved;
        if let Some(moved) = moved
            && let Some(other) = self.sessions.get_mut(moved)
        {
            other.subscriptions.set(node, position);
        }
        self.subscriptions -= 1;
        let filter = self.trie.filter(node);
        self.weigh(index, &filter, false);
        if !self.trie.wanted_here(node) {
            self.tell_interest(&filter, false);
        }
        self.trie.prune(node);
        self.changed(&filter);
        true
    }

    /// All of a session's subscriptions go, with the session.
    pub(crate) fn unsubscribe_all(&mut self, index: u32) {
        let nodes = self.sessions.get(index).map(|session| session.subscriptions.nodes()).unwrap_or_default();
        for node in nodes {
            self.unplace(index, node);
        }
        let shares: Vec<Share> =
            self.sessions.get(index).map(|session| session.shares.clone()).unwrap_or_default();
        for share in shares {
            self.unshare(index, &share.filter);
        }
    }
}
