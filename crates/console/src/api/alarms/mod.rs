//! Alarms: what detectors have said, and what operators found it to be.

mod inspections;
mod suppressions;
mod trust;

pub use inspections::{InspectionItem, InspectionOrder};
pub use suppressions::{SuppressionItem, SuppressionMade, SuppressionOrder};
pub use trust::{DetectorItem, TrustItem, TrustReasonItem};

use super::{Api, no_content};
use crate::auth::Caller;
use crate::body::{Json, Path, Query};
use crate::page::{Listing, Page, PageQuery};
use crate::problem::Problem;
use crate::state::aside;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use ravelin_event::{Alarm, Severity, Subject, Verification};
use ravelin_node::control::{Control, DetectFailure};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    let api = api.viewer(routes!(list)).viewer(routes!(show)).operator(routes!(verify));
    let api = suppressions::routes(api);
    let api = inspections::routes(api);
    trust::routes(api)
}

/// Which alarms.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AlarmQuery {
    /// `open` (they go on), `cleared`, or `all` [default: all].
    #[param(required = false)]
    state: Option<String>,
    /// Only those of this detector or behaviour.
    #[param(required = false)]
    detector: Option<String>,
    /// Only those as bad as this, or worse: `informational`, `low`, `medium`, `high`, `critical`.
    #[param(required = false)]
    severity: Option<String>,
    /// Only those about this: `client:NAME`, `source:ADDRESS`, `identity:NAME`, `topic:NAME`, `device:NAME`, `class:NAME`, `fleet`.
    #[param(required = false)]
    subject: Option<String>,
}

/// What an operator found an alarm to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerificationOrder {
    /// `true_positive`, `benign_positive` (it was so, and meant to be), `false_positive`, or `unknown`.
    #[schema(value_type = String, example = "false_positive")]
    pub verification: Verification,
    /// Why, for the record.
    #[serde(default)]
    pub note: String,
}

impl From<DetectFailure> for Problem {
    fn from(failure: DetectFailure) -> Problem {
        match failure {
            DetectFailure::Detect(ravelin_detect::Error::NoSuchAlarm(_)) => unknown_alarm(),
            DetectFailure::Detect(ravelin_detect::Error::NoSuchSuppression(_)) => {
                Problem::not_found(failure.to_string()).help("see GET /v1/suppressions")
            }
            DetectFailure::Detect(
                ravelin_detect::Error::TooManySuppressions(_) | ravelin_detect::Error::TooManyInspections,
            ) => Problem::unavailable(failure.to_string()),
            DetectFailure::Records(error) => error.into(),
            other => Problem::invalid(other.to_string()),
        }
    }
}

fn unknown_alarm() -> Problem {
    Problem::not_found("there is no such alarm, or it is no longer kept").help("see GET /v1/alarms")
}

pub(super) fn subject_of(text: &str) -> Result<Subject, Problem> {
    text.parse().map_err(|error: &str| Problem::invalid(error))
}

pub(super) fn severity_of(text: &str) -> Result<Severity, Problem> {
    serde_json::from_value(text.into())
        .map_err(|_| Problem::bad_request("`severity` is informational, low, medium, high or critical"))
}

/// What a list picks.
struct Wanted {
    open: Option<bool>,
    detector: Option<String>,
    severity: Option<Severity>,
    subject: Option<Subject>,
}

impl Wanted {
    fn of(query: AlarmQuery) -> Result<Wanted, Problem> {
        let open = match query.state.as_deref() {
            None | Some("all") => None,
            Some("open") => Some(true),
            Some("cleared") => Some(false),
            Some(_) => return Err(Problem::bad_request("`state` is open, cleared or all")),
        };
        Ok(Wanted {
            open,
            detector: query.detector,
            severity: query.severity.as_deref().map(severity_of).transpose()?,
            subject: query.subject.as_deref().map(subject_of).transpose()?,
        })
    }

    fn picks(&self, alarm: &Alarm) -> bool {
        self.open.is_none_or(|open| alarm.is_open() == open)
            && self.detector.as_deref().is_none_or(|detector| *alarm.detector == *detector)
            && self.severity.is_none_or(|least| alarm.severity >= least)
            && self.subject.as_ref().is_none_or(|subject| alarm.subject == *subject)
    }
}

/// Alarms, open and recent, the latest first. Suppressed ones are among them, and say so.
#[utoipa::path(get, path = "/v1/alarms", tag = "alarms", params(PageQuery, AlarmQuery),
    responses((status = 200, description = "A page of them.", body = Listing<Object>)))]
async fn list(
    State(control): State<Control>,
    page: Page,
    Query(query): Query<AlarmQuery>,
) -> Result<Response, Problem> {
    let wanted = Wanted::of(query)?;
    let before = match page.after.as_deref().map(str::parse::<u64>) {
        None => u64::MAX,
        Some(Ok(id)) => id,
        Some(Err(_)) => return Err(Problem::bad_request("`after` is not a cursor of this list")),
    };
    let found = aside(move || {
        control.detection(|engine, _| {
            let picked = engine.alarms().filter(|alarm| alarm.id < before && wanted.picks(alarm));
            picked.take(page.limit + 1).map(Arc::clone).collect::<Vec<Arc<Alarm>>>()
        })
    });
    let mut found = found.await?;
    let more = found.len() > page.limit;
    found.truncate(page.limit);
    let next = found.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(Listing::at(found.iter().map(|alarm| &**alarm).collect(), next)).into_response())
}

