//! Whether the node lives and serves: a word, to whoever asks. Details take a viewer (`GET /v1/status`).

use super::Api;
use crate::frame::AnswersItself;
use crate::state::ApiState;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::sync::atomic::Ordering;
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    api.open(routes!(alive)).open(routes!(ready))
}

/// Whether the node's process answers.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain")))]
async fn alive() -> &'static str {
    "ok\n"
}

/// Whether the node serves clients: its shards run, its store works, and nobody drains it.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain"),
        (status = 503, description = "It does not.", body = String, content_type = "text/plain")))]
async fn ready(State(state): State<ApiState>) -> Response {
    let status = state.control.status();
    let ready = status.ready && !state.lane.draining.load(Ordering::Relaxed);
    if ready {
        return "ready\n".into_response();
    }
    let word = if status.draining { "draining\n" } else { "not ready\n" };
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, word).into_response();
    response.extensions_mut().insert(AnswersItself);
    response
}
