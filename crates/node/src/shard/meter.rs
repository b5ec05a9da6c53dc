//! The rates of a shard's connections: asked by the core for each publish, where any are configured.

use super::Shard;
use super::slab::Key;
use crate::memory::MemoryStage;
use crate::policy::Policy;
use crate::rates::{Rates, Shared, Throttle};
use ravelin_broker::{LinkId, Meter, Metered, Now, Verdict};
use ravelin_event::{DisconnectCause, Event, Principal};
use ravelin_mqtt::{QoS, ReasonCode};
use ravelin_protect::rates::{Excess, Measure, RateRule};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::rc::Rc;
use std::sync::Arc;

/// Between two events for one connection, in milliseconds.
const TELL_EVERY_MS: u64 = 10_000;

/// How long a client that publishes is not read while memory is short, in milliseconds.
const SHORT_OF_MEMORY_MS: u64 = 1000;

/// What a shard counts in.
pub(super) struct RateMeter {
    /// `None`: none are configured, but memory is short.
    rates: Option<Arc<Rates>>,
    stage: Cell<MemoryStage>,
    conns: RefCell<Conns>,
    /// The connection that must wait, and until when: of the packet that is being handled.
    delay: Cell<Option<u64>>,
    told: RefCell<Vec<Event>>,
    counts_subscribes: bool,
}

/// What is counted for each connection, at the place that its key names.
#[derive(Default)]
struct Conns(Vec<Option<(Key, Metering)>>);

impl Conns {
    fn insert(&mut self, key: Key, metering: Metering) {
        let at = key.index();
        if self.0.len() <= at {
            self.0.resize_with(at + 1, || None);
        }
        self.0[at] = Some((key, metering));
    }

    #[inline]
    fn get_mut(&mut self, key: Key) -> Option<&mut Metering> {
        match self.0.get_mut(key.index())? {
            Some((known, metering)) if *known == key => Some(metering),
            _ => None,
        }
    }

    fn remove(&mut self, key: Key) {
        if self.get_mut(key).is_some() {
            self.0[key.index()] = None;
        }
    }
}

struct Metering {
    buckets: Vec<Arc<Shared>>,
    throttle: Option<Arc<Throttle>>,
    told_ms: u64,
}

/// What a packet exceeded.
#[derive(Default)]
struct Exceeded {
    verdict: Option<Verdict>,
    delay_ms: u64,
}

impl RateMeter {
    pub fn new(rates: Option<Arc<Rates>>, stage: MemoryStage) -> Rc<RateMeter> {
        Rc::new(RateMeter {
            counts_subscribes: rates.as_ref().is_some_and(|rates| rates.limits(Measure::Subscribes)),
            rates,
            stage: Cell::new(stage),
            conns: RefCell::default(),
            delay: Cell::new(None),
            told: RefCell::default(),
        })
    }

    /// Says how short memory is.
    pub fn set_stage(meter: Option<&RateMeter>, stage: MemoryStage) {
        if let Some(meter) = meter {
            meter.stage.set(stage);
        }
    }

    /// A client has connected.
    fn open(
        &self,
        now: Now,
        token: u64,
        who: &Principal,
        listener: u16,
        of_class: Option<&str>,
        throttle: Option<Arc<Throttle>>,
    ) {
        let buckets =
            self.rates.as_ref().map_or_else(Vec::new, |rates| rates.of(now.mono_ms, who, listener, of_class));
        if self.rates.is_some() || throttle.is_some() {
            self.conns.borrow_mut().insert(Key(token), Metering { buckets, throttle, told_ms: 0 });
        } else {
            self.close(token);
        }
    }

    fn close(&self, token: u64) {
        self.conns.borrow_mut().remove(Key(token));
    }

