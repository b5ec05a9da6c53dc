//! What went wrong, as RFC 9457 has it: `application/problem+json` with a title, the case at hand, and what to do.
//!
//! A handler returns a [`Problem`]; the frame around all handlers writes it, with the path that was asked for. What
//! axum itself refuses (an unknown path, another method) becomes a problem there too.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use ravelin_node::control::{RecordsError, Unavailable};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem, as it goes over the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(title = "Problem")]
pub struct ProblemBody {
    /// What kind of problem it is; stable.
    #[serde(rename = "type")]
    #[schema(example = "urn:ravelin:problem:not-found")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What is wrong in this case.
    pub detail: String,
    /// The path that was asked for.
    pub instance: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
}

/// Why a request has no other answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    help: String,
    retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem with a status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into(), help: String::new(), retry_after_s: None }
    }

    /// What was sent cannot be meant (400).
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is no such thing (404).
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// It cannot be done as things are (409): it exists already, or something else depends on it.
    pub fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, detail)
    }

    /// What was sent is well formed, but a value in it cannot be accepted (422).
    pub fn invalid(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// The node is at one of its limits (429 is for the caller's own rate; this is 503).
    pub fn unavailable(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// Something that should work does not (500).
    pub fn internal(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = help.into();
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Problem {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong in this case.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The body, for a request of this path.
    pub fn body(&self, instance: &str) -> ProblemBody {
        let title = self.status.canonical_reason().unwrap_or("Problem");
        ProblemBody {
            kind: format!("urn:ravelin:problem:{}", title.to_ascii_lowercase().replace(' ', "-")),
            title: title.into(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            instance: instance.into(),
            help: self.help.clone(),
        }
    }

    /// The answer, for a request of this path.
    pub fn answer(&self, instance: &str) -> Response<Body> {
        let body = serde_json::to_vec(&self.body(instance)).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer realm=\"control\"");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

/// The frame around the handlers writes the body: only it knows the path.
impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// What axum refused, as a problem: it says only a status.
pub(crate) fn of_status(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => {
            Problem::not_found("there is nothing at this path").help("the paths are in /v1/openapi.json")
        }
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(status, "this path does not take this method")
            .help("the methods of each path are in /v1/openapi.json"),
        status => Problem::new(status, status.canonical_reason().unwrap_or("the request was refused")),
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Problem {
        Problem::unavailable(error.to_string()).retry_after(1)
    }
}

impl From<RecordsError> for Problem {
    fn from(error: RecordsError) -> Problem {
        match error {
            RecordsError::TooLarge { .. } => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            _ => Problem::unavailable(error.to_string()).help("nothing was changed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_every_member_of_the_rfc() {
        let problem = Problem::not_found("no client \"a\"").help("see GET /v1/clients");
        let response = problem.answer("/v1/clients/a");
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()[CONTENT_TYPE], MEDIA_TYPE);
        let json = serde_json::to_value(problem.body("/v1/clients/a")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"type": "urn:ravelin:problem:not-found", "title": "Not Found", "status": 404,
                "detail": "no client \"a\"", "instance": "/v1/clients/a", "help": "see GET /v1/clients"})
        );
    }

    #[test]
    fn who_is_not_known_is_told_how_to_be() {
        let response = Problem::new(StatusCode::UNAUTHORIZED, "who are you?").retry_after(6).answer("/v1/x");
        assert!(response.headers().contains_key("www-authenticate"));
        assert_eq!(response.headers()["retry-after"], "6");
    }
}
