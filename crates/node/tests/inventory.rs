//! The inventory of a running node.

mod support;

use ravelin_identify::{Declared, Filter, FindingKind, State};
use ravelin_mqtt::{PropertiesBuilder, QoS};
use ravelin_node::Node;
use ravelin_node::control::{Actor, InventoryFailure};
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use support::*;

const NOT_AUTHORIZED: u8 = 0x87;

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn started(base: &Path, more: &str) -> (Node, Log) {
    let key = base.join("store.key");
    if !key.exists() {
        ravelin_store::Keys::create(&key).unwrap();
    }
    let text = format!(
        "[node]\nname = \"bus1\"\nworkers = 2\ndata = \"data\"\nsite = \"control\"\n[store]\nkey_file = \"store.key\"\n\
         [[listener]]\nname = \"field\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\nbind_client_id = \"none\"\n\
         zone = \"field\"\ndangerous_anonymous = true\n[access]\ndangerous_allow_everything = true\n\
         [[site]]\nname = \"control\"\nlatitude = 48.2\nlongitude = 16\nnetworks = [\"127.0.0.0/8\"]\nzone = \"field\"\n\
         [[birth]]\nfilter = \"devices/+/birth\"\nfirmware = [\"/fw\"]\n{more}"
    );
    node(&text, base)
}

fn actor() -> Actor {
    Actor::node()
}

/// Waits until the inventory says so of a device.
fn wait_for_device(node: &Node, name: &str, is_so: impl Fn(&ravelin_identify::DeviceView) -> bool) {
    let control = node.control();
    let view = || control.inventory(|inventory, now_ms| inventory.device(name, now_ms));
    wait_until(|| view().is_ok_and(|view| is_so(&view)), || format!("{:?}", view()));
}

#[test]
fn what_clients_do_is_in_the_inventory_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (node, _) = started(directory.path(), "[inventory]\nwrite_interval = \"1s\"\n");
    let properties = PropertiesBuilder::new().user_property("library", "test 1.0");
    let mut meter = Client::new(connect_socket(node.addresses()[0]), ravelin_mqtt::Version::V5);
    let packet = ravelin_mqtt::Connect { properties: properties.properties(), ..connect("meter-1") };
    meter.connect(&packet);
    meter.subscribe("commands/meter-1", QoS::AtLeastOnce);
    meter.publish_acknowledged("meters/meter-1/volt", 1, false, b"230");
    meter.publish_acknowledged("devices/meter-1/birth", 2, false, br#"{"fw":"2.5"}"#);
    let mut scada = client(node.addresses()[0], "scada");
    scada.subscribe("meters/#", QoS::AtMostOnce);
    wait_for_device(&node, "client:meter-1", |view| {
        view.library.as_deref() == Some("test 1.0")
            && view.firmware.as_deref() == Some("2.5")
            && view.site.as_deref() == Some("control")
            && view.connected
            && view.subscribed.iter().any(|topic| topic.topic == "commands/meter-1")
            && view.published.iter().any(|topic| topic.topic == "meters/meter-1/volt" && topic.messages == 1)
    });
    wait_for_device(&node, "client:scada", |view| !view.subscribed.is_empty());
    let flows = node.control().inventory(|inventory, now_ms| inventory.flows(&Default::default(), now_ms));
    let to = |flow: &ravelin_identify::flows::Flow| flow.subscriber.as_ref().map(|end| end.name.clone());
    let reading = flows.flows.iter().find(|flow| flow.topic == "meters/meter-1/volt").unwrap();
    assert_eq!(to(reading).as_deref(), Some("client:scada"));
    let declared = Declared { client_ids: vec!["meter-1".into()], ..Declared::named("Meter 1") };
    assert_eq!(wait(node.control().declare_devices(&actor(), vec![declared])), Ok(1));
    drop((meter, scada));
    wait_for_device(&node, "Meter 1", |view| !view.connected);
    // What was only seen is written within the interval.
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    node.shutdown().unwrap();
    let (node, _) = started(directory.path(), "");
    let view = node.control().inventory(|inventory, now_ms| inventory.device("Meter 1", now_ms)).unwrap();
    assert_eq!((view.declared.as_deref(), view.firmware.as_deref()), (Some("Meter 1"), Some("2.5")));
    assert!(view.published.iter().any(|topic| topic.topic == "meters/meter-1/volt"));
    node.shutdown().unwrap();
}

