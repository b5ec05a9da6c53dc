//! When wills must, may and must not be published.

use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The client is connected.
    Armed,
    /// Due at a time of the wall clock.
    Due(u64),
    /// It must not be published any more: it was withdrawn.
    Over,
    /// It was published. It may be again after a crash, until everybody has it on disk.
    Published,
    /// A crash has made it uncertain.
    Uncertain,
}

#[derive(Clone, Copy, Debug)]
struct Will {
    client: usize,
    delay_ms: u64,
    state: State,
    /// The step of the last change.
    changed: u64,
}

/// All wills, by the tag that is their topic and their payload.
#[derive(Default)]
pub(crate) struct Wills(BTreeMap<u64, Will>);

impl Wills {
    fn of(&mut self, client: usize) -> impl Iterator<Item = &mut Will> {
        self.0.values_mut().filter(move |will| will.client == client)
    }

    pub fn armed(&mut self, tag: u64, client: usize, delay_ms: u64, step: u64) {
        self.0.insert(tag, Will { client, delay_ms, state: State::Armed, changed: step });
    }

    /// The connection ends without DISCONNECT; the session lives on for a while, or not.
    pub fn lost(&mut self, client: usize, now_ms: u64, expiry_ms: u64, step: u64) {
        for will in self.of(client).filter(|will| will.state == State::Armed) {
            (will.state, will.changed) = (State::Due(now_ms + will.delay_ms.min(expiry_ms)), step);
        }
    }

    /// The client has said goodbye.
    pub fn withdrawn(&mut self, client: usize, step: u64) {
        for will in self.of(client).filter(|will| will.state == State::Armed) {
            (will.state, will.changed) = (State::Over, step);
        }
    }

    /// The client may not publish them any more: what is not published is dropped.
    pub fn forbidden(&mut self, client: usize, step: u64) {
        for will in self.of(client).filter(|will| matches!(will.state, State::Armed | State::Due(_))) {
            (will.state, will.changed) = (State::Over, step);
        }
    }

    /// A new connection takes the session over, or ends it. What was armed on a connection that is still there is due at
    /// once if it has no delay.
    pub fn reconnected(&mut self, client: usize, resumed: bool, now_ms: u64, step: u64) {
        for will in self.of(client) {
            will.state = match will.state {
                State::Armed if resumed && will.delay_ms > 0 => State::Over,
                State::Armed => State::Due(now_ms),
                State::Due(_) if resumed => State::Over,
                State::Due(_) => State::Due(now_ms),
                other => other,
            };
            will.changed = step;
        }
    }

    /// What the broker knows of the client's wills is durable.
    pub fn confirmed(&mut self, client: usize) {
        self.of(client).for_each(|will| will.changed = 0);
    }

    pub fn published(&mut self, tag: u64, at_ms: u64, step: u64) {
        let Some(will) = self.0.get_mut(&tag) else { panic!("a will out of nowhere: {tag}") };
        match will.state {
            State::Due(due_ms) => {
                assert!(due_ms <= at_ms, "will {tag} came {} ms too early", due_ms - at_ms);
                (will.state, will.changed) = (State::Published, step);
            }
            State::Uncertain => {}
            state => panic!("will {tag} was published, but it is {state:?}: {will:?}"),
        }
    }

    /// Everything is quiet and on disk.
    pub fn quiet(&mut self) {
        self.0.retain(|_, will| !matches!(will.state, State::Over | State::Published));
    }

    /// Nothing that is due has been left out.
    pub fn check(&self, now_ms: u64) {
        for (tag, will) in &self.0 {
            assert!(
                !matches!(will.state, State::Due(due_ms) if due_ms <= now_ms),
                "will {tag} is late: {will:?}"
            );
        }
    }

    /// The process has died. What had changed after the shard's journal was last durable is uncertain; who was connected
    /// is not any more.
    pub fn crashed(
        &mut self,
        now_ms: u64,
        durable: impl Fn(usize) -> u64,
        expiry_ms: impl Fn(usize) -> u64,
        step: u64,
    ) {
        self.0.retain(|_, will| will.state != State::Over || will.changed > durable(will.client));
        for will in self.0.values_mut() {
            will.state = match will.state {
                State::Published => State::Uncertain,
                _ if will.changed > durable(will.client) => State::Uncertain,
                State::Armed => State::Due(now_ms + will.delay_ms.min(expiry_ms(will.client))),
                other => other,
            };
            will.changed = step;
        }
    }
}
