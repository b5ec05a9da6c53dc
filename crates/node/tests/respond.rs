//! Response on a running node: orders by hand and by playbooks, what they do to clients that are connected, and that all of it
//! ends.

#[path = "support/plant.rs"]
mod plant;
mod support;

use plant::{Plant, is_served, join, shake_hands};
use ravelin_event::Subject;
use ravelin_mqtt::{Connect, Version};
use ravelin_node::config::Config;
use ravelin_node::control::{Actor, Ends, FENCED_FILE, RespondFailure, Role, Via};
use ravelin_node::{Caught, Node};
use ravelin_protect::directory::{Class, Identity};
use ravelin_protect::password::Edit;
use ravelin_protect::{BanSubject, Secret};
use ravelin_respond::{Action, Error, OrderView, Posture, Request, State};
use rustls::HandshakeKind;
use socket2::{Domain, Socket, Type};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use support::*;

const NOT_AUTHORIZED: u8 = 0x87;
const BANNED: u8 = 0x8A;
/// No reason code: the connection ended before CONNACK.
const NO_ANSWER: u8 = 0xFF;
const ADMINISTRATIVE_ACTION: u8 = 0x98;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Unpark>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn who(name: &str, role: Role) -> Actor {
    Actor { name: name.into(), role, via: Via::Api, address: None }
}

fn olga() -> Actor {
    who("olga", Role::Operator)
}

fn request(action: Action) -> Request {
    Request {
        action,
        time_s: None,
        until_lifted: false,
        why: "a test".into(),
        alarm: None,
        override_never_cut: false,
    }
}

fn ban_of(client_id: &str) -> Action {
    Action::Ban { subject: format!("client_id:{client_id}").into() }
}

fn order(node: &Node, request: Request) -> Result<OrderView, RespondFailure> {
    wait(node.control().order(&olga(), request))
}

/// A node with a store in `base` where `alice`, of a class that is never cut off, and `bob` log in with their passwords.
fn started(base: &Path, more: &str) -> (Node, Log) {
    let key = base.join("store.key");
    let first = !key.exists();
    if first {
        ravelin_store::Keys::create(&key).unwrap();
        let mut edit = Edit::open(&base.join("passwords")).unwrap();
        for user in ["alice", "bob"] {
            edit.set(user, &Secret::new("right")).unwrap();
        }
        edit.save().unwrap();
    }
    let text = format!(
        "[node]\nworkers = 2\ndata = \"data\"\n[store]\nkey_file = \"store.key\"\n\
         [[listener]]\nname = \"a\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\nbind_client_id = \"none\"\n\
         authentication = [\"password\"]\n[authentication]\npassword_file = \"passwords\"\n\
         [access]\ndangerous_allow_everything = true\n{more}"
    );
    let (node, log) = node(&text, base);
    if first {
        let class = Class { name: "relay".into(), never_cut: true, ..Class::default() };
        let created = node.control().change_directory(&Actor::node(), "test", "alice", |edit| {
            edit.set_class(class)?;
            edit.create_identity(Identity { class: Some("relay".into()), ..Identity::new("alice") })?;
            Ok(Ends::new())
        });
        created.unwrap();
    }
    (node, log)
}

fn log_in_from(
    node: &Node,
    host: u8,
    client_id: &str,
    user: &str,
    password: &str,
) -> Result<Client<TcpStream>, u8> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)).into()).unwrap();
    socket.connect(&node.addresses()[0].into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let connect = Connect { username: Some(user), password: Some(password.as_bytes()), ..connect(client_id) };
    let mut out = Vec::new();
    ravelin_mqtt::encode_connect(&mut out, &connect);
    if (&stream).write_all(&out).is_err() {
        return Err(NO_ANSWER);
    }
    let mut client = Client::new(stream, Version::V5);
    match client.packet().map(|connack| connack[3]) {
        Some(0) => Ok(client),
        Some(reason) => Err(reason),
        None => Err(NO_ANSWER),
    }
}

fn log_in(node: &Node, client_id: &str, user: &str) -> Result<Client<TcpStream>, u8> {
    log_in_from(node, 1, client_id, user, "right")
}

fn state_of(node: &Node, id: u64) -> State {
    node.control().respond(|desk, _| desk.order(id).unwrap().state)
}

