//! The configured rates, as the shards hold to them: who shares which bucket.
//!
//! A bucket is looked up once for each connection, under a lock, and counted in with atomics after that; a client's, which one
//! shard alone counts in, by loads and stores. Nothing of this exists where no rate is configured.

use ravelin_event::Principal;
use ravelin_protect::address_key;
use ravelin_protect::rates::{Bucket, Excess, Measure, RateRule, RateScope, Windows};
use ravelin_protect::table::Table;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Buckets that are remembered when nobody is connected who shares them.
const BUCKETS_MAX: usize = 1 << 18;

/// All rates of a configuration, with what was taken from them.
pub(crate) struct Rates {
    rules: Vec<RateRule>,
    /// The names of the listeners, in their order.
    listeners: Vec<Arc<str>>,
    shared: Mutex<Table<(u16, Sharer), Arc<Shared>>>,
    /// Of each rule for topics.
    topics: Vec<Arc<Shared>>,
    exceeded: Box<[AtomicU64]>,
}

/// Whose bucket it is, as far as the rule does not say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Sharer {
    Name(Arc<str>),
    Address(IpAddr),
}

/// What was taken, for each measure of a rule.
pub(crate) struct Shared {
    rule: u16,
    buckets: Box<[Bucket]>,
}

/// A rate of one client by an order. What was taken counts for as long as the order is in force, however often it
/// reconnects.
pub(crate) struct Throttle {
    order: u64,
    messages_per_s: u32,
    pub rule: RateRule,
    pub shared: Shared,
}

impl Throttle {
    /// `None`: nothing would come through.
    pub fn new(order: u64, client_id: &Arc<str>, messages_per_s: u32) -> Option<Throttle> {
        let windows = Windows::parse([format!("{messages_per_s}/s").as_str()]).ok()?;
        let rule = RateRule {
            name: format!("order {order}").into(),
            scope: RateScope::Client,
            of: Some(client_id.clone()),
            limits: vec![(Measure::Messages, windows)],
            on_exceed: Excess::Delay,
        };
        Some(Throttle { order, messages_per_s, shared: Shared::new(0, &rule), rule })
    }

    /// Whether it is that order's.
    pub fn is(&self, order: u64, messages_per_s: u32) -> bool {
        (self.order, self.messages_per_s) == (order, messages_per_s)
    }
}

/// Of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateFigures {
    /// The rule.
    pub rule: RateRule,
    /// How often it was exceeded since it is in force.
    pub exceeded: u64,
    /// Connections, identities, classes and addresses that are remembered for it.
    pub buckets: usize,
}

impl Rates {
    /// Rates of which nothing was taken. Those of `before` go on if nothing has changed.
    pub fn new(
        rules: &[RateRule],
        listeners: Vec<Arc<str>>,
        before: Option<&Arc<Rates>>,
    ) -> Option<Arc<Rates>> {
        if rules.is_empty() {
            return None;
        }
        if let Some(before) = before
            && before.rules == rules
            && before.listeners == listeners
        {
            return Some(Arc::clone(before));
        }
        let topics =
            (rules.iter().enumerate()).map(|(at, rule)| Arc::new(Shared::new(at as u16, rule))).collect();
        Some(Arc::new(Rates {
            topics,
            exceeded: rules.iter().map(|_| AtomicU64::new(0)).collect(),
            rules: rules.to_vec(),
            listeners,
            shared: Mutex::new(Table::new(BUCKETS_MAX)),
        }))
    }

    pub fn rule(&self, shared: &Shared) -> &RateRule {
        &self.rules[usize::from(shared.rule)]
    }

    /// Whether any rule limits this.
    pub fn limits(&self, measure: Measure) -> bool {
        self.rules.iter().any(|rule| rule.windows(measure).is_some())
    }

    /// The filters of the rules for topics, each with the number that stands for it.
    pub fn topic_filters(&self) -> impl Iterator<Item = (&str, u16)> {
        let of_topics = self.rules.iter().enumerate().filter(|(_, rule)| rule.scope == RateScope::Topic);
        of_topics.filter_map(|(at, rule)| Some((rule.of.as_deref()?, at as u16 + 1)))
    }

