//! What the shards go by: one immutable snapshot of everything that a reload can change. A reload makes another one.

use crate::config::{Ages, ListenerFiles, Network};
use crate::rates::Rates;
use crate::restrictions::Restrictions;
use crate::ws::handshake::Rules;
use ravelin_broker::{Authorizer, Publishing, Subscribing, Watch};
use ravelin_event::Principal;
use ravelin_identify::Admissions;
use ravelin_protect::directory::Action;
use ravelin_protect::{AccessRules, Authenticator, Directory, ListenerPolicy, Revocations};
use std::sync::Arc;

#[derive(Clone)]
pub(crate) struct Policy {
    pub authenticator: Authenticator,
    pub access: Arc<AccessRules>,
    /// In the order of the listeners.
    pub entrances: Vec<Entrance>,
    /// For one shard.
    pub core: ravelin_broker::Limits,
    pub shell: ShellLimits,
    /// Which topics somebody looks on at.
    pub watches: Watches,
    /// Rates; `None`: none are configured.
    pub rates: Option<Arc<Rates>>,
    /// What was administered while the node ran. A reload of the files leaves it as it is.
    pub programme: Programme,
}

/// The part of a policy that comes from the store and the control lane, not from files.
#[derive(Clone, Default)]
pub(crate) struct Programme {
    /// Certificates and identities that were revoked while the node ran.
    pub revocations: Revocations,
    /// Whom the inventory lets in.
    pub admissions: Admissions,
    /// Identities, groups, roles.
    pub directory: Directory,
    /// What is taken from clients for a time.
    pub restrictions: Restrictions,
}

impl Policy {
    /// What clients may do, by the access rules and the directory together.
    pub fn rights(&self) -> ravelin_protect::Rights {
        let directory = self.programme.directory.clone();
        let restraints = self.programme.restrictions.restraints().clone();
        ravelin_protect::Rights { access: Arc::clone(&self.access), directory, restraints }
    }

    /// Goes by another directory: whom it knows, and what they may do.
    pub fn set_directory(&mut self, directory: Directory) {
        self.authenticator = self.authenticator.clone().with_directory(directory.clone());
        self.programme.directory = directory;
    }
}

/// What a listener demands and offers.
#[derive(Clone)]
pub(crate) struct Entrance {
    /// Its name in the configuration.
    pub name: Arc<str>,
    pub files: Option<ListenerFiles>,
    pub ages: Ages,
    pub listener: ListenerPolicy,
    pub websocket: Option<Rules>,
    /// Networks of the proxies; `None`: no PROXY protocol.
    pub proxies: Option<Vec<Network>>,
    /// Connections of this listener; 0 is as many as the node may have.
    pub connections_max: u32,
}

/// Limits that the shell enforces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShellLimits {
    /// Largest CONNECT, and the most that is kept of a client that is not authenticated.
    pub connect_bytes_max: u32,
    /// From accept to a CONNECT that is accepted, TLS handshake included.
    pub connect_deadline_ms: u64,
    /// A client that takes nothing of what waits for it for so long is disconnected.
    pub stall_timeout_ms: u64,
}

/// Topics at which somebody looks on, or for which there is a limit.
#[derive(Clone, Default)]
pub(crate) struct Watches(Vec<(Box<str>, Watch)>);

impl Watches {
    /// Whatever is published to a topic that matches `filter` is also for `watch`. Of several limits the first counts.
    pub fn add(&mut self, filter: &str, watch: Watch) {
        self.0.push((filter.into(), watch));
    }

    /// Asked once for each route, not for each message.
    fn of(&self, topic: &str) -> Watch {
        let matching = self.0.iter().filter(|(filter, _)| ravelin_mqtt::matches(filter, topic));
        matching.fold(Watch::NONE, |all, (_, watch)| all | *watch)
    }
}

/// What a policy says of rights, as the core asks for it.
pub(crate) struct Rights {
    rights: ravelin_protect::Rights,
    watches: Watches,
    restrictions: Restrictions,
}

impl Rights {
    pub fn of(policy: &Policy) -> Rights {
        let restrictions = policy.programme.restrictions.clone();
        Rights { rights: policy.rights(), watches: policy.watches.clone(), restrictions }
    }
}

impl Authorizer for Rights {
    fn may_publish(&self, who: &Principal, what: &Publishing<'_>) -> bool {
        let Publishing { topic, qos, retain } = *what;
        self.rights.may(who, Action::Publish { topic, qos: qos as u8, retain })
    }

    fn may_subscribe(&self, who: &Principal, what: &Subscribing<'_>) -> bool {
        let Subscribing { filter, group, qos } = *what;
        self.rights.may(who, Action::Subscribe { filter, group, qos: qos as u8 })
    }

    fn may_unsubscribe(&self, who: &Principal, filter: &str) -> bool {
        self.rights.may(who, Action::Unsubscribe { filter })
    }

    fn may_receive(&self, who: &Principal, topic: &str) -> bool {
        self.rights.may(who, Action::Receive { topic })
    }

    fn watch(&self, topic: &str) -> Watch {
        self.watches.of(topic) | self.restrictions.watch(topic)
    }

    fn freezes(&self) -> Watch {
        self.restrictions.freezes()
    }

    fn may_subscribe_anew(&self, who: &Principal, what: &Subscribing<'_>) -> bool {
        let is_refused = self.restrictions.stage().is_some_and(|stage| stage.refuse_multi_level);
        if !is_refused || !what.filter.ends_with('#') {
            return true;
        }
        let class = who.class.as_deref().and_then(|name| self.rights.directory.class(name));
        class.is_some_and(|class| class.never_cut)
    }
}
