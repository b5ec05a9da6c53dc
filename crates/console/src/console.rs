//! The lane beside a running node: opened, kept up with the configuration, closed.

use crate::api;
use crate::error::Error;
use crate::frame;
use crate::server;
use crate::settings::Settings;
use crate::state::ApiState;
use ravelin_event::Event;
use ravelin_node::config::Config;
use ravelin_node::control::Control;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What is under way when the lane closes may take so long.
const CLOSE: Duration = Duration::from_secs(2);

/// The control lane of a node. Dropping it closes the lane.
pub struct Console {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What the lane's thread begins with.
struct Open {
    state: ApiState,
    listener: std::net::TcpListener,
    metrics: Option<std::net::TcpListener>,
    configs: watch::Receiver<Arc<Config>>,
    stop: watch::Receiver<bool>,
}

impl Console {
    /// Opens the lane as the node's configuration says; `None` if it says nothing of one. It follows the configuration
    /// from then on.
    pub fn start(control: Control) -> Result<Option<Console>, Error> {
        // Subscribed before the first look: a reload in between is not missed.
        let configs = control.configs();
        let config = control.config();
        let Some(settings) = Settings::load(&config, 0, control.now().wall_ms / 1000)? else {
            return Ok(None);
        };
        let Some(section) = &config.control else { return Ok(None) };
        let transport = if settings.tls.is_some() { "https" } else { "http" };
        let listener = listen(section.address)?;
        let metrics = section.metrics_address.map(listen).transpose()?;
        let local = |listener: &std::net::TcpListener| {
            listener.local_addr().map_err(|source| Error::System { operation: "ask for an address", source })
        };
        let address = local(&listener)?;
        let metrics_address = metrics.as_ref().map(local).transpose()?;
        let state = ApiState::new(control.clone(), settings);
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(8)
            .thread_name("ravelin-aside")
            .build()
            .map_err(|source| Error::System { operation: "start the control lane", source })?;
        let open = Open { state, listener, metrics, configs, stop: stopped };
        let thread = std::thread::Builder::new()
            .name("ravelin-control".into())
            .spawn(move || {
                runtime.block_on(run(open));
                runtime.shutdown_timeout(CLOSE);
            })
            .map_err(|source| Error::System { operation: "start the control lane", source })?;
        let tell = |listener: &str, transport: &str, address| {
            control.emit(Event::Listening {
                listener: listener.into(),
                address,
                transport: transport.into(),
            });
        };
        tell("control", transport, address);
        if let Some(address) = metrics_address {
            tell("metrics", "http", address);
        }
        Ok(Some(Console { address, metrics_address, stop, thread: Some(thread) }))
    }

    /// Where it listens, with the port that was chosen for 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics` is served beside, if it is.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Binds at once, so that an address that is taken is an error of the start.
fn listen(address: SocketAddr) -> Result<std::net::TcpListener, Error> {
    let bind = || -> io::Result<std::net::TcpListener> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|source| Error::Listen { address, source })
}

async fn run(open: Open) {
    let Open { state, listener, metrics, configs, stop } = open;
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    if let Some(Ok(metrics)) = metrics.map(TcpListener::from_std) {
        let router = frame::around(api::metrics_only(), &state);
        tokio::spawn(server::serve(metrics, router, state.clone(), false, stop.clone()));
    }
    tokio::spawn(follow(state.clone(), configs));
    let router = frame::around(api::all().into_router(), &state);
    server::serve(listener, router, state, true, stop).await;
    // Those that are being answered have been told to end; they have a moment for it.
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Takes up each configuration that takes effect.
async fn follow(state: ApiState, mut configs: watch::Receiver<Arc<Config>>) {
    while configs.changed().await.is_ok() {
        let config = Arc::clone(&configs.borrow_and_update());
        let generation = state.settings().generation + 1;
        match Settings::load(&config, generation, state.now_s()) {
            Ok(Some(settings)) => state.set_settings(settings),
            // A reload that drops the section is refused: the lane ends with the node.
            Ok(None) => {}
            Err(errors) => state.control.emit(Event::ReloadFailed { error: errors.to_string() }),
        }
    }
}