    /// The bucket for a number of [`Rates::topic_filters`].
    pub fn of_topic(&self, number: u16) -> Option<&Shared> {
        self.topics.get(usize::from(number).checked_sub(1)?).map(|shared| &**shared)
    }

    /// The buckets of a connection. A class may name its rates (`of_class`): then those of that name hold for it, and
    /// those that name the class, but not the ones for each class.
    pub fn of(
        &self,
        now_ms: u64,
        who: &Principal,
        listener: u16,
        of_class: Option<&str>,
    ) -> Vec<Arc<Shared>> {
        let mut found = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let sharer = match rule.scope {
                RateScope::Client => Some(Sharer::Name(who.client_id.clone())),
                RateScope::Identity => who.identity.clone().map(Sharer::Name),
                RateScope::Class => who.class.clone().map(Sharer::Name),
                RateScope::Address => who.address.map(|address| Sharer::Address(address_key(address.ip()))),
                RateScope::Listener => self.listeners.get(usize::from(listener)).cloned().map(Sharer::Name),
                RateScope::Topic => None,
            };
            let Some(sharer) = sharer else { continue };
            let named = of_class.filter(|_| rule.scope == RateScope::Class);
            let is_meant = match (&rule.of, &sharer) {
                _ if named == Some(&*rule.name) => true,
                (None, _) => named.is_none(),
                (Some(of), Sharer::Name(name)) => of == name,
                (Some(of), Sharer::Address(address)) => {
                    of.parse::<ravelin_protect::Network>().is_ok_and(|network| network.contains(*address))
                }
            };
            if is_meant {
                found.push(self.bucket(now_ms, at as u16, sharer));
            }
        }
        found
    }

    /// Counts that a rule was exceeded.
    pub fn count(&self, shared: &Shared) {
        self.exceeded[usize::from(shared.rule)].fetch_add(1, Ordering::Relaxed);
    }

    pub fn figures(&self) -> Vec<RateFigures> {
        let mut buckets = vec![0; self.rules.len()];
        for ((rule, _), _) in self.shared.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            buckets[usize::from(*rule)] += 1;
        }
        let rules = self.rules.iter().zip(&self.exceeded).zip(buckets);
        rules
            .map(|((rule, exceeded), buckets)| RateFigures {
                rule: rule.clone(),
                exceeded: exceeded.load(Ordering::Relaxed),
                buckets,
            })
            .collect()
    }

    fn bucket(&self, now_ms: u64, at: u16, sharer: Sharer) -> Arc<Shared> {
        let rule = &self.rules[usize::from(at)];
        // Who is connected keeps its bucket; of the others who owes nothing goes first.
        let worth = |shared: &Arc<Shared>| {
            (Arc::strong_count(shared) == 1)
                .then(|| u64::from(!shared.buckets.iter().all(|b| b.is_full(now_ms))))
        };
        let mut table = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match table.entry((at, sharer), worth, || Arc::new(Shared::new(at, rule))) {
            Some(shared) => Arc::clone(shared),
            // There is no room for one that is shared: it gets one of its own.
            None => Arc::new(Shared::new(at, rule)),
        }
    }
}

impl Shared {
    fn new(at: u16, rule: &RateRule) -> Shared {
        Shared { rule: at, buckets: rule.limits.iter().map(|(_, windows)| Bucket::new(windows)).collect() }
    }

    /// Takes `cost` of a measure if the rule has it; false if there is too little.
    pub fn take(&self, rule: &RateRule, measure: Measure, now_ms: u64, cost: u64) -> bool {
        let Some((at, windows)) = rule.windows(measure) else { return true };
        // A client's connections are all on one shard.
        match rule.scope {
            RateScope::Client => self.buckets[at].take_alone(windows, now_ms, cost),
            _ => self.buckets[at].take(windows, now_ms, cost),
        }
    }

