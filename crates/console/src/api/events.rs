//! What happened of late, and what happens next: one request gives what there is, or waits for it.

use super::Api;
use crate::body::{Json, Query};
use crate::page::{LIMIT_DEFAULT, LIMIT_MAX};
use crate::problem::Problem;
use crate::state::ApiState;
use axum::extract::State;
use ravelin_event::{Level, Record};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

/// The longest wait for an event: within what a request may take by default.
const WAIT_S_MAX: u64 = 25;

pub(super) fn routes(api: Api) -> Api {
    api.viewer(routes!(list))
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Events of the page, from 1 to 1000 [default: 100].
    #[param(minimum = 1, maximum = 1000, required = false)]
    limit: Option<usize>,
    /// The `next` of the page before; without it, the page is the last `limit` events.
    #[param(required = false)]
    after: Option<u64>,
    /// Wait so many seconds for an event if there is none [default: 0, at most 25].
    #[param(maximum = 25, required = false)]
    wait_s: Option<u64>,
    /// Only warnings (`warn`), or also changes (`info`, the default).
    #[param(required = false)]
    level: Option<String>,
    /// Only events whose id begins with this: `client.`, `admin.order`.
    #[param(required = false)]
    id: Option<String>,
}

/// An event.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventItem {
    /// Counts up from the start of the node.
    pub number: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What, as it is called in the log.
    #[schema(example = "client.connected")]
    pub id: String,
    /// `INFO` or `WARN`.
    pub level: String,
    /// What belongs to it.
    #[schema(value_type = Object)]
    pub fields: serde_json::Value,
}

/// A stretch of events, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventsPage {
    /// The events.
    pub items: Vec<EventItem>,
    /// What to give as `after` to go on; never null, since there is always a next event to come.
    pub next: u64,
    /// Events between `after` and the first of these that are no longer kept.
    pub missed: u64,
}

/// The recent events of level info and above, oldest first. With `wait_s` and `after`, waits for the next.
#[utoipa::path(get, path = "/v1/events", tag = "node", params(EventsQuery),
    responses((status = 200, description = "A stretch of them.", body = EventsPage)))]
async fn list(
    State(state): State<ApiState>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<EventsPage>, Problem> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` is a number from 1 to {LIMIT_MAX}")));
    }
    let wait_s = query.wait_s.unwrap_or(0);
    if wait_s > WAIT_S_MAX {
        return Err(Problem::bad_request(format!("`wait_s` is at most {WAIT_S_MAX}")));
    }
    let least = match query.level.as_deref() {
        None | Some("info") => Level::Info,
        Some("warn") => Level::Warn,
        Some(_) => return Err(Problem::bad_request("`level` is info or warn")),
    };
    let prefix = query.id.unwrap_or_default();
    let wanted = |record: &Record| record.event.level() >= least && record.event.id().starts_with(&prefix);
    let recent = &state.lane.recent;
    let after = query.after.unwrap_or_else(|| recent.tail(limit));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(wait_s);
    let mut stretch = recent.after(after, limit, wanted);
    while stretch.events.is_empty() {
        let news = tokio::time::timeout_at(deadline, recent.wait_after(stretch.upto));
        if wait_s == 0 || news.await.is_err() {
            break;
        }
        let missed = stretch.missed;
        stretch = recent.after(stretch.upto, limit, wanted);
        stretch.missed += missed;
    }
    let items = stretch.events.iter().map(|kept| item(kept.number, &kept.record)).collect();
    Ok(Json(EventsPage { items, next: stretch.upto, missed: stretch.missed }))
}

fn item(number: u64, record: &Record) -> EventItem {
    EventItem {
        number,
        at_ms: record.at_ms,
        id: record.event.id().into(),
        level: format!("{:?}", record.event.level()).to_uppercase(),
        fields: serde_json::to_value(&record.event).unwrap_or_default(),
    }
}
