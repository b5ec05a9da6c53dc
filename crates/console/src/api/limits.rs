//! Every limit of the node, what it is set to, and how near the node is to it.

use super::Api;
use crate::body::Json;
use crate::metrics;
use axum::extract::State;
use ravelin_node::control::Control;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(list))
}

/// A limit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Limit {
    /// Its key in `[limits]`.
    pub name: String,
    /// What it limits.
    pub meaning: String,
    /// What it is set to, as a configuration has it.
    pub configured: String,
    /// The same as a number: bytes, seconds, events a second, or things.
    pub limit: f64,
    /// How much of it is used; null where the node does not count it.
    pub used: Option<u64>,
    /// How often it refused something since the start; null where the node does not count it.
    pub refused: Option<u64>,
}

/// Every limit of the node, in the order of the configuration.
#[utoipa::path(get, path = "/v1/limits", tag = "node",
    responses((status = 200, description = "All of them.", body = [Limit])))]
async fn list(State(control): State<Control>) -> Json<Vec<Limit>> {
    let limits = metrics::uses(&control).into_iter().map(|one| Limit {
        name: one.name.into(),
        meaning: one.meaning.into(),
        configured: one.configured.trim_matches('"').into(),
        limit: one.limit,
        used: one.used,
        refused: one.refused,
    });
    Json(limits.collect())
}
