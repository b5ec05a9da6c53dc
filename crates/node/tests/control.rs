//! The control lane's handle: what it asks, orders, keeps and hears.

mod support;

use ravelin_event::Event;
use ravelin_mqtt::{QoS, ReasonCode};
use ravelin_node::control::{Actor, Space, Watched, Watcher};
use std::sync::{Arc, Mutex};
use support::*;

const SHARDS: usize = 3;

#[test]
fn every_shard_answers_and_a_chosen_client_is_cut_off() {
    let (node, _) = open_node(SHARDS, None);
    let control = node.control();
    let mut clients: Vec<_> = (0..12).map(|i| client(node.addresses()[0], &format!("client-{i}"))).collect();
    let connected = control.blocking_ask_all(|view| view.broker().stats().connected).unwrap();
    assert_eq!((connected.len(), connected.iter().sum::<u64>()), (SHARDS, 12));
    let ended = control
        .blocking_ask_all(|view| {
            let meant = |conn: &ravelin_node::control::ConnInfo<'_>| &*conn.principal.client_id == "client-7";
            view.disconnect_where(ReasonCode::ADMINISTRATIVE_ACTION, "a test", |conn| meant(&conn))
        })
        .unwrap();
    assert_eq!(ended.iter().sum::<usize>(), 1);
    clients[7].expect_end();
    clients[8].ping();
    node.shutdown().unwrap();
    assert!(control.blocking_ask_all(|_| ()).is_err(), "a node that has stopped does not answer");
    assert!(!control.status().ready);
}

#[test]
fn a_question_that_panics_costs_nobody_but_who_asked() {
    let (node, log) = open_node(1, None);
    let control = node.control();
    let mut client = client(node.addresses()[0], "a");
    assert!(control.blocking_ask(0, |_| panic!("on purpose")).is_err());
    client.ping();
    assert!(control.blocking_ask(0, |view| view.id()).is_ok());
    log.wait_for(&["node.internal_error"]);
    node.shutdown().unwrap();
}

/// Remembers the identifiers of what it saw.
struct Remembering(Arc<Mutex<Vec<Event>>>);

impl Watcher for Remembering {
    fn watch(&mut self, _: ravelin_broker::Now, batch: &[Watched], _: u64) {
        let events = batch.iter().filter_map(|seen| match seen {
            Watched::Event(record) => Some(record.event.clone()),
            _ => None,
        });
        self.0.lock().unwrap().extend(events);
    }
}

#[test]
fn who_watches_hears_more_than_the_log_tells() {
    let (node, log) = open_node(2, None);
    let seen = Arc::default();
    node.control().add_watcher(Box::new(Remembering(Arc::clone(&seen))));
    let mut client = client(node.addresses()[0], "a");
    client.subscribe("a/b", QoS::AtLeastOnce);
    node.control().administered(&Actor::node(), "test.order", "a", Err("it was a test"));
    let heard = |wanted: fn(&Event) -> bool| seen.lock().unwrap().iter().any(wanted);
    wait_until(
        || {
            heard(|event| matches!(event, Event::Subscribed { filter, .. } if filter == "a/b"))
                && heard(|event| matches!(event, Event::Administered { done: false, .. }))
        },
        || format!("{:?}", seen.lock().unwrap()),
    );
    log.wait_for(&["admin.order", "it was a test"]);
    assert!(!log.text().contains("client.subscribed"), "a debug event is not in the log");
    node.shutdown().unwrap();
}

#[test]
fn the_programmes_records_share_the_log_with_the_sessions() {
    let directory = tempfile::tempdir().unwrap();
    {
        let (node, _) = open_node(2, Some(directory.path()));
        let records = node.control().records().clone();
        let number = records.put(Space::Settings, "colour", b"\"green\"").unwrap();
        records.blocking_settled(number).unwrap();
        let mut client = client(node.addresses()[0], "a");
        client.publish_acknowledged("kept", 1, true, b"retained");
        node.shutdown().unwrap();
    }
    // Fewer shards: the records are the node's, whoever wrote them.
    let (node, _) = open_node(1, Some(directory.path()));
    let settings = node.control().records().load(Space::Settings);
    assert_eq!(settings.get("colour").map(Vec::as_slice), Some(&b"\"green\""[..]));
    let mut client = client(node.addresses()[0], "b");
    client.subscribe("kept", QoS::AtMostOnce);
    assert_eq!(client.message().1, b"retained");
    node.shutdown().unwrap();
}
