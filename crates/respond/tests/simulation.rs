//! Random people, alarms, failures and restarts against a model of the world: nothing is in force without an order that owns it,
//! everything ends, what was there before comes back, nobody is two people, a playbook goes by itself as far as its bound and no further, and
//! no rule acts on a fleet.

use ravelin_event::{Alarm, Notice, Severity, Subject, Verification};
use ravelin_respond::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// xorshift64*: the same seed, the same run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }
}

/// What is in force: by the text of the action, who owns it (an order, or 0 for what somebody did by hand).
#[derive(Default)]
struct World {
    in_force: BTreeMap<String, u64>,
    /// Actions that were carried out, by order: never one without approvals.
    done: BTreeSet<u64>,
}

/// Whether it is still so after a restart, as a ban is; the others are put into force again.
fn is_kept(action: &str) -> bool {
    action.starts_with("ban") || action.starts_with("revoke")
}

impl World {
    fn carry_out(&mut self, job: &Job, at_ms: u64, fails: bool) -> Outcome {
        match job {
            Job::Do { order, action, again, prior, .. } if fails => {
                // Half of it may be there, from before a crash: whoever carries it out clears up.
                if !again {
                    self.restore(*order, action, prior.is_some());
                }
                Outcome::Failed("on purpose".into())
            }
            Job::Undo { .. } if fails => Outcome::NotUndone("on purpose".into()),
            Job::Do { order, action, prior, .. } => {
                self.done.insert(*order);
                if action.has_undo() {
                    let before = self.in_force.insert(action.to_string(), *order);
                    assert!(before != Some(0) || prior.is_some(), "{action}: nobody knows what was there");
                    assert!(
                        before.is_none_or(|owner| owner == 0 || owner == *order),
                        "{action} of order {order} was in force by {before:?}"
                    );
                }
                let (effect, warning) = ("met".into(), None);
                Outcome::Done { effective_ms: at_ms, took_us: 7, effect, warning }
            }
            Job::Undo { order, action, prior, .. } => {
                self.restore(*order, action, prior.is_some());
                Outcome::Undone
            }
        }
    }

    fn restore(&mut self, order: u64, action: &Action, prior: bool) {
        let name = action.to_string();
        if self.in_force.get(&name) == Some(&order) {
            match prior {
                true => self.in_force.insert(name, 0),
                false => self.in_force.remove(&name),
            };
        }
    }
}

