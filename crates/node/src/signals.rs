//! The life of a node as a service: signals, systemd, the end.

use crate::config::{Config, ConfigErrors};
use crate::control::Request;
use crate::error::Error;
use crate::node::Node;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How often it is checked that the node still runs.
const CHECK: Duration = Duration::from_secs(1);

/// The signals that a node answers. Caught before it starts: whoever sees it listening may send one.
pub struct Caught(Signals);

impl Caught {
    /// Catches SIGHUP, SIGINT and SIGTERM from now on. What comes before [`run`] waits for it.
    pub fn new() -> Result<Caught, Error> {
        let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(Error::system("catch signals"))?;
        Ok(Caught(signals))
    }
}

/// Runs `node` until SIGTERM or SIGINT, which stop it in order; a second one ends the process at once. SIGHUP reads
/// the configuration again with `load`.
pub fn run(
    mut node: Node,
    caught: Caught,
    mut load: impl FnMut() -> Result<Config, ConfigErrors>,
) -> Result<(), Error> {
    let (sender, orders) = channel();
    listen(caught.0, sender.clone()).map_err(Error::system("wait for signals"))?;
    node.control().attend(sender);
    let check = sd_notify::watchdog_enabled().map_or(CHECK, |interval| (interval / 3).min(CHECK));
    notify(&[NotifyState::Ready]);
    loop {
        match orders.recv_timeout(check) {
            Ok(Request::Reload(answer)) => {
                let result = reload(&mut node, &mut load);
                if let Some(answer) = answer {
                    // Whoever asked may have gone.
                    let _ = answer.send(result);
                }
            }
            Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if node.is_running() => notify(&[NotifyState::Watchdog]),
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    notify(&[NotifyState::Stopping]);
    node.shutdown()
}

fn reload(node: &mut Node, load: &mut impl FnMut() -> Result<Config, ConfigErrors>) -> Result<(), String> {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
    // The node tells the log how it went.
    let result = match load() {
        Ok(config) => node.reload(config).map_err(|error| error.to_string()),
        Err(errors) => {
            node.reload_failed(&errors.to_string());
            Err(errors.to_string())
        }
    };
    notify(&[NotifyState::Ready]);
    result
}

/// systemd may not be there, and that is all right.
fn notify(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

fn listen(mut signals: Signals, sender: Sender<Request>) -> std::io::Result<()> {
    std::thread::Builder::new().name("ravelin-signals".into()).spawn(move || {
        let mut stopping = false;
        for signal in signals.forever() {
            let reload = signal == SIGHUP;
            if !reload && std::mem::replace(&mut stopping, true) {
                std::process::exit(1);
            }
            let request = if reload { Request::Reload(None) } else { Request::Stop };
            if sender.send(request).is_err() && reload {
                return;
            }
        }
    })?;
    Ok(())
}
