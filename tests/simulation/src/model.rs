//! What must and what may have happened, kept apart from how the core does it: plain lists of who subscribed when and who
//! published when. A moment is the number of a step; where letters under way or a crash make it uncertain what the
//! broker knows, the model says "may".

use crate::Message;
use ravelin_mqtt::{QoS, matches};
use std::collections::BTreeMap;

/// A filter that clients subscribe to, always with the same options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub text: &'static str,
    /// The filter inside `$share/group/`.
    pub plain: &'static str,
    pub shared: bool,
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub id: Option<u32>,
}

/// A subscription of a session.
#[derive(Debug)]
pub(crate) struct Entry {
    pub no: u64,
    pub client: usize,
    pub session: u64,
    pub filter: usize,
    /// The SUBACK came.
    pub must_from: Option<u64>,
    /// UNSUBSCRIBE was sent.
    pub must_until: Option<u64>,
    /// The UNSUBACK came.
    pub may_until: Option<u64>,
}

/// A message that was published.
#[derive(Debug)]
pub(crate) struct Publication {
    /// `None`: the broker published it, a will.
    pub publisher: Option<usize>,
    pub topic: String,
    pub qos: QoS,
    pub retain: bool,
    /// Wall clock when the last copy of it expires; none, if one does not.
    pub expires_ms: Option<u64>,
    /// It expires, or did when it was sent first.
    pub may_expire: bool,
    pub sent: u64,
    /// Times that it was sent.
    pub sends: u32,
    /// When the publisher saw the acknowledgement.
    pub accepted: Option<u64>,
    /// The broker sent it itself, to this session of a client.
    pub direct: Option<(usize, u64)>,
    /// It may come twice: it was under way while the number of shards changed or its publisher's session was lost.
    pub recounted: bool,
}