struct Run {
    seed: u64,
    dice: Dice,
    at_ms: u64,
    desk: Desk,
    world: World,
    store: BTreeMap<String, Vec<u8>>,
    waiting: VecDeque<Job>,
    alarms: u64,
    /// What playbooks did by themselves: when, and which did.
    automatic: Vec<(u64, &'static str)>,
    /// How often one asked instead.
    asked_beyond: usize,
    by_hand: BTreeSet<String>,
}

/// How far each playbook goes by itself, and how far all of them.
const BOUND: Bound = Bound { clients: 3, within_ms: 60_000, percent: 50 };
const AUTOMATIC_MAX: u32 = 4;
const AUTOMATIC_WINDOW_MS: u64 = 90_000;
/// Playbooks, by the detector that each answers.
const PLAYBOOKS: [&str; 6] = ["bans", "throttles", "revokes", "asks", "observes", "raises"];

/// Of those, the ones that may act by themselves.
const AUTOMATIC: [&str; 3] = ["bans", "throttles", "raises"];

fn settings() -> Settings {
    let limits = Limits {
        live_max: 40,
        proposed_max: 12,
        kept_max: 120,
        automatic_max: AUTOMATIC_MAX,
        automatic_window_ms: AUTOMATIC_WINDOW_MS,
        ..Limits::default()
    };
    let mut settings = Settings::default();
    settings.limits = limits;
    settings
}

fn playbooks() -> Vec<Playbook> {
    let one = |name: &str, mode, action| Playbook {
        name: name.into(),
        description: "".into(),
        core: Vec::new(),
        mode,
        when: Conditions { detectors: vec![name.into()], ..Conditions::default() },
        steps: vec![Step { action, time_s: Some(60) }],
        bound: BOUND,
        notify: "".into(),
    };
    vec![
        one("bans", Mode::Automatic, Action::Ban { subject: "client_id:{client_id}".into() }),
        one(
            "throttles",
            Mode::Automatic,
            Action::Throttle { client_id: "{client_id}".into(), messages_per_s: 1 },
        ),
        one("raises", Mode::Automatic, Action::Posture { level: Posture::Elevated }),
        one("revokes", Mode::Automatic, Action::RevokeCredential { identity: "{client_id}".into() }),
        one("asks", Mode::Ask, Action::Quarantine { client_id: "{client_id}".into() }),
        one("observes", Mode::Observe, Action::Disconnect { client_id: "{client_id}".into() }),
    ]
}

fn alarm(id: u64, detector: &str, client: &str, at_ms: u64) -> Alarm {
    Alarm {
        id,
        detector: detector.into(),
        subcategory: "DE.ID-1".into(),
        technique: None,
        severity: Severity::High,
        confidence: 99,
        subject: Subject::Client(client.into()),
        client_id: Some(client.into()),
        identity: None,
        class: None,
        address: None,
        topic: None,
        first_ms: at_ms.saturating_sub(250),
        raised_ms: at_ms,
        last_ms: at_ms,
        cleared_ms: None,
        statistic: "".into(),
        value: 9.0,
        threshold: 1.0,
        baseline: None,
        unit: "".into(),
        window_ms: 1000,
        events: 3,
        counted: Vec::new(),
        figures: Vec::new(),
        summary: "a test".into(),
        false_alarms: "".into(),
        verification: Verification::Unknown,
        suppressed: false,
    }
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut run = Run {
            seed,
            dice: Dice(seed | 1),
            at_ms: 1_000_000,
            desk: Desk::new(settings(), playbooks()),
            world: World::default(),
            store: BTreeMap::new(),
            waiting: VecDeque::new(),
            alarms: 0,
            automatic: Vec::new(),
            asked_beyond: 0,
            by_hand: BTreeSet::new(),
        };
        for client in 0..2 {
            let ban = Action::Ban { subject: format!("client_id:c{client}").into() }.to_string();
            run.by_hand.insert(ban.clone());
            run.world.in_force.insert(ban, 0);
        }
        run
    }

    fn person(&mut self) -> Person {
        let (name, role) = [
            ("vera", Role::Viewer),
            ("olga", Role::Operator),
            ("otto", Role::Operator),
            ("ada", Role::Admin),
            ("ali", Role::Admin),
        ][self.dice.roll(5) as usize];
        Person { name: name.into(), role }
    }

    fn action(&mut self) -> Action {
        let client: Arc<str> = format!("c{}", self.dice.roll(4)).into();
        match self.dice.roll(11) {
            0 => Action::Disconnect { client_id: client },
            1 | 2 => Action::Ban { subject: format!("client_id:{client}").into() },
            3 => Action::Quarantine { client_id: client },
            4 => Action::RevokeCertificate { certificate: "ab".repeat(32).into() },
            5 => Action::RevokeCredential { identity: client },
            6 => Action::Freeze {
                filter: format!("{client}/#").into(),
                messages: [Frozen::Drop, Frozen::Hold][self.dice.roll(2) as usize],
                direction: Direction::Both,
                retained: Retained::Withhold,
            },
            7 => Action::Throttle { client_id: client, messages_per_s: 1 + self.dice.roll(2) as u32 },
            8 => {
                let level =
                    [Posture::Normal, Posture::Elevated, Posture::Lockdown][self.dice.roll(3) as usize];
                Action::Posture { level }
            }
            9 => Action::Firewall { network: "192.0.2.7".into() },
            _ => Action::StopListener { listener: client },
        }
    }

    fn facts(&self, action: &Action) -> Facts {
        let never = action.to_string().ends_with("c3");
        Facts { never_cut: never.then(|| "c3".into()).into_iter().collect(), clients: 1, connected: 100 }
    }