#[test]
fn a_retired_device_is_cut_off_and_stays_out() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = started(directory.path(), "");
    let mut pump = client(node.addresses()[0], "pump-1");
    wait_for_device(&node, "client:pump-1", |view| view.connected);
    let unknown = wait(node.control().set_device_state(&actor(), "client:nobody", State::Retired, ""));
    assert!(matches!(unknown, Err(InventoryFailure::Inventory(_))), "{unknown:?}");
    wait(node.control().set_device_state(&actor(), "client:pump-1", State::Retired, "scrapped")).unwrap();
    assert_eq!(pump.expect_end(), Some(NOT_AUTHORIZED));
    log.wait_for(&["inventory.state", "client:pump-1", "retired"]);
    let refused = |node: &Node| {
        let mut again = Client::new(connect_socket(node.addresses()[0]), ravelin_mqtt::Version::V5);
        again.try_connect(&connect("pump-1")).0
    };
    assert_eq!(refused(&node), NOT_AUTHORIZED);
    log.wait_for(&["connection.refused", "pump-1", "retired"]);
    node.shutdown().unwrap();
    let (node, _) = started(directory.path(), "");
    assert_eq!(refused(&node), NOT_AUTHORIZED, "after a restart");
    wait(node.control().set_device_state(&actor(), "client:pump-1", State::Active, "a mistake")).unwrap();
    client(node.addresses()[0], "pump-1").ping();
    node.shutdown().unwrap();
}

#[test]
fn who_is_not_declared_is_refused_where_that_is_configured() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = started(directory.path(), "[inventory]\nunknown = \"refuse\"\n");
    let try_connect = |client_id: &str| {
        let mut one = Client::new(connect_socket(node.addresses()[0]), ravelin_mqtt::Version::V5);
        let (reason, _) = one.try_connect(&connect(client_id));
        (reason, one)
    };
    assert_eq!(try_connect("meter-1").0, NOT_AUTHORIZED);
    log.wait_for(&["connection.refused", "meter-1", "undeclared"]);
    let declared = Declared { client_ids: vec!["meter-1".into()], ..Declared::named("Meter 1") };
    wait(node.control().declare_devices(&actor(), vec![declared])).unwrap();
    let (reason, mut meter) = try_connect("meter-1");
    assert_eq!(reason, 0);
    wait(node.control().undeclare_device(&actor(), "Meter 1")).unwrap();
    assert_eq!(meter.expect_end(), Some(NOT_AUTHORIZED));
    node.shutdown().unwrap();
}

#[test]
fn a_client_that_moves_out_of_its_networks_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = started(directory.path(), "");
    let networks = vec!["192.0.2.0/24".parse().unwrap()];
    let declared = Declared { client_ids: vec!["valve".into()], networks, ..Declared::named("Valve") };
    wait(node.control().declare_devices(&actor(), vec![declared])).unwrap();
    let valve = client(node.addresses()[0], "valve");
    log.wait_for(&["inventory.moved_device", "client:valve", "192.0.2.0/24"]);
    let findings = node.control().inventory(|inventory, _| inventory.findings());
    assert_eq!(findings[0].kind, FindingKind::MovedDevice);
    let page =
        node.control().inventory(|inventory, now_ms| inventory.page(None, 10, &Filter::default(), now_ms));
    assert_eq!(page.devices.len(), 1);
    drop(valve);
    node.shutdown().unwrap();
}
