//! What a request carries: JSON whose errors say where, and queries that know their keys.

use crate::problem::Problem;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// JSON: of a request, with every error at its line and column; of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

/// The query of a request; an unknown key is an error if the type denies it.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

/// Parts of the path.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Json<T>, Problem> {
        let declared = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        // A form of another origin can be sent without asking; with this type it cannot.
        if declared.is_none_or(|value| !is_json(value)) {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not JSON")
                .help("send `Content-Type: application/json`"));
        }
        let bytes = body(request, state).await?;
        from_slice(&bytes).map(Json)
    }
}

/// The body, within the limit.
pub(crate) async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        let status = rejection.into_response().status();
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(status, "the body is larger than is accepted")
                .help("send less at once, or raise `body_bytes_max` in `[control]`"),
            _ => Problem::bad_request("the body could not be read to its end"),
        }
    })
}

/// Reads JSON; the problem says what is wrong, and where.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        // serde_json puts the place behind; it has its own words here.
        let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
        let place = match (error.line(), error.column()) {
            (0, _) => String::new(),
            (line, column) => format!("line {line}, column {column}: "),
        };
        let detail = format!("{place}{what}");
        if error.is_data() { Problem::invalid(detail) } else { Problem::bad_request(detail) }
    })
}

fn is_json(value: &str) -> bool {
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query<T>, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(query) => Ok(Query(query.0)),
            Err(rejection) => Err(Problem::bad_request(rejection.body_text())),
        }
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(path) => Ok(Path(path.0)),
            Err(rejection) => Err(Problem::bad_request(rejection.body_text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Ban {
        #[allow(dead_code)]
        minutes: u8,
    }

    #[test]
    fn errors_of_json_have_a_place_and_no_secret() {
        let problem = from_slice::<Ban>(b"{\n  \"minutes\": 5,\n  }").unwrap_err();
        assert_eq!(problem.status(), 400);
        assert!(problem.detail().starts_with("line 3, column 3: "), "{}", problem.detail());
        let problem = from_slice::<Ban>(b"{\n  \"minutes\": 500}").unwrap_err();
        assert_eq!(problem.status(), 422);
        assert!(problem.detail().starts_with("line 2, column 16: "), "{}", problem.detail());
        let problem = from_slice::<Ban>(b"{\"mintues\": 5}").unwrap_err();
        assert!(problem.detail().contains("unknown field `mintues`"), "{}", problem.detail());
        assert_eq!(from_slice::<Ban>(b"").unwrap_err().status(), 400);
        let deep = from_slice::<serde_json::Value>(&[b'['; 100_000]);
        assert_eq!(deep.unwrap_err().status(), 400, "depth is bounded");
    }

    #[test]
    fn only_json_is_json() {
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert!(is_json(good), "{good}");
        }
        for bad in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