    fn step(&mut self) {
        self.at_ms += self.dice.roll(4_000);
        match self.dice.roll(12) {
            0..=3 => {
                let (person, action) = (self.person(), self.action());
                let request = Request {
                    time_s: (action.has_undo() && self.dice.roll(2) == 0).then(|| 1 + self.dice.roll(120)),
                    action,
                    until_lifted: self.dice.roll(8) == 0,
                    why: "a test\u{7}".into(),
                    alarm: Some(self.dice.roll(5)),
                    override_never_cut: self.dice.roll(3) == 0,
                };
                let facts = self.facts(&request.action);
                let _ = self.desk.handle_order(self.at_ms, &person, request, &facts);
            }
            4 | 5 => {
                let (person, id) = (self.person(), self.any());
                let _ = self.desk.handle_approval(self.at_ms, &person, id);
            }
            6 => {
                let (person, id) = (self.person(), self.any());
                let _ = self.desk.handle_rejection(self.at_ms, &person, id, "no");
            }
            7 => {
                let (person, id) = (self.person(), self.any());
                let _ = self.desk.handle_undo(self.at_ms, &person, id, "enough");
            }
            8 | 9 => self.raise(),
            10 => self.desk.handle_tick(self.at_ms),
            _ if self.dice.roll(6) == 0 => self.restart(),
            _ => {}
        }
        for _ in 0..self.dice.roll(4) {
            let fails = self.dice.roll(5) == 0;
            self.work(fails);
        }
        self.check();
    }

    fn any(&mut self) -> u64 {
        self.newest().saturating_sub(self.dice.roll(12))
    }

    fn raise(&mut self) {
        self.alarms += 1;
        let name = PLAYBOOKS[self.dice.roll(6) as usize];
        let mut alarm = alarm(self.alarms, name, &format!("c{}", self.dice.roll(4)), self.at_ms);
        let many = self.dice.roll(4) == 0;
        if many {
            alarm.subject =
                [Subject::Fleet, Subject::Class("meters".into())][self.dice.roll(2) as usize].clone();
        }
        for wanted in self.desk.handle_notice(self.at_ms, &Notice::Raised(Arc::new(alarm)), None) {
            assert!(
                !many || !wanted.action.is_against_clients(),
                "{}: {} of a fleet",
                self.seed,
                wanted.action
            );
            let mut facts = self.facts(&wanted.action);
            facts.connected = [100, 4, 1][self.dice.roll(3) as usize];
            let never = !facts.never_cut.is_empty();
            let before = self.newest();
            let may = self.may_act(name, &facts);
            let verdict = self.desk.handle_wanted(self.at_ms, &wanted, &facts);
            let Verdict::Ordered(id) = verdict else { continue };
            let order = self.desk.order(id).unwrap();
            // Only what a person has ordered, with the override, meets it.
            assert!(!never || order.playbook.is_none(), "{}", self.seed);
            if id > before {
                let acts = order.needs == 0;
                let state = if acts { State::Running } else { State::Proposed };
                assert_eq!((acts, order.state), (may, state), "seed {}: {order:?}", self.seed);
                self.automatic.extend(acts.then_some((self.at_ms, name)));
                self.asked_beyond += usize::from(!acts && AUTOMATIC.contains(&name));
            }
        }
    }

    fn newest(&self) -> u64 {
        self.desk.orders().next().map_or(0, |order| order.id)
    }

    /// Whether a playbook may do one thing more by itself, by what it and the others have done, before a restart too.
    fn may_act(&self, name: &str, facts: &Facts) -> bool {
        let within = |window_ms: u64, meant: &dyn Fn(&str) -> bool| {
            let spent =
                self.automatic.iter().filter(|(at_ms, by)| self.at_ms - at_ms < window_ms && meant(by));
            spent.count() as u32
        };
        let clients = within(BOUND.within_ms, &|by| by == name) + 1;
        AUTOMATIC.contains(&name)
            && within(AUTOMATIC_WINDOW_MS, &|_| true) < AUTOMATIC_MAX
            && clients <= BOUND.clients
            && clients <= (facts.connected * u32::from(BOUND.percent) / 100).max(1)
    }