    /// Takes `cost` in any case; returns for how many milliseconds it should have waited.
    pub fn charge(&self, rule: &RateRule, measure: Measure, now_ms: u64, cost: u64) -> u64 {
        let Some((at, windows)) = rule.windows(measure) else { return 0 };
        match rule.scope {
            RateScope::Client => self.buckets[at].charge_alone(windows, now_ms, cost),
            _ => self.buckets[at].charge(windows, now_ms, cost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(scope: RateScope, of: Option<&str>, messages: &str) -> RateRule {
        RateRule {
            name: "test".into(),
            scope,
            of: of.map(Into::into),
            limits: vec![(Measure::Messages, Windows::parse([messages]).unwrap())],
            on_exceed: Excess::Drop,
        }
    }

    fn who(client_id: &str, identity: &str, address: &str) -> Principal {
        let address = Some(format!("{address}:1000").parse().unwrap());
        Principal { identity: Some(identity.into()), address, ..Principal::anonymous(client_id) }
    }

    #[test]
    fn a_bucket_is_shared_by_whom_the_scope_says() {
        let rules = [
            rule(RateScope::Client, None, "1/m"),
            rule(RateScope::Identity, Some("alice"), "1/m"),
            rule(RateScope::Address, Some("192.0.2.0/24"), "1/m"),
            rule(RateScope::Listener, Some("field"), "1/m"),
            rule(RateScope::Class, None, "1/m"),
            rule(RateScope::Topic, Some("a/#"), "1/m"),
        ];
        let rates = Rates::new(&rules, vec!["field".into(), "office".into()], None).unwrap();
        let alice = rates.of(1, &who("a", "alice", "192.0.2.1"), 0, None);
        assert_eq!(alice.iter().map(|shared| shared.rule).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let again = rates.of(1, &who("a2", "alice", "192.0.2.1"), 1, None);
        assert_eq!(again.iter().map(|shared| shared.rule).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(!Arc::ptr_eq(&alice[0], &again[0]) && Arc::ptr_eq(&alice[1], &again[1]));
        assert!(Arc::ptr_eq(&alice[2], &again[2]));
        let bob = rates.of(
            1,
            &Principal { class: Some("slow".into()), ..who("b", "bob", "198.51.100.1") },
            1,
            None,
        );
        assert_eq!(bob.iter().map(|shared| shared.rule).collect::<Vec<_>>(), [0, 4]);
        assert_eq!(rates.topic_filters().collect::<Vec<_>>(), [("a/#", 6)]);
        assert!(rates.of_topic(6).is_some() && rates.of_topic(0).is_none() && rates.of_topic(7).is_none());
    }

    #[test]
    fn a_class_goes_by_the_rates_that_it_names() {
        let named = RateRule { name: "gold".into(), ..rule(RateScope::Class, Some("nobody"), "1/m") };
        let rules = [rule(RateScope::Class, None, "1/m"), named, rule(RateScope::Class, Some("fast"), "1/m")];
        let rates = Rates::new(&rules, vec![], None).unwrap();
        let fast = Principal { class: Some("fast".into()), ..who("a", "alice", "192.0.2.1") };
        let rules_of = |named| rates.of(1, &fast, 0, named).iter().map(|one| one.rule).collect::<Vec<_>>();
        assert_eq!(
            (rules_of(None), rules_of(Some("gold")), rules_of(Some("none"))),
            (vec![0, 2], vec![1, 2], vec![2])
        );
    }

    #[test]
    fn who_reconnects_does_not_start_anew_and_unchanged_rates_go_on() {
        let rules = [rule(RateScope::Client, None, "1/m")];
        let rates = Rates::new(&rules, vec![], None).unwrap();
        let client = who("a", "alice", "192.0.2.1");
        for allowed in [true, false] {
            let bucket = &rates.of(1000, &client, 0, None)[0];
            assert_eq!(bucket.take(rates.rule(bucket), Measure::Messages, 1000, 1), allowed);
        }
        let same = Rates::new(&rules, vec![], Some(&rates)).unwrap();
        assert!(Arc::ptr_eq(&same, &rates));
        assert!(Rates::new(&[], vec![], Some(&rates)).is_none());
    }
}