#[test]
fn a_ban_disconnects_and_refuses_until_it_is_taken_back() {
    let (node, log) = open_node(2, None);
    let mut meter = client(node.addresses()[0], "meter-7");
    let done = order(&node, request(ban_of("meter-7"))).unwrap();
    assert_eq!((done.state, done.by.as_str()), (State::InForce, "olga"));
    assert_eq!(meter.expect_end(), Some(BANNED));
    assert!(done.took_us.is_some() && done.until_ms.is_some(), "{done:?}");
    let refused =
        Client::new(connect_socket(node.addresses()[0]), Version::V5).try_connect(&connect("meter-7"));
    assert_eq!(refused.0, BANNED);
    let again = order(&node, Request { time_s: Some(7200), ..request(ban_of("meter-7")) }).unwrap();
    assert_eq!((again.id, again.refreshed), (done.id, 1), "the same is the same order");
    let undone = wait(node.control().undo_order(&olga(), done.id, "found")).unwrap();
    assert_eq!(undone.state, State::Undone);
    assert!(undone.recover_ms.is_some());
    client(node.addresses()[0], "meter-7").ping();
    log.wait_for(&["admin.order", "order.ban", "olga"]);
    log.wait_for(&["action.taken", "client_id:meter-7"]);
    log.wait_for(&["action.ended", "undone"]);
    node.shutdown().unwrap();
}

#[test]
fn a_disconnected_client_may_come_back_and_an_unknown_one_is_told() {
    let (node, _) = open_node(2, None);
    let mut meter = client(node.addresses()[0], "meter-7");
    let cut = Action::Disconnect { client_id: "meter-7".into() };
    let done = order(&node, request(cut.clone())).unwrap();
    assert_eq!(done.state, State::Done);
    assert_eq!(meter.expect_end(), Some(ADMINISTRATIVE_ACTION));
    client(node.addresses()[0], "meter-7").ping();
    let undo = wait(node.control().undo_order(&olga(), done.id, ""));
    assert!(matches!(undo, Err(RespondFailure::Desk(Error::Final { .. }))), "{undo:?}");
    let unknown = order(&node, request(Action::Disconnect { client_id: "nobody".into() })).unwrap();
    assert_eq!(unknown.state, State::Failed);
    let timed = order(&node, Request { time_s: Some(5), ..request(cut) });
    assert!(matches!(timed, Err(RespondFailure::Desk(Error::TakesNoTime { .. }))), "{timed:?}");
    node.shutdown().unwrap();
}

#[test]
fn a_revoked_credential_ends_sessions_and_is_enabled_again() {
    let base = tempfile::tempdir().unwrap();
    let (node, _) = started(base.path(), "");
    let mut bob = log_in(&node, "panel", "bob").unwrap();
    let revoke = Action::RevokeCredential { identity: "bob".into() };
    let done = order(&node, request(revoke)).unwrap();
    assert_eq!(done.state, State::InForce, "an operator is the one who must agree: {done:?}");
    bob.expect_end();
    assert!(log_in(&node, "panel", "bob").is_err());
    wait(node.control().undo_order(&olga(), done.id, "")).unwrap();
    log_in(&node, "panel", "bob").unwrap().ping();
    node.shutdown().unwrap();
}

#[test]
fn what_is_in_force_outlives_a_restart_and_expires() {
    let base = tempfile::tempdir().unwrap();
    let (ban, freeze, lockdown) = {
        let (node, _) = started(base.path(), "");
        let ban = order(&node, Request { time_s: Some(3600), ..request(ban_of("panel")) }).unwrap().id;
        let freeze = Action::Quarantine { client_id: "other".into() };
        let freeze = order(&node, Request { time_s: Some(3600), ..request(freeze) }).unwrap().id;
        let posture = Action::Posture { level: Posture::Elevated };
        let posture = order(&node, Request { time_s: Some(1), ..request(posture) }).unwrap().id;
        node.shutdown().unwrap();
        (ban, freeze, posture)
    };
    let (node, log) = started(base.path(), "");
    assert_eq!(log_in(&node, "panel", "bob").err(), Some(BANNED));
    wait_until(
        || state_of(&node, lockdown) == State::Expired,
        || format!("{:?}", node.control().respond(|desk, _| desk.order(lockdown).cloned())),
    );
    assert_eq!(node.control().posture(), Posture::Normal);
    assert_eq!((state_of(&node, ban), state_of(&node, freeze)), (State::InForce, State::InForce));
    log.wait_for(&["action.ended", "expired"]);
    for id in [ban, freeze] {
        assert_eq!(wait(node.control().undo_order(&olga(), id, "")).unwrap().state, State::Undone);
    }
    log_in(&node, "panel", "bob").unwrap().ping();
    node.shutdown().unwrap();
}