impl Publication {
    /// One that does not expire, not sent yet.
    pub fn new(publisher: Option<usize>, topic: &str, qos: QoS, step: u64) -> Publication {
        Publication {
            publisher,
            topic: topic.into(),
            qos,
            retain: false,
            expires_ms: None,
            may_expire: false,
            sent: step,
            sends: 0,
            accepted: None,
            direct: None,
            recounted: false,
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    all: u32,
    /// Without DUP.
    fresh: u32,
    exactly_once: u32,
}

/// Who received something.
pub(crate) struct Receiver {
    pub client: usize,
    pub session: u64,
    /// It is uncertain which of its sessions the broker knows.
    pub fuzzy: bool,
    /// Wall clock when it had read everything.
    pub read_ms: u64,
    /// Subscriptions that it made in this session, each of which may bring retained messages.
    pub subscribes: u32,
    /// The last step in which the client might not receive the topic.
    pub banned: Option<u64>,
}

/// Everything that was subscribed, published and received.
#[derive(Default)]
pub(crate) struct Model {
    pub filters: Vec<Filter>,
    pub entries: Vec<Entry>,
    last_entry: u64,
    pub publications: BTreeMap<u64, Publication>,
    seen: BTreeMap<(usize, u64, u64), Seen>,
    /// By client, session, publisher, topic and QoS: the last message that came for the first time.
    last: BTreeMap<(usize, u64, usize, String, u8), u64>,
    pub crashes: u32,
}

impl Model {
    pub fn new(filters: Vec<Filter>) -> Model {
        Model { filters, ..Model::default() }
    }

    /// SUBSCRIBE was sent. Gives the number of the subscription, which is the same if there was one.
    pub fn subscribe(&mut self, client: usize, session: u64, filter: usize) -> u64 {
        let open = |entry: &&Entry| {
            (entry.client, entry.session, entry.filter) == (client, session, filter)
                && entry.must_until.is_none()
        };
        if let Some(entry) = self.entries.iter().find(open) {
            return entry.no;
        }
        self.last_entry += 1;
        let no = self.last_entry;
        let [must_from, must_until, may_until] = [None; 3];
        self.entries.push(Entry { no, client, session, filter, must_from, must_until, may_until });
        no
    }

    fn entry(&mut self, no: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.no == no)
    }

    /// The SUBACK came.
    pub fn subscribed(&mut self, no: u64, step: u64) {
        if let Some(entry) = self.entry(no) {
            entry.must_from.get_or_insert(step);
        }
    }

    /// UNSUBSCRIBE was sent. Gives the numbers of the subscriptions that it ends.
    pub fn unsubscribe(&mut self, client: usize, session: u64, filter: usize, step: u64) -> Vec<u64> {
        let is = |entry: &&mut Entry| {
            (entry.client, entry.session, entry.filter) == (client, session, filter)
                && entry.may_until.is_none()
        };
        let end = |entry: &mut Entry| {
            entry.must_until.get_or_insert(step);
            entry.no
        };
        self.entries.iter_mut().filter(is).map(end).collect()
    }

    /// The UNSUBACK came.
    pub fn unsubscribed(&mut self, no: u64, step: u64) {
        if let Some(entry) = self.entry(no) {
            entry.may_until.get_or_insert(step);
        }
    }

    /// The session has ended, for certain.
    pub fn ended(&mut self, client: usize, session: u64, step: u64) {
        for entry in self.entries.iter_mut().filter(|e| (e.client, e.session) == (client, session)) {
            entry.must_until.get_or_insert(step);
            entry.may_until.get_or_insert(step);
        }
    }

    /// Nothing is certain about the client's session any more.
    pub fn uncertain(&mut self, client: usize) {
        for entry in self.entries.iter_mut().filter(|entry| entry.client == client) {
            entry.must_from = None;
            entry.may_until = None;
        }
    }

    /// Subscriptions that the message may have come from.
    fn sources(&self, receiver: &Receiver, message: &Message, publication: &Publication) -> Vec<&Entry> {
        let possible = |entry: &&Entry| {
            let filter = &self.filters[entry.filter];
            let session = entry.session == receiver.session || receiver.fuzzy;
            let own = filter.no_local && publication.publisher == Some(receiver.client);
            // A retained message is sent whoever published it, to a subscription made later.
            let alive = message.retain
                // A letter from the group's home may be under way when a member leaves.
                || filter.shared
                || entry.may_until.is_none_or(|until| until >= publication.sent);
            entry.client == receiver.client
                && session
                && matches(filter.plain, &message.topic)
                && alive
                && (!own || message.retain)
        };
        self.entries.iter().filter(possible).collect()
    }

    /// A message has come to an application.
    pub fn received(&mut self, receiver: &Receiver, message: &Message) {
        // An empty one clears a topic, and is not told apart from others.
        if message.payload.is_empty() {
            return;
        }
        let tag: u64 = message.text().trim_end().parse().expect("a tag");
        let Some(publication) = self.publications.get(&tag) else {
            panic!("{} came long after everybody had it", tag);
        };
        assert_eq!(publication.topic, message.topic);
        if let Some(direct) = publication.direct {
            return self.received_directly(receiver, message, tag, direct);
        }
        let sources = self.sources(receiver, message, publication);
        assert!(!sources.is_empty(), "nobody asked for {message:?}: {publication:?}");
        let granted = |entry: &&Entry| self.filters[entry.filter].qos.min(publication.qos) == message.qos;
        assert!(sources.iter().any(granted), "nobody asked for this QoS: {message:?}");
        let known = |id: &u32| sources.iter().any(|entry| self.filters[entry.filter].id == Some(*id));
        assert!(
            message.subscription_ids.iter().all(known),
            "a subscription identifier of another: {message:?}"
        );
        assert!(!message.retain || publication.retain, "RETAIN out of nowhere");
        if let Some(at) = publication.expires_ms {
            assert!(message.dup || at > receiver.read_ms, "{message:?} had expired at {at}");
        }
        let plain = sources.iter().any(|entry| !self.filters[entry.filter].shared) as u32;
        let mut groups: Vec<usize> =
            sources.iter().map(|entry| entry.filter).filter(|&filter| self.filters[filter].shared).collect();
        groups.sort();
        groups.dedup();
        let copies = plain + groups.len() as u32;
        let retained = if publication.retain { receiver.subscribes } else { 0 };
        let most = publication.sends * copies + retained + self.crashes * copies;
        // One that expired unsent may be sent after all, when the record that it was dropped is lost.
        let ordered = groups.is_empty() && !publication.retain && publication.sends == 1 && !publication.may_expire
            // One that was withdrawn comes back when the record of that is lost and the right is back.
            && receiver.banned.is_none_or(|at| at < publication.sent);
        let (publisher, both) = (publication.publisher, publication.qos.min(message.qos));
        let exact = both == QoS::ExactlyOnce && !publication.recounted;
        let in_order = ordered && message.qos == publication.qos;
        let seen = self.seen.entry((receiver.client, receiver.session, tag)).or_default();
        seen.all += 1;
        seen.fresh += !message.dup as u32;
        seen.exactly_once += (both == QoS::ExactlyOnce) as u32;
        if !receiver.fuzzy {
            assert!(!exact || seen.exactly_once <= copies + retained, "more than once: {message:?}");
            assert!(seen.fresh <= most, "{} times, at most {most}: {message:?}", seen.fresh);
        }
        let first = seen.all == 1;
        if let Some(publisher) = publisher.filter(|_| in_order && first) {
            let key =
                (receiver.client, receiver.session, publisher, message.topic.clone(), message.qos as u8);
            let last = self.last.insert(key, tag);
            assert!(last.is_none_or(|last| last < tag), "{tag} came after {last:?}: {message:?}");
        }
    }

    fn received_directly(&mut self, receiver: &Receiver, message: &Message, tag: u64, direct: (usize, u64)) {
        assert_eq!(receiver.client, direct.0, "{message:?} is another's");
        assert!(receiver.fuzzy || receiver.session == direct.1, "{message:?} is an earlier session's");
        let seen = self.seen.entry((receiver.client, receiver.session, tag)).or_default();
        seen.all += 1;
        seen.fresh += !message.dup as u32;
        seen.exactly_once += (message.qos == QoS::ExactlyOnce) as u32;
        let publication = &self.publications[&tag];
        assert_eq!((message.qos, message.retain), (publication.qos, false), "{message:?}");
        if !receiver.fuzzy {
            assert!(seen.exactly_once <= 1 && seen.fresh <= 1 + self.crashes, "{message:?}: {seen:?}");
        }
    }

    /// Everything is quiet: everybody must have what was promised. `durable` tells the session of a client that has been
    /// there since a moment, and is kept; `forgiven`, for whom and since which step a topic was nobody's promise. Returns
    /// what is missing, by client: it must have been dropped.
    pub fn missing_promises(
        &self,
        durable: impl Fn(usize) -> Option<u64>,
        forgiven: impl Fn(usize, &Publication) -> bool,
    ) -> BTreeMap<usize, Vec<u64>> {
        let mut missing: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for (tag, publication) in &self.publications {
            let Some(accepted) = publication.accepted else { continue };
            if publication.qos == QoS::AtMostOnce || publication.may_expire {
                continue;
            }
            let mut owed = |client: usize, session: u64| {
                let kept = durable(client) == Some(session) && !forgiven(client, publication);
                let got = self.seen.get(&(client, session, *tag)).is_some_and(|seen| seen.all > 0);
                let told = missing.get(&client).is_some_and(|tags| tags.last() == Some(tag));
                if kept && !got && !told {
                    missing.entry(client).or_default().push(*tag);
                }
            };
            if let Some((client, session)) = publication.direct {
                owed(client, session);
                continue;
            }
            for entry in &self.entries {
                let filter = &self.filters[entry.filter];
                let holds = entry.must_from.is_some_and(|from| from <= publication.sent)
                    && entry.must_until.is_none_or(|until| until > accepted)
                    && !filter.shared
                    && filter.qos != QoS::AtMostOnce
                    && !(filter.no_local && publication.publisher == Some(entry.client))
                    && matches(filter.plain, &publication.topic);
                if holds {
                    owed(entry.client, entry.session);
                }
            }
        }
        missing
    }

    /// Everything is quiet: nothing that is done may come again, but as a retained message.
    pub fn forget_past(&mut self, retained: &[u64]) {
        self.publications.retain(|tag, _| retained.contains(tag));
        // What was promised of them has come, or was dropped.
        self.publications.values_mut().for_each(|publication| publication.accepted = None);
        self.seen.retain(|(.., tag), _| retained.contains(tag));
        self.entries.retain(|entry| entry.may_until.is_none());
        self.last.clear();
    }
}