    /// Counts something that a client did.
    fn count(
        &self,
        now: Now,
        token: u64,
        who: &Principal,
        costs: &[(Measure, u64)],
        topic_limit: u16,
        qos: QoS,
    ) -> Verdict {
        let mut conns = self.conns.borrow_mut();
        let Some(metering) = conns.get_mut(Key(token)) else { return Verdict::Pass };
        let mut exceeded = Exceeded::default();
        let Metering { buckets, throttle, told_ms } = metering;
        let mut is_beyond = |rule: &RateRule, shared: &Shared| {
            let Some(measure) = count_in(now, rule, shared, costs, qos, &mut exceeded) else { return false };
            if *told_ms == 0 || now.mono_ms >= *told_ms + TELL_EVERY_MS {
                *told_ms = now.mono_ms;
                self.tell(rule, measure, who);
            }
            true
        };
        if let Some(rates) = &self.rates {
            let own = buckets.iter().map(|shared| &**shared);
            for shared in own.chain(rates.of_topic(topic_limit)) {
                if is_beyond(rates.rule(shared), shared) {
                    rates.count(shared);
                }
            }
        }
        if let Some(throttle) = throttle {
            is_beyond(&throttle.rule, &throttle.shared);
        }
        if exceeded.delay_ms > 0 {
            self.delay_until(now.mono_ms + exceeded.delay_ms);
        }
        exceeded.verdict.unwrap_or(Verdict::Pass)
    }

    fn delay_until(&self, until_ms: u64) {
        self.delay.set(Some(self.delay.get().map_or(until_ms, |earlier| earlier.max(until_ms))));
    }

    fn tell(&self, rule: &RateRule, measure: Measure, who: &Principal) {
        self.told.borrow_mut().push(Event::RateExceeded {
            rate: rule.name.to_string(),
            measure: measure.name(),
            client_id: who.client_id.to_string(),
            identity: who.identity.as_ref().map(ToString::to_string),
            address: who.address,
            action: rule.on_exceed.name(),
        });
    }
}

/// Counts in one rule's bucket; returns what was exceeded.
fn count_in(
    now: Now,
    rule: &RateRule,
    shared: &Shared,
    costs: &[(Measure, u64)],
    qos: QoS,
    exceeded: &mut Exceeded,
) -> Option<Measure> {
    let mut beyond = None;
    for &(measure, cost) in costs {
        if rule.on_exceed == Excess::Delay {
            let wait_ms = shared.charge(rule, measure, now.mono_ms, cost);
            exceeded.delay_ms = exceeded.delay_ms.max(wait_ms);
            beyond = beyond.or((wait_ms > 0).then_some(measure));
        } else if !shared.take(rule, measure, now.mono_ms, cost) {
            beyond = beyond.or(Some(measure));
            let verdict = match rule.on_exceed {
                Excess::Drop => Verdict::Refuse,
                Excess::Refuse if qos != QoS::AtMostOnce => Verdict::Refuse,
                _ => Verdict::Disconnect,
            };
            if exceeded.verdict != Some(Verdict::Disconnect) {
                exceeded.verdict = Some(verdict);
            }
        }
    }
    beyond
}

/// The name of the rates of a client's class, or of the class that holds for it for a time.
fn rates_of_class<'p>(policy: &'p Policy, who: &Principal) -> Option<&'p str> {
    let class = policy.programme.restrictions.restraints().class_of(&who.client_id);
    policy.programme.directory.class(class.or(who.class.as_deref())?)?.limits.as_deref()
}

impl Meter for RateMeter {
    fn publish(&self, now: Now, token: u64, who: &Principal, what: &Metered<'_>) -> Verdict {
        if self.stage.get() >= MemoryStage::Shedding {
            if what.qos == QoS::AtMostOnce {
                return Verdict::Refuse;
            }
            // It is kept if it can be kept; the next one of this client is heard later.
            self.delay_until(now.mono_ms + SHORT_OF_MEMORY_MS);
        }
        let costs = [(Measure::Messages, 1), (Measure::Bytes, what.bytes as u64)];
        self.count(now, token, who, &costs, what.watch.limit(), what.qos)
    }
}

impl Shard {
    /// Goes by the rates of the policy. Who is connected is counted by them from now on.
    pub(super) fn set_rates(&mut self) {
        let rates = self.policy.rates.clone();
        let is_needed = rates.is_some()
            || self.policy.programme.restrictions.throttles()
            || self.stage >= MemoryStage::Shedding;
        let same = match (&self.meter, &rates) {
            (Some(meter), Some(rates)) => meter.rates.as_ref().is_some_and(|old| Arc::ptr_eq(old, rates)),
            (Some(meter), None) => is_needed && meter.rates.is_none(),
            (None, _) => !is_needed,
        };
        if same {
            return;
        }
        self.meter = is_needed.then(|| RateMeter::new(rates, self.stage));
        let keys: Vec<Key> = self.conns.keys().collect();
        for key in keys {
            let link = self.conns.get(key).and_then(|conn| conn.link());
            if let Some(link) = link {
                self.begin_metering(key, link);
            }
        }
        self.broker.set_meter(self.meter.clone().map(|meter| meter as Rc<dyn Meter>));
    }

