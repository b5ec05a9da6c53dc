//! The life of a node as a service: signals, systemd, the end.

use crate::config::{Config, ConfigErrors};
use crate::error::Error;
use crate::node::Node;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How often it is checked that the node still runs.
const CHECK: Duration = Duration::from_secs(1);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Reload,
    Stop,
}

/// Runs `node` until SIGTERM or SIGINT, which stop it in order; a second one ends the process at once. SIGHUP reads
/// the configuration again with `load`.
pub fn run(mut node: Node, mut load: impl FnMut() -> Result<Config, ConfigErrors>) -> Result<(), Error> {
    let orders = listen().map_err(Error::system("wait for signals"))?;
    let check = sd_notify::watchdog_enabled().map_or(CHECK, |interval| (interval / 3).min(CHECK));
    notify(&[NotifyState::Ready]);
    loop {
        match orders.recv_timeout(check) {
            Ok(Order::Reload) => reload(&mut node, &mut load),
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if node.is_running() => notify(&[NotifyState::Watchdog]),
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    notify(&[NotifyState::Stopping]);
    node.shutdown()
}

fn reload(node: &mut Node, load: &mut impl FnMut() -> Result<Config, ConfigErrors>) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
    match load() {
        // The node tells the log how it went.
        Ok(config) => drop(node.reload(config)),
        Err(errors) => node.reload_failed(&errors.to_string()),
    }
    notify(&[NotifyState::Ready]);
}

/// systemd may not be there, and that is all right.
fn notify(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

fn listen() -> std::io::Result<Receiver<Order>> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let (sender, receiver) = channel();
    std::thread::Builder::new().name("ravelin-signals".into()).spawn(move || {
        let mut stopping = false;
        for signal in signals.forever() {
            let order = if signal == SIGHUP { Order::Reload } else { Order::Stop };
            if order == Order::Stop && std::mem::replace(&mut stopping, true) {
                std::process::exit(1);
            }
            if sender.send(order).is_err() && order == Order::Reload {
                return;
            }
        }
    })?;
    Ok(receiver)
}