    /// Stores what must be, then carries out one job.
    fn work(&mut self, fails: bool) {
        self.drain();
        let Some(mut job) = self.waiting.pop_front() else { return };
        let id = match &mut job {
            Job::Do { order, action, prior, .. } => {
                if self.world.in_force.get(&action.to_string()) == Some(&0) && !fails {
                    *prior = Some("by hand".into());
                    self.desk.handle_found(*order, "by hand".into());
                }
                *order
            }
            Job::Undo { order, .. } => *order,
        };
        self.drain();
        let outcome = self.world.carry_out(&job, self.at_ms, fails);
        if self.dice.roll(40) == 0 {
            // It was done, and the node died before it knew.
            return self.restart();
        }
        self.desk.handle_outcome(self.at_ms, id, outcome);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(write) = self.desk.poll_write() {
            match write.value {
                Some(value) => self.store.insert(write.key, value),
                None => self.store.remove(&write.key),
            };
        }
        self.waiting.extend(std::iter::from_fn(|| self.desk.poll_job()));
        while self.desk.poll_event().is_some() {}
    }

    fn restart(&mut self) {
        self.drain();
        self.waiting.clear();
        self.world.in_force.retain(|action, _| is_kept(action));
        self.desk = Desk::new(settings(), playbooks());
        for (key, value) in &self.store {
            self.desk.restore(key, value).unwrap();
        }
        let mut dumped = BTreeMap::new();
        self.desk.dump(|key, value| drop(dumped.insert(key.to_owned(), value.to_owned())));
        assert_eq!(dumped, self.store, "seed {}", self.seed);
        self.desk.resume(self.at_ms);
    }

    fn check(&self) {
        let seed = self.seed;
        for (action, owner) in &self.world.in_force {
            let owned = *owner == 0
                || self
                    .desk
                    .order(*owner)
                    .is_some_and(|order| matches!(order.state, State::Running | State::InForce));
            assert!(owned, "seed {seed}: {action} belongs to order {owner}, which has ended");
        }
        let (mut live, mut proposed) = (0, 0);
        for order in self.desk.orders() {
            live += usize::from(order.state.is_live());
            proposed += usize::from(order.state == State::Proposed);
            let people: BTreeSet<_> = order.approvals.iter().map(|approval| &approval.by).collect();
            assert_eq!(people.len(), order.approvals.len(), "seed {seed}: somebody is two people");
            if self.world.done.contains(&order.id) {
                assert!(order.missing() == 0, "seed {seed}: {order:?} was not approved");
                let stop = matches!(order.action, Action::StopListener { .. });
                assert!(!stop || people.len() >= 2, "seed {seed}: {order:?}");
                let never = order.action.to_string().ends_with("c3") && order.action.is_against_clients();
                assert!(!never || order.playbook.is_none() && people.len() >= 2, "seed {seed}: {order:?}");
            }
        }
        assert!(live <= 40 && proposed <= 12, "seed {seed}: {live} live, {proposed} proposed");
        assert!(self.desk.orders().count() <= 120, "seed {seed}");
    }

    /// Time goes on, nobody orders anything more, and nothing fails for ever.
    fn settle(&mut self) {
        for _ in 0..400 {
            self.at_ms = self.desk.wake_ms().unwrap_or(self.at_ms).max(self.at_ms) + 1;
            self.desk.handle_tick(self.at_ms);
            self.drain();
            while !self.waiting.is_empty() {
                self.work(false);
            }
            self.check();
        }
        let ada = Person { name: "ada".into(), role: Role::Admin };
        let left: Vec<u64> =
            self.desk.orders().filter(|order| order.state.is_live()).map(|one| one.id).collect();
        for id in left {
            let order = self.desk.order(id).unwrap();
            assert!(order.until_ms.is_none(), "seed {}: {order:?} does not end", self.seed);
            self.desk.handle_undo(self.at_ms, &ada, id, "the end").unwrap();
        }
        self.drain();
        while !self.waiting.is_empty() {
            self.work(false);
        }
        // A crash on the way has it done again.
        self.drain();
        while !self.waiting.is_empty() {
            self.work(false);
        }
    }
}

/// A desk, and what it makes of alarm `id` of a detector about `client` in a node where `connected` are.
fn answer(desk: &mut Desk, id: u64, client: &str, at_ms: u64, facts: &Facts) -> Order {
    let notice = Notice::Raised(Arc::new(alarm(id, "bans", client, at_ms)));
    let wanted = desk.handle_notice(at_ms, &notice, None);
    let Verdict::Ordered(order) = desk.handle_wanted(at_ms, &wanted[0], facts) else { panic!("{wanted:?}") };
    desk.order(order).unwrap().clone()
}

