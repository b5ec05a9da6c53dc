//! The last steps of somebody, for the alarm to name.

use ravelin_event::{Counted, DisconnectCause, Refusal};

/// What happened, as short as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    Arrived = 1,
    Stranger,
    Refused,
    BadLogin,
    Malformed,
    Abandoned,
    Idle,
    Ended,
    NoData,
    NoDisconnect,
    Reset,
    KeepAlive,
    ProtocolError,
    Tls,
    TakenOver,
}

const STEPS: [(Step, &str); 15] = [
    (Step::Arrived, "connected"),
    (Step::Stranger, "connected with a Client Identifier that is not known"),
    (Step::Refused, "connection refused"),
    (Step::BadLogin, "log-in refused"),
    (Step::Malformed, "refused: malformed packet or protocol error"),
    (Step::Abandoned, "connection closed before a CONNECT"),
    (Step::Idle, "connected and has sent no data"),
    (Step::Ended, "disconnected"),
    (Step::NoData, "connection ended without any data"),
    (Step::NoDisconnect, "connection closed without DISCONNECT"),
    (Step::Reset, "connection reset"),
    (Step::KeepAlive, "keep-alive expired"),
    (Step::ProtocolError, "connection ended by a protocol error"),
    (Step::Tls, "TLS alert or failed handshake"),
    (Step::TakenOver, "a new connection took over a live one"),
];

/// How many ways there are to end abnormally.
pub(crate) const CAUSES: usize = 5;

/// The abnormal ends, in the order in which they are counted.
const ABNORMAL: [(Step, &str); CAUSES] = [
    (Step::NoDisconnect, "no DISCONNECT"),
    (Step::Reset, "reset"),
    (Step::KeepAlive, "keep-alive expiry"),
    (Step::ProtocolError, "protocol error"),
    (Step::Tls, "TLS alert"),
];

/// The abnormal end that a cause is, if it is the client's or the network's doing. A take-over has a test of its own.
pub(crate) fn abnormal(cause: DisconnectCause) -> Option<Step> {
    match cause {
        DisconnectCause::NoDisconnect => Some(Step::NoDisconnect),
        DisconnectCause::Reset => Some(Step::Reset),
        DisconnectCause::KeepAlive => Some(Step::KeepAlive),
        DisconnectCause::ProtocolError => Some(Step::ProtocolError),
        DisconnectCause::Tls => Some(Step::Tls),
        _ => None,
    }
}

/// What a refusal says about the one who was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// He could not prove who he is.
    Login,
    /// What he sent is no MQTT.
    Malformed,
    /// TLS failed.
    Tls,
    /// He came too often, is banned, or was too slow.
    Attempt,
    /// Nothing: the node was short of something.
    None,
}

pub(crate) fn fault(why: Refusal) -> Fault {
    match why {
        Refusal::BadCredentials
        | Refusal::NoCertificate
        | Refusal::BadCertificate
        | Refusal::Revoked
        | Refusal::IdentityMismatch
        | Refusal::SecondFactor
        | Refusal::BadToken
        | Refusal::Disabled
        | Refusal::UnknownClass
        | Refusal::BadAuthenticationMethod
        | Refusal::AccessRule
        | Refusal::LockedOut
        | Refusal::Retired
        | Refusal::Undeclared => Fault::Login,
        Refusal::Malformed
        | Refusal::Protocol
        | Refusal::TooLarge
        | Refusal::BadName
        | Refusal::WebSocket
        | Refusal::ProxyProtocol => Fault::Malformed,
        Refusal::Tls => Fault::Tls,
        Refusal::Banned
        | Refusal::ConnectDeadline
        | Refusal::ConnectionRate
        | Refusal::TooManyConnections
        | Refusal::RateExceeded => Fault::Attempt,
        _ => Fault::None,
    }
}

/// How often each abnormal end came since its test was last at zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Causes([u8; CAUSES]);

impl Causes {
    pub fn count(&mut self, step: Step) {
        if let Some(at) = ABNORMAL.iter().position(|(other, _)| *other == step) {
            self.0[at] = self.0[at].saturating_add(1);
        }
    }

    pub fn clear(&mut self) {
        self.0 = [0; CAUSES];
    }

    /// Names and counts of those that came, most frequent first.
    pub fn named(&self) -> Vec<(&'static str, u8)> {
        let all = ABNORMAL.iter().zip(self.0).map(|((_, name), count)| (*name, count));
        let mut named: Vec<_> = all.filter(|(_, count)| *count > 0).collect();
        named.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        named
    }
}

/// The last `N` steps, with their times in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trail<const N: usize>([u64; N]);

impl<const N: usize> Default for Trail<N> {
    fn default() -> Self {
        Trail([0; N])
    }
}

impl<const N: usize> Trail<N> {
    pub fn push(&mut self, at_ms: u64, step: Step) {
        self.0.rotate_left(1);
        // 56 bits of milliseconds last for two million years.
        self.0[N - 1] = at_ms << 8 | step as u64;
    }

    /// The longest time between two steps of this kind, one after the other, in milliseconds.
    pub fn longest_gap_ms(&self, of: Step) -> u64 {
        let steps = self.0.iter().filter(|step| **step & 0xff == of as u64).map(|step| step >> 8);
        let before = steps.clone();
        before.zip(steps.skip(1)).map(|(before, after)| after.saturating_sub(before)).max().unwrap_or(0)
    }

    /// Those of the steps that are of some kinds and not before `from_ms`, oldest first.
    pub fn counted(&self, from_ms: u64, of: &[Step]) -> Vec<Counted> {
        let steps = self.0.iter().filter(|step| **step != 0 && **step >> 8 >= from_ms);
        steps
            .filter_map(|step| {
                let (kind, what) = STEPS.iter().find(|(kind, _)| *kind as u64 == step & 0xff)?;
                of.contains(kind).then(|| Counted { at_ms: step >> 8, what: (*what).into() })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_keeps_the_last_and_names_what_is_asked_for() {
        let mut trail: Trail<4> = Trail::default();
        for at in 1..=6 {
            trail.push(at, if at % 2 == 0 { Step::BadLogin } else { Step::Arrived });
        }
        let counted = trail.counted(4, &[Step::BadLogin]);
        let times: Vec<u64> = counted.iter().map(|counted| counted.at_ms).collect();
        assert_eq!(times, [4, 6]);
        assert_eq!(&*counted[0].what, "log-in refused");
        assert_eq!((trail.longest_gap_ms(Step::BadLogin), trail.longest_gap_ms(Step::Idle)), (2, 0));
        assert!(STEPS.iter().enumerate().all(|(at, (step, _))| *step as usize == at + 1));
    }
}
