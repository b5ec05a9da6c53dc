//! Drills: whether this node consents to attacks that are rehearsed on it, and the one that runs.

use super::{Api, no_content};
use crate::auth::Caller;
use crate::body::Json;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ravelin_node::control::{Control, DRILL_PREFIX, Drill, DrillFailure};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(show)).admin(routes!(begin)).admin(routes!(end))
}

/// Whether drills are allowed, and the one that runs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DrillStatus {
    /// Whether the configuration consents (`[drill] allow`).
    pub allowed: bool,
    /// How the names of a drill's clients begin.
    pub prefix: String,
    /// Real clients that a drill may play, where it has their certificates.
    pub play: Vec<String>,
    /// The one that runs.
    pub running: Option<DrillItem>,
}

/// A drill.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DrillItem {
    /// Its number.
    pub id: u64,
    /// What is rehearsed.
    pub scenario: String,
    /// Who ordered it.
    pub by: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub began_ms: u64,
}

/// What to rehearse.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillRequest {
    /// The name of the scenario.
    #[schema(example = "note")]
    pub scenario: String,
}

/// How it went.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillEnd {
    /// The number of the drill.
    pub id: u64,
    /// Its outcome in a line, for the record.
    #[schema(example = "12 of 12 attacks alarmed or stopped")]
    pub outcome: String,
}

fn item(drill: Drill) -> DrillItem {
    let Drill { id, scenario, by, began_ms } = drill;
    DrillItem { id, scenario, by, began_ms }
}

impl From<DrillFailure> for Problem {
    fn from(failure: DrillFailure) -> Problem {
        let text = failure.to_string();
        match failure {
            DrillFailure::NotAllowed => Problem::conflict(text)
                .help("add `[drill]` with `allow = true` to the configuration, and reload it"),
            DrillFailure::TooLong { .. } => Problem::invalid(text),
            _ => Problem::conflict(text),
        }
    }
}

/// Whether drills are allowed, and the one that runs.
#[utoipa::path(get, path = "/v1/drill", tag = "drill",
    responses((status = 200, description = "How it is.", body = DrillStatus)))]
async fn show(State(control): State<Control>) -> Json<DrillStatus> {
    let config = control.config();
    Json(DrillStatus {
        allowed: config.drill.allow,
        prefix: DRILL_PREFIX.into(),
        play: config.drill.play.clone(),
        running: control.drill().map(item),
    })
}

/// Begins a drill, if the configuration consents and none runs. Its clients' names begin with `drill-`; the record tells
/// when it began and ended. Without an end it is over after 15 minutes.
#[utoipa::path(post, path = "/v1/drill", tag = "drill", request_body = DrillRequest,
    responses((status = 201, description = "It has begun.", body = DrillItem)))]
async fn begin(
    State(control): State<Control>,
    Caller(actor): Caller,
    Json(request): Json<DrillRequest>,
) -> Result<(StatusCode, Json<DrillItem>), Problem> {
    let drill = control.begin_drill(&actor, &request.scenario)?;
    Ok((StatusCode::CREATED, Json(item(drill))))
}

/// Ends a drill.
#[utoipa::path(post, path = "/v1/drill/end", tag = "drill", request_body = DrillEnd,
    responses((status = 204, description = "It has ended.")))]
async fn end(
    State(control): State<Control>,
    Caller(actor): Caller,
    Json(request): Json<DrillEnd>,
) -> Result<Response, Problem> {
    control.end_drill(&actor, request.id, &request.outcome)?;
    Ok(no_content())
}
