//! `GET /metrics`, for Prometheus.

use super::Api;
use crate::metrics::{self, MEDIA_TYPE};
use crate::state::ApiState;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(metrics))
}

/// The same without a role, for the listener that serves nothing else.
pub(super) fn open() -> Router<ApiState> {
    Router::new().route("/metrics", axum::routing::get(metrics))
}

/// What the node counts, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, description = "All families.", body = String, content_type = "text/plain")))]
async fn metrics(State(state): State<ApiState>) -> impl IntoResponse {
    ([(CONTENT_TYPE, MEDIA_TYPE)], metrics::text(&state))
}