#[test]
fn a_ban_that_was_there_before_comes_back_and_one_lifted_by_hand_ends_its_order() {
    let (node, _) = open_node(1, None);
    let control = node.control();
    let subject = BanSubject::parse("client_id:a").unwrap();
    let ban = ravelin_protect::Ban {
        subject: subject.clone(),
        reason: "by hand".into(),
        by: "otto".into(),
        at_s: 1,
        until_s: None,
    };
    control.blocking_ban(&Actor::node(), ban).unwrap();
    let done = order(&node, request(ban_of("a"))).unwrap();
    assert!(control.ban_on(&subject).unwrap().reason.starts_with("order "));
    wait(control.undo_order(&olga(), done.id, "")).unwrap();
    assert_eq!(&*control.ban_on(&subject).unwrap().reason, "by hand");

    let done = order(&node, request(ban_of("b"))).unwrap();
    control.blocking_unban(&olga(), &BanSubject::parse("client_id:b").unwrap()).unwrap();
    wait_until(|| state_of(&node, done.id) == State::Undone, || "the order goes on".into());
    node.shutdown().unwrap();
}

#[test]
fn two_approvals_are_those_of_two_people() {
    let (node, log) = open_node(1, None);
    let control = node.control();
    let listener = control.config().listeners[0].name.clone();
    let stop = Action::StopListener { listener: listener.as_str().into() };
    let proposed = order(&node, request(stop)).unwrap();
    assert_eq!((proposed.state, proposed.needs), (State::Proposed, 2));
    log.wait_for(&["action.proposed", "listener:"]);
    let approve = |actor: Actor| wait(control.approve_order(&actor, proposed.id));
    let same = approve(who("olga", Role::Admin));
    assert!(matches!(same, Err(RespondFailure::Desk(Error::SamePerson { .. }))), "{same:?}");
    let operator = approve(who("otto", Role::Operator));
    assert!(matches!(operator, Err(RespondFailure::Desk(Error::NotAllowed { .. }))), "{operator:?}");
    client(node.addresses()[0], "a").ping();
    let done = approve(who("ada", Role::Admin)).unwrap();
    assert_eq!(done.state, State::InForce, "{done:?}");
    assert_eq!(done.approvals.len(), 2);
    wait(control.undo_order(&olga(), done.id, "")).unwrap();
    client(node.addresses()[0], "a").ping();

    let proposed = order(&node, request(Action::StopNode {})).unwrap();
    let rejected = wait(control.reject_order(&who("ada", Role::Admin), proposed.id, "no")).unwrap();
    assert_eq!(rejected.state, State::Refused);
    let viewer = wait(control.order(&who("vera", Role::Viewer), request(ban_of("a"))));
    assert!(matches!(viewer, Err(RespondFailure::Desk(Error::NotAllowed { .. }))), "{viewer:?}");
    node.shutdown().unwrap();
}

