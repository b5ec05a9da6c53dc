//! Who gets a message of a topic: computed once, remembered while nothing changes.

use crate::Watch;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::cell::Cell;
use std::hash::BuildHasher;
use std::rc::Rc;

/// One receiver of a topic's messages. Overlapping subscriptions of a session are merged into one
/// (section 3.3.4: the server may deliver one copy with the maximum QoS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub session: u32,
    pub qos: u8,
    /// Some subscription of the session does not want its own messages.
    pub no_local: bool,
    pub retain_as_published: bool,
    /// Subscription identifiers, in a block that all deliveries share.
    pub subscription_ids: Option<Rc<[u32]>>,
}

/// Everything about a topic that a publish needs to know.
#[derive(Debug)]
pub(crate) struct Route {
    pub topic: Rc<str>,
    pub watch: Watch,
    /// Valid only while this equals the router's generation.
    pub generation: u64,
    /// Set when a subscription to exactly this topic changed.
    pub stale: Cell<bool>,
    /// The cache knows the route, and will set `stale`.
    pub cached: Cell<bool>,
    /// Otherwise it is valid only while this equals the router's count of changes to exact filters.
    pub exact_generation: u64,
    pub targets: Vec<Target>,
    /// Shared subscription groups whose home is this shard.
    pub groups: Vec<u32>,
    /// Sister shards with subscribers.
    pub remote: u64,
}

/// Remembered routes. A topic is remembered the second time that it is seen, so that a stream of topics that are used
/// once does not wash out the others.
pub(crate) struct RouteCache {
    table: HashTable<Rc<Route>>,
    hasher: FixedState,
    seen: Box<[u32]>,
    routes_max: usize,
}

const SEEN: usize = 1 << 14;

impl RouteCache {
    pub fn new(seed: u64, routes_max: usize) -> RouteCache {
        RouteCache {
            table: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            seen: vec![0; SEEN].into(),
            routes_max,
        }
    }

    /// The remembered route of a topic, if it is still right.
    pub fn get(&mut self, topic: &str, generation: u64) -> Option<&Rc<Route>> {
        let key = self.hasher.hash_one(topic);
        self.table
            .find(key, |route| *route.topic == *topic)
            .filter(|route| route.generation == generation && !route.stale.get())
    }

    /// Remembers a route, if its topic was seen before.
    pub fn offer(&mut self, route: &Rc<Route>) {
        let key = self.hasher.hash_one(&*route.topic);
        let place = &mut self.seen[key as usize % SEEN];
        let tag = (key >> 32) as u32 | 1;
        if *place != tag {
            *place = tag;
            return;
        }
        if let Some(old) = self.table.find_mut(key, |old| old.topic == route.topic) {
            old.stale.set(true);
            route.cached.set(true);
            *old = route.clone();
            return;
        }
        if self.table.len() >= self.routes_max {
            self.forget_all();
        }
        route.cached.set(true);
        let hasher = &self.hasher;
        self.table.insert_unique(key, route.clone(), |route| hasher.hash_one(&*route.topic));
    }

    /// Forgets all routes, also where links remember them, and gives their memory back.
    pub fn clear(&mut self) {
        self.forget_all();
        self.table = HashTable::new();
    }

    fn forget_all(&mut self) {
        for route in self.table.drain() {
            route.stale.set(true);
        }
    }

    /// Forgets the route of one topic, also where a link remembers it.
    pub fn forget(&mut self, topic: &str) {
        let key = self.hasher.hash_one(topic);
        if let Ok(found) = self.table.find_entry(key, |route| *route.topic == *topic) {
            let (route, _) = found.remove();
            route.stale.set(true);
        }
    }
}