#[test]
fn beyond_its_bound_a_playbook_asks_until_its_window_is_over() {
    let facts = |clients, connected| Facts { clients, connected, ..Facts::default() };
    let mut desk = Desk::new(settings(), playbooks());
    for id in 1..=3 {
        assert_eq!(answer(&mut desk, id, &format!("a{id}"), 1000, &facts(1, 100)).state, State::Running);
    }
    let beyond = answer(&mut desk, 4, "a4", 60_999, &facts(1, 100));
    assert_eq!((beyond.state, beyond.needs), (State::Proposed, 1));
    assert!(beyond.why.contains("may meet 3"), "{}", beyond.why);
    let otto = Person { name: "otto".into(), role: Role::Operator };
    desk.handle_approval(60_999, &otto, beyond.id).unwrap();
    assert_eq!(desk.order(beyond.id).unwrap().state, State::Running, "what a person approves is not counted");
    // The window has gone on; a ban that meets more than may be met asks by itself.
    assert_eq!(answer(&mut desk, 5, "a5", 61_000, &facts(4, 100)).state, State::Proposed);
    assert_eq!(answer(&mut desk, 6, "a6", 61_000, &facts(3, 100)).state, State::Running);

    // A share: two of four, and one in any case.
    let mut desk = Desk::new(settings(), playbooks());
    let few = answer(&mut desk, 1, "a", 1000, &facts(3, 4));
    assert!(few.state == State::Proposed && few.why.contains("50 %"), "{few:?}");
    assert_eq!(answer(&mut desk, 2, "b", 1000, &facts(1, 1)).state, State::Running);
    assert_eq!(answer(&mut desk, 3, "c", 1000, &facts(1, 3)).state, State::Proposed);
}

#[test]
fn what_all_playbooks_may_do_by_themselves_is_bounded_too() {
    let all = Playbook {
        bound: Bound { clients: 1000, within_ms: 1000, percent: 100 },
        ..playbooks().swap_remove(0)
    };
    let facts = Facts { clients: 1, connected: 100, ..Facts::default() };
    let mut desk = Desk::new(settings(), vec![all]);
    for id in 1..=u64::from(AUTOMATIC_MAX) {
        assert_eq!(answer(&mut desk, id, &format!("a{id}"), id * 2000, &facts).state, State::Running);
    }
    let beyond = answer(&mut desk, 50, "b", 20_000, &facts);
    assert!(beyond.state == State::Proposed && beyond.why.contains("acted 4 times"), "{beyond:?}");
    assert_eq!(answer(&mut desk, 51, "c", 2000 + AUTOMATIC_WINDOW_MS, &facts).state, State::Running);
}

#[test]
fn an_alarm_about_a_fleet_or_a_class_acts_on_nobody() {
    for subject in [Subject::Fleet, Subject::Class("meters".into())] {
        let mut desk = Desk::new(settings(), playbooks());
        for (id, name) in (1..).zip(PLAYBOOKS) {
            // It names the client that was last.
            let many = Alarm { subject: subject.clone(), ..alarm(id, name, "a", 1000) };
            let wanted = desk.handle_notice(1000, &Notice::Raised(Arc::new(many)), None);
            let posture = name == "raises";
            assert_eq!(wanted.len(), usize::from(posture), "{name}: {wanted:?}");
            assert_eq!(desk.poll_event().is_none(), posture, "{name}: it is told");
        }
        assert_eq!(desk.orders().count(), 0);
    }
}

#[test]
fn nothing_is_in_force_without_an_owner_and_everything_ends() {
    let (mut acted, mut asked) = (0, 0);
    for seed in 1..=60 {
        let mut run = Run::new(seed);
        for _ in 0..300 {
            run.step();
        }
        run.settle();
        let left: BTreeSet<String> = run.world.in_force.keys().cloned().collect();
        assert_eq!(left, run.by_hand, "seed {seed}: what was there before, and nothing else");
        assert!(run.world.in_force.values().all(|owner| *owner == 0), "seed {seed}");
        (acted, asked) = (acted + run.automatic.len(), asked + run.asked_beyond);
    }
    assert!(acted > 100 && asked > 10, "bounds were met: {acted} acted, {asked} asked");
}