#[test]
fn a_node_is_stopped_by_two_people_and_names_them() {
    let base = tempfile::tempdir().unwrap();
    let data = base.path().join("data");
    let config = || Config::dangerous_open(([127, 0, 0, 1], 0).into(), Some(data.clone()), 1).unwrap();
    let (node, log) = start(config());
    let control = node.control();
    let (caught, same) = (Caught::new().unwrap(), config());
    let served = std::thread::spawn(move || ravelin_node::run(node, caught, move || Ok(same.clone())));
    wait_until(|| control.is_attended(), || "nobody runs the node".into());
    let stop = Request { why: "compromised".into(), ..request(Action::StopNode {}) };
    let proposed = wait(control.order(&olga(), stop)).unwrap();
    assert_eq!((proposed.state, proposed.needs), (State::Proposed, 2));
    let same = wait(control.approve_order(&who("olga", Role::Admin), proposed.id));
    assert!(matches!(same, Err(RespondFailure::Desk(Error::SamePerson { .. }))), "{same:?}");
    assert!(control.status().ready && !data.join(FENCED_FILE).exists());

    // The stop waits for a shard; the desk waits for nobody.
    let ((busy, is_busy), (release, released)) = (channel(), channel::<()>());
    let asking = control.clone();
    let asked = std::thread::spawn(move || {
        let wait_here = move |_: &mut ravelin_node::control::ShardView<'_>| {
            busy.send(()).unwrap();
            released.recv().unwrap();
        };
        asking.blocking_ask(0, wait_here).unwrap();
    });
    is_busy.recv().unwrap();
    let (approving, id) = (control.clone(), proposed.id);
    let approved =
        std::thread::spawn(move || wait(approving.approve_order(&who("ada", Role::Admin), id)).unwrap());
    wait_until(|| !control.status().ready, || "the stop does not begin".into());
    assert_eq!(control.respond(|desk, _| desk.order(id).unwrap().state), State::Running);
    release.send(()).unwrap();
    asked.join().unwrap();
    assert_eq!(approved.join().unwrap().state, State::Done);
    served.join().unwrap().unwrap();

    log.wait_for(&["node.fenced", "by=olga", "approved_by=ada", "why=compromised"]);
    let state = std::fs::read_to_string(data.join(FENCED_FILE)).unwrap();
    let told: serde_json::Value = serde_json::from_str(state.lines().next().unwrap()).unwrap();
    assert_eq!((&told["order"], &told["by"]), (&id.into(), &"olga".into()));
    assert_eq!((&told["approved_by"], &told["why"]), (&serde_json::json!(["ada"]), &"compromised".into()));
    std::fs::remove_file(data.join(FENCED_FILE)).unwrap();
    let (again, _) = start(config());
    assert_eq!(state_of(&again, id), State::Done, "and it does not stop again");
    client(again.addresses()[0], "a").ping();
    again.shutdown().unwrap();
}

#[test]
fn a_revoked_certificate_ends_its_session_for_good() {
    let plant = Plant::new();
    let (node, _) = start(plant.config("crl = [\"ca.crl\"]", ""));
    let (one, two) = (plant.of("meter-1"), plant.of("meter-2"));
    let (mut revoked, mut other) = (join(&node, &one, "meter-1"), join(&node, &two, "meter-2"));
    revoked.ping();
    other.ping();
    // Its ticket is good until then.
    assert_eq!(shake_hands(&node, &one).conn.handshake_kind(), Some(HandshakeKind::Resumed));
    let revoke = Action::RevokeCertificate { certificate: plant.serial("meter-1").into() };
    let timed = order(&node, Request { time_s: Some(60), ..request(revoke.clone()) });
    assert!(matches!(timed, Err(RespondFailure::Desk(Error::TakesNoTime { .. }))), "{timed:?}");
    revoked.ping();

    let done = order(&node, request(revoke)).unwrap();
    assert_eq!((done.state, done.until_ms), (State::Done, None), "{done:?}");
    assert!(done.undo.contains("stays revoked") && done.effect.is_some(), "{done:?}");
    assert_eq!(revoked.expect_end(), Some(NOT_AUTHORIZED));
    other.ping();
    // Neither with the tickets that it has nor by a full handshake.
    for _ in 0..4 {
        assert!(!is_served(&node, &one, "meter-1"));
    }
    let fresh = plant.of("meter-1");
    assert!(!is_served(&node, &fresh, "meter-1"));
    let undo = wait(node.control().undo_order(&who("ada", Role::Admin), done.id, "a mistake"));
    let Err(RespondFailure::Desk(error @ Error::Final { .. })) = undo else { panic!("{undo:?}") };
    assert!(error.to_string().contains("stays revoked"), "{error}");
    assert!(!is_served(&node, &one, "meter-1"));
    other.ping();
    node.shutdown().unwrap();
}

#[test]
fn who_is_never_cut_off_is_only_by_an_override_and_a_second_person() {
    let base = tempfile::tempdir().unwrap();
    let (node, _) = started(base.path(), "");
    let mut relay = log_in(&node, "relay-1", "alice").unwrap();
    let cut = Action::Disconnect { client_id: "relay-1".into() };
    let network = Action::Ban { subject: "network:127.0.0.1/32".into() };
    for action in
        [cut.clone(), ban_of("relay-1"), network, Action::RevokeCredential { identity: "alice".into() }]
    {
        let refused = order(&node, request(action));
        assert!(matches!(refused, Err(RespondFailure::Desk(Error::NeverCut(_)))), "{refused:?}");
    }
    relay.ping();
    let proposed = order(&node, Request { override_never_cut: true, ..request(cut) }).unwrap();
    assert_eq!((proposed.state, proposed.needs), (State::Proposed, 2));
    relay.ping();
    let done = wait(node.control().approve_order(&who("otto", Role::Operator), proposed.id)).unwrap();
    assert_eq!(done.state, State::Done);
    relay.expect_end();
    node.shutdown().unwrap();
}

