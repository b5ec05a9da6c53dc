//! The rungs of the ladder, what each refused, and what a refusal cost.

use ravelin_event::Refusal;

macro_rules! rungs {
    ($($(#[doc = $doc:literal])+ $name:ident = $id:literal;)*) => {
        /// A rung of the accept ladder, in the order in which they are climbed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rung {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Rung {
            /// All of them.
            pub const ALL: &[Rung] = &[$(Rung::$name,)*];

            /// Its name in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Rung::$name => $id,)* }
            }
        }
    };
}

rungs! {
    /// The address is banned.
    Banned = "banned_address";
    /// The node is short of memory.
    Memory = "memory";
    /// The node, the listener or the table of addresses is full.
    Connections = "connections";
    /// Too many connections wait to be authenticated.
    Preauth = "pre_auth";
    /// The address has all the connections it may have.
    ConnectionsAddress = "connections_per_address";
    /// Too many connections of the address wait to be authenticated.
    PreauthAddress = "pre_auth_per_address";
    /// Too many new connections from the address.
    RateAddress = "rate_per_address";
    /// Too many new connections in all.
    Rate = "rate";
    /// The PROXY protocol header.
    Proxy = "proxy";
    /// The TLS handshake, the client's certificate.
    Tls = "tls";
    /// The WebSocket handshake.
    WebSocket = "websocket";
    /// No CONNECT in time.
    Deadline = "deadline";
    /// CONNECT was malformed, too large or not one.
    Connect = "connect";
    /// The Client Identifier, the identity or the certificate is banned.
    BannedClient = "banned_client";
    /// Too many log-ins failed.
    LockedOut = "locked_out";
    /// Too many passwords are being verified.
    Busy = "busy";
    /// The client did not prove who it is.
    Authentication = "authentication";
    /// The session was refused: rights, quotas, the store.
    Session = "session";
}

/// What a rung refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RungFigures {
    /// Connections.
    pub refused: u64,
    /// How many of them were timed.
    pub sampled: u64,
    /// What those took of a shard's time, in nanoseconds: from accept to close, without waiting. The verification of a
    /// password is not in it: it has threads of its own.
    pub sampled_ns: u64,
}

impl RungFigures {
    /// What a refusal costs in microseconds, if one was timed.
    pub fn cost_us(&self) -> Option<f64> {
        (self.sampled > 0).then(|| self.sampled_ns as f64 / self.sampled as f64 / 1000.0)
    }
}

/// What all rungs refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rungs([RungFigures; Rung::ALL.len()]);

impl Rungs {
    /// What a rung refused.
    pub fn of(&self, rung: Rung) -> RungFigures {
        self.0[rung as usize]
    }

    /// Counts a refusal.
    pub(crate) fn refuse(&mut self, rung: Rung) {
        self.0[rung as usize].refused += 1;
    }

    /// Counts what a refusal took.
    pub(crate) fn price(&mut self, rung: Rung, ns: u64) {
        let figures = &mut self.0[rung as usize];
        figures.sampled += 1;
        figures.sampled_ns += ns;
    }

    pub(crate) fn add(&mut self, other: &Rungs) {
        for (total, part) in self.0.iter_mut().zip(&other.0) {
            total.refused += part.refused;
            total.sampled += part.sampled;
            total.sampled_ns += part.sampled_ns;
        }
    }
}

impl Rung {
    /// What the event says.
    pub fn refusal(self) -> Refusal {
        match self {
            Rung::Banned | Rung::BannedClient => Refusal::Banned,
            Rung::Memory => Refusal::Memory,
            Rung::Connections | Rung::Preauth | Rung::ConnectionsAddress | Rung::PreauthAddress => {
                Refusal::TooManyConnections
            }
            Rung::RateAddress | Rung::Rate => Refusal::ConnectionRate,
            Rung::Proxy => Refusal::ProxyProtocol,
            Rung::Tls => Refusal::Tls,
            Rung::WebSocket => Refusal::WebSocket,
            Rung::Deadline => Refusal::ConnectDeadline,
            Rung::Connect => Refusal::Malformed,
            Rung::LockedOut => Refusal::LockedOut,
            Rung::Busy => Refusal::Busy,
            Rung::Authentication => Refusal::BadCredentials,
            Rung::Session => Refusal::AccessRule,
        }
    }

    /// The rung behind the first ones that refuses for this reason; `None`: no rung, the node stops.
    pub(crate) fn behind(why: Refusal) -> Option<Rung> {
        Some(match why {
            Refusal::ProxyProtocol => Rung::Proxy,
            Refusal::Tls | Refusal::NoCertificate | Refusal::BadCertificate => Rung::Tls,
            Refusal::WebSocket => Rung::WebSocket,
            Refusal::ConnectDeadline => Rung::Deadline,
            Refusal::Malformed | Refusal::Protocol | Refusal::TooLarge | Refusal::BadName => Rung::Connect,
            Refusal::Banned => Rung::BannedClient,
            Refusal::LockedOut => Rung::LockedOut,
            Refusal::Busy => Rung::Busy,
            Refusal::BadCredentials | Refusal::IdentityMismatch | Refusal::BadAuthenticationMethod => {
                Rung::Authentication
            }
            Refusal::TooManyConnections => Rung::Connections,
            Refusal::ConnectionRate | Refusal::RateExceeded => Rung::Rate,
            Refusal::Memory => Rung::Memory,
            Refusal::ShuttingDown => return None,
            _ => Rung::Session,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rung_has_a_name_of_its_own_and_a_place() {
        let names: std::collections::BTreeSet<_> = Rung::ALL.iter().map(|rung| rung.name()).collect();
        assert_eq!(names.len(), Rung::ALL.len());
        for (at, rung) in Rung::ALL.iter().enumerate() {
            assert_eq!(*rung as usize, at);
            assert!(Rung::behind(rung.refusal()).is_some());
        }
    }

    #[test]
    fn a_price_is_a_mean_of_those_that_were_timed() {
        let mut rungs = Rungs::default();
        for ns in [1000, 3000] {
            rungs.refuse(Rung::Tls);
            rungs.price(Rung::Tls, ns);
        }
        rungs.refuse(Rung::Tls);
        let mut total = Rungs::default();
        total.add(&rungs);
        assert_eq!((total.of(Rung::Tls).refused, total.of(Rung::Tls).cost_us()), (3, Some(2.0)));
        assert_eq!(total.of(Rung::Banned).cost_us(), None);
    }
}
