//! What holds for every request, whatever its endpoint: limits, time, headers of the answer, and how errors look.

use crate::peer::Peer;
use crate::problem::{self, MEDIA_TYPE, Problem};
use crate::state::{ApiState, lock};
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::{Router, http};
use ravelin_event::Event;
use std::sync::Arc;
use std::time::Instant;

/// Puts the frame around a router.
pub(crate) fn around(router: Router<ApiState>, state: &ApiState) -> Router {
    let body_bytes_max = usize::try_from(state.settings().limits.body_bytes_max).unwrap_or(usize::MAX);
    router
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(middleware::from_fn_with_state(state.clone(), frame))
        .with_state(state.clone())
}

async fn frame(State(state): State<ApiState>, mut request: Request, next: Next) -> Response<Body> {
    let began = Instant::now();
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    request.extensions_mut().insert(state.clone());
    let mut response = match run(&state, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    if let Some(problem) = problem_of(&mut response) {
        // What axum says beside the status (`Allow`) is kept.
        let answer = problem.answer(&path);
        let (parts, body) = answer.into_parts();
        for (name, value) in &parts.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = if method == http::Method::HEAD { Body::empty() } else { body };
    }
    harden(&mut response, state.settings().tls.is_some());
    state.lane.calls.record(&method, route.as_deref(), response.status(), began.elapsed());
    response
}

async fn run(state: &ApiState, request: Request, next: Next) -> Result<Response<Body>, Problem> {
    let peer = request.extensions().get::<Peer>().map(Peer::address);
    let address = peer.ok_or_else(|| Problem::internal("the request has no connection"))?;
    let now_ms = state.control.now().mono_ms;
    lock(&state.lane.requests).take(now_ms, address.ip()).map_err(|wait_s| {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests from this address").retry_after(wait_s)
    })?;
    let limits = state.settings().limits.clone();
    let route = request.extensions().get::<MatchedPath>().map_or("?", MatchedPath::as_str).to_owned();
    if request.body().size_hint().lower() > limits.body_bytes_max {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than is accepted")
            .help("send less at once, or raise `body_bytes_max` in `[control]`"));
    }
    let slot = Arc::clone(&state.lane.in_flight)
        .try_acquire_owned()
        .map_err(|_| Problem::unavailable("too many requests are being dealt with").retry_after(1))?;
    // A task of its own: an order is carried out to its end, with the event that tells of it, even if the client has gone; and a
    // failure inside the node is contained to one request.
    let work = tokio::spawn(async move {
        let response = next.run(request).await;
        drop(slot);
        response
    });
    match tokio::time::timeout(limits.request_timeout, work).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(_)) => {
            let what = format!("a request to {route}");
            state.control.emit(Event::InternalError { what, address: Some(address) });
            Err(Problem::internal("the node met an error of its own"))
        }
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took longer than it may")
            .help("it may have been carried out: look before you send it again")),
    }
}

/// The problem that the answer is, if it is one.
fn problem_of(response: &mut Response<Body>) -> Option<Problem> {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return Some(problem);
    }
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let written = response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == MEDIA_TYPE);
    // Readiness answers an error in a form of its own.
    let own = response.extensions().get::<AnswersItself>().is_some();
    (is_error && !written && !own).then(|| problem::of_status(status))
}

/// Marks an answer whose status is an error but which is not a problem.
#[derive(Clone, Copy)]
pub(crate) struct AnswersItself;

/// No answer is cached, guessed at, framed or followed; none says what made it.
fn harden(response: &mut Response<Body>, encrypted: bool) {
    let headers = response.headers_mut();
    // A drawing shows text that clients chose, and has a style sheet of ours. The text is escaped; and where that failed,
    // nothing in it runs or is fetched.
    let is_drawing = headers.get(header::CONTENT_TYPE).is_some_and(|media| media == "image/svg+xml");
    let policy = match is_drawing {
        true => "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
        false => "default-src 'none'; frame-ancestors 'none'",
    };
    let fixed: [(HeaderName, &'static str); 5] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if encrypted {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    headers.remove(header::SERVER);
}