    /// A client has a session.
    pub(super) fn begin_metering(&mut self, key: Key, link: LinkId) {
        if let (Some(meter), Some(conn)) = (&self.meter, self.conns.get(key))
            && let Some(who) = self.broker.principal(link)
        {
            let throttle = self.policy.programme.restrictions.throttle(&who.client_id);
            meter.open(self.now, key.0, who, conn.entrance, rates_of_class(&self.policy, who), throttle);
        }
    }

    /// What is taken from these clients has changed.
    pub(super) fn meter_again(&mut self, client_ids: &[Arc<str>]) {
        self.set_rates();
        for client_id in client_ids {
            let session = self.broker.session(self.now, client_id);
            let Some(link) = session.and_then(|session| session.link) else { continue };
            let key = Key(link.token);
            if let Some(link) = self.conns.get(key).and_then(|conn| conn.link()) {
                self.begin_metering(key, link);
            }
        }
    }

    /// A connection is gone.
    pub(super) fn end_metering(&mut self, key: Key) {
        if let Some(meter) = &self.meter {
            meter.close(key.0);
        }
    }

    /// Whether somebody may log in, by the rates for that.
    pub(super) fn may_connect(&mut self, who: &Principal, listener: u16) -> bool {
        let Some(rates) = self.policy.rates.as_ref().filter(|rates| rates.limits(Measure::Connects)) else {
            return true;
        };
        let now_ms = self.now.mono_ms;
        let buckets = rates.of(now_ms, who, listener, rates_of_class(&self.policy, who));
        let beyond: Vec<_> = buckets
            .iter()
            .filter(|shared| !shared.take(rates.rule(shared), Measure::Connects, now_ms, 1))
            .collect();
        beyond.iter().for_each(|shared| rates.count(shared));
        beyond.is_empty()
    }

    /// Counts a SUBSCRIBE where there is a rate for them. False: the connection was ended.
    #[inline]
    pub(super) fn may_subscribe(&mut self, key: Key, link: LinkId) -> bool {
        let Some(meter) = self.meter.as_ref().filter(|meter| meter.counts_subscribes) else { return true };
        let Some(who) = self.broker.principal(link) else { return true };
        // SUBSCRIBE has no answer that means "too often" and that every client understands: it waits, or it is over.
        let costs = [(Measure::Subscribes, 1)];
        if meter.count(self.now, key.0, who, &costs, 0, QoS::AtMostOnce) == Verdict::Pass {
            return true;
        }
        let (reason, cause) = (ReasonCode::QUOTA_EXCEEDED, DisconnectCause::LimitExceeded);
        self.broker.disconnect(self.now, link, reason, cause, Some("subscribes too often".into()));
        false
    }

    /// After a packet: whether the connection must wait. Then it is not read until it may go on.
    #[inline]
    pub(super) fn is_delayed(&mut self, key: Key) -> bool {
        let Some(meter) = &self.meter else { return false };
        let Some(until_ms) = meter.delay.take() else { return false };
        let Some(conn) = self.conns.get_mut(key) else { return false };
        conn.flags.delayed = true;
        self.counters.delayed += 1;
        self.delays.push(Reverse((until_ms, key)));
        true
    }

    /// Lets those go on whose time has come.
    pub(super) fn end_delays(&mut self) {
        let now_ms = self.now.mono_ms;
        while self.delays.peek().is_some_and(|Reverse((until_ms, _))| *until_ms <= now_ms) {
            let Some(Reverse((_, key))) = self.delays.pop() else { return };
            if let Some(conn) = self.conns.get_mut(key)
                && std::mem::take(&mut conn.flags.delayed)
            {
                self.list_readable(key);
            }
        }
    }

    /// Those who must wait are not silent by their own choice: their keep alive does not run.
    pub(super) fn excuse_delayed(&mut self) {
        for Reverse((_, key)) in &self.delays {
            if let Some(link) = self.conns.get(*key).and_then(|conn| conn.link()) {
                self.broker.handle_heard(self.now, link);
            }
        }
    }

    /// Logs what was exceeded.
    pub(super) fn tell_rates(&mut self) {
        let Some(meter) = &self.meter else { return };
        let told = std::mem::take(&mut *meter.told.borrow_mut());
        for event in told {
            self.emit(event);
        }
    }
}
