//! Whatever comes, in whatever order: the engine neither fails nor grows, and says the same again.

use crate::{Arrived, Engine, Metered, Operation, Settings, Sight};
use proptest::prelude::*;
use ravelin_event::{DisconnectCause, Refusal};
use std::net::SocketAddr;
use std::sync::Arc;

const CAUSES: [DisconnectCause; 8] = [
    DisconnectCause::Normal,
    DisconnectCause::NoDisconnect,
    DisconnectCause::Reset,
    DisconnectCause::KeepAlive,
    DisconnectCause::ProtocolError,
    DisconnectCause::TakenOver,
    DisconnectCause::Tls,
    DisconnectCause::Shutdown,
];

const REFUSALS: [Refusal; 5] =
    [Refusal::BadCredentials, Refusal::Malformed, Refusal::Tls, Refusal::ConnectionRate, Refusal::Memory];

fn small() -> Settings {
    let mut settings = Settings::default();
    settings.limits.clients = 5;
    settings.limits.sources = 4;
    settings.limits.identities = 3;
    settings.limits.failing_users = 2;
    settings.limits.alarms = 6;
    settings.limits.notices = 50;
    settings
}

fn arrived(client_id: Arc<str>, identity: Option<Arc<str>>, address: SocketAddr) -> Sight {
    Sight::Arrived(Arc::new(Arrived {
        client_id,
        identity,
        class: None,
        certificate: None,
        address,
        keep_alive_s: 60,
        clean_start: true,
        will: false,
        declared: false,
    }))
}

/// Any sight, of few clients at few addresses.
fn sight() -> impl Strategy<Value = Sight> {
    let client = (0u8..9).prop_map(|i| Arc::<str>::from(format!("c{i}")));
    let address = (0u8..7).prop_map(|i| SocketAddr::from(([192, 0, 2, i], 1_024)));
    let user = prop::option::of((0u8..5).prop_map(|i| Arc::<str>::from(format!("u{i}"))));
    (0u8..14, client, address, user, any::<u8>()).prop_map(|(kind, client_id, address, identity, n)| {
        match kind {
            0 | 1 => arrived(client_id, identity, address),
            2 | 3 => Sight::Left {
                client_id,
                address: (n % 2 == 0).then_some(address),
                cause: CAUSES[n as usize % CAUSES.len()],
            },
            4 | 5 => Sight::Refused {
                address,
                client_id: (n % 3 == 0).then_some(client_id),
                identity,
                why: REFUSALS[n as usize % REFUSALS.len()],
                count: if n > 250 { u32::MAX } else { u32::from(n) },
            },
            6 => Sight::Opened { address, count: if n > 250 { u32::MAX } else { n.into() } },
            7 => Sight::Abandoned { address, open_ms: 5, bytes: 0 },
            8 => Sight::Subscribed { client_id, filter: ["#", "a/b", "$share/g/#"][n as usize % 3].into() },
            9 => Sight::Denied {
                client_id,
                operation: Operation::Publish,
                name: "a/b".into(),
                why: Refusal::AccessRule,
                count: n.into(),
            },
            10 => Sight::Missed { count: n.into() },
            11 => Sight::Started,
            12 => Sight::Cloned { client_id, addresses: vec![address.ip()], why: "twice".into() },
            _ => Sight::Metered(Arc::new(Metered { client_id, messages: n.into(), ..Metered::default() })),
        }
    })
}

/// What the engine says of it, as text.
fn run(engine: &mut Engine, sights: &[(u16, Sight)]) -> Vec<String> {
    let mut now_ms = 1_790_000_000_000;
    let mut said = Vec::new();
    for (wait_ms, sight) in sights {
        now_ms += u64::from(*wait_ms);
        engine.handle(now_ms, sight);
        if wait_ms % 4 == 0 {
            engine.handle_tick(now_ms);
        }
        said.extend(std::iter::from_fn(|| engine.poll_notice()).map(|notice| format!("{notice:?}")));
        said.extend(std::iter::from_fn(|| engine.poll_trust()).map(|change| format!("{change:?}")));
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn it_neither_fails_nor_grows_and_says_the_same_again(
        sights in prop::collection::vec((0u16..20_000, sight()), 1..400)
    ) {
        let mut engine = Engine::new(small(), 7);
        let said = run(&mut engine, &sights);
        let figures = engine.figures();
        prop_assert!(figures.clients <= 5 && figures.sources <= 4 && figures.alarms <= 6, "{figures:?}");
        let slots = 0..engine.cx.clients.len() as u32;
        let online = slots.filter(|slot| engine.cx.clients.at(*slot).is_online).count();
        prop_assert_eq!(u64::try_from(online).unwrap(), figures.online);
        prop_assert_eq!(&said, &run(&mut Engine::new(small(), 7), &sights));
        // What is dumped is taken back, and gives the same dump.
        let mut again = Engine::new(small(), 8);
        for write in engine.dump() {
            again.restore(&write.key, &write.value.unwrap()).unwrap();
        }
        prop_assert_eq!(again.alarms().count(), engine.alarms().count());
    }
}