/// One alarm, with the figures, the threshold, and the events that count.
#[utoipa::path(get, path = "/v1/alarms/{id}", tag = "alarms",
    params(("id" = u64, Path, description = "Its number.")),
    responses((status = 200, description = "The alarm.", body = Object)))]
async fn show(State(control): State<Control>, Path(id): Path<u64>) -> Result<Response, Problem> {
    let found = control.detection(|engine, _| engine.alarm(id).cloned());
    found.map(|alarm| Json(&*alarm).into_response()).ok_or_else(unknown_alarm)
}

/// Says what an alarm was found to be. A false positive no longer counts against the client's trust.
#[utoipa::path(post, path = "/v1/alarms/{id}/verification", tag = "alarms", request_body = VerificationOrder,
    params(("id" = u64, Path, description = "Its number.")),
    responses((status = 204, description = "It is kept, also after a restart.")))]
async fn verify(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(id): Path<u64>,
    Json(order): Json<VerificationOrder>,
) -> Result<Response, Problem> {
    aside(move || control.verify_alarm(&actor, id, order.verification, &order.note)).await??;
    Ok(no_content())
}

#[cfg(test)]
mod tests {
    use crate::api::authorization::Lab;
    use crate::client::segment;
    use serde_json::json;

    #[test]
    fn suppressions_are_made_listed_and_taken_back() {
        Lab::run(async |lab| {
            let order = json!({ "detector": "flood", "subject": "client:meter-7", "duration": "1h", "why": "a test" });
            let (status, made) = lab.send("POST", "/v1/suppressions", &order.to_string()).await;
            assert_eq!(status, 201, "{made}");
            for number in 0..3 {
                let order = json!({ "subject": format!("client:c{number}") });
                assert_eq!(lab.send("POST", "/v1/suppressions", &order.to_string()).await.0, 201);
            }
            let (_, page) = lab.get("/v1/suppressions?limit=3").await;
            let first = &page["items"][0];
            assert_eq!(page["items"].as_array().map(Vec::len), Some(3));
            assert_eq!((&first["id"], &first["subject"]), (&made["id"], &json!("client:meter-7")));
            assert_eq!((&first["by"], &first["why"]), (&json!("token:admin"), &json!("a test")));
            assert!(first["until_ms"].as_u64().unwrap() > lab.state.now_s() * 1000, "{first}");
            let rest = format!("/v1/suppressions?limit=3&after={}", page["next"].as_str().unwrap());
            let (_, page) = lab.get(&rest).await;
            assert_eq!((page["items"].as_array().map(Vec::len), &page["next"]), (Some(1), &json!(null)));
            let path = format!("/v1/suppressions/{}", made["id"]);
            assert_eq!(lab.send("DELETE", &path, "").await.0, 204);
            assert_eq!(lab.send("DELETE", &path, "").await.0, 404);
            for wrong in [
                json!({}),
                json!({ "subject": "pump" }),
                json!({ "subject": "client:a", "duration": "soon" }),
                json!({ "subject": "client:a", "until": 5 }),
            ] {
                let (status, problem) = lab.send("POST", "/v1/suppressions", &wrong.to_string()).await;
                assert_eq!(status, 422, "{wrong}: {problem}");
            }
            let (_, events) = lab.get("/v1/events?id=admin.order&wait_s=5").await;
            assert_eq!(events["items"][0]["fields"]["action"], "alarm.suppress", "{events}");
        });
    }

    #[test]
    fn what_is_no_alarm_is_said_to_be_none() {
        Lab::run(async |lab| {
            assert_eq!(lab.get("/v1/alarms").await.1, json!({ "items": [], "next": null }));
            assert_eq!(lab.get("/v1/alarms?state=open&severity=high&subject=fleet").await.0, 200);
            for wrong in ["state=new", "severity=bad", "after=_w", "limit=0"] {
                assert_eq!(lab.get(&format!("/v1/alarms?{wrong}")).await.0, 400, "{wrong}");
            }
            assert_eq!(lab.get("/v1/alarms?subject=pump").await.0, 422);
            assert_eq!(lab.get("/v1/alarms/7").await.0, 404);
            let order = json!({ "verification": "false_positive" }).to_string();
            let (status, problem) = lab.send("POST", "/v1/alarms/7/verification", &order).await;
            assert_eq!((status.as_u16(), &problem["help"]), (404, &json!("see GET /v1/alarms")));
            let order = json!({ "verification": "perhaps" }).to_string();
            assert_eq!(lab.send("POST", "/v1/alarms/7/verification", &order).await.0, 422);
            assert_eq!(lab.get(&format!("/v1/trust/{}", segment("no/body"))).await.0, 404);
            assert_eq!(lab.get("/v1/trust").await.1, json!({ "items": [], "next": null }));
            assert_eq!(lab.get("/v1/detectors").await.0, 200);
        });
    }
}
