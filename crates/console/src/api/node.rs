//! The node itself: how it is, who asks, reload, log level, drain, shutdown.

use super::{Api, no_content};
use crate::auth::Caller;
use crate::body::Json;
use crate::problem::Problem;
use crate::state::ApiState;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ravelin_event::Level;
use ravelin_node::control::Control;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(status))
        .viewer(routes!(whoami))
        .viewer(routes!(listeners))
        .viewer(routes!(document))
        .admin(routes!(reload))
        .viewer(routes!(log_level))
        .admin(routes!(set_log_level))
        .admin(routes!(drain))
        .admin(routes!(shutdown))
}

/// The document of this API, made once.
#[derive(Clone)]
pub(super) struct Document(pub Arc<str>);

/// How the node is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Its name in the configuration.
    pub name: String,
    /// The version of the software.
    pub version: String,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// Worker threads.
    pub shards: u64,
    /// Whether it serves and its store works.
    pub ready: bool,
    /// Whether an operator asked that no new work be sent here.
    pub draining: bool,
    /// Connections, authenticated or not.
    pub connections: u64,
    /// Sessions that are connected.
    pub clients_connected: u64,
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Retained messages.
    pub retained: u64,
    /// Messages that wait for sessions.
    pub queued: u64,
    /// PUBLISH packets received since the start.
    pub publishes_in: u64,
    /// PUBLISH packets sent since the start.
    pub publishes_out: u64,
}

/// How the node is: its figures are at most a second old.
#[utoipa::path(get, path = "/v1/status", tag = "node",
    responses((status = 200, description = "How it is.", body = NodeStatus)))]
async fn status(State(state): State<ApiState>) -> Json<NodeStatus> {
    let (status, figures) = (state.control.status(), state.control.figures());
    let stats = figures.stats;
    Json(NodeStatus {
        name: status.name,
        version: status.version.into(),
        uptime_s: status.uptime_s,
        shards: status.shards as u64,
        ready: status.ready,
        draining: state.lane.draining.load(Ordering::Relaxed),
        connections: figures.connections,
        clients_connected: stats.connected,
        sessions: stats.sessions,
        subscriptions: stats.subscriptions,
        retained: stats.retained,
        queued: stats.queued,
        publishes_in: stats.publish_received,
        publishes_out: stats.publish_sent,
    })
}

/// Who asks, as the node sees it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The identity of the certificate, or `token:` and the name of the token.
    pub name: String,
    /// What it may do.
    #[schema(example = "viewer")]
    pub role: String,
    /// From where it asks.
    pub address: Option<String>,
}

/// Who asks, and with which role.
#[utoipa::path(get, path = "/v1/whoami", tag = "node",
    responses((status = 200, description = "Who asks.", body = Whoami)))]
async fn whoami(Caller(actor): Caller) -> Json<Whoami> {
    let address = actor.address.map(|address| address.to_string());
    Json(Whoami { name: actor.name, role: actor.role.name().into(), address })
}

/// A listener of the data plane.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ListenerStatus {
    /// Its name in the configuration.
    pub name: String,
    /// `tls`, `tcp`, `ws` or `wss`.
    pub transport: String,
    /// Where it listens.
    pub address: String,
    /// `required`, `optional` or `none`.
    pub client_certificate: String,
    /// What proves who a client is.
    pub authentication: Vec<String>,
}

/// The listeners of the data plane.
#[utoipa::path(get, path = "/v1/listeners", tag = "node",
    responses((status = 200, description = "All of them, in the order of the configuration.", body = [ListenerStatus])))]
async fn listeners(State(control): State<Control>) -> Json<Vec<ListenerStatus>> {
    let config = control.config();
    let describe = |(name, transport, address): (String, &str, std::net::SocketAddr)| {
        let listener = config.listeners.iter().find(|listener| listener.name == name);
        let policy = listener.map(|listener| listener.policy);
        let demand = policy.map(|policy| format!("{:?}", policy.client_certificate).to_lowercase());
        ListenerStatus {
            name,
            transport: transport.into(),
            address: address.to_string(),
            client_certificate: demand.unwrap_or_default(),
            authentication: policy.map(|policy| methods(policy.methods)).unwrap_or_default(),
        }
    };
    Json(control.status().listeners.into_iter().map(describe).collect())
}

