//! Who asks, and whether they may: a bearer token or a client certificate, and the role that it has.
//!
//! Whoever presents a token is judged by it alone: one that is wrong is not made good by a certificate. Failures are
//! limited by address and evented; what proves itself is never refused for the failures of others at its address
//! (attack 48).

use crate::peer::Peer;
use crate::problem::Problem;
use crate::state::{ApiState, lock};
use axum::extract::{FromRequestParts, Request};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ravelin_event::Event;
use ravelin_node::control::{Actor, Role, Via};
use ravelin_protect::IdentityFrom;
use std::sync::atomic::Ordering;

/// Who asks; a handler takes it as an argument and hands it to the [`Control`](ravelin_node::control::Control).
#[derive(Clone, Debug)]
pub struct Caller(pub Actor);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Problem> {
        // Only an endpoint that is open to everyone has no caller, and it must not act for one.
        parts.extensions.get().cloned().ok_or_else(|| Problem::internal("this endpoint knows no caller"))
    }
}

/// Why somebody is not let in.
enum Refused {
    /// Presented nothing.
    Nothing,
    /// Presented something that is not good.
    Bad(&'static str),
    /// Proved who it is, and has no role.
    NoRole(String),
}

/// Lets those pass that have at least `role`.
pub(crate) async fn require(role: Role, mut request: Request, next: Next) -> Response {
    let Some(state) = request.extensions().get::<ApiState>().cloned() else {
        return Problem::internal("the endpoint is not within its frame").into_response();
    };
    let actor = match judge(&state, &request, role) {
        Ok(actor) => actor,
        Err(problem) => return problem.into_response(),
    };
    request.extensions_mut().insert(Caller(actor));
    next.run(request).await
}

fn judge(state: &ApiState, request: &Request, role: Role) -> Result<Actor, Problem> {
    let Some(peer) = request.extensions().get::<Peer>() else {
        return Err(Problem::internal("the request has no connection"));
    };
    let actor = authenticate(state, peer, request.headers())
        .map_err(|refused| refuse(state, peer, request, &refused))?;
    if actor.role < role {
        let detail =
            format!("this takes the role {}, and {} is {}", role.name(), actor.name, actor.role.name());
        state.lane.counters.forbidden.fetch_add(1, Ordering::Relaxed);
        tell(state, peer, request, Some(actor.name), &detail);
        return Err(
            Problem::new(StatusCode::FORBIDDEN, detail).help("ask an admin for a token with that role")
        );
    }
    if request.method() != Method::GET && comes_from_a_foreign_page(request.headers()) {
        let detail = "the request was made by a page of another origin";
        tell(state, peer, request, Some(actor.name), detail);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    Ok(actor)
}

fn authenticate(state: &ApiState, peer: &Peer, headers: &HeaderMap) -> Result<Actor, Refused> {
    let now_ms = state.control.now().wall_ms;
    let address = peer.address();
    let settings = state.settings();
    // A certificate that is no longer good is an error even beside a token: the two were presented together.
    let facts = peer.certificate(&settings, now_ms).map_err(Refused::Bad)?;
    let identity = facts.and_then(|facts| facts.identity(IdentityFrom::CommonName).ok());
    if facts.is_some_and(|facts| state.control.is_revoked(facts, identity.as_deref())) {
        return Err(Refused::Bad("the certificate was revoked"));
    }
    if let Some(header) = headers.get(AUTHORIZATION) {
        let secret = header.to_str().ok().and_then(bearer).ok_or(Refused::Bad("not a bearer token"))?;
        let verified = state.lane.tokens.verify(secret, now_ms / 1000, address.ip());
        let (token, write) =
            verified.ok_or(Refused::Bad("the token is not known, has expired or was revoked"))?;
        if write {
            let (tokens, id) = (state.lane.tokens.clone(), token.id.clone());
            tokio::task::spawn_blocking(move || tokens.write_down(&id));
        }
        let name = format!("token:{}", token.name);
        return Ok(Actor { name, role: token.role, via: Via::Api, address: Some(address) });
    }
    let facts = facts.ok_or(Refused::Nothing)?;
    let (name, role) =
        settings.role_of(facts).ok_or_else(|| Refused::NoRole(format!("sha256:{}", facts.fingerprint)))?;
    Ok(Actor { name, role, via: Via::Api, address: Some(address) })
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refuse(state: &ApiState, peer: &Peer, request: &Request, refused: &Refused) -> Problem {
    state.lane.counters.unauthenticated.fetch_add(1, Ordering::Relaxed);
    let (status, why, help, actor) = match refused {
        Refused::Nothing => (
            StatusCode::UNAUTHORIZED,
            "who asks is not known",
            "present a client certificate, or `Authorization: Bearer TOKEN`",
            None,
        ),
        Refused::Bad(why) => {
            (StatusCode::UNAUTHORIZED, *why, "present a client certificate or a token that is valid", None)
        }
        Refused::NoRole(print) => (
            StatusCode::FORBIDDEN,
            "the certificate has no role on the control lane",
            "name it in `admins`, `operators` or `viewers` of `[control]`, then reload",
            Some(print.clone()),
        ),
    };
    let allowed = lock(&state.lane.failures).take(state.control.now().mono_ms, peer.address().ip());
    match allowed {
        Ok(()) => {
            emit(state, peer, request, actor, why);
            Problem::new(status, why).help(help)
        }
        Err(wait_s) => {
            state.lane.counters.throttled.fetch_add(1, Ordering::Relaxed);
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many failed attempts from this address")
                .help("present a client certificate or a token that is valid: it is accepted at once")
                .retry_after(wait_s)
        }
    }
}

/// An event, unless the address has caused too many.
fn tell(state: &ApiState, peer: &Peer, request: &Request, actor: Option<String>, why: &str) {
    if lock(&state.lane.failures).take(state.control.now().mono_ms, peer.address().ip()).is_ok() {
        emit(state, peer, request, actor, why);
    }
}

fn emit(state: &ApiState, peer: &Peer, request: &Request, actor: Option<String>, why: &str) {
    state.control.emit(Event::AdminRefused {
        actor,
        address: Some(peer.address()),
        method: request.method().to_string(),
        path: request.uri().path().chars().take(256).collect(),
        why: why.into(),
    });
}

/// A browser that holds a client certificate presents it for every page that asks; only our own may act with it.
fn comes_from_a_foreign_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    match (headers.get(ORIGIN), text(HOST)) {
        (None, _) => false,
        (Some(origin), Some(host)) => {
            let origin = origin.to_str().unwrap_or_default();
            origin.strip_prefix("https://").or(origin.strip_prefix("http://")) != Some(host)
        }
        (Some(_), None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_origins_are_told_from_our_own() {
        let foreign = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            comes_from_a_foreign_page(&headers)
        };
        assert!(!foreign(&[("host", "localhost:8886")]), "no browser");
        assert!(!foreign(&[("host", "localhost:8886"), ("origin", "https://localhost:8886")]));
        assert!(foreign(&[("host", "localhost:8886"), ("origin", "https://evil.example")]));
        assert!(foreign(&[("host", "localhost:8886"), ("origin", "null")]));
        assert!(foreign(&[("host", "localhost:8886"), ("sec-fetch-site", "cross-site")]));
        assert!(foreign(&[("origin", "https://localhost:8886")]), "no host to compare with");
    }

    #[test]
    fn only_a_bearer_token_is_one() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        for bad in ["Basic abc", "Bearer", "", "abc"] {
            assert_eq!(bearer(bad), None, "{bad}");
        }
    }
}