#[test]
fn a_dry_run_says_whom_it_would_meet_and_does_nothing() {
    let (node, _) = open_node(2, None);
    let mut meter = client(node.addresses()[0], "meter-7");
    meter.subscribe("plant/+/power", ravelin_mqtt::QoS::AtMostOnce);
    let preview = |action| wait(node.control().preview_order(&olga(), request(action))).unwrap();
    let ban = preview(ban_of("meter-7"));
    assert_eq!((ban.reach.clients, ban.reach.sessions, ban.reach.subscriptions), (1, 1, 1));
    assert_eq!(ban.reach.names, [Arc::from("meter-7")]);
    let freeze = Action::Freeze {
        filter: "plant/a/#".into(),
        messages: Default::default(),
        direction: Default::default(),
        retained: Default::default(),
    };
    assert_eq!(preview(freeze).reach.subscriptions, 1);
    assert_eq!(preview(Action::StopNode {}).preview.needs, 2);
    meter.ping();
    assert_eq!(node.control().respond(|desk, _| desk.orders().count()), 0);
    node.shutdown().unwrap();
}

/// A playbook that answers guessed passwords in this mode.
fn playbook(base: &Path, mode: &str) -> String {
    std::fs::create_dir_all(base.join("playbooks")).unwrap();
    let text = format!(
        "[[playbook]]\nname = \"password-guessing\"\nmode = \"{mode}\"\n[playbook.when]\n\
         detector = [\"repeated_authentication\"]\nsubject = [\"source\"]\n\
         [[playbook.do]]\naction = \"ban\"\nsubject = \"network:{{address}}\"\nfor = \"10m\"\n"
    );
    std::fs::write(base.join("playbooks/guessing.toml"), text).unwrap();
    "[respond]\nplaybooks = \"playbooks\"\n".into()
}

fn guess(node: &Node, host: u8) {
    for attempt in 0..12 {
        let reason = log_in_from(node, host, "panel", "bob", &format!("guess {attempt}")).err();
        assert!(reason.is_some());
        // A ban may come while the password is being looked at: then there is nobody to answer any more.
        if matches!(reason, Some(BANNED | NO_ANSWER)) {
            return;
        }
    }
}

fn orders_of_playbooks(node: &Node) -> Vec<OrderView> {
    node.control().respond(|desk, _| {
        desk.orders().map(|order| order.view()).filter(|one| one.playbook.is_some()).collect()
    })
}

#[test]
fn a_playbook_that_is_automatic_bans_who_guesses_passwords() {
    let base = tempfile::tempdir().unwrap();
    let more = playbook(base.path(), "automatic");
    let (node, log) = started(base.path(), &more);
    guess(&node, 9);
    let acted = || orders_of_playbooks(&node).into_iter().find(|one| one.state == State::InForce);
    wait_until(|| acted().is_some(), || format!("{:?}\n{}", orders_of_playbooks(&node), log.text()));
    let done = acted().unwrap();
    let subject = BanSubject::parse("network:127.0.0.9").unwrap();
    assert_eq!((done.by.as_str(), done.subject), ("playbook:password-guessing", subject.key()));
    assert!(node.control().ban_on(&subject).is_some());
    let done = acted().unwrap();
    assert!(done.alarm.is_some() && done.detect_ms.is_some() && done.contain_ms.is_some(), "{done:?}");
    let alarm = node.control().detection(|engine, _| engine.alarm(done.alarm.unwrap()).cloned()).unwrap();
    assert_eq!(alarm.subject, Subject::Source(Ipv4Addr::new(127, 0, 0, 9).into()));
    log_in(&node, "panel", "bob").unwrap().ping();
    node.shutdown().unwrap();
}