fn methods(methods: ravelin_protect::Methods) -> Vec<String> {
    let all = [
        ("certificate", methods.certificate),
        ("password", methods.password),
        ("scram-sha-256", methods.scram_sha_256),
    ];
    all.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_owned()).collect()
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "node",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object)))]
async fn document(Extension(Document(text)): Extension<Document>) -> Response {
    ([(CONTENT_TYPE, "application/json")], text.to_string()).into_response()
}

/// Reads configuration, certificates, rules and passwords again, as SIGHUP does. If anything is wrong, nothing changes.
#[utoipa::path(post, path = "/v1/reload", tag = "node",
    responses((status = 204, description = "It took effect."),
        (status = 409, description = "It did not; the detail says why.",
            body = crate::problem::ProblemBody, content_type = "application/problem+json")))]
async fn reload(State(control): State<Control>, Caller(actor): Caller) -> Result<Response, Problem> {
    control.reload(&actor).await.map_err(|why| {
        Problem::conflict(why).help("nothing was changed; `ravelin check` says more of a configuration")
    })?;
    Ok(no_content())
}

/// From which level on events are logged.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    /// `trace`, `debug`, `info` or `warn`.
    #[schema(example = "info")]
    pub level: String,
}

const LEVELS: [(&str, Level); 4] =
    [("trace", Level::Trace), ("debug", Level::Debug), ("info", Level::Info), ("warn", Level::Warn)];

/// From which level on events are logged.
#[utoipa::path(get, path = "/v1/loglevel", tag = "node",
    responses((status = 200, description = "The level.", body = LogLevel)))]
async fn log_level(State(control): State<Control>) -> Json<LogLevel> {
    let level = control.log_level();
    let name = LEVELS.iter().find(|(_, known)| *known == level).map_or("info", |(name, _)| name);
    Json(LogLevel { level: name.into() })
}

/// Changes from which level on events are logged, until the next reload.
#[utoipa::path(put, path = "/v1/loglevel", tag = "node", request_body = LogLevel,
    responses((status = 204, description = "It took effect.")))]
async fn set_log_level(
    State(control): State<Control>,
    Caller(actor): Caller,
    Json(wanted): Json<LogLevel>,
) -> Result<Response, Problem> {
    let (_, level) = LEVELS
        .iter()
        .find(|(name, _)| *name == wanted.level)
        .ok_or_else(|| Problem::invalid("`level` is one of trace, debug, info, warn"))?;
    control.set_log_level(&actor, *level);
    Ok(no_content())
}

/// Whether new work is wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// True: `/readyz` says no, so that a load balancer sends nobody here any more; who is connected stays.
    pub draining: bool,
}

/// Takes the node out of the rotation of a load balancer, or puts it back in, by what `/readyz` answers.
#[utoipa::path(put, path = "/v1/drain", tag = "node", request_body = Drain,
    responses((status = 204, description = "It took effect.")))]
async fn drain(State(state): State<ApiState>, Caller(actor): Caller, Json(wanted): Json<Drain>) -> Response {
    state.lane.draining.store(wanted.draining, Ordering::Relaxed);
    let detail = if wanted.draining { "on" } else { "off" };
    state.control.administered(&actor, "node.drain", "node", Ok(detail));
    no_content()
}

/// Stops the node in order, as SIGTERM does: clients are told, everything is written.
#[utoipa::path(post, path = "/v1/shutdown", tag = "node",
    responses((status = 202, description = "It stops.")))]
async fn shutdown(State(control): State<Control>, Caller(actor): Caller) -> Result<StatusCode, Problem> {
    if control.stop(&actor) {
        return Ok(StatusCode::ACCEPTED);
    }
    Err(Problem::unavailable("the node does not run as a service that could be asked"))
}
