//! Who is told of alarms, actions and events: how each of them is doing, and a test that it arrives.

use super::Api;
use crate::auth::Caller;
use crate::body::{Json, Path};
use crate::problem::Problem;
use crate::state::aside;
use axum::extract::State;
use ravelin_node::control::{Control, OutwardFailure};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    let api = api.viewer(routes!(list));
    api.operator(routes!(test))
}

/// How somebody who is told is doing.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Destination {
    /// Its name in the configuration.
    pub name: String,
    /// `webhook`, `syslog`, `fail2ban`, `file` or `mqtt`.
    pub kind: String,
    /// Where it is.
    pub target: String,
    /// `idle`, `sending`, or `retrying` after a failure.
    pub state: String,
    /// What waits.
    pub waiting: u64,
    /// Its bytes.
    pub waiting_bytes: u64,
    /// What has arrived since the start.
    pub sent: u64,
    /// Attempts that have failed since the start.
    pub failed: u64,
    /// What was dropped since the start, because there was no room for it.
    pub dropped: u64,
    /// What it has refused for good since the start.
    pub refused: u64,
    /// How long the oldest of what waits has done so, in milliseconds.
    pub oldest_ms: u64,
    /// When something arrived last, in milliseconds since the Unix epoch; null: not since the start.
    pub last_sent_ms: Option<u64>,
    /// Why the last attempt has failed; null: it did not.
    pub error: Option<String>,
}

/// All of them.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Destinations {
    /// In the order of the configuration; monitors last.
    pub items: Vec<Destination>,
    /// What was dropped since the start before it was any destination's, because too much came at once.
    pub lost: u64,
}

impl From<ravelin_node::control::DestinationView> for Destination {
    fn from(view: ravelin_node::control::DestinationView) -> Destination {
        Destination {
            name: view.name,
            kind: view.kind.into(),
            target: view.target,
            state: view.state.name().into(),
            waiting: view.waiting,
            waiting_bytes: view.waiting_bytes,
            sent: view.sent,
            failed: view.failed,
            dropped: view.dropped,
            refused: view.refused,
            oldest_ms: view.oldest_ms,
            last_sent_ms: view.last_sent_ms,
            error: view.error,
        }
    }
}

/// How each of those who are told of alarms, actions and events is doing.
#[utoipa::path(get, path = "/v1/outward", tag = "outward",
    responses((status = 200, description = "How they are.", body = Destinations)))]
async fn list(State(control): State<Control>) -> Result<Json<Destinations>, Problem> {
    let items = control.destinations().into_iter().map(Destination::from).collect();
    Ok(Json(Destinations { items, lost: control.outward_lost() }))
}

/// Sends a test to one of them, and waits until it has arrived. It has its place behind what waits already.
#[utoipa::path(post, path = "/v1/outward/{name}/test", tag = "outward",
    params(("name" = String, Path, description = "Its name in the configuration.")),
    responses((status = 200, description = "It has arrived.", body = Destination)))]
async fn test(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(name): Path<String>,
) -> Result<Json<Destination>, Problem> {
    let tested = aside(move || control.blocking_test_destination(&actor, &name)).await?;
    tested.map(|view| Json(view.into())).map_err(|failure| match failure {
        OutwardFailure::Unknown(_) => Problem::not_found(failure.to_string()),
        failure => Problem::unavailable(failure.to_string()),
    })
}
