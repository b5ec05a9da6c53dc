//! Suppressions: alarms that are not told, of a detector, about a subject, or both, until they end.

use super::super::{Api, no_content};
use super::subject_of;
use crate::auth::Caller;
use crate::body::{Json, Path};
use crate::page::{Listing, Page, PageQuery};
use crate::problem::Problem;
use crate::state::aside;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ravelin_detect::Suppression;
use ravelin_node::config::parse_duration;
use ravelin_node::control::Control;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(list)).operator(routes!(add)).operator(routes!(remove))
}

/// A suppression.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SuppressionItem {
    /// Its number.
    pub id: u64,
    /// Of this detector or behaviour; null: of all.
    pub detector: Option<String>,
    /// About this; null: about whatever.
    #[schema(example = "client:meter-7")]
    pub subject: Option<String>,
    /// Until when, in milliseconds since the Unix epoch; null: until it is taken back.
    pub until_ms: Option<u64>,
    /// Who ordered it.
    pub by: String,
    /// Why.
    pub why: String,
}

/// What to suppress.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SuppressionOrder {
    /// Alarms of this detector or behaviour [default: of all].
    #[serde(default)]
    pub detector: Option<String>,
    /// Alarms about this: `client:NAME`, `source:ADDRESS`, `identity:NAME`, ... [default: about whatever].
    #[serde(default)]
    #[schema(example = "client:meter-7")]
    pub subject: Option<String>,
    /// For how long (`15m`, `7d`) [default: until it is taken back].
    #[serde(default)]
    #[schema(example = "1h")]
    pub duration: Option<String>,
    /// Why, for whoever reads the list.
    #[serde(default)]
    pub why: String,
}

/// The suppression that was made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SuppressionMade {
    /// Its number.
    pub id: u64,
}

fn item(one: &Suppression) -> SuppressionItem {
    SuppressionItem {
        id: one.id,
        detector: one.detector.as_deref().map(Into::into),
        subject: one.subject.as_ref().map(ToString::to_string),
        until_ms: one.until_ms,
        by: one.by.to_string(),
        why: one.why.to_string(),
    }
}

/// All suppressions in force, by number.
#[utoipa::path(get, path = "/v1/suppressions", tag = "alarms", params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Listing<SuppressionItem>)))]
async fn list(State(control): State<Control>, page: Page) -> Result<Json<Listing<SuppressionItem>>, Problem> {
    let after = page.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(0);
    let mut all: Vec<SuppressionItem> = control.detection(|engine, _| {
        let later = engine.suppressions().filter(|one| one.id > after);
        later.map(item).collect()
    });
    all.sort_by_key(|one| one.id);
    let more = all.len() > page.limit;
    all.truncate(page.limit);
    let next = all.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(Listing::at(all, next)))
}

/// Suppresses alarms: they are kept and counted, but nobody is told and no playbook acts on them.
#[utoipa::path(post, path = "/v1/suppressions", tag = "alarms", request_body = SuppressionOrder,
    responses((status = 201, description = "It is in force, also after a restart.", body = SuppressionMade)))]
async fn add(
    State(control): State<Control>,
    Caller(actor): Caller,
    Json(order): Json<SuppressionOrder>,
) -> Result<(StatusCode, Json<SuppressionMade>), Problem> {
    let until_ms = match &order.duration {
        None => None,
        Some(text) => {
            let duration = parse_duration(text).filter(|duration| duration.as_secs() > 0);
            let duration = duration.ok_or_else(|| {
                Problem::invalid("`duration` is a duration from 1s on").help("write \"15m\" or \"7d\"")
            })?;
            let now_ms = control.now().wall_ms;
            Some(now_ms.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
        }
    };
    let suppression = Suppression {
        id: 0,
        detector: order.detector.map(Into::into),
        subject: order.subject.as_deref().map(subject_of).transpose()?,
        until_ms,
        by: actor.name.as_str().into(),
        why: order.why.into(),
    };
    let id = aside(move || control.suppress_alarms(&actor, suppression)).await??;
    Ok((StatusCode::CREATED, Json(SuppressionMade { id })))
}

/// Takes a suppression back.
#[utoipa::path(delete, path = "/v1/suppressions/{id}", tag = "alarms",
    params(("id" = u64, Path, description = "Its number.")),
    responses((status = 204, description = "Alarms are told again.")))]
async fn remove(
    State(control): State<Control>,
    Caller(actor): Caller,
    Path(id): Path<u64>,
) -> Result<Response, Problem> {
    aside(move || control.unsuppress_alarms(&actor, id)).await??;
    Ok(no_content())
}