#[test]
fn a_playbook_that_asks_proposes_and_one_that_observes_only_tells() {
    let base = tempfile::tempdir().unwrap();
    let more = playbook(base.path(), "ask");
    let (node, log) = started(base.path(), &more);
    guess(&node, 9);
    wait_until(|| !orders_of_playbooks(&node).is_empty(), || log.text());
    let proposed = orders_of_playbooks(&node).pop().unwrap();
    assert_eq!((proposed.state, proposed.needs), (State::Proposed, 1));
    let done = wait(node.control().approve_order(&olga(), proposed.id)).unwrap();
    assert_eq!(done.state, State::InForce);
    node.shutdown().unwrap();

    let base = tempfile::tempdir().unwrap();
    let (node, log) = started(base.path(), "");
    guess(&node, 9);
    log.wait_for(&["playbook.observed", "password-guessing", "127.0.0.9"]);
    assert!(orders_of_playbooks(&node).is_empty());
    node.shutdown().unwrap();
}

#[test]
fn a_playbook_beyond_its_bound_or_the_bound_of_all_asks() {
    for (bound, limit, why) in
        [("[playbook.bound]\nclients = 1\n", "", "may meet 1"), ("", "automatic_max = 1\n", "acted 1 times")]
    {
        let base = tempfile::tempdir().unwrap();
        let more = playbook(base.path(), "automatic");
        let file = base.path().join("playbooks/guessing.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}{bound}")).unwrap();
        let (node, log) = started(base.path(), &format!("{more}{limit}"));
        // One of its bound that is a share is always let through, and no more of so few.
        let _all: Vec<_> = (0..60).map(|i| log_in(&node, &format!("panel-{i}"), "bob").unwrap()).collect();
        for (host, count) in [(9, 1), (10, 2)] {
            guess(&node, host);
            let told = || format!("{:?}\n{}", orders_of_playbooks(&node), log.text());
            wait_until(|| orders_of_playbooks(&node).len() == count, told);
        }
        let orders = orders_of_playbooks(&node);
        assert_eq!((orders[0].state, orders[0].needs), (State::Proposed, 1), "{orders:?}");
        assert!(orders[0].why.contains(why), "{orders:?}");
        let subject = |host: u8| BanSubject::parse(&format!("network:127.0.0.{host}")).unwrap();
        wait_until(|| node.control().ban_on(&subject(9)).is_some(), || log.text());
        assert!(node.control().ban_on(&subject(10)).is_none());
        let approved = wait(node.control().approve_order(&olga(), orders[0].id)).unwrap();
        assert_eq!(approved.state, State::InForce);
        assert!(node.control().ban_on(&subject(10)).is_some());
        node.shutdown().unwrap();
    }
}

#[test]
fn a_playbook_does_not_cut_off_who_never_is() {
    let base = tempfile::tempdir().unwrap();
    let more = playbook(base.path(), "automatic");
    let (node, log) = started(base.path(), &more);
    // The relay is behind the same address as who guesses.
    let mut relay = log_in_from(&node, 9, "relay-1", "alice", "right").unwrap();
    guess(&node, 9);
    wait_until(|| !orders_of_playbooks(&node).is_empty(), || log.text());
    let refused = orders_of_playbooks(&node).pop().unwrap();
    assert_eq!(refused.state, State::Refused, "{refused:?}");
    assert!(refused.ended_why.as_deref().unwrap_or_default().contains("relay-1"), "{refused:?}");
    relay.ping();
    node.shutdown().unwrap();
}

#[test]
fn a_playbook_that_is_wrong_is_told_at_its_line() {
    let base = tempfile::tempdir().unwrap();
    playbook(base.path(), "automtic");
    let key = base.path().join("store.key");
    ravelin_store::Keys::create(&key).unwrap();
    let text = "[[listener]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\nbind_client_id = \"none\"\n\
                dangerous_anonymous = true\n[access]\ndangerous_allow_everything = true\n\
                [respond]\nplaybooks = \"playbooks\"\nask = [\"no-such\"]\n[respond.stop_node]\napprovals = 1\n";
    let errors = Config::parse(text, base.path()).unwrap_err().to_string();
    assert!(errors.contains("approvals") && errors.contains("12"), "two people, always: {errors}");
    let text = text.split("[respond.stop_node]").next().unwrap();
    let config = Config::parse(text, base.path()).unwrap();
    let errors = Node::start_with_log(config, Box::new(std::io::sink())).err().unwrap().to_string();
    assert!(errors.contains("guessing.toml:3") && errors.contains("did you mean \"automatic\"?"), "{errors}");
    assert!(errors.contains("no-such"), "{errors}");
}
